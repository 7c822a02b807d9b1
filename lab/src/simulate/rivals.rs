//! The rules that people gate restarts by today, on the same trials, scored by the same oracle
//! (how each works: reference `how-others-gate-restarts.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::jmx::{JmxFacts, Metric};
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::model::{Cluster, Image, Link, Listener, NodeId, Partition, Spec, Topic};

use super::ops::Op;
use super::oracle::{Oracle, Said, Standard, Truth, all_in_sync};
use super::probe::page;

/// How a rule did.
#[derive(Clone, Debug)]
pub struct Score {
    /// Its name.
    pub name: &'static str,
    /// False opens.
    pub lies: u64,
    /// For how long they lasted, together.
    pub lied: Duration,
    /// Open on a truth already unsafe, within the allowance.
    pub exposed: Duration,
    /// Needless waits.
    pub needless: Vec<Duration>,
    /// Open for so long.
    pub open: Duration,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// The sum of UnderReplicatedPartitions over the exporters that answer is zero.
    SumOfUrp,
    /// The same by Prometheus: scraped every 15 s, a failed scrape ends a series.
    PromQl,
    /// Zero twelve times in a row, every ten seconds.
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

/// Name, rule, how often it looks.
const RULES: [(&str, Rule, Duration); 12] = [
    (
        "sum(URP) == 0, every 5 s",
        Rule::SumOfUrp,
        Duration::from_secs(5),
    ),
    (
        "sum(URP) == 0, every 30 s",
        Rule::SumOfUrp,
        Duration::from_secs(30),
    ),
    (
        "PromQL sum(URP) == 0, scraped every 15 s",
        Rule::PromQl,
        Duration::from_secs(15),
    ),
    (
        "URP 0 twelve times, every 10 s",
        Rule::TwelveTimes,
        Duration::from_secs(10),
    ),
    (
        "every ISR full, every 0.5 s",
        Rule::IsrFull,
        Duration::from_millis(500),
    ),
    (
        "every ISR full, every 10 s",
        Rule::IsrFull,
        Duration::from_secs(10),
    ),
    (
        "min ISR without the broker, every 0.5 s",
        Rule::MinIsr,
        Duration::from_millis(500),
    ),
    (
        "min ISR without the broker, every 10 s",
        Rule::MinIsr,
        Duration::from_secs(10),
    ),
    (
        "broker up and running, every 5 s",
        Rule::BrokerUp,
        Duration::from_secs(5),
    ),
    ("sleep 30 s", Rule::Sleep(30), Duration::from_millis(500)),
    ("sleep 120 s", Rule::Sleep(120), Duration::from_millis(500)),
    ("sleep 300 s", Rule::Sleep(300), Duration::from_millis(500)),
];

/// A series that got no sample is gone after that (Prometheus' staleness).
const STALENESS: Duration = Duration::from_secs(300);

/// Every rule, over one trial.
pub struct Rivals {
    recogniser: Recogniser,
    nodes: Vec<NodeId>,
    brokers: Vec<NodeId>,
    rivals: Vec<Rival>,
    /// Pages read at this moment, once for all rules.
    pages: (Duration, BTreeMap<NodeId, Option<Arc<JmxFacts>>>),
    last_start: Option<Duration>,
    /// Nodes that somebody took down and has not started.
    stopped: BTreeSet<NodeId>,
}

struct Rival {
    name: &'static str,
    rule: Rule,
    every: Duration,
    due: Duration,
    said: Said,
    good: u32,
    /// PromQL: newest sample of each exporter, and when it came.
    samples: BTreeMap<NodeId, (Duration, f64)>,
    oracle: Oracle,
}

impl Rivals {
    /// Rules that have seen nothing yet.
    pub fn new(spec: &Spec) -> Self {
        let brokers = spec.nodes.iter().filter(|node| node.roles.broker);
        let rivals = RULES.iter().map(|(name, rule, every)| Rival {
            name,
            rule: *rule,
            every: *every,
            due: Duration::ZERO,
            said: Said::default(),
            good: 0,
            samples: BTreeMap::new(),
            oracle: Oracle::new(Standard::Harm),
        });
        Self {
            recogniser: Recogniser::default(),
            nodes: spec.nodes.iter().map(|node| node.id).collect(),
            brokers: brokers.map(|node| node.id).collect(),
            rivals: rivals.collect(),
            pages: (Duration::MAX, BTreeMap::new()),
            last_start: None,
            stopped: BTreeSet::new(),
        }
    }

    /// What was done, as the person with the stop-watch knows it. `oracle` knows who was killed.
    pub fn notice(&mut self, op: &Op, now: Duration, oracle: &Oracle) {
        for rival in &mut self.rivals {
            rival.oracle.share_kills(oracle);
        }
        match op {
            Op::Kill(id) | Op::Stop(id) => {
                self.stopped.insert(*id);
            }
            Op::Start(id) => {
                self.stopped.remove(id);
                self.last_start = Some(now);
            }
            Op::StartAll => {
                self.stopped.clear();
                self.last_start = Some(now);
            }
            _ => {}
        }
    }

    /// Lets every rule look that is due, and judges what each says.
    pub fn look(
        &mut self,
        now: Duration,
        truth: &Arc<Truth>,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) {
        for index in 0..self.rivals.len() {
            let Some(rival) = self.rivals.get(index) else {
                return;
            };
            if now >= rival.due {
                let open = self.rule(index, now, cluster, cut);
                let Some(rival) = self.rivals.get_mut(index) else {
                    return;
                };
                rival.due += rival.every;
                rival.said.open = open;
            }
            if let Some(rival) = self.rivals.get_mut(index) {
                let truth = Arc::clone(truth);
                rival.oracle.judge(now, truth, cluster, &rival.said);
            }
        }
    }

    fn rule(
        &mut self,
        index: usize,
        now: Duration,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) -> bool {
        let Some(rule) = self.rivals.get(index).map(|rival| rival.rule) else {
            return false;
        };
        match rule {
            Rule::SumOfUrp => self.sum_of_urp(now, cluster, cut) == Some(0.0),
            Rule::PromQl => {
                let pages = self.read(now, cluster, cut);
                let Some(rival) = self.rivals.get_mut(index) else {
                    return false;
                };
                for (node, page) in pages {
                    match page.and_then(|page| urp(&page)) {
                        Some(value) => {
                            rival.samples.insert(node, (now, value));
                        }
                        // A failed scrape marks its series stale at once.
                        None => {
                            rival.samples.remove(&node);
                        }
                    }
                }
                rival
                    .samples
                    .retain(|_, (at, _)| now.saturating_sub(*at) < STALENESS);
                !rival.samples.is_empty() && rival.samples.values().all(|(_, value)| *value == 0.0)
            }
            Rule::TwelveTimes => {
                // Yelp's also counts hosts that cannot be reached.
                let pages = self.read(now, cluster, cut);
                let brokers = self.brokers.iter();
                let mut values = brokers.map(|id| urp(pages.get(id)?.as_deref()?));
                let zero = values.all(|value| value == Some(0.0));
                let Some(rival) = self.rivals.get_mut(index) else {
                    return false;
                };
                rival.good = if zero { rival.good + 1 } else { 0 };
                rival.good >= 12
            }
            Rule::IsrFull => {
                let image = self.metadata(cluster, cut);
                image.is_some_and(all_in_sync)
            }
            Rule::MinIsr => {
                let image = self.metadata(cluster, cut);
                image.is_some_and(|image| {
                    let brokers = self.brokers.iter();
                    brokers
                        .copied()
                        .all(|broker| stays_available(cluster, image, broker))
                })
            }
            Rule::BrokerUp => {
                let pages = self.read(now, cluster, cut);
                self.brokers.iter().all(|id| {
                    let up = cluster.link(*id, Listener::Broker) == Link::Accepts;
                    let page = pages.get(id).cloned().flatten();
                    let state = page.and_then(|p| p.values.get(&Metric::BrokerState).copied());
                    up && !cut.contains(id) && state == Some(3.0)
                })
            }
            Rule::Sleep(seconds) => {
                let slept = |at| now.saturating_sub(at) >= Duration::from_secs(seconds);
                self.stopped.is_empty() && self.last_start.is_none_or(slept)
            }
        }
    }

    /// Pages of every exporter that answers.
    fn read(
        &mut self,
        now: Duration,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) -> BTreeMap<NodeId, Option<Arc<JmxFacts>>> {
        if self.pages.0 != now {
            let read = |id: &NodeId| {
                let page = if cut.contains(id) {
                    None
                } else {
                    page::read(cluster, *id, &self.recogniser, &mut false)
                };
                (*id, page.and_then(Result::ok).map(Arc::new))
            };
            self.pages = (now, self.nodes.iter().map(read).collect());
        }
        self.pages.1.clone()
    }

    /// `None` while no exporter answers.
    fn sum_of_urp(
        &mut self,
        now: Duration,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) -> Option<f64> {
        let pages = self.read(now, cluster, cut);
        let values = pages.values().flatten().filter_map(|page| urp(page));
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// What the first broker that answers has published to itself.
    fn metadata<'a>(&self, cluster: &'a Cluster, cut: &BTreeSet<NodeId>) -> Option<&'a Image> {
        let mut brokers = self.brokers.iter().filter(|id| !cut.contains(id));
        let broker = brokers.find(|id| cluster.link(**id, Listener::Broker) == Link::Accepts)?;
        cluster.published_image(*broker)
    }

    /// How each did.
    pub fn scores(self) -> Vec<Score> {
        let score = |rival: Rival| Score {
            name: rival.name,
            lies: u64::try_from(rival.oracle.lies.len()).unwrap_or(u64::MAX),
            lied: rival.oracle.lies.iter().map(|lie| lie.lasted).sum(),
            exposed: rival.oracle.exposed,
            needless: rival.oracle.needless,
            open: rival.oracle.open,
        };
        self.rivals.into_iter().map(score).collect()
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
