//! The write that the store works on, and the moment from which it counts as unclear
//! (DESIGN 4.5: compare-and-swap with a deadline).
//!
//! A store that hangs is given no second write. When it answers at last, the next write, made on the
//! revision before, is what reads back: it succeeds where the late one did not, and is told what
//! stands where it did.

use std::time::Duration;

use crate::gate::doc::Stored;
use crate::gate::keep::CommitId;
use crate::time::Mono;

/// How long a write may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// At most one write at a time.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flight: Option<Flight>,
}

#[derive(Debug)]
struct Flight {
    id: CommitId,
    /// `None`: it was given up, and the store has not answered yet.
    until: Option<Mono>,
}

impl Flights {
    /// A write is handed over, unless the store still works on one that was given up.
    pub(super) fn take_off(&mut self, now: Mono, id: CommitId) -> Result<(), &'static str> {
        if self.flight.is_some() {
            return Err("the store has not answered the write before this one");
        }
        let until = Some(now.plus(DEADLINE));
        self.flight = Some(Flight { id, until });
        Ok(())
    }

    /// The store has answered this write, however late.
    pub(super) fn landed(&mut self, id: CommitId) {
        self.flight.take_if(|flight| flight.id == id);
    }

    /// When the write under way is given up.
    pub(super) fn overdue(&self) -> Option<Mono> {
        self.flight.as_ref()?.until
    }

    /// Gives it up: nobody knows whether it stands.
    pub(super) fn give_up(&mut self) -> Option<(CommitId, Stored)> {
        let flight = self.flight.as_mut()?;
        flight.until.take()?;
        let why = format!("the store has not answered within {DEADLINE:?}");
        Some((flight.id, Stored::Unclear(why)))
    }
}
