//! Clusters on which each row of the table must find each of its reasons.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::facts::{
    ClusterFacts, ConfigSource, Facts, GroupOffsets, GroupTable, Identity, Move, PartitionLag,
    QuorumMember, RegisteredBroker,
};
use crate::evidence::ids::{ClusterId, GroupId, Release, Version};
use crate::evidence::jmx::Metric;
use crate::evidence::known::{Known, Why};
use crate::evidence::memory::{LeadershipChange, SeenLeader};
use crate::evidence::partitions::{Builder, Partition};
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::{Scene, SceneTopic, jmx, kafka, node, nodes, table};

use super::reason::Reason;

/// What a row is tried on.
pub struct Samples {
    /// It must be proved on at least one of these and allow open on all.
    pub healthy: Vec<Scene>,
    /// It must find this reason on this cluster.
    pub bad: Vec<(Reason, Scene)>,
    /// Two sources that tell the same differently: it must not allow open.
    pub disagree: Vec<Scene>,
}

impl Samples {
    fn new() -> Self {
        Self {
            healthy: vec![
                Scene::healthy_kraft(),
                Scene::healthy_combined(),
                Scene::healthy_zookeeper(),
                Scene::healthy_jmx(),
                Scene::healthy_kafka(),
            ],
            bad: Vec::new(),
            disagree: Vec::new(),
        }
    }

    fn finds(mut self, reason: Reason, spoil: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = Scene::healthy_kraft();
        spoil(&mut scene);
        self.bad.push((reason, scene));
        self
    }

    fn finds_in(mut self, reason: Reason, scene: Scene, spoil: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = scene;
        spoil(&mut scene);
        self.bad.push((reason, scene));
        self
    }

    fn disagree(mut self, spoil: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = Scene::healthy_kraft();
        spoil(&mut scene);
        self.disagree.push(scene);
        self
    }
}

pub(super) fn evidence() -> Samples {
    let fails = |class| move |s: &mut Scene| s.fail(kafka(2), FactKind::NodeConfigs, class);
    Samples::new()
        .finds(Reason::NoNodesKnown, |s| {
            s.reports.clear();
            s.memory.known_nodes.clear();
        })
        .finds(Reason::EvidenceMissing, |s| {
            s.reports.remove(&(kafka(2), FactKind::LogDirs));
        })
        .finds(Reason::EvidenceMissing, |s| {
            s.reports.remove(&(kafka(2), FactKind::Partitions));
        })
        .finds(Reason::EvidenceMissing, |s| {
            s.reports.remove(&(jmx(103), FactKind::Jmx));
        })
        .finds(Reason::EvidenceStale, |s| s.make_stale(FactKind::Jmx))
        .finds(Reason::SourceFailed, fails(FailureClass::Closed))
        .finds(Reason::SourceFailed, fails(FailureClass::Malformed))
        .finds(Reason::SourceFailed, |s| {
            s.fail(jmx(1), FactKind::Jmx, FailureClass::NotKafkaMetrics);
        })
        .finds(
            Reason::EvidenceIncomplete,
            fails(FailureClass::Authorization),
        )
        .finds(Reason::EvidenceIncomplete, |s| {
            s.page(2, |page| {
                page.values.remove(&Metric::UnderReplicatedPartitions);
            });
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(101, Metric::ActiveControllerCount, f64::NAN);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(2, Metric::PartitionCount, f64::INFINITY);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.page(102, |page| page.kafka_samples = 0);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.policy
                .expected
                .insert(node(9), crate::evidence::ids::Role::default());
        })
        .finds(Reason::WrongNode, fails(FailureClass::WrongNode))
        .finds(Reason::WrongCluster, fails(FailureClass::WrongCluster))
        .finds(Reason::GateThrottled, fails(FailureClass::Throttled))
        .finds(Reason::UnsupportedRelease, fails(FailureClass::Unsupported))
        .finds(Reason::TopicsHidden, |s| {
            s.fail(kafka(3), FactKind::LogDirs, FailureClass::Authorization);
        })
        .finds_in(
            Reason::EvidenceIncomplete,
            Scene::healthy_zookeeper(),
            |s| {
                s.page(2, |page| {
                    page.values.remove(&Metric::ActiveControllerCount);
                });
            },
        )
        .finds_in(Reason::SourceFailed, Scene::healthy_jmx(), |s| {
            s.fail(jmx(101), FactKind::Jmx, FailureClass::HttpStatus(500));
        })
        .finds_in(Reason::EvidenceMissing, Scene::healthy_jmx(), |s| {
            s.policy.jmx_nodes = Some([1, 2, 101, 102, 103].map(node).into());
            s.reports.remove(&(jmx(3), FactKind::Jmx));
        })
}

pub(super) fn kind() -> Samples {
    Samples::new()
        .finds(Reason::MetadataKindUnknown, |s| {
            s.remove(FactKind::Quorum);
            for id in [1, 2, 3, 101, 102, 103] {
                s.link(id, |link| link.supported.clear());
            }
        })
        .finds(Reason::MetadataKindUnknown, |s| {
            s.configs(2, |configs| {
                let value = (Some(String::from("zk:2181")), ConfigSource::StaticBroker);
                configs
                    .values
                    .insert(String::from("zookeeper.connect"), value);
            });
        })
        .disagree(|s| {
            s.configs(3, |configs| {
                let value = (Some(String::from("zk:2181")), ConfigSource::StaticBroker);
                configs
                    .values
                    .insert(String::from("zookeeper.connect"), value);
            });
        })
}

pub(super) fn release() -> Samples {
    let version = |major, minor| Version { major, minor };
    Samples::new()
        .finds(Reason::ReleaseUnknown, |s| {
            s.link(2, |link| link.release = Release::Unknown);
        })
        .finds(Reason::UnsupportedRelease, |s| {
            s.link(2, |link| link.release = Release::Is(version(3, 2)));
        })
        .finds_in(
            Reason::UnsupportedRelease,
            Scene::healthy_zookeeper(),
            |s| {
                s.link(2, |link| link.release = Release::AtLeast(version(2, 7)));
            },
        )
}

pub(super) fn identity() -> Samples {
    let unproven = || Identity::Unproven(String::from("no right to DescribeConfigs"));
    Samples::new()
        .finds_in(Reason::IdentityUnproven, Scene::healthy_jmx(), |s| {
            // Two targets that lead to the same exporter.
            s.page(2, |page| page.start_time = Known::Is(1_699_000_001.0));
        })
        .finds(Reason::WrongNode, |s| {
            s.page(2, |page| page.node = Known::Is(node(3)));
        })
        .finds(Reason::WrongNode, |s| {
            s.metric(1, Metric::LeaderCount, 2.0);
        })
        .finds(Reason::WrongCluster, |s| {
            s.cluster(2, |c| {
                c.cluster_id = Known::Is(ClusterId(String::from("other")));
            });
        })
        .finds(Reason::WrongCluster, |s| {
            s.policy.cluster_id = Some(ClusterId(String::from("meant")));
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.cluster(2, |c| {
                c.cluster_id = Known::Failed(Why(String::from("empty")));
            });
        })
        .finds(Reason::IdentityUnproven, |s| {
            s.link(102, |link| link.identity = unproven());
        })
        .finds_in(Reason::IdentityUnproven, Scene::healthy_kafka(), |s| {
            s.link(2, |link| link.identity = unproven());
        })
        .finds(Reason::SourcesDisagree, |s| {
            s.metric(1, Metric::PartitionCount, 6.0);
        })
        .disagree(|s| s.metric(2, Metric::PartitionCount, 99.0))
        .disagree(|s| {
            s.cluster(1, |c| {
                c.cluster_id = Known::Is(ClusterId(String::from("other")));
            });
        })
}

fn every_cluster(s: &mut Scene, change: impl Fn(&mut ClusterFacts)) {
    for id in [1, 2] {
        s.cluster(id, &change);
    }
}

/// Broker 9: registered, fenced, holding nothing, never heard.
pub(super) fn leftover(s: &mut Scene) {
    every_cluster(s, |c| {
        c.brokers.push(RegisteredBroker {
            node: node(9),
            host: String::from("gone"),
            port: 9092,
            rack: None,
            fenced: true,
        });
    });
    s.fail(kafka(9), FactKind::Link, FailureClass::Refused);
}

pub(super) fn nodes_row() -> Samples {
    Samples::new()
        .finds(Reason::NodeMissing, |s| {
            every_cluster(s, |c| c.brokers.retain(|b| b.node.0 != 3));
        })
        .finds(Reason::NodeMissing, |s| {
            s.quorum(1, |q| q.voters.retain(|v| v.node.0 != 103));
        })
        .finds(Reason::NodeFenced, |s| {
            every_cluster(s, |c| c.brokers[2].fenced = true);
        })
        .finds(Reason::NodeUnreachable, |s| s.kill(2))
        .finds(Reason::NodeUnreachable, |s| s.kill(103))
        .finds(Reason::NodeFrozen, |s| {
            s.fail(kafka(3), FactKind::Link, FailureClass::Timeout);
        })
        .finds(Reason::NodeFrozen, |s| s.age(&kafka(3), FactKind::Link))
        .finds(Reason::LeftoverRegistration, leftover)
        .finds_in(Reason::NodeUnreachable, Scene::healthy_jmx(), |s| {
            s.kill(102);
        })
        .finds_in(Reason::NodeFrozen, Scene::healthy_jmx(), |s| {
            s.fail(jmx(2), FactKind::Jmx, FailureClass::Timeout);
        })
        .finds_in(Reason::NodeMissing, Scene::healthy_jmx(), |s| {
            for id in [101, 102, 103] {
                s.metric(id, Metric::ActiveBrokerCount, 2.0);
            }
        })
        .finds_in(Reason::NodeFenced, Scene::healthy_jmx(), |s| {
            for id in [101, 102, 103] {
                s.metric(id, Metric::ActiveBrokerCount, 2.0);
                s.metric(id, Metric::FencedBrokerCount, 1.0);
            }
        })
        .finds_in(Reason::LeftoverRegistration, Scene::healthy_jmx(), |s| {
            s.metric(101, Metric::FencedBrokerCount, 1.0);
        })
        .disagree(|s| s.cluster(2, |c| c.brokers.retain(|b| b.node.0 != 3)))
        .disagree(|s| s.cluster(1, |c| c.brokers[0].fenced = true))
}

pub(super) fn controller() -> Samples {
    Samples::new()
        .finds(Reason::NoActiveController, |s| {
            s.quorum(1, |q| q.leader = None);
        })
        .finds(Reason::NoActiveController, |s| s.kill(101))
        .finds(Reason::NoActiveController, |s| {
            s.quorum(1, |q| q.leader = Some(node(77)));
        })
        .finds(Reason::NoActiveController, |s| {
            s.metric(101, Metric::ActiveControllerCount, 0.0);
        })
        .finds(Reason::ManyActiveControllers, |s| {
            s.metric(102, Metric::ActiveControllerCount, 1.0);
        })
        .finds_in(
            Reason::NoActiveController,
            Scene::healthy_zookeeper(),
            |s| {
                every_cluster(s, |c| c.controller = None);
            },
        )
        .finds_in(Reason::SourcesDisagree, Scene::healthy_zookeeper(), |s| {
            s.cluster(2, |c| c.controller = Some(node(2)));
        })
        .finds(Reason::SourcesDisagree, |s| {
            let mut other = None;
            s.quorum(1, |q| other = Some(q.clone()));
            let mut other = other.expect("a quorum");
            other.leader = Some(node(102));
            s.put(kafka(2), Facts::Quorum(other));
        })
        .finds(Reason::MetadataKindUnknown, |s| {
            for id in [1, 2, 3, 101, 102, 103] {
                s.link(id, |link| link.supported.clear());
            }
            s.remove(FactKind::Quorum);
        })
        .finds_in(Reason::ManyActiveControllers, Scene::healthy_jmx(), |s| {
            s.metric(103, Metric::ActiveControllerCount, 1.0);
        })
        .disagree(|s| {
            s.metric(101, Metric::ActiveControllerCount, 0.0);
            s.metric(102, Metric::ActiveControllerCount, 1.0);
        })
}

pub(super) fn quorum() -> Samples {
    let topics = || vec![SceneTopic::new("orders", 2, &[&[1, 2, 3]])];
    Samples::new()
        .finds(Reason::QuorumDegraded, |s| {
            s.quorum(1, |q| {
                q.voters[1].last_caught_up_ms = Some(1_699_999_990_000);
            });
        })
        .finds(Reason::QuorumDegraded, |s| {
            s.quorum(1, |q| q.voters[2].last_caught_up_ms = None);
        })
        .finds(Reason::QuorumDegraded, |s| {
            s.quorum(1, |q| q.voters[2].log_end_offset = -1);
        })
        .finds(Reason::QuorumDegraded, |s| {
            s.quorum(1, |q| q.voters.clear());
        })
        .finds_in(
            Reason::SingleVoter,
            Scene::with(&[1, 2, 3], &[101], topics()),
            |_| {},
        )
        .finds_in(
            Reason::TwoVoters,
            Scene::with(&[1, 2, 3], &[101, 102], topics()),
            |_| {},
        )
        .finds(Reason::MetadataKindUnknown, |s| s.remove(FactKind::Quorum))
}

pub(super) fn partitions() -> Samples {
    let error = |code: i16, topic_code: i16| {
        let mut builder = Builder::default();
        builder.topic(
            crate::evidence::ids::Uuid::new(1),
            "orders",
            false,
            topic_code,
        );
        builder.partition(Partition {
            index: 0,
            leader: Some(node(1)),
            leader_epoch: Some(5),
            error: code,
            replicas: &nodes(&[1, 2, 3]),
            isr: &nodes(&[1, 2, 3]),
            offline: &[],
        });
        Facts::Partitions(Arc::new(builder.finish()))
    };
    let mut no_spare = Scene::with(
        &[1, 2, 3],
        &[101, 102, 103],
        vec![SceneTopic::new("raw", 2, &[&[1]])],
    );
    no_spare.link(2, |link| {
        link.release = Release::Is(Version { major: 3, minor: 6 });
    });
    Samples::new()
        .finds(Reason::OfflinePartitions, |s| {
            s.order(3, |p| p.leader = None);
        })
        .finds(Reason::OfflinePartitions, |s| s.kill(1))
        .finds(Reason::UnderMinIsr, |s| s.order(0, |p| p.isr = vec![1]))
        .finds(Reason::UnderReplicated, |s| {
            s.order(0, |p| p.isr = vec![1, 3]);
        })
        .finds(Reason::UnderReplicated, |s| {
            s.order(0, |p| p.offline = vec![2]);
        })
        .finds(Reason::UnderReplicated, |s| s.kill(3))
        .finds_in(Reason::NoSpareReplica, no_spare, |_| {})
        .finds(Reason::EvidenceStale, |s| {
            for seen in s.memory.epochs.values_mut() {
                *seen = SeenLeader {
                    epoch: 99,
                    leader: Some(node(1)),
                };
            }
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.topic_configs(1, |c| c.min_insync_replicas.clear());
        })
        .finds(Reason::EvidenceIncomplete, |s| s.put(kafka(1), error(3, 0)))
        .finds(Reason::EvidenceIncomplete, |s| s.put(kafka(1), error(0, 3)))
        .finds(Reason::TopicsHidden, |s| s.put(kafka(1), error(0, 29)))
        .finds(Reason::SourcesDisagree, |s| {
            let mut topics = s.topics.clone();
            topics.pop();
            s.table_of(2, &topics);
        })
        .finds(Reason::SourcesDisagree, |s| {
            let mut topics = s.topics.clone();
            topics[0].partitions[0].leader = Some(2);
            s.table_of(2, &topics);
        })
        .disagree(|s| {
            let mut topics = s.topics.clone();
            topics[0].partitions[2].isr = vec![1, 2];
            s.table_of(1, &topics);
        })
        .disagree(|s| s.put(kafka(2), Facts::Partitions(Arc::new(table(&[])))))
}

pub(super) fn topics() -> Samples {
    let empty = || Scene::with(&[1, 2, 3], &[101, 102, 103], Vec::new());
    Samples::new()
        .finds(Reason::TopicsHidden, |s| {
            s.log_dirs(2, |dirs| dirs.dirs.clear());
        })
        .finds(Reason::TopicsHidden, |s| {
            s.log_dirs(2, |dirs| dirs.readable = false);
        })
        .finds(Reason::TopicsHidden, |s| {
            s.log_dirs(2, |dirs| dirs.hosted.push((Arc::from("secret"), 0)));
        })
        .finds(Reason::TopicsHidden, |s| {
            s.log_dirs(2, |dirs| dirs.hosted.push((Arc::from("orders"), 6)));
        })
        .finds(Reason::TopicsHidden, |s| {
            s.topic_configs(1, |configs| {
                configs.min_insync_replicas.remove("orders");
                configs.hidden.push(String::from("orders"));
            });
        })
        .finds(Reason::TopicsHidden, |s| {
            // No rights at all: zero topics, no error.
            for id in [1, 2] {
                s.table_of(id, &[]);
            }
        })
        .finds_in(Reason::NoPartitions, empty(), |_| {})
        .finds_in(Reason::EvidenceIncomplete, empty(), |s| {
            s.reports.remove(&(kafka(3), FactKind::LogDirs));
        })
        .finds_in(Reason::EvidenceIncomplete, empty(), |s| {
            s.log_dirs(3, |dirs| dirs.readable = false);
        })
        .disagree(|s| s.log_dirs(1, |dirs| dirs.hosted.push((Arc::from("secret"), 3))))
}

pub(super) fn progress() -> Samples {
    Samples::new()
        .finds(Reason::ReplicaBehind, |s| {
            s.log_ends(2, |ends| ends.rows[1].own_end = Known::Is(499));
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.log_ends(2, |ends| {
                ends.rows[1].own_end = Known::Failed(Why(String::from("9")));
            });
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.log_ends(3, |ends| ends.rows[0].leader_end = Known::Hidden);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.log_ends(2, |ends| {
                ends.rows.remove(0);
            });
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.reports.remove(&(kafka(2), FactKind::LogEnds));
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            // Another node may have answered in its place.
            s.link(2, |link| {
                link.identity = Identity::Unproven(String::from("no right"));
            });
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            // Telling one follower twice does not make up for another.
            s.reports.remove(&(kafka(3), FactKind::LogEnds));
            s.log_ends(2, |ends| {
                ends.rows = ends
                    .rows
                    .iter()
                    .flat_map(|r| [r.clone(), r.clone()])
                    .collect();
            });
        })
}

pub(super) fn jmx_view() -> Samples {
    let mut empty = Scene::with(&[1, 2, 3], &[101, 102, 103], Vec::new());
    empty.metric(101, Metric::GlobalPartitionCount, 0.0);
    Samples::new()
        .finds(Reason::OfflinePartitions, |s| {
            s.metric(102, Metric::OfflinePartitionsCount, 4.0);
        })
        .finds(Reason::UnderReplicated, |s| {
            s.metric(3, Metric::UnderReplicatedPartitions, 2.0);
        })
        .finds(Reason::UnderMinIsr, |s| {
            s.metric(3, Metric::UnderMinIsrPartitionCount, 2.0);
        })
        .finds(Reason::SourcesDisagree, |s| {
            for id in [101, 102, 103] {
                s.metric(id, Metric::GlobalPartitionCount, 8.0);
            }
        })
        .finds(Reason::SourcesDisagree, |s| {
            s.cluster(2, |c| c.brokers.truncate(2));
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            // Freshly started controllers: everything is 0.
            for id in [101, 102, 103] {
                s.metric(id, Metric::GlobalPartitionCount, 0.0);
            }
        })
        .finds_in(Reason::NoPartitions, empty, |_| {})
        .finds_in(Reason::OfflinePartitions, Scene::healthy_zookeeper(), |s| {
            s.metric(1, Metric::OfflinePartitionsCount, 24.0);
        })
        .finds_in(
            Reason::EvidenceIncomplete,
            Scene::healthy_zookeeper(),
            |s| {
                s.metric(1, Metric::ActiveControllerCount, 0.0);
            },
        )
        .finds_in(Reason::UnderReplicated, Scene::healthy_jmx(), |s| {
            s.metric(1, Metric::UnderReplicatedPartitions, 1.0);
        })
        .disagree(|s| s.metric(3, Metric::UnderReplicatedPartitions, 1.0))
        .disagree(|s| {
            for id in [101, 102, 103] {
                s.metric(id, Metric::ActiveBrokerCount, 2.0);
            }
        })
}

pub(super) fn broker_state() -> Samples {
    Samples::new()
        .finds(Reason::BrokerNotRunning, |s| {
            s.metric(2, Metric::BrokerState, 1.0);
        })
        .finds(Reason::BrokerNotRunning, |s| {
            s.metric(2, Metric::BrokerState, 6.0);
        })
        .finds(Reason::BrokerNotRunning, |s| {
            s.metric(2, Metric::BrokerState, 127.0);
        })
        .finds(Reason::BrokerRecovering, |s| {
            s.metric(2, Metric::RemainingLogsToRecover, 12.0);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.page(2, |page| {
                page.values.remove(&Metric::BrokerState);
            });
        })
}

pub(super) fn heartbeat() -> Samples {
    let late = |age| {
        move |s: &mut Scene| {
            s.page(101, |page| {
                page.heartbeat_age_ms.insert(node(2), age);
            });
        }
    };
    Samples::new()
        .finds(Reason::HeartbeatLate, late(2_896.0))
        .finds(Reason::EvidenceIncomplete, late(f64::NAN))
}

pub(super) fn metadata() -> Samples {
    Samples::new()
        .finds(Reason::MetadataLagging, |s| {
            s.metric(2, Metric::MetadataLagMs, 1.7e12);
        })
        .finds(Reason::MetadataLagging, |s| {
            s.quorum(1, |q| {
                q.observers[2].last_caught_up_ms = Some(1_699_999_980_000);
            });
        })
        .finds(Reason::MetadataLagging, |s| {
            s.quorum(1, |q| q.observers[2].last_caught_up_ms = None);
        })
        .finds(Reason::MetadataErrors, |s| {
            s.metric(101, Metric::MetadataErrorCount, 1.0);
        })
        .finds(Reason::MetadataErrors, |s| {
            s.metric(2, Metric::MetadataLoadErrorCount, 1.0);
        })
        .finds(Reason::MetadataErrors, |s| {
            s.metric(2, Metric::MetadataApplyErrorCount, 3.0);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.quorum(1, |q| q.observers.retain(|member| member.node.0 != 2));
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(2, Metric::MetadataLagMs, f64::NAN);
        })
}

pub(super) fn fetchers() -> Samples {
    Samples::new()
        .finds(Reason::FetcherFailed, |s| {
            s.metric(2, Metric::FetcherFailedPartitions, 1.0);
        })
        .finds(Reason::FetcherFailed, |s| {
            s.metric(3, Metric::FetcherDeadThreads, 1.0);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(2, Metric::FetcherFailedPartitions, f64::NAN);
        })
}

pub(super) fn log_dirs() -> Samples {
    Samples::new()
        .finds(Reason::LogDirFailed, |s| {
            s.log_dirs(2, |dirs| dirs.dirs[0].error = 56);
        })
        .finds(Reason::LogDirFailed, |s| {
            s.metric(2, Metric::OfflineLogDirectoryCount, 1.0);
        })
        .finds(Reason::LogDirFailed, |s| {
            s.metric(3, Metric::OfflineReplicaCount, 7.0);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(2, Metric::OfflineLogDirectoryCount, -1.0);
        })
        .disagree(|s| s.metric(3, Metric::OfflineLogDirectoryCount, 1.0))
}

/// Partition 0 of `orders` moves from broker 3 to broker 4.
pub(super) fn moving(s: &mut Scene) {
    let one = Move {
        topic: String::from("orders"),
        partition: 0,
        replicas: nodes(&[1, 2, 3, 4]),
        adding: nodes(&[4]),
        removing: nodes(&[3]),
    };
    s.moves(1, |moves| moves.list.push(one));
}

pub(super) fn moves() -> Samples {
    Samples::new()
        .finds(Reason::Reassigning, moving)
        .finds(Reason::LeftoverThrottle, |s| {
            s.configs(2, |configs| {
                let key = String::from("leader.replication.throttled.rate");
                let value = (Some(String::from("1000000")), ConfigSource::DynamicBroker);
                configs.values.insert(key, value);
            });
        })
        .finds(Reason::SourcesDisagree, |s| {
            s.metric(2, Metric::ReassigningPartitions, 3.0);
        })
        .finds_in(Reason::Reassigning, Scene::healthy_jmx(), |s| {
            s.metric(2, Metric::ReassigningPartitions, 3.0);
        })
        .disagree(|s| s.metric(1, Metric::ReassigningPartitions, 1.0))
}

pub(super) fn leadership() -> Samples {
    Samples::new()
        .finds(Reason::LeadershipMoving, |s| {
            s.memory.leadership = Some(LeadershipChange {
                at: s.now.mono.minus(Duration::from_secs(9)),
                partitions: 20,
            });
        })
        .finds(Reason::LeadersImbalanced, |s| {
            s.order(0, |p| p.leader = Some(2));
        })
        .finds_in(Reason::LeadersImbalanced, Scene::healthy_jmx(), |s| {
            s.metric(102, Metric::PreferredReplicaImbalanceCount, 9.0);
        })
}

pub(super) fn unclean() -> Samples {
    Samples::new()
        .finds(Reason::UncleanElection, |s| {
            s.metric(102, Metric::UncleanLeaderElections, 1.0);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(102, Metric::UncleanLeaderElections, f64::NAN);
        })
}

/// A watched group with this much lag on its one partition.
fn group(s: &mut Scene, committed: Known<i64>) {
    let group = GroupId(String::from("billing"));
    s.policy.groups = vec![group.clone()];
    let partition = PartitionLag {
        topic: String::from("orders"),
        partition: 0,
        committed,
        end: Known::Is(50_000),
    };
    let groups = vec![GroupOffsets {
        group,
        partitions: Known::Is(vec![partition]),
    }];
    s.put(kafka(1), Facts::Groups(Arc::new(GroupTable { groups })));
}

pub(super) fn groups() -> Samples {
    let mut samples = Samples::new()
        .finds(Reason::GroupUnknown, |s| {
            s.policy.groups = vec![GroupId(String::from("billing"))];
        })
        .finds(Reason::GroupUnknown, |s| group(s, Known::Hidden))
        .finds(Reason::GroupLagging, |s| group(s, Known::Is(10)));
    let mut caught_up = Scene::healthy_kraft();
    group(&mut caught_up, Known::Is(50_000));
    samples.healthy.push(caught_up);
    samples
}

/// A cluster of three brokers and three controllers with one topic of one partition.
pub(super) fn one_topic(name: &str, min_isr: i32, replicas: &[i32]) -> Scene {
    let topics = vec![SceneTopic::new(name, min_isr, &[replicas])];
    Scene::with(&[1, 2, 3], &[101, 102, 103], topics)
}

pub(super) fn what_if() -> Samples {
    let voters = |controllers: &[i32]| {
        let topics = vec![SceneTopic::new("orders", 2, &[&[1, 2, 3]])];
        Scene::with(&[1, 2, 3], controllers, topics)
    };
    Samples::new()
        .finds_in(Reason::WouldGoOffline, one_topic("t", 1, &[1, 2]), |s| {
            s.order(0, |p| p.isr = vec![1]);
        })
        .finds(Reason::WouldLoseMinIsr, |s| {
            s.order(0, |p| p.isr = vec![1, 3]);
        })
        .finds_in(
            Reason::WouldLeaveLastCopy,
            one_topic("t", 1, &[1, 2, 3]),
            |s| {
                s.order(0, |p| p.isr = vec![1, 3]);
            },
        )
        .finds(Reason::WouldStopReassignment, moving)
        .finds(Reason::WouldLoseQuorum, |s| s.kill(103))
        .finds_in(Reason::SingleReplica, one_topic("t", 1, &[2]), |_| {})
        .finds_in(
            Reason::NoSpareReplica,
            one_topic("t", 3, &[1, 2, 3]),
            |_| {},
        )
        .finds_in(Reason::LastCopyByDesign, one_topic("t", 1, &[1, 2]), |_| {})
        .finds_in(
            Reason::InternalTopicAtRisk,
            one_topic("__consumer_offsets", 1, &[1]),
            |_| {},
        )
        .finds_in(Reason::SingleVoter, voters(&[101]), |_| {})
        .finds_in(Reason::TwoVoters, voters(&[101, 102]), |_| {})
        .finds(Reason::EvidenceIncomplete, |s| {
            s.topic_configs(1, |c| c.min_insync_replicas.clear());
        })
        .finds_in(Reason::NoWhatIf, Scene::healthy_jmx(), |_| {})
        .disagree(|s| {
            let mut topics = s.topics.clone();
            topics[0].partitions[2].isr = vec![1, 2];
            s.table_of(1, &topics);
        })
        .disagree(|s| {
            let old = BTreeSet::from([101]);
            s.quorum(1, |q| {
                let behind = |m: &mut QuorumMember| m.last_caught_up_ms = Some(1_699_999_000_000);
                q.voters
                    .iter_mut()
                    .filter(|v| !old.contains(&v.node.0))
                    .for_each(behind);
            });
        })
}
