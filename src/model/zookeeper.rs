//! ZooKeeper mode (up to 3.9): the controller is one of the brokers, and who is there is who has
//! a session with ZooKeeper.
//!
//! A broker's ephemeral node vanishes when its session ends: at once when it stops in order, after
//! `zookeeper.session.timeout.ms` (18 s) when it was killed, froze or was cut off. The controller's
//! node likewise; until then nobody commits anything, and `sum(ActiveControllerCount)` is 0
//! (kafka-lab.md, sections 5 and 6). The others then race for the place (`KafkaController.elect`),
//! and the new controller sends everybody the whole metadata (UpdateMetadata,
//! `KafkaController.onControllerFailover`). Assumed: ZooKeeper itself is always there.
//!
//! The same image is kept as on KRaft. A broker without a session is a fenced one in it, which no
//! answer of this mode shows.

use super::life::OperationError;
use super::state::{BrokerPhase, Event, Millis, Node, Process};
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

    /// Who can be the controller: voters, or every broker.
    pub(super) fn electorate(&self) -> Vec<NodeId> {
        let zookeeper = self.spec.zookeeper;
        let nodes = self.nodes.values();
        let may = nodes.filter(|node| node.spec.roles.controller || zookeeper);
        may.map(|node| node.spec.id).collect()
    }

    /// The broker talks to ZooKeeper and is far enough in its start to be the controller.
    pub(super) fn may_be_controller(&self, id: NodeId) -> bool {
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
        if self.quorum.leader == Some(id) {
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
