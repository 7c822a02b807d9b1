//! Answers about many things at once, put into the order in which they were asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::Answer;
use super::decode::groups::{CommitsAnswer, CoordinatorsAnswer, GroupCommits};
use super::decode::list_offsets::OffsetsAnswer;
use super::encode::AskedPartition;
use super::errors;
use crate::evidence::ids::{GroupId, NodeId};
use crate::evidence::known::{Known, Why};

/// One partition's commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// The committed offset.
    pub offset: Known<i64>,
}

/// Several answers as one.
pub(super) struct Gathered<T> {
    facts: Vec<T>,
    throttle: Duration,
    took: Duration,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self {
            facts: Vec::new(),
            throttle: Duration::ZERO,
            took: Duration::ZERO,
        }
    }
}

impl<T> Gathered<T> {
    pub(super) fn add<A>(&mut self, answer: Answer<A>, facts: impl FnOnce(A) -> Vec<T>) {
        self.facts.extend(facts(answer.facts));
        self.throttle = self.throttle.max(answer.throttle);
        self.took = self.took.saturating_add(answer.took);
    }

    pub(super) fn done(self) -> Answer<Vec<T>> {
        Answer {
            facts: self.facts,
            throttle: self.throttle,
            took: self.took,
        }
    }
}

fn unanswered<T>() -> Known<T> {
    Known::Failed(Why(String::from("not in the answer")))
}

/// One offset per partition asked for, in the order asked; one that is not in the answer has failed.
pub fn offsets_in_order(answer: &OffsetsAnswer, asked: &[AskedPartition<'_>]) -> Vec<Known<i64>> {
    let mut found = BTreeMap::new();
    for topic in &answer.topics {
        let partitions: &mut BTreeMap<i32, Known<i64>> =
            found.entry(topic.name.as_str()).or_default();
        for row in &topic.partitions {
            partitions.insert(row.partition, errors::offset(row.error, row.offset));
        }
    }
    asked
        .iter()
        .map(|row| {
            let partitions = found.get(row.topic);
            let offset = partitions.and_then(|rows| rows.get(&row.partition));
            offset.cloned().unwrap_or_else(unanswered)
        })
        .collect()
}

pub(super) fn coordinators_in_order(
    answer: &CoordinatorsAnswer,
    asked: &[&GroupId],
) -> Vec<Known<NodeId>> {
    let of = |group: &GroupId| {
        let mut rows = answer.coordinators.iter();
        // Before v4 the only row is the answer to the only group asked for.
        let row = rows.find(|row| row.group.as_ref().is_none_or(|id| id == group))?;
        Some(match (row.error, row.node) {
            (0, Some(node)) => Known::Is(node),
            (0, None) => Known::Failed(Why(String::from("no coordinator"))),
            (errors::GROUP_AUTHORIZATION_FAILED, _) => Known::Hidden,
            (code, _) => Known::Failed(Why(errors::name(code))),
        })
    };
    asked
        .iter()
        .map(|id| of(id).unwrap_or_else(unanswered))
        .collect()
}

pub(super) fn commits_in_order(
    answer: CommitsAnswer,
    asked: &[&GroupId],
) -> Vec<Known<Vec<Commit>>> {
    let mut found: Vec<(Option<GroupId>, Known<Vec<Commit>>)> = answer
        .groups
        .into_iter()
        .map(|group| (group.group.clone(), commits(group)))
        .collect();
    asked
        .iter()
        .map(|id| {
            let own = |(group, _): &(Option<GroupId>, _)| group.as_ref().is_none_or(|g| g == *id);
            let at = found.iter().position(own);
            at.map_or_else(unanswered, |at| found.swap_remove(at).1)
        })
        .collect()
}

fn commits(group: GroupCommits) -> Known<Vec<Commit>> {
    match group.error {
        0 => {}
        errors::GROUP_AUTHORIZATION_FAILED => return Known::Hidden,
        code => return Known::Failed(Why(errors::name(code))),
    }
    let rows = group.partitions.into_iter().map(|row| Commit {
        offset: errors::offset(row.error, row.offset),
        topic: row.topic,
        partition: row.partition,
    });
    Known::Is(rows.collect())
}
