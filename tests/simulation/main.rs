//! The simulation (DESIGN 9.2): the real collectors, decoders, checks and Machine on a simulated
//! cluster and simulated time, with an oracle that knows the truth.
//!
//! `SIM_TRIALS` and `SIM_SEED` choose how many trials and from which seed; `SIM_STORY=<seed>`
//! prints what happened in one trial.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that cannot go on fails here; its modules are its own"
)]

mod collect;
mod ops;
mod oracle;
mod trial;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use collect::Sabotage;
use trial::Outcome;

/// What is run where nobody says otherwise.
const TRIALS: u64 = 150;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs trials on all cores until `enough` says so; the outcomes in order of their seeds.
fn run(
    seeds: std::ops::Range<u64>,
    sabotage: Sabotage,
    enough: fn(&Outcome) -> bool,
) -> Vec<Outcome> {
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

fn summary(outcomes: &[Outcome]) -> String {
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

#[test]
fn the_gate_never_lies() {
    let first = number("SIM_SEED", 1);
    if let Ok(seed) = std::env::var("SIM_STORY") {
        let outcome = trial::run(seed.parse().expect("a seed"), Sabotage::None, true);
        println!("{}\n{}", outcome.story.join("\n"), outcome.evidence());
        return;
    }
    let trials = number("SIM_TRIALS", TRIALS);
    let outcomes = run(first..first + trials, Sabotage::None, |_| false);
    println!("{}", summary(&outcomes));
    let lies: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.lies.is_empty())
        .map(Outcome::evidence)
        .collect();
    assert!(lies.is_empty(), "false opens:\n{}", lies.join("\n"));
    // Who never opens never lies.
    let opened = outcomes.iter().filter(|o| !o.open.is_zero()).count();
    assert!(
        opened * 10 >= outcomes.len() * 9,
        "only {opened} of {} trials opened",
        outcomes.len()
    );
}

#[test]
fn a_gate_that_keeps_what_it_last_knew_is_caught() {
    for sabotage in [Sabotage::LastKnown, Sabotage::LastPageAndLink] {
        let outcomes = run(1..151, sabotage, |outcome| !outcome.lies.is_empty());
        let caught = outcomes.iter().find(|outcome| !outcome.lies.is_empty());
        let caught = caught.unwrap_or_else(|| panic!("{sabotage:?} is not caught"));
        println!("{sabotage:?}: {}", caught.evidence());
    }
}
