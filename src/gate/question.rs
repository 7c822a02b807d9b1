//! Questions that the published view does not answer: about a set of nodes, or for evidence newer
//! than a moment.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lease::{Action, Ended, Hold, Lease, LeaseId, Owner, Token};
use super::view::Decision;
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, Report};
use crate::evidence::snapshot::Reports;
use crate::time::{Mono, Now};

/// How long a question for new evidence waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Names one question, so that its answer finds the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What can be asked of the Machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The verdict on a question that the published view does not answer.
    Decide(Question),
    /// "May these nodes be repaired?" Nothing is taken.
    DecideRepair(Repair),
    /// The verdict on each of these sets of nodes, all on one judgement.
    DecideEach(Vec<BTreeSet<NodeId>>),
    /// "May I stop these nodes? Then I take them."
    Enter(Entry),
    /// "I have finished with these nodes. Are they proven back?"
    Leave {
        /// Who asks.
        owner: Owner,
        /// The nodes entered for.
        nodes: BTreeSet<NodeId>,
        /// Nothing was done with this "go", and the lease stays if another one was said since.
        unused: Option<Unused>,
    },
    /// Somebody changes something.
    Change(Change),
}

/// A request for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who asks.
    pub owner: Owner,
    /// The nodes to be stopped together; never empty.
    pub nodes: BTreeSet<NodeId>,
    /// For how long.
    pub ttl: Duration,
    /// What for.
    pub action: Action,
    /// Only liveness, metadata and quorum asked for after this moment count: the request itself.
    pub asked: Mono,
}

impl Entry {
    /// Whether this lease is the one that is asked for: of this owner, on exactly these nodes, for the same.
    pub(super) fn asks_for(&self, lease: &Lease) -> bool {
        lease.is_of(&self.owner, &self.nodes) && lease.action == self.action
    }
}

/// A change that is answered once it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Moves a lease's end.
    Renew {
        /// Which.
        lease: LeaseId,
        /// The token that its owner was given.
        token: Token,
        /// From now on for so long.
        ttl: Duration,
        /// Who asks, where the gate knows it; then the lease has to be theirs.
        by: Option<Owner>,
    },
    /// Ends a lease whatever its nodes do.
    Break {
        /// Which.
        lease: LeaseId,
        /// Who.
        by: Owner,
        /// Why.
        reason: String,
    },
    /// Closes the gate, or a node.
    Hold {
        /// The node; `None`: the gate.
        node: Option<NodeId>,
        /// Who.
        author: Owner,
        /// Why.
        reason: String,
        /// For how long; `None`: until it is lifted.
        ttl: Option<Duration>,
    },
    /// Lifts a hold.
    Lift {
        /// The node; `None`: the gate.
        node: Option<NodeId>,
        /// Who.
        by: Owner,
    },
    /// A node is gone for good and is expected no more.
    Retire {
        /// Which.
        node: NodeId,
        /// Who.
        by: Owner,
    },
}

/// A question that needs judging of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// "These nodes stop now"; empty: the verdict without a target.
    pub nodes: BTreeSet<NodeId>,
    /// Only liveness, metadata and quorum asked for after this moment count.
    pub newer_than: Option<Mono>,
}

/// A question whether nodes that are down or sick may be repaired: whether that makes nothing worse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The nodes; never empty.
    pub nodes: BTreeSet<NodeId>,
    /// Asked for after this moment by those who tell of the cluster: the request itself.
    pub asked: Mono,
}

/// A verdict on a question, or why there can be none.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// The verdict, and when it was made.
    Decided {
        /// The verdict.
        decision: Decision,
        /// When.
        evaluated: Now,
    },
    /// These nodes are not expected in this cluster; nothing can be said about them.
    NoSuchNodes(BTreeSet<NodeId>),
}

/// A "go" with which nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unused {
    /// Of this lease.
    pub token: Token,
    /// It was the last that had been said for it by then.
    pub told: u32,
}

/// What the Machine answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a question; to a request for a lease or for its end: not yet, and why.
    Verdict(Answered),
    /// To a question about several sets of nodes: a verdict on each, in their order.
    Verdicts(Vec<Answered>),
    /// Go: the lease is durable, and everything was still well after that.
    Go {
        /// The lease.
        lease: Box<Lease>,
        /// How often "go" has been said for it, this time included; none where another process may have
        /// said it as well.
        told: Option<u32>,
        /// When that was judged.
        evaluated: Now,
    },
    /// The lease is over, and how it ended.
    Over(Box<Ended>),
    /// The change is durable.
    Changed(Changed),
    /// The change cannot be made.
    Refused(Refusal),
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The lease as it is now.
    Lease(Box<Lease>),
    /// This lease is no more.
    Broken(LeaseId),
    /// The hold that is in force now; `None`: it is lifted.
    Hold(Option<Hold>),
    /// This node is expected no more.
    Retired(NodeId),
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such lease.
    #[error("there is no lease {0} of this gate; `leases` lists those there are")]
    NoSuchLease(LeaseId),
    /// This owner has no lease on these nodes.
    #[error(
        "{owner} has no lease on exactly these nodes; enter first, with the same owner and nodes"
    )]
    NotEntered {
        /// Who asked.
        owner: Owner,
    },
    /// "Go" was said for the lease since: whoever heard it goes on with it.
    #[error("{owner} was told go for that lease again since, or has it no more; it stays as it is")]
    GoneOnWith {
        /// Who asked.
        owner: Owner,
    },
    /// This owner has said "leave" while its request waited.
    #[error("{owner} has left these nodes while this request waited; enter anew")]
    GivenUp {
        /// Who asked.
        owner: Owner,
    },
    /// Somebody else has the lease by now.
    #[error("lease {lease} carries a newer token than {given}: somebody has taken it over")]
    OldToken {
        /// The lease.
        lease: LeaseId,
        /// The token given.
        given: Token,
    },
    /// Tokens can be read by whoever may read: they do not make a lease somebody's.
    #[error(
        "lease {lease} is {owner}'s and not {by}'s: who took it renews it; whoever is admin may break it"
    )]
    OfAnother {
        /// The lease.
        lease: LeaseId,
        /// Whose it is.
        owner: String,
        /// Who asked.
        by: Owner,
    },
    /// The lease is not held any more.
    #[error("lease {lease} is {stage}: it can no longer be renewed; enter anew")]
    NotHeld {
        /// The lease.
        lease: LeaseId,
        /// Where it stands.
        stage: &'static str,
    },
    /// Nodes that nobody expects.
    #[error("no such node in this cluster: {strangers}; it has {known}")]
    NoSuchNodes {
        /// These.
        strangers: String,
        /// Those there are.
        known: String,
    },
    /// There is nothing to lift.
    #[error("nothing is held here")]
    NothingHeld,
    /// The node is no memory: somebody still names it.
    #[error("node {node} cannot be retired: {why}")]
    StillExpected {
        /// The node.
        node: NodeId,
        /// Who says so, and what to do.
        why: String,
    },
    /// The store did not say in time that it stands; it restricts, and does so all the same.
    #[error("the store has not confirmed it: {0}; it is in force, and may be lost by a restart")]
    NotDurable(String),
    /// The same of what permits something.
    #[error(
        "the store has not confirmed it: {0}; it is not in force yet: it will be as soon as the store \
         writes again, and a restart before that loses it"
    )]
    NotInForce(String),
}

/// A question that waits for its evidence.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) question: Question,
    pub(super) until: Mono,
}

/// The board without liveness, metadata and quorum asked for before `after`. Death notices stay.
pub(super) fn newer_reports(reports: &Reports, after: Mono) -> Reports {
    let stays = |report: &Report| match report.kind {
        FactKind::Link | FactKind::Cluster | FactKind::Partitions | FactKind::Quorum => {
            report.asked >= after || report.facts.is_err()
        }
        FactKind::LogEnds
        | FactKind::Moves
        | FactKind::NodeConfigs
        | FactKind::TopicConfigs
        | FactKind::LogDirs
        | FactKind::Jmx
        | FactKind::Groups => true,
    };
    reports
        .iter()
        .filter(|(_, report)| stays(report))
        .map(|(slot, report)| (slot.clone(), report.clone()))
        .collect()
}
