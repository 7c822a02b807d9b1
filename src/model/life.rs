//! Time and operations: what people and accidents do to a cluster, and what follows.
//!
//! Kills, stops, starts and freezes were done on the lab and their courses measured (kafka-lab.md,
//! sections 3 to 6; tests/fixtures/traces). That a cut network loses nothing and delivers nothing,
//! in both directions from one moment on, is assumed.

use std::time::Duration;

use thiserror::Error;

use super::state::{BrokerPhase, ControllerPhase, Event, Millis, ORIGIN, Position, Process};
use super::{Cluster, Listener, NodeId, Release};

/// How long a closed exporter answers with resets before it refuses (kafka-lab.md, section 4).
const RESETS: Millis = 150;

/// Why an operation makes no sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OperationError {
    /// No such node.
    #[error("the cluster has no node {0}: use one of the spec's ids")]
    NoNode(NodeId),
    /// It is in another state.
    #[error("node {0} is {1}: wait, or use another operation")]
    Node(NodeId, &'static str),
    /// The quorum has no leader that can commit.
    #[error("no controller can commit a change now: wait for an election")]
    NoController,
    /// A topic of this name is there.
    #[error("topic {0} exists: delete it first or choose another name")]
    Taken(String),
    /// Too few brokers for a topic.
    #[error("{0} replicas on {1} brokers in service: start brokers or ask for fewer")]
    Brokers(u32, usize),
    /// No such topic or group.
    #[error("the cluster has no {0} named {1}: use one of the spec's names")]
    NoName(&'static str, String),
}

impl super::state::Node {
    pub(super) fn alive(&self) -> bool {
        match self.process {
            Process::Alive | Process::Stopping { .. } => true,
            Process::Ended { .. } => false,
        }
    }
}

impl Cluster {
    /// Lets time pass up to `now`, counted from the start of the simulation; going back is a
    /// no-op.
    pub fn advance(&mut self, now: Duration) {
        let until = ORIGIN + millis(now);
        while let Some((&(at, _), _)) = self.queue.first_key_value() {
            if at > until {
                break;
            }
            let Some((_, event)) = self.queue.pop_first() else {
                break;
            };
            self.now = self.now.max(at);
            self.settle_logs();
            self.happen(event);
            self.refresh();
        }
        self.now = self.now.max(until);
    }

    /// The time that [`Cluster::advance`] was last called with.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now.saturating_sub(ORIGIN))
    }

    /// When the next thing happens by itself, for drivers that sleep.
    #[must_use]
    pub fn next_event(&self) -> Option<Duration> {
        let (&(at, _), _) = self.queue.first_key_value()?;
        Some(Duration::from_millis(at.saturating_sub(ORIGIN)))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::SessionExpiry { broker, generation } => self.session_expired(broker, generation),
            Event::BrokerStep { node, run, to } => self.broker_step(node, run, to),
            Event::ControllerStep { node, run, to } => self.controller_step(node, run, to),
            Event::Open { node, run } => {
                if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.run == run) {
                    node.open = true;
                }
            }
            Event::Exit { node, run } => self.exit(node, run),
            Event::LeaderNoticed { epoch } => self.leader_noticed(epoch),
            Event::Election { epoch } => self.elect_controller(epoch),
            Event::Publish { node, run, image } => self.publish(node, run, image),
            Event::Replicate => {
                self.expand_isrs();
                self.finish_moves();
            }
            Event::IsrCheck { node, run } => self.check_isrs(node, run),
            Event::Missed { epoch } => self.missed(epoch),
            Event::Resign { node, epoch } => self.resign(node, epoch),
            Event::DirsTold { node, run } => self.dirs_told(node, run),
            Event::Halt { node, run } => self.halt(node, run),
            Event::Supervise { node, run } => self.supervise(node, run),
            Event::Balance => {
                self.after(self.spec.settings.balance_interval, Event::Balance);
                self.balance();
            }
        }
    }

    /// What follows from any change of who runs and who reaches whom.
    fn refresh(&mut self) {
        self.refresh_quorum();
        self.refresh_positions();
        self.refresh_sessions();
        self.refresh_zookeeper_connections();
        self.plan_replication();
    }

    pub(super) fn operate(&mut self, change: impl FnOnce(&mut Self)) {
        self.settle_logs();
        change(self);
        self.refresh();
    }

    fn running(&self, id: NodeId) -> Result<&super::state::Node, OperationError> {
        let node = self.nodes.get(&id).ok_or(OperationError::NoNode(id))?;
        match node.process {
            Process::Alive => Ok(node),
            Process::Stopping { .. } => Err(OperationError::Node(id, "stopping")),
            Process::Ended { .. } => Err(OperationError::Node(id, "down")),
        }
    }

    /// `kill -9`: the kernel closes connections at once, nobody is told (measured: kafka-lab.md,
    /// section 5).
    ///
    /// # Errors
    /// When the node does not exist or is down.
    pub fn kill(&mut self, id: NodeId) -> Result<(), OperationError> {
        let node = self.nodes.get(&id).ok_or(OperationError::NoNode(id))?;
        if !node.alive() {
            return Err(OperationError::Node(id, "down"));
        }
        self.operate(|cluster| cluster.end(id, 0, true));
        Ok(())
    }

    fn exit(&mut self, id: NodeId, run: u64) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.run == run) else {
            return;
        };
        if node.frozen {
            self.after(RESETS, Event::Exit { node: id, run });
            return;
        }
        let ready = matches!(node.broker, BrokerPhase::Off | BrokerPhase::Closing);
        if ready && node.alive() {
            self.end(id, RESETS, false);
        }
    }

    pub(super) fn end(&mut self, id: NodeId, resets: Millis, unclean: bool) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.process = Process::Ended {
            at: now,
            reset_until: now + resets,
        };
        node.life += 1;
        node.frozen = false;
        node.open = false;
        node.unclean = unclean;
        node.broker = BrokerPhase::Off;
        node.controller = ControllerPhase::Off;
    }

    /// SIGTERM. A broker asks for controlled shutdown and ends after about three seconds, a
    /// controller after half a second (kafka-lab.md, section 4).
    ///
    /// # Errors
    /// When the node does not exist, is down, or stops already.
    pub fn stop(&mut self, id: NodeId) -> Result<(), OperationError> {
        self.running(id)?;
        self.operate(|cluster| cluster.begin_stop(id));
        Ok(())
    }

    fn begin_stop(&mut self, id: NodeId) {
        let now = self.now;
        let leave = self.draw(self.spec.timing.leave);
        let exit = self.draw(self.spec.timing.controller_exit);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.process = Process::Stopping { since: now };
        let run = node.run;
        if node.controller != ControllerPhase::Off && !node.spec.roles.broker {
            node.controller = ControllerPhase::Leaving;
        }
        match node.broker {
            BrokerPhase::Off => self.after(exit, Event::Exit { node: id, run }),
            BrokerPhase::Running => {
                node.broker = BrokerPhase::Leaving;
                self.after(
                    leave,
                    Event::BrokerStep {
                        node: id,
                        run,
                        to: BrokerPhase::Leaving,
                    },
                );
            }
            BrokerPhase::Jvm
            | BrokerPhase::Starting
            | BrokerPhase::Registered
            | BrokerPhase::CaughtUp
            | BrokerPhase::Leaving
            | BrokerPhase::Closing => {
                // Not yet in service: nothing to hand over.
                node.broker = BrokerPhase::Closing;
                self.after(exit, Event::Exit { node: id, run });
            }
        }
    }

    /// Starts a node that is down, with another binary where `release` is given. What it takes is
    /// measured (`timing`); a process begins without anything it knew, metrics included.
    ///
    /// # Errors
    /// When the node does not exist or runs.
    pub fn start(&mut self, id: NodeId, release: Option<Release>) -> Result<(), OperationError> {
        let node = self.nodes.get(&id).ok_or(OperationError::NoNode(id))?;
        if node.alive() {
            return Err(OperationError::Node(id, "running"));
        }
        self.operate(|cluster| cluster.begin_start(id, release));
        Ok(())
    }

    pub(super) fn begin_start(&mut self, id: NodeId, release: Option<Release>) {
        let now = self.now;
        let exporter = self.draw(self.spec.timing.exporter);
        let boot = self.draw(self.spec.timing.boot);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.release = release.unwrap_or(node.release);
        node.run += 1;
        node.life += 1;
        node.process = Process::Alive;
        node.started = now;
        node.exporter_at = now + exporter;
        node.loaded = false;
        node.image = std::sync::Arc::default();
        node.published_until = 0;
        node.position = Position::Never;
        node.leader = None;
        (node.isr_shrinks, node.isr_expands) = (0, 0);
        (node.unclean_elections, node.eligible_elections) = (0, 0);
        node.elections_won = 0;
        node.zookeeper_connections = (0, 0);
        let run = node.run;
        self.open_disks(id);
        for log in self.logs.values_mut() {
            if let Some(replica) = log.replicas.get_mut(&id) {
                replica.produced = 0;
            }
        }
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.spec.roles.broker {
            node.broker = BrokerPhase::Jvm;
            self.after(
                boot,
                Event::BrokerStep {
                    node: id,
                    run,
                    to: BrokerPhase::Starting,
                },
            );
        }
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.spec.roles.controller {
            node.controller = ControllerPhase::Jvm;
            self.after(
                boot,
                Event::ControllerStep {
                    node: id,
                    run,
                    to: ControllerPhase::Joined,
                },
            );
        }
    }

    /// SIGSTOP: the kernel still takes connections, nobody answers (measured: kafka-lab.md,
    /// section 5).
    ///
    /// # Errors
    /// When the node does not exist, is down, or is frozen already.
    pub fn freeze(&mut self, id: NodeId) -> Result<(), OperationError> {
        self.set_frozen(id, true, "frozen already")
    }

    /// SIGCONT. Assumed: the process goes on where it was, with everything it had begun.
    ///
    /// # Errors
    /// When the node does not exist, is down, or is not frozen.
    pub fn thaw(&mut self, id: NodeId) -> Result<(), OperationError> {
        self.set_frozen(id, false, "not frozen")
    }

    fn set_frozen(
        &mut self,
        id: NodeId,
        frozen: bool,
        otherwise: &'static str,
    ) -> Result<(), OperationError> {
        let node = self.nodes.get(&id).ok_or(OperationError::NoNode(id))?;
        if !node.alive() {
            return Err(OperationError::Node(id, "down"));
        }
        if node.frozen == frozen {
            return Err(OperationError::Node(id, otherwise));
        }
        self.operate(|cluster| {
            if let Some(node) = cluster.nodes.get_mut(&id) {
                node.frozen = frozen;
            }
        });
        Ok(())
    }

    /// Cuts the network between two nodes; clients still reach both.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub fn cut(&mut self, a: NodeId, b: NodeId) -> Result<(), OperationError> {
        self.known(a)?;
        self.known(b)?;
        self.operate(|cluster| {
            cluster.cuts.insert((a.min(b), a.max(b)));
        });
        Ok(())
    }

    /// Mends what [`Cluster::cut`] cut.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub fn mend(&mut self, a: NodeId, b: NodeId) -> Result<(), OperationError> {
        self.known(a)?;
        self.known(b)?;
        self.operate(|cluster| {
            cluster.cuts.remove(&(a.min(b), a.max(b)));
        });
        Ok(())
    }

    pub(super) fn known(&self, id: NodeId) -> Result<(), OperationError> {
        if self.nodes.contains_key(&id) {
            Ok(())
        } else {
            Err(OperationError::NoNode(id))
        }
    }

    /// The node's followers copy at most this many records per second and partition from now on
    /// (a slow disk, a replication throttle); at 0 they stand still.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_catch_up_rate(&mut self, id: NodeId, rate: u64) -> Result<(), OperationError> {
        self.known(id)?;
        self.operate(|cluster| {
            if let Some(node) = cluster.nodes.get_mut(&id) {
                node.catch_up_rate = rate;
            }
        });
        Ok(())
    }

    /// The node's own copy of the metadata follows the log this much later from now on: a busy
    /// metadata loader, or on ZooKeeper a controller that is slow to send UpdateMetadata. It shows
    /// old ISRs at unchanged leader epochs, because a shrink does not bump them from
    /// metadata.version 3.6 on (KAFKA-15021), nor on ZooKeeper when the leader does it.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_metadata_lag(&mut self, id: NodeId, lag: Duration) -> Result<(), OperationError> {
        self.known(id)?;
        self.settle_logs();
        self.keep_published(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.metadata_lag = millis(lag);
        }
        Ok(())
    }

    /// Producers send this many records per second into each partition of the topic from now on.
    ///
    /// # Errors
    /// When the topic does not exist.
    pub fn set_rate(&mut self, topic: &str, rate: u64) -> Result<(), OperationError> {
        if !self.image.topics.contains_key(topic) {
            return Err(OperationError::NoName("topic", topic.to_owned()));
        }
        self.operate(|cluster| {
            for (_, log) in cluster.logs.iter_mut().filter(|(id, _)| *id.0 == *topic) {
                log.rate = rate;
            }
        });
        Ok(())
    }

    /// Moves leaders back to the preferred replicas now (`kafka-leader-election.sh`).
    pub fn elect_preferred(&mut self) {
        self.operate(Self::balance);
    }

    /// Where the node's listener is reached from now on, as Metadata and others advertise it.
    ///
    /// # Errors
    /// When the node does not exist.
    pub fn set_port(
        &mut self,
        id: NodeId,
        listener: Listener,
        port: u16,
    ) -> Result<(), OperationError> {
        let node = self.nodes.get_mut(&id).ok_or(OperationError::NoNode(id))?;
        node.ports.insert(listener, port);
        Ok(())
    }
}

/// Whole milliseconds, so few that sums do not overflow.
pub(super) fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX / 4)
}
