//! An account of what orchestrators were told of leases, held against the truth: whoever was told "go"
//! is out until he is truly back, whatever the gate's own document says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_gate::gate::doc::GateDoc;
use upgrade_gate::gate::lease::{Action, End, Ended, Lease, LeaseId, Owner, Token};
use upgrade_gate::model::NodeId;
use upgrade_gate::time::Timestamp;

use super::oracle::Harm;

/// No end of a lease waits longer for its write.
pub(super) const LONGEST_WRITE: Duration = Duration::from_secs(120);

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
    /// Told "go", and the stop ordered only some time after that.
    pub late: u64,
    /// Told "go", and "finished" said before anything was stopped.
    pub left_early: u64,
    /// Told "go" while somebody else was out, where that must not be.
    pub doubled: u64,
    /// Told "go", and the lease is gone without an end.
    pub lost: u64,
    /// Leases whose nodes were called back while they were not, or were yet to be stopped.
    pub ended_early: u64,
    /// Tokens that did not grow.
    pub old_tokens: u64,
    /// The first of these: when, and in words.
    pub first: Option<(Duration, String)>,
}

impl Grants {
    /// Whether nothing went wrong.
    pub const fn are_sound(&self) -> bool {
        self.false_go + self.doubled + self.lost + self.ended_early + self.old_tokens == 0
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
        self.late += other.late;
        self.left_early += other.left_early;
        self.doubled += other.doubled;
        self.lost += other.lost;
        self.ended_early += other.ended_early;
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
    /// The nodes that he had asked for.
    pub asked: &'a BTreeSet<NodeId>,
    /// Those of them that were gone, as late as the gate may be.
    pub gone: &'a BTreeSet<NodeId>,
    /// What speaks against it.
    pub harm: Option<&'a Harm>,
}

impl Told<'_> {
    /// Whoever goes on with what is gone altogether stops nothing.
    fn all_gone(&self) -> bool {
        self.asked.is_subset(self.gone)
    }
}

/// What is true outside the gate at a look.
#[derive(Debug, Default)]
pub struct Outside<'a> {
    /// When this is, since the start.
    pub now: Duration,
    /// The same by the gate's wall clock, unless somebody has just set it.
    pub wall: Option<Timestamp>,
    /// Nodes that are not back, and since when the gate has to know.
    pub away: BTreeMap<NodeId, Duration>,
    /// Leases whose owners, told "go", have yet to stop the nodes, as they may.
    pub owed: BTreeSet<LeaseId>,
    /// What the gate's store has.
    pub stored: Option<&'a GateDoc>,
}

impl Outside<'_> {
    /// When the end of a lease was decided: what came between that and its write the gate need not
    /// have known. Where the clock was set, long ago, which lets it off.
    fn decided(&self, ended: &Ended) -> Duration {
        let age = self.wall.map_or(LONGEST_WRITE, |wall| {
            let nanos = wall.as_nanos().saturating_sub(ended.at.as_nanos());
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
        });
        self.now.saturating_sub(age)
    }

    /// What makes a proof of return false.
    fn against(&self, ended: &Ended) -> Option<String> {
        let decided = self.decided(ended);
        let mut nodes = ended.nodes.iter().map(|node| node.0);
        let away = nodes.find(|node| self.away.get(node).is_some_and(|known| *known <= decided));
        let owed = self.owed.contains(&ended.id);
        match away {
            Some(node) => Some(format!("{node} is not back")),
            None => owed.then(|| "its owner has yet to stop them".to_owned()),
        }
    }

    /// Whether nobody misses these nodes any more.
    fn is_over(&self, lease: &Lease) -> bool {
        let mut nodes = lease.nodes.iter();
        !self.owed.contains(&lease.id) && nodes.all(|node| !self.away.contains_key(&node.0))
    }
}

/// Who was told "go" and not yet that it is over, as the world outside the gate knows it.
#[derive(Debug)]
pub struct Ledger {
    /// How many may be out at one time.
    slots: usize,
    out: BTreeMap<LeaseId, Lease>,
    /// Of these, whose end was false: they are out until they are truly back.
    early: BTreeSet<LeaseId>,
    /// Who comes to repair, and may take leases over by that.
    repairers: BTreeSet<String>,
    /// Leases that the gate has said "go" of, or has to take for such: a process that begins does not
    /// know what the one before has said.
    may_be_told: BTreeSet<LeaseId>,
    /// Of these, which the gate may have said "go" of once before: whoever reads the first of it may be
    /// told again.
    again: BTreeSet<LeaseId>,
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
            early: BTreeSet::new(),
            repairers,
            may_be_told: BTreeSet::new(),
            again: BTreeSet::new(),
            tokens: BTreeMap::new(),
            grants: Grants::default(),
        }
    }

    /// The gate has said "go" of these; whether anybody reads it is another matter.
    pub fn said(&mut self, leases: impl IntoIterator<Item = LeaseId>) {
        for lease in leases {
            if !self.may_be_told.insert(lease) {
                self.again.insert(lease);
            }
        }
    }

    /// The gate's process is gone: of what stands the next one counts everything as told.
    pub fn gate_is_gone(&mut self, stored: Option<&GateDoc>) {
        let leases = stored.into_iter().flat_map(|doc| doc.leases.keys());
        self.may_be_told.extend(leases);
    }

    /// Somebody reads "go"; `apart` says what is true of two leases' nodes.
    pub fn told(
        &mut self,
        told: &Told<'_>,
        apart: impl Fn(&Lease, &Lease) -> bool,
        outside: &Outside<'_>,
    ) {
        let (lease, now) = (told.lease, outside.now);
        // Asked again, the same is said again: while its nodes are out, or while it may still begin.
        // With any of them up it is judged as everybody is.
        if self.out.contains_key(&lease.id) {
            self.grants.again += 1;
            if !told.all_gone() {
                self.judge(now, told);
            }
            return;
        }
        self.look_at_ends(outside);
        self.count(told);
        // An answer before this one may have been lost on its way: what is out by now stops nothing.
        if !(told.all_gone() && self.again.contains(&lease.id)) {
            self.judge(now, told);
        }
        // Taken over on its way to whoever asked: he and the one who repairs mean the same node.
        if outside.stored.is_some_and(|doc| is_taken_over(doc, lease)) {
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

    fn count(&mut self, told: &Told<'_>) {
        self.grants.go += 1;
        self.grants.sets += u64::from(told.lease.nodes.len() > 1);
        self.grants.repairs += u64::from(told.lease.action == Action::Repair);
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
            self.forget(id);
        }
    }

    fn look_beside(
        &mut self,
        now: Duration,
        told: &Told<'_>,
        apart: impl Fn(&Lease, &Lease) -> bool,
    ) {
        // Another node that is out does not stand in the way of the cure of one that is down.
        if told.lease.action == Action::Repair && told.all_gone() {
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

    fn forget(&mut self, lease: LeaseId) {
        self.out.remove(&lease);
        self.early.remove(&lease);
    }

    /// Somebody reads that it is over, and how it ended.
    pub fn over(&mut self, ended: &Ended, outside: &Outside<'_>) {
        match &ended.how {
            End::ProvenBack | End::NeverGone => self.look_at_proof(ended, outside),
            // He knows now that it is his no more.
            End::TakenOver { .. } | End::Withdrawn | End::Broken { .. } | End::Retired => {
                self.forget(ended.id);
            }
        }
    }

    /// A lease whose owner is gone ends by proof; whoever was told of another one has lost it.
    pub fn look(&mut self, outside: &Outside<'_>) {
        self.look_at_ends(outside);
        let early = &mut self.early;
        self.out
            .retain(|id, lease| !early.contains(id) || !outside.is_over(lease));
        early.retain(|id| self.out.contains_key(id));
        let Some(stored) = outside.stored else { return };
        let lost = |lease: &&Lease| {
            let ended = stored.ended.iter().any(|ended| ended.id == lease.id);
            !stored.leases.contains_key(&lease.id) && !ended
        };
        let lost: Vec<_> = self.out.values().filter(lost).cloned().collect();
        for lease in lost {
            self.grants.lost += 1;
            let words = format!("the lease of {} is lost", lease.owner_name());
            self.grants.wrong(outside.now, || words);
            self.forget(lease.id);
        }
    }

    fn look_at_ends(&mut self, outside: &Outside<'_>) {
        let Some(stored) = outside.stored else { return };
        let ended = self.out.keys().filter_map(|id| newest_end(stored, *id));
        let ended: Vec<&Ended> = ended.collect();
        for ended in ended {
            match &ended.how {
                End::ProvenBack | End::NeverGone => self.look_at_proof(ended, outside),
                End::TakenOver { by } => self.look_at_taker(outside.now, ended, by, stored),
                // Nobody who was told "go" may lose the lease like this.
                End::Withdrawn | End::Broken { .. } | End::Retired => {}
            }
        }
    }

    /// A proof of return is not believed: the nodes have to be back, by what is true outside. An owner
    /// who stops them after an end that was true has himself to blame.
    fn look_at_proof(&mut self, ended: &Ended, outside: &Outside<'_>) {
        let Some(lease) = self.out.get(&ended.id) else {
            return;
        };
        if self.early.contains(&ended.id) {
            return;
        }
        let Some(why) = outside.against(ended) else {
            self.forget(ended.id);
            return;
        };
        let (owner, nodes) = (lease.owner_name(), &lease.nodes);
        let how = ended.how.as_str();
        let words = format!("the lease of {owner} on {nodes:?} ends as {how}: {why}");
        self.grants.ended_early += 1;
        self.grants.wrong(outside.now, || words);
        self.early.insert(ended.id);
    }

    /// Whoever takes a lease over holds its slot from then on. While he has not been told "go", the one
    /// who was told before may still act; who is never told has taken it for nothing, however his own
    /// lease ends: whoever was told before has to have it back.
    fn look_at_taker(&mut self, now: Duration, ended: &Ended, by: &Owner, stored: &GateDoc) {
        let took = |id: LeaseId, owner: Option<&Owner>, nodes: &BTreeSet<_>| {
            owner == Some(by) && id > ended.id && ended.nodes.is_subset(nodes)
        };
        let mut leases = stored.leases.values();
        if leases.any(|taker| took(taker.id, taker.owner.as_ref(), &taker.all_nodes())) {
            return;
        }
        let takers = stored.ended.iter();
        let takers = takers.filter(|it| took(it.id, it.owner.as_ref(), &it.nodes));
        let Some(taker) = takers.max_by_key(|taker| taker.id) else {
            return;
        };
        let told = taker.how != End::Withdrawn && self.may_be_told.contains(&taker.id);
        self.grants.taken_over += 1;
        self.forget(ended.id);
        if !told || !self.repairers.contains(by.as_str()) {
            self.grants.lost += 1;
            let words = format!("a lease on {:?} is taken over for nothing", ended.nodes);
            self.grants.wrong(now, || words);
        }
    }
}

/// How a lease has ended last, unless it stands: one that was taken over for nothing is given back.
fn newest_end(stored: &GateDoc, id: LeaseId) -> Option<&Ended> {
    let mut ended = stored.ended.iter().rev();
    let newest = ended.find(|ended| ended.id == id);
    newest.filter(|_| !stored.leases.contains_key(&id))
}

fn is_taken_over(stored: &GateDoc, lease: &Lease) -> bool {
    let ended = newest_end(stored, lease.id);
    ended.is_some_and(|ended| matches!(ended.how, End::TakenOver { .. }))
}

#[cfg(test)]
mod tests;
