//! What requests wait for.

use crate::evidence::ids::{NodeId, Role};
use crate::gate::lease::{Hold, Lease, LeaseId};
use crate::gate::question::{Entry, Repair};

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Waits {
    /// Evidence newer than the request.
    Evidence(Entry),
    /// The same, for a question that takes nothing.
    Advice(Repair),
    /// The write of this lease, and one more look after it.
    Grant(Entry, LeaseId),
    /// The same, when evidence is waited for no more.
    Store(Entry, LeaseId),
    /// The write that ends this lease.
    End(LeaseId),
    /// The write of a change, after which this is answered.
    Write(Awaited),
}

impl Waits {
    /// How far a request for a lease has come: each step has a patience of its own.
    pub(super) const fn reached(&self) -> u8 {
        match self {
            Self::Evidence(_) | Self::Advice(_) | Self::End(_) | Self::Write(_) => 0,
            Self::Grant(..) => 1,
            Self::Store(..) => 2,
        }
    }
}

/// What is waited for before somebody is told "go", and whether that has lasted long enough.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Newer words, and the store.
    Both { over: bool },
    /// The store alone.
    Store { over: bool },
}

impl Patience {
    /// Whether newer words are waited for no more.
    pub(super) const fn is_heard(self) -> bool {
        match self {
            Self::Both { over } => over,
            Self::Store { .. } => true,
        }
    }

    pub(super) const fn is_over(self) -> bool {
        match self {
            Self::Both { over } | Self::Store { over } => over,
        }
    }

    /// Whether a write that is begun now can be waited for.
    pub(super) const fn has_store(self) -> bool {
        match self {
            Self::Both { .. } => true,
            Self::Store { over } => !over,
        }
    }
}

/// What the store has to have before a change is answered.
#[derive(Debug)]
pub(super) enum Awaited {
    Lease(Lease),
    Broken(LeaseId),
    Held(Option<NodeId>, Hold),
    Lifted(Option<NodeId>),
    /// A node, and the role in which it stays.
    Retired(NodeId, Role),
}

impl Awaited {
    /// Whether it restricts: that is in force as soon as it is wanted, and what permits only once it
    /// is written ([`Keeper`]).
    pub(super) const fn restricts(&self) -> bool {
        match self {
            Self::Lease(_) | Self::Held(..) => true,
            Self::Broken(_) | Self::Lifted(_) | Self::Retired(..) => false,
        }
    }
}
