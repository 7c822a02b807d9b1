//! "This node stops now", for each of 30 brokers at once, over 50,000 and 200,000 partitions (RF 3,
//! min ISR 2), healthy and with one broker down, beside the obvious way: one question per node. Aim:
//! 1 ms and 5 ms.
//!
//! `lab bench what-if`, or `cargo bench --bench what_if [-- --rounds N]`

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

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use serde_json::{Value, json};
use upgrade_gate::checks::what_if::{every_node, what_if};
use upgrade_gate::evidence::facts::{
    ClusterFacts, Facts, Identity, LinkFacts, ListenerKind, Moves, QuorumFacts, QuorumMember,
    RegisteredBroker, TopicConfigs,
};
use upgrade_gate::evidence::ids::{ClusterId, NodeId, Release, Version};
use upgrade_gate::evidence::known::Known;
use upgrade_gate::evidence::memory::Memory;
use upgrade_gate::evidence::partitions::PartitionTable;
use upgrade_gate::evidence::policy::Policy;
use upgrade_gate::evidence::report::{FactKind, Report, SourceId};
use upgrade_gate::evidence::snapshot::{Reports, Snapshot};
use upgrade_gate::kafka::decode::metadata;
use upgrade_gate::time::{Mono, Now, Timestamp};

use measure::{Work, alternate, argument, round};

const BROKERS: i32 = 30;
const PER_TOPIC: i32 = 10;
const VERSION: i16 = 12;
const NOW: Mono = Mono::from_nanos(1_000_000_000_000);

fn main() {
    let mut report = BTreeMap::new();
    for partitions in [50_000, 200_000] {
        report.insert(partitions.to_string(), measured(partitions));
    }
    println!("{:#}", json!({ "brokers": BROKERS, "partitions": report }));
}

fn measured(partitions: u32) -> Value {
    let topics = partitions / u32::try_from(PER_TOPIC).unwrap();
    let reports = reports(topics);
    let (policy, memory) = (Policy::default(), Memory::default());
    let granted = BTreeSet::new();
    let now = Now {
        mono: NOW,
        wall: Timestamp::from_nanos(1_700_000_000_000_000_000),
    };
    let snapshot = || Snapshot::new(1, now, &policy, &memory, &granted, &reports);
    let healthy = snapshot();
    let judged = every_node(&healthy);
    assert_eq!(judged.len(), usize::try_from(BROKERS + 3).unwrap());
    assert!(
        judged.values().all(|judged| judged.findings().is_empty()),
        "{judged:?}"
    );
    // With one broker down, those matter that hold partitions together with it: every seventh.
    let down = BTreeSet::from([NodeId(7)]);
    let degraded = Snapshot::new(1, now, &policy, &memory, &down, &reports);
    assert!(!every_node(&degraded)[&NodeId(14)].findings().is_empty());
    let nodes: Vec<_> = healthy.expected.keys().copied().collect();
    let one_by_one = || {
        for node in &nodes {
            drop(black_box(what_if(
                black_box(&healthy),
                &BTreeSet::from([*node]),
            )));
        }
    };
    let took = alternate(
        argument("--rounds", 21),
        &mut [
            Work {
                name: "healthy",
                times: 2,
                run: &mut || drop(black_box(every_node(black_box(&healthy)))),
            },
            Work {
                name: "one_broker_down",
                times: 1,
                run: &mut || drop(black_box(every_node(black_box(&degraded)))),
            },
            Work {
                name: "node_by_node",
                times: 1,
                run: &mut || one_by_one(),
            },
            Work {
                name: "snapshot",
                times: 1,
                run: &mut || drop(black_box(snapshot())),
            },
        ],
    );
    let [(_, healthy), (_, down), (_, one_by_one), (_, made)] = &took[..] else {
        panic!("four works were measured");
    };
    json!({
        "microseconds": {
            "healthy": healthy.json(),
            "one_broker_down": down.json(),
            "node_by_node": one_by_one.json(),
            "snapshot": made.json(),
        },
        "node_by_node_by_ours": round(one_by_one.median() / healthy.median()),
    })
}

fn reports(topics: u32) -> Reports {
    let table = Arc::new(table(topics));
    let names = table.topics().map(|topic| (topic.name().to_owned(), 2));
    let configs = TopicConfigs {
        min_insync_replicas: names.collect(),
        hidden: Vec::new(),
    };
    let mut reports = Reports::new();
    let mut put = |node: i32, facts: Facts| {
        let report = Report {
            source: SourceId::Kafka(NodeId(node)),
            kind: facts.kind(),
            epoch: 1,
            asked: NOW,
            seen: NOW,
            every: Duration::from_millis(500),
            facts: Ok(facts),
        };
        reports.insert((report.source.clone(), report.kind), report);
    };
    for node in (0..BROKERS).chain(101..104) {
        put(node, Facts::Link(link(node)));
    }
    for asked in [0, 1] {
        put(asked, Facts::Cluster(cluster()));
        put(asked, Facts::Partitions(Arc::clone(&table)));
        put(asked, Facts::Quorum(quorum()));
        put(asked, Facts::Moves(Moves::default()));
        put(asked, Facts::TopicConfigs(Arc::new(configs.clone())));
    }
    assert!(reports.contains_key(&(SourceId::Kafka(NodeId(0)), FactKind::Partitions)));
    reports
}

fn link(node: i32) -> LinkFacts {
    LinkFacts {
        listener: if node < 100 {
            ListenerKind::Broker
        } else {
            ListenerKind::Controller
        },
        address: format!("10.0.0.{node}:9092"),
        identity: Identity::Proved,
        release: Release::Is(Version { major: 3, minor: 9 }),
        supported: BTreeMap::from([(String::from("metadata.version"), (1, 21))]),
        finalized: BTreeMap::new(),
        published: Known::NotInRelease,
        round_trip: Duration::from_millis(1),
    }
}

fn cluster() -> ClusterFacts {
    let broker = |id| RegisteredBroker {
        node: NodeId(id),
        host: format!("broker-{id}"),
        port: 9092,
        rack: None,
        fenced: false,
    };
    ClusterFacts {
        cluster_id: Known::Is(ClusterId(String::from("MkU3OEVBNTcwNTJENDM2Qg"))),
        brokers: (0..BROKERS).map(broker).collect(),
        controller: None,
        lists_fenced: true,
    }
}

fn quorum() -> QuorumFacts {
    let member = |id| QuorumMember {
        node: NodeId(id),
        directory: None,
        log_end_offset: 1_000,
        last_fetch_ms: Some(1_700_000_000_000),
        last_caught_up_ms: Some(1_700_000_000_000),
    };
    QuorumFacts {
        leader: Some(NodeId(101)),
        leader_epoch: 3,
        high_watermark: 1_000,
        voters: (101..104).map(member).collect(),
        observers: (0..BROKERS).map(member).collect(),
        endpoints: Vec::new(),
    }
}

fn table(topics: u32) -> PartitionTable {
    let response = MetadataResponse::default().with_topics((0..topics).map(topic).collect());
    let mut out = BytesMut::new();
    response.encode(&mut out, VERSION).unwrap();
    metadata::decode(&out, VERSION).unwrap().table
}

fn topic(number: u32) -> MetadataResponseTopic {
    let partition = |index: i32| {
        let first = index + i32::try_from(number).unwrap();
        let replicas: Vec<_> = (0..3)
            .map(|step| BrokerId((first + step * 7) % BROKERS))
            .collect();
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(replicas[0])
            .with_leader_epoch(7)
            .with_isr_nodes(replicas.clone())
            .with_replica_nodes(replicas)
    };
    MetadataResponseTopic::default()
        .with_name(Some(
            StrBytes::from_string(format!("orders-{number:05}")).into(),
        ))
        .with_topic_id(uuid::Uuid::from_u128(
            u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        ))
        .with_partitions((0..PER_TOPIC).map(partition).collect())
}
