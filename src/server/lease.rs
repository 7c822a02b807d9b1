//! `enter`, `leave`, and what people change by hand.
//!
//! The status rule is that of `check`: 200 only where the owner may stop its nodes, or where they
//! are proven back. The engine says so in as many words ([`GateReply::Go`], [`GateReply::Over`]); a
//! mere verdict is never a 200 here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::app::App;
use super::body::{ChangedBody, EnterBody, LeasesBody, LeaveBody};
use super::check::{ANSWER_HOLDS, no_answer, not_expected, nothing_known};
use super::lease_query::{Claim, EnterQuery};
use super::problem::Problem;
use super::query::Targets;
use super::reply::{Content, Reply};
use super::verdict::Verdict;
use super::{Shape, text};
use crate::checks::reason::Reason;
use crate::clock::rfc3339;
use crate::engine::handle::{AskError, GateHandle};
use crate::evidence::ids::NodeId;
use crate::gate::lease::{End, Ended, Lease};
use crate::gate::question::{Answered, Change, Command, Entry, Refusal, Reply as GateReply};
use crate::gate::state::State;
use crate::gate::view::{Answer, Decision};
use crate::metrics::counters::Held;
use crate::time::Now;

/// What a request for a lease, or for its end, came to.
#[derive(Debug)]
enum Came {
    /// Go.
    To(Box<Lease>, Now),
    /// The nodes are proven back, or never went.
    Back(Box<Ended>),
    /// Not yet, and why.
    NotYet(Decision, Now),
    /// Nodes that nobody expects.
    Strangers(BTreeSet<NodeId>),
}

/// Whether somebody may change something: until there is authentication, only from this machine,
/// and only with a header that a browser cannot be made to send from another site's page.
pub(super) fn may_change(peer: IpAddr, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |why: &str| Err(Problem::new(StatusCode::FORBIDDEN, "not allowed", why));
    if !peer.to_canonical().is_loopback() {
        return refuse(
            "without authentication only this machine may change something: ask on the gate's own \
             machine, at 127.0.0.1",
        );
    }
    if headers.get("x-upgrade-gate").is_none_or(|it| it != "1") {
        return refuse("what changes something needs the header X-Upgrade-Gate: 1");
    }
    Ok(())
}

/// The nodes that a request names, by themselves and by machines.
pub(super) fn resolve(gate: &GateHandle, targets: &Targets) -> Result<BTreeSet<NodeId>, Problem> {
    let mut nodes = targets.nodes.clone();
    for host in &targets.hosts {
        let on_it = gate.hosts().get(host).ok_or_else(|| {
            let known: Vec<&str> = gate.hosts().keys().map(String::as_str).collect();
            let known = match known.as_slice() {
                [] => String::from("there are none; name them in the configuration under hosts"),
                known => format!("there is {}", known.join(", ")),
            };
            Problem::bad_parameter(format!("no host of this gate is called {host:?}; {known}"))
        })?;
        nodes.extend(on_it);
    }
    Ok(nodes)
}

impl App {
    /// May this owner stop these nodes? Then it takes them.
    pub(super) async fn enter(
        &self,
        gate: &GateHandle,
        query: &EnterQuery,
        shape: Shape,
    ) -> Result<Reply, Problem> {
        let claim = &query.claim;
        let nodes = resolve(gate, &claim.targets)?;
        let deadline = Instant::now() + claim.wait;
        let turn = self.turns.wait(
            gate.name(),
            &claim.owner,
            &nodes,
            deadline.max(Instant::now() + SHORTEST_TURN),
        );
        let Some(_turn) = turn.await else {
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
        let command = Command::Enter(Entry {
            owner: claim.owner.clone(),
            nodes: nodes.clone(),
            ttl: query.ttl,
            action: query.action,
            asked: self.state.clock.now().mono,
        });
        let came = self.poll(gate, &command, deadline).await?;
        let view = gate.published().load();
        let now = self.state.clock.now();
        let (mut verdict, lease) = match came {
            Came::To(lease, evaluated) => {
                let go = Decision {
                    state: State::Open,
                    reasons: Vec::new(),
                };
                let nodes = lease.nodes.clone();
                let verdict = Verdict::on_nodes(view.at(now.mono), nodes, go, evaluated);
                (verdict, Some(lease))
            }
            came => (came.no(view.at(now.mono), nodes, now)?, None),
        };
        verdict.hosts.clone_from(&claim.targets.hosts);
        self.counters().decided(gate.name(), verdict.state);
        let content = match shape {
            Shape::Json => {
                let body =
                    EnterBody::new(&verdict, now, &claim.owner, query.action, lease.as_deref());
                Content::json(&body)
            }
            Shape::Text => {
                let mut said = text::verdict(&verdict, &[]);
                if let Some(lease) = &lease {
                    let until = rfc3339(lease.expires_at);
                    let (id, token) = (lease.id, lease.token);
                    let _ = writeln!(said, "lease {id} token {token} until {until}");
                }
                Content::text(said)
            }
        };
        let status = match lease {
            Some(_) => StatusCode::OK,
            None => claim.closed_status,
        };
        Ok(content.with_verdict(&verdict).reply(status))
    }

    /// This owner has finished with these nodes: are they proven back?
    pub(super) async fn leave(
        &self,
        gate: &GateHandle,
        claim: &Claim,
        shape: Shape,
    ) -> Result<Reply, Problem> {
        let nodes = resolve(gate, &claim.targets)?;
        let command = Command::Leave {
            owner: claim.owner.clone(),
            nodes: nodes.clone(),
        };
        let deadline = Instant::now() + claim.wait;
        let came = self.poll(gate, &command, deadline).await?;
        let view = gate.published().load();
        let now = self.state.clock.now();
        let answer = view.at(now.mono);
        let (mut verdict, ended) = match came {
            Came::Back(ended) => {
                let back = Decision {
                    state: State::Open,
                    reasons: Vec::new(),
                };
                let verdict = Verdict::on_nodes(answer, ended.nodes.clone(), back, now);
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

    /// Asks until it is a 200, refused, or too late.
    async fn poll(
        &self,
        gate: &GateHandle,
        command: &Command,
        deadline: Instant,
    ) -> Result<Came, Problem> {
        // Before the first question, so that no change falls between asking and waiting.
        let mut views = gate.published().subscribe();
        let mut came = self.ask_engine(gate, command).await?;
        if !came.waits() || deadline <= Instant::now() {
            return Ok(came);
        }
        let http = &self.counters().http;
        let Ok(_place) = self.waiters.try_acquire() else {
            http.waiters_refused.fetch_add(1, Ordering::Relaxed);
            return Ok(came);
        };
        let _counted = Held::new(&http.waiters);
        loop {
            let changed = tokio::select! {
                biased;
                () = self.stopping.cancelled() => false,
                () = sleep_until(deadline) => false,
                changed = views.changed() => changed.is_ok(),
            };
            if !changed {
                return Ok(came);
            }
            came = self.ask_engine(gate, command).await?;
            if !came.waits() {
                return Ok(came);
            }
        }
    }

    async fn ask_engine(&self, gate: &GateHandle, command: &Command) -> Result<Came, Problem> {
        let reply = gate.ask(command.clone(), self.limits.grant).await;
        of_reply(reply, self.state.clock.now())
    }

    /// Makes a change, and answers once it is durable.
    pub(super) async fn change(&self, gate: &GateHandle, change: Change) -> Result<Reply, Problem> {
        match gate.ask(Command::Change(change), self.limits.grant).await {
            Ok(GateReply::Changed(changed)) => {
                let body = ChangedBody::new(gate.name(), changed);
                Ok(Content::json(&body).reply(StatusCode::OK))
            }
            Ok(GateReply::Refused(refusal)) => Err(refused(&refusal)),
            Ok(GateReply::Verdict(_) | GateReply::Go { .. } | GateReply::Over(_)) => {
                Err(unanswered(AskError::Gone))
            }
            Err(why) => Err(unanswered(why)),
        }
    }

    /// Slots that are taken, and holds.
    pub(super) fn leases(&self, gate: &GateHandle) -> Reply {
        let view = gate.published().load();
        let now = self.state.clock.now();
        let answer = view.at(now.mono);
        let content = Content::json(&LeasesBody::new(answer));
        content
            .with_verdict(&Verdict::of_view(answer))
            .reply(StatusCode::OK)
    }
}

/// How long a request without a wait of its own waits for another of its owner.
const SHORTEST_TURN: Duration = Duration::from_secs(2);

impl Came {
    /// Whether asking again may help.
    const fn waits(&self) -> bool {
        match self {
            Self::NotYet(..) => true,
            Self::To(..) | Self::Back(_) | Self::Strangers(_) => false,
        }
    }

    /// The verdict of an answer that is no 200, whatever the engine called it.
    fn no(self, answer: Answer<'_>, nodes: BTreeSet<NodeId>, now: Now) -> Result<Verdict, Problem> {
        let (decision, evaluated) = match self {
            Self::Strangers(strangers) => return not_expected(answer, nodes, &strangers),
            Self::NotYet(decision, evaluated) if decision.state != State::Open => {
                (decision, evaluated)
            }
            Self::NotYet(..) | Self::To(..) | Self::Back(_) => {
                let what = String::from("the engine's answer does not fit the question");
                (nothing_known(Reason::EngineFailed, what, now), now)
            }
        };
        Ok(Verdict::on_nodes(answer, nodes, decision, evaluated))
    }
}

/// What an answer of the engine means here. Only "go" and "over" can become a 200.
fn of_reply(reply: Result<GateReply, AskError>, now: Now) -> Result<Came, Problem> {
    let unknown = |reason, what| Came::NotYet(nothing_known(reason, what, now), now);
    let held_up = |evaluated: Now| {
        let age = now.mono.since(evaluated.mono);
        (age > ANSWER_HOLDS).then(|| {
            let what = format!("the engine's answer was held up for {} ms", age.as_millis());
            unknown(Reason::ViewExpired, what)
        })
    };
    Ok(match reply {
        Ok(GateReply::Go { lease, evaluated }) => {
            held_up(evaluated).unwrap_or(Came::To(lease, evaluated))
        }
        Ok(GateReply::Over(ended)) => match ended.how {
            End::ProvenBack | End::NeverGone => Came::Back(ended),
            End::Withdrawn | End::TakenOver { .. } | End::Broken { .. } | End::Retired => {
                return Err(conflict("the lease is over", over(&ended)));
            }
        },
        Ok(GateReply::Verdict(Answered::Decided {
            decision,
            evaluated,
        })) => held_up(evaluated).unwrap_or(Came::NotYet(decision, evaluated)),
        Ok(GateReply::Verdict(Answered::NoSuchNodes(strangers))) => Came::Strangers(strangers),
        Ok(GateReply::Refused(refusal @ Refusal::NoSuchLease(_))) => {
            return Err(conflict("the lease is over", refusal.to_string()));
        }
        Ok(GateReply::Refused(refusal)) => return Err(refused(&refusal)),
        Ok(GateReply::Changed(_)) => unknown(
            Reason::EngineFailed,
            String::from("the engine's answer does not fit the question"),
        ),
        Err(why) => {
            let (reason, what) = no_answer(why);
            unknown(reason, what)
        }
    })
}

/// Who ended a lease, and what its owner has to do.
fn over(ended: &Ended) -> String {
    let id = ended.id;
    match &ended.how {
        End::Broken { by, reason } => format!(
            "lease {id} was broken by {by}: {reason}; talk to them before you go on, then enter \
             anew"
        ),
        End::TakenOver { by } => format!(
            "the nodes of lease {id} were taken over by {by} for a repair; they answer for them \
             now, leave them alone"
        ),
        End::Withdrawn => format!(
            "lease {id} was withdrawn before anybody was told \"go\"; nothing may be stopped, \
             enter anew"
        ),
        End::Retired => format!("a node of lease {id} was retired; there is nothing to wait for"),
        End::ProvenBack | End::NeverGone => format!("lease {id} is over"),
    }
}

fn conflict(title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, title, detail)
}

fn refused(refusal: &Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::NoSuchLease(_) => Problem::not_found(detail),
        Refusal::NotEntered { .. } => conflict("not entered", detail),
        Refusal::OldToken { .. } => conflict("taken over", detail),
        Refusal::NotHeld { .. } => conflict("not held", detail),
        Refusal::NothingHeld => conflict("nothing held", detail),
        Refusal::StillExpected { .. } => conflict("still expected", detail),
        Refusal::NotDurable(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store unavailable", detail)
        }
    }
}

/// A change of which nothing was heard may be made all the same: that is said as well.
fn unanswered(why: AskError) -> Problem {
    let detail = match why {
        AskError::Busy => why.to_string(),
        AskError::Gone | AskError::Late(_) => {
            format!("{why}; the change may have been made, look before you repeat it")
        }
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no answer in time", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::lease::{LeaseId, Owner, Token};
    use crate::time::{Mono, Timestamp};

    fn at(seconds: u64) -> Now {
        Now {
            mono: Mono::from_nanos(seconds * 1_000_000_000),
            wall: Timestamp::from_nanos(0),
        }
    }

    fn verdict(state: State) -> GateReply {
        GateReply::Verdict(Answered::Decided {
            decision: Decision {
                state,
                reasons: Vec::new(),
            },
            evaluated: at(10),
        })
    }

    /// An open verdict reserves nothing: whoever took it for "go" would go without a lease.
    #[test]
    fn an_open_verdict_is_no_go() {
        for state in State::ALL {
            let came = of_reply(Ok(verdict(state)), at(10)).unwrap();
            assert!(matches!(came, Came::NotYet(..)));
            let view = crate::gate::view::View::nothing(
                crate::gate::state::GateName::default(),
                at(10),
                Reason::WarmingUp,
                "",
            );
            let nodes = BTreeSet::from([NodeId(1)]);
            let said = came.no(view.at(at(10).mono), nodes, at(10)).unwrap();
            assert_ne!(said.state, State::Open);
            assert!(said.retry_after.is_some());
        }
    }

    #[test]
    fn every_other_end_of_a_lease_is_a_conflict_that_says_what_to_do() {
        let by = Owner::try_from(String::from("ann")).unwrap();
        let reason = String::from("wrong cluster");
        let ended = |how| Ended {
            id: LeaseId(3),
            token: Token(4),
            owner: Some(by.clone()),
            nodes: BTreeSet::from([NodeId(1)]),
            how,
            at: Timestamp::from_nanos(0),
        };
        let came = |how| of_reply(Ok(GateReply::Over(Box::new(ended(how)))), at(1));
        for (how, says) in [
            (
                End::Broken {
                    by: by.clone(),
                    reason,
                },
                "broken by ann: wrong cluster",
            ),
            (End::TakenOver { by: by.clone() }, "taken over by ann"),
            (End::Withdrawn, "enter anew"),
            (End::Retired, "retired"),
        ] {
            let problem = came(how).unwrap_err();
            assert_eq!(problem.status, StatusCode::CONFLICT);
            assert!(problem.detail.contains(says), "{}", problem.detail);
        }
        for how in [End::ProvenBack, End::NeverGone] {
            assert!(matches!(came(how), Ok(Came::Back(_))));
        }
    }

    #[test]
    fn what_is_not_heard_in_time_is_no_go() {
        for why in [
            AskError::Busy,
            AskError::Gone,
            AskError::Late(Duration::ZERO),
        ] {
            assert!(matches!(of_reply(Err(why), at(1)), Ok(Came::NotYet(..))));
        }
        let late = of_reply(Ok(verdict(State::Closed)), at(12)).unwrap();
        assert!(matches!(late, Came::NotYet(decision, _) if decision.state == State::Unknown));
    }

    #[test]
    fn changes_are_for_this_machine_and_need_the_header() {
        let mut headers = HeaderMap::new();
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(may_change(here, &headers).is_err());
        headers.insert("x-upgrade-gate", http::HeaderValue::from_static("1"));
        for (peer, may) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(
                may_change(peer.parse().unwrap(), &headers).is_ok(),
                may,
                "{peer}"
            );
        }
    }
}
