//! Every partition that brokers host can be seen. Without rights Metadata answers no topic and
//! no error; DescribeLogDirs lists what a broker really hosts (DESIGN 4.2).

use std::sync::Arc;

use crate::evidence::facts::{LogDirFacts, METADATA_LOG};
use crate::evidence::ids::NodeId;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{Read, Snapshot};

use super::finding::{EXAMPLES, Finding, Judged, Subject};
use super::layout::Names;
use super::needs::Need;
use super::nodes::leftovers;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Partitions),
    Need::Required(FactKind::LogDirs),
    Need::Required(FactKind::TopicConfigs),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::TopicsHidden,
    Reason::NoPartitions,
    Reason::EvidenceIncomplete,
];

/// Compares what brokers host with what is told of.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.kafka() {
        return Judged::NotApplicable("mode jmx reads no topics");
    }
    let names = Names::of(snapshot);
    let mut findings: Vec<_> = snapshot
        .all_log_dirs()
        .filter_map(|(node, read)| hidden_on(node, read.ok()?, &names))
        .collect();
    findings.extend(undescribed(snapshot));
    if snapshot.merged.rows.is_empty() && snapshot.merged.outdated.is_empty() {
        findings.push(empty(snapshot));
    }
    Judged::from_findings(findings)
}

fn hidden_on(
    node: NodeId,
    read: Read<'_, Arc<LogDirFacts>>,
    names: &Names<'_, '_>,
) -> Option<Finding> {
    let subject = Subject::Node(node);
    let required = "every hosted partition in Metadata";
    let from =
        |finding: Finding| finding.from_source(read.report.source.clone(), read.report.asked);
    if !read.facts.readable || read.facts.dirs.is_empty() {
        let observed = "its log directories are not shown to us";
        return Some(from(Finding::new(
            Reason::TopicsHidden,
            subject,
            observed,
            required,
        )));
    }
    let mut count: usize = 0;
    let mut examples = Vec::new();
    let mut look = names.look();
    for (topic, index) in &read.facts.hosted {
        if **topic == *METADATA_LOG || look.find(topic, *index).is_some() {
            continue;
        }
        count = count.saturating_add(1);
        if examples.len() < EXAMPLES {
            examples.push(format!("{topic}-{index}"));
        }
    }
    if count == 0 {
        return None;
    }
    let observed = format!("it hosts {count} partitions that Metadata does not list");
    let mut finding = Finding::new(Reason::TopicsHidden, subject, observed, required);
    finding.count = count;
    finding.examples = examples;
    Some(from(finding))
}

/// Topics whose configuration nobody describes to us, though we see them.
fn undescribed(snapshot: &Snapshot<'_>) -> Option<Finding> {
    let answers = || {
        snapshot
            .all_topic_configs()
            .filter_map(|(_, read)| read.ok())
    };
    let mut hidden: Vec<_> = answers()
        .flat_map(|read| read.facts.hidden.iter())
        .filter(|topic| !answers().any(|read| read.facts.min_insync_replicas.contains_key(*topic)))
        .cloned()
        .collect();
    hidden.sort_unstable();
    hidden.dedup();
    (!hidden.is_empty()).then(|| {
        Finding::new(
            Reason::TopicsHidden,
            Subject::Cluster,
            "topics whose configuration is not described to us",
            "DescribeConfigs on every topic",
        )
        .of_many(hidden)
    })
}

/// No topic at all: proven only by every expected broker's empty log directories.
fn empty(snapshot: &Snapshot<'_>) -> Finding {
    let leftovers = leftovers(snapshot);
    let mut brokers = snapshot
        .brokers()
        .filter(|node| !leftovers.contains(node))
        .peekable();
    let some = brokers.peek().is_some();
    let unproven = brokers.find(|node| {
        let shown = snapshot.log_dirs(*node);
        !shown.is_ok_and(|read| {
            read.facts.readable && !read.facts.dirs.is_empty() && read.facts.hosted.is_empty()
        })
    });
    let required = "empty log directories on every expected broker";
    match unproven {
        None if some => Finding::new(
            Reason::NoPartitions,
            Subject::Cluster,
            "no partition anywhere",
            required,
        ),
        None => Finding::new(
            Reason::EvidenceIncomplete,
            Subject::Cluster,
            "no partition is told of, and no broker is known",
            required,
        ),
        Some(node) => Finding::new(
            Reason::EvidenceIncomplete,
            Subject::Cluster,
            format!("no partition is told of, and broker {node} does not show that it hosts none"),
            required,
        ),
    }
}
