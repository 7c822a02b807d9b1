//! The cluster's metadata as an image: what the active controller has committed, and what each
//! node has published of it. Cloning is cheap (topics are shared).

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::NodeId;

/// A topic's name and a partition's number.
pub type PartitionId = (Arc<str>, u32);

/// The metadata at one offset of the metadata log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Offset of the newest record in it.
    pub offset: i64,
    /// Registered brokers.
    pub brokers: BTreeMap<NodeId, Registration>,
    /// Topics by name.
    pub topics: BTreeMap<Arc<str>, Arc<Topic>>,
}

/// A broker's registration (kafka-jmx-metrics.md, section 3.2: 10 fenced, 20 controlled
/// shutdown, 30 active).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Not in service: not in Metadata, in no ISR but as its last member
    /// (`ReplicationControlManager.handleBrokerFenced`).
    pub fenced: bool,
    /// Asked for controlled shutdown and not yet fenced.
    pub shutting_down: bool,
    /// Has never been in service under this id: nobody can miss it yet (our own, not Kafka's).
    pub new: bool,
    /// Offset of the registration record: the broker epoch (`BrokerRegistration.epoch`).
    pub epoch: i64,
    /// Log dirs that the broker has told the controller are offline (KIP-858), one bit each.
    pub offline_dirs: u32,
}

impl Registration {
    /// May be in an ISR and lead (KIP-841: neither fenced nor shutting down).
    #[must_use]
    pub fn active(&self) -> bool {
        !self.fenced && !self.shutting_down
    }

    /// The controller takes the replicas in this log dir for lost
    /// (`BrokerRegistration.hasOnlineDir`).
    #[must_use]
    pub fn offline_dir(&self, dir: u32) -> bool {
        self.offline_dirs & 1_u32.checked_shl(dir).unwrap_or(0) != 0
    }
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// KIP-516.
    pub id: Uuid,
    /// One of Kafka's own.
    pub internal: bool,
    /// `min.insync.replicas` set on the topic.
    pub min_isr: Option<u32>,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
}

/// One partition as the controller knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The assignment, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Replicas that a reassignment adds.
    pub adding: Vec<NodeId>,
    /// Replicas that a reassignment removes.
    pub removing: Vec<NodeId>,
    /// In-sync replicas.
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas beside the ISR (KIP-966); empty without that feature.
    pub elr: Vec<NodeId>,
    /// Who led last, while nobody leads and the ISR is empty (KIP-966,
    /// `PartitionChangeBuilder.maybeUpdateLastKnownLeader`).
    pub last_known_elr: Vec<NodeId>,
    /// `None` is offline (-1 on the wire).
    pub leader: Option<NodeId>,
    /// Goes up with every change of leader.
    pub leader_epoch: i32,
    /// Goes up with every change.
    pub partition_epoch: i32,
    /// Which of its brokers' log dirs holds it, counted from 0. Assumed: the same on all of them;
    /// Kafka takes the emptiest on each.
    pub log_dir: u32,
}

impl Partition {
    /// Fewer ISR members than original replicas, without the adding ones: what
    /// UnderReplicatedPartitions counts (kafka-jmx-metrics.md, section 3.2;
    /// `Partition.isUnderReplicated`, `OngoingReassignmentState.replicationFactor`).
    #[must_use]
    pub fn under_replicated(&self) -> bool {
        self.isr.len() < self.replicas.len().saturating_sub(self.adding.len())
    }
}

impl Image {
    /// The partition, if the image has it.
    #[must_use]
    pub fn partition(&self, topic: &str, index: u32) -> Option<&Partition> {
        let topic = self.topics.get(topic)?;
        topic.partitions.get(usize::try_from(index).ok()?)
    }

    /// Every partition with its id, in order.
    pub fn partitions(&self) -> impl Iterator<Item = (&Arc<str>, u32, &Topic, &Partition)> {
        self.topics.iter().flat_map(|(name, topic)| {
            (0u32..)
                .zip(&topic.partitions)
                .map(move |(index, partition)| (name, index, topic.as_ref(), partition))
        })
    }

    /// Applies `change` to every partition for which it returns true from `wanted`.
    pub(super) fn change(
        &mut self,
        wanted: impl Fn(&Partition) -> bool,
        mut change: impl FnMut(&PartitionId, &mut Partition),
    ) -> i64 {
        let mut changed = 0;
        for (name, topic) in &mut self.topics {
            if !topic.partitions.iter().any(&wanted) {
                continue;
            }
            let topic = Arc::make_mut(topic);
            for (index, partition) in (0u32..).zip(&mut topic.partitions) {
                if wanted(partition) {
                    let before = partition.clone();
                    change(&(name.clone(), index), partition);
                    if *partition != before {
                        partition.partition_epoch += 1;
                        changed += 1;
                    }
                }
            }
        }
        changed
    }

    /// Applies `change` to one partition; answers 1 if it exists.
    pub(super) fn change_one(
        &mut self,
        topic: &str,
        index: u32,
        change: impl FnOnce(&mut Partition),
    ) -> i64 {
        let topic = self.topics.get_mut(topic).map(Arc::make_mut);
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(index)) else {
            return 0;
        };
        change(partition);
        partition.partition_epoch += 1;
        1
    }

    /// The broker may be in the ISR of `partition` and lead it: active, its log dir online
    /// (`LeaderAcceptor`).
    #[must_use]
    pub fn fit(&self, broker: NodeId, partition: &Partition) -> bool {
        fit(&self.brokers, broker, partition)
    }

    /// The broker has told that the log dir with its replica is offline.
    #[must_use]
    pub fn dir_failed(&self, broker: NodeId, partition: &Partition) -> bool {
        let registration = self.brokers.get(&broker);
        registration.is_some_and(|registration| registration.offline_dir(partition.log_dir))
    }

    /// In Metadata's list of brokers (`KRaftMetadataCache.getAliveBrokerNodes`).
    #[must_use]
    pub fn alive(&self, broker: NodeId) -> bool {
        self.brokers
            .get(&broker)
            .is_some_and(|registration| !registration.fenced)
    }
}

/// [`Image::fit`] while the image itself is being changed.
pub(super) fn fit(
    brokers: &BTreeMap<NodeId, Registration>,
    broker: NodeId,
    partition: &Partition,
) -> bool {
    brokers.get(&broker).is_some_and(|registration| {
        registration.active() && !registration.offline_dir(partition.log_dir)
    })
}
