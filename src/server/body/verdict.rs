//! The verdict, and what speaks for it.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::super::verdict::Verdict;
use super::{action_schema, seconds, state_schema, wall_age, words};
use crate::checks::finding::Subject;
use crate::checks::reason::{Clears, Severity};
use crate::clock::rfc3339;
use crate::evidence::ids::NodeId;
use crate::evidence::step::Step;
use crate::gate::lease::Action;
use crate::gate::parts::ReasonView;
use crate::gate::state::{GateName, State};
use crate::gate::view::Decision;
use crate::time::Now;

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
    /// True unless it comes from `enter` or `leave`: the answer reserves nothing, and two callers
    /// can both be told `open`.
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
    /// The step at which the source failed; left out where that is not the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "step_schema")]
    pub step: Option<&'static str>,
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
    /// The machines asked about.
    pub hosts: Vec<String>,
    /// `restart` or `repair`: what the nodes would be stopped for.
    #[schemars(schema_with = "action_schema")]
    pub action: Action,
    /// When the verdict last changed; null for a question about nodes.
    pub since: Option<String>,
    /// Since how many seconds; null for a question about nodes.
    pub since_seconds: Option<f64>,
    /// What the gate does not see as it is set up, by name (docs/degraded.md says what stands in for it).
    pub blind_spots: Vec<&'static str>,
}

/// All gates.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GatesBody {
    /// By name.
    pub gates: Vec<CheckBody>,
}

impl Head {
    pub(in crate::server) fn new(verdict: &Verdict, now: Now) -> Self {
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

    /// The same for an answer that stands: of `enter` and `leave`.
    pub(in crate::server) fn binding(verdict: &Verdict, now: Now) -> Self {
        Self {
            advice: false,
            ..Self::new(verdict, now)
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
        blind_spots: &[&'static str],
        now: Now,
    ) -> Self {
        let verdict = Verdict {
            blind_spots: blind_spots.to_vec(),
            ..Verdict::alone(gate.clone(), nodes.clone(), decision, evaluated)
        };
        Self::new(&verdict, now)
    }

    pub(in crate::server) fn new(verdict: &Verdict, now: Now) -> Self {
        Self {
            head: Head::new(verdict, now),
            nodes: verdict.nodes.iter().map(|node| node.0).collect(),
            hosts: verdict.hosts.iter().cloned().collect(),
            action: verdict.action,
            since: verdict.since.map(rfc3339),
            since_seconds: verdict.since.map(|since| wall_age(since, now)),
            blind_spots: verdict.blind_spots.clone(),
        }
    }
}

impl ReasonBody {
    pub(in crate::server) fn new(view: &ReasonView, now: Now) -> Self {
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
            step: view.step.map(Step::as_str),
            hint: row.hint,
            clears: row.clears,
            runbook: format!("{RUNBOOK}{}", row.code),
        }
    }
}

pub(super) fn explain(reasons: &[ReasonView], now: Now) -> Vec<ReasonBody> {
    let explain = |view| ReasonBody::new(view, now);
    reasons.iter().map(explain).collect()
}

fn severity_schema(_: &mut SchemaGenerator) -> Schema {
    words(&[Severity::Warn, Severity::Unknown, Severity::Block].map(Severity::as_str))
}

fn step_schema(_: &mut SchemaGenerator) -> Schema {
    words(&Step::ALL.map(Step::as_str))
}

fn clears_schema(_: &mut SchemaGenerator) -> Schema {
    words(&["by_itself", "needs_person"])
}
