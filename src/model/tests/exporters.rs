//! Exporters with a life of their own, log recovery on the page, metadata that lags.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsRequest, DescribeTopicPartitionsRequest};

use super::protocol::quorum_request;
use super::{
    Cluster, Listener, Page, Release, Spec, ask, broker_state, lacking, metadata, page,
    replica_manager, secs, three, until,
};
use crate::model::{Delayed, Exporter, Fault, Link, TopicSpec};

fn with(exporter: Exporter) -> Cluster {
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec.exporter = exporter;
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    cluster
}

#[test]
fn a_standalone_exporter_answers_200_while_its_jvm_is_gone() {
    let mut cluster = with(Exporter {
        standalone: true,
        ..Exporter::default()
    });
    let before = page(&cluster, 1);
    assert_eq!(before["jmx_scrape_error"], 0.0);
    let started = cluster.process_start(1).unwrap();
    assert_eq!(before["java_lang_Runtime_StartTime"], started as f64);
    let exporter = cluster.exporter_start(1);
    cluster.kill(1).unwrap();
    cluster.advance(secs(6.0));
    let down = page(&cluster, 1);
    assert_eq!(down["jmx_scrape_error"], 1.0);
    assert!(!down.keys().any(|series| series.starts_with("kafka_")));
    let own = "process_start_time_seconds";
    assert_eq!(down[own], before[own], "its own start, not Kafka's");
    assert_eq!(cluster.exporter_start(1), exporter);
    assert_eq!(cluster.jmx_link(1), Link::Accepts);
    let last = cluster.jmx_page(3);
    cluster.set_exporter(3, Some(Fault::Stale)).unwrap();
    cluster.freeze(2).unwrap();
    assert_eq!(cluster.jmx_page(2), Page::Silent);
    // One that shows its last page in such a case goes on with it.
    cluster.freeze(3).unwrap();
    assert_eq!(cluster.jmx_page(3), last);
    cluster.kill(3).unwrap();
    assert_eq!(cluster.jmx_page(3), last);
    cluster.set_exporter(1, Some(Fault::Dead)).unwrap();
    assert_eq!(cluster.jmx_page(1), Page::Refused);
}

#[test]
fn a_start_delay_keeps_the_page_away_long_after_the_broker_is_back() {
    for (delayed, meets) in [
        (Delayed::Closes, Page::Reset),
        (Delayed::Refuses, Page::Refused),
        (
            Delayed::Fails,
            Page::Text {
                status: 500,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                body: String::new(),
            },
        ),
    ] {
        let mut cluster = with(Exporter {
            standalone: false,
            start_delay: 60_000,
            delayed,
        });
        cluster.stop(1).unwrap();
        until(&mut cluster, 12.0, |cluster| {
            cluster.process_start(1).is_none()
        });
        cluster.start(1, None).unwrap();
        let back = until(&mut cluster, 40.0, |cluster| lacking(cluster, 2).0 == 0);
        assert_eq!(cluster.jmx_page(1), meets);
        let shown = until(&mut cluster, 90.0, |cluster| {
            matches!(cluster.jmx_page(1), Page::Text { status: 200, .. })
        });
        assert!(shown > back + 40.0);
    }
}

#[test]
fn pages_can_take_their_time() {
    let mut cluster = three(Release::V3_9, 1);
    assert_eq!(cluster.page_time(1), Duration::ZERO);
    cluster.set_page_time(1, secs(7.0)).unwrap();
    assert_eq!(cluster.page_time(1), secs(7.0));
}

#[test]
fn recovery_takes_as_long_as_the_logs_are_and_counts_down_on_the_page() {
    let mut times = Vec::new();
    for rate in [20_000_000, 100_000] {
        let mut spec = Spec::kraft(3, 3, Release::V3_9);
        spec.timing.recovery_rate = rate;
        let mut cluster = Cluster::new(spec).unwrap();
        cluster.kill(1).unwrap();
        cluster.advance(secs(20.0));
        cluster.start(1, None).unwrap();
        let remaining = |cluster: &Cluster| {
            let series = page(cluster, 1).into_iter();
            let mut left = series.filter(|(name, _)| name.contains("remainingLogsToRecover"));
            left.next().map(|(_, logs)| logs)
        };
        until(&mut cluster, 30.0, |cluster| {
            !matches!(cluster.jmx_page(1), Page::Refused) && remaining(cluster).is_some()
        });
        let first = remaining(&cluster).unwrap();
        assert!((60.0..=70.0).contains(&first), "{first}");
        assert_eq!(broker_state(&cluster, 1), Some(1.0));
        assert_eq!(replica_manager(&cluster, 1, "PartitionCount"), Some(0.0));
        let ended = until(&mut cluster, 90.0, |cluster| remaining(cluster).is_none());
        until(&mut cluster, 100.0, |cluster| lacking(cluster, 2).0 == 0);
        times.push(ended);
    }
    // 1.88 million records at 100,000 a second.
    assert!((18.0..20.0).contains(&(times[1] - times[0])), "{times:?}");
}

#[test]
fn a_broker_with_old_metadata_shows_full_isrs_at_the_same_leader_epochs() {
    let topics = vec![TopicSpec::new("orders", 6, 3).rate(10)];
    let mut cluster = Cluster::new(Spec::kraft(3, 3, Release::V3_9).topics(topics)).unwrap();
    cluster.advance(secs(5.0));
    cluster.set_metadata_lag(2, secs(20.0)).unwrap();
    cluster.kill(3).unwrap();
    cluster.advance(secs(18.0));
    assert!(lacking(&cluster, 1).0 > 0);
    assert_eq!(lacking(&cluster, 2), (0, 0));
    let (new, old) = (metadata(&cluster, 1), metadata(&cluster, 2));
    let pairs = new.topics[1]
        .partitions
        .iter()
        .zip(&old.topics[1].partitions);
    let mut same = 0;
    for (new, old) in pairs {
        same += usize::from(new.leader_epoch == old.leader_epoch);
        assert!(old.leader_epoch <= new.leader_epoch && old.isr_nodes.len() == 3);
    }
    assert_eq!(same, 4, "all that broker 3 did not lead");
    let lag = page(&cluster, 2)["kafka_server_broker_metadata_metrics_last_applied_record_lag_ms"];
    assert!(lag >= 20_000.0);
    cluster.advance(secs(45.0));
    assert_eq!(lacking(&cluster, 2).0, lacking(&cluster, 1).0);
}

/// The offset that a node tells with its finalized features, and the newest one that is committed.
fn published(cluster: &Cluster, node: i32, listener: Listener) -> (i64, i64) {
    let versions = ask(cluster, node, listener, &ApiVersionsRequest::default(), 4);
    let quorum = ask(cluster, 1, Listener::Broker, &quorum_request(), 1);
    let watermark = quorum.topics[0].partitions[0].high_watermark;
    (versions.finalized_features_epoch, watermark - 1)
}

#[test]
fn brokers_tell_up_to_where_they_have_published_the_metadata() {
    let mut cluster = three(Release::V3_9, 2);
    let behind = |cluster: &Cluster, id| {
        let (own, newest) = published(cluster, id, Listener::Broker);
        newest - own
    };
    let mut before = published(&cluster, 1, Listener::Broker).0;
    let controller = published(&cluster, 101, Listener::Controller).0;
    for second in [5.0, 10.0, 15.0] {
        cluster.advance(secs(second));
        let (own, newest) = published(&cluster, 1, Listener::Broker);
        assert!((0..=1).contains(&(newest - own)), "{own} of {newest}");
        assert!((9..=11).contains(&(own - before)), "idle records count");
        before = own;
    }
    cluster.set_metadata_lag(2, secs(20.0)).unwrap();
    let stood = published(&cluster, 2, Listener::Broker).0;
    cluster.advance(secs(30.0));
    assert_eq!(published(&cluster, 2, Listener::Broker).0, stood);
    assert!((29..=31).contains(&behind(&cluster, 2)));
    assert!(behind(&cluster, 1) <= 1);
    assert_eq!(cluster.late_brokers(secs(14.0)), BTreeSet::from([2]));
    assert!(cluster.late_brokers(secs(16.0)).is_empty());
    // From then on it comes that much later; and at once, when nothing is on its way.
    cluster.advance(secs(60.0));
    assert!((39..=42).contains(&behind(&cluster, 2)));
    cluster.set_metadata_lag(2, Duration::ZERO).unwrap();
    assert!(behind(&cluster, 2) <= 1);
    // What is on its way comes when it comes.
    cluster.set_metadata_lag(2, secs(20.0)).unwrap();
    cluster.kill(3).unwrap();
    cluster.advance(secs(75.0));
    assert!(lacking(&cluster, 1).0 > 0, "it has been fenced");
    cluster.set_metadata_lag(2, Duration::ZERO).unwrap();
    cluster.advance(secs(80.0));
    assert_eq!(lacking(&cluster, 2).0, 0);
    assert!(behind(&cluster, 2) > 10);
    cluster.advance(secs(110.0));
    assert!(lacking(&cluster, 2).0 > 0);
    assert!(behind(&cluster, 2) <= 1);
    // A controller's answer does not move with the log, and a new process begins with nothing.
    let now = published(&cluster, 101, Listener::Controller).0;
    assert_eq!(now, controller);
    cluster.start(3, None).unwrap();
    assert_eq!(cluster.published_offset(3), None);
}

#[test]
fn a_leader_serves_once_its_own_metadata_says_so() {
    let topics = vec![TopicSpec::new("orders", 6, 3).rate(10)];
    let mut cluster = Cluster::new(Spec::kraft(3, 3, Release::V3_9).topics(topics)).unwrap();
    cluster.advance(secs(5.0));
    for id in [1, 2] {
        cluster.set_metadata_lag(id, secs(20.0)).unwrap();
    }
    let led = |cluster: &Cluster, by: i32| -> Vec<u32> {
        let partitions = cluster.committed_image().partitions();
        let orders = partitions.filter(|(topic, ..)| &***topic == "orders");
        let own = orders.filter(|(.., partition)| partition.leader == Some(by));
        own.map(|(_, index, ..)| index).collect()
    };
    let moved = led(&cluster, 3);
    assert!(!moved.is_empty());
    cluster.kill(3).unwrap();
    cluster.advance(secs(20.0));
    assert_eq!(led(&cluster, 3), [0_u32; 0], "others lead");
    let written = |cluster: &Cluster| -> Vec<u64> {
        let ends = moved
            .iter()
            .map(|index| cluster.acknowledged("orders", *index));
        ends.map(|end| end.expect("a partition")).collect()
    };
    let before = written(&cluster);
    cluster.advance(secs(30.0));
    assert_eq!(written(&cluster), before, "nobody takes anything");
    cluster.advance(secs(50.0));
    let after = written(&cluster);
    assert!(after.iter().zip(&before).all(|(now, then)| now > then));
}

#[test]
fn eligible_replicas_are_shown_by_describe_topic_partitions_only() {
    let topics = vec![TopicSpec::new("a", 3, 3), TopicSpec::new("b", 4, 3)];
    let mut spec = Spec::kraft(3, 3, Release::V4_3).topics(topics);
    spec.settings.offsets_partitions = 0;
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.kill(2).unwrap();
    cluster.advance(secs(15.0));
    cluster.kill(3).unwrap();
    cluster.advance(secs(30.0));
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2);
    let mut seen = Vec::new();
    loop {
        let answer = ask(&cluster, 1, Listener::Broker, &request, 0);
        for topic in &answer.topics {
            for partition in &topic.partitions {
                assert_eq!(partition.isr_nodes, [1]);
                assert_eq!(partition.eligible_leader_replicas, Some(vec![3.into()]));
                assert_eq!(partition.offline_replicas.len(), 2);
                seen.push((topic.name.clone().unwrap(), partition.partition_index));
            }
        }
        let Some(next) = answer.next_cursor else {
            break;
        };
        let cursor = kafka_protocol::messages::describe_topic_partitions_request::Cursor::default()
            .with_topic_name(next.topic_name)
            .with_partition_index(next.partition_index);
        request = request.with_cursor(Some(cursor));
    }
    assert_eq!(seen.len(), 7);
    seen.dedup();
    assert_eq!(seen.len(), 7, "each once");
    let versions = ask(
        &cluster,
        1,
        Listener::Broker,
        &ApiVersionsRequest::default(),
        4,
    );
    let levels: Vec<_> = versions
        .finalized_features
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(
        levels,
        ["eligible.leader.replicas.version", "metadata.version"]
    );
}
