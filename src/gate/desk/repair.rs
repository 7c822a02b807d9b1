//! Whether a repair may begin.

use std::collections::BTreeSet;

use super::gone::{has_leader, is_todays};
use super::sight::{Sight, unanswered};
use super::waits::Waits;
use super::{Desk, Next, Scene, Standing};
use crate::checks::finding::{Finding, Subject};
use crate::checks::reason::Reason;
use crate::checks::unheard::unheard;
use crate::checks::what_if::worse;
use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::Snapshot;
use crate::gate::lease::LeaseId;
use crate::gate::question::{Answered, Repair, Reply};
use crate::gate::view::Decision;

impl Desk {
    /// Answers whether a repair may begin, as whoever takes its lease would be answered; nothing is taken.
    pub(super) fn consider_repair(
        &self,
        scene: &Scene<'_, '_>,
        repair: Repair,
        over: bool,
    ) -> Next {
        if let Some(strangers) = scene.course.strangers(scene.snapshot, &repair.nodes) {
            return Next::Answer(Reply::Verdict(Answered::NoSuchNodes(strangers)));
        }
        let taken_over = self.leases_on(&repair.nodes);
        let aside = self.aside(scene.snapshot, &repair.nodes, taken_over);
        let standing = self.standing(scene.now, &aside);
        let (decision, enough) = Self::repair(scene, &repair, &standing, over);
        if !enough && !over {
            return Next::Wait(Waits::Advice(repair));
        }
        Next::Answer(Reply::Verdict(Answered::Decided {
            decision,
            evaluated: scene.now,
        }))
    }

    /// The leases on any of these nodes, which a repair of them takes over.
    pub(super) fn leases_on(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<LeaseId> {
        let leases = self.leases().into_values();
        let touched = leases.filter(|lease| !lease.nodes.is_disjoint(nodes));
        touched.map(|lease| lease.id).collect()
    }

    /// The verdict on a repair, and whether enough was asked for since the request. It may begin
    /// when it makes nothing worse: its nodes have gone, or what stopping them does is harmless. One
    /// that only counts as down, because we cannot talk to it, is judged as if it were up: it may lead.
    ///
    /// By newer words and by all that are in date: where no row tells of a copy, or nobody has a broker
    /// in service, the one who would say so may only not have answered yet.
    pub(super) fn repair(
        scene: &Scene<'_, '_>,
        repair: &Repair,
        standing: &Standing,
        over: bool,
    ) -> (Decision, bool) {
        let reports = scene.seen.newer_than(repair.asked);
        let newer = |granted: &_| scene.seen.snapshot_of(scene.now, granted, &reports);
        let snapshot = newer(&BTreeSet::new());
        let sight = Sight::new(&snapshot, scene.snapshot, repair.asked);
        let nodes = repair.nodes.iter().copied();
        let gone: BTreeSet<NodeId> = nodes.filter(|node| sight.is_gone(*node)).collect();
        let all_gone = gone.len() == repair.nodes.len();
        let mut findings: Vec<Finding> = standing
            .general
            .iter()
            // Another node that is out does not stand in the way of the cure of one that is down.
            .filter(|finding| !(all_gone && finding.reason == Reason::SlotTaken))
            .cloned()
            .collect();
        let holds = standing.of_nodes.iter();
        let holds = holds.filter(|(node, _)| repair.nodes.contains(node));
        findings.extend(holds.map(|(_, finding)| finding.clone()));
        let enough = over || sight.is_heard(!all_gone);
        if !enough {
            findings.push(unanswered());
        }
        if enough && !all_gone {
            let lives = |node: &&NodeId| !standing.granted.contains(node) && !gone.contains(node);
            let alive = repair.nodes.iter().filter(lives).copied().collect();
            let all = scene.seen.snapshot(scene.now, &standing.granted);
            for with_leases in [newer(&standing.granted), all] {
                for finding in judged(&with_leases, repair, &alive) {
                    if !findings.contains(&finding) {
                        findings.push(finding);
                    }
                }
            }
        }
        (scene.course.decision(scene.now, &findings), enough)
    }
}

/// What speaks against a repair by this snapshot, in which leased nodes are down. Those of its nodes that
/// may live count as up; who is to be repaired may be unheard himself.
fn judged(snapshot: &Snapshot<'_>, repair: &Repair, alive: &BTreeSet<NodeId>) -> Vec<Finding> {
    let unheard = unheard(snapshot);
    let others = unheard.difference(&repair.nodes).copied();
    let worse = worse(&snapshot.with_up(alive).with_down(others), &repair.nodes);
    let old = of_before(snapshot, alive, &unheard).into_iter();
    old.chain(worse.findings().into_iter().cloned()).collect()
}

/// What shows that the tables by which these nodes are judged, which may live, may be of before. Asked of
/// whoever may serve partitions; a controller is judged by what it answers itself.
fn of_before(
    snapshot: &Snapshot<'_>,
    alive: &BTreeSet<NodeId>,
    unheard: &BTreeSet<NodeId>,
) -> Option<Finding> {
    let serves = |node: &NodeId| {
        let role = snapshot.expected.get(node).map(|expected| expected.role);
        role.is_none_or(|role| role.broker)
    };
    if !snapshot.policy.mode.kafka() || !alive.iter().any(serves) {
        return None;
    }
    let todays = is_todays(snapshot, unheard);
    let tables = &snapshot.merged.sources;
    let (reason, observed) = if !todays && !has_leader(snapshot) {
        (
            Reason::NoActiveController,
            "no broker that tells of the cluster tells of an active controller: what they tell may be old",
        )
    } else if !todays {
        (
            Reason::EvidenceStale,
            "every broker that tells of the cluster lags behind its controllers",
        )
    } else if tables.iter().all(|broker| unheard.contains(broker)) && !tables.is_empty() {
        (
            Reason::EvidenceStale,
            "every broker that tells of partitions lags behind its controllers",
        )
    } else {
        return None;
    };
    let required =
        "tables of a broker that its controllers hear; repair those first where they are out";
    Some(Finding::new(reason, Subject::Cluster, observed, required))
}
