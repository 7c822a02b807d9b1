//! What a node is no more: one that was a controller as well and has become a plain broker, or the
//! other way round. Roles are remembered for good, as nodes are, so that only somebody's word ends one.

use super::gone::has_leader;
use super::{Awaited, Desk, Scene};
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::snapshot::{Origin, Snapshot};
use crate::gate::doc::GateDoc;
use crate::gate::event::What;
use crate::gate::lease::Owner;

/// The role that stays of a remembered one, where the node is still expected and nobody vouches for all
/// of it any more. `None` where nothing of it goes, nothing stays, or the cluster does not say enough now.
pub(super) fn kept_role(snapshot: &Snapshot<'_>, node: NodeId) -> Option<Role> {
    let known = snapshot.memory.known_nodes.get(&node).copied()?;
    let because = &snapshot.expected.get(&node)?.because;
    let configured = snapshot.policy.expected.get(&node).copied();
    let configured = configured.unwrap_or_default();
    let serves = because.contains(&Origin::Registered) || because.contains(&Origin::Assigned);
    let votes = because.contains(&Origin::Voter);
    let kept = Role {
        broker: known.broker && (configured.broker || serves),
        controller: known.controller && (configured.controller || votes),
    };
    let told = (known.broker == kept.broker || tells_brokers(snapshot))
        && (known.controller == kept.controller || has_leader(snapshot));
    (kept != known && kept != Role::default() && told).then_some(kept)
}

/// Whether it is told now who is registered, and to whom partitions are assigned.
pub(super) fn tells_brokers(snapshot: &Snapshot<'_>) -> bool {
    let merged = &snapshot.merged;
    snapshot.clusters().any(|(_, read)| read.is_ok())
        && !merged.sources.is_empty()
        && merged.outdated.is_empty()
}

impl Desk {
    /// Expects this node in this role only. Its leases and holds stay: it may still be stopped.
    pub(super) fn retire_role(
        &mut self,
        scene: &Scene<'_, '_>,
        node: NodeId,
        kept: Role,
        by: Owner,
    ) -> Awaited {
        self.keeper.edit(|doc| doc.known_nodes.insert(node, kept));
        self.retiring.insert(node, kept);
        let role = Some(kept);
        let what = What::Retired { node, by, role };
        self.keeper.note(scene.now.wall, what);
        Awaited::Retired(node, kept)
    }
}

/// Whether a document still gives this node a slot or a hold.
pub(super) fn has_in_hand(doc: &GateDoc, node: NodeId) -> bool {
    let mut leases = doc.leases.values();
    doc.node_holds.contains_key(&node) || leases.any(|lease| lease.nodes.contains(&node))
}

/// Whether a document has a node in no more than this role; no role at all is no node at all.
pub(super) fn is_no_more_than(known: Option<&Role>, kept: Role) -> bool {
    known.is_none_or(|known| kept != Role::default() && known.and(kept) == kept)
}
