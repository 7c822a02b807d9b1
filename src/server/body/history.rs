//! What was decided, and when.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::{action_schema, state_schema, words};
use crate::clock::rfc3339;
use crate::evidence::ids::NodeId;
use crate::gate::event::{Event, What};
use crate::gate::lease::{End, LeaseId, Owner};
use crate::gate::state::{GateName, State};

/// Some of a gate's history, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HistoryBody {
    /// The gate's name.
    pub gate: String,
    /// The entries.
    pub entries: Vec<EntryBody>,
    /// What `before` has to be for the entries that follow; null when there are none.
    pub next_before: Option<u64>,
}

/// One entry. Fields that its kind does not have are left out.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EntryBody {
    /// Its number within the gate; grows by one with each.
    pub number: u64,
    /// When.
    pub at: String,
    /// What happened.
    #[schemars(schema_with = "kind_schema")]
    pub kind: &'static str,
    /// To which verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "state_schema")]
    pub state: Option<State>,
    /// Codes of what spoke against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<String>>,
    /// Which lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Its fencing token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The nodes it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<i32>>,
    /// What the nodes are stopped for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "action_schema")]
    pub action: Option<&'static str>,
    /// From whom the lease was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
    /// When its time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether the nodes had gone at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
    /// From the grant to the proof of return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<u64>,
    /// How the lease ended, where neither a proof nor somebody's hand has ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "how_schema")]
    pub how: Option<&'static str>,
    /// The node that is held, or retired; left out when the whole gate is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<i32>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Every kind of entry.
const KINDS: [&str; 13] = [
    "verdict",
    "granted",
    "renewed",
    "leaving",
    "expired",
    "unannounced",
    "proven_back",
    "withdrawn",
    "broken",
    "ended",
    "hold_set",
    "hold_lifted",
    "retired",
];

fn kind_schema(_: &mut SchemaGenerator) -> Schema {
    words(&KINDS)
}

fn how_schema(_: &mut SchemaGenerator) -> Schema {
    words(&["taken_over", "retired"])
}

impl HistoryBody {
    pub(in crate::server) fn new(gate: &GateName, entries: Vec<Event>, limit: usize) -> Self {
        let last = entries.last().map(|entry| entry.number);
        Self {
            gate: gate.to_string(),
            next_before: last.filter(|_| entries.len() == limit),
            entries: entries.into_iter().map(EntryBody::from).collect(),
        }
    }
}

impl From<Event> for EntryBody {
    fn from(event: Event) -> Self {
        Self {
            number: event.number,
            at: rfc3339(event.at),
            ..Self::of(event.what)
        }
    }
}

impl EntryBody {
    fn of(what: What) -> Self {
        match what {
            What::Verdict { state, reasons } => Self {
                state: Some(state),
                reasons: Some(reasons),
                ..Self::kind("verdict")
            },
            What::Granted {
                lease,
                token,
                owner,
                nodes,
                action,
                taken_from,
            } => Self {
                token: Some(token.0),
                owner: Some(owner.into()),
                nodes: Some(ids(nodes)),
                action: Some(action.as_str()),
                taken_from: taken_from.map(String::from),
                ..Self::lease("granted", lease)
            },
            What::Renewed {
                lease,
                expires_at,
                by,
            } => Self {
                expires_at: Some(rfc3339(expires_at)),
                by: by.map(String::from),
                ..Self::lease("renewed", lease)
            },
            What::Leaving { lease } => Self::lease("leaving", lease),
            What::Expired { lease } => Self::lease("expired", lease),
            What::Unannounced { lease, nodes } => Self {
                nodes: Some(ids(nodes)),
                ..Self::lease("unannounced", lease)
            },
            What::ProvenBack {
                lease,
                nodes,
                gone,
                seconds,
            } => Self {
                nodes: Some(ids(nodes)),
                gone: Some(gone),
                took_seconds: Some(seconds),
                ..Self::lease("proven_back", lease)
            },
            What::Withdrawn { lease, reasons } => Self {
                reasons: Some(reasons),
                ..Self::lease("withdrawn", lease)
            },
            What::Broken { lease, by, reason } => Self {
                reason: Some(reason),
                ..Self::lease("broken", lease).done_by(by)
            },
            What::Ended { lease, how } => {
                let entry = Self {
                    how: Some(how.as_str()),
                    ..Self::lease("ended", lease)
                };
                match how {
                    End::TakenOver { by } => entry.done_by(by),
                    End::Broken { by, reason } => Self {
                        reason: Some(reason),
                        ..entry.done_by(by)
                    },
                    End::ProvenBack | End::NeverGone | End::Withdrawn | End::Retired => entry,
                }
            }
            What::HoldSet {
                node,
                author,
                reason,
                until,
            } => Self {
                node: node.map(|node| node.0),
                reason: Some(reason),
                until: until.map(rfc3339),
                ..Self::kind("hold_set").done_by(author)
            },
            What::HoldLifted { node, by } => Self {
                node: node.map(|node| node.0),
                ..Self::kind("hold_lifted").done_by(by)
            },
            What::Retired { node, by, role } => Self {
                node: Some(node.0),
                reason: role.map(|role| format!("it stays as a {}", role.as_str())),
                ..Self::kind("retired").done_by(by)
            },
        }
    }

    fn kind(kind: &'static str) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    fn lease(kind: &'static str, lease: LeaseId) -> Self {
        Self {
            lease: Some(lease.0),
            ..Self::kind(kind)
        }
    }

    fn done_by(self, who: Owner) -> Self {
        Self {
            by: Some(who.into()),
            ..self
        }
    }
}

fn ids(nodes: BTreeSet<NodeId>) -> Vec<i32> {
    nodes.into_iter().map(|node| node.0).collect()
}
