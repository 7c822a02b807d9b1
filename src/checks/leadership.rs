//! Leadership is quiet.

use crate::evidence::jmx::Metric;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;
use crate::time::Human;

use super::finding::{Finding, Judged, Subject};
use super::gauges::counts;
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::AnyOf(&[FactKind::Partitions, FactKind::Jmx])];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::LeadershipMoving, Reason::LeadersImbalanced];

/// Blocks for the policy's quiet time after each change; the first sight of a leader is none.
/// Imbalance never reaches 0 with Kafka's default threshold of 10 %, so it only warns.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    let mut findings = Vec::new();
    let quiet = snapshot.policy.leadership_quiet;
    if let Some(change) = snapshot.memory.leadership {
        let ago = snapshot.now.mono.since(change.at);
        if ago < quiet {
            let mut finding = Finding::new(
                Reason::LeadershipMoving,
                Subject::Cluster,
                format!("{} leaders changed {} ago", change.partitions, Human(ago)),
                format!("quiet for {}", Human(quiet)),
            );
            finding.count = change.partitions;
            findings.push(finding);
        }
    }
    findings.extend(imbalance(snapshot));
    Judged::from_findings(findings)
}

fn imbalance(snapshot: &Snapshot<'_>) -> Option<Finding> {
    let count = if snapshot.policy.mode.kafka() {
        let rows = snapshot.merged.rows.iter();
        rows.filter(|row| row.leader.is_some() && row.leader != row.replicas.first().copied())
            .count()
    } else {
        let told = counts(snapshot, Metric::PreferredReplicaImbalanceCount);
        usize::try_from(told.map(|(_, count)| count).max()?).unwrap_or(usize::MAX)
    };
    (count > 0).then(|| {
        let mut finding = Finding::new(
            Reason::LeadersImbalanced,
            Subject::Cluster,
            format!("{count} partitions are not led by their preferred replica"),
            "every partition led by its first replica",
        );
        finding.count = count;
        finding
    })
}
