//! What one source said about one kind of fact.

use std::fmt;
use std::time::Duration;

use super::facts::Facts;
use super::ids::NodeId;
use crate::time::Mono;

/// One place evidence comes from. Printed as `kafka:1`, `jmx:101`, `bootstrap:host:9092`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceId {
    /// An address from the configuration that has not yet said which node it is.
    Bootstrap(String),
    /// A node's own Kafka listener: a broker's, or a controller's where the node is only that.
    Kafka(NodeId),
    /// A node's JMX exporter.
    Jmx(NodeId),
}

impl SourceId {
    /// The node this source speaks for, when it speaks for one.
    pub const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Kafka(node) | Self::Jmx(node) => Some(*node),
            Self::Bootstrap(_) => None,
        }
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap(address) => write!(f, "bootstrap:{address}"),
            Self::Kafka(node) => write!(f, "kafka:{node}"),
            Self::Jmx(node) => write!(f, "jmx:{node}"),
        }
    }
}

/// The kinds of fact; one slot of the board per source and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactKind {
    /// The liveness connection: ApiVersions twice a second, and who answers.
    Link,
    /// DescribeCluster (Metadata where it does not exist).
    Cluster,
    /// Metadata of all topics.
    Partitions,
    /// ListOffsets with `replica_id = -2`: how far this node's replicas are.
    LogEnds,
    /// DescribeQuorum.
    Quorum,
    /// ListPartitionReassignments.
    Moves,
    /// DescribeConfigs of the node itself.
    NodeConfigs,
    /// DescribeConfigs of topics: their effective `min.insync.replicas`.
    TopicConfigs,
    /// DescribeLogDirs.
    LogDirs,
    /// A page of the JMX exporter.
    Jmx,
    /// Committed and end offsets of the named groups.
    Groups,
}

impl FactKind {
    /// Every kind, in the order of the table in `docs/facts.md`.
    pub const ALL: [Self; 11] = [
        Self::Link,
        Self::Cluster,
        Self::Partitions,
        Self::LogEnds,
        Self::Quorum,
        Self::Moves,
        Self::NodeConfigs,
        Self::TopicConfigs,
        Self::LogDirs,
        Self::Jmx,
        Self::Groups,
    ];

    /// The word used in the API, the docs and the logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Cluster => "cluster",
            Self::Partitions => "partitions",
            Self::LogEnds => "log_ends",
            Self::Quorum => "quorum",
            Self::Moves => "moves",
            Self::NodeConfigs => "node_configs",
            Self::TopicConfigs => "topic_configs",
            Self::LogDirs => "log_dirs",
            Self::Jmx => "jmx",
            Self::Groups => "groups",
        }
    }
}

impl fmt::Display for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Evidence that is wanted sooner than its pace brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Liveness, metadata and quorum: somebody asks for evidence newer than now.
    Quick,
    /// All there is: what was held counts no more.
    Everything,
}

/// What one source said about one kind of fact, or how it failed to say it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who was asked.
    pub source: SourceId,
    /// About what.
    pub kind: FactKind,
    /// Which connection or process life it came over; grows by one with each new one.
    pub epoch: u64,
    /// When we asked. **Age counts from here**: an answer may be as old as its question.
    pub asked: Mono,
    /// When the answer, or the failure, came. A pushed fact (connection closed) counts from here.
    pub seen: Mono,
    /// How often this fact is being asked for now; the longest age that still counts follows
    /// from it (`policy::max_age`).
    pub every: Duration,
    /// The answer.
    pub facts: Result<Facts, SourceFailure>,
}

/// How a source failed, and the words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFailure {
    /// The class, on which judging depends.
    pub class: FailureClass,
    /// What happened, for people, with the address in it: "connection refused by 10.0.0.1:9092".
    pub detail: String,
}

/// Characters of a failure's description that are kept.
pub const LONGEST_DETAIL: usize = 300;

impl SourceFailure {
    /// A failure of this class, described. Kafka's own texts can be pages long (it lists every
    /// setting it does not know); what is longer than [`LONGEST_DETAIL`] is cut.
    pub fn new(class: FailureClass, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(LONGEST_DETAIL) {
            detail.truncate(end);
            detail.push_str(" ...");
        }
        Self { class, detail }
    }
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for SourceFailure {}

/// What a failed connection says of the node at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Its process has ended, or nothing listens any more.
    Ended,
    /// There is no way to it, or its machine is gone.
    OutOfReach,
    /// It is connected and says nothing.
    Silent,
    /// Nothing: it is about us, about the address, or about the answer.
    Nothing,
}

impl FailureClass {
    /// What it says of the node.
    pub const fn sign(self) -> Sign {
        match self {
            Self::Refused | Self::Closed => Sign::Ended,
            Self::Resolve | Self::ConnectTimeout => Sign::OutOfReach,
            Self::Timeout => Sign::Silent,
            Self::Tls
            | Self::Authentication
            | Self::Authorization
            | Self::Malformed
            | Self::Kafka(_)
            | Self::HttpStatus(_)
            | Self::NotKafkaMetrics
            | Self::Cut
            | Self::TooLarge(_)
            | Self::WrongNode
            | Self::WrongCluster
            | Self::Throttled
            | Self::Unsupported
            | Self::OwnFile => Sign::Nothing,
        }
    }
}

/// What bounds an answer of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cap {
    /// Bytes of a frame of the Kafka protocol.
    FrameBytes,
    /// Nodes that an answer names, or that are known in all.
    Nodes,
    /// Bytes of an answer during the login.
    LoginBytes,
    /// Iterations that a server of SCRAM asks for.
    LoginIterations,
    /// Bytes of a token endpoint's answer.
    TokenBytes,
    /// Bytes of a page, after decompression.
    PageBytes,
    /// Samples of a page.
    PageSamples,
    /// Brokers of whose heartbeats a page tells.
    PageBrokers,
}

impl Cap {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::FrameBytes,
        Self::Nodes,
        Self::LoginBytes,
        Self::LoginIterations,
        Self::TokenBytes,
        Self::PageBytes,
        Self::PageSamples,
        Self::PageBrokers,
    ];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FrameBytes => "frame_bytes",
            Self::Nodes => "nodes",
            Self::LoginBytes => "login_bytes",
            Self::LoginIterations => "login_iterations",
            Self::TokenBytes => "token_bytes",
            Self::PageBytes => "page_bytes",
            Self::PageSamples => "page_samples",
            Self::PageBrokers => "page_brokers",
        }
    }
}

/// The classes of failure. Each is judged: exhaustive matches only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// The name does not resolve.
    Resolve,
    /// Nobody listens there (TCP refused).
    Refused,
    /// No TCP connection within the deadline, or no route.
    ConnectTimeout,
    /// An open connection was closed or reset by the other side.
    Closed,
    /// Connected, asked, and no answer within the deadline: frozen, or cut off.
    Timeout,
    /// TLS did not come about.
    Tls,
    /// The other side does not accept who we are.
    Authentication,
    /// It knows us and will not say.
    Authorization,
    /// It answered something that is not what the protocol says.
    Malformed,
    /// Kafka answered with an error code; the detail has its name.
    Kafka(i16),
    /// An HTTP status other than 200.
    HttpStatus(u16),
    /// 200, but not a metrics page of Kafka: HTML, empty, another program's.
    NotKafkaMetrics,
    /// The page or frame ended early.
    Cut,
    /// More than we are willing to read.
    TooLarge(Cap),
    /// The node that answers is another one than the one meant.
    WrongNode,
    /// The cluster that answers is another one than the one meant.
    WrongCluster,
    /// The broker throttles us; nothing can be said until it lets us ask again.
    Throttled,
    /// The node is too old, or in a mode, that has no such request.
    Unsupported,
    /// A file of ours that is needed to ask cannot be used.
    OwnFile,
}
