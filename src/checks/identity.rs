//! Every source belongs to the node and the cluster it stands for (law 10).

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::facts::Identity;
use crate::evidence::ids::NodeId;
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;
use crate::evidence::report::{FactKind, SourceId};
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Judged, Subject};
use super::gauges;
use super::jmx_view::is_quiet;
use super::needs::Need;
use super::reason::{Reason, Severity};

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Link),
    Need::Required(FactKind::Cluster),
    Need::Required(FactKind::Jmx),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::WrongNode,
    Reason::WrongCluster,
    Reason::IdentityUnproven,
    Reason::SourcesDisagree,
    Reason::EvidenceIncomplete,
];

/// Replicas hosted and partitions led.
type Counts = (u64, u64);

/// Judges cluster ids, pages and links.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    let mut findings = Vec::new();
    let mut proven = BTreeSet::new();
    if snapshot.policy.mode.jmx() {
        proven = pages(snapshot, &mut findings);
    }
    if snapshot.policy.mode.kafka() {
        findings.extend(clusters(snapshot));
        findings.extend(links(snapshot, &proven));
    }
    Judged::from_findings(findings)
}

/// Every answer has to name the cluster that is meant: the configured one, else the one that was
/// learned first.
fn clusters(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let meant = snapshot
        .policy
        .cluster_id
        .as_ref()
        .or(snapshot.memory.cluster_id.as_ref());
    let answers = || snapshot.clusters().filter_map(|(_, read)| read.ok());
    let meant = meant.or_else(|| answers().find_map(|read| read.facts.cluster_id.value()));
    let mut findings = Vec::new();
    for read in answers() {
        let (reason, observed) = match &read.facts.cluster_id {
            Known::Is(id) if Some(id) == meant => continue,
            Known::Is(id) => (Reason::WrongCluster, format!("cluster {id}")),
            other @ (Known::NotInRelease
            | Known::NotExported
            | Known::Hidden
            | Known::Failed(_)) => (
                Reason::EvidenceIncomplete,
                format!("cluster id: {}", other.why()),
            ),
        };
        let required = meant.map_or_else(|| String::from("a cluster id"), ToString::to_string);
        let source = read.report.source.clone();
        findings.push(
            Finding::new(reason, Subject::Source(source.clone()), observed, required)
                .from_source(source, read.report.asked),
        );
    }
    findings
}

/// A link that could not show which node it leads to. Where the node's page shows it, a warning
/// will do; where nothing does, the node is not shown to be there at all. A controller is: the
/// quorum's leader hears it.
fn links(snapshot: &Snapshot<'_>, proven_pages: &BTreeSet<NodeId>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (node, read) in snapshot.links() {
        let Ok(read) = read else { continue };
        let Identity::Unproven(why) = &read.facts.identity else {
            continue;
        };
        let role = snapshot.expected.get(&node).map(|expected| expected.role);
        let is_only_controller = role.is_some_and(|role| role.controller && !role.broker);
        let severity = if is_only_controller || proven_pages.contains(&node) {
            Severity::Warn
        } else {
            Severity::Unknown
        };
        let source = read.report.source.clone();
        findings.push(
            Finding::new(
                Reason::IdentityUnproven,
                Subject::Source(source.clone()),
                format!(
                    "{} does not show that it is node {node}: {why}",
                    read.facts.address
                ),
                "an answer that only the node itself gives",
            )
            .at(severity)
            .from_source(source, read.report.asked),
        );
    }
    findings
}

/// Judges every page and returns the nodes whose pages are shown to be theirs.
fn pages(snapshot: &Snapshot<'_>, findings: &mut Vec<Finding>) -> BTreeSet<NodeId> {
    let layout = counts_by_layout(snapshot);
    let mut proven = BTreeSet::new();
    let mut unproven = Vec::new();
    let has_tables = snapshot.policy.mode.kafka() && !snapshot.merged.rows.is_empty();
    for (node, role, page) in gauges::pages(snapshot) {
        let quiet = is_quiet(snapshot, page.report.asked) && !snapshot.down.contains(&node);
        let finding = match &page.facts.node {
            // Another cluster has a node of this id too; its page counts other partitions.
            Known::Is(told) if *told == node => {
                match counted(page.facts).filter(|_| has_tables && quiet && role.broker) {
                    Some(counts) if layout.get(&node) != Some(&counts) => Some(nobody(counts)),
                    Some(_) | None => {
                        proven.insert(node);
                        continue;
                    }
                }
            }
            Known::Is(told) => Some((
                Reason::WrongNode,
                format!("the page says that it is node {told}'s"),
            )),
            Known::NotInRelease | Known::NotExported | Known::Hidden | Known::Failed(_) => {
                let Some((hosted, led)) = counted(page.facts) else {
                    unproven.push(node);
                    continue;
                };
                if !role.broker || !snapshot.policy.mode.kafka() {
                    unproven.push(node);
                    continue;
                }
                match fit(&layout, node, (hosted, led)) {
                    Fit::Alone => {
                        proven.insert(node);
                        continue;
                    }
                    Fit::WithOthers => {
                        unproven.push(node);
                        continue;
                    }
                    Fit::Other(other) if quiet => Some((
                        Reason::WrongNode,
                        format!("{hosted} replicas and {led} leaders fit node {other}"),
                    )),
                    Fit::Nobody if quiet => Some(nobody((hosted, led))),
                    // Leaders are moving: a page is older than the tables.
                    Fit::Other(_) | Fit::Nobody => {
                        unproven.push(node);
                        None
                    }
                }
            }
        };
        findings.extend(finding.map(|(reason, observed)| {
            Finding::new(
                reason,
                Subject::Source(SourceId::Jmx(node)),
                observed,
                format!("the page of node {node}"),
            )
            .from_source(page.report.source.clone(), page.report.asked)
        }));
    }
    if snapshot.policy.mode.kafka() {
        findings.extend(indistinct(&unproven, Severity::Warn));
        return proven;
    }
    // In mode jmx a page is all there is of a node. Different start times are different
    // processes; pages that share one may be one exporter's, and then a node is not seen at all.
    let starts: Vec<_> = unproven
        .iter()
        .map(|node| (*node, start_time(snapshot, *node)))
        .collect();
    let (apart, alike): (Vec<_>, Vec<_>) = unproven.iter().copied().partition(|node| {
        let own = starts.iter().find(|(other, _)| other == node);
        own.is_some_and(|(_, start)| {
            let same = starts.iter().filter(|(_, other)| other == start);
            start.is_some() && same.count() == 1
        })
    });
    findings.extend(indistinct(&apart, Severity::Warn));
    findings.extend(indistinct(&alike, Severity::Unknown));
    proven
}

/// What a broker's page counts of its own.
fn counted(page: &JmxFacts) -> Option<Counts> {
    let count = |metric| gauges::count(page, metric).value().copied();
    Some((count(Metric::PartitionCount)?, count(Metric::LeaderCount)?))
}

fn nobody((hosted, led): Counts) -> (Reason, String) {
    (
        Reason::SourcesDisagree,
        format!("{hosted} replicas and {led} leaders, which Metadata does not say"),
    )
}

/// The process start a page tells, as exact bits: only for "the same or not".
fn start_time(snapshot: &Snapshot<'_>, node: NodeId) -> Option<u64> {
    let page = snapshot.jmx(node).ok()?;
    page.facts.start_time.value().map(|start| start.to_bits())
}

/// Pages that nothing tells apart from another node's: named once, they count only against
/// health.
fn indistinct(nodes: &[NodeId], severity: Severity) -> Option<Finding> {
    (!nodes.is_empty()).then(|| {
        Finding::new(
            Reason::IdentityUnproven,
            Subject::Cluster,
            "JMX pages that carry no node id and fit more than one node",
            "a page that carries its node's id, or counts that fit only that node",
        )
        .of_many(nodes.iter().map(|node| SourceId::Jmx(*node).to_string()))
        .at(severity)
    })
}

/// What each broker hosts and leads by the merged tables.
fn counts_by_layout(snapshot: &Snapshot<'_>) -> BTreeMap<NodeId, Counts> {
    let mut counts: BTreeMap<NodeId, Counts> =
        snapshot.brokers().map(|node| (node, (0, 0))).collect();
    for row in &snapshot.merged.rows {
        for node in row.replicas {
            let (hosted, led) = counts.entry(*node).or_default();
            *hosted = hosted.saturating_add(1);
            *led = led.saturating_add(u64::from(row.leader == Some(*node)));
        }
    }
    counts
}

enum Fit {
    Alone,
    WithOthers,
    Other(NodeId),
    Nobody,
}

fn fit(layout: &BTreeMap<NodeId, Counts>, node: NodeId, told: Counts) -> Fit {
    let fitting = || {
        layout
            .iter()
            .filter(|(_, counts)| **counts == told)
            .map(|(n, _)| *n)
    };
    if fitting().any(|n| n == node) {
        return if fitting().count() == 1 {
            Fit::Alone
        } else {
            Fit::WithOthers
        };
    }
    fitting().next().map_or(Fit::Nobody, Fit::Other)
}
