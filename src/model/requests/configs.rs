//! DescribeConfigs: a node answers BROKER resources only for its own id (kafka-lab.md, section
//! 11; `ConfigHelper.describeConfigs`), which proves who it is.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::{At, Reply, code, text};
use crate::model::{Listener, Release};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const NO_THROTTLE: u64 = i64::MAX.unsigned_abs();

/// Where a value comes from (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy)]
enum Source {
    Topic = 1,
    Static = 4,
    Default = 5,
}

struct Entry {
    name: &'static str,
    value: String,
    source: Source,
}

pub(super) fn answer(
    at: &At<'_>,
    request: DescribeConfigsRequest,
) -> Reply<DescribeConfigsResponse> {
    // A topic's is read from ZooKeeper, without an end to the waiting.
    let asks_zookeeper =
        at.cluster.spec.zookeeper && request.resources.iter().any(|it| it.resource_type == TOPIC);
    if asks_zookeeper && !at.cluster.reaches_zookeeper(at.node.spec.id) {
        return Reply::Waits;
    }
    let results = request
        .resources
        .into_iter()
        .map(|resource| one(at, resource))
        .collect();
    Reply::Is(DescribeConfigsResponse::default().with_results(results))
}

fn one(at: &At<'_>, resource: DescribeConfigsResource) -> DescribeConfigsResult {
    let entries = match resource.resource_type {
        BROKER => broker(at, &resource.resource_name),
        TOPIC => topic(at, &resource.resource_name),
        other => Err((
            code::INVALID_REQUEST,
            format!("Unsupported resource type: {other}"),
        )),
    };
    let keys = resource.configuration_keys;
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name);
    match entries {
        Err((error, message)) => result
            .with_error_code(error)
            .with_error_message(Some(text(message))),
        Ok(entries) => {
            let wanted = |name: &str| {
                keys.as_ref()
                    .is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
            };
            let configs = entries
                .into_iter()
                .filter(|entry| wanted(entry.name))
                .map(|entry| {
                    DescribeConfigsResourceResult::default()
                        .with_name(StrBytes::from_static_str(entry.name))
                        .with_value(Some(text(entry.value)))
                        .with_read_only(true)
                        .with_config_source(entry.source as i8)
                })
                .collect();
            result.with_error_message(None).with_configs(configs)
        }
    }
}

/// The cluster-wide default (an empty name) has no entries here (assumed: nobody has set any, not
/// even ELR its min ISR).
fn broker(at: &At<'_>, name: &str) -> Result<Vec<Entry>, (i16, String)> {
    let id = at.node.spec.id;
    if at.cluster.rights.no_cluster {
        let message = "Cluster authorization failed.".to_owned();
        return Err((code::CLUSTER_AUTHORIZATION_FAILED, message));
    }
    if name.is_empty() {
        return Ok(Vec::new());
    }
    if name != id.to_string() {
        let message =
            format!("Unexpected broker id, expected {id} or empty string, but received {name}");
        return Err((code::INVALID_REQUEST, message));
    }
    let settings = &at.cluster.spec.settings;
    let set = |name, value: u64, default: u64| {
        let source = if value == default {
            Source::Default
        } else {
            Source::Static
        };
        Entry {
            name,
            value: value.to_string(),
            source,
        }
    };
    let zookeeper = at.cluster.spec.zookeeper;
    let own_id = |name, explicit| Entry {
        name,
        value: id.to_string(),
        source: if explicit {
            Source::Static
        } else {
            Source::Default
        },
    };
    let mut entries = vec![
        own_id("node.id", !zookeeper),
        own_id("broker.id", zookeeper),
        set("broker.session.timeout.ms", settings.session_timeout, 9_000),
        set(
            "broker.heartbeat.interval.ms",
            settings.heartbeat_interval,
            2_000,
        ),
        set(
            "replica.lag.time.max.ms",
            settings.replica_lag_time_max,
            30_000,
        ),
        set(
            "controller.quorum.fetch.timeout.ms",
            settings.quorum_fetch_timeout,
            2_000,
        ),
        // No throttle is the biggest long.
        set(
            "leader.replication.throttled.rate",
            NO_THROTTLE,
            NO_THROTTLE,
        ),
        set(
            "follower.replication.throttled.rate",
            NO_THROTTLE,
            NO_THROTTLE,
        ),
        set(
            "min.insync.replicas",
            u64::from(settings.min_insync_replicas),
            1,
        ),
        unclean(at),
        quorum_voters(at),
    ];
    if at.node.release < Release::V4_0 {
        // Both keys went with ZooKeeper; under KRaft the version is the binary's default and
        // means nothing (rust-stack-measured.md, section 2.2).
        let name = "inter.broker.protocol.version";
        let pinned = at.cluster.spec.zookeeper && at.cluster.spec.pinned;
        entries.push(Entry {
            name,
            value: if pinned {
                at.cluster.spec.finalized.to_string()
            } else {
                format!("{}-IV{}", at.node.release, newest_iv(at.node.release))
            },
            source: if pinned {
                Source::Static
            } else {
                Source::Default
            },
        });
        let timeout = settings.zookeeper_session_timeout;
        entries.push(set("zookeeper.session.timeout.ms", timeout, 18_000));
        if at.cluster.spec.zookeeper {
            entries.push(Entry {
                name: "zookeeper.connect",
                value: "127.0.0.1:2181".to_owned(),
                source: Source::Static,
            });
        }
    }
    Ok(entries)
}

fn unclean(at: &At<'_>) -> Entry {
    let enabled = at.cluster.spec.settings.unclean_leader_election;
    Entry {
        name: "unclean.leader.election.enable",
        value: enabled.to_string(),
        source: if enabled {
            Source::Static
        } else {
            Source::Default
        },
    }
}

/// Empty where the quorum is dynamic (KIP-853).
fn quorum_voters(at: &At<'_>) -> Entry {
    let name = "controller.quorum.voters";
    if at.cluster.spec.dynamic_quorum || at.cluster.spec.zookeeper {
        return Entry {
            name,
            value: String::new(),
            source: Source::Default,
        };
    }
    let voters = at.cluster.voters().map(|id| {
        let (host, port) = at.cluster.address(id, Listener::Controller);
        format!("{id}@{}:{port}", host.as_str())
    });
    let value = voters.collect::<Vec<_>>().join(",");
    Entry {
        name,
        value,
        source: Source::Static,
    }
}

/// The number behind `-IV` of a release's newest metadata version
/// (kafka-lag-and-clients.md, section 3.1).
fn newest_iv(release: Release) -> u8 {
    match release {
        Release::V2_8 => 1,
        Release::V3_3 => 3,
        Release::V3_7 => 4,
        Release::V3_5 | Release::V3_6 => 2,
        Release::V3_4 | Release::V3_8 | Release::V3_9 | Release::V4_3 => 0,
        Release::V4_1 | Release::V4_2 => 1,
        Release::V4_0 => 3,
        Release::V4_4 => 2,
    }
}

fn topic(at: &At<'_>, name: &str) -> Result<Vec<Entry>, (i16, String)> {
    if at.cluster.rights.hides(name) {
        let message = "Topic authorization failed.".to_owned();
        return Err((code::TOPIC_AUTHORIZATION_FAILED, message));
    }
    let Some(topic) = at.node.image.topics.get(name) else {
        let message = "This server does not host this topic-partition.".to_owned();
        return Err((code::UNKNOWN_TOPIC_OR_PARTITION, message));
    };
    let own = topic.min_isr;
    let min_isr = own.unwrap_or(at.cluster.spec.settings.min_insync_replicas);
    let inherited = if at.cluster.spec.settings.min_insync_replicas == 1 {
        Source::Default
    } else {
        Source::Static
    };
    let off = |name| Entry {
        name,
        value: String::new(),
        source: Source::Default,
    };
    Ok(vec![
        Entry {
            name: "min.insync.replicas",
            value: min_isr.to_string(),
            source: if own.is_some() {
                Source::Topic
            } else {
                inherited
            },
        },
        unclean(at),
        off("leader.replication.throttled.replicas"),
        off("follower.replication.throttled.replicas"),
    ])
}
