//! Leases, holds, and everybody who asks for one: decides, makes durable, then answers (law 5).
//!
//! - [`entry`]: who may stop which nodes;
//! - [`repair`]: whether a repair may begin;
//! - [`leave`]: who has finished;
//! - [`watch`]: what this process has seen, and whom it has told;
//! - [`gone`]: whether a node has gone;
//! - [`sight`]: the words by which a repair, and "go" said again, are judged;
//! - [`proof`]: which nodes went, and which are proven back;
//! - [`takeover`]: leases that a repair takes over;
//! - [`standing`]: what leases and holds say to a judgement;
//! - [`changes`]: renewing, breaking, holding, retiring;
//! - [`roles`]: what a node is no more;
//! - [`told`]: what a lease has to be before its owner is told "go";
//! - [`waits`]: what requests wait for.

mod changes;
mod entry;
mod gone;
mod leave;
mod proof;
mod repair;
mod roles;
mod sight;
mod standing;
mod takeover;
#[cfg(test)]
mod tests;
mod told;
mod waits;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::proof::Measured;
use self::roles::{has_in_hand, is_no_more_than};
pub(super) use self::standing::{Aside, Standing};
use self::takeover::Taken;
use self::waits::{Awaited, Patience, Waits};
use self::watch::Watch;
use super::doc::{GateDoc, Revision, Stored};
use super::event::What;
use super::judgement::Course;
use super::keep::{CommitId, Keeper};
use super::lease::{Ended, Lease, LeaseId, Stage};
use super::machine::Effect;
use super::parts::WindowView;
use super::question::{Change, Changed, Entry, Refusal, Repair, Reply, Ticket};
use super::seen::Seen;
use crate::checks::table::Evaluation;
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::snapshot::Snapshot;
use crate::time::{Mono, Now, Timestamp};

/// How long a request waits for new evidence, and then for the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the desk needs of this moment's judgement, leases aside.
pub(super) struct Scene<'a, 's> {
    pub(super) now: Now,
    pub(super) seen: &'a Seen,
    pub(super) course: &'a Course,
    pub(super) snapshot: &'a Snapshot<'s>,
    pub(super) evaluation: &'a Evaluation,
    /// Whether every check is proven, leases aside.
    pub(super) healthy: bool,
    pub(super) window: &'a WindowView,
}

/// Leases and holds, and the requests that wait.
#[derive(Debug)]
pub(super) struct Desk {
    keeper: Keeper,
    pending: Vec<Pending>,
    /// When held leases end, on the boot clock.
    deadlines: BTreeMap<LeaseId, Mono>,
    /// When holds end, on the boot clock, by the wall time that was written.
    hold_ends: BTreeMap<Timestamp, Mono>,
    watch: Watch,
    /// Leases that were taken over, by the lease that took them: they stand again where its "go" is told to
    /// nobody.
    taken: BTreeMap<LeaseId, Vec<Taken>>,
    /// What was found out of the return of each lease's nodes.
    measured: BTreeMap<LeaseId, Measured>,
    /// Nodes that are retired as soon as that is written, and the role in which each stays; none
    /// where the node itself goes.
    retiring: BTreeMap<NodeId, Role>,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    until: Mono,
    what: Waits,
}

impl Desk {
    /// Goes on from what the store has.
    pub(super) fn restore(revision: Revision, doc: GateDoc, now: Now) -> Self {
        let leases = doc.leases.keys().copied().collect();
        let mut desk = Self {
            keeper: Keeper::new(revision, doc),
            pending: Vec::new(),
            deadlines: BTreeMap::new(),
            hold_ends: BTreeMap::new(),
            watch: Watch::default(),
            taken: BTreeMap::new(),
            measured: BTreeMap::new(),
            retiring: BTreeMap::new(),
        };
        desk.adopt(&leases, now);
        desk
    }

    /// Goes on with leases, and with holds, that another process has written of.
    fn adopt(&mut self, leases: &BTreeSet<LeaseId>, now: Now) {
        let left_of = |until: Timestamp| {
            let nanos = until.as_nanos() - now.wall.as_nanos();
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
        };
        self.take_back_from(leases, now);
        let doc = self.keeper.wanted();
        for id in leases {
            self.deadlines.remove(id);
            self.measured.remove(id);
            let Some(lease) = doc.leases.get(id) else {
                self.watch.forget(*id);
                self.taken.remove(id);
                continue;
            };
            self.watch.adopt(*id, now.mono);
            if lease.stage == Stage::Held {
                // A wall clock that was set back must not make a lease eternal.
                let left = left_of(lease.expires_at).min(super::lease::LONGEST_TTL);
                self.deadlines.insert(*id, now.mono.plus(left));
            }
        }
        let holds = doc.hold.iter().chain(doc.node_holds.values());
        for until in holds.filter_map(|hold| hold.until) {
            let end = now.mono.plus(left_of(until));
            self.hold_ends.entry(until).or_insert(end);
        }
    }

    /// Leases whose owners nobody has told "go" and that another process has ended: what they were about to
    /// take over stands again.
    fn take_back_from(&mut self, leases: &BTreeSet<LeaseId>, now: Now) {
        let ended = self.keeper.wanted().ended.iter();
        let untold = ended.filter(|it| leases.contains(&it.id) && !self.watch.was_told(it.id));
        let untold: Vec<Ended> = untold.cloned().collect();
        for taker in untold {
            self.give_back(now, taker.id, &taker.nodes, taker.owner.as_ref());
        }
    }

    /// A lease of ours has another number now: somebody else has given its own to another one.
    fn rename(&mut self, old: LeaseId, new: LeaseId) {
        if let Some(end) = self.deadlines.remove(&old) {
            self.deadlines.insert(new, end);
        }
        if let Some(measured) = self.measured.remove(&old) {
            self.measured.insert(new, measured);
        }
        if let Some(taken) = self.taken.remove(&old) {
            self.taken.insert(new, taken);
        }
        self.watch.rename(old, new);
        for item in &mut self.pending {
            match &mut item.what {
                Waits::Grant(_, id) | Waits::Store(_, id) | Waits::End(id) if *id == old => {
                    *id = new;
                }
                Waits::Evidence(_)
                | Waits::Advice(_)
                | Waits::Grant(..)
                | Waits::Store(..)
                | Waits::End(_)
                | Waits::Write(_) => {}
            }
        }
    }

    /// Every slot that is taken: by a lease that may stand, however it is written.
    pub(super) fn leases(&self) -> BTreeMap<LeaseId, &Lease> {
        let mut leases = BTreeMap::new();
        for lease in self.keeper.standing().flat_map(|doc| doc.leases.values()) {
            leases.entry(lease.id).or_insert(lease);
        }
        leases
    }

    /// Takes in a request for a lease.
    pub(super) fn enter(&mut self, now: Now, ticket: Ticket, entry: Entry) {
        self.wait(now, ticket, Waits::Evidence(entry));
    }

    /// Takes in a question whether a repair may begin.
    pub(super) fn advise(&mut self, now: Now, ticket: Ticket, repair: Repair) {
        self.wait(now, ticket, Waits::Advice(repair));
    }

    fn wait(&mut self, now: Now, ticket: Ticket, what: Waits) {
        let until = now.mono.plus(PATIENCE);
        self.pending.push(Pending {
            ticket,
            until,
            what,
        });
    }

    /// Makes a change, to be answered once it is durable; or refuses it at once.
    pub(super) fn change(
        &mut self,
        scene: &Scene<'_, '_>,
        ticket: Ticket,
        change: Change,
        out: &mut Vec<Effect>,
    ) {
        match self.make(scene, change) {
            Ok(awaited) => self.wait(scene.now, ticket, Waits::Write(awaited)),
            Err(refusal) => out.push(Effect::Reply(ticket, Reply::Refused(refusal))),
        }
    }

    /// What became of a write.
    pub(super) fn stored(&mut self, now: Now, id: CommitId, result: Stored) {
        let joined = self.keeper.result(now.mono, id, result);
        for (old, new) in &joined.moved {
            self.rename(*old, *new);
        }
        self.adopt(&joined.theirs, now);
    }

    /// Nodes and the cluster's id as they are known now are kept with everything else.
    pub(super) fn remember(&mut self, seen: &Seen) {
        let mut known = seen.memory.known_nodes.clone();
        for (node, kept) in &self.retiring {
            if *kept == Role::default() {
                known.remove(node);
            } else {
                known.insert(*node, *kept);
            }
        }
        let cluster = &seen.memory.cluster_id;
        let wanted = self.keeper.wanted();
        if wanted.known_nodes != known || wanted.cluster_id != *cluster {
            self.keeper.edit(|doc| {
                doc.known_nodes = known;
                doc.cluster_id.clone_from(cluster);
            });
        }
    }

    /// Nodes that are known by what is stored.
    pub(super) const fn stored_nodes(&self) -> &BTreeMap<NodeId, Role> {
        &self.keeper.stored().known_nodes
    }

    /// Whether a node is being retired.
    pub(super) fn is_retiring(&self, node: NodeId) -> bool {
        self.retiring.contains_key(&node)
    }

    /// Nodes whose retirement is durable by now, and the role in which each stays.
    pub(super) fn take_retired(&mut self) -> BTreeMap<NodeId, Role> {
        let done = |node: &NodeId, kept: Role| {
            let mut docs = self.keeper.standing();
            docs.all(|doc| is_no_more_than(doc.known_nodes.get(node), kept))
        };
        let (done, left) = std::mem::take(&mut self.retiring)
            .into_iter()
            .partition(|(node, kept)| done(node, *kept));
        self.retiring = left;
        done
    }

    /// Looks at every lease and every request that waits.
    pub(super) fn work(&mut self, scene: &Scene<'_, '_>, out: &mut Vec<Effect>) {
        self.expire(scene.now);
        self.watch_nodes(scene);
        self.prove(scene);
        let pending = std::mem::take(&mut self.pending);
        for item in pending {
            self.serve(scene, item, out);
        }
    }

    /// Hands the next write over.
    pub(super) fn write(&mut self, now: Now) -> Option<Effect> {
        self.keeper.write(now.mono)
    }

    /// Adds an entry to the history.
    pub(super) fn note(&mut self, now: Now, what: What) {
        self.keeper.note(now.wall, what);
    }

    /// When the desk has something to do without an input.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let pending = self.pending.iter().map(|item| item.until);
        let holds = self.keeper.retry();
        pending
            .chain(self.deadlines.values().copied())
            .chain(holds)
            .min()
    }

    fn expire(&mut self, now: Now) {
        let over = self.deadlines.iter().filter(|(_, at)| **at <= now.mono);
        for id in over.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.deadlines.remove(&id);
            let expired = self.keeper.edit(|doc| {
                let lease = doc.leases.get_mut(&id);
                lease
                    .filter(|lease| lease.stage == Stage::Held)
                    .map(|lease| {
                        lease.stage = Stage::Expired;
                        lease.stage_since = now.wall;
                    })
            });
            if expired.is_some() {
                self.watch.staged(id, now.mono);
                self.keeper.note(now.wall, What::Expired { lease: id });
            }
        }
    }

    fn serve(&mut self, scene: &Scene<'_, '_>, item: Pending, out: &mut Vec<Effect>) {
        let over = scene.now.mono >= item.until;
        let (ticket, mut until) = (item.ticket, item.until);
        let reached = item.what.reached();
        let next = match item.what {
            Waits::Evidence(entry) => self.consider(scene, entry, over),
            Waits::Advice(repair) => self.consider_repair(scene, repair, over),
            Waits::Grant(entry, lease) => {
                self.confirm(scene, entry, lease, Patience::Both { over })
            }
            Waits::Store(entry, lease) => {
                self.confirm(scene, entry, lease, Patience::Store { over })
            }
            Waits::End(lease) => self.ended(scene, lease, over),
            Waits::Write(awaited) => self.written(awaited, over),
        };
        match next {
            Next::Answer(reply) => out.push(Effect::Reply(ticket, reply)),
            Next::Wait(what) => {
                // The store gets a patience of its own after the evidence has had one.
                if what.reached() > reached {
                    until = scene.now.mono.plus(PATIENCE);
                }
                self.pending.push(Pending {
                    ticket,
                    until,
                    what,
                });
            }
        }
    }

    /// The answer to "am I back", once the lease is over and that is durable.
    fn ended(&self, scene: &Scene<'_, '_>, id: LeaseId, over: bool) -> Next {
        let standing = self
            .keeper
            .standing()
            .any(|doc| doc.leases.contains_key(&id));
        if !standing {
            let ended = self.keeper.wanted().ended.iter().find(|e| e.id == id);
            return Next::Answer(match ended {
                Some(ended) => Reply::Over(Box::new(ended.clone())),
                None => Reply::Refused(Refusal::NoSuchLease(id)),
            });
        }
        // Proven and not yet written: the answer is a moment away.
        if !self.keeper.wanted().leases.contains_key(&id) && !over {
            return Next::Wait(Waits::End(id));
        }
        let standing = self.standing(scene.now, &Aside::default());
        // Warnings of the return (no progress, a registration that stalls) are why somebody waits.
        let mut findings = standing.general;
        findings.extend(entry::own_general(scene));
        entry::not_yet(scene, scene.course.decision(scene.now, &findings))
    }

    fn written(&self, awaited: Awaited, over: bool) -> Next {
        match self.durable(&awaited) {
            Some(changed) => Next::Answer(Reply::Changed(changed)),
            None if over => {
                let why = self.keeper.trouble().unwrap_or("no answer in time");
                let why = why.to_owned();
                Next::Answer(Reply::Refused(if awaited.restricts() {
                    Refusal::NotDurable(why)
                } else {
                    Refusal::NotInForce(why)
                }))
            }
            None => Next::Wait(Waits::Write(awaited)),
        }
    }

    /// What a change came to, once no document that may stand says otherwise.
    fn durable(&self, awaited: &Awaited) -> Option<Changed> {
        let stored = self.keeper.stored();
        let mut standing = self.keeper.standing();
        match awaited {
            Awaited::Lease(lease) => {
                let kept = stored.leases.get(&lease.id)?;
                // Renewed once more since: then that is what it has come to.
                let wanted = self.keeper.wanted().leases.get(&lease.id);
                let newest = wanted.map_or(lease.expires_at, |wanted| wanted.expires_at);
                [lease.expires_at, newest]
                    .contains(&kept.expires_at)
                    .then(|| Changed::Lease(Box::new(kept.clone())))
            }
            Awaited::Held(node, hold) => {
                let kept = match node {
                    Some(node) => stored.node_holds.get(node),
                    None => stored.hold.as_ref(),
                };
                (kept == Some(hold)).then(|| Changed::Hold(Some(hold.clone())))
            }
            Awaited::Broken(id) => standing
                .all(|doc| !doc.leases.contains_key(id))
                .then_some(Changed::Broken(*id)),
            Awaited::Lifted(Some(node)) => standing
                .all(|doc| !doc.node_holds.contains_key(node))
                .then_some(Changed::Hold(None)),
            Awaited::Lifted(None) => standing
                .all(|doc| doc.hold.is_none())
                .then_some(Changed::Hold(None)),
            Awaited::Retired(node, kept) => standing
                .all(|doc| {
                    let stays = *kept != Role::default();
                    is_no_more_than(doc.known_nodes.get(node), *kept)
                        && (stays || !has_in_hand(doc, *node))
                })
                .then_some(Changed::Retired(*node)),
        }
    }
}

/// What comes next for a request.
enum Next {
    Answer(Reply),
    Wait(Waits),
}
