//! Answers of nodes that were asked for and not taken: what bounds the program on that side.

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
pub(super) const PLACES: [(&str, &str); 8] = [
    ("kafka", "too_large"),
    ("kafka", "malformed"),
    ("kafka", "cut"),
    ("kafka", "late"),
    ("jmx", "too_large"),
    ("jmx", "malformed"),
    ("jmx", "cut"),
    ("jmx", "late"),
];

type Counts = BTreeMap<Kind, u64>;

/// How many answers were not taken: larger than we read, not what the protocol says (a count that
/// the bytes do not bear out), ended early, or not there within their deadline.
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
                FailureClass::Timeout => ("late", None),
                FailureClass::Resolve
                | FailureClass::Refused
                | FailureClass::ConnectTimeout
                | FailureClass::Closed
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

    fn failed(source: SourceId, class: FailureClass) -> Report {
        Report {
            source,
            kind: FactKind::Jmx,
            epoch: 1,
            every: std::time::Duration::from_secs(1),
            asked: Mono::from_nanos(0),
            seen: Mono::from_nanos(0),
            facts: Err(SourceFailure::new(class, "")),
        }
    }

    #[test]
    fn answers_that_are_not_taken_are_counted_by_where_they_came_from() {
        let untaken = Untaken::default();
        let gate = GateName::default();
        let kafka = || SourceId::Kafka(NodeId(1));
        let jmx = || SourceId::Jmx(NodeId(2));
        untaken.count(
            &gate,
            &[
                failed(kafka(), FailureClass::TooLarge(Cap::FrameBytes)),
                failed(kafka(), FailureClass::Malformed),
                failed(kafka(), FailureClass::Malformed),
                failed(kafka(), FailureClass::Cut),
                failed(kafka(), FailureClass::Timeout),
                failed(kafka(), FailureClass::Refused),
                failed(jmx(), FailureClass::TooLarge(Cap::PageBytes)),
                failed(jmx(), FailureClass::Cut),
                failed(jmx(), FailureClass::Timeout),
                failed(jmx(), FailureClass::Timeout),
                failed(jmx(), FailureClass::HttpStatus(404)),
            ],
        );
        let counted = PLACES.map(|(from, why)| untaken.of(&gate, Kind::From(from, why)));
        assert_eq!(counted, [1, 2, 1, 1, 1, 0, 1, 2]);
    }

    /// What meets each cap is shown where it is read; a cap that is not among these does not compile.
    #[test]
    fn every_cap_is_counted_by_its_name() {
        for cap in Cap::ALL {
            let (from, source) = match cap {
                Cap::FrameBytes | Cap::Nodes => ("kafka", SourceId::Kafka(NodeId(1))),
                Cap::LoginBytes | Cap::LoginIterations | Cap::TokenBytes => {
                    ("kafka", SourceId::Bootstrap(String::from("broker:9092")))
                }
                Cap::PageBytes | Cap::PageSamples | Cap::PageBrokers => {
                    ("jmx", SourceId::Jmx(NodeId(1)))
                }
            };
            let untaken = Untaken::default();
            let gate = GateName::default();
            let report = failed(source, FailureClass::TooLarge(cap));
            untaken.count(&gate, std::slice::from_ref(&report));
            untaken.count(&gate, &[report]);
            for other in Cap::ALL {
                let expected = if other == cap { 2 } else { 0 };
                assert_eq!(untaken.of(&gate, Kind::Over(other)), expected, "{other:?}");
            }
            for place in PLACES {
                let expected = if place == (from, "too_large") { 2 } else { 0 };
                let counted = untaken.of(&gate, Kind::From(place.0, place.1));
                assert_eq!(counted, expected, "{cap:?}: {place:?}");
            }
        }
        let names: std::collections::BTreeSet<_> = Cap::ALL.map(Cap::as_str).into();
        assert_eq!(names.len(), Cap::ALL.len());
    }
}
