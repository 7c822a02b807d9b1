//! DescribeLogDirs: what a broker really hosts. `offsetLag` is 0 even on a follower that stands
//! still (kafka-lab.md, section 10). A failed dir is listed with error 56 and without replicas
//! (`ReplicaManager.describeLogDirs`).

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};

use super::{At, Reply, code, text};
use crate::model::image::PartitionId;

/// Bytes that one record takes on disk.
const RECORD_BYTES: u64 = 100;
/// Size of a simulated disk.
const DISK_BYTES: i64 = 1 << 40;

pub(super) fn answer(
    at: &At<'_>,
    request: DescribeLogDirsRequest,
) -> Reply<DescribeLogDirsResponse> {
    if at.cluster.rights.no_cluster {
        // Before version 3 there is no place for the error (DescribeLogDirsResponse.json): an empty
        // list.
        let mut refused = DescribeLogDirsResponse::default();
        if at.version >= 3 {
            refused = refused.with_error_code(code::CLUSTER_AUTHORIZATION_FAILED);
        }
        return Reply::Is(refused);
    }
    let results = (0..at.cluster.spec.settings.log_dirs).map(|dir| one(at, dir, &request));
    Reply::Is(DescribeLogDirsResponse::default().with_results(results.collect()))
}

fn one(at: &At<'_>, dir: u32, request: &DescribeLogDirsRequest) -> DescribeLogDirsResult {
    let id = at.node.spec.id;
    let path = match (dir, at.cluster.spec.settings.log_dirs) {
        (_, 1) => format!("/var/lib/kafka/data-{id}"),
        (dir, _) => format!("/var/lib/kafka/data-{id}-{dir}"),
    };
    let result = DescribeLogDirsResult::default().with_log_dir(text(path));
    if at.node.disks.offline.contains(&dir) {
        let mut failed = result.with_error_code(code::KAFKA_STORAGE_ERROR);
        if at.version >= 4 {
            failed = failed.with_total_bytes(-1).with_usable_bytes(-1);
        }
        return failed;
    }
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for (key, records) in hosted(at, dir) {
        let number = i32::try_from(key.1).unwrap_or(-1);
        let wanted = request.topics.as_ref().is_none_or(|topics| {
            topics.iter().any(|topic| {
                topic.topic.0.as_str() == key.0.as_ref() && topic.partitions.contains(&number)
            })
        });
        if !wanted {
            continue;
        }
        let size = records.saturating_mul(RECORD_BYTES);
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(number)
            .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX))
            .with_offset_lag(0);
        match topics
            .last_mut()
            .filter(|topic| topic.name.0.as_str() == key.0.as_ref())
        {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                DescribeLogDirsTopic::default()
                    .with_name(TopicName(text(key.0.as_ref())))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    let mut result = result.with_topics(topics);
    if at.version >= 4 {
        result = result
            .with_total_bytes(DISK_BYTES)
            .with_usable_bytes(DISK_BYTES / 2);
    }
    result
}

/// What lies in the dir, with its records; also the logs of topics that were deleted while the
/// broker was down and that it does not know to be strays.
fn hosted(at: &At<'_>, dir: u32) -> Vec<(PartitionId, u64)> {
    let id = at.node.spec.id;
    let mut hosted = Vec::new();
    for key in at.cluster.logs.keys() {
        let partition = at.cluster.image.partition(&key.0, key.1);
        if partition.is_none_or(|partition| partition.log_dir != dir) {
            continue;
        }
        let log = at.cluster.log_now(key);
        if let Some(replica) = log.and_then(|log| log.replicas.get(&id).copied()) {
            hosted.push((key.clone(), replica.end / 1_000));
        }
    }
    let dirs = at.cluster.spec.settings.log_dirs.max(1);
    let strays = at.cluster.strays.get(&id).into_iter().flatten();
    let holds_new = |key: &PartitionId| {
        let log = at.cluster.logs.get(key);
        log.is_some_and(|log| log.replicas.contains_key(&id))
    };
    let strays = strays.filter(|key| key.1 % dirs == dir && !holds_new(key));
    hosted.extend(strays.map(|key| (key.clone(), 0)));
    hosted
}
