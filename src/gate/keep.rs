//! Keeps the store's document in step with what is known: one write at a time, each result an
//! input.

use std::time::Duration;

use super::doc::{GateDoc, Revision, Stored};
use super::machine::Effect;
use crate::time::Mono;

/// How long a refused write waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Names one write, so that its result is not taken for another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// What is stored, and the write that is on its way.
#[derive(Debug)]
pub(super) struct Keeper {
    stored: GateDoc,
    revision: Revision,
    next: CommitId,
    in_flight: Option<(CommitId, GateDoc)>,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    why: String,
    retry: Mono,
}

impl Keeper {
    pub(super) const fn new(revision: Revision, stored: GateDoc) -> Self {
        Self {
            stored,
            revision,
            next: CommitId(0),
            in_flight: None,
            trouble: None,
        }
    }

    /// The document that stands in the store, as far as is known.
    pub(super) const fn stored(&self) -> &GateDoc {
        &self.stored
    }

    /// Why the newest write did not succeed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| trouble.why.as_str())
    }

    /// When a failed write is tried again.
    pub(super) fn retry(&self) -> Option<Mono> {
        self.trouble.as_ref().map(|trouble| trouble.retry)
    }

    /// Writes `doc`, unless it stands there already, another write is on its way, or the last
    /// one failed just now.
    pub(super) fn write(&mut self, now: Mono, doc: GateDoc) -> Option<Effect> {
        let waits = self.retry().is_some_and(|at| now < at);
        if self.in_flight.is_some() || waits || doc == self.stored {
            return None;
        }
        let id = self.next;
        self.next = CommitId(id.0.wrapping_add(1));
        self.in_flight = Some((id, doc.clone()));
        Some(Effect::Commit {
            id,
            expect: self.revision,
            doc,
        })
    }

    /// Takes in what became of a write. True when somebody else had written in between: what
    /// stands now is then [`Self::stored`].
    pub(super) fn result(&mut self, now: Mono, id: CommitId, result: Stored) -> bool {
        let Some((_, written)) = self.in_flight.take_if(|(flying, _)| *flying == id) else {
            return false;
        };
        let (revision, doc, lost) = match result {
            Stored::Written(revision) => (revision, written, false),
            Stored::Lost(revision, doc) => (revision, doc, true),
            Stored::Refused(why) | Stored::Unclear(why) => {
                let retry = now.plus(RETRY);
                self.trouble = Some(Trouble { why, retry });
                return false;
            }
        };
        self.stored = doc;
        self.revision = revision;
        self.trouble = None;
        lost
    }
}
