//! Logs and followers: who holds how many records, who falls out of an ISR and who comes back.
//!
//! Logs are fluid: between two events every end moves on a straight line, so a step of an hour
//! costs the same as one of a millisecond. Ends are kept in thousandths of a record, because
//! records per second times milliseconds is just that.

use std::collections::BTreeMap;

use super::elections::Rules;
use super::image::{Partition, PartitionId};
use super::state::{BrokerPhase, Event, Millis, Node};
use super::{Cluster, NodeId};

/// One partition's log on every replica.
#[derive(Clone, Debug)]
pub(super) struct PartitionLog {
    /// Records per second that producers send.
    pub rate: u64,
    /// The moment all ends below are true for.
    pub at: Millis,
    /// In thousandths of a record.
    pub high_watermark: u64,
    /// What producers with acks=all know to be written, in thousandths of a record.
    pub acknowledged: u64,
    /// Thousandths of acknowledged records that no leader has any more.
    pub lost: u64,
    /// Since when its leader leads.
    pub led_since: Millis,
    pub replicas: BTreeMap<NodeId, ReplicaLog>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicaLog {
    /// Log end in thousandths of a record.
    pub end: u64,
    /// When it last had read to the leader's end (`ReplicaState.lastCaughtUpTimeMs`).
    pub caught_up_at: Millis,
    /// Thousandths of records that its present process has taken from producers.
    pub produced: u64,
    /// On disk is the log of an earlier topic of this name: nothing can be fetched into it.
    pub stale: bool,
}

impl PartitionLog {
    /// A log whose replicas all hold the same.
    pub(super) fn new(replicas: &[NodeId], rate: u64, end: u64, at: Millis) -> Self {
        let replica = ReplicaLog {
            end,
            caught_up_at: at,
            produced: 0,
            stale: false,
        };
        Self {
            rate,
            at,
            high_watermark: end,
            acknowledged: end,
            lost: 0,
            led_since: 0,
            replicas: replicas.iter().map(|id| (*id, replica)).collect(),
        }
    }

    /// What the new leader lacks is gone: followers cut it off (KIP-101).
    pub(super) fn be_led_by(&mut self, leader: Option<NodeId>) {
        let end = leader.and_then(|id| self.replicas.get(&id)).map(|r| r.end);
        if let Some(end) = end {
            self.lost += self.acknowledged.saturating_sub(end);
            self.acknowledged = self.acknowledged.min(end);
            self.high_watermark = self.high_watermark.min(end);
        }
    }
}

/// The time an ISR change takes to be agreed with the controller (AlterPartition, KIP-497).
/// Assumed: 20 ms, nobody has measured it.
const ALTER_ISR: Millis = 20;
/// A copy of the metadata that comes no later than this comes soon enough: until then its broker is taken
/// for one that knows what it leads (assumed; publishing takes milliseconds).
const SOON: Millis = 1_000;
/// `replica.fetch.wait.max.ms`; recorded: 0.5 or 1.0 s from unfenced to full ISRs of idle
/// partitions (tests/fixtures/traces/return.json).
const FETCH_WAIT: Millis = 500;

impl Cluster {
    /// The broker serves `partition` if it leads it: it knows that, and the log dir is online too.
    pub(super) fn serves_partition(
        &self,
        broker: NodeId,
        id: &PartitionId,
        partition: &Partition,
    ) -> bool {
        self.serves(broker)
            && self.disk_online(broker, partition.log_dir)
            && self.knows_it_leads(broker, id)
    }

    /// A leader is one once its own image of the metadata says so (`ReplicaManager.applyDelta`). On
    /// ZooKeeper it is told apart from the rest of the metadata (LeaderAndIsr).
    fn knows_it_leads(&self, broker: NodeId, (topic, index): &PartitionId) -> bool {
        let knows = |node: &Node| {
            let own = node.image.partition(topic, *index);
            own.is_some_and(|own| own.leader == Some(broker))
        };
        let node = self.nodes.get(&broker);
        self.spec.zookeeper || node.is_some_and(|node| node.metadata_lag <= SOON || knows(node))
    }

    /// The follower copies `partition` from `leader` now.
    fn copies(
        &self,
        follower: NodeId,
        leader: NodeId,
        partition: &Partition,
        log: &PartitionLog,
    ) -> bool {
        let stale = log
            .replicas
            .get(&follower)
            .is_some_and(|replica| replica.stale);
        !stale && self.fetches(follower, leader) && self.disk_online(follower, partition.log_dir)
    }

    /// The broker serves reads and writes of partitions it leads.
    pub(super) fn serves(&self, broker: NodeId) -> bool {
        self.nodes.get(&broker).is_some_and(|node| {
            !node.frozen && matches!(node.broker, BrokerPhase::Running | BrokerPhase::Leaving)
        })
    }

    fn fetches(&self, follower: NodeId, leader: NodeId) -> bool {
        let phase_fetches = self
            .nodes
            .get(&follower)
            .is_some_and(|node| match node.broker {
                // Logs come first.
                BrokerPhase::Registered => !node.frozen && !node.unclean,
                BrokerPhase::CaughtUp | BrokerPhase::Running | BrokerPhase::Leaving => !node.frozen,
                BrokerPhase::Off
                | BrokerPhase::Jvm
                | BrokerPhase::Starting
                | BrokerPhase::Closing => false,
            });
        phase_fetches && self.linked(follower, leader)
    }

    /// Brings every log to now. To be called before anything that logs depend on changes.
    pub(super) fn settle_logs(&mut self) {
        let mut logs = std::mem::take(&mut self.logs);
        for (id, log) in &mut logs {
            self.settle(id, log);
        }
        self.logs = logs;
    }

    /// Where `id`'s log is now, without changing anything.
    pub(super) fn log_now(&self, id: &PartitionId) -> Option<PartitionLog> {
        let mut log = self.logs.get(id)?.clone();
        self.settle(id, &mut log);
        Some(log)
    }

    fn settle(&self, id: &PartitionId, log: &mut PartitionLog) {
        let elapsed = self.now.saturating_sub(log.at);
        log.at = self.now;
        let Some(topic) = self.image.topics.get(&id.0) else {
            return;
        };
        let Some(partition) = self.image.partition(&id.0, id.1) else {
            return;
        };
        let Some(leader) = partition
            .leader
            .filter(|leader| self.serves_partition(*leader, id, partition))
        else {
            return;
        };
        let release = self
            .nodes
            .get(&leader)
            .map_or(self.spec.finalized, |node| node.release);
        let accepted = partition.isr.len() >= self.min_isr(topic, partition, release);
        let rate = if accepted { log.rate } else { 0 };
        let copying: Vec<NodeId> = partition
            .replicas
            .iter()
            .copied()
            .filter(|id| *id != leader && self.copies(*id, leader, partition, log))
            .collect();
        let Some(first) = log.replicas.get_mut(&leader) else {
            return;
        };
        first.end += rate * elapsed;
        first.produced += rate * elapsed;
        first.caught_up_at = self.now;
        let end = first.end;
        let behind = rate * self.spec.timing.fetch_lag;
        let mut lowest = end;
        for (follower, replica) in &mut log.replicas {
            let member = partition.isr.contains(follower);
            if copying.contains(follower) {
                // What a dead leader had and this one lacks is cut off (KIP-101).
                replica.end = replica.end.min(end);
                let speed = self.copy_rate(*follower, leader);
                let reach = replica.end.saturating_add(speed.saturating_mul(elapsed));
                replica.end = reach.min(end.saturating_sub(behind)).max(replica.end);
                if replica.end + behind >= end {
                    replica.caught_up_at = self.now;
                }
            }
            // The high watermark also waits for a caught-up replica that may join the ISR, so
            // that one on a busy partition can (`Partition.maybeIncrementLeaderHW`). Assumed:
            // caught up now; there, within `replica.lag.time.max.ms`.
            let joining = replica.caught_up_at == self.now && self.image.fit(*follower, partition);
            if member || joining {
                lowest = lowest.min(replica.end);
            }
        }
        // From 3.7 on it stands still below min ISR (KAFKA-15583); before, records get there
        // that their producers were told are not acknowledged.
        if accepted || release < super::Release::V3_7 {
            log.high_watermark = log.high_watermark.max(lowest);
        }
        if accepted {
            log.acknowledged = log.acknowledged.max(log.high_watermark);
        }
    }

    /// The partition's leader, if it serves and can have ISR changes committed.
    fn leader_in_touch(&self, id: &PartitionId, partition: &Partition) -> Option<NodeId> {
        let controller = self.committing()?;
        let leader = partition
            .leader
            .filter(|leader| self.serves_partition(*leader, id, partition))?;
        (leader == controller || self.linked(leader, controller)).then_some(leader)
    }

    /// A follower may come back into the ISR: it has read up to the high watermark
    /// (`Partition.isFollowerInSync`) and is neither fenced nor shutting down (KIP-841).
    fn returning(&self, id: &PartitionId, partition: &Partition) -> Vec<NodeId> {
        let Some(log) = self.logs.get(id) else {
            return Vec::new();
        };
        let Some(leader) = self.leader_in_touch(id, partition) else {
            return Vec::new();
        };
        let missing = partition
            .replicas
            .iter()
            .filter(|id| !partition.isr.contains(id));
        missing
            .filter(|id| self.image.fit(**id, partition))
            .filter(|id| self.copies(**id, leader, partition, log))
            .filter(|id| {
                log.replicas
                    .get(id)
                    .is_some_and(|r| r.end >= log.high_watermark)
            })
            .copied()
            .collect()
    }

    /// Lets followers that have caught up into their ISRs.
    pub(super) fn expand_isrs(&mut self) {
        self.replicate_due = None;
        if self.committing().is_none() {
            return;
        }
        let mut grown: Vec<(PartitionId, Vec<NodeId>)> = Vec::new();
        for (name, index, _, partition) in self.image.partitions() {
            if partition.isr.len() < partition.replicas.len() {
                let id = (name.clone(), index);
                let back = self.returning(&id, partition);
                if !back.is_empty() {
                    grown.push((id, back));
                }
            }
        }
        if grown.is_empty() {
            return;
        }
        let grown: BTreeMap<PartitionId, Vec<NodeId>> = grown.into_iter().collect();
        let mut leaders = Vec::new();
        self.commit(|image, cluster| {
            let rules = Rules::new(cluster, image, None);
            image.change(
                |partition| partition.isr.len() < partition.replicas.len(),
                |id, partition| {
                    let Some(back) = grown.get(id) else { return };
                    leaders.extend(back.iter().filter_map(|_| partition.leader));
                    let isr = partition.isr.iter().chain(back).copied().collect();
                    rules.apply(id, partition, isr, false);
                },
            )
        });
        for leader in leaders {
            if let Some(node) = self.nodes.get_mut(&leader) {
                node.isr_expands += 1;
            }
        }
    }

    /// Queues the next look at followers that are catching up.
    pub(super) fn plan_replication(&mut self) {
        if self.committing().is_none() {
            return;
        }
        let lacking = self
            .image
            .partitions()
            .filter(|(_, _, _, partition)| partition.isr.len() < partition.replicas.len());
        let mut soonest: Option<Millis> = None;
        for (name, index, _, partition) in lacking {
            let wait = self.catch_up_time(&(name.clone(), index), partition);
            soonest = match (soonest, wait) {
                (Some(known), Some(wait)) => Some(known.min(wait)),
                (known, wait) => known.or(wait),
            };
        }
        let Some(wait) = soonest else { return };
        let due = self.now + wait + ALTER_ISR;
        if self.replicate_due.is_none_or(|known| due < known) {
            self.replicate_due = Some(due);
            self.after(wait + ALTER_ISR, Event::Replicate);
        }
    }

    fn catch_up_time(&self, id: &PartitionId, partition: &Partition) -> Option<Millis> {
        let leader = self.leader_in_touch(id, partition)?;
        let log = self.logs.get(id)?;
        let mut soonest = None;
        for follower in partition
            .replicas
            .iter()
            .filter(|id| !partition.isr.contains(id))
        {
            let fit = self.image.fit(*follower, partition);
            if !fit || !self.copies(*follower, leader, partition, log) {
                continue;
            }
            let speed = self.copy_rate(*follower, leader);
            let missing = log
                .high_watermark
                .saturating_sub(log.replicas.get(follower)?.end);
            let wait = missing
                .checked_div(speed.saturating_sub(log.rate))
                .map(|ms| ms + 1);
            // With nothing to read a follower's next fetch comes when the last one has waited.
            let idle = if log.rate == 0 { FETCH_WAIT } else { 0 };
            let wait = if missing == 0 { Some(idle) } else { wait };
            soonest = match (soonest, wait) {
                (Some(known), Some(wait)) => Some(std::cmp::min::<Millis>(known, wait)),
                (known, wait) => known.or(wait),
            };
        }
        soonest
    }

    pub(super) fn queue_isr_check(&mut self, node: NodeId, run: u64) {
        let half = self.spec.settings.replica_lag_time_max / 2;
        let delay = self.draw((1, half.max(1)));
        self.after(delay, Event::IsrCheck { node, run });
    }

    /// A leader drops followers that have not been at its end for `replica.lag.time.max.ms`; a
    /// follower whose end equals the leader's counts as caught up for ever, so idle partitions
    /// never shrink this way (`ReplicaState.isCaughtUp`). The check runs every half of that time
    /// (`ReplicaManager.maybeShrinkIsr`).
    pub(super) fn check_isrs(&mut self, leader: NodeId, run: u64) {
        let Some(node) = self.nodes.get(&leader).filter(|node| node.run == run) else {
            return;
        };
        let (frozen, offline) = (node.frozen, node.disks.offline.clone());
        let half = self.spec.settings.replica_lag_time_max / 2;
        self.after(half.max(1), Event::IsrCheck { node: leader, run });
        let Some(controller) = self.committing() else {
            return;
        };
        if frozen || !self.serves(leader) || !self.linked(leader, controller) {
            return;
        }
        let limit = self.spec.settings.replica_lag_time_max;
        let logs = std::mem::take(&mut self.logs);
        let now = self.now;
        let mut shrunk = 0;
        // On ZooKeeper the epoch stays when the leader shrinks its ISR
        // (`KafkaController.tryProcessAlterPartition`).
        let bump = !self.spec.zookeeper && self.bumps_epoch_on_shrink();
        self.commit(|image, cluster| {
            let rules = Rules::new(cluster, image, None);
            image.change(
                |partition| {
                    let leads = partition.leader == Some(leader) && partition.isr.len() > 1;
                    leads && !offline.contains(&partition.log_dir)
                },
                |id, partition| {
                    let known = cluster.knows_it_leads(leader, id);
                    let Some(log) = logs.get(id).filter(|_| known) else {
                        return;
                    };
                    let end = log.replicas.get(&leader).map_or(0, |replica| replica.end);
                    let stays = |member: &NodeId| {
                        *member == leader
                            || log.replicas.get(member).is_some_and(|replica| {
                                replica.end >= end || now - replica.caught_up_at <= limit
                            })
                    };
                    let left: Vec<NodeId> = partition.isr.iter().copied().filter(stays).collect();
                    if left.len() < partition.isr.len() {
                        shrunk += 1;
                        rules.apply(id, partition, left, bump);
                    }
                },
            )
        });
        self.logs = logs;
        if let Some(node) = self.nodes.get_mut(&leader) {
            node.isr_shrinks += shrunk;
        }
    }

    /// Before metadata.version 3.6-IV0 every ISR shrink also raised the leader epoch (KAFKA-15021,
    /// `PartitionChangeBuilder.triggerLeaderEpochBumpForIsrShrinkIfNeeded`); on ZooKeeper one that
    /// the controller makes always does (`ZkReplicaStateMachine.doRemoveReplicasFromIsr`).
    pub(super) fn bumps_epoch_on_shrink(&self) -> bool {
        self.spec.zookeeper || self.spec.finalized < super::Release::V3_6
    }
}
