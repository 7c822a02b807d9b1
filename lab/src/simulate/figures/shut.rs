//! Safe time in which the gate was shut and that is in no needless wait: before it first opened, in
//! trials in which it never did, and up to the end of a trial.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{Waits, seconds};
use crate::simulate::trial::Outcome;

/// Trials in which the gate never opened, of one cause.
#[derive(Clone, Debug, Serialize)]
pub struct NeverOpened {
    /// The first reason that was given for the longest time.
    pub reason: &'static str,
    /// Trials.
    pub trials: usize,
    /// How long they were truly safe, together, in seconds.
    pub safe_seconds: f64,
}

impl NeverOpened {
    /// Every cause, the costliest first.
    pub(super) fn all(outcomes: &[Outcome]) -> Vec<Self> {
        let mut by_reason: BTreeMap<&'static str, (usize, Duration)> = BTreeMap::new();
        for outcome in outcomes {
            if let Some(reason) = outcome.never_opened {
                let (trials, safe) = by_reason.entry(reason).or_default();
                *trials += 1;
                *safe += outcome.before_first;
            }
        }
        let causes = by_reason.into_iter().map(|(reason, (trials, safe))| Self {
            reason,
            trials,
            safe_seconds: seconds(safe),
        });
        let mut causes: Vec<_> = causes.collect();
        causes.sort_by(|a, b| b.safe_seconds.total_cmp(&a.safe_seconds));
        causes
    }
}

impl fmt::Display for NeverOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, trials, safe) = (self.reason, self.trials, self.safe_seconds);
        write!(f, "{reason:<22} {trials:>4} trials, {safe:>7.1} s safe")
    }
}

/// Of trials in which it opened.
pub(super) fn before_first_open(outcomes: &[Outcome]) -> Waits {
    let opened = outcomes.iter().filter(|o| !o.open.is_zero());
    Waits::of(opened.map(|o| o.before_first))
}

/// Waits that ended with the trial.
pub(super) fn cut_off_at_end(outcomes: &[Outcome]) -> Waits {
    let waits = outcomes.iter().filter_map(|o| o.cut_off_at_end);
    Waits::of(waits.map(|(_, wait)| wait))
}
