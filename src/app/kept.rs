//! What the store keeps of a gate that would be forgotten with it: whom it has told to stop which nodes,
//! and who has closed it by hand. A gate of another name knows nothing of either.

use std::collections::BTreeMap;

use tracing::warn;

use crate::config::settings::GateSettings;
use crate::gate::doc::GateDoc;
use crate::gate::state::GateName;
use crate::store::{SqliteStore, Store as _};

/// Leases and holds of this document, in words; nothing where there are none.
pub(super) fn kept(doc: &GateDoc) -> Vec<String> {
    // Nodes that went unannounced were given to nobody: every gate sees for itself that they are out.
    let given = doc.leases.values().filter(|lease| lease.owner.is_some());
    let given: Vec<_> = given
        .map(|lease| format!("{} of {}", lease.id, lease.owner_name()))
        .collect();
    let leases = (!given.is_empty()).then(|| format!("it holds lease {}", given.join(", ")));
    // One whose end has come is the engine's to take out: only it counts by the boot clock.
    let gate = doc.hold.iter();
    let gate = gate.map(|hold| format!("{} holds it ({})", hold.author, hold.reason));
    let nodes = doc.node_holds.iter();
    let nodes = nodes
        .map(|(node, hold)| format!("{} holds its node {node} ({})", hold.author, hold.reason));
    leases.into_iter().chain(gate).chain(nodes).collect()
}

/// Warns of every gate in the store that is not configured and has leases or holds: it was removed or
/// renamed while no process ran that could have refused that.
pub(super) fn warn_of_forgotten(
    store: &mut SqliteStore,
    configured: &BTreeMap<GateName, GateSettings>,
) {
    // A store that cannot be used has said so by itself.
    for name in store.gates().unwrap_or_default() {
        if configured.contains_key(&name) {
            continue;
        }
        let Ok((_, doc)) = store.load(&name) else {
            continue;
        };
        let kept = kept(&doc);
        if !kept.is_empty() {
            let what = kept.join("; ");
            warn!(
                gate = %name,
                what,
                "this gate is NOT configured any more, and what it holds is in force for nobody: where it was \
                 renamed, give it its name back until its leases are given back and its holds lifted"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::ids::NodeId;
    use crate::gate::lease::{Hold, Owner};
    use crate::time::Timestamp;

    #[test]
    fn holds_of_a_gate_and_of_nodes_are_kept() {
        assert!(kept(&GateDoc::default()).is_empty());
        let hold = |author: &str| Hold {
            author: Owner::try_from(String::from(author)).unwrap(),
            reason: String::from("disks"),
            since: Timestamp::default(),
            until: None,
        };
        let mut doc = GateDoc {
            hold: Some(hold("ann")),
            ..GateDoc::default()
        };
        doc.node_holds.insert(NodeId(3), hold("ben"));
        assert_eq!(
            kept(&doc),
            ["ann holds it (disks)", "ben holds its node 3 (disks)"]
        );
    }
}
