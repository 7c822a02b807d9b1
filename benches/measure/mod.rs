//! What the three benchmarks share: rounds that alternate between ours and the peer, and their
//! report. Each prints one JSON object on standard output; `lab bench` writes it to docs/proof.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// The number behind an argument such as `--rounds`.
pub(crate) fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    let number = arguments.nth(1).and_then(|it| it.parse().ok());
    number.unwrap_or(default)
}

/// Seconds on one of the system's clocks. A thread's CPU time is the one that other programs on
/// the machine disturb least.
pub(crate) fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos).as_secs_f64()
}

/// Measurements, sorted.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(5)
    }

    fn at(&self, tenths: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * tenths / 10).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "count": self.0.len(),
            "min": round(self.at(0)),
            "median": round(self.median()),
            "p90": round(self.at(9)),
            "max": round(self.at(10)),
        })
    }
}

/// Three decimals are more than any of these numbers are good for.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// One thing to measure.
pub(crate) struct Work<'w> {
    pub(crate) name: &'static str,
    /// How often in one round, so that a round is long enough for the clock.
    pub(crate) times: u32,
    pub(crate) run: &'w mut dyn FnMut(),
}

/// Microseconds of this thread's CPU per run of each work, one measurement per round. Rounds
/// alternate between the works, so that other load on the machine meets all of them.
pub(crate) fn alternate(rounds: usize, works: &mut [Work<'_>]) -> Vec<(&'static str, Spread)> {
    let mut took: Vec<Vec<f64>> = works.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (work, took) in works.iter_mut().zip(&mut took) {
            let before = seconds(ClockId::ThreadCPUTime);
            (0..work.times).for_each(|_| (work.run)());
            let after = seconds(ClockId::ThreadCPUTime);
            took.push((after - before) * 1e6 / f64::from(work.times));
        }
    }
    let names = works.iter().map(|work| work.name);
    names.zip(took.into_iter().map(Spread::of)).collect()
}
