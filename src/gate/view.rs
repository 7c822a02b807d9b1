//! The published judgement. The only way to read it is [`View::at`], which is `unknown` after the
//! moment until which it is true: a hung engine, a stopped process or a jumped clock cannot leave
//! an old `open` behind (law 9).

use std::collections::BTreeMap;
use std::time::Duration;

use super::parts::{ClusterView, FactsView, ReasonView, ViewParts, WindowView, sort};
use super::state::{GateName, State};
use crate::checks::finding::Subject;
use crate::checks::reason::{Reason, Severity};
use crate::evidence::ids::NodeId;
use crate::evidence::policy::Mode;
use crate::evidence::snapshot::ClusterKind;
use crate::time::{Mono, Now, Timestamp};

/// One judgement of one gate, true until [`ViewParts::valid_until`].
#[derive(Clone, Debug)]
pub struct View {
    parts: ViewParts,
}

/// A view read at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    view: &'a View,
    now: Mono,
    expired: bool,
}

/// The verdict on a question, with everything that speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The verdict.
    pub state: State,
    /// Blocking first, then unknown, then warnings.
    pub reasons: Vec<ReasonView>,
}

impl View {
    /// Publishes these parts.
    pub const fn new(parts: ViewParts) -> Self {
        Self { parts }
    }

    /// A view that says nothing but why it says nothing: before the first judgement, after the
    /// engine failed.
    pub fn nothing(gate: GateName, now: Now, reason: Reason, observed: &str) -> Self {
        let since = now.wall;
        let why = ReasonView {
            reason,
            severity: reason.row().severity.max(Severity::Unknown),
            subject: Subject::Cluster,
            observed: observed.to_owned(),
            required: String::from("a judgement on fresh evidence"),
            count: 1,
            examples: Vec::new(),
            since,
            source: None,
            asked: None,
            step: None,
        };
        Self::new(ViewParts {
            gate,
            generation: 0,
            evaluated: now,
            valid_until: Mono::from_nanos(u64::MAX),
            state: State::Unknown,
            since,
            transitions: BTreeMap::new(),
            general: vec![why.clone()],
            reasons: vec![why],
            checks: Vec::new(),
            nodes: Vec::new(),
            sources: Vec::new(),
            window: WindowView::default(),
            cluster: ClusterView {
                id: None,
                kind: ClusterKind::Unknown,
                controller: None,
                metadata_version: None,
            },
            facts: FactsView::default(),
            groups: Vec::new(),
            leases: Vec::new(),
            hold: None,
            node_holds: BTreeMap::new(),
            mode: Mode::default(),
            blind_spots: Vec::new(),
        })
    }

    /// The parts, for the Machine to build on.
    pub(super) fn into_parts(self) -> ViewParts {
        self.parts
    }

    /// What this view says at `now`.
    pub const fn at(&self, now: Mono) -> Answer<'_> {
        Answer {
            view: self,
            now,
            expired: now.as_nanos() > self.parts.valid_until.as_nanos(),
        }
    }

    /// The gate it is about, which does not expire.
    pub const fn gate(&self) -> &GateName {
        &self.parts.gate
    }

    /// Number of the snapshot judged; to notice a newer view, not to judge by.
    pub const fn generation(&self) -> u64 {
        self.parts.generation
    }
}

impl<'a> Answer<'a> {
    /// The verdict without a target.
    pub const fn state(&self) -> State {
        if self.expired {
            State::Unknown
        } else {
            self.view.parts.state
        }
    }

    /// Whether the view is too old to be true.
    pub const fn expired(&self) -> bool {
        self.expired
    }

    /// Everything found, blocking first. Of an expired view nothing is left but that.
    pub fn reasons(&self) -> Vec<ReasonView> {
        if self.expired {
            vec![self.expiry()]
        } else {
            self.view.parts.reasons.clone()
        }
    }

    /// When it was judged.
    pub const fn evaluated(&self) -> Now {
        self.view.parts.evaluated
    }

    /// How old the judgement is.
    pub const fn age(&self) -> Duration {
        self.now.since(self.view.parts.evaluated.mono)
    }

    /// When the verdict last changed; for an expired view, when it expired.
    pub fn since(&self) -> Timestamp {
        if self.expired {
            self.expiry().since
        } else {
            self.view.parts.since
        }
    }

    /// The parts, unless they are too old to be true. What may be shown all the same (names,
    /// addresses, since when) is in [`Answer::last_known`].
    pub const fn parts(&self) -> Option<&'a ViewParts> {
        if self.expired {
            None
        } else {
            Some(&self.view.parts)
        }
    }

    /// The parts, however old: for showing, with a word that they are old; never for judging.
    pub const fn last_known(&self) -> &'a ViewParts {
        &self.view.parts
    }

    /// The verdict on "this node stops now"; `None` when the node is not an expected one.
    ///
    /// What speaks against every node counts; what only speaks against others does not.
    pub fn node(&self, node: NodeId) -> Option<Decision> {
        if self.expired {
            return Some(Decision {
                state: State::Unknown,
                reasons: vec![self.expiry()],
            });
        }
        let parts = &self.view.parts;
        let Some(target) = parts.nodes.iter().find(|n| n.node == node) else {
            // A gate that has not heard everybody yet cannot call a node a stranger.
            return parts.is_warming_up().then(|| Decision {
                state: State::Unknown,
                reasons: parts.general.clone(),
            });
        };
        let mut reasons = target.reasons.clone();
        reasons.extend_from_slice(&parts.general);
        sort(&mut reasons);
        Some(Decision {
            state: target.may_stop,
            reasons,
        })
    }

    fn expiry(&self) -> ReasonView {
        let parts = &self.view.parts;
        let late = self.now.since(parts.valid_until);
        ReasonView {
            reason: Reason::ViewExpired,
            severity: Severity::Unknown,
            subject: Subject::Cluster,
            observed: format!(
                "the newest judgement is {} ms past its end",
                late.as_millis()
            ),
            required: String::from("a judgement on fresh evidence"),
            count: 1,
            examples: Vec::new(),
            since: parts
                .evaluated
                .wall
                .plus(parts.valid_until.since(parts.evaluated.mono)),
            source: None,
            asked: Some(parts.evaluated.mono),
            step: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_view() -> View {
        let now = Now {
            mono: Mono::from_nanos(1_000),
            wall: Timestamp::from_nanos(5_000),
        };
        let nothing = View::nothing(GateName::default(), now, Reason::WarmingUp, "");
        View::new(ViewParts {
            state: State::Open,
            valid_until: Mono::from_nanos(2_000),
            reasons: Vec::new(),
            ..nothing.parts
        })
    }

    #[test]
    fn after_its_end_a_view_is_unknown_and_says_so() {
        let view = open_view();
        assert_eq!(view.at(Mono::from_nanos(2_000)).state(), State::Open);
        let late = view.at(Mono::from_nanos(2_001));
        assert_eq!(late.state(), State::Unknown);
        assert_eq!(late.reasons()[0].reason, Reason::ViewExpired);
        assert!(late.parts().is_none());
        assert_eq!(late.node(NodeId(1)).map(|d| d.state), Some(State::Unknown));
    }

    #[test]
    fn a_node_that_is_not_expected_has_no_verdict() {
        assert!(
            open_view()
                .at(Mono::from_nanos(1_500))
                .node(NodeId(9))
                .is_none()
        );
    }
}
