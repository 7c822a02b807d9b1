//! Everything a gate says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::verdict::Verdict;
use super::lease::SlotsBody;
use super::plan::{NodeBody, nodes};
use super::verdict::Head;
use super::{seconds, wall_age};
use crate::checks::blind_spots::BlindSpot;
use crate::clock::rfc3339;
use crate::gate::parts::{CheckView, FactsView, GroupView, Outcome};
use crate::gate::state::State;
use crate::gate::view::Answer;
use crate::time::Now;

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
    /// What is not seen in the way this gate is set up.
    pub blind_spots: Vec<BlindSpotBody>,
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
    /// Slots that are taken, and holds.
    #[serde(flatten)]
    pub slots: SlotsBody,
    /// How often each state was entered since the process began.
    pub transitions: BTreeMap<&'static str, u64>,
}

/// One thing that is not seen.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct BlindSpotBody {
    /// Its name in `docs/degraded.md`.
    pub id: &'static str,
    /// What is not seen, or not promised.
    pub unseen: &'static str,
    /// What the verdict rests on in its place.
    pub instead: &'static str,
    /// What can be added to see it; whatever source is named is required from then on.
    pub optional: &'static str,
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

impl GateBody {
    pub(in crate::server) fn new(answer: Answer<'_>, now: Now) -> Self {
        let last = answer.last_known();
        let live = answer.parts();
        Self {
            head: Head::new(&Verdict::of_view(answer), now),
            since: rfc3339(answer.since()),
            since_seconds: wall_age(answer.since(), now),
            generation: last.generation,
            expired: answer.expired(),
            mode: last.mode.as_str(),
            blind_spots: last.blind_spots.iter().map(BlindSpotBody::new).collect(),
            window: live.map(|parts| WindowBody {
                required_seconds: seconds(parts.window.required),
                healthy_seconds: parts.window.healthy_for.map(seconds),
                left_seconds: parts.window.left().map(seconds),
                basis: parts.window.basis.clone(),
            }),
            cluster: ClusterBody {
                id: last.cluster.id.as_ref().map(ToString::to_string),
                kind: last.cluster.kind.as_str(),
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
            slots: SlotsBody::new(answer),
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

impl BlindSpotBody {
    pub(crate) const fn new(spot: &BlindSpot) -> Self {
        Self {
            id: spot.id,
            unseen: spot.unseen,
            instead: spot.instead,
            optional: spot.optional,
        }
    }
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
