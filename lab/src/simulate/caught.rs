//! How soon the oracle catches a gate that is broken on purpose: by trials made for it, and by those
//! that nobody made for it. `docs/proof/sabotages.json`.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::run;
use super::sabotage::Sabotage;
use super::trial::{self, Depth, Order, Outcome};

/// What became of one way to break a gate.
#[derive(Clone, Debug, Serialize)]
pub struct Caught {
    /// Which.
    pub sabotage: Sabotage,
    /// How the gate was driven.
    pub depth: Depth,
    /// Trials are made for it (`Sabotage::slant`); otherwise they are ordinary ones.
    pub slanted: bool,
    /// By so many trials it has to be caught.
    pub wanted: usize,
    /// By so many it was.
    pub caught: usize,
    /// The last of these was the so-many-th trial.
    pub trials: usize,
    /// In so many more of them a sound gate that sees as much goes wrong as well: what fails for everybody
    /// catches nobody, and they are not counted.
    pub wrong_when_sound: usize,
    /// The same by ordinary trials; not made with drivers, where each takes seconds.
    pub ordinary: Option<Ordinary>,
}

/// What ordinary trials say of a broken gate.
#[derive(Clone, Debug, Serialize)]
pub struct Ordinary {
    /// How many were made.
    pub trials: usize,
    /// How many have caught it.
    pub caught: usize,
}

impl Caught {
    /// Makes trials until enough have caught it ([`Sabotage::wanted`]), and the same number of ordinary ones
    /// as there are seeds.
    pub fn of(sabotage: Sabotage, depth: Depth, seeds: Range<u64>) -> Self {
        let wanted = sabotage.wanted(depth);
        let broken = |seed| Order::broken(seed, depth, sabotage);
        let is_wrong = |made: &[Outcome]| made.iter().filter(|o| o.went_wrong()).count();
        let made = run(seeds.clone(), broken, |made| is_wrong(made) >= 2 * wanted);
        let (mut caught, mut last, mut wrong_when_sound) = (0, None, 0);
        for (nth, outcome) in (1..).zip(&made).filter(|(_, o)| o.went_wrong()) {
            if caught >= wanted {
                break;
            }
            if is_right_when_sound(broken(outcome.seed)) {
                caught += 1;
                last = Some(nth).filter(|_| caught >= wanted);
            } else {
                wrong_when_sound += 1;
            }
        }
        let ordinary = |seed| Order {
            sabotage,
            ..Order::new(seed, depth)
        };
        Self {
            sabotage,
            depth,
            slanted: sabotage.is_slanted(),
            wanted,
            caught,
            trials: last.unwrap_or(made.len()),
            wrong_when_sound,
            ordinary: (depth == Depth::Machine).then(|| {
                let outcomes = run(seeds, ordinary, |_| false);
                Ordinary {
                    trials: outcomes.len(),
                    caught: count(&outcomes, ordinary),
                }
            }),
        }
    }

    /// Whether it is caught as often as it has to be, and because it is broken.
    pub const fn is_enough(&self) -> bool {
        self.caught >= self.wanted
    }
}

/// In how many a gate went wrong that a sound one, which sees as much, does not.
fn count(outcomes: &[Outcome], order: impl Fn(u64) -> Order) -> usize {
    let wrong = outcomes.iter().filter(|outcome| outcome.went_wrong());
    let caught = wrong.filter(|outcome| is_right_when_sound(order(outcome.seed)));
    caught.count()
}

/// Whether a sound gate that sees as much goes right in this trial.
fn is_right_when_sound(order: Order) -> bool {
    let sabotage = order.sabotage.control();
    !trial::run(Order { sabotage, ..order }).went_wrong()
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {:?}: caught by {} of {} trials{}, a sound gate is wrong in {} more",
            self.sabotage,
            self.depth,
            self.caught,
            self.trials,
            if self.slanted { " made for it" } else { "" },
            self.wrong_when_sound
        )?;
        match &self.ordinary {
            Some(of) => write!(f, "; by {} of {} ordinary trials", of.caught, of.trials),
            None => Ok(()),
        }
    }
}
