//! Who may stop which nodes: judged on evidence newer than the request, made durable, judged
//! again, answered.

use std::collections::BTreeSet;
use std::time::Duration;

use super::sight::Sight;
use super::takeover::taken_by;
use super::told::{count_anew, is_as_told, starts};
use super::waits::{Patience, Waits};
use super::{Desk, Next, Scene};
use crate::checks::finding::{Finding, Subject};
use crate::checks::reason::{Reason, Severity};
use crate::gate::event::What;
use crate::gate::lease::{Action, End, Ended, Lease, LeaseId, Owner, Stage, Token};
use crate::gate::question::{Answered, Entry, Question, Repair, Reply};
use crate::gate::state::State;
use crate::gate::view::Decision;
use crate::time::{Mono, Now};

impl Desk {
    /// Decides on a request, once its evidence is there or its patience is over.
    pub(super) fn consider(&mut self, scene: &Scene<'_, '_>, entry: Entry, over: bool) -> Next {
        if let Some(strangers) = scene.course.strangers(scene.snapshot, &entry.nodes) {
            return Next::Answer(Reply::Verdict(Answered::NoSuchNodes(strangers)));
        }
        if let Some(mine) = self.own(&entry) {
            // Asked again: the same answer, as soon as it is durable.
            return self.confirm(scene, entry, mine, Patience::Both { over });
        }
        if let Some(mine) = self.own_over(&entry) {
            match self.may_go_on(scene, &entry, &mine, over) {
                None => return Next::Wait(Waits::Evidence(entry)),
                Some(true) => {
                    self.resume(scene.now, mine.id, entry.ttl);
                    return self.confirm(scene, entry, mine.id, Patience::Both { over });
                }
                Some(false) => {}
            }
        }
        let replaced = self.replaced(&entry);
        let (decision, enough) = self.decide(scene, &entry, &replaced, over);
        if !enough && !over {
            return Next::Wait(Waits::Evidence(entry));
        }
        // One request is decided at a time: the store has to have answered the one before.
        if decision.state != State::Open || self.keeper.trouble().is_some() {
            return not_yet(scene, decision);
        }
        let lease = self.grant(scene, &entry, &replaced);
        if over {
            return Next::Wait(Waits::Store(entry, lease));
        }
        Next::Wait(Waits::Grant(entry, lease))
    }

    /// The lease that this owner holds on exactly these nodes.
    fn own(&self, entry: &Entry) -> Option<LeaseId> {
        let leases = self.keeper.wanted().leases.values();
        let mut held = leases.filter(|lease| lease.stage == Stage::Held);
        held.find(|lease| entry.asks_for(lease))
            .map(|lease| lease.id)
    }

    /// The lease that this owner was told "go" of on exactly these nodes, where its time is over or he has left
    /// it, and that no proof has ended yet. A run that is made again finds its nodes out, and nobody else
    /// would start them. A repair takes it over in any case.
    fn own_over(&self, entry: &Entry) -> Option<Lease> {
        let is_over = |lease: &&Lease| match lease.stage {
            Stage::Leaving | Stage::Expired => self.watch.was_told(lease.id),
            Stage::Held | Stage::Unannounced => false,
        };
        let mut leases = self.keeper.wanted().leases.values().filter(is_over);
        match entry.action {
            Action::Repair => None,
            Action::Restart => leases.find(|lease| entry.asks_for(lease)).cloned(),
        }
    }

    /// Its owner goes on with a lease that was over.
    fn resume(&mut self, now: Now, id: LeaseId, ttl: Duration) {
        self.keeper.edit(|doc| {
            if let Some(lease) = doc.leases.get_mut(&id) {
                lease.stage = Stage::Held;
                lease.stage_since = now.wall;
            }
        });
        self.watch.staged(id, now.mono);
        self.move_end(now, id, ttl, None);
    }

    /// For a repair, the leases on any of its nodes: it takes them over. A gate must never block
    /// its own cure.
    fn replaced(&self, entry: &Entry) -> BTreeSet<LeaseId> {
        match entry.action {
            Action::Restart => BTreeSet::new(),
            Action::Repair => self.leases_on(&entry.nodes),
        }
    }

    /// The verdict on a request, `own` leases aside, and whether all the evidence it needs is there;
    /// `over`: nobody is waited for any more.
    fn decide(
        &self,
        scene: &Scene<'_, '_>,
        entry: &Entry,
        own: &BTreeSet<LeaseId>,
        over: bool,
    ) -> (Decision, bool) {
        let aside = self.aside(scene.snapshot, &entry.nodes, own.clone());
        let mut standing = self.standing(scene.now, &aside);
        for finding in &mut standing.general {
            // A warning for everybody else; nobody is told "go" who could be forgotten.
            if finding.reason == Reason::StoreUnavailable {
                finding.severity = Severity::Block;
            }
        }
        match entry.action {
            Action::Restart => {
                let question = Question {
                    nodes: entry.nodes.clone(),
                    newer_than: Some(entry.asked),
                };
                let course = scene.course;
                match course.decide(scene.seen, &standing, scene.now, &question) {
                    (Answered::Decided { decision, .. }, enough) => (decision, enough),
                    // Strangers were looked for before, on the same snapshot.
                    (Answered::NoSuchNodes(_), enough) => {
                        (scene.course.decision(scene.now, &[unjudged()]), enough)
                    }
                }
            }
            Action::Repair => {
                let repair = Repair {
                    nodes: entry.nodes.clone(),
                    asked: entry.asked,
                };
                Self::repair(scene, &repair, &standing, over)
            }
        }
    }

    /// Takes the slot. In force from here on; leases that it is to take over stand beside it until its
    /// owner is told "go".
    fn grant(
        &mut self,
        scene: &Scene<'_, '_>,
        entry: &Entry,
        replaced: &BTreeSet<LeaseId>,
    ) -> LeaseId {
        let now = scene.now;
        let mut nodes = entry.nodes.clone();
        let mut taken_from = None;
        let standing = self.leases().into_values();
        for old in standing.filter(|lease| replaced.contains(&lease.id)) {
            nodes.extend(&old.nodes);
            taken_from = taken_from.or_else(|| old.owner.clone());
        }
        let lease = self.keeper.edit(|doc| {
            doc.last_lease = LeaseId(doc.last_lease.0.saturating_add(1));
            doc.last_token = Token(doc.last_token.0.saturating_add(1));
            let lease = Lease {
                id: doc.last_lease,
                token: doc.last_token,
                owner: Some(entry.owner.clone()),
                starts: starts(scene, &nodes),
                nodes,
                action: entry.action,
                stage: Stage::Held,
                granted_at: now.wall,
                stage_since: now.wall,
                expires_at: now.wall.plus(entry.ttl),
                gone: BTreeSet::new(),
                retired: BTreeSet::new(),
                took_over: false,
            };
            doc.leases.insert(lease.id, lease.clone());
            lease
        });
        self.deadlines.insert(lease.id, now.mono.plus(entry.ttl));
        self.watch.begun(lease.id, now.mono);
        self.note_grant(scene, &lease, &entry.owner, taken_from);
        lease.id
    }

    fn note_grant(
        &mut self,
        scene: &Scene<'_, '_>,
        lease: &Lease,
        owner: &Owner,
        taken_from: Option<Owner>,
    ) {
        let what = What::Granted {
            lease: lease.id,
            token: lease.token,
            owner: owner.clone(),
            nodes: lease.nodes.clone(),
            action: lease.action,
            taken_from,
        };
        self.keeper.note(scene.now.wall, what);
    }

    /// One more look once the lease is durable: what came in between counts.
    pub(super) fn confirm(
        &mut self,
        scene: &Scene<'_, '_>,
        entry: Entry,
        id: LeaseId,
        patience: Patience,
    ) -> Next {
        let heard = patience.is_heard();
        let wanted = self.keeper.wanted().leases.get(&id);
        let mine = wanted.filter(|lease| lease.stage == Stage::Held);
        let mine = mine.filter(|lease| lease.is_of(&entry.owner, &entry.nodes));
        let Some(lease) = mine.cloned() else {
            // Meanwhile it was broken, withdrawn or left, its time was over, or somebody else's write
            // has replaced it.
            let (decision, _) = self.decide(scene, &entry, &BTreeSet::new(), heard);
            return not_yet(scene, decision);
        };
        let told = self.watch.was_told(id);
        let stored = self.keeper.stored().leases.get(&id);
        let durable = stored.is_some_and(|stored| stored.token == lease.token);
        let failed = self.keeper.trouble().is_some();
        if !durable {
            if !failed && !patience.is_over() {
                return Next::Wait(if heard {
                    Waits::Store(entry, id)
                } else {
                    Waits::Grant(entry, id)
                });
            }
            if !told {
                self.withdraw(scene.now, &lease, &[Reason::StoreUnavailable]);
            }
            let (decision, _) = self.decide(scene, &entry, &self.own_or_taken(&lease), heard);
            return not_yet(scene, decision);
        }
        let (decision, enough) = self.decide(scene, &entry, &self.own_or_taken(&lease), heard);
        let goes_on = if told {
            self.may_go_on(scene, &entry, &lease, heard)
        } else {
            Some(false)
        };
        if decision.state == State::Open || goes_on == Some(true) {
            return self.tell(scene, entry, id, decision, patience);
        }
        if (!enough || goes_on.is_none()) && !heard {
            return Next::Wait(Waits::Grant(entry, id));
        }
        // Whoever may have been told "go" keeps the lease, whatever came in between.
        if !told {
            let reasons: Vec<_> = decision.reasons.iter().map(|r| r.reason).collect();
            self.withdraw(scene.now, &lease, &reasons);
        }
        not_yet(scene, decision)
    }

    /// Says "go" once the lease stands as it is told: for as long as was asked for, from the request on,
    /// with nothing proven by what was before, and in the place of those that it takes over. Whoever is
    /// told so again counts on that time anew: a run of before may have left a few seconds of it.
    fn tell(
        &mut self,
        scene: &Scene<'_, '_>,
        entry: Entry,
        id: LeaseId,
        decision: Decision,
        patience: Patience,
    ) -> Next {
        let Some(lease) = self.keeper.wanted().leases.get(&id).cloned() else {
            return not_yet(scene, decision);
        };
        let told = self.watch.was_told(id);
        let failed = self.keeper.trouble().is_some();
        let mut as_told = lease.clone();
        count_anew(scene, &entry, &mut as_told);
        let asked_for = entry.asked.plus(entry.ttl);
        let takes = taken_by(self.keeper.wanted(), &lease).next().is_some();
        let changes = takes || as_told != lease || self.ends_before(id, asked_for);
        if !(failed && changes) {
            if as_told != lease {
                self.keeper.edit(|doc| doc.leases.insert(id, as_told));
            }
            if takes {
                self.take_over(scene.now, id);
            }
            if self.ends_before(id, asked_for) {
                self.move_end(scene.now, id, entry.ttl, None);
            }
            let lease = self.keeper.wanted().leases.get(&id).cloned();
            let stored = self.keeper.stored();
            if let Some(lease) = lease.filter(|lease| is_as_told(stored, lease)) {
                let told = self.watch.tell(id);
                return Next::Answer(Reply::Go {
                    lease: Box::new(lease),
                    told,
                    evaluated: scene.now,
                });
            }
            if !failed && patience.has_store() {
                return Next::Wait(Waits::Store(entry, id));
            }
        }
        let lease = self.keeper.wanted().leases.get(&id).cloned();
        if let Some(lease) = lease.filter(|_| !told) {
            self.withdraw(scene.now, &lease, &[Reason::StoreUnavailable]);
        }
        not_yet(scene, decision)
    }

    /// Whether a lease's time is over before that moment.
    fn ends_before(&self, id: LeaseId, moment: Mono) -> bool {
        let end = self.deadlines.get(&id);
        end.is_none_or(|end| *end < moment)
    }

    /// Whether an owner who was told "go" may go on with what it has begun: every node of its
    /// lease is out now, by answers newer than the request and by all that are in date, so that
    /// stopping it again stops nothing. Once any of them is back it is judged as everybody is: much
    /// may have happened since the first "go". Holds stand above both. `None`: somebody who tells
    /// of it has still to be heard, and it is not `over`.
    fn may_go_on(
        &self,
        scene: &Scene<'_, '_>,
        entry: &Entry,
        lease: &Lease,
        over: bool,
    ) -> Option<bool> {
        let held = self.node_holds(scene.now);
        if self.hold(scene.now).is_some() || lease.nodes.iter().any(|n| held.contains_key(n)) {
            return Some(false);
        }
        let reports = scene.seen.newer_than(entry.asked);
        let snapshot = scene
            .seen
            .snapshot_of(scene.now, &BTreeSet::new(), &reports);
        let sight = Sight::new(&snapshot, scene.snapshot, entry.asked);
        let heard = over || sight.is_heard(false);
        heard.then(|| lease.nodes.iter().all(|node| sight.is_gone(*node)))
    }

    /// Nobody was told "go": the slot is given back as soon as that is written. Leases that it has taken
    /// over stand again ([`Desk::finish`]): their owners were told and may still stop their nodes. Where
    /// this process does not know them it stays, as one whose time is over, and ends by proof.
    fn withdraw(&mut self, now: Now, lease: &Lease, reasons: &[Reason]) {
        let codes: BTreeSet<_> = reasons.iter().map(|reason| reason.code()).collect();
        let what = What::Withdrawn {
            lease: lease.id,
            reasons: codes.into_iter().map(str::to_owned).collect(),
        };
        self.keeper.note(now.wall, what);
        if !lease.took_over || self.taken.contains_key(&lease.id) {
            self.finish(lease, End::Withdrawn, now);
            return;
        }
        self.keeper.edit(|doc| {
            if let Some(lease) = doc.leases.get_mut(&lease.id) {
                lease.stage = Stage::Expired;
                lease.stage_since = now.wall;
            }
        });
        self.deadlines.remove(&lease.id);
        self.watch.staged(lease.id, now.mono);
    }

    /// "Go" of this lease has certainly reached nobody: whoever asked was gone by then.
    pub(in crate::gate) fn unheard(&mut self, now: Now, id: LeaseId) {
        let held = self.keeper.wanted().leases.get(&id);
        let held = held.filter(|lease| lease.stage == Stage::Held).cloned();
        if let Some(lease) = held.filter(|_| self.watch.untell(id)) {
            self.withdraw(now, &lease, &[]);
        }
    }

    /// Ends a lease in what is wanted. What ends it by a proof, or by somebody's hand, has an entry of
    /// its own in the history. Where nobody was told "go" of it, what it has taken over stands again.
    pub(super) fn finish(&mut self, lease: &Lease, how: End, now: Now) {
        let gives_back = match &how {
            End::ProvenBack | End::NeverGone | End::Withdrawn | End::Broken { .. } => true,
            // Who takes it over takes all of it over, and what is retired is nobody's.
            End::TakenOver { .. } | End::Retired => false,
        };
        if gives_back && !self.watch.was_told(lease.id) {
            self.give_back(now, lease.id, &lease.nodes, lease.owner.as_ref());
        }
        self.taken.remove(&lease.id);
        self.deadlines.remove(&lease.id);
        self.measured.remove(&lease.id);
        self.watch.forget(lease.id);
        let untold = match &how {
            End::TakenOver { .. } | End::Retired => true,
            End::ProvenBack | End::NeverGone | End::Withdrawn | End::Broken { .. } => false,
        };
        if untold {
            let (lease, how) = (lease.id, how.clone());
            self.keeper.note(now.wall, What::Ended { lease, how });
        }
        self.keeper.end(Ended {
            id: lease.id,
            token: lease.token,
            owner: lease.owner.clone(),
            nodes: lease.all_nodes(),
            how,
            at: now.wall,
        });
    }
}

/// What speaks against everybody beside leases and holds.
pub(super) fn own_general(scene: &Scene<'_, '_>) -> impl Iterator<Item = Finding> {
    let course = scene.course;
    let general = course.general(scene.snapshot, scene.evaluation, scene.window);
    let general = general.into_iter();
    general.filter(|finding| finding.severity != Severity::Warn)
}

fn unjudged() -> Finding {
    Finding::new(
        Reason::EngineFailed,
        Subject::Cluster,
        "no verdict on these nodes",
        "a verdict",
    )
}

/// "No" is never an `open`: where the cluster would let the nodes go, it is the store that has not
/// confirmed the lease.
pub(super) fn not_yet(scene: &Scene<'_, '_>, decision: Decision) -> Next {
    let decision = match decision.state {
        State::Closed | State::Unknown => decision,
        State::Open => {
            let mut finding = Finding::new(
                Reason::StoreUnavailable,
                Subject::Cluster,
                "the store has not confirmed the lease",
                "a lease that survives a restart of the gate",
            );
            finding.severity = Severity::Block;
            scene.course.decision(scene.now, &[finding])
        }
    };
    Next::Answer(Reply::Verdict(Answered::Decided {
        decision,
        evaluated: scene.now,
    }))
}
