//! From an evaluation to the parts of a view, and to the beat of the window.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::judgement::Judgement;
use super::parts::{
    CheckView, ClusterView, FactsView, GroupView, NodeView, Outcome, ReasonView, SourceView,
    ViewParts, sort, verdict,
};
use super::window::{Beat, follows_from_down, is_transport};
use crate::checks::blind_spots::blind_spots;
use crate::checks::finding::{Finding, Judged, Subject};
use crate::checks::reason::{Reason, Severity};
use crate::checks::table::{CheckRow, Evaluation, WHAT_IF};
use crate::evidence::facts::PartitionLag;
use crate::evidence::ids::{GroupId, NodeId, Release};
use crate::evidence::jmx::Metric;
use crate::evidence::policy::max_age;
use crate::evidence::report::{FactKind, Report, SourceId};
use crate::evidence::snapshot::{Absent, ClusterKind, Expected, Snapshot};
use crate::time::{Human, Timestamp};

/// Whether every row but the what-if allows `open`. A change of leadership aside: it is no
/// illness, and the window is counted from it.
pub(super) fn healthy(evaluation: &Evaluation) -> bool {
    let well = |finding: &&Finding| {
        finding.severity == Severity::Warn || finding.reason == Reason::LeadershipMoving
    };
    evaluation.rows.iter().all(|(row, judged)| {
        row.id == WHAT_IF || judged.allows_open() || judged.findings().iter().all(well)
    })
}

/// Whether some finding keeps the gate from opening.
pub(super) fn explained(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity != Severity::Warn)
}

/// Whether some source has not been heard at all.
pub(super) fn lacks_evidence(evaluation: &Evaluation) -> bool {
    missing(evaluation).next().is_some()
}

/// Whether there is somebody left to wait for: a source that has not been heard at all, of a
/// node that is not known to be out of reach.
pub(super) fn waits_for_somebody(snapshot: &Snapshot<'_>, evaluation: &Evaluation) -> bool {
    missing(evaluation).any(|finding| match &finding.subject {
        Subject::Source(source) => source
            .node()
            .is_none_or(|node| !matches!(snapshot.link(node), Err(Absent::Failed(_)))),
        Subject::Cluster | Subject::Node(_) | Subject::Group(_) => true,
    })
}

fn missing(evaluation: &Evaluation) -> impl Iterator<Item = &Finding> {
    evaluation
        .rows
        .iter()
        .flat_map(|(_, judged)| judged.findings())
        .filter(|finding| finding.reason == Reason::EvidenceMissing)
}

/// Findings of every row but the what-if.
pub(super) fn general_findings(evaluation: &Evaluation) -> Vec<Finding> {
    findings(evaluation, |id| id != WHAT_IF)
}

/// Findings of the what-if row.
pub(super) fn what_if_findings(evaluation: &Evaluation) -> Vec<Finding> {
    findings(evaluation, |id| id == WHAT_IF)
}

fn findings(evaluation: &Evaluation, wanted: impl Fn(&str) -> bool) -> Vec<Finding> {
    let rows = evaluation.rows.iter().filter(|(row, _)| wanted(row.id));
    rows.flat_map(|(_, judged)| judged.findings())
        .cloned()
        .collect()
}

/// What this evaluation tells the window.
pub(super) fn beat(snapshot: &Snapshot<'_>, evaluation: &Evaluation) -> Beat {
    let healthy = healthy(evaluation);
    let starts = snapshot
        .pages()
        .filter_map(|(node, page)| {
            let page = page.ok()?;
            Some((node, (*page.facts.start_time.value()?, page.report.asked)))
        })
        .collect();
    Beat {
        at: snapshot.now.mono,
        healthy,
        blip: if healthy { None } else { blip(evaluation) },
        longest_blip: snapshot.policy.longest_blip,
        moved: snapshot.memory.leadership.map(|change| change.at),
        asked: oldest(snapshot).map(|report| report.asked),
        starts,
        signature: signature(snapshot),
    }
}

/// The nodes to which the way is disturbed, when nothing else is wrong.
fn blip(evaluation: &Evaluation) -> Option<BTreeSet<NodeId>> {
    let mut nodes = BTreeSet::new();
    for finding in general_findings(evaluation) {
        match (finding.severity, &finding.subject) {
            (Severity::Warn, _) => {}
            (_, Subject::Node(node)) if is_transport(finding.reason) => {
                nodes.insert(*node);
            }
            (_, Subject::Source(source)) if is_transport(finding.reason) => {
                nodes.insert(source.node()?);
            }
            (Severity::Unknown | Severity::Block, _) if follows_from_down(finding.reason) => {}
            (Severity::Block, _) if finding.reason == Reason::LeadershipMoving => {}
            (Severity::Unknown | Severity::Block, _) => return None,
        }
    }
    (!nodes.is_empty()).then_some(nodes)
}

/// The fresh answer that was asked for longest ago, of those that show health and come again within
/// seconds. Settings and log dirs come by the minute, and at once where a node is new; a
/// reassignment is no illness.
pub(super) fn oldest<'a>(snapshot: &Snapshot<'a>) -> Option<&'a Report> {
    const SHOWING_HEALTH: [FactKind; 6] = [
        FactKind::Link,
        FactKind::Cluster,
        FactKind::Partitions,
        FactKind::LogEnds,
        FactKind::Quorum,
        FactKind::Jmx,
    ];
    let reports = SHOWING_HEALTH
        .iter()
        .flat_map(|kind| snapshot.reports_of(*kind));
    let fresh = reports.filter(|report| snapshot.is_fresh(report));
    fresh.min_by_key(|report| report.asked).copied()
}

/// Changes with every leader, ISR and replica list that Kafka tells.
fn signature(snapshot: &Snapshot<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in &snapshot.merged.rows {
        (
            row.topic.key(),
            row.index,
            row.leader,
            &row.isr,
            row.replicas,
        )
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// A finding as it is shown.
pub(super) fn reason(finding: &Finding, since: Timestamp) -> ReasonView {
    ReasonView {
        reason: finding.reason,
        severity: finding.severity,
        subject: finding.subject.clone(),
        observed: finding.observed.clone(),
        required: finding.required.clone(),
        count: finding.count,
        examples: finding.examples.clone(),
        since,
        source: finding.source.clone(),
        asked: finding.asked,
        step: finding.step,
    }
}

/// The view of this judgement, but for the Machine's own history. `since` remembers each finding
/// and says since when it holds.
pub(super) fn parts(
    snapshot: &Snapshot<'_>,
    judgement: &Judgement,
    mut since: impl FnMut(&Finding) -> Timestamp,
) -> ViewParts {
    let mut seen = |finding: &Finding| {
        let at = since(finding);
        reason(finding, at)
    };
    let what_if = what_if_findings(&judgement.evaluation);
    let mut general: Vec<_> = judgement.general.iter().map(&mut seen).collect();
    sort(&mut general);
    let mut reasons = general.clone();
    reasons.extend(what_if.iter().map(&mut seen));
    sort(&mut reasons);

    let mut parts = super::machine::blank_parts(snapshot.now);
    parts.generation = snapshot.generation;
    parts.state = verdict(reasons.iter().map(|reason| reason.severity));
    parts.nodes = nodes(snapshot, judgement, &general, &mut seen);
    parts.general = general;
    parts.reasons = reasons;
    parts.checks = checks(&judgement.evaluation);
    parts.sources = sources(snapshot);
    parts.window = judgement.window.clone();
    parts.cluster = cluster(snapshot);
    parts.facts = facts(snapshot, &judgement.evaluation);
    parts.groups = groups(snapshot);
    parts.mode = snapshot.policy.mode;
    parts.blind_spots = blind_spots(snapshot);
    parts
}

fn checks(evaluation: &Evaluation) -> Vec<CheckView> {
    let view = |(row, judged): &(&'static CheckRow, Judged)| CheckView {
        id: row.id,
        title: row.title,
        outcome: match judged {
            Judged::Proved { .. } => Outcome::Proved,
            Judged::NotApplicable(why) => Outcome::NotApplicable(why),
            Judged::Found(_) => Outcome::Found,
        },
        reasons: judged
            .findings()
            .iter()
            .map(|finding| finding.reason)
            .collect(),
    };
    evaluation.rows.iter().map(view).collect()
}

fn nodes(
    snapshot: &Snapshot<'_>,
    judgement: &Judgement,
    general: &[ReasonView],
    mut seen: impl FnMut(&Finding) -> ReasonView,
) -> Vec<NodeView> {
    let general: Vec<_> = general.iter().map(|reason| reason.severity).collect();
    let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut replicas: BTreeMap<NodeId, usize> = BTreeMap::new();
    for row in &snapshot.merged.rows {
        if let Some(leader) = row.leader {
            *leads.entry(leader).or_insert(0) += 1;
        }
        for replica in row.replicas {
            *replicas.entry(*replica).or_insert(0) += 1;
        }
    }
    let out = |node: NodeId| snapshot.down.contains(&node) || judgement.granted.contains(&node);
    let handed = handed_over(snapshot, out);
    let controller = active_controller(snapshot);
    let node = |(node, expected): (&NodeId, &Expected)| {
        let own: Vec<_> = judgement
            .evaluation
            .nodes
            .get(node)
            .map(|judged| judged.findings().into_iter().map(&mut seen).collect())
            .unwrap_or_default();
        // A node without a what-if of its own is not judged, and so never open.
        let unjudged = !judgement.evaluation.nodes.contains_key(node);
        let own_severities = own.iter().map(|reason| reason.severity);
        let all = own_severities.chain(general.iter().copied());
        let unjudged = unjudged.then_some(Severity::Unknown);
        let link = snapshot.link(*node).ok();
        NodeView {
            node: *node,
            role: expected.role,
            release: link.map_or(Release::Unknown, |link| link.facts.release),
            address: link.map(|link| link.facts.address.clone()),
            active_controller: controller == Some(*node),
            down: snapshot.down.contains(node),
            may_stop: verdict(all.chain(unjudged)),
            reasons: own,
            leads: leads.get(node).copied().unwrap_or(0),
            replicas: replicas.get(node).copied().unwrap_or(0),
            leads_without: snapshot
                .brokers()
                .filter(|other| other != node && !out(*other))
                .map(|other| {
                    let gained = handed.get(&(*node, other)).copied().unwrap_or(0);
                    (other, leads.get(&other).copied().unwrap_or(0) + gained)
                })
                .collect(),
        }
    };
    snapshot.expected.iter().map(node).collect()
}

/// How many partitions one broker would get from another that stops: each goes to the first
/// in-sync replica of its list (`PartitionChangeBuilder`, `ControlledShutdownLeaderSelector`) that
/// is not out.
fn handed_over(
    snapshot: &Snapshot<'_>,
    out: impl Fn(NodeId) -> bool,
) -> BTreeMap<(NodeId, NodeId), usize> {
    let mut handed = BTreeMap::new();
    for row in &snapshot.merged.rows {
        let Some(leader) = row.leader else { continue };
        let fit = |node: &&NodeId| **node != leader && row.in_sync(**node) && !out(**node);
        if let Some(next) = row.replicas.iter().find(fit) {
            *handed.entry((leader, *next)).or_insert(0) += 1;
        }
    }
    handed
}

/// The active controller: the quorum's leader, or the broker that ZooKeeper mode names.
fn active_controller(snapshot: &Snapshot<'_>) -> Option<NodeId> {
    match snapshot.kind {
        ClusterKind::KRaft => snapshot
            .quorums()
            .filter_map(|(_, read)| read.ok())
            .max_by_key(|read| read.facts.leader_epoch)
            .and_then(|read| read.facts.leader),
        ClusterKind::ZooKeeper => snapshot
            .clusters()
            .filter_map(|(_, read)| read.ok())
            .max_by_key(|read| read.report.asked)
            .and_then(|read| read.facts.controller),
        ClusterKind::Unknown => None,
    }
}

fn sources(snapshot: &Snapshot<'_>) -> Vec<SourceView> {
    let mut by_source: BTreeMap<&SourceId, Vec<&Report>> = BTreeMap::new();
    for report in snapshot.reports() {
        by_source.entry(&report.source).or_default().push(report);
    }
    let view = |(source, reports): (&SourceId, Vec<&Report>)| {
        let trouble = reports.iter().filter_map(|report| {
            let (age, limit) = (snapshot.age(report), max_age(report.kind, report.every));
            match &report.facts {
                Err(failure) => Some((report.kind, failure.to_string())),
                Ok(_) if age > limit => Some((
                    report.kind,
                    format!("{} old, counts up to {}", Human(age), Human(limit)),
                )),
                Ok(_) => None,
            }
        });
        let trouble: Vec<_> = trouble.collect();
        let answered = reports.iter().filter(|report| report.facts.is_ok());
        SourceView {
            source: source.clone(),
            up: trouble.is_empty(),
            last_success: answered
                .map(|report| report.seen)
                .max()
                .map(|seen| snapshot.now.wall_of(seen)),
            trouble,
        }
    };
    by_source.into_iter().map(view).collect()
}

fn cluster(snapshot: &Snapshot<'_>) -> ClusterView {
    ClusterView {
        id: snapshot.memory.cluster_id.clone(),
        kind: snapshot.kind,
        controller: active_controller(snapshot),
        metadata_version: snapshot.metadata_version(),
    }
}

fn facts(snapshot: &Snapshot<'_>, evaluation: &Evaluation) -> FactsView {
    let mut facts = FactsView::default();
    if !snapshot.merged.sources.is_empty() {
        let rows = &snapshot.merged.rows;
        facts.partitions = Some(rows.len());
        facts.under_replicated = Some(
            rows.iter()
                .filter(|row| row.isr.len() < row.replicas.len())
                .count(),
        );
        facts.offline = Some(rows.iter().filter(|row| row.leader.is_none()).count());
        facts.under_min_isr = Some(count(evaluation, Reason::UnderMinIsr));
    }
    let moves: BTreeSet<_> = snapshot
        .all_moves()
        .filter_map(|(_, read)| read.ok())
        .flat_map(|read| read.facts.list.iter().map(|m| (&m.topic, m.partition)))
        .collect();
    if snapshot.all_moves().any(|(_, read)| read.is_ok()) {
        facts.reassigning = Some(moves.len());
    }
    facts.jmx_under_replicated = sum_over(
        snapshot,
        snapshot.brokers(),
        Metric::UnderReplicatedPartitions,
    );
    let controllers: Vec<_> = match snapshot.kind {
        ClusterKind::KRaft => snapshot.controllers().collect(),
        ClusterKind::ZooKeeper => snapshot.brokers().collect(),
        ClusterKind::Unknown => Vec::new(),
    };
    facts.jmx_active_controllers = sum_over(
        snapshot,
        controllers.iter().copied(),
        Metric::ActiveControllerCount,
    );
    facts.jmx_offline = controllers
        .iter()
        .filter_map(|node| snapshot.jmx(*node).ok())
        .filter(|page| {
            page.facts
                .value(Metric::GlobalPartitionCount)
                .value()
                .is_some_and(|n| *n > 0.0)
        })
        .filter_map(|page| {
            page.facts
                .value(Metric::OfflinePartitionsCount)
                .value()
                .copied()
        })
        .reduce(f64::max);
    facts
}

/// Of how many things a reason speaks, over all findings that Kafka's protocol gave.
fn count(evaluation: &Evaluation, reason: Reason) -> usize {
    general_findings(evaluation)
        .iter()
        .filter(|finding| finding.reason == reason)
        .filter(|finding| !matches!(finding.source, Some(SourceId::Jmx(_))))
        .map(|finding| finding.count)
        .sum()
}

/// The sum over these nodes, when each of them says its part.
fn sum_over(
    snapshot: &Snapshot<'_>,
    nodes: impl Iterator<Item = NodeId>,
    metric: Metric,
) -> Option<f64> {
    let mut nodes = nodes.peekable();
    nodes.peek()?;
    nodes
        .map(|node| {
            snapshot
                .jmx(node)
                .ok()?
                .facts
                .value(metric)
                .value()
                .copied()
        })
        .sum()
}

fn groups(snapshot: &Snapshot<'_>) -> Vec<GroupView> {
    let tables: Vec<_> = snapshot
        .all_groups()
        .filter_map(|(_, read)| read.ok())
        .collect();
    let view = |group: &GroupId| {
        let offsets = tables
            .iter()
            .flat_map(|table| &table.facts.groups)
            .find(|offsets| offsets.group == *group)
            .and_then(|offsets| offsets.partitions.value());
        GroupView {
            group: group.clone(),
            lag: offsets
                .filter(|partitions| !partitions.is_empty())
                .and_then(|partitions| partitions.iter().map(PartitionLag::lag).sum()),
            partitions: offsets.map_or(0, Vec::len),
        }
    };
    snapshot.policy.groups.iter().map(view).collect()
}
