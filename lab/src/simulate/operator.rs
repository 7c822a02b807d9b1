//! Who takes nodes down one after the other by the book: the next one only when somebody says
//! that it may go. Each "go" is acted on, so a lie does harm.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::gate::question::{Reply, Ticket};
use upgrade_gate::model::{Cluster, NodeId};

use super::leases::Mail;
use super::ops::Op;
use super::oracle::Said;

/// A roll to be made; times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// What is to be restarted, controllers first. Of each kind the active controller comes last.
    pub nodes: Vec<NodeId>,
    /// When it begins.
    pub begins: u64,
    /// How often it asks.
    pub every: u64,
    /// It asks about the node, not about the whole.
    pub by_node: bool,
    /// It ends processes with `kill -9`.
    pub kills: bool,
    /// How long a node stays down once its process has ended.
    pub away: u64,
    /// How long after the start of a node it asks about the next.
    pub pause: u64,
    /// The release that it starts, where it upgrades.
    #[serde(default)]
    pub to: Option<String>,
    /// It takes leases under this name, instead of looking at the verdict.
    #[serde(default)]
    pub owner: Option<String>,
    /// For how long each lease is asked for.
    #[serde(default)]
    pub ttl: u64,
    /// When its process dies.
    #[serde(default)]
    pub dies: Option<u64>,
}

/// A roll under way.
#[derive(Clone, Debug)]
pub struct Roll {
    operator: Operator,
    left: Vec<NodeId>,
    due: Duration,
    /// Since when it asks, where it does.
    asks_from: Duration,
    state: State,
    dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asks,
    /// Has asked for a lease, at that time.
    Enters(NodeId, Ticket, Duration),
    Stops(NodeId),
    Waits(NodeId),
    /// Wants to be told that the node is proven back, and has asked at that time.
    Leaves(NodeId, Option<(Ticket, Duration)>),
}

/// For how long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(12);

impl Roll {
    /// A roll in which nothing has been done.
    pub fn new(operator: &Operator) -> Self {
        Self {
            left: operator.nodes.clone(),
            due: Duration::from_millis(operator.begins),
            asks_from: Duration::from_millis(operator.begins),
            state: State::Asks,
            dead: false,
            operator: operator.clone(),
        }
    }

    /// Every node is done.
    pub fn is_over(&self) -> bool {
        self.dead || (self.left.is_empty() && self.state == State::Asks)
    }

    /// The node it asks about, if it waits for a go.
    pub fn asks(&self, now: Duration, cluster: &Cluster) -> Option<NodeId> {
        let asking = match self.state {
            State::Asks => now >= self.asks_from && !self.is_dead(now),
            State::Enters(..) => true,
            State::Stops(_) | State::Waits(_) | State::Leaves(..) => false,
        };
        if let State::Enters(node, ..) = self.state {
            return Some(node);
        }
        let first = *self.left.first().filter(|_| asking)?;
        let votes = |id: NodeId| {
            let spec = cluster.spec().nodes.iter().find(|node| node.id == id);
            spec.is_some_and(|node| node.roles.controller)
        };
        let alike = self.left.iter().filter(|id| votes(**id) == votes(first));
        let active = cluster.active_controller();
        let mut others = alike.filter(|id| Some(**id) != active);
        Some(others.next().copied().unwrap_or(first))
    }

    /// What it does now, given what it is told.
    pub fn act(
        &mut self,
        now: Duration,
        cluster: &Cluster,
        said: &Said,
        mail: &mut Mail,
    ) -> Option<Op> {
        if self.is_dead(now) {
            self.dead = true;
        }
        if now < self.due || self.dead {
            return None;
        }
        match self.state {
            State::Enters(node, ticket, since) => self.read_entry(now, (node, ticket, since), mail),
            State::Leaves(node, asked) => {
                self.leave(now, node, asked, mail);
                None
            }
            State::Asks => {
                let node = self.asks(now, cluster)?;
                if let Some(owner) = &self.operator.owner {
                    let ttl = Duration::from_millis(self.operator.ttl);
                    let ticket = mail.enter(owner, node, ttl, now);
                    self.state = State::Enters(node, ticket, now);
                    return None;
                }
                self.due = now + Duration::from_millis(self.operator.every);
                let go = said.open || (self.operator.by_node && said.nodes.contains(&node));
                if !go {
                    return None;
                }
                Some(self.stop(now, node))
            }
            State::Stops(node) => {
                if cluster.process_start(node).is_none() {
                    self.due = now + Duration::from_millis(self.operator.away);
                    self.state = State::Waits(node);
                }
                None
            }
            State::Waits(node) => {
                self.due = now + Duration::from_millis(self.operator.pause);
                self.asks_from = self.due;
                self.state = match self.operator.owner {
                    Some(_) => State::Leaves(node, None),
                    None => State::Asks,
                };
                Some(match &self.operator.to {
                    Some(release) => Op::Upgrade(node, release.clone()),
                    None => Op::Start(node),
                })
            }
        }
    }

    fn is_dead(&self, now: Duration) -> bool {
        let dies = self.operator.dies.map(Duration::from_millis);
        dies.is_some_and(|at| now >= at)
    }

    fn stop(&mut self, now: Duration, node: NodeId) -> Op {
        self.left.retain(|id| *id != node);
        self.state = State::Stops(node);
        self.due = now;
        if self.operator.kills {
            Op::Kill(node)
        } else {
            Op::Stop(node)
        }
    }

    fn read_entry(
        &mut self,
        now: Duration,
        (node, ticket, since): (NodeId, Ticket, Duration),
        mail: &mut Mail,
    ) -> Option<Op> {
        match mail.read(ticket) {
            Some(Reply::Go { .. }) => return Some(self.stop(now, node)),
            Some(_) => {
                self.due = now + Duration::from_millis(self.operator.every);
                self.asks_from = now;
                self.state = State::Asks;
            }
            // The answer is lost: it asks again, and may have the lease already.
            None if now >= since + ANSWER => self.state = State::Asks,
            None => {}
        }
        None
    }

    fn leave(
        &mut self,
        now: Duration,
        node: NodeId,
        asked: Option<(Ticket, Duration)>,
        mail: &mut Mail,
    ) {
        let owner = self.operator.owner.clone().unwrap_or_default();
        let Some((ticket, since)) = asked else {
            self.state = State::Leaves(node, Some((mail.leave(&owner, node), now)));
            return;
        };
        match mail.read(ticket) {
            // Refused: its lease was over long ago.
            Some(Reply::Over(_) | Reply::Refused(_)) => {
                self.state = State::Asks;
                self.asks_from = now;
            }
            Some(_) => {
                self.due = now + Duration::from_millis(self.operator.every);
                self.state = State::Leaves(node, None);
            }
            None if now >= since + ANSWER => self.state = State::Leaves(node, None),
            None => {}
        }
    }
}
