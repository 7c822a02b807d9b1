//! Who has finished, or does not want any more what he has asked for.

use std::collections::BTreeSet;

use super::waits::Waits;
use super::{Desk, Pending};
use crate::evidence::ids::NodeId;
use crate::gate::event::What;
use crate::gate::lease::{Lease, LeaseId, Owner, Stage};
use crate::gate::machine::Effect;
use crate::gate::question::{Refusal, Reply, Ticket, Unused};
use crate::time::Now;

impl Desk {
    /// Takes in that an owner has finished; where its lease is over already, that is said at the
    /// end of the step.
    pub(in crate::gate) fn leave(
        &mut self,
        now: Now,
        ticket: Ticket,
        (owner, nodes): (&Owner, &BTreeSet<NodeId>),
        unused: Option<Unused>,
        out: &mut Vec<Effect>,
    ) {
        let mine = self.keeper.wanted().leases.values();
        let mine = mine.filter(|lease| lease.is_of(owner, nodes));
        let mine = mine.filter(|lease| unused.is_none_or(|unused| self.is_unused(lease, unused)));
        let mine: Vec<LeaseId> = mine.map(|lease| lease.id).collect();
        if unused.is_some() && mine.is_empty() {
            let owner = owner.clone();
            let refused = Reply::Refused(Refusal::GoneOnWith { owner });
            out.push(Effect::Reply(ticket, refused));
            return;
        }
        if unused.is_none() {
            self.give_up(owner, nodes, out);
        }
        for id in mine.iter().copied() {
            let left = self.keeper.edit(|doc| {
                let lease = doc.leases.get_mut(&id);
                lease.is_some_and(|lease| match lease.stage {
                    Stage::Held | Stage::Expired => {
                        lease.stage = Stage::Leaving;
                        lease.stage_since = now.wall;
                        true
                    }
                    Stage::Leaving | Stage::Unannounced => false,
                })
            });
            if left {
                self.deadlines.remove(&id);
                self.watch.staged(id, now.mono);
                self.keeper.note(now.wall, What::Leaving { lease: id });
            }
        }
        // More than one where he is about to take over his own: the newest will stand for both.
        if let Some(id) = mine.last() {
            self.wait(now, ticket, Waits::End(*id));
            return;
        }
        let ended = self.keeper.wanted().ended.iter().rev();
        // A repair may have taken over more nodes than it asked for.
        let mut mine =
            ended.filter(|e| e.owner.as_ref() == Some(owner) && nodes.is_subset(&e.nodes));
        let last = mine.next().map(|ended| ended.id);
        if let Some(id) = last.filter(|_| !self.went_since(nodes)) {
            self.wait(now, ticket, Waits::End(id));
        } else {
            let owner = owner.clone();
            let refused = Reply::Refused(Refusal::NotEntered { owner });
            out.push(Effect::Reply(ticket, refused));
        }
    }

    /// Whether nobody was told "go" for this lease after that one. A lease that another process may have told
    /// of counts as used.
    fn is_unused(&self, lease: &Lease, unused: Unused) -> bool {
        lease.token == unused.token && self.watch.times_told(lease.id) == Some(unused.told)
    }

    /// Whether one of these nodes went after its last lease was over, and is not proven back: that the lease
    /// was never gone is true, and no answer to who asks now.
    fn went_since(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let leases = self.leases();
        let mut unannounced = leases.values().filter(|lease| lease.owner.is_none());
        unannounced.any(|lease| !lease.nodes.is_disjoint(nodes))
    }

    /// Whoever has finished wants no more what it has asked for before: given now, it would be told
    /// to nobody who still listens.
    fn give_up(&mut self, owner: &Owner, nodes: &BTreeSet<NodeId>, out: &mut Vec<Effect>) {
        let given_up = |item: &Pending| match &item.what {
            Waits::Evidence(entry) => entry.owner == *owner && entry.nodes == *nodes,
            // A lease that is decided is left by its owner like any other.
            Waits::Advice(_)
            | Waits::Grant(..)
            | Waits::Store(..)
            | Waits::End(_)
            | Waits::Write(_) => false,
        };
        let pending = std::mem::take(&mut self.pending);
        let (over, pending): (Vec<_>, Vec<_>) = pending.into_iter().partition(given_up);
        self.pending = pending;
        for item in over {
            let owner = owner.clone();
            let refused = Reply::Refused(Refusal::GivenUp { owner });
            out.push(Effect::Reply(item.ticket, refused));
        }
    }
}
