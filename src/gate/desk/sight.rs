//! What a request is judged by where absence would permit: the words newer than the request, and
//! beside them all that still count.
//!
//! Two brokers are asked of the whole cluster, each for itself, and one of them may be cut off and
//! tell old news as new. So the first answer decides nothing: whoever may still be heard is waited
//! for, and what was said before the request speaks against as long as it is in date.

use std::time::Duration;

use super::gone::{is_gone, is_quorum_lost};
use crate::checks::finding::{Finding, Subject};
use crate::checks::needs::applies;
use crate::checks::reason::Reason;
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, Report};
use crate::evidence::snapshot::Snapshot;
use crate::time::Mono;

/// Whose answers show that a node has gone: how many are wanted of each kind, or of every broker that
/// is up where these are fewer.
const OF_GONE: [(FactKind, usize); 2] = [(FactKind::Cluster, 2), (FactKind::Quorum, 1)];

/// Whose answers show what stopping a node that may live does.
const OF_LIVING: [(FactKind, usize); 4] = [
    (FactKind::Link, 1),
    (FactKind::Cluster, 2),
    (FactKind::Partitions, 2),
    (FactKind::Quorum, 1),
];

/// How long a first word of the quorum is waited for. Where it is lost the question for it hangs, and
/// whoever has asked goes to another broker, so that nothing is left of it; the one that hangs as the
/// request comes and the one after it take a second each.
const QUORUM_WAIT: Duration = Duration::from_secs(2);

/// The words newer than a request, and all that are in date.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'s, 'a> {
    newer: &'s Snapshot<'a>,
    all: &'s Snapshot<'a>,
    /// When the request came.
    since: Mono,
}

impl<'s, 'a> Sight<'s, 'a> {
    /// `newer` is of the same moment as `all`, without what was asked for before `since`.
    pub(super) const fn new(newer: &'s Snapshot<'a>, all: &'s Snapshot<'a>, since: Mono) -> Self {
        Self { newer, all, since }
    }

    /// Whether this node has certainly gone: by newer words, and by none that is in date has it not.
    pub(super) fn is_gone(&self, node: NodeId) -> bool {
        let lost = is_quorum_lost(self.all);
        is_gone(self.newer, node, lost) && is_gone(self.all, node, lost)
    }

    /// Whether everybody has been heard since the request who is still to be heard. Of nodes that may
    /// live more is asked than of nodes that have gone.
    pub(super) fn is_heard(&self, may_live: bool) -> bool {
        let kinds: &[(FactKind, usize)] = if may_live { &OF_LIVING } else { &OF_GONE };
        let mut kinds = kinds.iter().filter(|(kind, _)| applies(self.all, *kind));
        kinds.all(|(kind, wanted)| self.has_told(*kind, *wanted))
    }

    fn has_told(&self, kind: FactKind, wanted: usize) -> bool {
        let reports = self.all.reports_of(kind).iter().copied();
        // Bootstrap addresses are asked no more once nodes are known.
        let reports: Vec<&Report> = reports.filter(|it| it.source.node().is_some()).collect();
        if reports.iter().any(|report| self.is_due(report)) {
            return false;
        }
        let told = reports.iter().filter(|report| self.is_newer(report));
        let waited = self.all.now.mono.since(self.since);
        told.count() >= wanted.min(self.up()) || (kind == FactKind::Quorum && waited >= QUORUM_WAIT)
    }

    /// Whether this source has still to be heard: what it said before counts, or it failed and its node
    /// answers. One that says nothing any more is left out as soon as its word is too old.
    fn is_due(&self, report: &Report) -> bool {
        if self.is_newer(report) {
            return false;
        }
        let answers = |node| self.all.link(node).is_ok();
        match &report.facts {
            Ok(_) => self.all.is_fresh(report),
            Err(_) => report.source.node().is_some_and(answers),
        }
    }

    /// An answer is as old as its question; a failure says that there was none until it was noticed.
    fn is_newer(&self, report: &Report) -> bool {
        match &report.facts {
            Ok(_) => report.asked >= self.since,
            Err(_) => report.seen >= self.since,
        }
    }

    /// How many brokers answer us; one at the least has to tell.
    fn up(&self) -> usize {
        let up = self.all.brokers();
        let up = up.filter(|broker| self.all.link(*broker).is_ok());
        up.count().max(1)
    }
}

/// What is said while somebody has still to be heard.
pub(super) fn unanswered() -> Finding {
    Finding::new(
        Reason::EvidenceMissing,
        Subject::Cluster,
        "not everybody who tells of the cluster has answered since the request",
        "answers newer than the request",
    )
}
