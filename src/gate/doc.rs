//! What has to survive a restart of the gate: one small document per gate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evidence::ids::{ClusterId, NodeId, Role};

/// The schema this program writes.
pub const SCHEMA: u32 = 1;

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
}

impl Default for GateDoc {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            cluster_id: None,
            known_nodes: BTreeMap::new(),
        }
    }
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
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
