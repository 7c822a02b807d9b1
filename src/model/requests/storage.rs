//! DescribeLogDirs: what a broker really hosts. `offsetLag` is 0 even on a follower that stands
//! still (kafka-lab.md, section 10).

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};

use super::{At, Reply, text};

/// Bytes that one record takes on disk.
const RECORD_BYTES: u64 = 100;
/// Size of a simulated disk.
const DISK_BYTES: i64 = 1 << 40;

pub(super) fn answer(
    at: &At<'_>,
    request: DescribeLogDirsRequest,
) -> Reply<DescribeLogDirsResponse> {
    let id = at.node.spec.id;
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for (name, index) in at.cluster.logs.keys() {
        let number = i32::try_from(*index).unwrap_or(-1);
        let wanted = request.topics.as_ref().is_none_or(|topics| {
            topics.iter().any(|topic| {
                topic.topic.0.as_str() == name.as_ref() && topic.partitions.contains(&number)
            })
        });
        if !wanted {
            continue;
        }
        let Some(log) = at.cluster.log_now(&(name.clone(), *index)) else {
            continue;
        };
        let Some(replica) = log.replicas.get(&id) else {
            continue;
        };
        let size = replica.end / 1_000 * RECORD_BYTES;
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(number)
            .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX))
            .with_offset_lag(0);
        match topics
            .last_mut()
            .filter(|topic| topic.name.0.as_str() == name.as_ref())
        {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                DescribeLogDirsTopic::default()
                    .with_name(TopicName(text(name.as_ref())))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(text(format!("/var/lib/kafka/data-{id}")))
        .with_topics(topics);
    if at.version >= 4 {
        result = result
            .with_total_bytes(DISK_BYTES)
            .with_usable_bytes(DISK_BYTES / 2);
    }
    Reply::Is(DescribeLogDirsResponse::default().with_results(vec![result]))
}
