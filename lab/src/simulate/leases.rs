//! Orchestrators that take leases: their mail with the gate. What they were told is held against the
//! truth by `ledger`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_gate::evidence::ids;
use upgrade_gate::gate::lease::{Ended, Lease, LeaseId, Owner};
use upgrade_gate::gate::question::{Change, Command, Entry, Reply, Ticket};
use upgrade_gate::model::NodeId;

use super::oracle::Stop;
use super::world::World;

/// Questions on their way to the gate, and its answers.
#[derive(Debug, Default)]
pub struct Mail {
    next: u64,
    out: Vec<(Ticket, Command)>,
    replies: BTreeMap<Ticket, Reply>,
    asked: BTreeMap<Ticket, Stop>,
    /// Leases that somebody has read "go" of since the last look, and what he had asked for.
    pub(super) told: Vec<(Lease, Stop)>,
    /// Leases that somebody has read the end of.
    pub(super) over: Vec<Ended>,
    /// Leases that the gate has said "go" of since the last look, whether anybody reads it or not.
    pub(super) said: Vec<LeaseId>,
}

impl Mail {
    /// "May I stop these nodes?"
    pub fn enter(&mut self, owner: &str, stop: &Stop, ttl: Duration, now: Duration) -> Ticket {
        let ticket = self.ask(Command::Enter(Entry {
            owner: name(owner),
            nodes: ids(&stop.nodes),
            ttl,
            action: stop.action,
            asked: World::mono(now),
        }));
        self.asked.insert(ticket, stop.clone());
        ticket
    }

    /// "I have finished with these nodes."
    pub fn leave(&mut self, owner: &str, nodes: &BTreeSet<NodeId>) -> Ticket {
        self.ask(Command::Leave {
            owner: name(owner),
            nodes: ids(nodes),
            unused: None,
        })
    }

    /// "This node is gone for good."
    pub fn retire(&mut self, node: NodeId) {
        self.ask(Command::Change(Change::Retire {
            node: ids::NodeId(node),
            by: name("somebody"),
        }));
    }

    fn ask(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.out.push((ticket, command));
        ticket
    }

    /// The answer to a question, once it is there.
    pub fn read(&mut self, ticket: Ticket) -> Option<Reply> {
        let reply = self.replies.remove(&ticket)?;
        let asked = self.asked.remove(&ticket);
        match &reply {
            Reply::Go { lease, .. } => {
                self.told
                    .extend(asked.map(|stop| (Lease::clone(lease), stop)));
            }
            Reply::Over(ended) => self.over.push(Ended::clone(ended)),
            Reply::Verdict(_) | Reply::Verdicts(_) | Reply::Changed(_) | Reply::Refused(_) => {}
        }
        Some(reply)
    }

    /// What is on its way to the gate.
    pub fn sent(&mut self) -> Vec<(Ticket, Command)> {
        std::mem::take(&mut self.out)
    }

    /// What the gate has answered.
    pub fn receive(&mut self, replies: Vec<(Ticket, Reply)>) {
        let said = replies.iter().filter_map(|(_, reply)| match reply {
            Reply::Go { lease, .. } => Some(lease.id),
            Reply::Over(_)
            | Reply::Verdict(_)
            | Reply::Verdicts(_)
            | Reply::Changed(_)
            | Reply::Refused(_) => None,
        });
        self.said.extend(said);
        self.replies.extend(replies);
    }

    /// Whether no question waits for its answer.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.out.is_empty() && self.replies.is_empty()
    }

    /// The gate's process is gone, and with it every question and answer on the way.
    pub fn lose(&mut self) {
        self.out.clear();
        self.replies.clear();
        self.asked.clear();
    }
}

fn ids(nodes: &BTreeSet<NodeId>) -> BTreeSet<ids::NodeId> {
    nodes.iter().copied().map(ids::NodeId).collect()
}

fn name(owner: &str) -> Owner {
    Owner::try_from(owner.to_owned()).expect("a sound name")
}
