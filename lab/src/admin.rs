//! Topics, configs, metadata and quorum of a running cluster, as the lab itself sees them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeQuorumRequest, IncrementalAlterConfigsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::client::{ClientError, Connection, check};
use crate::cluster::{Cluster, ClusterError};
use crate::metadata::Metadata;
use crate::node::Node;
use crate::spec::{Layout, NodeId, Role};

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Pause between two looks while waiting for something.
const LOOK: Duration = Duration::from_millis(50);

impl Cluster {
    /// Makes a topic and waits until every running broker knows its partitions with leaders.
    ///
    /// # Errors
    /// When Kafka refuses, or the brokers do not know it within 30 s.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: &[(&str, &str)],
    ) -> Result<(), ClusterError> {
        let config = |(key, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(text(key))
                .with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(replication)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = self.ask(self.admin_broker().await?, &request, 5).await?;
        for topic in &answer.topics {
            check(
                "create the topic",
                topic.error_code,
                topic.error_message.as_ref(),
            )?;
        }
        let wanted = usize::try_from(partitions).unwrap_or(0);
        let wait = Wait::new("every broker knows the topic", Duration::from_secs(30));
        loop {
            match self.all_know(name, wanted).await {
                Ok(true) => return Ok(()),
                look => wait.again(look).await?,
            }
        }
    }

    async fn all_know(&self, topic: &str, wanted: usize) -> Result<bool, ClusterError> {
        for node in self.serving_brokers() {
            let seen = self.metadata(node.id()).await?;
            let led = seen
                .topic(topic)
                .filter(|partition| partition.leader.is_some());
            if led.count() < wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClusterError> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(name))])
            .with_timeout_ms(10_000);
        let answer = self.ask(self.admin_broker().await?, &request, 4).await?;
        for topic in &answer.responses {
            check("delete the topic", topic.error_code, None)?;
        }
        Ok(())
    }

    /// Sets (or with `None` removes) one dynamic broker config, for example a replication throttle.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn alter_broker(
        &self,
        id: NodeId,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ClusterError> {
        // Resource types of the protocol: 2 topic, 4 broker.
        // With ZooKeeper only the broker itself takes its configs.
        self.alter(self.node(id)?, 4, &id.to_string(), key, value)
            .await
    }

    /// Sets (or with `None` removes) one topic config.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn alter_topic(
        &self,
        name: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ClusterError> {
        self.alter(self.admin_broker().await?, 2, name, key, value)
            .await
    }

    async fn alter(
        &self,
        broker: &Node,
        kind: i8,
        name: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ClusterError> {
        // Operations of KIP-339: 0 set, 1 delete.
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(i8::from(value.is_none()))
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask(broker, &request, 1).await?;
        for resource in &answer.responses {
            check(
                "alter the config",
                resource.error_code,
                resource.error_message.as_ref(),
            )?;
        }
        Ok(())
    }

    /// Moves one partition to these brokers; returns once Kafka has accepted it.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn reassign(
        &self,
        topic: &str,
        partition: i32,
        replicas: &[NodeId],
    ) -> Result<(), ClusterError> {
        let replicas = replicas.iter().copied().map(BrokerId).collect();
        let partition = ReassignablePartition::default()
            .with_partition_index(partition)
            .with_replicas(Some(replicas));
        let topic = ReassignableTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = self.ask(self.admin_broker().await?, &request, 0).await?;
        check("reassign", answer.error_code, answer.error_message.as_ref())?;
        for one in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            check(
                "reassign the partition",
                one.error_code,
                one.error_message.as_ref(),
            )?;
        }
        Ok(())
    }

    /// The whole metadata as the broker `from` has it.
    ///
    /// # Errors
    /// When `from` is no broker or does not answer within 5 s.
    pub async fn metadata(&self, from: NodeId) -> Result<Metadata, ClusterError> {
        let request = MetadataRequest::default()
            .with_topics(None)
            .with_allow_auto_topic_creation(false);
        let answer = self.ask(self.node(from)?, &request, 9).await?;
        Ok(Metadata::from(answer))
    }

    /// Whether every broker of the layout answers, lists all brokers and sees every ISR full.
    pub async fn isr_full_everywhere(&self) -> bool {
        let brokers: BTreeSet<NodeId> = self.brokers().map(Node::id).collect();
        for id in &brokers {
            if !self
                .node(*id)
                .is_ok_and(|node| node.is_alive() && !node.is_frozen())
            {
                return false;
            }
            match self.metadata(*id).await {
                Ok(seen) if seen.brokers == brokers && seen.isr_full() => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// Waits until [`Cluster::isr_full_everywhere`].
    ///
    /// # Errors
    /// When the deadline passes first.
    pub async fn wait_full_isr(&self, deadline: Duration) -> Result<(), ClusterError> {
        let wait = Wait::new("every ISR is full", deadline);
        while !self.isr_full_everywhere().await {
            wait.again(Ok(false)).await?;
        }
        Ok(())
    }

    /// Waits until every serving broker lists the broker `id`.
    ///
    /// # Errors
    /// When the deadline passes first.
    pub async fn wait_registered(
        &self,
        id: NodeId,
        deadline: Duration,
    ) -> Result<(), ClusterError> {
        self.wait_listed(id, true, deadline).await
    }

    /// Waits until no serving broker lists the broker `id`: fenced or gone.
    ///
    /// # Errors
    /// When the deadline passes first.
    pub async fn wait_fenced(&self, id: NodeId, deadline: Duration) -> Result<(), ClusterError> {
        self.wait_listed(id, false, deadline).await
    }

    async fn wait_listed(
        &self,
        id: NodeId,
        listed: bool,
        deadline: Duration,
    ) -> Result<(), ClusterError> {
        let what = if listed { "in" } else { "not in" };
        let wait = Wait::new(format!("broker {id} is {what} the metadata"), deadline);
        loop {
            match self.all_agree(id, listed).await {
                Ok(true) => return Ok(()),
                look => wait.again(look).await?,
            }
        }
    }

    async fn all_agree(&self, id: NodeId, listed: bool) -> Result<bool, ClusterError> {
        self.any_broker()?;
        for node in self.serving_brokers() {
            if self.metadata(node.id()).await?.brokers.contains(&id) != listed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The leader of the KRaft quorum, or the ZooKeeper cluster's controller, as the first node
    /// that knows it says; `None` while nobody does.
    ///
    /// # Errors
    /// When no node answers at all.
    pub async fn active_controller(&self) -> Result<Option<NodeId>, ClusterError> {
        let mut answered = false;
        let mut last = ClusterError::NobodyServes;
        for node in self
            .nodes()
            .iter()
            .filter(|node| node.is_alive() && !node.is_frozen())
        {
            match self.controller_as_seen_by(node).await {
                Ok(Some(leader)) => return Ok(Some(leader)),
                Ok(None) => answered = true,
                Err(error) => last = error,
            }
        }
        if answered { Ok(None) } else { Err(last) }
    }

    /// Controllers that do not lead refuse the question (NOT_LEADER_OR_FOLLOWER in the partition,
    /// with a leader id of 0 that means nothing); brokers pass it on to the leader.
    async fn controller_as_seen_by(&self, node: &Node) -> Result<Option<NodeId>, ClusterError> {
        if matches!(self.spec().layout, Layout::ZooKeeper { .. }) {
            let controller = self.metadata(node.id()).await?.controller;
            return Ok(Some(controller).filter(|id| *id >= 0));
        }
        let metadata_log = TopicData::default()
            .with_topic_name(TopicName(text("__cluster_metadata")))
            .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
        let request = DescribeQuorumRequest::default().with_topics(vec![metadata_log]);
        let answer = self.ask(node, &request, 0).await?;
        check("describe the quorum", answer.error_code, None)?;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let leaders = partitions.filter(|partition| partition.error_code == 0);
        Ok(leaders
            .map(|partition| partition.leader_id.0)
            .find(|id| *id >= 0))
    }

    /// One question to one node on a fresh connection.
    pub(crate) async fn ask<R: Request>(
        &self,
        node: &Node,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClusterError> {
        let port = self.lab_port(node);
        let mut connection = Connection::open(port, &self.login(), ANSWER).await?;
        Ok(connection.call(request, version, ANSWER).await?)
    }

    /// Brokers that should answer.
    pub(crate) fn serving_brokers(&self) -> impl Iterator<Item = &Node> {
        self.brokers()
            .filter(|node| node.is_alive() && !node.is_frozen())
    }

    fn any_broker(&self) -> Result<&Node, ClusterError> {
        self.serving_brokers()
            .next()
            .ok_or(ClusterError::NobodyServes)
    }

    /// Whom to ask for changes: with ZooKeeper the controller only (any other answers error 41,
    /// NOT_CONTROLLER), in KRaft mode anyone, it is passed on.
    pub(crate) async fn admin_broker(&self) -> Result<&Node, ClusterError> {
        let any = self.any_broker()?;
        match self.spec().layout {
            Layout::KraftSeparate { .. } | Layout::KraftCombined { .. } => Ok(any),
            Layout::ZooKeeper { .. } => self.node(self.metadata(any.id()).await?.controller),
        }
    }

    fn lab_port(&self, node: &Node) -> u16 {
        let wiring = &self.shared.wiring;
        match node.role() {
            Role::Broker | Role::Combined => wiring.app(node.id()),
            Role::Controller => wiring.controller_bind(node.id()),
            Role::ZooKeeper => wiring.zookeeper_bind(),
        }
    }
}

/// Looking again and again until something is so.
struct Wait {
    what: String,
    deadline: Duration,
    begun: Instant,
}

impl Wait {
    fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Self {
            what: what.into(),
            deadline,
            begun: Instant::now(),
        }
    }

    /// Pauses after a look that was not good; errors of a look only count at the deadline.
    async fn again(&self, look: Result<bool, ClusterError>) -> Result<(), ClusterError> {
        if self.begun.elapsed() > self.deadline {
            let (what, deadline) = (self.what.clone(), self.deadline);
            let last = look
                .err()
                .map_or("not yet".to_owned(), |error| error.to_string());
            return Err(ClusterError::Deadline {
                what,
                deadline,
                last,
            });
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl From<ClientError> for ClusterError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}
