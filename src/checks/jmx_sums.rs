//! The cluster as the JMX pages add it up (reference `kafka-jmx-metrics.md` 3).

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::Metric;
use crate::evidence::known::Known;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

use super::gauges;

/// Sums over the brokers' pages, each leader counting its own partitions.
pub(super) fn sum_over_brokers(snapshot: &Snapshot<'_>, metric: Metric) -> Told {
    let mut told = Told::default();
    for (node, role, page) in gauges::pages(snapshot) {
        if role.broker
            && let Known::Is(count) = gauges::count(page.facts, metric)
        {
            told.add(node, count);
            told.value = Some(told.value.unwrap_or_default().saturating_add(count));
        }
    }
    told
}

/// The worst value over those controllers that have loaded the metadata: on KRaft every
/// controller counts for the whole cluster, a fresh one says 0 for a second. On ZooKeeper only
/// the active controller's page counts, all others say 0.
pub(super) fn worst_over_controllers(snapshot: &Snapshot<'_>, metric: Metric) -> Told {
    let mut told = Told::default();
    for (node, role, page) in gauges::pages(snapshot) {
        let above_zero = |metric| matches!(gauges::count(page.facts, metric), Known::Is(1..));
        let counts = match snapshot.kind() {
            ClusterKind::KRaft => role.controller && above_zero(Metric::GlobalPartitionCount),
            ClusterKind::ZooKeeper => above_zero(Metric::ActiveControllerCount),
            ClusterKind::Unknown => true,
        };
        if counts && let Known::Is(count) = gauges::count(page.facts, metric) {
            told.add(node, count);
            told.value = told.value.max(Some(count));
        }
    }
    told
}

/// A number of the cluster and who told it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The number; `None` when nobody told it.
    pub(super) value: Option<u64>,
    /// Who told more than 0, and how much.
    pub(super) by: Vec<(NodeId, u64)>,
}

impl Told {
    fn add(&mut self, node: NodeId, count: u64) {
        if count > 0 {
            self.by.push((node, count));
        }
    }

    /// `jmx:1 says 12`, for each that told more than 0.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.by
            .iter()
            .map(|(node, count)| format!("jmx:{node} says {count}"))
    }
}
