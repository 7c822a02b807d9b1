//! What one snapshot cannot say: what was seen before. Owned by the Machine, fed by
//! [`Memory::observe`] with every report, read by the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::facts::Facts;
use super::ids::{ClusterId, MOST_NODES, NodeId, Role};
use super::jmx::Metric;
use super::partitions::{PartitionTable, TopicKeyBuf};
use super::report::{Report, SourceId};
use super::tide::Tide;
use crate::time::Mono;

/// Two start times closer than this are the same process: exporters print seconds, app-info
/// milliseconds, and a page may carry either after a rules reload.
const SAME_START: f64 = 2.0;

/// What is remembered of one gate's cluster.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// When this process began to watch.
    pub started: Mono,
    /// The cluster, once an answer has proven it.
    pub cluster_id: Option<ClusterId>,
    /// Nodes seen before, restarts of the gate included (the store keeps them).
    pub known_nodes: BTreeMap<NodeId, Role>,
    /// Nodes that have answered since this process began to watch.
    pub heard: BTreeSet<NodeId>,
    /// The current life of each node, as far as it shows.
    pub lives: BTreeMap<NodeId, Life>,
    /// Highest leader epoch and its leader per partition.
    pub epochs: BTreeMap<(TopicKeyBuf, i32), SeenLeader>,
    /// The last change of leadership.
    pub leadership: Option<LeadershipChange>,
    /// How many partitions each broker's table had when it was last heard.
    pub table_sizes: BTreeMap<NodeId, usize>,
    /// When a broker's table last had more or fewer partitions than before.
    pub partitions_changed: Option<Mono>,
    /// The last change of the active controller.
    pub controller: Option<ControllerSeen>,
    /// When somebody last told of a quorum that has a leader.
    pub leader_told: Option<Mono>,
    /// Unclean elections as counted when first seen in this life of each node.
    pub unclean: BTreeMap<NodeId, f64>,
    /// Up to which offset the metadata log was committed, by the quorum's word and by brokers that had
    /// published it.
    pub committed: Tide<100>,
    /// The same by pages, which are asked for ten times as seldom.
    pub committed_by_pages: Tide<1_000>,
}

/// One process life of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Life {
    /// Start time as its JMX page tells it, seconds since the epoch by the node's clock.
    pub start_time: Option<f64>,
    /// When a new life was last noticed; `None` in the life in which we first met it.
    pub restarted: Option<Mono>,
}

/// The newest leader seen of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLeader {
    /// Its epoch.
    pub epoch: i32,
    /// The leader.
    pub leader: Option<NodeId>,
}

/// A change of leadership, as first noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeadershipChange {
    /// When it was noticed.
    pub at: Mono,
    /// How many partitions changed in that answer.
    pub partitions: usize,
}

/// The active controller, and since when it is this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerSeen {
    /// Who.
    pub node: NodeId,
    /// When it was first seen in that place; `None` for the one we met first.
    pub changed: Option<Mono>,
}

impl Memory {
    /// A memory that begins now, with the nodes a store remembers.
    pub fn new(started: Mono, known_nodes: BTreeMap<NodeId, Role>) -> Self {
        Self {
            started,
            known_nodes,
            ..Self::default()
        }
    }

    /// Takes in one report. Whether it may be believed is the checks' business; what it shows of
    /// the past is kept here.
    pub fn observe(&mut self, report: &Report) {
        let Ok(facts) = &report.facts else { return };
        match facts {
            Facts::Link(link) => {
                self.heard_from(&report.source);
                if let Some(newest) = link.published.value() {
                    let end = newest.saturating_add(1);
                    self.committed.rise(report.seen, end);
                }
            }
            Facts::LogEnds(_) | Facts::Moves(_) | Facts::NodeConfigs(_) => {
                self.heard_from(&report.source);
            }
            Facts::Cluster(cluster) => {
                for broker in &cluster.brokers {
                    self.know(broker.node, Role::BROKER);
                }
                if let Some(id) = cluster.cluster_id.value() {
                    self.cluster_id.get_or_insert_with(|| id.clone());
                }
            }
            Facts::Partitions(table) => {
                self.observe_leaders(table, report.seen);
                self.observe_size(&report.source, table.len(), report.seen);
            }
            Facts::Quorum(quorum) => {
                for voter in &quorum.voters {
                    self.know(voter.node, Role::CONTROLLER);
                }
                if let Some(leader) = quorum.leader {
                    self.leader_told = self.leader_told.max(Some(report.seen));
                    self.observe_controller(leader, report.seen);
                }
                self.committed.rise(report.seen, quorum.high_watermark);
            }
            Facts::Jmx(page) => {
                if let Some(end) = page.metadata_committed() {
                    self.committed_by_pages.rise(report.seen, end);
                }
                if let Some(node) = report.source.node() {
                    self.observe_start(node, page.start_time.value().copied(), report.seen);
                    if let Some(count) = page.value(Metric::UncleanLeaderElections).value() {
                        let first = self.unclean.entry(node).or_insert(*count);
                        *first = first.min(*count);
                    }
                }
            }
            Facts::TopicConfigs(_) | Facts::LogDirs(_) | Facts::Groups(_) => {}
        }
    }

    /// How long the active controller is the one it is; `None` while it never changed.
    pub fn controller_changed(&self) -> Option<Mono> {
        self.controller.and_then(|seen| seen.changed)
    }

    fn heard_from(&mut self, source: &SourceId) {
        if let Some(node) = source.node() {
            self.heard.insert(node);
        }
    }

    /// Remembers a node for good. Where there is no more room, those that are remembered and those
    /// that are told of now are more than a cluster may have: some of the old ones are missing, or the
    /// answer itself is too large. Either keeps the gate shut.
    fn know(&mut self, node: NodeId, role: Role) {
        if self.known_nodes.len() >= MOST_NODES && !self.known_nodes.contains_key(&node) {
            return;
        }
        let known = self.known_nodes.entry(node).or_default();
        *known = known.and(role);
    }

    fn observe_start(&mut self, node: NodeId, start: Option<f64>, at: Mono) {
        let Some(start) = start else { return };
        let life = self.lives.entry(node).or_default();
        match life.start_time {
            Some(before) if (before - start).abs() < SAME_START => {}
            Some(_) => {
                *life = Life {
                    start_time: Some(start),
                    restarted: Some(at),
                };
                self.unclean.remove(&node);
            }
            None => life.start_time = Some(start),
        }
    }

    fn observe_controller(&mut self, leader: NodeId, at: Mono) {
        match &mut self.controller {
            Some(seen) if seen.node == leader => {}
            Some(seen) => {
                *seen = ControllerSeen {
                    node: leader,
                    changed: Some(at),
                }
            }
            None => {
                self.controller = Some(ControllerSeen {
                    node: leader,
                    changed: None,
                });
            }
        }
    }

    /// The active ZooKeeper controller is told by any broker; it is kept like a quorum's leader.
    pub fn observe_zookeeper_controller(&mut self, leader: NodeId, at: Mono) {
        self.observe_controller(leader, at);
    }

    fn observe_leaders(&mut self, table: &PartitionTable, at: Mono) {
        let mut changed = 0;
        for (topic, partition) in table.partitions() {
            let Some(epoch) = partition.leader_epoch else {
                continue;
            };
            let seen = SeenLeader {
                epoch,
                leader: partition.leader,
            };
            let known = self.epochs.entry((topic.key().to_buf(), partition.index));
            known
                .and_modify(|known| {
                    if epoch > known.epoch {
                        // ISR changes raise the epoch too before metadata.version 3.6: only
                        // another leader is a change of leadership.
                        changed += usize::from(known.leader != seen.leader);
                        *known = seen;
                    }
                })
                .or_insert(seen);
        }
        if changed > 0 {
            self.leadership = Some(LeadershipChange {
                at,
                partitions: changed,
            });
        }
    }

    fn observe_size(&mut self, source: &SourceId, partitions: usize, at: Mono) {
        let Some(node) = source.node() else { return };
        let before = self.table_sizes.insert(node, partitions);
        if before.is_some_and(|before| before != partitions) {
            self.partitions_changed = Some(at);
        }
    }

    /// Forgets partitions that no fresh table has any more, so that deleted topics do not pile
    /// up and a re-created topic known only by name starts anew.
    pub fn forget_gone<'t>(&mut self, tables: impl Iterator<Item = &'t PartitionTable> + Clone) {
        let known: BTreeSet<TopicKeyBuf> = tables
            .flat_map(|table| table.topics().map(|topic| topic.key().to_buf()))
            .collect();
        self.epochs.retain(|(topic, _), _| known.contains(topic));
    }

    /// A node is gone for good, or stays in this role only.
    pub fn retire(&mut self, node: NodeId, kept: Role) {
        if kept == Role::default() {
            self.forget_node(node);
        } else {
            self.known_nodes.insert(node, kept);
        }
    }

    /// A node is gone for good: nothing is remembered of it.
    pub fn forget_node(&mut self, node: NodeId) {
        self.known_nodes.remove(&node);
        self.heard.remove(&node);
        self.lives.remove(&node);
        self.table_sizes.remove(&node);
        self.unclean.remove(&node);
    }

    /// Whether this node restarted within `span` before `now`, as far as its start time tells.
    pub fn restarted_within(&self, node: NodeId, span: Duration, now: Mono) -> bool {
        let life = self.lives.get(&node);
        life.and_then(|life| life.restarted)
            .is_some_and(|at| now.since(at) <= span)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::evidence::ids::Uuid;
    use crate::evidence::partitions::{Builder, Partition};
    use crate::evidence::report::FactKind;

    fn table(leader: i32, epoch: i32) -> Report {
        let mut builder = Builder::default();
        builder.topic(Uuid::new(1), "orders", false, 0);
        builder.partition(Partition {
            index: 0,
            leader: Some(NodeId(leader)),
            leader_epoch: Some(epoch),
            error: 0,
            replicas: &[NodeId(1), NodeId(2)],
            isr: &[NodeId(1), NodeId(2)],
            offline: &[],
        });
        Report {
            source: SourceId::Kafka(NodeId(1)),
            kind: FactKind::Partitions,
            epoch: 1,
            asked: Mono::from_nanos(1),
            seen: Mono::from_nanos(2),
            every: Duration::from_millis(500),
            facts: Ok(Facts::Partitions(Arc::new(builder.finish()))),
        }
    }

    #[test]
    fn only_another_leader_at_a_higher_epoch_is_a_change() {
        let mut memory = Memory::default();
        memory.observe(&table(1, 5));
        memory.observe(&table(1, 6));
        memory.observe(&table(2, 4));
        assert_eq!(memory.leadership, None);
        memory.observe(&table(2, 7));
        assert_eq!(memory.leadership.map(|change| change.partitions), Some(1));
    }

    #[test]
    fn no_more_nodes_are_remembered_than_a_cluster_may_have() {
        let mut memory = Memory::default();
        for id in 0..2_000 {
            memory.know(NodeId(id), Role::BROKER);
        }
        assert_eq!(memory.known_nodes.len(), MOST_NODES);
        memory.know(NodeId(5), Role::CONTROLLER);
        assert_eq!(memory.known_nodes[&NodeId(5)], Role::COMBINED);
        memory.forget_node(NodeId(5));
        memory.know(NodeId(5_000), Role::BROKER);
        assert!(memory.known_nodes.contains_key(&NodeId(5_000)));
    }

    #[test]
    fn a_start_time_that_changes_is_a_restart() {
        let mut memory = Memory::default();
        memory.observe_start(NodeId(1), Some(100.0), Mono::from_nanos(1));
        memory.observe_start(NodeId(1), Some(100.4), Mono::from_nanos(2));
        assert_eq!(memory.lives[&NodeId(1)].restarted, None);
        memory.observe_start(NodeId(1), Some(160.0), Mono::from_nanos(3));
        assert_eq!(
            memory.lives[&NodeId(1)].restarted,
            Some(Mono::from_nanos(3))
        );
    }
}
