//! What a simple rule says at the same moment, and what is true. The rule is the one that many
//! pipelines use: `sum(UnderReplicatedPartitions) == 0` over the exporters that answer. It reads
//! the very pages that the gate reads, without Prometheus' own delay.

use crate::model::{Cluster, NodeId, Page};

/// One moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// The sum, where any exporter shows the metric.
    pub(super) sum: Option<u64>,
    /// Nodes without a process: the truth, from the model.
    pub(super) down: Vec<NodeId>,
    /// Partitions whose committed ISR is short: the truth, from the model.
    pub(super) short: usize,
}

impl Moment {
    /// Looks at the cluster now.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let ids = cluster.spec().nodes.iter().map(|node| node.id);
        let sums: Vec<f64> = ids
            .clone()
            .filter_map(|id| under_replicated(cluster, id))
            .collect();
        Self {
            sum: (!sums.is_empty()).then(|| whole(sums.iter().sum())),
            down: ids
                .filter(|id| cluster.process_start(*id).is_none())
                .collect(),
            short: cluster
                .committed_image()
                .partitions()
                .filter(|(_, _, _, partition)| partition.under_replicated())
                .count(),
        }
    }

    /// What the rule says.
    pub(super) fn goes_on(&self) -> bool {
        self.sum == Some(0)
    }

    /// Whether taking one more node down now would be a second one missing somewhere.
    pub(super) fn is_unsafe(&self) -> bool {
        !self.down.is_empty() || self.short > 0
    }

    /// The truth in words.
    pub(super) fn truth(&self) -> String {
        let down: Vec<_> = self.down.iter().map(ToString::to_string).collect();
        match (down.join(", "), self.short) {
            (down, 0) if down.is_empty() => String::from("nothing is missing"),
            (down, short) if down.is_empty() => format!("{short} partitions lack a replica"),
            (down, 0) => format!("node {down} is down"),
            (down, short) => format!("node {down} is down, {short} partitions lack a replica"),
        }
    }
}

/// `UnderReplicatedPartitions` of one node's page, as the exporter's default format writes it.
fn under_replicated(cluster: &Cluster, id: NodeId) -> Option<f64> {
    let Page::Text { body, .. } = cluster.jmx_page(id) else {
        return None;
    };
    let series = "kafka_server_ReplicaManager_Value{name=\"UnderReplicatedPartitions\"";
    let line = body.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of partitions"
)]
fn whole(sum: f64) -> u64 {
    sum.max(0.0) as u64
}
