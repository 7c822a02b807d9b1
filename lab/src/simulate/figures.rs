//! Many trials in a few numbers: for people, and for `docs/proof/simulate.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::rivals::Score;
use super::trial::Outcome;

/// How waits are distributed, in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Waits {
    /// How many.
    pub count: usize,
    /// Half of them are at most so long.
    pub median: f64,
    /// Nine in ten.
    pub p90: f64,
    /// Ninety-nine in a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// All together.
    pub sum: f64,
}

impl Waits {
    /// Of these.
    pub fn of(waits: impl IntoIterator<Item = Duration>) -> Self {
        let mut all: Vec<_> = waits.into_iter().collect();
        all.sort_unstable();
        let part = |of_1000: usize| {
            let index = all.len().saturating_sub(1) * of_1000 / 1000;
            seconds(all.get(index).copied().unwrap_or_default())
        };
        Self {
            count: all.len(),
            median: part(500),
            p90: part(900),
            p99: part(990),
            max: part(1000),
            sum: seconds(all.iter().sum()),
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} waits, median {:>5.1} s, p90 {:>5.1} s, p99 {:>5.1} s, longest {:>5.1} s",
            self.count, self.median, self.p90, self.p99, self.max
        )
    }
}

fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 100.0).round() / 100.0
}

/// Needless waiting of one cause.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// The first reason that was given for most of the wait.
    pub reason: &'static str,
    /// Its waits.
    pub waits: Waits,
}

/// How a rule in use today did.
#[derive(Clone, Debug, Serialize)]
pub struct Rival {
    /// Its name.
    pub name: &'static str,
    /// False opens.
    pub false_opens: u64,
    /// False opens per 1,000 times that a node was taken down.
    pub false_opens_per_1000_steps: f64,
    /// How long they lasted, together, in seconds.
    pub false_open_seconds: f64,
    /// Open on a truth already unsafe, within the allowance, in seconds.
    pub exposed_seconds: f64,
    /// Needless waiting per time that a node was taken down, in seconds.
    pub needless_seconds_per_step: f64,
    /// Its needless waits.
    pub needless: Waits,
}

/// What came out of many trials.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// How many.
    pub trials: usize,
    /// The first one's seed; the others follow it.
    pub first_seed: u64,
    /// Times that a node was taken down.
    pub steps: u64,
    /// Simulated time, in hours.
    pub simulated_hours: f64,
    /// Judgements made.
    pub judgements: u64,
    /// Trials in which the gate opened at all.
    pub opened: usize,
    /// False opens.
    pub false_opens: usize,
    /// Seeds of trials with false opens.
    pub false_open_seeds: Vec<u64>,
    /// Open, in seconds.
    pub open_seconds: f64,
    /// Open on a truth already unsafe, within the allowance, in seconds.
    pub exposed_seconds: f64,
    /// Needless waiting per time that a node was taken down, in seconds.
    pub needless_seconds_per_step: f64,
    /// Needless waits.
    pub needless: Waits,
    /// The same by cause, the costliest first.
    pub causes: Vec<Cause>,
    /// The rules in use today.
    pub rivals: Vec<Rival>,
}

impl Figures {
    /// Of these trials.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let sum = |part: fn(&Outcome) -> Duration| outcomes.iter().map(part).sum::<Duration>();
        let steps: u64 = outcomes.iter().map(|o| o.restarts).sum();
        let needless = Waits::of(outcomes.iter().flat_map(|o| o.needless.iter().copied()));
        let lying = outcomes.iter().filter(|o| !o.lies.is_empty());
        Self {
            trials: outcomes.len(),
            first_seed: outcomes.first().map_or(0, |o| o.seed),
            steps,
            simulated_hours: seconds(sum(|o| o.length)) / 3600.0,
            judgements: outcomes.iter().map(|o| o.steps).sum(),
            opened: outcomes.iter().filter(|o| !o.open.is_zero()).count(),
            false_opens: outcomes.iter().map(|o| o.lies.len()).sum(),
            false_open_seeds: lying.map(|o| o.seed).collect(),
            open_seconds: seconds(sum(|o| o.open)),
            exposed_seconds: seconds(sum(|o| o.exposed)),
            needless_seconds_per_step: per(needless.sum, steps),
            needless,
            causes: causes(outcomes),
            rivals: rivals(outcomes, steps),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
fn per(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}

fn causes(outcomes: &[Outcome]) -> Vec<Cause> {
    let mut by_reason: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for (reason, wait) in outcomes.iter().flat_map(|o| &o.waits) {
        by_reason.entry(reason).or_default().push(*wait);
    }
    let causes = by_reason.into_iter().map(|(reason, waits)| Cause {
        reason,
        waits: Waits::of(waits),
    });
    let mut causes: Vec<_> = causes.collect();
    causes.sort_by(|a, b| b.waits.sum.total_cmp(&a.waits.sum));
    causes
}

fn rivals(outcomes: &[Outcome], steps: u64) -> Vec<Rival> {
    let Some(first) = outcomes.iter().find(|o| !o.rivals.is_empty()) else {
        return Vec::new();
    };
    let of = |name: &'static str| -> Vec<&Score> {
        let scores = outcomes.iter().flat_map(|o| &o.rivals);
        scores.filter(|score| score.name == name).collect()
    };
    let rival = |name: &'static str| {
        let scores = of(name);
        let lies = scores.iter().map(|score| score.lies).sum::<u64>();
        let needless = Waits::of(scores.iter().flat_map(|s| s.needless.iter().copied()));
        Rival {
            name,
            false_opens: lies,
            false_opens_per_1000_steps: per(1000.0, steps) * per_unit(lies),
            false_open_seconds: seconds(scores.iter().map(|s| s.lied).sum()),
            exposed_seconds: seconds(scores.iter().map(|s| s.exposed).sum()),
            needless_seconds_per_step: per(needless.sum, steps),
            needless,
        }
    };
    first.rivals.iter().map(|score| rival(score.name)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of lies are small")]
const fn per_unit(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} trials from seed {}, {} steps, {:.1} h simulated, {} judgements; opened in {}",
            self.trials,
            self.first_seed,
            self.steps,
            self.simulated_hours,
            self.judgements,
            self.opened
        )?;
        writeln!(
            f,
            "false opens: {} {:?}; open {:.0} s, exposed within the allowance {:.1} s",
            self.false_opens, self.false_open_seeds, self.open_seconds, self.exposed_seconds
        )?;
        writeln!(
            f,
            "needless: {} ({:.1} s per step)",
            self.needless, self.needless_seconds_per_step
        )?;
        for cause in self.causes.iter().take(12) {
            writeln!(f, "  {:<22} {}", cause.reason, cause.waits)?;
        }
        for rival in &self.rivals {
            writeln!(
                f,
                "{:<42} {:>6} false opens ({:>6.1} per 1,000 steps, {:>7.0} s), exposed {:>6.0} s, \
                 needless {:>5.1} s per step",
                rival.name,
                rival.false_opens,
                rival.false_opens_per_1000_steps,
                rival.false_open_seconds,
                rival.exposed_seconds,
                rival.needless_seconds_per_step,
            )?;
        }
        Ok(())
    }
}
