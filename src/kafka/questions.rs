//! The questions a connection can be asked, and what their answers become.

use std::time::Duration;

use super::answers::{Commit, Gathered, commits_in_order, coordinators_in_order, offsets_in_order};
use super::connection::{Answer, Connection, Throttled};
use super::decode::cluster::ClusterAnswer;
use super::decode::configs::ConfigsAnswer;
use super::decode::groups::{CommitsAnswer, CoordinatorsAnswer};
use super::decode::list_offsets::OffsetsAnswer;
use super::decode::log_dirs::LogDirsAnswer;
use super::decode::metadata::Metadata;
use super::decode::moves::MovesAnswer;
use super::decode::quorum::QuorumAnswer;
use super::encode::{AskAs, AskedPartition};
use super::facts::{ControllersAnswer, MetadataAnswer};
use super::versions::{
    Api, DESCRIBE_CLUSTER, DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS, DESCRIBE_QUORUM, FIND_COORDINATOR,
    LIST_MOVES, LIST_OFFSETS, METADATA, OFFSET_FETCH,
};
use super::{decode, encode, facts};
use crate::evidence::facts::{
    ClusterFacts, LogDirFacts, Moves, NodeConfigs, QuorumFacts, TopicConfigs,
};
use crate::evidence::ids::{GroupId, NodeId};
use crate::evidence::known::Known;
use crate::evidence::report::SourceFailure;

/// The keys of a node's own configuration that are worth knowing; a release that does not have
/// one leaves it out.
pub const NODE_CONFIG_KEYS: &[&str] = &[
    "broker.heartbeat.interval.ms",
    "broker.id",
    "broker.session.timeout.ms",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "default.replication.factor",
    "follower.replication.throttled.rate",
    "inter.broker.protocol.version",
    "leader.replication.throttled.rate",
    "log.message.format.version",
    "metadata.max.idle.interval.ms",
    "min.insync.replicas",
    "node.id",
    "process.roles",
    "replica.lag.time.max.ms",
    "unclean.leader.election.enable",
    "zookeeper.connect",
    "zookeeper.session.timeout.ms",
];

/// So that one question does not keep a broker's handler thread for long.
const TOPICS_AT_ONCE: usize = 1000;

impl Connection {
    /// The brokers of the cluster and its id, of a broker's listener. Falls back to Metadata of
    /// no topics where DescribeCluster does not exist (before 2.8).
    pub async fn describe_cluster(
        &self,
        deadline: Duration,
    ) -> Result<Answer<ClusterFacts>, SourceFailure> {
        let api = DESCRIBE_CLUSTER;
        if self.versions().range(api.key).is_none() && self.versions().range(METADATA.key).is_some()
        {
            return self.cluster_from_metadata(deadline).await;
        }
        let version = self.version_of(api)?;
        let build = encode::describe_brokers;
        let answer = self
            .ask(api, build, decode::cluster::decode, deadline)
            .await?;
        answer.try_map(|answer| facts::brokers(answer, version, self.about(api)))
    }

    async fn cluster_from_metadata(
        &self,
        deadline: Duration,
    ) -> Result<Answer<ClusterFacts>, SourceFailure> {
        let answer = self.ask_metadata(false, deadline).await?;
        Ok(answer.map(facts::brokers_of_metadata))
    }

    /// The controllers of the quorum, of a controller's own listener (3.7 and up; `Unsupported`
    /// before). A broker's listener answers error 114.
    pub async fn describe_controllers(
        &self,
        deadline: Duration,
    ) -> Result<Answer<ControllersAnswer>, SourceFailure> {
        // Version 0 cannot say that controllers are meant.
        let api = Api {
            lowest: 1,
            ..DESCRIBE_CLUSTER
        };
        let build = |_| encode::describe_controllers();
        let answer = self
            .ask(api, build, decode::cluster::decode, deadline)
            .await?;
        answer.try_map(|answer| facts::controllers(answer, self.about(api)))
    }

    /// All topics and partitions as this broker knows them.
    pub async fn metadata(
        &self,
        deadline: Duration,
    ) -> Result<Answer<MetadataAnswer>, SourceFailure> {
        self.ask_metadata(true, deadline).await
    }

    async fn ask_metadata(
        &self,
        topics: bool,
        deadline: Duration,
    ) -> Result<Answer<MetadataAnswer>, SourceFailure> {
        let api = METADATA;
        let build = |_| encode::metadata(topics);
        let answer = self
            .ask(api, build, decode::metadata::decode, deadline)
            .await?;
        answer.try_map(|answer| facts::metadata(answer, self.about(api)))
    }

    /// The quorum as its leader sees it. Brokers forward the question to the leader; a controller
    /// that is not the leader answers `Kafka(6)`, NOT_LEADER_OR_FOLLOWER.
    pub async fn quorum(&self, deadline: Duration) -> Result<Answer<QuorumFacts>, SourceFailure> {
        let api = DESCRIBE_QUORUM;
        let build = |_| encode::describe_quorum();
        let answer = self
            .ask(api, build, decode::quorum::decode, deadline)
            .await?;
        answer.try_map(|answer| facts::quorum(answer, self.about(api)))
    }

    /// Running reassignments.
    pub async fn moves(&self, deadline: Duration) -> Result<Answer<Moves>, SourceFailure> {
        let api = LIST_MOVES;
        let build = |_| encode::list_moves(deadline);
        let answer = self
            .ask(api, build, decode::moves::decode, deadline)
            .await?;
        answer.try_map(|answer| facts::moves(answer, self.about(api)))
    }

    /// The configuration of the node itself, [`NODE_CONFIG_KEYS`] only. Any other node than
    /// `node` refuses: `WrongNode`.
    pub async fn node_configs(
        &self,
        node: NodeId,
        deadline: Duration,
    ) -> Result<Answer<NodeConfigs>, SourceFailure> {
        self.configs_of(node, NODE_CONFIG_KEYS, deadline).await
    }

    /// Some keys of the node's own configuration.
    pub(super) async fn configs_of(
        &self,
        node: NodeId,
        keys: &[&str],
        deadline: Duration,
    ) -> Result<Answer<NodeConfigs>, SourceFailure> {
        let api = DESCRIBE_CONFIGS;
        let build = |_| encode::node_configs(node.0, keys);
        let answer = self
            .ask(api, build, decode::configs::decode, deadline)
            .await?;
        answer.try_map(|answer| facts::node_configs(answer, node, self.about(api)))
    }

    /// Effective `min.insync.replicas` of these topics, as this broker resolves it; `deadline` is
    /// for each 1,000 topics. A topic deleted meanwhile is in neither list; one that is not
    /// described for any other reason is an error.
    pub async fn topic_configs(
        &self,
        topics: &[&str],
        deadline: Duration,
    ) -> Result<Answer<TopicConfigs>, SourceFailure> {
        let api = DESCRIBE_CONFIGS;
        let mut all = Gathered::default();
        for chunk in topics.chunks(TOPICS_AT_ONCE) {
            let build = |_| encode::topic_configs(chunk);
            let answer = self
                .ask(api, build, decode::configs::decode, deadline)
                .await?;
            all.add(answer, |answer| answer.resources);
        }
        all.done()
            .try_map(|resources| facts::topic_configs(resources, self.about(api)))
    }

    /// What this broker really hosts.
    pub async fn log_dirs(&self, deadline: Duration) -> Result<Answer<LogDirFacts>, SourceFailure> {
        let api = DESCRIBE_LOG_DIRS;
        let build = |_| encode::log_dirs();
        let answer = self
            .ask(api, build, decode::log_dirs::decode, deadline)
            .await?;
        answer.try_map(|answer| facts::log_dirs(answer, self.about(api)))
    }

    /// The latest offsets of these partitions, in the order asked. An error code, a negative
    /// offset or a missing answer is never a value.
    pub async fn list_offsets(
        &self,
        ask_as: AskAs,
        asked: &[AskedPartition<'_>],
        deadline: Duration,
    ) -> Result<Answer<Vec<Known<i64>>>, SourceFailure> {
        let build = |_| encode::list_offsets(ask_as, asked);
        let answer = self
            .ask(LIST_OFFSETS, build, decode::list_offsets::decode, deadline)
            .await?;
        Ok(answer.map(|answer| offsets_in_order(&answer, asked)))
    }

    /// The coordinator of each group, in the order asked. Before FindCoordinator v4 (Kafka 3.0)
    /// one question per group; `deadline` is for each.
    pub async fn find_coordinators(
        &self,
        groups: &[&GroupId],
        deadline: Duration,
    ) -> Result<Answer<Vec<Known<NodeId>>>, SourceFailure> {
        let batched = self.version_of(FIND_COORDINATOR)? >= 4;
        let size = if batched { groups.len().max(1) } else { 1 };
        let mut all = Gathered::default();
        for chunk in groups.chunks(size) {
            let build = |version| encode::find_coordinators(version, chunk);
            let decode = decode::groups::decode_coordinators;
            let answer = self.ask(FIND_COORDINATOR, build, decode, deadline).await?;
            all.add(answer, |answer| coordinators_in_order(&answer, chunk));
        }
        Ok(all.done())
    }

    /// The stable commits of each group, in the order asked; ask the groups' coordinator. Before
    /// OffsetFetch v8 (Kafka 3.0) one question per group; `deadline` is for each.
    pub async fn fetch_commits(
        &self,
        groups: &[&GroupId],
        deadline: Duration,
    ) -> Result<Answer<Vec<Known<Vec<Commit>>>>, SourceFailure> {
        let batched = self.version_of(OFFSET_FETCH)? >= 8;
        let size = if batched { groups.len().max(1) } else { 1 };
        let mut all = Gathered::default();
        for chunk in groups.chunks(size) {
            let build = |version| encode::fetch_commits(version, chunk);
            let decode = decode::groups::decode_commits;
            let answer = self.ask(OFFSET_FETCH, build, decode, deadline).await?;
            all.add(answer, |answer| commits_in_order(answer, chunk));
        }
        Ok(all.done())
    }
}

macro_rules! throttled {
    ($($answer:ty),+) => {$(
        impl Throttled for $answer {
            fn throttle_ms(&self) -> i32 {
                self.throttle_ms
            }
        }
    )+};
}

throttled!(
    ClusterAnswer,
    Metadata,
    MovesAnswer,
    ConfigsAnswer,
    LogDirsAnswer,
    OffsetsAnswer,
    CoordinatorsAnswer,
    CommitsAnswer
);

impl Throttled for QuorumAnswer {
    fn throttle_ms(&self) -> i32 {
        0
    }
}
