//! Exporters that lie, missing rights, reassignments.

use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeLogDirsRequest, ListPartitionReassignmentsRequest,
};

use super::protocol::offset;
use super::{
    Cluster, Listener, Page, Release, Spec, ask, lacking, metadata, page, replica_manager, secs,
    three, until,
};
use crate::model::{Fault, Link, OperationError, TopicSpec};

fn body(cluster: &Cluster, node: i32) -> (u16, String) {
    match cluster.jmx_page(node) {
        Page::Text { status, body, .. } => (status, body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_fault_of_an_exporter_shows_and_mends() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.advance(secs(1.0));
    cluster.set_exporter(1, Some(Fault::Dead)).unwrap();
    assert_eq!(cluster.jmx_page(1), Page::Refused);
    assert_eq!(cluster.jmx_link(1), Link::Refuses);
    assert_eq!(
        cluster.link(1, Listener::Broker),
        Link::Accepts,
        "the broker lives"
    );
    cluster.set_exporter(1, Some(Fault::Hangs)).unwrap();
    assert_eq!(cluster.jmx_page(1), Page::Silent);
    cluster.set_exporter(1, Some(Fault::Html)).unwrap();
    assert!(body(&cluster, 1).1.contains("<html>"));
    cluster.set_exporter(1, Some(Fault::Empty)).unwrap();
    assert_eq!(body(&cluster, 1), (200, String::new()));
    cluster.set_exporter(1, Some(Fault::Error)).unwrap();
    assert_eq!(body(&cluster, 1).0, 500);
    cluster.set_exporter(1, Some(Fault::Cut)).unwrap();
    let cut = body(&cluster, 1).1;
    assert!(cut.len() > 1_000 && !cut.ends_with('\n'));
    cluster.set_exporter(1, Some(Fault::NotANumber)).unwrap();
    assert!(page(&cluster, 1).values().all(|value| value.is_nan()));
    cluster.set_exporter(1, Some(Fault::Of(2))).unwrap();
    assert_eq!(body(&cluster, 1), body(&cluster, 2));
    cluster.set_exporter(1, Some(Fault::Stale)).unwrap();
    let old = body(&cluster, 1);
    cluster.kill(3).unwrap();
    cluster.advance(secs(15.0));
    assert_eq!(body(&cluster, 1), old);
    cluster.set_exporter(1, None).unwrap();
    assert!(replica_manager(&cluster, 1, "UnderReplicatedPartitions").unwrap() > 0.0);
    assert_eq!(
        cluster.set_exporter(9, None),
        Err(OperationError::NoNode(9))
    );
}

#[test]
fn without_rights_metadata_is_empty_and_log_dirs_are_not() {
    let mut cluster = three(Release::V4_0, 1);
    cluster.hide_topics(true);
    let response = metadata(&cluster, 1);
    assert_eq!((response.topics.len(), response.brokers.len()), (0, 3));
    assert_eq!(offset(&cluster, 1, -2, 0), (29, -1));
    let dirs = DescribeLogDirsRequest::default().with_topics(None);
    assert_eq!(
        ask(&cluster, 1, Listener::Broker, &dirs, 4).results[0]
            .topics
            .len(),
        2
    );
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    assert_eq!(
        ask(&cluster, 1, Listener::Broker, &request, 1).error_code,
        0
    );
    cluster.hide_topics(false);
    assert_eq!(metadata(&cluster, 1).topics.len(), 2);
}

#[test]
fn a_reassignment_adds_catches_up_and_then_removes() {
    let topics = vec![TopicSpec::new("orders", 4, 2).rate(100)];
    let mut cluster = Cluster::new(Spec::kraft(3, 4, Release::V3_9).topics(topics)).unwrap();
    cluster.advance(secs(5.0));
    cluster.set_catch_up_rate(4, 200).unwrap();
    let before = metadata(&cluster, 1).topics[1].partitions[0].clone();
    assert_eq!(before.replica_nodes, [BrokerId(1), BrokerId(2)]);
    cluster.reassign("orders", 0, &[4, 2]).unwrap();
    cluster.advance(secs(5.5));
    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
    let moving = ask(&cluster, 3, Listener::Broker, &request, 0);
    let partition = &moving.topics[0].partitions[0];
    assert_eq!(partition.adding_replicas, [BrokerId(4)]);
    assert_eq!(partition.removing_replicas, [BrokerId(1)]);
    assert_eq!(
        replica_manager(&cluster, 1, "ReassigningPartitions"),
        Some(1.0)
    );
    // Every controller says what it has read.
    for id in [101, 102, 103] {
        let said = ask(&cluster, id, Listener::Controller, &request, 0);
        assert_eq!((said.error_code, said.topics.len()), (0, 1), "{id}");
    }
    // Three replicas, two in sync, and yet not under-replicated: the new one does not count.
    assert_eq!(lacking(&cluster, 1).0, 1);
    assert_eq!(
        replica_manager(&cluster, 1, "UnderReplicatedPartitions"),
        Some(0.0)
    );
    let done = until(&mut cluster, 30.0, |cluster| {
        ask(cluster, 3, Listener::Broker, &request, 0)
            .topics
            .is_empty()
    });
    assert!(
        done > 10.0,
        "a thousand records at a hundred a second: {done}"
    );
    cluster.advance(secs(31.0));
    let after = metadata(&cluster, 1).topics[1].partitions[0].clone();
    assert_eq!(after.replica_nodes, [BrokerId(4), BrokerId(2)]);
    assert_eq!(after.isr_nodes.len(), 2);
    assert!(after.leader_id != 1 && after.leader_epoch > before.leader_epoch);
    assert_eq!(offset(&cluster, 1, -2, 0).0, 6, "no replica here any more");
    assert!(cluster.reassign("orders", 9, &[1]).is_err());
    assert!(cluster.reassign("orders", 0, &[77]).is_err());
}
