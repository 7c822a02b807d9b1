//! Every node has the active controller's metadata, and none failed to apply it. A broker that
//! is cut off from the quorum, or slow to publish what it has fetched, answers old tables with a
//! straight face.

use std::time::Duration;

use crate::evidence::facts::QuorumFacts;
use crate::evidence::ids::NodeId;
use crate::evidence::jmx::Metric;
use crate::evidence::known::Known;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Snapshot};
use crate::evidence::voters::{self, SLACK};
use crate::time::Human;

use super::finding::{Finding, Judged, Subject};
use super::gauges::{self, above_zero};
use super::needs::Need;
use super::nodes::leftovers;
use super::quorum::set_back;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Quorum),
    Need::Required(FactKind::Jmx),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::MetadataLagging,
    Reason::MetadataErrors,
    Reason::EvidenceIncomplete,
];

/// For pages, which are seconds old: idle records come every 500 ms on stock settings, so that a
/// healthy node stays below 2 s. The quorum's answer is younger and judged by [`SLACK`].
const LIMIT: Duration = Duration::from_secs(10);

/// How often the active controller writes a record when nothing happens; 0 is never.
const IDLE_INTERVAL: &str = "metadata.max.idle.interval.ms";

/// How many idle records a node may miss.
const IDLE_RECORDS: u32 = 4;

/// The first `metadata.version` at which idle records are written, 3.3-IV1 (KIP-835,
/// `MetadataVersion.isNoOpRecordSupported`).
const IDLE_RECORDS_FROM: i16 = 5;

/// How often the active controller writes a record when nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// By its own word.
    Every(Duration),
    /// Nobody has said.
    Untold,
    /// It need not write any.
    Never,
}

/// How often the active controller of this cluster has to write a record.
pub(super) fn idle_records(snapshot: &Snapshot<'_>) -> Idle {
    let version = snapshot.metadata_version();
    if version.is_some_and(|version| version < IDLE_RECORDS_FROM) {
        return Idle::Never;
    }
    let active = voters::newest(snapshot).and_then(|quorum| quorum.facts.leader);
    let configs = active.and_then(|node| snapshot.node_configs(node).ok());
    let told = configs.and_then(|read| read.facts.number(IDLE_INTERVAL));
    match told.map(u64::try_from) {
        Some(Ok(0)) => Idle::Never,
        Some(Ok(millis)) => Idle::Every(Duration::from_millis(millis)),
        Some(Err(_)) | None => Idle::Untold,
    }
}

/// Judges the quorum's observers and every page.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if snapshot.kind == ClusterKind::ZooKeeper {
        return Judged::NotApplicable("the cluster keeps its metadata in ZooKeeper");
    }
    let mut findings = Vec::new();
    let limit = page_limit(snapshot);
    if let Some(quorum) = voters::newest(snapshot) {
        let leftovers = leftovers(snapshot);
        let brokers = snapshot.brokers().filter(|node| !leftovers.contains(node));
        for node in brokers {
            let told = observer(quorum.facts, node).map(|finding| {
                finding.from_source(quorum.report.source.clone(), quorum.report.asked)
            });
            // Once is enough: who does not fetch has nothing to publish.
            let lags = told
                .as_ref()
                .is_some_and(|finding| finding.reason == Reason::MetadataLagging);
            findings.extend(told);
            // Where no record need be written the end may be one that is never published (3.3: a
            // change of leaders), and then it says nothing.
            if !lags && limit.is_some() {
                findings.extend(unpublished(snapshot, quorum.facts, node));
            }
        }
    }
    if let Some(longest) = limit {
        findings.extend(lagging_pages(snapshot, longest));
    }
    let required = "no metadata error since the process started";
    for metric in [
        Metric::MetadataErrorCount,
        Metric::MetadataLoadErrorCount,
        Metric::MetadataApplyErrorCount,
    ] {
        findings.extend(above_zero(
            snapshot,
            metric,
            Reason::MetadataErrors,
            required,
        ));
    }
    Judged::from_findings(findings)
}

/// One broker as the quorum's leader sees it. An id may be listed twice, once with a directory
/// that is gone (KIP-853): the better entry is the living one.
fn observer(quorum: &QuorumFacts, node: NodeId) -> Option<Finding> {
    if quorum.voters.iter().any(|voter| voter.node == node) {
        return None;
    }
    let entries = quorum.observers.iter().filter(|member| member.node == node);
    let ahead = entries.clone().filter_map(|it| voters::ahead(quorum, it));
    let ahead = ahead.max();
    let mut entries = entries
        .map(|member| voters::behind(quorum, member))
        .peekable();
    let (reason, observed) = if entries.peek().is_none() {
        let observed = "not among those that fetch the metadata log";
        (Reason::EvidenceIncomplete, observed.to_owned())
    } else {
        match entries.flatten().min() {
            Some(behind) if behind <= SLACK => return None,
            Some(behind) => (
                Reason::MetadataLagging,
                format!("last caught up {} before the leader", Human(behind)),
            ),
            None => (
                Reason::MetadataLagging,
                ahead.map_or_else(
                    || String::from("not yet seen caught up by the leader"),
                    set_back,
                ),
            ),
        }
    };
    let required = format!("caught up within {}", Human(SLACK));
    Some(Finding::new(
        reason,
        Subject::Node(node),
        observed,
        required,
    ))
}

/// A broker that had not published what was committed [`SLACK`] before it was asked. Its raft client may
/// have fetched all of it, so that the quorum has it caught up: what it has not published, it neither
/// answers nor leads. Healthy ones stay half a second behind at the most: a follower hears of a new high
/// watermark with its next fetch.
///
/// What was committed once stays so, whoever leads. Only a quorum that was made anew begins again, and
/// its own word then counts.
fn unpublished(snapshot: &Snapshot<'_>, quorum: &QuorumFacts, node: NodeId) -> Option<Finding> {
    if snapshot.kind != ClusterKind::KRaft {
        return None;
    }
    let link = snapshot.link(node).ok()?;
    let published = *link.facts.published.value()?;
    let asked = link.report.asked;
    let committed = snapshot.memory.committed.by(asked.minus(SLACK))?;
    let end = match quorum.high_watermark {
        // A new leader does not know it yet.
        ..0 => committed.height,
        told => committed.height.min(told),
    };
    let newest = end.saturating_sub(1);
    if published >= newest {
        return None;
    }
    let before = Human(asked.since(committed.at));
    let observed = format!(
        "published the metadata up to offset {published}, {newest} was committed {before} before"
    );
    let required = format!("what is committed, published within {}", Human(SLACK));
    let finding = Finding::new(
        Reason::MetadataLagging,
        Subject::Node(node),
        observed,
        required,
    );
    Some(finding.from_source(link.report.source.clone(), asked))
}

/// How old the last record that a node has applied may be. `None` where none need be written: then the
/// age says nothing.
fn page_limit(snapshot: &Snapshot<'_>) -> Option<Duration> {
    match idle_records(snapshot) {
        Idle::Every(idle) => Some(LIMIT.max(idle.saturating_mul(IDLE_RECORDS))),
        Idle::Untold => Some(LIMIT),
        Idle::Never => None,
    }
}

fn lagging_pages(snapshot: &Snapshot<'_>, longest: Duration) -> Vec<Finding> {
    let limit = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    let mut findings = Vec::new();
    for (node, _, page) in gauges::pages(snapshot) {
        let (reason, observed) = match gauges::count(page.facts, Metric::MetadataLagMs) {
            Known::NotExported | Known::NotInRelease | Known::Hidden => continue,
            Known::Is(lag) if lag <= limit => continue,
            Known::Is(lag) => (
                Reason::MetadataLagging,
                format!(
                    "last applied record {} old",
                    Human(Duration::from_millis(lag))
                ),
            ),
            Known::Failed(why) => (Reason::EvidenceIncomplete, why.to_string()),
        };
        let required = format!("at most {}", Human(longest));
        findings.push(
            Finding::new(reason, Subject::Node(node), observed, required)
                .from_source(page.report.source.clone(), page.report.asked),
        );
    }
    findings
}
