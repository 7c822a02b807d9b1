//! What is judged: the policy, the newest reports, and what was seen before them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::question::newer_reports;
use crate::evidence::facts::Facts;
use crate::evidence::ids::NodeId;
use crate::evidence::memory::Memory;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::policy::Policy;
use crate::evidence::report::{FactKind, Report, SourceId};
use crate::evidence::snapshot::{Reports, Snapshot};
use crate::time::{Mono, Now};

/// Everything a snapshot is made of.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) policy: Arc<Policy>,
    pub(super) memory: Memory,
    pub(super) reports: Reports,
    pub(super) generation: u64,
}

impl Seen {
    /// The newest report of a slot wins. An answer to a question asked before the one that is
    /// already there is old news: a late answer never covers a death notice.
    pub(super) fn take_in(&mut self, report: Report) {
        let slot = (report.source.clone(), report.kind);
        if self
            .reports
            .get(&slot)
            .is_some_and(|held| held.asked > report.asked)
        {
            return;
        }
        self.memory.observe(&report);
        self.reports.insert(slot, report);
    }

    /// Nobody asks about this slot any more.
    pub(super) fn forget(&mut self, slot: &(SourceId, FactKind)) {
        self.reports.remove(slot);
    }

    /// The snapshot of this moment, with these nodes counting as down.
    pub(super) fn snapshot(&self, now: Now, granted: &BTreeSet<NodeId>) -> Snapshot<'_> {
        self.snapshot_of(now, granted, &self.reports)
    }

    /// The same on other reports.
    pub(super) fn snapshot_of<'a>(
        &'a self,
        now: Now,
        granted: &BTreeSet<NodeId>,
        reports: &'a Reports,
    ) -> Snapshot<'a> {
        let generation = self.generation;
        Snapshot::new(
            generation,
            now,
            &self.policy,
            &self.memory,
            granted,
            reports,
        )
    }

    /// The reports without liveness, metadata and quorum asked for before `after`.
    pub(super) fn newer_than(&self, after: Mono) -> Reports {
        newer_reports(&self.reports, after)
    }

    pub(super) fn forget_deleted_topics(&mut self) {
        let tables = tables(&self.reports);
        let most = tables.clone().map(PartitionTable::len).max();
        // Only when two brokers agree that something is gone, and only when there is something.
        if tables.clone().count() >= 2 && most.is_some_and(|most| self.memory.epochs.len() > most) {
            self.memory.forget_gone(tables);
        }
    }
}

fn tables(reports: &Reports) -> impl Iterator<Item = &PartitionTable> + Clone {
    reports.values().filter_map(|report| match &report.facts {
        Ok(Facts::Partitions(table)) => Some(&**table),
        Ok(_) | Err(_) => None,
    })
}
