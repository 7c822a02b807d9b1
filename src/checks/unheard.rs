//! Brokers that answer us and that their cluster hears no more. They count as copies until they are
//! fenced; whoever is about to take another copy away must not count on them.

use std::collections::BTreeSet;

use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Subject};
use super::reason::Reason;
use super::{heartbeat, metadata};

/// Nodes whose heartbeats are late, that have not kept up with the metadata, or of which neither is told:
/// the leader lists a broker that does not fetch any more for five minutes (Kafka's `LeaderState`,
/// `OBSERVER_SESSION_TIMEOUT_MS`). Where the whole cluster has to be well these shut the gate by themselves;
/// a repair asks for less.
pub fn unheard(snapshot: &Snapshot<'_>) -> BTreeSet<NodeId> {
    let judged = [heartbeat::run(snapshot), metadata::run(snapshot)];
    let findings = judged.iter().flat_map(|judged| judged.findings());
    findings.filter_map(node_of).collect()
}

fn node_of(finding: &Finding) -> Option<NodeId> {
    let reasons = [
        Reason::HeartbeatLate,
        Reason::MetadataLagging,
        Reason::EvidenceIncomplete,
    ];
    let is_unheard = reasons.contains(&finding.reason);
    match &finding.subject {
        Subject::Node(node) if is_unheard => Some(*node),
        Subject::Node(_) | Subject::Cluster | Subject::Source(_) | Subject::Group(_) => None,
    }
}
