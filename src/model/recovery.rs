//! Log recovery after an unclean stop: the broker reads what it had not flushed before it may
//! serve, and the more there is the longer it takes.
//!
//! On KRaft it is registered and fenced meanwhile (recovery comes with the first published
//! metadata, `BrokerMetadataPublisher.initializeManagers`); its page says BrokerState 1,
//! PartitionCount 0 and how many logs remain (kafka-jmx-metrics.md, section 3.4). On ZooKeeper it
//! comes before the registration (`KafkaServer.startup`): state 2, no ReplicaManager beans.
//! Assumed: the whole log is read, and remaining logs fall evenly.

use super::state::{Millis, Node};
use super::{Cluster, NodeId};

/// A recovery that runs or has run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recovery {
    pub since: Millis,
    pub until: Millis,
    /// Logs to recover.
    pub logs: usize,
}

impl Recovery {
    /// Logs that remain at `now`; `None` once it is over.
    fn remaining(&self, now: Millis) -> Option<usize> {
        let left = self.until.checked_sub(now).filter(|left| *left > 0)?;
        let all = self.until.saturating_sub(self.since).max(1);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let all = usize::try_from(all).unwrap_or(usize::MAX);
        Some(self.logs.saturating_mul(left).div_ceil(all))
    }
}

impl Cluster {
    /// Begins recovery where the last stop was unclean, and answers how long it takes.
    pub(super) fn begin_recovery(&mut self, id: NodeId) -> Millis {
        if !self.nodes.get(&id).is_some_and(|node| node.unclean) {
            return 0;
        }
        let held = self.logs.values().filter_map(|log| log.replicas.get(&id));
        let (mut logs, mut records) = (0, 0_u64);
        for replica in held {
            logs += 1;
            records = records.saturating_add(replica.end / 1_000);
        }
        let rate = self.spec.timing.recovery_rate.max(1);
        let reading = records.saturating_mul(1_000) / rate;
        let takes = self.draw(self.spec.timing.recovery).saturating_add(reading);
        let takes = takes.saturating_mul(self.slowness(id));
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.recovery = Recovery {
                since: now,
                until: now.saturating_add(takes),
                logs,
            };
        }
        takes
    }

    /// Logs that the node has still to recover; `None` while it recovers nothing.
    pub(super) fn remaining_logs(&self, node: &Node) -> Option<usize> {
        let recovers = node.alive() && node.unclean;
        recovers
            .then(|| node.recovery.remaining(self.now))
            .flatten()
    }
}
