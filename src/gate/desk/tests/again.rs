//! Whoever was told "go" asks again: pipelines are run again, answers get lost.

use std::time::Duration;

use super::{Bed, WINDOW, owner};
use crate::checks::reason::Reason;
use crate::evidence::ids::NodeId;
use crate::gate::question::Change;

#[test]
fn a_rerun_while_its_own_node_is_out_goes_on() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.down(1);
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(
        why.contains(&Reason::NodeUnreachable),
        "a connection that ended does not show that it leads nothing: {why:?}"
    );
    bed.fence(1);
    assert_eq!(bed.enter("jenkins", &[1]).unwrap().token, lease.token);
    // Whatever else happens: it is the cure.
    bed.down(3);
    bed.fence(3);
    assert_eq!(bed.enter("jenkins", &[1]).unwrap().token, lease.token);
    assert!(bed.enter("rundeck", &[2]).is_err());
}

#[test]
fn a_rerun_after_its_node_is_back_is_judged_as_everybody_is() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.fence(1);
    bed.up(1, before);
    bed.run(WINDOW + 2);
    // The pipeline died before it could say "leave", and meanwhile another broker did.
    bed.down(3);
    bed.fence(3);
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(why.contains(&Reason::NodeUnreachable), "{why:?}");
    assert!(bed.doc.leases.contains_key(&lease.id), "it keeps its lease");
}

#[test]
fn a_rerun_with_one_of_its_nodes_back_is_judged_as_everybody_is() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1, 101]).unwrap();
    let before = bed.down(101);
    bed.up(101, before);
    bed.down(3);
    bed.fence(3);
    assert!(bed.enter("jenkins", &[1, 101]).is_err());
}

#[test]
fn a_rerun_waits_for_answers_newer_than_itself() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    bed.down(1);
    bed.fence(1);
    let ticket = bed.ask_enter("jenkins", &[1], crate::gate::lease::Action::Restart);
    assert!(
        !bed.replies.contains_key(&ticket),
        "by what was said before"
    );
    assert!(bed.await_go(ticket).is_ok());
}

#[test]
fn a_hold_stands_above_a_rerun() {
    for node in [None, Some(NodeId(1))] {
        let mut bed = Bed::new();
        bed.enter("jenkins", &[1]).unwrap();
        bed.down(1);
        bed.fence(1);
        bed.change(Change::Hold {
            node,
            author: owner("ann"),
            reason: String::from("look at this first"),
            ttl: Some(Duration::from_secs(30)),
        });
        let why = bed.enter("jenkins", &[1]).unwrap_err();
        let hold = [Reason::Hold, Reason::NodeHold];
        assert!(hold.iter().any(|hold| why.contains(hold)), "{why:?}");
        bed.run(31);
        assert!(bed.enter("jenkins", &[1]).is_ok());
    }
}
