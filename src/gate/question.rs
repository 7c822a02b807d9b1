//! Questions that the published view does not answer: about a set of nodes, or for evidence newer
//! than a moment.

use std::collections::BTreeSet;
use std::time::Duration;

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
