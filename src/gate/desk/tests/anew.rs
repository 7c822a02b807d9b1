//! "Go" said again is for another stop than before: what a node did before that proves nothing.

use std::time::Duration;

use super::{Bed, WINDOW, owner};
use crate::evidence::scene::{Scene, set};
use crate::gate::lease::{Action, End, Lease};
use crate::gate::question::{Command, Entry, Reply};

/// A run restarts its node and dies before it says "leave".
fn died(bed: &mut Bed) -> Lease {
    let lease = bed.enter("roll-47", &[1]).unwrap();
    let before = bed.down(1);
    bed.fence(1);
    bed.up(1, before);
    bed.run(WINDOW + 2);
    assert_eq!(bed.doc.leases[&lease.id].gone, set(&[1]));
    lease
}

fn over(reply: &Reply) -> Option<&End> {
    match reply {
        Reply::Over(ended) => Some(&ended.how),
        _ => None,
    }
}

/// It orders a stop that takes its time (a reboot, a pod that is deleted), and says "leave" at once.
#[test]
fn a_rerun_is_not_proven_back_by_the_restart_before_it() {
    let mut bed = Bed::new();
    let lease = died(&mut bed);
    let again = bed.enter("roll-47", &[1]).unwrap();
    assert_eq!((again.id, again.token), (lease.id, lease.token));
    assert!(again.gone.is_empty());
    assert_ne!(again.starts, lease.starts, "the process that it is now");
    assert_eq!(bed.doc.leases[&lease.id], again, "written before it");
    let reply = bed.leave("roll-47", &[1]);
    assert!(matches!(reply, Reply::Verdict(_)), "{reply:?}");
    let before = bed.down(1);
    bed.run(WINDOW + 2);
    assert!(bed.doc.leases.contains_key(&lease.id));
    assert!(bed.enter("rundeck", &[2]).is_err());
    bed.up(1, before);
    bed.run(WINDOW + 2);
    assert_eq!(over(&bed.leave("roll-47", &[1])), Some(&End::ProvenBack));
    assert!(bed.enter("rundeck", &[2]).is_ok());
}

#[test]
fn a_rerun_that_stops_nothing_is_over_after_a_window() {
    let mut bed = Bed::new();
    died(&mut bed);
    bed.enter("roll-47", &[1]).unwrap();
    let reply = bed.leave("roll-47", &[1]);
    assert!(matches!(reply, Reply::Verdict(_)), "{reply:?}");
    bed.run(WINDOW + 1);
    assert_eq!(over(&bed.leave("roll-47", &[1])), Some(&End::NeverGone));
    assert!(bed.enter("rundeck", &[2]).is_ok());
}

/// `exec` asks twice, and whoever has lost an answer does.
#[test]
fn who_asks_twice_before_the_stop_is_proven_back_by_it() {
    let mut bed = Bed::new();
    let lease = bed.enter("roll-47", &[1]).unwrap();
    let again = bed.enter("roll-47", &[1]).unwrap();
    assert_eq!(again.starts, lease.starts);
    let before = bed.down(1);
    bed.fence(1);
    bed.up(1, before);
    bed.run(WINDOW + 2);
    assert_eq!(over(&bed.leave("roll-47", &[1])), Some(&End::ProvenBack));
}

/// The run before has stopped it, and somebody starts it while the stop that this one has ordered is still
/// to come: a window passes after "leave".
#[test]
fn who_is_told_go_for_a_node_that_is_out_is_not_proven_back_by_its_next_start() {
    for action in [Action::Restart, Action::Repair] {
        let mut bed = Bed::new();
        let ticket = |bed: &mut Bed| bed.ask_enter("roll-47", &[1], action);
        let before = if action == Action::Restart {
            let first = ticket(&mut bed);
            bed.await_go(first).unwrap();
            bed.down(1)
        } else {
            let before = bed.down(1);
            bed.fence(1);
            bed.run(20);
            before
        };
        bed.fence(1);
        let again = ticket(&mut bed);
        let lease = bed.await_go(again).unwrap();
        assert!(lease.starts.is_empty(), "{action:?}");
        bed.up(1, before);
        bed.run(WINDOW * 3);
        let reply = bed.leave("roll-47", &[1]);
        assert!(matches!(reply, Reply::Verdict(_)), "{action:?} {reply:?}");
        // It stops only now.
        let before = bed.down(1);
        bed.run(WINDOW + 2);
        assert!(bed.doc.leases.contains_key(&lease.id), "{action:?}");
        assert!(bed.enter("rundeck", &[2]).is_err());
        bed.up(1, before);
        bed.run(WINDOW * 2);
        let reply = bed.leave("roll-47", &[1]);
        assert_eq!(over(&reply), Some(&End::ProvenBack), "{action:?}");
    }
}

#[test]
fn it_is_written_before_go_where_the_end_stays_as_well() {
    let mut bed = Bed::new();
    let lease = died(&mut bed);
    bed.answers = false;
    let ticket = bed.ask(Command::Enter(Entry {
        owner: owner("roll-47"),
        nodes: set(&[1]),
        ttl: Duration::from_secs(10),
        action: Action::Restart,
        asked: bed.scene.now.mono,
    }));
    bed.run(2);
    assert!(!bed.replies.contains_key(&ticket), "it is not written yet");
    bed.answer_written();
    let again = bed.await_go(ticket).unwrap();
    assert_eq!(again.expires_at, lease.expires_at);
    assert!(bed.doc.leases[&lease.id].gone.is_empty());
}

#[test]
fn without_start_times_it_has_to_go_anew_as_well() {
    let mut bed = Bed::bare(Scene::healthy_kafka());
    bed.run(WINDOW + 2);
    let lease = bed.enter("roll-47", &[1]).unwrap();
    let before = bed.down(1);
    bed.fence(1);
    let now = bed.scene.now;
    bed.scene = before;
    bed.scene.now = now;
    bed.run(WINDOW + 10);
    assert_eq!(bed.doc.leases[&lease.id].gone, set(&[1]));
    assert!(bed.enter("roll-47", &[1]).unwrap().gone.is_empty());
    let reply = bed.leave("roll-47", &[1]);
    assert!(matches!(reply, Reply::Verdict(_)), "{reply:?}");
    bed.run(WINDOW + 1);
    assert_eq!(over(&bed.leave("roll-47", &[1])), Some(&End::NeverGone));
}

/// In a cluster that is not healthy a page may be older than the process that it is of.
#[test]
fn a_start_time_that_may_be_old_counts_as_not_known() {
    let mut scene = Scene::healthy_kraft();
    scene.order(0, |p| p.isr.retain(|id| *id != 2));
    let mut bed = Bed::bare(scene);
    bed.run(1);
    let lease = bed.repair("ann", &[102]).unwrap();
    assert!(lease.starts.is_empty());
    let again = bed.repair("ann", &[102]).unwrap();
    assert_eq!(again.id, lease.id);
    assert!(again.starts.is_empty());
    assert_eq!(bed.doc.leases[&lease.id], again);
}
