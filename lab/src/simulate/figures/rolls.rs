//! Rolls by the book, by who says go and by what is stopped.

use serde::Serialize;

use super::{Waits, per, per_unit, seconds};
use crate::simulate::plan::Kind;
use crate::simulate::rivals::{OURS, OURS_BY_PAGES, Rolled, Stops};
use crate::simulate::rules::RULES;
use crate::simulate::trial::Outcome;

/// What came of rolls by the book, by who says go.
#[derive(Clone, Debug, Serialize)]
pub struct Roll {
    /// The gate, or a rule.
    pub name: &'static str,
    /// Rolls.
    pub rolls: usize,
    /// Those that were finished in time.
    pub finished: usize,
    /// All nodes taken down because it said go.
    #[serde(flatten)]
    pub all: Stopped,
    /// The same by what was stopped.
    pub by_role: ByRole,
    /// How long nodes waited that could have gone.
    pub needless: Waits,
    /// The same on average per node, in seconds.
    pub needless_seconds_per_node: f64,
    /// How long nodes waited on average from the first question on, needlessly or not, in seconds.
    pub waited_seconds_per_node: f64,
    /// Open on a truth already unsafe, within the allowance, in seconds.
    pub exposed_seconds: f64,
}

/// Nodes taken down because somebody said go.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stopped {
    /// How many.
    pub steps: u64,
    /// Stops that did harm, with time enough to notice that they would.
    pub harmful: u64,
    /// The same per 1,000 stops.
    pub harmful_per_1000_steps: f64,
    /// Stops that did harm before anybody had to notice.
    pub harmful_within_allowance: u64,
}

/// The same, by what was stopped.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ByRole {
    /// Brokers, those that are controllers as well among them.
    pub broker: Stopped,
    /// Nodes that are controllers and nothing else.
    pub controller: Stopped,
}

impl Stopped {
    fn of(stops: impl Iterator<Item = Stops>) -> Self {
        let stops: Vec<_> = stops.collect();
        let sum = |part: fn(Stops) -> u64| stops.iter().copied().map(part).sum::<u64>();
        let (steps, harmful) = (sum(|stops| stops.steps), sum(|stops| stops.harmful));
        Self {
            steps,
            harmful,
            harmful_per_1000_steps: per(1000.0, steps) * per_unit(harmful),
            harmful_within_allowance: sum(|stops| stops.too_soon),
        }
    }
}

pub(super) fn roll<'a>(name: &'static str, rolled: impl Iterator<Item = &'a Rolled>) -> Roll {
    let rolled: Vec<_> = rolled.filter(|one| one.begun > 0).collect();
    let needless = Waits::of(rolled.iter().flat_map(|one| one.needless.iter().copied()));
    let all = Stopped::of(rolled.iter().map(|one| one.all));
    Roll {
        name,
        rolls: rolled.iter().map(|one| one.begun).sum(),
        finished: rolled.iter().map(|one| one.finished).sum(),
        all,
        by_role: ByRole {
            broker: Stopped::of(rolled.iter().map(|one| one.brokers)),
            controller: Stopped::of(rolled.iter().map(|one| one.controllers)),
        },
        needless_seconds_per_node: per(needless.sum, all.steps),
        needless,
        waited_seconds_per_node: per(
            seconds(rolled.iter().map(|one| one.waited).sum()),
            all.steps,
        ),
        exposed_seconds: seconds(rolled.iter().map(|one| one.exposed).sum()),
    }
}

pub(super) fn rival_rolls(outcomes: &[Outcome]) -> Vec<Roll> {
    let compared = || outcomes.iter().filter(|o| !o.rolls.is_empty());
    let of = |name| {
        let all = compared().flat_map(|o| &o.rolls);
        roll(name, all.filter(move |rolled| rolled.name == name))
    };
    let ours = roll(OURS, compared().map(|o| &o.rolled));
    let by_pages = outcomes.iter().filter(|o| o.kind == Kind::Book);
    let by_pages = by_pages.filter_map(|o| o.rolled_by_harm.as_ref());
    let by_pages = roll(OURS_BY_PAGES, by_pages);
    let rules = RULES.into_iter().map(|(name, ..)| of(name));
    let all = [ours, by_pages].into_iter().chain(rules);
    all.filter(|row| row.rolls > 0).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulate::oracle::Harm;
    use crate::simulate::rivals::Role;

    #[test]
    fn roles_add_up() {
        let mut rolled = Rolled::new(OURS, 1);
        let harm = Harm {
            why: String::from("broken"),
            noticed: true,
        };
        rolled.waits(Duration::from_secs(4), false);
        rolled.waits(Duration::from_secs(2), true);
        rolled.goes(Role::Controller, Some(&harm));
        rolled.goes(Role::Broker, Some(&harm));
        rolled.goes(Role::Broker, None);
        let roll = roll(OURS, [&rolled, &rolled].into_iter());
        let (brokers, controllers) = (roll.by_role.broker, roll.by_role.controller);
        assert_eq!((brokers.steps, brokers.harmful), (4, 2));
        assert_eq!(brokers.harmful_per_1000_steps, 500.0);
        assert_eq!((controllers.steps, controllers.harmful), (2, 2));
        assert_eq!(roll.all.harmful, brokers.harmful + controllers.harmful);
        assert_eq!(roll.all.steps, brokers.steps + controllers.steps);
        assert_eq!(roll.needless.sum, 4.0);
        assert_eq!(roll.waited_seconds_per_node, 2.0);
    }
}
