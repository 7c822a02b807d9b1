//! "These nodes stop now": what that does to every partition they hold and to the quorum, with
//! everything that is down already taken away (DESIGN 4.4).

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::ids::{NodeId, Role};
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::snapshot::{Absent, ClusterKind, Snapshot};
use crate::evidence::voters::{self, SLACK};
use crate::time::Human;

use super::barred::Doubt;
use super::broker_state;
use super::finding::{EXAMPLES, Finding, Judged, Subject};
use super::layout::{Held, Layout};
use super::needs::{Need, list, unmet};
use super::reason::{Reason, Severity};
use super::risk::{Stop, severity};
use super::sets::Sets;
use super::unseen::unseen;

/// Evidence without which nothing can be said about any node.
pub const NEEDS: &[Need] = &[
    Need::Required(FactKind::Link),
    Need::Required(FactKind::Cluster),
    Need::Required(FactKind::Partitions),
    Need::Required(FactKind::TopicConfigs),
    Need::Required(FactKind::Moves),
    Need::Required(FactKind::Quorum),
];

/// What the row can find.
pub const REASONS: &[Reason] = &[
    Reason::WouldGoOffline,
    Reason::WouldLoseMinIsr,
    Reason::WouldLeaveLastCopy,
    Reason::WouldStopReassignment,
    Reason::WouldLoseQuorum,
    Reason::SingleReplica,
    Reason::NoSpareReplica,
    Reason::LastCopyByDesign,
    Reason::InternalTopicAtRisk,
    Reason::SingleVoter,
    Reason::TwoVoters,
    Reason::EvidenceIncomplete,
    Reason::NoWhatIf,
];

/// The row of the table: every expected node may go.
pub fn run(snapshot: &Snapshot<'_>) -> Judged {
    all(&every_node(snapshot))
}

/// All nodes' answers as one.
pub fn all(nodes: &BTreeMap<NodeId, Judged>) -> Judged {
    let mut findings: Vec<Finding> = Vec::new();
    for finding in nodes.values().flat_map(Judged::findings) {
        // What every node says (no evidence, no what-if in this mode) is said once.
        if !findings.contains(finding) {
            findings.push(finding.clone());
        }
    }
    Judged::from_findings(findings)
}

/// May these nodes stop now, all of them together?
pub fn what_if(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>) -> Judged {
    Doubt::of(snapshot).judge(|snapshot| {
        let found = of_partitions(snapshot, std::slice::from_ref(stop));
        let found = found.into_iter().map(|(_, finding)| finding);
        judged(snapshot, &unmet(snapshot, NEEDS), stop, found)
    })
}

/// The same for each of these sets, with none of the others stopped, in one pass over the partitions.
pub fn what_ifs(snapshot: &Snapshot<'_>, sets: &[BTreeSet<NodeId>]) -> Vec<Judged> {
    Doubt::of(snapshot).judge_each(|snapshot| {
        let unmet = unmet(snapshot, NEEDS);
        let mut found = of_partitions(snapshot, sets).into_iter().peekable();
        let judge = |(slot, stop)| {
            let of_set = std::iter::from_fn(|| found.next_if(|(of, _)| *of == slot));
            let of_set: Vec<_> = of_set.map(|(_, finding)| finding).collect();
            judged(snapshot, &unmet, stop, of_set)
        };
        sets.iter().enumerate().map(judge).collect()
    })
}

/// May this node stop now? For every expected node.
pub fn every_node(snapshot: &Snapshot<'_>) -> BTreeMap<NodeId, Judged> {
    let nodes: Vec<NodeId> = snapshot.expected.keys().copied().collect();
    let sets: Vec<_> = nodes.iter().map(|node| BTreeSet::from([*node])).collect();
    nodes.into_iter().zip(what_ifs(snapshot, &sets)).collect()
}

/// All that speaks against the stop of a set of nodes, with what it does to partitions.
fn judged(
    snapshot: &Snapshot<'_>,
    unmet: &[Finding],
    stop: &BTreeSet<NodeId>,
    of_partitions: impl IntoIterator<Item = Finding>,
) -> Judged {
    if let Some(limited) = limited(snapshot) {
        let of_set = strangers(snapshot, stop).or_else(|| too_many(snapshot, stop));
        return Judged::from_findings(vec![of_set.unwrap_or(limited)]);
    }
    let mut findings = unmet.to_vec();
    findings.extend(strangers(snapshot, stop));
    findings.extend(of_partitions);
    findings.extend(quorum(snapshot, stop, &Subject::of_nodes(stop)));
    Judged::from_findings(findings)
}

/// Would stopping these nodes make anything worse than it is? Partitions of which they hold no copy
/// by anybody's word are left aside, and so is a quorum in which they do not count: nodes that are down
/// already can be repaired however bad the rest is. What living brokers serve has to be seen.
///
/// Of two tables of one leader epoch the smaller ISR counts for the copies that are left. For those that
/// are to be stopped that would be the side that permits: a broker that is cut off from the controllers
/// goes on telling that one is out of sync which is back since. Found by the simulation.
pub fn worse(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>) -> Judged {
    if let Some(limited) = limited(snapshot) {
        let alive = strangers(snapshot, stop).or_else(|| not_ended(snapshot, stop));
        return Judged::from_findings(vec![alive.unwrap_or(limited)]);
    }
    let mut findings = unmet(snapshot, NEEDS);
    findings.extend(strangers(snapshot, stop));
    let layout = Layout::of(snapshot);
    let mut found = Found::default();
    for held in layout.rows(snapshot) {
        if stop.iter().any(|node| held.may_be_copy(snapshot, *node)) {
            found.weigh(snapshot, &held, stop, 0);
        }
    }
    let found = found.into_findings(|_| Subject::Cluster);
    findings.extend(found.into_iter().map(|(_, finding)| finding));
    findings.extend(unseen(snapshot, stop));
    if stop.iter().any(|node| !snapshot.down.contains(node)) {
        findings.extend(quorum(snapshot, stop, &Subject::Cluster));
    }
    Judged::from_findings(findings)
}

/// What stopping each of these sets does to partitions, in the order of their places among the sets.
fn of_partitions(snapshot: &Snapshot<'_>, sets: &[BTreeSet<NodeId>]) -> Vec<(usize, Finding)> {
    let layout = Layout::of(snapshot);
    let slots = Sets::of(sets);
    let mut found = Found::default();
    for held in layout.rows(snapshot) {
        match held.moving {
            // Its replicas are all that it touches, and where any one of them may go only who stops
            // several has to be looked at.
            None => {
                let alone = is_harmless(snapshot, &held);
                slots.each_with(&held, alone, |slot, set| {
                    found.weigh(snapshot, &held, set, slot);
                });
            }
            Some(_) => {
                for (slot, set) in sets.iter().enumerate() {
                    found.weigh(snapshot, &held, set, slot);
                }
            }
        }
    }
    found.into_findings(|slot| sets.get(slot).map_or(Subject::Cluster, Subject::of_nodes))
}

/// In mode `jmx` there are no partitions to look at, and it says so.
fn limited(snapshot: &Snapshot<'_>) -> Option<Finding> {
    (!snapshot.policy.mode.kafka()).then(|| no_what_if("mode jmx reads no partitions"))
}

fn no_what_if(observed: impl Into<String>) -> Finding {
    let required = "partitions read over the Kafka protocol";
    Finding::new(Reason::NoWhatIf, Subject::Cluster, observed, required)
}

/// In mode `jmx`: that all is healthy says something of one node's stop, of two brokers at once
/// nothing, and nothing of controllers without which no majority of the known ones is left.
fn too_many(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>) -> Option<Finding> {
    let brokers = snapshot.brokers().filter(|node| stop.contains(node));
    let (mut all, mut left, mut controllers) = (0_usize, 0_usize, 0_usize);
    for node in snapshot.controllers() {
        let stopped = stop.contains(&node);
        let stays = !stopped && !snapshot.down.contains(&node);
        all = all.saturating_add(1);
        controllers = controllers.saturating_add(usize::from(stopped));
        left = left.saturating_add(usize::from(stays));
    }
    let observed = if brokers.count() > 1 {
        "mode jmx does not show what several brokers hold together"
    } else if controllers > 1 && left.saturating_mul(2) <= all {
        "these controllers leave no majority of the known ones"
    } else {
        return None;
    };
    Some(no_what_if(observed).at(Severity::Unknown))
}

/// In mode `jmx` nothing tells what a node that may live holds up: it can be repaired only where its
/// exporter's port is shut, or where its page says that it serves nothing yet.
fn not_ended(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>) -> Option<Finding> {
    let serves_nothing = |node: NodeId| match snapshot.jmx(node) {
        // An exporter that only hangs up belongs to a process that lives.
        Err(Absent::Failed(failure)) => failure.class == FailureClass::Refused,
        Err(Absent::Missing | Absent::Stale { .. }) => false,
        Ok(page) => {
            let role = snapshot.expected.get(&node).map(|expected| expected.role);
            role == Some(Role::BROKER) && broker_state::is_starting(page.facts)
        }
    };
    let alive: Vec<_> = stop.iter().filter(|node| !serves_nothing(**node)).collect();
    (!alive.is_empty()).then(|| {
        let nodes = list(alive.into_iter().copied());
        let observed = format!("mode jmx does not show what [{nodes}] hold up, and they may live");
        no_what_if(observed).at(Severity::Unknown)
    })
}

/// Nodes nobody knows: what stopping them does cannot be said.
fn strangers(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>) -> Option<Finding> {
    let unknown: Vec<_> = stop
        .iter()
        .filter(|node| !snapshot.expected.contains_key(node))
        .copied()
        .collect();
    (stop.is_empty() || !unknown.is_empty()).then(|| {
        Finding::new(
            Reason::EvidenceIncomplete,
            Subject::Cluster,
            format!("no such node is known: [{}]", list(unknown)),
            "nodes that are registered, configured or were seen before",
        )
    })
}

/// Whether any one replica of this partition may go without even a warning: the usual case, kept
/// cheap.
fn is_harmless(snapshot: &Snapshot<'_>, held: &Held<'_, '_>) -> bool {
    held.is_full()
        && held.min_isr.is_some()
        && stop(held, 1, held.in_sync.saturating_sub(1))
            .risk(snapshot.policy)
            .is_none()
}

fn stop(held: &Held<'_, '_>, stopped: usize, left: usize) -> Stop {
    Stop {
        required: held.required,
        stopped,
        in_sync: held.in_sync,
        left,
        has_leader: held.row.leader.is_some(),
        min_isr: held.min_isr,
        internal: held.row.topic.is_internal(),
    }
}

/// Findings by slot (one per node, or one for a whole set), reason and severity.
#[derive(Default)]
struct Found(BTreeMap<(usize, Reason, Severity), Seen>);

#[derive(Default)]
struct Seen {
    count: usize,
    examples: Vec<String>,
    first: String,
}

impl Found {
    /// Judges one partition under the stop of a set of nodes.
    fn weigh(
        &mut self,
        snapshot: &Snapshot<'_>,
        held: &Held<'_, '_>,
        set: &BTreeSet<NodeId>,
        slot: usize,
    ) {
        if held.moving.is_some() && set.iter().any(|node| held.touches(*node)) {
            self.add(
                slot,
                Reason::WouldStopReassignment,
                Severity::Block,
                held,
                set,
            );
        }
        let stopped = set.iter().filter(|node| held.counts(**node)).count();
        if stopped == 0 {
            return;
        }
        if held.min_isr.is_none() {
            self.add(
                slot,
                Reason::EvidenceIncomplete,
                Severity::Unknown,
                held,
                set,
            );
        }
        let copies = set.iter().filter(|node| held.is_copy(snapshot, **node));
        let left = held.in_sync.saturating_sub(copies.count());
        if let Some((reason, severity)) = stop(held, stopped, left).risk(snapshot.policy) {
            self.add(slot, reason, severity, held, set);
        }
    }

    fn add(
        &mut self,
        slot: usize,
        reason: Reason,
        severity: Severity,
        held: &Held<'_, '_>,
        set: &BTreeSet<NodeId>,
    ) {
        let seen = self.0.entry((slot, reason, severity)).or_default();
        if seen.count == 0 {
            seen.first = describe(held, reason, set);
        }
        seen.count = seen.count.saturating_add(1);
        if seen.examples.len() < EXAMPLES {
            seen.examples.push(held.row.name());
        }
    }

    fn into_findings(self, subject: impl Fn(usize) -> Subject) -> Vec<(usize, Finding)> {
        let rows = self.0.into_iter();
        rows.map(|((slot, reason, severity), seen)| {
            let mut finding =
                Finding::new(reason, subject(slot), seen.first, required(reason)).at(severity);
            finding.count = seen.count;
            finding.examples = seen.examples;
            (slot, finding)
        })
        .collect()
    }
}

fn describe(held: &Held<'_, '_>, reason: Reason, set: &BTreeSet<NodeId>) -> String {
    let row = held.row;
    let name = row.name();
    if reason == Reason::EvidenceIncomplete {
        return format!("min.insync.replicas of {} is not known", row.topic.name());
    }
    if reason == Reason::WouldStopReassignment {
        return format!("{name} is being moved");
    }
    let min = held
        .min_isr
        .map_or_else(|| String::from("unknown"), |min| min.to_string());
    format!(
        "{name}: replicas [{}], in sync [{}], min ISR {min}, {} copies up before [{}] stops",
        list(row.replicas.iter().copied()),
        list(row.isr.iter().copied()),
        held.in_sync,
        list(set.iter().copied()),
    )
}

/// What would be right, per reason that this file finds.
fn required(reason: Reason) -> &'static str {
    if reason == Reason::WouldStopReassignment {
        "no running reassignment on this node"
    } else if reason == Reason::EvidenceIncomplete {
        "min.insync.replicas of every topic the node holds"
    } else if reason == Reason::WouldGoOffline || reason == Reason::SingleReplica {
        "another in-sync copy"
    } else if reason == Reason::WouldLeaveLastCopy || reason == Reason::LastCopyByDesign {
        "two in-sync copies left"
    } else {
        "min.insync.replicas in-sync copies left"
    }
}

/// A majority of *all* voters has to be caught up without the set and without what is down.
fn quorum(snapshot: &Snapshot<'_>, stop: &BTreeSet<NodeId>, subject: &Subject) -> Option<Finding> {
    // Where the kind is not known nothing is left out: a quorum that answers is judged.
    if snapshot.kind == ClusterKind::ZooKeeper {
        return None;
    }
    let facts = voters::newest(snapshot)?.facts;
    let ready = |node: NodeId| {
        let voter = facts.voters.iter().find(|voter| voter.node == node);
        let behind = voter.and_then(|voter| voters::behind(facts, voter));
        behind.is_some_and(|behind| behind <= SLACK) && !snapshot.down.contains(&node)
    };
    let all = facts.voters.len();
    let stopped = facts
        .voters
        .iter()
        .filter(|v| stop.contains(&v.node))
        .count();
    if stopped == 0 {
        return None;
    }
    let up = facts.voters.iter().filter(|v| ready(v.node)).count();
    let left = facts
        .voters
        .iter()
        .filter(|v| ready(v.node) && !stop.contains(&v.node))
        .count();
    let majority = (all / 2).saturating_add(1);
    if left >= majority {
        return None;
    }
    let design = match all {
        1 => Some(Reason::SingleVoter),
        2 => Some(Reason::TwoVoters),
        _ => None,
    };
    let structural = severity(snapshot.policy.structural);
    // Two voters at once are the caller's doing, as two replicas are.
    let degraded = if stopped > 1 {
        Severity::Block
    } else {
        severity(snapshot.policy.degraded)
    };
    let (reason, severity) = match design {
        Some(reason) if up == all && stopped == 1 => (reason, structural),
        Some(_) => (Reason::WouldLoseQuorum, degraded.max(structural)),
        None => (Reason::WouldLoseQuorum, degraded),
    };
    let names = list(facts.voters.iter().map(|voter| voter.node));
    let caught_up = list(
        facts
            .voters
            .iter()
            .map(|v| v.node)
            .filter(|node| ready(*node)),
    );
    Some(
        Finding::new(
            reason,
            subject.clone(),
            format!(
                "voters [{names}], caught up within {} and up: [{caught_up}]; {left} left",
                Human(SLACK)
            ),
            format!("{majority} caught-up voters left"),
        )
        .at(severity),
    )
}
