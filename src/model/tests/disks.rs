//! Failed log dirs: leaders move away, the broker stays.

use kafka_protocol::messages::DescribeLogDirsRequest;

use super::protocol::offset;
use super::{
    Cluster, Listener, Release, Spec, ask, lacking, metadata, page, replica_manager, secs, until,
};
use crate::model::{Link, OperationError, TopicSpec};

/// `(error, hosted partitions)` of every log dir.
fn dirs(cluster: &Cluster, node: i32) -> Vec<(i16, usize)> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response = ask(cluster, node, Listener::Broker, &request, 4);
    let results = response.results.iter();
    results
        .map(|dir| {
            let hosted = dir.topics.iter().map(|topic| topic.partitions.len());
            (dir.error_code, hosted.sum())
        })
        .collect()
}

fn two_dirs(release: Release) -> Cluster {
    let topics = vec![TopicSpec::new("orders", 12, 3).rate(100)];
    let mut spec = Spec::kraft(3, 3, release).topics(topics);
    spec.settings.offsets_partitions = 0;
    spec.settings.log_dirs = 2;
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    cluster
}

#[test]
fn a_failed_dir_moves_leaders_shrinks_isrs_and_mends_at_a_restart() {
    let mut cluster = two_dirs(Release::V3_9);
    assert_eq!(dirs(&cluster, 1), [(0, 6), (0, 6)]);
    cluster.fail_log_dir(1, 1).unwrap();
    let offline = "kafka_log_LogManager_Value{name=\"OfflineLogDirectoryCount\"}";
    assert_eq!(page(&cluster, 1).get(offline), Some(&1.0));
    assert_eq!(dirs(&cluster, 1), [(0, 6), (56, 0)]);
    let told = until(&mut cluster, 6.0, |cluster| lacking(cluster, 2) == (6, 0));
    assert!(told < 5.3, "{told}");
    // The broker itself is up and in service.
    assert_eq!(cluster.link(1, Listener::Broker), Link::Accepts);
    assert_eq!(
        replica_manager(&cluster, 1, "OfflineReplicaCount"),
        Some(6.0)
    );
    for partition in &metadata(&cluster, 2).topics[0].partitions {
        let lost = partition.partition_index % 2 == 1;
        assert_eq!(partition.offline_replicas.contains(&1.into()), lost);
        assert!(!lost || *partition.leader_id != 1);
    }
    assert_eq!(offset(&cluster, 1, -2, 1), (56, -1));
    assert_eq!(offset(&cluster, 1, -2, 0).0, 0);
    cluster.advance(secs(60.0));
    assert_eq!(lacking(&cluster, 2), (6, 0), "nothing mends by itself");

    cluster.kill(1).unwrap();
    cluster.replace_log_dir(1, 1).unwrap();
    cluster.advance(secs(75.0));
    cluster.start(1, None).unwrap();
    until(&mut cluster, 200.0, |cluster| lacking(cluster, 2) == (0, 0));
    assert_eq!(dirs(&cluster, 1), [(0, 6), (0, 6)]);
}

#[test]
fn the_metadata_dir_takes_the_process_with_it() {
    let mut cluster = two_dirs(Release::V4_3);
    cluster.fail_log_dir(2, 0).unwrap();
    assert_eq!(cluster.link(2, Listener::Broker), Link::Refuses);
    cluster.start(2, None).unwrap();
    cluster.advance(secs(10.0));
    assert_eq!(cluster.process_start(2), None, "it cannot start either");
    let unknown = OperationError::NoName("log dir", "2 of node 1".to_owned());
    assert_eq!(cluster.fail_log_dir(1, 2), Err(unknown));
    assert_eq!(
        cluster.fail_log_dir(2, 1),
        Err(OperationError::Node(2, "down"))
    );
}

#[test]
fn before_3_7_nobody_is_told_and_leaders_stay_where_they_cannot_serve() {
    let mut cluster = two_dirs(Release::V3_6);
    cluster.fail_log_dir(1, 1).unwrap();
    cluster.advance(secs(90.0));
    let topic = &metadata(&cluster, 2).topics[0];
    let led = topic.partitions.iter().filter(|p| *p.leader_id == 1);
    assert_eq!(led.count(), 4, "as before");
    // Where it followed, the leaders have dropped it by now.
    assert_eq!(lacking(&cluster, 2), (4, 0));
    assert_eq!(replica_manager(&cluster, 1, "LeaderCount"), Some(2.0));
}

#[test]
fn slow_disks_make_a_return_and_what_is_copied_from_them_slow() {
    let back = |slow: u64| {
        let mut cluster = two_dirs(Release::V3_9);
        cluster.set_disk_slow(1, slow).unwrap();
        cluster.kill(1).unwrap();
        cluster.advance(cluster.elapsed() + secs(12.0));
        cluster.start(1, None).unwrap();
        let began = cluster.elapsed().as_secs_f64();
        until(&mut cluster, 240.0, |cluster| lacking(cluster, 2) == (0, 0)) - began
    };
    let (usual, slow) = (back(1), back(10));
    assert!(usual < 8.0, "{usual}");
    assert!(slow > 2.0 * usual, "{slow} after {usual}");
    // A leader whose disk gives less than producers send loses its followers.
    let mut cluster = two_dirs(Release::V3_9);
    cluster.set_disk_slow(1, 1_000).unwrap();
    let led = |cluster: &Cluster| lacking(cluster, 2).0 >= 4;
    until(&mut cluster, 60.0, led);
    cluster.set_disk_slow(1, 1).unwrap();
    until(&mut cluster, 60.0, |cluster| lacking(cluster, 2) == (0, 0));
}
