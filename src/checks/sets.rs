//! Which of many sets of nodes have a replica of a partition: one pass over the partitions answers for
//! all of them.

use std::collections::BTreeSet;

use super::layout::Held;
use crate::evidence::ids::NodeId;

/// Sets of nodes, by the nodes that they have.
pub(super) struct Sets<'a> {
    all: &'a [BTreeSet<NodeId>],
    /// In order of node.
    of_node: Vec<(NodeId, usize)>,
    /// No set has more than one.
    alone: bool,
}

impl<'a> Sets<'a> {
    /// These sets, each named by its place among them from here on.
    pub(super) fn of(sets: &'a [BTreeSet<NodeId>]) -> Self {
        let all = sets.iter().enumerate();
        let all = all.flat_map(|(slot, set)| set.iter().map(move |node| (*node, slot)));
        let mut of_node: Vec<_> = all.collect();
        of_node.sort_unstable();
        Self {
            alone: sets.iter().all(|set| set.len() <= 1),
            all: sets,
            of_node,
        }
    }

    /// Every set that has one of a partition's replicas, once; `several`: only those of more than one node.
    pub(super) fn each_with(
        &self,
        held: &Held<'_, '_>,
        several: bool,
        mut look: impl FnMut(usize, &BTreeSet<NodeId>),
    ) {
        if several && self.alone {
            return;
        }
        let replicas = held.row.replicas;
        for (at, node) in replicas.iter().enumerate() {
            let from = self.of_node.partition_point(|(known, _)| known < node);
            let of_node = self.of_node.iter().skip(from);
            for (_, slot) in of_node.take_while(|(known, _)| known == node) {
                let Some(set) = self.all.get(*slot) else {
                    continue;
                };
                let mut before = replicas.iter().take(at);
                let wanted = match set.len() {
                    1 => !several,
                    _ => !before.any(|node| set.contains(node)),
                };
                if wanted {
                    look(*slot, set);
                }
            }
        }
    }
}
