//! What the user wants judged, and how strictly. Made by `config`, read by the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ClusterId, GroupId, NodeId, Role};
use super::report::FactKind;

/// Which kinds of source the gate relies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The Kafka protocol and every node's JMX exporter; the two are compared.
    #[default]
    #[serde(rename = "kafka+jmx")]
    KafkaJmx,
    /// The Kafka protocol alone.
    #[serde(rename = "kafka")]
    Kafka,
    /// JMX exporters alone (brokers older than 2.8): no what-if per partition, and it says so.
    #[serde(rename = "jmx")]
    Jmx,
}

impl Mode {
    /// Whether the Kafka protocol is read.
    pub const fn kafka(self) -> bool {
        match self {
            Self::KafkaJmx | Self::Kafka => true,
            Self::Jmx => false,
        }
    }

    /// Whether JMX pages are read.
    pub const fn jmx(self) -> bool {
        match self {
            Self::KafkaJmx | Self::Jmx => true,
            Self::Kafka => false,
        }
    }

    /// The word in the configuration and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KafkaJmx => "kafka+jmx",
            Self::Kafka => "kafka",
            Self::Jmx => "jmx",
        }
    }
}

/// Whether a class of risk closes the gate or only warns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It closes the gate.
    Block,
    /// It is named and changes nothing.
    Warn,
}

/// The shortest derived window, from the curve in `docs/decisions.md`.
pub const SHORTEST_WINDOW: Duration = Duration::from_secs(6);

/// The longest interruption that only pauses the window, from the same curve.
pub const LONGEST_BLIP: Duration = Duration::from_secs(5);

/// One gate's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What is read.
    pub mode: Mode,
    /// The cluster that is meant; any other is `wrong_cluster`. Learned from the first proven
    /// answer where it is not configured.
    pub cluster_id: Option<ClusterId>,
    /// Nodes that the configuration names. More are learned from the cluster.
    pub expected: BTreeMap<NodeId, Role>,
    /// Nodes whose JMX target is configured or made by a template; `None`: every expected node's.
    pub jmx_nodes: Option<BTreeSet<NodeId>>,
    /// Controllers that are no brokers are not asked themselves, because their listener is out of
    /// reach: brokers tell of the quorum, and a voter that its leader has caught up counts as up.
    pub via_brokers: bool,
    /// The healthy window before opening; `None`: derived from the brokers' own settings.
    pub window: Option<Duration>,
    /// The shortest derived window: that long the gate stays shut even when every replica's
    /// progress is proven.
    pub shortest_window: Duration,
    /// The longest interruption of the way to a node that only pauses the window, where the node
    /// is shown to be the same process with the same ISRs.
    pub longest_blip: Duration,
    /// Risks that exist with every node up and every ISR full (RF 1 and the like).
    pub structural: Weight,
    /// Risks of one node's stop that exist because something is missing now. What is missing blocks
    /// by itself, whatever this says.
    pub degraded: Weight,
    /// How long after a change of leadership the gate stays closed.
    pub leadership_quiet: Duration,
    /// How many leases may stand at one time. More than one only where their nodes hold no
    /// partition together.
    pub slots: usize,
    /// Consumer groups that are watched.
    pub groups: Vec<GroupId>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            cluster_id: None,
            expected: BTreeMap::new(),
            jmx_nodes: None,
            via_brokers: false,
            window: None,
            shortest_window: SHORTEST_WINDOW,
            longest_blip: LONGEST_BLIP,
            structural: Weight::Warn,
            degraded: Weight::Block,
            leadership_quiet: Duration::from_secs(6),
            slots: 1,
            groups: Vec::new(),
        }
    }
}

/// The longest age at which a report still counts, from the interval at which the fact is asked
/// for now (DESIGN 4.2). Intervals stretch with the cost of an answer; the ceiling keeps a
/// stretched one from making old evidence young.
pub fn max_age(kind: FactKind, every: Duration) -> Duration {
    let from = |times, floor, ceiling| {
        let ceiling = Duration::from_secs(ceiling);
        every.saturating_mul(times).clamp(floor, ceiling)
    };
    let seconds = Duration::from_secs;
    match kind {
        FactKind::Link => seconds(2),
        FactKind::NodeConfigs | FactKind::TopicConfigs => seconds(300),
        FactKind::Cluster | FactKind::Partitions | FactKind::LogEnds => from(4, seconds(3), 60),
        // While the active controller is cut off nobody answers, and an election may take longer than the
        // 2 s within which the gate is to close. Less than that: what was asked at the moment of the cut
        // must not count up to its very end (both found by the simulation).
        FactKind::Quorum => from(3, Duration::from_millis(1_900), 30),
        FactKind::LogDirs => from(4, seconds(120), 300),
        FactKind::Jmx => from(4, seconds(20), 300),
        FactKind::Moves | FactKind::Groups => from(4, seconds(20), 60),
    }
}
