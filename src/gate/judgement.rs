//! From an evaluation, and from how judging has gone so far, to a verdict.

use std::collections::{BTreeMap, BTreeSet};

use super::basis::basis;
use super::build;
use super::desk::Standing;
use super::parts::{ReasonView, WindowView, sort, verdict};
use super::question::{Answered, Question};
use super::seen::Seen;
use super::state::State;
use super::view::Decision;
use super::window::{self, Window};
use crate::checks::finding::{Finding, Judged, Subject};
use crate::checks::reason::Reason;
use crate::checks::table::{Evaluation, evaluate};
use crate::checks::what_if::{what_if, what_ifs};
use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::Snapshot;
use crate::time::{Human, Mono, Now};

/// One judgement, before it becomes a view or an answer.
pub(super) struct Judgement {
    pub(super) evaluation: Evaluation,
    /// Findings that concern every node.
    pub(super) general: Vec<Finding>,
    pub(super) window: WindowView,
    /// Nodes that count as down because somebody may have stopped them.
    pub(super) granted: BTreeSet<NodeId>,
}

/// How judging has gone so far.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) window: Window,
    /// Whether an evaluation has had everything it needs since start, or since the clock jumped.
    pub(super) complete: bool,
    /// What is said while it has not.
    pub(super) incomplete_because: Reason,
    /// Since when each finding holds.
    pub(super) first_seen: BTreeMap<(Reason, Subject), Mono>,
}

impl Course {
    /// The beginning.
    pub(super) fn new() -> Self {
        Self {
            window: Window::default(),
            complete: false,
            incomplete_because: Reason::WarmingUp,
            first_seen: BTreeMap::new(),
        }
    }

    /// Begins anew, and says why.
    pub(super) fn begin_anew(&mut self, because: Reason) {
        self.window.reset();
        self.complete = false;
        self.incomplete_because = because;
    }

    /// The window as of an evaluation on every node's own state, leases aside.
    pub(super) fn window(&self, snapshot: &Snapshot<'_>, evaluation: &Evaluation) -> WindowView {
        let now = snapshot.now.mono;
        let policy = snapshot.policy;
        let required = window::required(policy.window, &basis(snapshot, evaluation), now);
        let healthy_for = self.window.healthy_for(now);
        let long_enough = healthy_for.is_some_and(|held| held >= required.length);
        WindowView {
            required: required.length,
            healthy_for,
            settled: long_enough && (policy.window.is_some() || self.window.is_heard_anew()),
            basis: required.basis,
        }
    }

    /// What follows from an evaluation, from the course of judging, and from leases and holds.
    pub(super) fn conclude(
        &self,
        snapshot: &Snapshot<'_>,
        mut evaluation: Evaluation,
        standing: &Standing,
    ) -> Judgement {
        let window = self.window(snapshot, &evaluation);
        let mut general = self.general(snapshot, &evaluation, &window);
        general.extend(standing.general.iter().cloned());
        for (node, finding) in &standing.of_nodes {
            evaluation.speak_against(*node, finding);
        }
        Judgement {
            evaluation,
            general,
            window,
            granted: standing.granted.clone(),
        }
    }

    /// What speaks for and against every node, leases and holds aside.
    pub(super) fn general(
        &self,
        snapshot: &Snapshot<'_>,
        evaluation: &Evaluation,
        window: &WindowView,
    ) -> Vec<Finding> {
        let mut general = build::general_findings(evaluation);
        let healthy = build::healthy(evaluation);
        let explained = build::explained(&general);
        general.extend(self.own_findings(snapshot, window, healthy, explained));
        general
    }

    /// What judging itself has to say, beside the checks.
    fn own_findings(
        &self,
        snapshot: &Snapshot<'_>,
        window: &WindowView,
        healthy: bool,
        explained: bool,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.complete {
            findings.push(Finding::new(
                self.incomplete_because,
                Subject::Cluster,
                "some sources have not been heard yet",
                "every source heard once",
            ));
        }
        // Where nothing else speaks against every node it is said however healthy the rows are: nobody
        // goes without a window.
        if !window.settled && (healthy || !explained) {
            let held = window.healthy_for.unwrap_or_default();
            let waits = build::oldest(snapshot).filter(|_| held >= window.required);
            let waits = waits.map_or_else(String::new, |report| {
                format!(", {} of {} not heard since", report.kind, report.source)
            });
            findings.push(Finding::new(
                Reason::Settling,
                Subject::Cluster,
                format!("healthy for {}{waits}", Human(held)),
                format!("healthy for {} ({})", Human(window.required), window.basis),
            ));
        }
        // Not healthy and no check says why: a bug of ours, which must not read as open.
        if !healthy && !explained {
            findings.push(Finding::new(
                Reason::EngineFailed,
                Subject::Cluster,
                "no check has judged",
                "every check judges",
            ));
        }
        findings
    }

    /// The verdict on a question as of now, and whether all the evidence it asks for is there.
    pub(super) fn decide(
        &self,
        seen: &Seen,
        standing: &Standing,
        now: Now,
        question: &Question,
    ) -> (Answered, bool) {
        let newer = question.newer_than.map(|after| seen.newer_than(after));
        let reports = newer.as_ref().unwrap_or(&seen.reports);
        let snapshot = seen.snapshot_of(now, &BTreeSet::new(), reports);
        if let Some(strangers) = self.strangers(&snapshot, &question.nodes) {
            return (Answered::NoSuchNodes(strangers), true);
        }
        let with_leases = (!standing.granted.is_empty())
            .then(|| seen.snapshot_of(now, &standing.granted, reports));
        let with_leases = with_leases.as_ref().unwrap_or(&snapshot);
        let judgement = self.conclude(&snapshot, evaluate(&snapshot, with_leases), standing);
        let lacks = build::lacks_evidence(&judgement.evaluation);
        let nodes = &question.nodes;
        let judged = (!nodes.is_empty()).then(|| what_if(with_leases, nodes));
        let decision = self.of_set(now, &judgement, standing, nodes, judged);
        let enough = question.newer_than.is_none() || !lacks || decision.state == State::Closed;
        let evaluated = now;
        (
            Answered::Decided {
                decision,
                evaluated,
            },
            enough,
        )
    }

    /// The verdict on each of these sets of nodes as of now: one evaluation for all of them.
    pub(super) fn decide_each(
        &self,
        seen: &Seen,
        standing: &Standing,
        now: Now,
        sets: &[BTreeSet<NodeId>],
    ) -> Vec<Answered> {
        let snapshot = seen.snapshot(now, &BTreeSet::new());
        let with_leases =
            (!standing.granted.is_empty()).then(|| seen.snapshot(now, &standing.granted));
        let with_leases = with_leases.as_ref().unwrap_or(&snapshot);
        let judgement = self.conclude(&snapshot, evaluate(&snapshot, with_leases), standing);
        let answer = |(nodes, judged): (&BTreeSet<NodeId>, _)| {
            if let Some(strangers) = self.strangers(&snapshot, nodes) {
                return Answered::NoSuchNodes(strangers);
            }
            let judged = Some(judged).filter(|_| !nodes.is_empty());
            Answered::Decided {
                decision: self.of_set(now, &judgement, standing, nodes, judged),
                evaluated: now,
            }
        };
        let judged = what_ifs(with_leases, sets);
        sets.iter().zip(judged).map(answer).collect()
    }

    /// The verdict on "these nodes stop now", of which the what-if says this; without one, the verdict
    /// without a target.
    fn of_set(
        &self,
        now: Now,
        judgement: &Judgement,
        standing: &Standing,
        nodes: &BTreeSet<NodeId>,
        judged: Option<Judged>,
    ) -> Decision {
        let mut findings = judgement.general.clone();
        match judged {
            None => findings.extend(build::what_if_findings(&judgement.evaluation)),
            Some(judged) => {
                findings.extend(judged.findings().into_iter().cloned());
                let held = standing.of_nodes.iter();
                let held = held.filter(|(node, _)| nodes.contains(node));
                findings.extend(held.map(|(_, finding)| finding.clone()));
            }
        }
        self.decision(now, &findings)
    }

    /// Nodes that nobody expects. Before everybody has been heard nobody is a stranger: the
    /// what-if says unknown.
    pub(super) fn strangers(
        &self,
        snapshot: &Snapshot<'_>,
        nodes: &BTreeSet<NodeId>,
    ) -> Option<BTreeSet<NodeId>> {
        let strangers: BTreeSet<_> = nodes
            .iter()
            .copied()
            .filter(|node| !snapshot.expected.contains_key(node))
            .collect();
        (!strangers.is_empty() && self.complete).then_some(strangers)
    }

    /// The verdict that these findings make, with them as they are shown.
    pub(super) fn decision(&self, now: Now, findings: &[Finding]) -> Decision {
        let since = |finding: &Finding| {
            let key = (finding.reason, finding.subject.clone());
            now.wall_of(self.first_seen.get(&key).copied().unwrap_or(now.mono))
        };
        let mut reasons: Vec<ReasonView> = findings
            .iter()
            .map(|finding| build::reason(finding, since(finding)))
            .collect();
        sort(&mut reasons);
        Decision {
            state: verdict(findings.iter().map(|finding| finding.severity)),
            reasons,
        }
    }
}
