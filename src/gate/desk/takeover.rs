//! Leases that a repair takes over.
//!
//! Their owners were told "go" and may still stop their nodes. So they stand beside the repair's own
//! lease until its owner is to be told "go": they end in the write that comes before that. Where
//! nobody is told, or it reaches nobody, they stand again as they were, tokens included: of the repair's
//! newer token nobody has heard who could hold an older one against it.

use std::collections::BTreeSet;

use super::Desk;
use crate::evidence::ids::NodeId;
use crate::gate::doc::GateDoc;
use crate::gate::event::What;
use crate::gate::lease::{Action, End, Lease, LeaseId, Owner, Stage};
use crate::time::{Mono, Now};

/// A lease that was taken over.
#[derive(Debug)]
pub(super) struct Taken {
    lease: Lease,
    /// When its time is over, on the boot clock; none where it was over.
    end: Option<Mono>,
}

/// The leases of a document that this one takes over as soon as its owner is told "go": those of
/// before it on its nodes. A repair that has come later takes this one over in turn.
pub(super) fn taken_by<'a>(doc: &'a GateDoc, taker: &Lease) -> impl Iterator<Item = &'a Lease> {
    let leases = doc.leases.values();
    leases.filter(move |lease| is_taken(lease, taker))
}

fn is_taken(lease: &Lease, taker: &Lease) -> bool {
    match taker.action {
        Action::Restart => false,
        Action::Repair => lease.id < taker.id && !lease.nodes.is_disjoint(&taker.nodes),
    }
}

impl Desk {
    /// Leases that do not speak against "go" of this one: itself, and those that it takes over.
    pub(super) fn own_or_taken(&self, lease: &Lease) -> BTreeSet<LeaseId> {
        let others = self.leases().into_values();
        let taken = others.filter(|other| is_taken(other, lease));
        taken.map(|it| it.id).chain([lease.id]).collect()
    }

    /// Ends what this lease takes over. It then lasts as long as any of them: a gate that ends before it
    /// has said "go" leaves owners behind who may act for so long.
    pub(super) fn take_over(&mut self, now: Now, id: LeaseId) {
        let Some(taker) = self.keeper.wanted().leases.get(&id).cloned() else {
            return;
        };
        let Some(by) = &taker.owner else { return };
        let touched: Vec<Lease> = taken_by(self.keeper.wanted(), &taker).cloned().collect();
        // Another process may have given what this one did not know at its grant.
        let nodes: BTreeSet<_> = touched.iter().flat_map(|it| it.nodes.clone()).collect();
        let mut taken = self.taken.remove(&id).unwrap_or_default();
        for lease in touched {
            let end = self.deadlines.get(&lease.id).copied();
            let waits = lease.stage == Stage::Held && !self.watch.was_told(lease.id);
            // Whoever waits for "go" is told no. What he has taken over himself goes with it.
            let of_it = self.taken.remove(&lease.id).filter(|_| waits);
            taken.extend(of_it.into_iter().flatten());
            self.finish(&lease, End::TakenOver { by: by.clone() }, now);
            if !waits {
                taken.push(Taken { lease, end });
            }
        }
        if taken.is_empty() {
            return;
        }
        let ends = taken.iter().filter_map(|it| {
            let end = it.end?;
            Some((end, it.lease.expires_at))
        });
        let own = self.deadlines.get(&id).copied();
        let last = ends.max().filter(|(end, _)| own < Some(*end));
        self.deadlines.extend(last.map(|(end, _)| (id, end)));
        self.taken.insert(id, taken);
        self.keeper.edit(|doc| {
            if let Some(lease) = doc.leases.get_mut(&id) {
                lease.took_over = true;
                lease.nodes.extend(nodes.difference(&taker.retired));
                lease.expires_at = last.map_or(lease.expires_at, |(_, expires_at)| expires_at);
            }
        });
    }

    /// This lease is over, whoever is about to take it over: it does not stand again.
    pub(super) fn forget_taken(&mut self, id: LeaseId) {
        for taken in self.taken.values_mut() {
            taken.retain(|it| it.lease.id != id);
        }
    }

    /// What a lease on these nodes has taken over stands again, but for nodes that were retired since.
    pub(super) fn give_back(
        &mut self,
        now: Now,
        taker: LeaseId,
        on: &BTreeSet<NodeId>,
        owner: Option<&Owner>,
    ) {
        for Taken { mut lease, end } in self.taken.remove(&taker).unwrap_or_default() {
            let id = lease.id;
            let nodes: BTreeSet<_> = lease.nodes.intersection(on).copied().collect();
            let retired: BTreeSet<_> = lease.nodes.difference(&nodes).copied().collect();
            if nodes.is_empty() || self.keeper.wanted().leases.contains_key(&id) {
                continue;
            }
            lease.gone.retain(|node| nodes.contains(node));
            lease.starts.retain(|node, _| nodes.contains(node));
            lease.retired.extend(retired);
            lease.nodes = nodes;
            self.keeper.note(now.wall, given_back(&lease, owner));
            if lease.stage == Stage::Held {
                self.deadlines.insert(id, end.unwrap_or(now.mono));
            }
            self.watch.adopt(id, now.mono);
            self.keeper.edit(|doc| {
                doc.ended.retain(|ended| ended.id != id);
                doc.leases.insert(id, lease);
            });
        }
    }
}

/// In the history it has ended by the takeover; from here on it stands again.
fn given_back(lease: &Lease, taken_by: Option<&Owner>) -> What {
    match &lease.owner {
        Some(owner) => What::Granted {
            lease: lease.id,
            token: lease.token,
            owner: owner.clone(),
            nodes: lease.nodes.clone(),
            action: lease.action,
            taken_from: taken_by.cloned(),
        },
        None => What::Unannounced {
            lease: lease.id,
            nodes: lease.nodes.clone(),
        },
    }
}
