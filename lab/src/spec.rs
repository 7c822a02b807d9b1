//! What cluster is wanted. A `Spec` is plain data; `Cluster::start` makes it real.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::doors::{Door, MOST_DOORS};
use crate::ports::MOST_NODES;
use crate::release::Release;

/// Kafka's node id. Brokers and combined nodes are 1, 2, ...; controllers 101, 102, ...
pub type NodeId = i32;

/// The id of the ZooKeeper server among the lab's nodes (no Kafka node has it).
pub const ZOOKEEPER_ID: NodeId = 401;

/// Who plays which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Dedicated controllers (ids 101..) and brokers (ids 1..).
    KraftSeparate { controllers: u8, brokers: u8 },
    /// Every node is broker and controller (ids 1..).
    KraftCombined { nodes: u8 },
    /// One ZooKeeper server (id 401) and brokers (ids 1..).
    ZooKeeper { brokers: u8 },
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Broker,
    Controller,
    Combined,
    ZooKeeper,
}

impl Role {
    /// Whether clients can produce and fetch there.
    pub fn is_broker(self) -> bool {
        match self {
            Self::Broker | Self::Combined => true,
            Self::Controller | Self::ZooKeeper => false,
        }
    }

    /// Whether it votes in the KRaft quorum.
    pub fn is_controller(self) -> bool {
        match self {
            Self::Controller | Self::Combined => true,
            Self::Broker | Self::ZooKeeper => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "broker",
            Self::Controller => "controller",
            Self::Combined => "combined",
            Self::ZooKeeper => "zookeeper",
        })
    }
}

/// Which rules file the JMX exporters get (families of `kafka-jmx-metrics.md` 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rules {
    /// Family D: no rules.
    #[default]
    Default,
    /// Family d: `lowercaseOutputName`.
    Lower,
    /// Family F: flat lower-case names, typed.
    Flat,
    /// The default form for a short list of MBeans: 20 kB a page instead of 1 MB.
    Small,
}

impl Rules {
    /// The exporter's configuration.
    pub fn yaml(self) -> &'static str {
        match self {
            Self::Default => include_str!("../rules/default.yml"),
            Self::Lower => include_str!("../rules/lower.yml"),
            Self::Flat => include_str!("../rules/flat.yml"),
            Self::Small => include_str!("../../config/jmx-exporter.yml"),
        }
    }

    /// Its name on the command line and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Lower => "lower",
            Self::Flat => "flat",
            Self::Small => "small",
        }
    }
}

/// Kafka's time-outs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// Kafka's own defaults: session 9 s (ZooKeeper 18 s), replica lag 30 s.
    #[default]
    Stock,
    /// Session 3 s, heartbeat 0.5 s, replica lag 5 s, quick elections, no log cleaner.
    Quick,
}

/// A cluster to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub layout: Layout,
    pub release: Release,
    pub rules: Rules,
    /// Rules of nodes that have others than the rest.
    #[serde(default)]
    pub node_rules: BTreeMap<NodeId, Rules>,
    pub timing: Timing,
    /// Links run through the lab's relays, so that they can be cut.
    pub relays: bool,
    /// Authorizer on; the client listener has no rights at all.
    pub acl: bool,
    /// Secured listeners of every broker, beside the client listener.
    pub doors: Vec<Door>,
    /// Secured listeners of every controller, beside the one that the cluster itself uses.
    pub controller_doors: Vec<Door>,
    /// What stands under `httpServer` in an exporter's configuration, by node.
    pub exporters: BTreeMap<NodeId, String>,
    /// Largest heap of each node, MB. 256 is enough for some hundred partitions.
    pub heap_mb: u32,
    /// `metadata.version` to format with; `None`: the lowest release among the nodes.
    pub metadata_version: Option<String>,
    /// Releases of nodes that differ from `release`.
    pub node_releases: BTreeMap<NodeId, Release>,
    /// Extra lines of every node's `server.properties`.
    pub properties: BTreeMap<String, String>,
    /// Extra lines of one node's `server.properties`; win over `properties`.
    pub node_properties: BTreeMap<NodeId, BTreeMap<String, String>>,
}

/// A cluster that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("run {count} nodes of one kind: 1 to {MOST_NODES} are possible")]
    Count { count: u8 },
    #[error("run Kafka {release} in KRaft mode: it needs 3.3 or newer")]
    NoKraft { release: Release },
    #[error(
        "run Kafka {release} with ZooKeeper: 4.0 and newer have no ZooKeeper mode, 3.9.2 is the last"
    )]
    NoZooKeeper { release: Release },
    #[error("open {doors} doors on {brokers} brokers: there is room for {MOST_DOORS} on 9")]
    Doors { doors: usize, brokers: usize },
    #[error("run Kafka {release}: its jars were not prepared")]
    NotPrepared { release: Release },
    #[error("give node {id} its own release, property or rules: the layout has no such node")]
    UnknownNode { id: NodeId },
}

impl Spec {
    /// Stock time-outs, default JMX rules, no relays, no ACLs.
    pub fn new(layout: Layout, release: Release) -> Self {
        Self {
            layout,
            release,
            rules: Rules::Default,
            node_rules: BTreeMap::new(),
            timing: Timing::Stock,
            relays: false,
            acl: false,
            doors: Vec::new(),
            controller_doors: Vec::new(),
            exporters: BTreeMap::new(),
            heap_mb: 256,
            metadata_version: None,
            node_releases: BTreeMap::new(),
            properties: BTreeMap::new(),
            node_properties: BTreeMap::new(),
        }
    }

    /// Three dedicated controllers and three brokers.
    pub fn kraft(release: Release) -> Self {
        Self::new(
            Layout::KraftSeparate {
                controllers: 3,
                brokers: 3,
            },
            release,
        )
    }

    /// Three nodes that are broker and controller.
    pub fn combined(release: Release) -> Self {
        Self::new(Layout::KraftCombined { nodes: 3 }, release)
    }

    /// One ZooKeeper server and three brokers.
    pub fn zookeeper(release: Release) -> Self {
        Self::new(Layout::ZooKeeper { brokers: 3 }, release)
    }

    /// Rules of the JMX exporters.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Rules of one node's exporter.
    #[must_use]
    pub fn node_rules(mut self, id: NodeId, rules: Rules) -> Self {
        self.node_rules.insert(id, rules);
        self
    }

    /// The rules of this node's exporter.
    pub fn rules_of(&self, id: NodeId) -> Rules {
        self.node_rules.get(&id).copied().unwrap_or(self.rules)
    }

    /// Short time-outs ([`Timing::Quick`]).
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.timing = Timing::Quick;
        self
    }

    /// Kafka's time-outs.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Links run through relays, so that they can be cut (see `links`).
    #[must_use]
    pub fn relays(mut self) -> Self {
        self.relays = true;
        self
    }

    /// Authorizer on; brokers, controllers and the lab log in as super user by SASL PLAIN, and the
    /// client listener (the gate's) has no rights.
    #[must_use]
    pub fn acl(mut self) -> Self {
        self.acl = true;
        self
    }

    /// Largest heap of each node, MB.
    #[must_use]
    pub fn heap_mb(mut self, megabytes: u32) -> Self {
        self.heap_mb = megabytes;
        self
    }

    /// Formats with this `metadata.version` level, for example `3.9` or `4.0-IV3`.
    #[must_use]
    pub fn metadata_version(mut self, level: impl Into<String>) -> Self {
        self.metadata_version = Some(level.into());
        self
    }

    /// This node runs another release than the rest.
    #[must_use]
    pub fn node_release(mut self, id: NodeId, release: Release) -> Self {
        self.node_releases.insert(id, release);
        self
    }

    /// One more line for every node's `server.properties`.
    #[must_use]
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// One more line for one node's `server.properties`.
    #[must_use]
    pub fn node_property(
        mut self,
        id: NodeId,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.node_properties
            .entry(id)
            .or_default()
            .insert(key.into(), value.into());
        self
    }

    /// The Kafka nodes, controllers first, without ZooKeeper.
    pub fn nodes(&self) -> Vec<(NodeId, Role)> {
        let brokers = |count, role| (1..=NodeId::from(count)).map(move |id| (id, role));
        match self.layout {
            Layout::KraftSeparate {
                controllers,
                brokers: count,
            } => (101..)
                .take(usize::from(controllers))
                .map(|id| (id, Role::Controller))
                .chain(brokers(count, Role::Broker))
                .collect(),
            Layout::KraftCombined { nodes } => brokers(nodes, Role::Combined).collect(),
            Layout::ZooKeeper { brokers: count } => brokers(count, Role::Broker).collect(),
        }
    }

    /// How many nodes serve clients.
    pub fn broker_count(&self) -> usize {
        self.nodes()
            .iter()
            .filter(|(_, role)| role.is_broker())
            .count()
    }

    /// The release a node starts with.
    pub fn release_of(&self, id: NodeId) -> Release {
        self.node_releases.get(&id).copied().unwrap_or(self.release)
    }

    /// Every release in use (ZooKeeper itself runs from `release`).
    pub(crate) fn releases(&self) -> BTreeSet<Release> {
        let own = self.nodes().into_iter().map(|(id, _)| self.release_of(id));
        own.chain([self.release]).collect()
    }

    /// The `metadata.version` to format with: a cluster can only run what its oldest node knows.
    pub(crate) fn format_level(&self) -> Option<String> {
        let lowest = self
            .nodes()
            .iter()
            .map(|(id, _)| self.release_of(*id))
            .min();
        let mixed = lowest.filter(|_| !self.node_releases.is_empty());
        self.metadata_version
            .clone()
            .or_else(|| mixed.map(Release::feature_level))
    }

    /// Checks that the layout and the releases fit each other.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        let counts = match self.layout {
            Layout::KraftSeparate {
                controllers,
                brokers,
            } => [controllers, brokers],
            Layout::KraftCombined { nodes } => [nodes, nodes],
            Layout::ZooKeeper { brokers } => [brokers, brokers],
        };
        if let Some(count) = counts
            .into_iter()
            .find(|count| !(1..=MOST_NODES).contains(count))
        {
            return Err(SpecError::Count { count });
        }
        let doors = self.doors.len().saturating_add(self.controller_doors.len());
        let brokers = self.broker_count();
        if doors > MOST_DOORS || (doors > 0 && brokers > 9) {
            return Err(SpecError::Doors { doors, brokers });
        }
        let ids: BTreeSet<NodeId> = self.nodes().into_iter().map(|(id, _)| id).collect();
        let named = self.node_releases.keys().chain(self.node_properties.keys());
        let named = named.chain(self.node_rules.keys());
        if let Some(id) = named.copied().find(|id| !ids.contains(id)) {
            return Err(SpecError::UnknownNode { id });
        }
        ids.into_iter()
            .try_for_each(|id| self.check_release(self.release_of(id)))
    }

    /// Whether nodes of this layout can run `release`.
    pub(crate) fn check_release(&self, release: Release) -> Result<(), SpecError> {
        match self.layout {
            Layout::KraftSeparate { .. } | Layout::KraftCombined { .. } => release
                .has_kraft()
                .then_some(())
                .ok_or(SpecError::NoKraft { release }),
            Layout::ZooKeeper { .. } => release
                .has_zookeeper()
                .then_some(())
                .ok_or(SpecError::NoZooKeeper { release }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_layout() {
        let ids = |spec: Spec| {
            spec.nodes()
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(Spec::kraft(Release::V3_9_2)), [101, 102, 103, 1, 2, 3]);
        assert_eq!(ids(Spec::combined(Release::V3_9_2)), [1, 2, 3]);
        assert_eq!(ids(Spec::zookeeper(Release::V3_9_2)), [1, 2, 3]);
    }

    #[test]
    fn layouts_refuse_releases_they_cannot_run() {
        assert!(Spec::kraft(Release::V2_8_2).check().is_err());
        assert!(Spec::zookeeper(Release::V4_0_2).check().is_err());
        assert!(
            Spec::kraft(Release::V3_9_2)
                .node_release(7, Release::V4_3_1)
                .check()
                .is_err()
        );
        assert!(
            Spec::kraft(Release::V3_9_2)
                .node_release(2, Release::V4_3_1)
                .check()
                .is_ok()
        );
        let none = Layout::KraftSeparate {
            controllers: 0,
            brokers: 3,
        };
        assert!(Spec::new(none, Release::V3_9_2).check().is_err());
    }

    #[test]
    fn a_mixed_cluster_is_formatted_for_its_oldest_node() {
        let even = Spec::kraft(Release::V4_3_1);
        assert_eq!(even.format_level(), None);
        let mixed = even.clone().node_release(1, Release::V3_9_2);
        assert_eq!(mixed.format_level().as_deref(), Some("3.9"));
        assert_eq!(
            mixed.metadata_version("3.8").format_level().as_deref(),
            Some("3.8")
        );
    }
}
