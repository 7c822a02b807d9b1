//! The truth machine (DESIGN 9.2): the gate on a simulated cluster and simulated time, with an
//! oracle that knows the truth.
//!
//! ```text
//! plan     a trial before it begins, all from its seed;  layout: its cluster;  setup: the gate's
//!          configuration in it
//! ops      what people and accidents can do;  drill: what goes wrong and is repaired;  mishaps:
//!          that at length
//! operator who takes the next node whenever the gate says go;  leases: who takes leases for it, and
//!          the mail about them;  ledger: what came of these, held against the truth;  back: which
//!          nodes are truly not back
//! oracle   knows the truth at each instant, and says what a lie is;  stops: what a stop breaks;
//!          as_asked: lies counted once more, by the table as it was asked for
//! trial    one plan carried out, watched by a gate;  course: what happens, looked at and judged
//! judge    the Machine under test
//! sabotage ways to break it, which the oracle must notice;  saboteur: how that is done;  caught: how
//!          soon it does
//! probe    depth "machine": reports made of the model's answers, without streams and tasks
//! world    depth "drivers": streams, pages and clocks for the real collectors
//! collect  those, the real engine and its view;  reading: what is taken from a view
//! flaky    a store that answers in every way
//! rules    the rules in use today;  rivals: these, on the same trials
//! figures  all of it in numbers
//! regression  a trial as a file;  shrink: of a failing one to few operations
//! ```

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a simulation that contradicts itself must not go on"
)]

mod apply;
pub mod as_asked;
mod back;
pub mod caught;
pub mod collect;
pub mod course;
pub mod drill;
pub mod figures;
mod flaky;
pub mod judge;
mod layout;
pub mod leases;
pub mod ledger;
mod mishaps;
pub mod operator;
pub mod ops;
pub mod oracle;
pub mod plan;
pub mod probe;
mod reading;
pub mod regression;
pub mod rivals;
pub mod rules;
pub mod sabotage;
mod saboteur;
pub mod setup;
pub mod shrink;
pub mod stops;
pub mod trial;
pub mod world;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::plan::Kind;
pub use self::sabotage::Sabotage;
pub use self::setup::Tuned;
pub use self::trial::{Depth, Order, Outcome};

/// Makes trials on all cores until `enough` says so; the outcomes in order of their seeds.
pub fn run(
    seeds: Range<u64>,
    order: impl Fn(u64) -> Order + Sync,
    enough: impl Fn(&[Outcome]) -> bool + Sync,
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
                    let outcome = trial::run(order(seed));
                    let mut outcomes = outcomes.lock().expect("no panic");
                    outcomes.push(outcome);
                    if enough(&outcomes) {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no panic");
    outcomes.sort_by_key(|outcome: &Outcome| outcome.seed);
    outcomes
}
