//! Log dirs that fail (JBOD): what the broker does, what the controller hears and what is left.
//!
//! A dir that failed stays offline until the process is started again
//! (`LogManager.handleLogDirFailure`). When the last dir fails, or on KRaft the first one, which
//! holds the metadata log, the process halts. From metadata.version 3.7-IV2 on the next heartbeat
//! tells the controller, which moves leaders and shrinks ISRs (KIP-858,
//! `ReplicationControlManager.handleDirectoriesOffline`); before, nobody is told: partitions keep
//! a leader that cannot serve them. On ZooKeeper the controller has always been told (KIP-112,
//! `KafkaController.processLogDirEventNotification`).
//!
//! Assumed: a broker that cannot tell goes on (there it ends after `log.dir.failure.timeout.ms`),
//! and 3.7 and later run with several dirs before 3.7-IV2 too (`MetadataVersionConfigValidator`
//! refuses that). A disk that replaces one with the metadata log of a voter comes with a copy of that log
//! and its directory id: what becomes of a voter whose disk comes empty is told in `voters`.
//!
//! A disk may also be slow and fail nothing; see [`Cluster::set_disk_slow`].

use std::collections::BTreeSet;

use super::elections::Rules;
use super::life::OperationError;
use super::state::{Event, Process};
use super::{Cluster, NodeId, Release};

/// From the failure to the heartbeat that tells it, in milliseconds: the broker sends one at once
/// (`BrokerLifecycleManager.propagateDirectoryFailure`). The numbers are assumed.
const TELL: (u64, u64) = (5, 50);

/// One node's log dirs, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Disks {
    /// The disk does not work.
    pub broken: BTreeSet<u32>,
    /// The present process has taken the dir offline.
    pub offline: BTreeSet<u32>,
    /// How much longer everything takes that waits for them; 0 and 1: no longer.
    pub slow: u64,
}

impl Cluster {
    /// The disk under one of a broker's log dirs fails, counted from 0.
    ///
    /// # Errors
    /// When the node is no broker, is down, or has no such dir.
    pub fn fail_log_dir(&mut self, id: NodeId, dir: u32) -> Result<(), OperationError> {
        self.known_dir(id, dir)?;
        if self.process_start(id).is_none() {
            return Err(OperationError::Node(id, "down"));
        }
        self.operate(|cluster| cluster.lose_dir(id, dir));
        Ok(())
    }

    /// Puts a new, empty disk under a log dir. The broker takes it into use at its next start
    /// (`LogManager.createAndValidateLogDirs` runs once, when it is made).
    ///
    /// # Errors
    /// When the node is no broker or has no such dir.
    pub fn replace_log_dir(&mut self, id: NodeId, dir: u32) -> Result<(), OperationError> {
        self.known_dir(id, dir)?;
        self.operate(|cluster| {
            if let Some(node) = cluster.nodes.get_mut(&id) {
                node.disks.broken.remove(&dir);
            }
            let image = cluster.image.clone();
            for (key, log) in &mut cluster.logs {
                let partition = image.partition(&key.0, key.1);
                let inside = partition.is_some_and(|partition| partition.log_dir == dir);
                if let Some(replica) = log.replicas.get_mut(&id).filter(|_| inside) {
                    replica.end = 0;
                    replica.stale = false;
                }
            }
        });
        Ok(())
    }

    /// The node's disks need so many times as long from now on: its start and its log recovery take
    /// longer, its followers copy more slowly, and others copy more slowly from it. 1 ends it.
    /// Assumed: all of them by the same factor, and clients of a leader notice nothing else (its
    /// page cache serves them).
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_disk_slow(&mut self, id: NodeId, factor: u64) -> Result<(), OperationError> {
        self.known(id)?;
        self.operate(|cluster| {
            if let Some(node) = cluster.nodes.get_mut(&id) {
                node.disks.slow = factor;
            }
        });
        Ok(())
    }

    /// How many times as long the node's disks need.
    pub(super) fn slowness(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(1, |node| node.disks.slow.max(1))
    }

    /// Records per second and partition that a follower copies from a leader: the slower disk of
    /// the two counts.
    pub(super) fn copy_rate(&self, follower: NodeId, leader: NodeId) -> u64 {
        let rate = self.nodes.get(&follower).map_or(0, |n| n.catch_up_rate);
        let slow = self.slowness(follower).max(self.slowness(leader));
        rate.checked_div(slow).unwrap_or(rate)
    }

    fn known_dir(&self, id: NodeId, dir: u32) -> Result<(), OperationError> {
        self.known(id)?;
        let broker = self.nodes.get(&id).is_some_and(|n| n.spec.roles.broker);
        if broker && dir < self.spec.settings.log_dirs {
            Ok(())
        } else {
            Err(OperationError::NoName(
                "log dir",
                format!("{dir} of node {id}"),
            ))
        }
    }

    fn lose_dir(&mut self, id: NodeId, dir: u32) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.disks.broken.insert(dir);
        node.disks.offline.insert(dir);
        let run = node.run;
        if self.must_halt(id) {
            self.end(id, 0, true);
        } else if self.tells_dirs() {
            let delay = self.draw(TELL);
            self.after(delay, Event::DirsTold { node: id, run });
        }
    }

    /// Without its metadata log (`ReplicaManager.handleLogDirFailure`), or without any dir
    /// (`LogManager.handleLogDirFailure`), Kafka gives up (`Exit.halt`). Assumed: the former before
    /// 3.7 too, where it is left to the raft client.
    fn must_halt(&self, id: NodeId) -> bool {
        let count = usize::try_from(self.spec.settings.log_dirs).unwrap_or(usize::MAX);
        self.nodes.get(&id).is_some_and(|node| {
            let offline = &node.disks.offline;
            let metadata = !self.spec.zookeeper && offline.contains(&0);
            metadata || offline.len() >= count
        })
    }

    /// Brokers tell the controller of offline dirs.
    fn tells_dirs(&self) -> bool {
        self.spec.zookeeper || self.spec.finalized >= Release::V3_7
    }

    pub(super) fn dirs_told(&mut self, id: NodeId, run: u64) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.run == run) else {
            return;
        };
        if node.process != Process::Alive {
            return;
        }
        let mask = self.offline_mask(id);
        let reaches = self
            .committing()
            .is_some_and(|controller| self.linked(id, controller));
        if !reaches {
            let again = self.spec.settings.heartbeat_interval;
            self.after(again, Event::DirsTold { node: id, run });
            return;
        }
        let bump = self.bumps_epoch_on_shrink();
        self.commit(|image, cluster| {
            let Some(registration) = image.brokers.get_mut(&id) else {
                return 0;
            };
            if registration.offline_dirs == mask {
                return 0;
            }
            registration.offline_dirs = mask;
            let rules = Rules::new(cluster, image, None);
            1 + Rules::remove(image, &rules, id, mask, bump)
        });
    }

    /// The offline dirs that a registration of this broker tells, one bit each.
    pub(super) fn offline_mask(&self, id: NodeId) -> u32 {
        let offline = self.nodes.get(&id).map(|node| &node.disks.offline);
        let dirs = offline.into_iter().flatten();
        let told = dirs.filter(|_| self.tells_dirs());
        told.fold(0, |mask, dir| mask | 1_u32.checked_shl(*dir).unwrap_or(0))
    }

    /// A start takes every dir that works into use.
    pub(super) fn open_disks(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.disks.offline = node.disks.broken.clone();
        let (run, broker) = (node.run, node.spec.roles.broker);
        if broker && self.must_halt(id) {
            let boot = self.spec.timing.boot;
            let delay = self.draw(boot);
            self.after(delay, Event::Halt { node: id, run });
        }
    }

    pub(super) fn halt(&mut self, id: NodeId, run: u64) {
        let runs = self.nodes.get(&id);
        if runs.is_some_and(|node| node.run == run && node.alive()) {
            self.end(id, 0, true);
        }
    }

    pub(super) fn disk_online(&self, id: NodeId, dir: u32) -> bool {
        let node = self.nodes.get(&id);
        node.is_some_and(|node| !node.disks.offline.contains(&dir))
    }
}
