//! Test support: small healthy clusters as the board would hold them, and ways to spoil them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::facts::{
    ClusterFacts, Facts, LinkFacts, LogDirFacts, LogEndFacts, Moves, NodeConfigs, QuorumFacts,
    TopicConfigs,
};
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::memory::Memory;
use crate::evidence::policy::{Mode, Policy};
use crate::evidence::report::{FactKind, FailureClass, Report, SourceFailure, SourceId};
use crate::evidence::snapshot::{Reports, Snapshot};
use crate::time::{Mono, Now, Timestamp};

mod build;

pub use build::table;

/// A topic of a scene.
#[derive(Clone, Debug)]
pub struct SceneTopic {
    /// Its name; its id is its place in the list, from 1.
    pub name: String,
    /// `min.insync.replicas`.
    pub min_isr: i32,
    /// Kafka's own.
    pub internal: bool,
    /// Its partitions, numbered from 0.
    pub partitions: Vec<ScenePartition>,
}

/// A partition of a scene.
#[derive(Clone, Debug)]
pub struct ScenePartition {
    /// Who leads it.
    pub leader: Option<i32>,
    /// The leader's epoch.
    pub epoch: i32,
    /// Assigned replicas.
    pub replicas: Vec<i32>,
    /// In sync.
    pub isr: Vec<i32>,
    /// Offline.
    pub offline: Vec<i32>,
}

impl ScenePartition {
    /// A healthy one, led by its first replica.
    pub fn on(replicas: &[i32]) -> Self {
        Self {
            leader: replicas.first().copied(),
            epoch: 5,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            offline: Vec::new(),
        }
    }
}

impl SceneTopic {
    /// A healthy topic with these replicas of each partition.
    pub fn new(name: &str, min_isr: i32, replicas: &[&[i32]]) -> Self {
        Self {
            name: name.to_owned(),
            min_isr,
            internal: name.starts_with("__"),
            partitions: replicas.iter().map(|r| ScenePartition::on(r)).collect(),
        }
    }
}

/// A cluster as the board holds it at one moment.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The moment.
    pub now: Now,
    /// The policy.
    pub policy: Policy,
    /// What was seen before.
    pub memory: Memory,
    /// Nodes that leases allow to be down.
    pub granted: BTreeSet<NodeId>,
    /// The board.
    pub reports: Reports,
    /// From which tables, log ends, log dirs and page counts are made: see [`Scene::retopic`].
    pub topics: Vec<SceneTopic>,
    brokers: Vec<i32>,
    controllers: Vec<i32>,
    kraft: bool,
}

/// A node of a scene.
pub fn node(id: i32) -> NodeId {
    NodeId(id)
}

/// A list of nodes.
pub fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// A set of nodes.
pub fn set(ids: &[i32]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// The source of a node's Kafka listener.
pub fn kafka(id: i32) -> SourceId {
    SourceId::Kafka(NodeId(id))
}

/// The source of a node's JMX page.
pub fn jmx(id: i32) -> SourceId {
    SourceId::Jmx(NodeId(id))
}

/// "Now" of every scene, in seconds since boot.
const NOW: u64 = 10_000;

/// The cluster id of every scene.
pub const CLUSTER: &str = "scene-cluster-id-00001";

fn stock_topics() -> Vec<SceneTopic> {
    // Led unevenly, so that each broker's page fits only that broker.
    let orders: &[&[i32]] = &[
        &[1, 2, 3],
        &[1, 3, 2],
        &[1, 2, 3],
        &[2, 3, 1],
        &[2, 1, 3],
        &[3, 1, 2],
    ];
    vec![
        SceneTopic::new("orders", 2, orders),
        SceneTopic::new("__consumer_offsets", 2, &[&[1, 2, 3]]),
    ]
}

impl Scene {
    /// Three controllers 101-103 (101 active), three brokers 1-3, seven partitions RF 3 with
    /// min ISR 2, Kafka 3.9, mode `kafka+jmx`, everything fresh.
    pub fn healthy_kraft() -> Self {
        Self::new(&[1, 2, 3], &[101, 102, 103], true, stock_topics())
    }

    /// The same with three combined nodes 1-3 (1 active).
    pub fn healthy_combined() -> Self {
        Self::new(&[1, 2, 3], &[1, 2, 3], true, stock_topics())
    }

    /// Three brokers 1-3 on ZooKeeper, 1 is the controller.
    pub fn healthy_zookeeper() -> Self {
        Self::new(&[1, 2, 3], &[], false, stock_topics())
    }

    /// The KRaft cluster in mode `jmx`: pages only.
    pub fn healthy_jmx() -> Self {
        let mut scene = Self::healthy_kraft();
        scene.policy.mode = Mode::Jmx;
        scene.reports.retain(|(_, kind), _| *kind == FactKind::Jmx);
        scene.memory = Memory::new(scene.memory.started, BTreeMap::new());
        for (id, role) in scene.roles() {
            scene.policy.expected.insert(id, role);
        }
        scene
    }

    /// The KRaft cluster in mode `kafka`: no pages.
    pub fn healthy_kafka() -> Self {
        let mut scene = Self::healthy_kraft();
        scene.policy.mode = Mode::Kafka;
        scene.reports.retain(|(_, kind), _| *kind != FactKind::Jmx);
        scene
    }

    /// The KRaft cluster's brokers and these controllers, with these topics.
    pub fn with(brokers: &[i32], controllers: &[i32], topics: Vec<SceneTopic>) -> Self {
        Self::new(brokers, controllers, true, topics)
    }

    fn new(brokers: &[i32], controllers: &[i32], kraft: bool, topics: Vec<SceneTopic>) -> Self {
        let now = Now {
            mono: Mono::from_nanos(NOW * 1_000_000_000),
            wall: Timestamp::from_nanos(1_700_000_000_000_000_000),
        };
        let mut scene = Self {
            now,
            policy: Policy::default(),
            memory: Memory::new(now.mono.minus(Duration::from_secs(600)), BTreeMap::new()),
            granted: BTreeSet::new(),
            reports: Reports::new(),
            topics,
            brokers: brokers.to_vec(),
            controllers: controllers.to_vec(),
            kraft,
        };
        scene.put_nodes();
        scene.put_cluster();
        scene.put_layout();
        for report in scene.reports.values() {
            scene.memory.observe(report);
        }
        scene
    }

    fn roles(&self) -> BTreeMap<NodeId, Role> {
        let mut roles: BTreeMap<NodeId, Role> = BTreeMap::new();
        let brokers = self.brokers.iter().map(|id| (*id, Role::BROKER));
        let controllers = self.controllers.iter().map(|id| (*id, Role::CONTROLLER));
        for (id, role) in brokers.chain(controllers) {
            let known = roles.entry(NodeId(id)).or_default();
            *known = known.and(role);
        }
        roles
    }

    /// The snapshot of this scene, for as long as `look` looks at it.
    pub fn snapshot<R>(&self, look: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        let (policy, memory) = (&self.policy, &self.memory);
        look(&Snapshot::new(
            7,
            self.now,
            policy,
            memory,
            &self.granted,
            &self.reports,
        ))
    }

    // Spoiling.

    /// Puts a report, asked a moment ago.
    pub fn put(&mut self, source: SourceId, facts: Facts) {
        let kind = facts.kind();
        self.place(source, kind, Ok(facts));
    }

    fn place(&mut self, source: SourceId, kind: FactKind, facts: Result<Facts, SourceFailure>) {
        let report = Report {
            source: source.clone(),
            kind,
            epoch: 1,
            asked: self.now.mono.minus(Duration::from_millis(300)),
            seen: self.now.mono.minus(Duration::from_millis(290)),
            every: Duration::from_millis(500),
            facts,
        };
        self.reports.insert((source, kind), report);
    }

    /// This source fails for this kind.
    pub fn fail(&mut self, source: SourceId, kind: FactKind, class: FailureClass) {
        let failure = SourceFailure::new(class, format!("{class:?} by test"));
        self.place(source, kind, Err(failure));
    }

    /// Every source that tells this kind fails.
    pub fn fail_all(&mut self, kind: FactKind, class: FailureClass) {
        for source in self.sources(kind) {
            self.fail(source, kind, class);
        }
    }

    /// Nobody ever told this kind.
    pub fn remove(&mut self, kind: FactKind) {
        self.reports.retain(|(_, of), _| *of != kind);
    }

    /// Nobody has told this kind for ten minutes.
    pub fn make_stale(&mut self, kind: FactKind) {
        for report in self
            .reports
            .values_mut()
            .filter(|report| report.kind == kind)
        {
            report.asked = self.now.mono.minus(Duration::from_secs(600));
        }
    }

    /// This source has not told this kind for ten minutes.
    pub fn age(&mut self, source: &SourceId, kind: FactKind) {
        if let Some(report) = self.reports.get_mut(&(source.clone(), kind)) {
            report.asked = self.now.mono.minus(Duration::from_secs(600));
        }
    }

    /// The process of this node is gone: its connection was closed, its page refuses.
    pub fn kill(&mut self, id: i32) {
        self.fail(kafka(id), FactKind::Link, FailureClass::Closed);
        if self.policy.mode.jmx() {
            self.fail(jmx(id), FactKind::Jmx, FailureClass::Refused);
        }
    }

    /// Sources that have a report of this kind.
    pub fn sources(&self, kind: FactKind) -> Vec<SourceId> {
        let keys = self.reports.keys().filter(|(_, of)| *of == kind);
        keys.map(|(source, _)| source.clone()).collect()
    }

    /// Changes facts in place.
    ///
    /// # Panics
    /// When there is no such report, or it is a failure.
    pub fn edit(&mut self, source: SourceId, kind: FactKind, change: impl FnOnce(&mut Facts)) {
        let report = self
            .reports
            .get_mut(&(source, kind))
            .expect("no such report");
        change(report.facts.as_mut().expect("it is a failure"));
    }

    /// Changes the topics and everything that follows from them on every source.
    pub fn retopic(&mut self, change: impl FnOnce(&mut Vec<SceneTopic>)) {
        change(&mut self.topics);
        self.put_layout();
    }

    /// Changes one partition of `orders` on every source.
    pub fn order(&mut self, index: usize, change: impl FnOnce(&mut ScenePartition)) {
        self.retopic(|topics| change(&mut topics[0].partitions[index]));
    }

    /// A table of these topics instead of this broker's.
    pub fn table_of(&mut self, id: i32, topics: &[SceneTopic]) {
        self.put(kafka(id), Facts::Partitions(Arc::new(table(topics))));
    }

    /// Sets a metric of a page.
    pub fn metric(&mut self, id: i32, metric: Metric, value: f64) {
        self.page(id, |page| {
            page.values.insert(metric, value);
        });
    }
}

/// Typed editing: facts of one node's report in place.
macro_rules! editors {
    ($($name:ident: $kind:ident, $source:ident -> $facts:ty, |$held:ident| $open:expr;)+) => {
        impl Scene {
            $(
                #[doc = concat!("Changes a node's [`FactKind::", stringify!($kind), "`] facts.")]
                pub fn $name(&mut self, id: i32, change: impl FnOnce(&mut $facts)) {
                    self.edit($source(id), FactKind::$kind, |facts| match facts {
                        Facts::$kind($held) => change($open),
                        other => panic!("{other:?} in the wrong slot"),
                    });
                }
            )+
        }
    };
}

editors! {
    link: Link, kafka -> LinkFacts, |held| held;
    cluster: Cluster, kafka -> ClusterFacts, |held| held;
    quorum: Quorum, kafka -> QuorumFacts, |held| held;
    moves: Moves, kafka -> Moves, |held| held;
    configs: NodeConfigs, kafka -> NodeConfigs, |held| held;
    topic_configs: TopicConfigs, kafka -> TopicConfigs, |held| Arc::make_mut(held);
    log_ends: LogEnds, kafka -> LogEndFacts, |held| Arc::make_mut(held);
    log_dirs: LogDirs, kafka -> LogDirFacts, |held| Arc::make_mut(held);
    page: Jmx, jmx -> JmxFacts, |held| Arc::make_mut(held);
}
