//! Families that no agent here can produce, written by hand. The values differ from metric to
//! metric, so that a swap shows.

use std::collections::BTreeMap;

use super::{facts, pages, role};
use crate::evidence::ids::{MOST_NODES, NodeId};
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;
use crate::evidence::report::{Cap, FailureClass};
use crate::jmx::found::Found;
use crate::jmx::page::read;
use crate::jmx::recognise::{ConfiguredSeries, Recogniser};
use crate::jmx::scan::Format;

const STARTED: f64 = 1.795_242e9;

/// What every page means, whichever family wrote it.
#[rustfmt::skip]
const MEANT: [(Metric, f64); 27] = [
    (Metric::UnderReplicatedPartitions, 33.0),
    (Metric::UnderMinIsrPartitionCount, 2.0),
    (Metric::OfflineReplicaCount, 5.0),
    (Metric::PartitionCount, 61.0),
    (Metric::LeaderCount, 21.0),
    (Metric::ReassigningPartitions, 6.0),
    (Metric::BrokerState, 3.0),
    (Metric::OfflineLogDirectoryCount, 31.0),
    (Metric::RemainingLogsToRecover, 42.0),
    (Metric::FetcherFailedPartitions, 7.0),
    (Metric::FetcherDeadThreads, 8.0),
    (Metric::OfflinePartitionsCount, 41.0),
    (Metric::ActiveControllerCount, 1.0),
    (Metric::ActiveBrokerCount, 15.0),
    (Metric::FencedBrokerCount, 22.0),
    (Metric::GlobalPartitionCount, 63.0),
    (Metric::PreferredReplicaImbalanceCount, 12.0),
    (Metric::UncleanLeaderElections, 4.0),
    (Metric::MetadataErrorCount, 11.0),
    (Metric::MetadataLoadErrorCount, 14.0),
    (Metric::MetadataApplyErrorCount, 13.0),
    (Metric::MetadataLagMs, 480.0),
    (Metric::RaftCurrentLeader, 102.0),
    (Metric::RaftHighWatermark, 4000.0),
    (Metric::RaftLogEndOffset, 4001.0),
    (Metric::RaftCurrentEpoch, 17.0),
    (Metric::BytesIn, 10_485_760.0),
];

/// A fixture's name, how many metrics it has, and those whose value is another one than usual.
type Row = (&'static str, usize, &'static [(Metric, f64)]);

#[rustfmt::skip]
const PAGES: &[Row] = &[
    ("aiven-broker", 9, &[]),
    ("bitnami-zk-broker", 10, &[]),
    ("confluent-broker", 16, &[]),
    ("confluent-controller", 10, &[]),
    ("cp-helm-zk-broker", 7, &[]),
    ("koperator-broker", 6, &[(Metric::RaftCurrentLeader, -1.0)]),
    ("msk-zk-broker", 13, &[(Metric::OfflineLogDirectoryCount, 0.0)]),
    ("old-lower-zk-broker", 4, &[(Metric::ActiveControllerCount, 0.0)]),
    ("openmetrics-broker", 3, &[]),
    ("otel", 4, &[]),
    ("partitions-only-broker", 2, &[(Metric::PartitionCount, 3.0), (Metric::UnderReplicatedPartitions, 2.0)]),
    ("rules-0-8-2-exporter-1-zk-broker", 5, &[]),
    ("rules-0-8-2-zk-broker", 11, &[]),
    ("snake-zk-broker", 3, &[]),
    ("strimzi-reporter-combined", 13, &[]),
    ("strimzi-rules-broker", 10, &[]),
];

fn page(name: &str) -> JmxFacts {
    let (_, text) = pages("synthetic")
        .into_iter()
        .find(|(n, _)| n == name)
        .expect(name);
    facts(&text).expect(name)
}

#[test]
fn every_family_means_the_same() {
    for (name, count, others) in PAGES {
        let facts = page(name);
        assert_eq!(facts.values.len(), *count, "{name}: {:?}", facts.values);
        let meant: BTreeMap<_, _> = MEANT.iter().chain(*others).copied().collect();
        for (metric, value) in &facts.values {
            assert_eq!(Some(value), meant.get(metric), "{name}: {metric}");
        }
    }
}

#[test]
fn the_table_names_every_page_and_every_page_says_what_it_is() {
    let named = |name: &str| name == "duplicates-zk-broker" || PAGES.iter().any(|p| p.0 == name);
    for (name, text) in pages("synthetic") {
        assert!(named(&name), "{name}");
        assert!(text.starts_with(b"# synthetic: "), "{name}");
    }
}

#[test]
fn the_common_families_have_what_their_role_requires() {
    for name in [
        "confluent-broker",
        "confluent-controller",
        "bitnami-zk-broker",
        "msk-zk-broker",
        "strimzi-reporter-combined",
    ] {
        let (role, mode) = role(name);
        let found = Found::compare(&page(name), role, mode);
        assert!(found.complete(), "{name}: {found}");
    }
    // These have none, and a gate that reads them says so (docs/operations.md).
    for name in ["strimzi-rules-broker", "cp-helm-zk-broker"] {
        let (role, mode) = role(name);
        let found = Found::compare(&page(name), role, mode);
        assert_eq!(found.missing, [Metric::BrokerState], "{name}: {found}");
    }
    let (role, mode) = role("cp-helm-zk-broker");
    let found = Found::compare(&page("cp-helm-zk-broker"), role, mode);
    assert!(
        found.missing_optional.contains(&Metric::BytesIn),
        "a rate is not a count: {found}"
    );
}

#[test]
fn twice_on_one_page_the_worst_counts() {
    let facts = page("duplicates-zk-broker");
    for (metric, value) in [
        (Metric::UnderReplicatedPartitions, 3.0),
        (Metric::UnderMinIsrPartitionCount, 2.0),
        (Metric::PartitionCount, 0.0),
        (Metric::BrokerState, 6.0),
        (Metric::GlobalPartitionCount, 0.0),
    ] {
        assert_eq!(facts.value(metric), Known::Is(value), "{metric}");
    }
    for metric in [
        Metric::OfflinePartitionsCount,
        Metric::ActiveControllerCount,
        Metric::OfflineReplicaCount,
        Metric::ReassigningPartitions,
    ] {
        assert!(matches!(facts.value(metric), Known::Failed(_)), "{metric}");
    }
}

#[test]
fn texts_and_labels_under_every_spelling() {
    let state = |name| page(name).raft_state;
    assert_eq!(
        state("strimzi-reporter-combined"),
        Known::Is(String::from("follower"))
    );
    assert_eq!(
        state("strimzi-rules-broker"),
        Known::Is(String::from("observer"))
    );
    assert_eq!(
        state("koperator-broker"),
        Known::Is(String::from("unattached-voted"))
    );
    let version = |name| page(name).version;
    assert_eq!(
        version("strimzi-reporter-combined"),
        Known::Is(String::from("4.2.0"))
    );
    assert_eq!(
        version("koperator-broker"),
        Known::Is(String::from("3.9.1"))
    );
    assert_eq!(version("confluent-broker"), Known::NotExported);
    for name in [
        "koperator-broker",
        "strimzi-reporter-combined",
        "msk-zk-broker",
    ] {
        assert_eq!(page(name).node, Known::Is(NodeId(3)), "{name}");
    }
    let ages = |name| page(name).heartbeat_age_ms;
    let two = |second| BTreeMap::from([(NodeId(1), 250.0), (NodeId(second), 2600.0)]);
    assert_eq!(ages("confluent-controller"), two(2));
    assert_eq!(ages("bitnami-zk-broker"), two(12));
    assert_eq!(
        ages("rules-0-8-2-zk-broker"),
        BTreeMap::from([(NodeId(1), 250.0)])
    );
    assert_eq!(
        ages("old-lower-zk-broker"),
        BTreeMap::from([(NodeId(2), 2600.0)])
    );
}

#[test]
fn heartbeats_of_more_brokers_than_a_cluster_has_are_not_taken() {
    let page = |brokers: usize| {
        let line = |id| {
            format!(
                "kafka_controller_kafkacontroller_timesincelastheartbeatreceivedms{{broker=\"{id}\"}} 1\n"
            )
        };
        facts((1..=brokers).map(line).collect::<String>().as_bytes())
    };
    let most = page(MOST_NODES).expect("page");
    assert_eq!(most.heartbeat_age_ms.len(), MOST_NODES);
    let more = page(MOST_NODES + 1).expect_err("too many");
    assert_eq!(
        more.class(),
        FailureClass::TooLarge(Cap::PageBrokers),
        "{more}"
    );
}

#[test]
fn the_start_time_is_kafkas_own() {
    assert_eq!(page("msk-zk-broker").start_time, Known::Is(STARTED));
    // A standalone exporter's own process start says nothing of Kafka's.
    assert_eq!(page("bitnami-zk-broker").start_time, Known::NotExported);
    let standalone = b"jmx_exporter_build_info{name=\"jmx_prometheus_standalone\"} 1\n\
        process_start_time_seconds 1.7E9\n\
        kafka_server_app_info_StartTimeMs{id=\"7\"} 1.795242E12\n";
    let standalone = facts(standalone).expect("page");
    assert_eq!(standalone.start_time, Known::Is(STARTED));
    assert_eq!(standalone.node, Known::Is(NodeId(7)));
}

#[test]
fn contradictions_are_not_known() {
    let text = b"kafka_server_app_info_version{broker_id=\"1\",version=\"3.9.1\"} 1\n\
        kafka_server_app_info_version{broker_id=\"2\",version=\"4.0.0\"} 1\n\
        kafka_server_raft_state{state=\"leader\"} 1\n\
        kafka_server_raft_state{state=\"follower\"} 1\n\
        kafka_server_raft_state{state=\"observer\"} 0\n";
    let facts = facts(text).expect("page");
    assert!(matches!(facts.node, Known::Failed(_)));
    assert!(matches!(facts.version, Known::Failed(_)));
    assert!(matches!(facts.raft_state, Known::Failed(_)));
}

#[test]
fn openmetrics_without_its_end_is_cut() {
    let (_, text) = pages("synthetic")
        .into_iter()
        .find(|(name, _)| name == "openmetrics-broker")
        .expect("page");
    let recogniser = Recogniser::default();
    assert!(read(&text, Format::OpenMetrics, &recogniser).is_ok());
    let cut = text.strip_suffix(b"# EOF\n").expect("end");
    assert!(read(cut, Format::OpenMetrics, &recogniser).is_err());
    assert!(read(cut, Format::Text, &recogniser).is_ok());
}

#[test]
fn a_configured_series_is_the_last_resort_and_the_only_one() {
    let text = b"my_under_replicated{cluster=\"a\"} 5\n\
        my_under_replicated{cluster=\"b\",topic=\"t\"} 7\n\
        kafka_server_replicamanager_underreplicatedpartitions 0\n\
        kafka_server_replicamanager_leadercount 21\n";
    let read_with = |label: &str| {
        let series = ConfiguredSeries {
            name: String::from("my_under_replicated"),
            labels: BTreeMap::from([(String::from("cluster"), String::from(label))]),
        };
        let metric = Metric::UnderReplicatedPartitions;
        let recogniser = Recogniser::new(BTreeMap::from([(metric, series)]));
        let facts = read(text, Format::Text, &recogniser).expect("page");
        assert_eq!(facts.value(Metric::LeaderCount), Known::Is(21.0));
        facts.value(metric)
    };
    assert_eq!(read_with("a"), Known::Is(5.0));
    assert_eq!(read_with("b"), Known::Is(7.0));
    assert_eq!(read_with("c"), Known::NotExported);
}

/// A typing error in a name or in a label is told from a metric that nobody exports.
#[test]
fn a_configured_series_that_is_not_there_is_named() {
    let text = b"my_dead_threads{cluster=\"a\"} 0\n\
        kafka_server_replicamanager_leadercount 21\n";
    let series = |name: &str, labels: &[(&str, &str)]| ConfiguredSeries {
        name: String::from(name),
        labels: labels
            .iter()
            .map(|(label, value)| (String::from(*label), String::from(*value)))
            .collect(),
    };
    let unfound = |series: ConfiguredSeries| {
        let metric = Metric::FetcherDeadThreads;
        let recogniser = Recogniser::new(BTreeMap::from([(metric, series)]));
        let facts = read(text, Format::Text, &recogniser).expect("page");
        assert_eq!(
            facts.value(metric).value().is_none(),
            !facts.unfound.is_empty()
        );
        facts.unfound.get(&metric).cloned()
    };
    assert_eq!(
        unfound(series("my_dead_threads", &[("cluster", "a")])),
        None
    );
    assert_eq!(unfound(series("my_dead_threads", &[])), None);
    let name = series("my_dead_thread", &[]);
    assert_eq!(unfound(name).as_deref(), Some("my_dead_thread"));
    let labels = series("my_dead_threads", &[("cluster", "b"), ("type", "x")]);
    let shown = "my_dead_threads{cluster=\"b\",type=\"x\"}";
    assert_eq!(unfound(labels).as_deref(), Some(shown));
}
