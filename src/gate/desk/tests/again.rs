//! Whoever was told "go" asks again: pipelines are run again, answers get lost.

use std::time::Duration;

use super::{Bed, WINDOW, owner};
use crate::checks::reason::Reason;
use crate::evidence::ids::NodeId;
use crate::evidence::scene::set;
use crate::gate::doc::Stored;
use crate::gate::event::What;
use crate::gate::lease::{Action, End, LeaseId, Stage};
use crate::gate::machine::Input;
use crate::gate::question::{Change, Command, Refusal, Reply};

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

/// A pipeline that died in the middle is run again after its time was over, or after it has left: its node
/// is out, and nobody else would start it.
#[test]
fn a_rerun_whose_lease_is_over_goes_on_while_its_own_node_is_out() {
    for leaves in [true, false] {
        for restarts in [true, false] {
            let mut bed = Bed::new();
            let lease = bed.enter("jenkins", &[1]).unwrap();
            let before = bed.down(1);
            bed.fence(1);
            if leaves {
                bed.leave("jenkins", &[1]);
            } else {
                bed.run(61);
            }
            assert_ne!(bed.doc.leases[&lease.id].stage, Stage::Held);
            if restarts {
                bed.restart();
                bed.run(WINDOW);
            }
            let again = bed.enter("jenkins", &[1]).unwrap();
            assert_eq!((again.id, again.token), (lease.id, lease.token));
            let end = bed.scene.now.wall.plus(Duration::from_secs(59));
            let kept = &bed.doc.leases[&lease.id];
            assert_eq!((kept.stage, kept.expires_at >= end), (Stage::Held, true));
            assert!(bed.enter("rundeck", &[2]).is_err());
            bed.up(1, before);
            bed.run(WINDOW + 2);
            assert!(bed.doc.leases.contains_key(&lease.id), "it is held");
            bed.leave("jenkins", &[1]);
            bed.run(WINDOW + 2);
            assert!(bed.doc.leases.is_empty());
        }
    }
}

/// Only for him, only for exactly these nodes, and only while they are out.
#[test]
fn a_lease_that_is_over_is_gone_on_with_by_nobody_else_and_not_with_its_node_up() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.fence(1);
    bed.run(61);
    for (name, nodes) in [
        ("rundeck", &[1][..]),
        ("jenkins", &[2]),
        ("jenkins", &[1, 101]),
    ] {
        let why = bed.enter(name, nodes).unwrap_err();
        assert!(
            why.contains(&Reason::SlotTaken),
            "{name} {nodes:?}: {why:?}"
        );
    }
    bed.up(1, before);
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(why.contains(&Reason::SlotTaken), "{why:?}");
    let stages = bed.doc.leases.values().map(|lease| lease.stage);
    assert_eq!(stages.collect::<Vec<_>>(), [Stage::Expired]);
}

#[test]
fn a_lease_that_is_over_is_gone_on_with_only_once_that_is_written() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.down(1);
    bed.fence(1);
    bed.run(61);
    bed.answers = false;
    let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
    bed.run(1);
    assert!(!bed.replies.contains_key(&ticket), "it is not written yet");
    bed.answer(|_, _| Stored::Refused(String::from("disk full")));
    let why = bed.await_go(ticket).unwrap_err();
    assert!(why.contains(&Reason::StoreUnavailable), "{why:?}");
    assert_eq!(bed.doc.leases[&lease.id].stage, Stage::Expired);
}

/// The lease's number, and how often "go" has been said for it.
fn told(bed: &mut Bed, name: &str) -> (u64, Option<u32>) {
    let ticket = bed.ask_enter(name, &[1], Action::Restart);
    match bed.await_reply(ticket) {
        Reply::Go { lease, told, .. } => (lease.id.0, told),
        other => panic!("{other:?}"),
    }
}

/// A run may give back unused only what was told to nobody else.
#[test]
fn what_another_run_was_told_of_is_not_given_back_unused() {
    let mut bed = Bed::new();
    assert_eq!(told(&mut bed, "jenkins"), (1, Some(1)));
    // A second run under the same name.
    assert_eq!(told(&mut bed, "jenkins"), (1, Some(2)));
    let jenkins = owner("jenkins");
    let stays = Reply::Refused(Refusal::GoneOnWith { owner: jenkins });
    for (token, times) in [(1, 1), (1, 3), (2, 2), (0, 2)] {
        assert_eq!(bed.leave_unused("jenkins", &[1], token, times), stays);
        assert_eq!(bed.doc.leases[&LeaseId(1)].stage, Stage::Held);
    }
    let left = bed.leave_unused("jenkins", &[1], 1, 2);
    assert!(matches!(left, Reply::Verdict(_)), "{left:?}");
    bed.run(WINDOW + 2);
    assert!(bed.doc.leases.is_empty());
    // What is over is nobody's to give back.
    assert_eq!(bed.leave_unused("jenkins", &[1], 1, 2), stays);
    assert_eq!(told(&mut bed, "jenkins"), (2, Some(1)));
    assert_eq!(bed.leave_unused("jenkins", &[1], 1, 1), stays);
}

/// Who was told by the process before is not known any more.
#[test]
fn after_a_restart_nothing_is_given_back_unused() {
    let mut bed = Bed::new();
    assert_eq!(told(&mut bed, "jenkins"), (1, Some(1)));
    bed.restart();
    bed.run(WINDOW + 2);
    assert_eq!(told(&mut bed, "jenkins"), (1, None));
    for times in 0..3 {
        let left = bed.leave_unused("jenkins", &[1], 1, times);
        assert!(matches!(left, Reply::Refused(_)), "{left:?}");
    }
    bed.leave("jenkins", &[1]);
    bed.run(WINDOW + 2);
    assert!(bed.doc.leases.is_empty());
}

/// Two requests wait for one lease: each is told its own number.
#[test]
fn of_two_requests_of_one_owner_one_is_told_first() {
    let mut bed = Bed::new();
    let tickets = [(); 2].map(|()| bed.ask_enter("jenkins", &[1], Action::Restart));
    let mut times = tickets.map(|ticket| match bed.await_reply(ticket) {
        Reply::Go { told, .. } => told,
        other => panic!("{other:?}"),
    });
    times.sort_unstable();
    assert_eq!(times, [Some(1), Some(2)]);
}

/// Its time went by, nobody had stopped it, and then it went after all: that it had never gone is no answer.
#[test]
fn who_leaves_a_node_that_went_after_its_lease_is_told_no() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    bed.run(60 + WINDOW * 2);
    assert!(bed.doc.leases.is_empty(), "{:?}", bed.doc.leases);
    assert!(matches!(bed.leave("jenkins", &[1]), Reply::Over(_)));
    let before = bed.down(1);
    bed.fence(1);
    bed.run(10);
    let left = bed.leave("jenkins", &[1]);
    assert!(matches!(left, Reply::Refused(_)), "{left:?}");
    bed.up(1, before);
    bed.run(WINDOW + 2);
    assert!(matches!(bed.leave("jenkins", &[1]), Reply::Over(_)));
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
    let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
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

/// A run that was killed has left a few seconds of its lease to the next one, which counts on all of
/// the time it has asked for.
#[test]
fn go_said_again_is_for_the_whole_time_asked_for() {
    let mut bed = Bed::new();
    let first = bed.enter("jenkins", &[1]).unwrap();
    bed.run(55);
    let again = bed.enter("jenkins", &[1]).unwrap();
    assert_eq!((first.id, first.token), (again.id, again.token));
    let end = bed.scene.now.wall.plus(Duration::from_secs(59));
    assert!(again.expires_at >= end, "a minute was asked for");
    assert_eq!(bed.doc.leases[&again.id].expires_at, again.expires_at);
    bed.run(20);
    assert_eq!(bed.doc.leases[&again.id].stage, Stage::Held);
    assert!(bed.enter("rundeck", &[2]).is_err(), "it may stop only now");
    let renewed = |what: &&&What| matches!(what, What::Renewed { .. });
    assert_eq!(bed.happened().iter().filter(renewed).count(), 1);
    bed.run(45 + WINDOW);
    assert!(bed.doc.leases.is_empty(), "that time is over as well");
}

#[test]
fn go_is_said_again_only_once_its_end_is_written() {
    let mut bed = Bed::new();
    let first = bed.enter("jenkins", &[1]).unwrap();
    bed.run(50);
    bed.answers = false;
    let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
    bed.run(2);
    assert!(!bed.replies.contains_key(&ticket), "it is not written yet");
    bed.answer_written();
    let again = bed.await_go(ticket).unwrap();
    assert!(again.expires_at > first.expires_at);
    assert_eq!(bed.doc.leases[&first.id].expires_at, again.expires_at);
}

#[test]
fn an_end_that_cannot_be_written_is_no_go_and_takes_no_lease_away() {
    let mut bed = Bed::new();
    let first = bed.enter("jenkins", &[1]).unwrap();
    bed.run(50);
    bed.answers = false;
    let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
    bed.run(1);
    bed.answer(|_, _| Stored::Refused(String::from("disk full")));
    let why = bed.await_go(ticket).unwrap_err();
    assert!(why.contains(&Reason::StoreUnavailable), "{why:?}");
    bed.answers = true;
    bed.run(2);
    let kept = &bed.doc.leases[&first.id];
    assert_eq!((kept.stage, kept.token), (Stage::Held, first.token));
    assert!(bed.enter("jenkins", &[1]).is_ok());
}

/// Its time was over while the request waited: "go" would be for a slot that is about to be free.
#[test]
fn go_is_not_said_of_a_lease_whose_time_is_over() {
    let mut bed = Bed::new();
    let first = bed.enter("jenkins", &[1]).unwrap();
    while bed.scene.now.wall.plus(Duration::from_secs(1)) < first.expires_at {
        bed.tick();
    }
    let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
    bed.pass(1_500);
    bed.input(Input::Wake);
    let why = bed.await_go(ticket).unwrap_err();
    assert!(why.contains(&Reason::SlotTaken), "{why:?}");
    assert_eq!(bed.doc.leases[&first.id].stage, Stage::Expired);
}

/// `exec` is ended while its request waits: it says "leave", and nobody would hear of a lease that is
/// given after that.
#[test]
fn whoever_leaves_is_given_nothing_any_more() {
    let mut bed = Bed::new();
    let other = bed.ask_enter("rundeck", &[2], Action::Restart);
    let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
    let left = bed.ask(Command::Leave {
        owner: owner("jenkins"),
        nodes: set(&[1]),
        unused: None,
    });
    let jenkins = owner("jenkins");
    let given_up = Refusal::GivenUp {
        owner: jenkins.clone(),
    };
    assert_eq!(bed.await_reply(ticket), Reply::Refused(given_up));
    let not_entered = Refusal::NotEntered { owner: jenkins };
    assert_eq!(bed.await_reply(left), Reply::Refused(not_entered));
    assert!(bed.await_go(other).is_ok(), "somebody else's is served");
    bed.run(1);
    assert!(bed.doc.leases.values().all(|l| l.nodes == set(&[2])));
}

#[test]
fn a_go_that_reached_nobody_is_taken_back() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.input(Input::Unheard(lease.id));
    assert!(bed.doc.leases.is_empty());
    assert_eq!(bed.doc.ended.last().unwrap().how, End::Withdrawn);
    assert!(bed.enter("rundeck", &[2]).is_ok());
}

/// Said twice, and one of them may have been read.
#[test]
fn a_go_that_somebody_may_have_heard_stands() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.enter("jenkins", &[1]).unwrap();
    bed.input(Input::Unheard(lease.id));
    assert_eq!(bed.doc.leases[&lease.id].stage, Stage::Held);
    // Whatever a process before has said is not known.
    bed.restart();
    bed.run(WINDOW + 2);
    bed.enter("jenkins", &[1]).unwrap();
    bed.input(Input::Unheard(lease.id));
    assert_eq!(bed.doc.leases[&lease.id].stage, Stage::Held);
    bed.input(Input::Unheard(LeaseId(99)));
    assert!(bed.enter("rundeck", &[2]).is_err());
}
