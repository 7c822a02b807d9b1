//! ApiVersions, DescribeCluster, DescribeQuorum, ListPartitionReassignments.

use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, DescribeClusterResponse, DescribeQuorumResponse,
    ListPartitionReassignmentsResponse,
};
use proptest::collection::{btree_map, vec};

use super::*;
use crate::evidence::facts::METADATA_LOG;
use crate::evidence::facts::{Move, Moves, QuorumFacts, QuorumMember, RegisteredBroker};
use crate::evidence::ids::{ClusterId, Uuid};
use crate::kafka::decode::api_versions::ApiVersions;
use crate::kafka::decode::cluster::ClusterAnswer;
use crate::kafka::decode::moves::MovesAnswer;
use crate::kafka::decode::quorum::QuorumAnswer;

/// Replicas, those being added, those being removed.
type Lists = (Vec<NodeId>, Vec<NodeId>, Vec<NodeId>);

/// A broker, its rack included; what a version cannot say the test blanks out.
pub(super) fn broker() -> impl Strategy<Value = RegisteredBroker> {
    let fields = (
        any::<i32>(),
        word(),
        any::<u16>(),
        maybe_word(),
        any::<bool>(),
    );
    fields.prop_map(|(node, host, port, rack, fenced)| RegisteredBroker {
        node: NodeId(node),
        host,
        port,
        rack,
        fenced,
    })
}

proptest! {
    #[test]
    fn api_versions(
        version in 0..=4i16,
        error in prop_oneof![Just(0i16), Just(41)],
        apis in btree_map(any::<i16>(), (any::<i16>(), any::<i16>()), 0..9),
        supported in btree_map(word(), (any::<i16>(), any::<i16>()), 0..4),
        finalized in btree_map(word(), any::<i16>(), 0..4),
        numbers in (any::<i32>(), any::<i64>()),
        noise in noise(),
    ) {
        let flexible = version >= 3;
        let mut expected = ApiVersions {
            error,
            apis,
            throttle_ms: if version >= 1 { numbers.0 } else { 0 },
            supported: if flexible { supported } else { [].into() },
            finalized_epoch: if flexible { numbers.1 } else { -1 },
            finalized: if flexible { finalized } else { [].into() },
        };
        let api = |(key, range): (&i16, &(i16, i16))| {
            ApiVersion::default()
                .with_api_key(*key)
                .with_min_version(range.0)
                .with_max_version(range.1)
        };
        let mut response = ApiVersionsResponse::default()
            .with_error_code(error)
            .with_api_keys(expected.apis.iter().map(api).collect())
            .with_throttle_time_ms(expected.throttle_ms);
        if flexible {
            let feature = |(name, range): (&String, &(i16, i16))| {
                SupportedFeatureKey::default()
                    .with_name(text(name))
                    .with_min_version(range.0)
                    .with_max_version(range.1)
                    .with_unknown_tagged_fields(tag())
            };
            let level = |(name, level): (&String, &i16)| {
                FinalizedFeatureKey::default()
                    .with_name(text(name))
                    .with_max_version_level(*level)
                    .with_min_version_level(1)
            };
            response = response
                .with_supported_features(expected.supported.iter().map(feature).collect())
                .with_finalized_features_epoch(expected.finalized_epoch)
                .with_finalized_features(expected.finalized.iter().map(level).collect())
                .with_zk_migration_ready(true)
                .with_unknown_tagged_fields(tag());
        }
        check(super::super::api_versions::decode, version, &response, &expected, &noise);

        // A refused version is answered in the format of version 0.
        expected = ApiVersions { error: 35, apis: expected.apis, ..ApiVersions::default() };
        expected.finalized_epoch = -1;
        let refusal = ApiVersionsResponse::default()
            .with_error_code(35)
            .with_api_keys(expected.apis.iter().map(api).collect());
        let decoded = super::super::api_versions::decode(&encoded(&refusal, 0), version);
        prop_assert_eq!(decoded, Ok(expected));
    }

    #[test]
    fn describe_cluster(
        version in 0..=2i16,
        numbers in (any::<i32>(), any::<i16>(), -1..9i32),
        message in maybe_word(),
        cluster in word(),
        mut nodes in vec(broker(), 0..5),
        noise in noise(),
    ) {
        nodes.sort_by_key(|node| node.node);
        for node in &mut nodes {
            node.fenced &= version >= 2;
        }
        let row = |node: &RegisteredBroker| {
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(node.node.0))
                .with_host(text(&node.host))
                .with_port(i32::from(node.port))
                .with_rack(maybe_text(node.rack.as_ref()))
                .with_is_fenced(node.fenced)
                .with_unknown_tagged_fields(tag())
        };
        let response = DescribeClusterResponse::default()
            .with_throttle_time_ms(numbers.0)
            .with_error_code(numbers.1)
            .with_error_message(maybe_text(message.as_ref()))
            .with_cluster_id(text(&cluster))
            .with_controller_id(BrokerId(numbers.2))
            .with_brokers(nodes.iter().map(row).collect());
        let expected = ClusterAnswer {
            throttle_ms: numbers.0,
            error: numbers.1,
            message,
            cluster_id: ClusterId(cluster),
            controller: (numbers.2 >= 0).then_some(NodeId(numbers.2)),
            nodes,
        };
        check(super::super::cluster::decode, version, &response, &expected, &noise);
    }

    #[test]
    fn describe_quorum(
        version in 0..=2i16,
        numbers in (any::<i16>(), any::<i16>(), -1..9i32, any::<i32>(), any::<i64>()),
        messages in (maybe_word(), maybe_word()),
        voters in members(),
        observers in members(),
        endpoints in vec((any::<i32>(), word(), any::<u16>()), 0..4),
        noise in noise(),
    ) {
        let (error, row_error, leader, leader_epoch, high_watermark) = numbers;
        let says = |message: &Option<String>| {
            if version >= 2 { message.clone() } else { None }
        };
        let messages = (says(&messages.0), says(&messages.1));
        let mut endpoints: Vec<_> = endpoints
            .into_iter()
            .map(|(node, host, port)| (NodeId(node), host, port))
            .collect();
        let node = |(node, host, port): &(NodeId, String, u16)| {
            let listener = Listener::default()
                .with_name(text("CONTROLLER"))
                .with_host(text(host))
                .with_port(*port);
            Node::default().with_node_id(BrokerId(node.0)).with_listeners(vec![listener])
        };
        let partition = PartitionData::default()
            .with_error_code(row_error)
            .with_error_message(maybe_text(messages.1.as_ref()))
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(leader_epoch)
            .with_high_watermark(high_watermark)
            .with_current_voters(states(&voters, version))
            .with_observers(states(&observers, version))
            .with_unknown_tagged_fields(tag());
        let topic = TopicData::default()
            .with_topic_name(text(METADATA_LOG).into())
            .with_partitions(vec![partition]);
        let mut response = DescribeQuorumResponse::default()
            .with_error_code(error)
            .with_error_message(maybe_text(messages.0.as_ref()))
            .with_topics(vec![topic]);
        if version >= 2 {
            response = response.with_nodes(endpoints.iter().map(node).collect());
        } else {
            endpoints.clear();
        }
        endpoints.sort();
        let (error, message) = match error {
            0 => (row_error, messages.1),
            error => (error, messages.0),
        };
        let quorum = QuorumFacts {
            leader: (leader >= 0).then_some(NodeId(leader)),
            leader_epoch,
            high_watermark,
            voters: as_told(voters, version),
            observers: as_told(observers, version),
            endpoints,
        };
        let expected = QuorumAnswer { error, message, quorum: Some(quorum) };
        check(super::super::quorum::decode, version, &response, &expected, &noise);
    }

    #[test]
    fn list_partition_reassignments(
        numbers in (any::<i32>(), any::<i16>()),
        message in maybe_word(),
        topics in btree_map(word(), btree_map(any::<i32>(), (ids(), ids(), ids()), 0..4), 0..4),
        noise in noise(),
    ) {
        let partition = |(index, lists): (&i32, &Lists)| {
            OngoingPartitionReassignment::default()
                .with_partition_index(*index)
                .with_replicas(brokers(&lists.0))
                .with_adding_replicas(brokers(&lists.1))
                .with_removing_replicas(brokers(&lists.2))
                .with_unknown_tagged_fields(tag())
        };
        let rows = topics.iter().map(|(name, partitions)| {
            OngoingTopicReassignment::default()
                .with_name(text(name).into())
                .with_partitions(partitions.iter().map(partition).collect())
        });
        let response = ListPartitionReassignmentsResponse::default()
            .with_throttle_time_ms(numbers.0)
            .with_error_code(numbers.1)
            .with_error_message(maybe_text(message.as_ref()))
            .with_topics(rows.collect());
        let list = topics.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, lists)| Move {
                topic: topic.clone(),
                partition: *partition,
                replicas: lists.0.clone(),
                adding: lists.1.clone(),
                removing: lists.2.clone(),
            })
        });
        let expected = MovesAnswer {
            throttle_ms: numbers.0,
            error: numbers.1,
            message,
            moves: Moves { list: list.collect() },
        };
        check(super::super::moves::decode, 0, &response, &expected, &noise);
    }
}

fn members() -> impl Strategy<Value = Vec<QuorumMember>> {
    let moment = proptest::option::of(0..i64::MAX);
    let fields = (any::<u128>(), any::<i64>(), moment.clone(), moment);
    let rows = btree_map(any::<i32>(), fields, 0..5);
    rows.prop_map(|rows| {
        let member = |(node, (directory, end, fetch, caught_up))| QuorumMember {
            node: NodeId(node),
            directory: Uuid::new(directory),
            log_end_offset: end,
            last_fetch_ms: fetch,
            last_caught_up_ms: caught_up,
        };
        rows.into_iter().map(member).collect()
    })
}

fn states(members: &[QuorumMember], version: i16) -> Vec<ReplicaState> {
    let state = |member: &QuorumMember| {
        let mut state = ReplicaState::default()
            .with_replica_id(BrokerId(member.node.0))
            .with_log_end_offset(member.log_end_offset);
        if version >= 1 {
            state = state
                .with_last_fetch_timestamp(member.last_fetch_ms.unwrap_or(-1))
                .with_last_caught_up_timestamp(member.last_caught_up_ms.unwrap_or(-1));
        }
        if version >= 2 {
            let directory = member.directory.map_or(0, Uuid::as_u128);
            state = state.with_replica_directory_id(uuid::Uuid::from_u128(directory));
        }
        state
    };
    members.iter().rev().map(state).collect()
}

fn as_told(mut members: Vec<QuorumMember>, version: i16) -> Vec<QuorumMember> {
    for member in &mut members {
        if version < 2 {
            member.directory = None;
        }
        if version < 1 {
            member.last_fetch_ms = None;
            member.last_caught_up_ms = None;
        }
    }
    members
}
