//! Running reassignments are known, and no throttle is left over from an old one.

use crate::evidence::facts::NodeConfigs;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Judged, Subject};
use super::jmx_sums::{count, names, totals};
use super::needs::Need;
use super::reason::{Reason, Severity};

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Moves),
    Need::Required(FactKind::NodeConfigs),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::Reassigning,
    Reason::LeftoverThrottle,
    Reason::SourcesDisagree,
];

const THROTTLES: [&str; 2] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
];

const REQUIRED: &str = "no reassignment";

/// Which nodes a move touches is the what-if's to judge; here it is named.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    let pages = totals(snapshot).reassigning;
    let counted = count(&pages).unwrap_or_default();
    let observed = format!("{counted} by the JMX pages");
    if !snapshot.policy.mode.kafka() {
        // Nobody says which nodes the moves touch: any of them may.
        let blocking = (counted > 0).then(|| {
            Finding::new(Reason::Reassigning, Subject::Cluster, observed, REQUIRED)
                .of_many(names(&pages))
                .at(Severity::Block)
        });
        return Judged::from_findings(blocking.into_iter().collect());
    }
    let mut moves: Vec<_> = snapshot
        .all_moves()
        .filter_map(|(_, read)| read.ok())
        .flat_map(|read| &read.facts.list)
        .map(|one| format!("{}-{}", one.topic, one.partition))
        .collect();
    moves.sort_unstable();
    moves.dedup();
    let findings = if moves.is_empty() && counted > 0 {
        let observed = format!("{observed}, none by the protocol");
        let reason = Reason::SourcesDisagree;
        vec![Finding::new(reason, Subject::Cluster, observed, REQUIRED).of_many(names(&pages))]
    } else if moves.is_empty() {
        throttles(snapshot)
    } else {
        let observed = format!("{} partitions are being moved", moves.len());
        let reason = Reason::Reassigning;
        vec![Finding::new(reason, Subject::Cluster, observed, REQUIRED).of_many(moves)]
    };
    Judged::from_findings(findings)
}

fn throttles(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let set = |configs: &NodeConfigs| {
        let keys = THROTTLES.into_iter();
        let rates = keys.filter_map(|key| Some(format!("{key}={}", configs.text(key)?)));
        rates.collect::<Vec<_>>()
    };
    snapshot
        .all_node_configs()
        .filter_map(|(node, read)| Some((node, set(read.ok()?.facts))))
        .filter(|(_, rates)| !rates.is_empty())
        .map(|(node, rates)| {
            Finding::new(
                Reason::LeftoverThrottle,
                Subject::Node(node),
                rates.join(", "),
                "no throttle while nothing is moved",
            )
        })
        .collect()
}
