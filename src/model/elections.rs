//! Who may lead a partition, who stays in its ISR, and who is eligible beside it (ELR, KIP-966):
//! what `PartitionChangeBuilder` decides for every change of a partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::image::{Image, Partition, PartitionId, Registration, fit};
use super::{Cluster, NodeId};

/// The rules for one commit.
pub(super) struct Rules {
    brokers: BTreeMap<NodeId, Registration>,
    /// This one may not lead any more.
    without: Option<NodeId>,
    /// It lost its page cache, or may have: it is in no ELR any more.
    unclean_shutdown: Option<NodeId>,
    /// Partitions whose last in-sync member it is are left as they are.
    pub spares_last: bool,
    /// `unclean.leader.election.enable`.
    unclean: bool,
    /// `eligible.leader.replicas.version` 1 is finalized.
    elr: bool,
    min_isr: u32,
    of_topics: BTreeMap<Arc<str>, u32>,
}

impl Rules {
    pub(super) fn new(cluster: &Cluster, image: &Image, without: Option<NodeId>) -> Self {
        let topics = image.topics.iter();
        let own = topics.filter_map(|(name, topic)| Some((name.clone(), topic.min_isr?)));
        Self {
            brokers: image.brokers.clone(),
            without,
            unclean_shutdown: None,
            spares_last: false,
            unclean: cluster.spec.settings.unclean_leader_election,
            elr: cluster.spec.elr,
            min_isr: cluster.spec.settings.min_insync_replicas,
            of_topics: own.collect(),
        }
    }

    fn may_lead(&self, id: NodeId, partition: &Partition) -> bool {
        Some(id) != self.without && fit(&self.brokers, id, partition)
    }

    /// `ReplicationControlManager.getTopicEffectiveMinIsr`.
    fn min_isr(&self, id: &PartitionId, partition: &Partition) -> usize {
        let own = self.of_topics.get(&id.0).copied().unwrap_or(self.min_isr);
        let configured = usize::try_from(own).unwrap_or(usize::MAX);
        configured.min(partition.replicas.len())
    }

    /// Gives the partition this ISR, and another leader where its own may not lead. Without ELR
    /// the last member stays, so that it can lead again when it is back
    /// (`PartitionChangeBuilder.build`).
    pub(super) fn apply(
        &self,
        id: &PartitionId,
        partition: &mut Partition,
        isr: Vec<NodeId>,
        bump: bool,
    ) {
        let before = std::mem::take(&mut partition.isr);
        partition.isr = if isr.is_empty() && !self.elr {
            before.clone()
        } else {
            isr
        };
        self.renew_elr(id, partition, &before);
        let shrinks = partition.isr.len() < before.len();
        let old = partition.leader;
        let stays = old.filter(|l| partition.isr.contains(l) && self.may_lead(*l, partition));
        let leader = stays.or_else(|| self.elect(partition));
        if leader != old {
            if let (None, Some(lost), true) = (leader, old, self.elr && partition.isr.is_empty()) {
                partition.last_known_elr = vec![lost];
            }
            partition.leader = leader;
            partition.leader_epoch += 1;
        } else if shrinks {
            partition.leader_epoch += i32::from(bump);
        }
        // An eligible replica that leads now is in the ISR.
        let elr = std::mem::take(&mut partition.elr);
        let out = |member: &NodeId| !partition.isr.contains(member);
        let kept: Vec<NodeId> = elr.into_iter().filter(out).collect();
        partition.elr = kept;
    }

    /// While the ISR is below min ISR nothing is acknowledged, so whoever was in it holds
    /// everything that was (`PartitionChangeBuilder.maybePopulateTargetElr`). Assumed: the last
    /// known leader is forgotten when the ISR is back at min ISR; there, with any new leader.
    fn renew_elr(&self, id: &PartitionId, partition: &mut Partition, before: &[NodeId]) {
        if !self.elr || partition.isr.len() >= self.min_isr(id, partition) {
            partition.elr.clear();
            if !partition.isr.is_empty() {
                partition.last_known_elr.clear();
            }
            return;
        }
        let mut elr: Vec<NodeId> = partition.elr.iter().chain(before).copied().collect();
        elr.sort_unstable();
        elr.dedup();
        elr.retain(|member| {
            !partition.isr.contains(member) && Some(*member) != self.unclean_shutdown
        });
        partition.elr = elr;
    }

    /// The first replica of the assignment that is in the ISR and may lead. With an empty ISR an
    /// eligible one, then the last known leader; at last, where that is allowed, anyone (unclean;
    /// `PartitionChangeBuilder.electAnyLeader`).
    fn elect(&self, partition: &mut Partition) -> Option<NodeId> {
        let find = |wanted: &dyn Fn(NodeId) -> bool| {
            let mut order = partition.replicas.iter().copied();
            order.find(|id| wanted(*id) && self.may_lead(*id, partition))
        };
        let in_sync = find(&|id| partition.isr.contains(&id));
        if in_sync.is_some() {
            return in_sync;
        }
        let mut found = None;
        if partition.isr.is_empty() {
            found = find(&|id| partition.elr.contains(&id));
            if found.is_none() && partition.elr.is_empty() {
                found = find(&|id| partition.last_known_elr == [id]);
            }
        }
        if found.is_none() && self.unclean {
            found = find(&|_| true);
        }
        if let Some(leader) = found {
            partition.isr = vec![leader];
        }
        found
    }

    /// Takes `broker` out of ISRs and leaderships of the partitions in these log dirs, one bit
    /// each.
    pub(super) fn remove(
        image: &mut Image,
        rules: &Self,
        broker: NodeId,
        dirs: u32,
        bump: bool,
    ) -> i64 {
        image.change(
            |partition| {
                let there = partition.isr.contains(&broker) || partition.leader == Some(broker);
                let spared = rules.spares_last && partition.isr.len() == 1;
                there && !spared && dirs & 1_u32.checked_shl(partition.log_dir).unwrap_or(0) != 0
            },
            |id, partition| {
                let left = partition.isr.iter().copied().filter(|m| *m != broker);
                let left = left.collect();
                rules.apply(id, partition, left, bump);
            },
        )
    }

    /// A broker that is back after an unclean stop may have lost what it had not flushed: with
    /// ELR it is in no ISR and no ELR any more (`ReplicationControlManager.handleBrokerShutdown`,
    /// told by the broker epoch of its last clean stop, `CleanShutdownFileHandler`).
    pub(super) fn forget_unclean(image: &mut Image, cluster: &Cluster, broker: NodeId) -> i64 {
        if !cluster.spec.elr {
            return 0;
        }
        let mut rules = Self::new(cluster, image, Some(broker));
        rules.unclean_shutdown = Some(broker);
        image.change(
            |partition| partition.isr.contains(&broker) || partition.elr.contains(&broker),
            |id, partition| {
                let left = partition.isr.iter().copied().filter(|m| *m != broker);
                let left = left.collect();
                rules.apply(id, partition, left, false);
            },
        )
    }

    /// Looks again for leaders of partitions that have none
    /// (`ReplicationControlManager.handleBrokerUnfenced`).
    pub(super) fn elect_leaders(&self, image: &mut Image) -> i64 {
        image.change(
            |partition| partition.leader.is_none(),
            |id, partition| {
                let isr = partition.isr.clone();
                self.apply(id, partition, isr, false);
            },
        )
    }
}
