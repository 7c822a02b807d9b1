//! Who takes nodes down one after the other by the book: the next one only when somebody says
//! that it may go. Each "go" is acted on, so a lie does harm.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::model::{Cluster, NodeId};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asks,
    Stops(NodeId),
    Waits(NodeId),
}

impl Roll {
    /// A roll in which nothing has been done.
    pub fn new(operator: &Operator) -> Self {
        Self {
            left: operator.nodes.clone(),
            due: Duration::from_millis(operator.begins),
            asks_from: Duration::from_millis(operator.begins),
            state: State::Asks,
            operator: operator.clone(),
        }
    }

    /// Every node is done.
    pub fn is_over(&self) -> bool {
        self.left.is_empty() && self.state == State::Asks
    }

    /// The node it asks about, if it waits for a go.
    pub fn asks(&self, now: Duration, cluster: &Cluster) -> Option<NodeId> {
        let asking = self.state == State::Asks && now >= self.asks_from;
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
    pub fn act(&mut self, now: Duration, cluster: &Cluster, said: &Said) -> Option<Op> {
        if now < self.due {
            return None;
        }
        match self.state {
            State::Asks => {
                let node = self.asks(now, cluster)?;
                self.due = now + Duration::from_millis(self.operator.every);
                let go = said.open || (self.operator.by_node && said.nodes.contains(&node));
                if !go {
                    return None;
                }
                self.left.retain(|id| *id != node);
                self.state = State::Stops(node);
                self.due = now;
                Some(if self.operator.kills {
                    Op::Kill(node)
                } else {
                    Op::Stop(node)
                })
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
                self.state = State::Asks;
                Some(match &self.operator.to {
                    Some(release) => Op::Upgrade(node, release.clone()),
                    None => Op::Start(node),
                })
            }
        }
    }
}
