//! Permission for one owner to stop a set of nodes, and the manual hold.
//!
//! A lease counts as its nodes being down from the moment it is decided until they are proven
//! back; the end of its time frees nobody by itself (law 4).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::evidence::ids::NodeId;
use crate::time::Timestamp;

/// The longest time a lease may be asked for.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);
/// The shortest: below it a slow answer would outlast it.
pub const SHORTEST_TTL: Duration = Duration::from_secs(10);
/// Where none is asked for: longer than a broker with a cold page cache takes to restart.
pub const USUAL_TTL: Duration = Duration::from_secs(30 * 60);

/// Who asks: a pipeline's run, a person. Two requests of the same owner are the same request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(String);

/// A text that cannot name an owner or explain a decision.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name: use 1 to 200 printable characters")]
pub struct BadName(String);

impl Owner {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name, followed by who has proven to ask for it.
    ///
    /// # Errors
    /// Together they are too long.
    pub fn signed(&self, by: &impl fmt::Display) -> Result<Self, BadName> {
        Self::try_from(format!("{self}{}", signature(by)))
    }

    /// Whether this is who asked for it. Nobody can write it for somebody else: it comes last, and
    /// has no parentheses in it.
    pub fn is_signed_by(&self, who: &Self) -> bool {
        self.0.ends_with(&signature(who))
    }
}

fn signature(by: &impl fmt::Display) -> String {
    format!(" ({by})")
}

/// Whether a text is fit to be shown in logs, metrics and pages.
pub fn is_printable(text: &str) -> bool {
    let length = text.chars().count();
    (1..=200).contains(&length) && !text.chars().any(char::is_control) && text.trim() == text
}

impl TryFrom<String> for Owner {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        if is_printable(&name) {
            Ok(Self(name))
        } else {
            Err(BadName(name.chars().take(40).collect()))
        }
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a lease for as long as it lives, takeovers included.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing token: grows with every grant of a gate and never comes again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the nodes are stopped for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A restart of healthy nodes.
    #[default]
    Restart,
    /// The cure of nodes that count as down already.
    Repair,
}

impl Action {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Repair => "repair",
        }
    }
}

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The owner may stop the nodes.
    Held,
    /// The owner has finished; the proof of return is outstanding.
    Leaving,
    /// Its time is over; the slot stays taken until the nodes are proven back or never gone.
    Expired,
    /// Nobody asked: the gate saw the nodes go.
    Unannounced,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Held, Self::Leaving, Self::Expired, Self::Unannounced];

    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Leaving => "leaving",
            Self::Expired => "expired",
            Self::Unannounced => "unannounced",
        }
    }

    /// Whether the lease ends as soon as its nodes are proven back: nobody holds it any more.
    pub const fn ends_by_proof(self) -> bool {
        match self {
            Self::Held => false,
            Self::Leaving | Self::Expired | Self::Unannounced => true,
        }
    }
}

/// A node's start time as its JMX page told it, milliseconds since the epoch by the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StartTime(pub i64);

impl StartTime {
    /// From seconds, as pages carry them.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`as` saturates; milliseconds since 1970 fit"
    )]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1000.0) as i64)
    }

    /// Whether two readings are of one process: exporters print seconds, app-info milliseconds.
    pub const fn is_same_process(self, other: Self) -> bool {
        self.0.abs_diff(other.0) < 2_000
    }
}

/// A slot that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which.
    pub id: LeaseId,
    /// The newest fencing token given out for it.
    pub token: Token,
    /// Whose; nobody's where the gate saw the nodes go unannounced.
    pub owner: Option<Owner>,
    /// The nodes that may be down.
    pub nodes: BTreeSet<NodeId>,
    /// What for.
    pub action: Action,
    /// Where it stands.
    pub stage: Stage,
    /// When it was given.
    pub granted_at: Timestamp,
    /// When it came to its stage.
    pub stage_since: Timestamp,
    /// When its time is over, by the wall clock: deadlines have to survive a restart.
    pub expires_at: Timestamp,
    /// Start times of its nodes when "go" was last said with them up, where they were known.
    pub starts: BTreeMap<NodeId, StartTime>,
    /// Its nodes that were seen to go since.
    pub gone: BTreeSet<NodeId>,
    /// Nodes that it was given for and that were retired since: its owner may go on naming them.
    #[serde(default)]
    pub retired: BTreeSet<NodeId>,
    /// It has taken leases of others over, whose owners may still act.
    #[serde(default)]
    pub took_over: bool,
}

impl Lease {
    /// Whether it is this owner's on these nodes. A repair may have taken over more nodes than it
    /// asked for.
    pub fn is_of(&self, owner: &Owner, nodes: &BTreeSet<NodeId>) -> bool {
        let same = match self.action {
            Action::Restart => self.nodes == *nodes || self.all_nodes() == *nodes,
            Action::Repair => nodes.is_subset(&self.all_nodes()),
        };
        self.owner.as_ref() == Some(owner) && same
    }

    /// Its nodes, and those of them that were retired.
    pub fn all_nodes(&self) -> BTreeSet<NodeId> {
        self.nodes.union(&self.retired).copied().collect()
    }

    /// Whether both are the same grant, in whatever stages: two processes that know nothing of each
    /// other may give one number to two leases.
    pub fn is_same_grant(&self, other: &Self) -> bool {
        let key = |lease: &Self| (lease.id, lease.granted_at, lease.owner.clone());
        key(self) == key(other)
    }

    /// The owner's name, or the word for nobody.
    pub fn owner_name(&self) -> &str {
        self.owner.as_ref().map_or("nobody", Owner::as_str)
    }
}

/// A lease that is over, so that a question asked again gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub id: LeaseId,
    /// Its last token.
    pub token: Token,
    /// Whose it was.
    pub owner: Option<Owner>,
    /// Its nodes.
    pub nodes: BTreeSet<NodeId>,
    /// How it ended.
    pub how: End,
    /// When.
    pub at: Timestamp,
}

/// How a lease ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its nodes went and are proven back.
    ProvenBack,
    /// Its nodes are proven never to have gone.
    NeverGone,
    /// It was decided and then not answered with "go": what spoke against it came in between.
    Withdrawn,
    /// Somebody took its nodes over to repair them.
    TakenOver {
        /// Who.
        by: Owner,
    },
    /// Somebody broke it.
    Broken {
        /// Who.
        by: Owner,
        /// Why.
        reason: String,
    },
    /// Its nodes were retired.
    Retired,
}

impl End {
    /// The word in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ProvenBack => "proven_back",
            Self::NeverGone => "never_gone",
            Self::Withdrawn => "withdrawn",
            Self::TakenOver { .. } => "taken_over",
            Self::Broken { .. } => "broken",
            Self::Retired => "retired",
        }
    }
}

/// Somebody closed the gate, or a node, by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub author: Owner,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; for ever where there is no end.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_that_can_be_shown() {
        let owner = |name: &str| Owner::try_from(name.to_owned());
        assert!(owner("jenkins/kafka-roll #4711").is_ok());
        for bad in ["", " ", " a", "a\n", "a\u{7}", &"x".repeat(201)] {
            assert!(owner(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_of_whoever_signed_it_last() {
        let owner = |name: &str| Owner::try_from(name.to_owned()).unwrap();
        let (ann, bob) = (owner("token ann"), owner("token bob"));
        let signed = owner("roll-47").signed(&ann).unwrap();
        assert_eq!(signed.as_str(), "roll-47 (token ann)");
        assert!(signed.is_signed_by(&ann) && !signed.is_signed_by(&bob));
        let forged = signed.signed(&bob).unwrap();
        assert!(forged.is_signed_by(&bob) && !forged.is_signed_by(&ann));
        for unsigned in ["roll-47", "token ann", "roll-47 token ann"] {
            assert!(!owner(unsigned).is_signed_by(&ann), "{unsigned}");
        }
        assert!(owner(&"x".repeat(190)).signed(&ann).is_err());
    }

    #[test]
    fn a_start_time_a_second_apart_is_the_same_process() {
        let at = StartTime::from_seconds(1_700_000_000.25);
        assert!(at.is_same_process(StartTime::from_seconds(1_700_000_001.0)));
        assert!(!at.is_same_process(StartTime::from_seconds(1_700_000_004.0)));
    }
}
