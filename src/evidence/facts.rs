//! The facts, flat, as the decoders make them and the checks read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ids::{ClusterId, GroupId, NodeId, Release, Uuid};
use super::jmx::JmxFacts;
use super::known::Known;
use super::partitions::PartitionTable;
use super::report::FactKind;

/// KRaft's metadata log: the quorum keeps it and every node has it in its log dirs, but it is no topic and
/// never in Metadata.
pub const METADATA_LOG: &str = "__cluster_metadata";

/// Everything a source can say. Large ones are shared, never copied.
#[derive(Clone, Debug)]
pub enum Facts {
    /// See [`LinkFacts`].
    Link(LinkFacts),
    /// See [`ClusterFacts`].
    Cluster(ClusterFacts),
    /// See [`PartitionTable`].
    Partitions(Arc<PartitionTable>),
    /// See [`LogEndFacts`].
    LogEnds(Arc<LogEndFacts>),
    /// See [`QuorumFacts`].
    Quorum(QuorumFacts),
    /// See [`Moves`].
    Moves(Moves),
    /// See [`NodeConfigs`].
    NodeConfigs(NodeConfigs),
    /// See [`TopicConfigs`].
    TopicConfigs(Arc<TopicConfigs>),
    /// See [`LogDirFacts`].
    LogDirs(Arc<LogDirFacts>),
    /// See [`JmxFacts`].
    Jmx(Arc<JmxFacts>),
    /// See [`GroupTable`].
    Groups(Arc<GroupTable>),
}

impl Facts {
    /// Which slot these facts belong to.
    pub const fn kind(&self) -> FactKind {
        match self {
            Self::Link(_) => FactKind::Link,
            Self::Cluster(_) => FactKind::Cluster,
            Self::Partitions(_) => FactKind::Partitions,
            Self::LogEnds(_) => FactKind::LogEnds,
            Self::Quorum(_) => FactKind::Quorum,
            Self::Moves(_) => FactKind::Moves,
            Self::NodeConfigs(_) => FactKind::NodeConfigs,
            Self::TopicConfigs(_) => FactKind::TopicConfigs,
            Self::LogDirs(_) => FactKind::LogDirs,
            Self::Jmx(_) => FactKind::Jmx,
            Self::Groups(_) => FactKind::Groups,
        }
    }
}

/// Which kind of listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Metadata, groups, log dirs: a broker's listener for clients.
    Broker,
    /// Quorum and registration only: a KRaft controller's listener.
    Controller,
}

/// Whether the connection has shown which node it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// DescribeConfigs of BROKER `id` was answered: only the node itself does (reference
    /// `kafka-lab.md` 11).
    Proved,
    /// It could not be asked, for the reason given (no right to DescribeConfigs, for instance).
    Unproven(String),
}

/// The liveness connection of one node: it is there, it answers, it is who we think.
#[derive(Clone, Debug)]
pub struct LinkFacts {
    /// Which listener answers.
    pub listener: ListenerKind,
    /// `host:port` that is connected.
    pub address: String,
    /// Whether the node has shown who it is over this connection.
    pub identity: Identity,
    /// The release its ApiVersions answer stands for.
    pub release: Release,
    /// Features it supports, name to (min, max). Empty on ZooKeeper-mode brokers.
    pub supported: BTreeMap<String, (i16, i16)>,
    /// Features the cluster has finalized, name to level, as this node knows them.
    pub finalized: BTreeMap<String, i16>,
    /// The offset of the newest record of the metadata log that a KRaft broker has published to itself:
    /// it answers Metadata from that, and leads what that says. Controllers do not say it.
    pub published: Known<i64>,
    /// From question to answer.
    pub round_trip: Duration,
}

/// What DescribeCluster (or Metadata) of one broker says about the cluster.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// The cluster that answers.
    pub cluster_id: Known<ClusterId>,
    /// Registered brokers in order of id; unfenced ones only before DescribeCluster v2.
    pub brokers: Vec<RegisteredBroker>,
    /// The controller as told. Real on ZooKeeper; on KRaft brokers name a random live broker
    /// (reference `how-others-gate-restarts.md` 4.3), so it is used in ZooKeeper mode only.
    pub controller: Option<NodeId>,
    /// Whether the answer lists fenced brokers too (DescribeCluster v2, Kafka 4.0).
    pub lists_fenced: bool,
}

/// A broker that is registered with the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredBroker {
    /// Its id.
    pub node: NodeId,
    /// The host it advertises to clients of the listener asked.
    pub host: String,
    /// The port it advertises.
    pub port: u16,
    /// `broker.rack`, when set.
    pub rack: Option<String>,
    /// Registered but fenced: it takes part in nothing. False where fenced ones are not listed.
    pub fenced: bool,
}

/// How far one node's replicas are, each against its leader's end read *before* it.
#[derive(Clone, Debug, Default)]
pub struct LogEndFacts {
    /// One row per replica this node hosts as follower, in order of topic and partition.
    pub rows: Vec<ReplicaEnd>,
}

/// One follower replica's progress. A follower is proven caught up when it has reached what the
/// leader had when the round began (DESIGN 4.2, verified on 2.8.2 to 4.3.1).
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaEnd {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// The leader's log end offset, read first.
    pub leader_end: Known<i64>,
    /// This replica's own log end offset, read after it (asked again within the round while it
    /// was behind).
    pub own_end: Known<i64>,
}

impl ReplicaEnd {
    /// Whether this replica has reached its leader's earlier end; `None` when an end is unknown.
    pub fn caught_up(&self) -> Option<bool> {
        match (self.leader_end.value(), self.own_end.value()) {
            (Some(leader), Some(own)) => Some(own >= leader),
            (None, _) | (_, None) => None,
        }
    }
}

/// What DescribeQuorum says; asked of the leader (or forwarded there by a broker).
#[derive(Clone, Debug, PartialEq)]
pub struct QuorumFacts {
    /// The quorum's leader, i.e. the active controller; `None` when there is none now.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub leader_epoch: i32,
    /// Offset up to which a majority has the log.
    pub high_watermark: i64,
    /// All voters, in order of id.
    pub voters: Vec<QuorumMember>,
    /// Brokers and controllers that follow without a vote, in order of id.
    pub observers: Vec<QuorumMember>,
    /// Where the voters listen, where the answer says it (v2, Kafka 3.9): id, host, port.
    pub endpoints: Vec<(NodeId, String, u16)>,
}

/// One voter or observer as the quorum's leader sees it. Times are the leader's, in milliseconds
/// since the epoch; they are compared with each other, never with our clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumMember {
    /// Who.
    pub node: NodeId,
    /// Which directory of it (KIP-853, v2): a vote belongs to both.
    pub directory: Option<Uuid>,
    /// Its log end offset; -1 while unknown.
    pub log_end_offset: i64,
    /// When it last fetched; `None` while unknown (-1) or before v1.
    pub last_fetch_ms: Option<i64>,
    /// When it had last caught up with the leader; `None` while unknown (-1) or before v1.
    pub last_caught_up_ms: Option<i64>,
}

/// Running reassignments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// In order of topic and partition.
    pub list: Vec<Move>,
}

/// One partition on the move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// All current replicas, those being added included.
    pub replicas: Vec<NodeId>,
    /// Being added.
    pub adding: Vec<NodeId>,
    /// To be removed at the end.
    pub removing: Vec<NodeId>,
}

/// Where a node's configuration value comes from (DescribeConfigs `config_source`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// 1, on a topic.
    Topic,
    /// 2, on this broker, dynamically.
    DynamicBroker,
    /// 3, on all brokers, dynamically.
    DynamicDefaultBroker,
    /// 4, in `server.properties`. The only one that counts as a pin.
    StaticBroker,
    /// 5, the binary's default.
    Default,
    /// Another number.
    Other(i8),
}

impl ConfigSource {
    /// From the number on the wire (Kafka's `DescribeConfigsResponse.ConfigSource`).
    pub const fn from_wire(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// The values that the gate reads of one node's own configuration. A key the node does not have
/// is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeConfigs {
    /// Key to value (`None`: null) and where it comes from.
    pub values: BTreeMap<String, (Option<String>, ConfigSource)>,
}

impl NodeConfigs {
    /// A whole number, when the key is there and is one.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.values
            .get(key)
            .and_then(|(value, _)| value.as_ref())
            .and_then(|v| v.parse().ok())
    }

    /// The value as text, when there is one.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(|(value, _)| value.as_deref())
    }
}

/// Effective `min.insync.replicas` per topic, as the answering broker resolves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfigs {
    /// Topic name to `min.insync.replicas`.
    pub min_insync_replicas: BTreeMap<String, i32>,
    /// Topics it would not describe to us.
    pub hidden: Vec<String>,
}

/// What DescribeLogDirs of one broker says: what it really hosts, whatever we may see elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogDirFacts {
    /// The broker's log directories.
    pub dirs: Vec<LogDir>,
    /// Hosted replicas (topic, partition) without future ones, sorted, each once.
    pub hosted: Vec<(Arc<str>, i32)>,
    /// Whether we were allowed to see them: without Cluster:Describe the list is empty and there
    /// is no error before v3.
    pub readable: bool,
}

/// One log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// Kafka's error code for it; 0 is none, 56 is KAFKA_STORAGE_ERROR.
    pub error: i16,
}

/// Offsets of the named groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupTable {
    /// In order of group id; a group asked for is always there.
    pub groups: Vec<GroupOffsets>,
}

/// One named group's offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupOffsets {
    /// Which group.
    pub group: GroupId,
    /// Its partitions with a commit, or why they are not known. An empty list is not "no lag":
    /// brokers answer it for groups that do not exist (reference `kafka-lag-and-clients.md` 1.7).
    pub partitions: Known<Vec<PartitionLag>>,
}

/// One partition's distance between commit and end. The end is read after the commit, so that
/// lag errs upward.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionLag {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Committed offset.
    pub committed: Known<i64>,
    /// Log end offset.
    pub end: Known<i64>,
}

impl PartitionLag {
    /// Records behind, when both offsets are known.
    pub fn lag(&self) -> Option<i64> {
        match (self.committed.value(), self.end.value()) {
            (Some(committed), Some(end)) => Some(end.saturating_sub(*committed).max(0)),
            (None, _) | (_, None) => None,
        }
    }
}
