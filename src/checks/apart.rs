//! May two sets of nodes be out at the same time, as far as what they hold goes?

use std::collections::BTreeSet;

use super::layout::Layout;
use super::needs::unmet;
use super::what_if::NEEDS;
use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::Snapshot;
use crate::evidence::voters;

/// Whether it is proven that the two sets hold no partition together, by assignments and running
/// moves, and that no voter is among them: with the active controller out nobody elects leaders or
/// shrinks ISRs for whoever goes beside it, and who is active may change. Racks prove nothing:
/// assignments need not follow them. What is not known is not proven.
pub fn are_apart(
    snapshot: &Snapshot<'_>,
    one: &BTreeSet<NodeId>,
    other: &BTreeSet<NodeId>,
) -> bool {
    if !snapshot.policy.mode.kafka() || !unmet(snapshot, NEEDS).is_empty() {
        return false;
    }
    let layout = Layout::of(snapshot);
    let mut rows = layout.rows(snapshot);
    let shared = rows.any(|held| {
        let holds = |nodes: &BTreeSet<NodeId>| nodes.iter().any(|node| held.touches(*node));
        holds(one) && holds(other)
    });
    let quorum = voters::newest(snapshot).map(|read| &read.facts.voters);
    let mut voters = quorum.into_iter().flatten().map(|voter| voter.node);
    let one_votes = voters.any(|voter| one.contains(&voter) || other.contains(&voter));
    !shared && !one_votes
}
