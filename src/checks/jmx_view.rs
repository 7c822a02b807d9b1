//! The JMX pages show no trouble, and what they and the protocol both count is the same.

use std::time::Duration;

use crate::evidence::aggregate::{ClusterTotals, Total};
use crate::evidence::jmx::Metric;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Snapshot};
use crate::time::Mono;

use super::finding::{Finding, Judged, Subject};
use super::gauges;
use super::jmx_sums::{count, names, totals};
use super::layout::Layout;
use super::needs::Need;
use super::reason::Reason;
use super::risk::severity;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Jmx),
    Need::Required(FactKind::Cluster),
    Need::Required(FactKind::Partitions),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::OfflinePartitions,
    Reason::UnderMinIsr,
    Reason::UnderReplicated,
    Reason::NoSpareReplica,
    Reason::SourcesDisagree,
    Reason::EvidenceIncomplete,
    Reason::NoPartitions,
];

/// Pages are up to this much older than tables on stock intervals: only when the layout has been
/// quiet for so long do differing counts mean something.
const QUIET: Duration = Duration::from_secs(30);

/// A page asked for this long after the last change has it.
const SETTLED: Duration = Duration::from_secs(5);

/// Judges the sums, then compares.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.jmx() {
        return Judged::NotApplicable("mode kafka reads no JMX pages");
    }
    let totals = totals(snapshot);
    let mut findings = Vec::new();
    findings.extend(trouble(
        &totals.offline_partitions,
        Reason::OfflinePartitions,
        0,
    ));
    findings.extend(trouble(
        &totals.under_replicated,
        Reason::UnderReplicated,
        0,
    ));
    findings.extend(under_min_isr(snapshot, &totals));
    if totals.offline_partitions.at_least().is_none() && some_page_should_count(snapshot) {
        findings.push(unloaded(snapshot));
    }
    if snapshot.policy.mode.kafka() {
        findings.extend(partitions_differ(snapshot, &totals.partitions));
        findings.extend(brokers_differ(snapshot, &totals.active_brokers));
    }
    Judged::from_findings(findings)
}

/// The pages count something bad. What the tables say beside it does not make it good: each may
/// be the one that is behind.
fn trouble(total: &Total, reason: Reason, by_design: u64) -> Option<Finding> {
    let value = count(total).filter(|value| *value > by_design)?;
    let observed = format!("{value} by the JMX pages");
    let required = format!("{by_design} by the JMX pages");
    let mut finding =
        Finding::new(reason, Subject::Cluster, observed, required).of_many(names(total));
    finding.count = usize::try_from(value).unwrap_or(usize::MAX);
    Some(finding)
}

/// Partitions under min ISR, less those that are so by design. In mode `jmx` no table tells which
/// these are, but the pages do where every broker's is read and none counts a short ISR: a leader
/// that counts a partition under min ISR and none of its own as short has fewer replicas than that.
/// Both numbers are of one page, and of the partitions that this broker leads. So a returning broker,
/// which says 0 of everything until it leads, hides nobody's; and an ISR that shrinks between
/// the two shows on the next page, as one does that shrinks a moment later.
fn under_min_isr(snapshot: &Snapshot<'_>, totals: &ClusterTotals) -> Option<Finding> {
    let by_design = under_by_design(snapshot);
    let found = trouble(&totals.under_min_isr, Reason::UnderMinIsr, by_design)?;
    let short = &totals.under_replicated;
    let all_full = short.missing.is_empty() && count(short) == Some(0);
    if snapshot.policy.mode.kafka() || !all_full {
        return Some(found);
    }
    let observed = format!(
        "{} under min ISR, and every ISR is full: fewer replicas than min ISR",
        found.observed
    );
    Some(Finding {
        reason: Reason::NoSpareReplica,
        severity: severity(snapshot.policy.structural),
        observed,
        required: String::from("more replicas than min ISR"),
        ..found
    })
}

/// Partitions that their leaders count under min ISR with nothing missing: brokers before 3.7
/// compare with the raw setting, however few replicas there are.
fn under_by_design(snapshot: &Snapshot<'_>) -> u64 {
    let layout = Layout::of(snapshot);
    let rows = layout.rows(snapshot);
    let count = rows
        .filter(|held| held.is_full() && held.min_isr.is_some_and(|min| held.in_sync < min))
        .count();
    u64::try_from(count).unwrap_or_default()
}

/// Whether a page of those that count offline partitions is wanted at all. Where no controller has
/// an exporter the partition tables have to do; they name leaderless partitions themselves.
fn some_page_should_count(snapshot: &Snapshot<'_>) -> bool {
    match snapshot.kind {
        ClusterKind::KRaft => snapshot.controllers().any(|node| snapshot.wants_page(node)),
        ClusterKind::ZooKeeper | ClusterKind::Unknown => true,
    }
}

/// No controller has loaded metadata. In a cluster without any partition that is all there is to
/// say.
fn unloaded(snapshot: &Snapshot<'_>) -> Finding {
    let hosted = worst_of_all(snapshot, Metric::PartitionCount);
    let subject = Subject::Cluster;
    let required = "offline partitions counted by a controller that has loaded them";
    let controllers = worst_of_all(snapshot, Metric::GlobalPartitionCount);
    if hosted == Some(0) && controllers == Some(0) && snapshot.merged.rows.is_empty() {
        let observed = "no partition anywhere by the JMX pages";
        return Finding::new(Reason::NoPartitions, subject, observed, required);
    }
    let observed = "no controller's page that has loaded metadata counts offline partitions";
    Finding::new(Reason::EvidenceIncomplete, subject, observed, required)
}

fn worst_of_all(snapshot: &Snapshot<'_>, metric: Metric) -> Option<u64> {
    gauges::counts(snapshot, metric)
        .map(|(_, count)| count)
        .max()
}

/// Whether nothing has changed in the layout of partitions for a while before `asked`, so that
/// pages and tables have to agree.
pub(super) fn is_quiet(snapshot: &Snapshot<'_>, asked: Mono) -> bool {
    let memory = snapshot.memory;
    let leadership = memory.leadership.map(|change| change.at);
    let last = leadership.max(memory.partitions_changed);
    last.is_none_or(|last| snapshot.now.mono.since(last) >= QUIET && asked.since(last) >= SETTLED)
}

fn partitions_differ(snapshot: &Snapshot<'_>, total: &Total) -> Option<Finding> {
    let pages = count(total)?;
    let rows = u64::try_from(snapshot.merged.rows.len()).unwrap_or(u64::MAX);
    let asked = gauges::pages(snapshot)
        .map(|(_, _, page)| page.report.asked)
        .min()?;
    if pages == rows || !is_quiet(snapshot, asked) {
        return None;
    }
    Some(
        Finding::new(
            Reason::SourcesDisagree,
            Subject::Cluster,
            format!("{pages} partitions by the controllers' pages, {rows} by Metadata"),
            "the same number",
        )
        .of_many(names(total)),
    )
}

fn brokers_differ(snapshot: &Snapshot<'_>, total: &Total) -> Option<Finding> {
    let pages = count(total)?;
    let answers = snapshot.clusters().filter_map(|(_, read)| read.ok());
    let unfenced = answers.map(|read| {
        let brokers = read.facts.brokers.iter();
        u64::try_from(brokers.filter(|broker| !broker.fenced).count()).unwrap_or(u64::MAX)
    });
    let protocol = unfenced.min()?;
    (pages != protocol).then(|| {
        let kind = match snapshot.kind {
            ClusterKind::KRaft => "unfenced",
            ClusterKind::ZooKeeper | ClusterKind::Unknown => "registered",
        };
        Finding::new(
            Reason::SourcesDisagree,
            Subject::Cluster,
            format!("{pages} brokers {kind} by the controllers' pages, {protocol} by the protocol"),
            "the same number",
        )
    })
}
