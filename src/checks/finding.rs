//! What a check answers.

use std::collections::BTreeSet;
use std::fmt;

use super::reason::{Reason, Severity};
use crate::evidence::ids::{GroupId, NodeId};
use crate::evidence::report::SourceId;
use crate::evidence::step::Step;
use crate::time::Mono;

/// How many examples a finding carries beside its total.
pub const EXAMPLES: usize = 5;

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The cluster, or the gate, as a whole.
    Cluster,
    /// One node.
    Node(NodeId),
    /// A consumer group.
    Group(GroupId),
    /// A source of evidence.
    Source(SourceId),
}

impl Subject {
    /// What a set of nodes is called: the node, where it is one.
    pub fn of_nodes(nodes: &BTreeSet<NodeId>) -> Self {
        match (nodes.first(), nodes.len()) {
            (Some(node), 1) => Self::Node(*node),
            (Some(_) | None, _) => Self::Cluster,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Source(source) => write!(f, "source {source}"),
        }
    }
}

/// One thing a check found. Since when it holds is the Machine's to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Why, from the closed list.
    pub reason: Reason,
    /// What it does to the verdict: the table's severity, unless the policy sets the class of
    /// risk otherwise.
    pub severity: Severity,
    /// About what.
    pub subject: Subject,
    /// What was seen: "ISR [1, 3] of replicas [1, 2, 3]".
    pub observed: String,
    /// What would be right: "every replica in the ISR".
    pub required: String,
    /// How many partitions (or other things) it concerns; 1 where it is one thing.
    pub count: usize,
    /// Up to [`EXAMPLES`] of them by name.
    pub examples: Vec<String>,
    /// Where it comes from, when it comes from one source.
    pub source: Option<SourceId>,
    /// When that source was asked.
    pub asked: Option<Mono>,
    /// The step at which a source failed, where that is what was found.
    pub step: Option<Step>,
}

impl Finding {
    /// A finding with the table's severity.
    pub fn new(
        reason: Reason,
        subject: Subject,
        observed: impl Into<String>,
        required: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            severity: reason.row().severity,
            subject,
            observed: observed.into(),
            required: required.into(),
            count: 1,
            examples: Vec::new(),
            source: None,
            asked: None,
            step: None,
        }
    }

    /// The same finding, with the source it comes from.
    #[must_use]
    pub fn from_source(mut self, source: SourceId, asked: Mono) -> Self {
        self.source = Some(source);
        self.asked = Some(asked);
        self
    }

    /// The same finding, of a source that failed at this step.
    #[must_use]
    pub const fn stopped_at(mut self, step: Option<Step>) -> Self {
        self.step = step;
        self
    }

    /// The same finding, about this many things, with examples of them.
    #[must_use]
    pub fn of_many(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.count = 0;
        for name in names {
            self.count = self.count.saturating_add(1);
            if self.examples.len() < EXAMPLES {
                self.examples.push(name);
            }
        }
        self
    }

    /// The same finding at another severity, where the policy sets one for its class of risk.
    #[must_use]
    pub const fn at(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

/// A list that has at least one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonEmpty<T> {
    /// The first.
    pub first: T,
    /// The others.
    pub rest: Vec<T>,
}

impl<T> NonEmpty<T> {
    /// The list, unless it is empty.
    pub fn from_vec(list: Vec<T>) -> Option<Self> {
        let mut list = list.into_iter();
        list.next().map(|first| Self {
            first,
            rest: list.collect(),
        })
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

/// What a check answers: there is no way to say "no complaint".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Shown to hold, on fresh evidence.
    Proved {
        /// What is worth knowing all the same; severity `warn` only.
        warnings: Vec<Finding>,
    },
    /// This cluster has no such thing, and why.
    NotApplicable(&'static str),
    /// Not shown: bad, or not known. May carry warnings too.
    Found(NonEmpty<Finding>),
}

impl Judged {
    /// `Found` when any finding blocks or is unknown, else `Proved` with the warnings.
    pub fn from_findings(findings: Vec<Finding>) -> Self {
        if findings
            .iter()
            .all(|finding| finding.severity == Severity::Warn)
        {
            return Self::Proved { warnings: findings };
        }
        match NonEmpty::from_vec(findings) {
            Some(findings) => Self::Found(findings),
            None => Self::Proved {
                warnings: Vec::new(),
            },
        }
    }

    /// All findings, warnings included.
    pub fn findings(&self) -> Vec<&Finding> {
        match self {
            Self::Proved { warnings } => warnings.iter().collect(),
            Self::NotApplicable(_) => Vec::new(),
            Self::Found(findings) => findings.iter().collect(),
        }
    }

    /// Whether this answer lets a verdict be `open`.
    pub fn allows_open(&self) -> bool {
        match self {
            Self::Proved { .. } | Self::NotApplicable(_) => true,
            Self::Found(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_alone_prove_and_anything_else_is_found() {
        let warn = Finding::new(Reason::SingleReplica, Subject::Cluster, "", "");
        let block = Finding::new(Reason::UnderReplicated, Subject::Cluster, "", "");
        assert!(Judged::from_findings(vec![]).allows_open());
        assert!(Judged::from_findings(vec![warn.clone()]).allows_open());
        let judged = Judged::from_findings(vec![warn, block]);
        assert!(!judged.allows_open());
        assert_eq!(judged.findings().len(), 2);
    }

    #[test]
    fn many_are_counted_and_few_are_named() {
        let names = (0..70).map(|n| format!("orders-{n}"));
        let finding =
            Finding::new(Reason::UnderReplicated, Subject::Cluster, "", "").of_many(names);
        assert_eq!((finding.count, finding.examples.len()), (70, EXAMPLES));
    }
}
