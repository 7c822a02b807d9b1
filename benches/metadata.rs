//! A Metadata answer of 50,000 partitions (5,000 topics x 10, RF 3, v12): our decoder, straight
//! into the flat table, beside the `kafka-protocol` crate's. Aim: 1.5 ms, under 100 allocations.
//!
//! `lab bench metadata`, or `cargo bench --bench metadata [-- --rounds N]`

#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot make its input has failed"
)]

mod measure;
#[path = "../fuzz/src/memory.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz targets")]
mod memory;

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataResponse};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use serde_json::{Value, json};
use upgrade_gate::kafka::decode::metadata;

use measure::{Work, alternate, argument, round};
use memory::{Counting, Taken, taken};

const VERSION: i16 = 12;
const TOPICS: u32 = 5_000;
const PARTITIONS: i32 = 10;
const BROKERS: i32 = 12;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let frame = answer();
    let (table, ours_took) = taken(|| ours(&frame).table);
    let (response, theirs_took) = taken(|| theirs(&frame));
    assert_eq!(
        (table.len(), response.topics.len()),
        (50_000, 5_000),
        "both read all of it"
    );
    drop((table, response));
    let took = alternate(
        argument("--rounds", 61),
        &mut [
            Work {
                name: "ours",
                times: 4,
                run: &mut || drop(black_box(ours(black_box(&frame)))),
            },
            Work {
                name: "kafka_protocol",
                times: 1,
                run: &mut || drop(black_box(theirs(black_box(&frame)))),
            },
        ],
    );
    let [(_, ours), (_, theirs)] = &took[..] else {
        panic!("two works were measured");
    };
    let report = json!({
        "frame": {
            "bytes": frame.len(),
            "topics": TOPICS,
            "partitions": 50_000,
            "version": VERSION,
        },
        "microseconds": { "ours": ours.json(), "kafka_protocol": theirs.json() },
        "memory": { "ours": memory(ours_took), "kafka_protocol": memory(theirs_took) },
        "peer_by_ours": round(theirs.median() / ours.median()),
    });
    println!("{report:#}");
}

fn memory(taken: Taken) -> Value {
    json!({
        "allocations": taken.allocations,
        "bytes": taken.bytes,
        "peak_bytes": taken.peak,
    })
}

fn answer() -> Bytes {
    let brokers = (0..BROKERS).map(|id| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(StrBytes::from_string(format!("broker-{id}.example.com")))
            .with_port(9092)
            .with_rack(Some(StrBytes::from_string(format!("rack-{}", id % 3))))
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_static_str("MkU3OEVBNTcwNTJENDM2Qg")))
        .with_topics((0..TOPICS).map(topic).collect());
    let mut out = BytesMut::new();
    response.encode(&mut out, VERSION).unwrap();
    out.freeze()
}

fn topic(number: u32) -> MetadataResponseTopic {
    let partition = |index: i32| {
        let first = index + i32::try_from(number).unwrap();
        let replicas: Vec<_> = (first..first + 3)
            .map(|id| BrokerId(id % BROKERS))
            .collect();
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(first % BROKERS))
            .with_leader_epoch(7)
            .with_isr_nodes(replicas.clone())
            .with_replica_nodes(replicas)
    };
    MetadataResponseTopic::default()
        .with_name(Some(
            StrBytes::from_string(format!("orders-{number:05}")).into(),
        ))
        // Ids are random in Kafka, so sorting by them has work to do.
        .with_topic_id(uuid::Uuid::from_u128(
            u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        ))
        .with_partitions((0..PARTITIONS).map(partition).collect())
}

fn ours(frame: &[u8]) -> metadata::Metadata {
    metadata::decode(frame, VERSION).unwrap()
}

fn theirs(frame: &Bytes) -> MetadataResponse {
    MetadataResponse::decode(&mut frame.clone(), VERSION).unwrap()
}
