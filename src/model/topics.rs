//! Topics that come and go: deletion, and creation under a name that was there before.

use std::sync::Arc;

use super::life::OperationError;
use super::replication::PartitionLog;
use super::start::new_topic;
use super::state::Position;
use super::{Cluster, NodeId, Release, TopicSpec};

impl Cluster {
    /// Makes a topic now, on the brokers that are in service. A name that was deleted before gets
    /// a new topic id and begins at leader epoch 0 again (KIP-516).
    ///
    /// # Errors
    /// When the name is taken, too few brokers are in service, or nobody can commit it.
    pub fn create_topic(&mut self, topic: &TopicSpec) -> Result<(), OperationError> {
        if self.image.topics.contains_key(topic.name.as_str()) {
            return Err(OperationError::Taken(topic.name.clone()));
        }
        let registered = self.image.brokers.iter();
        let active = registered.filter(|(_, registration)| registration.active());
        let brokers: Vec<NodeId> = active.map(|(id, _)| *id).collect();
        let wanted = usize::try_from(topic.replication).unwrap_or(usize::MAX);
        if wanted == 0 || wanted > brokers.len() {
            return Err(OperationError::Brokers(topic.replication, brokers.len()));
        }
        self.controller()?;
        self.operate(|cluster| cluster.make_topic(topic, &brokers));
        Ok(())
    }

    fn make_topic(&mut self, topic: &TopicSpec, brokers: &[NodeId]) {
        let name: Arc<str> = topic.name.as_str().into();
        let dirs = self.spec.settings.log_dirs;
        let made = Arc::new(new_topic(topic, brokers, dirs, &mut self.random));
        for (index, partition) in (0_u32..).zip(&made.partitions) {
            let log = PartitionLog::new(&partition.replicas, topic.rate, 0, self.now);
            self.logs.insert((name.clone(), index), log);
        }
        self.commit(|image, _| {
            let records = 1 + i64::try_from(made.partitions.len()).unwrap_or(0);
            image.topics.insert(name, made);
            records
        });
        self.mark_stale_copies();
    }

    /// Deletes a topic and its records. Brokers that are down keep their copies.
    ///
    /// # Errors
    /// When there is no such topic, or nobody can commit it.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), OperationError> {
        if !self.image.topics.contains_key(name) {
            return Err(OperationError::NoName("topic", name.to_owned()));
        }
        self.controller()?;
        if self.spec.zookeeper {
            // There a topic stays until every broker that holds it has deleted its copy
            // (`TopicDeletionManager`).
            let mut held = self.logs.iter().filter(|(id, _)| *id.0 == *name);
            let down = |id: &&NodeId| self.process_start(**id).is_none();
            if let Some(id) = held.find_map(|(_, log)| log.replicas.keys().find(down)) {
                return Err(OperationError::Node(*id, "down"));
            }
        }
        self.operate(|cluster| {
            cluster.keep_strays(name);
            cluster.logs.retain(|id, _| *id.0 != *name);
            cluster.commit(|image, _| i64::from(image.topics.remove(name).is_some()));
        });
        Ok(())
    }

    pub(super) fn controller(&self) -> Result<NodeId, OperationError> {
        self.committing().ok_or(OperationError::NoController)
    }

    fn keep_strays(&mut self, name: &str) {
        for (id, log) in self.logs.iter().filter(|(id, _)| *id.0 == *name) {
            for node in log.replicas.keys() {
                let down = self.nodes.get(node).is_some_and(|node| !node.alive());
                if down {
                    self.strays.entry(*node).or_default().insert(id.clone());
                }
            }
        }
    }

    /// Up to 3.6 a broker that was down while a topic was deleted throws that log away only after
    /// its replica manager has begun (`BrokerMetadataPublisher.findStrayPartitions`), and so has no
    /// replica of a new topic of the same name (KAFKA-14616, mended in 3.7). Assumed: it keeps the
    /// old log, for ever; there it holds nothing, and one more restart mends it.
    pub(super) fn mark_stale_copies(&mut self) {
        let old = self.strays.keys().copied();
        let old: Vec<NodeId> = old.filter(|id| self.keeps_strays(*id)).collect();
        for node in old {
            for id in self.strays.get(&node).into_iter().flatten() {
                // Never on a broker that lived through both: it threw the old log away.
                let log = self.logs.get_mut(id);
                if let Some(replica) = log.and_then(|log| log.replicas.get_mut(&node)) {
                    replica.stale = true;
                }
            }
        }
    }

    fn keeps_strays(&self, node: NodeId) -> bool {
        let release = self.nodes.get(&node).map(|node| node.release);
        release.is_some_and(|release| release < Release::V3_7)
    }

    /// A broker that has read the metadata after its start throws strays away, from 3.7 on before
    /// its replica manager begins (`BrokerMetadataPublisher.initializeManagers`).
    pub(super) fn drop_strays(&mut self, node: NodeId) {
        let read = self
            .nodes
            .get(&node)
            .is_some_and(|node| node.loaded && matches!(node.position, Position::Following));
        if read && !self.keeps_strays(node) && self.strays.remove(&node).is_some() {
            for log in self.logs.values_mut() {
                if let Some(replica) = log.replicas.get_mut(&node) {
                    replica.stale = false;
                }
            }
        }
    }

    /// Partitions that the node holds and cannot follow.
    pub(super) fn stale_copies(&self, node: NodeId) -> usize {
        let copies = self.logs.values().filter_map(|log| log.replicas.get(&node));
        copies.filter(|replica| replica.stale).count()
    }
}
