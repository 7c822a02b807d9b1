//! DescribeTopicPartitions (KIP-966): the only request that shows eligible leader replicas. From
//! the node's own published image (`DescribeTopicPartitionsRequestHandler`,
//! `KRaftMetadataCache.describeTopicResponse`). A partition without a leader has error 0 and leader
//! -1, other than in Metadata answers.

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};

use super::{At, Reply, code, text};
use crate::model::{NodeId, Partition, Topic};

/// `max.request.partition.size.limit`.
const LIMIT: i32 = 2_000;

pub(super) fn answer(
    at: &At<'_>,
    request: DescribeTopicPartitionsRequest,
) -> Reply<DescribeTopicPartitionsResponse> {
    let mut room = usize::try_from(request.response_partition_limit.clamp(1, LIMIT)).unwrap_or(1);
    let (from, mut first) = request.cursor.as_ref().map_or(("", 0), |cursor| {
        let index = usize::try_from(cursor.partition_index).unwrap_or(0);
        (cursor.topic_name.0.as_str(), index)
    });
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names(at, &request) {
        if name.as_str() < from {
            continue;
        }
        if name != from {
            first = 0;
        }
        let found = at.node.image.topics.get(name.as_str());
        let Some(topic) = found.filter(|_| !at.cluster.rights.hides(&name)) else {
            response.topics.push(missing(at, &name));
            continue;
        };
        if room == 0 {
            return Reply::Is(response.with_next_cursor(Some(cursor(&name, first))));
        }
        let shown = topic.partitions.len().saturating_sub(first).min(room);
        response
            .topics
            .push(describe(at, &name, topic, first..first + shown));
        room -= shown;
        if first + shown < topic.partitions.len() {
            let next = cursor(&name, first + shown);
            return Reply::Is(response.with_next_cursor(Some(next)));
        }
    }
    Reply::Is(response)
}

/// The wanted topics in order; with none named all that the client may see.
fn names(at: &At<'_>, request: &DescribeTopicPartitionsRequest) -> Vec<String> {
    if request.topics.is_empty() {
        let every = at.node.image.topics.keys();
        let visible = every.filter(|name| !at.cluster.rights.hides(name));
        return visible.map(|name| name.as_ref().to_owned()).collect();
    }
    let named = request.topics.iter();
    let mut names: Vec<String> = named
        .map(|topic| topic.name.0.as_str().to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn cursor(name: &str, index: usize) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(text(name)))
        .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
}

fn missing(at: &At<'_>, name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = if at.cluster.rights.hides(name) {
        code::TOPIC_AUTHORIZATION_FAILED
    } else {
        code::UNKNOWN_TOPIC_OR_PARTITION
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_error_code(error)
}

fn describe(
    at: &At<'_>,
    name: &str,
    topic: &Topic,
    shown: std::ops::Range<usize>,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = (0..).zip(&topic.partitions);
    let partitions = partitions.skip(shown.start).take(shown.len());
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.internal)
        .with_partitions(partitions.map(|(index, p)| one(at, index, p)).collect())
}

fn one(at: &At<'_>, index: i32, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
    let ids = |list: &[NodeId]| list.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
    let image = &at.node.image;
    let leader = partition.leader.filter(|leader| image.alive(*leader));
    let replicas = partition.replicas.iter().copied();
    let offline: Vec<NodeId> = replicas
        .filter(|id| !image.alive(*id) || image.dir_failed(*id, partition))
        .collect();
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(code::NONE)
        .with_partition_index(index)
        .with_leader_id(BrokerId(leader.unwrap_or(-1)))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr))
        .with_eligible_leader_replicas(Some(ids(&partition.elr)))
        .with_last_known_elr(Some(ids(&partition.last_known_elr)))
        .with_offline_replicas(ids(&offline))
}
