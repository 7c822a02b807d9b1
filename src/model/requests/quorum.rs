//! DescribeQuorum and ListPartitionReassignments. Brokers forward both (`ForwardingManagerImpl`).
//! Of the quorum only the active controller tells (`KafkaRaftClient.handleDescribeQuorumRequest`);
//! of reassignments every controller, as far as it has read
//! (`QuorumController.listPartitionReassignments`, a read event).

use kafka_protocol::messages::describe_quorum_response::{
    Listener as QuorumListener, Node as QuorumNode, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{At, Reply, code, text};
use crate::model::state::{Millis, Position};
use crate::model::{Cluster, Listener, NodeId};

/// The only partition of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// Observers that have not fetched for that long are dropped
/// (`LeaderState.OBSERVER_SESSION_TIMEOUT_MS`).
const OBSERVER_SESSION: Millis = 300_000;

pub(super) fn answer(at: &At<'_>, request: DescribeQuorumRequest) -> Reply<DescribeQuorumResponse> {
    let named = request.topics.iter().any(|topic| {
        topic.topic_name.0.as_str() == METADATA_TOPIC
            && topic
                .partitions
                .iter()
                .any(|partition| partition.partition_index == 0)
    });
    if !named {
        return Reply::Is(refused(code::UNKNOWN_TOPIC_OR_PARTITION));
    }
    if at.cluster.rights.no_cluster {
        // Error 31 for the whole answer (`DescribeQuorumRequest.getTopLevelErrorResponse`).
        let refused = DescribeQuorumResponse::default();
        return Reply::Is(refused.with_error_code(code::CLUSTER_AUTHORIZATION_FAILED));
    }
    let own = at.node.spec.id;
    let reply = match (at.listener, at.controller()) {
        (Listener::Broker, None) => return Reply::Waits,
        (Listener::Broker, Some(leader)) => quorum(at, leader),
        (Listener::Controller, _) if at.node.leader != Some(own) => {
            refused(code::NOT_LEADER_OR_FOLLOWER)
        }
        (Listener::Controller, _) if at.cluster.quorum.leader == Some(own) => quorum(at, own),
        (Listener::Controller, _) => alone(at),
    };
    Reply::Is(reply)
}

/// What a leader that has been replaced and does not know it yet answers: itself, and voters that
/// stopped fetching.
fn alone(at: &At<'_>) -> DescribeQuorumResponse {
    let (stopped, end) = match at.node.position {
        Position::Stopped { at, end } => (at, end),
        Position::Never | Position::Following => (at.cluster.now, at.node.image.offset),
    };
    // The others had missed it for a fetch timeout by then.
    let last = stopped.saturating_sub(at.cluster.spec.settings.quorum_fetch_timeout);
    let own = at.node.spec.id;
    let then = at.cluster.noted(own, last, |at| at);
    let now = at.cluster.own_wall(own);
    let voters = at.cluster.voters().map(|id| {
        let seen = if id == own { now } else { then };
        let directory = at.cluster.voting_directory(id);
        state(at, (id, directory), end, seen)
    });
    let partition = PartitionData::default()
        .with_leader_id(BrokerId(own))
        .with_leader_epoch(at.node.epoch)
        .with_high_watermark(end)
        .with_current_voters(voters.collect());
    wrap(partition)
}

fn wrap(partition: PartitionData) -> DescribeQuorumResponse {
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    DescribeQuorumResponse::default().with_topics(vec![topic])
}

fn refused(error: i16) -> DescribeQuorumResponse {
    wrap(PartitionData::default().with_error_code(error))
}

fn quorum(at: &At<'_>, leader: NodeId) -> DescribeQuorumResponse {
    let cluster = at.cluster;
    let end = cluster.metadata_end();
    let voters = cluster
        .voters()
        .map(|id| voter(at, id, leader, end))
        .collect();
    let observers = observers(at, leader, end);
    let partition = PartitionData::default()
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(cluster.quorum.epoch)
        .with_high_watermark(end)
        .with_current_voters(voters)
        .with_observers(observers);
    let mut response = wrap(partition);
    if at.version >= 2 {
        response = response.with_nodes(cluster.voters().map(|id| node(cluster, id)).collect());
    }
    response
}

fn node(cluster: &Cluster, id: NodeId) -> QuorumNode {
    let (host, port) = cluster.address(id, Listener::Controller);
    let listener = QuorumListener::default()
        .with_name(StrBytes::from_static_str("CONTROLLER"))
        .with_host(host)
        .with_port(u16::try_from(port).unwrap_or(0));
    QuorumNode::default()
        .with_node_id(BrokerId(id))
        .with_listeners(vec![listener])
}

/// Whoever reads the metadata and does not vote: brokers, and directories that have no vote, or no
/// more (`LeaderState.observerStates` is kept by id and directory).
fn observers(at: &At<'_>, leader: NodeId, end: i64) -> Vec<ReplicaState> {
    let cluster = at.cluster;
    let recent = |position: Position| match position {
        Position::Never => false,
        Position::Following => true,
        Position::Stopped { at, .. } => cluster.now - at < OBSERVER_SESSION,
    };
    let mut list = Vec::new();
    for node in cluster.nodes.values() {
        let id = node.spec.id;
        if !cluster.is_voter(id) {
            if recent(node.position) {
                list.push(replica(at, id, leader, end));
            }
        } else if let Some((old, position)) = node.left_behind.filter(|(_, p)| recent(*p)) {
            let key = (id, cluster.directory_after(id, old));
            list.push(placed(at, key, leader, position, end));
        }
    }
    list
}

/// A voter: where its node is, or where it stopped if the node is there with another directory.
fn voter(at: &At<'_>, id: NodeId, leader: NodeId, end: i64) -> ReplicaState {
    let node = at.cluster.nodes.get(&id);
    match node.and_then(|node| node.left_behind) {
        Some((_, position)) if !at.cluster.is_voter(id) => {
            let key = (id, at.cluster.voting_directory(id));
            placed(at, key, leader, position, end)
        }
        Some(_) | None => replica(at, id, leader, end),
    }
}

fn replica(at: &At<'_>, id: NodeId, leader: NodeId, end: i64) -> ReplicaState {
    let cluster = at.cluster;
    let key = (id, cluster.directory(id));
    if id == leader {
        return state(at, key, end, cluster.own_wall(leader));
    }
    let node = cluster.nodes.get(&id);
    let position = node.map_or(Position::Never, |node| node.position);
    placed(at, key, leader, position, end)
}

fn placed(
    at: &At<'_>,
    key: (NodeId, Uuid),
    leader: NodeId,
    position: Position,
    end: i64,
) -> ReplicaState {
    let cluster = at.cluster;
    let (id, _) = key;
    // A follower with nothing to read asks every 500 ms
    // (`KafkaRaftClient.MAX_FETCH_WAIT_MS`); idle records come as often.
    let phase = u64::try_from(id).unwrap_or(0) * 137;
    let fetched = |by: Millis| by.saturating_sub((by + phase) % 500);
    match position {
        Position::Never => state(at, key, -1, -1),
        Position::Following => {
            let last = fetched(cluster.now);
            state(at, key, end, cluster.noted(leader, last, fetched))
        }
        Position::Stopped { at: last, end } => {
            state(at, key, end, cluster.noted(leader, last, fetched))
        }
    }
}

/// One voter or observer that fetched last, and was caught up, at `seen`.
fn state(at: &At<'_>, (id, directory): (NodeId, Uuid), end: i64, seen: i64) -> ReplicaState {
    let mut state = ReplicaState::default()
        .with_replica_id(BrokerId(id))
        .with_log_end_offset(end);
    if at.version >= 1 {
        state = state
            .with_last_fetch_timestamp(seen)
            .with_last_caught_up_timestamp(seen);
    }
    if at.version >= 2 {
        state = state.with_replica_directory_id(directory);
    }
    state
}

pub(super) fn reassignments(
    at: &At<'_>,
    request: ListPartitionReassignmentsRequest,
) -> Reply<ListPartitionReassignmentsResponse> {
    if at.cluster.rights.no_cluster {
        let refused = ListPartitionReassignmentsResponse::default()
            .with_error_code(code::CLUSTER_AUTHORIZATION_FAILED)
            .with_error_message(Some(text("Cluster authorization failed.")));
        return Reply::Is(refused);
    }
    let zookeeper = at.cluster.spec.zookeeper;
    match (at.listener, at.controller()) {
        // Nobody forwards: only the controller itself answers
        // (`KafkaApis.handleListPartitionReassignmentsRequest`); without ZooKeeper it stays in office and
        // does so, too (`KafkaController.processListPartitionReassignments` reads its own context).
        (Listener::Broker, leader) if zookeeper && leader == Some(at.node.spec.id) => {}
        (Listener::Broker, None)
            if at.cluster.zookeeper_lost.is_some() && at.cluster.acts_as_controller(at.node) => {}
        (Listener::Broker, None) if !zookeeper => return Reply::Waits,
        (Listener::Broker, Some(_)) if !zookeeper => {}
        (Listener::Controller, _) => {}
        (Listener::Broker, _) => {
            let refused = ListPartitionReassignmentsResponse::default()
                .with_error_code(code::NOT_CONTROLLER)
                .with_error_message(Some(text("This is not the correct controller.")));
            return Reply::Is(refused);
        }
    }
    let wanted = |topic: &str, index: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|wanted| {
            wanted.name.0.as_str() == topic && wanted.partition_indexes.contains(&index)
        }),
    };
    let ids = |list: &[NodeId]| list.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
    let mut topics = Vec::new();
    let own = at.listener == Listener::Controller && at.controller() != Some(at.node.spec.id);
    let image = if own {
        &at.node.image
    } else {
        &at.cluster.image
    };
    for (name, topic) in &image.topics {
        let moving = (0..).zip(&topic.partitions).filter(|(index, partition)| {
            let moves = !partition.adding.is_empty() || !partition.removing.is_empty();
            moves && wanted(name, *index)
        });
        let partitions: Vec<_> = moving
            .map(|(index, partition)| {
                OngoingPartitionReassignment::default()
                    .with_partition_index(index)
                    .with_replicas(ids(&partition.replicas))
                    .with_adding_replicas(ids(&partition.adding))
                    .with_removing_replicas(ids(&partition.removing))
            })
            .collect();
        if !partitions.is_empty() {
            topics.push(
                OngoingTopicReassignment::default()
                    .with_name(TopicName(text(name.as_ref())))
                    .with_partitions(partitions),
            );
        }
    }
    let response = ListPartitionReassignmentsResponse::default()
        .with_error_message(None)
        .with_topics(topics);
    Reply::Is(response)
}
