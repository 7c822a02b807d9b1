//! Decoded answers to facts: what an answer says, or why it says nothing.
//!
//! Pure, and the only place that does it: whoever puts the questions in another way (the
//! simulation does) comes to the same facts and the same failures.

use std::fmt;
use std::time::Duration;

use super::decode::api_versions::ApiVersions;
use super::decode::cluster::ClusterAnswer;
use super::decode::configs::{ConfigsAnswer, ResourceConfigs};
use super::decode::log_dirs::LogDirsAnswer;
use super::decode::metadata::Metadata;
use super::decode::moves::MovesAnswer;
use super::decode::quorum::QuorumAnswer;
use super::release::release;
use super::versions::{API_VERSIONS, Api, METADATA};
use super::{encode, errors, rights};
use crate::evidence::facts::{
    ClusterFacts, Identity, LinkFacts, ListenerKind, LogDirFacts, Moves, NodeConfigs, QuorumFacts,
    RegisteredBroker, TopicConfigs,
};
use crate::evidence::ids::{ClusterId, MOST_NODES, NodeId, are_too_many};
use crate::evidence::known::{Known, Why};
use crate::evidence::partitions::PartitionTable;
use crate::evidence::report::{Cap, FailureClass, SourceFailure};

/// What was asked of whom, for details of failures: `Metadata at 10.0.0.1:9092`.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The question.
    pub api: Api,
    /// Who answered, as people know it.
    pub at: &'a (dyn fmt::Display + Sync),
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.api.name, self.at)
    }
}

impl fmt::Debug for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl About<'_> {
    /// Ok for code 0; else the failure, in words. A missing right is named, before Kafka's own words:
    /// those can be long (2.8 shows the whole request), and what is too long is cut.
    pub fn check(&self, code: i16, message: Option<&str>) -> Result<(), SourceFailure> {
        let Some(right) = rights::missing(self.api, code) else {
            return errors::check(code, message, self);
        };
        let what = format_args!("{self}: grant the gate {right}");
        errors::check(code, message, what)
    }

    /// Ok unless these are more nodes than a cluster may have.
    fn few(&self, nodes: impl IntoIterator<Item = NodeId>) -> Result<(), SourceFailure> {
        if are_too_many(nodes) {
            return Err(self.crowd());
        }
        Ok(())
    }

    /// The failure of an answer that names too many nodes.
    fn crowd(&self) -> SourceFailure {
        let what = format!("{self}: it names more than {MOST_NODES} nodes");
        SourceFailure::new(FailureClass::TooLarge(Cap::Nodes), what)
    }

    /// The failure of an answer that does not say what it has to.
    pub fn malformed(&self, why: impl fmt::Display) -> SourceFailure {
        SourceFailure::new(FailureClass::Malformed, format!("{self}: {why}"))
    }
}

/// What a Metadata answer of all topics says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataAnswer {
    /// All topics and partitions that we may see.
    pub table: PartitionTable,
    /// Live brokers, in order of id.
    pub brokers: Vec<RegisteredBroker>,
    /// Which cluster answers; `None` while a starting broker does not know it.
    pub cluster_id: Option<ClusterId>,
    /// Real on ZooKeeper; on KRaft a random live broker, to be ignored.
    pub controller: Option<NodeId>,
}

/// What DescribeCluster on a controller's own listener says (Kafka 3.7 and up).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllersAnswer {
    /// Which cluster answers.
    pub cluster_id: ClusterId,
    /// The quorum's leader as this controller knows it.
    pub leader: Option<NodeId>,
    /// Registered controllers with the addresses they advertise, in order of id.
    pub controllers: Vec<RegisteredBroker>,
}

/// The version in which ApiVersions is asked again: a node that does not know ours answers in the
/// format of version 0 and says which it knows. `None` when it did know it.
pub fn version_to_ask_again(first: &ApiVersions) -> Option<i16> {
    (first.error == errors::UNSUPPORTED_VERSION).then(|| {
        let range = first.range(API_VERSIONS.key);
        range
            .and_then(|range| API_VERSIONS.common(range))
            .unwrap_or(0)
    })
}

/// What ApiVersions says, where it is one that can be negotiated with.
pub fn versions(answer: ApiVersions, about: About<'_>) -> Result<ApiVersions, SourceFailure> {
    about.check(answer.error, None)?;
    if answer.range(API_VERSIONS.key).is_none() {
        return Err(about.malformed("it does not list itself"));
    }
    Ok(answer)
}

/// What an answered ApiVersions shows of a node, with the identity found out before.
pub fn link(
    versions: ApiVersions,
    address: String,
    identity: Identity,
    round_trip: Duration,
) -> LinkFacts {
    LinkFacts {
        listener: listener(&versions),
        address,
        identity,
        release: release(&versions),
        published: published(&versions),
        supported: versions.supported,
        finalized: versions.finalized,
        round_trip,
    }
}

/// How far the node has published the metadata log to itself. A broker on KRaft names the image that it
/// answers from with its finalized features (`KRaftMetadataCache.features`; 3.3 and up, apache/kafka
/// pull request 12214), and every batch makes a new one, idle records too. A controller names the last
/// change of features (`FeaturesPublisher`), a broker on ZooKeeper a version of a ZooKeeper node, and
/// before the first image it is -1. Whatever else does not move with the log is to be left out here: it
/// would look like a broker that is behind.
fn published(versions: &ApiVersions) -> Known<i64> {
    let kraft = versions.supported.contains_key("metadata.version");
    let broker = listener(versions) == ListenerKind::Broker;
    if kraft && broker && versions.finalized_epoch >= 0 {
        Known::Is(versions.finalized_epoch)
    } else {
        Known::NotInRelease
    }
}

/// Controllers have no Metadata (measured: 42 keys on 4.4.0, this one not among them).
pub fn listener(versions: &ApiVersions) -> ListenerKind {
    if versions.range(METADATA.key).is_some() {
        ListenerKind::Broker
    } else {
        ListenerKind::Controller
    }
}

/// What DescribeCluster of a broker's listener says, asked in `version`.
pub fn brokers(
    answer: ClusterAnswer,
    version: i16,
    about: About<'_>,
) -> Result<ClusterFacts, SourceFailure> {
    about.check(answer.error, answer.message.as_deref())?;
    about.few(ids(&answer.nodes))?;
    Ok(ClusterFacts {
        cluster_id: Known::Is(answer.cluster_id),
        brokers: answer.nodes,
        controller: answer.controller,
        lists_fenced: version >= 2,
    })
}

fn ids(nodes: &[RegisteredBroker]) -> impl Iterator<Item = NodeId> {
    nodes.iter().map(|node| node.node)
}

/// The same of Metadata, where DescribeCluster does not exist (before 2.8).
pub fn brokers_of_metadata(answer: MetadataAnswer) -> ClusterFacts {
    ClusterFacts {
        cluster_id: answer.cluster_id.map_or_else(
            || Known::Failed(Why(String::from("the broker does not know it yet"))),
            Known::Is,
        ),
        brokers: answer.brokers,
        controller: answer.controller,
        lists_fenced: false,
    }
}

/// What DescribeCluster of a controller's listener says.
pub fn controllers(
    answer: ClusterAnswer,
    about: About<'_>,
) -> Result<ControllersAnswer, SourceFailure> {
    about.check(answer.error, answer.message.as_deref())?;
    about.few(ids(&answer.nodes))?;
    Ok(ControllersAnswer {
        cluster_id: answer.cluster_id,
        leader: answer.controller,
        controllers: answer.nodes,
    })
}

/// What Metadata says.
pub fn metadata(answer: Metadata, about: About<'_>) -> Result<MetadataAnswer, SourceFailure> {
    about.check(answer.error, None)?;
    about.few(ids(&answer.brokers))?;
    if answer.table.has_too_many_nodes() {
        return Err(about.crowd());
    }
    Ok(MetadataAnswer {
        table: answer.table,
        brokers: answer.brokers,
        cluster_id: answer.cluster_id,
        controller: answer.controller,
    })
}

/// What DescribeQuorum says.
pub fn quorum(answer: QuorumAnswer, about: About<'_>) -> Result<QuorumFacts, SourceFailure> {
    about.check(answer.error, answer.message.as_deref())?;
    let quorum = answer
        .quorum
        .ok_or_else(|| about.malformed("no metadata partition in the answer"))?;
    let members = quorum.voters.iter().chain(&quorum.observers);
    let members = members.map(|member| member.node);
    about.few(members.chain(quorum.endpoints.iter().map(|(node, ..)| *node)))?;
    Ok(quorum)
}

/// What ListPartitionReassignments says.
pub fn moves(answer: MovesAnswer, about: About<'_>) -> Result<Moves, SourceFailure> {
    about.check(answer.error, answer.message.as_deref())?;
    Ok(answer.moves)
}

/// What `node` says of its own configuration; `WrongNode` where another one answered.
pub fn node_configs(
    answer: ConfigsAnswer,
    node: NodeId,
    about: About<'_>,
) -> Result<NodeConfigs, SourceFailure> {
    let wanted = node.to_string();
    let own = |row: &ResourceConfigs| row.kind == encode::BROKER && row.name == wanted;
    let Some(row) = answer.resources.into_iter().find(own) else {
        return Err(about.malformed(format_args!("nothing about node {node}")));
    };
    let message = row.message.as_deref();
    if row.error == errors::INVALID_REQUEST {
        let said = message.unwrap_or("it refuses to describe that node");
        let detail = format!("{} is not node {node}: {said}", about.at);
        return Err(SourceFailure::new(FailureClass::WrongNode, detail));
    }
    about.check(row.error, message)?;
    let values = row.values.into_iter();
    Ok(NodeConfigs {
        values: values
            .map(|(key, value, source)| (key, (value, source)))
            .collect(),
    })
}

/// Who a node is that was asked for its own configuration: only the node itself answers. `Err`
/// with `WrongNode` when it is another one; `Ok(Unproven)` when it may not be asked.
pub fn identity(answer: Result<NodeConfigs, SourceFailure>) -> Result<Identity, SourceFailure> {
    match answer {
        Ok(_) => Ok(Identity::Proved),
        Err(SourceFailure {
            class: FailureClass::Authorization | FailureClass::Unsupported,
            detail,
        }) => Ok(Identity::Unproven(detail)),
        Err(failure) => Err(failure),
    }
}

/// Which cluster a controller belongs to, of what it was asked; those before 3.7 cannot say it.
pub fn cluster_of_controller(
    answer: Result<ControllersAnswer, SourceFailure>,
) -> Result<Known<ClusterId>, SourceFailure> {
    match answer {
        Ok(answer) => Ok(Known::Is(answer.cluster_id)),
        Err(failure) => match failure.class {
            FailureClass::Unsupported => Ok(Known::NotInRelease),
            FailureClass::Authorization => Ok(Known::Hidden),
            _ => Err(failure),
        },
    }
}

/// Effective `min.insync.replicas` of the topics asked for. A topic deleted meanwhile is in
/// neither list; one that is not described for any other reason is an error.
pub fn topic_configs(
    resources: Vec<ResourceConfigs>,
    about: About<'_>,
) -> Result<TopicConfigs, SourceFailure> {
    let mut facts = TopicConfigs::default();
    for row in resources {
        if row.kind == encode::TOPIC {
            topic_config(row, &mut facts, about)?;
        }
    }
    Ok(facts)
}

fn topic_config(
    row: ResourceConfigs,
    facts: &mut TopicConfigs,
    about: About<'_>,
) -> Result<(), SourceFailure> {
    match row.error {
        errors::UNKNOWN_TOPIC_OR_PARTITION => return Ok(()),
        errors::TOPIC_AUTHORIZATION_FAILED => {
            facts.hidden.push(row.name);
            return Ok(());
        }
        code => about.check(code, row.message.as_deref())?,
    }
    let mut values = row.values.iter();
    let value = values.find(|(key, ..)| key == encode::MIN_INSYNC_REPLICAS);
    let number = value.and_then(|(_, value, _)| value.as_ref()?.parse().ok());
    let Some(number) = number else {
        let key = encode::MIN_INSYNC_REPLICAS;
        return Err(about.malformed(format_args!("no {key} of topic {}", row.name)));
    };
    facts.min_insync_replicas.insert(row.name, number);
    Ok(())
}

/// What a broker really hosts.
pub fn log_dirs(answer: LogDirsAnswer, about: About<'_>) -> Result<LogDirFacts, SourceFailure> {
    let hidden = answer.error == errors::CLUSTER_AUTHORIZATION_FAILED;
    if !hidden {
        about.check(answer.error, None)?;
    }
    // A running broker has at least one directory, so none at all means: not for you.
    Ok(LogDirFacts {
        readable: !hidden && !answer.dirs.is_empty(),
        dirs: answer.dirs,
        hosted: answer.hosted,
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::{ApiVersion, SupportedFeatureKey};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;
    use crate::kafka::decode::api_versions::decode;

    /// What a link says of an answer in this version.
    fn told(version: i16, apis: &[i16], features: &[&'static str], epoch: i64) -> Known<i64> {
        let apis = apis
            .iter()
            .map(|key| ApiVersion::default().with_api_key(*key).with_max_version(4));
        let mut response = ApiVersionsResponse::default().with_api_keys(apis.collect());
        if version >= 3 {
            let features = features.iter().map(|name| {
                SupportedFeatureKey::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_min_version(1)
                    .with_max_version(21)
            });
            response = response
                .with_supported_features(features.collect())
                .with_finalized_features_epoch(epoch);
        }
        let mut body = BytesMut::new();
        response.encode(&mut body, version).unwrap();
        let versions = decode(&body, version).unwrap();
        link(versions, String::new(), Identity::Proved, Duration::ZERO).published
    }

    #[test]
    fn only_a_broker_on_kraft_says_what_it_has_published() {
        let (broker, controller) = ([API_VERSIONS.key, METADATA.key], [API_VERSIONS.key]);
        let kraft = ["metadata.version", "kraft.version"];
        for version in [3, 4] {
            assert_eq!(told(version, &broker, &kraft, 4_711), Known::Is(4_711));
            assert_eq!(told(version, &broker, &kraft, 0), Known::Is(0));
            let untold = [
                told(version, &broker, &kraft, -1),
                told(version, &broker, &[], 4_711),
                told(version, &controller, &kraft, 4_711),
            ];
            assert!(untold.iter().all(|it| *it == Known::NotInRelease));
        }
        assert_eq!(told(2, &broker, &kraft, 4_711), Known::NotInRelease);
    }
}
