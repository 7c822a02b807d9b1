//! Gates broken on purpose, to see that the oracle notices: the ways, and the trials for each. How it
//! is done is `saboteur`'s business.

use std::fmt;

use serde::{Deserialize, Serialize};
use upgrade_gate::evidence::policy::Mode;

use super::drill::Episode;
use super::plan::{Kind, Slant};
use super::trial::Depth;

/// A way to break a gate.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub enum Sabotage {
    /// Nothing is broken.
    None,
    /// Nothing is broken, but no offset of the metadata log is told: what gates that are broken are compared
    /// with that have to do without them ([`Self::control`]).
    OffsetsHidden,
    /// It opens as soon as it sees nothing bad.
    NoWindow,
    /// Every failure is covered by the last good answer.
    LastKnown,
    /// A page that cannot be had, or a link that is lost, is covered by the last good one.
    LastPageAndLink,
    /// What a page lacks, has as NaN, or cannot show because it is not to be had counts as zero where
    /// it would be a complaint, as `or vector(0)` makes it. Connections are told of truly.
    MissingAsZero,
    /// Evidence counts however old it is; only refusals and ends are noticed.
    StaleAllowed,
    /// A replica is in sync if any broker says so.
    UnionOfIsrs,
    /// The first broker's metadata stands for everybody's.
    OneTable,
    /// A connection counts as proved to be the node's, and a page as the node's whose target it is,
    /// whatever it carries.
    IdentityUnchecked,
    /// Expected is only who metadata lists now: registered brokers, and the controller it names. The
    /// configuration, voters and nodes seen before are forgotten.
    NodesFromMetadata,
    /// Ages are measured by the wall clock.
    WallClock,
    /// What was said last is said for ever.
    NoExpiry,
    /// What it has granted counts for nothing: every entry is judged for itself.
    OwnGrants,
    /// Who says that he has finished is believed: his lease ends without a proof of return.
    LeaveIsProof,
    /// Bad news counts after five seconds, and until then the gate stays open.
    OpenDebounce,
}

impl Sabotage {
    /// By so many trials of a thousand it has to be caught. With drivers each takes seconds; and where the
    /// identity is checked is the collectors, so that with reports alone mode `jmx` shows it, now and then.
    pub const fn wanted(self, depth: Depth) -> usize {
        match (depth, self) {
            (Depth::Drivers, _) => 5,
            (Depth::Machine, Self::IdentityUnchecked) => 10,
            (Depth::Machine, _) => 20,
        }
    }

    /// Every way.
    pub const ALL: [Self; 14] = [
        Self::NoWindow,
        Self::LastKnown,
        Self::LastPageAndLink,
        Self::MissingAsZero,
        Self::StaleAllowed,
        Self::UnionOfIsrs,
        Self::OneTable,
        Self::IdentityUnchecked,
        Self::NodesFromMetadata,
        Self::WallClock,
        Self::NoExpiry,
        Self::OwnGrants,
        Self::LeaveIsProof,
        Self::OpenDebounce,
    ];

    /// Those of what lies between the collectors and the reader: caught with the real collectors as
    /// well.
    pub const DRIVEN: [Self; 2] = [Self::NoExpiry, Self::IdentityUnchecked];
}

impl Sabotage {
    /// The trials made for a gate broken like this: where most would not show it (several sources
    /// tell of the same thing) they are made with a kind, a mode and accidents that leave only the
    /// broken one. `lab simulate --sabotage` tells how many of the ordinary ones show it.
    pub fn slant(self) -> Slant {
        let accidents = |episodes| Slant {
            kind: Some(Kind::Accidents),
            episodes,
            ..Slant::default()
        };
        match self {
            Self::StaleAllowed => accidents(&[Episode::Freeze, Episode::GateCut]),
            Self::UnionOfIsrs | Self::OneTable => Slant {
                mode: Some(Mode::Kafka),
                idle: true,
                kraft: true,
                ..accidents(&[Episode::OldIsr])
            },
            // Beside the protocol pages are a second witness; alone they are the only one.
            Self::MissingAsZero => Slant {
                mode: Some(Mode::Jmx),
                ..accidents(&[Episode::Away])
            },
            // Two targets that lead to one exporter: the last node's is its neighbour's.
            Self::IdentityUnchecked => Slant {
                kind: Some(Kind::Misconfigured),
                mode: Some(Mode::Jmx),
                kraft: true,
                last: true,
                ..accidents(&[Episode::Away])
            },
            Self::WallClock => accidents(&[Episode::BlindClock]),
            Self::NoExpiry => accidents(&[Episode::GateStops]),
            Self::OwnGrants | Self::LeaveIsProof => Slant {
                kind: Some(Kind::Leases),
                ..Slant::default()
            },
            Self::None
            | Self::OffsetsHidden
            | Self::NoWindow
            | Self::LastKnown
            | Self::LastPageAndLink
            | Self::NodesFromMetadata
            | Self::OpenDebounce => Slant::default(),
        }
    }

    /// The sound gate that sees as much: what goes wrong there as well is not the sabotage's doing.
    pub const fn control(self) -> Self {
        match self {
            Self::None
            | Self::NoWindow
            | Self::WallClock
            | Self::NoExpiry
            | Self::OwnGrants
            | Self::LeaveIsProof => Self::None,
            Self::OffsetsHidden
            | Self::LastKnown
            | Self::LastPageAndLink
            | Self::MissingAsZero
            | Self::StaleAllowed
            | Self::UnionOfIsrs
            | Self::OneTable
            | Self::IdentityUnchecked
            | Self::NodesFromMetadata
            | Self::OpenDebounce => Self::OffsetsHidden,
        }
    }

    /// Whether trials are made for it.
    pub const fn is_slanted(self) -> bool {
        match self {
            Self::StaleAllowed
            | Self::UnionOfIsrs
            | Self::OneTable
            | Self::MissingAsZero
            | Self::IdentityUnchecked
            | Self::WallClock
            | Self::NoExpiry
            | Self::OwnGrants
            | Self::LeaveIsProof => true,
            Self::None
            | Self::OffsetsHidden
            | Self::NoWindow
            | Self::LastKnown
            | Self::LastPageAndLink
            | Self::NodesFromMetadata
            | Self::OpenDebounce => false,
        }
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
