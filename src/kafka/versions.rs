//! Which version of a request to speak: the highest that we, the codec and the node all have.

use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeQuorumRequest, FindCoordinatorRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::{Message, Request};

use super::decode::api_versions::ApiVersions;
use crate::evidence::report::{FailureClass, SourceFailure};

/// One request as this program speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its key on the wire.
    pub key: i16,
    /// Its name, for people.
    pub name: &'static str,
    /// The lowest version that tells what we need.
    pub lowest: i16,
    /// The highest version that both our decoder and the codec of requests have.
    pub best: i16,
}

impl Api {
    /// `best` is capped by what the codec can really encode; `ApiKey::valid_versions()` promises
    /// more than the codec has (reference `rust-stack-measured.md` 2.3).
    const fn of<R: Request>(name: &'static str, lowest: i16, best: i16) -> Self {
        let codec = <R as Message>::VERSIONS.max;
        Self {
            key: R::KEY,
            name,
            lowest,
            best: if best < codec { best } else { codec },
        }
    }

    /// The version to speak with a node that has `range` of this request.
    pub const fn common(self, range: (i16, i16)) -> Option<i16> {
        let (low, high) = range;
        let version = if self.best < high { self.best } else { high };
        let floor = if self.lowest > low { self.lowest } else { low };
        if version < floor { None } else { Some(version) }
    }

    /// The version to speak with a node, or why there is none.
    pub fn choose(self, node: &ApiVersions) -> Result<i16, SourceFailure> {
        let range = node.range(self.key);
        let unsupported = || {
            let has = match range {
                Some((low, high)) => format!("versions {low} to {high}"),
                None => String::from("none"),
            };
            let (name, lowest, best) = (self.name, self.lowest, self.best);
            SourceFailure::new(
                FailureClass::Unsupported,
                format!("{name}: we speak versions {lowest} to {best}, this node has {has}"),
            )
        };
        range
            .and_then(|range| self.common(range))
            .ok_or_else(unsupported)
    }
}

/// ApiVersions.
pub const API_VERSIONS: Api = Api::of::<ApiVersionsRequest>("ApiVersions", 0, 4);
/// DescribeCluster: v1 also of controllers, v2 with fenced brokers.
pub const DESCRIBE_CLUSTER: Api = Api::of::<DescribeClusterRequest>("DescribeCluster", 0, 2);
/// Metadata: v5 tells offline replicas, v7 leader epochs, v10 topic ids.
pub const METADATA: Api = Api::of::<MetadataRequest>("Metadata", 5, 13);
/// DescribeQuorum: v1 tells times, v2 directories and endpoints.
pub const DESCRIBE_QUORUM: Api = Api::of::<DescribeQuorumRequest>("DescribeQuorum", 0, 2);
/// ListPartitionReassignments.
pub const LIST_MOVES: Api =
    Api::of::<ListPartitionReassignmentsRequest>("ListPartitionReassignments", 0, 0);
/// DescribeConfigs: v1 tells where a value comes from.
pub const DESCRIBE_CONFIGS: Api = Api::of::<DescribeConfigsRequest>("DescribeConfigs", 1, 4);
/// DescribeLogDirs: v3 tells that we may not see them.
pub const DESCRIBE_LOG_DIRS: Api = Api::of::<DescribeLogDirsRequest>("DescribeLogDirs", 1, 4);
/// ListOffsets: v4 checks the leader epoch.
pub const LIST_OFFSETS: Api = Api::of::<ListOffsetsRequest>("ListOffsets", 4, 10);
/// FindCoordinator: v4 for many groups at once.
pub const FIND_COORDINATOR: Api = Api::of::<FindCoordinatorRequest>("FindCoordinator", 0, 6);
/// OffsetFetch: v7 has `require_stable`, v8 many groups at once.
pub const OFFSET_FETCH: Api = Api::of::<OffsetFetchRequest>("OffsetFetch", 7, 9);
