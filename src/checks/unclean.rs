//! No unclean leader election since the gate watches.

use crate::evidence::jmx::Metric;
use crate::evidence::known::Known;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Judged, Subject};
use super::gauges;
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::Required(FactKind::Jmx)];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::UncleanElection, Reason::EvidenceIncomplete];

/// Compares each page's count with the one first seen in this life of the node. KRaft exports it
/// from 3.9 on (reference `kafka-jmx-metrics.md` 3.2): a page without it says nothing.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.jmx() {
        return Judged::NotApplicable("mode kafka reads no JMX pages");
    }
    let mut findings = Vec::new();
    for (node, _, page) in gauges::pages(snapshot) {
        let subject = Subject::Node(node);
        let finding = match page.facts.value(Metric::UncleanLeaderElections) {
            Known::NotExported | Known::NotInRelease | Known::Hidden => continue,
            Known::Failed(why) => Finding::new(
                Reason::EvidenceIncomplete,
                subject,
                why.to_string(),
                "a count",
            ),
            Known::Is(count) => {
                let first = snapshot.memory.unclean.get(&node).copied().unwrap_or(count);
                if count <= first {
                    continue;
                }
                let observed = format!("{count} unclean elections, {first} when first seen");
                Finding::new(Reason::UncleanElection, subject, observed, "no new ones")
            }
        };
        findings.push(finding.from_source(page.report.source.clone(), page.report.asked));
    }
    Judged::from_findings(findings)
}
