//! Whether every partition that these nodes may serve is seen. A restart waits for a cluster in which
//! all of it is shown; a repair asks for less, and must not take a partition away that no row tells of.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::Metric;
use crate::evidence::report::{FactKind, SourceId};
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Subject};
use super::gauges;
use super::layout::Layout;
use super::needs::{absent, list, reason_of, words};
use super::reason::{Reason, Severity};
use super::{progress, topics};

/// What keeps us from knowing everything that these nodes serve. Nothing where none of them can.
pub(super) fn unseen(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>) -> Vec<Finding> {
    let serve = stop.iter().filter(|node| may_serve(snapshot, **node));
    let serve: Vec<NodeId> = serve.copied().collect();
    if serve.is_empty() {
        return Vec::new();
    }
    let topics = topics::run(snapshot);
    let topics = topics.findings().into_iter();
    let hidden = topics.filter(|finding| finding.severity != Severity::Warn);
    let mut findings: Vec<_> = hidden.cloned().collect();
    findings.extend(outdated(snapshot));
    findings.extend(serve.iter().filter_map(|node| not_shown(snapshot, *node)));
    findings.extend(behind(snapshot, stop));
    findings.extend(shrunk(snapshot));
    findings
}

/// Whether this node may serve partitions: it is up as far as we know and no controller alone, and
/// it answers us or is in service by anybody's word. One that freezes on ZooKeeper and is in nobody's
/// list cannot show what it hosts, and must be curable all the same.
fn may_serve(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    let role = snapshot.expected.get(&node).map(|expected| expected.role);
    let controls_only = role.is_some_and(|role| role.controller && !role.broker);
    let alive = snapshot.link(node).is_ok() || snapshot.in_service(node);
    !controls_only && !snapshot.down.contains(&node) && alive
}

/// Partitions of which only old news is told: who leads them now is not known.
fn outdated(snapshot: &Snapshot<'_>) -> Option<Finding> {
    let outdated = &snapshot.merged.outdated;
    if outdated.is_empty() {
        return None;
    }
    let names = outdated.iter();
    let names = names.map(|(topic, index)| format!("{}-{index}", topic.name()));
    Some(
        Finding::new(
            Reason::EvidenceStale,
            Subject::Cluster,
            "partitions are told with an epoch older than one already seen",
            "the newest epoch of every partition",
        )
        .of_many(names),
    )
}

/// What it hosts, hidden partitions included, only the node itself can say. Directories that are not
/// shown to us are the topics' finding.
fn not_shown(snapshot: &Snapshot<'_>, node: NodeId) -> Option<Finding> {
    let (source, kind) = (SourceId::Kafka(node), FactKind::LogDirs);
    let absent = absent(snapshot, &source, kind)?;
    Some(Finding::new(
        reason_of(kind, &absent),
        Subject::Source(source),
        format!("{kind}: {}", words(&absent)),
        "what this broker hosts, told by itself",
    ))
}

/// In-sync replicas that are to stay, and that have not reached their leader: it may have left them out
/// of the ISR where nobody hears it. A controller on ZooKeeper that is cut off from the other brokers
/// commits such an ISR, and no table shows it. Found by the simulation.
fn behind(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>) -> Vec<Finding> {
    let judged = progress::run(snapshot);
    let stays = |subject: &Subject| match subject {
        Subject::Node(node) => !stop.contains(node),
        Subject::Cluster | Subject::Group(_) | Subject::Source(_) => true,
    };
    let behind = judged.findings().into_iter();
    let behind = behind.filter(|it| it.reason == Reason::ReplicaBehind && stays(&it.subject));
    behind.cloned().collect()
}

/// The same by the leaders' pages: more ISRs are short than the tables show.
fn shrunk(snapshot: &Snapshot<'_>) -> Option<Finding> {
    let layout = Layout::of(snapshot);
    let mut short: BTreeMap<NodeId, u64> = BTreeMap::new();
    for held in layout.rows(snapshot) {
        if let Some(leader) = held.row.leader
            && held.in_sync < held.required
        {
            let count = short.entry(leader).or_default();
            *count = count.saturating_add(1);
        }
    }
    let pages = gauges::counts(snapshot, Metric::UnderReplicatedPartitions);
    let beyond =
        pages.filter(|(node, count)| *count > short.get(node).copied().unwrap_or_default());
    let leaders: Vec<NodeId> = beyond.map(|(node, _)| node).collect();
    if leaders.is_empty() {
        return None;
    }
    Some(Finding::new(
        Reason::SourcesDisagree,
        Subject::Cluster,
        format!(
            "pages of [{}] count more short ISRs than Metadata shows",
            list(leaders)
        ),
        "ISRs that Metadata shows as their leaders have them",
    ))
}
