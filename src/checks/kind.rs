//! It shows whether the cluster runs on KRaft or ZooKeeper.

use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

use super::finding::{Finding, Judged, Subject};
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[Need::AnyOf(&[
    FactKind::Link,
    FactKind::Quorum,
    FactKind::NodeConfigs,
])];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::MetadataKindUnknown];

/// Neither kind shown, or both: neither set of rules is enough.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.kafka() {
        return Judged::NotApplicable("in mode jmx the configured roles say it");
    }
    match snapshot.kind {
        ClusterKind::KRaft | ClusterKind::ZooKeeper => Judged::from_findings(Vec::new()),
        ClusterKind::Unknown => Judged::from_findings(vec![Finding::new(
            Reason::MetadataKindUnknown,
            Subject::Cluster,
            "neither a quorum nor zookeeper.connect shows, or both do",
            "exactly one of the two",
        )]),
    }
}
