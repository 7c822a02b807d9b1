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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::facts::{ConfigSource, Facts, NodeConfigs};
    use crate::evidence::scene::{Scene, kafka};

    fn tells(scene: &mut Scene, id: i32, values: &[(&str, &str)]) {
        let source = ConfigSource::StaticBroker;
        let values = values.iter();
        let values = values
            .map(|(key, value)| ((*key).to_owned(), (Some((*value).to_owned()), source)))
            .collect();
        scene.put(kafka(id), Facts::NodeConfigs(NodeConfigs { values }));
    }

    /// A controller keeps the key of a migration that is over.
    #[test]
    fn only_a_broker_without_roles_runs_on_zookeeper() {
        let kind = |id, values: &[(&str, &str)]| {
            let mut scene = Scene::healthy_kraft();
            tells(&mut scene, id, values);
            scene.snapshot(|snapshot| (snapshot.kind, run(snapshot).allows_open()))
        };
        let connect = ("zookeeper.connect", "zk:2181");
        let known = (ClusterKind::KRaft, true);
        assert_eq!(
            kind(101, &[connect, ("process.roles", "controller")]),
            known
        );
        assert_eq!(kind(2, &[connect, ("process.roles", "broker")]), known);
        let unknown = (ClusterKind::Unknown, false);
        assert_eq!(kind(101, &[connect]), unknown);
        assert_eq!(kind(2, &[connect, ("process.roles", " ")]), unknown);
        // In a migration the brokers show themselves, whatever the controllers' roles are.
        let mut scene = Scene::healthy_kraft();
        tells(&mut scene, 101, &[connect, ("process.roles", "controller")]);
        tells(&mut scene, 2, &[connect]);
        scene.snapshot(|snapshot| assert_eq!(snapshot.kind, ClusterKind::Unknown));
    }
}
