//! Every partition has a leader that is up, a full ISR, and as many in-sync copies as writes
//! need. The ISR counts without nodes that are down: the survivors' tables list a killed broker
//! for nine seconds and more (reference `kafka-lab.md` 5).

use std::collections::BTreeMap;

use crate::evidence::ids::NodeId;
use crate::evidence::partitions::{Partition, Topic};
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::finding::{EXAMPLES, Finding, Judged, Subject};
use super::layout::{Held, Layout};
use super::needs::{Need, list};
use super::reason::{Reason, Severity};

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Partitions),
    Need::Required(FactKind::TopicConfigs),
    Need::Required(FactKind::Moves),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[
    Reason::OfflinePartitions,
    Reason::UnderMinIsr,
    Reason::UnderReplicated,
    Reason::NoSpareReplica,
    Reason::EvidenceStale,
    Reason::EvidenceIncomplete,
    Reason::SourcesDisagree,
    Reason::TopicsHidden,
];

/// `LEADER_NOT_AVAILABLE`: comes with a leader of -1, which is judged by itself.
const LEADER_NOT_AVAILABLE: i16 = 5;
/// `REPLICA_NOT_AVAILABLE`: harmless, old releases say it of partitions with a dead replica.
const REPLICA_NOT_AVAILABLE: i16 = 9;
/// `TOPIC_AUTHORIZATION_FAILED`.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Judges every partition.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.kafka() {
        return Judged::NotApplicable("mode jmx reads no partitions");
    }
    let mut found = Found::default();
    let layout = Layout::of(snapshot);
    for held in layout.rows(snapshot) {
        health(snapshot, &held, &mut found);
        agreement(snapshot, &held, &mut found);
    }
    for (topic, index) in &snapshot.merged.outdated {
        found.add(Reason::EvidenceStale, Severity::Unknown, || {
            let name = format!("{}-{index}", topic.name());
            (
                format!("{name} is told with an epoch older than one already seen"),
                name,
            )
        });
    }
    errors(snapshot, &mut found);
    Judged::from_findings(found.into_findings())
}

/// Leader, ISR and min ISR of one partition.
fn health(snapshot: &Snapshot<'_>, held: &Held<'_, '_>, found: &mut Found) {
    let leader_down = held
        .row
        .leader
        .is_some_and(|leader| snapshot.down.contains(&leader));
    match held.row.leader {
        None => found.about(held, Reason::OfflinePartitions, "no leader"),
        Some(_) if leader_down => {
            found.about(held, Reason::OfflinePartitions, "its leader counts as down");
        }
        Some(_) => {}
    }
    if held.in_sync < held.required {
        found.about(
            held,
            Reason::UnderReplicated,
            "not every replica is in sync and up",
        );
    }
    match held.min_isr {
        None => found.about(
            held,
            Reason::EvidenceIncomplete,
            "min.insync.replicas not known",
        ),
        Some(min) if held.in_sync >= min => {}
        // Fewer replicas than min ISR (possible before 3.7): nothing is missing, writes with
        // acks=all never work. Named here and no more, because it is so with every node up: the
        // what-if weighs it (`policy.structural`) against those who hold it.
        Some(_) if held.is_full() => {
            found.about(held, Reason::NoSpareReplica, "fewer replicas than min ISR");
        }
        Some(_) => found.about(held, Reason::UnderMinIsr, "fewer in sync than min ISR"),
    }
}

/// Whether all tables tell the same of one partition.
fn agreement(snapshot: &Snapshot<'_>, held: &Held<'_, '_>, found: &mut Found) {
    let reason = Reason::SourcesDisagree;
    if !held.row.agreed {
        found.about(
            held,
            reason,
            "brokers differ in leader or replicas at the same epoch",
        );
    }
    // A topic that is being made or deleted differs for a moment; until both tables have it, or
    // neither, nothing vouches for it.
    if held.row.told_by < snapshot.merged.sources.len() {
        found.about(held, reason, "not every broker's table has it");
    }
}

/// Error codes in the tables, of topics and of partitions.
fn errors(snapshot: &Snapshot<'_>, found: &mut Found) {
    for (node, read) in snapshot.partitions() {
        let Ok(read) = read else { continue };
        for topic in read.facts.topics() {
            topic_error(node, topic, found);
            for partition in topic.partitions() {
                partition_error(node, topic, &partition, found);
            }
        }
    }
}

fn topic_error(node: NodeId, topic: Topic<'_>, found: &mut Found) {
    let reason = match topic.error() {
        0 => return,
        TOPIC_AUTHORIZATION_FAILED => Reason::TopicsHidden,
        _ => Reason::EvidenceIncomplete,
    };
    found.add(reason, reason.row().severity, || {
        let (name, error) = (topic.name(), topic.error());
        (
            format!("broker {node} answers Kafka error {error} for {name}"),
            name.to_owned(),
        )
    });
}

fn partition_error(node: NodeId, topic: Topic<'_>, partition: &Partition<'_>, found: &mut Found) {
    match partition.error {
        0 | REPLICA_NOT_AVAILABLE => return,
        LEADER_NOT_AVAILABLE if partition.leader.is_none() => return,
        _ => {}
    }
    let reason = Reason::EvidenceIncomplete;
    found.add(reason, reason.row().severity, || {
        let name = format!("{}-{}", topic.name(), partition.index);
        let error = partition.error;
        (
            format!("broker {node} answers Kafka error {error} for {name}"),
            name,
        )
    });
}

/// Findings by reason: the first in words, all counted, a few named.
#[derive(Default)]
struct Found(BTreeMap<(Reason, Severity), (String, usize, Vec<String>)>);

impl Found {
    fn about(&mut self, held: &Held<'_, '_>, reason: Reason, what: &str) {
        self.add(reason, reason.row().severity, || {
            (describe(held, what), held.row.name())
        });
    }

    /// Words are made only for those that are shown: half the partitions of a cluster may be
    /// here.
    fn add(
        &mut self,
        reason: Reason,
        severity: Severity,
        words: impl FnOnce() -> (String, String),
    ) {
        let (first, count, examples) = self.0.entry((reason, severity)).or_default();
        if examples.len() < EXAMPLES {
            let (observed, name) = words();
            if first.is_empty() {
                *first = observed;
            }
            if !examples.contains(&name) {
                examples.push(name);
            }
        }
        *count = count.saturating_add(1);
    }

    fn into_findings(self) -> Vec<Finding> {
        let rows = self.0.into_iter();
        rows.map(|((reason, severity), (observed, count, examples))| {
            let required = "a leader, every replica in sync, told alike by every broker";
            let mut finding =
                Finding::new(reason, Subject::Cluster, observed, required).at(severity);
            finding.count = count;
            finding.examples = examples;
            finding
        })
        .collect()
    }
}

fn describe(held: &Held<'_, '_>, what: &str) -> String {
    let row = held.row;
    let leader = row
        .leader
        .map_or_else(|| String::from("none"), |node| node.to_string());
    format!(
        "{}: {what} (leader {leader}, replicas [{}], ISR [{}], {} of them up)",
        row.name(),
        list(row.replicas.iter().copied()),
        list(row.isr.iter().copied()),
        held.in_sync,
    )
}
