//! Kill, controlled stop, restart, freeze: the timelines measured on real Kafka.

use kafka_protocol::messages::{ApiVersionsRequest, DescribeClusterRequest};

use super::{
    Answer, Cluster, Listener, Page, Release, broker_state, brokers_in_metadata, controller_gauge,
    frame, lacking, page, replica_manager, secs, three, until,
};
use crate::model::{Link, NodeId};

/// A step's edges in seconds after its start, over many seeds.
fn spread(seeds: u64, release: Release, step: impl Fn(&mut Cluster) -> f64) -> (f64, f64) {
    let times: Vec<f64> = (0..seeds)
        .map(|seed| {
            let mut cluster = three(release, seed);
            cluster.advance(secs(5.0));
            step(&mut cluster) - 5.0
        })
        .collect();
    (
        times.iter().copied().fold(f64::MAX, f64::min),
        times.iter().copied().fold(0.0, f64::max),
    )
}

fn other(node: NodeId) -> NodeId {
    if node == 3 { 2 } else { 3 }
}

#[test]
fn kill_closes_at_once_and_shows_only_after_the_session() {
    let mut cluster = three(Release::V3_9, 3);
    cluster.advance(secs(5.0));
    let life = cluster.life(1);
    cluster.kill(1).unwrap();
    assert_ne!(cluster.life(1), life);
    assert_eq!(cluster.link(1, Listener::Broker), Link::Refuses);
    assert_eq!(cluster.jmx_page(1), Page::Refused);
    cluster.advance(secs(11.0));
    // Six seconds later nobody knows (kafka-lab.md, section 5).
    assert_eq!(lacking(&cluster, 2), (0, 0));
    assert_eq!(brokers_in_metadata(&cluster, 2), [1, 2, 3]);
    assert_eq!(
        replica_manager(&cluster, 2, "UnderReplicatedPartitions"),
        Some(0.0)
    );
    cluster.advance(secs(16.0));
    assert_eq!(lacking(&cluster, 2), (70, 0));
    assert_eq!(brokers_in_metadata(&cluster, 2), [2, 3]);
    let both = [2, 3].map(|id| replica_manager(&cluster, id, "UnderReplicatedPartitions"));
    assert_eq!(both.into_iter().flatten().sum::<f64>(), 70.0);
    let active = cluster.active_controller().unwrap();
    assert_eq!(
        controller_gauge(&cluster, active, "FencedBrokerCount"),
        Some(1.0)
    );
    assert_eq!(
        controller_gauge(&cluster, active, "ActiveBrokerCount"),
        Some(2.0)
    );
}

#[test]
fn fencing_after_a_kill_comes_as_late_as_measured() {
    let (first, last) = spread(60, Release::V3_9, |cluster| {
        cluster.kill(1).unwrap();
        until(cluster, 20.0, |cluster| lacking(cluster, 2).0 > 0)
    });
    // Measured 7.1 to 9.95 s, as the heartbeat's phase wants it.
    assert!((7.0..7.9).contains(&first), "{first}");
    assert!((9.3..10.2).contains(&last), "{last}");
}

#[test]
fn a_controlled_stop_moves_leaders_first_and_exits_later() {
    let mut cluster = three(Release::V3_9, 2);
    cluster.advance(secs(5.0));
    cluster.stop(1).unwrap();
    cluster.advance(secs(5.2));
    // The exporter answers, Kafka's series are gone: absent, not 0.
    assert_eq!(
        replica_manager(&cluster, 1, "UnderReplicatedPartitions"),
        None
    );
    assert_eq!(broker_state(&cluster, 1), None);
    assert!(page(&cluster, 1).contains_key("process_start_time_seconds"));
    let moved = until(&mut cluster, 6.0, |cluster| lacking(cluster, 2) == (70, 0));
    assert!((5.05..5.95).contains(&moved), "{moved}");
    assert_eq!(
        brokers_in_metadata(&cluster, 2),
        [1, 2, 3],
        "still unfenced"
    );
    assert_eq!(cluster.link(1, Listener::Broker), Link::Accepts);
    let life = cluster.life(1);
    let closed = until(&mut cluster, 8.0, |cluster| cluster.life(1) != life);
    assert!((6.6..7.6).contains(&closed), "{closed}");
    assert_eq!(cluster.link(1, Listener::Broker), Link::Refuses);
    let fenced = until(&mut cluster, 9.0, |cluster| {
        brokers_in_metadata(cluster, 2) == [2, 3]
    });
    assert!(fenced - closed < 0.2);
    let down = until(&mut cluster, 10.0, |cluster| {
        cluster.jmx_page(1) == Page::Reset
    });
    assert!((7.0..9.1).contains(&down), "{down}");
    until(&mut cluster, 10.0, |cluster| {
        cluster.jmx_page(1) == Page::Refused
    });
}

/// Stops broker 1, starts it at once and answers how long it took from start to full ISRs.
fn restart(cluster: &mut Cluster) -> f64 {
    cluster.stop(1).unwrap();
    let down = until(cluster, 12.0, |cluster| {
        cluster.jmx_page(1) == Page::Refused
    });
    cluster.start(1, None).unwrap();
    until(cluster, 40.0, |cluster| lacking(cluster, 2).0 == 0) - down + 5.0
}

#[test]
fn a_clean_restart_takes_four_seconds_up_to_3_9_and_nine_from_4_0() {
    let (first, last) = spread(20, Release::V3_9, restart);
    assert!(first > 1.7 && last < 5.1, "{first} to {last}");
    let (first, last) = spread(20, Release::V4_3, restart);
    assert!(first > 7.0 && last < 12.5, "{first} to {last}");
}

#[test]
fn a_returning_broker_says_urp_0_all_the_way() {
    let mut cluster = three(Release::V4_3, 4);
    cluster.kill(1).unwrap();
    cluster.advance(secs(20.0));
    cluster.start(1, None).unwrap();
    assert_eq!(cluster.jmx_page(1), Page::Refused);
    cluster.advance(secs(21.2));
    assert_eq!(broker_state(&cluster, 1), Some(0.0));
    assert_eq!(
        replica_manager(&cluster, 1, "UnderReplicatedPartitions"),
        None
    );
    let mut states = Vec::new();
    let mut recovering = false;
    while lacking(&cluster, 2).0 > 0 {
        cluster.advance(cluster.elapsed() + secs(0.05));
        states.extend(broker_state(&cluster, 1));
        let urp = replica_manager(&cluster, 1, "UnderReplicatedPartitions").unwrap_or(0.0);
        assert_eq!(urp, 0.0);
        recovering |= page(&cluster, 1)
            .keys()
            .any(|key| key.contains("remainingLogsToRecover"));
        assert!(cluster.elapsed() < secs(30.0));
    }
    states.dedup();
    assert_eq!(states, [0.0, 1.0, 2.0, 3.0]);
    assert!(recovering, "an unclean stop is recovered from");
    // Leaders do not come back by themselves for minutes.
    assert_eq!(replica_manager(&cluster, 1, "LeaderCount"), Some(0.0));
    assert_eq!(replica_manager(&cluster, 1, "PartitionCount"), Some(70.0));
    cluster.elect_preferred();
    cluster.advance(cluster.elapsed() + secs(0.2));
    assert!(replica_manager(&cluster, 1, "LeaderCount").unwrap() > 20.0);
}

#[test]
fn a_returning_listener_answers_with_the_new_release() {
    let mut cluster = three(Release::V3_9, 6);
    cluster.stop(2).unwrap();
    cluster.advance(secs(15.0));
    let started = page(&cluster, 3)["process_start_time_seconds"];
    cluster.start(2, Some(Release::V4_3)).unwrap();
    let open = until(&mut cluster, 30.0, |c| {
        c.link(2, Listener::Broker) == Link::Accepts
    });
    assert!((16.5..19.0).contains(&open), "{open}");
    let request = frame(&ApiVersionsRequest::default(), 4);
    let Answer::Reply(bytes) = cluster.handle(2, Listener::Broker, &request) else {
        panic!()
    };
    let response: kafka_protocol::messages::ApiVersionsResponse = super::decode(bytes, 4);
    let version = response
        .supported_features
        .iter()
        .find(|f| f.name.as_str() == "metadata.version");
    assert_eq!(version.unwrap().max_version, 30);
    assert_eq!(response.finalized_features[0].max_version_level, 21);
    assert!(page(&cluster, 2)["process_start_time_seconds"] > started + 600.0);
}

#[test]
fn a_freeze_is_silent_and_fenced_after_the_session() {
    let mut cluster = three(Release::V3_9, 7);
    cluster.advance(secs(5.0));
    cluster.freeze(3).unwrap();
    assert_eq!(cluster.link(3, Listener::Broker), Link::Silent);
    assert_eq!(cluster.jmx_page(3), Page::Silent);
    cluster.advance(secs(9.0));
    assert_eq!(lacking(&cluster, 1).0, 0);
    cluster.thaw(3).unwrap();
    cluster.advance(secs(30.0));
    // Four seconds are never seen by anybody (kafka-lab.md, section 5).
    assert_eq!(lacking(&cluster, 1).0, 0);
    let life = cluster.life(3);
    cluster.freeze(3).unwrap();
    cluster.advance(secs(45.0));
    assert_eq!(lacking(&cluster, 1), (70, 0));
    cluster.thaw(3).unwrap();
    let full = until(&mut cluster, 50.0, |cluster| lacking(cluster, 1).0 == 0);
    assert!(full < 47.0, "{full}");
    assert_eq!(cluster.life(3), life, "connections outlive a freeze");
}

#[test]
fn fenced_brokers_are_in_describe_cluster_version_2() {
    let mut cluster = three(Release::V4_0, 8);
    cluster.kill(1).unwrap();
    cluster.advance(secs(15.0));
    let request = DescribeClusterRequest::default()
        .with_endpoint_type(1)
        .with_include_fenced_brokers(true);
    let response = super::ask(&cluster, 2, Listener::Broker, &request, 2);
    let fenced: Vec<_> = response
        .brokers
        .iter()
        .map(|b| (b.broker_id.0, b.is_fenced))
        .collect();
    assert_eq!(fenced, [(1, true), (2, false), (3, false)]);
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    assert_eq!(
        super::ask(&cluster, 2, Listener::Broker, &request, 2)
            .brokers
            .len(),
        2
    );
}

#[test]
fn a_killed_broker_that_is_back_within_its_session_must_wait() {
    for release in [Release::V3_9, Release::V4_3] {
        let mut cluster = three(release, 9);
        cluster.advance(secs(5.0));
        cluster.kill(1).unwrap();
        cluster.start(1, None).unwrap();
        cluster.advance(secs(10.0));
        assert_eq!(broker_state(&cluster, 1), Some(1.0));
        let open = until(&mut cluster, 25.0, |c| {
            c.link(1, Listener::Broker) == Link::Accepts
        });
        assert!(open > 12.5, "{release}: {open}");
        until(&mut cluster, 30.0, |c| lacking(c, other(1)).0 == 0);
    }
}

#[test]
fn heartbeats_are_on_the_active_controllers_page_from_4_1() {
    let mut cluster = three(Release::V4_1, 10);
    let active = cluster.active_controller().unwrap();
    let age = |cluster: &Cluster| {
        page(cluster, active)
            .get("kafka_controller_KafkaController_Value{broker=\"1\",name=\"TimeSinceLastHeartbeatReceivedMs\"}")
            .copied()
            .unwrap()
    };
    for tenth in 0..60 {
        cluster.advance(secs(f64::from(tenth) / 10.0));
        assert!(age(&cluster) <= 2_000.0);
    }
    cluster.kill(1).unwrap();
    cluster.advance(secs(8.5));
    assert!((2_500.0..4_700.0).contains(&age(&cluster)));
    cluster.advance(secs(30.0));
    assert_eq!(age(&cluster), 9_000.0);
}
