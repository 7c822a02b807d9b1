//! The table of facts: what is asked, how often, with which deadline, from which version on. The
//! table in `docs/facts.md` is generated from it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::evidence::policy::max_age;
use crate::evidence::report::FactKind;

/// One kind of fact and how it is got.
#[derive(Clone, Copy, Debug)]
pub struct FactRow {
    /// Which.
    pub kind: FactKind,
    /// The request that brings it.
    pub request: &'static str,
    /// The lowest version used and its first release.
    pub lowest: &'static str,
    /// The best version used and its first release.
    pub best: &'static str,
    /// What is lost at the lowest version.
    pub lost: &'static str,
    /// How often, while an answer costs little.
    pub interval: Duration,
    /// How much longer than its cost the interval is at least; 0: it does not stretch. What an answer
    /// costs is what it took, less the way there and back.
    pub stretch: u32,
    /// How long one question may take.
    pub deadline: Duration,
    /// Who is asked.
    pub asked: &'static str,
    /// In which modes and clusters a gate cannot open without it.
    pub required: &'static str,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Every kind of fact.
pub const FACTS: [FactRow; 11] = [
    FactRow {
        kind: FactKind::Link,
        request: "ApiVersions",
        lowest: "0 (2.8)",
        best: "4 (3.9)",
        lost: "features whose minimum is 0 (v3); all features and so the release, and what a broker on KRaft has published of the metadata (v0-v2)",
        interval: ms(500),
        stretch: 0,
        deadline: ms(1000),
        asked: "every node, over a connection of its own",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::Cluster,
        request: "DescribeCluster",
        lowest: "0 (2.8)",
        best: "2 (4.0)",
        lost: "fenced brokers",
        interval: ms(500),
        stretch: 100,
        deadline: ms(5000),
        asked: "two brokers",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::Partitions,
        request: "Metadata",
        lowest: "7 (2.1)",
        best: "13 (4.0)",
        lost: "topic ids (before 10)",
        interval: ms(500),
        stretch: 100,
        deadline: ms(5000),
        asked: "two brokers",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::LogEnds,
        request: "ListOffsets, replica_id -2",
        lowest: "5 (2.2)",
        best: "10 (4.0)",
        lost: "nothing",
        interval: ms(500),
        stretch: 100,
        deadline: ms(5000),
        asked: "every broker, leaders before followers",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::Quorum,
        request: "DescribeQuorum",
        lowest: "0 (3.0)",
        best: "2 (3.9)",
        lost: "fetch and caught-up times (v0), directory ids and addresses (before v2)",
        // Found by the simulation: at 1 s and 2 s a quorum without its leader was still believed
        // in 2.1 s later.
        interval: ms(500),
        // What an answer takes is mostly the way from the broker to the controller, and nobody waits for it
        // there: forwarded questions hold no handler thread. Its size is that of a list of nodes.
        stretch: 4,
        deadline: ms(1000),
        asked: "two brokers, who forward it to the active controller",
        required: "kafka+jmx, kafka on KRaft",
    },
    FactRow {
        kind: FactKind::Moves,
        request: "ListPartitionReassignments",
        lowest: "0 (2.4)",
        best: "0",
        lost: "nothing",
        interval: ms(5000),
        stretch: 100,
        deadline: ms(5000),
        asked: "two brokers",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::NodeConfigs,
        request: "DescribeConfigs (BROKER)",
        lowest: "1 (1.1)",
        best: "4 (2.8)",
        lost: "nothing",
        interval: ms(60_000),
        stretch: 0,
        deadline: ms(5000),
        asked: "every node itself, also at each new connection",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::TopicConfigs,
        request: "DescribeConfigs (TOPIC)",
        lowest: "1 (1.1)",
        best: "4 (2.8)",
        lost: "nothing",
        interval: ms(60_000),
        stretch: 100,
        deadline: ms(5000),
        asked: "two brokers, also when topics come or go; on ZooKeeper one topic 5 s after each answer",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::LogDirs,
        request: "DescribeLogDirs",
        lowest: "1 (2.0)",
        best: "4 (3.3)",
        lost: "the answer that rights are missing (before v3)",
        interval: ms(30_000),
        stretch: 100,
        deadline: ms(5000),
        asked: "every broker itself, also when its replicas change",
        required: "kafka+jmx, kafka",
    },
    FactRow {
        kind: FactKind::Jmx,
        request: "GET of the exporter's page",
        lowest: "text 0.0.4",
        best: "text 0.0.4",
        lost: "what the exporter's rules file drops",
        interval: ms(5000),
        stretch: 20,
        deadline: ms(10_000),
        asked: "every node's exporter",
        required: "kafka+jmx, jmx",
    },
    FactRow {
        kind: FactKind::Groups,
        request: "FindCoordinator, OffsetFetch, ListOffsets",
        lowest: "1, 6, 5",
        best: "6, 9, 10",
        lost: "batching (before 4 and 8)",
        interval: ms(5000),
        stretch: 20,
        deadline: ms(5000),
        asked: "the groups' coordinators and the leaders",
        required: "never; lag only warns",
    },
];

/// What recent answers of one kind took, and what of that they cost the node.
///
/// The *smallest* cost stands for all: the rest of a larger one is waiting
/// (a busy machine, a queue, a follower that had to be asked again), and one slow answer must not
/// keep the next one away for a minute (measured: 0.48 s once became 48 s of silence).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    recent: [Option<Answered>; 8],
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    took: Duration,
    cost: Duration,
}

impl Cost {
    /// Notes an answer, or a failure, that took this long, and what it cost the node of that: the way
    /// there and back costs it nothing.
    pub fn note(&mut self, took: Duration, cost: Duration) {
        if let Some(slot) = self.recent.get_mut(self.next) {
            *slot = Some(Answered { took, cost });
        }
        self.next = (self.next + 1) % self.recent.len();
    }

    /// What an answer costs; zero while there was none.
    pub fn smallest(&self) -> Duration {
        let recent = self.recent.iter().flatten();
        recent.map(|it| it.cost).min().unwrap_or_default()
    }

    /// What an answer may take; zero while there was none.
    pub fn largest(&self) -> Duration {
        let recent = self.recent.iter().flatten();
        recent.map(|it| it.took).max().unwrap_or_default()
    }
}

/// What the smallest question to a node took lately.
///
/// The *smallest* of these times stands for the way there and back. They are fewer than those that a
/// [`Cost`] keeps, and come as often: where the way becomes longer, no answer counts as costly for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trips {
    recent: [Option<Duration>; 6],
    next: usize,
}

impl Trips {
    /// Notes an answer that took this long.
    pub fn note(&mut self, took: Duration) {
        if let Some(slot) = self.recent.get_mut(self.next) {
            *slot = Some(took);
        }
        self.next = (self.next + 1) % self.recent.len();
    }

    /// The way there and back; zero while no answer came.
    pub fn shortest(&self) -> Duration {
        let recent = self.recent.iter().flatten();
        recent.min().copied().unwrap_or_default()
    }
}

/// The row of a kind.
pub fn row(kind: FactKind) -> &'static FactRow {
    // The table has every kind; a test holds it to that.
    FACTS
        .iter()
        .find(|row| row.kind == kind)
        .unwrap_or(&FACTS[0])
}

/// The longest that a stretched interval becomes. A cluster so large that this is too often is
/// better served by a policy of its own than by silence.
const LONGEST_INTERVAL: Duration = ms(15_000);

/// How often to ask when an answer costs `cost`: all requests together must stay a small part of
/// one of a broker's handler threads.
pub fn interval(kind: FactKind, cost: Duration) -> Duration {
    let row = row(kind);
    // Under 5 ms a request costs more in overhead than in work; nothing is gained by stretching.
    let stretched = if cost < ms(5) {
        Duration::ZERO
    } else {
        cost.saturating_mul(row.stretch)
    };
    row.interval.max(stretched.min(LONGEST_INTERVAL))
}

/// From this way there and back on a node is far away.
const FAR: Duration = ms(20);

/// How often to ask a node to which the way there and back takes `trip`.
///
/// The quorum's word speaks against a member 1.25 s after it last caught up; of the 2 s in which that
/// has to be noticed, question, interval and way share the rest. What a long way takes of it is won
/// back by asking twice as often, where an answer costs no more than a quarter of that.
pub fn interval_over(kind: FactKind, cost: Duration, trip: Duration) -> Duration {
    let usual = interval(kind, cost);
    if kind != FactKind::Quorum || trip < FAR || usual > row(kind).interval {
        return usual;
    }
    (usual / 2).max(cost.saturating_mul(row(kind).stretch))
}

/// How long a question may take when answers usually take `usual`.
pub fn deadline(kind: FactKind, usual: Duration) -> Duration {
    match kind {
        FactKind::Jmx => row(kind)
            .deadline
            .max(usual.saturating_mul(4))
            .min(ms(120_000)),
        FactKind::Link
        | FactKind::Cluster
        | FactKind::Partitions
        | FactKind::LogEnds
        | FactKind::Quorum
        | FactKind::Moves
        | FactKind::NodeConfigs
        | FactKind::TopicConfigs
        | FactKind::LogDirs
        | FactKind::Groups => row(kind).deadline,
    }
}

/// `docs/facts.md`, as generated.
pub fn markdown() -> String {
    let mut text = String::from(FACTS_INTRO);
    text.push_str(
        "| fact | request | lowest | best | lost at the lowest | asked | every | deadline | \
         counts up to | needed in |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &FACTS {
        let stretch = if row.stretch == 0 {
            String::new()
        } else {
            format!(", at least {} x its cost", row.stretch)
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {:?}{stretch} | {:?} | {:?} | {} |",
            row.kind,
            row.request,
            row.lowest,
            row.best,
            row.lost,
            row.asked,
            row.interval,
            row.deadline,
            max_age(row.kind, row.interval),
            row.required,
        );
    }
    text.push_str(IDENTITY);
    text
}

const FACTS_INTRO: &str = "\
# Facts

Generated from the table in `src/collect/schedule.rs` (a test keeps them the same).

Age counts from the question, not from the answer. Intervals stretch with the cheapest of the last
eight answers, up to 15 s; the age up to which a fact counts stretches with them. What an answer costs
is what it took, less the way there and back: the shortest of the node's last answers to the smallest
question. Over a way of 20 ms or more the quorum is asked twice as often. A question that
failed, or was answered with less than was asked for, is asked again after 1, 2, 4 and then every 8 s
(at least 20 times what it cost), where that is sooner.

On ZooKeeper a broker needs ZooKeeper to answer about topics, and waits for it on a request-handler thread. So
it has one such question at a time, over a connection of its own; one that it has not answered is put again to
another process, or after 5 minutes, the next after 10 and so on, and counts as failed until one is answered.

";

const IDENTITY: &str = "
# Who proves who it is, and how

| source | of | proof | without it |
|---|---|---|---|
| Kafka connection | broker, controller | DescribeConfigs of BROKER with its own id is answered; any other node answers error 42 | `wrong_node`; without the right to ask: `identity_unproven`, and it counts only against health |
| Kafka connection | any | DescribeCluster names the cluster that is meant | `wrong_cluster` |
| JMX page | broker | an id the page carries; else its partition and leader counts fit this broker and no other | `wrong_node`; where two brokers cannot be told apart: `identity_unproven` |
| JMX page | controller | an id the page carries; else its start time differs from every other page's | `identity_unproven` |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row() {
        for kind in FactKind::ALL {
            assert_eq!(
                FACTS.iter().filter(|row| row.kind == kind).count(),
                1,
                "{kind}"
            );
        }
    }

    #[test]
    fn costly_answers_are_asked_for_less_often() {
        assert_eq!(interval(FactKind::Partitions, ms(2)), ms(500));
        assert_eq!(interval(FactKind::Partitions, ms(20)), ms(2000));
        assert_eq!(interval(FactKind::Jmx, ms(100)), ms(5000));
        assert_eq!(interval(FactKind::Jmx, ms(600)), ms(12_000));
        assert_eq!(interval(FactKind::Link, ms(900)), ms(500));
    }

    #[test]
    fn one_slow_answer_is_no_cost() {
        let mut cost = Cost::default();
        for took in [ms(2), ms(480), ms(3)] {
            cost.note(took, took);
        }
        assert_eq!((cost.smallest(), cost.largest()), (ms(2), ms(480)));
        for _ in 0..8 {
            cost.note(ms(20), ms(20));
        }
        assert_eq!(cost.smallest(), ms(20));
    }

    /// Intervals follow what answers cost the node, deadlines what they take.
    #[test]
    fn the_way_there_and_back_is_no_cost() {
        let mut cost = Cost::default();
        cost.note(ms(150), ms(1));
        assert_eq!((cost.smallest(), cost.largest()), (ms(1), ms(150)));
    }

    #[test]
    fn the_shortest_of_the_last_trips_is_the_way_and_a_longer_way_is_soon_known() {
        let mut trips = Trips::default();
        assert_eq!(trips.shortest(), ms(0));
        for took in [ms(90), ms(2), ms(400)] {
            trips.note(took);
        }
        assert_eq!(trips.shortest(), ms(2));
        // A cost that was noted over the shorter way is still among the last eight by then.
        for _ in 0..6 {
            trips.note(ms(150));
        }
        assert_eq!(trips.shortest(), ms(150));
    }

    #[test]
    fn a_quorum_that_is_far_away_is_asked_twice_as_often_where_that_costs_little() {
        let every = |kind, cost, trip| interval_over(kind, ms(cost), ms(trip));
        assert_eq!(every(FactKind::Quorum, 1, 19), ms(500));
        assert_eq!(every(FactKind::Quorum, 1, 20), ms(250));
        assert_eq!(every(FactKind::Quorum, 20, 150), ms(250));
        assert_eq!(every(FactKind::Quorum, 100, 150), ms(400));
        assert_eq!(every(FactKind::Quorum, 100, 1), ms(500));
        assert_eq!(every(FactKind::Quorum, 250, 1), ms(1_000));
        assert_eq!(every(FactKind::Partitions, 1, 150), ms(500));
        assert_eq!(every(FactKind::Partitions, 20, 150), ms(2_000));
    }

    #[test]
    fn a_fact_asked_for_in_time_stays_fresh() {
        for row in &FACTS {
            assert!(
                max_age(row.kind, row.interval) > row.interval,
                "{}",
                row.kind
            );
        }
    }
}
