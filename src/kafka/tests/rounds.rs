//! Rounds over several fake brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};

use super::*;
use crate::evidence::facts::ReplicaEnd;
use crate::evidence::ids::{GroupId, NodeId};
use crate::evidence::known::Known;
use crate::evidence::partitions::{Builder, Partition, PartitionTable};
use crate::kafka::log_ends::FirstPass;

/// Topic `t`: partition 0 led by 1, partition 1 led by 2, partition 2 by nobody; all on 1, 2, 3.
fn table() -> PartitionTable {
    let replicas = [1, 2, 3].map(NodeId);
    let mut builder = Builder::default();
    builder.topic(None, "t", false, 0);
    for (index, leader) in [(0, Some(1)), (1, Some(2)), (2, None)] {
        builder.partition(Partition {
            index,
            leader: leader.map(NodeId),
            leader_epoch: Some(5),
            error: 0,
            replicas: &replicas,
            isr: &replicas,
            offline: &[],
        });
    }
    builder.finish()
}

/// Answers ListOffsets with what `end` says of (partition, replica id asked with).
fn offsets(ask: &Ask, end: impl Fn(i32, i32) -> Result<i64, i16>) -> Reply {
    let request: ListOffsetsRequest = ask.request();
    let topics = request.topics.iter().map(|topic| {
        let rows = topic.partitions.iter().map(|row| {
            let end = end(row.partition_index, request.replica_id.0);
            ListOffsetsPartitionResponse::default()
                .with_partition_index(row.partition_index)
                .with_error_code(end.err().unwrap_or(0))
                .with_offset(end.unwrap_or(-1))
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(rows.collect())
    });
    ask.answer(&ListOffsetsResponse::default().with_topics(topics.collect()))
}

const TIMES: RoundTimes = RoundTimes {
    question: SOON,
    round: Duration::from_millis(400),
    pause: Duration::from_millis(10),
};

#[tokio::test]
async fn followers_are_asked_after_their_leaders_until_they_have_caught_up() {
    let mut connections = Connections::new();
    // Node 1 has lost partition 1 to a broken disk.
    let asked = Arc::new(AtomicI64::new(0));
    let counter = Arc::clone(&asked);
    let broken = connected(move |ask| {
        offsets(ask, |partition, _| {
            if partition == 1 {
                counter.fetch_add(1, Ordering::Relaxed);
                return Err(56);
            }
            Ok(100)
        })
    });
    connections.insert(NodeId(1), Arc::new(broken.await));
    let whole = connected(|ask| offsets(ask, |_, _| Ok(100)));
    connections.insert(NodeId(2), Arc::new(whole.await));
    // Node 3 gains one record of partition 0 per question, and is told late of partition 1.
    let progress = AtomicI64::new(98);
    let told = AtomicI64::new(0);
    let slow = connected(move |ask| {
        offsets(ask, |partition, _| match partition {
            0 => Ok(progress.fetch_add(1, Ordering::Relaxed)),
            1 if told.fetch_add(1, Ordering::Relaxed) == 0 => Err(75),
            _ => Ok(100),
        })
    });
    connections.insert(NodeId(3), Arc::new(slow.await));
    let table = table();
    let round = log_end_round(&table, &connections, TIMES).await.nodes;
    let nodes: Vec<_> = round.keys().copied().collect();
    assert_eq!(nodes, [1, 2, 3].map(NodeId));
    let rows = |node| &round[&NodeId(node)].as_ref().unwrap().rows;
    let caught_up = |node| -> Vec<_> {
        let row = |row: &ReplicaEnd| (row.partition, row.caught_up());
        rows(node).iter().map(row).collect()
    };
    assert_eq!(caught_up(1), [(1, None), (2, None)]);
    assert_eq!(caught_up(2), [(0, Some(true)), (2, None)]);
    assert_eq!(caught_up(3), [(0, Some(true)), (1, Some(true)), (2, None)]);
    assert_eq!(rows(3)[0].own_end, Known::Is(100));
    assert_eq!(rows(3)[2].leader_end.why(), "it has no leader");
    assert_eq!(rows(1)[0].own_end.why(), "KAFKA_STORAGE_ERROR");
    assert_eq!(
        asked.load(Ordering::Relaxed),
        1,
        "asking again would not help"
    );
}

#[tokio::test]
async fn a_missing_or_silent_leader_proves_nothing_and_a_lagging_follower_ends_the_round() {
    let mut connections = Connections::new();
    let silent = connected(|_| Reply::Nothing).await;
    connections.insert(NodeId(1), Arc::new(silent));
    let behind = connected(|ask| offsets(ask, |_, _| Ok(7))).await;
    connections.insert(NodeId(3), Arc::new(behind));
    let table = table();
    let times = RoundTimes {
        question: Duration::from_millis(100),
        ..TIMES
    };
    let round = log_end_round(&table, &connections, times).await.nodes;
    let failure = round[&NodeId(1)].as_ref().unwrap_err();
    assert_eq!(failure.class, FailureClass::Timeout);
    let rows = &round[&NodeId(3)].as_ref().unwrap().rows;
    assert!(rows[0].leader_end.why().contains("no answer"), "{rows:?}");
    assert!(
        rows[1]
            .leader_end
            .why()
            .contains("leader 2 is not connected")
    );
    assert!(rows.iter().all(|row| row.caught_up().is_none()));

    let ahead = connected(|ask| offsets(ask, |_, _| Ok(8))).await;
    connections.insert(NodeId(1), Arc::new(ahead));
    let round = log_end_round(&table, &connections, TIMES).await.nodes;
    let rows = &round[&NodeId(3)].as_ref().unwrap().rows;
    assert_eq!(rows[0].caught_up(), Some(false));
}

/// The ways to two nodes, 150 ms and 10 ms there and back, cost nobody anything.
#[test]
fn a_round_costs_what_it_took_less_the_ways() {
    let ms = Duration::from_millis;
    let pass = |leaders, far, near| FirstPass {
        leaders: ms(leaders),
        followers: BTreeMap::from([(NodeId(1), ms(far)), (NodeId(2), ms(near))]),
    };
    let trip = |node: NodeId| ms(if node == NodeId(1) { 150 } else { 10 });
    let cheap = pass(151, 152, 11);
    assert_eq!((cheap.took(), cheap.cost(trip)), (ms(303), ms(3)));
    // What the near one needs is no way.
    assert_eq!(pass(150, 150, 90).cost(trip), ms(80));
    assert_eq!(pass(0, 0, 0).cost(trip), ms(0));
    assert_eq!(FirstPass::default().cost(trip), ms(0));
}

/// A broker that coordinates `fast` and `slow`, with commits of `fast`; `ends` are its ends.
fn coordinator(ask: &Ask, seen: &Seen) -> Reply {
    let key = ask.header.request_api_key;
    seen.lock().unwrap().push((key, ask.version()));
    if ask.is(ApiKey::FindCoordinator) {
        let request: FindCoordinatorRequest = ask.request();
        if ask.version() < 4 {
            let (node, error) = coordinator_of(request.key.as_str());
            let response = FindCoordinatorResponse::default()
                .with_node_id(node.into())
                .with_error_code(error);
            return ask.answer(&response);
        }
        let rows = request.coordinator_keys.into_iter().map(|key| {
            let (node, error) = coordinator_of(key.as_str());
            Coordinator::default()
                .with_key(key)
                .with_node_id(node.into())
                .with_error_code(error)
        });
        return ask.answer(&FindCoordinatorResponse::default().with_coordinators(rows.collect()));
    }
    if ask.is(ApiKey::OffsetFetch) {
        return commits(ask);
    }
    offsets(ask, |partition, replica| match (partition, replica) {
        (0, -1) => Ok(100),
        _ => Err(6),
    })
}

fn coordinator_of(group: &str) -> (i32, i16) {
    match group {
        "elsewhere" => (9, 0),
        "secret" => (-1, 30),
        "starting" => (-1, 15),
        _ => (1, 0),
    }
}

fn commits(ask: &Ask) -> Reply {
    let request: OffsetFetchRequest = ask.request();
    assert!(request.require_stable);
    if ask.version() < 8 {
        assert_eq!(request.topics, None);
        let group = request.group_id.as_str();
        let rows = [(0, 90, 0), (1, -1, 88), (4, 5, 0)].map(|(index, offset, error)| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_error_code(error)
        });
        let topic = OffsetFetchResponseTopic::default()
            .with_name(text("t").into())
            .with_partitions(rows.into());
        let loading = group == "slow";
        let response = OffsetFetchResponse::default()
            .with_error_code(if loading { 14 } else { 0 })
            .with_topics(if loading { vec![] } else { vec![topic] });
        return ask.answer(&response);
    }
    let groups = request.groups.into_iter().map(|group| {
        assert_eq!(group.topics, None);
        let rows = [(0, 90, 0), (1, -1, 88), (4, 5, 0)].map(|(index, offset, error)| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_error_code(error)
        });
        let topic = OffsetFetchResponseTopics::default()
            .with_name(text("t").into())
            .with_partitions(rows.into());
        let loading = group.group_id.as_str() == "slow";
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id)
            .with_error_code(if loading { 14 } else { 0 })
            .with_topics(if loading { vec![] } else { vec![topic] })
    });
    ask.answer(&OffsetFetchResponse::default().with_groups(groups.collect()))
}

#[tokio::test]
async fn groups_are_asked_in_batches_and_every_one_is_accounted_for() {
    let names = ["elsewhere", "fast", "secret", "slow", "starting"];
    let groups: BTreeSet<_> = names.map(|name| GroupId(String::from(name))).into();
    // Before 3.0 FindCoordinator ends at v3 and OffsetFetch at v7: one question per group.
    for (find, fetch, questions) in [(6, 9, 3), (3, 7, 5 + 2 + 1)] {
        let seen = Seen::default();
        let record = Arc::clone(&seen);
        let address = broker(move |ask| {
            if ask.is(ApiKey::ApiVersions) {
                let mut apis = all_apis();
                apis.retain(|row| ![9, 10].contains(&row.api_key));
                apis.push(api(ApiKey::FindCoordinator, 0, find));
                apis.push(api(ApiKey::OffsetFetch, 1, fetch));
                return ask.answer(&versions(apis));
            }
            coordinator(ask, &record)
        })
        .await;
        let connection = Arc::new(open(&address).await.unwrap());
        let connections = BTreeMap::from([(NodeId(1), connection)]);
        let table = table();
        let round = group_round(&groups, &table, &connections, SOON)
            .await
            .unwrap();
        assert_eq!(seen.lock().unwrap().len(), questions);
        let by_name: BTreeMap<_, _> = round
            .groups
            .iter()
            .map(|row| (row.group.0.as_str(), &row.partitions))
            .collect();
        assert_eq!(by_name.keys().copied().collect::<Vec<_>>(), names);
        assert!(by_name["elsewhere"].why().contains("9 is not connected"));
        assert_eq!(by_name["secret"], &Known::Hidden);
        assert_eq!(by_name["slow"].why(), "COORDINATOR_LOAD_IN_PROGRESS");
        assert_eq!(by_name["starting"].why(), "COORDINATOR_NOT_AVAILABLE");
        let rows = by_name["fast"].value().unwrap();
        assert_eq!(rows[0].lag(), Some(10));
        assert_eq!(rows[1].committed.why(), "UNSTABLE_OFFSET_COMMIT");
        assert!(rows[1].end.why().contains("leader 2 is not connected"));
        assert_eq!(rows[2].end.why(), "not in the metadata");
        assert_eq!((rows[1].lag(), rows[2].lag()), (None, None));
    }
}

#[tokio::test]
async fn without_any_broker_there_is_no_table_of_groups() {
    let groups = BTreeSet::from([GroupId(String::from("g"))]);
    let none = Connections::new();
    let table = table();
    let failure = group_round(&groups, &table, &none, SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Closed);
    let nothing = group_round(&BTreeSet::new(), &table, &none, SOON).await;
    assert_eq!(nothing.unwrap().groups.len(), 0);
}
