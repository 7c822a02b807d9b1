//! Every log directory is online.

use crate::evidence::jmx::Metric;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Judged, Subject};
use super::gauges::above_zero;
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::LogDirs),
    Need::Required(FactKind::Jmx),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::LogDirFailed, Reason::EvidenceIncomplete];

/// Judges what brokers say of their directories, over the protocol and on their pages.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    let mut findings = Vec::new();
    for (node, read) in snapshot.all_log_dirs() {
        let Ok(read) = read else { continue };
        let failed: Vec<_> = read
            .facts
            .dirs
            .iter()
            .filter(|dir| dir.error != 0)
            .collect();
        let Some(first) = failed.first() else {
            continue;
        };
        findings.push(
            Finding::new(
                Reason::LogDirFailed,
                Subject::Node(node),
                format!("{}: Kafka error {}", first.path, first.error),
                "every log directory online",
            )
            .of_many(failed.iter().map(|dir| dir.path.clone()))
            .from_source(read.report.source.clone(), read.report.asked),
        );
    }
    let reason = Reason::LogDirFailed;
    let metrics = [
        Metric::OfflineLogDirectoryCount,
        Metric::OfflineReplicaCount,
    ];
    for metric in metrics {
        findings.extend(above_zero(
            snapshot,
            metric,
            reason,
            "every log directory online",
        ));
    }
    Judged::from_findings(findings)
}
