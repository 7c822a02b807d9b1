//! Reassignments (KIP-455): a partition gets other replicas. The new ones are added, catch up, and
//! only when the whole target is in the ISR the old ones go
//! (`KafkaController.isReassignmentComplete`). Assumed on KRaft too, where those that were there
//! before may lack, unless the partition ends with fewer replicas
//! (`PartitionReassignmentReplicas.maybeCompleteReassignment`).

use super::image::{Partition, fit};
use super::life::OperationError;
use super::replication::ReplicaLog;
use super::state::Millis;
use super::{Cluster, NodeId};

impl Cluster {
    /// Begins to move a partition to `replicas` (`kafka-reassign-partitions.sh`); a second call
    /// replaces the target. Assumed: what the first one added goes at once; there it is removed at
    /// the end, like the old ones (`ReplicationControlManager.changePartitionReassignment`).
    ///
    /// # Errors
    /// When the partition or a node does not exist, or nobody can commit it.
    pub fn reassign(
        &mut self,
        topic: &str,
        index: u32,
        replicas: &[NodeId],
    ) -> Result<(), OperationError> {
        for id in replicas {
            self.known(*id)?;
        }
        let known = self.image.partition(topic, index).is_some();
        if !known || replicas.is_empty() {
            return Err(OperationError::NoName(
                "partition",
                format!("{topic}-{index}"),
            ));
        }
        self.controller()?;
        self.operate(|cluster| cluster.begin_move(topic, index, replicas));
        Ok(())
    }

    fn begin_move(&mut self, topic: &str, index: u32, target: &[NodeId]) {
        self.commit(|image, _| {
            image.change_one(topic, index, |partition| {
                let old: Vec<NodeId> = partition
                    .replicas
                    .iter()
                    .copied()
                    .filter(|id| !partition.adding.contains(id))
                    .collect();
                partition.adding = target
                    .iter()
                    .copied()
                    .filter(|id| !old.contains(id))
                    .collect();
                partition.removing = old
                    .iter()
                    .copied()
                    .filter(|id| !target.contains(id))
                    .collect();
                // The target first, as in `PartitionReassignmentReplicas`.
                partition.replicas = target.to_vec();
                partition.replicas.extend(&partition.removing);
            })
        });
        let at: Millis = self.now;
        if let Some(log) = self.logs.get_mut(&(topic.into(), index)) {
            for id in target {
                let empty = ReplicaLog {
                    end: 0,
                    caught_up_at: at,
                    produced: 0,
                    stale: false,
                };
                log.replicas.entry(*id).or_insert(empty);
            }
        }
        self.finish_moves();
    }

    /// Completes reassignments whose target is wholly in sync.
    pub(super) fn finish_moves(&mut self) {
        if self.committing().is_none() {
            return;
        }
        let mut done = Vec::new();
        self.commit(|image, _| {
            let brokers = image.brokers.clone();
            image.change(finished, |id, partition| {
                let removing = std::mem::take(&mut partition.removing);
                partition.adding.clear();
                partition.replicas.retain(|id| !removing.contains(id));
                partition.isr.retain(|id| !removing.contains(id));
                partition.elr.retain(|id| !removing.contains(id));
                // Without one of the old replicas the epoch goes up in any case
                // (`PartitionChangeBuilder.triggerLeaderEpochBumpForReplicaReassignmentIfNeeded`).
                // Assumed: also where none goes.
                partition.leader_epoch += 1;
                if partition
                    .leader
                    .is_none_or(|leader| removing.contains(&leader))
                {
                    let may_lead =
                        |id: &NodeId| partition.isr.contains(id) && fit(&brokers, *id, partition);
                    partition.leader = partition.replicas.iter().copied().find(may_lead);
                }
                done.push(id.clone());
            })
        });
        for id in done {
            let replicas = self
                .image
                .partition(&id.0, id.1)
                .map(|p| p.replicas.clone());
            if let (Some(log), Some(replicas)) = (self.logs.get_mut(&id), replicas) {
                log.replicas.retain(|id, _| replicas.contains(id));
            }
        }
    }
}

fn finished(partition: &Partition) -> bool {
    let moves = !partition.adding.is_empty() || !partition.removing.is_empty();
    let mut target = partition
        .replicas
        .iter()
        .filter(|id| !partition.removing.contains(id));
    moves && target.all(|id| partition.isr.contains(id))
}
