//! What people change by hand, and the list of leases and holds.

use std::net::IpAddr;

use http::StatusCode;

use super::app::App;
use super::body::{ChangedBody, LeasesBody};
use super::problem::Problem;
use super::reply::{Content, Reply};
use super::verdict::Verdict;
use crate::engine::handle::{AskError, GateHandle};
use crate::gate::question::{Change, Command, Refusal, Reply as GateReply};

impl App {
    /// Makes a change, and answers once it is durable.
    pub(super) async fn change(
        &self,
        gate: &GateHandle,
        change: Change,
        peer: IpAddr,
    ) -> Result<Reply, Problem> {
        let held = match &change {
            Change::Hold { node, .. } | Change::Lift { node, .. } => *node,
            Change::Renew { .. } | Change::Break { .. } | Change::Retire { .. } => None,
        };
        let within = self.limits.grant;
        let ask = |room| gate.ask_in(room, Command::Change(change), within);
        match self.heard(gate.name(), peer, ask).await {
            Ok(GateReply::Changed(changed)) => {
                let body = ChangedBody::new(gate.name(), held, changed);
                Ok(Content::json(&body).reply(StatusCode::OK))
            }
            Ok(GateReply::Refused(refusal)) => Err(refused(&refusal)),
            Ok(
                GateReply::Verdict(_)
                | GateReply::Verdicts(_)
                | GateReply::Go { .. }
                | GateReply::Over(_),
            ) => Err(unanswered(AskError::Gone)),
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

pub(super) fn conflict(title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, title, detail)
}

pub(super) fn refused(refusal: &Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::NoSuchLease(_) => Problem::no_such_lease(detail),
        Refusal::NotEntered { .. } => conflict("not entered", detail),
        Refusal::GoneOnWith { .. } => conflict("gone on with", detail),
        Refusal::GivenUp { .. } => conflict("given up", detail),
        Refusal::OldToken { .. } => conflict("taken over", detail),
        Refusal::OfAnother { .. } => conflict("of another owner", detail),
        Refusal::NotHeld { .. } => conflict("not held", detail),
        Refusal::NoSuchNodes { .. } => Problem::bad_parameter(detail),
        Refusal::NothingHeld => conflict("nothing held", detail),
        Refusal::StillExpected { .. } => conflict("still expected", detail),
        Refusal::NotDurable(_) | Refusal::NotInForce(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store unavailable", detail)
        }
    }
}

/// A change of which nothing was heard may be made all the same: that is said as well.
fn unanswered(why: AskError) -> Problem {
    let detail = match why {
        AskError::Busy | AskError::BusyForPeer => why.to_string(),
        AskError::Gone | AskError::Late(_) => {
            format!("{why}; the change may have been made, look before you repeat it")
        }
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no answer in time", detail)
}
