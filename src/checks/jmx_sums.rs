//! The cluster as the JMX pages add it up: [`ClusterTotals`] over the fresh pages of expected
//! nodes. A total may lack parts; which pages have to be there is the `evidence` row's business,
//! and what those that spoke say is bad news enough.

use crate::evidence::aggregate::{ClusterTotals, Mode, NodePage, Total};
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::jmx::JmxFacts;
use crate::evidence::known::Why;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

use super::gauges;
use super::needs::words;

/// Adds up the pages. While the kind of cluster is unknown the controllers speak for it; the
/// `metadata_kind` row keeps the gate from opening then.
pub(super) fn totals(snapshot: &Snapshot<'_>) -> ClusterTotals {
    let pages: Vec<(NodeId, Role, Result<&JmxFacts, Why>)> = snapshot
        .expected
        .iter()
        .map(|(node, expected)| {
            let page = match snapshot.jmx(*node) {
                Ok(read) => Ok(&**read.facts),
                Err(absent) => Err(Why(words(&absent))),
            };
            (*node, expected.role, page)
        })
        .collect();
    let pages: Vec<_> = pages
        .iter()
        .map(|(node, role, page)| NodePage {
            node: *node,
            role: *role,
            page: page.as_ref().copied(),
        })
        .collect();
    ClusterTotals::of(&pages, mode(snapshot.kind))
}

/// By whose rules pages are read.
pub(super) const fn mode(kind: ClusterKind) -> Mode {
    match kind {
        ClusterKind::KRaft | ClusterKind::Unknown => Mode::Kraft,
        ClusterKind::ZooKeeper => Mode::ZooKeeper,
    }
}

/// A total as a count: what those that spoke say together; `None` when nobody spoke.
pub(super) fn count(total: &Total) -> Option<u64> {
    total.at_least().map(gauges::whole)
}

/// `jmx:1 says 12`, for each that says more than 0.
pub(super) fn names(total: &Total) -> impl Iterator<Item = String> {
    let parts = total.parts.iter().filter(|(_, part)| **part > 0.0);
    parts.map(|(node, part)| format!("jmx:{node} says {part}"))
}
