//! Where collectors leave reports and the engine picks them up.
//!
//! One slot per source and kind; the newest good answer replaces the one before it. A failure is
//! never replaced before the engine has seen it, or a connection that was lost and came back
//! between two looks would leave no trace.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::evidence::report::{FactKind, Report, SourceId};
use crate::evidence::snapshot::Reports;

/// A slot's name.
pub type Slot = (SourceId, FactKind);

/// The board of one gate.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    newest: Reports,
    pending: VecDeque<Report>,
    dropped: Vec<Slot>,
    urgent: bool,
}

/// What the engine picks up in one go: at most one report per slot, in the order they came.
#[derive(Debug, Default)]
pub struct Batch {
    /// Reports.
    pub reports: Vec<Report>,
    /// Slots that nobody asks about any more.
    pub dropped: Vec<Slot>,
    /// Whether more waits: a second report of a slot whose first one is a failure.
    pub more: bool,
}

impl Board {
    /// Leaves a report.
    pub fn put(&self, report: Report) {
        let mut inner = self.lock();
        let slot = (report.source.clone(), report.kind);
        inner.urgent |= report.facts.is_err();
        inner.newest.insert(slot, report.clone());
        let same = |held: &&mut Report| held.source == report.source && held.kind == report.kind;
        match inner.pending.iter_mut().rev().find(same) {
            Some(held) if held.facts.is_ok() && report.facts.is_ok() => *held = report,
            Some(_) | None => inner.pending.push_back(report),
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Forgets a slot that nobody asks about any more.
    pub fn forget(&self, slot: Slot) {
        let mut inner = self.lock();
        inner.newest.remove(&slot);
        inner
            .pending
            .retain(|report| (&report.source, report.kind) != (&slot.0, slot.1));
        inner.dropped.push(slot);
        drop(inner);
        self.changed.notify_one();
    }

    /// Everything that came since the last call, up to the second report of any slot.
    pub fn take(&self) -> Batch {
        let mut inner = self.lock();
        let mut batch = Batch {
            dropped: std::mem::take(&mut inner.dropped),
            ..Batch::default()
        };
        let mut slots = BTreeSet::new();
        while let Some(next) = inner.pending.front() {
            if !slots.insert((next.source.clone(), next.kind)) {
                break;
            }
            batch.reports.extend(inner.pending.pop_front());
        }
        batch.more = !inner.pending.is_empty();
        inner.urgent = batch.more;
        batch
    }

    /// The newest report of every slot, for an engine that starts again.
    pub fn replay(&self) -> Batch {
        let mut inner = self.lock();
        inner.pending.clear();
        inner.dropped.clear();
        inner.urgent = false;
        Batch {
            reports: inner.newest.values().cloned().collect(),
            ..Batch::default()
        }
    }

    /// Whether a failure waits: bad news is judged at once, good news when its turn comes.
    pub fn is_urgent(&self) -> bool {
        self.lock().urgent
    }

    /// Waits for something new.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::evidence::facts::{Facts, Moves};
    use crate::evidence::ids::NodeId;
    use crate::evidence::report::{FailureClass, SourceFailure};
    use crate::time::Mono;

    fn report(node: i32, asked: u64, good: bool) -> Report {
        Report {
            source: SourceId::Kafka(NodeId(node)),
            kind: FactKind::Moves,
            epoch: 0,
            asked: Mono::from_nanos(asked),
            seen: Mono::from_nanos(asked),
            every: Duration::from_secs(1),
            facts: if good {
                Ok(Facts::Moves(Moves::default()))
            } else {
                Err(SourceFailure::new(FailureClass::Closed, "closed"))
            },
        }
    }

    fn asked(batch: &Batch) -> Vec<u64> {
        batch
            .reports
            .iter()
            .map(|report| report.asked.as_nanos())
            .collect()
    }

    #[test]
    fn good_news_replaces_good_news() {
        let board = Board::default();
        board.put(report(1, 1, true));
        board.put(report(2, 2, true));
        board.put(report(1, 3, true));
        assert!(!board.is_urgent());
        let batch = board.take();
        assert_eq!(asked(&batch), [3, 2]);
        assert!(!batch.more);
        assert!(board.take().reports.is_empty());
    }

    #[test]
    fn a_failure_is_seen_even_when_it_is_over() {
        let board = Board::default();
        board.put(report(1, 1, true));
        board.put(report(1, 2, false));
        board.put(report(1, 3, true));
        assert!(board.is_urgent());
        let (first, second, third) = (board.take(), board.take(), board.take());
        assert_eq!((asked(&first), first.more), (vec![1], true));
        assert_eq!((asked(&second), second.more), (vec![2], true));
        assert_eq!((asked(&third), third.more), (vec![3], false));
    }

    #[test]
    fn an_engine_that_starts_again_gets_the_newest_of_every_slot() {
        let board = Board::default();
        board.put(report(1, 1, true));
        board.put(report(2, 2, true));
        board.take();
        board.forget((SourceId::Kafka(NodeId(2)), FactKind::Moves));
        assert_eq!(asked(&board.replay()), [1]);
    }
}
