//! ZooKeeper mode (up to 3.9): the controller is one of the brokers, and who is there is who has
//! a session with ZooKeeper.
//!
//! A broker's ephemeral node vanishes when its session ends: at once when it stops in order, after
//! `zookeeper.session.timeout.ms` (18 s) when it was killed, froze or was cut off. The controller's
//! node likewise; until then nobody commits anything, and `sum(ActiveControllerCount)` is 0
//! (kafka-lab.md, sections 5 and 6). The others then race for the place (`KafkaController.elect`),
//! and the new controller sends everybody the whole metadata (UpdateMetadata,
//! `KafkaController.onControllerFailover`).
//!
//! While ZooKeeper itself is gone (its ensemble has no quorum) no session ends and nobody commits
//! anything; its next leader gives every session its whole time again (`LeaderZooKeeperServer`:
//! `SessionTrackerImpl` is made anew with every session's timeout). Whoever needs it to answer waits:
//! DescribeConfigs of topics (`ZkConfigRepository`, `KafkaZkClient.retryRequestUntilConnected`). Assumed:
//! clients notice at once; servers that leave a quorum close their connections.
//!
//! The same image is kept as on KRaft. A broker without a session is a fenced one in it, which no
//! answer of this mode shows.

use std::time::Duration;

use super::life::OperationError;
use super::state::{BrokerPhase, Contact, Event, Millis, Node, Process};
use super::{Cluster, NodeId};

/// How soon a supervisor starts a process again that gave up (assumed).
const SUPERVISOR: Millis = 2_000;

impl Cluster {
    /// Cuts a broker off from ZooKeeper, or mends that. It serves on until others know better.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn cut_zookeeper(&mut self, id: NodeId, cut: bool) -> Result<(), OperationError> {
        self.known(id)?;
        self.operate(|cluster| {
            if cut {
                cluster.zookeeper_cuts.insert(id);
            } else {
                cluster.zookeeper_cuts.remove(&id);
            }
        });
        Ok(())
    }

    /// ZooKeeper's ensemble loses its quorum, or has one again; on KRaft nothing happens.
    pub fn set_zookeeper_down(&mut self, down: bool) {
        if !self.spec.zookeeper {
            return;
        }
        self.operate(|cluster| {
            if down {
                cluster.zookeeper_lost.get_or_insert(cluster.now);
            } else if cluster.zookeeper_lost.take().is_some() {
                cluster.resume_sessions();
            }
        });
    }

    /// For how long ZooKeeper has been without a quorum; `None`: it has one.
    #[must_use]
    pub fn zookeeper_down_for(&self) -> Option<Duration> {
        let since = self.zookeeper_lost?;
        Some(Duration::from_millis(self.now.saturating_sub(since)))
    }

    /// Sessions of brokers that do not come back end a whole session later.
    fn resume_sessions(&mut self) {
        let lost = self.sessions.iter();
        let lost = lost.filter(|(_, session)| matches!(session.contact, Contact::Lost { .. }));
        let lost: Vec<NodeId> = lost.map(|(broker, _)| *broker).collect();
        for broker in lost {
            self.set_contact(broker, Contact::Lost { last: self.now });
        }
    }

    /// The broker has a connection with ZooKeeper, or could make one.
    pub(super) fn reaches_zookeeper(&self, id: NodeId) -> bool {
        self.zookeeper_lost.is_none() && !self.zookeeper_cuts.contains(&id)
    }

    /// Each process counts the connections that came about and those that were lost
    /// (`ZooKeeperClient`'s meters). A frozen one goes on with what it had.
    pub(super) fn refresh_zookeeper_connections(&mut self) {
        if !self.spec.zookeeper {
            return;
        }
        let (lost, cuts) = (self.zookeeper_lost.is_some(), &self.zookeeper_cuts);
        for node in self.nodes.values_mut() {
            let (connects, losses) = node.zookeeper_connections;
            let counts = node.alive() && !node.frozen && node.broker > BrokerPhase::Jvm;
            let reaches = !lost && !cuts.contains(&node.spec.id);
            node.zookeeper_connections = match (counts && reaches, connects > losses) {
                (true, false) => (connects + 1, losses),
                (false, true) if counts => (connects, losses + 1),
                (true | false, _) => (connects, losses),
            };
        }
    }

    /// Who can be the controller: voters, or every broker.
    pub(super) fn electorate(&self) -> Vec<NodeId> {
        let zookeeper = self.spec.zookeeper;
        let nodes = self.nodes.values();
        let may = nodes.filter(|node| node.spec.roles.controller || zookeeper);
        may.map(|node| node.spec.id).collect()
    }

    /// The broker talks to ZooKeeper and is far enough in its start to be the controller.
    pub(super) fn may_be_controller(&self, id: NodeId) -> bool {
        self.could_be_controller(id) && self.zookeeper_lost.is_none()
    }

    /// The same once ZooKeeper itself is there.
    pub(super) fn could_be_controller(&self, id: NodeId) -> bool {
        let ready = self.nodes.get(&id).is_some_and(|node| match node.broker {
            BrokerPhase::Running | BrokerPhase::Leaving => !node.frozen && node.alive(),
            BrokerPhase::Off
            | BrokerPhase::Jvm
            | BrokerPhase::Starting
            | BrokerPhase::Registered
            | BrokerPhase::CaughtUp
            | BrokerPhase::Closing => false,
        });
        ready && !self.zookeeper_cuts.contains(&id)
    }

    /// The session that made the controller's node is this process's own.
    pub(super) fn same_process(&self, leader: NodeId) -> bool {
        let run = self.nodes.get(&leader).map(|node| node.run);
        run == Some(self.quorum.leader_run)
    }

    /// What the node's own page says.
    pub(super) fn acts_as_controller(&self, node: &Node) -> bool {
        let id = node.spec.id;
        node.leader == Some(id) && self.quorum.leader == Some(id) && self.same_process(id)
    }

    /// `zookeeper.session.timeout.ms` here, `broker.session.timeout.ms` on KRaft.
    pub(super) fn session_timeout(&self) -> Millis {
        let settings = &self.spec.settings;
        if self.spec.zookeeper {
            settings.zookeeper_session_timeout
        } else {
            settings.session_timeout
        }
    }

    /// A ZooKeeper client pings three times per session (`ClientCnxn.SendThread` of ZooKeeper:
    /// after half its read timeout, which is two thirds of the session).
    pub(super) fn heartbeat_interval(&self) -> Millis {
        let settings = &self.spec.settings;
        if self.spec.zookeeper {
            (settings.zookeeper_session_timeout / 3).max(1)
        } else {
            settings.heartbeat_interval.max(1)
        }
    }

    /// The controller's own node is gone with its session, and others race for the place.
    pub(super) fn lose_zookeeper_controller(&mut self, id: NodeId) {
        if self.quorum.leader == Some(id) && self.zookeeper_lost.is_none() {
            self.quorum.leader = None;
            self.plan_election(self.spec.timing.handover);
        }
    }

    /// The ephemeral node of an earlier process is still there: `KafkaZkClient.registerBroker`
    /// throws NodeExists and the start fails. Whoever started it does so again.
    pub(super) fn node_exists(&mut self, id: NodeId, run: u64) {
        self.end(id, 0, false);
        self.after(SUPERVISOR, Event::Supervise { node: id, run });
    }

    pub(super) fn supervise(&mut self, id: NodeId, run: u64) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.run == run) else {
            return;
        };
        if matches!(node.process, Process::Ended { .. }) {
            self.begin_start(id, None);
        }
    }
}
