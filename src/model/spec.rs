//! What to simulate: nodes, topics, groups, Kafka's settings and measured durations.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{Exporter, Release, Timing};

/// A node's id (`node.id`), unique over brokers and controllers.
pub type NodeId = i32;

/// Which part of a cluster a node plays (`process.roles`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Serves clients and holds partitions.
    pub broker: bool,
    /// Votes in the metadata quorum.
    pub controller: bool,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// `node.id`.
    pub id: NodeId,
    /// `process.roles`.
    pub roles: Roles,
    /// The binary it runs at the start.
    pub release: Release,
}

/// One topic; its replicas are spread over the brokers in the order of their ids.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Replicas per partition (1 to 4 is what people use).
    pub replication: u32,
    /// `min.insync.replicas` of the topic; `None` takes the brokers' value.
    pub min_isr: Option<u32>,
    /// Records per second into each partition (acks=all).
    pub rate: u64,
    /// One of Kafka's own topics.
    pub internal: bool,
}

/// A consumer group that reads all partitions of one topic.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Its `group.id`.
    pub name: String,
    /// The topic it reads.
    pub topic: String,
    /// How far behind the high watermark its commits are, in milliseconds of production.
    pub behind_ms: u64,
}

/// The rules file that the JMX exporter runs with (kafka-jmx-metrics.md, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Family D: the exporter's default format, no rules.
    Default,
    /// Family F: flat lower-case names (`kafka-kraft-3_0_0.yml`, Strimzi).
    Flat,
}

/// Kafka's own settings, in milliseconds where they are times. `Default` is Kafka's default, but
/// for `min_insync_replicas` (there 1) and `offsets_partitions` (there 50), which are the lab's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `broker.session.timeout.ms`.
    pub session_timeout: u64,
    /// `zookeeper.session.timeout.ms` of ZooKeeper mode.
    pub zookeeper_session_timeout: u64,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: u64,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_time_max: u64,
    /// `controller.quorum.fetch.timeout.ms`.
    pub quorum_fetch_timeout: u64,
    /// `min.insync.replicas` of the brokers; 2 is what the lab and most clusters use.
    pub min_insync_replicas: u32,
    /// `leader.imbalance.check.interval.seconds`, in milliseconds.
    pub balance_interval: u64,
    /// `offsets.topic.num.partitions`; 0 leaves the topic out.
    pub offsets_partitions: u32,
    /// `unclean.leader.election.enable` of the brokers.
    pub unclean_leader_election: bool,
    /// How many `log.dirs` each broker has, 1 to 32; partitions go round them by number.
    pub log_dirs: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_timeout: 9_000,
            zookeeper_session_timeout: 18_000,
            heartbeat_interval: 2_000,
            replica_lag_time_max: 30_000,
            quorum_fetch_timeout: 2_000,
            min_insync_replicas: 2,
            balance_interval: 300_000,
            offsets_partitions: 10,
            unclean_leader_election: false,
            log_dirs: 1,
        }
    }
}

/// A whole simulated cluster.
#[derive(Clone, Debug)]
pub struct Spec {
    /// As in Metadata and DescribeCluster.
    pub cluster_id: String,
    /// Everything random follows from it.
    pub seed: u64,
    /// Wall time of the start of the simulation, milliseconds since 1970.
    pub start_wall_ms: i64,
    /// Brokers and controllers.
    pub nodes: Vec<NodeSpec>,
    /// Topics beside `__consumer_offsets`.
    pub topics: Vec<TopicSpec>,
    /// Consumer groups.
    pub groups: Vec<GroupSpec>,
    /// Kafka's settings.
    pub settings: Settings,
    /// Measured durations.
    pub timing: Timing,
    /// What the JMX pages look like.
    pub family: Family,
    /// The finalized `metadata.version` is the newest of this release.
    pub finalized: Release,
    /// `controller.quorum.bootstrap.servers` with directory ids (KIP-853) instead of the static
    /// `controller.quorum.voters`.
    pub dynamic_quorum: bool,
    /// `eligible.leader.replicas.version` 1 is finalized (KIP-966): from 4.0 on possible, on new
    /// clusters from 4.1 on the default (kafka-jmx-metrics.md, section 3.5).
    pub elr: bool,
    /// ZooKeeper mode: every node is a broker, `finalized` is the `inter.broker.protocol.version`.
    pub zookeeper: bool,
    /// ZooKeeper mode: `inter.broker.protocol.version` stands in the brokers' properties; without
    /// it a broker reports its binary's.
    pub pinned: bool,
    /// How the exporters run.
    pub exporter: Exporter,
    /// Nodes of the list that have never been started: nothing registered, nothing held. They
    /// join as new empty brokers when they are started.
    pub later: BTreeSet<NodeId>,
}

/// Why a spec cannot be simulated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SpecError {
    /// Two nodes have this id.
    #[error("node id {0} appears twice: give every node its own id")]
    DuplicateNode(NodeId),
    /// A node without a role.
    #[error("node {0} is neither broker nor controller: give it a role")]
    NoRole(NodeId),
    /// No broker or no controller.
    #[error("the cluster has no {0}: add one")]
    Missing(&'static str),
    /// A topic that cannot be placed.
    #[error("topic {topic} wants {replication} replicas on {brokers} brokers")]
    Replication {
        /// The topic.
        topic: String,
        /// What it asks for.
        replication: u32,
        /// What there is.
        brokers: usize,
    },
    /// A group that reads nothing.
    #[error("group {group} reads topic {topic}, which the spec does not have")]
    NoTopic {
        /// The group.
        group: String,
        /// The missing topic.
        topic: String,
    },
    /// More precise than the binaries allow.
    #[error("metadata.version {0} is above what node {1} supports: upgrade it or lower it")]
    Finalized(Release, NodeId),
    /// Voters are there from the beginning.
    #[error("node {0} votes and cannot join later: let only brokers join")]
    LateVoter(NodeId),
    /// Not a broker of a release that has ZooKeeper mode.
    #[error("node {0} cannot run on ZooKeeper: use brokers only, up to 3.9")]
    ZooKeeper(NodeId),
    /// Too old for KRaft.
    #[error("{0} in KRaft mode: use 3.3 or later, or ZooKeeper")]
    KRaft(Release),
    /// Eligible leader replicas need a newer metadata version.
    #[error("eligible leader replicas with metadata.version {0}: finalize 4.0 or later")]
    Elr(Release),
    /// No dirs or too many.
    #[error("{0} log dirs per broker: choose 1 to 32")]
    LogDirs(u32),
}

impl Spec {
    /// Dedicated controllers (ids from 101) and brokers (ids from 1) of one release, one topic
    /// `orders` with 60 partitions, three replicas (fewer on fewer brokers) and a trickle of
    /// records, read by group `billing`.
    #[must_use]
    pub fn kraft(controllers: u16, brokers: u16, release: Release) -> Self {
        let mut nodes = Vec::new();
        for index in 1..=i32::from(brokers) {
            nodes.push(NodeSpec {
                id: index,
                roles: Roles::BROKER,
                release,
            });
        }
        for index in 1..=i32::from(controllers) {
            nodes.push(NodeSpec {
                id: 100 + index,
                roles: Roles::CONTROLLER,
                release,
            });
        }
        Self::of(nodes, u32::from(brokers), release)
    }

    /// Nodes that are broker and controller at once (ids from 1), otherwise like [`Spec::kraft`].
    #[must_use]
    pub fn combined(nodes: u16, release: Release) -> Self {
        let list = (1..=i32::from(nodes))
            .map(|id| NodeSpec {
                id,
                roles: Roles::COMBINED,
                release,
            })
            .collect();
        Self::of(list, u32::from(nodes), release)
    }

    /// Brokers (ids from 1) on ZooKeeper, otherwise like [`Spec::kraft`]. Releases 2.8 to 3.9.
    #[must_use]
    pub fn zookeeper(brokers: u16, release: Release) -> Self {
        let mut spec = Self::kraft(0, brokers, release);
        spec.zookeeper = true;
        spec.timing = Timing::zookeeper();
        spec
    }

    fn of(nodes: Vec<NodeSpec>, brokers: u32, release: Release) -> Self {
        Self {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".to_owned(),
            seed: 1,
            start_wall_ms: 1_795_000_000_000,
            nodes,
            topics: vec![TopicSpec::new("orders", 60, brokers.min(3)).rate(10)],
            groups: vec![GroupSpec {
                name: "billing".to_owned(),
                topic: "orders".to_owned(),
                behind_ms: 200,
            }],
            settings: Settings::default(),
            timing: Timing::default(),
            family: Family::Default,
            finalized: release,
            dynamic_quorum: false,
            elr: release >= Release::V4_1,
            zookeeper: false,
            pinned: false,
            exporter: Exporter::default(),
            later: BTreeSet::new(),
        }
    }

    /// The same with another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same with these topics instead; groups on topics that are gone go too.
    #[must_use]
    pub fn topics(mut self, topics: Vec<TopicSpec>) -> Self {
        self.groups
            .retain(|group| topics.iter().any(|topic| topic.name == group.topic));
        self.topics = topics;
        self
    }

    /// The same with these nodes not yet started, see [`Spec::later`].
    #[must_use]
    pub fn later(mut self, nodes: &[NodeId]) -> Self {
        self.later.extend(nodes);
        self
    }

    /// The brokers that are there from the beginning.
    pub(super) fn first_brokers(&self) -> impl Iterator<Item = NodeId> {
        let brokers = self.nodes.iter().filter(|node| node.roles.broker);
        let ids = brokers.map(|node| node.id);
        ids.filter(|id| !self.later.contains(id))
    }

    /// The same with another family of JMX names.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    pub(super) fn check(&self) -> Result<(), SpecError> {
        self.check_nodes()?;
        let brokers = self.first_brokers().count();
        for topic in &self.topics {
            let replication = usize::try_from(topic.replication).unwrap_or(usize::MAX);
            if replication == 0 || replication > brokers {
                let (name, replication) = (topic.name.clone(), topic.replication);
                return Err(SpecError::Replication {
                    topic: name,
                    replication,
                    brokers,
                });
            }
        }
        for group in &self.groups {
            if !self.topics.iter().any(|topic| topic.name == group.topic) {
                let (name, topic) = (group.name.clone(), group.topic.clone());
                return Err(SpecError::NoTopic { group: name, topic });
            }
        }
        Ok(())
    }

    fn check_nodes(&self) -> Result<(), SpecError> {
        for (index, node) in self.nodes.iter().enumerate() {
            if self
                .nodes
                .iter()
                .skip(index + 1)
                .any(|other| other.id == node.id)
            {
                return Err(SpecError::DuplicateNode(node.id));
            }
            if !node.roles.broker && !node.roles.controller {
                return Err(SpecError::NoRole(node.id));
            }
            if node.release < self.finalized {
                return Err(SpecError::Finalized(self.finalized, node.id));
            }
        }
        if self.elr && self.finalized < Release::V4_0 {
            return Err(SpecError::Elr(self.finalized));
        }
        if self.first_brokers().next().is_none() {
            return Err(SpecError::Missing("broker"));
        }
        let votes = |node: &NodeSpec| node.roles.controller && self.later.contains(&node.id);
        if let Some(voter) = self.nodes.iter().find(|node| votes(node)) {
            return Err(SpecError::LateVoter(voter.id));
        }
        if !(1..=32).contains(&self.settings.log_dirs) {
            return Err(SpecError::LogDirs(self.settings.log_dirs));
        }
        if self.zookeeper {
            let fits =
                |node: &&NodeSpec| node.roles == Roles::BROKER && node.release < Release::V4_0;
            return match self.nodes.iter().find(|node| !fits(node)) {
                Some(node) => Err(SpecError::ZooKeeper(node.id)),
                None => Ok(()),
            };
        }
        if !self.nodes.iter().any(|node| node.roles.controller) {
            return Err(SpecError::Missing("controller"));
        }
        if self.finalized < Release::V3_3 {
            return Err(SpecError::KRaft(self.finalized));
        }
        Ok(())
    }
}

impl Roles {
    /// Broker only.
    pub const BROKER: Self = Self {
        broker: true,
        controller: false,
    };
    /// Controller only.
    pub const CONTROLLER: Self = Self {
        broker: false,
        controller: true,
    };
    /// Both.
    pub const COMBINED: Self = Self {
        broker: true,
        controller: true,
    };
}

impl TopicSpec {
    /// A topic without records and with the brokers' `min.insync.replicas`.
    #[must_use]
    pub fn new(name: &str, partitions: u32, replication: u32) -> Self {
        let name = name.to_owned();
        Self {
            name,
            partitions,
            replication,
            min_isr: None,
            rate: 0,
            internal: false,
        }
    }

    /// The same with this many records per second into each partition.
    #[must_use]
    pub fn rate(mut self, rate: u64) -> Self {
        self.rate = rate;
        self
    }

    /// The same with its own `min.insync.replicas`.
    #[must_use]
    pub fn min_isr(mut self, min_isr: u32) -> Self {
        self.min_isr = Some(min_isr);
        self
    }
}
