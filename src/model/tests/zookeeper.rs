//! ZooKeeper mode: 2.8, 3.7, 3.9.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest,
};

use super::protocol::quorum_request;
use super::{
    Answer, Cluster, Listener, Page, Release, Spec, ask, broker_state, controller_gauge, frame,
    lacking, metadata, page, replica_manager, secs, until,
};
use crate::model::{NodeId, OperationError, SpecError, TopicSpec};

fn zookeeper(release: Release, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Spec::zookeeper(3, release).seed(seed)).unwrap();
    cluster.advance(secs(5.0));
    cluster
}

/// Few partitions, so that looking at them often is cheap.
fn small(seed: u64) -> Cluster {
    let topics = vec![TopicSpec::new("orders", 6, 3)];
    let mut spec = Spec::zookeeper(3, Release::V3_9).topics(topics).seed(seed);
    spec.settings.offsets_partitions = 0;
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    cluster
}

fn controller(cluster: &Cluster) -> NodeId {
    cluster.active_controller().expect("a controller")
}

fn standby(cluster: &Cluster) -> NodeId {
    (1..=3).find(|id| *id != controller(cluster)).unwrap()
}

fn active_count(cluster: &Cluster) -> f64 {
    let up = (1..=3).filter(|id| matches!(cluster.jmx_page(*id), Page::Text { .. }));
    up.filter_map(|id| controller_gauge(cluster, id, "ActiveControllerCount"))
        .sum()
}

#[test]
fn answers_and_pages_are_those_of_zookeeper_mode() {
    for release in [Release::V2_8, Release::V3_7, Release::V3_9] {
        let cluster = zookeeper(release, 7);
        let (active, other) = (controller(&cluster), standby(&cluster));
        let version = if release == Release::V2_8 { 11 } else { 12 };
        let every = MetadataRequest::default().with_topics(None);
        let answer = ask(&cluster, other, Listener::Broker, &every, version);
        assert_eq!(answer.controller_id.0, active, "the real one");
        assert_eq!((answer.topics.len(), answer.brokers.len()), (2, 3));
        let described = DescribeClusterRequest::default();
        let described = ask(&cluster, other, Listener::Broker, &described, 0);
        assert_eq!(described.controller_id.0, active);
        let versions = ask(
            &cluster,
            1,
            Listener::Broker,
            &ApiVersionsRequest::default(),
            3,
        );
        assert!(versions.supported_features.is_empty());
        let quorum = frame(&quorum_request(), 0);
        assert_eq!(
            cluster.handle(1, Listener::Broker, &quorum),
            Answer::CloseConnection
        );
        let moves = ListPartitionReassignmentsRequest::default().with_topics(None);
        let error = |id| ask(&cluster, id, Listener::Broker, &moves, 0).error_code;
        assert_eq!((error(active), error(other)), (0, 41));

        assert_eq!(active_count(&cluster), 1.0);
        let partitions = |id| controller_gauge(&cluster, id, "GlobalPartitionCount");
        assert_eq!(
            (partitions(active), partitions(other)),
            (Some(70.0), Some(0.0))
        );
        let fenced = controller_gauge(&cluster, active, "FencedBrokerCount");
        assert_eq!(fenced, (release > Release::V2_8).then_some(0.0));
        let series = page(&cluster, other);
        assert!(
            !series
                .keys()
                .any(|name| name.contains("raft") || name.contains("metadata_metrics"))
        );
        assert_eq!(broker_state(&cluster, other), Some(3.0));
    }
}

#[test]
fn a_release_is_told_by_its_requests() {
    let mut seen = Vec::new();
    for release in Release::ZOOKEEPER {
        let keys = [1, 2, 6, 11, 16, 24, 35, 60];
        let apis = release.zookeeper_apis();
        let highest = keys.map(|key| apis.iter().find(|api| api.0 == key).unwrap().2);
        assert!(!seen.contains(&highest), "{release}");
        seen.push(highest);
        assert_eq!(Release::named(release.name()), Some(release));
    }
    // Read from the message definitions (the table in `kafka::release`).
    assert_eq!(seen[0], [12, 6, 7, 7, 4, 3, 2, 0]);
    assert_eq!(seen[5], [16, 8, 8, 9, 4, 4, 4, 1]);
    assert_eq!(seen[7], [17, 9, 8, 9, 5, 5, 4, 1]);
}

#[test]
fn configs_name_zookeeper_and_the_pin() {
    let mut spec = Spec::zookeeper(3, Release::V3_9);
    spec.finalized = Release::V3_7;
    spec.pinned = true;
    let cluster = Cluster::new(spec).unwrap();
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name("2".into())
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = ask(&cluster, 2, Listener::Broker, &request, 4);
    let value = |name: &str| {
        let mut configs = answer.results[0].configs.iter();
        let entry = configs.find(|entry| entry.name == *name).unwrap();
        (
            entry.value.clone().unwrap().to_string(),
            entry.config_source,
        )
    };
    assert_eq!(value("zookeeper.connect"), ("127.0.0.1:2181".to_owned(), 4));
    assert_eq!(value("broker.id"), ("2".to_owned(), 4));
    assert_eq!(
        value("inter.broker.protocol.version"),
        ("3.7".to_owned(), 4)
    );
    assert_eq!(value("controller.quorum.voters").0, "");
}

#[test]
fn a_killed_broker_is_missed_when_its_session_ends() {
    let (mut first, mut last) = (f64::MAX, 0.0_f64);
    for seed in 0..30 {
        let mut cluster = small(seed);
        let (other, active) = (standby(&cluster), controller(&cluster));
        cluster.kill(other).unwrap();
        let seen = until(&mut cluster, 30.0, |cluster| lacking(cluster, active).0 > 0) - 5.0;
        (first, last) = (first.min(seen), last.max(seen));
        assert_eq!(active_count(&cluster), 1.0);
    }
    // The lab saw 13.5 s after a kill and 15.1 s after a freeze; a ping comes every 6 s of 18 s.
    assert!((12.0..13.5).contains(&first), "{first}");
    assert!((17.0..20.0).contains(&last), "{last}");
}

#[test]
fn without_its_killed_controller_nobody_counts_anything_for_a_session() {
    let mut cluster = small(3);
    let active = controller(&cluster);
    let other = standby(&cluster);
    cluster.kill(active).unwrap();
    cluster.advance(secs(14.0));
    assert_eq!(cluster.active_controller(), None);
    // Offline partitions are summed to 0 although its leaders are dead.
    assert_eq!(active_count(&cluster), 0.0);
    assert_eq!(lacking(&cluster, other), (0, 0));
    assert_eq!(
        metadata(&cluster, other).controller_id.0,
        active,
        "nobody said otherwise"
    );
    let back = until(&mut cluster, 30.0, |cluster| active_count(cluster) == 1.0);
    assert!((17.0..26.0).contains(&back), "{back}");
    until(&mut cluster, back + 2.0, |cluster| {
        lacking(cluster, other).0 > 0
    });
    assert_ne!(metadata(&cluster, other).controller_id.0, active);
}

#[test]
fn a_clean_restart_takes_as_long_as_measured_and_single_replicas_last_longer() {
    let topics = vec![
        TopicSpec::new("orders", 9, 3),
        TopicSpec::new("single", 3, 1),
    ];
    let spec = Spec::zookeeper(3, Release::V3_7).topics(topics);
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    let active = controller(&cluster);
    let watch = standby(&cluster);
    cluster.stop(active).unwrap();
    let under = until(&mut cluster, 6.0, |cluster| lacking(cluster, watch).0 > 0) - 5.0;
    assert_eq!(
        lacking(&cluster, watch).1,
        0,
        "RF1 leads until the session ends"
    );
    let offline = until(&mut cluster, 9.0, |cluster| lacking(cluster, watch).1 == 1) - 5.0;
    assert!(
        under < 0.6 && (0.7..2.2).contains(&offline),
        "{under} {offline}"
    );
    let exited = until(&mut cluster, 9.0, |cluster| {
        cluster.process_start(active).is_none()
    }) - 5.0;
    assert!((0.8..1.9).contains(&exited), "{exited}");
    until(&mut cluster, 9.0, |cluster| active_count(cluster) == 1.0);
    let down = cluster.elapsed().as_secs_f64();
    cluster.start(active, None).unwrap();
    cluster.advance(secs(down + 2.0));
    assert_eq!(broker_state(&cluster, active), Some(2.0));
    assert_eq!(
        replica_manager(&cluster, active, "UnderReplicatedPartitions"),
        None
    );
    let full = until(&mut cluster, 20.0, |cluster| {
        lacking(cluster, watch) == (0, 0)
    }) - down;
    assert!((2.5..4.2).contains(&full), "{full}");
}

#[test]
fn a_killed_broker_cannot_register_while_its_old_node_is_there() {
    let mut cluster = small(5);
    let other = standby(&cluster);
    let watch = controller(&cluster);
    cluster.kill(other).unwrap();
    cluster.start(other, None).unwrap();
    let back = until(&mut cluster, 60.0, |cluster| {
        replica_manager_up(cluster, other)
            && cluster.committed_image().alive(other)
            && lacking(cluster, watch).0 == 0
            && cluster.elapsed() > secs(15.0)
    });
    assert!((16.0..40.0).contains(&back), "{back}");
    assert!(cluster.life(other) > 4, "its start failed some times");
}

fn replica_manager_up(cluster: &Cluster, node: NodeId) -> bool {
    matches!(cluster.jmx_page(node), Page::Text { .. })
        && replica_manager(cluster, node, "PartitionCount").is_some()
}

#[test]
fn a_broker_cut_off_from_zookeeper_loses_its_place_and_gets_it_back() {
    let mut cluster = small(8);
    let active = controller(&cluster);
    let watch = standby(&cluster);
    cluster.cut_zookeeper(active, true).unwrap();
    until(&mut cluster, 30.0, |cluster| {
        cluster.active_controller().is_some_and(|now| now != active)
    });
    until(&mut cluster, 32.0, |cluster| lacking(cluster, watch).0 > 0);
    cluster.cut_zookeeper(active, false).unwrap();
    until(&mut cluster, 40.0, |cluster| lacking(cluster, watch).0 == 0);
    assert!(cluster.cut_zookeeper(77, true).is_err());
}

/// The third broker beside these two.
fn third(one: NodeId, other: NodeId) -> NodeId {
    (1..=3).find(|id| ![one, other].contains(id)).unwrap()
}

#[test]
fn without_zookeeper_nothing_changes_and_nobody_is_missed_until_it_is_back() {
    let mut cluster = small(2);
    let (active, other) = (controller(&cluster), standby(&cluster));
    let watch = third(active, other);
    cluster.set_zookeeper_down(true);
    cluster.advance(secs(65.0));
    assert_eq!(cluster.zookeeper_down_for(), Some(secs(60.0)));
    assert_eq!(cluster.active_controller(), None, "it can commit nothing");
    assert_eq!(cluster.controller_in_office(), Some(active));
    assert_eq!(active_count(&cluster), 1.0);
    assert_eq!(lacking(&cluster, watch), (0, 0));
    // What it led has no leader, and nobody knows.
    cluster.kill(other).unwrap();
    cluster.advance(secs(125.0));
    assert_eq!(lacking(&cluster, watch), (0, 0));
    cluster.set_zookeeper_down(false);
    assert_eq!(cluster.active_controller(), Some(active));
    let seen = until(&mut cluster, 160.0, |cluster| lacking(cluster, watch).0 > 0) - 125.0;
    assert!((18.0..21.0).contains(&seen), "{seen}");
    assert_eq!(cluster.controller_in_office(), Some(active));
}

/// Connections with ZooKeeper as the page counts them: made, lost.
fn connections(cluster: &Cluster, id: NodeId) -> (f64, f64) {
    let page = page(cluster, id);
    let meter =
        |name| page[&format!("kafka_server_SessionExpireListener_Count{{name=\"{name}\"}}")];
    (
        meter("ZooKeeperSyncConnectsPerSec"),
        meter("ZooKeeperDisconnectsPerSec"),
    )
}

#[test]
fn without_zookeeper_topics_are_not_described_and_pages_count_the_loss() {
    let mut cluster = small(4);
    let (active, other) = (controller(&cluster), standby(&cluster));
    let topic = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name("orders".into())
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![topic]);
    let request = frame(&request, 4);
    let described = |cluster: &Cluster| {
        let answers = |id: &NodeId| {
            let answer = cluster.handle(*id, Listener::Broker, &request);
            match answer {
                Answer::Reply(_) => true,
                Answer::Silent => false,
                Answer::Delay(..) | Answer::CloseConnection => panic!("{answer:?}"),
            }
        };
        (1..=3).filter(answers).collect::<Vec<NodeId>>()
    };
    assert_eq!(described(&cluster), [1, 2, 3]);
    assert_eq!(connections(&cluster, other), (1.0, 0.0));
    cluster.cut_zookeeper(other, true).unwrap();
    assert!(!described(&cluster).contains(&other));
    assert_eq!(described(&cluster).len(), 2);
    assert_eq!(connections(&cluster, other), (1.0, 1.0));
    cluster.cut_zookeeper(other, false).unwrap();
    assert_eq!(connections(&cluster, other), (2.0, 1.0));
    cluster.set_zookeeper_down(true);
    assert!(described(&cluster).is_empty());
    assert_eq!(connections(&cluster, active), (1.0, 1.0));
    // What needs no ZooKeeper is answered as ever.
    let moves = ListPartitionReassignmentsRequest::default().with_topics(None);
    let moves = ask(&cluster, active, Listener::Broker, &moves, 0);
    assert_eq!(moves.error_code, 0);
    let itself = third(active, other);
    assert_eq!(metadata(&cluster, itself).controller_id.0, active);
    cluster.set_zookeeper_down(false);
    assert_eq!(described(&cluster), [1, 2, 3]);
    assert_eq!(connections(&cluster, other), (3.0, 2.0));
}

#[test]
fn without_zookeeper_no_broker_gets_through_its_start() {
    let mut cluster = small(6);
    let other = standby(&cluster);
    cluster.stop(other).unwrap();
    cluster.advance(secs(20.0));
    cluster.set_zookeeper_down(true);
    cluster.start(other, None).unwrap();
    cluster.advance(secs(60.0));
    assert!(!cluster.committed_image().alive(other));
    cluster.set_zookeeper_down(false);
    until(&mut cluster, 90.0, |cluster| {
        cluster.committed_image().alive(other)
    });
}

#[test]
fn a_topic_cannot_go_while_a_broker_that_holds_it_is_down() {
    let mut cluster = zookeeper(Release::V3_9, 1);
    let other = standby(&cluster);
    cluster.kill(other).unwrap();
    assert_eq!(
        cluster.delete_topic("orders"),
        Err(OperationError::Node(other, "down"))
    );
}

#[test]
fn specs_of_the_wrong_mode_are_refused() {
    let new = Cluster::new(Spec::zookeeper(3, Release::V4_0));
    assert_eq!(new.err(), Some(SpecError::ZooKeeper(1)));
    let old = Cluster::new(Spec::kraft(3, 3, Release::V2_8));
    assert_eq!(old.err(), Some(SpecError::KRaft(Release::V2_8)));
}
