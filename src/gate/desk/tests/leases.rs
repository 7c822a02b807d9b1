//! Entering, leaving, and the proof of return.

use std::collections::BTreeMap;

use super::{Bed, WINDOW, owner};
use crate::checks::reason::Reason;
use crate::evidence::known::Known;
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::{kafka, set};
use crate::gate::event::What;
use crate::gate::lease::{End, Owner, Stage, Token};
use crate::gate::question::{Answered, Change, Changed, Command, Refusal, Reply};
use crate::gate::state::State;

fn over(reply: &Reply) -> Option<&End> {
    match reply {
        Reply::Over(ended) => Some(&ended.how),
        _ => None,
    }
}

/// The answer was lost, and the gate restarted: who asks again has perhaps not gone yet.
#[test]
fn a_gate_that_has_just_started_takes_nobody_for_gone() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[2]).unwrap();
    bed.restart();
    let before = bed.scene.clone();
    bed.scene.kill(3);
    let why = bed.enter("jenkins", &[2]).unwrap_err();
    assert!(why.contains(&Reason::NodeUnreachable), "{why:?}");
    assert!(bed.doc.leases[&lease.id].gone.is_empty());
    // It keeps its lease, and is told so once nothing is the matter any more.
    let now = bed.scene.now;
    bed.scene = before;
    bed.scene.now = now;
    bed.run(WINDOW + 4);
    assert_eq!(bed.enter("jenkins", &[2]).unwrap().id, lease.id);
}

#[test]
fn one_node_at_a_time() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    assert_eq!((lease.token, lease.stage), (Token(1), Stage::Held));
    assert_eq!(lease.starts.len(), 1);
    assert!(bed.doc.leases.contains_key(&lease.id), "durable before go");
    let why = bed.enter("rundeck", &[2]).unwrap_err();
    assert!(why.contains(&Reason::SlotTaken), "{why:?}");
    // A grant counts as a node down, though nobody has stopped anything yet.
    assert_eq!(bed.state(), State::Closed);
    assert_eq!(bed.node_state(2), State::Closed);
    assert!(bed.reasons().contains(&Reason::SlotTaken));
    assert!(
        bed.reasons().contains(&Reason::WouldLeaveLastCopy)
            || bed.reasons().contains(&Reason::WouldLoseMinIsr)
    );
}

#[test]
fn the_same_owner_asking_again_gets_the_same_lease() {
    let mut bed = Bed::new();
    let first = bed.enter("jenkins", &[1]).unwrap();
    let again = bed.enter("jenkins", &[1]).unwrap();
    assert_eq!((first.id, first.token), (again.id, again.token));
    let other = bed.enter("jenkins", &[2]).unwrap_err();
    assert!(other.contains(&Reason::SlotTaken));
}

#[test]
fn whoever_asks_again_after_something_broke_is_told_so_and_keeps_the_lease() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(2);
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(!why.is_empty());
    assert!(bed.doc.leases.contains_key(&lease.id));
    bed.up(2, before);
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(
        why.contains(&Reason::SlotTaken),
        "node 2 went unannounced: {why:?}"
    );
    bed.run(WINDOW + 2);
    assert_eq!(bed.enter("jenkins", &[1]).unwrap().token, lease.token);
}

#[test]
fn nothing_is_given_in_a_cluster_that_is_not_well() {
    let mut bed = Bed::new();
    bed.down(2);
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(why.contains(&Reason::NodeUnreachable), "{why:?}");
    assert!(bed.doc.leases.values().all(|lease| lease.owner.is_none()));
}

#[test]
fn nodes_that_nobody_knows_are_named() {
    let mut bed = Bed::new();
    let ticket = bed.ask_enter("jenkins", &[1, 9], crate::gate::lease::Action::Restart);
    let reply = bed.await_reply(ticket);
    assert_eq!(reply, Reply::Verdict(Answered::NoSuchNodes(set(&[9]))));
}

#[test]
fn a_node_is_back_when_it_went_and_is_whole_for_a_window() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.run(5);
    assert!(over(&bed.leave("jenkins", &[1])).is_none(), "it is down");
    bed.up(1, before);
    assert!(over(&bed.leave("jenkins", &[1])).is_none(), "no window yet");
    assert!(bed.enter("rundeck", &[2]).is_err());
    bed.run(WINDOW + 1);
    let reply = bed.leave("jenkins", &[1]);
    assert_eq!(over(&reply), Some(&End::ProvenBack), "{reply:?}");
    // A question asked again gets the same answer.
    assert_eq!(over(&bed.leave("jenkins", &[1])), Some(&End::ProvenBack));
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
    assert_eq!(bed.enter("rundeck", &[2]).unwrap().token, Token(2));
    assert_eq!(bed.doc.returns.len(), 1);
}

#[test]
fn a_process_that_only_looks_back_is_not_back() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    // The connection is back and the page shows the old start time: the same process.
    let now = bed.scene.now;
    bed.scene = before;
    bed.scene.now = now;
    bed.run(WINDOW + 1);
    assert!(over(&bed.leave("jenkins", &[1])).is_none());
    bed.run(1);
    assert!(
        over(&bed.leave("jenkins", &[1])).is_none(),
        "the stop may still come"
    );
    bed.run(WINDOW + 1);
    assert_eq!(over(&bed.leave("jenkins", &[1])), Some(&End::NeverGone));
}

#[test]
fn who_says_finished_before_the_node_went_waits_for_a_whole_window() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    bed.run(20);
    assert!(over(&bed.leave("jenkins", &[1])).is_none());
    // The stop that was ordered comes late.
    let before = bed.down(1);
    bed.run(2);
    assert!(bed.enter("rundeck", &[2]).is_err());
    bed.up(1, before);
    bed.run(WINDOW + 2);
    assert_eq!(over(&bed.leave("jenkins", &[1])), Some(&End::ProvenBack));
}

#[test]
fn only_the_owner_leaves() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let reply = bed.leave("rundeck", &[1]);
    let owner = owner("rundeck");
    assert_eq!(reply, Reply::Refused(Refusal::NotEntered { owner }));
}

#[test]
fn the_end_of_its_time_frees_nobody_by_itself() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.run(61);
    assert_eq!(bed.doc.leases[&lease.id].stage, Stage::Expired);
    assert!(bed.enter("rundeck", &[2]).is_err());
    bed.up(1, before);
    bed.run(WINDOW + 2);
    assert!(bed.doc.leases.is_empty(), "free by itself once it is back");
    assert!(bed.enter("rundeck", &[2]).is_ok());
    assert!(
        bed.happened()
            .iter()
            .any(|what| matches!(what, What::Expired { .. }))
    );
}

#[test]
fn an_expired_lease_on_a_node_that_never_went_is_free_after_a_window() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    bed.run(60);
    assert!(bed.enter("rundeck", &[2]).is_err());
    bed.run(WINDOW + 1);
    assert!(bed.enter("rundeck", &[2]).is_ok());
    assert_eq!(bed.doc.ended.last().unwrap().how, End::NeverGone);
}

#[test]
fn renewing_moves_the_end_and_needs_the_newest_token() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let renew = |token| Change::Renew {
        lease: lease.id,
        token,
        ttl: std::time::Duration::from_secs(60),
        by: None,
    };
    bed.run(50);
    let reply = bed.change(renew(lease.token));
    assert!(
        matches!(reply, Reply::Changed(Changed::Lease(_))),
        "{reply:?}"
    );
    bed.run(40);
    assert_eq!(bed.doc.leases[&lease.id].stage, Stage::Held);
    let reply = bed.change(renew(Token(0)));
    assert!(matches!(reply, Reply::Refused(Refusal::OldToken { .. })));
    bed.run(30);
    let reply = bed.change(renew(lease.token));
    assert!(matches!(
        reply,
        Reply::Refused(Refusal::NotHeld { .. } | Refusal::NoSuchLease(_))
    ));
}

/// A token is a small number that everybody reads: where the gate knows who asks, it moves no lease
/// of somebody else's.
#[test]
fn a_lease_is_renewed_by_whoever_took_it() {
    let mut bed = Bed::new();
    let (mine, theirs) = (owner("token jenkins"), owner("token rundeck"));
    let signed = owner("roll").signed(&mine).unwrap();
    let lease = bed.enter(signed.as_str(), &[1]).unwrap();
    let renew = |by: &Owner, seconds| Change::Renew {
        lease: lease.id,
        token: lease.token,
        ttl: std::time::Duration::from_secs(seconds),
        by: Some(by.clone()),
    };
    let ends = bed.doc.leases[&lease.id].expires_at;
    let reply = bed.change(renew(&theirs, 10));
    let Reply::Refused(refusal @ Refusal::OfAnother { .. }) = reply else {
        panic!("{reply:?}");
    };
    let says = refusal.to_string();
    assert!(
        says.contains("is roll (token jenkins)'s and not token rundeck's"),
        "{says}"
    );
    bed.run(11);
    let kept = &bed.doc.leases[&lease.id];
    assert_eq!((kept.stage, kept.expires_at), (Stage::Held, ends));
    let renewed = |bed: &Bed| -> Vec<Option<Owner>> {
        let happened = bed.happened().into_iter();
        let by = happened.filter_map(|what| match what {
            What::Renewed { by, .. } => Some(by.clone()),
            _ => None,
        });
        by.collect()
    };
    assert!(renewed(&bed).is_empty());
    let reply = bed.change(renew(&mine, 3600));
    assert!(
        matches!(reply, Reply::Changed(Changed::Lease(_))),
        "{reply:?}"
    );
    assert_eq!(renewed(&bed), [Some(mine)]);
}

/// Taken before there was authentication: whose it is cannot be proven.
#[test]
fn a_lease_that_nobody_signed_is_renewed_by_nobody_who_has_to() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let reply = bed.change(Change::Renew {
        lease: lease.id,
        token: lease.token,
        ttl: std::time::Duration::from_secs(60),
        by: Some(owner("jenkins")),
    });
    assert!(
        matches!(reply, Reply::Refused(Refusal::OfAnother { .. })),
        "{reply:?}"
    );
}

/// A shorter time is no less a change: it is answered once it is written, with the new end.
#[test]
fn a_renewal_for_a_shorter_time_is_answered_once_it_is_written() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.answers = false;
    let renew = |seconds| Change::Renew {
        lease: lease.id,
        token: lease.token,
        ttl: std::time::Duration::from_secs(seconds),
        by: None,
    };
    let ticket = bed.ask(Command::Change(renew(15)));
    bed.tick();
    assert!(!bed.replies.contains_key(&ticket), "it is not written yet");
    bed.answer_written();
    let Reply::Changed(Changed::Lease(kept)) = bed.await_reply(ticket) else {
        panic!("it is renewed");
    };
    assert!(kept.expires_at < lease.expires_at);
    assert_eq!(kept.expires_at, bed.doc.leases[&lease.id].expires_at);
    // Of two that are written together both are told what it has come to.
    let hold = Change::Hold {
        node: None,
        author: owner("ann"),
        reason: String::from("a write under way"),
        ttl: None,
    };
    bed.ask(Command::Change(hold));
    let (one, two) = (renew(600), renew(20));
    let tickets = [one, two].map(|renew| bed.ask(Command::Change(renew)));
    while !bed.commits.is_empty() {
        bed.answer_written();
    }
    let end = bed.doc.leases[&lease.id].expires_at;
    for ticket in tickets {
        let reply = bed.await_reply(ticket);
        let Reply::Changed(Changed::Lease(kept)) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(kept.expires_at, end);
    }
}

#[test]
fn a_broken_lease_is_free_and_the_owner_is_told_who_did_it() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let (by, reason) = (owner("ann"), String::from("pipeline deleted"));
    bed.change(Change::Break {
        lease: lease.id,
        by: by.clone(),
        reason: reason.clone(),
    });
    assert!(bed.doc.leases.is_empty());
    let reply = bed.leave("jenkins", &[1]);
    assert_eq!(over(&reply), Some(&End::Broken { by, reason }));
    assert!(bed.enter("rundeck", &[2]).is_ok());
}

#[test]
fn a_restart_that_nobody_asked_for_takes_the_slot() {
    let mut bed = Bed::new();
    let before = bed.down(3);
    bed.run(6);
    assert!(bed.reasons().contains(&Reason::SlotTaken));
    bed.up(3, before);
    bed.run(1);
    assert!(bed.enter("jenkins", &[1]).is_err());
    bed.run(WINDOW + 1);
    assert!(bed.enter("jenkins", &[1]).is_ok());
}

#[test]
fn a_restart_so_quick_that_only_its_start_time_shows_takes_the_slot() {
    let mut bed = Bed::new();
    let started = bed.scene.now.wall.as_seconds();
    bed.scene
        .page(2, |page| page.start_time = Known::Is(started));
    bed.tick();
    assert!(
        bed.reasons().contains(&Reason::SlotTaken),
        "{:?}",
        bed.reasons()
    );
    bed.run(WINDOW + 2);
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
}

#[test]
fn a_blip_of_the_network_takes_no_slot() {
    let mut bed = Bed::new();
    let before = bed.down(3);
    let now = bed.scene.now;
    bed.scene = before;
    bed.scene.now = now;
    bed.run(1);
    assert!(!bed.reasons().contains(&Reason::SlotTaken));
}

#[test]
fn a_gate_never_blocks_its_own_cure() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.down(1);
    bed.run(61);
    assert!(
        bed.enter("ann", &[1]).is_err(),
        "a restart needs a healthy cluster"
    );
    let repair = bed.repair("ann", &[1]).unwrap();
    assert!(repair.token > lease.token);
    // The first owner is told that somebody has taken over.
    let reply = bed.leave("jenkins", &[1]);
    assert!(
        matches!(over(&reply), Some(End::TakenOver { .. })),
        "{reply:?}"
    );
    assert_eq!(bed.doc.leases.len(), 1);
}

#[test]
fn a_repair_of_a_part_takes_the_whole_lease_over_and_is_left_by_the_part() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1, 101]).unwrap();
    let before = bed.down(1);
    bed.run(3);
    let repair = bed.repair("ann", &[1]).unwrap();
    assert_eq!(repair.nodes, set(&[1, 101]));
    bed.up(1, before);
    bed.run(WINDOW + 2);
    bed.leave("ann", &[1]);
    bed.run(WINDOW + 2);
    assert!(over(&bed.leave("ann", &[1])).is_some());
    assert!(over(&bed.leave("ann", &[1])).is_some(), "asked again");
}

#[test]
fn a_repair_that_would_make_it_worse_is_refused() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    bed.down(1);
    let why = bed.repair("ann", &[2]).unwrap_err();
    assert!(why.contains(&Reason::SlotTaken), "{why:?}");
    assert!(
        why.contains(&Reason::WouldLoseMinIsr) || why.contains(&Reason::WouldLeaveLastCopy),
        "{why:?}"
    );
}

#[test]
fn a_repair_of_a_node_that_may_live_is_judged_as_if_it_did() {
    for class in [
        FailureClass::Authentication,
        FailureClass::Timeout,
        FailureClass::ConnectTimeout,
    ] {
        let mut bed = Bed::new();
        bed.scene.fail(kafka(1), FactKind::Link, class);
        bed.tick();
        assert!(
            bed.repair("ann", &[1]).is_ok(),
            "{class:?}: copies are left"
        );
        let mut bed = Bed::new();
        bed.scene.fail(kafka(1), FactKind::Link, class);
        // It may lead what has one other copy left.
        bed.scene.order(0, |p| p.isr.retain(|id| *id != 2));
        bed.tick();
        let why = bed.repair("ann", &[1]).unwrap_err();
        assert!(why.contains(&Reason::WouldLoseMinIsr), "{class:?}: {why:?}");
        // Fenced, it leads nothing any more.
        bed.fence(1);
        assert!(bed.repair("ann", &[1]).is_ok(), "{class:?}: it is out");
    }
}

#[test]
fn several_nodes_are_one_lease() {
    let mut bed = Bed::new();
    let why = bed.enter("jenkins", &[1, 2]).unwrap_err();
    assert!(!why.is_empty(), "two of three replicas");
    let lease = bed.enter("jenkins", &[1, 101]).unwrap();
    assert_eq!(lease.nodes, set(&[1, 101]));
}

#[test]
fn the_view_says_who_would_lead_what_with_a_node_stopped() {
    let bed = Bed::new();
    let parts = bed.view.at(bed.scene.now.mono).parts().unwrap();
    let leads: BTreeMap<_, _> = parts.nodes.iter().map(|n| (n.node, n.leads)).collect();
    let all: usize = leads.values().sum();
    assert!(all > 0);
    for node in parts.nodes.iter().filter(|node| node.role.broker) {
        assert!(!node.leads_without.contains_key(&node.node));
        // Everything it leads has a second replica: nothing is left without a leader.
        assert_eq!(node.leads_without.values().sum::<usize>(), all);
        for (other, would) in &node.leads_without {
            assert!(would >= &leads[other], "{other} leads fewer");
        }
    }
}
