//! What this process has seen of leases and nodes, and whom it has told.

use std::collections::BTreeMap;

use crate::evidence::ids::NodeId;
use crate::gate::lease::LeaseId;
use crate::time::Mono;

/// All of it; nothing of it has to survive a restart.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Since when each lease is in its stage, on the boot clock.
    pub(super) staged: BTreeMap<LeaseId, Mono>,
    /// The leases that this process has given itself.
    given: BTreeMap<LeaseId, Given>,
    /// How often each lease's owner may have been told "go".
    told: BTreeMap<LeaseId, u32>,
    /// Nodes that are down without a lease, since when.
    pub(super) down: BTreeMap<NodeId, Mono>,
    /// Restarts that were covered by a lease, or have taken a slot of their own.
    pub(super) restarts: BTreeMap<NodeId, Mono>,
}

/// What this process knows of a lease that it has given itself.
#[derive(Clone, Copy, Debug)]
struct Given {
    /// When, on the boot clock.
    at: Mono,
    /// How often "go" was said for it, heard or not.
    said: u32,
}

impl Watch {
    /// Goes on with a lease of a store, whose owner may have been told "go" by another process.
    pub(super) fn adopt(&mut self, lease: LeaseId, now: Mono) {
        self.given.remove(&lease);
        self.staged(lease, now);
        self.tell(lease);
    }

    /// It has another number now.
    pub(super) fn rename(&mut self, old: LeaseId, new: LeaseId) {
        moved(&mut self.staged, old, new);
        moved(&mut self.given, old, new);
        moved(&mut self.told, old, new);
    }

    /// The lease has come to a stage.
    pub(super) fn staged(&mut self, lease: LeaseId, now: Mono) {
        self.staged.insert(lease, now);
    }

    /// It has been given, or taken by a restart that nobody announced.
    pub(super) fn begun(&mut self, lease: LeaseId, now: Mono) {
        self.given.insert(lease, Given { at: now, said: 0 });
        self.staged(lease, now);
    }

    /// Its owner is told "go"; for which time, where that is known.
    pub(super) fn tell(&mut self, lease: LeaseId) -> Option<u32> {
        let told = self.told.entry(lease).or_default();
        *told = told.saturating_add(1);
        let given = self.given.get_mut(&lease)?;
        given.said = given.said.saturating_add(1);
        Some(given.said)
    }

    /// When a lease was given, on the boot clock, where this process has seen it.
    pub(super) fn given_at(&self, lease: LeaseId) -> Option<Mono> {
        self.given.get(&lease).map(|given| given.at)
    }

    /// How often "go" was said for a lease, where that is known.
    pub(super) fn times_told(&self, lease: LeaseId) -> Option<u32> {
        self.given.get(&lease).map(|given| given.said)
    }

    /// One "go" has certainly reached nobody; whether there was no other.
    pub(super) fn untell(&mut self, lease: LeaseId) -> bool {
        let Some(told) = self.told.get_mut(&lease) else {
            return false;
        };
        *told = told.saturating_sub(1);
        let nobody = *told == 0;
        if nobody {
            self.told.remove(&lease);
        }
        nobody
    }

    /// Whether its owner may have been told "go".
    pub(super) fn was_told(&self, lease: LeaseId) -> bool {
        self.told.contains_key(&lease)
    }

    /// It is over.
    pub(super) fn forget(&mut self, lease: LeaseId) {
        self.staged.remove(&lease);
        self.given.remove(&lease);
        self.told.remove(&lease);
    }
}

fn moved<T>(of: &mut BTreeMap<LeaseId, T>, old: LeaseId, new: LeaseId) {
    if let Some(what) = of.remove(&old) {
        of.insert(new, what);
    }
}
