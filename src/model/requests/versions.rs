//! ApiVersions: which APIs and features the node's binary has.

use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::protocol::{Message, StrBytes};

use super::{At, Throttled, code, encode};
use crate::model::{Answer, Listener};

/// The only API that answers a version it does not have: error 35 in format 0 with its own range,
/// so that the client can ask again (KIP-511, `ApiVersionsRequest.getErrorResponse`).
pub(super) fn answer(at: &At<'_>, correlation: i32, min: i16, max: i16) -> Answer {
    let codec = ApiVersionsResponse::VERSIONS;
    if !(min..=max.min(codec.max)).contains(&at.version) {
        let own = ApiVersion::default()
            .with_api_key(18)
            .with_min_version(min)
            .with_max_version(max);
        let refused = ApiVersionsResponse::default()
            .with_error_code(code::UNSUPPORTED_VERSION)
            .with_api_keys(vec![own]);
        return encode(correlation, &refused, 0).unwrap_or(Answer::CloseConnection);
    }
    let apis = at.cluster.apis(at.node, at.listener);
    let keys = apis.into_iter().map(|(key, min, max)| {
        ApiVersion::default()
            .with_api_key(key)
            .with_min_version(min)
            .with_max_version(max)
    });
    let mut response = ApiVersionsResponse::default()
        .with_api_keys(keys.collect())
        .throttled(at.throttle());
    if at.version >= 3 && !at.cluster.spec.zookeeper {
        response = with_features(at, response);
    }
    encode(correlation, &response, at.version).unwrap_or(Answer::CloseConnection)
}

fn with_features(at: &At<'_>, response: ApiVersionsResponse) -> ApiVersionsResponse {
    let finalized = at.cluster.spec.finalized;
    let mut supported = Vec::new();
    let mut levels = Vec::new();
    for feature in at.node.release.features() {
        let name = StrBytes::from_static_str(feature.name);
        // Version 3 cannot show a minimum of 0 (KAFKA-17011).
        if feature.min > 0 || at.version >= 4 {
            supported.push(
                SupportedFeatureKey::default()
                    .with_name(name.clone())
                    .with_min_version(feature.min)
                    .with_max_version(feature.max),
            );
        }
        let level = match feature.name {
            "metadata.version" => finalized.metadata_version(),
            "eligible.leader.replicas.version" => i16::from(at.cluster.spec.elr),
            "kraft.version" => i16::from(at.cluster.spec.dynamic_quorum),
            _ => 0,
        };
        // Level 0 is not listed.
        if level > 0 {
            levels.push(
                FinalizedFeatureKey::default()
                    .with_name(name)
                    .with_max_version_level(level)
                    .with_min_version_level(level),
            );
        }
    }
    // Before the node has published metadata nothing is finalized for it: epoch -1.
    let (levels, epoch) = match at.cluster.published_offset(at.node.spec.id) {
        None => (Vec::new(), -1),
        Some(offset) => match at.listener {
            Listener::Broker => (levels, offset),
            // Of the last change of features (`FeaturesPublisher`): none is made here.
            Listener::Controller => (levels, at.node.first_offset),
        },
    };
    response
        .with_supported_features(supported)
        .with_finalized_features(levels)
        .with_finalized_features_epoch(epoch)
}
