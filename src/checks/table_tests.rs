//! The tests that every row of the table must pass, made from its `needs` and `sample`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::evidence::ids::NodeId;
use crate::evidence::known::Known;
use crate::evidence::report::{FactKind, FailureClass, SourceId};
use crate::evidence::scene::{Scene, node, set};
use crate::evidence::voters;

use super::finding::Judged;
use super::needs::{Need, applies};
use super::reason::{Reason, Severity};
use super::table::{CheckRow, TABLE, evaluate, needed_kinds};

/// Reasons that only the Machine gives: they are about the gate, or about time.
const OF_THE_MACHINE: &[Reason] = &[
    Reason::WarmingUp,
    Reason::ClockJumped,
    Reason::Settling,
    Reason::Hold,
    Reason::NodeHold,
    Reason::SlotTaken,
    Reason::NoProgress,
    Reason::RegistrationStalled,
    Reason::EngineFailed,
    Reason::ViewExpired,
    Reason::StoreUnavailable,
    Reason::NodeRestarted,
];

fn judge(row: &CheckRow, scene: &Scene) -> Judged {
    scene.snapshot(|snapshot| row.judge(snapshot))
}

fn reasons(judged: &Judged) -> BTreeSet<Reason> {
    judged
        .findings()
        .iter()
        .map(|finding| finding.reason)
        .collect()
}

#[test]
fn a_healthy_cluster_is_proved() {
    for row in TABLE {
        let mut proved = false;
        for scene in (row.sample)().healthy {
            let judged = judge(row, &scene);
            assert!(judged.allows_open(), "{}: {judged:#?}", row.id);
            proved |= matches!(judged, Judged::Proved { .. });
        }
        assert!(proved, "{} is never proved", row.id);
    }
}

#[test]
fn each_reason_of_a_row_is_found_on_its_sample_and_no_other_is() {
    for row in TABLE {
        let mut found = BTreeSet::new();
        for (reason, scene) in (row.sample)().bad {
            let judged = judge(row, &scene);
            let seen = reasons(&judged);
            assert!(
                seen.contains(&reason),
                "{}: no {reason} in {judged:#?}",
                row.id
            );
            found.extend(seen);
        }
        let declared: BTreeSet<_> = row.reasons.iter().copied().collect();
        assert_eq!(
            declared.len(),
            row.reasons.len(),
            "{} declares one twice",
            row.id
        );
        let of_needs = BTreeSet::from([
            Reason::EvidenceMissing,
            Reason::EvidenceStale,
            Reason::SourceFailed,
        ]);
        let undeclared: Vec<_> = found.difference(&declared).collect();
        assert!(
            undeclared.iter().all(|reason| of_needs.contains(reason)),
            "{} finds {undeclared:?}",
            row.id
        );
        let never: Vec<_> = declared.difference(&found).collect();
        assert!(never.is_empty(), "{} never finds {never:?}", row.id);
    }
}

#[test]
fn every_reason_is_some_rows_or_the_machines() {
    let mut of_rows: BTreeSet<Reason> = BTreeSet::new();
    for row in TABLE {
        of_rows.extend(row.reasons);
    }
    for reason in Reason::ALL {
        let of_machine = OF_THE_MACHINE.contains(reason);
        assert!(of_rows.contains(reason) != of_machine, "{reason}");
    }
}

/// Tries a row on its healthy clusters with the kinds of one need spoiled everywhere.
fn without(row: &CheckRow, need: &Need, spoil: impl Fn(&mut Scene, FactKind)) {
    let mut tried = 0;
    for scene in (row.sample)().healthy {
        let kinds: Vec<_> = scene.snapshot(|snapshot| {
            let kinds = need.kinds().iter().copied();
            kinds.filter(|kind| applies(snapshot, *kind)).collect()
        });
        if kinds.is_empty() {
            continue;
        }
        let mut scene = scene;
        for kind in &kinds {
            spoil(&mut scene, *kind);
        }
        // Without partitions some kinds are not asked for; the row needs the partitions then.
        let judged = judge(row, &scene);
        assert!(
            !judged.allows_open(),
            "{} without {kinds:?}: {judged:#?}",
            row.id
        );
        tried += 1;
    }
    assert!(tried > 0, "{}: {need:?} is needed on no sample", row.id);
}

#[test]
fn without_its_evidence_no_row_allows_open() {
    for row in TABLE {
        for need in row.needs {
            without(row, need, Scene::remove);
        }
    }
}

#[test]
fn on_stale_evidence_no_row_allows_open() {
    for row in TABLE {
        for need in row.needs {
            without(row, need, Scene::make_stale);
        }
    }
}

#[test]
fn on_failed_sources_no_row_allows_open() {
    for row in TABLE {
        for need in row.needs {
            without(row, need, |scene, kind| {
                scene.fail_all(kind, FailureClass::Malformed);
            });
        }
    }
}

#[test]
fn where_sources_disagree_no_row_allows_open() {
    for row in TABLE {
        for scene in (row.sample)().disagree {
            let judged = judge(row, &scene);
            assert!(!judged.allows_open(), "{}: {judged:#?}", row.id);
        }
    }
}

#[test]
fn a_healthy_cluster_allows_open_as_a_whole() {
    for scene in [
        Scene::healthy_kraft(),
        Scene::healthy_combined(),
        Scene::healthy_zookeeper(),
        Scene::healthy_jmx(),
        Scene::healthy_kafka(),
    ] {
        scene.snapshot(|snapshot| {
            let evaluation = evaluate(snapshot, snapshot);
            assert!(evaluation.allows_open(), "{:#?}", evaluation.findings());
            assert_eq!(evaluation.nodes.len(), snapshot.expected.len());
            assert_eq!(evaluation.progress_proven, snapshot.policy.mode.kafka());
        });
    }
}

#[test]
fn whatever_kind_goes_missing_stale_or_wrong_the_whole_does_not_open() {
    let scenes = [
        Scene::healthy_kraft(),
        Scene::healthy_combined(),
        Scene::healthy_zookeeper(),
        Scene::healthy_jmx(),
        Scene::healthy_kafka(),
    ];
    let spoils: [fn(&mut Scene, FactKind); 3] = [
        |scene, kind| scene.remove(kind),
        |scene, kind| scene.make_stale(kind),
        |scene, kind| scene.fail_all(kind, FailureClass::Throttled),
    ];
    for healthy in scenes {
        for kind in needed_kinds() {
            if healthy.sources(kind).is_empty() {
                continue;
            }
            for spoil in spoils {
                let mut scene = healthy.clone();
                spoil(&mut scene, kind);
                let opens = scene.snapshot(|snapshot| evaluate(snapshot, snapshot).allows_open());
                assert!(!opens, "{kind} in {:?}", scene.policy.mode);
            }
        }
    }
}

#[test]
fn any_one_source_that_goes_silent_keeps_the_whole_from_opening() {
    for healthy in [
        Scene::healthy_kraft(),
        Scene::healthy_zookeeper(),
        Scene::healthy_jmx(),
    ] {
        for slot in healthy.reports.keys() {
            let mut scene = healthy.clone();
            scene.reports.remove(slot);
            let opens = scene.snapshot(|snapshot| evaluate(snapshot, snapshot).allows_open());
            assert!(!opens, "without {} of {}", slot.1, slot.0);
        }
    }
}

#[test]
fn a_killed_broker_is_named_at_once() {
    let mut scene = Scene::healthy_kraft();
    scene.kill(2);
    scene.snapshot(|snapshot| {
        let evaluation = evaluate(snapshot, snapshot);
        let findings = evaluation.findings();
        let first = findings.first().map(|finding| finding.severity);
        assert_eq!(first, Some(Severity::Block));
        let seen: BTreeSet<_> = findings.iter().map(|finding| finding.reason).collect();
        for reason in [
            Reason::NodeUnreachable,
            Reason::UnderReplicated,
            Reason::OfflinePartitions,
            Reason::WouldLoseMinIsr,
        ] {
            assert!(seen.contains(&reason), "{reason}");
        }
        for id in [1, 3] {
            assert!(!evaluation.nodes[&node(id)].allows_open(), "node {id}");
        }
        // It is gone already: stopping it takes nothing more away. The other rows keep the gate.
        assert!(evaluation.nodes[&node(2)].allows_open());
    });
}

#[test]
fn a_starved_gate_accuses_no_node() {
    let mut scene = Scene::healthy_kraft();
    scene.make_stale(FactKind::Link);
    let row = TABLE.iter().find(|row| row.id == "nodes").unwrap();
    assert_eq!(
        reasons(&judge(row, &scene)),
        BTreeSet::from([Reason::EvidenceStale])
    );
}

#[test]
fn two_pages_of_one_exporter_do_not_stand_for_two_nodes() {
    let mut scene = Scene::healthy_jmx();
    scene.page(2, |page| page.start_time = Known::Is(1_699_000_001.0));
    let opens = scene.snapshot(|snapshot| evaluate(snapshot, snapshot).allows_open());
    assert!(!opens);
}

#[test]
fn a_leftover_registration_only_warns() {
    let mut scene = Scene::healthy_kraft();
    super::samples::leftover(&mut scene);
    scene.snapshot(|snapshot| {
        let evaluation = evaluate(snapshot, snapshot);
        assert!(evaluation.allows_open(), "{:#?}", evaluation.findings());
    });
}

/// Controllers that are not asked: the cluster without their connections and pages.
fn via_brokers() -> Scene {
    let mut scene = Scene::healthy_kraft();
    scene.policy.via_brokers = true;
    let controllers = [101, 102, 103];
    let of_controllers = |source: &SourceId| {
        let node = source.node();
        node.is_some_and(|node| controllers.contains(&node.0))
    };
    scene
        .reports
        .retain(|(source, _), _| !of_controllers(source));
    scene
}

/// The quorum's leader has had this voter caught up so many milliseconds earlier.
fn fall_behind(scene: &mut Scene, id: i32, millis: i64) {
    for source in scene.sources(FactKind::Quorum) {
        scene.quorum(source.node().unwrap().0, |quorum| {
            let mut voters = quorum.voters.iter_mut();
            let late = voters.find(|voter| voter.node == NodeId(id)).unwrap();
            late.last_caught_up_ms = late.last_caught_up_ms.map(|at| at - millis);
        });
    }
}

fn down(scene: &Scene) -> BTreeSet<NodeId> {
    scene.snapshot(|snapshot| snapshot.down.clone())
}

fn found(scene: &Scene) -> BTreeSet<Reason> {
    scene.snapshot(|snapshot| {
        let evaluation = evaluate(snapshot, snapshot);
        let rows = evaluation.rows.iter();
        let findings = rows.flat_map(|(_, judged)| judged.findings());
        findings.map(|finding| finding.reason).collect()
    })
}

#[test]
fn controllers_that_are_not_asked_count_by_the_quorums_word() {
    let mut scene = via_brokers();
    assert_eq!(found(&scene), BTreeSet::new());
    assert_eq!(down(&scene), BTreeSet::new());
    scene.snapshot(|snapshot| assert!(evaluate(snapshot, snapshot).allows_open()));
    // The same without the setting: they are missed.
    scene.policy.via_brokers = false;
    assert_eq!(down(&scene), set(&[101, 102, 103]));
    assert!(found(&scene).contains(&Reason::EvidenceMissing));

    let mut scene = via_brokers();
    fall_behind(&mut scene, 102, 1_500);
    assert_eq!(down(&scene), set(&[102]));
    let reasons = found(&scene);
    assert!(reasons.contains(&Reason::NodeUnreachable), "{reasons:?}");
    assert!(reasons.contains(&Reason::QuorumDegraded), "{reasons:?}");
    assert!(reasons.contains(&Reason::WouldLoseQuorum), "{reasons:?}");
}

/// A leader keeps the later of the old and the present time of each voter: after its clock was set back
/// a dead one would look caught up for as long.
#[test]
fn controllers_that_are_not_asked_are_not_up_by_a_clock_that_was_set_back() {
    let mut scene = via_brokers();
    fall_behind(&mut scene, 102, -10_000);
    assert_eq!(down(&scene), set(&[102]));
    let reasons = found(&scene);
    assert!(reasons.contains(&Reason::QuorumDegraded), "{reasons:?}");
    scene.snapshot(|snapshot| assert!(!evaluate(snapshot, snapshot).allows_open()));
}

/// A gate that is stopped says what it last said until its view is over: not longer than what it
/// was judged by counts. Found by the simulation: 2.65 s after a controller's stop.
#[test]
fn a_view_ends_with_the_quorums_word_for_controllers_that_are_not_asked() {
    let mut scene = via_brokers();
    let left = |scene: &Scene| {
        scene.snapshot(|snapshot| {
            let asked = voters::newest(snapshot).unwrap().report.asked;
            snapshot.fresh_until().unwrap().since(asked)
        })
    };
    let usual = left(&scene);
    fall_behind(&mut scene, 102, 1_200);
    assert_eq!(down(&scene), BTreeSet::new());
    assert_eq!(left(&scene), Duration::from_millis(300));
    assert!(usual > Duration::from_millis(300), "{usual:?}");
    scene.policy.via_brokers = false;
    assert!(left(&scene) > Duration::from_millis(300));
}

#[test]
fn brokers_alone_may_have_exporters() {
    let mut scene = Scene::healthy_kraft();
    scene.policy.jmx_nodes = Some(set(&[1, 2, 3]));
    for id in [101, 102, 103] {
        scene
            .reports
            .remove(&(SourceId::Jmx(NodeId(id)), FactKind::Jmx));
    }
    assert_eq!(found(&scene), BTreeSet::new());
    scene.policy.jmx_nodes = Some(set(&[1, 2, 3, 101]));
    assert!(found(&scene).contains(&Reason::EvidenceMissing));
}

#[test]
fn without_a_word_of_the_quorum_controllers_that_are_not_asked_are_down() {
    let mut scene = via_brokers();
    scene.remove(FactKind::Quorum);
    assert_eq!(down(&scene), set(&[101, 102, 103]));
    scene.snapshot(|snapshot| assert!(!evaluate(snapshot, snapshot).allows_open()));
}

#[test]
fn a_combined_node_is_asked_itself_whatever_the_setting() {
    let mut scene = Scene::healthy_combined();
    scene.policy.via_brokers = true;
    scene.kill(2);
    assert!(down(&scene).contains(&NodeId(2)));
    assert!(found(&scene).contains(&Reason::NodeUnreachable));
}

/// Only then may the window be shortened.
#[test]
fn progress_is_proven_by_log_ends_and_by_nothing_else() {
    let proven = |scene: &Scene| scene.snapshot(|s| evaluate(s, s).progress_proven);
    assert!(proven(&Scene::healthy_kraft()));
    assert!(proven(&Scene::healthy_kafka()));
    // The row does not apply there, and lets a gate open.
    assert!(!proven(&Scene::healthy_jmx()));
    let mut behind = Scene::healthy_kraft();
    behind.remove(FactKind::LogEnds);
    assert!(!proven(&behind));
}

#[test]
fn what_stopping_does_is_judged_again_with_other_nodes_down() {
    let mut scene = Scene::healthy_kraft();
    let mut evaluation = scene.snapshot(|snapshot| evaluate(snapshot, snapshot));
    assert!(evaluation.allows_open());
    let own = scene.clone();
    scene.granted = set(&[1]);
    scene.snapshot(|with_leases| {
        evaluation.reconsider(with_leases);
        let at_once = own.snapshot(|snapshot| evaluate(snapshot, with_leases));
        assert_eq!(evaluation.nodes, at_once.nodes);
        let pairs = evaluation.rows.iter().zip(&at_once.rows);
        for ((row, one), (_, other)) in pairs {
            assert_eq!(one, other, "{}", row.id);
        }
    });
    assert!(!evaluation.nodes[&NodeId(2)].allows_open());
    assert!(!evaluation.allows_open());
}

#[test]
fn what_some_row_needs_is_asked_for() {
    let needed: BTreeSet<_> = needed_kinds().collect();
    for kind in [
        FactKind::Link,
        FactKind::Partitions,
        FactKind::LogEnds,
        FactKind::Jmx,
    ] {
        assert!(needed.contains(&kind), "{kind}");
    }
}
