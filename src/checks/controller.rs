//! There is exactly one active controller, and every source means the same one.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::Metric;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Snapshot};
use crate::evidence::voters;
use crate::time::Human;

use super::finding::{Finding, Judged, Subject};
use super::gauges;
use super::metadata::{Idle, idle_records};
use super::needs::{Need, list};
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Cluster),
    Need::Required(FactKind::Quorum),
    Need::Required(FactKind::Jmx),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::NoActiveController,
    Reason::ManyActiveControllers,
    Reason::SourcesDisagree,
    Reason::MetadataKindUnknown,
];

const REQUIRED: &str = "one active controller";

/// How many idle records may be missing, and for how long at least nothing is committed then. A healthy
/// controller writes one every half second.
const MISSED: u32 = 3;
const STILL: Duration = Duration::from_millis(1_500);

/// Judges what the protocol and the pages say.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    let mut findings = Vec::new();
    let told = if snapshot.policy.mode.kafka() {
        match snapshot.kind {
            ClusterKind::KRaft => quorum_leader(snapshot, &mut findings),
            ClusterKind::ZooKeeper => zookeeper_controller(snapshot, &mut findings),
            ClusterKind::Unknown => {
                findings.push(finding(
                    Reason::MetadataKindUnknown,
                    "where the controller is to be looked for is not known".to_owned(),
                ));
                quorum_leader(snapshot, &mut findings)
            }
        }
    } else {
        None
    };
    if snapshot.policy.mode.jmx() {
        findings.extend(pages(snapshot, told));
    }
    findings.extend(stands_still(snapshot));
    Judged::from_findings(findings)
}

/// The leader of the quorum answers, and nothing is committed any more, not even that nothing happens.
/// Who is caught up with the log is told by raft's own thread (`KafkaRaftClient`); records are written, and
/// heartbeats heard, by the one that handles the controller's events (`QuorumController`). While that one
/// hangs nobody is fenced and nobody elected. Judged by when the quorum was asked: a gate that has slept has
/// no newer word.
fn stands_still(snapshot: &Snapshot<'_>) -> Option<Finding> {
    let Idle::Every(idle) = idle_records(snapshot) else {
        return None;
    };
    let quorum = voters::newest(snapshot)?;
    let leader = quorum.facts.leader?;
    if quorum.facts.high_watermark < 0 {
        return None;
    }
    let last = snapshot.memory.committed.last()?;
    let still = quorum.report.asked.since(last.at);
    if still < STILL.max(idle.saturating_mul(MISSED)) {
        return None;
    }
    let observed = format!(
        "{leader} is named, and nothing was committed for {} after offset {}",
        Human(still),
        last.height.saturating_sub(1)
    );
    let required = format!("a record every {}", Human(idle));
    let reason = Reason::NoActiveController;
    let finding = Finding::new(reason, Subject::Cluster, observed, required);
    Some(finding.from_source(quorum.report.source.clone(), quorum.report.asked))
}

fn finding(reason: Reason, observed: String) -> Finding {
    Finding::new(reason, Subject::Cluster, observed, REQUIRED)
}

/// KRaft: the quorum's leader. A broker's own "controller" is a random live broker.
fn quorum_leader(snapshot: &Snapshot<'_>, findings: &mut Vec<Finding>) -> Option<NodeId> {
    let newest = voters::newest(snapshot)?;
    let same_epoch = snapshot
        .quorums()
        .filter_map(|(_, read)| read.ok())
        .filter(|read| {
            read.facts.leader_epoch == newest.facts.leader_epoch && read.facts.leader.is_some()
        });
    let leaders: BTreeSet<_> = same_epoch.filter_map(|read| read.facts.leader).collect();
    if leaders.len() > 1 {
        let epoch = newest.facts.leader_epoch;
        findings.push(finding(
            Reason::SourcesDisagree,
            format!("leaders [{}] in epoch {epoch}", list(leaders)),
        ));
    }
    present(snapshot, newest.facts.leader, findings)
}

/// ZooKeeper: any broker tells the controller; all have to tell the same one.
fn zookeeper_controller(snapshot: &Snapshot<'_>, findings: &mut Vec<Finding>) -> Option<NodeId> {
    let answers = snapshot.clusters().filter_map(|(_, read)| read.ok());
    let told: BTreeSet<Option<NodeId>> = answers.map(|read| read.facts.controller).collect();
    let named: Vec<_> = told.iter().copied().flatten().collect();
    if told.len() > 1 {
        findings.push(finding(
            Reason::SourcesDisagree,
            format!(
                "some brokers name [{}] as controller, not all the same",
                list(named)
            ),
        ));
        return None;
    }
    present(snapshot, told.first().copied().flatten(), findings)
}

fn present(
    snapshot: &Snapshot<'_>,
    leader: Option<NodeId>,
    findings: &mut Vec<Finding>,
) -> Option<NodeId> {
    let observed = match leader {
        None => String::from("none is named"),
        Some(node) if !snapshot.expected.contains_key(&node) => {
            format!("{node} is named, which is no node known")
        }
        Some(node) if snapshot.down.contains(&node) => {
            format!("{node} is named and counts as down")
        }
        Some(node) => return Some(node),
    };
    findings.push(finding(Reason::NoActiveController, observed));
    leader
}

/// Whether the node's page counts active controllers.
fn tells(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    let page = snapshot.jmx(node);
    page.is_ok_and(|page| {
        gauges::count(page.facts, Metric::ActiveControllerCount)
            .value()
            .is_some()
    })
}

/// The pages of those that can be the controller: exactly one says 1. Which pages have to be
/// there is the `evidence` row's business.
fn pages(snapshot: &Snapshot<'_>, told: Option<NodeId>) -> Option<Finding> {
    let active: Vec<_> = gauges::counts(snapshot, Metric::ActiveControllerCount)
        .filter(|(_, count)| *count > 0)
        .map(|(node, _)| node)
        .collect();
    // "None of them says so" needs all of them to have spoken.
    let silent = match snapshot.kind {
        ClusterKind::KRaft => snapshot.controllers().any(|node| !tells(snapshot, node)),
        ClusterKind::ZooKeeper => snapshot.brokers().any(|node| !tells(snapshot, node)),
        ClusterKind::Unknown => false,
    };
    match (active.as_slice(), told) {
        ([], _) if silent => None,
        ([], _) => Some(finding(
            Reason::NoActiveController,
            String::from("no JMX page says that its node is the active controller"),
        )),
        ([_, _, ..], _) => Some(finding(
            Reason::ManyActiveControllers,
            format!("by their JMX pages [{}] are active", list(active)),
        )),
        ([page], Some(told)) if *page != told => Some(finding(
            Reason::SourcesDisagree,
            format!("{told} by the protocol, {page} by its JMX page"),
        )),
        ([_], Some(_) | None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::evidence::facts::{ConfigSource, Facts, LinkFacts, NodeConfigs, QuorumFacts};
    use crate::evidence::scene::{Scene, kafka, node};
    use crate::evidence::tide::Tide;

    /// What is found when a second broker tells this of the quorum.
    fn found(change: impl Fn(&mut QuorumFacts)) -> Vec<(Reason, String)> {
        let mut scene = Scene::healthy_kraft();
        let mut told = scene.snapshot(|snapshot| voters::newest(snapshot).unwrap().facts.clone());
        change(&mut told);
        scene.put(kafka(2), Facts::Quorum(told));
        scene.snapshot(|snapshot| {
            let judged = run(snapshot);
            let findings = judged.findings().into_iter();
            findings
                .map(|it| (it.reason, it.observed.clone()))
                .collect()
        })
    }

    #[test]
    fn two_leaders_of_one_epoch_are_a_disagreement_and_an_old_word_is_none() {
        let two = found(|quorum| quorum.leader = Some(node(102)));
        let (reason, observed) = &two[0];
        assert_eq!(*reason, Reason::SourcesDisagree);
        assert!(
            observed.starts_with("leaders [101, 102] in epoch "),
            "{observed}"
        );
        let old = found(|quorum| {
            quorum.leader = Some(node(102));
            quorum.leader_epoch -= 1;
        });
        assert_eq!(old, []);
    }

    /// The active controller writes every `idle` milliseconds, and something was last committed so long
    /// before the quorum was asked.
    fn still(idle: &str, millis: u64, change: impl Fn(&mut Scene)) -> Option<String> {
        let mut scene = Scene::healthy_kraft();
        let value = (Some(String::from(idle)), ConfigSource::StaticBroker);
        let values = [(String::from("metadata.max.idle.interval.ms"), value)].into();
        scene.put(kafka(101), Facts::NodeConfigs(NodeConfigs { values }));
        let asked = scene.reports[&(kafka(1), FactKind::Quorum)].asked;
        let mut tide = Tide::default();
        tide.rise(asked.minus(Duration::from_millis(millis)), 4_000);
        scene.memory.committed = tide;
        change(&mut scene);
        scene.snapshot(|snapshot| {
            let judged = run(snapshot);
            let mut findings = judged.findings().into_iter();
            let found = findings.find(|it| it.reason == Reason::NoActiveController);
            found.map(|it| it.observed.clone())
        })
    }

    #[test]
    fn a_controller_that_commits_nothing_is_none() {
        assert_eq!(still("500", 1_499, |_| {}), None);
        assert_eq!(
            still("500", 1_500, |_| {}).as_deref(),
            Some("101 is named, and nothing was committed for 1.5s after offset 3999")
        );
        // As often as it says, and not at all where it says so, says nothing or cannot yet.
        assert_eq!(still("2000", 5_999, |_| {}), None);
        assert!(still("2000", 6_000, |_| {}).is_some());
        assert_eq!(still("0", 60_000, |_| {}), None);
        let hour = 3_600_000;
        assert_eq!(
            still("500", hour, |s| {
                s.reports.remove(&(kafka(101), FactKind::NodeConfigs));
            }),
            None
        );
        let finalized = |level: i16| {
            move |link: &mut LinkFacts| {
                let feature = String::from("metadata.version");
                link.finalized = BTreeMap::from([(feature, level)]);
            }
        };
        assert_eq!(still("500", hour, |s| s.link(1, finalized(4))), None);
        assert!(still("500", hour, |s| s.link(1, finalized(5))).is_some());
        // A new leader does not know yet what is committed, and a gate that begins has nothing to compare.
        assert_eq!(
            still("500", hour, |s| s.quorum(1, |q| q.high_watermark = -1)),
            None
        );
        assert_eq!(
            still("500", hour, |s| s.memory.committed = Tide::default()),
            None
        );
    }

    /// "No page says that its node is active" is a claim about every node that could be: as long as
    /// one of them has not said anything, that one may be it.
    #[test]
    fn nobody_is_active_only_once_everybody_who_could_be_has_said_so() {
        let clusters = [
            (Scene::healthy_kraft(), 101, 102),
            (Scene::healthy_zookeeper(), 1, 2),
        ];
        for (mut scene, active, other) in clusters {
            let claims = |scene: &Scene| {
                let finding = scene.snapshot(|snapshot| pages(snapshot, None));
                finding.map(|finding| finding.reason)
            };
            assert_eq!(claims(&scene), None);
            scene.metric(active, Metric::ActiveControllerCount, 0.0);
            assert_eq!(claims(&scene), Some(Reason::NoActiveController));
            scene.page(other, |page| {
                page.values.remove(&Metric::ActiveControllerCount);
            });
            assert_eq!(claims(&scene), None, "{other} has not spoken");
        }
    }
}
