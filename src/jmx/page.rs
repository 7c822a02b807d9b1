//! One page to [`JmxFacts`].
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use thiserror::Error;

use super::recognise::{Pass, Recogniser, label};
use super::scan::{Damage, Format, Label, scan};
use super::table::Reading;
use crate::evidence::ids::{MOST_NODES, NodeId};
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::{Known, Why};
use crate::evidence::report::{Cap, FailureClass};

/// Why a page says nothing. Fits "failed to read the page of ...: ".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PageError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A web page, for instance that of exporter 1.x at `/`.
    #[error("it is HTML: is the path right (/metrics)?")]
    Html,
    /// Metrics, but none of a broker's or controller's MBeans.
    #[error(
        "it has {samples} samples and none of Kafka's: another program's exporter, or Kafka is \
         starting or stopping"
    )]
    NotKafka {
        /// Samples on it.
        samples: u64,
    },
    /// Ages of the heartbeats of more brokers than a cluster may have.
    #[error("it tells of more than {MOST_NODES} brokers")]
    TooManyBrokers,
    /// Cut, or damaged where it matters.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

impl PageError {
    /// The class by which it is judged.
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Empty | Self::Html | Self::NotKafka { .. } => FailureClass::NotKafkaMetrics,
            Self::TooManyBrokers => FailureClass::TooLarge(Cap::PageBrokers),
            Self::Damaged(Damage::TooMany) => FailureClass::TooLarge(Cap::PageSamples),
            Self::Damaged(Damage::Cut { .. }) => FailureClass::Cut,
            Self::Damaged(Damage::Line { .. }) => FailureClass::Malformed,
        }
    }
}

/// Reads a page (after decompression).
pub fn read(page: &[u8], format: Format, recogniser: &Recogniser) -> Result<JmxFacts, PageError> {
    match page.trim_ascii_start().first() {
        None => return Err(PageError::Empty),
        Some(b'<') => return Err(PageError::Html),
        Some(_) => {}
    }
    let mut gathered = Gathered::default();
    let counts = scan(
        page,
        format,
        |name| recogniser.judge(name, Pass::Node),
        |series, labels, value| {
            if let Some(reading) = recogniser.reading(series, labels) {
                gathered.take(reading, labels, value);
            }
        },
    )?;
    if gathered.too_many_brokers {
        return Err(PageError::TooManyBrokers);
    }
    if counts.kafka == 0 {
        let samples = counts.samples;
        return Err(PageError::NotKafka { samples });
    }
    if FROM_PARTITIONS
        .iter()
        .any(|m| !gathered.values.contains_key(m))
    {
        fill_from_partitions(page, format, recogniser, &mut gathered.values)?;
    }
    Ok(JmxFacts {
        unfound: recogniser.unfound(&gathered.values),
        start_time: gathered.start_time(),
        node: gathered.node.known("the node ids on the page differ"),
        version: gathered.version.known("the releases on the page differ"),
        raft_state: gathered
            .raft_state
            .known("the raft states on the page differ"),
        values: gathered.values,
        heartbeat_age_ms: gathered.heartbeat_age_ms,
        kafka_samples: counts.kafka,
        bytes: u64::try_from(page.len()).unwrap_or(u64::MAX),
    })
}

/// The metrics that can be added up from per-partition series.
const FROM_PARTITIONS: [Metric; 2] = [
    Metric::UnderReplicatedPartitions,
    Metric::UnderMinIsrPartitionCount,
];

/// Replaces aggregates that are not exported by sums over partitions; but only where the page
/// shows as many partitions as `PartitionCount` says, because a broker that stops takes its
/// beans away one by one, and the sum of those that are left is no aggregate.
fn fill_from_partitions(
    page: &[u8],
    format: Format,
    recogniser: &Recogniser,
    values: &mut BTreeMap<Metric, f64>,
) -> Result<(), PageError> {
    let Some(partitions) = values.get(&Metric::PartitionCount).copied() else {
        return Ok(());
    };
    let mut sums: BTreeMap<Metric, (f64, f64)> = BTreeMap::new();
    scan(
        page,
        format,
        |name| recogniser.judge(name, Pass::Partitions),
        |series, labels, value| {
            if let Some(Reading::PartitionShare(metric)) = recogniser.reading(series, labels) {
                let (sum, seen) = sums.entry(metric).or_default();
                *sum += plausible(metric, value);
                *seen += 1.0;
            }
        },
    )?;
    for (metric, (sum, seen)) in sums {
        if seen >= partitions {
            values.entry(metric).or_insert(sum);
        }
    }
    Ok(())
}

/// A text that should be on a page once; several samples may repeat it.
#[derive(Debug, Default)]
enum Once<T> {
    #[default]
    Absent,
    Is(T),
    Differs,
}

impl<T: PartialEq> Once<T> {
    fn put(&mut self, value: T) {
        *self = match std::mem::take(self) {
            Self::Absent => Self::Is(value),
            Self::Is(old) if old == value => Self::Is(old),
            Self::Is(_) | Self::Differs => Self::Differs,
        };
    }

    fn known(self, differs: &str) -> Known<T> {
        match self {
            Self::Absent => Known::NotExported,
            Self::Is(value) => Known::Is(value),
            Self::Differs => Known::Failed(Why(String::from(differs))),
        }
    }
}

#[derive(Debug, Default)]
struct Gathered {
    values: BTreeMap<Metric, f64>,
    /// Start times in seconds: app-info's, Kafka's JVM's, the exporter's process'.
    app_start: Option<f64>,
    jvm_start: Option<f64>,
    process_start: Option<f64>,
    /// The exporter is another process than Kafka.
    standalone: bool,
    node: Once<NodeId>,
    version: Once<String>,
    raft_state: Once<String>,
    heartbeat_age_ms: BTreeMap<NodeId, f64>,
    /// More of them than a cluster has.
    too_many_brokers: bool,
}

impl Gathered {
    fn take(&mut self, reading: Reading, labels: &[Label<'_>], value: f64) {
        match reading {
            Reading::Value(metric) => {
                if label(labels, "topic").is_none_or(<[u8]>::is_empty) {
                    self.put(metric, value, worst);
                }
            }
            Reading::Configured(metric) => self.put(metric, value, worst),
            Reading::Share(metric) => self.put(metric, value, |_, a, b| a + b),
            // Only read in the pass over partitions.
            Reading::PartitionShare(_) => {}
            Reading::HeartbeatAge => {
                if let Some(broker) = node_id(labels, "broker") {
                    self.put_age(broker, value);
                }
            }
            Reading::HeartbeatAgeOf(broker) => self.put_age(NodeId(broker), value),
            Reading::RaftState => {
                let state = ["state", "currentstate"]
                    .iter()
                    .find_map(|n| label(labels, n));
                if let Some(state) = state.filter(|_| value != 0.0) {
                    self.raft_state.put(text(state));
                }
            }
            Reading::RaftStateIs(word) => {
                if value != 0.0 {
                    self.raft_state.put(String::from(word.as_str()));
                }
            }
            Reading::Version => {
                if let Some(version) = label(labels, "version") {
                    self.version.put(text(version));
                }
                self.put_node(labels);
            }
            Reading::AppStartMillis => {
                self.put_node(labels);
                latest(&mut self.app_start, value / 1e3);
            }
            Reading::JvmStartMillis => latest(&mut self.jvm_start, value / 1e3),
            Reading::ProcessStartSeconds => latest(&mut self.process_start, value),
            Reading::ExporterBuild => {
                let agent = label(labels, "name").is_some_and(|name| text(name).contains("agent"));
                self.standalone |= !agent;
            }
        }
    }

    fn put(&mut self, metric: Metric, value: f64, both: fn(Metric, f64, f64) -> f64) {
        let value = plausible(metric, value);
        match self.values.entry(metric) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => {
                let old = *entry.get();
                entry.insert(both(metric, old, value));
            }
        }
    }

    /// The longest age counts; what is no age is the longest of all.
    fn put_age(&mut self, broker: NodeId, value: f64) {
        let value = if value >= 0.0 { value } else { f64::INFINITY };
        let is_new = !self.heartbeat_age_ms.contains_key(&broker);
        if is_new && self.heartbeat_age_ms.len() >= MOST_NODES {
            self.too_many_brokers = true;
            return;
        }
        let age = self.heartbeat_age_ms.entry(broker).or_insert(value);
        *age = age.max(value);
    }

    fn put_node(&mut self, labels: &[Label<'_>]) {
        for name in ["id", "brokerid", "clientid"] {
            if let Some(node) = node_id(labels, name) {
                self.node.put(node);
            }
        }
    }

    /// One source all through a process' life: a source that comes later would look like a
    /// restart. app-info comes 4 to 12 s after the process (measured on 3.9 and 4.3), so it is
    /// the last choice. A standalone exporter's own process start says nothing of Kafka.
    fn start_time(&self) -> Known<f64> {
        let process = self.process_start.filter(|_| !self.standalone);
        match self.jvm_start.or(process).or(self.app_start) {
            None => Known::NotExported,
            Some(start) if start > 0.0 && start.is_finite() => Known::Is(start),
            Some(start) => Known::Failed(Why(format!("the start time {start} is none"))),
        }
    }
}

/// Of two start times the later one: it shows a restart.
fn latest(slot: &mut Option<f64>, value: f64) {
    let later = |old: f64| if old >= value { old } else { value };
    *slot = Some(slot.map_or(value, later));
}

fn node_id(labels: &[Label<'_>], name: &str) -> Option<NodeId> {
    let id = std::str::from_utf8(label(labels, name)?).ok()?;
    id.trim_matches('"').parse().ok().map(NodeId)
}

/// A label's text, without the quotes that JMX puts around some property values.
fn text(value: &[u8]) -> String {
    String::from(String::from_utf8_lossy(value).trim_matches('"'))
}

/// The value, or NaN where Kafka cannot mean it: an infinite one, or a negative count.
fn plausible(metric: Metric, value: f64) -> f64 {
    let signed = match metric {
        Metric::RaftCurrentLeader
        | Metric::RaftHighWatermark
        | Metric::RaftLogEndOffset
        | Metric::RaftCurrentEpoch
        | Metric::CurrentControllerId
        | Metric::MetadataLagMs
        | Metric::PreferredReplicaImbalanceCount => true,
        Metric::UnderReplicatedPartitions
        | Metric::UnderMinIsrPartitionCount
        | Metric::OfflineReplicaCount
        | Metric::PartitionCount
        | Metric::LeaderCount
        | Metric::ReassigningPartitions
        | Metric::BrokerState
        | Metric::OfflineLogDirectoryCount
        | Metric::RemainingLogsToRecover
        | Metric::FetcherFailedPartitions
        | Metric::FetcherDeadThreads
        | Metric::OfflinePartitionsCount
        | Metric::ActiveControllerCount
        | Metric::ActiveBrokerCount
        | Metric::FencedBrokerCount
        | Metric::GlobalPartitionCount
        | Metric::UncleanLeaderElections
        | Metric::MetadataErrorCount
        | Metric::MetadataLoadErrorCount
        | Metric::MetadataApplyErrorCount
        | Metric::BytesIn
        | Metric::ZooKeeperConnects
        | Metric::ZooKeeperDisconnects
        | Metric::ZooKeeperAuthFailures => false,
    };
    if value.is_finite() && (signed || value >= 0.0) {
        value
    } else {
        f64::NAN
    }
}

/// Of two values for one metric on one page the one that speaks more against health. NaN is
/// worst of all; where neither is better, two different values are NaN.
fn worst(metric: Metric, a: f64, b: f64) -> f64 {
    const RUNNING: f64 = 3.0;
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    match metric {
        Metric::UnderReplicatedPartitions
        | Metric::UnderMinIsrPartitionCount
        | Metric::OfflineReplicaCount
        | Metric::ReassigningPartitions
        | Metric::OfflineLogDirectoryCount
        | Metric::RemainingLogsToRecover
        | Metric::FetcherFailedPartitions
        | Metric::FetcherDeadThreads
        | Metric::OfflinePartitionsCount
        | Metric::FencedBrokerCount
        | Metric::PreferredReplicaImbalanceCount
        | Metric::UncleanLeaderElections
        | Metric::MetadataErrorCount
        | Metric::MetadataLoadErrorCount
        | Metric::MetadataApplyErrorCount
        | Metric::MetadataLagMs
        | Metric::ZooKeeperDisconnects
        | Metric::ZooKeeperAuthFailures => a.max(b),
        Metric::PartitionCount
        | Metric::LeaderCount
        | Metric::ActiveBrokerCount
        | Metric::GlobalPartitionCount
        | Metric::RaftHighWatermark
        | Metric::RaftLogEndOffset
        | Metric::BytesIn
        | Metric::ZooKeeperConnects => a.min(b),
        Metric::BrokerState if is(a, RUNNING) => b,
        Metric::BrokerState => a,
        Metric::ActiveControllerCount
        | Metric::RaftCurrentLeader
        | Metric::RaftCurrentEpoch
        | Metric::CurrentControllerId => {
            if is(a, b) {
                a
            } else {
                f64::NAN
            }
        }
    }
}

/// Whole numbers arrive as doubles: equal when they print equal.
fn is(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}
