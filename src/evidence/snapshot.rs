//! The newest report per source and fact at one moment, read through age.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::facts::{
    ClusterFacts, Facts, GroupTable, LinkFacts, LogDirFacts, LogEndFacts, Moves, NodeConfigs,
    QuorumFacts, TopicConfigs,
};
use super::ids::{NodeId, Role};
use super::jmx::JmxFacts;
use super::memory::Memory;
use super::merged::Merged;
use super::partitions::PartitionTable;
use super::policy::{Policy, max_age};
use super::report::{FactKind, Report, Sign, SourceFailure, SourceId};
use super::voters::{self, Remote};
use crate::time::{Mono, Now};

/// The board's content: one slot per source and kind, the newest report wins.
pub type Reports = BTreeMap<(SourceId, FactKind), Report>;

/// Why a node is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration names it.
    Configured,
    /// It is registered with the controller, fenced or not.
    Registered,
    /// It is a voter.
    Voter,
    /// A partition is assigned to it.
    Assigned,
    /// It was seen before; only an audited `node retire` ends that.
    SeenBefore,
}

/// How the cluster keeps its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterKind {
    /// In a quorum of controllers.
    KRaft,
    /// In ZooKeeper; one of the brokers is the controller.
    ZooKeeper,
    /// Not shown yet, or contradictory: nothing may be left out on the strength of it.
    Unknown,
}

impl ClusterKind {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KRaft => "kraft",
            Self::ZooKeeper => "zookeeper",
            Self::Unknown => "unknown",
        }
    }
}

/// A node that has to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// What for.
    pub role: Role,
    /// Why we think so.
    pub because: BTreeSet<Origin>,
}

/// All nodes that have to be there: configuration + registered + voters + assigned + seen before.
pub type ExpectedNodes = BTreeMap<NodeId, Expected>;

/// Why there is no fresh evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent<'a> {
    /// Nothing has been heard at all.
    Missing,
    /// The newest report is too old to count.
    Stale {
        /// Its age.
        age: Duration,
        /// The age up to which it would have counted.
        limit: Duration,
    },
    /// The newest report is a failure.
    Failed(&'a SourceFailure),
}

/// Fresh facts and the report that carries them.
#[derive(Debug)]
pub struct Read<'a, T> {
    /// The facts.
    pub facts: &'a T,
    /// Where they come from.
    pub report: &'a Report,
}

impl<T> Clone for Read<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Read<'_, T> {}

/// Fresh facts, or why there are none.
pub type Evidence<'a, T> = Result<Read<'a, T>, Absent<'a>>;

/// Everything a check may look at. Immutable; the same snapshot gives the same judgement.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// Number of this snapshot; grows by one with each.
    pub generation: u64,
    /// The moment it stands for.
    pub now: Now,
    /// What the user wants.
    pub policy: &'a Policy,
    /// What was seen before.
    pub memory: &'a Memory,
    /// Nodes that have to be there.
    pub expected: ExpectedNodes,
    /// Nodes that count as down: granted to somebody, unreachable, not registered, or fenced.
    pub down: BTreeSet<NodeId>,
    /// Those of them that are in service by all that the cluster says, and only do not let us in
    /// (or answer what we cannot use). Whatever holds only while they count as down is not known.
    pub barred: BTreeSet<NodeId>,
    /// Brokers' partition tables made one.
    pub merged: Merged<'a>,
    /// How the cluster keeps its metadata.
    pub kind: ClusterKind,
    reports: ByKind<'a>,
}

/// The board's reports by kind, each kind in order of its sources: checks ask for one kind at a
/// time, and many times.
#[derive(Clone, Debug, Default)]
struct ByKind<'a>([Vec<&'a Report>; FactKind::ALL.len()]);

impl<'a> ByKind<'a> {
    fn of(reports: &'a Reports) -> Self {
        let mut by_kind = Self::default();
        // In order of the sources, as the board is.
        for report in reports.values() {
            if let Some(list) = by_kind.0.get_mut(report.kind as usize) {
                list.push(report);
            }
        }
        by_kind
    }

    fn all(&self, kind: FactKind) -> &[&'a Report] {
        self.0.get(kind as usize).map_or(&[], Vec::as_slice)
    }

    fn get(&self, source: &SourceId, kind: FactKind) -> Option<&'a Report> {
        let list = self.all(kind);
        let at = list.binary_search_by(|report| report.source.cmp(source));
        at.ok().and_then(|at| list.get(at)).copied()
    }
}

impl<'a> Snapshot<'a> {
    /// A snapshot of the board at `now`. `granted` are nodes that leases allow to be down.
    pub fn new(
        generation: u64,
        now: Now,
        policy: &'a Policy,
        memory: &'a Memory,
        granted: &BTreeSet<NodeId>,
        reports: &'a Reports,
    ) -> Self {
        let mut snapshot = Self {
            generation,
            now,
            policy,
            memory,
            expected: ExpectedNodes::new(),
            down: granted.clone(),
            barred: BTreeSet::new(),
            merged: Merged::default(),
            kind: ClusterKind::Unknown,
            reports: ByKind::of(reports),
        };
        snapshot.kind = snapshot.find_kind();
        let tables: Vec<_> = snapshot
            .partitions()
            .filter_map(|(source, table)| table.ok().map(|read| (source, &**read.facts)))
            .collect();
        let configs: Vec<_> = snapshot
            .all_topic_configs()
            .filter_map(|(_, configs)| configs.ok().map(|read| &**read.facts))
            .collect();
        snapshot.merged = Merged::of(&tables, &memory.epochs, &configs);
        snapshot.expected = snapshot.find_expected();
        let down: Vec<_> = snapshot
            .expected
            .keys()
            .copied()
            .filter(|node| snapshot.is_down(*node))
            .collect();
        let barred = down.iter().filter(|node| !granted.contains(node));
        let barred = barred.filter(|node| snapshot.is_barred(**node)).copied();
        snapshot.barred = barred.collect();
        snapshot.down.extend(down);
        snapshot
    }

    /// The same moment with these nodes up.
    #[must_use]
    pub fn with_up(&self, nodes: &BTreeSet<NodeId>) -> Self {
        let mut snapshot = self.clone();
        snapshot.down.retain(|node| !nodes.contains(node));
        snapshot.barred.retain(|node| !nodes.contains(node));
        snapshot
    }

    /// The same moment with these nodes down.
    #[must_use]
    pub fn with_down(&self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let mut snapshot = self.clone();
        snapshot.down.extend(nodes);
        snapshot
    }

    /// The newest report of a slot, if it is fresh and not a failure.
    pub fn fresh(&self, source: &SourceId, kind: FactKind) -> Result<&'a Report, Absent<'a>> {
        let report = self.reports.get(source, kind).ok_or(Absent::Missing)?;
        self.read(report)
    }

    /// Whether a report carries facts that still count.
    pub fn is_fresh(&self, report: &Report) -> bool {
        report.facts.is_ok() && self.age(report) <= max_age(report.kind, report.every)
    }

    fn read(&self, report: &'a Report) -> Result<&'a Report, Absent<'a>> {
        let (age, limit) = (self.age(report), max_age(report.kind, report.every));
        match &report.facts {
            Err(failure) => Err(Absent::Failed(failure)),
            Ok(_) if age > limit => Err(Absent::Stale { age, limit }),
            Ok(_) => Ok(report),
        }
    }

    /// The newest report of a slot, however old, failures included. For explanations only.
    pub fn newest(&self, source: &SourceId, kind: FactKind) -> Option<&'a Report> {
        self.reports.get(source, kind)
    }

    /// Every report on the board. For explanations and counts only.
    pub fn reports(&self) -> impl Iterator<Item = &'a Report> + '_ {
        self.reports.0.iter().flatten().copied()
    }

    /// Every report of this kind, however old, failures included, in order of the sources.
    pub fn reports_of(&self, kind: FactKind) -> &[&'a Report] {
        self.reports.all(kind)
    }

    /// How old a report is: from the question, not from the answer.
    pub fn age(&self, report: &Report) -> Duration {
        self.now.mono.since(report.asked)
    }

    /// Expected brokers.
    pub fn brokers(&self) -> impl Iterator<Item = NodeId> {
        self.expected
            .iter()
            .filter(|(_, e)| e.role.broker)
            .map(|(node, _)| *node)
    }

    /// Expected controllers. Empty on ZooKeeper, where a broker is the controller.
    pub fn controllers(&self) -> impl Iterator<Item = NodeId> {
        self.expected
            .iter()
            .filter(|(_, e)| e.role.controller)
            .map(|(node, _)| *node)
    }

    /// Whether any broker that answers has this one registered and unfenced.
    pub fn in_service(&self, broker: NodeId) -> bool {
        let mut answers = self.clusters().filter_map(|(_, read)| read.ok());
        answers.any(|read| {
            let mut brokers = read.facts.brokers.iter();
            brokers.any(|b| b.node == broker && !b.fenced)
        })
    }

    /// How the cluster keeps its metadata, from positive evidence only: a KRaft node supports the
    /// feature `metadata.version` or a quorum answers; a ZooKeeper-mode broker has
    /// `zookeeper.connect` in its configuration and no `process.roles`: with roles it runs on KRaft,
    /// and the other key is a leftover or a migration's, in which the brokers on ZooKeeper show
    /// themselves. Without JMX's Kafka side (mode `jmx`), a configured controller node says it.
    fn find_kind(&self) -> ClusterKind {
        if !self.policy.mode.kafka() {
            let configured = self.policy.expected.values().any(|role| role.controller);
            return if configured {
                ClusterKind::KRaft
            } else {
                ClusterKind::ZooKeeper
            };
        }
        let features =
            |read: Read<'_, LinkFacts>| read.facts.supported.contains_key("metadata.version");
        let kraft = self.links().filter_map(|(_, read)| read.ok()).any(features)
            || self.quorums().any(|(_, read)| read.is_ok());
        let on_zookeeper = |configs: &NodeConfigs| {
            let roles = configs.text("process.roles").unwrap_or_default();
            configs.text("zookeeper.connect").is_some() && roles.trim().is_empty()
        };
        let zookeeper = self
            .all_node_configs()
            .filter_map(|(_, read)| read.ok())
            .any(|read| on_zookeeper(read.facts));
        match (kraft, zookeeper) {
            (true, false) => ClusterKind::KRaft,
            (false, true) => ClusterKind::ZooKeeper,
            // Both: a migration, in which neither set of rules is enough.
            (true, true) | (false, false) => ClusterKind::Unknown,
        }
    }

    /// The finalized level of `metadata.version`, as far as any node knows it.
    pub fn metadata_version(&self) -> Option<i16> {
        let links = self.links().filter_map(|(_, read)| read.ok());
        links
            .filter_map(|read| read.facts.finalized.get("metadata.version").copied())
            .max()
    }

    /// The earliest moment at which some evidence that counts now stops doing so: a report that is
    /// fresh, or the quorum's word for a controller that is not asked itself.
    pub fn fresh_until(&self) -> Option<Mono> {
        let reports = self.reports().filter(|report| self.is_fresh(report));
        let reports = reports.map(|report| report.asked.plus(max_age(report.kind, report.every)));
        let remote = self.expected.keys().filter(|node| self.is_remote(**node));
        let remote = remote.filter_map(|node| match voters::remote(self, *node) {
            Remote::CaughtUp(until) => Some(until),
            Remote::Behind(_) | Remote::Old(_) | Remote::Untold => None,
        });
        reports.chain(remote).min()
    }

    /// Whether this controller is not asked itself; the quorum's word counts for it.
    pub fn is_remote(&self, node: NodeId) -> bool {
        let role = self.expected.get(&node).map(|expected| expected.role);
        self.policy.via_brokers && role.is_some_and(|role| role.controller && !role.broker)
    }

    /// Whether the gate cannot do without this node's page. In mode `jmx` a page is the only sign
    /// of life, so that a node without a target is not judged.
    pub fn wants_page(&self, node: NodeId) -> bool {
        let mode = self.policy.mode;
        let configured = self.policy.jmx_nodes.as_ref().filter(|_| mode.kafka());
        // A template is filled from addresses, and those of a remote controller are of no use.
        let wanted =
            configured.map_or_else(|| !self.is_remote(node), |nodes| nodes.contains(&node));
        mode.jmx() && wanted
    }

    fn is_down(&self, node: NodeId) -> bool {
        if !self.policy.mode.kafka() {
            return self.jmx(node).is_err();
        }
        if self.is_remote(node) {
            return !matches!(voters::remote(self, node), Remote::CaughtUp(_));
        }
        let broker = self
            .expected
            .get(&node)
            .is_some_and(|expected| expected.role.broker);
        self.link(node).is_err() || (broker && !self.is_in_service(node))
    }

    fn is_barred(&self, node: NodeId) -> bool {
        let (Err(Absent::Failed(failure)), Some(expected)) =
            (self.link(node), self.expected.get(&node))
        else {
            return false;
        };
        let role = expected.role;
        failure.class.sign() == Sign::Nothing
            && (!role.broker || self.is_in_service(node))
            && (!role.controller || voters::is_caught_up(self, node))
    }

    /// Whether every fresh DescribeCluster answer has this broker registered and unfenced. False
    /// when nobody says anything.
    pub fn is_in_service(&self, broker: NodeId) -> bool {
        let mut answers = self.clusters().filter_map(|(_, read)| read.ok()).peekable();
        answers.peek().is_some()
            && answers.all(|read| {
                read.facts
                    .brokers
                    .iter()
                    .any(|b| b.node == broker && !b.fenced)
            })
    }

    fn find_expected(&self) -> ExpectedNodes {
        let mut nodes = ExpectedNodes::new();
        let mut add = |node: NodeId, role: Role, because: Origin| {
            let entry: &mut Expected = nodes.entry(node).or_default();
            entry.role = entry.role.and(role);
            entry.because.insert(because);
        };
        for (node, role) in &self.policy.expected {
            add(*node, *role, Origin::Configured);
        }
        for (node, role) in &self.memory.known_nodes {
            add(*node, *role, Origin::SeenBefore);
        }
        for read in self.clusters().filter_map(|(_, read)| read.ok()) {
            for broker in &read.facts.brokers {
                add(broker.node, Role::BROKER, Origin::Registered);
            }
        }
        for read in self.quorums().filter_map(|(_, read)| read.ok()) {
            for voter in &read.facts.voters {
                add(voter.node, Role::CONTROLLER, Origin::Voter);
            }
        }
        for node in self.merged.assigned() {
            add(node, Role::BROKER, Origin::Assigned);
        }
        nodes
    }
}

/// Typed reading: one pair of functions per kind of fact, one node's and everybody's.
macro_rules! readers {
    ($($kind:ident: $one:ident, $all:ident -> $facts:ty, $source:ident;)+) => {
        impl<'a> Snapshot<'a> {
            $(
                #[doc = concat!("This node's fresh [`FactKind::", stringify!($kind), "`] report, or why there is none.")]
                pub fn $one(&self, node: NodeId) -> Evidence<'a, $facts> {
                    let report = self.fresh(&SourceId::$source(node), FactKind::$kind)?;
                    match &report.facts {
                        Ok(Facts::$kind(facts)) => Ok(Read { facts, report }),
                        // A report in another kind's slot is a bug of ours; it proves nothing.
                        Ok(_) => Err(Absent::Missing),
                        Err(failure) => Err(Absent::Failed(failure)),
                    }
                }

                #[doc = concat!("Every source that was ever asked for [`FactKind::", stringify!($kind), "`].")]
                pub fn $all(&self) -> impl Iterator<Item = (NodeId, Evidence<'a, $facts>)> {
                    let reports = self.reports.all(FactKind::$kind).iter();
                    reports
                        .filter_map(|report| report.source.node())
                        .map(|node| (node, self.$one(node)))
                }
            )+
        }
    };
}

readers! {
    Link: link, links -> LinkFacts, Kafka;
    Cluster: cluster, clusters -> ClusterFacts, Kafka;
    Partitions: partitions_of, partitions -> Arc<PartitionTable>, Kafka;
    LogEnds: log_ends, all_log_ends -> Arc<LogEndFacts>, Kafka;
    Quorum: quorum, quorums -> QuorumFacts, Kafka;
    Moves: moves, all_moves -> Moves, Kafka;
    NodeConfigs: node_configs, all_node_configs -> NodeConfigs, Kafka;
    TopicConfigs: topic_configs, all_topic_configs -> Arc<TopicConfigs>, Kafka;
    LogDirs: log_dirs, all_log_dirs -> Arc<LogDirFacts>, Kafka;
    Jmx: jmx, pages -> Arc<JmxFacts>, Jmx;
    Groups: groups, all_groups -> Arc<GroupTable>, Kafka;
}
