//! Every node runs a release that this gate can judge.

use crate::evidence::ids::{NodeId, Release, Version};
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

use super::finding::{Finding, Judged, Subject};
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::Required(FactKind::Link)];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::ReleaseUnknown, Reason::UnsupportedRelease];

/// Below these the gate's rules do not hold (DESIGN 1).
const fn oldest(kind: ClusterKind) -> Version {
    match kind {
        ClusterKind::KRaft => Version { major: 3, minor: 3 },
        ClusterKind::ZooKeeper | ClusterKind::Unknown => Version { major: 2, minor: 8 },
    }
}

/// Judges every link's release.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.kafka() {
        return Judged::NotApplicable("mode jmx judges releases of any age");
    }
    let oldest = oldest(snapshot.kind);
    let links = snapshot
        .links()
        .filter_map(|(node, read)| Some((node, read.ok()?.facts.release)));
    let findings = links.filter_map(|(node, release)| judge(node, release, oldest));
    Judged::from_findings(findings.collect())
}

fn judge(node: NodeId, release: Release, oldest: Version) -> Option<Finding> {
    let reason = match release.floor() {
        None => Reason::ReleaseUnknown,
        Some(floor) if floor < oldest => Reason::UnsupportedRelease,
        Some(_) => return None,
    };
    Some(Finding::new(
        reason,
        Subject::Node(node),
        format!("release {release}"),
        format!("{oldest} or newer"),
    ))
}
