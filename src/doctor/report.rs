//! What was seen, as a report for people and programs. Pure: [`Gathered`] in, [`Report`] out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::Patient;
use super::gather::{Gathered, Spoken};
use super::guarantee::Guarantee;
use super::rights::{self, RightRow};
use super::secrets;
use super::store::Store;
use super::window::Window;
use crate::checks::blind_spots::BlindSpot;
use crate::checks::reason::{Reason, Severity};
use crate::collect::schedule::{FACTS, FactRow};
use crate::evidence::aggregate::Mode;
use crate::evidence::facts::{Facts, Identity};
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, SourceId};
use crate::evidence::snapshot::ClusterKind;
use crate::evidence::step::Step;
use crate::gate::parts::{NodeView, ReasonView, ViewParts};
use crate::gate::state::State;
use crate::jmx::found::Found;

/// A wall clock that goes so far from the boot clock within one examination is being set.
const DRIFT: Duration = Duration::from_millis(500);

/// Everything that `doctor` says.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The gate.
    pub gate: String,
    /// Whether there is no problem.
    pub ok: bool,
    /// What the gate would say now, the window aside.
    pub state: State,
    /// What keeps the gate from opening, and what to do.
    pub problems: Vec<Problem>,
    /// The cluster.
    pub cluster: Cluster,
    /// Every node that was found or is expected.
    pub nodes: Vec<Node>,
    /// Every kind of fact: who told it, and who did not.
    pub facts: Vec<Fact>,
    /// Every right at the cluster's authorizer that a gate needs, and whether it is there.
    pub rights: Vec<RightRow>,
    /// Risks that exist with every node up, and warnings.
    pub warnings: Vec<Problem>,
    /// The healthy window.
    pub window: Window,
    /// The clock of this machine.
    pub clock: Clock,
    /// The durable state.
    pub store: Store,
    /// What the gate's word is worth.
    pub guarantee: Guarantee,
    /// What is not seen in the way the gate is set up.
    pub blind_spots: Vec<BlindSpot>,
}

/// Something that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// A reason's code, or `doctor` where no gate would say it.
    pub code: &'static str,
    /// What was seen.
    pub what: String,
    /// The step at which a source failed, where that is the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// What to do.
    pub hint: String,
}

/// The cluster.
#[derive(Debug, Serialize)]
pub struct Cluster {
    /// Its id.
    pub id: Option<String>,
    /// `kraft`, `zookeeper` or `unknown`.
    pub kind: &'static str,
    /// The active controller.
    pub controller: Option<i32>,
    /// `metadata.version` as finalized.
    pub metadata_version: Option<i16>,
}

/// One node.
#[derive(Debug, Serialize)]
pub struct Node {
    /// Its id.
    pub node: i32,
    /// `broker`, `controller` or `combined`.
    pub role: &'static str,
    /// The release its ApiVersions answer stands for.
    pub release: String,
    /// The address it advertises, or the configuration has.
    pub advertised: Option<String>,
    /// Where it was dialled: another address only by the address map.
    pub dialled: Option<String>,
    /// `proved`, or why not; null without a connection.
    pub identity: Option<String>,
    /// Versions of each request: what the node has, and which is spoken; or why none is known.
    pub versions: Result<BTreeMap<&'static str, Version>, String>,
    /// Its exporter's page; null where none is wanted or was asked for.
    pub page: Option<Page>,
}

/// Versions of one request.
#[derive(Debug, Serialize)]
pub struct Version {
    /// The range that the node has; null: none.
    pub node: Option<(i16, i16)>,
    /// The version that is spoken; null: there is none in common.
    pub spoken: Option<i16>,
}

/// An exporter's page.
#[derive(Debug, Serialize)]
pub struct Page {
    /// Why it is not used; null when it is.
    pub failed: Option<String>,
    /// Facts found.
    pub found: Vec<String>,
    /// Facts that a gate cannot do without, and that are not there.
    pub missing: Vec<String>,
    /// Facts that are useful, and not there.
    pub missing_optional: Vec<String>,
    /// Whether the process's start time is there.
    pub start_time: bool,
}

/// One kind of fact.
#[derive(Debug, Serialize)]
pub struct Fact {
    /// Its name.
    pub fact: &'static str,
    /// The request that brings it.
    pub request: &'static str,
    /// In which modes and clusters a gate cannot open without it.
    pub required: &'static str,
    /// Nodes that told it.
    pub told_by: Vec<i32>,
    /// Sources that did not, and why; a missing right is named with its ACL.
    pub failed: BTreeMap<String, String>,
}

/// The clock of this machine.
#[derive(Debug, Serialize)]
pub struct Clock {
    /// How far the wall clock went from the boot clock meanwhile, in milliseconds.
    pub drift_ms: i64,
}

impl Report {
    /// Says what was seen.
    pub fn new(patient: &Patient, gathered: &Gathered) -> Self {
        let view = gathered.view.at(gathered.now.mono);
        let parts = view.last_known();
        let nodes = nodes(gathered, parts);
        let rights = rights::rights(patient, &gathered.reports);
        let mut problems: Vec<_> = rights.iter().filter_map(rights::problem).collect();
        problems.extend(against(parts));
        problems.extend(nodes.iter().filter_map(lacking));
        problems.extend(gathered.kept.store.trouble().map(|why| Problem {
            code: Reason::StoreUnavailable.code(),
            what: why.to_owned(),
            step: None,
            hint: Reason::StoreUnavailable.row().hint.to_owned(),
        }));
        problems.extend(clock_is_set(gathered.drift));
        let window = Window::of(gathered, parts);
        let guarantee = Guarantee::of(patient, gathered, parts, &window, &rights);
        let mut warnings = warnings(parts, &rights);
        warnings.extend(secrets::readable(patient));
        let state = match (problems.is_empty(), view.state()) {
            // All that is missing is the window.
            (true, State::Closed | State::Unknown) if only_settling(&parts.reasons) => State::Open,
            (_, state) => state,
        };
        Self {
            gate: patient.gate.to_string(),
            ok: problems.is_empty(),
            state,
            problems,
            cluster: cluster(parts),
            nodes,
            facts: facts(gathered),
            warnings,
            rights,
            window,
            clock: Clock {
                drift_ms: i64::try_from(gathered.drift / 1_000_000).unwrap_or(i64::MAX),
            },
            store: gathered.kept.store.clone(),
            guarantee,
            blind_spots: parts.blind_spots.clone(),
        }
    }
}

/// Whether a reason is about time that has not gone by, and not about the cluster.
const fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Settling | Reason::LeadershipMoving | Reason::WarmingUp
    )
}

fn only_settling(reasons: &[ReasonView]) -> bool {
    let mut against = reasons.iter().filter(|it| it.severity != Severity::Warn);
    against.all(|it| it.reason == Reason::Settling)
}

fn problem(view: &ReasonView) -> Problem {
    let row = view.reason.row();
    Problem {
        code: row.code,
        what: format!(
            "{}: {} (right would be: {})",
            view.subject, view.observed, view.required
        ),
        step: view.step.map(Step::as_str),
        hint: row.hint.to_owned(),
    }
}

/// What keeps the gate from opening, what speaks against single nodes included.
fn against(parts: &ViewParts) -> Vec<Problem> {
    let of_nodes = parts.nodes.iter().flat_map(|node| &node.reasons);
    let all = parts.reasons.iter().chain(of_nodes);
    let blocking = all.filter(|it| it.severity != Severity::Warn);
    let mut found: Vec<_> = blocking.collect();
    // Whoever was not heard is named by itself; "warming up" says nothing beside it.
    if found.iter().any(|it| !passes(it.reason)) || only_settling(&parts.reasons) {
        found.retain(|it| !passes(it.reason));
    }
    once(found.into_iter().map(problem))
}

fn warnings(parts: &ViewParts, rights: &[RightRow]) -> Vec<Problem> {
    let of_nodes = parts.nodes.iter().flat_map(|node| &node.reasons);
    let all = parts.reasons.iter().chain(of_nodes);
    let warns = all.filter(|it| it.severity == Severity::Warn).map(problem);
    once(rights.iter().filter_map(rights::warning).chain(warns))
}

fn once(problems: impl Iterator<Item = Problem>) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    problems
        .filter(|problem| seen.insert(problem.clone()))
        .collect()
}

/// A page without what a gate cannot do without.
fn lacking(node: &Node) -> Option<Problem> {
    let page = node.page.as_ref().filter(|page| !page.missing.is_empty())?;
    Some(Problem {
        code: Reason::EvidenceIncomplete.code(),
        what: format!(
            "node {}: its JMX page lacks {}",
            node.node,
            page.missing.join(", ")
        ),
        step: None,
        hint: String::from(
            "let the exporter's rules pass these (config/jmx-exporter.yml has all that is read)",
        ),
    })
}

fn clock_is_set(drift: i128) -> Option<Problem> {
    (drift.unsigned_abs() > DRIFT.as_nanos()).then(|| Problem {
        code: Reason::ClockJumped.code(),
        what: format!(
            "the wall clock went {} ms from the boot clock",
            drift / 1_000_000
        ),
        step: None,
        hint: Reason::ClockJumped.row().hint.to_owned(),
    })
}

fn cluster(parts: &ViewParts) -> Cluster {
    Cluster {
        id: parts.cluster.id.as_ref().map(ToString::to_string),
        kind: parts.cluster.kind.as_str(),
        controller: parts.cluster.controller.map(|node| node.0),
        metadata_version: parts.cluster.metadata_version,
    }
}

fn nodes(gathered: &Gathered, parts: &ViewParts) -> Vec<Node> {
    let mode = match parts.cluster.kind {
        ClusterKind::ZooKeeper => Mode::ZooKeeper,
        ClusterKind::KRaft | ClusterKind::Unknown => Mode::Kraft,
    };
    let of = |view: &NodeView| {
        let address = gathered.addresses.get(&view.node);
        Node {
            node: view.node.0,
            role: view.role.as_str(),
            release: view.release.to_string(),
            advertised: address.map(|(advertised, _)| advertised.clone()),
            dialled: address.map(|(_, dialled)| dialled.clone()),
            identity: identity(gathered, view.node),
            versions: match gathered.versions.get(&view.node) {
                None => Err(String::from(
                    "not asked: no address is known, or it is asked nothing",
                )),
                Some(Err(failure)) => Err(failure.detail.clone()),
                Some(Ok(spoken)) => Ok(spoken.iter().map(version).collect()),
            },
            page: page(gathered, view, mode),
        }
    };
    parts.nodes.iter().map(of).collect()
}

fn identity(gathered: &Gathered, node: NodeId) -> Option<String> {
    let slot = (SourceId::Kafka(node), FactKind::Link);
    match gathered.reports.get(&slot)?.facts.as_ref() {
        Ok(Facts::Link(link)) => Some(match &link.identity {
            Identity::Proved => String::from("proved"),
            Identity::Unproven(why) => format!("not proved: {why}"),
        }),
        // A slot holds its own kind.
        Ok(_) => None,
        Err(failure) => Some(failure.detail.clone()),
    }
}

fn version(spoken: &Spoken) -> (&'static str, Version) {
    let version = Version {
        node: spoken.has,
        spoken: spoken.has.and_then(|range| spoken.api.common(range)),
    };
    (spoken.api.name, version)
}

fn page(gathered: &Gathered, view: &NodeView, mode: Mode) -> Option<Page> {
    let slot = (SourceId::Jmx(view.node), FactKind::Jmx);
    let empty = |why: &str| Page {
        failed: Some(why.to_owned()),
        found: Vec::new(),
        missing: Vec::new(),
        missing_optional: Vec::new(),
        start_time: false,
    };
    match gathered.reports.get(&slot)?.facts.as_ref() {
        Ok(Facts::Jmx(facts)) => {
            let found = Found::compare(facts, view.role, mode);
            let names = |list: &[crate::evidence::jmx::Metric]| -> Vec<String> {
                list.iter().map(ToString::to_string).collect()
            };
            Some(Page {
                failed: None,
                found: names(&found.found),
                missing: names(&found.missing),
                missing_optional: names(&found.missing_optional),
                start_time: found.start_time,
            })
        }
        // A slot holds its own kind.
        Ok(_) => None,
        Err(failure) => Some(empty(&failure.detail)),
    }
}

fn facts(gathered: &Gathered) -> Vec<Fact> {
    let of = |row: &FactRow| {
        let reports = gathered.reports.values().filter(|it| it.kind == row.kind);
        let mut fact = Fact {
            fact: row.kind.as_str(),
            request: row.request,
            required: row.required,
            told_by: Vec::new(),
            failed: BTreeMap::new(),
        };
        for report in reports {
            match (&report.facts, report.source.node()) {
                (Ok(_), Some(node)) => fact.told_by.push(node.0),
                (Ok(_), None) => {}
                (Err(failure), _) => {
                    let source = report.source.to_string();
                    fact.failed.insert(source, failure.detail.clone());
                }
            }
        }
        fact
    };
    FACTS.iter().map(of).collect()
}
