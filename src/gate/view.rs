//! The published judgement. The only way to read it is [`View::at`], which is `unknown` after the
//! moment until which it is true: a hung engine, a stopped process or a jumped clock cannot leave
//! an old `open` behind (law 9).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::state::{GateName, State};
use crate::checks::finding::Subject;
use crate::checks::reason::{Reason, Severity};
use crate::evidence::ids::{ClusterId, GroupId, NodeId, Release, Role};
use crate::evidence::policy::Mode;
use crate::evidence::report::{FactKind, SourceId};
use crate::evidence::snapshot::ClusterKind;
use crate::time::{Mono, Now, Timestamp};

/// One judgement of one gate, true until [`ViewParts::valid_until`].
#[derive(Clone, Debug)]
pub struct View {
    parts: ViewParts,
}

/// What a view is made of. Only the Machine (and tests of readers) makes one.
#[derive(Clone, Debug)]
pub struct ViewParts {
    /// The gate.
    pub gate: GateName,
    /// Number of the snapshot judged.
    pub generation: u64,
    /// When it was judged.
    pub evaluated: Now,
    /// Until when it is true.
    pub valid_until: Mono,
    /// The verdict without a target.
    pub state: State,
    /// When the verdict last changed, by the wall clock.
    pub since: Timestamp,
    /// How often each state was entered since the process began.
    pub transitions: BTreeMap<State, u64>,
    /// Everything that was found: blocking first, then unknown, then warnings.
    pub reasons: Vec<ReasonView>,
    /// Every row of the check table.
    pub checks: Vec<CheckView>,
    /// Every expected node.
    pub nodes: Vec<NodeView>,
    /// Every source that was ever asked.
    pub sources: Vec<SourceView>,
    /// The healthy window.
    pub window: WindowView,
    /// The cluster.
    pub cluster: ClusterView,
    /// The scraped facts themselves.
    pub facts: FactsView,
    /// The named groups.
    pub groups: Vec<GroupView>,
    /// What mode the gate runs in.
    pub mode: Mode,
}

/// A finding, with the time since when it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ReasonView {
    /// Why.
    pub reason: Reason,
    /// What it does to the verdict.
    pub severity: Severity,
    /// About what.
    pub subject: Subject,
    /// What was seen.
    pub observed: String,
    /// What would be right.
    pub required: String,
    /// Of how many things.
    pub count: usize,
    /// Some of them by name.
    pub examples: Vec<String>,
    /// Since when, by the wall clock.
    pub since: Timestamp,
    /// From which source, when from one.
    pub source: Option<SourceId>,
    /// When that source was asked.
    pub asked: Option<Mono>,
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckView {
    /// The row's id.
    pub id: &'static str,
    /// The row's title.
    pub title: &'static str,
    /// The outcome.
    pub outcome: Outcome,
    /// The reasons it gave, each once.
    pub reasons: BTreeSet<Reason>,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Shown to hold.
    Proved,
    /// Not shown.
    Found,
    /// There is no such thing here.
    NotApplicable(&'static str),
}

/// One expected node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Who.
    pub node: NodeId,
    /// What for.
    pub role: Role,
    /// The release it runs.
    pub release: Release,
    /// Where it was reached last, when it was.
    pub address: Option<String>,
    /// Whether it is the active controller.
    pub active_controller: bool,
    /// Whether it counts as down now.
    pub down: bool,
    /// The verdict on "this node stops now".
    pub may_stop: State,
    /// What speaks against it: the node's own what-if. What speaks against every node is in
    /// [`ViewParts::reasons`].
    pub reasons: Vec<ReasonView>,
    /// Partitions it leads now.
    pub leads: usize,
    /// Replicas it holds.
    pub replicas: usize,
}

/// One source of evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceView {
    /// Which.
    pub source: SourceId,
    /// Whether every fact it was asked for is fresh.
    pub up: bool,
    /// When it last answered anything, by the wall clock.
    pub last_success: Option<Timestamp>,
    /// The failure or age of the facts that are not fresh.
    pub trouble: Vec<(FactKind, String)>,
}

/// The healthy window as people want to see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowView {
    /// How long it has to be.
    pub required: Duration,
    /// How long it has held; `None` while something is wrong.
    pub healthy_for: Option<Duration>,
    /// Where the length comes from.
    pub basis: String,
}

impl WindowView {
    /// What is left of it; `None` while something is wrong.
    pub fn left(&self) -> Option<Duration> {
        self.healthy_for
            .map(|held| self.required.saturating_sub(held))
    }
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    /// Its id, once proven.
    pub id: Option<ClusterId>,
    /// How it keeps its metadata.
    pub kind: ClusterKind,
    /// The active controller, when it is known.
    pub controller: Option<NodeId>,
    /// `metadata.version` as finalized, when it is known.
    pub metadata_version: Option<i16>,
}

/// The numbers that feed the dashboard. `None`: not known now; never 0 for that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactsView {
    /// Partitions in all.
    pub partitions: Option<usize>,
    /// With a short ISR, by metadata.
    pub under_replicated: Option<usize>,
    /// Under min ISR, by metadata.
    pub under_min_isr: Option<usize>,
    /// Without a leader, by metadata.
    pub offline: Option<usize>,
    /// Being reassigned.
    pub reassigning: Option<usize>,
    /// Sum of `UnderReplicatedPartitions` over brokers, when every broker says it.
    pub jmx_under_replicated: Option<f64>,
    /// Sum of `ActiveControllerCount`, when every controller says it.
    pub jmx_active_controllers: Option<f64>,
    /// Largest `OfflinePartitionsCount` of loaded controllers.
    pub jmx_offline: Option<f64>,
}

/// One named group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    /// Which.
    pub group: GroupId,
    /// Records behind over all partitions with a commit; `None` when not known.
    pub lag: Option<i64>,
    /// Partitions with a commit.
    pub partitions: usize,
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
            severity: reason.row().severity,
            subject: Subject::Cluster,
            observed: observed.to_owned(),
            required: String::from("a judgement on fresh evidence"),
            count: 1,
            examples: Vec::new(),
            since,
            source: None,
            asked: None,
        };
        Self::new(ViewParts {
            gate,
            generation: 0,
            evaluated: now,
            valid_until: Mono::from_nanos(u64::MAX),
            state: State::Unknown,
            since,
            transitions: BTreeMap::new(),
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
            mode: Mode::default(),
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
                reasons: parts.general_reasons().cloned().collect(),
            });
        };
        let mut reasons: Vec<_> = target.reasons.clone();
        reasons.extend(parts.general_reasons().cloned());
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
        }
    }
}

impl ViewParts {
    /// Whether not every source has been heard yet, since the start or since the clock jumped.
    pub fn is_warming_up(&self) -> bool {
        let early = [Reason::WarmingUp, Reason::ClockJumped, Reason::NoNodesKnown];
        self.reasons
            .iter()
            .any(|reason| early.contains(&reason.reason))
    }

    /// Reasons that concern every node: all but the what-ifs of single nodes.
    pub fn general_reasons(&self) -> impl Iterator<Item = &ReasonView> {
        self.reasons
            .iter()
            .filter(|reason| !is_what_if(reason.reason))
    }
}

/// Whether a reason says what stopping one node would do, so that it does not speak against
/// stopping another.
pub const fn is_what_if(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::WouldGoOffline
            | Reason::WouldLoseMinIsr
            | Reason::WouldLeaveLastCopy
            | Reason::WouldStopReassignment
            | Reason::WouldLoseQuorum
            | Reason::SingleReplica
            | Reason::NoSpareReplica
            | Reason::LastCopyByDesign
            | Reason::InternalTopicAtRisk
    )
}

/// Blocking first, then unknown, then warnings; within these by reason and subject.
pub fn sort(reasons: &mut [ReasonView]) {
    reasons.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| a.reason.cmp(&b.reason))
            .then_with(|| a.subject.cmp(&b.subject))
    });
}

/// The verdict that reasons of these severities make: any block closes, else any unknown is
/// unknown, else open.
pub fn verdict(severities: impl IntoIterator<Item = Severity>) -> State {
    match severities.into_iter().max() {
        None | Some(Severity::Warn) => State::Open,
        Some(Severity::Unknown) => State::Unknown,
        Some(Severity::Block) => State::Closed,
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
    fn any_block_closes_else_any_unknown_is_unknown() {
        use Severity::{Block, Unknown, Warn};
        assert_eq!(verdict([]), State::Open);
        assert_eq!(verdict([Warn, Warn]), State::Open);
        assert_eq!(verdict([Warn, Unknown]), State::Unknown);
        assert_eq!(verdict([Unknown, Block, Warn]), State::Closed);
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
