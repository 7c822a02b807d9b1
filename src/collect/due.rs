//! When a fact is to be asked for next.

use std::time::Duration;

use super::schedule::{Cost, interval};
use super::shared::Shared;
use crate::evidence::facts::Facts;
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, SourceFailure, SourceId};
use crate::time::Mono;

/// When a fact is to be asked for next.
#[derive(Debug)]
pub struct Due {
    kind: FactKind,
    at: Mono,
    /// What its last answers took.
    pub cost: Cost,
}

impl Due {
    /// A fact that is due now.
    pub fn now(kind: FactKind, now: Mono) -> Self {
        Self {
            kind,
            at: now,
            cost: Cost::default(),
        }
    }

    /// Which fact.
    pub const fn kind(&self) -> FactKind {
        self.kind
    }

    /// When it is due.
    pub const fn at(&self) -> Mono {
        self.at
    }

    /// Makes it due now.
    pub const fn hurry(&mut self, now: Mono) {
        self.at = now;
    }

    /// Whether it is due.
    pub fn is_due(&self, now: Mono) -> bool {
        now >= self.at
    }

    /// Notes an answer (or a failure): the next one is due an interval after the question.
    pub fn done(&mut self, asked: Mono, now: Mono) {
        self.cost.note(now.since(asked));
        self.at = asked.plus(self.every());
    }

    /// The interval that follows from its cost.
    pub fn every(&self) -> Duration {
        interval(self.kind, self.cost.smallest())
    }

    /// Reports an answer under this fact's interval.
    pub fn report(
        &self,
        shared: &Shared,
        node: NodeId,
        epoch: u64,
        asked: Mono,
        facts: Result<Facts, SourceFailure>,
    ) {
        shared.report(
            SourceId::Kafka(node),
            self.kind,
            epoch,
            asked,
            self.every(),
            facts,
        );
    }
}
