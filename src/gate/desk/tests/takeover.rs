//! A repair takes a lease over whose owner was told "go" and has not stopped anything yet.

use std::time::Duration;

use super::{Bed, WINDOW, owner};
use crate::checks::reason::Reason;
use crate::evidence::scene::set;
use crate::gate::doc::Stored;
use crate::gate::event::What;
use crate::gate::lease::{Action, End, Lease, Token};
use crate::gate::machine::Input;
use crate::gate::question::{Change, Changed, Command, Reply, Ticket};

fn draining() -> (Bed, Lease) {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    (bed, lease)
}

/// Ann's repair, of which so many writes are done and one is on its way. The first has her lease, the
/// second ends jenkins'.
fn repairing(bed: &mut Bed, writes: usize) -> Ticket {
    bed.answers = false;
    let ticket = bed.ask_enter("ann", &[1], Action::Repair);
    while bed.commits.is_empty() {
        bed.tick();
    }
    for _ in 0..writes {
        bed.answer_written();
    }
    assert_eq!(bed.commits.len(), 1);
    assert_eq!(bed.commits[0].2.leases.len(), 2 - writes);
    assert!(!bed.replies.contains_key(&ticket));
    ticket
}

fn renewed(bed: &mut Bed, lease: &Lease, seconds: u64) -> Reply {
    bed.change(Change::Renew {
        lease: lease.id,
        token: lease.token,
        ttl: Duration::from_secs(seconds),
        by: None,
    })
}

/// Nobody else is given the slot for as long as jenkins may act.
fn nobody_else(bed: &mut Bed, lease: &Lease) {
    while bed.scene.now.wall.plus(Duration::from_secs(12)) < lease.expires_at {
        assert!(bed.enter("rundeck", &[2]).is_err());
        bed.run(3);
    }
}

/// Jenkins knows nothing of it, and need not.
fn goes_on(bed: &mut Bed, lease: &Lease, restarts: bool) {
    let standing: Vec<&Lease> = bed.doc.leases.values().collect();
    assert_eq!(standing, [lease]);
    assert!(bed.doc.ended.iter().all(|ended| ended.id != lease.id));
    if restarts {
        bed.restart();
    }
    nobody_else(bed, lease);
    let reply = renewed(bed, lease, 60);
    assert!(
        matches!(reply, Reply::Changed(Changed::Lease(_))),
        "{reply:?}"
    );
    let reply = bed.leave("jenkins", &[1]);
    assert!(matches!(reply, Reply::Verdict(_)), "{reply:?}");
    bed.run(WINDOW + 1);
    let Reply::Over(ended) = bed.leave("jenkins", &[1]) else {
        panic!("it is over");
    };
    assert_eq!(ended.how, End::NeverGone);
    // Nobody has heard of the token between, and nobody ever will.
    assert_eq!(bed.enter("rundeck", &[2]).unwrap().token, Token(3));
}

#[test]
fn a_takeover_that_is_withdrawn_leaves_the_lease_as_it_was() {
    for restarts in [false, true] {
        for writes in [0, 1] {
            let (mut bed, lease) = draining();
            let ticket = repairing(&mut bed, writes);
            // A moment before it is written somebody closes the gate by hand.
            bed.ask(Command::Change(Change::Hold {
                node: None,
                author: owner("ben"),
                reason: String::from("stop"),
                ttl: None,
            }));
            bed.answers = true;
            bed.answer_written();
            assert!(bed.await_go(ticket).unwrap_err().contains(&Reason::Hold));
            let by = owner("ben");
            bed.change(Change::Lift { node: None, by });
            goes_on(&mut bed, &lease, restarts);
        }
    }
}

#[test]
fn a_takeover_that_nobody_hears_of_leaves_the_lease_as_it_was() {
    for restarts in [false, true] {
        let (mut bed, lease) = draining();
        let repair = bed.repair("ann", &[1]).unwrap();
        assert!(repair.token > lease.token);
        assert!(!bed.doc.leases.contains_key(&lease.id));
        bed.input(Input::Unheard(repair.id));
        let stands_again = What::Granted {
            lease: lease.id,
            token: lease.token,
            owner: owner("jenkins"),
            nodes: set(&[1]),
            action: Action::Restart,
            taken_from: Some(owner("ann")),
        };
        assert!(bed.happened().contains(&&stands_again));
        goes_on(&mut bed, &lease, restarts);
    }
}

/// Somebody breaks it while it is being taken over: by hand is for good, whatever becomes of the repair.
#[test]
fn a_lease_that_is_broken_while_it_is_taken_over_does_not_stand_again() {
    let (mut bed, lease) = draining();
    let ticket = repairing(&mut bed, 1);
    let (by, reason) = (owner("ben"), String::from("pipeline deleted"));
    bed.ask(Command::Change(Change::Break {
        lease: lease.id,
        by: by.clone(),
        reason: reason.clone(),
    }));
    bed.ask(Command::Change(Change::Hold {
        node: None,
        author: by.clone(),
        reason: String::from("stop"),
        ttl: None,
    }));
    bed.answers = true;
    bed.answer_written();
    assert!(bed.await_go(ticket).unwrap_err().contains(&Reason::Hold));
    bed.run(1);
    assert!(bed.doc.leases.is_empty(), "{:?}", bed.doc.leases);
    let broken = End::Broken { by, reason };
    let mut ended = bed.doc.ended.iter();
    assert!(ended.any(|ended| ended.id == lease.id && ended.how == broken));
}

/// `exec` is ended while it waits, and says so.
#[test]
fn a_takeover_that_is_left_before_it_is_told_leaves_the_lease_as_it_was() {
    for writes in [0, 1] {
        let (mut bed, lease) = draining();
        let ticket = repairing(&mut bed, writes);
        let (owner, nodes) = (owner("ann"), set(&[1]));
        bed.ask(Command::Leave {
            owner,
            nodes,
            unused: None,
        });
        bed.answers = true;
        bed.answer_written();
        bed.await_go(ticket).unwrap_err();
        bed.run(WINDOW + 2);
        goes_on(&mut bed, &lease, false);
    }
}

/// The store fails, and nobody knows whether it has written.
#[test]
fn a_takeover_that_may_not_be_written_leaves_the_lease_as_it_was() {
    for stood in [false, true] {
        let (mut bed, lease) = draining();
        let ticket = repairing(&mut bed, 1);
        bed.answer(|bed, doc| {
            if stood {
                bed.revision += 1;
                bed.doc = doc.clone();
            }
            Stored::Unclear(String::from("timed out"))
        });
        let why = bed.await_go(ticket).unwrap_err();
        assert!(why.contains(&Reason::StoreUnavailable), "{why:?}");
        bed.answers = true;
        while !bed.commits.is_empty() {
            bed.answer_written();
        }
        bed.run(3);
        goes_on(&mut bed, &lease, false);
    }
}

/// Nobody knows then whether ann was told: both may act.
#[test]
fn a_gate_that_ends_in_a_takeover_frees_nobody() {
    for writes in [0, 1] {
        let (mut bed, lease) = draining();
        renewed(&mut bed, &lease, 120);
        let lease = bed.doc.leases[&lease.id].clone();
        repairing(&mut bed, writes);
        let (_, expect, doc, events) = bed.commits.remove(0);
        bed.write(expect, &doc, &events);
        bed.restart();
        bed.answers = true;
        bed.run(WINDOW + 2);
        nobody_else(&mut bed, &lease);
        let last = bed.doc.leases.values().map(|lease| lease.expires_at);
        assert_eq!(last.max(), Some(lease.expires_at), "as long as the longest");
        let leave = bed.leave("jenkins", &[1]);
        match (writes, &leave) {
            (0, Reply::Verdict(_)) => {}
            (1, Reply::Over(ended)) => {
                let by = owner("ann");
                assert_eq!(ended.how, End::TakenOver { by });
            }
            _ => panic!("{leave:?}"),
        }
        bed.run(13 + WINDOW);
        assert!(bed.enter("rundeck", &[2]).is_ok(), "free by itself");
    }
}

/// Of two repairs the later one has it; what the first was about to take over is lost by neither.
#[test]
fn of_two_takeovers_that_nobody_hears_of_the_lease_is_left() {
    let (mut bed, lease) = draining();
    let first = repairing(&mut bed, 1);
    let second = bed.ask_enter("cem", &[1], Action::Repair);
    bed.tick();
    bed.answers = true;
    bed.answer_written();
    bed.await_go(first).unwrap_err();
    let repair = bed.await_go(second).unwrap();
    assert_eq!(bed.doc.leases.keys().collect::<Vec<_>>(), [&repair.id]);
    bed.input(Input::Unheard(repair.id));
    let standing: Vec<&Lease> = bed.doc.leases.values().collect();
    assert_eq!(standing, [&lease]);
}
