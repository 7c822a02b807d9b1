//! Another process has written of the same gate: what it has given, renewed and ended counts here as
//! after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Bed, WINDOW, owner};
use crate::checks::reason::Reason;
use crate::evidence::scene::set;
use crate::gate::doc::GateDoc;
use crate::gate::event::{Event, What};
use crate::gate::lease::{Action, End, Ended, Lease, LeaseId, Stage, Token};
use crate::gate::machine::Input;
use crate::gate::question::{Change, Reply};

/// Another process writes, and this one finds that out by its next write.
fn elsewhere(bed: &mut Bed, change: impl FnOnce(&mut GateDoc)) {
    change(&mut bed.doc);
    bed.revision += 1;
    let held = bed.change(Change::Hold {
        node: None,
        author: owner("ben"),
        reason: String::from("a write"),
        ttl: None,
    });
    assert!(matches!(held, Reply::Changed(_)), "{held:?}");
    bed.change(Change::Lift {
        node: None,
        by: owner("ben"),
    });
}

/// Another process gives a lease.
fn given(bed: &mut Bed, name: &str, node: i32, seconds: u64) -> LeaseId {
    let now = bed.scene.now.wall;
    let lease = Lease {
        id: LeaseId(1),
        token: Token(1),
        owner: Some(owner(name)),
        nodes: set(&[node]),
        action: Action::Restart,
        stage: Stage::Held,
        granted_at: now,
        stage_since: now,
        expires_at: now.plus(Duration::from_secs(seconds)),
        starts: BTreeMap::new(),
        gone: BTreeSet::new(),
        retired: BTreeSet::new(),
        took_over: false,
    };
    let id = lease.id;
    elsewhere(bed, |doc| {
        (doc.last_lease, doc.last_token) = (lease.id, lease.token);
        doc.leases.insert(lease.id, lease);
    });
    id
}

#[test]
fn a_lease_given_elsewhere_ends_with_its_time() {
    let mut bed = Bed::new();
    let id = given(&mut bed, "rundeck", 3, 10);
    let why = bed.enter("jenkins", &[1]).unwrap_err();
    assert!(why.contains(&Reason::SlotTaken), "{why:?}");
    bed.run(11);
    assert_eq!(bed.doc.leases[&id].stage, Stage::Expired);
    bed.run(WINDOW + 1);
    assert!(bed.doc.leases.is_empty(), "its node never went");
    assert!(bed.enter("jenkins", &[1]).is_ok());
}

#[test]
fn whoever_may_have_been_told_elsewhere_keeps_the_lease() {
    let mut bed = Bed::new();
    let id = given(&mut bed, "rundeck", 3, 600);
    let before = bed.down(2);
    let why = bed.enter("rundeck", &[3]).unwrap_err();
    assert!(why.contains(&Reason::NodeUnreachable), "{why:?}");
    bed.tick();
    assert_eq!(bed.doc.leases[&id].stage, Stage::Held);
    let now = bed.scene.now;
    bed.scene = before;
    bed.scene.now = now;
    bed.run(WINDOW + 2);
    assert_eq!(bed.enter("rundeck", &[3]).unwrap().token, Token(1));
}

#[test]
fn a_renewal_elsewhere_moves_the_end_here() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    elsewhere(&mut bed, |doc| {
        let kept = doc.leases.get_mut(&lease.id).unwrap();
        kept.expires_at = lease.expires_at.plus(Duration::from_secs(60));
    });
    bed.run(90);
    assert_eq!(bed.doc.leases[&lease.id].stage, Stage::Held);
    bed.run(40);
    assert!(bed.doc.leases.is_empty());
}

#[test]
fn what_was_broken_elsewhere_is_over_here() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let how = End::Broken {
        by: owner("ann"),
        reason: String::from("pipeline deleted"),
    };
    elsewhere(&mut bed, |doc| {
        doc.leases.remove(&lease.id);
        doc.ended.push(Ended {
            id: lease.id,
            token: lease.token,
            owner: lease.owner.clone(),
            nodes: lease.nodes.clone(),
            how: how.clone(),
            at: lease.granted_at,
        });
    });
    assert!(bed.doc.leases.is_empty());
    let Reply::Over(ended) = bed.leave("jenkins", &[1]) else {
        panic!("it is over");
    };
    assert_eq!(ended.how, how);
    assert!(bed.enter("rundeck", &[2]).is_ok());
}

/// The store keeps the first entry of a number: what somebody has done by hand must not be lost.
#[test]
fn what_is_done_by_hand_is_in_the_history_beside_what_was_done_elsewhere() {
    let mut bed = Bed::new();
    let at = bed.scene.now.wall;
    let last = bed.doc.last_event;
    for number in last + 1..=last + 3 {
        let what = What::Leaving { lease: LeaseId(9) };
        bed.history.insert(number, Event { number, at, what });
    }
    elsewhere(&mut bed, |doc| doc.last_event = last + 3);
    let happened = bed.happened();
    let held = |what: &&&What| matches!(what, What::HoldSet { .. });
    assert_eq!(happened.iter().filter(held).count(), 1);
}

/// This one has given node 1 for a repair, and its write is lost: another process has given nodes 1 and 101
/// before. What takes that lease over takes all of it over.
#[test]
fn a_takeover_takes_nodes_that_it_did_not_know_at_its_grant() {
    let mut bed = Bed::new();
    bed.answers = false;
    let ticket = bed.ask_enter("ann", &[1], Action::Repair);
    while bed.commits.is_empty() {
        bed.tick();
    }
    let ours = *bed.commits[0].2.leases.keys().next().unwrap();
    let mut theirs = bed.commits[0].2.leases[&ours].clone();
    (theirs.owner, theirs.action) = (Some(owner("jenkins")), Action::Restart);
    theirs.nodes = set(&[1, 101]);
    theirs.starts.clear();
    (bed.doc.last_lease, bed.doc.last_token) = (theirs.id, theirs.token);
    bed.doc.leases.insert(theirs.id, theirs.clone());
    bed.revision += 1;
    bed.answers = true;
    bed.answer_written();
    let lease = bed.await_go(ticket).unwrap();
    assert!(lease.token > theirs.token);
    assert_eq!(lease.nodes, set(&[1, 101]), "jenkins may still stop both");
    assert_eq!(bed.doc.leases[&lease.id], lease);
    assert_eq!(bed.doc.leases.len(), 1);
    // Nobody hears of it: both are jenkins' again.
    bed.input(Input::Unheard(lease.id));
    bed.run(1);
    assert_eq!(bed.doc.leases[&theirs.id].nodes, set(&[1, 101]));
}

/// It was about to take a lease over when another process broke it: the lease stands again.
#[test]
fn what_a_broken_repair_was_about_to_take_over_stands_again() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    bed.answers = false;
    bed.ask_enter("ann", &[1], Action::Repair);
    while bed.commits.is_empty() {
        bed.tick();
    }
    // Ann's lease is written, and that it takes over what stands there is on its way.
    bed.answer_written();
    let repair = bed.doc.leases.remove(&LeaseId(2)).unwrap();
    assert!(!bed.commits[0].2.leases.contains_key(&lease.id));
    bed.doc.ended.push(Ended {
        id: repair.id,
        token: repair.token,
        owner: repair.owner.clone(),
        nodes: repair.nodes.clone(),
        how: End::Broken {
            by: owner("ben"),
            reason: String::from("by mistake"),
        },
        at: repair.granted_at,
    });
    bed.revision += 1;
    bed.answers = true;
    bed.answer_written();
    bed.run(1);
    let standing: Vec<&Lease> = bed.doc.leases.values().collect();
    assert_eq!(standing, [&lease]);
    assert!(bed.enter("rundeck", &[2]).is_err());
}
