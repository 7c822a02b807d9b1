//! Every broker says it is running, none is recovering logs, and none has lost ZooKeeper.

use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Judged, Subject};
use super::gauges::{self, above_zero};
use super::needs::Need;
use super::reason::Reason;
use super::zookeeper;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::Required(FactKind::Jmx)];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::BrokerNotRunning,
    Reason::BrokerRecovering,
    Reason::ZooKeeperDisconnected,
    Reason::EvidenceIncomplete,
];

/// Kafka's `BrokerState.RUNNING`. 6 and 7 are a broker that stops: "at least 3" would call it
/// running.
const RUNNING: u64 = 3;

/// Judges every broker's page. A page without the state is the `evidence` row's: absent is what
/// a stopping broker's page looks like (reference `kafka-lab.md` 4).
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.jmx() {
        return Judged::NotApplicable("mode kafka reads no JMX pages");
    }
    let mut findings = above_zero(
        snapshot,
        Metric::RemainingLogsToRecover,
        Reason::BrokerRecovering,
        "no log left to recover",
    );
    findings.extend(zookeeper::disconnected(snapshot));
    for (node, role, page) in gauges::pages(snapshot) {
        if !role.broker {
            continue;
        }
        let (reason, observed) = match gauges::count(page.facts, Metric::BrokerState) {
            Known::Is(RUNNING) => continue,
            Known::Is(state) => (Reason::BrokerNotRunning, name(state)),
            other @ (Known::NotExported
            | Known::NotInRelease
            | Known::Hidden
            | Known::Failed(_)) => (Reason::EvidenceIncomplete, other.why()),
        };
        findings.push(
            Finding::new(reason, Subject::Node(node), observed, "3 RUNNING")
                .from_source(page.report.source.clone(), page.report.asked),
        );
    }
    Judged::from_findings(findings)
}

/// Whether this page says that its broker leads nothing yet: not running, starting or recovering.
pub(super) fn is_starting(page: &JmxFacts) -> bool {
    matches!(gauges::count(page, Metric::BrokerState), Known::Is(0..=2))
}

fn name(state: u64) -> String {
    let name = match state {
        0 => "NOT_RUNNING",
        1 => "STARTING",
        2 => "RECOVERY",
        6 => "PENDING_CONTROLLED_SHUTDOWN",
        7 => "SHUTTING_DOWN",
        _ => "UNKNOWN",
    };
    format!("{state} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::scene::Scene;

    #[test]
    fn a_state_is_shown_by_kafkas_name_for_it() {
        for (state, shown) in [
            (0.0, "0 NOT_RUNNING"),
            (1.0, "1 STARTING"),
            (2.0, "2 RECOVERY"),
            (6.0, "6 PENDING_CONTROLLED_SHUTDOWN"),
            (7.0, "7 SHUTTING_DOWN"),
            (127.0, "127 UNKNOWN"),
        ] {
            let mut scene = Scene::healthy_kraft();
            scene.metric(2, Metric::BrokerState, state);
            let judged = scene.snapshot(run);
            let observed: Vec<_> = judged.findings().iter().map(|it| &it.observed).collect();
            assert_eq!(observed, [shown]);
        }
    }
}
