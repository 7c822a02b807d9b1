//! The rules that people gate restarts by today (how each works: reference
//! `how-others-gate-restarts.md`): each at its own usual interval, and at ours.
//!
//! Where somebody asks, in a roll, a rule is a script: it takes its own readings from the moment of the
//! question on. Only Prometheus has an answer already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::jmx::{JmxFacts, Metric};
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::model::{Cluster, Image, Link, Listener, NodeId, Partition, Spec, Topic};

use super::course::Speaker;
use super::ops::Op;
use super::oracle::{Said, all_in_sync};
use super::probe::page;

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// The sum of `UnderReplicatedPartitions` over the exporters that answer is zero.
    SumOfUrp,
    /// The same by Prometheus: a failed scrape ends a series.
    PromQl,
    /// Zero twelve times in a row, before every stop. Yelp's own script (reference, 2.4) is content with
    /// one reading before the first stop of a roll: this one is the more careful.
    TwelveTimes,
    /// Metadata of one broker: every ISR is full.
    IsrFull,
    /// Metadata of one broker: every partition stays at min ISR without any one broker.
    MinIsr,
    /// Every broker accepts connections and its page says it runs.
    BrokerUp,
    /// So many seconds after the last start of a node.
    Sleep(u64),
}

/// What our gate needs for a page, and for metadata.
const OUR_PAGES: u64 = 5_000;
const OUR_METADATA: u64 = 500;

/// Name, rule, how often it looks in milliseconds: at our interval, then at its own.
pub const RULES: [(&str, Rule, u64); 15] = [
    ("sum(URP) == 0, every 5 s", Rule::SumOfUrp, OUR_PAGES),
    ("sum(URP) == 0, every 30 s", Rule::SumOfUrp, 30_000),
    (
        "PromQL sum(URP) == 0, scraped every 5 s",
        Rule::PromQl,
        OUR_PAGES,
    ),
    (
        "PromQL sum(URP) == 0, scraped every 15 s",
        Rule::PromQl,
        15_000,
    ),
    (
        "URP 0 twelve times, every 5 s",
        Rule::TwelveTimes,
        OUR_PAGES,
    ),
    ("URP 0 twelve times, every 10 s", Rule::TwelveTimes, 10_000),
    ("every ISR full, every 0.5 s", Rule::IsrFull, OUR_METADATA),
    ("every ISR full, every 10 s", Rule::IsrFull, 10_000),
    (
        "min ISR without the broker, every 0.5 s",
        Rule::MinIsr,
        OUR_METADATA,
    ),
    (
        "min ISR without the broker, every 10 s",
        Rule::MinIsr,
        10_000,
    ),
    (
        "broker up and running, every 5 s",
        Rule::BrokerUp,
        OUR_PAGES,
    ),
    ("broker up and running, every 10 s", Rule::BrokerUp, 10_000),
    ("sleep 30 s", Rule::Sleep(30), 500),
    ("sleep 120 s", Rule::Sleep(120), 500),
    ("sleep 300 s", Rule::Sleep(300), 500),
];

/// A series that got no sample is gone after that (Prometheus' staleness).
const STALENESS: Duration = Duration::from_secs(300);

/// What all rules see of one moment, read once.
pub struct Sight {
    recogniser: Recogniser,
    nodes: Vec<NodeId>,
    brokers: Vec<NodeId>,
    pages: (Duration, BTreeMap<NodeId, Option<Arc<JmxFacts>>>),
    last_start: Option<Duration>,
    /// Nodes that somebody took down and has not started.
    stopped: BTreeSet<NodeId>,
}

impl Sight {
    /// Nothing has been seen yet.
    pub fn new(spec: &Spec) -> Self {
        // Nobody has a target yet for a broker that is added later.
        let nodes = || {
            let nodes = spec.nodes.iter();
            nodes.filter(|node| !spec.later.contains(&node.id))
        };
        let brokers = nodes().filter(|node| node.roles.broker);
        Self {
            recogniser: Recogniser::default(),
            nodes: nodes().map(|node| node.id).collect(),
            brokers: brokers.map(|node| node.id).collect(),
            pages: (Duration::MAX, BTreeMap::new()),
            last_start: None,
            stopped: BTreeSet::new(),
        }
    }

    /// What was done, as the person with the stop-watch knows it.
    pub fn notice(&mut self, op: &Op, now: Duration) {
        match op {
            Op::Kill(id) | Op::Stop(id) => {
                self.stopped.insert(*id);
            }
            Op::Start(id) | Op::Upgrade(id, _) => {
                self.stopped.remove(id);
                self.last_start = Some(now);
            }
            Op::Unregister(id) | Op::Retire(id) => {
                self.stopped.remove(id);
            }
            Op::StartAll => {
                self.stopped.clear();
                self.last_start = Some(now);
            }
            _ => {}
        }
    }

    /// Pages of every exporter that answers.
    fn read(
        &mut self,
        now: Duration,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) -> &BTreeMap<NodeId, Option<Arc<JmxFacts>>> {
        if self.pages.0 != now {
            let read = |id: &NodeId| {
                let shown = !cut.contains(id);
                let page = shown.then(|| cluster.jmx_page(*id));
                let page =
                    page.and_then(|page| page::read(page, *id, &self.recogniser, &mut false));
                (*id, page.and_then(Result::ok).map(Arc::new))
            };
            self.pages = (now, self.nodes.iter().map(read).collect());
        }
        &self.pages.1
    }

    /// What the first broker that answers has published to itself.
    fn metadata<'a>(&self, cluster: &'a Cluster, cut: &BTreeSet<NodeId>) -> Option<&'a Image> {
        let mut brokers = self.brokers.iter().filter(|id| !cut.contains(id));
        let broker = brokers.find(|id| cluster.link(**id, Listener::Broker) == Link::Accepts)?;
        cluster.published_image(*broker)
    }
}

/// A rule that somebody follows.
#[derive(Debug)]
pub struct Follower {
    /// Its name.
    pub name: &'static str,
    rule: Rule,
    every: Duration,
    due: Duration,
    open: bool,
    good: u32,
    /// `PromQL`: newest sample of each exporter, and when it came.
    samples: BTreeMap<NodeId, (Duration, f64)>,
}

impl Speaker for Follower {
    fn says(&self) -> Said {
        Said {
            open: self.open,
            nodes: Vec::new(),
        }
    }

    fn first_reason(&self) -> &'static str {
        self.name
    }

    fn why(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }
}

impl Follower {
    /// Somebody who has not looked yet.
    pub const fn new((name, rule, every): (&'static str, Rule, u64)) -> Self {
        Self {
            name,
            rule,
            every: Duration::from_millis(every),
            due: Duration::ZERO,
            open: false,
            good: 0,
            samples: BTreeMap::new(),
        }
    }

    /// How often a script looks that somebody has asked; `None` where the answer is there already,
    /// from the last scrape.
    pub const fn looks_itself(&self) -> Option<Duration> {
        match self.rule {
            Rule::PromQl => None,
            Rule::SumOfUrp
            | Rule::TwelveTimes
            | Rule::IsrFull
            | Rule::MinIsr
            | Rule::BrokerUp
            | Rule::Sleep(_) => Some(self.every),
        }
    }

    /// Somebody begins to ask whether the next node may go. What a script has seen before that, of
    /// the node before, does not count.
    pub fn asked(&mut self, now: Duration) {
        if self.looks_itself().is_some() {
            self.due = now;
            self.open = false;
            self.good = 0;
        }
    }

    /// Looks, if it is time to.
    pub fn look(
        &mut self,
        now: Duration,
        sight: &mut Sight,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) {
        if now >= self.due {
            self.due += self.every;
            self.open = self.opens(now, sight, cluster, cut);
        }
    }

    fn opens(
        &mut self,
        now: Duration,
        sight: &mut Sight,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) -> bool {
        match self.rule {
            Rule::SumOfUrp => {
                let pages = sight.read(now, cluster, cut).values().flatten();
                let sum = pages.filter_map(|page| urp(page)).reduce(|a, b| a + b);
                sum == Some(0.0)
            }
            Rule::PromQl => {
                for (node, page) in sight.read(now, cluster, cut) {
                    match page.as_deref().and_then(urp) {
                        Some(value) => self.samples.insert(*node, (now, value)),
                        // A failed scrape marks its series stale at once.
                        None => self.samples.remove(node),
                    };
                }
                self.samples
                    .retain(|_, (at, _)| now.saturating_sub(*at) < STALENESS);
                !self.samples.is_empty() && self.samples.values().all(|(_, value)| *value == 0.0)
            }
            Rule::TwelveTimes => {
                let brokers = sight.brokers.clone();
                let pages = sight.read(now, cluster, cut);
                // Yelp's also counts hosts that cannot be reached.
                let mut values = brokers.iter().map(|id| urp(pages.get(id)?.as_deref()?));
                let zero = values.all(|value| value == Some(0.0));
                self.good = if zero { self.good + 1 } else { 0 };
                self.good >= 12
            }
            Rule::IsrFull => sight.metadata(cluster, cut).is_some_and(all_in_sync),
            Rule::MinIsr => sight.metadata(cluster, cut).is_some_and(|image| {
                let mut brokers = sight.brokers.iter();
                brokers.all(|broker| stays_available(cluster, image, *broker))
            }),
            Rule::BrokerUp => {
                let brokers = sight.brokers.clone();
                let pages = sight.read(now, cluster, cut);
                brokers.iter().all(|id| {
                    let up = cluster.link(*id, Listener::Broker) == Link::Accepts;
                    let page = pages.get(id).and_then(Option::as_deref);
                    let state = page.and_then(|p| p.values.get(&Metric::BrokerState).copied());
                    up && !cut.contains(id) && state == Some(3.0)
                })
            }
            Rule::Sleep(seconds) => {
                let slept = |at| now.saturating_sub(at) >= Duration::from_secs(seconds);
                sight.stopped.is_empty() && sight.last_start.is_none_or(slept)
            }
        }
    }
}

fn urp(page: &JmxFacts) -> Option<f64> {
    page.values.get(&Metric::UnderReplicatedPartitions).copied()
}

/// As Strimzi's `KafkaAvailability` has it: every partition that the broker is in sync for keeps
/// min ISR without it; partitions with no more replicas than min ISR do not count.
fn stays_available(cluster: &Cluster, image: &Image, broker: NodeId) -> bool {
    image.partitions().all(|(_, _, topic, partition)| {
        let min = min_isr(cluster, topic);
        let counts = partition.replicas.contains(&broker) && partition.replicas.len() > min;
        !counts || in_sync_without(partition, broker) >= min
    })
}

fn in_sync_without(partition: &Partition, broker: NodeId) -> usize {
    partition.isr.iter().filter(|id| **id != broker).count()
}

fn min_isr(cluster: &Cluster, topic: &Topic) -> usize {
    let configured = topic
        .min_isr
        .unwrap_or(cluster.spec().settings.min_insync_replicas);
    usize::try_from(configured).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use upgrade_gate::model::{Release, TopicSpec};

    use super::*;

    /// Three brokers (1 to 3) and a topic of three replicas, looked at for 30 s.
    struct Asked {
        cluster: Cluster,
        sight: Sight,
        follower: Follower,
        now: Duration,
    }

    impl Asked {
        fn new(rule: (&'static str, Rule, u64)) -> Self {
            let topic = TopicSpec::new("orders", 3, 3).rate(10).min_isr(2);
            let spec = Spec::kraft(3, 3, Release::V4_1).topics(vec![topic]);
            let mut asked = Self {
                sight: Sight::new(&spec),
                cluster: Cluster::new(spec).unwrap(),
                follower: Follower::new(rule),
                now: Duration::ZERO,
            };
            asked.look_for(30_250);
            asked
        }

        /// Looks every 250 ms for so many milliseconds; how long it was until it said open.
        fn look_for(&mut self, millis: u64) -> Option<Duration> {
            let from = self.now;
            let mut open = None;
            for _ in 0..millis / 250 {
                self.cluster.advance(self.now);
                let none = BTreeSet::new();
                self.follower
                    .look(self.now, &mut self.sight, &self.cluster, &none);
                if self.follower.open {
                    open.get_or_insert(self.now.saturating_sub(from));
                }
                self.now += Duration::from_millis(250);
            }
            open
        }
    }

    #[test]
    fn nobody_is_told_of_what_was_read_before_he_asked() {
        for rule in RULES {
            let mut asked = Asked::new(rule);
            // Some time after the last reading.
            asked.look_for(500);
            let now = asked.now;
            asked.follower.asked(now);
            asked.look_for(250);
            let read = asked.follower.due.saturating_sub(asked.follower.every);
            let scraped = matches!(rule.1, Rule::PromQl);
            assert_eq!(read == now, !scraped, "{}: {read:?} at {now:?}", rule.0);
        }
    }

    #[test]
    fn a_script_that_looks_every_30_s_does_not_go_by_what_it_saw_before_its_own_stop() {
        let mut asked = Asked::new(("", Rule::SumOfUrp, 30_000));
        assert!(asked.follower.open);
        asked.look_for(1_000);
        asked.cluster.kill(3).unwrap();
        // The controller has fenced it, and the next reading is far away.
        asked.look_for(15_000);
        assert!(asked.follower.open, "nobody has looked yet");
        asked.follower.asked(asked.now);
        assert_eq!(asked.look_for(29_000), None);
        let mut scraped = Asked::new(("", Rule::PromQl, 20_000));
        scraped.cluster.kill(3).unwrap();
        scraped.follower.asked(scraped.now);
        scraped.look_for(250);
        assert!(scraped.follower.open, "what was scraped stands");
    }

    #[test]
    fn twelve_times_in_a_row_begins_with_each_question() {
        for (every, least) in [(5_000, 55), (10_000, 110)] {
            let mut asked = Asked::new(("", Rule::TwelveTimes, every));
            for _ in 0..2 {
                asked.look_for(120_000);
                assert!(asked.follower.open, "it has seen enough by itself");
                asked.follower.asked(asked.now);
                let open = asked.look_for(120_000);
                assert_eq!(open, Some(Duration::from_secs(least)));
            }
        }
    }
}
