//! Metadata, DescribeConfigs, DescribeLogDirs, ListOffsets, FindCoordinator, OffsetFetch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    DescribeConfigsResponse, DescribeLogDirsResponse, FindCoordinatorResponse, ListOffsetsResponse,
    MetadataResponse, OffsetFetchResponse,
};
use proptest::collection::{btree_map, btree_set, vec};

use super::about_cluster::broker;
use super::*;
use crate::evidence::facts::{ConfigSource, LogDir, RegisteredBroker};
use crate::evidence::ids::{ClusterId, GroupId, Uuid};
use crate::evidence::partitions::{Builder, Partition, PartitionTable};
use crate::kafka::decode::configs::{ConfigsAnswer, ResourceConfigs};
use crate::kafka::decode::groups::{
    CommitRow, CommitsAnswer, CoordinatorRow, CoordinatorsAnswer, GroupCommits,
};
use crate::kafka::decode::list_offsets::{OffsetsAnswer, PartitionOffset, TopicOffsets};
use crate::kafka::decode::log_dirs::LogDirsAnswer;
use crate::kafka::decode::metadata::Metadata;

#[derive(Clone, Debug)]
struct PartitionSpec {
    numbers: (i16, i32, i32, i32), // error, index, leader, leader epoch
    lists: (Vec<NodeId>, Vec<NodeId>, Vec<NodeId>), // replicas, ISR, offline
}

type TopicSpec = (i16, String, u128, bool, Vec<PartitionSpec>);

fn topic() -> impl Strategy<Value = TopicSpec> {
    let numbers = (any::<i16>(), any::<i32>(), -1..9i32, -1..9i32);
    let partition = (numbers, (ids(), ids(), ids()))
        .prop_map(|(numbers, lists)| PartitionSpec { numbers, lists });
    (
        any::<i16>(),
        word(),
        any::<u128>(),
        any::<bool>(),
        vec(partition, 0..6),
    )
}

fn table(topics: &[TopicSpec], version: i16) -> PartitionTable {
    let mut builder = Builder::default();
    for (error, name, id, internal, partitions) in topics {
        let id = Uuid::new(*id).filter(|_| version >= 10);
        builder.topic(id, name, *internal, *error);
        for spec in partitions {
            let (error, index, leader, epoch) = spec.numbers;
            builder.partition(Partition {
                index,
                leader: (leader >= 0).then_some(NodeId(leader)),
                leader_epoch: (epoch >= 0 && version >= 7).then_some(epoch),
                error,
                replicas: &spec.lists.0,
                isr: &spec.lists.1,
                offline: if version >= 5 { &spec.lists.2 } else { &[] },
            });
        }
    }
    builder.finish()
}

fn topic_row(
    (error, name, id, internal, partitions): &TopicSpec,
    version: i16,
) -> MetadataResponseTopic {
    let partition = |spec: &PartitionSpec| {
        let (error, index, leader, epoch) = spec.numbers;
        let mut row = MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader))
            .with_replica_nodes(brokers(&spec.lists.0))
            .with_isr_nodes(brokers(&spec.lists.1));
        if version >= 5 {
            row = row.with_offline_replicas(brokers(&spec.lists.2));
        }
        if version >= 7 {
            row = row.with_leader_epoch(epoch);
        }
        if version >= 9 {
            row = row.with_unknown_tagged_fields(tag());
        }
        row
    };
    let mut row = MetadataResponseTopic::default()
        .with_error_code(*error)
        .with_name(Some(text(name).into()))
        .with_is_internal(*internal)
        .with_partitions(partitions.iter().map(partition).collect());
    if version >= 10 {
        row = row.with_topic_id(uuid::Uuid::from_u128(*id));
    }
    row
}

proptest! {
    #[test]
    fn metadata(
        version in 1..=13i16,
        numbers in (any::<i32>(), any::<i16>(), -1..9i32),
        mut nodes in vec(broker(), 0..5),
        cluster in maybe_word(),
        topics in vec(topic(), 0..6),
        noise in noise(),
    ) {
        nodes.sort_by_key(|node| node.node);
        for node in &mut nodes {
            node.fenced = false;
        }
        let row = |node: &RegisteredBroker| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(node.node.0))
                .with_host(text(&node.host))
                .with_port(i32::from(node.port))
                .with_rack(maybe_text(node.rack.as_ref()))
        };
        let mut response = MetadataResponse::default()
            .with_brokers(nodes.iter().map(row).collect())
            .with_controller_id(BrokerId(numbers.2))
            .with_topics(topics.iter().map(|topic| topic_row(topic, version)).collect());
        if version >= 2 {
            response = response.with_cluster_id(maybe_text(cluster.as_ref()));
        }
        if version >= 3 {
            response = response.with_throttle_time_ms(numbers.0);
        }
        if version >= 13 {
            response = response.with_error_code(numbers.1);
        }
        let expected = Metadata {
            throttle_ms: if version >= 3 { numbers.0 } else { 0 },
            error: if version >= 13 { numbers.1 } else { 0 },
            brokers: nodes,
            cluster_id: cluster.filter(|_| version >= 2).map(ClusterId),
            controller: (numbers.2 >= 0).then_some(NodeId(numbers.2)),
            table: table(&topics, version),
        };
        check(super::super::metadata::decode, version, &response, &expected, &noise);
    }

    #[test]
    fn describe_configs(
        version in 1..=4i16,
        throttle_ms in any::<i32>(),
        resources in vec(
            (any::<i16>(), maybe_word(), any::<i8>(), word(),
             vec((word(), maybe_word(), any::<i8>()), 0..4)),
            0..4,
        ),
        noise in noise(),
    ) {
        let value = |(key, value, source): &(String, Option<String>, i8)| {
            let synonym = DescribeConfigsSynonym::default()
                .with_name(text(key))
                .with_value(maybe_text(value.as_ref()))
                .with_source(*source);
            let mut row = DescribeConfigsResourceResult::default()
                .with_name(text(key))
                .with_value(maybe_text(value.as_ref()))
                .with_config_source(*source)
                .with_synonyms(vec![synonym]);
            if version >= 3 {
                row = row.with_config_type(2).with_documentation(None);
            }
            row
        };
        let results = resources.iter().map(|(error, message, kind, name, values)| {
            DescribeConfigsResult::default()
                .with_error_code(*error)
                .with_error_message(maybe_text(message.as_ref()))
                .with_resource_type(*kind)
                .with_resource_name(text(name))
                .with_configs(values.iter().map(value).collect())
        });
        let response = DescribeConfigsResponse::default()
            .with_throttle_time_ms(throttle_ms)
            .with_results(results.collect());
        let resources = resources.into_iter().map(|(error, message, kind, name, values)| {
            let value = |(key, value, source)| (key, value, ConfigSource::from_wire(source));
            let values = values.into_iter().map(value).collect();
            ResourceConfigs { error, message, kind, name, values }
        });
        let expected = ConfigsAnswer { throttle_ms, resources: resources.collect() };
        check(super::super::configs::decode, version, &response, &expected, &noise);
    }

    #[test]
    fn describe_log_dirs(
        version in 1..=4i16,
        numbers in (any::<i32>(), any::<i16>()),
        dirs in vec(
            (any::<i16>(), word(), btree_map(word(), vec((0..9i32, any::<bool>()), 0..4), 0..4)),
            0..4,
        ),
        noise in noise(),
    ) {
        let partition = |(index, future): &(i32, bool)| {
            DescribeLogDirsPartition::default()
                .with_partition_index(*index)
                .with_partition_size(7)
                .with_is_future_key(*future)
        };
        let topic = |(name, partitions): (&String, &Vec<(i32, bool)>)| {
            DescribeLogDirsTopic::default()
                .with_name(text(name).into())
                .with_partitions(partitions.iter().map(partition).collect())
        };
        let results = dirs.iter().map(|(error, path, topics)| {
            let mut row = DescribeLogDirsResult::default()
                .with_error_code(*error)
                .with_log_dir(text(path))
                .with_topics(topics.iter().map(topic).collect());
            if version >= 4 {
                row = row.with_total_bytes(9).with_usable_bytes(3);
            }
            row
        });
        let mut response = DescribeLogDirsResponse::default()
            .with_throttle_time_ms(numbers.0)
            .with_results(results.collect());
        if version >= 3 {
            response = response.with_error_code(numbers.1);
        }
        let mut hosted = BTreeSet::new();
        for (name, partitions) in dirs.iter().flat_map(|(_, _, topics)| topics) {
            let present = partitions.iter().filter(|(_, future)| !future);
            hosted.extend(present.map(|(index, _)| (Arc::<str>::from(name.as_str()), *index)));
        }
        let expected = LogDirsAnswer {
            throttle_ms: numbers.0,
            error: if version >= 3 { numbers.1 } else { 0 },
            dirs: dirs.into_iter().map(|(error, path, _)| LogDir { path, error }).collect(),
            hosted: hosted.into_iter().collect(),
        };
        check(super::super::log_dirs::decode, version, &response, &expected, &noise);
    }

    #[test]
    fn list_offsets(
        version in 1..=10i16,
        throttle_ms in any::<i32>(),
        topics in vec((word(), vec((any::<i32>(), any::<i16>(), any::<i64>()), 0..5)), 0..4),
        noise in noise(),
    ) {
        let partition = |(index, error, offset): &(i32, i16, i64)| {
            let mut row = ListOffsetsPartitionResponse::default()
                .with_partition_index(*index)
                .with_error_code(*error)
                .with_offset(*offset);
            if version >= 4 {
                row = row.with_leader_epoch(5);
            }
            row
        };
        let rows = topics.iter().map(|(name, partitions)| {
            ListOffsetsTopicResponse::default()
                .with_name(text(name).into())
                .with_partitions(partitions.iter().map(partition).collect())
        });
        let mut response = ListOffsetsResponse::default().with_topics(rows.collect());
        if version >= 2 {
            response = response.with_throttle_time_ms(throttle_ms);
        }
        let row = |(partition, error, offset)| PartitionOffset { partition, error, offset };
        let topics = topics.into_iter().map(|(name, partitions)| TopicOffsets {
            name,
            partitions: partitions.into_iter().map(row).collect(),
        });
        let expected = OffsetsAnswer {
            throttle_ms: if version >= 2 { throttle_ms } else { 0 },
            topics: topics.collect(),
        };
        check(super::super::list_offsets::decode, version, &response, &expected, &noise);
    }

    #[test]
    fn find_coordinator(
        version in 0..=6i16,
        throttle_ms in any::<i32>(),
        rows in vec((word(), any::<i16>(), -1..9i32), 1..5),
        noise in noise(),
    ) {
        let throttle_ms = if version >= 1 { throttle_ms } else { 0 };
        let batched = version >= 4;
        let count = if batched { rows.len() } else { 1 };
        let coordinators = rows.iter().take(count).map(|(group, error, node)| CoordinatorRow {
            group: batched.then(|| GroupId(group.clone())),
            error: *error,
            node: (*node >= 0).then_some(NodeId(*node)),
        });
        let expected = CoordinatorsAnswer {
            throttle_ms,
            coordinators: coordinators.collect(),
        };
        let mut response = FindCoordinatorResponse::default();
        if version >= 1 {
            response = response.with_throttle_time_ms(throttle_ms);
        }
        if batched {
            let row = |(group, error, node): &(String, i16, i32)| {
                Coordinator::default()
                    .with_key(text(group))
                    .with_node_id(BrokerId(*node))
                    .with_host(text("host"))
                    .with_port(if *node < 0 { -1 } else { 9092 })
                    .with_error_code(*error)
                    .with_error_message(None)
                    .with_unknown_tagged_fields(tag())
            };
            response = response.with_coordinators(rows.iter().map(row).collect());
        } else {
            let (_, error, node) = &rows[0];
            response = response
                .with_error_code(*error)
                .with_node_id(BrokerId(*node))
                .with_host(text("host"))
                .with_port(9092);
            if version >= 1 {
                response = response.with_error_message(None);
            }
        }
        check(super::super::groups::decode_coordinators, version, &response, &expected, &noise);
    }

    #[test]
    fn offset_fetch(
        version in 5..=9i16,
        throttle_ms in any::<i32>(),
        groups in btree_map(word(), (any::<i16>(), commits()), 1..4),
        noise in noise(),
    ) {
        let batched = version >= 8;
        let count = if batched { groups.len() } else { 1 };
        let expected = CommitsAnswer {
            throttle_ms,
            groups: groups.iter().take(count).map(|(group, (error, commits))| GroupCommits {
                group: batched.then(|| GroupId(group.clone())),
                error: *error,
                partitions: rows(commits),
            }).collect(),
        };
        let mut response = OffsetFetchResponse::default().with_throttle_time_ms(throttle_ms);
        if batched {
            let group = |(group, (error, commits)): (&String, &(i16, Commits))| {
                OffsetFetchResponseGroup::default()
                    .with_group_id(text(group).into())
                    .with_error_code(*error)
                    .with_topics(commits.iter().map(batched_topic).collect())
            };
            response = response.with_groups(groups.iter().map(group).collect());
        } else if let Some((error, commits)) = groups.values().next() {
            response = response
                .with_error_code(*error)
                .with_topics(commits.iter().map(single_topic).collect());
        }
        check(super::super::groups::decode_commits, version, &response, &expected, &noise);
    }

    #[test]
    fn a_replica_listed_twice_is_hosted_once(topics in btree_set(word(), 1..4)) {
        let partition = DescribeLogDirsPartition::default();
        let dir = || {
            let topic = |name: &String| {
                DescribeLogDirsTopic::default()
                    .with_name(text(name).into())
                    .with_partitions(vec![partition.clone()])
            };
            DescribeLogDirsResult::default().with_topics(topics.iter().map(topic).collect())
        };
        let response = DescribeLogDirsResponse::default().with_results(vec![dir(), dir()]);
        let answer = super::super::log_dirs::decode(&encoded(&response, 1), 1).unwrap();
        prop_assert_eq!(answer.hosted.len(), topics.len());
    }
}

/// Error, offset, the consumer's metadata.
type CommitSpec = (i16, i64, Option<String>);
type PartitionCommits = BTreeMap<i32, CommitSpec>;
type Commits = BTreeMap<String, PartitionCommits>;

fn commits() -> impl Strategy<Value = Commits> {
    let partition = (any::<i16>(), any::<i64>(), maybe_word());
    btree_map(word(), btree_map(any::<i32>(), partition, 0..4), 0..3)
}

fn rows(commits: &Commits) -> Vec<CommitRow> {
    let topic = |(topic, partitions): (&String, &PartitionCommits)| {
        let topic = topic.clone();
        let row = |(partition, (error, offset, _)): (&i32, &CommitSpec)| CommitRow {
            topic: topic.clone(),
            partition: *partition,
            error: *error,
            offset: *offset,
        };
        partitions.iter().map(row).collect::<Vec<_>>()
    };
    commits.iter().flat_map(topic).collect()
}

fn batched_topic((name, partitions): (&String, &PartitionCommits)) -> OffsetFetchResponseTopics {
    let rows = partitions.iter().map(|(index, (error, offset, metadata))| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(3)
            .with_metadata(maybe_text(metadata.as_ref()))
            .with_error_code(*error)
    });
    OffsetFetchResponseTopics::default()
        .with_name(text(name).into())
        .with_partitions(rows.collect())
}

fn single_topic((name, partitions): (&String, &PartitionCommits)) -> OffsetFetchResponseTopic {
    let rows = partitions.iter().map(|(index, (error, offset, metadata))| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(3)
            .with_metadata(maybe_text(metadata.as_ref()))
            .with_error_code(*error)
    });
    OffsetFetchResponseTopic::default()
        .with_name(text(name).into())
        .with_partitions(rows.collect())
}
