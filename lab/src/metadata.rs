//! A light view of Kafka's metadata, for tests and for `lab status`.

use std::collections::BTreeSet;

use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataResponse};
use serde::{Deserialize, Serialize};

use crate::spec::NodeId;

/// What one broker says about the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub cluster_id: String,
    /// Meaningful with ZooKeeper only; a KRaft broker names any broker here.
    pub controller: NodeId,
    /// Registered and unfenced brokers.
    pub brokers: BTreeSet<NodeId>,
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub topic: String,
    pub index: i32,
    /// `None`: offline.
    pub leader: Option<NodeId>,
    pub leader_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub offline: Vec<NodeId>,
}

impl Partition {
    /// Has a leader and every replica in the ISR.
    pub fn is_full(&self) -> bool {
        self.leader.is_some() && self.isr.len() >= self.replicas.len()
    }
}

impl Metadata {
    /// Every partition has a leader and all its replicas in sync.
    pub fn isr_full(&self) -> bool {
        self.partitions.iter().all(Partition::is_full)
    }

    /// How many partitions miss a replica or a leader.
    pub fn short(&self) -> usize {
        self.partitions
            .iter()
            .filter(|partition| !partition.is_full())
            .count()
    }

    /// The partitions of one topic.
    pub fn topic(&self, name: &str) -> impl Iterator<Item = &Partition> {
        self.partitions
            .iter()
            .filter(move |partition| partition.topic == name)
    }
}

impl From<MetadataResponse> for Metadata {
    fn from(answer: MetadataResponse) -> Self {
        Self {
            cluster_id: answer
                .cluster_id
                .map(|id| id.to_string())
                .unwrap_or_default(),
            controller: answer.controller_id.0,
            brokers: answer
                .brokers
                .iter()
                .map(|broker| broker.node_id.0)
                .collect(),
            partitions: answer.topics.iter().flat_map(partitions).collect(),
        }
    }
}

fn partitions(topic: &MetadataResponseTopic) -> impl Iterator<Item = Partition> {
    let name = topic
        .name
        .as_ref()
        .map(|name| name.to_string())
        .unwrap_or_default();
    topic
        .partitions
        .iter()
        .map(move |partition| one(&name, partition))
}

fn one(topic: &str, partition: &MetadataResponsePartition) -> Partition {
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    Partition {
        topic: topic.to_owned(),
        index: partition.partition_index,
        leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: ids(&partition.replica_nodes),
        isr: ids(&partition.isr_nodes),
        offline: ids(&partition.offline_replicas),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn partition(leader: NodeId, isr: &[NodeId]) -> MetadataResponsePartition {
        MetadataResponsePartition::default()
            .with_leader_id(BrokerId(leader))
            .with_replica_nodes([1, 2, 3].map(BrokerId).to_vec())
            .with_isr_nodes(isr.iter().copied().map(BrokerId).collect())
    }

    #[test]
    fn a_partition_is_full_only_with_a_leader_and_every_replica() {
        let partitions = vec![
            partition(1, &[3, 2, 1]),
            partition(1, &[1, 2]),
            partition(-1, &[1, 2, 3]),
        ];
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("orders"))))
            .with_partitions(partitions);
        let seen = Metadata::from(MetadataResponse::default().with_topics(vec![topic]));
        assert_eq!(seen.topic("orders").count(), 3);
        assert_eq!(seen.short(), 2);
        assert!(!seen.isr_full());
        assert_eq!(seen.partitions.last().and_then(|last| last.leader), None);
    }
}
