//! One question to one node, put to the model without a stream: the requests, versions and
//! decoders are the gate's own; only waiting is done here.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::{HeaderVersion, Request};
use upgrade_gate::evidence::facts::{
    ClusterFacts, Facts, Identity, LogDirFacts, NodeConfigs, TopicConfigs,
};
use upgrade_gate::evidence::ids;
use upgrade_gate::evidence::known::Known;
use upgrade_gate::evidence::report::{FailureClass, SourceFailure};
use upgrade_gate::kafka::decode::api_versions::ApiVersions;
use upgrade_gate::kafka::encode::{self, AskAs, AskedPartition};
use upgrade_gate::kafka::reader::{DecodeError, Reader};
use upgrade_gate::kafka::versions::{
    API_VERSIONS, Api, DESCRIBE_CLUSTER, DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS, DESCRIBE_QUORUM,
    LIST_MOVES, LIST_OFFSETS, METADATA,
};
use upgrade_gate::kafka::{NODE_CONFIG_KEYS, decode, errors};
use upgrade_gate::model::{Answer, Cluster, Listener, NodeId};
use upgrade_gate::time::Mono;

use super::Scene;

/// One open connection.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub node: NodeId,
    pub listener: Listener,
    /// The node's life when it was opened: it ends with that.
    pub life: u64,
    /// No two connections have the same.
    pub serial: u64,
    pub versions: Arc<ApiVersions>,
}

/// A replica to ask for its end: topic, partition, leader epoch.
pub(super) type Asked = (Arc<str>, i32, Option<i32>);

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    Versions,
    /// Who are you? (DescribeConfigs of the node's own id.)
    Identity,
    Cluster,
    Partitions,
    Quorum,
    Moves,
    NodeConfigs,
    TopicConfigs(Vec<String>),
    LogDirs,
    Ends(Arc<[Asked]>),
}

/// What comes back.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Versions(ApiVersions),
    Identity(Identity),
    Facts(Facts),
    Ends(Vec<Known<i64>>),
}

pub(super) enum Heard {
    Said(Duration, Result<Said, SourceFailure>),
    Silent,
    Closed,
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Call {
    pub asked: Mono,
    until: Mono,
    question: Question,
    coming: Option<(Mono, Result<Said, SourceFailure>)>,
}

pub(super) fn failure(class: FailureClass, node: NodeId) -> SourceFailure {
    SourceFailure::new(class, format!("node {node}"))
}

impl Call {
    pub(super) fn new(scene: &Scene<'_>, question: Question, within: Duration) -> Self {
        Self {
            asked: scene.now,
            until: scene.now.plus(within),
            question,
            coming: None,
        }
    }

    /// The answer, once it has come; a late one is a failure, and ends the connection.
    pub(super) fn poll(
        &mut self,
        scene: &Scene<'_>,
        line: &Line,
    ) -> Option<Result<Said, SourceFailure>> {
        if scene.has_ended(line) {
            return Some(Err(failure(FailureClass::Closed, line.node)));
        }
        if self.coming.is_none() && !scene.is_cut(line.node) {
            let heard = scene.shared.quiet.recall(line, &self.question);
            match heard.unwrap_or_else(|| put(scene.cluster, line, &self.question)) {
                Heard::Said(wait, said) => {
                    scene.shared.quiet.keep(line, &self.question, wait, &said);
                    self.coming = Some((scene.now.plus(wait), said));
                }
                Heard::Silent => {}
                Heard::Closed => return Some(Err(failure(FailureClass::Closed, line.node))),
            }
        }
        if self
            .coming
            .as_ref()
            .is_some_and(|(at, _)| *at <= scene.now && *at <= self.until)
        {
            return self.coming.take().map(|(_, said)| said);
        }
        (scene.now >= self.until).then(|| Err(failure(FailureClass::Timeout, line.node)))
    }
}

fn put(cluster: &Cluster, line: &Line, question: &Question) -> Heard {
    match question {
        Question::Versions => versions(cluster, line),
        Question::Identity => {
            let build = |_| encode::node_configs(line.node, &["listeners"]);
            let decode = decode::configs::decode;
            exchange(
                cluster,
                line,
                DESCRIBE_CONFIGS,
                build,
                decode,
                |_, answer| match own(line.node, answer) {
                    Ok(_) => Ok(Said::Identity(Identity::Proved)),
                    Err(SourceFailure {
                        class: FailureClass::Authorization | FailureClass::Unsupported,
                        detail,
                    }) => Ok(Said::Identity(Identity::Unproven(detail))),
                    Err(failure) => Err(failure),
                },
            )
        }
        Question::Cluster => {
            let build = encode::describe_brokers;
            let decode = decode::cluster::decode;
            exchange(
                cluster,
                line,
                DESCRIBE_CLUSTER,
                build,
                decode,
                |version, answer| {
                    errors::check(answer.error, answer.message.as_deref(), "DescribeCluster")?;
                    Ok(Said::Facts(Facts::Cluster(ClusterFacts {
                        cluster_id: Known::Is(answer.cluster_id),
                        brokers: answer.nodes,
                        controller: answer.controller,
                        lists_fenced: version >= 2,
                    })))
                },
            )
        }
        Question::Partitions => {
            let decode = decode::metadata::decode;
            exchange(
                cluster,
                line,
                METADATA,
                |_| encode::metadata(true),
                decode,
                |_, answer| {
                    errors::check(answer.error, None, "Metadata")?;
                    Ok(Said::Facts(Facts::Partitions(Arc::new(answer.table))))
                },
            )
        }
        Question::Quorum => {
            let build = |_| encode::describe_quorum();
            let decode = decode::quorum::decode;
            exchange(
                cluster,
                line,
                DESCRIBE_QUORUM,
                build,
                decode,
                |_, answer| {
                    errors::check(answer.error, answer.message.as_deref(), "DescribeQuorum")?;
                    let none = || SourceFailure::new(FailureClass::Malformed, "no quorum in it");
                    answer
                        .quorum
                        .map(|quorum| Said::Facts(Facts::Quorum(quorum)))
                        .ok_or_else(none)
                },
            )
        }
        Question::Moves => {
            let build = |_| encode::list_moves(Duration::from_secs(5));
            let decode = decode::moves::decode;
            exchange(cluster, line, LIST_MOVES, build, decode, |_, answer| {
                errors::check(answer.error, answer.message.as_deref(), "reassignments")?;
                Ok(Said::Facts(Facts::Moves(answer.moves)))
            })
        }
        Question::NodeConfigs => {
            let build = |_| encode::node_configs(line.node, NODE_CONFIG_KEYS);
            let decode = decode::configs::decode;
            exchange(
                cluster,
                line,
                DESCRIBE_CONFIGS,
                build,
                decode,
                |_, answer| Ok(Said::Facts(Facts::NodeConfigs(own(line.node, answer)?))),
            )
        }
        Question::TopicConfigs(topics) => topic_configs(cluster, line, topics),
        Question::LogDirs => {
            let build = |_| encode::log_dirs();
            let decode = decode::log_dirs::decode;
            exchange(
                cluster,
                line,
                DESCRIBE_LOG_DIRS,
                build,
                decode,
                |_, answer| {
                    let hidden = answer.error == errors::CLUSTER_AUTHORIZATION_FAILED;
                    if !hidden {
                        errors::check(answer.error, None, "DescribeLogDirs")?;
                    }
                    Ok(Said::Facts(Facts::LogDirs(Arc::new(LogDirFacts {
                        readable: !hidden && !answer.dirs.is_empty(),
                        dirs: answer.dirs,
                        hosted: answer.hosted,
                    }))))
                },
            )
        }
        Question::Ends(asked) => ends(cluster, line, asked),
    }
}

fn versions(cluster: &Cluster, line: &Line) -> Heard {
    // A node that does not know our version says so in the format of version 0.
    let best = line.versions.range(API_VERSIONS.key);
    let version = best.map_or(API_VERSIONS.best, |range| {
        API_VERSIONS.common(range).unwrap_or(0)
    });
    let first = ask_versions(cluster, line, version);
    let Heard::Said(wait, Ok(Said::Versions(answer))) = &first else {
        return first;
    };
    if answer.error != errors::UNSUPPORTED_VERSION {
        return first;
    }
    let range = answer.range(API_VERSIONS.key);
    let version = range
        .and_then(|range| API_VERSIONS.common(range))
        .unwrap_or(0);
    match ask_versions(cluster, line, version) {
        Heard::Said(more, said) => Heard::Said(*wait + more, said),
        other @ (Heard::Silent | Heard::Closed) => other,
    }
}

fn ask_versions(cluster: &Cluster, line: &Line, version: i16) -> Heard {
    let request = encode::api_versions(version);
    let decode = decode::api_versions::decode;
    exchange_at(cluster, line, version, &request, decode, |_, answer| {
        Ok(Said::Versions(answer))
    })
}

fn own(node: NodeId, answer: decode::configs::ConfigsAnswer) -> Result<NodeConfigs, SourceFailure> {
    let wanted = node.to_string();
    let row = answer.resources.into_iter().find(|row| row.name == wanted);
    let row = row.ok_or_else(|| failure(FailureClass::Malformed, node))?;
    if row.error == errors::INVALID_REQUEST {
        return Err(failure(FailureClass::WrongNode, node));
    }
    errors::check(row.error, row.message.as_deref(), "DescribeConfigs")?;
    let values = row.values.into_iter();
    Ok(NodeConfigs {
        values: values
            .map(|(key, value, source)| (key, (value, source)))
            .collect(),
    })
}

fn topic_configs(cluster: &Cluster, line: &Line, topics: &[String]) -> Heard {
    let names: Vec<_> = topics.iter().map(String::as_str).collect();
    let build = |_| encode::topic_configs(&names, "min.insync.replicas");
    let decode = decode::configs::decode;
    exchange(
        cluster,
        line,
        DESCRIBE_CONFIGS,
        build,
        decode,
        |_, answer| {
            let mut facts = TopicConfigs::default();
            for row in answer.resources {
                match row.error {
                    errors::UNKNOWN_TOPIC_OR_PARTITION => {}
                    errors::TOPIC_AUTHORIZATION_FAILED => facts.hidden.push(row.name),
                    code => {
                        errors::check(code, row.message.as_deref(), "DescribeConfigs")?;
                        let value = row.values.iter().find_map(|(_, value, _)| value.as_ref());
                        let number = value.and_then(|value| value.parse().ok());
                        let none = || failure(FailureClass::Malformed, line.node);
                        let number = number.ok_or_else(none)?;
                        facts.min_insync_replicas.insert(row.name, number);
                    }
                }
            }
            Ok(Said::Facts(Facts::TopicConfigs(Arc::new(facts))))
        },
    )
}

fn ends(cluster: &Cluster, line: &Line, asked: &[Asked]) -> Heard {
    let rows: Vec<_> = asked
        .iter()
        .map(|(topic, partition, leader_epoch)| AskedPartition {
            topic,
            partition: *partition,
            leader_epoch: *leader_epoch,
        })
        .collect();
    if rows.is_empty() {
        return Heard::Said(Duration::ZERO, Ok(Said::Ends(Vec::new())));
    }
    let build = |_| encode::list_offsets(AskAs::AnyReplica, &rows);
    let decode = decode::list_offsets::decode;
    exchange(cluster, line, LIST_OFFSETS, build, decode, |_, answer| {
        let mut found = std::collections::BTreeMap::new();
        for topic in &answer.topics {
            for row in &topic.partitions {
                let end = errors::offset(row.error, row.offset);
                found.insert((topic.name.as_str(), row.partition), end);
            }
        }
        let end = |row: &AskedPartition<'_>| {
            let end = found.get(&(row.topic, row.partition));
            end.cloned().unwrap_or(Known::NotExported)
        };
        Ok(Said::Ends(rows.iter().map(end).collect()))
    })
}

fn exchange<R: Request, T>(
    cluster: &Cluster,
    line: &Line,
    api: Api,
    build: impl FnOnce(i16) -> R,
    decode: fn(&[u8], i16) -> Result<T, DecodeError>,
    read: impl FnOnce(i16, T) -> Result<Said, SourceFailure>,
) -> Heard {
    match api.choose(&line.versions) {
        Ok(version) => exchange_at(cluster, line, version, &build(version), decode, read),
        Err(failure) => Heard::Said(Duration::ZERO, Err(failure)),
    }
}

fn exchange_at<R: Request, T>(
    cluster: &Cluster,
    line: &Line,
    version: i16,
    request: &R,
    decode: fn(&[u8], i16) -> Result<T, DecodeError>,
    read: impl FnOnce(i16, T) -> Result<Said, SourceFailure>,
) -> Heard {
    let frame = encode::frame(request, version, 0, "upgrade-gate").expect("our own request");
    // Without its length, as the model takes it.
    let request = frame.get(4..).unwrap_or_default();
    let (wait, bytes) = match cluster.handle(line.node, line.listener, request) {
        Answer::Reply(bytes) => (Duration::ZERO, bytes),
        Answer::Delay(wait, bytes) => (wait, bytes),
        Answer::CloseConnection => return Heard::Closed,
        Answer::Silent => return Heard::Silent,
    };
    let flexible = R::Response::header_version(version) >= 1;
    let mut reader = Reader::new(&bytes, flexible);
    let header = reader.int32().and_then(|_| reader.tags());
    let answer = header.and_then(|()| decode(reader.rest(), version));
    let said = answer
        .map_err(|error| SourceFailure::new(FailureClass::Malformed, error.to_string()))
        .and_then(|answer| read(version, answer));
    Heard::Said(wait, said)
}

/// As in the gate's rounds: the node of the evidence.
pub(super) const fn known(node: NodeId) -> ids::NodeId {
    ids::NodeId(node)
}
