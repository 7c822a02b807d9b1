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
    /// In so many of them a sound gate goes wrong as well: what fails for everybody catches nobody.
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
    /// Makes trials until so many have caught it, and the same number of ordinary ones as there are
    /// seeds.
    pub fn of(sabotage: Sabotage, depth: Depth, wanted: usize, seeds: Range<u64>) -> Self {
        let broken = |seed| Order::broken(seed, depth, sabotage);
        let made = run(seeds.clone(), broken, |made| count(made) >= wanted);
        let wrong = (1..).zip(&made).filter(|(_, o)| o.went_wrong());
        let wrong: Vec<(usize, u64)> = wrong.map(|(nth, o)| (nth, o.seed)).take(wanted).collect();
        let last = wrong.last().filter(|_| wrong.len() >= wanted);
        let is_wrong_when_sound = |(_, seed): &&(usize, u64)| {
            let sound = trial::run(Order {
                sabotage: Sabotage::None,
                ..broken(*seed)
            });
            sound.went_wrong()
        };
        let ordinary = |seed| Order {
            sabotage,
            ..Order::new(seed, depth)
        };
        Self {
            sabotage,
            depth,
            slanted: sabotage.is_slanted(),
            wanted,
            caught: wrong.len(),
            trials: last.map_or(made.len(), |(nth, _)| *nth),
            wrong_when_sound: wrong.iter().filter(is_wrong_when_sound).count(),
            ordinary: (depth == Depth::Machine).then(|| {
                let outcomes = run(seeds, ordinary, |_| false);
                Ordinary {
                    trials: outcomes.len(),
                    caught: count(&outcomes),
                }
            }),
        }
    }

    /// Whether it is caught as often as it has to be, and because it is broken.
    pub const fn is_enough(&self) -> bool {
        self.caught >= self.wanted && self.wrong_when_sound == 0
    }
}

fn count(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|o| o.went_wrong()).count()
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {:?}: caught by {} of {} trials{}, a sound gate is wrong in {} of these",
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
