//! Identities: who is meant.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A Kafka node: a broker, a controller, or both. `node.id`, or `broker.id` on ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub i32);

/// The most nodes that one cluster may have. Whoever says otherwise is not believed: each node costs
/// tasks, connections and a place in the store. The largest clusters told of have some hundred.
pub const MOST_NODES: usize = 1_000;

/// Whether there are more than [`MOST_NODES`] different ones among these.
pub fn are_too_many(nodes: impl IntoIterator<Item = NodeId>) -> bool {
    let mut seen = BTreeSet::new();
    nodes.into_iter().any(|node| {
        seen.insert(node);
        seen.len() > MOST_NODES
    })
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a node is for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Role {
    /// Serves partitions.
    pub broker: bool,
    /// Is a voter of the KRaft quorum, or may become one.
    pub controller: bool,
}

impl Role {
    /// A node that only serves partitions.
    pub const BROKER: Self = Self {
        broker: true,
        controller: false,
    };
    /// A node that only votes.
    pub const CONTROLLER: Self = Self {
        broker: false,
        controller: true,
    };
    /// A node that does both.
    pub const COMBINED: Self = Self {
        broker: true,
        controller: true,
    };

    /// Both roles together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            broker: self.broker || other.broker,
            controller: self.controller || other.controller,
        }
    }

    /// `broker`, `controller`, `combined`, or `unknown` when the node has neither.
    pub const fn as_str(self) -> &'static str {
        match (self.broker, self.controller) {
            (true, true) => "combined",
            (true, false) => "broker",
            (false, true) => "controller",
            (false, false) => "unknown",
        }
    }
}

/// `cluster.id`: 22 characters of base64 on clusters made by Kafka itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub String);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A 16-byte id as Kafka makes them: of a topic, of a voter's directory. Never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uuid(u128);

impl Uuid {
    /// The id, or `None` for the zero id, with which Kafka says "no id".
    pub const fn new(id: u128) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The id as one number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

/// As Kafka writes ids in its tools, logs and `meta.properties`: base64 for URLs, without padding
/// (`org.apache.kafka.common.Uuid.toString`).
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // Six bits a letter, from the highest on; the last letter has two, and four zeros.
        let shifts = (0..=20).rev().map(|letter| letter * 6 + 2);
        let letters = shifts.map(|shift| self.0 >> shift).chain([self.0 << 4]);
        for bits in letters {
            let letter = usize::try_from(bits & 63).unwrap_or_default();
            let letter = LETTERS.get(letter).copied().unwrap_or_default();
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

/// A consumer group's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub String);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which Kafka release a node runs, as far as the wire can tell.
///
/// A minor release is exact in KRaft mode (supported maximum of `metadata.version`, reference
/// `kafka-lag-and-clients.md` 3.1). The patch level cannot be read from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Release {
    /// Exactly this minor release.
    Is(Version),
    /// This minor release or a later one (the API table matched its latest known row from below).
    AtLeast(Version),
    /// Newer than any release this program knows.
    NewerThan(Version),
    /// The answer fits no release.
    Unknown,
}

/// A Kafka minor release, such as 3.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// The 3 of 3.9.
    pub major: u8,
    /// The 9 of 3.9.
    pub minor: u8,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Release {
    /// The lowest version it can be, where anything is known.
    pub const fn floor(self) -> Option<Version> {
        match self {
            Self::Is(v) | Self::AtLeast(v) | Self::NewerThan(v) => Some(v),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(v) => v.fmt(f),
            Self::AtLeast(v) => write!(f, "{v}+"),
            Self::NewerThan(v) => write!(f, ">{v}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
