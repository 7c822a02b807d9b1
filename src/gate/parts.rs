//! What a view is made of: the verdict, and everything that is shown beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lease::{Hold, Lease};
use super::state::{GateName, State};
use crate::checks::blind_spots::BlindSpot;
use crate::checks::finding::Subject;
use crate::checks::reason::{Reason, Severity};
use crate::evidence::ids::{ClusterId, GroupId, NodeId, Release, Role};
use crate::evidence::policy::Mode;
use crate::evidence::report::{FactKind, SourceId};
use crate::evidence::snapshot::ClusterKind;
use crate::evidence::step::Step;
use crate::time::{Mono, Now, Timestamp};

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
    /// Those of them that speak against every node: all but what the what-ifs of single nodes found,
    /// which each node has in its own list. Told apart by who found them and not by their codes,
    /// since a row may find what a what-if finds as well.
    pub general: Vec<ReasonView>,
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
    /// Slots that are taken.
    pub leases: Vec<LeaseView>,
    /// The gate's own hold.
    pub hold: Option<Hold>,
    /// Nodes that are held.
    pub node_holds: BTreeMap<NodeId, Hold>,
    /// What mode the gate runs in.
    pub mode: Mode,
    /// What is not seen in the way the gate is set up.
    pub blind_spots: Vec<BlindSpot>,
}

/// A slot that is taken, and how far its nodes are on their way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The lease.
    pub lease: Lease,
    /// What the proof of return waits for, in words; empty before it was measured.
    pub progress: String,
    /// For how long its nodes have come no nearer to being back.
    pub unchanged_for: Duration,
    /// How long nodes of this cluster usually take from grant to proof, once some have.
    pub usually: Option<Duration>,
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
    /// The step at which a source failed, where that is the reason.
    pub step: Option<Step>,
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
    /// [`ViewParts::general`].
    pub reasons: Vec<ReasonView>,
    /// Partitions it leads now.
    pub leads: usize,
    /// Replicas it holds.
    pub replicas: usize,
    /// Partitions that each other broker would lead with this node stopped: Kafka gives each to
    /// the first in-sync replica of its list.
    pub leads_without: BTreeMap<NodeId, usize>,
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
    /// Whether it is over: long enough, and every source asked since it began.
    pub settled: bool,
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

impl ViewParts {
    /// The names of what is not seen.
    pub fn blind_spot_ids(&self) -> Vec<&'static str> {
        self.blind_spots.iter().map(|spot| spot.id).collect()
    }

    /// Whether not every source has been heard yet, since the start or since the clock jumped.
    pub fn is_warming_up(&self) -> bool {
        let early = [Reason::WarmingUp, Reason::ClockJumped, Reason::NoNodesKnown];
        self.reasons
            .iter()
            .any(|reason| early.contains(&reason.reason))
    }
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

    #[test]
    fn any_block_closes_else_any_unknown_is_unknown() {
        use Severity::{Block, Unknown, Warn};
        assert_eq!(verdict([]), State::Open);
        assert_eq!(verdict([Warn, Warn]), State::Open);
        assert_eq!(verdict([Warn, Unknown]), State::Unknown);
        assert_eq!(verdict([Unknown, Block, Warn]), State::Closed);
    }
}
