//! Samples of the rows about nodes, controllers and the quorum.

use std::time::Duration;

use crate::evidence::facts::{ClusterFacts, Facts, RegisteredBroker};
use crate::evidence::ids::Uuid;
use crate::evidence::jmx::Metric;
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::{Scene, SceneTopic, jmx, kafka, node};

use super::super::reason::Reason;
use super::Samples;

fn every_cluster(s: &mut Scene, change: impl Fn(&mut ClusterFacts)) {
    for id in [1, 2] {
        s.cluster(id, &change);
    }
}

/// Broker 9: registered, fenced, holding nothing, never heard.
pub(in crate::checks) fn leftover(s: &mut Scene) {
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

pub(in crate::checks) fn nodes_row() -> Samples {
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
        .finds(Reason::EvidenceStale, |s| {
            s.policy.via_brokers = true;
            let asked = s.now.mono.minus(Duration::from_millis(1_900));
            for ((_, kind), report) in &mut s.reports {
                if *kind == FactKind::Quorum {
                    report.asked = asked;
                }
            }
        })
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
        .finds_in(Reason::EvidenceIncomplete, Scene::healthy_jmx(), |s| {
            s.metric(101, Metric::ActiveBrokerCount, 5.0);
        })
        .disagree(|s| s.cluster(2, |c| c.brokers.retain(|b| b.node.0 != 3)))
        .disagree(|s| s.cluster(1, |c| c.brokers[0].fenced = true))
}

pub(in crate::checks) fn controller() -> Samples {
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

pub(in crate::checks) fn quorum() -> Samples {
    let topics = || vec![SceneTopic::new("orders", 2, &[&[1, 2, 3]])];
    Samples::new()
        .finds(Reason::QuorumDegraded, |s| {
            s.quorum(1, |q| {
                q.voters[1].last_caught_up_ms = Some(1_699_999_990_000);
            });
        })
        .finds(Reason::QuorumDegraded, |s| {
            s.quorum(1, |q| {
                q.voters[1].last_caught_up_ms = Some(1_699_999_998_700);
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
        .finds(Reason::VoterDirectoryChanged, |s| {
            s.quorum(1, |q| {
                let mut observer = q.voters[1].clone();
                observer.directory = Uuid::new(2);
                q.observers.push(observer);
                q.voters[1].directory = Uuid::new(1);
                q.voters[1].last_fetch_ms = Some(1_699_999_990_000);
                q.voters[1].last_caught_up_ms = Some(1_699_999_990_000);
            });
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
