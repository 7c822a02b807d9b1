//! One question to one node, put to the model without a stream: requests, versions, decoders and
//! what answers become are the gate's own; only waiting is done here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::{HeaderVersion, Request};
use upgrade_gate::evidence::facts::{Facts, Identity};
use upgrade_gate::evidence::ids;
use upgrade_gate::evidence::known::Known;
use upgrade_gate::evidence::report::{FailureClass, SourceFailure};
use upgrade_gate::kafka::decode::api_versions::ApiVersions;
use upgrade_gate::kafka::encode::{self, AskAs, AskedPartition, IDENTITY_KEYS};
use upgrade_gate::kafka::facts::{self, About};
use upgrade_gate::kafka::reader::{DecodeError, Reader};
use upgrade_gate::kafka::versions::{
    API_VERSIONS, Api, DESCRIBE_CLUSTER, DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS, DESCRIBE_QUORUM,
    LIST_MOVES, LIST_OFFSETS, METADATA,
};
use upgrade_gate::kafka::{NODE_CONFIG_KEYS, decode, offsets_in_order};
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

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.node)
    }
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
    /// When the node took it in; a throttled connection lets it wait.
    taken: Option<Mono>,
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
            taken: None,
            until: scene.now.plus(within),
            question,
            coming: None,
        }
    }

    /// How long its answer took, once it has come: as a connection measures it.
    pub(super) fn took(&self, now: Mono) -> Duration {
        now.since(self.taken.unwrap_or(self.asked))
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
            let quiet = &scene.shared.quiet;
            let heard = quiet.recall(scene.cluster, line, &self.question);
            self.taken = Some(scene.now);
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
    let connection = (cluster, line);
    let node = known(line.node);
    match question {
        Question::Versions => versions(cluster, line),
        Question::Identity => {
            let build = |_| encode::node_configs(node.0, IDENTITY_KEYS);
            let decode = decode::configs::decode;
            exchange(
                connection,
                DESCRIBE_CONFIGS,
                build,
                decode,
                |answer, _, about| {
                    let identity = facts::identity(facts::node_configs(answer, node, about));
                    identity.map(Said::Identity)
                },
            )
        }
        Question::Cluster => {
            let decode = decode::cluster::decode;
            let build = encode::describe_brokers;
            exchange(
                connection,
                DESCRIBE_CLUSTER,
                build,
                decode,
                |answer, version, about| {
                    facts::brokers(answer, version, about)
                        .map(Facts::Cluster)
                        .map(Said::Facts)
                },
            )
        }
        Question::Partitions => {
            let build = |_| encode::metadata(true);
            let decode = decode::metadata::decode;
            exchange(connection, METADATA, build, decode, |answer, _, about| {
                let table = facts::metadata(answer, about)?.table;
                Ok(Said::Facts(Facts::Partitions(Arc::new(table))))
            })
        }
        Question::Quorum => {
            let build = |_| encode::describe_quorum();
            let decode = decode::quorum::decode;
            exchange(
                connection,
                DESCRIBE_QUORUM,
                build,
                decode,
                |answer, _, about| {
                    facts::quorum(answer, about)
                        .map(Facts::Quorum)
                        .map(Said::Facts)
                },
            )
        }
        Question::Moves => {
            let build = |_| encode::list_moves(Duration::from_secs(5));
            let decode = decode::moves::decode;
            exchange(connection, LIST_MOVES, build, decode, |answer, _, about| {
                facts::moves(answer, about)
                    .map(Facts::Moves)
                    .map(Said::Facts)
            })
        }
        Question::NodeConfigs => {
            let build = |_| encode::node_configs(node.0, NODE_CONFIG_KEYS);
            let decode = decode::configs::decode;
            exchange(
                connection,
                DESCRIBE_CONFIGS,
                build,
                decode,
                |answer, _, about| {
                    let configs = facts::node_configs(answer, node, about)?;
                    Ok(Said::Facts(Facts::NodeConfigs(configs)))
                },
            )
        }
        Question::TopicConfigs(topics) => {
            let names: Vec<_> = topics.iter().map(String::as_str).collect();
            let build = |_| encode::topic_configs(&names);
            let decode = decode::configs::decode;
            exchange(
                connection,
                DESCRIBE_CONFIGS,
                build,
                decode,
                |answer, _, about| {
                    let configs = facts::topic_configs(answer.resources, about)?;
                    Ok(Said::Facts(Facts::TopicConfigs(Arc::new(configs))))
                },
            )
        }
        Question::LogDirs => {
            let build = |_| encode::log_dirs();
            let decode = decode::log_dirs::decode;
            exchange(
                connection,
                DESCRIBE_LOG_DIRS,
                build,
                decode,
                |answer, _, about| {
                    let dirs = facts::log_dirs(answer, about)?;
                    Ok(Said::Facts(Facts::LogDirs(Arc::new(dirs))))
                },
            )
        }
        Question::Ends(asked) => ends(connection, asked),
    }
}

fn versions(cluster: &Cluster, line: &Line) -> Heard {
    let best = line.versions.range(API_VERSIONS.key);
    let version = best.map_or(API_VERSIONS.best, |range| {
        API_VERSIONS.common(range).unwrap_or(0)
    });
    let mut again = None;
    let first = ask_versions((cluster, line), version, |answer, about| {
        again = facts::version_to_ask_again(&answer);
        facts::versions(answer, about)
    });
    match (again, first) {
        (Some(version), Heard::Said(wait, _)) => {
            match ask_versions((cluster, line), version, facts::versions) {
                Heard::Said(more, said) => Heard::Said(wait + more, said),
                other @ (Heard::Silent | Heard::Closed) => other,
            }
        }
        (_, first) => first,
    }
}

fn ask_versions(
    connection: (&Cluster, &Line),
    version: i16,
    read: impl FnOnce(ApiVersions, About<'_>) -> Result<ApiVersions, SourceFailure>,
) -> Heard {
    let request = encode::api_versions(version);
    let decode = decode::api_versions::decode;
    let read = |answer, _, about: About<'_>| read(answer, about).map(Said::Versions);
    exchange_at(connection, API_VERSIONS, version, &request, decode, read)
}

fn ends(connection: (&Cluster, &Line), asked: &[Asked]) -> Heard {
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
    exchange(connection, LIST_OFFSETS, build, decode, |answer, _, _| {
        Ok(Said::Ends(offsets_in_order(&answer, &rows)))
    })
}

fn exchange<R: Request, T>(
    connection: (&Cluster, &Line),
    api: Api,
    build: impl FnOnce(i16) -> R,
    decode: fn(&[u8], i16) -> Result<T, DecodeError>,
    read: impl FnOnce(T, i16, About<'_>) -> Result<Said, SourceFailure>,
) -> Heard {
    match api.choose(&connection.1.versions) {
        Ok(version) => exchange_at(connection, api, version, &build(version), decode, read),
        Err(failure) => Heard::Said(Duration::ZERO, Err(failure)),
    }
}

fn exchange_at<R: Request, T>(
    (cluster, line): (&Cluster, &Line),
    api: Api,
    version: i16,
    request: &R,
    decode: fn(&[u8], i16) -> Result<T, DecodeError>,
    read: impl FnOnce(T, i16, About<'_>) -> Result<Said, SourceFailure>,
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
    let about = About { api, at: line };
    let said = answer
        .map_err(|error| about.malformed(error))
        .and_then(|answer| read(answer, version, about));
    Heard::Said(wait, said)
}

/// As in the gate's rounds: the node of the evidence.
pub(super) const fn known(node: NodeId) -> ids::NodeId {
    ids::NodeId(node)
}
