//! The JSON bodies of the API. Fields are only ever added within `v1`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::verdict::Verdict;
use crate::checks::finding::Subject;
use crate::checks::reason::{Clears, Reason, Severity};
use crate::clock::rfc3339;
use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::ClusterKind;
use crate::gate::parts::{CheckView, FactsView, GroupView, NodeView, Outcome, ReasonView};
use crate::gate::state::{GateName, State};
use crate::gate::view::{Answer, Decision};
use crate::time::{Now, Timestamp};

/// Where the explanation of a reason is found.
const RUNBOOK: &str = "docs/reasons.md#";

/// What every verdict starts with: flat values first, for callers that take one field.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Head {
    /// Whether the step may be taken now.
    pub open: bool,
    /// `open`, `closed` or `unknown`; only `open` lets anyone through.
    #[schemars(schema_with = "state_schema")]
    pub state: State,
    /// The gate's name.
    pub gate: String,
    /// Always true here: an answer reserves nothing, and two callers can both be told `open`.
    pub advice: bool,
    /// What speaks for the verdict: blocking first, then unknown, then warnings.
    pub reasons: Vec<ReasonBody>,
    /// When it was judged, RFC 3339 in UTC.
    pub evaluated_at: String,
    /// How long ago that is, in seconds.
    pub age_seconds: f64,
    /// In how many seconds asking again makes sense; null when open.
    pub retry_after_seconds: Option<u64>,
}

/// One reason, explained.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ReasonBody {
    /// The code from the closed list.
    pub code: &'static str,
    /// `block`, `unknown` or `warn`.
    #[schemars(schema_with = "severity_schema")]
    pub severity: Severity,
    /// What it is about, in words.
    pub subject: String,
    /// The node it is about, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<i32>,
    /// What it means.
    pub message: &'static str,
    /// What was seen.
    pub observed: String,
    /// What would be right.
    pub required: String,
    /// Of how many things.
    pub count: usize,
    /// Some of them by name.
    pub examples: Vec<String>,
    /// Since when, RFC 3339 in UTC.
    pub since: String,
    /// Since how many seconds.
    pub since_seconds: f64,
    /// The source it comes from, when from one.
    pub source: Option<String>,
    /// How long ago that source was asked, in seconds.
    pub source_age_seconds: Option<f64>,
    /// What to do.
    pub hint: &'static str,
    /// `by_itself` or `needs_person`.
    #[schemars(schema_with = "clears_schema")]
    pub clears: Clears,
    /// Where to read more.
    pub runbook: String,
}

/// The answer of `check`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CheckBody {
    /// The verdict.
    #[serde(flatten)]
    pub head: Head,
    /// The nodes asked about; empty: any node.
    pub nodes: Vec<i32>,
    /// When the verdict last changed; null for a question about nodes.
    pub since: Option<String>,
    /// Since how many seconds; null for a question about nodes.
    pub since_seconds: Option<f64>,
}

/// All gates.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GatesBody {
    /// By name.
    pub gates: Vec<CheckBody>,
}

/// Everything a gate says.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GateBody {
    /// The verdict.
    #[serde(flatten)]
    pub head: Head,
    /// When the verdict last changed.
    pub since: String,
    /// Since how many seconds.
    pub since_seconds: f64,
    /// Number of the snapshot judged; 0 before the first judgement.
    pub generation: u64,
    /// True when the judgement is too old to be true: what is shown below is what was last known.
    pub expired: bool,
    /// `kafka+jmx`, `kafka` or `jmx`.
    pub mode: &'static str,
    /// The healthy window; null when the judgement is too old.
    pub window: Option<WindowBody>,
    /// The cluster.
    pub cluster: ClusterBody,
    /// Every expected node.
    pub nodes: Vec<NodeBody>,
    /// Every check; none when the judgement is too old.
    pub checks: Vec<CheckRowBody>,
    /// Every source.
    pub sources: Vec<SourceBody>,
    /// The scraped facts; null when the judgement is too old.
    pub facts: Option<FactsBody>,
    /// The named groups; none when the judgement is too old.
    pub groups: Vec<GroupBody>,
    /// How often each state was entered since the process began.
    pub transitions: BTreeMap<&'static str, u64>,
}

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
}

/// The healthy window.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct WindowBody {
    /// How long it has to be.
    pub required_seconds: f64,
    /// How long it has held; null while something is wrong.
    pub healthy_seconds: Option<f64>,
    /// What is left of it; null while something is wrong.
    pub left_seconds: Option<f64>,
    /// Where its length comes from.
    pub basis: String,
}

/// The cluster as a whole.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ClusterBody {
    /// Its id; null until it is proven.
    pub id: Option<String>,
    /// `kraft`, `zookeeper` or `unknown`.
    pub kind: &'static str,
    /// The active controller; null when it is not known.
    pub controller: Option<i32>,
    /// The finalized level of `metadata.version`; null when it is not known.
    pub metadata_version: Option<i16>,
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
}

/// What became of one check.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CheckRowBody {
    /// Its id.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// `proved`, `found` or `not_applicable`.
    pub outcome: &'static str,
    /// Why it does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
    /// The reasons it gave.
    pub reasons: Vec<&'static str>,
}

/// One source of evidence.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SourceBody {
    /// Its name.
    pub source: String,
    /// Whether every fact it is asked for is in date; null when the judgement is too old.
    pub up: Option<bool>,
    /// When it last answered anything; null when never.
    pub last_success: Option<String>,
    /// The facts that are not in date, each with its failure or age.
    pub trouble: BTreeMap<&'static str, String>,
}

/// The scraped facts. Null: not known now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of `FactsView`")]
pub struct FactsBody {
    pub partitions: Option<usize>,
    pub under_replicated: Option<usize>,
    pub under_min_isr: Option<usize>,
    pub offline: Option<usize>,
    pub reassigning: Option<usize>,
    pub jmx_under_replicated: Option<f64>,
    pub jmx_active_controllers: Option<f64>,
    pub jmx_offline: Option<f64>,
}

/// One named group.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GroupBody {
    /// Its name.
    pub group: String,
    /// Records behind; null when not known.
    pub lag: Option<i64>,
    /// Partitions with a commit.
    pub partitions: usize,
}

impl Head {
    pub(super) fn new(verdict: &Verdict, now: Now) -> Self {
        Self {
            open: verdict.state == State::Open,
            state: verdict.state,
            gate: verdict.gate.as_str().to_owned(),
            advice: true,
            reasons: explain(&verdict.reasons, now),
            evaluated_at: rfc3339(verdict.evaluated.wall),
            age_seconds: seconds(now.mono.since(verdict.evaluated.mono)),
            retry_after_seconds: verdict.retry_after,
        }
    }
}

impl CheckBody {
    /// A verdict that was made without a server, in the shape of the server's answers.
    pub fn of_decision(
        gate: &GateName,
        nodes: &BTreeSet<NodeId>,
        decision: Decision,
        evaluated: Now,
        now: Now,
    ) -> Self {
        let verdict = Verdict::alone(gate.clone(), nodes.clone(), decision, evaluated);
        Self::new(&verdict, now)
    }

    pub(super) fn new(verdict: &Verdict, now: Now) -> Self {
        Self {
            head: Head::new(verdict, now),
            nodes: verdict.nodes.iter().map(|node| node.0).collect(),
            since: verdict.since.map(rfc3339),
            since_seconds: verdict.since.map(|since| wall_age(since, now)),
        }
    }
}

impl ReasonBody {
    pub(super) fn new(view: &ReasonView, now: Now) -> Self {
        let row = view.reason.row();
        Self {
            code: row.code,
            severity: view.severity,
            subject: view.subject.to_string(),
            node: match &view.subject {
                Subject::Node(node) => Some(node.0),
                Subject::Source(source) => source.node().map(|node| node.0),
                Subject::Cluster | Subject::Group(_) => None,
            },
            message: row.meaning,
            observed: view.observed.clone(),
            required: view.required.clone(),
            count: view.count,
            examples: view.examples.clone(),
            since: rfc3339(view.since),
            since_seconds: wall_age(view.since, now),
            source: view.source.as_ref().map(ToString::to_string),
            source_age_seconds: view.asked.map(|asked| seconds(now.mono.since(asked))),
            hint: row.hint,
            clears: row.clears,
            runbook: format!("{RUNBOOK}{}", row.code),
        }
    }
}

impl GateBody {
    pub(super) fn new(answer: Answer<'_>, now: Now) -> Self {
        let last = answer.last_known();
        let live = answer.parts();
        Self {
            head: Head::new(&Verdict::of_view(answer), now),
            since: rfc3339(answer.since()),
            since_seconds: wall_age(answer.since(), now),
            generation: last.generation,
            expired: answer.expired(),
            mode: last.mode.as_str(),
            window: live.map(|parts| WindowBody {
                required_seconds: seconds(parts.window.required),
                healthy_seconds: parts.window.healthy_for.map(seconds),
                left_seconds: parts.window.left().map(seconds),
                basis: parts.window.basis.clone(),
            }),
            cluster: ClusterBody {
                id: last.cluster.id.as_ref().map(ToString::to_string),
                kind: match last.cluster.kind {
                    ClusterKind::KRaft => "kraft",
                    ClusterKind::ZooKeeper => "zookeeper",
                    ClusterKind::Unknown => "unknown",
                },
                controller: live.and_then(|parts| parts.cluster.controller.map(|node| node.0)),
                metadata_version: live.and_then(|parts| parts.cluster.metadata_version),
            },
            nodes: nodes(answer, now),
            checks: live.map_or_else(Vec::new, |parts| {
                parts.checks.iter().map(CheckRowBody::new).collect()
            }),
            sources: sources(answer),
            facts: live.map(|parts| FactsBody::new(&parts.facts)),
            groups: live.map_or_else(Vec::new, |parts| {
                let group = |group: &GroupView| GroupBody {
                    group: group.group.0.clone(),
                    lag: group.lag,
                    partitions: group.partitions,
                };
                parts.groups.iter().map(group).collect()
            }),
            transitions: State::ALL
                .into_iter()
                .map(|state| {
                    let count = last.transitions.get(&state).copied().unwrap_or(0);
                    (state.as_str(), count)
                })
                .collect(),
        }
    }
}

impl PlanBody {
    pub(super) fn new(answer: Answer<'_>, now: Now) -> Self {
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
            order_because: "controllers first, the active controller last, then brokers",
            nodes,
            risks: risks(answer, now),
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

fn nodes(answer: Answer<'_>, now: Now) -> Vec<NodeBody> {
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
    };
    answer.last_known().nodes.iter().map(node).collect()
}

fn sources(answer: Answer<'_>) -> Vec<SourceBody> {
    let live = !answer.expired();
    let sources = answer.last_known().sources.iter();
    sources
        .map(|source| SourceBody {
            source: source.source.to_string(),
            up: live.then_some(source.up),
            last_success: source.last_success.map(rfc3339),
            trouble: source
                .trouble
                .iter()
                .map(|(kind, what)| (kind.as_str(), what.clone()))
                .collect(),
        })
        .collect()
}

impl CheckRowBody {
    fn new(check: &CheckView) -> Self {
        let (outcome, because) = match check.outcome {
            Outcome::Proved => ("proved", None),
            Outcome::Found => ("found", None),
            Outcome::NotApplicable(why) => ("not_applicable", Some(why)),
        };
        Self {
            id: check.id,
            title: check.title,
            outcome,
            because,
            reasons: check.reasons.iter().map(|reason| reason.code()).collect(),
        }
    }
}

impl FactsBody {
    fn new(facts: &FactsView) -> Self {
        let finite = |number: Option<f64>| number.filter(|number| number.is_finite());
        Self {
            partitions: facts.partitions,
            under_replicated: facts.under_replicated,
            under_min_isr: facts.under_min_isr,
            offline: facts.offline,
            reassigning: facts.reassigning,
            jmx_under_replicated: finite(facts.jmx_under_replicated),
            jmx_active_controllers: finite(facts.jmx_active_controllers),
            jmx_offline: finite(facts.jmx_offline),
        }
    }
}

fn explain(reasons: &[ReasonView], now: Now) -> Vec<ReasonBody> {
    let explain = |view| ReasonBody::new(view, now);
    reasons.iter().map(explain).collect()
}

/// Seconds with milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "an age in milliseconds, for display"
)]
fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
}

/// How long ago a wall time is; zero when the clock was set back since.
fn wall_age(since: Timestamp, now: Now) -> f64 {
    let nanos = now.wall.as_nanos().saturating_sub(since.as_nanos());
    seconds(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

fn state_schema(_: &mut SchemaGenerator) -> Schema {
    words(&State::ALL.map(State::as_str))
}

fn severity_schema(_: &mut SchemaGenerator) -> Schema {
    words(&[Severity::Warn, Severity::Unknown, Severity::Block].map(Severity::as_str))
}

fn clears_schema(_: &mut SchemaGenerator) -> Schema {
    words(&["by_itself", "needs_person"])
}

fn words(list: &[&'static str]) -> Schema {
    json_schema!({ "type": "string", "enum": list })
}
