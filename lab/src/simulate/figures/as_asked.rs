//! False opens by the table of allowances as it was asked for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use upgrade_gate::evidence::policy::Mode;

use super::seconds;
use crate::simulate::as_asked::{Apart, Spells};
use crate::simulate::oracle::Cause;
use crate::simulate::trial::Outcome;

/// What the table as asked finds: all, and by what the gate reads.
#[derive(Clone, Debug, Serialize)]
pub struct AsAsked {
    /// D for a kill and for everything else, in seconds, in every mode.
    pub allowed_seconds: (f64, f64),
    /// All together.
    #[serde(flatten)]
    pub all: Lies,
    /// By what the gate reads.
    pub by_mode: Vec<OfMode>,
}

/// The same of one mode.
#[derive(Clone, Debug, Serialize)]
pub struct OfMode {
    /// Which.
    pub mode: Mode,
    /// What is found in it.
    #[serde(flatten)]
    pub lies: Lies,
}

/// False opens.
#[derive(Clone, Debug, Serialize)]
pub struct Lies {
    /// How many; one whose kind changes counts once for each.
    pub false_opens: u64,
    /// How long they lasted, together, in seconds.
    pub seconds: f64,
    /// By why the oracle's own count has them not; `counted` are those it has.
    pub kinds: BTreeMap<&'static str, OfKind>,
}

/// False opens of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct OfKind {
    /// How many.
    pub false_opens: u64,
    /// How long they lasted, together, in seconds.
    pub seconds: f64,
}

impl Lies {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        let mut sums: BTreeMap<Apart, Spells> = BTreeMap::new();
        for (apart, spells) in outcomes.flat_map(|o| &o.as_asked) {
            let sum = sums.entry(*apart).or_default();
            sum.count += spells.count;
            sum.lasted += spells.lasted;
        }
        let kinds = Apart::ALL.map(|apart| {
            let sum = sums.get(&apart).copied().unwrap_or_default();
            let of = OfKind {
                false_opens: sum.count,
                seconds: seconds(sum.lasted),
            };
            (apart.as_str(), of)
        });
        Self {
            false_opens: sums.values().map(|sum| sum.count).sum(),
            seconds: seconds(sums.values().map(|sum| sum.lasted).sum()),
            kinds: BTreeMap::from(kinds),
        }
    }
}

impl AsAsked {
    /// Of these trials.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let of_mode = |mode| {
            let lies = Lies::of(outcomes.iter().filter(|o| o.mode == mode));
            OfMode { mode, lies }
        };
        let allowed = (Cause::Kill.allowance(), Cause::Other.allowance());
        Self {
            allowed_seconds: (seconds(allowed.0), seconds(allowed.1)),
            all: Lies::of(outcomes.iter()),
            by_mode: [Mode::KafkaJmx, Mode::Kafka, Mode::Jmx].map(of_mode).into(),
        }
    }
}

impl fmt::Display for Lies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} ({:.1} s):", self.false_opens, self.seconds)?;
        for (kind, of) in &self.kinds {
            write!(f, " {kind} {} ({:.1} s)", of.false_opens, of.seconds)?;
        }
        Ok(())
    }
}

impl fmt::Display for AsAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kill, other) = self.allowed_seconds;
        writeln!(
            f,
            "false opens by D as asked ({kill} and {other} s, hidden truths counted): {}",
            self.all
        )?;
        for of in &self.by_mode {
            writeln!(f, "  {:<14} {}", of.mode.as_str(), of.lies)?;
        }
        Ok(())
    }
}
