//! `enter` and `leave`: take nodes, and give them back.
//!
//! The status rule is that of `check`: 200 only where the owner may stop its nodes, or where they
//! are proven back. The engine says so in as many words; a mere verdict is never a 200 here.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::app::App;
use super::asker::Asker;
use super::body::{EnterBody, LeaveBody};
use super::came::{Came, Go, of_reply};
use super::claim::resolve;
use super::lease_query::{EnterQuery, LeaveQuery};
use super::problem::Problem;
use super::reply::{Content, Reply};
use super::verdict::Verdict;
use super::{Shape, text};
use crate::clock::rfc3339;
use crate::engine::handle::GateHandle;
use crate::gate::lease::Lease;
use crate::gate::question::{Command, Entry};
use crate::gate::state::State;
use crate::gate::view::{Answer, Decision};
use crate::metrics::counters::Refused;
use crate::time::Mono;

/// How long a request waits for another one of its owner, for other nodes; not longer: it has no place
/// among the waiters yet.
const TURN: Duration = Duration::from_secs(2);

/// While this process ends nobody is told "go": it could not see what comes of it. A lease that
/// was being written is its owner's, who gets it when it asks again.
fn ending() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ending",
        "this gate is ending and gives no leases any more; ask again, with the same owner, once it \
         runs again",
    )
}

/// What the gate has seen of this cluster's returns, beside a lease that has just been given.
fn usually(answer: Answer<'_>, lease: &Lease) -> Option<Duration> {
    let mut leases = answer.last_known().leases.iter();
    leases.find(|view| view.lease.id == lease.id)?.usually
}

impl App {
    /// May this owner stop these nodes? Then it takes them.
    pub(super) async fn enter(
        &self,
        gate: &GateHandle,
        query: &EnterQuery,
        shape: Shape,
        asker: &Asker<'_>,
    ) -> Result<Reply, Problem> {
        let claim = &query.claim;
        let nodes = resolve(gate, &claim.targets)?;
        let deadline = Instant::now() + claim.wait;
        let turn = self
            .turns
            .wait(gate.name(), &claim.owner, &nodes, Instant::now() + TURN);
        let Some(_turn) = turn.await else {
            self.counters().http.refused(Refused::RequestsOfOwner);
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "one at a time",
                format!(
                    "another request of {} for other nodes is being served; ask again, or use \
                     another owner",
                    claim.owner
                ),
            ));
        };
        let command = |asked| {
            Command::Enter(Entry {
                owner: claim.owner.clone(),
                nodes: nodes.clone(),
                ttl: query.ttl,
                action: query.action,
                asked,
            })
        };
        let came = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return Err(ending()),
            came = self.poll(gate, &command, deadline, asker) => came?,
        };
        let view = gate.published().load();
        let now = self.state.clock.now();
        let (mut verdict, go) = match came {
            Came::To(go, evaluated) => {
                let open = Decision {
                    state: State::Open,
                    reasons: Vec::new(),
                };
                let verdict = Verdict::on_nodes(view.at(now.mono), nodes, open, evaluated);
                (verdict, Some(go))
            }
            came => (came.no(view.at(now.mono), nodes, now)?, None),
        };
        verdict.hosts.clone_from(&claim.targets.hosts);
        self.counters().decided(gate.name(), verdict.state);
        let content = match shape {
            Shape::Json => {
                let go = go.as_ref();
                let usually = go.and_then(|go| usually(view.at(now.mono), &go.lease));
                let body = EnterBody::new(&verdict, now, &claim.owner, query.action, go, usually);
                Content::json(&body)
            }
            Shape::Text => {
                let mut said = text::verdict(&verdict, &[]);
                if let Some(Go { lease, .. }) = &go {
                    let until = rfc3339(lease.expires_at);
                    // A text in memory takes what is written.
                    let _ = writeln!(
                        said,
                        "lease {} token {} until {until}",
                        lease.id, lease.token
                    );
                }
                Content::text(said)
            }
        };
        let status = match go {
            Some(_) => StatusCode::OK,
            None => claim.closed_status,
        };
        Ok(content.with_verdict(&verdict).reply(status))
    }

    /// This owner has finished with these nodes: are they proven back?
    pub(super) async fn leave(
        &self,
        gate: &GateHandle,
        query: &LeaveQuery,
        shape: Shape,
        asker: &Asker<'_>,
    ) -> Result<Reply, Problem> {
        let claim = &query.claim;
        let nodes = resolve(gate, &claim.targets)?;
        let command = |_| Command::Leave {
            owner: claim.owner.clone(),
            nodes: nodes.clone(),
            unused: query.unused,
        };
        let deadline = Instant::now() + claim.wait;
        let came = self.poll(gate, &command, deadline, asker).await?;
        let view = gate.published().load();
        let now = self.state.clock.now();
        let answer = view.at(now.mono);
        let (mut verdict, ended) = match came {
            Came::Back(ended) => {
                let back = Decision {
                    state: State::Open,
                    reasons: Vec::new(),
                };
                let verdict = Verdict::on_nodes(answer, nodes.clone(), back, now);
                (verdict, Some(ended))
            }
            came => (came.no(answer, nodes.clone(), now)?, None),
        };
        verdict.hosts.clone_from(&claim.targets.hosts);
        let parts = answer.parts();
        let mut leases = parts.into_iter().flat_map(|parts| &parts.leases);
        let mine = leases.find(|view| view.lease.is_of(&claim.owner, &nodes));
        let content = match shape {
            Shape::Json => Content::json(&LeaveBody::new(
                &verdict,
                now,
                &claim.owner,
                ended.as_deref(),
                mine.filter(|_| ended.is_none()),
            )),
            Shape::Text => {
                let mut said = text::verdict(&verdict, &[]);
                if let (None, Some(mine)) = (&ended, mine) {
                    let _ = writeln!(said, "lease {}: {}", mine.lease.id, mine.progress);
                }
                Content::text(said)
            }
        };
        let status = match ended {
            Some(_) => StatusCode::OK,
            None => claim.closed_status,
        };
        Ok(content.with_verdict(&verdict).reply(status))
    }

    /// Asks until it is a 200, refused, or too late; `command` is told what evidence has to be newer than.
    async fn poll(
        &self,
        gate: &GateHandle,
        command: &(impl Fn(Mono) -> Command + Sync),
        deadline: Instant,
        asker: &Asker<'_>,
    ) -> Result<Came, Problem> {
        let ask = |asked| async move {
            let within = self.limits.grant;
            let ask = |room| gate.ask_in(room, command(asked), within);
            let reply = self.heard(gate.name(), asker.peer(), ask).await;
            of_reply(reply, self.state.clock.now())
        };
        self.wait(gate, deadline, false, asker, ask, Came::waits)
            .await
    }
}
