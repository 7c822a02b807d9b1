//! What the engine's answer to `enter` and `leave` means. Only [`GateReply::Go`] and
//! [`GateReply::Over`] can become a 200.

use std::collections::BTreeSet;

use super::change::{conflict, refused};
use super::check::{ANSWER_HOLDS, no_answer, not_expected, nothing_known};
use super::problem::Problem;
use super::verdict::Verdict;
use crate::checks::reason::Reason;
use crate::engine::handle::AskError;
use crate::evidence::ids::NodeId;
use crate::gate::lease::{End, Ended, Lease};
use crate::gate::question::{Answered, Refusal, Reply as GateReply};
use crate::gate::state::State;
use crate::gate::view::{Answer, Decision};
use crate::time::Now;

/// "Go".
#[derive(Debug)]
pub(super) struct Go {
    pub(super) lease: Box<Lease>,
    /// How often it has been said for this lease, where that is known.
    pub(super) told: Option<u32>,
}

/// What a request for a lease, or for its end, came to.
#[derive(Debug)]
pub(super) enum Came {
    /// Go.
    To(Go, Now),
    /// The nodes are proven back, or never went.
    Back(Box<Ended>),
    /// Not yet, and why.
    NotYet(Decision, Now),
    /// Nodes that nobody expects.
    Strangers(BTreeSet<NodeId>),
}

impl Came {
    /// Whether asking again may help.
    pub(super) const fn waits(&self) -> bool {
        match self {
            Self::NotYet(..) => true,
            Self::To(..) | Self::Back(_) | Self::Strangers(_) => false,
        }
    }

    /// The verdict of an answer that is no 200, whatever the engine called it.
    pub(super) fn no(
        self,
        answer: Answer<'_>,
        nodes: BTreeSet<NodeId>,
        now: Now,
    ) -> Result<Verdict, Problem> {
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
pub(super) fn of_reply(reply: Result<GateReply, AskError>, now: Now) -> Result<Came, Problem> {
    let unknown = |reason, what| Came::NotYet(nothing_known(reason, what, now), now);
    let held_up = |evaluated: Now| {
        let age = now.mono.since(evaluated.mono);
        (age > ANSWER_HOLDS).then(|| {
            let what = format!("the engine's answer was held up for {} ms", age.as_millis());
            unknown(Reason::ViewExpired, what)
        })
    };
    Ok(match reply {
        Ok(GateReply::Go {
            lease,
            told,
            evaluated,
        }) => held_up(evaluated).unwrap_or(Came::To(Go { lease, told }, evaluated)),
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
        Ok(GateReply::Changed(_) | GateReply::Verdicts(_)) => unknown(
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

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
            AskError::BusyForPeer,
            AskError::Gone,
            AskError::Late(Duration::ZERO),
        ] {
            assert!(matches!(of_reply(Err(why), at(1)), Ok(Came::NotYet(..))));
        }
        let late = of_reply(Ok(verdict(State::Closed)), at(12)).unwrap();
        assert!(matches!(late, Came::NotYet(decision, _) if decision.state == State::Unknown));
    }
}
