//! Answers of nodes that were read and not taken: what bounds the program on that side.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::evidence::report::{Cap, FailureClass, Report, SourceId};
use crate::gate::state::GateName;

/// By what answers that were not taken are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Where it came from, and why it was not taken.
    From(&'static str, &'static str),
    /// What it was larger than; counted as `too_large` as well.
    Over(Cap),
}

/// Every place and reason.
pub(super) const PLACES: [(&str, &str); 6] = [
    ("kafka", "too_large"),
    ("kafka", "malformed"),
    ("kafka", "cut"),
    ("jmx", "too_large"),
    ("jmx", "malformed"),
    ("jmx", "cut"),
];

type Counts = BTreeMap<Kind, u64>;

/// How many answers were not taken: larger than we read, not what the protocol says (a count that
/// the bytes do not bear out), or ended early.
#[derive(Debug, Default)]
pub struct Untaken(Mutex<BTreeMap<GateName, Counts>>);

impl Untaken {
    /// Counts those among these reports.
    pub fn count(&self, gate: &GateName, reports: &[Report]) {
        for report in reports {
            let Err(failure) = &report.facts else {
                continue;
            };
            let (why, over) = match failure.class {
                FailureClass::TooLarge(cap) => ("too_large", Some(Kind::Over(cap))),
                FailureClass::Malformed => ("malformed", None),
                FailureClass::Cut => ("cut", None),
                FailureClass::Resolve
                | FailureClass::Refused
                | FailureClass::ConnectTimeout
                | FailureClass::Closed
                | FailureClass::Timeout
                | FailureClass::Tls
                | FailureClass::Authentication
                | FailureClass::OwnFile
                | FailureClass::Authorization
                | FailureClass::Kafka(_)
                | FailureClass::HttpStatus(_)
                | FailureClass::NotKafkaMetrics
                | FailureClass::WrongNode
                | FailureClass::WrongCluster
                | FailureClass::Throttled
                | FailureClass::Unsupported => continue,
            };
            let from = match report.source {
                SourceId::Bootstrap(_) | SourceId::Kafka(_) => "kafka",
                SourceId::Jmx(_) => "jmx",
            };
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let counts = all.entry(gate.clone()).or_default();
            for kind in [Some(Kind::From(from, why)), over].into_iter().flatten() {
                let count = counts.entry(kind).or_default();
                *count = count.wrapping_add(1);
            }
        }
    }

    /// Those of one gate so far.
    pub(super) fn of(&self, gate: &GateName, kind: Kind) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.get(gate);
        counts
            .and_then(|counts| counts.get(&kind))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::ids::NodeId;
    use crate::evidence::report::{FactKind, SourceFailure};
    use crate::time::Mono;

    #[test]
    fn answers_that_are_too_large_are_counted_by_where_they_came_from() {
        let untaken = Untaken::default();
        let gate = GateName::default();
        let failed = |source, class| Report {
            source,
            kind: FactKind::Jmx,
            epoch: 1,
            every: std::time::Duration::from_secs(1),
            asked: Mono::from_nanos(0),
            seen: Mono::from_nanos(0),
            facts: Err(SourceFailure::new(class, "")),
        };
        untaken.count(
            &gate,
            &[
                failed(
                    SourceId::Jmx(NodeId(1)),
                    FailureClass::TooLarge(Cap::PageBytes),
                ),
                failed(
                    SourceId::Jmx(NodeId(2)),
                    FailureClass::TooLarge(Cap::PageSamples),
                ),
                failed(SourceId::Kafka(NodeId(1)), FailureClass::Malformed),
                failed(SourceId::Kafka(NodeId(1)), FailureClass::Refused),
            ],
        );
        let counted = PLACES.map(|(from, why)| untaken.of(&gate, Kind::From(from, why)));
        assert_eq!(counted, [0, 1, 0, 2, 0, 0]);
        let beyond = Cap::ALL.map(|cap| untaken.of(&gate, Kind::Over(cap)));
        assert_eq!(beyond, [0, 0, 0, 0, 1, 1, 0]);
    }
}
