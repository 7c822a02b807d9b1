//! Leases and holds.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::super::came::Go;
use super::super::verdict::Verdict;
use super::verdict::Head;
use super::{action_schema, seconds, words};
use crate::clock::rfc3339;
use crate::evidence::ids::NodeId;
use crate::gate::lease::{Action, Ended, Hold, Owner, Stage};
use crate::gate::parts::LeaseView;
use crate::gate::question::Changed;
use crate::gate::state::GateName;
use crate::gate::view::Answer;
use crate::time::Now;

/// The answer of `enter`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EnterBody {
    /// Whether the owner may stop its nodes now, and why not.
    #[serde(flatten)]
    pub head: Head,
    /// The nodes asked about.
    pub nodes: Vec<i32>,
    /// The machines asked about.
    pub hosts: Vec<String>,
    /// Who asked.
    pub owner: String,
    /// `restart` or `repair`.
    #[schemars(schema_with = "action_schema")]
    pub action: Action,
    /// The lease; null without "go".
    pub lease: Option<u64>,
    /// Its nodes: more than were asked about where a repair takes a larger lease over; null without
    /// "go".
    pub lease_nodes: Option<Vec<i32>>,
    /// Its fencing token; null without "go".
    pub token: Option<u64>,
    /// How often "go" has been said for this lease, this time included; null without "go", and where
    /// the gate was restarted since.
    pub told: Option<u32>,
    /// When its time is over; null without "go".
    pub expires_at: Option<String>,
    /// How long nodes of this cluster usually take from grant to proof; null without "go", and
    /// before some have.
    pub usually_seconds: Option<f64>,
}

/// The answer of `leave`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LeaveBody {
    /// Whether the nodes are proven back, and why not.
    #[serde(flatten)]
    pub head: Head,
    /// The nodes asked about.
    pub nodes: Vec<i32>,
    /// The machines asked about.
    pub hosts: Vec<String>,
    /// Who asked.
    pub owner: String,
    /// The lease; null when the judgement is too old.
    pub lease: Option<u64>,
    /// Its nodes: more than were asked about where a repair took a larger lease over; null when the
    /// judgement is too old.
    pub lease_nodes: Option<Vec<i32>>,
    /// Its fencing token; null when the judgement is too old.
    pub token: Option<u64>,
    /// When its time is, or would have been, over; null when it is over.
    pub expires_at: Option<String>,
    /// `proven_back` or `never_gone`; null until then.
    pub how: Option<&'static str>,
    /// What the proof waits for, in words; null when it is over.
    pub progress: Option<String>,
    /// How long nodes of this cluster usually take from grant to proof; null when it is over, and
    /// before some have.
    pub usually_seconds: Option<f64>,
}

/// A slot that is taken.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LeaseBody {
    /// Its number.
    pub lease: u64,
    /// Its fencing token.
    pub token: u64,
    /// Whose; null where the gate saw the nodes go unannounced.
    pub owner: Option<String>,
    /// Its nodes.
    pub nodes: Vec<i32>,
    /// `restart` or `repair`.
    #[schemars(schema_with = "action_schema")]
    pub action: Action,
    /// `held`, `leaving`, `expired` or `unannounced`.
    #[schemars(schema_with = "stage_schema")]
    pub stage: &'static str,
    /// Since when it is in that stage.
    pub stage_since: String,
    /// When it was given.
    pub granted_at: String,
    /// When its time is over.
    pub expires_at: String,
    /// Its nodes that were seen to go since.
    pub gone: Vec<i32>,
    /// What the proof of return waits for, in words; null when the judgement is too old.
    pub progress: Option<String>,
    /// For how long its nodes have come no nearer to being back; null when the judgement is too old.
    pub unchanged_seconds: Option<f64>,
    /// How long nodes of this cluster usually take from grant to proof; null before some have.
    pub usually_seconds: Option<f64>,
}

/// A manual hold.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HoldBody {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// Until when; null where there is no end.
    pub until: Option<String>,
}

/// Slots that are taken, and holds.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LeasesBody {
    /// The gate's name.
    pub gate: String,
    /// True when the judgement is too old: what follows is what was last known.
    pub expired: bool,
    /// What is shown of them everywhere.
    #[serde(flatten)]
    pub slots: SlotsBody,
}

/// Slots that are taken, and holds, as every document shows them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SlotsBody {
    /// Slots that are taken.
    pub leases: Vec<LeaseBody>,
    /// The gate's own hold; null where there is none.
    pub hold: Option<HoldBody>,
    /// Nodes that are held, by id.
    pub node_holds: BTreeMap<String, HoldBody>,
}

/// A change that is durable.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ChangedBody {
    /// The gate's name.
    pub gate: String,
    /// `renewed`, `broken`, `held`, `lifted` or `retired`.
    #[schemars(schema_with = "changed_schema")]
    pub changed: &'static str,
    /// The lease that was renewed or broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Its fencing token, where it was renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// When its time is over, where it was renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The hold that is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldBody>,
    /// The node that was retired, held, or whose hold was lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<i32>,
}

fn hosts(verdict: &Verdict) -> Vec<String> {
    verdict.hosts.iter().cloned().collect()
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<i32> {
    nodes.into_iter().map(|node| node.0).collect()
}

impl EnterBody {
    pub(in crate::server) fn new(
        verdict: &Verdict,
        now: Now,
        owner: &Owner,
        action: Action,
        go: Option<&Go>,
        usually: Option<Duration>,
    ) -> Self {
        let lease = go.map(|go| &*go.lease);
        Self {
            head: Head::binding(verdict, now),
            nodes: ids(&verdict.nodes),
            hosts: hosts(verdict),
            owner: owner.to_string(),
            action,
            lease: lease.map(|lease| lease.id.0),
            lease_nodes: lease.map(|lease| ids(&lease.nodes)),
            token: lease.map(|lease| lease.token.0),
            told: go.and_then(|go| go.told),
            expires_at: lease.map(|lease| rfc3339(lease.expires_at)),
            usually_seconds: usually.map(seconds),
        }
    }
}

impl LeaveBody {
    pub(in crate::server) fn new(
        verdict: &Verdict,
        now: Now,
        owner: &Owner,
        ended: Option<&Ended>,
        lease: Option<&LeaseView>,
    ) -> Self {
        let id = ended
            .map(|ended| ended.id)
            .or_else(|| lease.map(|view| view.lease.id));
        let token = ended
            .map(|ended| ended.token)
            .or_else(|| lease.map(|view| view.lease.token));
        let nodes = ended
            .map(|ended| &ended.nodes)
            .or_else(|| lease.map(|view| &view.lease.nodes));
        Self {
            head: Head::binding(verdict, now),
            nodes: ids(&verdict.nodes),
            hosts: hosts(verdict),
            owner: owner.to_string(),
            lease: id.map(|id| id.0),
            lease_nodes: nodes.map(ids),
            token: token.map(|token| token.0),
            expires_at: lease.map(|view| rfc3339(view.lease.expires_at)),
            how: ended.map(|ended| ended.how.as_str()),
            progress: lease.map(|view| view.progress.clone()),
            usually_seconds: lease.and_then(|view| view.usually).map(seconds),
        }
    }
}

impl LeaseBody {
    fn new(view: &LeaseView, live: bool) -> Self {
        let lease = &view.lease;
        Self {
            lease: lease.id.0,
            token: lease.token.0,
            owner: lease.owner.as_ref().map(ToString::to_string),
            nodes: ids(&lease.nodes),
            action: lease.action,
            stage: lease.stage.as_str(),
            stage_since: rfc3339(lease.stage_since),
            granted_at: rfc3339(lease.granted_at),
            expires_at: rfc3339(lease.expires_at),
            gone: ids(&lease.gone),
            progress: live.then(|| view.progress.clone()),
            unchanged_seconds: live.then(|| seconds(view.unchanged_for)),
            usually_seconds: view.usually.map(seconds),
        }
    }
}

impl HoldBody {
    fn new(hold: &Hold) -> Self {
        Self {
            author: hold.author.to_string(),
            reason: hold.reason.clone(),
            since: rfc3339(hold.since),
            until: hold.until.map(rfc3339),
        }
    }
}

impl SlotsBody {
    /// Leases and holds outlive a judgement: they are shown as last known.
    pub(in crate::server) fn new(answer: Answer<'_>) -> Self {
        let live = !answer.expired();
        let last = answer.last_known();
        let held = last.node_holds.iter();
        Self {
            leases: last
                .leases
                .iter()
                .map(|it| LeaseBody::new(it, live))
                .collect(),
            hold: last.hold.as_ref().map(HoldBody::new),
            node_holds: held
                .map(|(node, hold)| (node.to_string(), HoldBody::new(hold)))
                .collect(),
        }
    }
}

impl LeasesBody {
    pub(in crate::server) fn new(answer: Answer<'_>) -> Self {
        Self {
            gate: answer.last_known().gate.as_str().to_owned(),
            expired: answer.expired(),
            slots: SlotsBody::new(answer),
        }
    }
}

impl ChangedBody {
    /// `held`: the node whose hold was set or lifted, where it was not the gate's own.
    pub(in crate::server) fn new(gate: &GateName, held: Option<NodeId>, changed: Changed) -> Self {
        let mut body = Self {
            gate: gate.as_str().to_owned(),
            changed: "lifted",
            lease: None,
            token: None,
            expires_at: None,
            hold: None,
            node: held.map(|node| node.0),
        };
        match changed {
            Changed::Lease(lease) => {
                body.changed = "renewed";
                body.lease = Some(lease.id.0);
                body.token = Some(lease.token.0);
                body.expires_at = Some(rfc3339(lease.expires_at));
            }
            Changed::Broken(lease) => {
                body.changed = "broken";
                body.lease = Some(lease.0);
            }
            Changed::Hold(Some(hold)) => {
                body.changed = "held";
                body.hold = Some(HoldBody::new(&hold));
            }
            Changed::Hold(None) => {}
            Changed::Retired(node) => {
                body.changed = "retired";
                body.node = Some(node.0);
            }
        }
        body
    }
}

fn stage_schema(_: &mut SchemaGenerator) -> Schema {
    words(&Stage::ALL.map(Stage::as_str))
}

fn changed_schema(_: &mut SchemaGenerator) -> Schema {
    words(&["renewed", "broken", "held", "lifted", "retired"])
}
