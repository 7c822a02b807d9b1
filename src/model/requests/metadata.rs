//! Metadata, from the node's own published image (`KRaftMetadataCache.getTopicMetadata`, on
//! ZooKeeper `ZkMetadataCache`).

use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};

use super::{At, Reply, code, text};
use crate::model::{Image, Listener, NodeId, Partition, Topic};

pub(super) fn answer(at: &At<'_>, request: MetadataRequest) -> Reply<MetadataResponse> {
    let image = &at.node.image;
    let alive: Vec<NodeId> = image
        .brokers
        .keys()
        .copied()
        .filter(|id| image.alive(*id))
        .collect();
    let brokers = alive.iter().map(|id| {
        let (host, port) = at.cluster.address(*id, Listener::Broker);
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*id))
            .with_host(host)
            .with_port(port)
            .with_rack(None)
    });
    let mut response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_topics(topics(at, image, request.topics));
    if at.version >= 1 {
        response = response.with_controller_id(BrokerId(some_broker(at, &alive)));
    }
    if at.version >= 2 {
        response = response.with_cluster_id(Some(text(at.cluster.spec.cluster_id.clone())));
    }
    Reply::Is(response)
}

/// In KRaft the controller id that clients see is any alive broker
/// (`KRaftMetadataCache.getRandomAliveBrokerId`): it says nothing about the active controller.
/// Assumed: another each second, so that the same seed gives the same answers.
/// On ZooKeeper it is the controller that the last UpdateMetadata named.
pub(super) fn some_broker(at: &At<'_>, alive: &[NodeId]) -> NodeId {
    if at.cluster.spec.zookeeper {
        return at.node.leader.unwrap_or(-1);
    }
    let turn = usize::try_from(at.cluster.now / 1_000).unwrap_or(0);
    let index = turn.checked_rem(alive.len()).unwrap_or(0);
    alive.get(index).copied().unwrap_or(-1)
}

fn topics(
    at: &At<'_>,
    image: &Image,
    wanted: Option<Vec<MetadataRequestTopic>>,
) -> Vec<MetadataResponseTopic> {
    let all = |version: i16, list: &[MetadataRequestTopic]| version == 0 && list.is_empty();
    let wanted = match wanted {
        Some(list) if !all(at.version, &list) => list,
        Some(_) | None => {
            let every = image.topics.iter();
            let every = every.filter(|(name, _)| !at.cluster.rights.hides(name));
            return every
                .map(|(name, topic)| describe(at, image, name, topic))
                .collect();
        }
    };
    wanted
        .into_iter()
        .map(|topic| one(at, image, topic))
        .collect()
}

fn one(at: &At<'_>, image: &Image, wanted: MetadataRequestTopic) -> MetadataResponseTopic {
    let found = match &wanted.name {
        Some(name) => image.topics.get_key_value(name.0.as_str()),
        None => image
            .topics
            .iter()
            .find(|(_, topic)| topic.id == wanted.topic_id),
    };
    let hides = |name: &str| at.cluster.rights.hides(name);
    if let Some((name, topic)) = found.filter(|(name, _)| !hides(name)) {
        return describe(at, image, name, topic);
    }
    let error = match &wanted.name {
        Some(name) if hides(name.0.as_str()) => code::TOPIC_AUTHORIZATION_FAILED,
        Some(_) => code::UNKNOWN_TOPIC_OR_PARTITION,
        None => code::UNKNOWN_TOPIC_ID,
    };
    let mut missing = MetadataResponseTopic::default().with_error_code(error);
    if at.version >= 10 {
        missing = missing.with_topic_id(wanted.topic_id);
    }
    // Only from version 12 on may a name be missing.
    let name = match wanted.name {
        None if at.version < 12 => Some(TopicName::default()),
        name => name,
    };
    missing.with_name(name)
}

fn describe(at: &At<'_>, image: &Image, name: &Arc<str>, topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions);
    let partitions =
        partitions.map(|(index, partition)| one_partition(at, image, index, partition));
    let mut response = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(name.as_ref()))))
        .with_partitions(partitions.collect());
    if at.version >= 1 {
        response = response.with_is_internal(topic.internal);
    }
    if at.version >= 10 {
        response = response.with_topic_id(topic.id);
    }
    response
}

fn one_partition(
    at: &At<'_>,
    image: &Image,
    index: i32,
    partition: &Partition,
) -> MetadataResponsePartition {
    let ids = |list: &[NodeId]| list.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
    // A leader that is not among the alive brokers is no leader for a client
    // (`ZkMetadataCache.getPartitionMetadata`; on KRaft a fenced broker leads nothing).
    let leader = partition.leader.filter(|leader| image.alive(*leader));
    let error = if leader.is_some() {
        code::NONE
    } else {
        code::LEADER_NOT_AVAILABLE
    };
    let offline: Vec<NodeId> = partition
        .replicas
        .iter()
        .copied()
        .filter(|id| !image.alive(*id) || image.dir_failed(*id, partition))
        .collect();
    let mut response = MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(index)
        .with_leader_id(BrokerId(leader.unwrap_or(-1)))
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr));
    if at.version >= 5 {
        response = response.with_offline_replicas(ids(&offline));
    }
    if at.version >= 7 {
        response = response.with_leader_epoch(partition.leader_epoch);
    }
    response
}
