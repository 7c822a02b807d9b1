//! Inputs, effects, and the machine between them. It awaits nothing: a commit is an effect, its
//! result an input, one in flight per gate. Every deadline is data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::basis::basis;
use super::build;
use super::doc::{GateDoc, Revision, Stored};
use super::keep::{CommitId, Keeper};
use super::parts::{ReasonView, ViewParts, WindowView, verdict};
use super::question::{Command, PATIENCE, Question, Reply, Ticket, Waiting, newer_reports};
use super::state::{GateName, State};
use super::view::{Decision, View};
use super::window::{self, Window};
use crate::checks::finding::{Finding, Subject};
use crate::checks::reason::Reason;
use crate::checks::table::{Evaluation, evaluate};
use crate::checks::what_if::what_if;
use crate::evidence::facts::Facts;
use crate::evidence::memory::Memory;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::policy::Policy;
use crate::evidence::report::{FactKind, Report, SourceId};
use crate::evidence::snapshot::{ClusterKind, Reports, Snapshot};
use crate::time::{Human, Mono, Now, Timestamp};

/// A published view is true for this long at most, whatever its evidence: the engine has to show
/// that it lives.
const LONGEST_VALIDITY: Duration = Duration::from_secs(2);

/// How far wall and boot clock may drift apart between two steps before the wall clock counts as
/// set by somebody.
const CLOCK_JUMP: Duration = Duration::from_secs(1);

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// New reports, and slots that nobody asks about any more.
    Evidence {
        /// The newest report of each slot that changed.
        reports: Vec<Report>,
        /// Slots to forget: a broker that is no longer asked for metadata, a retired source.
        dropped: Vec<(SourceId, FactKind)>,
    },
    /// Somebody asks.
    Ask(Ticket, Command),
    /// What became of a write.
    Stored(CommitId, Stored),
    /// The policy changed.
    Policy(Arc<Policy>),
    /// A deadline came.
    Wake,
}

/// What has to be done.
#[derive(Debug)]
pub enum Effect {
    /// Make this durable, if the stored revision is still the expected one.
    Commit {
        /// Which write.
        id: CommitId,
        /// The revision it builds on.
        expect: Revision,
        /// The new document.
        doc: GateDoc,
    },
    /// Answer a question.
    Reply(Ticket, Reply),
    /// Publish a view.
    Publish(Arc<View>),
    /// Have this asked for at once.
    Refresh(Wanted),
}

/// Evidence that is wanted sooner than its pace brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Liveness, metadata and quorum: somebody asks for evidence newer than now.
    Quick,
    /// All there is: what was held counts no more.
    Everything,
}

/// One gate's judgement over time. See the module's words.
#[derive(Debug)]
pub struct Machine {
    gate: GateName,
    policy: Arc<Policy>,
    memory: Memory,
    reports: Reports,
    generation: u64,
    window: Window,
    /// Whether an evaluation has had everything it needs since start, or since the clock jumped.
    complete: bool,
    /// What is said while it has not.
    incomplete_because: Reason,
    first_seen: BTreeMap<(Reason, Subject), Mono>,
    state: State,
    since: Timestamp,
    transitions: BTreeMap<State, u64>,
    last_step: Option<Now>,
    valid_until: Mono,
    settled_at: Option<Mono>,
    waiting: Vec<Waiting>,
    keeper: Keeper,
}

/// One judgement, before it becomes a view or an answer.
pub(super) struct Judgement {
    pub(super) evaluation: Evaluation,
    /// Findings that concern every node.
    pub(super) general: Vec<Finding>,
    pub(super) window: WindowView,
}

impl Machine {
    /// A machine that goes on from what the store has. The window starts at zero.
    pub fn restore(
        gate: GateName,
        policy: Arc<Policy>,
        revision: Revision,
        doc: GateDoc,
        now: Now,
    ) -> Self {
        let mut memory = Memory::new(now.mono, doc.known_nodes.clone());
        memory.cluster_id.clone_from(&doc.cluster_id);
        Self {
            gate,
            policy,
            memory,
            reports: Reports::new(),
            generation: 0,
            window: Window::default(),
            complete: false,
            incomplete_because: Reason::WarmingUp,
            first_seen: BTreeMap::new(),
            state: State::Unknown,
            since: now.wall,
            transitions: BTreeMap::new(),
            last_step: None,
            valid_until: now.mono,
            settled_at: None,
            waiting: Vec::new(),
            keeper: Keeper::new(revision, doc),
        }
    }

    /// Takes in one input and says what has to be done.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        self.notice_clock_jump(now, out);
        match input {
            Input::Evidence { reports, dropped } => {
                for slot in dropped {
                    self.reports.remove(&slot);
                }
                for report in reports {
                    self.take_in(report);
                }
            }
            Input::Ask(ticket, Command::Decide(question)) => self.ask(now, ticket, question, out),
            Input::Stored(id, result) => self.stored(now, id, result),
            Input::Policy(policy) => {
                self.policy = policy;
                self.window.reset();
            }
            Input::Wake => {}
        }
        self.judge(now, out);
        self.answer_waiting(now, out);
        self.remember(now, out);
    }

    /// The next moment at which something changes without an input.
    pub fn next_deadline(&self) -> Option<Mono> {
        let last = self.last_step?.mono;
        // An evaluation that was already past its end is repeated at a walking pace: new evidence
        // wakes the engine by itself. One that is still true is repeated as soon as it is not, or
        // readers would be told that it expired.
        let expiry = if self.valid_until > last {
            self.valid_until
        } else {
            last.plus(Duration::from_millis(100))
        };
        let questions = self.waiting.iter().map(|waiting| waiting.until);
        questions
            .chain(self.settled_at)
            .chain(self.keeper.retry())
            .chain([expiry])
            .min()
    }

    fn notice_clock_jump(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(before) = self.last_step.replace(now) else {
            return;
        };
        let boot = i128::from(now.mono.as_nanos()) - i128::from(before.mono.as_nanos());
        let wall = i128::from(now.wall.as_nanos()) - i128::from(before.wall.as_nanos());
        if (boot - wall).unsigned_abs() > CLOCK_JUMP.as_nanos() {
            self.reports.clear();
            self.window.reset();
            self.complete = false;
            self.incomplete_because = Reason::ClockJumped;
            out.push(Effect::Refresh(Wanted::Everything));
        }
    }

    /// The newest report of a slot wins. An answer to a question asked before the one that is
    /// already there is old news: a late answer never covers a death notice.
    fn take_in(&mut self, report: Report) {
        let slot = (report.source.clone(), report.kind);
        if self
            .reports
            .get(&slot)
            .is_some_and(|held| held.asked > report.asked)
        {
            return;
        }
        self.memory.observe(&report);
        self.reports.insert(slot, report);
    }

    fn ask(&mut self, now: Now, ticket: Ticket, question: Question, out: &mut Vec<Effect>) {
        if question.newer_than.is_some() {
            out.push(Effect::Refresh(Wanted::Quick));
        }
        let until = now.mono.plus(PATIENCE);
        self.waiting.push(Waiting {
            ticket,
            question,
            until,
        });
    }

    fn judge(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.generation = self.generation.saturating_add(1);
        let granted = BTreeSet::new();
        let snapshot = Snapshot::new(
            self.generation,
            now,
            &self.policy,
            &self.memory,
            &granted,
            &self.reports,
        );
        let evaluation = evaluate(&snapshot);
        // Without any fresh evidence the verdict is not open, and what is said stays true.
        let longest = now.mono.plus(LONGEST_VALIDITY);
        let valid_until = snapshot
            .fresh_until()
            .map_or(longest, |until| until.min(longest));
        self.complete = self.complete || !build::waits_for_somebody(&snapshot, &evaluation);
        self.window
            .beat(build::beat(&snapshot, &evaluation), valid_until);
        let judgement = self.conclude(&snapshot, evaluation);

        let mut names = BTreeSet::new();
        let mut view = build::parts(&snapshot, &judgement, |finding| {
            let key = (finding.reason, finding.subject.clone());
            let first = *self.first_seen.entry(key.clone()).or_insert(now.mono);
            names.insert(key);
            now.wall_of(first)
        });
        self.first_seen.retain(|key, _| names.contains(key));

        if view.state != self.state {
            self.state = view.state;
            self.since = now.wall;
            *self.transitions.entry(view.state).or_insert(0) += 1;
        }
        self.valid_until = valid_until;
        self.settled_at = judgement
            .window
            .left()
            .filter(|left| !left.is_zero())
            .map(|left| now.mono.plus(left));
        view.gate = self.gate.clone();
        view.since = self.since;
        view.transitions = self.transitions.clone();
        view.valid_until = valid_until;
        if view.cluster.kind == ClusterKind::ZooKeeper
            && let Some(controller) = view.cluster.controller
        {
            self.memory
                .observe_zookeeper_controller(controller, now.mono);
        }
        self.forget_deleted_topics();
        out.push(Effect::Publish(Arc::new(View::new(view))));
    }

    /// What follows from an evaluation and the Machine's own history.
    fn conclude(&self, snapshot: &Snapshot<'_>, evaluation: Evaluation) -> Judgement {
        let now = snapshot.now.mono;
        let required = window::required(self.policy.window, &basis(snapshot, &evaluation), now);
        let healthy_for = self.window.healthy_for(now);
        let long_enough = healthy_for.is_some_and(|held| held >= required.length);
        let window = WindowView {
            required: required.length,
            healthy_for,
            settled: long_enough && (self.policy.window.is_some() || self.window.is_heard_anew()),
            basis: required.basis,
        };
        let mut general = build::general_findings(&evaluation);
        let healthy = build::healthy(&evaluation);
        let explained = build::explained(&general);
        general.extend(self.own_findings(&window, healthy, explained));
        Judgement {
            evaluation,
            general,
            window,
        }
    }

    /// What the Machine itself has to say, beside the checks.
    fn own_findings(&self, window: &WindowView, healthy: bool, explained: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.complete {
            findings.push(Finding::new(
                self.incomplete_because,
                Subject::Cluster,
                "some sources have not been heard yet",
                "every source heard once",
            ));
        }
        if healthy && !window.settled {
            let held = window.healthy_for.unwrap_or_default();
            let waits = if held < window.required {
                ""
            } else {
                ", and some sources have not been asked since"
            };
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
        if let Some(why) = self.keeper.trouble() {
            findings.push(Finding::new(
                Reason::StoreUnavailable,
                Subject::Cluster,
                why,
                "a store that keeps what it is given",
            ));
        }
        findings
    }

    /// Answers every question whose evidence has come, or whose time is over.
    fn answer_waiting(&mut self, now: Now, out: &mut Vec<Effect>) {
        let waiting = std::mem::take(&mut self.waiting);
        for item in waiting {
            match self.decide(now, &item.question) {
                (reply, true) => out.push(Effect::Reply(item.ticket, reply)),
                (reply, false) if now.mono >= item.until => {
                    out.push(Effect::Reply(item.ticket, reply));
                }
                (_, false) => self.waiting.push(item),
            }
        }
    }

    /// The verdict on a question as of now, and whether all the evidence it asks for is there.
    fn decide(&self, now: Now, question: &Question) -> (Reply, bool) {
        let newer = question
            .newer_than
            .map(|after| newer_reports(&self.reports, after));
        let reports = newer.as_ref().unwrap_or(&self.reports);
        let granted = BTreeSet::new();
        let snapshot = Snapshot::new(
            self.generation,
            now,
            &self.policy,
            &self.memory,
            &granted,
            reports,
        );
        let strangers: BTreeSet<_> = question
            .nodes
            .iter()
            .copied()
            .filter(|node| !snapshot.expected.contains_key(node))
            .collect();
        // Before everybody has been heard nobody is a stranger: the what-if says unknown.
        if !strangers.is_empty() && self.complete {
            return (Reply::NoSuchNodes(strangers), true);
        }
        let judgement = self.conclude(&snapshot, evaluate(&snapshot));
        let mut findings = judgement.general;
        if question.nodes.is_empty() {
            findings.extend(build::what_if_findings(&judgement.evaluation));
        } else {
            let judged = what_if(&snapshot, &question.nodes);
            findings.extend(judged.findings().into_iter().cloned());
        }
        let state = verdict(findings.iter().map(|finding| finding.severity));
        let reasons = self.describe(now, &findings);
        let enough = question.newer_than.is_none()
            || !build::lacks_evidence(&judgement.evaluation)
            || state == State::Closed;
        (
            Reply::Decided {
                decision: Decision { state, reasons },
                evaluated: now,
            },
            enough,
        )
    }

    fn describe(&self, now: Now, findings: &[Finding]) -> Vec<ReasonView> {
        let since = |finding: &Finding| {
            let key = (finding.reason, finding.subject.clone());
            now.wall_of(self.first_seen.get(&key).copied().unwrap_or(now.mono))
        };
        let mut reasons: Vec<_> = findings
            .iter()
            .map(|finding| build::reason(finding, since(finding)))
            .collect();
        super::parts::sort(&mut reasons);
        reasons
    }

    fn remember(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut doc = self.keeper.stored().clone();
        doc.known_nodes.clone_from(&self.memory.known_nodes);
        doc.cluster_id.clone_from(&self.memory.cluster_id);
        out.extend(self.keeper.write(now.mono, doc));
    }

    fn stored(&mut self, now: Now, id: CommitId, result: Stored) {
        if self.keeper.result(now.mono, id, result) {
            for (node, role) in &self.keeper.stored().known_nodes {
                let known = self.memory.known_nodes.entry(*node).or_default();
                *known = known.and(*role);
            }
        }
    }

    fn forget_deleted_topics(&mut self) {
        let tables = tables(&self.reports);
        let most = tables.clone().map(PartitionTable::len).max();
        // Only when two brokers agree that something is gone, and only when there is something.
        if tables.clone().count() >= 2 && most.is_some_and(|most| self.memory.epochs.len() > most) {
            self.memory.forget_gone(tables);
        }
    }
}

fn tables(reports: &Reports) -> impl Iterator<Item = &PartitionTable> + Clone {
    reports.values().filter_map(|report| match &report.facts {
        Ok(Facts::Partitions(table)) => Some(&**table),
        Ok(_) | Err(_) => None,
    })
}

/// What a view is before the evaluation and the Machine's own history go in.
pub(super) fn blank_parts(now: Now) -> ViewParts {
    View::nothing(GateName::default(), now, Reason::WarmingUp, "").into_parts()
}
