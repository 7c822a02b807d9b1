//! What an oracle asks: would stopping these nodes cost acknowledged records or availability?
//!
//! Producers write with acks=all: a record counts as acknowledged once every member of the ISR
//! has it while the ISR has at least `min.insync.replicas` members
//! (`Partition.appendRecordsToLeader`, `Partition.checkEnoughReplicasReachOffset`).
//!
//! What counts as harm is our own reading of what Kafka promises, not behaviour of Kafka: producers
//! with acks=all are refused below min ISR (`NotEnoughReplicasException`), nobody serves a
//! partition without a leader, and an unclean election loses what the new leader lacks
//! (`PartitionChangeBuilder.tryElection`). Assumed: a controlled stop and a kill end the same, and
//! a broker that does not hear the controller takes over nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{Partition, PartitionId, Topic};
use super::replication::PartitionLog;
use super::{Cluster, Link, Listener, NodeId, Release};

/// What stopping nodes does to a partition, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Producers with acks=all are refused.
    UnderMinIsr,
    /// Nobody can read or write it; its records are still on a disk.
    Offline,
    /// Another replica leads (unclean election, an empty disk) and lacks so many acknowledged
    /// records.
    Lost {
        /// How many, at least 1.
        records: u64,
    },
}

/// One partition that would be harmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harmed {
    /// Which.
    pub partition: PartitionId,
    /// How.
    pub harm: Harm,
    /// The same would happen with every node up and every ISR full: one replica only, or no more
    /// replicas than `min.insync.replicas`.
    pub structural: bool,
}

/// A partition with what its assessment needs.
struct Case<'a> {
    partition: &'a Partition,
    min_isr: usize,
    acknowledged: u64,
    ends: BTreeMap<NodeId, u64>,
}

impl Cluster {
    /// The partitions that are unavailable, or have lost acknowledged records, once `stopped` are
    /// gone on top of everything that is gone now: stopped, frozen, not yet back in service, or
    /// cut off from the active controller. With an empty set: what is so already. An abrupt and
    /// a controlled stop end the same here; what moves in between is not looked at.
    #[must_use]
    pub fn acknowledged_readable_without(&self, stopped: &BTreeSet<NodeId>) -> Vec<Harmed> {
        self.harmed_without(&self.out_of_service(), stopped)
    }

    /// The same, with the caller's own list of what is gone now.
    #[must_use]
    pub fn harmed_without(
        &self,
        already: &BTreeSet<NodeId>,
        stopped: &BTreeSet<NodeId>,
    ) -> Vec<Harmed> {
        self.harmed_by(already, stopped, |case, gone| self.harm(case, gone))
    }

    /// Partitions whose next write nobody acknowledges once `stopped` are gone on top of `already`: so
    /// many members of the ISR are left that do not reach the one of them that leads then that those
    /// who do are fewer than min ISR. It is so until the ISR has shrunk, and then it is below min ISR.
    #[must_use]
    pub fn stalled_without(
        &self,
        already: &BTreeSet<NodeId>,
        stopped: &BTreeSet<NodeId>,
    ) -> Vec<Harmed> {
        self.harmed_by(already, stopped, |case, gone| {
            let copying = self.would_copy(case.partition, gone)?;
            (copying < case.min_isr).then_some(Harm::UnderMinIsr)
        })
    }

    /// Every partition to which that happens once `stopped` are gone on top of `already`.
    fn harmed_by(
        &self,
        already: &BTreeSet<NodeId>,
        stopped: &BTreeSet<NodeId>,
        harm: impl Fn(&Case<'_>, &BTreeSet<NodeId>) -> Option<Harm>,
    ) -> Vec<Harmed> {
        let gone: BTreeSet<_> = already.union(stopped).copied().collect();
        let release = self.lowest_release();
        let mut list = Vec::new();
        for (name, index, topic, partition) in self.image.partitions() {
            let id = (name.clone(), index);
            let Some(log) = self.log_now(&id) else {
                continue;
            };
            let case = self.case(topic, partition, &log, release);
            if let Some(harm) = harm(&case, &gone) {
                let ideal = ideal_harm(&case, stopped);
                list.push(Harmed {
                    partition: id,
                    harm,
                    structural: ideal.is_some_and(|ideal| ideal >= harm),
                });
            }
        }
        list
    }

    /// How many of the ISR are left and have, or can fetch, what the one of them holds that leads
    /// then; `None` where nobody is left.
    fn would_copy(&self, partition: &Partition, gone: &BTreeSet<NodeId>) -> Option<usize> {
        let stays = |id: &NodeId| !gone.contains(id) && self.disk_online(*id, partition.log_dir);
        let left: Vec<NodeId> = partition.isr.iter().copied().filter(stays).collect();
        let stays = |id: &NodeId| left.contains(id);
        let mut next = partition.replicas.iter().copied().filter(stays);
        let leader = partition.leader.filter(stays).or_else(|| next.next())?;
        let copies = |id: &NodeId| *id == leader || self.linked(*id, leader);
        Some(left.iter().filter(|id| copies(id)).count())
    }

    /// Somebody writes into a partition of whose ISR a member does not reach the leader: nobody has an
    /// acknowledgement of that before the ISR has shrunk.
    #[must_use]
    pub fn stalls(&self) -> bool {
        self.image.partitions().any(|(name, index, _, partition)| {
            let log = self.logs.get(&(name.clone(), index));
            let busy = log.is_some_and(|log| log.rate > 0);
            let cut_from = |leader: NodeId| {
                let mut members = partition.isr.iter();
                members.any(|id| *id != leader && !self.linked(*id, leader))
            };
            busy && partition.leader.is_some_and(cut_from)
        })
    }

    /// Brokers that cannot take over anything now.
    #[must_use]
    pub fn out_of_service(&self) -> BTreeSet<NodeId> {
        let mut gone = self.not_serving();
        if let Some(active) = self.committing() {
            let brokers = self.nodes.values().filter(|node| node.spec.roles.broker);
            let ids = brokers.map(|node| node.spec.id);
            // Who does not hear the controller hears of no leadership either.
            gone.extend(ids.filter(|id| *id != active && !self.linked(*id, active)));
        }
        gone
    }

    /// Brokers of the cluster that answer no client now.
    #[must_use]
    pub fn not_serving(&self) -> BTreeSet<NodeId> {
        let brokers = self.nodes.values().filter(|node| node.spec.roles.broker);
        let ids = brokers.map(|node| node.spec.id);
        ids.filter(|id| self.link(*id, Listener::Broker) != Link::Accepts || !self.serves(*id))
            .filter(|id| self.belongs(*id))
            .collect()
    }

    /// The broker is one that somebody may miss. Not one that has never been in service, nor one
    /// that was emptied and stopped: its registration may be left over, fenced (`joining`).
    #[must_use]
    pub fn belongs(&self, id: NodeId) -> bool {
        let holds = |partition: &Partition| partition.replicas.contains(&id);
        let registration = self.image.brokers.get(&id);
        let wanted = registration.is_some_and(|registration| {
            !registration.fenced || (self.process_start(id).is_some() && !registration.new)
        });
        wanted || self.image.partitions().any(|(.., p)| holds(p))
    }

    /// Acknowledged records that no longer exist, by partition: unclean elections and lost disks.
    #[must_use]
    pub fn lost_records(&self) -> BTreeMap<PartitionId, u64> {
        let lost = self.logs.iter().filter(|(_, log)| log.lost >= 1_000);
        lost.map(|(id, log)| (id.clone(), log.lost / 1_000))
            .collect()
    }

    /// How many records of a partition producers know to be acknowledged, counted from the
    /// beginning of its log; `None` when there is no such partition.
    #[must_use]
    pub fn acknowledged(&self, topic: &str, index: u32) -> Option<u64> {
        let log = self.log_now(&(topic.into(), index))?;
        Some(log.acknowledged / 1_000)
    }

    /// A majority of all voters (KIP-595) stays and can agree once `stopped` are gone on top of
    /// those that are gone now; on ZooKeeper: somebody is left to be the controller, once ZooKeeper itself
    /// is there.
    #[must_use]
    pub fn quorum_without(&self, stopped: &BTreeSet<NodeId>) -> bool {
        if self.spec.zookeeper {
            let mut brokers = self.electorate().into_iter();
            return brokers.any(|id| !stopped.contains(&id) && self.could_be_controller(id));
        }
        let left = |id: NodeId| !stopped.contains(&id) && self.votes(id);
        let all = self.voters().count();
        self.voters().filter(|id| left(*id)).any(|one| {
            let with = self
                .voters()
                .filter(|other| left(*other) && (*other == one || self.linked(one, *other)));
            2 * with.count() > all
        })
    }

    /// Up to 3.6 min ISR is not capped by the number of replicas (KAFKA-15583): the oldest binary
    /// is the careful reading.
    fn lowest_release(&self) -> Release {
        let brokers = self.nodes.values().filter(|node| node.spec.roles.broker);
        let lowest = brokers.map(|node| node.release).min();
        lowest.unwrap_or(self.spec.finalized)
    }

    fn case<'a>(
        &self,
        topic: &Topic,
        partition: &'a Partition,
        log: &PartitionLog,
        release: Release,
    ) -> Case<'a> {
        let ends = log.replicas.iter();
        Case {
            partition,
            min_isr: self.min_isr(topic, partition, release),
            acknowledged: log.acknowledged,
            ends: ends.map(|(id, replica)| (*id, replica.end)).collect(),
        }
    }

    fn harm(&self, case: &Case<'_>, gone: &BTreeSet<NodeId>) -> Option<Harm> {
        let partition = case.partition;
        let stays = |id: &NodeId| !gone.contains(id) && self.disk_online(*id, partition.log_dir);
        let of = |list: &[NodeId]| list.iter().copied().filter(stays).collect::<Vec<_>>();
        let left = of(&partition.isr);
        if !left.is_empty() {
            return case.with_leader(&left, left.len());
        }
        let eligible = of(&partition.elr);
        if self.spec.elr && !eligible.is_empty() {
            return case.with_leader(&eligible, 1);
        }
        let anyone = of(&partition.replicas);
        if self.spec.settings.unclean_leader_election && !anyone.is_empty() {
            return case.with_leader(&anyone, 1);
        }
        Some(Harm::Offline)
    }
}

impl Case<'_> {
    /// One of `candidates` leads, and so many are in the ISR.
    fn with_leader(&self, candidates: &[NodeId], isr: usize) -> Option<Harm> {
        let ends = candidates.iter().map(|id| self.ends.get(id).copied());
        let lowest = ends.map(Option::unwrap_or_default).min().unwrap_or(0);
        let records = (self.acknowledged / 1_000).saturating_sub(lowest / 1_000);
        if records > 0 {
            Some(Harm::Lost { records })
        } else {
            (isr < self.min_isr).then_some(Harm::UnderMinIsr)
        }
    }
}

/// What the stop would do to a cluster in which nothing is wrong.
fn ideal_harm(case: &Case<'_>, stopped: &BTreeSet<NodeId>) -> Option<Harm> {
    let partition = case.partition;
    let left = partition
        .replicas
        .iter()
        .filter(|id| !stopped.contains(id) && !partition.adding.contains(id))
        .count();
    if left == 0 {
        Some(Harm::Offline)
    } else {
        (left < case.min_isr).then_some(Harm::UnderMinIsr)
    }
}
