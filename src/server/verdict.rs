//! A verdict on its way to a caller, whoever made it: the published view or the engine.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::evidence::ids::NodeId;
use crate::gate::lease::Action;
use crate::gate::parts::ReasonView;
use crate::gate::state::{GateName, State};
use crate::gate::view::{Answer, Decision};
use crate::time::{Now, Timestamp};

/// Bounds of `Retry-After`, in seconds. Small, because callers sleep exactly as told, and curl
/// gives up at once where it is longer than its own limit (reference
/// `exporters-alerts-and-callers.md` 0.4).
const RETRY_AFTER: (u64, u64) = (5, 15);

/// A verdict and what a caller is told with it.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// The gate asked.
    pub(super) gate: GateName,
    /// The verdict.
    pub(super) state: State,
    /// What speaks for it: blocking first, then unknown, then warnings.
    pub(super) reasons: Vec<ReasonView>,
    /// When it was judged.
    pub(super) evaluated: Now,
    /// When it last changed; `None` for a question about nodes.
    pub(super) since: Option<Timestamp>,
    /// The nodes asked about; empty: any.
    pub(super) nodes: BTreeSet<NodeId>,
    /// The machines asked about.
    pub(super) hosts: BTreeSet<String>,
    /// What the nodes would be stopped for.
    pub(super) action: Action,
    /// What the gate does not see as it is set up, by name.
    pub(super) blind_spots: Vec<&'static str>,
    /// After how many seconds asking again makes sense; `None` when it is open.
    pub(super) retry_after: Option<u64>,
}

impl Verdict {
    /// What a view says of the gate as a whole.
    pub(super) fn of_view(answer: Answer<'_>) -> Self {
        let state = answer.state();
        Self {
            gate: answer.last_known().gate.clone(),
            state,
            reasons: answer.reasons(),
            evaluated: answer.evaluated(),
            since: Some(answer.since()),
            nodes: BTreeSet::new(),
            hosts: BTreeSet::new(),
            action: Action::Restart,
            blind_spots: answer.last_known().blind_spot_ids(),
            retry_after: retry_after(answer, state),
        }
    }

    /// A verdict on nodes, made at `evaluated`; the view only says when asking again makes sense.
    pub(super) fn on_nodes(
        answer: Answer<'_>,
        nodes: BTreeSet<NodeId>,
        decision: Decision,
        evaluated: Now,
    ) -> Self {
        Self {
            gate: answer.last_known().gate.clone(),
            state: decision.state,
            reasons: decision.reasons,
            evaluated,
            since: None,
            nodes,
            hosts: BTreeSet::new(),
            action: Action::Restart,
            blind_spots: answer.last_known().blind_spot_ids(),
            retry_after: retry_after(answer, decision.state),
        }
    }

    /// A verdict without a view around it; how soon it may change is not known.
    pub(super) fn alone(
        gate: GateName,
        nodes: BTreeSet<NodeId>,
        decision: Decision,
        evaluated: Now,
    ) -> Self {
        let (least, _) = RETRY_AFTER;
        let open = decision.state == State::Open;
        Self {
            gate,
            state: decision.state,
            reasons: decision.reasons,
            evaluated,
            since: None,
            nodes,
            hosts: BTreeSet::new(),
            action: Action::Restart,
            blind_spots: Vec::new(),
            retry_after: (!open).then_some(least),
        }
    }
}

/// When the gate could open at the earliest: what is left of the window, or a whole one.
fn retry_after(answer: Answer<'_>, state: State) -> Option<u64> {
    match state {
        State::Open => return None,
        State::Closed | State::Unknown => {}
    }
    let (least, most) = RETRY_AFTER;
    let window = answer.parts().map(|parts| &parts.window);
    let left = window.map_or(Duration::ZERO, |window| {
        let left = window.left().map(|left| left.saturating_sub(answer.age()));
        left.unwrap_or(window.required)
    });
    let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Some(whole.clamp(least, most))
}
