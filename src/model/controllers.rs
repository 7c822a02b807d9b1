//! The metadata quorum (KIP-595, KIP-631): who leads, who follows the log, what is committed and
//! published.
//!
//! Assumed: whoever follows has the whole log, so that every voter in touch with a majority may win
//! the next election; votes themselves, and the pre-votes of 4.0 (KIP-996), are not played. How
//! long elections take is measured (`timing`).

use std::sync::Arc;

use super::image::Image;
use super::state::{BrokerPhase, ControllerPhase, Event, IDLE_RECORD, Millis, Position, Process};
use super::{Cluster, NodeId, Release};

impl Cluster {
    /// Both processes run, neither is frozen, and nothing cuts them off from each other.
    pub(super) fn linked(&self, a: NodeId, b: NodeId) -> bool {
        let alive = |id: NodeId| {
            self.nodes
                .get(&id)
                .is_some_and(|node| !node.frozen && node.alive())
        };
        alive(a) && alive(b) && !self.cuts.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.nodes
            .values()
            .filter(|node| node.spec.roles.controller)
            .map(|node| node.spec.id)
    }

    /// The voter takes part in the quorum.
    pub(super) fn votes(&self, id: NodeId) -> bool {
        if self.spec.zookeeper {
            return self.may_be_controller(id);
        }
        self.is_voter(id) && self.runs_raft(id)
    }

    /// The controller's raft client runs.
    fn runs_raft(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| {
            !node.frozen
                && node.alive()
                && matches!(
                    node.controller,
                    ControllerPhase::Joined | ControllerPhase::Loading | ControllerPhase::Running
                )
        })
    }

    /// `id` and voters it can reach are a majority of all voters (KIP-595).
    fn has_majority(&self, id: NodeId) -> bool {
        if self.spec.zookeeper {
            return self.votes(id) && (self.quorum.leader != Some(id) || self.same_process(id));
        }
        let all = self.voters().count();
        let with = self
            .voters()
            .filter(|other| self.votes(*other) && (*other == id || self.linked(id, *other)));
        2 * with.count() > all
    }

    /// The active controller, if it can commit something now.
    pub(super) fn committing(&self) -> Option<NodeId> {
        self.quorum
            .leader
            .filter(|leader| self.votes(*leader) && self.has_majority(*leader))
    }

    /// The end of the metadata log: idle records move it on (KIP-835).
    pub(super) fn metadata_end(&self) -> i64 {
        let idle = self.now.saturating_sub(self.quorum.end_at) / IDLE_RECORD;
        let idle = if self.quorum.leader.is_some() {
            idle
        } else {
            0
        };
        self.quorum.end + i64::try_from(idle).unwrap_or(0)
    }

    /// Commits a change: `change` gets a copy of the image and answers how many records it took;
    /// with 0 nothing happens. Every node that follows the log publishes it soon
    /// (`MetadataLoader`).
    /// Assumed: a majority in touch commits at once, within the millisecond.
    pub(super) fn commit(&mut self, change: impl FnOnce(&mut Image, &Self) -> i64) {
        let mut image = Image::clone(&self.image);
        let records = change(&mut image, self);
        if records == 0 {
            return;
        }
        self.move_end(records);
        self.note_end(true);
        image.offset = self.quorum.end;
        self.settle_leader_changes(&image);
        self.image = Arc::new(image);
        let followers: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in followers {
            self.publish_to(id);
        }
    }

    // Counted as `TopicDelta.updateElectionStats` does. Assumed: the last known leader counts as
    // eligible; there it is an unclean election.
    fn settle_leader_changes(&mut self, image: &Image) {
        let mut led = Vec::new();
        let (mut unclean, mut eligible) = (0, 0);
        for (name, index, _, partition) in image.partitions() {
            let Some(before) = self.image.partition(name, index) else {
                continue;
            };
            if before.leader == partition.leader {
                continue;
            }
            led.push((name.clone(), index, partition.leader));
            if let Some(leader) = partition.leader.filter(|id| !before.isr.contains(id)) {
                let safe = before.elr.contains(&leader) || before.last_known_elr == [leader];
                eligible += u64::from(safe);
                unclean += u64::from(!safe);
            }
        }
        for (name, index, leader) in led {
            if let Some(log) = self.logs.get_mut(&(name, index)) {
                log.led_since = self.now;
                log.be_led_by(leader);
            }
        }
        let controller = self.quorum.leader.and_then(|id| self.nodes.get_mut(&id));
        if let Some(node) = controller {
            node.unclean_elections += unclean;
            node.eligible_elections += eligible;
        }
    }

    fn move_end(&mut self, records: i64) {
        self.quorum.end = self.metadata_end() + records;
        self.quorum.end_at = self.now;
    }

    fn publish_to(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        if node.position != Position::Following {
            return;
        }
        let (run, lag) = (node.run, node.metadata_lag);
        let delay = lag + self.draw(self.spec.timing.publish);
        let image = self.image.clone();
        self.after(
            delay,
            Event::Publish {
                node: id,
                run,
                image,
            },
        );
    }

    /// A node has read the log that far and publishes it to itself, if it still runs
    /// (`MetadataLoader`, `BrokerMetadataPublisher`).
    pub(super) fn publish(&mut self, id: NodeId, run: u64, image: Arc<Image>) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.run == run) else {
            return;
        };
        let newer = !node.loaded || image.offset > node.image.offset;
        if node.position == Position::Following && newer {
            if !node.loaded {
                node.first_offset = image.offset;
            }
            node.image = image;
            node.loaded = true;
            self.drop_strays(id);
        }
    }

    /// Brings the quorum in line with who runs and who reaches whom.
    pub(super) fn refresh_quorum(&mut self) {
        let Some(leader) = self.quorum.leader else {
            let timing = &self.spec.timing;
            let patience = if self.spec.zookeeper {
                timing.handover
            } else {
                timing.election
            };
            self.plan_election(patience);
            return;
        };
        if self.spec.zookeeper {
            // Only the end of its session counts.
            return;
        }
        if !self.votes(leader) {
            let leaving = self
                .nodes
                .get(&leader)
                .is_some_and(|node| node.controller == ControllerPhase::Leaving);
            self.lose_leader(leaving);
            return;
        }
        if self.has_majority(leader) {
            self.quorum.alone_since = None;
        } else if self.quorum.alone_since.is_none() {
            self.quorum.alone_since = Some(self.now);
            self.leave_alone(leader);
        }
    }

    /// A leader that cannot reach a majority: the others miss it after a fetch timeout and elect
    /// another if they are a majority without it, while it goes on believing in itself.
    /// Check-quorum lets it resign after one and a half fetch timeouts, from 3.7 on (KAFKA-15489,
    /// `LeaderState.timeUntilCheckQuorumExpires`); before, it believes until it hears of the new
    /// one.
    fn leave_alone(&mut self, leader: NodeId) {
        let epoch = self.quorum.epoch;
        let timeout = self.spec.settings.quorum_fetch_timeout;
        self.after(timeout, Event::Missed { epoch });
        let release = self.nodes.get(&leader).map(|node| node.release);
        if release.is_some_and(|release| release >= Release::V3_7) {
            let resign = Event::Resign {
                node: leader,
                epoch,
            };
            self.after(timeout * 3 / 2, resign);
        }
    }

    fn alone_for(&self, patience: Millis) -> bool {
        let since = self.quorum.alone_since;
        self.quorum.leader.is_some() && since.is_some_and(|since| self.now - since >= patience)
    }

    pub(super) fn missed(&mut self, epoch: i32) {
        let timeout = self.spec.settings.quorum_fetch_timeout;
        let others = self.candidates().next().is_some();
        if epoch != self.quorum.epoch || !self.alone_for(timeout) || !others {
            return;
        }
        self.move_end(0);
        self.quorum.leader = None;
        self.note_end(false);
        self.quorum.alone_since = None;
        self.leader_noticed(epoch);
        self.plan_election(self.spec.timing.handover);
    }

    pub(super) fn resign(&mut self, id: NodeId, epoch: i32) {
        let timeout = self.spec.settings.quorum_fetch_timeout;
        if epoch == self.quorum.epoch && self.quorum.leader == Some(id) {
            if self.alone_for(timeout * 3 / 2) {
                self.lose_leader(false);
            }
            return;
        }
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.epoch == epoch && node.leader == Some(id) && !node.frozen {
            node.leader = None;
        }
    }

    fn lose_leader(&mut self, handover: bool) {
        // The log's end stays where it was.
        self.move_end(0);
        let old = self.quorum.leader.take();
        self.note_end(false);
        self.quorum.alone_since = None;
        let timing = if handover {
            self.spec.timing.handover
        } else {
            self.spec.timing.election
        };
        // Voters take the leader for gone when their fetches have failed for a while; with an
        // orderly resignation they know at once (EndQuorumEpoch, KIP-595). A third of the
        // election's time is assumed.
        let noticed = if handover { 0 } else { timing.0 / 3 };
        self.after(
            noticed,
            Event::LeaderNoticed {
                epoch: self.quorum.epoch,
            },
        );
        let old = old.and_then(|old| self.nodes.get_mut(&old));
        if let Some(node) = old.filter(|node| !node.frozen) {
            node.leader = None;
        }
        self.plan_election(timing);
    }

    pub(super) fn plan_election(&mut self, timing: (u64, u64)) {
        if !self.quorum.electing && self.candidates().next().is_some() {
            self.quorum.electing = true;
            let delay = self.draw(timing);
            self.after(
                delay,
                Event::Election {
                    epoch: self.quorum.epoch,
                },
            );
        }
    }

    fn candidates(&self) -> impl Iterator<Item = NodeId> {
        self.electorate()
            .into_iter()
            .filter(|id| self.votes(*id) && self.has_majority(*id))
    }

    pub(super) fn leader_noticed(&mut self, epoch: i32) {
        if self.quorum.leader.is_some() || epoch != self.quorum.epoch {
            return;
        }
        for node in self.nodes.values_mut() {
            // One that is cut off believes in itself until it resigns.
            let believes = node.leader == Some(node.spec.id);
            if node.alive() && !node.frozen && !believes {
                node.leader = None;
            }
        }
    }

    pub(super) fn elect_controller(&mut self, epoch: i32) {
        self.quorum.electing = false;
        if self.quorum.leader.is_some() || epoch != self.quorum.epoch {
            return;
        }
        let candidates: Vec<NodeId> = self.candidates().collect();
        let count = u64::try_from(candidates.len()).unwrap_or(0);
        if count == 0 {
            return;
        }
        let pick = usize::try_from(self.draw((0, count - 1))).unwrap_or(0);
        let Some(winner) = candidates.get(pick).copied() else {
            return;
        };
        self.quorum.leader = Some(winner);
        self.quorum.epoch += 1;
        self.quorum.since = self.now;
        self.quorum.end_at = self.now;
        self.move_end(1);
        self.note_end(false);
        if let Some(node) = self.nodes.get_mut(&winner) {
            node.elections_won += 1;
            self.quorum.leader_run = node.run;
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.keep_published(id);
        }
        // A new leader knows only fetches of its own epoch (`LeaderState`).
        for node in self.nodes.values_mut() {
            node.position = Position::Never;
            node.left_behind = node.left_behind.map(|(old, _)| (old, Position::Never));
        }
        self.begin_sessions();
    }

    /// Every node that runs follows the quorum's leader. On ZooKeeper there is none to follow.
    #[must_use]
    pub fn all_follow(&self) -> bool {
        let mut nodes = self.nodes.values();
        self.spec.zookeeper
            || nodes.all(|node| node.position == Position::Following || !node.alive())
    }

    /// Brings every node's place in the metadata log in line with whom it can reach.
    pub(super) fn refresh_positions(&mut self) {
        let leader = self.quorum.leader;
        let epoch = self.quorum.epoch;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let follows = leader.is_some_and(|leader| {
                self.votes(leader)
                    && self.reads_metadata(id)
                    && (id == leader || self.linked(id, leader))
            });
            let followed = self
                .nodes
                .get(&id)
                .is_some_and(|node| node.position == Position::Following);
            if followed && !follows {
                self.keep_published(id);
            }
            let (now, end) = (self.now, self.metadata_end());
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            match (node.position, follows) {
                (Position::Following, true) => {}
                (Position::Following, false) => node.position = Position::Stopped { at: now, end },
                (Position::Never | Position::Stopped { .. }, true) => {
                    node.position = Position::Following;
                    self.publish_to(id);
                }
                (Position::Never | Position::Stopped { .. }, false) => {}
            }
            if let Some(node) = self.nodes.get_mut(&id).filter(|_| follows) {
                (node.leader, node.epoch) = (leader, epoch);
            }
        }
    }

    /// The node's raft client runs.
    fn reads_metadata(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| {
            let broker = match node.broker {
                BrokerPhase::Off | BrokerPhase::Jvm | BrokerPhase::Closing => false,
                // The controller sends it to brokers that are registered.
                BrokerPhase::Starting => !self.spec.zookeeper,
                BrokerPhase::Registered
                | BrokerPhase::CaughtUp
                | BrokerPhase::Running
                | BrokerPhase::Leaving => true,
            };
            !node.frozen && (broker || self.votes(id) || self.runs_raft(id))
        })
    }

    pub(super) fn controller_step(&mut self, id: NodeId, run: u64, to: ControllerPhase) {
        let timing = self.spec.timing.clone();
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.run == run) else {
            return;
        };
        if node.frozen {
            // A stopped process goes on where it was.
            self.after(FROZEN_RETRY, Event::ControllerStep { node: id, run, to });
            return;
        }
        if node.process != Process::Alive {
            return;
        }
        if to == ControllerPhase::Running && !node.loaded {
            // Without a leader there is nothing to load.
            self.after(LOAD_RETRY, Event::ControllerStep { node: id, run, to });
            return;
        }
        node.controller = to;
        let next = match to {
            ControllerPhase::Joined => Some((timing.controller_series, ControllerPhase::Loading)),
            ControllerPhase::Loading => Some((timing.controller_load, ControllerPhase::Running)),
            ControllerPhase::Off
            | ControllerPhase::Jvm
            | ControllerPhase::Running
            | ControllerPhase::Leaving => None,
        };
        if let Some((range, to)) = next {
            let delay = self.draw(range);
            self.after(delay, Event::ControllerStep { node: id, run, to });
        }
    }
}

/// How soon a step is tried again while its process is frozen.
pub(super) const FROZEN_RETRY: Millis = 50;
/// How soon a starting node looks again for metadata.
pub(super) const LOAD_RETRY: Millis = 100;
