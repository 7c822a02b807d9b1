//! A Metadata answer of 50,000 partitions (5,000 topics x 10, RF 3, v12): our decoder, straight
//! into the flat table, beside the `kafka-protocol` crate's. Prints allocations and bytes per
//! decode before the times. Aim: 1.5 ms, under 100 allocations.
#![expect(clippy::print_stdout, reason = "a bench reports on standard output")]
#![expect(
    unsafe_code,
    reason = "counting allocations needs an allocator; this one only counts and passes on"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot make its input has failed"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataResponse};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use upgrade_gate::kafka::decode::metadata;

const VERSION: i16 = 12;
const TOPICS: u32 = 5_000;
const PARTITIONS: i32 = 10;
const BROKERS: i32 = 12;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(size, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

fn counted<T>(what: &str, decode: impl FnOnce() -> T) -> T {
    let before = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
    let value = decode();
    let allocations = ALLOCATIONS.load(Relaxed) - before.0;
    let bytes = BYTES.load(Relaxed) - before.1;
    println!("{what}: {allocations} allocations, {bytes} bytes per decode");
    value
}

fn ours(frame: &[u8]) -> metadata::Metadata {
    metadata::decode(frame, VERSION).unwrap()
}

fn crates(frame: &Bytes) -> MetadataResponse {
    MetadataResponse::decode(&mut frame.clone(), VERSION).unwrap()
}

fn metadata_of_50_000_partitions(criterion: &mut Criterion) {
    let frame = answer();
    println!("frame: {} bytes", frame.len());
    let table = counted("ours", || ours(&frame)).table;
    assert_eq!(table.len(), 50_000);
    let response = counted("kafka-protocol", || crates(&frame));
    assert_eq!(response.topics.len(), 5_000);
    let mut group = criterion.benchmark_group("metadata_50000");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(u64::try_from(frame.len()).unwrap()));
    group.bench_function("ours", |bencher| bencher.iter(|| ours(black_box(&frame))));
    group.bench_function("kafka-protocol", |bencher| {
        bencher.iter(|| crates(black_box(&frame)));
    });
    group.finish();
}

criterion_group!(benches, metadata_of_50_000_partitions);
criterion_main!(benches);
