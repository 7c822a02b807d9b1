//! What each node may do, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::super::verdict::Verdict;
use super::lease::SlotsBody;
use super::state_schema;
use super::verdict::{Head, ReasonBody, explain};
use crate::checks::reason::Reason;
use crate::evidence::snapshot::ClusterKind;
use crate::gate::parts::NodeView;
use crate::gate::state::State;
use crate::gate::view::Answer;
use crate::time::Now;

/// What each node may do, and in which order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PlanBody {
    /// The verdict on any node.
    #[serde(flatten)]
    pub head: Head,
    /// The suggested order of nodes, as advice.
    pub order: Vec<i32>,
    /// Why this order.
    pub order_because: &'static str,
    /// Every expected node, in the suggested order.
    pub nodes: Vec<NodeBody>,
    /// Risks that exist with every node up and every ISR full.
    pub risks: Vec<ReasonBody>,
    /// Machines, as the configuration names them: may all nodes of one stop together?
    pub hosts: BTreeMap<String, HostBody>,
    /// Slots that are taken, and holds.
    #[serde(flatten)]
    pub slots: SlotsBody,
}

/// One machine.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HostBody {
    /// The nodes on it.
    pub nodes: Vec<i32>,
    /// The verdict on "all of them stop now".
    #[schemars(schema_with = "state_schema")]
    pub may_stop: State,
    /// What speaks against stopping this machine in particular; the rest is in the verdict's reasons.
    pub reasons: Vec<ReasonBody>,
}

impl HostBody {
    pub(in crate::server) fn new(verdict: &Verdict, now: Now) -> Self {
        Self {
            nodes: verdict.nodes.iter().map(|node| node.0).collect(),
            may_stop: verdict.state,
            reasons: explain(&verdict.reasons, now),
        }
    }
}

/// One expected node.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NodeBody {
    /// Its id.
    pub node: i32,
    /// The verdict on "this node stops now".
    #[schemars(schema_with = "state_schema")]
    pub may_stop: State,
    /// What speaks against stopping this node in particular; the rest is in the verdict's reasons.
    pub reasons: Vec<ReasonBody>,
    /// `broker`, `controller` or `combined`.
    pub role: &'static str,
    /// The release it runs.
    pub release: String,
    /// Where it was reached last; null when never.
    pub address: Option<String>,
    /// Whether it is the active controller; null when the judgement is too old.
    pub active_controller: Option<bool>,
    /// Whether it counts as down; null when the judgement is too old.
    pub down: Option<bool>,
    /// Partitions it leads; null when the judgement is too old.
    pub leads: Option<usize>,
    /// Replicas it holds; null when the judgement is too old.
    pub replicas: Option<usize>,
    /// Partitions that each other broker would lead with this node stopped, by id; null when the
    /// judgement is too old.
    pub leads_without: Option<BTreeMap<String, usize>>,
}

impl PlanBody {
    pub(in crate::server) fn new(
        answer: Answer<'_>,
        hosts: BTreeMap<String, HostBody>,
        now: Now,
    ) -> Self {
        let mut ordered: Vec<&NodeView> = answer.last_known().nodes.iter().collect();
        // Controllers first and the active one last among them; where brokers elect the
        // controller (ZooKeeper), the active one is the last of all.
        ordered.sort_by_key(|node| (!node.role.controller, node.active_controller, node.node));
        let order: Vec<i32> = ordered.iter().map(|node| node.node.0).collect();
        let mut nodes = nodes(answer, now);
        nodes.sort_by_key(|node| order.iter().position(|id| *id == node.node));
        Self {
            head: Head::new(&Verdict::of_view(answer), now),
            order,
            order_because: because(answer.last_known().cluster.kind),
            nodes,
            risks: risks(answer, now),
            hosts,
            slots: SlotsBody::new(answer),
        }
    }
}

/// Why nodes are suggested in this order, in the words of a cluster's kind.
const fn because(kind: ClusterKind) -> &'static str {
    match kind {
        ClusterKind::KRaft => "controllers first, the active controller last, then brokers",
        ClusterKind::ZooKeeper => "brokers in the order of their ids, the controller last",
        ClusterKind::Unknown => {
            "controllers first, then brokers, the active controller last among its own; it does not show \
             yet whether the cluster runs on KRaft or ZooKeeper"
        }
    }
}

/// The structural risks, each once.
fn risks(answer: Answer<'_>, now: Now) -> Vec<ReasonBody> {
    let Some(parts) = answer.parts() else {
        return Vec::new();
    };
    let of_nodes = parts.nodes.iter().flat_map(|node| &node.reasons);
    let mut seen = BTreeSet::new();
    parts
        .reasons
        .iter()
        .chain(of_nodes)
        .filter(|view| is_structural(view.reason))
        .filter(|view| seen.insert((view.reason, &view.subject)))
        .map(|view| ReasonBody::new(view, now))
        .collect()
}

/// Whether a risk exists with every node up and every ISR full.
const fn is_structural(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SingleReplica
            | Reason::NoSpareReplica
            | Reason::LastCopyByDesign
            | Reason::InternalTopicAtRisk
            | Reason::SingleVoter
            | Reason::TwoVoters
    )
}

pub(super) fn nodes(answer: Answer<'_>, now: Now) -> Vec<NodeBody> {
    let live = !answer.expired();
    let node = |node: &NodeView| NodeBody {
        node: node.node.0,
        may_stop: answer
            .node(node.node)
            .map_or(State::Unknown, |decision| decision.state),
        reasons: if live {
            explain(&node.reasons, now)
        } else {
            Vec::new()
        },
        role: node.role.as_str(),
        release: node.release.to_string(),
        address: node.address.clone(),
        active_controller: live.then_some(node.active_controller),
        down: live.then_some(node.down),
        leads: live.then_some(node.leads),
        replicas: live.then_some(node.replicas),
        leads_without: live.then(|| {
            let others = node.leads_without.iter();
            others
                .map(|(node, leads)| (node.to_string(), *leads))
                .collect()
        }),
    };
    answer.last_known().nodes.iter().map(node).collect()
}
