//! What the ledger makes of what it hears and of what is true.

use upgrade_gate::evidence::ids;
use upgrade_gate::gate::lease::Stage;

use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn owner(name: &str) -> Owner {
    Owner::try_from(name.to_owned()).unwrap()
}

/// The wall clock, which begins with the simulation here.
fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn lease(id: u64, name: &str, nodes: &[NodeId]) -> Lease {
    Lease {
        id: LeaseId(id),
        token: Token(id),
        owner: Some(owner(name)),
        nodes: nodes.iter().copied().map(ids::NodeId).collect(),
        action: Action::Restart,
        stage: Stage::Held,
        granted_at: wall(0),
        stage_since: wall(0),
        expires_at: wall(60),
        starts: BTreeMap::new(),
        gone: BTreeSet::new(),
        retired: BTreeSet::new(),
        took_over: false,
    }
}

fn ended(lease: &Lease, how: End, seconds: i64) -> Ended {
    Ended {
        id: lease.id,
        token: lease.token,
        owner: lease.owner.clone(),
        nodes: lease.nodes.clone(),
        how,
        at: wall(seconds),
    }
}

/// Nodes 1 and 101 may be given to `one`, 2 to `other`; one slot, and `cem` comes to repair.
struct Bed {
    ledger: Ledger,
    doc: GateDoc,
}

impl Bed {
    fn new() -> Self {
        let repairers = BTreeSet::from([String::from("cem")]);
        Self {
            ledger: Ledger::new(1, repairers),
            doc: GateDoc::default(),
        }
    }

    /// Somebody is told "go" while these nodes are gone and that speaks against it.
    fn tell(&mut self, seconds: u64, lease: &Lease, gone: &[NodeId], harm: Option<&Harm>) {
        self.doc.leases.insert(lease.id, lease.clone());
        let asked = lease.nodes.iter().map(|node| node.0).collect();
        let gone = gone.iter().copied().collect();
        let told = Told {
            lease,
            asked: &asked,
            gone: &gone,
            harm,
        };
        let outside = Outside {
            now: at(seconds),
            wall: Some(wall(i64::try_from(seconds).unwrap())),
            stored: Some(&self.doc),
            ..Outside::default()
        };
        self.ledger.told(&told, |_, _| false, &outside);
    }

    fn end(&mut self, lease: &Lease, how: End, seconds: i64) {
        self.doc.leases.remove(&lease.id);
        self.doc.ended.push(ended(lease, how, seconds));
    }

    /// A look at which these nodes are not back, though the gate has to know since then, and these
    /// leases' owners have yet to stop their nodes.
    fn look(&mut self, seconds: u64, away: &[(NodeId, u64)], owed: &[u64]) {
        let away = away.iter().map(|(node, since)| (*node, at(*since)));
        let outside = Outside {
            away: away.collect(),
            owed: owed.iter().copied().map(LeaseId).collect(),
            now: at(seconds),
            wall: Some(wall(i64::try_from(seconds).unwrap())),
            stored: Some(&self.doc),
        };
        self.ledger.look(&outside);
    }
}

#[test]
fn told_again_with_one_of_two_nodes_up_is_judged_as_everybody_is() {
    let harm = Harm {
        why: String::from("the quorum loses its majority"),
        noticed: true,
    };
    let mut bed = Bed::new();
    let set = lease(1, "one", &[1, 101]);
    bed.tell(10, &set, &[], None);
    // Both are out: to go on stops nothing.
    bed.tell(20, &set, &[1, 101], Some(&harm));
    assert_eq!(bed.ledger.grants.false_go, 0);
    // 101 is up, and another voter has died.
    bed.tell(30, &set, &[1], Some(&harm));
    let grants = &bed.ledger.grants;
    assert_eq!((grants.false_go, grants.go, grants.again), (1, 1, 2));
}

#[test]
fn the_first_go_that_is_read_may_not_be_the_first_that_was_said() {
    let harm = Harm {
        why: String::from("no controller can commit"),
        noticed: true,
    };
    let first = lease(1, "one", &[1]);
    for (restarts, says, gone, false_go) in [
        (true, 1, &[1][..], 0),
        (false, 2, &[1], 0),
        // It is up: it would be stopped by this.
        (true, 1, &[], 1),
        (false, 1, &[1], 1),
    ] {
        let mut bed = Bed::new();
        if restarts {
            bed.doc.leases.insert(first.id, first.clone());
            let doc = bed.doc.clone();
            bed.ledger.gate_is_gone(Some(&doc));
        }
        for _ in 0..says {
            bed.ledger.said([first.id]);
        }
        bed.tell(20, &first, gone, Some(&harm));
        let grants = &bed.ledger.grants;
        assert_eq!((grants.go, grants.false_go), (1, false_go), "{gone:?}");
    }
}

#[test]
fn a_true_proof_ends_a_lease() {
    for how in [End::ProvenBack, End::NeverGone] {
        let mut bed = Bed::new();
        let first = lease(1, "one", &[1]);
        bed.tell(10, &first, &[], None);
        bed.end(&first, how, 40);
        bed.look(40, &[], &[]);
        let next = lease(2, "other", &[2]);
        bed.tell(41, &next, &[], None);
        assert!(bed.ledger.grants.are_sound(), "{:?}", bed.ledger.grants);
    }
}

#[test]
fn a_proof_is_false_while_the_node_is_away() {
    let mut bed = Bed::new();
    let first = lease(1, "one", &[1]);
    bed.tell(10, &first, &[], None);
    bed.end(&first, End::ProvenBack, 40);
    bed.look(40, &[(1, 40)], &[]);
    bed.look(41, &[(1, 40)], &[]);
    assert_eq!(bed.ledger.grants.ended_early, 1);
    // It is out as long as it is away, whatever the gate says.
    bed.tell(42, &lease(2, "other", &[2]), &[], None);
    assert_eq!(bed.ledger.grants.doubled, 1);
    let mut back = Bed::new();
    back.tell(10, &first, &[], None);
    back.end(&first, End::ProvenBack, 40);
    back.look(40, &[(1, 40)], &[]);
    back.look(50, &[], &[]);
    back.tell(51, &lease(2, "other", &[2]), &[], None);
    let grants = &back.ledger.grants;
    assert_eq!((grants.ended_early, grants.doubled), (1, 0));
}

#[test]
fn what_the_gate_need_not_know_yet_makes_no_proof_false() {
    // It went down after the end was decided, whenever that is written; or just before.
    for known in [41, 44] {
        let mut bed = Bed::new();
        let first = lease(1, "one", &[1]);
        bed.tell(10, &first, &[], None);
        bed.end(&first, End::ProvenBack, 40);
        bed.look(45, &[(1, known), (2, 3)], &[]);
        assert!(bed.ledger.grants.are_sound(), "{:?}", bed.ledger.grants);
    }
}

#[test]
fn a_proof_is_false_before_a_stop_that_may_still_come() {
    for how in [End::ProvenBack, End::NeverGone] {
        let mut bed = Bed::new();
        let first = lease(1, "one", &[1]);
        bed.tell(10, &first, &[], None);
        bed.end(&first, how, 12);
        bed.look(12, &[], &[1]);
        assert_eq!(bed.ledger.grants.ended_early, 1);
        assert!(!bed.ledger.grants.are_sound());
        // Somebody else's stop that is still to come is no lie of this one.
        let mut bed = Bed::new();
        bed.tell(10, &first, &[], None);
        bed.end(&first, End::NeverGone, 12);
        bed.look(12, &[], &[7]);
        assert!(bed.ledger.grants.are_sound());
    }
}

#[test]
fn an_end_that_is_read_is_judged_as_one_that_is_written() {
    let mut bed = Bed::new();
    let first = lease(1, "one", &[1]);
    bed.tell(10, &first, &[], None);
    let over = ended(&first, End::ProvenBack, 20);
    // What the gate's store has says nothing of it.
    let outside = Outside {
        now: at(20),
        wall: Some(wall(20)),
        away: BTreeMap::from([(1, at(15))]),
        ..Outside::default()
    };
    bed.ledger.over(&over, &outside);
    assert_eq!(bed.ledger.grants.ended_early, 1);
}

/// `one` was told "go" of node 1, and `cem` has taken that over.
fn taken_over() -> (Bed, Lease, Lease) {
    let mut bed = Bed::new();
    let first = lease(1, "one", &[1]);
    bed.tell(10, &first, &[], None);
    let repair = Lease {
        action: Action::Repair,
        took_over: true,
        ..lease(2, "cem", &[1])
    };
    let by = owner("cem");
    bed.end(&first, End::TakenOver { by }, 20);
    bed.doc.leases.insert(repair.id, repair.clone());
    bed.look(20, &[], &[]);
    assert!(bed.ledger.grants.are_sound());
    assert_eq!(bed.ledger.grants.taken_over, 0);
    (bed, first, repair)
}

#[test]
fn a_takeover_that_nobody_was_told_of_loses_the_lease_however_it_ends() {
    for how in [End::Withdrawn, End::NeverGone, End::ProvenBack] {
        let (mut bed, _, repair) = taken_over();
        bed.end(&repair, how, 50);
        bed.look(50, &[], &[]);
        assert_eq!(bed.ledger.grants.lost, 1);
    }
}

#[test]
fn a_takeover_that_may_have_been_told_of_loses_nothing() {
    let (mut bed, _, repair) = taken_over();
    bed.ledger.said([repair.id]);
    bed.end(&repair, End::NeverGone, 50);
    bed.look(50, &[], &[]);
    assert!(bed.ledger.grants.are_sound());
    // A process that begins counts what stands as told.
    let (mut bed, _, repair) = taken_over();
    let doc = bed.doc.clone();
    bed.ledger.gate_is_gone(Some(&doc));
    bed.end(&repair, End::NeverGone, 50);
    bed.look(50, &[], &[]);
    assert!(bed.ledger.grants.are_sound());
    assert_eq!(bed.ledger.grants.taken_over, 1);
}

#[test]
fn a_lease_that_is_given_back_goes_on_as_before() {
    let (mut bed, first, repair) = taken_over();
    bed.end(&repair, End::Withdrawn, 22);
    bed.doc.leases.insert(first.id, first.clone());
    bed.look(22, &[], &[]);
    assert!(bed.ledger.grants.are_sound());
    // Told again, and ended by a proof: whether what was written of the takeover is kept or not.
    bed.tell(25, &first, &[], None);
    assert_eq!(bed.ledger.grants.again, 1);
    bed.end(&first, End::ProvenBack, 60);
    bed.look(60, &[], &[]);
    bed.tell(61, &lease(3, "other", &[2]), &[], None);
    assert!(bed.ledger.grants.are_sound(), "{:?}", bed.ledger.grants);
}

#[test]
fn a_takeover_that_is_told_of_ends_the_lease_it_takes() {
    let (mut bed, _, repair) = taken_over();
    bed.tell(21, &repair, &[1], None);
    let grants = &bed.ledger.grants;
    assert_eq!((grants.taken_over, grants.doubled), (1, 0));
    bed.end(&repair, End::ProvenBack, 60);
    bed.look(60, &[], &[]);
    assert!(bed.ledger.grants.are_sound());
}
