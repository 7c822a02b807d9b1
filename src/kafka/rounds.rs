//! What the rounds over several connections share.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::connection::Connection;
use super::encode::{AskedPartition, Reader};
use super::transport::BoxFuture;
use crate::evidence::ids::NodeId;
use crate::evidence::known::{Known, Why};
use crate::evidence::report::SourceFailure;

/// The bulk connection of each broker that has one.
pub type Connections = BTreeMap<NodeId, Arc<Connection>>;

/// The most partitions in one ListOffsets request, so that one request keeps a broker's handler
/// thread for some milliseconds only.
const CHUNK: usize = 10_000;

/// Runs futures side by side in this task; their results in order.
pub(super) async fn join_all<T>(futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, result) in running.iter_mut().zip(&mut done) {
            if let Some(pending) = future
                && let Poll::Ready(value) = pending.as_mut().poll(context)
            {
                *result = Some(value);
                *future = None;
            }
        }
        if running.iter().any(Option::is_some) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Latest offsets of any number of partitions, in the order asked.
pub(super) async fn offsets(
    connection: &Connection,
    reader: Reader,
    asked: &[AskedPartition<'_>],
    deadline: Duration,
) -> Result<Vec<Known<i64>>, SourceFailure> {
    let mut all = Vec::with_capacity(asked.len());
    for chunk in asked.chunks(CHUNK) {
        let answer = connection.list_offsets(reader, chunk, deadline).await?;
        all.extend(answer.facts);
    }
    Ok(all)
}

/// Asks each leader for the latest offsets of its partitions, all leaders side by side. The
/// results are in the order asked; where no leader is connected, they say so.
pub(super) async fn leader_offsets(
    connections: &Connections,
    reader: Reader,
    asked: &[(Option<NodeId>, AskedPartition<'_>)],
    deadline: Duration,
) -> Vec<Known<i64>> {
    let mut by_leader: BTreeMap<NodeId, (Vec<usize>, Vec<AskedPartition<'_>>)> = BTreeMap::new();
    let mut ends: Vec<Known<i64>> = Vec::with_capacity(asked.len());
    for (at, (leader, row)) in asked.iter().enumerate() {
        ends.push(match leader {
            None => failed("it has no leader"),
            Some(leader) => {
                let (places, rows) = by_leader.entry(*leader).or_default();
                places.push(at);
                rows.push(*row);
                failed(format!("its leader {leader} is not connected"))
            }
        });
    }
    let mut places_asked = Vec::new();
    let mut questions: Vec<BoxFuture<'_, _>> = Vec::new();
    for (leader, (places, rows)) in by_leader {
        if let Some(connection) = connections.get(&leader) {
            places_asked.push(places);
            questions.push(Box::pin(async move {
                offsets(connection, reader, &rows, deadline).await
            }));
        }
    }
    for (places, result) in places_asked.into_iter().zip(join_all(questions).await) {
        match result {
            Ok(found) => {
                for (place, end) in places.into_iter().zip(found) {
                    set(&mut ends, place, end);
                }
            }
            Err(failure) => {
                for place in places {
                    set(&mut ends, place, failed(failure.detail.clone()));
                }
            }
        }
    }
    ends
}

fn set(ends: &mut [Known<i64>], place: usize, end: Known<i64>) {
    if let Some(slot) = ends.get_mut(place) {
        *slot = end;
    }
}

pub(super) fn failed<T>(why: impl Into<String>) -> Known<T> {
    Known::Failed(Why(why.into()))
}
