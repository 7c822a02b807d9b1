//! FindCoordinator and OffsetFetch for the spec's groups (`KafkaApis.getCoordinator`,
//! `GroupCoordinatorService.fetchOffsets`).

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{At, Reply, code, text};
use crate::model::state::OFFSETS_TOPIC;
use crate::model::{Listener, NodeId};

pub(super) fn find(at: &At<'_>, request: FindCoordinatorRequest) -> Reply<FindCoordinatorResponse> {
    if at.version >= 4 {
        let list = request.coordinator_keys.into_iter().map(|key| {
            let (error, node, host, port) = coordinator(at, &key);
            Coordinator::default()
                .with_key(key)
                .with_error_code(error)
                .with_error_message(None)
                .with_node_id(BrokerId(node))
                .with_host(host)
                .with_port(port)
        });
        return Reply::Is(FindCoordinatorResponse::default().with_coordinators(list.collect()));
    }
    let (error, node, host, port) = coordinator(at, &request.key);
    let mut response = FindCoordinatorResponse::default()
        .with_error_code(error)
        .with_node_id(BrokerId(node))
        .with_host(host)
        .with_port(port);
    if at.version >= 1 {
        response = response.with_error_message(None);
    }
    Reply::Is(response)
}

/// The leader of the group's offsets partition, as this broker's metadata has it.
fn coordinator(at: &At<'_>, group: &str) -> (i16, NodeId, StrBytes, i32) {
    if at.cluster.rights.no_groups {
        let error = code::GROUP_AUTHORIZATION_FAILED;
        return (error, -1, StrBytes::default(), -1);
    }
    let index = at.cluster.offsets_partition(group);
    let partition = index.and_then(|index| at.node.image.partition(OFFSETS_TOPIC, index));
    let leader = partition.and_then(|partition| partition.leader);
    match leader.filter(|leader| at.node.image.alive(*leader)) {
        None => (code::COORDINATOR_NOT_AVAILABLE, -1, StrBytes::default(), -1),
        Some(leader) => {
            let (host, port) = at.cluster.address(leader, Listener::Broker);
            (code::NONE, leader, host, port)
        }
    }
}

pub(super) fn fetch(at: &At<'_>, request: OffsetFetchRequest) -> Reply<OffsetFetchResponse> {
    if at.version >= 8 {
        let groups = request.groups.into_iter().map(|group| {
            let name = group.group_id.0.to_string();
            let topics = group.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|t| (t.name, t.partition_indexes))
                    .collect::<Vec<_>>()
            });
            let (error, topics) = offsets(at, &name, topics);
            let topics = topics.into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(index, offset)| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(index)
                        .with_committed_offset(offset)
                        .with_metadata(Some(StrBytes::default()))
                });
                let topic = OffsetFetchResponseTopics::default().with_name(name);
                topic.with_partitions(partitions.collect())
            });
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id)
                .with_error_code(error)
                .with_topics(topics.collect())
        });
        return Reply::Is(OffsetFetchResponse::default().with_groups(groups.collect()));
    }
    let topics = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|t| (t.name, t.partition_indexes))
            .collect::<Vec<_>>()
    });
    let (error, topics) = offsets(at, &request.group_id.0, topics);
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, offset)| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_metadata(Some(StrBytes::default()))
                // Version 1 has no place for a group's error but its partitions.
                .with_error_code(if at.version < 2 { error } else { code::NONE })
        });
        let topic = OffsetFetchResponseTopic::default().with_name(name);
        topic.with_partitions(partitions.collect())
    });
    let mut response = OffsetFetchResponse::default().with_topics(topics.collect());
    if at.version >= 2 {
        response = response.with_error_code(error);
    }
    Reply::Is(response)
}

type Wanted = Option<Vec<(TopicName, Vec<i32>)>>;
type Offsets = Vec<(TopicName, Vec<(i32, i64)>)>;

/// Committed offsets of the wanted partitions, -1 where there is none. `None` asks for all; an
/// unknown group has none and that is no error (kafka-lag-and-clients.md, section 1.7). Only the
/// coordinator answers, and only once it has loaded its partition (`CoordinatorRuntime`).
fn offsets(at: &At<'_>, name: &str, wanted: Wanted) -> (i16, Offsets) {
    if at.cluster.rights.no_groups {
        return (code::GROUP_AUTHORIZATION_FAILED, nothing(wanted));
    }
    match at.cluster.coordinates(at.node.spec.id, name) {
        None => return (code::NOT_COORDINATOR, nothing(wanted)),
        Some(since) if at.cluster.now < since + at.cluster.spec.timing.coordinator_load => {
            return (code::COORDINATOR_LOAD_IN_PROGRESS, nothing(wanted));
        }
        Some(_) => {}
    }
    let group = at.cluster.group(name);
    let committed = group
        .map(|group| at.cluster.committed(group))
        .unwrap_or_default();
    let topic = group.map(|group| group.topic.as_str());
    match wanted {
        None => {
            let all = committed
                .iter()
                .filter_map(|(index, offset)| Some((i32::try_from(*index).ok()?, *offset)));
            let list = topic.map(|topic| (TopicName(text(topic)), all.collect()));
            (code::NONE, list.into_iter().collect())
        }
        Some(topics) => {
            let list = topics.into_iter().map(|(name, indexes)| {
                let own = topic == Some(name.0.as_str());
                let offsets = indexes.into_iter().map(|index| {
                    let known = u32::try_from(index)
                        .ok()
                        .and_then(|index| committed.get(&index));
                    (index, known.filter(|_| own).copied().unwrap_or(-1))
                });
                let offsets = offsets.collect();
                (name, offsets)
            });
            (code::NONE, list.collect())
        }
    }
}

fn nothing(wanted: Wanted) -> Offsets {
    let topics = wanted.unwrap_or_default().into_iter();
    topics
        .map(|(name, indexes)| (name, indexes.into_iter().map(|index| (index, -1)).collect()))
        .collect()
}
