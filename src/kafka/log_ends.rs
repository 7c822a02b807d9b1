//! One round over all replicas: has every follower reached what its leader had before?
//!
//! ListOffsets with `replica_id = -2` answers any replica's own log end (reference `kafka-lab.md`
//! 10). Leaders are asked first, followers after them, so that an end that is reached *was*
//! reached; DescribeLogDirs' offset lag cannot say this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::encode::{AskAs, AskedPartition};
use super::errors;
use super::rounds::{Connections, failed, join_all, leader_offsets, offsets};
use super::transport::BoxFuture;
use crate::evidence::facts::{LogEndFacts, ReplicaEnd};
use crate::evidence::ids::NodeId;
use crate::evidence::known::Known;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::report::SourceFailure;

/// How long a round may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTimes {
    /// Each single question.
    pub question: Duration,
    /// From asking the leaders until replicas that are behind are no longer asked again.
    pub round: Duration,
    /// Between two questions about the same replica.
    pub pause: Duration,
}

impl Default for RoundTimes {
    fn default() -> Self {
        Self {
            question: Duration::from_secs(5),
            // Two of them in a row take less than the 3 s for which one counts.
            round: Duration::from_millis(1200),
            pause: Duration::from_millis(100),
        }
    }
}

/// One replica that follows, and which row of the leaders' answers is its own.
#[derive(Clone, Debug)]
pub struct Follower<'a> {
    /// What is asked, of its leader and of itself.
    pub asked: AskedPartition<'a>,
    /// Topic name, to be kept.
    pub topic: Arc<str>,
    /// The row in [`Plan::leaders`].
    pub leader_row: usize,
}

/// Who is asked what in one round.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Every partition that has followers, with its leader.
    pub leaders: Vec<(Option<NodeId>, AskedPartition<'a>)>,
    /// By node, the replicas of it that follow.
    pub followers: BTreeMap<NodeId, Vec<Follower<'a>>>,
}

/// What a round brings.
#[derive(Debug)]
pub struct Round {
    /// Every connected node: its follower replicas, or why it did not answer.
    pub nodes: BTreeMap<NodeId, Result<LogEndFacts, SourceFailure>>,
    /// How long it took to ask everybody once.
    pub first_pass: FirstPass,
}

/// How long it took to ask everybody once. Waiting for replicas to catch up costs nobody
/// anything: under load some always are on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstPass {
    /// All leaders, side by side.
    pub leaders: Duration,
    /// Each connected node after them.
    pub followers: BTreeMap<NodeId, Duration>,
}

impl FirstPass {
    /// All of it.
    pub fn took(&self) -> Duration {
        self.cost(|_| Duration::ZERO)
    }

    /// The same without the ways to the nodes and back, which cost nobody anything.
    pub fn cost(&self, trip: impl Fn(NodeId) -> Duration) -> Duration {
        let followers = self.followers.iter();
        let own = followers.map(|(node, took)| took.saturating_sub(trip(*node)));
        let farthest = self.followers.keys().map(|node| trip(*node)).max();
        let leaders = self.leaders.saturating_sub(farthest.unwrap_or_default());
        leaders.saturating_add(own.max().unwrap_or_default())
    }
}

/// Runs one round over the partitions of `table`. The result has every connected node: its
/// follower replicas (none is an empty list), or why it did not answer. A node without a
/// connection is not in it; a leader without one makes its partitions' `leader_end` fail.
///
/// Epochs of the table go along with each question: a replica that is not in that leader's epoch
/// answers with an error instead of an end that proves nothing.
pub async fn log_end_round(
    table: &PartitionTable,
    connections: &Connections,
    times: RoundTimes,
) -> Round {
    let began = Instant::now();
    let until = began + times.round;
    let Plan {
        leaders,
        mut followers,
    } = plan(table);
    let ask_as = AskAs::AnyReplica;
    let ends = leader_offsets(connections, ask_as, &leaders, times.question).await;
    let ends = &ends;
    let leaders = began.elapsed();
    let mut nodes = Vec::new();
    let mut questions: Vec<BoxFuture<'_, _>> = Vec::new();
    for (node, connection) in connections {
        let rows = followers.remove(node).unwrap_or_default();
        nodes.push(*node);
        questions.push(Box::pin(async move {
            let mut took = Duration::ZERO;
            let first = || took = began.elapsed().saturating_sub(leaders);
            let facts = ask_follower(connection, rows, ends, until, times, first).await;
            (facts, took)
        }));
    }
    let answers = nodes.into_iter().zip(join_all(questions).await);
    let mut round = Round {
        nodes: BTreeMap::new(),
        first_pass: FirstPass {
            leaders,
            followers: BTreeMap::new(),
        },
    };
    for (node, (facts, took)) in answers {
        round.first_pass.followers.insert(node, took);
        round.nodes.insert(node, facts);
    }
    round
}

/// The questions of one round over `table`.
pub fn plan(table: &PartitionTable) -> Plan<'_> {
    let mut plan = Plan {
        leaders: Vec::with_capacity(table.len()),
        followers: BTreeMap::new(),
    };
    for topic in table.topics() {
        let name: Arc<str> = topic.name().into();
        for partition in topic.partitions() {
            let asked = AskedPartition {
                topic: topic.name(),
                partition: partition.index,
                leader_epoch: partition.leader_epoch,
            };
            let followers = partition.replicas.iter();
            let followers = followers.filter(|node| Some(**node) != partition.leader);
            let leader_row = plan.leaders.len();
            let mut followed = false;
            for node in followers {
                followed = true;
                plan.followers.entry(*node).or_default().push(Follower {
                    asked,
                    topic: Arc::clone(&name),
                    leader_row,
                });
            }
            if followed {
                plan.leaders.push((partition.leader, asked));
            }
        }
    }
    plan
}

async fn ask_follower(
    connection: &Connection,
    followers: Vec<Follower<'_>>,
    ends: &[Known<i64>],
    until: Instant,
    times: RoundTimes,
    answered_once: impl FnOnce(),
) -> Result<LogEndFacts, SourceFailure> {
    let asked: Vec<_> = followers.iter().map(|follower| follower.asked).collect();
    let own = offsets(connection, AskAs::AnyReplica, &asked, times.question).await;
    answered_once();
    let own = own?;
    let mut rows: Vec<ReplicaEnd> = followers
        .into_iter()
        .zip(own)
        .map(|(follower, own_end)| ReplicaEnd {
            topic: follower.topic,
            partition: follower.asked.partition,
            leader_end: leader_end(ends, follower.leader_row),
            own_end,
        })
        .collect();
    loop {
        let behind = behind(&rows);
        if behind.is_empty() || Instant::now() + times.pause >= until {
            break;
        }
        sleep(times.pause).await;
        let questions: Vec<_> = behind
            .iter()
            .filter_map(|at| asked.get(*at).copied())
            .collect();
        let own = offsets(connection, AskAs::AnyReplica, &questions, times.question).await?;
        for (at, own_end) in behind.into_iter().zip(own) {
            if let Some(row) = rows.get_mut(at) {
                row.own_end = own_end;
            }
        }
    }
    Ok(in_order(rows))
}

/// What the leader of a follower's row said.
pub fn leader_end(ends: &[Known<i64>], leader_row: usize) -> Known<i64> {
    let end = ends.get(leader_row).cloned();
    end.unwrap_or_else(|| failed("not asked"))
}

/// The rows of replicas that are asked again while there is time.
pub fn behind(rows: &[ReplicaEnd]) -> Vec<usize> {
    (0..)
        .zip(rows)
        .filter(|(_, row)| again(row))
        .map(|(at, _)| at)
        .collect()
}

/// One node's replicas, in order of topic and partition.
pub fn in_order(mut rows: Vec<ReplicaEnd>) -> LogEndFacts {
    rows.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    LogEndFacts { rows }
}

/// Worth asking again: behind its leader, or not yet told of the leader's epoch (seen for tenths
/// of a second after an election). Other errors stay until the metadata changes.
fn again(row: &ReplicaEnd) -> bool {
    let leader_known = row.leader_end.value().is_some();
    leader_known
        && match &row.own_end {
            Known::Is(_) => row.caught_up() == Some(false),
            Known::Failed(why) => why.0 == errors::name(errors::UNKNOWN_LEADER_EPOCH),
            Known::NotInRelease | Known::NotExported | Known::Hidden => false,
        }
}
