//! Every in-sync follower has reached what its leader had. An ISR alone proves nothing for 30 s:
//! a stalled follower stays in it for up to 1.5 x `replica.lag.time.max.ms` (reference
//! `how-others-gate-restarts.md` 4.2).

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::facts::{Identity, ReplicaEnd};
use crate::evidence::ids::NodeId;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Snapshot;

use super::finding::{EXAMPLES, Finding, Judged, Subject};
use super::layout::{Held, Layout, Names};
use super::needs::Need;
use super::reason::Reason;

/// Evidence without which nothing is proved here.
pub(super) const NEEDS: &[Need] = &[
    Need::Required(FactKind::Partitions),
    Need::Required(FactKind::Moves),
    Need::Required(FactKind::LogEnds),
];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::ReplicaBehind, Reason::EvidenceIncomplete];

/// Judges every in-sync follower's log end against its leader's earlier one.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.kafka() {
        return Judged::NotApplicable("mode jmx reads no log ends");
    }
    if snapshot
        .merged
        .rows
        .iter()
        .all(|row| row.replicas.len() < 2)
    {
        return Judged::NotApplicable("no partition has a second replica");
    }
    let layout = Layout::of(snapshot);
    let held: Vec<_> = layout.rows(snapshot).collect();
    let reached = reached(snapshot, &held);
    let mut found = Found::default();
    for (held, reached) in held.iter().zip(reached) {
        if reached < followers(held).count() {
            for node in followers(held) {
                found.weigh(snapshot, held, node);
            }
        }
    }
    Judged::from_findings(found.into_findings())
}

/// In-sync replicas that count and are not the leader.
fn followers(held: &Held<'_, '_>) -> impl Iterator<Item = NodeId> {
    let nodes = held.row.replicas.iter().copied();
    nodes.filter(|node| is_follower(held, *node))
}

fn is_follower(held: &Held<'_, '_>, node: NodeId) -> bool {
    held.row.leader != Some(node) && held.row.in_sync(node) && held.counts(node)
}

/// Per partition, how many of its in-sync followers have reached their leader.
fn reached(snapshot: &Snapshot<'_>, held: &[Held<'_, '_>]) -> Vec<usize> {
    let names = Names::of(snapshot);
    let mut reached = vec![0_usize; held.len()];
    for (node, read) in snapshot.all_log_ends() {
        let Ok(read) = read else { continue };
        if !is_proved(snapshot, node) {
            continue;
        }
        let mut look = names.look();
        let mut last = None;
        for end in &read.facts.rows {
            let Some((at, _)) = look.find(&end.topic, end.partition) else {
                continue;
            };
            // Two words of one follower are not two followers.
            let again = last.replace(at) == Some(at);
            let follows = held.get(at).is_some_and(|held| is_follower(held, node));
            if follows
                && !again
                && end.caught_up() == Some(true)
                && let Some(count) = reached.get_mut(at)
            {
                *count = count.saturating_add(1);
            }
        }
    }
    reached
}

/// Whether the connection that told the log ends has shown which node it leads to: another
/// replica's end proves nothing for this one (law 10).
fn is_proved(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    let link = snapshot.link(node);
    link.is_ok_and(|read| read.facts.identity == Identity::Proved)
}

/// Why an end is not known: the replica's own, the leader's, or both.
fn whys(end: &ReplicaEnd) -> String {
    let whys = BTreeSet::from([end.own_end.why(), end.leader_end.why()]);
    let whys: Vec<_> = whys.into_iter().filter(|why| !why.is_empty()).collect();
    whys.join(", ")
}

/// Findings by node and reason: the first in words, all counted, a few named.
#[derive(Default)]
struct Found(BTreeMap<(NodeId, Reason), (String, usize, Vec<String>)>);

impl Found {
    /// Adds what is wrong with one follower of a partition, if something is.
    fn weigh(&mut self, snapshot: &Snapshot<'_>, held: &Held<'_, '_>, node: NodeId) {
        let key = (held.row.topic.name(), held.row.index);
        let ends = snapshot.log_ends(node).ok().map(|read| &read.facts.rows);
        let end = ends.and_then(|rows| {
            let at = rows.binary_search_by(|row| (&*row.topic, row.partition).cmp(&key));
            rows.get(at.ok()?)
        });
        let proved = is_proved(snapshot, node);
        let (reason, observed) = match end.map(|end| (end, end.caught_up())) {
            Some((_, Some(true))) if proved => return,
            Some((_, Some(true))) => (
                Reason::EvidenceIncomplete,
                format!(
                    "{}: told over a connection that does not show whose it is",
                    held.row.name()
                ),
            ),
            Some((end, Some(false))) => (
                Reason::ReplicaBehind,
                format!(
                    "{}: at {} of the leader's {}",
                    held.row.name(),
                    end.own_end.value().copied().unwrap_or_default(),
                    end.leader_end.value().copied().unwrap_or_default(),
                ),
            ),
            Some((end, None)) => (
                Reason::EvidenceIncomplete,
                format!(
                    "{}: its log end is not known: {}",
                    held.row.name(),
                    whys(end)
                ),
            ),
            None => (
                Reason::EvidenceIncomplete,
                format!("{}: its log end is not told", held.row.name()),
            ),
        };
        let (first, count, examples) = self.0.entry((node, reason)).or_default();
        if first.is_empty() {
            *first = observed;
        }
        *count = count.saturating_add(1);
        if examples.len() < EXAMPLES {
            examples.push(held.row.name());
        }
    }

    fn into_findings(self) -> Vec<Finding> {
        let rows = self.0.into_iter();
        rows.map(|((node, reason), (observed, count, examples))| {
            let required = "the end its leader had before";
            let mut finding = Finding::new(reason, Subject::Node(node), observed, required);
            finding.count = count;
            finding.examples = examples;
            finding
        })
        .collect()
    }
}
