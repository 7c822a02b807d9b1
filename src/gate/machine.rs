//! Inputs, effects, and the machine between them.

use std::collections::BTreeSet;

use super::view::Decision;
use crate::evidence::ids::NodeId;
use crate::time::{Mono, Now};

/// Names one question, so that its answer finds the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What can be asked of the Machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The verdict on a question that the published view does not answer.
    Decide(Question),
}

/// A question that needs judging of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// "These nodes stop now"; empty: the verdict without a target.
    pub nodes: BTreeSet<NodeId>,
    /// Only liveness, metadata and quorum asked for after this moment count.
    pub newer_than: Option<Mono>,
}

/// What the Machine answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
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
