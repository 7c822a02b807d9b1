//! The gate's configuration in a trial: what it reads, whom it expects, and the mistakes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::evidence::ids::{self, Role};
use upgrade_gate::evidence::policy::{Mode, Policy};
use upgrade_gate::model::{NodeId, NodeSpec, Spec};

/// Whose page a node's JMX target shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// This node's.
    Node(NodeId),
    /// That of the node of the same id in another cluster, which is well.
    AnotherCluster,
}

/// The times of a policy that a curve is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuned {
    /// `Policy::shortest_window`.
    pub shortest_window: Duration,
    /// `Policy::leadership_quiet`.
    pub leadership_quiet: Duration,
    /// `Policy::longest_blip`.
    pub longest_blip: Duration,
    /// How many percent of the usual intervals lie between questions.
    pub pace: u32,
}

impl Tuned {
    /// An interval at this pace.
    pub fn stretched(self, interval: Duration) -> Duration {
        interval.saturating_mul(self.pace) / 100
    }
}

impl Default for Tuned {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            shortest_window: policy.shortest_window,
            leadership_quiet: policy.leadership_quiet,
            longest_blip: policy.longest_blip,
            pace: 100,
        }
    }
}

/// A configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// What is read.
    pub mode: Mode,
    /// Whether it names the nodes.
    pub configured: bool,
    /// Controllers are not asked themselves.
    pub via_brokers: bool,
    /// Nodes that somebody has forgotten in it, and their exporters with them.
    pub left_out: BTreeSet<NodeId>,
    /// JMX targets that are not the node's own.
    pub targets: BTreeMap<NodeId, Target>,
    /// Policy `window`, in milliseconds.
    pub window: Option<u64>,
    /// Policy `slots`, where it is not the default.
    pub slots: Option<usize>,
    /// What a curve tries out.
    #[serde(skip)]
    pub tuned: Tuned,
}

impl Setup {
    /// A sound one.
    pub fn new(mode: Mode, configured: bool) -> Self {
        Self {
            mode,
            configured,
            ..Self::default()
        }
    }

    /// Whether there is no mistake in it.
    pub fn is_right(&self) -> bool {
        self.left_out.is_empty() && self.targets.is_empty()
    }

    /// The nodes it names: those of the beginning.
    pub fn nodes(&self, spec: &Spec) -> BTreeMap<ids::NodeId, Role> {
        let nodes = spec.nodes.iter().filter(|_| self.configured);
        let nodes = nodes.filter(|node| !spec.later.contains(&node.id));
        let nodes = nodes.filter(|node| !self.left_out.contains(&node.id));
        nodes
            .map(|node| {
                let role = Role {
                    broker: node.roles.broker,
                    controller: node.roles.controller,
                };
                (ids::NodeId(node.id), role)
            })
            .collect()
    }

    /// Whether the gate has nothing but the quorum's word for this node.
    pub const fn is_remote(&self, node: &NodeSpec) -> bool {
        self.via_brokers && node.roles.controller && !node.roles.broker
    }

    /// Every such node.
    pub fn remote(&self, spec: &Spec) -> BTreeSet<NodeId> {
        let nodes = spec.nodes.iter().filter(|node| self.is_remote(node));
        nodes.map(|node| node.id).collect()
    }

    /// Nodes that have a JMX target.
    pub fn scraped(&self, spec: &Spec) -> BTreeSet<NodeId> {
        let nodes = spec.nodes.iter().filter(|node| !self.is_remote(node));
        let nodes = nodes.map(|node| node.id);
        let nodes = nodes.filter(|id| self.mode.jmx() && !self.left_out.contains(id));
        nodes.collect()
    }

    /// What it says about judging.
    pub fn policy(&self, spec: &Spec) -> Policy {
        let scraped = self.scraped(spec).into_iter().map(ids::NodeId).collect();
        Policy {
            mode: self.mode,
            expected: self.nodes(spec),
            jmx_nodes: Some(scraped),
            via_brokers: self.via_brokers,
            window: self.window.map(Duration::from_millis),
            shortest_window: self.tuned.shortest_window,
            leadership_quiet: self.tuned.leadership_quiet,
            longest_blip: self.tuned.longest_blip,
            slots: self.slots.unwrap_or(Policy::default().slots),
            ..Policy::default()
        }
    }

    /// A longer window than the shortest was ordered: who waits for it waits by order.
    pub fn waits_by_order(&self) -> bool {
        self.window.is_some()
    }

    /// Whether a gate can go on with the same collectors; otherwise it begins anew, as
    /// `app::Running::same_sources` has it.
    pub fn same_sources(&self, other: &Self) -> bool {
        let but_window = |setup: &Self| Self {
            window: None,
            ..setup.clone()
        };
        but_window(self) == but_window(other)
    }
}
