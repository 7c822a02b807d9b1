//! The simulation (DESIGN 9.2): the gate on a simulated cluster and simulated time, with an
//! oracle that knows the truth. The machine itself is `lab::simulate`.
//!
//! `SIM_TRIALS` and `SIM_SEED` choose how many trials and from which seed; `SIM_STORY=<seed>`
//! prints what happened in one trial.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails here")]

use lab::simulate::{Outcome, Sabotage, run, summary, trial};

/// What is run where nobody says otherwise.
const TRIALS: u64 = 150;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
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
        let caught = caught.expect("a sabotage that is caught");
        println!("{sabotage:?}: {}", caught.evidence());
    }
}
