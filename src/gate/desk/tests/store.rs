//! The store answers at every step in every way.

use super::{Bed, WINDOW};
use crate::checks::reason::Reason;
use crate::gate::doc::{Revision, Stored};
use crate::gate::lease::{Action, End};
use crate::gate::machine::Input;
use crate::gate::question::{Change, Command, Reply};
use crate::gate::state::State;

/// A bed whose store waits for the test, with a lease on its way.
fn asked() -> (Bed, crate::gate::question::Ticket) {
    let mut bed = Bed::new();
    bed.answers = false;
    let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
    for _ in 0..4 {
        bed.tick();
    }
    assert_eq!(bed.commits.len(), 1, "a write is on its way");
    assert!(
        bed.replies.is_empty(),
        "nobody is told before it is durable"
    );
    assert_eq!(bed.state(), State::Closed, "in force all the same");
    (bed, ticket)
}

#[test]
fn refused_nobody_is_told_go_and_the_slot_is_free_again() {
    let (mut bed, ticket) = asked();
    bed.answer(|_, _| Stored::Refused(String::from("disk full")));
    let why = bed.await_go(ticket).unwrap_err();
    assert!(why.contains(&Reason::StoreUnavailable), "{why:?}");
    bed.answers = true;
    bed.run(2);
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
    assert_eq!(bed.doc.ended.last().unwrap().how, End::Withdrawn);
    assert!(bed.enter("rundeck", &[2]).is_ok());
}

#[test]
fn while_the_store_is_away_verdicts_go_on_and_nothing_is_given() {
    let (mut bed, ticket) = asked();
    bed.answer(|_, _| Stored::Refused(String::from("read-only")));
    bed.await_go(ticket).unwrap_err();
    for _ in 0..4 {
        bed.run(1);
        while !bed.commits.is_empty() {
            bed.answer(|_, _| Stored::Refused(String::from("read-only")));
        }
    }
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
    assert!(bed.reasons().contains(&Reason::StoreUnavailable));
    let ticket = bed.ask_enter("rundeck", &[2], Action::Restart);
    let why = bed.await_go(ticket).unwrap_err();
    assert!(why.contains(&Reason::StoreUnavailable));
}

#[test]
fn unclear_counts_as_taken_until_it_is_read_back() {
    for stood in [true, false] {
        let (mut bed, ticket) = asked();
        bed.answer(|bed, doc| {
            if stood {
                bed.revision += 1;
                bed.doc = doc.clone();
            }
            Stored::Unclear(String::from("timed out"))
        });
        bed.await_go(ticket).unwrap_err();
        assert!(bed.reasons().contains(&Reason::SlotTaken), "may stand");
        bed.answers = true;
        bed.run(4);
        assert_eq!(bed.state(), State::Open, "{stood}: {:?}", bed.reasons());
        let lease = bed.enter("rundeck", &[2]).unwrap();
        assert!(
            lease.token.0 > 1,
            "a token that may have stood never comes again"
        );
    }
}

#[test]
fn what_breaks_between_the_write_and_the_answer_takes_it_back() {
    let (mut bed, ticket) = asked();
    bed.scene.kill(2);
    bed.tick();
    bed.answer_written();
    let why = bed.await_go(ticket).unwrap_err();
    assert!(why.contains(&Reason::NodeUnreachable), "{why:?}");
    bed.answer_written();
    assert!(bed.doc.leases.values().all(|lease| lease.owner.is_none()));
}

#[test]
fn a_store_that_never_answers_keeps_the_slot_taken_and_the_asker_told() {
    let (mut bed, ticket) = asked();
    let why = bed.await_go(ticket).unwrap_err();
    assert!(!why.is_empty());
    bed.run(10);
    assert!(
        bed.reasons().contains(&Reason::SlotTaken),
        "it may stand one day"
    );
}

#[test]
fn after_a_kill_the_same_leases_stand() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.restart();
    bed.tick();
    assert!(bed.reasons().contains(&Reason::SlotTaken));
    assert!(bed.enter("rundeck", &[2]).is_err());
    // Who was told "go" still holds it, and is told so again once everything is shown to be well.
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(!why.contains(&Reason::SlotTaken), "{why:?}");
    bed.run(WINDOW + 2);
    let again = bed.enter("jenkins", &[1]).unwrap();
    assert_eq!((again.id, again.token), (lease.id, lease.token));
}

#[test]
fn killed_between_the_write_and_the_answer_the_lease_waits_for_its_owner() {
    let (mut bed, _) = asked();
    let (_, expect, doc, events) = bed.commits.remove(0);
    bed.write(expect, &doc, &events);
    bed.restart();
    bed.answers = true;
    bed.run(WINDOW + 2);
    assert!(bed.enter("rundeck", &[2]).is_err());
    assert!(bed.enter("jenkins", &[1]).is_ok());
}

#[test]
fn an_answer_to_another_write_changes_nothing() {
    let (mut bed, _) = asked();
    let stranger = crate::gate::keep::CommitId(9_999);
    bed.input(Input::Stored(stranger, Stored::Written(Revision(77))));
    assert!(bed.replies.is_empty());
}

#[test]
fn the_end_of_a_lease_counts_only_once_it_is_written() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.run(3);
    bed.up(1, before);
    bed.run(WINDOW + 2);
    bed.answers = false;
    let ticket = bed.ask(Command::Leave {
        owner: super::owner("jenkins"),
        nodes: crate::evidence::scene::set(&[1]),
        unused: None,
    });
    bed.tick();
    assert!(bed.reasons().contains(&Reason::SlotTaken));
    while !bed.commits.is_empty() {
        bed.answer_written();
    }
    bed.answers = true;
    bed.tick();
    assert!(!bed.reasons().contains(&Reason::SlotTaken));
    assert!(bed.replies.contains_key(&ticket));
}

/// Whoever has broken a lease while the store is away must not take its slot for free.
#[test]
fn what_permits_is_not_said_to_be_in_force_before_it_is_written() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let (ann, reason) = (super::owner("ann"), String::from("disks"));
    let held = Change::Hold {
        node: None,
        author: ann.clone(),
        reason: reason.clone(),
        ttl: None,
    };
    let broken = Change::Break {
        lease: lease.id,
        by: ann,
        reason,
    };
    bed.answers = false;
    let mut says = |change| {
        let ticket = bed.ask(Command::Change(change));
        bed.answer(|_, _| Stored::Refused(String::from("disk full")));
        match bed.await_reply(ticket) {
            Reply::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let text = says(held);
    assert!(text.contains("disk full; it is in force, and"), "{text}");
    let text = says(broken);
    assert!(!text.contains("in force, and"), "{text}");
    assert!(text.contains("disk full; it is not in force yet"), "{text}");
    assert!(bed.reasons().contains(&Reason::SlotTaken));
}
