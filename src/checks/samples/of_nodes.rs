//! Samples of the rows about what nodes say of themselves.

use std::sync::Arc;
use std::time::Duration;

use crate::evidence::facts::{ConfigSource, Facts, GroupOffsets, GroupTable, Move, PartitionLag};
use crate::evidence::ids::GroupId;
use crate::evidence::jmx::Metric;
use crate::evidence::known::Known;
use crate::evidence::memory::LeadershipChange;
use crate::evidence::scene::{Scene, kafka, node, nodes};
use crate::evidence::tide::Tide;

use super::super::reason::Reason;
use super::Samples;

pub(in crate::checks) fn broker_state() -> Samples {
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
        .finds_in(
            Reason::ZooKeeperDisconnected,
            Scene::healthy_zookeeper(),
            |s| {
                s.metric(2, Metric::ZooKeeperDisconnects, 2.0);
            },
        )
        .finds(Reason::EvidenceIncomplete, |s| {
            s.page(2, |page| {
                page.values.remove(&Metric::BrokerState);
            });
        })
}

pub(in crate::checks) fn heartbeat() -> Samples {
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

/// Two seconds ago offset 3,999 was committed; this broker has published no more than that.
pub(in crate::checks) fn unpublished(s: &mut Scene, id: i32, offset: i64) {
    let mut tide = Tide::default();
    tide.rise(s.now.mono.minus(Duration::from_secs(2)), 4_000);
    s.memory.committed = tide;
    s.link(id, |link| link.published = Known::Is(offset));
}

pub(in crate::checks) fn metadata() -> Samples {
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
            s.quorum(1, |q| {
                q.observers[2].last_caught_up_ms = Some(1_699_999_998_700);
            });
        })
        .finds(Reason::MetadataLagging, |s| {
            s.quorum(1, |q| q.observers[2].last_caught_up_ms = None);
        })
        .finds(Reason::MetadataLagging, |s| unpublished(s, 2, 3_990))
        .finds_in(Reason::MetadataLagging, Scene::healthy_combined(), |s| {
            unpublished(s, 2, 3_990);
        })
        .finds_in(Reason::MetadataLagging, Scene::healthy_kafka(), |s| {
            unpublished(s, 3, 3_998);
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

pub(in crate::checks) fn fetchers() -> Samples {
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

pub(in crate::checks) fn log_dirs() -> Samples {
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
pub(in crate::checks) fn moving(s: &mut Scene) {
    let one = Move {
        topic: String::from("orders"),
        partition: 0,
        replicas: nodes(&[1, 2, 3, 4]),
        adding: nodes(&[4]),
        removing: nodes(&[3]),
    };
    s.moves(1, |moves| moves.list.push(one));
}

pub(in crate::checks) fn moves() -> Samples {
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

pub(in crate::checks) fn leadership() -> Samples {
    Samples::new()
        .finds(Reason::LeadershipMoving, |s| {
            s.memory.leadership = Some(LeadershipChange {
                at: s.now.mono.minus(Duration::from_secs(5)),
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

pub(in crate::checks) fn unclean() -> Samples {
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

pub(in crate::checks) fn groups() -> Samples {
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
