//! What has to survive a restart of the gate: one small document per gate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::{Ended, Hold, Lease, LeaseId, Token};
use crate::evidence::ids::{ClusterId, NodeId, Role};

/// The schema this program writes.
pub const SCHEMA: u32 = 2;

/// How many leases that are over a document keeps: enough for a question asked again.
pub const ENDED_KEPT: usize = 32;

/// How many times of return a document keeps, for the estimate of the next one.
pub const RETURNS_KEPT: usize = 20;

/// Which write of a gate's document this is; grows by one with each.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// One gate's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateDoc {
    /// Version of this format.
    pub schema: u32,
    /// The cluster it is about, once proven.
    pub cluster_id: Option<ClusterId>,
    /// Nodes seen before: they stay expected until somebody retires them.
    pub known_nodes: BTreeMap<NodeId, Role>,
    /// Slots that are taken.
    #[serde(default)]
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Leases that are over, the newest last.
    #[serde(default)]
    pub ended: Vec<Ended>,
    /// The newest fencing token given out.
    #[serde(default)]
    pub last_token: Token,
    /// The newest lease's id.
    #[serde(default)]
    pub last_lease: LeaseId,
    /// The number of the newest entry of the history.
    #[serde(default)]
    pub last_event: u64,
    /// The gate is held by hand.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// Nodes that are held by hand.
    #[serde(default)]
    pub node_holds: BTreeMap<NodeId, Hold>,
    /// From grant to proof of return, the newest last: how long this cluster's brokers take.
    #[serde(default)]
    pub returns: Vec<Duration>,
    /// The same of nodes that are controllers and nothing else: they have no replicas to catch up.
    #[serde(default)]
    pub controller_returns: Vec<Duration>,
}

impl GateDoc {
    /// How long such nodes took to come back: brokers where one is among them.
    pub fn returns_of(&self, nodes: &BTreeSet<NodeId>) -> &[Duration] {
        if self.has_broker(nodes) {
            &self.returns
        } else {
            &self.controller_returns
        }
    }

    /// Remembers how long these took, and forgets the oldest.
    pub fn learn_return(&mut self, nodes: &BTreeSet<NodeId>, took: Duration) {
        let returns = if self.has_broker(nodes) {
            &mut self.returns
        } else {
            &mut self.controller_returns
        };
        returns.push(took);
        let surplus = returns.len().saturating_sub(RETURNS_KEPT);
        returns.drain(..surplus);
    }

    /// A node of which nothing is known counts as a broker, which takes longer.
    fn has_broker(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let role = |node: &NodeId| self.known_nodes.get(node).copied();
        nodes
            .iter()
            .any(|node| role(node).is_none_or(|role| role.broker))
    }
}

impl Default for GateDoc {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            cluster_id: None,
            known_nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            ended: Vec::new(),
            last_token: Token(0),
            last_lease: LeaseId(0),
            last_event: 0,
            hold: None,
            node_holds: BTreeMap::new(),
            returns: Vec::new(),
            controller_returns: Vec::new(),
        }
    }
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and moved twice")]
pub enum Stored {
    /// Durable, at this revision.
    Written(Revision),
    /// Somebody else wrote in between; this is what stands now.
    Lost(Revision, GateDoc),
    /// Not written, and why.
    Refused(String),
    /// It may or may not have been written: it counts as written where that is the careful
    /// reading, until it is read back.
    Unclear(String),
}
