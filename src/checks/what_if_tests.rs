//! The what-if against its truth table, against a naive reading of DESIGN 4.4, and its laws.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::evidence::ids::{NodeId, Release, Role, Version};
use crate::evidence::policy::Weight;
use crate::evidence::report::FactKind;
use crate::evidence::scene::{Scene, SceneTopic, jmx, set};

use super::reason::{Reason, Severity};
use super::samples::{moving, one_topic};
use super::what_if::{every_node, what_if};

/// What stopping these nodes finds: reasons with their severities.
fn found(scene: &Scene, stop: &[i32]) -> BTreeMap<Reason, Severity> {
    scene.snapshot(|snapshot| {
        let judged = what_if(snapshot, &set(stop));
        let findings = judged.findings();
        findings
            .iter()
            .map(|finding| (finding.reason, finding.severity))
            .collect()
    })
}

fn only(reason: Reason, severity: Severity) -> BTreeMap<Reason, Severity> {
    BTreeMap::from([(reason, severity)])
}

fn nothing() -> BTreeMap<Reason, Severity> {
    BTreeMap::new()
}

#[test]
fn with_everything_up_risks_are_by_design_and_warn() {
    let cases = [
        (1, &[1][..], Some(Reason::SingleReplica)),
        (2, &[1], Some(Reason::SingleReplica)),
        (1, &[1, 2], Some(Reason::LastCopyByDesign)),
        (2, &[1, 2], Some(Reason::NoSpareReplica)),
        (1, &[1, 2, 3], None),
        (2, &[1, 2, 3], None),
        (3, &[1, 2, 3], Some(Reason::NoSpareReplica)),
    ];
    for (min_isr, replicas, reason) in cases {
        let scene = one_topic("t", min_isr, replicas);
        let expected = reason.map_or_else(nothing, |reason| only(reason, Severity::Warn));
        assert_eq!(
            found(&scene, &[1]),
            expected,
            "RF {} m {min_isr}",
            replicas.len()
        );
        if !replicas.contains(&3) {
            assert_eq!(found(&scene, &[3]), nothing(), "a node that holds nothing");
        }
    }
}

#[test]
fn with_one_replica_missing_risks_are_degraded_and_block() {
    let cases = [
        (1, &[1, 2][..], Reason::WouldGoOffline),
        (2, &[1, 2], Reason::WouldGoOffline),
        (1, &[1, 2, 3], Reason::WouldLeaveLastCopy),
        (2, &[1, 2, 3], Reason::WouldLoseMinIsr),
        (3, &[1, 2, 3], Reason::WouldLoseMinIsr),
    ];
    for (min_isr, replicas, reason) in cases {
        let name = format!("RF {} m {min_isr}", replicas.len());
        let expected = only(reason, Severity::Block);
        let mut out_of_isr = one_topic("t", min_isr, replicas);
        out_of_isr.order(0, |p| p.isr.retain(|id| *id != 2));
        assert_eq!(found(&out_of_isr, &[1]), expected, "{name}, out of the ISR");
        // A killed broker stays in the ISR for nine seconds.
        let mut killed = one_topic("t", min_isr, replicas);
        killed.kill(2);
        assert_eq!(found(&killed, &[1]), expected, "{name}, killed");
        let mut granted = one_topic("t", min_isr, replicas);
        granted.granted = set(&[2]);
        assert_eq!(
            found(&granted, &[1]),
            expected,
            "{name}, granted to somebody"
        );
        let mut offline = one_topic("t", min_isr, replicas);
        offline.order(0, |p| p.offline = vec![2]);
        assert_eq!(
            found(&offline, &[1]),
            expected,
            "{name}, on a failed log dir"
        );
    }
}

#[test]
fn no_leader_is_offline_whatever_the_isr_says() {
    let mut scene = one_topic("t", 2, &[1, 2, 3]);
    scene.order(0, |p| p.leader = None);
    assert_eq!(
        found(&scene, &[2]),
        only(Reason::WouldGoOffline, Severity::Block)
    );
}

#[test]
fn the_policy_turns_either_class() {
    let mut structural = one_topic("t", 1, &[1]);
    structural.policy.structural = Weight::Block;
    assert_eq!(
        found(&structural, &[1]),
        only(Reason::SingleReplica, Severity::Block)
    );
    let mut degraded = one_topic("t", 2, &[1, 2, 3]);
    degraded.order(0, |p| p.isr = vec![1, 3]);
    degraded.policy.degraded = Weight::Warn;
    assert_eq!(
        found(&degraded, &[1]),
        only(Reason::WouldLoseMinIsr, Severity::Warn)
    );
    // What blocks with everything up does not get lighter when something is missing.
    let mut both = one_topic("t", 1, &[1, 2]);
    both.policy.structural = Weight::Block;
    both.policy.degraded = Weight::Warn;
    both.order(0, |p| p.isr = vec![1]);
    assert_eq!(
        found(&both, &[1]),
        only(Reason::WouldGoOffline, Severity::Block)
    );
}

/// What the policy lets pass is one node's stop on top of something missing.
#[test]
fn several_at_once_block_whatever_the_policy_makes_of_what_is_missing() {
    let block = |reason| only(reason, Severity::Block);
    let mut scene = Scene::healthy_kraft();
    scene.policy.degraded = Weight::Warn;
    assert_eq!(found(&scene, &[1]), nothing());
    assert_eq!(found(&scene, &[1, 2]), block(Reason::WouldLoseMinIsr));
    assert_eq!(found(&scene, &[1, 2, 3]), block(Reason::WouldGoOffline));
    assert_eq!(found(&scene, &[101, 102]), block(Reason::WouldLoseQuorum));
    let all = found(&scene, &[1, 2, 3, 101, 102, 103]);
    assert!(all.values().all(|severity| *severity == Severity::Block));
    // One of them being down already does not open it.
    scene.kill(102);
    assert_eq!(found(&scene, &[101, 102]), block(Reason::WouldLoseQuorum));
    let lose = only(Reason::WouldLoseQuorum, Severity::Warn);
    assert_eq!(found(&scene, &[101]), lose);
    scene.kill(2);
    assert_eq!(found(&scene, &[1, 2]), block(Reason::WouldLoseMinIsr));
    let topics = vec![SceneTopic::new("t", 2, &[&[1, 2, 3]])];
    let mut two = Scene::with(&[1, 2, 3], &[101, 102], topics);
    two.policy.degraded = Weight::Warn;
    assert_eq!(found(&two, &[101, 102]), block(Reason::WouldLoseQuorum));
}

#[test]
fn kafkas_own_topics_have_their_own_code() {
    for replicas in [&[1][..], &[1, 2]] {
        let scene = one_topic("__transaction_state", 2, replicas);
        let expected = only(Reason::InternalTopicAtRisk, Severity::Warn);
        assert_eq!(found(&scene, &[1]), expected);
    }
}

#[test]
fn min_isr_is_capped_only_when_every_broker_is_3_7() {
    // RF 2 with min ISR 3: capped to 2 either way it has no spare; RF 2, ISR 2, one more down
    // is another matter. RF 1, min ISR 2 shows the difference in the partitions row.
    let release = |scene: &mut Scene, minor| {
        scene.link(2, |link| {
            link.release = Release::Is(Version { major: 3, minor });
        });
    };
    let mut old = one_topic("t", 4, &[1, 2, 3]);
    release(&mut old, 6);
    assert_eq!(
        found(&old, &[1]),
        only(Reason::NoSpareReplica, Severity::Warn)
    );
    let judged = |scene: &Scene| {
        scene.snapshot(|snapshot| {
            let judged = super::partitions::run(snapshot);
            judged
                .findings()
                .iter()
                .map(|finding| finding.reason)
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(judged(&old), [Reason::NoSpareReplica]);
    release(&mut old, 7);
    assert!(judged(&old).is_empty());
    old.link(3, |link| link.release = Release::Unknown);
    assert_eq!(judged(&old), [Reason::NoSpareReplica]);
}

#[test]
fn a_move_stops_the_nodes_it_touches_and_adding_replicas_do_not_count() {
    let topics = vec![SceneTopic::new("orders", 2, &[&[1, 2, 3, 4], &[1, 2, 3]])];
    let mut scene = Scene::with(&[1, 2, 3, 4, 5], &[101, 102, 103], topics);
    moving(&mut scene);
    let stopped = only(Reason::WouldStopReassignment, Severity::Block);
    for id in [1, 2, 3, 4] {
        assert_eq!(found(&scene, &[id]), stopped, "node {id}");
    }
    assert_eq!(found(&scene, &[5]), nothing());
    // Broker 4 is in the ISR and is just being added: it is no copy to rely on.
    scene.order(0, |p| p.isr = vec![1, 2, 4]);
    let found = found(&scene, &[1]);
    assert_eq!(found.get(&Reason::WouldLoseMinIsr), Some(&Severity::Block));
}

#[test]
fn two_replicas_at_once_are_never_by_design() {
    let scene = one_topic("t", 2, &[1, 2, 3]);
    assert_eq!(
        found(&scene, &[1, 2]),
        only(Reason::WouldLoseMinIsr, Severity::Block)
    );
    assert_eq!(
        found(&scene, &[1, 2, 3]),
        only(Reason::WouldGoOffline, Severity::Block)
    );
    let two = one_topic("t", 2, &[1, 2]);
    assert_eq!(
        found(&two, &[1, 2]),
        only(Reason::WouldGoOffline, Severity::Block)
    );
    assert_eq!(
        found(&two, &[1, 3]),
        only(Reason::NoSpareReplica, Severity::Warn)
    );
}

#[test]
fn unknown_min_isr_and_unknown_nodes_are_unknown() {
    let mut scene = one_topic("t", 2, &[1, 2, 3]);
    scene.topic_configs(1, |configs| configs.min_insync_replicas.clear());
    let unknown = only(Reason::EvidenceIncomplete, Severity::Unknown);
    assert_eq!(found(&scene, &[1]), unknown);
    let healthy = one_topic("t", 2, &[1, 2, 3]);
    assert_eq!(found(&healthy, &[9]), unknown);
    assert_eq!(found(&healthy, &[]), unknown);
}

#[test]
fn without_evidence_no_node_may_go() {
    for kind in [
        FactKind::Link,
        FactKind::Cluster,
        FactKind::Partitions,
        FactKind::TopicConfigs,
        FactKind::Moves,
        FactKind::Quorum,
    ] {
        let mut scene = Scene::healthy_kraft();
        scene.remove(kind);
        scene.snapshot(|snapshot| {
            for (id, judged) in every_node(snapshot) {
                assert!(!judged.allows_open(), "node {id} without {kind}");
                assert!(!what_if(snapshot, &BTreeSet::from([id])).allows_open());
            }
        });
    }
}

#[test]
fn a_majority_of_all_voters_has_to_be_left() {
    let lose = || only(Reason::WouldLoseQuorum, Severity::Block);
    let cluster = |voters: &[i32], down: &[i32]| {
        let topics = vec![SceneTopic::new("t", 2, &[&[1, 2, 3]])];
        let mut scene = Scene::with(&[1, 2, 3], voters, topics);
        for id in down {
            scene.kill(*id);
        }
        scene
    };
    let single = only(Reason::SingleVoter, Severity::Warn);
    let two = only(Reason::TwoVoters, Severity::Warn);
    assert_eq!(found(&cluster(&[101], &[]), &[101]), single);
    assert_eq!(found(&cluster(&[101, 102], &[]), &[101]), two);
    assert_eq!(found(&cluster(&[101, 102], &[102]), &[101]), lose());
    assert_eq!(found(&cluster(&[101, 102], &[]), &[101, 102]), lose());
    assert_eq!(found(&cluster(&[101, 102, 103], &[]), &[101]), nothing());
    assert_eq!(found(&cluster(&[101, 102, 103], &[102]), &[101]), lose());
    assert_eq!(found(&cluster(&[101, 102, 103], &[102]), &[1]), nothing());
    assert_eq!(found(&cluster(&[101, 102, 103], &[]), &[101, 103]), lose());
    assert_eq!(
        found(&cluster(&[101, 102, 103, 104], &[]), &[104]),
        nothing()
    );
    assert_eq!(
        found(&cluster(&[101, 102, 103, 104], &[101]), &[104]),
        lose()
    );
    let five = [101, 102, 103, 104, 105];
    assert_eq!(found(&cluster(&five, &[102]), &[101]), nothing());
    assert_eq!(found(&cluster(&five, &[102, 103]), &[101]), lose());
}

#[test]
fn a_voter_that_is_behind_is_no_voter() {
    let mut scene = Scene::healthy_kraft();
    scene.quorum(1, |quorum| {
        quorum.voters[2].last_caught_up_ms = Some(1_699_999_995_000);
    });
    let lose = only(Reason::WouldLoseQuorum, Severity::Block);
    assert_eq!(found(&scene, &[102]), lose);
    scene.quorum(1, |quorum| quorum.leader = None);
    assert_eq!(found(&scene, &[103]), lose);
}

#[test]
fn a_combined_node_has_to_pass_both() {
    let mut scene = Scene::healthy_combined();
    assert_eq!(found(&scene, &[2]), nothing());
    scene.kill(3);
    let found = found(&scene, &[2]);
    assert!(found.contains_key(&Reason::WouldLoseQuorum), "{found:?}");
    assert!(found.contains_key(&Reason::WouldLoseMinIsr), "{found:?}");
}

#[test]
fn zookeeper_has_no_quorum_part() {
    let scene = Scene::healthy_zookeeper();
    assert_eq!(found(&scene, &[1]), nothing());
}

#[test]
fn fifty_thousand_partitions_take_milliseconds() {
    let all: Vec<Vec<i32>> = (0..50_000)
        .map(|n| (0..3).map(|r| (n + r) % 9 + 1).collect())
        .collect();
    let lists: Vec<&[i32]> = all.iter().map(Vec::as_slice).collect();
    let topics = lists
        .chunks(50)
        .enumerate()
        .map(|(at, chunk)| SceneTopic::new(&format!("t{at}"), 2, chunk))
        .collect();
    let brokers: Vec<i32> = (1..=9).collect();
    let mut scene = Scene::with(&brokers, &[101, 102, 103], topics);
    for killed in [false, true] {
        if killed {
            scene.kill(5);
        }
        scene.snapshot(|snapshot| {
            #[expect(clippy::disallowed_methods, reason = "a stopwatch in a test")]
            let start = Instant::now();
            let nodes = every_node(snapshot);
            let took = start.elapsed();
            assert_eq!(nodes.len(), 12);
            eprintln!("every_node, 50,000 partitions, one killed: {killed}: {took:?}");
            assert!(took.as_millis() < 1_000, "{took:?}");
            #[expect(clippy::disallowed_methods, reason = "a stopwatch in a test")]
            let start = Instant::now();
            let evaluation = super::table::evaluate(snapshot, snapshot);
            eprintln!("evaluate: {:?}", start.elapsed());
            assert_eq!(evaluation.allows_open(), !killed);
        });
    }
}

#[test]
fn a_set_is_named_as_a_whole() {
    let scene = one_topic("t", 2, &[1, 2, 3]);
    scene.snapshot(|snapshot| {
        let judged = what_if(snapshot, &set(&[1, 2]));
        let subjects: Vec<_> = judged
            .findings()
            .iter()
            .map(|finding| finding.subject.to_string())
            .collect();
        assert_eq!(subjects, ["cluster"]);
    });
}

/// That the sums are well says nothing of two brokers at once, and the voters are not read.
#[test]
fn with_pages_alone_a_set_is_not_known() {
    let limited = || only(Reason::NoWhatIf, Severity::Warn);
    let unknown = || only(Reason::NoWhatIf, Severity::Unknown);
    let mut scene = Scene::healthy_jmx();
    for id in [1, 2, 3, 101, 102, 103] {
        assert_eq!(found(&scene, &[id]), limited(), "{id}");
    }
    for set in [&[1, 2][..], &[1, 2, 3], &[101, 102], &[101, 102, 103]] {
        assert_eq!(found(&scene, set), unknown(), "{set:?}");
        scene.snapshot(|snapshot| {
            let stop: BTreeSet<_> = set.iter().copied().map(NodeId).collect();
            assert!(!what_if(snapshot, &stop).allows_open(), "{set:?}");
        });
    }
    assert_eq!(found(&scene, &[1, 101]), limited(), "a broker and a voter");
    // Two of five controllers leave three, as long as nobody else is down.
    scene.policy.expected.insert(NodeId(104), Role::CONTROLLER);
    scene.policy.expected.insert(NodeId(105), Role::CONTROLLER);
    assert_eq!(
        found(&scene, &[101, 102]),
        unknown(),
        "104 and 105 are down"
    );
    for id in [104, 105] {
        let page = scene.reports[&(jmx(103), FactKind::Jmx)].facts.clone();
        scene.put(jmx(id), page.unwrap());
    }
    assert_eq!(found(&scene, &[101, 102]), limited());
    assert_eq!(found(&scene, &[101, 102, 103]), unknown());
    let mut combined = Scene::healthy_jmx();
    combined.policy.expected = set(&[1, 2, 3])
        .into_iter()
        .map(|id| (id, Role::COMBINED))
        .collect();
    assert_eq!(found(&combined, &[1, 2]), unknown());
    assert_eq!(found(&combined, &[1]), limited());
}
