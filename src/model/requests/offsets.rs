//! ListOffsets. With `replica_id` -1 (a client) only the leader answers, with the high watermark;
//! with -2 (`ListOffsetsRequest.DEBUGGING_REPLICA_ID`) every replica answers its own log end
//! (kafka-lab.md, section 10).

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, ListOffsetsResponse};

use super::{At, Reply, code};

const DEBUGGING: BrokerId = BrokerId(-2);
/// The beginning of the log. Everything else is answered with its end.
const EARLIEST: i64 = -2;

pub(super) fn answer(at: &At<'_>, request: ListOffsetsRequest) -> Reply<ListOffsetsResponse> {
    let debugging = request.replica_id == DEBUGGING;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions =
            partitions.map(|partition| one(at, topic.name.0.as_str(), partition, debugging));
        ListOffsetsTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    Reply::Is(ListOffsetsResponse::default().with_topics(topics.collect()))
}

fn one(
    at: &At<'_>,
    topic: &str,
    wanted: &ListOffsetsPartition,
    debugging: bool,
) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse::default()
        .with_partition_index(wanted.partition_index)
        .with_timestamp(-1)
        .with_offset(-1);
    match offset(at, topic, wanted, debugging) {
        Err(error) => response = response.with_error_code(error),
        Ok((offset, epoch)) => {
            response = response.with_offset(offset);
            if at.version >= 4 {
                response = response.with_leader_epoch(epoch);
            }
        }
    }
    response
}

/// `ReplicaManager.getPartitionOrError` and `Partition.localLogWithEpochOrThrow`.
fn offset(
    at: &At<'_>,
    topic: &str,
    wanted: &ListOffsetsPartition,
    debugging: bool,
) -> Result<(i64, i32), i16> {
    if at.cluster.rights.hides(topic) {
        return Err(code::TOPIC_AUTHORIZATION_FAILED);
    }
    let id = at.node.spec.id;
    let index =
        u32::try_from(wanted.partition_index).map_err(|_| code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = at
        .node
        .image
        .partition(topic, index)
        .ok_or(code::UNKNOWN_TOPIC_OR_PARTITION)?;
    if !partition.replicas.contains(&id) {
        return Err(code::NOT_LEADER_OR_FOLLOWER);
    }
    if !at.cluster.disk_online(id, partition.log_dir) {
        return Err(code::KAFKA_STORAGE_ERROR);
    }
    let asked = if at.version >= 4 {
        wanted.current_leader_epoch
    } else {
        -1
    };
    if asked >= 0 && asked < partition.leader_epoch {
        return Err(code::FENCED_LEADER_EPOCH);
    }
    if asked > partition.leader_epoch {
        return Err(code::UNKNOWN_LEADER_EPOCH);
    }
    if !debugging && partition.leader != Some(id) {
        return Err(code::NOT_LEADER_OR_FOLLOWER);
    }
    let log = at
        .cluster
        .log_now(&(topic.into(), index))
        .ok_or(code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let replica = log.replicas.get(&id).ok_or(code::NOT_LEADER_OR_FOLLOWER)?;
    let end = if debugging {
        replica.end
    } else {
        log.high_watermark.min(replica.end)
    };
    let offset = if wanted.timestamp == EARLIEST {
        0
    } else {
        end / 1_000
    };
    Ok((
        i64::try_from(offset).unwrap_or(i64::MAX),
        partition.leader_epoch,
    ))
}
