//! Every source that is needed has answered in time and in full.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::evidence::exported;
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;
use crate::evidence::report::{FactKind, SourceId};
use crate::evidence::snapshot::{Absent, ClusterKind, Snapshot};
use crate::evidence::step::Step;

use super::finding::{Finding, Judged, Subject};
use super::needs::{Need, absent, applies, asked, reason_of, step, words};
use super::nodes::leftovers;
use super::old_pages::old_pages;
use super::reason::Reason;
use super::{gauges, jmx_sums};

/// It looks for itself, source by source.
pub(super) const NEEDS: &[Need] = &[];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::NoNodesKnown,
    Reason::EvidenceMissing,
    Reason::EvidenceStale,
    Reason::SourceFailed,
    Reason::EvidenceIncomplete,
    Reason::WrongNode,
    Reason::WrongCluster,
    Reason::TopicsHidden,
    Reason::GateThrottled,
    Reason::UnsupportedRelease,
];

/// Answers of which not every node's is needed, and how many are: two brokers' tables, so that
/// one that is behind shows.
const SHARED: [(FactKind, usize); 5] = [
    (FactKind::Cluster, 2),
    (FactKind::Partitions, 2),
    (FactKind::Quorum, 1),
    (FactKind::Moves, 1),
    (FactKind::TopicConfigs, 1),
];

/// What every broker's page must have.
const OF_BROKERS: [Metric; 5] = [
    Metric::UnderReplicatedPartitions,
    Metric::UnderMinIsrPartitionCount,
    Metric::BrokerState,
    Metric::PartitionCount,
    Metric::LeaderCount,
];

/// What every controller's page must have; on ZooKeeper every broker's.
const OF_CONTROLLERS: [Metric; 3] = [
    Metric::OfflinePartitionsCount,
    Metric::ActiveControllerCount,
    Metric::GlobalPartitionCount,
];

/// Looks for every report that is needed.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if snapshot.expected.is_empty() {
        return Judged::from_findings(nobody(snapshot));
    }
    let mut gaps = Gaps::default();
    for (source, kind) in own_answers(snapshot) {
        if let Some(absent) = absent(snapshot, &source, kind) {
            gaps.add(source, kind, &absent);
        }
    }
    let mut findings = Vec::new();
    for (kind, wanted) in SHARED {
        findings.extend(shared(snapshot, kind, wanted, &mut gaps));
    }
    owed(snapshot, &mut gaps);
    findings.extend(gaps.into_findings());
    findings.extend(roleless(snapshot));
    if snapshot.policy.mode.jmx() {
        findings.extend(gauges::pages(snapshot).filter_map(|(node, role, page)| {
            let finding = incomplete(snapshot.kind, node, role, page.facts)?;
            Some(finding.from_source(page.report.source.clone(), page.report.asked))
        }));
        findings.extend(old_pages(snapshot));
    }
    Judged::from_findings(findings)
}

/// No node is known; what the bootstrap addresses said instead, each in a finding of its own, too.
fn nobody(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let reports = snapshot.reports_of(FactKind::Cluster).iter();
    let failed = reports.filter_map(|report| Some((report, report.facts.as_ref().err()?)));
    let mut gaps = Gaps::default();
    let mut last = None;
    let mut others: usize = 0;
    for (report, failure) in failed {
        let source = report.source.clone();
        gaps.add(source, FactKind::Cluster, &Absent::Failed(failure));
        if last.replace((report, failure)).is_some() {
            others = others.saturating_add(1);
        }
    }
    let mut observed = String::from("no node is known");
    if let Some((_, failure)) = last {
        let _ = write!(observed, ": {failure}");
    }
    if others > 0 {
        let _ = write!(observed, " ({others} other addresses fail, too)");
    }
    let required = "an answer from a bootstrap address, or configured nodes";
    let finding = Finding::new(Reason::NoNodesKnown, Subject::Cluster, observed, required);
    let finding = match last {
        Some((report, failure)) => finding
            .from_source(report.source.clone(), report.asked)
            .stopped_at(Some(failure.class.step())),
        None => finding,
    };
    std::iter::once(finding)
        .chain(gaps.into_findings())
        .collect()
}

/// Every answer that only the node itself can give.
fn own_answers(snapshot: &Snapshot<'_>) -> Vec<(SourceId, FactKind)> {
    let mode = snapshot.policy.mode;
    let leftovers = leftovers(snapshot);
    let followers = snapshot
        .merged
        .rows
        .iter()
        .filter(|row| row.replicas.len() > 1);
    let followed: Vec<NodeId> = followers.flat_map(|row| row.replicas.iter().copied()).fold(
        Vec::new(),
        |mut nodes, node| {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
            nodes
        },
    );
    let mut wanted = Vec::new();
    for (node, expected) in &snapshot.expected {
        if leftovers.contains(node) {
            continue;
        }
        if mode.kafka() && !snapshot.is_remote(*node) {
            wanted.push((SourceId::Kafka(*node), FactKind::Link));
        }
        if mode.kafka() && expected.role.broker {
            wanted.push((SourceId::Kafka(*node), FactKind::NodeConfigs));
            wanted.push((SourceId::Kafka(*node), FactKind::LogDirs));
            if followed.contains(node) {
                wanted.push((SourceId::Kafka(*node), FactKind::LogEnds));
            }
        }
        if snapshot.wants_page(*node) {
            wanted.push((SourceId::Jmx(*node), FactKind::Jmx));
        }
    }
    wanted
}

/// Answers that some nodes give for all: as many as wanted, or from all brokers where there are
/// fewer.
fn shared(
    snapshot: &Snapshot<'_>,
    kind: FactKind,
    wanted: usize,
    gaps: &mut Gaps,
) -> Option<Finding> {
    if !applies(snapshot, kind) {
        return None;
    }
    let wanted = wanted.min(snapshot.brokers().count().max(1));
    let mut fresh: usize = 0;
    let mut absents = Vec::new();
    for source in asked(snapshot, kind) {
        match absent(snapshot, &source, kind) {
            None => fresh = fresh.saturating_add(1),
            Some(absent) => absents.push((source, absent)),
        }
    }
    if fresh >= wanted {
        return None;
    }
    let heard = fresh.saturating_add(absents.len());
    if heard == 0 && kind == FactKind::Cluster {
        absents = bootstrap(snapshot);
    }
    for (source, absent) in absents {
        gaps.add(source, kind, &absent);
    }
    (heard < wanted).then(|| {
        Finding::new(
            Reason::EvidenceMissing,
            Subject::Cluster,
            format!("{kind} from {heard} nodes"),
            format!("{kind} from {wanted} nodes"),
        )
    })
}

/// On ZooKeeper a broker reads topics' configurations from there while it answers. Where one that was
/// asked does not, it may have lost ZooKeeper, and what others said before says nothing of that.
fn owed(snapshot: &Snapshot<'_>, gaps: &mut Gaps) {
    let kind = FactKind::TopicConfigs;
    if snapshot.kind != ClusterKind::ZooKeeper || !applies(snapshot, kind) {
        return;
    }
    for source in asked(snapshot, kind) {
        let Some(absent) = absent(snapshot, &source, kind) else {
            continue;
        };
        match absent {
            Absent::Failed(_) => gaps.add(source, kind, &absent),
            Absent::Missing | Absent::Stale { .. } => {}
        }
    }
}

/// Why bootstrap addresses do not answer, as long as no node has been asked: nodes that are
/// configured, or remembered from before a restart, are found through them.
fn bootstrap<'a>(snapshot: &Snapshot<'a>) -> Vec<(SourceId, Absent<'a>)> {
    let reports = snapshot.reports_of(FactKind::Cluster).iter();
    let addresses = reports.filter(|report| report.source.node().is_none());
    addresses
        .filter_map(|report| {
            let absent = absent(snapshot, &report.source, FactKind::Cluster)?;
            Some((report.source.clone(), absent))
        })
        .collect()
}

/// Gaps of one source for one reason are one finding: a dead node would make seven.
#[derive(Default)]
struct Gaps(BTreeMap<(SourceId, Reason), Gap>);

struct Gap {
    /// Of the first of its kinds, as the step is.
    words: String,
    step: Option<Step>,
    kinds: Vec<FactKind>,
}

impl Gaps {
    fn add(&mut self, source: SourceId, kind: FactKind, absent: &Absent<'_>) {
        let key = (source, reason_of(kind, absent));
        let gap = self.0.entry(key).or_insert_with(|| Gap {
            words: words(absent),
            step: step(absent),
            kinds: Vec::new(),
        });
        if !gap.kinds.contains(&kind) {
            gap.kinds.push(kind);
        }
    }

    fn into_findings(self) -> impl Iterator<Item = Finding> {
        self.0.into_iter().map(|((source, reason), gap)| {
            let names: Vec<_> = gap.kinds.iter().map(ToString::to_string).collect();
            let observed = format!("{}: {}", names.join(", "), gap.words);
            let required = "a fresh answer";
            Finding::new(reason, Subject::Source(source), observed, required)
                .of_many(names)
                .stopped_at(gap.step)
        })
    }
}

/// Nodes of which it does not show what they are for.
fn roleless(snapshot: &Snapshot<'_>) -> impl Iterator<Item = Finding> {
    let nodes = snapshot.expected.iter();
    nodes
        .filter(|(_, expected)| !expected.role.broker && !expected.role.controller)
        .map(|(node, _)| {
            Finding::new(
                Reason::EvidenceIncomplete,
                Subject::Node(*node),
                "neither broker nor controller as far as it shows",
                "a role from the configuration or the cluster",
            )
        })
}

/// Metrics that a page of this role must have and does not, configured ones included.
fn incomplete(kind: ClusterKind, node: NodeId, role: Role, page: &JmxFacts) -> Option<Finding> {
    let controls = match kind {
        ClusterKind::KRaft | ClusterKind::Unknown => role.controller,
        ClusterKind::ZooKeeper => role.broker,
    };
    let brokers = OF_BROKERS.into_iter().filter(|_| role.broker);
    let controllers = OF_CONTROLLERS.into_iter().filter(|_| controls);
    let unfound: Vec<_> = unfound(kind, role, page).collect();
    let is_unfound = |metric: &Metric| unfound.iter().any(|(other, _)| other == metric);
    let gaps = brokers
        .chain(controllers)
        .filter(|metric| !is_unfound(metric))
        .filter_map(|metric| match gauges::count(page, metric) {
            Known::Is(_) => None,
            other @ (Known::NotInRelease
            | Known::NotExported
            | Known::Hidden
            | Known::Failed(_)) => Some(format!("{metric} {}", other.why())),
        });
    let configured = unfound
        .iter()
        .map(|(metric, series)| format!("{metric} not there as the configured series {series}"));
    let gaps: Vec<_> = gaps.chain(configured).collect();
    if gaps.is_empty() && page.kafka_samples > 0 {
        return None;
    }
    let observed = if page.kafka_samples == 0 {
        String::from("a page without any metric of Kafka")
    } else {
        gaps.join(", ")
    };
    Some(
        Finding::new(
            Reason::EvidenceIncomplete,
            Subject::Source(SourceId::Jmx(node)),
            observed,
            format!("every metric that a {} has", role.as_str()),
        )
        .of_many(gaps),
    )
}

/// Metrics of this role whose configured series is not on the page, and that series. Read from nowhere
/// else, they would pass for metrics that are not exported, and a typing error would switch off what
/// is judged by them. Those that are there only at times cannot be missed.
fn unfound(kind: ClusterKind, role: Role, page: &JmxFacts) -> impl Iterator<Item = (Metric, &str)> {
    let mode = jmx_sums::mode(kind);
    let wanted = move |metric: Metric| match exported::need(metric, role, mode) {
        exported::Need::Required | exported::Need::Optional => true,
        exported::Need::AtTimes | exported::Need::NotThere => false,
    };
    let series = page.unfound.iter();
    series
        .map(|(metric, series)| (*metric, series.as_str()))
        .filter(move |(metric, _)| wanted(*metric))
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
