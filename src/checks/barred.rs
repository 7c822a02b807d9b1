//! What holds only because a node does not let us in is not known to hold: the node counts as down
//! (nothing is proved of it), and yet nobody has seen it go. A gate whose password is refused by one
//! broker must not say that this broker's replicas are out of sync.

use super::finding::{Finding, Judged};
use super::reason::Severity;
use crate::evidence::snapshot::Snapshot;

/// A snapshot, and where nodes are barred the same moment with these up.
pub(super) struct Doubt<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    otherwise: Option<Snapshot<'a>>,
}

impl<'s, 'a> Doubt<'s, 'a> {
    pub(super) fn of(snapshot: &'s Snapshot<'a>) -> Self {
        let barred = &snapshot.barred;
        let otherwise = (!barred.is_empty()).then(|| snapshot.with_up(barred));
        Self {
            snapshot,
            otherwise,
        }
    }

    /// Judges; what blocks only because of barred nodes is unknown.
    pub(super) fn judge(&self, judge: impl Fn(&Snapshot<'a>) -> Judged) -> Judged {
        let judged = judge(self.snapshot);
        match &self.otherwise {
            None => judged,
            Some(otherwise) => softened(judged, &judge(otherwise)),
        }
    }

    /// The same for several judgements, in their order.
    pub(super) fn judge_each(&self, judge: impl Fn(&Snapshot<'a>) -> Vec<Judged>) -> Vec<Judged> {
        let judged = judge(self.snapshot);
        let Some(otherwise) = &self.otherwise else {
            return judged;
        };
        let otherwise = judge(otherwise);
        let both = judged.into_iter().zip(&otherwise);
        both.map(|(judged, otherwise)| softened(judged, otherwise))
            .collect()
    }
}

/// What blocks here and not there is unknown. Never more than that: a finding stays one.
fn softened(judged: Judged, otherwise: &Judged) -> Judged {
    let there = otherwise.findings();
    let blocks_there = |finding: &Finding| {
        there.iter().any(|other| {
            other.severity == Severity::Block
                && (other.reason, &other.subject) == (finding.reason, &finding.subject)
        })
    };
    match judged {
        Judged::Proved { .. } | Judged::NotApplicable(_) => judged,
        Judged::Found(findings) => {
            let findings = findings.iter().cloned();
            let soften = findings.map(|finding| {
                if finding.severity == Severity::Block && !blocks_there(&finding) {
                    finding.at(Severity::Unknown)
                } else {
                    finding
                }
            });
            Judged::from_findings(soften.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::finding::{Finding, Judged, Subject};
    use crate::checks::reason::{Reason, Severity};
    use crate::checks::table::evaluate;
    use crate::evidence::report::{FactKind, FailureClass};
    use crate::evidence::scene::{Scene, kafka, node, set};

    /// Reasons that block, of all rows.
    fn blocking(scene: &Scene) -> Vec<Reason> {
        scene.snapshot(|snapshot| {
            let evaluation = evaluate(snapshot, snapshot);
            assert!(!evaluation.allows_open());
            let blocks = evaluation.findings().into_iter();
            let blocks = blocks.filter(|finding| finding.severity == Severity::Block);
            blocks.map(|finding| finding.reason).collect()
        })
    }

    #[test]
    fn who_does_not_let_us_in_makes_nothing_known_to_be_bad() {
        for class in [
            FailureClass::Authentication,
            FailureClass::Tls,
            FailureClass::WrongNode,
        ] {
            // A broker that holds partitions, and the active controller.
            for barred in [1, 101] {
                let mut scene = Scene::healthy_kraft();
                scene.fail(kafka(barred), FactKind::Link, class);
                assert_eq!(blocking(&scene), [], "{class:?} at {barred}");
                scene.snapshot(|snapshot| {
                    assert_eq!(snapshot.barred, set(&[barred]));
                    assert_eq!(snapshot.down, set(&[barred]));
                });
            }
        }
    }

    #[test]
    fn what_is_bad_without_it_stays_bad() {
        let mut scene = Scene::healthy_kraft();
        scene.order(0, |p| p.isr.retain(|id| *id != 2));
        scene.fail(kafka(1), FactKind::Link, FailureClass::Authentication);
        let blocking = blocking(&scene);
        assert!(blocking.contains(&Reason::UnderReplicated), "{blocking:?}");
    }

    /// Softening looks at the reason and at its subject.
    #[test]
    fn another_reason_or_another_subject_is_another_finding() {
        let block = |reason, id| Finding::new(reason, Subject::Node(node(id)), "", "");
        let one = block(Reason::NodeFenced, 1);
        let softened = |other: Finding| {
            let judged = Judged::from_findings(vec![one.clone()]);
            let judged = super::softened(judged, &Judged::from_findings(vec![other]));
            judged.findings()[0].severity
        };
        assert_eq!(softened(one.clone()), Severity::Block);
        assert_eq!(softened(block(Reason::NodeFenced, 2)), Severity::Unknown);
        assert_eq!(softened(block(Reason::NodeMissing, 1)), Severity::Unknown);
        let warns = one.clone().at(Severity::Warn);
        assert_eq!(softened(warns), Severity::Unknown);
    }

    #[test]
    fn only_who_is_in_service_by_the_clusters_word_is_barred() {
        let barred = |change: &dyn Fn(&mut Scene)| {
            let mut scene = Scene::healthy_kraft();
            scene.fail(kafka(1), FactKind::Link, FailureClass::Authentication);
            change(&mut scene);
            assert!(!blocking(&scene).is_empty());
            scene.snapshot(|snapshot| snapshot.barred.clone())
        };
        // Fenced; leased; dead.
        assert_eq!(
            barred(&|s| s.cluster(2, |c| {
                let broker = c.brokers.iter_mut().find(|b| b.node == node(1));
                broker.unwrap().fenced = true;
            })),
            set(&[])
        );
        assert_eq!(barred(&|s| s.granted = set(&[1])), set(&[]));
        assert_eq!(
            barred(&|s| s.fail(kafka(1), FactKind::Link, FailureClass::Closed)),
            set(&[])
        );
        // Its machine does not answer, or it says nothing: it may well be dead.
        for class in [FailureClass::ConnectTimeout, FailureClass::Timeout] {
            assert_eq!(
                barred(&|s| s.fail(kafka(1), FactKind::Link, class)),
                set(&[])
            );
        }
    }

    #[test]
    fn what_it_would_take_to_stop_another_is_not_known() {
        let mut scene = Scene::healthy_kraft();
        scene.fail(kafka(1), FactKind::Link, FailureClass::Authentication);
        scene.snapshot(|snapshot| {
            let judged = crate::checks::what_if::what_if(snapshot, &set(&[2]));
            assert!(!judged.allows_open());
            let findings = judged.findings();
            assert!(!findings.is_empty());
            for finding in findings {
                assert_eq!(finding.severity, Severity::Unknown);
                assert_eq!(finding.subject, Subject::Node(node(2)));
            }
        });
    }
}
