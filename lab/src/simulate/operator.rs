//! Who takes nodes down one after the other by the book: the next one only when somebody says
//! that it may go. Each "go" is acted on, so a lie does harm. Some take several at once, and some come
//! to repair.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::gate::lease::{Action, LeaseId};
use upgrade_gate::gate::question::{Reply, Ticket};
use upgrade_gate::model::{Cluster, NodeId};

use super::leases::Mail;
use super::ops::Op;
use super::oracle::{Said, Stop};

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
    /// Nodes that are taken down together, where one of them is to be.
    #[serde(default)]
    pub hosts: Vec<BTreeSet<NodeId>>,
    /// It comes to repair its nodes, whoever has a lease on them.
    #[serde(default)]
    pub repairs: bool,
    /// For how long it goes on asking.
    #[serde(default)]
    pub patience: Option<u64>,
    /// It takes each of its stops twice: once they are up again it enters for the same nodes, as who
    /// forgets what he has done and is run again.
    #[serde(default)]
    pub forgets: bool,
    /// How long after "go" it orders the stop, as long as its lease certainly stands.
    #[serde(default)]
    pub lag: u64,
    /// It says "finished" as soon as it is told "go", and its nodes go after that, within [`BACKGROUND`]:
    /// a `reboot` that was left to the background. Who forgets does so only in the end.
    #[serde(default)]
    pub leaves_early: bool,
}

impl Operator {
    /// What its stops are for.
    pub const fn action(&self) -> Action {
        if self.repairs {
            Action::Repair
        } else {
            Action::Restart
        }
    }

    /// Every stop that takes more than one node, or is a repair.
    pub fn special_stops(&self) -> impl Iterator<Item = Stop> {
        let action = self.action();
        let repaired = self.nodes.iter().filter(|_| self.repairs);
        let repaired = repaired.map(|node| BTreeSet::from([*node]));
        let sets = self.hosts.iter().filter(|host| host.len() > 1).cloned();
        let sets = sets.filter(|_| !self.repairs).chain(repaired);
        sets.map(move |nodes| Stop { nodes, action })
    }

    /// The node, and whatever goes with it.
    fn with_its_host(&self, node: NodeId) -> BTreeSet<NodeId> {
        let mut hosts = self.hosts.iter();
        let host = hosts.find(|host| host.contains(&node));
        host.cloned().unwrap_or_else(|| BTreeSet::from([node]))
    }
}

/// A roll under way.
#[derive(Clone, Debug)]
pub struct Roll {
    operator: Operator,
    left: Vec<NodeId>,
    /// What it has asked for, or has taken down.
    current: BTreeSet<NodeId>,
    due: Duration,
    /// Since when it asks, where it does.
    asks_from: Duration,
    state: State,
    dead: bool,
    /// What it was told go for and has forgotten once.
    forgotten: BTreeSet<NodeId>,
    /// The lease that it was told "go" of last.
    lease: Option<LeaseId>,
    /// When the processes started that it has ordered to stop.
    stopped: BTreeMap<NodeId, i64>,
    /// It has said "finished" before its nodes went, and has no answer yet.
    left_early: Option<Ticket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asks,
    /// Has asked for a lease, at that time.
    Enters(Ticket, Duration),
    /// Was told "go", and orders the stop in a while.
    Goes,
    Stops,
    Waits,
    /// Wants to be told that its nodes are proven back, and has asked at that time.
    Leaves(Option<(Ticket, Duration)>),
}

/// For how long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(12);
/// So long before the end of its lease a stop is ordered at the latest.
const BEFORE_THE_END: Duration = Duration::from_secs(1);
/// So soon after "finished" it is ordered. Where the gate has not seen the nodes go it waits for a whole
/// window from then on, of ten seconds at least: a stop that takes its three seconds is seen before.
pub const BACKGROUND: Duration = Duration::from_secs(5);

impl Roll {
    /// A roll in which nothing has been done.
    pub fn new(operator: &Operator) -> Self {
        Self {
            left: operator.nodes.clone(),
            current: BTreeSet::new(),
            due: Duration::from_millis(operator.begins),
            asks_from: Duration::from_millis(operator.begins),
            state: State::Asks,
            dead: false,
            forgotten: BTreeSet::new(),
            lease: None,
            stopped: BTreeMap::new(),
            left_early: None,
            operator: operator.clone(),
        }
    }

    /// Every node is done.
    pub fn is_over(&self) -> bool {
        self.dead || (self.left.is_empty() && self.state == State::Asks)
    }

    /// It comes to repair, and not to restart one node after the other.
    pub const fn repairs(&self) -> bool {
        self.operator.repairs
    }

    /// What it asks about, if it waits for a go.
    pub fn asks(&self, now: Duration, cluster: &Cluster) -> Option<Stop> {
        let nodes = match self.state {
            State::Asks if now >= self.asks_from && !self.is_dead(now) => self.next(cluster)?,
            State::Enters(..) => self.current.clone(),
            State::Asks | State::Goes | State::Stops | State::Waits | State::Leaves(_) => {
                return None;
            }
        };
        Some(Stop {
            nodes,
            action: self.operator.action(),
        })
    }

    /// It was told "go" of its lease, and orders the stop in a while.
    pub fn goes_later(&self) -> bool {
        self.state == State::Goes
    }

    /// It has said "finished" before its nodes went.
    pub const fn has_left_early(&self) -> bool {
        self.left_early.is_some()
    }

    /// The lease that it was told "go" of, and whose nodes it has yet to stop: it will order that, and
    /// may by its lease; or it has, and a process that it has ordered to stop still runs.
    pub fn owes(&self, now: Duration, cluster: &Cluster) -> Option<LeaseId> {
        let mut stopped = self.stopped.iter();
        let owes = match self.state {
            State::Goes => !self.is_dead(now.max(self.due)),
            State::Stops => stopped.any(|(id, start)| cluster.process_start(*id) == Some(*start)),
            State::Asks | State::Enters(..) | State::Waits | State::Leaves(_) => false,
        };
        self.lease.filter(|_| owes)
    }

    /// Of the same kind the active controller comes last.
    fn next(&self, cluster: &Cluster) -> Option<BTreeSet<NodeId>> {
        let first = *self.left.first()?;
        let votes = |id: NodeId| {
            let spec = cluster.spec().nodes.iter().find(|node| node.id == id);
            spec.is_some_and(|node| node.roles.controller)
        };
        let alike = self.left.iter().filter(|id| votes(**id) == votes(first));
        let active = cluster.active_controller();
        let mut others = alike.filter(|id| Some(**id) != active);
        let node = others.next().copied().unwrap_or(first);
        Some(self.operator.with_its_host(node))
    }

    /// What it does now, given what it is told; nothing, mostly.
    pub fn act(
        &mut self,
        now: Duration,
        cluster: &Cluster,
        said: &Said,
        mail: &mut Mail,
    ) -> Vec<Op> {
        // Whatever the answer is, it asks again once its nodes are up.
        let is_answered = |ticket| mail.read(ticket).is_some();
        if self.left_early.is_some_and(is_answered) {
            self.left_early = None;
        }
        if self.is_dead(now) {
            self.dead = true;
        }
        if now < self.due || self.dead {
            return Vec::new();
        }
        match self.state {
            State::Enters(ticket, since) => self.read_entry(now, (ticket, since), cluster, mail),
            State::Leaves(asked) => {
                self.leave(now, asked, mail);
                Vec::new()
            }
            State::Asks => self.ask(now, cluster, said, mail),
            State::Goes => self.stop(now, cluster),
            State::Stops => {
                let mut nodes = self.current.iter();
                if nodes.all(|node| cluster.process_start(*node).is_none()) {
                    self.due = now + Duration::from_millis(self.operator.away);
                    self.state = State::Waits;
                }
                Vec::new()
            }
            State::Waits => self.start(now),
        }
    }

    fn is_dead(&self, now: Duration) -> bool {
        let dies = self.operator.dies.map(Duration::from_millis);
        dies.is_some_and(|at| now >= at)
    }

    fn ask(&mut self, now: Duration, cluster: &Cluster, said: &Said, mail: &mut Mail) -> Vec<Op> {
        let patience = self.operator.patience.map(Duration::from_millis);
        if patience.is_some_and(|patience| now >= self.asks_from + patience) {
            self.left.clear();
        }
        let Some(stop) = self.asks(now, cluster) else {
            return Vec::new();
        };
        if let Some(owner) = &self.operator.owner {
            let ttl = Duration::from_millis(self.operator.ttl);
            let ticket = mail.enter(owner, &stop, ttl, now);
            self.current = stop.nodes;
            self.state = State::Enters(ticket, now);
            return Vec::new();
        }
        self.due = now + Duration::from_millis(self.operator.every);
        let may = |node| self.operator.by_node && said.nodes.contains(node);
        if said.open || stop.nodes.iter().all(may) {
            self.current = stop.nodes;
            self.stop(now, cluster)
        } else {
            Vec::new()
        }
    }

    /// It was told "go" of what it had asked for then. It stops its nodes at once or a little later, for
    /// as long as its lease certainly stands: that counts from when it asked.
    fn go(
        &mut self,
        now: Duration,
        asked: Duration,
        lease: LeaseId,
        cluster: &Cluster,
        mail: &mut Mail,
    ) -> Vec<Op> {
        self.lease = Some(lease);
        self.left_early = None;
        let end = asked + Duration::from_millis(self.operator.ttl);
        let due = now + Duration::from_millis(self.operator.lag);
        let due = due.min(end.saturating_sub(BEFORE_THE_END)).max(now);
        let again = self.operator.forgets && !self.current.is_subset(&self.forgotten);
        if self.operator.leaves_early && !again {
            let owner = self.operator.owner.clone().unwrap_or_default();
            self.left_early = Some(mail.leave(&owner, &self.current));
            self.due = due.min(now + BACKGROUND);
        } else if due > now {
            self.due = due;
        } else {
            return self.stop(now, cluster);
        }
        self.state = State::Goes;
        Vec::new()
    }

    fn stop(&mut self, now: Duration, cluster: &Cluster) -> Vec<Op> {
        let starts = self.current.iter();
        let starts = starts.filter_map(|id| Some((*id, cluster.process_start(*id)?)));
        self.stopped = starts.collect();
        self.left.retain(|id| !self.current.contains(id));
        self.state = State::Stops;
        self.due = now;
        let op = if self.operator.kills {
            Op::Kill
        } else {
            Op::Stop
        };
        self.current.iter().copied().map(op).collect()
    }

    fn start(&mut self, now: Duration) -> Vec<Op> {
        self.due = now + Duration::from_millis(self.operator.pause);
        self.asks_from = self.due;
        self.state = if self.operator.owner.is_none() || self.forgets() {
            State::Asks
        } else {
            State::Leaves(None)
        };
        let op = |node| match &self.operator.to {
            Some(release) => Op::Upgrade(node, release.clone()),
            None => Op::Start(node),
        };
        self.current.iter().copied().map(op).collect()
    }

    /// Whether it begins again with what it has just done; each node once.
    fn forgets(&mut self) -> bool {
        let anew = self.operator.forgets && !self.current.is_subset(&self.forgotten);
        if anew {
            self.forgotten.extend(&self.current);
            self.left.splice(..0, self.current.iter().copied());
        }
        anew
    }

    fn read_entry(
        &mut self,
        now: Duration,
        (ticket, since): (Ticket, Duration),
        cluster: &Cluster,
        mail: &mut Mail,
    ) -> Vec<Op> {
        match mail.read(ticket) {
            Some(Reply::Go { lease, .. }) => return self.go(now, since, lease.id, cluster, mail),
            Some(_) => {
                self.due = now + Duration::from_millis(self.operator.every);
                // Whose patience ends counts from the first time.
                if self.operator.patience.is_none() {
                    self.asks_from = now;
                }
                self.state = State::Asks;
            }
            // The answer is lost: it asks again, and may have the lease already.
            None if now >= since + ANSWER => self.state = State::Asks,
            None => {}
        }
        Vec::new()
    }

    fn leave(&mut self, now: Duration, asked: Option<(Ticket, Duration)>, mail: &mut Mail) {
        let owner = self.operator.owner.clone().unwrap_or_default();
        let Some((ticket, since)) = asked else {
            let ticket = mail.leave(&owner, &self.current);
            self.state = State::Leaves(Some((ticket, now)));
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
                self.state = State::Leaves(None);
            }
            None if now >= since + ANSWER => self.state = State::Leaves(None),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
