//! What goes into a gate's history: decisions and what led to them, append-only.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::{Action, End, LeaseId, Owner, Token};
use super::state::State;
use crate::evidence::ids::{NodeId, Role};
use crate::time::Timestamp;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number within the gate; grows by one with each, and is never given twice.
    pub number: u64,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The verdict changed.
    Verdict {
        /// To this.
        state: State,
        /// Codes of what speaks against `open`.
        reasons: Vec<String>,
    },
    /// A lease was given.
    Granted {
        /// Which.
        lease: LeaseId,
        /// Its token.
        token: Token,
        /// Whose.
        owner: Owner,
        /// On these nodes.
        nodes: BTreeSet<NodeId>,
        /// For this.
        action: Action,
        /// From whom it was taken over.
        taken_from: Option<Owner>,
    },
    /// Its end was moved.
    Renewed {
        /// Which.
        lease: LeaseId,
        /// To this moment.
        expires_at: Timestamp,
        /// Who; nobody proves it without authentication, and it was not kept by earlier versions.
        #[serde(default)]
        by: Option<Owner>,
    },
    /// The owner has finished.
    Leaving {
        /// Which.
        lease: LeaseId,
    },
    /// Its time was over.
    Expired {
        /// Which.
        lease: LeaseId,
    },
    /// Nodes went that nobody had a lease on.
    Unannounced {
        /// The slot that this takes.
        lease: LeaseId,
        /// These.
        nodes: BTreeSet<NodeId>,
    },
    /// A lease ended: its nodes are proven back, or never went.
    ProvenBack {
        /// Which.
        lease: LeaseId,
        /// On these nodes.
        nodes: BTreeSet<NodeId>,
        /// Whether they had gone at all.
        gone: bool,
        /// From the grant to the proof, in seconds.
        seconds: u64,
    },
    /// A lease was decided and then not answered with "go".
    Withdrawn {
        /// Which.
        lease: LeaseId,
        /// Codes of what spoke against it; none where whoever asked had gone.
        reasons: Vec<String>,
    },
    /// Somebody broke a lease.
    Broken {
        /// Which.
        lease: LeaseId,
        /// Who.
        by: Owner,
        /// Why.
        reason: String,
    },
    /// A lease ended otherwise: its nodes were taken over for a repair, or retired.
    Ended {
        /// Which.
        lease: LeaseId,
        /// How.
        how: End,
    },
    /// Somebody closed the gate, or a node, by hand.
    HoldSet {
        /// The node; `None`: the gate.
        node: Option<NodeId>,
        /// Who.
        author: Owner,
        /// Why.
        reason: String,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// Somebody lifted a hold.
    HoldLifted {
        /// The node; `None`: the gate.
        node: Option<NodeId>,
        /// Who.
        by: Owner,
    },
    /// Somebody retired a node: it is expected no more, or in one of its roles only.
    Retired {
        /// Which.
        node: NodeId,
        /// Who.
        by: Owner,
        /// The role in which it stays; `None`: it is gone for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    },
}

impl What {
    /// The lease that it is about.
    pub(super) const fn lease_mut(&mut self) -> Option<&mut LeaseId> {
        match self {
            Self::Granted { lease, .. }
            | Self::Renewed { lease, .. }
            | Self::Leaving { lease }
            | Self::Expired { lease }
            | Self::Unannounced { lease, .. }
            | Self::ProvenBack { lease, .. }
            | Self::Withdrawn { lease, .. }
            | Self::Broken { lease, .. }
            | Self::Ended { lease, .. } => Some(lease),
            Self::Verdict { .. }
            | Self::HoldSet { .. }
            | Self::HoldLifted { .. }
            | Self::Retired { .. } => None,
        }
    }

    /// How long a node was away, where this says it.
    pub const fn took(&self) -> Option<Duration> {
        match self {
            Self::ProvenBack {
                gone: true,
                seconds,
                ..
            } => Some(Duration::from_secs(*seconds)),
            Self::ProvenBack { .. }
            | Self::Verdict { .. }
            | Self::Granted { .. }
            | Self::Renewed { .. }
            | Self::Leaving { .. }
            | Self::Expired { .. }
            | Self::Unannounced { .. }
            | Self::Withdrawn { .. }
            | Self::Broken { .. }
            | Self::Ended { .. }
            | Self::HoldSet { .. }
            | Self::HoldLifted { .. }
            | Self::Retired { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What earlier versions have stored is read for as long as it is kept.
    #[test]
    fn a_renewal_without_a_name_is_read() {
        let old = r#"{"number":4,"at":5,"kind":"renewed","lease":3,"expires_at":9}"#;
        let event: Event = serde_json::from_str(old).unwrap();
        let what = What::Renewed {
            lease: LeaseId(3),
            expires_at: Timestamp::from_nanos(9),
            by: None,
        };
        assert_eq!(event.what, what);
        let by = Owner::try_from(String::from("token jenkins")).ok();
        let named = Event {
            what: What::Renewed {
                lease: LeaseId(3),
                expires_at: Timestamp::from_nanos(9),
                by,
            },
            ..event
        };
        let stored = serde_json::to_string(&named).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&stored).unwrap(), named);
    }
}
