//! `check`: the verdict by status.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::app::App;
use super::asker::Asker;
use super::body::CheckBody;
use super::came::unheard;
use super::claim::resolve;
use super::problem::Problem;
use super::query::CheckQuery;
use super::reply::{Content, Reply};
use super::verdict::Verdict;
use super::{Shape, text};
use crate::checks::finding::Subject;
use crate::checks::reason::{Reason, Severity};
use crate::engine::handle::{AskError, GateHandle};
use crate::evidence::ids::NodeId;
use crate::gate::lease::Action;
use crate::gate::parts::ReasonView;
use crate::gate::question::{Answered, Question, Repair};
use crate::gate::state::{GateName, State};
use crate::gate::view::{Answer, Decision, View};
use crate::time::{Mono, Now};

/// How old an engine's answer may be when it is passed on. It is made for one question and passed
/// on in microseconds; an older one was held up by a stopped process, and its evidence with it.
pub(super) const ANSWER_HOLDS: Duration = Duration::from_secs(1);

impl App {
    /// The verdict that a request asks for.
    pub(super) async fn check(
        &self,
        gate: &GateHandle,
        mut query: CheckQuery,
        shape: Shape,
        asker: &Asker<'_>,
    ) -> Result<Reply, Problem> {
        query.targets.nodes = resolve(gate, &query.targets)?;
        let mut verdict = self.verdict(gate, &query, asker).await?;
        verdict.hosts.clone_from(&query.targets.hosts);
        verdict.action = query.action;
        let now = self.state.clock.now();
        let content = match shape {
            Shape::Json => Content::json(&CheckBody::new(&verdict, now)),
            Shape::Text => {
                let view = gate.published().load();
                // The checks are about the cluster as a whole, as the view judged it.
                let checks = match view.at(now.mono).parts() {
                    Some(parts) if verdict.since.is_some() => parts.checks.as_slice(),
                    Some(_) | None => &[],
                };
                Content::text(text::verdict(&verdict, checks))
            }
        };
        let content = content.with_verdict(&verdict);
        Ok(self.by_status(gate.name(), verdict.state, query.closed_status, content))
    }

    /// The verdict of the published view as JSON: the question that nearly everybody asks.
    pub(super) fn plain_check(&self, gate: &GateHandle, closed_status: StatusCode) -> Reply {
        let (state, content) = self
            .rendered
            .verdict(&gate.published().load(), self.state.clock.now());
        self.by_status(gate.name(), state, closed_status, content)
    }

    fn by_status(
        &self,
        gate: &GateName,
        state: State,
        closed_status: StatusCode,
        content: Content,
    ) -> Reply {
        self.counters().decided(gate, state);
        content.reply(match state {
            State::Open => StatusCode::OK,
            State::Closed | State::Unknown => closed_status,
        })
    }

    /// The verdict, after waiting for it to be open when the request says so.
    async fn verdict(
        &self,
        gate: &GateHandle,
        query: &CheckQuery,
        asker: &Asker<'_>,
    ) -> Result<Verdict, Problem> {
        let deadline = Instant::now() + query.wait;
        let ask = |asked| self.ask(gate, query, asked, asker.peer());
        let waits = |verdict: &Verdict| verdict.state != State::Open;
        self.wait(gate, deadline, !needs_engine(query), asker, ask, waits)
            .await
    }

    /// One look: at the view, or through the engine where the view does not answer the question.
    async fn ask(
        &self,
        gate: &GateHandle,
        query: &CheckQuery,
        asked: Mono,
        peer: IpAddr,
    ) -> Result<Verdict, Problem> {
        if needs_engine(query) {
            let nodes = query.targets.nodes.clone();
            let within = self.limits.decide;
            let answered = match query.action {
                Action::Restart => {
                    let newer_than = query.fresh.then_some(asked);
                    let question = Question { nodes, newer_than };
                    let decide = |room| gate.decide(question, within, room);
                    self.heard(gate.name(), peer, decide).await
                }
                Action::Repair => {
                    let repair = Repair { nodes, asked };
                    let decide = |room| gate.decide_repair(repair, within, room);
                    self.heard(gate.name(), peer, decide).await
                }
            };
            let view = gate.published().load();
            let now = self.state.clock.now();
            return of_engine(view.at(now.mono), &query.targets.nodes, answered, now);
        }
        let view = gate.published().load();
        let answer = view.at(self.state.clock.now().mono);
        let Some(node) = query.targets.nodes.first() else {
            return Ok(Verdict::of_view(answer));
        };
        let nodes = query.targets.nodes.clone();
        match answer.node(*node) {
            Some(decision) => Ok(Verdict::on_nodes(
                answer,
                nodes,
                decision,
                answer.evaluated(),
            )),
            None => not_expected(answer, nodes, &query.targets.nodes),
        }
    }
}

/// Whether the published view does not answer this: it judges each node alone, its restart, and on the
/// evidence that was there.
fn needs_engine(query: &CheckQuery) -> bool {
    query.fresh || query.targets.nodes.len() > 1 || query.action == Action::Repair
}

/// What the engine's answer about these nodes means.
pub(super) fn of_engine(
    answer: Answer<'_>,
    nodes: &BTreeSet<NodeId>,
    answered: Result<Answered, AskError>,
    now: Now,
) -> Result<Verdict, Problem> {
    let nodes = nodes.clone();
    let (decision, evaluated) = match answered {
        Ok(Answered::Decided {
            decision,
            evaluated,
        }) => {
            let age = now.mono.since(evaluated.mono);
            if age > ANSWER_HOLDS {
                let held_up = format!("the engine's answer was held up for {} ms", age.as_millis());
                (nothing_known(Reason::ViewExpired, held_up, now), evaluated)
            } else {
                (decision, evaluated)
            }
        }
        Ok(Answered::NoSuchNodes(strangers)) => return not_expected(answer, nodes, &strangers),
        Err(why) => (unheard(answer, why, now), now),
    };
    Ok(Verdict::on_nodes(answer, nodes, decision, evaluated))
}

/// What is said where the engine has said nothing.
pub(super) fn no_answer(why: AskError) -> (Reason, String) {
    let reason = match why {
        AskError::Busy | AskError::BusyForPeer | AskError::Late(_) => Reason::EvidenceStale,
        AskError::Gone => Reason::EngineFailed,
    };
    (reason, why.to_string())
}

/// The answer about nodes that nobody expects: a mistake of the caller where the gate knows its
/// nodes, and just unknown where it does not know enough itself, as after its own start.
pub(super) fn not_expected(
    answer: Answer<'_>,
    nodes: BTreeSet<NodeId>,
    strangers: &BTreeSet<NodeId>,
) -> Result<Verdict, Problem> {
    match answer.state() {
        State::Unknown => {
            let decision = Decision {
                state: State::Unknown,
                reasons: answer.reasons(),
            };
            Ok(Verdict::on_nodes(
                answer,
                nodes,
                decision,
                answer.evaluated(),
            ))
        }
        State::Open | State::Closed => {
            let list = |nodes: &mut dyn Iterator<Item = NodeId>| -> String {
                let ids: Vec<String> = nodes.map(|node| node.to_string()).collect();
                ids.join(", ")
            };
            let mut known = answer.last_known().nodes.iter().map(|node| node.node);
            Err(Problem::bad_parameter(format!(
                "no such node in this cluster: {}; it has {}",
                list(&mut strangers.iter().copied()),
                list(&mut known)
            )))
        }
    }
}

pub(super) fn nothing_known(reason: Reason, observed: String, now: Now) -> Decision {
    let why = ReasonView {
        reason,
        severity: Severity::Unknown,
        subject: Subject::Cluster,
        observed,
        required: String::from("an answer of the gate's engine, on evidence that is in date"),
        count: 1,
        examples: Vec::new(),
        since: now.wall,
        source: None,
        asked: None,
        step: None,
    };
    Decision {
        state: State::Unknown,
        reasons: vec![why],
    }
}

/// How long a written body serves further requests. Its ages are those of the end of this span, so
/// that they never say less than the truth.
const TICK: Duration = Duration::from_millis(100);

/// Bodies of views, each written once per view and tick.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    newest: Mutex<BTreeMap<GateName, Arc<Written>>>,
}

#[derive(Debug)]
struct Written {
    view: Arc<View>,
    shown: Mono,
    expired: bool,
    state: State,
    content: Content,
}

impl Rendered {
    /// The verdict of a view at `now`, and its body. Whether the view is expired is decided for
    /// `now` exactly, whatever has been written before.
    fn verdict(&self, view: &Arc<View>, now: Now) -> (State, Content) {
        let answer = view.at(now.mono);
        let mut shown = end_of_tick(now);
        if view.at(shown.mono).expired() != answer.expired() {
            shown = now;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = newest.get(view.gate())
            && Arc::ptr_eq(&written.view, view)
            && written.shown == shown.mono
            && written.expired == answer.expired()
        {
            return (written.state, written.content.clone());
        }
        let verdict = Verdict::of_view(view.at(shown.mono));
        let content = Content::json(&CheckBody::new(&verdict, shown)).with_verdict(&verdict);
        let written = Written {
            shown: shown.mono,
            expired: answer.expired(),
            state: verdict.state,
            content: content.clone(),
            view: Arc::clone(view),
        };
        newest.insert(view.gate().clone(), Arc::new(written));
        (verdict.state, content)
    }
}

fn end_of_tick(now: Now) -> Now {
    let tick = u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX);
    let mono = now.mono.as_nanos();
    let end = mono.checked_next_multiple_of(tick).unwrap_or(mono);
    Now {
        mono: Mono::from_nanos(end),
        wall: now
            .wall
            .plus(Duration::from_nanos(end.saturating_sub(mono))),
    }
}
