//! What one JMX page says, independent of how its exporter names things.

use std::collections::BTreeMap;
use std::fmt;

use super::ids::NodeId;
use super::known::{Known, Why};

macro_rules! metrics {
    ($($variant:ident => $name:literal, $what:literal;)+) => {
        /// The numbers the gate reads from JMX pages. The recogniser (`jmx::recognise`) finds
        /// them under every common rules file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $what] $variant,)+
        }

        impl Metric {
            /// Every metric.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Kafka's own name of the MBean or attribute.
            pub const fn mbean(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

metrics! {
    UnderReplicatedPartitions => "UnderReplicatedPartitions", "Partitions this broker leads with a short ISR. 0 on a broker that leads nothing.";
    UnderMinIsrPartitionCount => "UnderMinIsrPartitionCount", "Partitions this broker leads under min ISR.";
    OfflineReplicaCount => "OfflineReplicaCount", "Replicas on this broker's failed log dirs.";
    PartitionCount => "PartitionCount", "Replicas this broker hosts.";
    LeaderCount => "LeaderCount", "Partitions this broker leads.";
    ReassigningPartitions => "ReassigningPartitions", "Reassignments among the partitions this broker leads.";
    BrokerState => "BrokerState", "0 not running, 1 starting, 2 recovery, 3 running, 6 pending controlled shutdown, 7 shutting down.";
    OfflineLogDirectoryCount => "OfflineLogDirectoryCount", "Failed log dirs of this broker.";
    RemainingLogsToRecover => "remainingLogsToRecover", "Logs still to be recovered after an unclean stop, over all dirs; the bean exists only then.";
    FetcherFailedPartitions => "FailedPartitionsCount", "Partitions this broker has given up following (ReplicaFetcherManager).";
    FetcherDeadThreads => "DeadThreadCount", "Dead replica fetcher threads (ReplicaFetcherManager).";
    OfflinePartitionsCount => "OfflinePartitionsCount", "Partitions without a leader. Real on KRaft controllers, and on the active ZooKeeper controller only.";
    ActiveControllerCount => "ActiveControllerCount", "1 on the active controller, 0 elsewhere.";
    ActiveBrokerCount => "ActiveBrokerCount", "Unfenced brokers, those in controlled shutdown included.";
    FencedBrokerCount => "FencedBrokerCount", "Registered but fenced brokers. Constant 0 on ZooKeeper.";
    GlobalPartitionCount => "GlobalPartitionCount", "Partitions in the cluster; 0 on a controller that has not loaded yet.";
    PreferredReplicaImbalanceCount => "PreferredReplicaImbalanceCount", "Partitions not led by their preferred replica.";
    UncleanLeaderElections => "UncleanLeaderElectionsPerSec", "Unclean elections since process start (a count).";
    MetadataErrorCount => "MetadataErrorCount", "Metadata errors of a controller since process start.";
    MetadataLoadErrorCount => "metadata-load-error-count", "Metadata load errors of a broker since process start.";
    MetadataApplyErrorCount => "metadata-apply-error-count", "Metadata apply errors of a broker since process start.";
    MetadataLagMs => "last-applied-record-lag-ms", "Age of the last applied metadata record; about 1.7e12 before the first.";
    RaftCurrentLeader => "current-leader", "The quorum's leader as this node knows it; -1 when it knows none.";
    RaftHighWatermark => "high-watermark", "The metadata log's high watermark; -1 when unknown.";
    RaftLogEndOffset => "log-end-offset", "The metadata log's end on this node.";
    RaftCurrentEpoch => "current-epoch", "The quorum's epoch as this node knows it.";
    CurrentControllerId => "CurrentControllerId", "The active controller as this node knows it; -1 when it knows none.";
    BytesIn => "BytesInPerSec", "Bytes received from producers since process start (a count), all topics.";
    ZooKeeperConnects => "ZooKeeperSyncConnectsPerSec", "Connections with ZooKeeper that came about since process start (a count; SessionExpireListener).";
    ZooKeeperDisconnects => "ZooKeeperDisconnectsPerSec", "Connections with ZooKeeper that were lost since process start (a count; SessionExpireListener).";
    ZooKeeperAuthFailures => "ZooKeeperAuthFailuresPerSec", "Authentications with ZooKeeper that failed since process start (a count; SessionExpireListener).";
}

impl Metric {
    /// The metric with this name (see [`Metric::mbean`]), whatever its case: names are unique.
    pub fn named(mbean: &str) -> Option<Self> {
        let same = |metric: &&Self| metric.mbean().eq_ignore_ascii_case(mbean);
        Self::ALL.iter().find(same).copied()
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mbean())
    }
}

/// One page, recognised. A metric the page does not have is absent: absent is never 0.
#[derive(Clone, Debug, PartialEq)]
pub struct JmxFacts {
    /// What the page says; the worst value where it says a thing twice. NaN is kept as NaN and
    /// read through [`JmxFacts::value`] only.
    pub values: BTreeMap<Metric, f64>,
    /// Metrics that the configuration has read from a series that this page does not have, and that
    /// series. Nothing else is read for them, so a mistyped one would pass for a metric that is not
    /// exported: the `evidence` row misses it where a node in this role has such a number.
    pub unfound: BTreeMap<Metric, String>,
    /// Start of the Kafka process in seconds since the epoch, by its own clock: its JVM's start
    /// (`java.lang:type=Runtime`), else `process_start_time_seconds` where the exporter is inside
    /// Kafka, else app-info's `start-time-ms`. Not app-info first: measured on 3.9 and 4.3, it
    /// appears seconds after the process' start, last of all, and so would look like a restart.
    pub start_time: Known<f64>,
    /// The node id the page carries (app-info label, `broker_id` label), where it carries one.
    pub node: Known<NodeId>,
    /// The Kafka release the page carries, where it carries one (`4.2.0`).
    pub version: Known<String>,
    /// The raft state (`leader`, `follower`, `observer`, ...), where exported.
    pub raft_state: Known<String>,
    /// `TimeSinceLastHeartbeatReceivedMs` by broker: on active controllers from 4.1.
    pub heartbeat_age_ms: BTreeMap<NodeId, f64>,
    /// Samples of Kafka's MBeans seen on the page, wanted or not: 0 means it is not Kafka's page.
    pub kafka_samples: u64,
    /// Page size after decompression, bytes.
    pub bytes: u64,
}

impl JmxFacts {
    /// One number: not exported when absent, failed when it is not a number.
    pub fn value(&self, metric: Metric) -> Known<f64> {
        match self.values.get(&metric) {
            None => Known::NotExported,
            Some(value) if value.is_nan() => {
                Known::Failed(Why(format!("{metric} is not a number")))
            }
            Some(value) => Known::Is(*value),
        }
    }

    /// Up to which offset this page has the metadata log committed. `None` where it does not say so, or
    /// nothing that is an offset (-1: not known to the node).
    pub fn metadata_committed(&self) -> Option<i64> {
        self.offset(Metric::RaftHighWatermark)
    }

    /// How far this page shows the node's own metadata log to be; what is committed there is in it.
    pub fn metadata_end(&self) -> Option<i64> {
        let end = self.offset(Metric::RaftLogEndOffset);
        end.max(self.metadata_committed())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number that a double holds exactly"
    )]
    fn offset(&self, metric: Metric) -> Option<i64> {
        let value = self.values.get(&metric).copied()?;
        (0.0..LARGEST_EXACT)
            .contains(&value)
            .then_some(value as i64)
    }
}

/// 2^53: offsets above are no longer told apart by a page.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;
