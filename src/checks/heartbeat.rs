//! The active controller hears every broker (Kafka 4.1 and newer).

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::Metric;
use crate::evidence::known::Known;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;
use crate::evidence::voters;

use super::finding::{Finding, Judged, Subject};
use super::gauges;
use super::needs::Need;
use super::nodes::leftovers;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::Required(FactKind::Jmx)];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::HeartbeatLate, Reason::EvidenceIncomplete];

/// `broker.heartbeat.interval.ms` where the broker's configuration is not known.
const INTERVAL_MS: f64 = 2_000.0;

/// Judges the age of each broker's last heartbeat as the active controller's page tells it. Live
/// brokers never read above 2,002 ms at an interval of 2 s; a killed one read 2,896 after 2.1 s
/// (reference `kafka-lab.md` 5).
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.jmx() {
        return Judged::NotApplicable("mode kafka reads no JMX pages");
    }
    let leader = voters::newest(snapshot).and_then(|read| read.facts.leader);
    let leftovers = leftovers(snapshot);
    let mut findings = Vec::new();
    let mut told = false;
    for (node, _, page) in gauges::pages(snapshot) {
        let active = matches!(
            gauges::count(page.facts, Metric::ActiveControllerCount),
            Known::Is(1..)
        );
        // One that was active may go on exporting what it knew last.
        if !active && leader != Some(node) {
            continue;
        }
        for (broker, age) in &page.facts.heartbeat_age_ms {
            told = true;
            if leftovers.contains(broker) {
                continue;
            }
            let finding = late(snapshot, *broker, *age);
            findings.extend(
                finding.map(|finding| {
                    finding.from_source(page.report.source.clone(), page.report.asked)
                }),
            );
        }
    }
    if !told {
        return Judged::NotApplicable("no active controller's page tells heartbeats (before 4.1)");
    }
    Judged::from_findings(findings)
}

fn late(snapshot: &Snapshot<'_>, broker: NodeId, age: f64) -> Option<Finding> {
    let limit = 1.25 * interval_ms(snapshot, broker);
    let subject = Subject::Node(broker);
    let required = format!("a heartbeat within {limit:.0} ms");
    if age <= limit {
        return None;
    }
    if age > limit {
        let observed = format!("last heartbeat {age:.0} ms ago");
        return Some(Finding::new(
            Reason::HeartbeatLate,
            subject,
            observed,
            required,
        ));
    }
    let observed = "the age of the last heartbeat is not a number";
    Some(Finding::new(
        Reason::EvidenceIncomplete,
        subject,
        observed,
        required,
    ))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
fn interval_ms(snapshot: &Snapshot<'_>, broker: NodeId) -> f64 {
    let configs = snapshot.node_configs(broker).ok();
    configs
        .and_then(|read| read.facts.number("broker.heartbeat.interval.ms"))
        .filter(|millis| *millis > 0)
        .map_or(INTERVAL_MS, |millis| millis as f64)
}
