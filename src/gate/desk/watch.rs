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
    /// When each lease was granted, on the boot clock, where this process has seen it.
    pub(super) granted: BTreeMap<LeaseId, Mono>,
    /// How often each lease's owner may have been told "go".
    told: BTreeMap<LeaseId, u32>,
    /// How often that was said by this process, heard or not; of leases that it has given itself.
    said: BTreeMap<LeaseId, u32>,
    /// Nodes that are down without a lease, since when.
    pub(super) down: BTreeMap<NodeId, Mono>,
    /// Restarts that were covered by a lease, or have taken a slot of their own.
    pub(super) restarts: BTreeMap<NodeId, Mono>,
}

impl Watch {
    /// Goes on with a lease of a store, whose owner may have been told "go" by another process.
    pub(super) fn adopt(&mut self, lease: LeaseId, now: Mono) {
        self.granted.remove(&lease);
        self.said.remove(&lease);
        self.staged(lease, now);
        let told = self.told.entry(lease).or_default();
        *told = told.saturating_add(1);
    }

    /// It has another number now.
    pub(super) fn rename(&mut self, old: LeaseId, new: LeaseId) {
        for moments in [&mut self.staged, &mut self.granted] {
            if let Some(at) = moments.remove(&old) {
                moments.insert(new, at);
            }
        }
        for times in [&mut self.told, &mut self.said] {
            if let Some(times_told) = times.remove(&old) {
                times.insert(new, times_told);
            }
        }
    }

    /// The lease has come to a stage.
    pub(super) fn staged(&mut self, lease: LeaseId, now: Mono) {
        self.staged.insert(lease, now);
    }

    /// It has been given, or taken by a restart that nobody announced.
    pub(super) fn begun(&mut self, lease: LeaseId, now: Mono) {
        self.granted.insert(lease, now);
        self.said.insert(lease, 0);
        self.staged(lease, now);
    }

    /// Its owner is told "go"; for which time, where that is known.
    pub(super) fn tell(&mut self, lease: LeaseId) -> Option<u32> {
        let told = self.told.entry(lease).or_default();
        *told = told.saturating_add(1);
        let said = self.said.get_mut(&lease)?;
        *said = said.saturating_add(1);
        Some(*said)
    }

    /// How often "go" was said for a lease, where that is known.
    pub(super) fn times_told(&self, lease: LeaseId) -> Option<u32> {
        self.said.get(&lease).copied()
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
        self.granted.remove(&lease);
        self.told.remove(&lease);
        self.said.remove(&lease);
    }
}
