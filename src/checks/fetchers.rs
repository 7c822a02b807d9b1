//! No broker has given up following partitions, and no fetcher thread is dead.

use crate::evidence::jmx::Metric;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::finding::Judged;
use super::gauges::above_zero;
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::Required(FactKind::Jmx)];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::FetcherFailed, Reason::EvidenceIncomplete];

/// Judges every page that has the counts.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.jmx() {
        return Judged::NotApplicable("mode kafka reads no JMX pages");
    }
    let reason = Reason::FetcherFailed;
    let mut findings = above_zero(
        snapshot,
        Metric::FetcherFailedPartitions,
        reason,
        "no partition given up",
    );
    findings.extend(above_zero(
        snapshot,
        Metric::FetcherDeadThreads,
        reason,
        "no dead fetcher thread",
    ));
    Judged::from_findings(findings)
}
