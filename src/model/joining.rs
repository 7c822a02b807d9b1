//! Brokers that come and go for good: new empty ones, emptied ones, leftover registrations.
//!
//! A new broker registers and holds nothing: Kafka moves no partition by itself. What a drain does
//! is one call of `kafka-reassign-partitions.sh` (KIP-455); spreading the replicas over whoever
//! lacks them is assumed, every tool has its own plan. A registration is a record of the metadata
//! log (KIP-631) and stays until UnregisterBroker removes it
//! (`ReplicationControlManager.unregisterBroker`).

use super::elections::Rules;
use super::image::PartitionId;
use super::life::OperationError;
use super::{Cluster, NodeId};

impl Cluster {
    /// Moves every replica of `id` to another broker in service that lacks it, as people do
    /// before they decommission a broker. Partitions for which there is no such broker stay.
    /// Answers how many began to move; they are done when the copies are made.
    ///
    /// # Errors
    /// When the node does not exist, or nobody can commit a change.
    pub fn drain(&mut self, id: NodeId) -> Result<usize, OperationError> {
        self.known(id)?;
        self.controller()?;
        let brokers = self.image.brokers.iter();
        let others: Vec<NodeId> = brokers
            .filter(|(other, registration)| **other != id && registration.active())
            .map(|(other, _)| *other)
            .collect();
        let mut moves: Vec<(PartitionId, Vec<NodeId>)> = Vec::new();
        for (name, index, _, partition) in self.image.partitions() {
            if !partition.replicas.contains(&id) {
                continue;
            }
            let free = others.iter().filter(|o| !partition.replicas.contains(o));
            let free: Vec<NodeId> = free.copied().collect();
            // Spread over who is free.
            let turn = moves.len().checked_rem(free.len());
            let Some(instead) = turn.and_then(|turn| free.get(turn)) else {
                continue;
            };
            let target = partition.replicas.iter();
            let target = target.map(|old| if *old == id { *instead } else { *old });
            moves.push(((name.clone(), index), target.collect()));
        }
        for ((name, index), target) in &moves {
            self.reassign(name, *index, target)?;
        }
        Ok(moves.len())
    }

    /// Forgets the registration of a broker that is down (`kafka-cluster.sh unregister`). Until
    /// somebody does, a decommissioned broker stays registered and fenced for ever. Assumed: nobody
    /// does so while it runs, which Kafka would let them.
    ///
    /// # Errors
    /// When the broker is not registered, still runs, or nobody can commit it.
    pub fn unregister(&mut self, id: NodeId) -> Result<(), OperationError> {
        if !self.image.brokers.contains_key(&id) {
            return Err(OperationError::NoNode(id));
        }
        if self.process_start(id).is_some() {
            return Err(OperationError::Node(id, "running"));
        }
        self.controller()?;
        self.operate(|cluster| {
            let bump = cluster.bumps_epoch_on_shrink();
            cluster.commit(|image, cluster| {
                let rules = Rules::new(cluster, image, Some(id));
                let removed = Rules::remove(image, &rules, id, u32::MAX, bump);
                image.brokers.remove(&id);
                1 + removed
            });
            cluster.sessions.remove(&id);
        });
        Ok(())
    }
}
