//! Requests, built per version: a field that a version does not have must keep its default, and
//! the codec's defaults for "all" are `None`, not an empty list.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeQuorumRequest, FindCoordinatorRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetFetchRequest, RequestHeader,
};
use kafka_protocol::protocol::{Request, StrBytes, encode_request_header_into_buffer};

use crate::evidence::facts::METADATA_LOG;
use crate::evidence::ids::GroupId;
use crate::evidence::report::{FailureClass, SourceFailure};

/// As whom a ListOffsets request asks, which decides whose offset is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskAs {
    /// What consumers may read up to, of the leader only (`replica_id = -1`).
    Consumer,
    /// The asked replica's own log end, leader or follower (`replica_id = -2`, Kafka's debugging
    /// consumer; verified on 2.8.2, 3.7.2, 3.9.2 and 4.3.1, reference `kafka-lab.md` 10).
    AnyReplica,
}

/// One partition to ask an offset of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedPartition<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition number.
    pub partition: i32,
    /// The leader epoch the answer must belong to: a replica in an older one answers
    /// UNKNOWN_LEADER_EPOCH, one in a newer one FENCED_LEADER_EPOCH (Kafka's
    /// `Partition.getLocalLog`). `None` asks without.
    pub leader_epoch: Option<i32>,
}

/// The key that is asked to find out who a node is. Any key will do; this one is in every release
/// and role.
pub const IDENTITY_KEYS: &[&str] = &["listeners"];
/// The key of a topic's configuration that is worth knowing.
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// DescribeConfigs' resource type of topics.
pub(super) const TOPIC: i8 = 2;
/// DescribeConfigs' resource type of nodes, controllers among them.
pub(super) const BROKER: i8 = 4;
const LATEST: i64 = -1;
const NO_EPOCH: i32 = -1;
const GROUP: i8 = 0;
/// `endpoint_type` of DescribeCluster.
const CONTROLLERS: i8 = 2;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// A whole frame: length, header, request.
pub fn frame<R: Request>(
    request: &R,
    version: i16,
    correlation: i32,
    client_id: &str,
) -> Result<Bytes, SourceFailure> {
    let cannot = |why: String| {
        SourceFailure::new(
            FailureClass::Malformed,
            format!("cannot encode request {} v{version}: {why}", R::KEY),
        )
    };
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(text(client_id)));
    let mut body = BytesMut::new();
    // The codec's errors hold a backtrace that `Debug` prints; `Display` does not.
    encode_request_header_into_buffer(&mut body, &header)
        .and_then(|()| request.encode(&mut body, version))
        .map_err(|error| cannot(format!("{error:#}")))?;
    let length = i32::try_from(body.len()).map_err(|error| cannot(error.to_string()))?;
    let mut frame = BytesMut::with_capacity(body.len().saturating_add(4));
    frame.put_i32(length);
    frame.put(body);
    Ok(frame.freeze())
}

/// ApiVersions.
pub fn api_versions(version: i16) -> ApiVersionsRequest {
    let request = ApiVersionsRequest::default();
    if version < 3 {
        return request;
    }
    request
        .with_client_software_name(StrBytes::from_static_str("upgrade-gate"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")))
}

/// DescribeCluster of brokers, fenced ones too where the version has them.
pub fn describe_brokers(version: i16) -> DescribeClusterRequest {
    DescribeClusterRequest::default().with_include_fenced_brokers(version >= 2)
}

/// DescribeCluster of controllers, for a controller's own listener (v1 and up).
pub fn describe_controllers() -> DescribeClusterRequest {
    DescribeClusterRequest::default().with_endpoint_type(CONTROLLERS)
}

/// Metadata of all topics, or of none (brokers and cluster id only). Never creates a topic.
pub fn metadata(topics: bool) -> MetadataRequest {
    MetadataRequest::default()
        .with_topics(if topics { None } else { Some(Vec::new()) })
        .with_allow_auto_topic_creation(false)
}

/// DescribeQuorum of the metadata partition.
pub fn describe_quorum() -> DescribeQuorumRequest {
    let topic = TopicData::default()
        .with_topic_name(StrBytes::from_static_str(METADATA_LOG).into())
        .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

/// All running reassignments.
pub fn list_moves(deadline: Duration) -> ListPartitionReassignmentsRequest {
    ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(millis(deadline))
        .with_topics(None)
}

/// These keys of one node's own configuration.
pub fn node_configs(node: i32, keys: &[&str]) -> DescribeConfigsRequest {
    let keys = keys.iter().map(|key| text(key)).collect();
    DescribeConfigsRequest::default().with_resources(vec![
        DescribeConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(StrBytes::from_string(node.to_string()))
            .with_configuration_keys(Some(keys)),
    ])
}

/// [`MIN_INSYNC_REPLICAS`] of each topic's effective configuration.
pub fn topic_configs(topics: &[&str]) -> DescribeConfigsRequest {
    let resource = |topic: &&str| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str(MIN_INSYNC_REPLICAS)]))
    };
    DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect())
}

/// All log directories.
pub fn log_dirs() -> DescribeLogDirsRequest {
    DescribeLogDirsRequest::default().with_topics(None)
}

/// Latest offsets. Partitions of one topic should stand together.
pub fn list_offsets(ask_as: AskAs, asked: &[AskedPartition<'_>]) -> ListOffsetsRequest {
    let topics = asked
        .chunk_by(|a, b| a.topic == b.topic)
        .map(|rows| {
            let partitions = rows.iter().map(|row| {
                ListOffsetsPartition::default()
                    .with_partition_index(row.partition)
                    .with_current_leader_epoch(row.leader_epoch.unwrap_or(NO_EPOCH))
                    .with_timestamp(LATEST)
            });
            let name = rows.first().map_or("", |row| row.topic);
            ListOffsetsTopic::default()
                .with_name(text(name).into())
                .with_partitions(partitions.collect())
        })
        .collect();
    let replica_id = match ask_as {
        AskAs::Consumer => -1,
        AskAs::AnyReplica => -2,
    };
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(replica_id))
        .with_topics(topics)
}

/// The coordinators of these groups; before v4 of the first one only.
pub fn find_coordinators(version: i16, groups: &[&GroupId]) -> FindCoordinatorRequest {
    let keys: Vec<StrBytes> = groups.iter().map(|group| text(&group.0)).collect();
    let request = FindCoordinatorRequest::default();
    let request = if version >= 1 {
        request.with_key_type(GROUP)
    } else {
        request
    };
    if version >= 4 {
        request.with_coordinator_keys(keys)
    } else {
        request.with_key(keys.into_iter().next().unwrap_or_default())
    }
}

/// All stable commits of these groups; before v8 of the first one only.
pub fn fetch_commits(version: i16, groups: &[&GroupId]) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default().with_require_stable(true);
    let mut ids = groups.iter().map(|group| text(&group.0));
    if version >= 8 {
        let group = |id: StrBytes| {
            OffsetFetchRequestGroup::default()
                .with_group_id(id.into())
                .with_member_id(None)
                .with_member_epoch(-1)
                .with_topics(None)
        };
        request.with_groups(ids.map(group).collect())
    } else {
        request
            .with_group_id(ids.next().unwrap_or_default().into())
            .with_topics(None)
    }
}

fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}
