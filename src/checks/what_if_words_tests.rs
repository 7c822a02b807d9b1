//! What the what-if says in words, how it counts, and what `worse` leaves aside.

use super::finding::{EXAMPLES, Finding};
use super::reason::Reason;
use super::samples::{moving, one_topic};
use super::what_if::{what_if, worse};
use crate::evidence::scene::{Scene, SceneTopic, set};

/// What is said of stopping these nodes, for one reason.
fn told(scene: &Scene, stop: &[i32], reason: Reason) -> Finding {
    scene.snapshot(|snapshot| {
        let judged = what_if(snapshot, &set(stop));
        let findings = judged.findings();
        let mut of_reason = findings.iter().filter(|finding| finding.reason == reason);
        let one = of_reason.next().map(|finding| (*finding).clone());
        assert!(of_reason.next().is_none(), "{findings:?}");
        one.unwrap_or_else(|| panic!("no {reason}: {findings:?}"))
    })
}

#[test]
fn a_partition_at_risk_is_shown_with_its_numbers() {
    let mut scene = one_topic("t", 2, &[1, 2, 3]);
    scene.order(0, |p| p.isr = vec![1, 3]);
    let finding = told(&scene, &[1], Reason::WouldLoseMinIsr);
    assert_eq!(
        finding.observed,
        "t-0: replicas [1, 2, 3], in sync [1, 3], min ISR 2, 2 copies up before [1] stops"
    );
    assert_eq!(finding.required, "min.insync.replicas in-sync copies left");
    scene.topic_configs(1, |configs| configs.min_insync_replicas.clear());
    let finding = told(&scene, &[1], Reason::WouldLeaveLastCopy);
    assert_eq!(
        finding.observed,
        "t-0: replicas [1, 2, 3], in sync [1, 3], min ISR unknown, 2 copies up before [1] stops"
    );
    assert_eq!(finding.required, "two in-sync copies left");
    let finding = told(&scene, &[1], Reason::EvidenceIncomplete);
    assert_eq!(finding.observed, "min.insync.replicas of t is not known");
    assert_eq!(
        finding.required,
        "min.insync.replicas of every topic the node holds"
    );
}

#[test]
fn each_risk_names_what_would_be_right() {
    let of = |replicas: &[i32], reason| told(&one_topic("t", 1, replicas), &[1], reason).required;
    assert_eq!(of(&[1], Reason::SingleReplica), "another in-sync copy");
    assert_eq!(
        of(&[1, 2], Reason::LastCopyByDesign),
        "two in-sync copies left"
    );
    let finding = told(
        &one_topic("t", 2, &[1, 2, 3]),
        &[1, 2, 3],
        Reason::WouldGoOffline,
    );
    assert_eq!(finding.required, "another in-sync copy");
    let topics = vec![SceneTopic::new("orders", 2, &[&[1, 2, 3, 4], &[1, 2, 3]])];
    let mut scene = Scene::with(&[1, 2, 3, 4, 5], &[101, 102, 103], topics);
    moving(&mut scene);
    let finding = told(&scene, &[1], Reason::WouldStopReassignment);
    assert_eq!(finding.observed, "orders-0 is being moved");
    assert_eq!(finding.required, "no running reassignment on this node");
}

#[test]
fn all_are_counted_few_are_named_and_the_first_is_described() {
    for partitions in [1, EXAMPLES, EXAMPLES + 2] {
        let lists: Vec<&[i32]> = vec![&[1, 2]; partitions];
        let scene = Scene::with(&[1, 2], &[101], vec![SceneTopic::new("t", 2, &lists)]);
        let finding = told(&scene, &[1], Reason::NoSpareReplica);
        assert_eq!(finding.count, partitions);
        let named: Vec<_> = (0..partitions.min(EXAMPLES))
            .map(|index| format!("t-{index}"))
            .collect();
        assert_eq!(finding.examples, named);
        assert!(
            finding.observed.starts_with("t-0: "),
            "{}",
            finding.observed
        );
    }
}

#[test]
fn worse_leaves_aside_what_the_nodes_do_not_hold_up() {
    let worse = |scene: &Scene, stop: &[i32]| {
        scene.snapshot(|snapshot| {
            let judged = worse(snapshot, &set(stop));
            let findings = judged.findings();
            findings.iter().map(|it| it.reason).collect::<Vec<_>>()
        })
    };
    let mut scene = one_topic("t", 2, &[1, 2, 3]);
    scene.order(0, |p| p.isr = vec![1, 2]);
    assert_eq!(worse(&scene, &[3]), []);
    assert_eq!(worse(&scene, &[2]), [Reason::WouldLoseMinIsr]);
    // A voter that is down already takes nothing away, however few are left.
    let mut scene = Scene::healthy_kraft();
    scene.kill(102);
    assert_eq!(worse(&scene, &[102]), []);
    assert_eq!(worse(&scene, &[101]), [Reason::WouldLoseQuorum]);
    scene.kill(103);
    assert_eq!(worse(&scene, &[103]), []);
    assert_eq!(worse(&scene, &[102, 103]), []);
    assert_eq!(worse(&scene, &[101, 102]), [Reason::WouldLoseQuorum]);
}
