//! The truth machine (DESIGN 9.2): the gate on a simulated cluster and simulated time, with an
//! oracle that knows the truth.
//!
//! ```text
//! ops      what people and accidents do in a trial, all from its seed
//! oracle   knows the truth at each instant, and says what a lie is
//! trial    one plan carried out, watched by a gate, judged by the oracle
//! world    the cluster as the collectors meet it: streams, pages, clocks;  collect: the gate there
//! ```

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a simulation that contradicts itself must not go on"
)]

pub mod collect;
pub mod ops;
pub mod oracle;
pub mod trial;
pub mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::collect::Sabotage;
pub use self::trial::Outcome;

/// Runs trials on all cores until `enough` says so; the outcomes in order of their seeds.
pub fn run(seeds: Range<u64>, sabotage: Sabotage, enough: fn(&Outcome) -> bool) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = trial::run(seed, sabotage, false);
                    if enough(&outcome) {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    outcomes.lock().expect("no panic").push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no panic");
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

fn part(sorted: &[Duration], of_1000: usize) -> Duration {
    let index = sorted.len().saturating_sub(1) * of_1000 / 1000;
    sorted.get(index).copied().unwrap_or_default()
}

/// The outcomes in a few lines, for people.
pub fn summary(outcomes: &[Outcome]) -> String {
    let sum = |part: fn(&Outcome) -> Duration| outcomes.iter().map(part).sum::<Duration>();
    let mut needless: Vec<_> = outcomes.iter().flat_map(|o| o.needless.clone()).collect();
    needless.sort();
    let mut causes: BTreeMap<&str, Duration> = BTreeMap::new();
    for (cause, time) in outcomes.iter().flat_map(|o| &o.causes) {
        *causes.entry(cause).or_default() += *time;
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let lies = outcomes.iter().filter(|o| !o.lies.is_empty()).count();
    let steps: u64 = outcomes.iter().map(|o| o.steps).sum();
    let mut text = format!(
        "{} trials, {:.0?} simulated, {} judgements, open {:.0?}, exposed within the allowance \
         {:.1?}\ntrials with a false open: {lies}\nneedless waits: {} (median {:.1?}, p90 {:.1?}, \
         p99 {:.1?}, longest {:.1?})\n",
        outcomes.len(),
        sum(|o| o.length),
        steps,
        sum(|o| o.open),
        sum(|o| o.exposed),
        needless.len(),
        part(&needless, 500),
        part(&needless, 900),
        part(&needless, 990),
        part(&needless, 1000),
    );
    for (cause, time) in causes.iter().take(12) {
        let _ = writeln!(text, "  {time:>8.0?} {cause}");
    }
    text
}
