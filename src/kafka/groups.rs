//! One round over the named groups: coordinators, then commits, then the ends of what was
//! committed. Ends are read last, so that lag errs upward.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::answers::Commit;
use super::connection::Connection;
use super::encode::{AskedPartition, Reader};
use super::rounds::{Connections, failed, join_all, leader_offsets};
use super::transport::BoxFuture;
use crate::evidence::facts::{GroupOffsets, GroupTable, PartitionLag};
use crate::evidence::ids::{GroupId, NodeId};
use crate::evidence::known::Known;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::report::{FailureClass, SourceFailure};

/// Runs one round. `table` says who leads; `deadline` is for each single question. Every group
/// asked for is in the result, once, with its commits or why they are not known. `Err` only when
/// no broker at all would say who coordinates.
pub async fn group_round(
    groups: &BTreeSet<GroupId>,
    table: &PartitionTable,
    connections: &Connections,
    deadline: Duration,
) -> Result<GroupTable, SourceFailure> {
    if groups.is_empty() {
        return Ok(GroupTable::default());
    }
    let ids: Vec<&GroupId> = groups.iter().collect();
    let coordinators = coordinators(&ids, connections, deadline).await?;
    let commits = commits(&ids, &coordinators, connections, deadline).await;
    let ends = ends(&commits, table, connections, deadline).await;
    let groups = ids
        .into_iter()
        .zip(commits)
        .map(|(group, commits)| GroupOffsets {
            group: group.clone(),
            partitions: lags(commits, &ends),
        });
    Ok(GroupTable {
        groups: groups.collect(),
    })
}

/// Any broker can say it; the first one that does is believed.
async fn coordinators(
    groups: &[&GroupId],
    connections: &Connections,
    deadline: Duration,
) -> Result<Vec<Known<NodeId>>, SourceFailure> {
    let mut failure = SourceFailure::new(
        FailureClass::Closed,
        "no broker is connected that could say who coordinates the groups",
    );
    for connection in connections.values() {
        match connection.find_coordinators(groups, deadline).await {
            Ok(answer) => return Ok(answer.facts),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The commits of each group from its coordinator, all coordinators side by side.
async fn commits(
    groups: &[&GroupId],
    coordinators: &[Known<NodeId>],
    connections: &Connections,
    deadline: Duration,
) -> Vec<Known<Vec<Commit>>> {
    let mut found: BTreeMap<&GroupId, Known<Vec<Commit>>> = BTreeMap::new();
    let mut by_node: BTreeMap<NodeId, Vec<&GroupId>> = BTreeMap::new();
    for (group, coordinator) in groups.iter().zip(coordinators) {
        match coordinator {
            Known::Is(node) => by_node.entry(*node).or_default().push(group),
            Known::NotInRelease => drop(found.insert(group, Known::NotInRelease)),
            Known::NotExported => drop(found.insert(group, Known::NotExported)),
            Known::Hidden => drop(found.insert(group, Known::Hidden)),
            Known::Failed(why) => drop(found.insert(group, Known::Failed(why.clone()))),
        }
    }
    let questions = by_node
        .iter()
        .map(|(node, groups)| -> BoxFuture<'_, _> {
            Box::pin(ask_coordinator(
                *node,
                groups,
                connections.get(node),
                deadline,
            ))
        })
        .collect();
    for (groups, answers) in by_node.values().zip(join_all(questions).await) {
        found.extend(groups.iter().copied().zip(answers));
    }
    let missing = || failed("not asked");
    groups
        .iter()
        .map(|group| found.remove(group).unwrap_or_else(missing))
        .collect()
}

async fn ask_coordinator(
    node: NodeId,
    groups: &[&GroupId],
    connection: Option<&std::sync::Arc<Connection>>,
    deadline: Duration,
) -> Vec<Known<Vec<Commit>>> {
    let why = match connection {
        None => format!("its coordinator {node} is not connected"),
        Some(connection) => match connection.fetch_commits(groups, deadline).await {
            Ok(answer) => return answer.facts,
            Err(failure) => failure.detail,
        },
    };
    groups.iter().map(|_| failed(why.clone())).collect()
}

type Ends = BTreeMap<(String, i32), Known<i64>>;

/// The ends of all partitions that have a commit, from their leaders.
async fn ends(
    commits: &[Known<Vec<Commit>>],
    table: &PartitionTable,
    connections: &Connections,
    deadline: Duration,
) -> Ends {
    let wanted: BTreeSet<(&str, i32)> = commits
        .iter()
        .filter_map(Known::value)
        .flatten()
        .map(|commit| (commit.topic.as_str(), commit.partition))
        .collect();
    let names: BTreeSet<&str> = wanted.iter().map(|(topic, _)| *topic).collect();
    let mut asked = Vec::new();
    for topic in table.topics().filter(|topic| names.contains(topic.name())) {
        for partition in topic.partitions() {
            if wanted.contains(&(topic.name(), partition.index)) {
                let row = AskedPartition {
                    topic: topic.name(),
                    partition: partition.index,
                    leader_epoch: None, // only the leader answers a consumer anyway
                };
                asked.push((partition.leader, row));
            }
        }
    }
    let found = leader_offsets(connections, Reader::Consumer, &asked, deadline).await;
    let key = |row: &AskedPartition<'_>| (row.topic.to_owned(), row.partition);
    asked.iter().map(|(_, row)| key(row)).zip(found).collect()
}

fn lags(commits: Known<Vec<Commit>>, ends: &Ends) -> Known<Vec<PartitionLag>> {
    let lag = |commit: Commit| {
        let key = (commit.topic, commit.partition);
        let end = ends.get(&key).cloned();
        PartitionLag {
            topic: key.0,
            partition: key.1,
            committed: commit.offset,
            end: end.unwrap_or_else(|| failed("not in the metadata")),
        }
    };
    match commits {
        Known::Is(commits) => Known::Is(commits.into_iter().map(lag).collect()),
        Known::NotInRelease => Known::NotInRelease,
        Known::NotExported => Known::NotExported,
        Known::Hidden => Known::Hidden,
        Known::Failed(why) => Known::Failed(why),
    }
}
