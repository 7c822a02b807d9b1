//! Inputs, effects, and the machine between them. It awaits nothing: a commit is an effect, its
//! result an input, one in flight per gate. Every deadline is data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::build;
use super::desk::{Aside, Desk, Scene, Standing};
use super::doc::{GateDoc, Revision, Stored};
use super::event::{Event, What};
use super::judgement::Course;
use super::keep::CommitId;
use super::lease::LeaseId;
use super::parts::ViewParts;
use super::question::{Change, Command, PATIENCE, Question, Reply, Ticket, Waiting};
use super::seen::Seen;
use super::state::{GateName, State};
use super::view::View;
use crate::checks::reason::{Reason, Severity};
use crate::checks::table::evaluate;
use crate::evidence::memory::Memory;
use crate::evidence::policy::Policy;
use crate::evidence::report::{FactKind, Report, SourceId, Wanted};
use crate::evidence::snapshot::{ClusterKind, Reports, Snapshot};
use crate::time::{Mono, Now, Timestamp};

/// A published view is true for this long at most, whatever its evidence: the engine has to show
/// that it lives.
const LONGEST_VALIDITY: Duration = Duration::from_secs(2);

/// Where no evidence comes meanwhile it is judged anew after this, while the view before is still true. A
/// timer is late by a millisecond: woken only at the end, the engine would leave the view expired for that long,
/// and the window, a chain of evaluations of which each has to follow while the one before is true, would
/// begin anew each time. With pages alone, every 5 s, it never ended.
const RENEWAL: Duration = Duration::from_secs(1);

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
    /// A "go" of this lease has certainly reached nobody.
    Unheard(LeaseId),
    /// The policy changed.
    Policy(Arc<Policy>),
    /// A deadline came.
    Wake,
}

/// What has to be done.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "few at a time, and carried out at once"
)]
pub enum Effect {
    /// Make this durable, if the stored revision is still the expected one.
    Commit {
        /// Which write.
        id: CommitId,
        /// The revision it builds on.
        expect: Revision,
        /// The new document.
        doc: GateDoc,
        /// What goes into the history with it.
        events: Vec<Event>,
    },
    /// Answer a question.
    Reply(Ticket, Reply),
    /// Publish a view.
    Publish(Arc<View>),
    /// Have this asked for at once.
    Refresh(Wanted),
}

/// One gate's judgement over time. See the module's words.
#[derive(Debug)]
pub struct Machine {
    gate: GateName,
    seen: Seen,
    course: Course,
    desk: Desk,
    state: State,
    since: Timestamp,
    transitions: BTreeMap<State, u64>,
    last_step: Option<Now>,
    valid_until: Mono,
    settled_at: Option<Mono>,
    waiting: Vec<Waiting>,
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
            seen: Seen {
                policy,
                memory,
                reports: Reports::new(),
                generation: 0,
            },
            course: Course::new(),
            desk: Desk::restore(revision, doc, now),
            state: State::Unknown,
            since: now.wall,
            transitions: BTreeMap::new(),
            last_step: None,
            valid_until: now.mono,
            settled_at: None,
            waiting: Vec::new(),
        }
    }

    /// Takes in one input and says what has to be done.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        self.notice_clock_jump(now, out);
        let mut change = None;
        let mut sets = None;
        match input {
            Input::Evidence { reports, dropped } => {
                for slot in &dropped {
                    self.seen.forget(slot);
                }
                for report in reports {
                    self.seen.take_in(report);
                }
            }
            Input::Ask(ticket, Command::Decide(question)) => self.ask(now, ticket, question, out),
            Input::Ask(ticket, Command::DecideRepair(repair)) => {
                out.push(Effect::Refresh(Wanted::Quick));
                self.desk.advise(now, ticket, repair);
            }
            Input::Ask(ticket, Command::DecideEach(asked)) => sets = Some((ticket, asked)),
            Input::Ask(ticket, Command::Enter(entry)) => {
                out.push(Effect::Refresh(Wanted::Quick));
                self.desk.enter(now, ticket, entry);
            }
            Input::Ask(
                ticket,
                Command::Leave {
                    owner,
                    nodes,
                    unused,
                },
            ) => {
                self.desk.leave(now, ticket, (&owner, &nodes), unused, out);
            }
            Input::Ask(ticket, Command::Change(asked)) => change = Some((ticket, asked)),
            Input::Stored(id, result) => {
                self.desk.stored(now, id, result);
                self.learn_stored_nodes();
            }
            Input::Unheard(lease) => self.desk.unheard(now, lease),
            Input::Policy(policy) => {
                self.seen.policy = policy;
                self.course.window.reset();
            }
            Input::Wake => {}
        }
        self.judge(now, change, out);
        if let Some((ticket, sets)) = sets {
            let standing = self.desk.standing(now, &Aside::default());
            let answered = self.course.decide_each(&self.seen, &standing, now, &sets);
            out.push(Effect::Reply(ticket, Reply::Verdicts(answered)));
        }
        self.answer_waiting(now, out);
        self.desk.remember(&self.seen);
        out.extend(self.desk.write(now));
    }

    /// The next moment at which something changes without an input.
    pub fn next_deadline(&self) -> Option<Mono> {
        let last = self.last_step?.mono;
        // An evaluation that was already past its end is repeated at a walking pace: new evidence
        // wakes the engine by itself. One that is still true is repeated as soon as it is not, or
        // readers would be told that it expired.
        let expiry = if self.valid_until > last {
            self.valid_until.min(last.plus(RENEWAL))
        } else {
            last.plus(Duration::from_millis(100))
        };
        let questions = self.waiting.iter().map(|waiting| waiting.until);
        questions
            .chain(self.settled_at)
            .chain(self.desk.next_deadline())
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
            self.seen.reports.clear();
            self.course.begin_anew(Reason::ClockJumped);
            out.push(Effect::Refresh(Wanted::Everything));
        }
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

    /// Judges what is seen, serves everybody who asks for a lease, and publishes what stands then:
    /// what is granted here is taken before anybody can read that it is free.
    fn judge(&mut self, now: Now, change: Option<(Ticket, Change)>, out: &mut Vec<Effect>) {
        self.seen.generation = self.seen.generation.saturating_add(1);
        let snapshot = self.seen.snapshot(now, &BTreeSet::new());
        let standing = self.desk.standing(now, &Aside::default());
        let mut evaluation = with_leases(&self.seen, &snapshot, &standing, |with| {
            evaluate(&snapshot, with)
        });
        // Without any fresh evidence the verdict is not open, and what is said stays true.
        let longest = now.mono.plus(LONGEST_VALIDITY);
        let valid_until = snapshot
            .fresh_until()
            .map_or(longest, |until| until.min(longest));
        let waits = build::waits_for_somebody(&snapshot, &evaluation);
        self.course.complete = self.course.complete || !waits;
        self.course
            .window
            .beat(build::beat(&snapshot, &evaluation), valid_until);

        let scene = Scene {
            now,
            seen: &self.seen,
            course: &self.course,
            snapshot: &snapshot,
            evaluation: &evaluation,
            healthy: build::healthy(&evaluation),
            window: &self.course.window(&snapshot, &evaluation),
        };
        if let Some((ticket, change)) = change {
            self.desk.change(&scene, ticket, change, out);
        }
        self.desk.work(&scene, out);

        let stands = self.desk.standing(now, &Aside::default());
        if stands.granted != standing.granted {
            with_leases(&self.seen, &snapshot, &stands, |with| {
                evaluation.reconsider(with);
            });
        }
        let judgement = self.course.conclude(&snapshot, evaluation, &stands);
        let mut names = BTreeSet::new();
        let first_seen = &mut self.course.first_seen;
        let mut view = build::parts(&snapshot, &judgement, |finding| {
            let key = (finding.reason, finding.subject.clone());
            let first = *first_seen.entry(key.clone()).or_insert(now.mono);
            names.insert(key);
            now.wall_of(first)
        });
        first_seen.retain(|key, _| names.contains(key));
        view.leases = self.desk.show_leases(now);
        view.hold = self.desk.hold(now).cloned();
        let held = self.desk.node_holds(now).into_iter();
        view.node_holds = held.map(|(node, hold)| (node, hold.clone())).collect();
        let left = judgement.window.left().filter(|left| !left.is_zero());
        self.settled_at = left.map(|left| now.mono.plus(left));
        self.valid_until = valid_until;
        drop(judgement);
        drop(snapshot);
        self.publish(now, view, out);
        self.seen.forget_deleted_topics();
        for (node, kept) in self.desk.take_retired() {
            self.seen.memory.retire(node, kept);
        }
    }

    fn publish(&mut self, now: Now, mut view: ViewParts, out: &mut Vec<Effect>) {
        if view.state != self.state {
            self.state = view.state;
            self.since = now.wall;
            *self.transitions.entry(view.state).or_insert(0) += 1;
            self.desk.note(
                now,
                What::Verdict {
                    state: view.state,
                    reasons: codes(&view),
                },
            );
        }
        view.gate = self.gate.clone();
        view.since = self.since;
        view.transitions = self.transitions.clone();
        view.valid_until = self.valid_until;
        if view.cluster.kind == ClusterKind::ZooKeeper
            && let Some(controller) = view.cluster.controller
        {
            self.seen
                .memory
                .observe_zookeeper_controller(controller, now.mono);
        }
        out.push(Effect::Publish(Arc::new(View::new(view))));
    }

    /// Answers every question whose evidence has come, or whose time is over.
    fn answer_waiting(&mut self, now: Now, out: &mut Vec<Effect>) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        let standing = self.desk.standing(now, &Aside::default());
        for item in waiting {
            let (answered, enough) = self
                .course
                .decide(&self.seen, &standing, now, &item.question);
            if enough || now.mono >= item.until {
                out.push(Effect::Reply(item.ticket, Reply::Verdict(answered)));
            } else {
                self.waiting.push(item);
            }
        }
    }

    /// Nodes that somebody else has written are ours, too.
    fn learn_stored_nodes(&mut self) {
        for (node, role) in self.desk.stored_nodes() {
            if self.desk.is_retiring(*node) {
                continue;
            }
            let known = self.seen.memory.known_nodes.entry(*node).or_default();
            *known = known.and(*role);
        }
    }
}

/// Calls with the snapshot in which every leased node counts as down.
fn with_leases<T>(
    seen: &Seen,
    snapshot: &Snapshot<'_>,
    standing: &Standing,
    call: impl FnOnce(&Snapshot<'_>) -> T,
) -> T {
    if standing.granted.is_empty() {
        return call(snapshot);
    }
    call(&seen.snapshot(snapshot.now, &standing.granted))
}

/// What speaks against `open`, each code once.
fn codes(view: &ViewParts) -> Vec<String> {
    let against = view.reasons.iter().filter(|r| r.severity != Severity::Warn);
    let codes: BTreeSet<_> = against.map(|r| r.reason.code()).collect();
    codes.into_iter().map(str::to_owned).collect()
}

/// What a view is before the evaluation and the Machine's own history go in.
pub(super) fn blank_parts(now: Now) -> ViewParts {
    View::nothing(GateName::default(), now, Reason::WarmingUp, "").into_parts()
}
