//! Evidence that is wanted sooner than its pace brings it: once per request, and with a pause
//! between, so that callers never take more of a broker than the gate's own pace does
//! (DESIGN 4.2: under 5 % of a handler thread).

use std::time::Duration;

use crate::evidence::report::Wanted;
use crate::gate::question::Command;
use crate::time::Mono;

/// The shortest time between two of them; half of liveness' own pace.
const APART: Duration = Duration::from_millis(250);

/// When evidence was wanted last, and when it is wanted next.
#[derive(Debug, Default)]
pub(super) struct Refreshes {
    /// The request that is being taken in: its evidence has to be newer than this.
    newer_than: Option<Mono>,
    last: Option<Mono>,
    due: Option<Mono>,
}

impl Refreshes {
    /// Notes what is asked for with the step that follows.
    pub(super) fn asked(&mut self, command: &Command) {
        self.newer_than = match command {
            Command::Enter(entry) => Some(entry.asked),
            Command::DecideRepair(repair) => Some(repair.asked),
            Command::Decide(question) => question.newer_than,
            Command::DecideEach(_) | Command::Leave { .. } | Command::Change(_) => None,
        };
    }

    /// Whether this has to be asked for now. Not where everything was wanted after the request came
    /// already: one that waits is asked again and again. Not right after the last time either: then
    /// it is [`Self::due`] a moment later.
    pub(super) fn is_wanted(&mut self, now: Mono, wanted: Wanted) -> bool {
        let newer_than = self.newer_than.take().unwrap_or(now);
        match (wanted, self.last) {
            (Wanted::Everything, _) | (Wanted::Quick, None) => true,
            (Wanted::Quick, Some(last)) if last >= newer_than => false,
            (Wanted::Quick, Some(last)) => {
                let next = last.plus(APART);
                if next > now {
                    self.due = Some(next);
                }
                next <= now
            }
        }
    }

    /// When evidence is to be wanted that could not be wanted at once.
    pub(super) const fn due(&self) -> Option<Mono> {
        self.due
    }

    /// It is wanted now.
    pub(super) fn done(&mut self, now: Mono) {
        self.last = Some(now);
        self.due = None;
    }
}
