//! Samples of the rows about partitions and what stopping nodes does to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::evidence::facts::{Facts, Identity, QuorumMember};
use crate::evidence::ids::{Release, Version};
use crate::evidence::jmx::Metric;
use crate::evidence::known::{Known, Why};
use crate::evidence::memory::SeenLeader;
use crate::evidence::partitions::{Builder, Partition};
use crate::evidence::report::FactKind;
use crate::evidence::scene::{Scene, SceneTopic, kafka, node, nodes, table};

use super::super::reason::Reason;
use super::{Samples, moving};

pub(in crate::checks) fn partitions() -> Samples {
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

pub(in crate::checks) fn topics() -> Samples {
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

pub(in crate::checks) fn progress() -> Samples {
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

pub(in crate::checks) fn jmx_view() -> Samples {
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
        .finds_in(Reason::NoSpareReplica, Scene::healthy_jmx(), |s| {
            s.metric(1, Metric::UnderMinIsrPartitionCount, 1.0);
        })
        .disagree(|s| s.metric(3, Metric::UnderReplicatedPartitions, 1.0))
        .disagree(|s| {
            for id in [101, 102, 103] {
                s.metric(id, Metric::ActiveBrokerCount, 2.0);
            }
        })
}

/// A cluster of three brokers and three controllers with one topic of one partition.
pub(in crate::checks) fn one_topic(name: &str, min_isr: i32, replicas: &[i32]) -> Scene {
    let topics = vec![SceneTopic::new(name, min_isr, &[replicas])];
    Scene::with(&[1, 2, 3], &[101, 102, 103], topics)
}

pub(in crate::checks) fn what_if() -> Samples {
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
