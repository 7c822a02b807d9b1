//! The rules that people gate restarts by today (how each works: reference
//! `how-others-gate-restarts.md`): each at its own usual interval, and at ours.
//!
//! Where somebody asks, in a roll, a rule is a script: it takes its own readings from the moment of the
//! question on. Only Prometheus has an answer already.

use std::borrow::Cow;
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
use super::world::World;

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
    /// Metadata of one broker: every partition stays at min ISR without any one broker. Who asks about one
    /// broker is told of that one, as Strimzi's roller is.
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
/// A page that takes longer is given up (Prometheus' `scrape_timeout`).
const SCRAPE: Duration = Duration::from_secs(10);

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
                // Who takes a broker away for good takes it from his lists as well.
                self.nodes.retain(|node| node != id);
                self.brokers.retain(|node| node != id);
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
        world: &World,
    ) -> &BTreeMap<NodeId, Option<Arc<JmxFacts>>> {
        if self.pages.0 != now {
            let read = |id: &NodeId| (*id, self.page(*id, cluster, world).map(Arc::new));
            self.pages = (now, self.nodes.iter().map(read).collect());
        }
        &self.pages.1
    }

    /// The page that a node's target shows, as of now, if it comes in time.
    fn page(&self, id: NodeId, cluster: &Cluster, world: &World) -> Option<JmxFacts> {
        let (page, takes) = world.page(cluster, id)?;
        let page = (takes <= SCRAPE).then_some(page)?;
        page::read(page, id, &self.recogniser, &mut false)?.ok()
    }

    /// What the first broker that answers has published to itself, as far as clients may see it.
    fn metadata<'a>(&self, cluster: &'a Cluster, world: &World) -> Option<Cow<'a, Image>> {
        let mut brokers = self.brokers.iter();
        let broker =
            brokers.find(|id| accepts(**id, cluster, world) && !cluster.cuts_answers_of(**id))?;
        let image = cluster.published_image(*broker)?;
        if !cluster.hides() {
            return Some(Cow::Borrowed(image));
        }
        let mut seen = image.clone();
        seen.topics.retain(|name, _| !cluster.hides_topic(name));
        Some(Cow::Owned(seen))
    }

    /// Brokers that may go, each by itself, if every partition is to stay at min ISR.
    fn may_go(&self, cluster: &Cluster, world: &World) -> Vec<NodeId> {
        let Some(image) = self.metadata(cluster, world) else {
            return Vec::new();
        };
        let brokers = self.brokers.iter().copied();
        brokers
            .filter(|broker| stays_available(cluster, &image, *broker))
            .collect()
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
    /// Brokers that it says open for by name.
    nodes: Vec<NodeId>,
    good: u32,
    /// `PromQL`: newest sample of each exporter, and when it came.
    samples: BTreeMap<NodeId, (Duration, f64)>,
}

impl Speaker for Follower {
    fn says(&self) -> Said {
        Said {
            open: self.open,
            nodes: self.nodes.clone(),
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
            nodes: Vec::new(),
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
            self.nodes.clear();
            self.good = 0;
        }
    }

    /// Looks, if it is time to.
    pub fn look(&mut self, now: Duration, sight: &mut Sight, cluster: &Cluster, world: &World) {
        if now >= self.due {
            self.due += self.every;
            self.open = self.opens(now, sight, cluster, world);
        }
    }

    fn opens(
        &mut self,
        now: Duration,
        sight: &mut Sight,
        cluster: &Cluster,
        world: &World,
    ) -> bool {
        match self.rule {
            Rule::SumOfUrp => {
                let pages = sight.read(now, cluster, world).values().flatten();
                let sum = pages.filter_map(|page| urp(page)).reduce(|a, b| a + b);
                sum == Some(0.0)
            }
            Rule::PromQl => {
                let pages = sight.read(now, cluster, world);
                for (node, page) in pages {
                    match page.as_deref().and_then(urp) {
                        Some(value) => self.samples.insert(*node, (now, value)),
                        // A failed scrape marks its series stale at once.
                        None => self.samples.remove(node),
                    };
                }
                // So does a target that is gone.
                self.samples.retain(|node, (at, _)| {
                    pages.contains_key(node) && now.saturating_sub(*at) < STALENESS
                });
                !self.samples.is_empty() && self.samples.values().all(|(_, value)| *value == 0.0)
            }
            Rule::TwelveTimes => {
                let brokers = sight.brokers.clone();
                let pages = sight.read(now, cluster, world);
                // Yelp's also counts hosts that cannot be reached.
                let mut values = brokers.iter().map(|id| urp(pages.get(id)?.as_deref()?));
                let zero = values.all(|value| value == Some(0.0));
                self.good = if zero { self.good + 1 } else { 0 };
                self.good >= 12
            }
            Rule::IsrFull => {
                let image = sight.metadata(cluster, world);
                image.is_some_and(|image| all_in_sync(&image))
            }
            Rule::MinIsr => {
                self.nodes = sight.may_go(cluster, world);
                !self.nodes.is_empty() && self.nodes.len() == sight.brokers.len()
            }
            Rule::BrokerUp => {
                let brokers = sight.brokers.clone();
                let pages = sight.read(now, cluster, world);
                brokers.iter().all(|id| {
                    let up = accepts(*id, cluster, world);
                    let page = pages.get(id).and_then(Option::as_deref);
                    let state = page.and_then(|p| p.values.get(&Metric::BrokerState).copied());
                    up && state == Some(3.0)
                })
            }
            Rule::Sleep(seconds) => {
                let slept = |at| now.saturating_sub(at) >= Duration::from_secs(seconds);
                sight.stopped.is_empty() && sight.last_start.is_none_or(slept)
            }
        }
    }
}

/// Whether a client reaches the broker's listener, and is let in.
fn accepts(id: NodeId, cluster: &Cluster, world: &World) -> bool {
    !world.is_cut_off(id) && cluster.link(id, Listener::Broker) == Link::Accepts
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
#[path = "rules_tests.rs"]
mod tests;
