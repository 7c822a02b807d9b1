//! Numbers at their bounds, and what is said, counted and named beside the reason: an alert that
//! names the wrong node or too few partitions sends somebody to the wrong machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{EXAMPLES, Finding, Judged, Subject};
use super::reason::{Reason, Severity};
use super::{heartbeat, leadership, metadata, moves, partitions, progress, quorum};
use crate::evidence::facts::{
    ConfigSource, Facts, Move, Moves, NodeConfigs, QuorumMember, ReplicaEnd,
};
use crate::evidence::ids::{NodeId, Uuid};
use crate::evidence::jmx::Metric;
use crate::evidence::known::{Known, Why};
use crate::evidence::memory::LeadershipChange;
use crate::evidence::partitions::{Builder, Partition};
use crate::evidence::scene::{Scene, kafka, node, nodes as list};
use crate::evidence::snapshot::Snapshot;

pub(super) fn found(scene: &Scene, run: fn(&Snapshot<'_>) -> Judged) -> Vec<Finding> {
    let judged = scene.snapshot(run);
    judged.findings().into_iter().cloned().collect()
}

/// What is found with this reason; one finding at most.
pub(super) fn one(
    scene: &Scene,
    run: fn(&Snapshot<'_>) -> Judged,
    reason: Reason,
) -> Option<Finding> {
    let all = found(scene, run)
        .into_iter()
        .filter(|it| it.reason == reason);
    let all: Vec<Finding> = all.collect();
    assert!(all.len() < 2, "{all:?}");
    all.into_iter().next()
}

pub(super) fn reasons(scene: &Scene, run: fn(&Snapshot<'_>) -> Judged) -> Vec<Reason> {
    found(scene, run).iter().map(|it| it.reason).collect()
}

const fn applies(judged: &Judged) -> bool {
    !matches!(judged, Judged::NotApplicable(_))
}

#[test]
fn a_heartbeat_counts_up_to_a_quarter_more_than_its_interval() {
    let late = |interval: Option<&str>, age: f64| {
        let mut scene = Scene::healthy_kraft();
        if let Some(interval) = interval {
            let value = (Some(String::from(interval)), ConfigSource::StaticBroker);
            let key = String::from("broker.heartbeat.interval.ms");
            scene.configs(2, |configs| {
                configs.values.insert(key, value);
            });
        }
        scene.page(101, |page| {
            page.heartbeat_age_ms.insert(node(2), age);
        });
        one(&scene, heartbeat::run, Reason::HeartbeatLate).map(|it| it.subject)
    };
    assert_eq!(late(None, 2_500.0), None);
    assert_eq!(late(None, 2_501.0), Some(Subject::Node(node(2))));
    assert_eq!(late(Some("4000"), 5_000.0), None);
    assert!(late(Some("4000"), 5_001.0).is_some());
    // A setting that cannot be is none.
    assert_eq!(late(Some("0"), 2_500.0), None);
    assert!(late(Some("0"), 2_501.0).is_some());
}

/// A controller that was active goes on exporting what it knew last.
#[test]
fn heartbeats_are_those_of_the_active_controller() {
    let mut scene = Scene::healthy_kraft();
    scene.page(102, |page| {
        page.heartbeat_age_ms.insert(node(2), 90_000.0);
    });
    assert_eq!(found(&scene, heartbeat::run), []);
    scene.quorum(1, |quorum| quorum.leader = Some(node(102)));
    assert_eq!(reasons(&scene, heartbeat::run), [Reason::HeartbeatLate]);
    // Its page says so before the quorum does.
    let mut scene = Scene::healthy_kraft();
    scene.metric(102, Metric::ActiveControllerCount, 1.0);
    scene.page(102, |page| {
        page.heartbeat_age_ms.insert(node(2), 90_000.0);
    });
    assert_eq!(reasons(&scene, heartbeat::run), [Reason::HeartbeatLate]);
    let mut scene = Scene::healthy_kraft();
    scene.page(101, |page| page.heartbeat_age_ms.clear());
    assert!(
        !applies(&scene.snapshot(heartbeat::run)),
        "before 4.1 nobody tells"
    );
}

#[test]
fn a_pages_metadata_counts_up_to_ten_seconds() {
    let lags = |millis: f64| {
        let mut scene = Scene::healthy_kraft();
        scene.metric(2, Metric::MetadataLagMs, millis);
        one(&scene, metadata::run, Reason::MetadataLagging).map(|it| it.subject)
    };
    assert_eq!(lags(10_000.0), None);
    assert_eq!(lags(10_001.0), Some(Subject::Node(node(2))));
}

/// Where the active controller writes seldom, or nothing when nothing happens, an old record is no
/// sign. Only its own word counts.
#[test]
fn a_pages_metadata_may_be_as_old_as_idle_records_let_it() {
    let told = |teller: i32, interval: &str| {
        let mut scene = Scene::healthy_kraft();
        let value = (Some(interval.to_owned()), ConfigSource::StaticBroker);
        let key = String::from("metadata.max.idle.interval.ms");
        let values = BTreeMap::from([(key, value)]);
        scene.put(kafka(teller), Facts::NodeConfigs(NodeConfigs { values }));
        scene
    };
    let lags = |teller: i32, interval: &str, millis: f64| {
        let mut scene = told(teller, interval);
        scene.metric(2, Metric::MetadataLagMs, millis);
        one(&scene, metadata::run, Reason::MetadataLagging).is_some()
    };
    for (interval, limit) in [("500", 10_000.0), ("2500", 10_000.0), ("10000", 40_000.0)] {
        assert!(!lags(101, interval, limit), "{interval}");
        assert!(lags(101, interval, limit + 1.0), "{interval}");
    }
    assert!(!lags(101, "0", 60_000.0));
    assert!(lags(101, "-1", 60_000.0));
    for silent in [1, 102] {
        assert!(lags(silent, "0", 60_000.0), "{silent} is not active");
    }
    // The quorum's word stays.
    let mut scene = told(101, "0");
    scene.quorum(1, |quorum| {
        quorum.observers[1].last_caught_up_ms = Some(1_699_999_940_000);
    });
    assert!(one(&scene, metadata::run, Reason::MetadataLagging).is_some());
}

/// 1.25 s, whatever the nodes' settings are.
#[test]
fn a_member_of_the_quorum_counts_up_to_its_slack() {
    let behind = |millis: i64, change: fn(&mut Scene, i64)| {
        let mut scene = Scene::healthy_kraft();
        change(&mut scene, 1_700_000_000_000 - millis);
        scene
    };
    let observer = |scene: &mut Scene, at| {
        scene.quorum(1, |quorum| quorum.observers[1].last_caught_up_ms = Some(at));
    };
    let voter = |scene: &mut Scene, at| {
        scene.quorum(1, |quorum| quorum.voters[1].last_caught_up_ms = Some(at));
    };
    assert_eq!(found(&behind(1_250, observer), metadata::run), []);
    let late = one(
        &behind(1_251, observer),
        metadata::run,
        Reason::MetadataLagging,
    );
    assert_eq!(late.map(|it| it.subject), Some(Subject::Node(node(2))));
    assert_eq!(found(&behind(1_250, voter), quorum::run), []);
    let late = one(&behind(1_251, voter), quorum::run, Reason::QuorumDegraded);
    assert_eq!(late.map(|it| it.subject), Some(Subject::Node(node(102))));
}

/// KIP-853: an id may be listed twice, once with a directory that is gone. The living one counts.
#[test]
fn of_two_entries_of_one_observer_the_better_one_counts() {
    let mut scene = Scene::healthy_kraft();
    scene.quorum(1, |quorum| {
        let gone = QuorumMember {
            last_caught_up_ms: Some(1_600_000_000_000),
            ..quorum.observers[1].clone()
        };
        quorum.observers.insert(0, gone);
    });
    assert_eq!(found(&scene, metadata::run), []);
    scene.quorum(1, |quorum| quorum.observers.retain(|it| it.node != node(2)));
    let untold = one(&scene, metadata::run, Reason::EvidenceIncomplete).expect("a finding");
    assert_eq!(untold.subject, Subject::Node(node(2)));
    // A combined node has a vote instead.
    assert_eq!(found(&Scene::healthy_combined(), metadata::run), []);
}

#[test]
fn a_voter_that_is_not_heard_and_one_that_is_not_caught_up_are_told_apart() {
    let said = |change: fn(&mut QuorumMember)| {
        let mut scene = Scene::healthy_kraft();
        scene.quorum(1, |quorum| change(&mut quorum.voters[1]));
        one(&scene, quorum::run, Reason::QuorumDegraded)
            .expect("a finding")
            .observed
    };
    assert_eq!(
        said(|voter| voter.log_end_offset = -1),
        "not heard by the leader"
    );
    let unseen = "not yet seen caught up by a leader";
    assert_eq!(said(|voter| voter.last_caught_up_ms = None), unseen);
    let at_zero = |voter: &mut QuorumMember| {
        voter.log_end_offset = 0;
        voter.last_caught_up_ms = None;
    };
    assert_eq!(said(at_zero), unseen);
    assert_eq!(
        said(|voter| voter.last_caught_up_ms = Some(1_700_000_005_000)),
        "last caught up 5.0s after its leader's own clock: the leader's clock was set back"
    );
}

/// A broker that is cut off from the quorum stays in its leader's future as long as that clock was set
/// back.
#[test]
fn a_broker_ahead_of_its_leaders_clock_is_not_known_to_have_the_metadata() {
    let mut scene = Scene::healthy_kraft();
    scene.quorum(1, |quorum| {
        quorum.observers[1].last_caught_up_ms = Some(1_700_000_005_000);
    });
    let found = one(&scene, metadata::run, Reason::MetadataLagging).expect("a finding");
    assert_eq!(found.subject, Subject::Node(node(2)));
    assert_eq!(
        found.observed,
        "last caught up 5.0s after its leader's own clock: the leader's clock was set back"
    );
    // By some milliseconds two times of one answer may cross.
    scene.quorum(1, |quorum| {
        quorum.observers[1].last_caught_up_ms = Some(1_700_000_000_100);
    });
    assert_eq!(one(&scene, metadata::run, Reason::MetadataLagging), None);
}

#[test]
fn leadership_is_quiet_once_the_whole_quiet_time_is_over() {
    let moved = |ago: u64| {
        let mut scene = Scene::healthy_kraft();
        scene.policy.leadership_quiet = Duration::from_secs(10);
        scene.memory.leadership = Some(LeadershipChange {
            at: scene.now.mono.minus(Duration::from_millis(ago)),
            partitions: 20,
        });
        one(&scene, leadership::run, Reason::LeadershipMoving).map(|it| it.count)
    };
    assert_eq!(moved(9_999), Some(20));
    assert_eq!(moved(10_000), None);
}

#[test]
fn imbalance_counts_led_partitions_and_takes_the_worst_page() {
    let mut scene = Scene::healthy_kraft();
    scene.order(0, |partition| partition.leader = Some(3));
    scene.order(1, |partition| partition.leader = Some(3));
    scene.order(2, |partition| partition.leader = None);
    let counted = one(&scene, leadership::run, Reason::LeadersImbalanced).expect("a finding");
    assert_eq!((counted.count, counted.severity), (2, Severity::Warn));
    let mut scene = Scene::healthy_jmx();
    scene.metric(101, Metric::PreferredReplicaImbalanceCount, 3.0);
    scene.metric(102, Metric::PreferredReplicaImbalanceCount, 9.0);
    let counted = one(&scene, leadership::run, Reason::LeadersImbalanced).expect("a finding");
    assert_eq!(counted.count, 9);
}

fn a_move(partition: i32) -> Move {
    Move {
        topic: String::from("orders"),
        partition,
        replicas: list(&[1, 2, 3]),
        adding: list(&[3]),
        removing: Vec::new(),
    }
}

#[test]
fn a_move_that_two_brokers_tell_of_is_one_move() {
    let mut scene = Scene::healthy_kraft();
    let told = |list| Facts::Moves(Moves { list });
    scene.put(kafka(1), told(vec![a_move(0), a_move(1)]));
    scene.put(kafka(2), told(vec![a_move(1)]));
    let moving = one(&scene, moves::run, Reason::Reassigning).expect("a finding");
    assert_eq!((moving.count, moving.severity), (2, Severity::Warn));
    assert_eq!(moving.examples, ["orders-0", "orders-1"]);
    // Pages that count what the protocol tells of agree with it.
    scene.metric(2, Metric::ReassigningPartitions, 2.0);
    assert_eq!(reasons(&scene, moves::run), [Reason::Reassigning]);
}

/// Nobody says which nodes a move touches, so that it speaks against all of them.
#[test]
fn a_move_that_only_pages_count_blocks() {
    let mut scene = Scene::healthy_jmx();
    assert_eq!(found(&scene, moves::run), []);
    scene.metric(2, Metric::ReassigningPartitions, 1.0);
    let moving = one(&scene, moves::run, Reason::Reassigning).expect("a finding");
    assert_eq!(
        (moving.severity, moving.observed.as_str()),
        (Severity::Block, "1 by the JMX pages")
    );
}

/// Kafka's default rate is the largest number there is: no throttle.
#[test]
fn a_throttle_is_a_rate_that_throttles_while_nothing_is_moved() {
    let with_rate = |rate: &str| {
        let mut scene = Scene::healthy_kraft();
        let value = (Some(String::from(rate)), ConfigSource::DynamicBroker);
        let key = String::from("follower.replication.throttled.rate");
        scene.configs(2, |configs| {
            configs.values.insert(key, value);
        });
        scene
    };
    assert_eq!(found(&with_rate("9223372036854775807"), moves::run), []);
    let mut scene = with_rate("1000");
    let throttle = one(&scene, moves::run, Reason::LeftoverThrottle).expect("a finding");
    assert_eq!(throttle.subject, Subject::Node(node(2)));
    assert_eq!(
        throttle.observed,
        "follower.replication.throttled.rate=1000"
    );
    scene.moves(1, |moves| moves.list.push(a_move(0)));
    assert_eq!(
        reasons(&scene, moves::run),
        [Reason::Reassigning],
        "it is in use"
    );
}

/// Seven partitions are broken, five of them are named.
#[test]
fn all_partitions_are_counted_and_a_few_are_named() {
    let mut scene = Scene::healthy_kraft();
    scene.retopic(|topics| {
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let leader = partition.leader.expect("a leader");
            partition.isr.retain(|id| *id == leader);
        }
    });
    let under = one(&scene, partitions::run, Reason::UnderReplicated).expect("a finding");
    assert_eq!((under.count, under.examples.len()), (7, EXAMPLES));
    assert!(under.observed.starts_with(&under.examples[0]), "{under:?}");
    let distinct: std::collections::BTreeSet<_> = under.examples.iter().collect();
    assert_eq!(distinct.len(), EXAMPLES);
}

#[test]
fn a_partition_is_described_as_it_is() {
    let mut scene = Scene::healthy_kraft();
    scene.order(0, |partition| partition.isr = vec![1]);
    let under = one(&scene, partitions::run, Reason::UnderMinIsr).expect("a finding");
    assert_eq!(
        under.observed,
        "orders-0: fewer in sync than min ISR (leader 1, replicas [1, 2, 3], ISR [1], 1 of them up)"
    );
    scene.order(0, |partition| partition.isr = vec![1, 2]);
    assert_eq!(
        one(&scene, partitions::run, Reason::UnderMinIsr),
        None,
        "two of two are enough"
    );
    scene.order(0, |partition| partition.leader = None);
    let offline = one(&scene, partitions::run, Reason::OfflinePartitions).expect("a finding");
    assert!(offline.observed.contains("leader none"), "{offline:?}");
}

/// A table of one partition that answers these error codes.
fn answers(topic: i16, partition: i16, leader: Option<i32>) -> Vec<Reason> {
    let mut scene = Scene::healthy_kraft();
    scene.retopic(|topics| {
        topics.truncate(1);
        topics[0].partitions.truncate(1);
        topics[0].partitions[0].leader = leader;
    });
    for id in [1, 2] {
        let mut builder = Builder::default();
        builder.topic(Uuid::new(1), "orders", false, topic);
        builder.partition(Partition {
            index: 0,
            leader: leader.map(NodeId),
            leader_epoch: Some(5),
            error: partition,
            replicas: &list(&[1, 2, 3]),
            isr: &list(&[1, 2, 3]),
            offline: &[],
        });
        scene.put(kafka(id), Facts::Partitions(Arc::new(builder.finish())));
    }
    reasons(&scene, partitions::run)
}

#[test]
fn an_error_in_a_table_is_no_proof_unless_it_is_one_of_the_harmless_two() {
    assert_eq!(answers(0, 0, Some(1)), []);
    // REPLICA_NOT_AVAILABLE: old releases say it of any partition with a dead replica.
    assert_eq!(answers(0, 9, Some(1)), []);
    // LEADER_NOT_AVAILABLE says what the missing leader says already, and nothing else.
    assert_eq!(answers(0, 5, None), [Reason::OfflinePartitions]);
    assert_eq!(answers(0, 5, Some(1)), [Reason::EvidenceIncomplete]);
    assert_eq!(
        answers(0, 3, None),
        [Reason::EvidenceIncomplete, Reason::OfflinePartitions]
    );
    assert_eq!(answers(29, 0, Some(1)), [Reason::TopicsHidden]);
    assert_eq!(answers(3, 0, Some(1)), [Reason::EvidenceIncomplete]);
}

/// Which follower is behind, on how many partitions, and by how much on the first.
#[test]
fn a_follower_that_is_behind_is_named_with_what_it_lacks() {
    let mut scene = Scene::healthy_kraft();
    scene.log_ends(2, |ends| {
        for row in &mut ends.rows {
            row.own_end = Known::Is(498);
        }
    });
    let behind = one(&scene, progress::run, Reason::ReplicaBehind).expect("a finding");
    assert_eq!(behind.subject, Subject::Node(node(2)));
    assert_eq!(behind.count, 5, "of seven partitions it leads two");
    assert_eq!(behind.examples.len(), EXAMPLES);
    assert!(
        behind.observed.ends_with(": at 498 of the leader's 500"),
        "{behind:?}"
    );
    scene.log_ends(2, |ends| {
        for row in &mut ends.rows {
            row.own_end = Known::Is(500);
        }
    });
    assert_eq!(found(&scene, progress::run), []);
}

#[test]
fn why_an_end_is_not_known_is_said_once() {
    let said = |own: Known<i64>, leader: Known<i64>| {
        let mut scene = Scene::healthy_kraft();
        scene.log_ends(2, |ends| {
            ends.rows[0].own_end = own;
            ends.rows[0].leader_end = leader;
        });
        let unknown = one(&scene, progress::run, Reason::EvidenceIncomplete);
        unknown.expect("a finding").observed
    };
    let failed = |why: &str| Known::Failed(Why(String::from(why)));
    let own = said(failed("disk"), Known::Is(500));
    assert!(own.ends_with("its log end is not known: disk"), "{own}");
    let both = said(failed("disk"), failed("disk"));
    assert!(both.ends_with("its log end is not known: disk"), "{both}");
    let two = said(failed("disk"), failed("net"));
    assert!(
        two.ends_with("its log end is not known: disk, net"),
        "{two}"
    );
}

/// What is out of the ISR is another row's; what is just being added need not have caught up.
#[test]
fn only_in_sync_followers_have_to_have_caught_up() {
    let mut scene = Scene::healthy_kraft();
    scene.order(0, |partition| partition.isr = vec![1, 3]);
    scene.log_ends(2, |ends| {
        let of_it = |row: &&mut ReplicaEnd| &*row.topic == "orders" && row.partition == 0;
        for row in ends.rows.iter_mut().filter(of_it) {
            row.own_end = Known::Is(0);
        }
    });
    assert_eq!(found(&scene, progress::run), []);
    scene.order(0, |_| {});
    let mut moving = a_move(3);
    moving.adding = list(&[1]);
    moving.replicas = list(&[2, 3, 1]);
    scene.moves(1, |moves| moves.list.push(moving));
    scene.log_ends(1, |ends| {
        ends.rows
            .retain(|row| !(&*row.topic == "orders" && row.partition == 3));
    });
    assert_eq!(found(&scene, progress::run), []);
}
