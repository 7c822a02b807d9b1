//! When a fact is to be asked for next.

use std::collections::BTreeSet;
use std::time::Duration;

use super::schedule::{Cost, interval_over};
use super::shared::Shared;
use crate::evidence::facts::{Facts, LogDirFacts, METADATA_LOG};
use crate::evidence::ids::NodeId;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::report::{FactKind, SourceFailure, SourceId};
use crate::time::Mono;

/// The pause after a question that failed; it doubles with each that fails after it.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest of these pauses: rights that are given back show within seconds, however long they
/// were missing. A refusal costs a node less than the question whether it is alive.
const AGAIN_AT_MOST: Duration = Duration::from_secs(8);

/// How many times as long as a failure cost the node the pause after it is at least: a question that
/// times out may have cost as much as an answer.
const STRETCH: u32 = 20;

/// When a fact is to be asked for next.
#[derive(Debug)]
pub struct Due {
    kind: FactKind,
    at: Mono,
    /// The pause after the next failure.
    again: Duration,
    /// What its last answers took, and cost the node.
    pub cost: Cost,
    /// The way to the node and back when it last answered.
    trip: Duration,
}

impl Due {
    /// A fact that is due now.
    pub fn now(kind: FactKind, now: Mono) -> Self {
        Self {
            kind,
            at: now,
            again: AGAIN,
            cost: Cost::default(),
            trip: Duration::ZERO,
        }
    }

    /// Which fact.
    pub const fn kind(&self) -> FactKind {
        self.kind
    }

    /// When it is due.
    pub const fn at(&self) -> Mono {
        self.at
    }

    /// Makes it due now.
    pub const fn hurry(&mut self, now: Mono) {
        self.at = now;
    }

    /// Whether it is due.
    pub fn is_due(&self, now: Mono) -> bool {
        now >= self.at
    }

    /// Notes an answer: the next one is due an interval after the question, or sooner after one that
    /// did not say what it should. `trip` is the way to the node and back, which costs it nothing.
    pub fn done(
        &mut self,
        asked: Mono,
        now: Mono,
        trip: Duration,
        facts: &Result<Facts, SourceFailure>,
    ) {
        self.done_beside(asked, now, trip, facts, None);
    }

    /// The same beside the table of partitions, with which log dirs are compared.
    pub fn done_beside(
        &mut self,
        asked: Mono,
        now: Mono,
        trip: Duration,
        facts: &Result<Facts, SourceFailure>,
        table: Option<&PartitionTable>,
    ) {
        let took = now.since(asked);
        let cost = took.saturating_sub(trip);
        self.cost.note(took, cost);
        self.trip = trip;
        let every = self.every();
        let pause = if is_short(facts, table) {
            let again = self.again.max(cost.saturating_mul(STRETCH));
            self.again = self.again.saturating_mul(2).min(AGAIN_AT_MOST);
            again.min(every)
        } else {
            self.again = AGAIN;
            every
        };
        self.at = asked.plus(pause);
    }

    /// The interval that follows from its cost, and from the way to the node.
    pub fn every(&self) -> Duration {
        interval_over(self.kind, self.cost.smallest(), self.trip)
    }

    /// Reports an answer under this fact's interval.
    pub fn report(
        &self,
        shared: &Shared,
        node: NodeId,
        epoch: u64,
        asked: Mono,
        facts: Result<Facts, SourceFailure>,
    ) {
        shared.report(
            SourceId::Kafka(node),
            self.kind,
            epoch,
            asked,
            self.every(),
            facts,
        );
    }
}

/// Whether an answer lacks what it is asked for, or says too much: a failure, something that is hidden
/// from us, or a partition that is hosted and that nobody lists. Brokers take a moment to drop what was
/// deleted, and what they said too early would stand for a whole interval.
fn is_short(facts: &Result<Facts, SourceFailure>, table: Option<&PartitionTable>) -> bool {
    match facts {
        Err(_) => true,
        Ok(Facts::LogDirs(dirs)) => {
            !dirs.readable || table.is_some_and(|table| hosts_unlisted(dirs, table))
        }
        Ok(Facts::TopicConfigs(configs)) => !configs.hidden.is_empty(),
        Ok(_) => false,
    }
}

fn hosts_unlisted(dirs: &LogDirFacts, table: &PartitionTable) -> bool {
    let listed = table.partitions();
    let listed: BTreeSet<_> = listed.map(|(topic, p)| (topic.name(), p.index)).collect();
    let mut hosted = dirs.hosted.iter();
    hosted.any(|(topic, index)| **topic != *METADATA_LOG && !listed.contains(&(&**topic, *index)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::orders;
    use super::*;
    use crate::evidence::facts::{Moves, TopicConfigs};
    use crate::evidence::report::FailureClass;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const NO_TRIP: Duration = Duration::ZERO;

    fn refused() -> Result<Facts, SourceFailure> {
        Err(SourceFailure::new(FailureClass::Authorization, "no right"))
    }

    /// The pauses that follow answers which each took this long.
    fn pauses(due: &mut Due, took: Duration, answers: &[Result<Facts, SourceFailure>]) -> Vec<u64> {
        let pause = |facts: &Result<Facts, SourceFailure>| {
            let asked = due.at();
            due.done(asked, asked.plus(took), NO_TRIP, facts);
            due.at().since(asked).as_secs()
        };
        answers.iter().map(pause).collect()
    }

    #[test]
    fn a_failed_setting_is_asked_for_again_within_seconds() {
        for (kind, usual) in [
            (FactKind::NodeConfigs, 60),
            (FactKind::TopicConfigs, 60),
            (FactKind::LogDirs, 30),
        ] {
            let mut due = Due::now(kind, Mono::from_nanos(1));
            let fails = [(); 6].map(|()| refused());
            assert_eq!(pauses(&mut due, MILLISECOND, &fails), [1, 2, 4, 8, 8, 8]);
            let good = Ok(Facts::Moves(Moves::default()));
            let answers = [good, refused()];
            assert_eq!(pauses(&mut due, MILLISECOND, &answers), [usual, 1]);
        }
    }

    #[test]
    fn what_is_hidden_counts_as_failed() {
        let dirs = |readable| {
            let facts = LogDirFacts {
                readable,
                ..LogDirFacts::default()
            };
            Ok(Facts::LogDirs(Arc::new(facts)))
        };
        let configs = |hidden: &[&str]| {
            let facts = TopicConfigs {
                hidden: hidden.iter().map(ToString::to_string).collect(),
                ..TopicConfigs::default()
            };
            Ok(Facts::TopicConfigs(Arc::new(facts)))
        };
        let mut due = Due::now(FactKind::LogDirs, Mono::from_nanos(1));
        let answers = [dirs(false), dirs(true), dirs(false)];
        assert_eq!(pauses(&mut due, MILLISECOND, &answers), [1, 30, 1]);
        let mut due = Due::now(FactKind::TopicConfigs, Mono::from_nanos(1));
        let answers = [configs(&["orders"]), configs(&[])];
        assert_eq!(pauses(&mut due, MILLISECOND, &answers), [1, 60]);
    }

    #[test]
    fn log_dirs_that_host_what_nobody_lists_are_short() {
        let hosts_so_many = |topics: &[&str], partitions: i32| {
            let all = topics.iter();
            let all = all.flat_map(|topic| (0..partitions).map(|p| (Arc::from(*topic), p)));
            let facts = LogDirFacts {
                hosted: all.collect(),
                readable: true,
                ..LogDirFacts::default()
            };
            Ok(Facts::LogDirs(Arc::new(facts)))
        };
        let table = orders();
        let mut due = Due::now(FactKind::LogDirs, Mono::from_nanos(1));
        let mut next = |facts, table| {
            let asked = due.at();
            due.done_beside(asked, asked.plus(MILLISECOND), NO_TRIP, &facts, table);
            due.at().since(asked).as_secs()
        };
        // Made anew with fewer partitions.
        assert_eq!(next(hosts_so_many(&["orders"], 2), Some(&table)), 1);
        let mut pause = |topics: &[&str], table| next(hosts_so_many(topics, 1), table);
        assert_eq!(pause(&["orders"], Some(&table)), 30);
        assert_eq!(pause(&["deleted", "orders"], Some(&table)), 1);
        assert_eq!(pause(&["deleted", "orders"], Some(&table)), 2);
        assert_eq!(pause(&["__cluster_metadata", "orders"], Some(&table)), 30);
        assert_eq!(pause(&["deleted"], Some(&table)), 1);
        assert_eq!(pause(&["deleted"], None), 30, "nothing to compare with");
    }

    #[test]
    fn a_failure_is_never_asked_again_later_than_an_answer_nor_keeps_a_node_busy() {
        let mut due = Due::now(FactKind::Quorum, Mono::from_nanos(1));
        due.done(due.at(), due.at().plus(MILLISECOND), NO_TRIP, &refused());
        assert_eq!(due.at().as_nanos(), 500_000_001);
        let mut due = Due::now(FactKind::NodeConfigs, Mono::from_nanos(1));
        let late = [refused(), refused()];
        let second = Duration::from_secs(1);
        assert_eq!(pauses(&mut due, second, &late), [20, 20]);
        assert_eq!(pauses(&mut due, 5 * second, &late), [60, 60]);
    }

    /// A gate in another region: what answers take is the way, and what they cost decides.
    #[test]
    fn a_long_way_to_the_node_makes_nothing_rarer() {
        let ms = Duration::from_millis;
        let after = |kind, took, trip, facts: &Result<Facts, SourceFailure>| {
            let mut due = Due::now(kind, Mono::from_nanos(1));
            let asked = due.at();
            due.done(asked, asked.plus(ms(took)), ms(trip), facts);
            (due.at().since(asked), due.every(), due.cost.largest())
        };
        let good = Ok(Facts::Moves(Moves::default()));
        for kind in [FactKind::Partitions, FactKind::Cluster] {
            let half = ms(500);
            assert_eq!(after(kind, 150, 149, &good), (half, half, ms(150)));
            // Noise: an answer that was quicker than any of the smallest questions.
            assert_eq!(after(kind, 150, 160, &good), (half, half, ms(150)));
            let stretched = ms(2_000);
            assert_eq!(
                after(kind, 170, 150, &good),
                (stretched, stretched, ms(170))
            );
        }
        let quarter = ms(250);
        let quorum = after(FactKind::Quorum, 150, 149, &good);
        assert_eq!(quorum, (quarter, quarter, ms(150)));
        let failed = after(FactKind::NodeConfigs, 150, 149, &refused());
        assert_eq!(failed.0, ms(1_000), "not 20 times the way");
    }
}
