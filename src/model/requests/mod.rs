//! The wire protocol: one file per group of APIs, each a function from a decoded request to a
//! response. Requests are decoded with the `kafka-protocol` crate, whose decoders reserve memory
//! by counts from the wire: this is for our own clients only, never for an open network.
//!
//! Each file names its source. What only the active controller knows, brokers ask it for
//! (`ForwardingManagerImpl`, KIP-590).

mod cluster;
mod configs;
mod groups;
mod metadata;
mod offsets;
mod partitions;
mod quorum;
mod storage;
mod versions;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, MetadataRequest,
    MetadataResponse, OffsetFetchRequest, OffsetFetchResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};

use super::state::Node;
use super::{Answer, Cluster, FRAME_LIMIT, Link, Listener, NodeId};

/// Error codes of the protocol, as far as they are used here (`Errors`).
mod code {
    pub(super) const NONE: i16 = 0;
    pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub(super) const LEADER_NOT_AVAILABLE: i16 = 5;
    pub(super) const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    pub(super) const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    pub(super) const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub(super) const NOT_COORDINATOR: i16 = 16;
    pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    pub(super) const GROUP_AUTHORIZATION_FAILED: i16 = 30;
    pub(super) const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
    pub(super) const UNSUPPORTED_VERSION: i16 = 35;
    pub(super) const NOT_CONTROLLER: i16 = 41;
    pub(super) const INVALID_REQUEST: i16 = 42;
    pub(super) const KAFKA_STORAGE_ERROR: i16 = 56;
    pub(super) const FENCED_LEADER_EPOCH: i16 = 74;
    pub(super) const UNKNOWN_LEADER_EPOCH: i16 = 75;
    pub(super) const UNKNOWN_TOPIC_ID: i16 = 100;
    pub(super) const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
}

/// Where a request came in.
struct At<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    listener: Listener,
    version: i16,
}

/// A response, or none now.
enum Reply<T> {
    Is(T),
    /// The node waits for somebody else: a forwarded request without an active controller is tried
    /// again (`NodeToControllerRequestThread`; assumed: for ever, there until a time-out), a read of
    /// ZooKeeper as well.
    Waits,
}

impl Cluster {
    /// What `node` answers on `listener` to one request frame (without its length). An unknown
    /// API or a version the node's release does not have closes the connection, as real brokers
    /// do; only ApiVersions gets an error (rust-stack-measured.md, section 2.2;
    /// `Processor.parseRequestHeader`, `RequestContext.parseRequest`).
    #[must_use]
    pub fn handle(&self, node: NodeId, listener: Listener, request: &[u8]) -> Answer {
        match self.link(node, listener) {
            Link::Refuses => return Answer::CloseConnection,
            Link::Silent => return Answer::Silent,
            Link::Accepts => {}
        }
        let Some(node) = self.nodes.get(&node) else {
            return Answer::CloseConnection;
        };
        // Key, version, correlation id and the length of the client id.
        if request.len() > FRAME_LIMIT || request.len() < 10 {
            return Answer::CloseConnection;
        }
        let answer = self.dispatch(node, listener, Bytes::copy_from_slice(request));
        match answer {
            Answer::Reply(bytes) => node.answers.of(request, bytes),
            Answer::Delay(_, _) | Answer::CloseConnection | Answer::Silent => answer,
        }
    }

    fn dispatch(&self, node: &Node, listener: Listener, mut body: Bytes) -> Answer {
        let mut start = body.clone();
        let (key, version) = (start.get_i16(), start.get_i16());
        let correlation = start.get_i32();
        let range = self
            .apis(node, listener)
            .into_iter()
            .find(|(api, _, _)| *api == key);
        let Some((_, min, max)) = range else {
            return Answer::CloseConnection;
        };
        let at = At {
            cluster: self,
            node,
            listener,
            version,
        };
        let known = ApiKey::try_from(key).ok();
        if known == Some(ApiKey::ApiVersions) {
            return versions::answer(&at, correlation, min, max);
        }
        if !(min..=max).contains(&version) {
            return Answer::CloseConnection;
        }
        let Some(known) = known else {
            return Answer::CloseConnection;
        };
        if RequestHeader::decode(&mut body, known.request_header_version(version)).is_err() {
            return Answer::CloseConnection;
        }
        let answer = match known {
            ApiKey::Metadata => at.answer::<MetadataRequest>(correlation, body, metadata::answer),
            ApiKey::DescribeCluster => {
                at.answer::<DescribeClusterRequest>(correlation, body, cluster::answer)
            }
            ApiKey::DescribeQuorum => {
                at.answer::<DescribeQuorumRequest>(correlation, body, quorum::answer)
            }
            ApiKey::ListPartitionReassignments => at.answer::<ListPartitionReassignmentsRequest>(
                correlation,
                body,
                quorum::reassignments,
            ),
            ApiKey::DescribeTopicPartitions => {
                at.answer::<DescribeTopicPartitionsRequest>(correlation, body, partitions::answer)
            }
            ApiKey::DescribeConfigs => {
                at.answer::<DescribeConfigsRequest>(correlation, body, configs::answer)
            }
            ApiKey::DescribeLogDirs => {
                at.answer::<DescribeLogDirsRequest>(correlation, body, storage::answer)
            }
            ApiKey::ListOffsets => {
                at.answer::<ListOffsetsRequest>(correlation, body, offsets::answer)
            }
            ApiKey::FindCoordinator => {
                at.answer::<FindCoordinatorRequest>(correlation, body, groups::find)
            }
            ApiKey::OffsetFetch => {
                at.answer::<OffsetFetchRequest>(correlation, body, groups::fetch)
            }
            // Real nodes answer more than a gate asks; the model does not pretend to.
            _ => None,
        };
        answer.unwrap_or(Answer::CloseConnection)
    }

    fn apis(&self, node: &Node, listener: Listener) -> Vec<(i16, i16, i16)> {
        if self.spec.zookeeper {
            node.release.zookeeper_apis()
        } else {
            node.release.apis(listener)
        }
    }

    /// The address that others learn for a node's listener (`advertised.listeners`).
    fn address(&self, node: NodeId, listener: Listener) -> (StrBytes, i32) {
        let port = self
            .nodes
            .get(&node)
            .and_then(|node| node.ports.get(&listener));
        (
            StrBytes::from_static_str("127.0.0.1"),
            port.map_or(-1, |port| i32::from(*port)),
        )
    }
}

impl At<'_> {
    fn answer<R: Request>(
        &self,
        correlation: i32,
        mut body: Bytes,
        reply: impl FnOnce(&At<'_>, R) -> Reply<R::Response>,
    ) -> Option<Answer>
    where
        R::Response: Throttled,
    {
        let codec = R::VERSIONS.intersect(&<R::Response as Message>::VERSIONS);
        if !(codec.min..=codec.max).contains(&self.version) {
            return None;
        }
        let request = R::decode(&mut body, self.version).ok()?;
        if body.has_remaining() {
            return None;
        }
        match reply(self, request) {
            Reply::Is(response) => {
                let response = response.throttled(self.throttle());
                encode(correlation, &response, self.version)
            }
            Reply::Waits => Some(Answer::Silent),
        }
    }

    fn throttle(&self) -> i32 {
        i32::try_from(self.node.answers.throttle).unwrap_or(i32::MAX)
    }

    /// The active controller as a request finds it: by this node itself, or forwarded to the one
    /// this broker knows. `None`: nobody answers now.
    fn controller(&self) -> Option<NodeId> {
        let leader = self.node.leader?;
        let id = self.node.spec.id;
        let there = self.cluster.committing() == Some(leader);
        (there && (leader == id || self.cluster.linked(id, leader))).then_some(leader)
    }
}

/// A response that can tell its client to slow down.
trait Throttled {
    fn throttled(self, ms: i32) -> Self;
}

macro_rules! throttled {
    ($($response:ty),*) => {$(
        impl Throttled for $response {
            fn throttled(self, ms: i32) -> Self {
                self.with_throttle_time_ms(ms)
            }
        }
    )*};
}

throttled!(
    ApiVersionsResponse,
    DescribeClusterResponse,
    DescribeConfigsResponse,
    DescribeLogDirsResponse,
    DescribeTopicPartitionsResponse,
    FindCoordinatorResponse,
    ListOffsetsResponse,
    ListPartitionReassignmentsResponse,
    MetadataResponse,
    OffsetFetchResponse
);

impl Throttled for DescribeQuorumResponse {
    /// This message has no place for it (DescribeQuorumResponse.json).
    fn throttled(self, _: i32) -> Self {
        self
    }
}

/// A response frame without its length.
fn encode<T: Encodable + HeaderVersion>(
    correlation: i32,
    response: &T,
    version: i16,
) -> Option<Answer> {
    let header = ResponseHeader::default().with_correlation_id(correlation);
    let mut frame = BytesMut::new();
    header.encode(&mut frame, T::header_version(version)).ok()?;
    response.encode(&mut frame, version).ok()?;
    Some(Answer::Reply(frame.to_vec()))
}

fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}
