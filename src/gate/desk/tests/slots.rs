//! More than one slot, where no partition is shared.

use super::{Bed, WINDOW, owner};
use crate::checks::reason::Reason;
use crate::evidence::ids::NodeId;
use crate::evidence::scene::{Scene, SceneTopic};
use crate::gate::lease::{End, LeaseId};
use crate::gate::question::{Change, Reply};
use crate::gate::state::State;

/// Two halves of a cluster that share no partition; controllers are nodes of their own.
fn halves(slots: usize) -> Bed {
    let topics = vec![
        SceneTopic::new("left", 2, &[&[1, 2, 3]]),
        SceneTopic::new("right", 2, &[&[4, 5, 6]]),
    ];
    let mut scene = Scene::with(&[1, 2, 3, 4, 5, 6], &[101, 102, 103], topics);
    scene.policy.slots = slots;
    let mut bed = Bed::bare(scene);
    bed.run(WINDOW + 2);
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
    bed
}

#[test]
fn two_that_share_nothing_may_be_out_together_where_there_are_two_slots() {
    let mut bed = halves(2);
    let first = bed.enter("jenkins", &[1]).unwrap();
    let second = bed.enter("rundeck", &[4]).unwrap();
    assert!(second.token > first.token);
    // Both are full: for everybody else there is none left, whatever they hold.
    assert!(
        bed.enter("ansible", &[101])
            .unwrap_err()
            .contains(&Reason::SlotTaken)
    );
    // Asked again, both are told the same.
    assert_eq!(bed.enter("jenkins", &[1]).unwrap().id, first.id);
    assert_eq!(bed.enter("rundeck", &[4]).unwrap().id, second.id);
    // The view is for whoever asks without a lease: there somebody is out.
    assert_eq!(bed.node_state(4), State::Closed);
    let before = bed.down(1);
    bed.up(1, before);
    let before = bed.down(4);
    bed.up(4, before);
    bed.run(WINDOW + 2);
    for (owner, node) in [("jenkins", 1), ("rundeck", 4)] {
        match bed.leave(owner, &[node]) {
            Reply::Over(ended) => assert_eq!(ended.how, End::ProvenBack),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_slot_is_one_slot() {
    let mut bed = halves(1);
    bed.enter("jenkins", &[1]).unwrap();
    assert!(
        bed.enter("rundeck", &[4])
            .unwrap_err()
            .contains(&Reason::SlotTaken)
    );
}

#[test]
fn a_shared_partition_or_a_voter_leaves_no_second_slot() {
    let mut bed = halves(2);
    bed.enter("jenkins", &[1]).unwrap();
    assert!(
        bed.enter("rundeck", &[2])
            .unwrap_err()
            .contains(&Reason::SlotTaken)
    );
    for (first, second) in [(101, 102), (101, 4), (1, 102)] {
        let mut bed = halves(2);
        bed.enter("jenkins", &[first]).unwrap();
        let why = bed.enter("rundeck", &[second]).unwrap_err();
        assert!(
            why.contains(&Reason::SlotTaken),
            "{first}, {second}: {why:?}"
        );
    }
}

#[test]
fn a_topic_made_between_them_is_shared() {
    let mut bed = halves(2);
    bed.enter("jenkins", &[1]).unwrap();
    bed.scene.retopic(|topics| {
        topics.push(SceneTopic::new("bridge", 2, &[&[2, 1, 4]]));
    });
    bed.run(WINDOW + 2);
    assert!(
        bed.enter("rundeck", &[4])
            .unwrap_err()
            .contains(&Reason::SlotTaken)
    );
}

#[test]
fn while_one_is_down_nobody_else_goes() {
    let mut bed = halves(2);
    bed.enter("jenkins", &[1]).unwrap();
    bed.down(1);
    let why = bed.enter("rundeck", &[4]).unwrap_err();
    assert!(why.contains(&Reason::NodeUnreachable), "{why:?}");
    assert!(!why.contains(&Reason::SlotTaken), "{why:?}");
}

#[test]
fn an_unannounced_restart_leaves_no_second_slot() {
    let mut bed = halves(2);
    let before = bed.down(1);
    bed.run(6);
    bed.up(1, before);
    assert!(
        bed.doc
            .leases
            .values()
            .any(|lease| lease.nodes.contains(&NodeId(1)))
    );
    let why = bed.enter("rundeck", &[4]).unwrap_err();
    assert!(why.contains(&Reason::SlotTaken), "{why:?}");
}

#[test]
fn a_broken_lease_makes_room() {
    let mut bed = halves(2);
    let first = bed.enter("jenkins", &[1]).unwrap();
    bed.enter("rundeck", &[4]).unwrap();
    let lease: LeaseId = first.id;
    bed.change(Change::Break {
        lease,
        by: owner("ann"),
        reason: String::from("gone home"),
    });
    bed.enter("ansible", &[2]).unwrap();
}
