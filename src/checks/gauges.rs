//! Numbers of JMX pages, read as counts.

use std::sync::Arc;

use crate::evidence::ids::{NodeId, Role};
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::{Known, Why};
use crate::evidence::snapshot::{Read, Snapshot};

use super::finding::{Finding, Subject};
use super::reason::Reason;

/// The fresh page of every expected node that has one.
pub(super) fn pages<'a, 's>(
    snapshot: &'s Snapshot<'a>,
) -> impl Iterator<Item = (NodeId, Role, Read<'a, Arc<JmxFacts>>)> + use<'a, 's> {
    snapshot.expected.iter().filter_map(|(node, expected)| {
        let read = snapshot.jmx(*node).ok()?;
        Some((*node, expected.role, read))
    })
}

/// A metric that counts something. A negative or endless number is not a count.
pub(crate) fn count(page: &JmxFacts, metric: Metric) -> Known<u64> {
    match page.value(metric) {
        Known::Is(value) if value.is_finite() && value >= 0.0 => Known::Is(whole(value)),
        Known::Is(value) => Known::Failed(Why(format!("{metric} is {value}"))),
        Known::NotInRelease => Known::NotInRelease,
        Known::NotExported => Known::NotExported,
        Known::Hidden => Known::Hidden,
        Known::Failed(why) => Known::Failed(why),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates and makes NaN 0, which counts are checked for before; rounding up \
              errs towards trouble"
)]
pub(super) const fn whole(value: f64) -> u64 {
    value.ceil() as u64
}

/// A count from every page that has it.
pub(super) fn counts<'s>(
    snapshot: &'s Snapshot<'_>,
    metric: Metric,
) -> impl Iterator<Item = (NodeId, u64)> + use<'s> {
    pages(snapshot)
        .filter_map(move |(node, _, page)| Some((node, *count(page.facts, metric).value()?)))
}

/// One finding per node whose page has this metric above zero, or has it and not as a count. A
/// page without it says nothing here: metrics that every page must have are the `evidence`
/// row's.
pub(super) fn above_zero(
    snapshot: &Snapshot<'_>,
    metric: Metric,
    reason: Reason,
    required: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (node, _, page) in pages(snapshot) {
        let subject = Subject::Node(node);
        let finding = match count(page.facts, metric) {
            Known::Is(0) | Known::NotExported | Known::NotInRelease | Known::Hidden => continue,
            Known::Is(count) => {
                Finding::new(reason, subject, format!("{metric} {count}"), required)
            }
            Known::Failed(why) => Finding::new(
                Reason::EvidenceIncomplete,
                subject,
                why.to_string(),
                "a count",
            ),
        };
        findings.push(finding.from_source(page.report.source.clone(), page.report.asked));
    }
    findings
}
