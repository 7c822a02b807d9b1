//! Brokers that join empty, are emptied, and stay registered.

use kafka_protocol::messages::DescribeClusterRequest;

use super::{
    Cluster, Listener, Release, Spec, ask, brokers_in_metadata, controller_gauge, lacking, page,
    replica_manager, secs, until,
};
use crate::model::{Link, OperationError, SpecError, TopicSpec};

fn four(release: Release) -> Cluster {
    let topics = vec![TopicSpec::new("orders", 12, 3).rate(10)];
    let spec = Spec::kraft(3, 4, release).topics(topics).later(&[4]);
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    cluster
}

#[test]
fn a_new_broker_joins_empty_and_another_leaves_its_registration_behind() {
    let mut cluster = four(Release::V4_0);
    assert_eq!(brokers_in_metadata(&cluster, 1), [1, 2, 3]);
    assert_eq!(cluster.link(4, Listener::Broker), Link::Refuses);
    assert!(cluster.not_serving().is_empty(), "nobody misses it yet");
    cluster.start(4, None).unwrap();
    until(&mut cluster, 15.0, |cluster| {
        brokers_in_metadata(cluster, 1).len() == 4
    });
    cluster.advance(secs(16.0));
    assert_eq!(cluster.link(4, Listener::Broker), Link::Accepts);
    assert_eq!(replica_manager(&cluster, 4, "PartitionCount"), Some(0.0));
    assert_eq!(lacking(&cluster, 1), (0, 0));

    assert_eq!(cluster.drain(1).unwrap(), 22);
    let moved = |cluster: &Cluster| replica_manager(cluster, 1, "PartitionCount") == Some(0.0);
    until(&mut cluster, 600.0, moved);
    cluster.stop(1).unwrap();
    cluster.advance(cluster.elapsed() + secs(20.0));
    assert!(cluster.not_serving().is_empty(), "fenced, stopped, empty");
    assert_eq!(lacking(&cluster, 2), (0, 0), "nobody misses it");
    let request = DescribeClusterRequest::default()
        .with_endpoint_type(1)
        .with_include_fenced_brokers(true);
    let known = |cluster: &Cluster| ask(cluster, 2, Listener::Broker, &request, 2).brokers.len();
    assert_eq!(known(&cluster), 4, "fenced and registered for ever");
    let active = cluster.active_controller().unwrap();
    assert_eq!(
        controller_gauge(&cluster, active, "FencedBrokerCount"),
        Some(1.0)
    );
    assert_eq!(
        cluster.unregister(2),
        Err(OperationError::Node(2, "running"))
    );
    cluster.unregister(1).unwrap();
    cluster.advance(cluster.elapsed() + secs(1.0));
    assert_eq!(known(&cluster), 3);
    assert!(!page(&cluster, 2).is_empty());
}

#[test]
fn voters_cannot_come_later_and_topics_need_brokers_that_are_there() {
    let late = Spec::kraft(3, 3, Release::V3_9).later(&[101]);
    assert_eq!(Cluster::new(late).err(), Some(SpecError::LateVoter(101)));
    let few = Spec::kraft(3, 3, Release::V3_9).later(&[3]);
    assert!(matches!(
        Cluster::new(few),
        Err(SpecError::Replication { .. })
    ));
}
