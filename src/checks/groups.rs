//! The named groups can be read. Their lag is named, not judged: no threshold is known yet.

use crate::evidence::facts::{GroupOffsets, PartitionLag};
use crate::evidence::ids::GroupId;
use crate::evidence::snapshot::Snapshot;

use super::finding::{Finding, Judged, Subject};
use super::needs::Need;
use super::reason::Reason;

/// Groups only warn: what cannot be read of them is said by the check itself, as a warning.
pub(super) const NEEDS: &[Need] = &[];

/// What it can find.
pub(super) const REASONS: &[Reason] = &[Reason::GroupUnknown, Reason::GroupLagging];

/// Records from which a group is called behind: below that a busy group always is.
const BEHIND: i64 = 1_000;

/// Judges every named group.
pub(super) fn run(snapshot: &Snapshot<'_>) -> Judged {
    if !snapshot.policy.mode.kafka() {
        return Judged::NotApplicable("mode jmx reads no groups");
    }
    if snapshot.policy.groups.is_empty() {
        return Judged::NotApplicable("no group is named in the configuration");
    }
    let groups = snapshot.policy.groups.iter();
    Judged::from_findings(groups.filter_map(|group| judge(snapshot, group)).collect())
}

fn judge(snapshot: &Snapshot<'_>, group: &GroupId) -> Option<Finding> {
    let answers = snapshot.all_groups().filter_map(|(_, read)| read.ok());
    let told: Vec<&GroupOffsets> = answers
        .flat_map(|read| &read.facts.groups)
        .filter(|told| told.group == *group)
        .collect();
    let subject = || Subject::Group(group.clone());
    let unknown = |why: String| {
        Some(Finding::new(
            Reason::GroupUnknown,
            subject(),
            why,
            "its committed and end offsets",
        ))
    };
    // Brokers other than its coordinator do not know it: one answer with offsets is enough.
    let Some(partitions) = told.iter().find_map(|told| {
        told.partitions
            .value()
            .filter(|partitions| !partitions.is_empty())
    }) else {
        return unknown(match told.first().map(|told| told.partitions.why()) {
            None => String::from("no broker has told of it"),
            Some(why) if why.is_empty() => String::from("no committed offset"),
            Some(why) => why,
        });
    };
    if let Some(gap) = partitions
        .iter()
        .find(|partition| partition.lag().is_none())
    {
        return unknown(format!(
            "{}-{}: {}{}",
            gap.topic,
            gap.partition,
            gap.committed.why(),
            gap.end.why()
        ));
    }
    let lags = partitions.iter().filter_map(PartitionLag::lag);
    let lag = lags.fold(0_i64, i64::saturating_add);
    (lag >= BEHIND).then(|| {
        Finding::new(
            Reason::GroupLagging,
            subject(),
            format!("{lag} records behind on {} partitions", partitions.len()),
            format!("fewer than {BEHIND}"),
        )
    })
}
