//! What a row of the table cannot do without, and what it says when that is not there.

use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use crate::evidence::snapshot::{Absent, ClusterKind, Snapshot};
use crate::evidence::step::Step;
use crate::time::Human;

use super::finding::{Finding, Subject};
use super::reason::Reason;

/// Evidence that a check needs. A kind that this mode or this cluster does not have is not
/// needed; the check itself says then whether it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Some source has this, fresh.
    Required(FactKind),
    /// Some source has one of these, fresh.
    AnyOf(&'static [FactKind]),
}

impl Need {
    /// The kinds it names.
    pub fn kinds(&self) -> &[FactKind] {
        match self {
            Self::Required(kind) => std::slice::from_ref(kind),
            Self::AnyOf(kinds) => kinds,
        }
    }
}

/// Whether this cluster in this mode has such facts at all.
pub fn applies(snapshot: &Snapshot<'_>, kind: FactKind) -> bool {
    let kafka = snapshot.policy.mode.kafka();
    match kind {
        FactKind::Link
        | FactKind::Cluster
        | FactKind::Partitions
        | FactKind::Moves
        | FactKind::NodeConfigs
        | FactKind::LogDirs => kafka,
        // Nothing to ask for where there is no topic; "no topic" needs its own proof (`topics`).
        FactKind::TopicConfigs => kafka && !snapshot.merged.rows.is_empty(),
        FactKind::LogEnds => kafka && snapshot.merged.rows.iter().any(|r| r.replicas.len() > 1),
        FactKind::Quorum => kafka && snapshot.kind != ClusterKind::ZooKeeper,
        FactKind::Jmx => snapshot.policy.mode.jmx(),
        FactKind::Groups => kafka && !snapshot.policy.groups.is_empty(),
    }
}

/// Why a slot has no fresh facts of its kind; `None` when it has them.
pub fn absent<'a>(
    snapshot: &Snapshot<'a>,
    source: &SourceId,
    kind: FactKind,
) -> Option<Absent<'a>> {
    match snapshot.fresh(source, kind) {
        Err(absent) => Some(absent),
        Ok(report) => match &report.facts {
            Ok(facts) if facts.kind() == kind => None,
            // Another kind's facts in this slot are a bug of ours; they prove nothing.
            Ok(_) => Some(Absent::Missing),
            Err(failure) => Some(Absent::Failed(failure)),
        },
    }
}

/// Nodes whose own source was ever asked for this kind.
pub(super) fn asked(snapshot: &Snapshot<'_>, kind: FactKind) -> Vec<SourceId> {
    let reports = snapshot.reports_of(kind).iter();
    reports
        .filter(|report| report.source.node().is_some())
        .map(|report| report.source.clone())
        .collect()
}

/// One finding per need that no source meets.
pub(super) fn unmet(snapshot: &Snapshot<'_>, needs: &[Need]) -> Vec<Finding> {
    needs
        .iter()
        .filter_map(|need| unmet_one(snapshot, need))
        .collect()
}

fn unmet_one(snapshot: &Snapshot<'_>, need: &Need) -> Option<Finding> {
    let kinds: Vec<_> = need
        .kinds()
        .iter()
        .copied()
        .filter(|kind| applies(snapshot, *kind))
        .collect();
    let mut worst: Option<(SourceId, FactKind, Absent<'_>)> = None;
    for kind in &kinds {
        for source in asked(snapshot, *kind) {
            let absent = absent(snapshot, &source, *kind)?;
            if worst
                .as_ref()
                .is_none_or(|(_, _, w)| rank(&absent) > rank(w))
            {
                worst = Some((source, *kind, absent));
            }
        }
    }
    let first = *kinds.first()?;
    let (reason, subject, why, step) = match worst {
        None => (
            Reason::EvidenceMissing,
            Subject::Cluster,
            String::from("nobody was asked yet"),
            None,
        ),
        Some((source, kind, absent)) => (
            reason_of(kind, &absent),
            Subject::Source(source),
            words(&absent),
            step(&absent),
        ),
    };
    let observed = format!("no source tells {first}: {why}");
    let required = format!("{first} from at least one source");
    Some(Finding::new(reason, subject, observed, required).stopped_at(step))
}

const fn rank(absent: &Absent<'_>) -> u8 {
    match absent {
        Absent::Missing => 0,
        Absent::Stale { .. } => 1,
        Absent::Failed(_) => 2,
    }
}

/// The reason for which a slot without fresh facts does not count.
pub(super) fn reason_of(kind: FactKind, absent: &Absent<'_>) -> Reason {
    match absent {
        Absent::Missing => Reason::EvidenceMissing,
        Absent::Stale { .. } => Reason::EvidenceStale,
        Absent::Failed(failure) => reason_of_failure(kind, failure),
    }
}

const fn reason_of_failure(kind: FactKind, failure: &SourceFailure) -> Reason {
    match failure.class {
        FailureClass::WrongNode => Reason::WrongNode,
        FailureClass::WrongCluster => Reason::WrongCluster,
        FailureClass::Throttled => Reason::GateThrottled,
        FailureClass::Unsupported => Reason::UnsupportedRelease,
        FailureClass::Authorization => match kind {
            FactKind::Partitions | FactKind::TopicConfigs | FactKind::LogDirs => {
                Reason::TopicsHidden
            }
            FactKind::Link
            | FactKind::Cluster
            | FactKind::LogEnds
            | FactKind::Quorum
            | FactKind::Moves
            | FactKind::NodeConfigs
            | FactKind::Jmx
            | FactKind::Groups => Reason::EvidenceIncomplete,
        },
        FailureClass::Resolve
        | FailureClass::Refused
        | FailureClass::ConnectTimeout
        | FailureClass::Closed
        | FailureClass::Timeout
        | FailureClass::Tls
        | FailureClass::Authentication
        | FailureClass::OwnFile
        | FailureClass::Malformed
        | FailureClass::Kafka(_)
        | FailureClass::HttpStatus(_)
        | FailureClass::NotKafkaMetrics
        | FailureClass::Cut
        | FailureClass::TooLarge(_) => Reason::SourceFailed,
    }
}

/// Why a slot has no fresh facts, for people.
pub(super) fn words(absent: &Absent<'_>) -> String {
    match absent {
        Absent::Missing => String::from("nothing heard yet"),
        Absent::Stale { age, limit } => {
            format!("{} old, counts up to {}", Human(*age), Human(*limit))
        }
        Absent::Failed(failure) => failure.detail.clone(),
    }
}

/// The step at which a source failed; `None` where it did not.
pub(super) const fn step(absent: &Absent<'_>) -> Option<Step> {
    match absent {
        Absent::Missing | Absent::Stale { .. } => None,
        Absent::Failed(failure) => Some(failure.class.step()),
    }
}

/// `1, 2, 3`.
pub(crate) fn list(nodes: impl IntoIterator<Item = NodeId>) -> String {
    let names: Vec<_> = nodes.into_iter().map(|node| node.to_string()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::ids::GroupId;
    use crate::evidence::policy::Mode;
    use crate::evidence::report::FailureClass;
    use crate::evidence::scene::{Scene, SceneTopic, kafka};

    fn asked_for(scene: &Scene) -> Vec<FactKind> {
        let kinds = FactKind::ALL.iter().copied();
        scene.snapshot(|snapshot| kinds.filter(|kind| applies(snapshot, *kind)).collect())
    }

    fn all_but(left_out: &[FactKind]) -> Vec<FactKind> {
        let kinds = FactKind::ALL.iter().copied();
        kinds.filter(|kind| !left_out.contains(kind)).collect()
    }

    #[test]
    fn only_what_a_cluster_has_is_asked_for() {
        let mut scene = Scene::healthy_kraft();
        assert_eq!(asked_for(&scene), all_but(&[FactKind::Groups]));
        scene.policy.groups.push(GroupId(String::from("billing")));
        assert_eq!(asked_for(&scene), all_but(&[]));
        scene.retopic(|topics| *topics = vec![SceneTopic::new("single", 1, &[&[1], &[2]])]);
        assert_eq!(asked_for(&scene), all_but(&[FactKind::LogEnds]));
        scene.retopic(Vec::clear);
        let without_topics = [FactKind::LogEnds, FactKind::TopicConfigs];
        assert_eq!(asked_for(&scene), all_but(&without_topics));
        let zookeeper = [FactKind::Quorum, FactKind::Groups];
        assert_eq!(asked_for(&Scene::healthy_zookeeper()), all_but(&zookeeper));
    }

    #[test]
    fn pages_alone_answer_nothing_that_kafka_is_asked() {
        let mut scene = Scene::healthy_kraft();
        scene.policy.groups.push(GroupId(String::from("billing")));
        scene.policy.mode = Mode::Jmx;
        assert_eq!(asked_for(&scene), [FactKind::Jmx]);
        scene.policy.mode = Mode::Kafka;
        assert_eq!(asked_for(&scene), all_but(&[FactKind::Jmx]));
    }

    #[test]
    fn facts_of_another_kind_are_none() {
        let mut scene = Scene::healthy_kraft();
        let (source, kind) = (kafka(1), FactKind::Partitions);
        scene.snapshot(|snapshot| assert_eq!(absent(snapshot, &source, kind), None));
        let link = scene.reports[&(kafka(1), FactKind::Link)].facts.clone();
        let slot = (source.clone(), kind);
        scene.reports.get_mut(&slot).unwrap().facts = link;
        scene.snapshot(|snapshot| {
            assert_eq!(absent(snapshot, &source, kind), Some(Absent::Missing));
        });
    }

    /// What is said of partitions that nobody tells.
    fn said(scene: &Scene) -> Finding {
        let needs = [Need::Required(FactKind::Partitions)];
        let mut found = scene.snapshot(|snapshot| unmet(snapshot, &needs));
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn of_several_sources_that_tell_nothing_the_one_that_failed_is_named() {
        let kind = FactKind::Partitions;
        for failed in [1, 2] {
            let mut scene = Scene::healthy_kraft();
            scene.make_stale(kind);
            let oldest = said(&scene);
            assert_eq!(oldest.reason, Reason::EvidenceStale);
            assert_eq!(oldest.subject, Subject::Source(kafka(1)));
            assert_eq!(oldest.step, None);
            scene.fail(kafka(failed), kind, FailureClass::Malformed);
            let found = said(&scene);
            assert_eq!(found.reason, Reason::SourceFailed);
            assert_eq!(found.subject, Subject::Source(kafka(failed)));
            assert_eq!(found.step, Some(Step::Protocol));
            assert!(found.observed.contains("Malformed by test"), "{found:?}");
        }
        let mut scene = Scene::healthy_kraft();
        scene.remove(kind);
        assert_eq!(said(&scene).reason, Reason::EvidenceMissing);
    }

    #[test]
    fn nodes_are_listed_in_order() {
        assert_eq!(list([NodeId(3), NodeId(11)]), "3, 11");
    }
}
