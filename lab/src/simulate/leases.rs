//! Orchestrators that take leases: their mail with the gate, and an account of what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_gate::evidence::ids;
use upgrade_gate::gate::doc::GateDoc;
use upgrade_gate::gate::lease::{Action, End, Ended, Lease, LeaseId, Owner, Token};
use upgrade_gate::gate::question::{Change, Command, Entry, Reply, Ticket};
use upgrade_gate::model::NodeId;

use super::oracle::{Harm, Stop};
use super::world::World;

/// Questions on their way to the gate, and its answers.
#[derive(Debug, Default)]
pub struct Mail {
    next: u64,
    out: Vec<(Ticket, Command)>,
    replies: BTreeMap<Ticket, Reply>,
    asked: BTreeMap<Ticket, Stop>,
    /// Leases that somebody has read "go" of since the last look, and what he had asked for.
    pub(super) told: Vec<(Lease, Stop)>,
    /// Leases that somebody has read the end of.
    pub(super) over: Vec<LeaseId>,
}

impl Mail {
    /// "May I stop these nodes?"
    pub fn enter(&mut self, owner: &str, stop: &Stop, ttl: Duration, now: Duration) -> Ticket {
        let ticket = self.ask(Command::Enter(Entry {
            owner: name(owner),
            nodes: ids(&stop.nodes),
            ttl,
            action: stop.action,
            asked: World::mono(now),
        }));
        self.asked.insert(ticket, stop.clone());
        ticket
    }

    /// "I have finished with these nodes."
    pub fn leave(&mut self, owner: &str, nodes: &BTreeSet<NodeId>) -> Ticket {
        self.ask(Command::Leave {
            owner: name(owner),
            nodes: ids(nodes),
        })
    }

    /// "This node is gone for good."
    pub fn retire(&mut self, node: NodeId) {
        self.ask(Command::Change(Change::Retire {
            node: ids::NodeId(node),
            by: name("somebody"),
        }));
    }

    fn ask(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.out.push((ticket, command));
        ticket
    }

    /// The answer to a question, once it is there.
    pub fn read(&mut self, ticket: Ticket) -> Option<Reply> {
        let reply = self.replies.remove(&ticket)?;
        let asked = self.asked.remove(&ticket);
        match &reply {
            Reply::Go { lease, .. } => {
                self.told
                    .extend(asked.map(|stop| (Lease::clone(lease), stop)));
            }
            Reply::Over(ended) => self.over.push(ended.id),
            Reply::Verdict(_) | Reply::Verdicts(_) | Reply::Changed(_) | Reply::Refused(_) => {}
        }
        Some(reply)
    }

    /// What is on its way to the gate.
    pub fn sent(&mut self) -> Vec<(Ticket, Command)> {
        std::mem::take(&mut self.out)
    }

    /// What the gate has answered.
    pub fn receive(&mut self, replies: Vec<(Ticket, Reply)>) {
        self.replies.extend(replies);
    }

    /// Whether no question waits for its answer.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.out.is_empty() && self.replies.is_empty()
    }

    /// The gate's process is gone, and with it every question and answer on the way.
    pub fn lose(&mut self) {
        self.out.clear();
        self.replies.clear();
        self.asked.clear();
    }
}

fn ids(nodes: &BTreeSet<NodeId>) -> BTreeSet<ids::NodeId> {
    nodes.iter().copied().map(ids::NodeId).collect()
}

fn name(owner: &str) -> Owner {
    Owner::try_from(owner.to_owned()).expect("a sound name")
}

/// What came of leases.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// How often somebody was told "go".
    pub go: u64,
    /// Of these, how many would have done harm, with time enough to notice.
    pub false_go: u64,
    /// How many before that.
    pub too_soon: u64,
    /// Of these, how many for several nodes at once.
    pub sets: u64,
    /// Of these, how many for a repair.
    pub repairs: u64,
    /// Of these, how many have lost their lease to a repair of its nodes.
    pub taken_over: u64,
    /// Told "go" beside somebody else, by a second slot, where their nodes share nothing.
    pub beside: u64,
    /// Told "go" once more of a lease that was told of before.
    pub again: u64,
    /// Told "go" while somebody else was out, where that must not be.
    pub doubled: u64,
    /// Told "go", and the lease is gone without an end.
    pub lost: u64,
    /// Tokens that did not grow.
    pub old_tokens: u64,
    /// The first of these: when, and in words.
    pub first: Option<(Duration, String)>,
}

impl Grants {
    /// Whether nothing went wrong.
    pub const fn are_sound(&self) -> bool {
        self.false_go + self.doubled + self.lost + self.old_tokens == 0
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.go += other.go;
        self.false_go += other.false_go;
        self.too_soon += other.too_soon;
        self.sets += other.sets;
        self.repairs += other.repairs;
        self.taken_over += other.taken_over;
        self.beside += other.beside;
        self.again += other.again;
        self.doubled += other.doubled;
        self.lost += other.lost;
        self.old_tokens += other.old_tokens;
        self.first = self.first.or_else(|| other.first.clone());
        self
    }

    fn wrong(&mut self, now: Duration, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(|| (now, what()));
    }
}

/// A "go" that somebody reads, and what is true of it then.
#[derive(Debug)]
pub struct Told<'a> {
    /// The lease.
    pub lease: &'a Lease,
    /// What speaks against it.
    pub harm: Option<&'a Harm>,
    /// Its nodes have been up for so long that the gate had to know.
    pub were_up: bool,
}

/// Who was told "go" and not yet that it is over, as the world outside the gate knows it.
#[derive(Debug)]
pub struct Ledger {
    /// How many may be out at one time.
    slots: usize,
    out: BTreeMap<LeaseId, Lease>,
    /// Who comes to repair, and may take leases over by that.
    repairers: BTreeSet<String>,
    /// The token of everybody who was told "go".
    tokens: BTreeMap<LeaseId, Token>,
    /// What came of it.
    pub grants: Grants,
}

impl Ledger {
    /// Nobody was told anything yet, by a gate with so many slots.
    pub fn new(slots: usize, repairers: BTreeSet<String>) -> Self {
        Self {
            slots,
            out: BTreeMap::new(),
            repairers,
            tokens: BTreeMap::new(),
            grants: Grants::default(),
        }
    }

    /// Somebody reads "go"; `apart` says what is true of two leases' nodes.
    pub fn told(
        &mut self,
        now: Duration,
        told: &Told<'_>,
        apart: impl Fn(&Lease, &Lease) -> bool,
        stored: Option<&GateDoc>,
    ) {
        let lease = told.lease;
        // Asked again, the same is said again: while its nodes are out, or while it may still begin.
        if self.out.contains_key(&lease.id) {
            self.grants.again += 1;
            if told.were_up {
                self.judge(now, told);
            }
            return;
        }
        self.forget_proven(now, stored);
        self.count(now, told);
        // Taken over on its way to whoever asked: he and the one who repairs mean the same node.
        let ended = stored.iter().flat_map(|doc| &doc.ended);
        let mut taken = ended.filter(|ended| matches!(ended.how, End::TakenOver { .. }));
        if taken.any(|ended| ended.id == lease.id) {
            self.grants.taken_over += 1;
            return;
        }
        if lease.action == Action::Repair {
            self.take_over(lease);
        }
        self.look_beside(now, told, apart);
        // By the order in which they were given: whoever has lost an answer may read of it after
        // somebody who has come later and gone.
        let order =
            |(id, token): &(&LeaseId, &Token)| id.cmp(&&lease.id) != token.cmp(&&lease.token);
        if let Some((id, token)) = self.tokens.iter().find(order) {
            let words = format!(
                "lease {} has token {}, and lease {id} token {token}",
                lease.id, lease.token
            );
            self.grants.old_tokens += 1;
            self.grants.wrong(now, || words);
        }
        self.tokens.insert(lease.id, lease.token);
        self.out.insert(lease.id, lease.clone());
    }

    fn count(&mut self, now: Duration, told: &Told<'_>) {
        self.grants.go += 1;
        self.grants.sets += u64::from(told.lease.nodes.len() > 1);
        self.grants.repairs += u64::from(told.lease.action == Action::Repair);
        self.judge(now, told);
    }

    fn judge(&mut self, now: Duration, told: &Told<'_>) {
        let Some(harm) = told.harm else { return };
        if harm.noticed {
            self.grants.false_go += 1;
            let (what, nodes) = (told.lease.action.as_str(), &told.lease.nodes);
            self.grants
                .wrong(now, || format!("go for {what} of {nodes:?}: {}", harm.why));
        } else {
            self.grants.too_soon += 1;
        }
    }

    /// A repair ends the leases on its nodes: whoever had them is told by whom.
    fn take_over(&mut self, lease: &Lease) {
        let touched = self.out.values();
        let touched = touched.filter(|other| !other.nodes.is_disjoint(&lease.nodes));
        for id in touched.map(|other| other.id).collect::<Vec<_>>() {
            self.grants.taken_over += 1;
            self.over(id);
        }
    }

    fn look_beside(
        &mut self,
        now: Duration,
        told: &Told<'_>,
        apart: impl Fn(&Lease, &Lease) -> bool,
    ) {
        // Another node that is out does not stand in the way of the cure of one that is down.
        if told.lease.action == Action::Repair && !told.were_up {
            return;
        }
        let room = self.out.len() < self.slots;
        let clash = |other: &&Lease| !room || !apart(other, told.lease);
        if let Some(other) = self.out.values().find(clash) {
            self.grants.doubled += 1;
            let words = format!(
                "go for {:?} beside {} on {:?}",
                told.lease.nodes,
                other.owner_name(),
                other.nodes
            );
            self.grants.wrong(now, || words);
        } else {
            self.grants.beside += u64::from(!self.out.is_empty());
        }
    }

    /// Somebody reads that it is over.
    pub fn over(&mut self, lease: LeaseId) {
        self.out.remove(&lease);
    }

    /// A lease whose owner is gone ends by proof; whoever was told of another one has lost it.
    pub fn look(&mut self, now: Duration, stored: Option<&GateDoc>) {
        self.forget_proven(now, stored);
        let Some(stored) = stored else { return };
        let lost = |lease: &&Lease| {
            let ended = stored.ended.iter().any(|ended| ended.id == lease.id);
            !stored.leases.contains_key(&lease.id) && !ended
        };
        let lost: Vec<_> = self.out.values().filter(lost).cloned().collect();
        for lease in lost {
            self.grants.lost += 1;
            let words = format!("the lease of {} is lost", lease.owner_name());
            self.grants.wrong(now, || words);
            self.over(lease.id);
        }
    }

    /// Whoever takes a lease over holds its slot from then on. While he has not been told "go", the one
    /// who was told before may still act; who is never told has taken it for nothing.
    fn look_at_taker(&mut self, now: Duration, ended: &Ended, by: &Owner, stored: &GateDoc) {
        let mut takers = stored.ended.iter().filter(|taker| {
            let same = taker.owner.as_ref() == Some(by) && ended.nodes.is_subset(&taker.nodes);
            same && taker.id > ended.id
        });
        let Some(taker) = takers.next() else { return };
        let for_nothing = taker.how == End::Withdrawn || !self.repairers.contains(by.as_str());
        self.grants.taken_over += 1;
        self.over(ended.id);
        if for_nothing {
            self.grants.lost += 1;
            let words = format!("a lease on {:?} is taken over for nothing", ended.nodes);
            self.grants.wrong(now, || words);
        }
    }

    fn forget_proven(&mut self, now: Duration, stored: Option<&GateDoc>) {
        let Some(stored) = stored else { return };
        for ended in &stored.ended {
            match &ended.how {
                End::ProvenBack | End::NeverGone => {
                    self.over(ended.id);
                }
                End::TakenOver { by } if self.out.contains_key(&ended.id) => {
                    self.look_at_taker(now, ended, by, stored);
                }
                // Nobody who was told "go" may lose the lease like this.
                End::TakenOver { .. } | End::Withdrawn | End::Broken { .. } | End::Retired => {}
            }
        }
    }
}
