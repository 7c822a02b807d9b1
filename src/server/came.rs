//! What the engine's answer to `enter` and `leave` means. Only [`GateReply::Go`] and
//! [`GateReply::Over`] can become a 200.

use std::collections::BTreeSet;

use super::change::{conflict, refused};
use super::check::{ANSWER_HOLDS, no_answer, not_expected, nothing_known};
use super::problem::Problem;
use super::verdict::Verdict;
use crate::checks::reason::{Reason, Severity};
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
    /// The engine has not answered.
    Unheard(AskError),
}

impl Came {
    /// Whether asking again may help.
    pub(super) const fn waits(&self) -> bool {
        match self {
            Self::NotYet(..) | Self::Unheard(_) => true,
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
            Self::Unheard(why) => (unheard(answer, why, now), now),
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
        Err(why) => Came::Unheard(why),
    })
}

/// What is said where the engine has said nothing: what its view says of an engine that does not run
/// (a store that cannot be read at the start), else that nothing was heard.
pub(super) fn unheard(answer: Answer<'_>, why: AskError, now: Now) -> Decision {
    let reasons = answer.reasons();
    let stands_still = reasons.iter().any(|view| {
        let of_engine = [Reason::StoreUnavailable, Reason::EngineFailed].contains(&view.reason);
        of_engine && view.severity != Severity::Warn
    });
    if stands_still && answer.state() == State::Unknown {
        return Decision {
            state: State::Unknown,
            reasons,
        };
    }
    let (reason, what) = no_answer(why);
    nothing_known(reason, what, now)
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
    use crate::gate::state::GateName;
    use crate::gate::view::View;
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

    fn nothing(reason: Reason, observed: &str) -> View {
        View::nothing(GateName::default(), at(0), reason, observed)
    }

    /// As `check` says: who asks for a lease is not sent to the makers of the gate for a full disk.
    #[test]
    fn an_engine_that_cannot_read_its_store_is_told_in_the_stores_words() {
        for (reason, words) in [
            (Reason::StoreUnavailable, "the database is damaged"),
            (Reason::EngineFailed, "it panicked"),
        ] {
            let view = nothing(reason, words);
            for why in [AskError::Gone, AskError::Late(Duration::ZERO)] {
                let came = of_reply(Err(why), at(1)).unwrap();
                let nodes = BTreeSet::from([NodeId(1)]);
                let said = came.no(view.at(at(1).mono), nodes, at(1)).unwrap();
                assert_eq!(said.state, State::Unknown);
                assert_eq!(said.reasons.len(), 1);
                assert_eq!(
                    (said.reasons[0].reason, said.reasons[0].observed.as_str()),
                    (reason, words)
                );
            }
        }
    }

    /// An open verdict reserves nothing: whoever took it for "go" would go without a lease.
    #[test]
    fn an_open_verdict_is_no_go() {
        for state in State::ALL {
            let came = of_reply(Ok(verdict(state)), at(10)).unwrap();
            assert!(matches!(came, Came::NotYet(..)));
            let view = nothing(Reason::WarmingUp, "");
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
            let came = of_reply(Err(why), at(1)).unwrap();
            assert!(came.waits() && matches!(came, Came::Unheard(_)));
            let (view, nodes) = (nothing(Reason::WarmingUp, ""), BTreeSet::from([NodeId(1)]));
            let said = came.no(view.at(at(1).mono), nodes, at(1)).unwrap();
            assert_eq!(said.state, State::Unknown);
            let reason = said.reasons[0].reason;
            assert!([Reason::EvidenceStale, Reason::EngineFailed].contains(&reason));
        }
        let late = of_reply(Ok(verdict(State::Closed)), at(12)).unwrap();
        assert!(matches!(late, Came::NotYet(decision, _) if decision.state == State::Unknown));
    }
}
