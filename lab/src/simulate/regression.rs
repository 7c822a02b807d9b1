//! A trial as a file that people can read.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use upgrade_gate::model::{
    Delayed, Exporter, Family, NodeId, NodeSpec, Release, Roles, Settings, Spec, TopicSpec,
};

use super::operator::Operator;
use super::ops::Op;
use super::plan::{Kind, Plan};
use super::sabotage::Sabotage;
use super::setup::Setup;
use super::trial::{Depth, Order};

/// Why a file is no trial.
#[derive(Debug, Error)]
pub enum RegressionError {
    /// It cannot be read or written.
    #[error("read or write {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("understand {path}: {why}")]
    Text {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// A trial, in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// What it shows.
    pub why: String,
    /// How the gate is driven.
    pub depth: Depth,
    /// How the gate is broken; the oracle has to notice. A sound gate must not lie.
    #[serde(default)]
    pub sabotage: Option<Sabotage>,
    /// What it was made as.
    #[serde(default)]
    pub kind: Kind,
    /// What the store answers follows from it; without it, it always writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moods: Option<u64>,
    /// The cluster.
    pub cluster: ClusterText,
    /// The gate's configuration at the start.
    pub setup: Setup,
    /// Who asks the gate and goes.
    #[serde(default)]
    pub operators: Vec<Operator>,
    /// Milliseconds since the start, and what happens then.
    pub ops: Vec<(u64, Op)>,
    /// When it is over, in milliseconds.
    pub end: u64,
}

/// A cluster, in words; times in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterText {
    seed: u64,
    nodes: Vec<NodeText>,
    topics: Vec<TopicText>,
    finalized: String,
    offsets_partitions: u32,
    #[serde(default = "one")]
    log_dirs: u32,
    replica_lag_time_max: u64,
    #[serde(default = "usual_session")]
    session_timeout: u64,
    #[serde(default = "usual_zookeeper_session")]
    zookeeper_session_timeout: u64,
    #[serde(default = "usual_min_isr")]
    min_insync_replicas: u32,
    flat_pages: bool,
    #[serde(default)]
    dynamic_quorum: bool,
    #[serde(default)]
    zookeeper: bool,
    #[serde(default)]
    unclean_leader_election: bool,
    #[serde(default)]
    later: Vec<NodeId>,
    /// What is usual for the release, where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    elr: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exporter: Option<ExporterText>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExporterText {
    standalone: bool,
    start_delay: u64,
    delayed: DelayedText,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum DelayedText {
    Closes,
    Fails,
    Refuses,
}

impl ExporterText {
    fn of(exporter: Exporter) -> Option<Self> {
        (exporter != Exporter::default()).then_some(Self {
            standalone: exporter.standalone,
            start_delay: exporter.start_delay,
            delayed: match exporter.delayed {
                Delayed::Closes => DelayedText::Closes,
                Delayed::Fails => DelayedText::Fails,
                Delayed::Refuses => DelayedText::Refuses,
            },
        })
    }

    const fn exporter(&self) -> Exporter {
        Exporter {
            standalone: self.standalone,
            start_delay: self.start_delay,
            delayed: match self.delayed {
                DelayedText::Closes => Delayed::Closes,
                DelayedText::Fails => Delayed::Fails,
                DelayedText::Refuses => Delayed::Refuses,
            },
        }
    }
}

const fn one() -> u32 {
    1
}

fn usual_session() -> u64 {
    Settings::default().session_timeout
}

fn usual_zookeeper_session() -> u64 {
    Settings::default().zookeeper_session_timeout
}

fn usual_min_isr() -> u32 {
    Settings::default().min_insync_replicas
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeText {
    id: NodeId,
    broker: bool,
    controller: bool,
    release: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicText {
    name: String,
    partitions: u32,
    replication: u32,
    min_isr: Option<u32>,
    rate: u64,
}

impl ClusterText {
    fn of(spec: &Spec) -> Self {
        let nodes = spec.nodes.iter().map(|node| NodeText {
            id: node.id,
            broker: node.roles.broker,
            controller: node.roles.controller,
            release: node.release.to_string(),
        });
        let topics = spec.topics.iter().map(|topic| TopicText {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication: topic.replication,
            min_isr: topic.min_isr,
            rate: topic.rate,
        });
        Self {
            seed: spec.seed,
            nodes: nodes.collect(),
            topics: topics.collect(),
            finalized: spec.finalized.to_string(),
            offsets_partitions: spec.settings.offsets_partitions,
            log_dirs: spec.settings.log_dirs,
            replica_lag_time_max: spec.settings.replica_lag_time_max,
            session_timeout: spec.settings.session_timeout,
            zookeeper_session_timeout: spec.settings.zookeeper_session_timeout,
            min_insync_replicas: spec.settings.min_insync_replicas,
            flat_pages: spec.family == Family::Flat,
            dynamic_quorum: spec.dynamic_quorum,
            zookeeper: spec.zookeeper,
            unclean_leader_election: spec.settings.unclean_leader_election,
            later: spec.later.iter().copied().collect(),
            elr: Some(spec.elr),
            exporter: ExporterText::of(spec.exporter),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            session_timeout: self.session_timeout,
            zookeeper_session_timeout: self.zookeeper_session_timeout,
            replica_lag_time_max: self.replica_lag_time_max,
            min_insync_replicas: self.min_insync_replicas,
            offsets_partitions: self.offsets_partitions,
            unclean_leader_election: self.unclean_leader_election,
            log_dirs: self.log_dirs,
            ..Settings::default()
        }
    }

    fn spec(&self) -> Result<Spec, String> {
        let release = |text: &str| {
            let all = Release::ALL.into_iter().chain(Release::ZOOKEEPER);
            let mut named = all.filter(|release| release.to_string() == text);
            named.next().ok_or_else(|| format!("no release {text}"))
        };
        let finalized = release(&self.finalized)?;
        let mut spec = if self.zookeeper {
            Spec::zookeeper(1, finalized)
        } else {
            Spec::kraft(1, 1, finalized)
        };
        spec.seed = self.seed;
        spec.nodes.clear();
        for node in &self.nodes {
            spec.nodes.push(NodeSpec {
                id: node.id,
                roles: Roles {
                    broker: node.broker,
                    controller: node.controller,
                },
                release: release(&node.release)?,
            });
        }
        let topic = |topic: &TopicText| TopicSpec {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication: topic.replication,
            min_isr: topic.min_isr,
            rate: topic.rate,
            internal: false,
        };
        spec.topics = self.topics.iter().map(topic).collect();
        spec.groups.clear();
        spec.settings = self.settings();
        spec.family = if self.flat_pages {
            Family::Flat
        } else {
            Family::Default
        };
        spec.dynamic_quorum = self.dynamic_quorum;
        spec.later = self.later.iter().copied().collect();
        spec.elr = self.elr.unwrap_or(spec.elr);
        if let Some(exporter) = &self.exporter {
            spec.exporter = exporter.exporter();
        }
        Ok(spec)
    }
}

impl Regression {
    /// This trial.
    pub fn of(order: &Order, why: impl Into<String>) -> Self {
        let millis = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let ops = order.plan.ops.iter();
        Self {
            why: why.into(),
            depth: order.depth,
            sabotage: Some(order.sabotage).filter(|how| *how != Sabotage::None),
            kind: order.plan.kind,
            moods: order.plan.moods,
            cluster: ClusterText::of(&order.plan.spec),
            setup: order.plan.setup.clone(),
            operators: order.plan.operators.clone(),
            ops: ops.map(|(at, op)| (millis(*at), op.clone())).collect(),
            end: millis(order.plan.end),
        }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, RegressionError> {
        let text = std::fs::read_to_string(path).map_err(|source| file(path, source))?;
        serde_json::from_str(&text).map_err(|error| RegressionError::Text {
            path: path.display().to_string(),
            why: error.to_string(),
        })
    }

    /// Writes a file.
    pub fn write(&self, path: &Path) -> Result<(), RegressionError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| RegressionError::Text {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
        std::fs::write(path, text + "\n").map_err(|source| file(path, source))
    }

    /// The trial again.
    pub fn order(&self) -> Result<Order, RegressionError> {
        let wrong = |why| RegressionError::Text {
            path: self.why.clone(),
            why,
        };
        let spec = self.cluster.spec().map_err(wrong)?;
        let ops = self.ops.iter();
        let ops = ops.map(|(at, op)| (Duration::from_millis(*at), op.clone()));
        Ok(Order {
            seed: spec.seed,
            plan: Plan {
                kind: self.kind,
                spec,
                setup: self.setup.clone(),
                ops: ops.collect(),
                operators: self.operators.clone(),
                episodes: Vec::new(),
                moods: self.moods,
                end: Duration::from_millis(self.end),
            },
            depth: self.depth,
            sabotage: self.sabotage.unwrap_or(Sabotage::None),
            story: false,
            rivals: false,
            even: false,
        })
    }
}

fn file(path: &Path, source: std::io::Error) -> RegressionError {
    RegressionError::File {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cluster that is drawn, and every operation.
    #[test]
    fn what_is_written_is_read_again() {
        for seed in 1..=300 {
            let order = Order::new(seed, Depth::Machine);
            let text = serde_json::to_string(&Regression::of(&order, "")).unwrap();
            let read: Regression = serde_json::from_str(&text).unwrap();
            let again = read.order().unwrap().plan;
            let plan = order.plan;
            let (was, is) = (format!("{:?}", plan.spec), format!("{:?}", again.spec));
            assert_eq!(is, was, "seed {seed}");
            assert_eq!(again.ops, plan.ops, "seed {seed}");
            assert_eq!(again.end, plan.end, "seed {seed}");
        }
    }
}
