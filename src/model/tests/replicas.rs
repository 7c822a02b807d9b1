//! ISRs, lag, offline partitions, determinism.

use super::protocol::offset;
use super::{
    Cluster, Listener, Page, Release, Spec, controller_gauge, lacking, metadata, replica_manager,
    secs, three, until,
};
use crate::model::{Link, TopicSpec};

#[test]
fn a_slow_follower_leaves_the_isr_of_busy_partitions_only() {
    let topics = vec![
        TopicSpec::new("orders", 6, 3).rate(100),
        TopicSpec::new("quiet", 6, 3),
    ];
    let spec = Spec::kraft(3, 3, Release::V3_9).topics(topics);
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    cluster.set_catch_up_rate(3, 20).unwrap();
    let shrunk = until(&mut cluster, 60.0, |cluster| lacking(cluster, 1).0 == 4);
    // Checked every 15 s against 30 s.
    assert!((35.0..51.0).contains(&shrunk), "{shrunk}");
    cluster.advance(secs(60.0));
    let response = metadata(&cluster, 1);
    for topic in &response.topics {
        for partition in &topic.partitions {
            let busy = topic.name == Some(super::name("orders")) && *partition.leader_id != 3;
            assert_eq!(partition.isr_nodes.len(), if busy { 2 } else { 3 });
            assert_eq!(
                partition.leader_epoch, 0,
                "no bump since 3.6-IV0 (KAFKA-15021)"
            );
        }
    }
    let index = response.topics[1]
        .partitions
        .iter()
        .position(|p| *p.leader_id == 1)
        .unwrap();
    let index = i32::try_from(index).unwrap();
    let behind = offset(&cluster, 1, -2, index).1 - offset(&cluster, 3, -2, index).1;
    assert!((4_000..4_800).contains(&behind), "{behind}");
    cluster.set_catch_up_rate(3, 1_000).unwrap();
    until(&mut cluster, 70.0, |cluster| lacking(cluster, 1).0 == 0);
}

#[test]
fn before_3_6_a_shrink_bumps_the_leader_epoch() {
    let spec = Spec::kraft(3, 3, Release::V3_5);
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.kill(3).unwrap();
    cluster.advance(secs(15.0));
    let partitions = &metadata(&cluster, 1).topics[1].partitions;
    assert!(
        partitions
            .iter()
            .all(|partition| partition.leader_epoch == 1)
    );
}

#[test]
fn single_replicas_go_offline_and_nobody_counts_them_as_under_replicated() {
    let topics = vec![TopicSpec::new("single", 6, 1)];
    let mut spec = Spec::kraft(3, 3, Release::V3_9).topics(topics);
    spec.settings.offsets_partitions = 0;
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.stop(1).unwrap();
    until(&mut cluster, 1.0, |cluster| lacking(cluster, 2).1 == 2);
    cluster.advance(secs(8.0));
    let response = metadata(&cluster, 2);
    let offline: Vec<_> = response.topics[0]
        .partitions
        .iter()
        .filter(|p| *p.leader_id == -1)
        .collect();
    assert_eq!(offline.len(), 2);
    for partition in offline {
        assert_eq!(partition.error_code, 5);
        assert_eq!(partition.isr_nodes, partition.replica_nodes);
        assert_eq!(partition.offline_replicas, partition.replica_nodes);
    }
    for id in [2, 3] {
        assert_eq!(
            replica_manager(&cluster, id, "UnderReplicatedPartitions"),
            Some(0.0)
        );
        assert_eq!(
            replica_manager(&cluster, id, "AtMinIsrPartitionCount"),
            Some(2.0)
        );
    }
    let active = cluster.active_controller().unwrap();
    assert_eq!(
        controller_gauge(&cluster, active, "OfflinePartitionsCount"),
        Some(2.0)
    );
    cluster.start(1, None).unwrap();
    until(&mut cluster, 20.0, |cluster| lacking(cluster, 2).1 == 0);
}

#[test]
fn two_of_three_down_is_under_min_isr_and_stops_writes() {
    let mut cluster = three(Release::V3_9, 3);
    cluster.kill(1).unwrap();
    cluster.kill(2).unwrap();
    cluster.advance(secs(15.0));
    assert_eq!(lacking(&cluster, 3), (70, 0));
    assert_eq!(
        replica_manager(&cluster, 3, "UnderReplicatedPartitions"),
        Some(70.0)
    );
    assert_eq!(
        replica_manager(&cluster, 3, "UnderMinIsrPartitionCount"),
        Some(70.0)
    );
    let before = offset(&cluster, 3, -2, 0).1;
    cluster.advance(secs(25.0));
    assert_eq!(offset(&cluster, 3, -2, 0).1, before);
    // The last one down takes everything offline, and everything comes back with it.
    cluster.kill(3).unwrap();
    cluster.start(1, None).unwrap();
    cluster.advance(secs(45.0));
    assert_eq!(lacking(&cluster, 1), (70, 70));
    cluster.start(3, None).unwrap();
    until(&mut cluster, 65.0, |cluster| lacking(cluster, 1).1 == 0);
    cluster.start(2, None).unwrap();
    until(&mut cluster, 85.0, |cluster| lacking(cluster, 1) == (0, 0));
}

#[test]
fn four_replicas_over_five_brokers_lose_one_each() {
    let spec = Spec::kraft(3, 5, Release::V4_3).topics(vec![TopicSpec::new("orders", 20, 4)]);
    let mut cluster = Cluster::new(spec).unwrap();
    for partition in &metadata(&cluster, 1).topics[1].partitions {
        let mut replicas = partition.replica_nodes.clone();
        replicas.sort_unstable();
        replicas.dedup();
        assert_eq!(replicas.len(), 4);
    }
    cluster.kill(5).unwrap();
    cluster.advance(secs(15.0));
    let short = metadata(&cluster, 1).topics[1]
        .partitions
        .iter()
        .filter(|partition| partition.isr_nodes.len() == 3)
        .count();
    assert_eq!(short, 16);
}

#[test]
fn a_new_leader_cuts_off_what_only_the_old_one_had() {
    let topics = vec![TopicSpec::new("orders", 3, 3).rate(2_000)];
    let mut cluster = Cluster::new(Spec::kraft(3, 3, Release::V3_9).topics(topics)).unwrap();
    cluster.advance(secs(5.0));
    let index = metadata(&cluster, 2).topics[1]
        .partitions
        .iter()
        .position(|p| *p.leader_id == 1);
    let index = i32::try_from(index.unwrap()).unwrap();
    let old = offset(&cluster, 1, -2, index).1;
    let acknowledged = offset(&cluster, 1, -1, index).1;
    assert!(acknowledged < old);
    cluster.kill(1).unwrap();
    cluster.set_rate("orders", 0).unwrap();
    cluster.advance(secs(20.0));
    let new = metadata(&cluster, 2).topics[1].partitions[usize::try_from(index).unwrap()]
        .leader_id
        .0;
    let end = offset(&cluster, new, -2, index).1;
    assert!(
        acknowledged <= end && end < old,
        "{acknowledged} {end} {old}"
    );
    cluster.start(1, None).unwrap();
    until(&mut cluster, 40.0, |cluster| {
        lacking(cluster, 2).0 == 0 && cluster.link(1, Listener::Broker) == Link::Accepts
    });
    assert_eq!(offset(&cluster, 1, -2, index).1, end);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_the_steps_do_not_matter() {
    let run = |seed: u64, step: f64| {
        let mut cluster = three(Release::V4_3, seed);
        let mut seen = Vec::new();
        for tick in 1..=60 {
            let target = f64::from(tick);
            while cluster.elapsed().as_secs_f64() + step < target {
                cluster.advance(cluster.elapsed() + secs(step));
            }
            cluster.advance(secs(target));
            match tick {
                5 => cluster.kill(1).unwrap(),
                8 => cluster.start(1, None).unwrap(),
                30 => cluster.stop(101).unwrap(),
                35 => cluster.start(101, None).unwrap(),
                40 => cluster.freeze(2).unwrap(),
                52 => cluster.thaw(2).unwrap(),
                _ => {}
            }
            if tick < 40 {
                seen.push(format!("{:?}", metadata(&cluster, 2)));
            }
            seen.extend([1, 3, 102].map(|id| match cluster.jmx_page(id) {
                Page::Text { body, .. } => body,
                other => format!("{other:?}"),
            }));
        }
        seen
    };
    let first = run(11, 0.25);
    assert_eq!(first, run(11, 0.25));
    assert_eq!(first, run(11, 10.0), "only operations and the seed matter");
    assert_ne!(first, run(12, 0.25));
}

#[test]
fn operations_that_make_no_sense_are_refused() {
    let mut cluster = three(Release::V3_9, 1);
    assert!(cluster.kill(9).is_err());
    assert!(cluster.start(1, None).is_err());
    assert!(cluster.thaw(1).is_err());
    assert!(cluster.set_rate("none", 1).is_err());
    cluster.stop(1).unwrap();
    assert!(cluster.stop(1).is_err());
    cluster.kill(1).unwrap();
    assert!(cluster.kill(1).is_err());
    assert!(cluster.freeze(1).is_err());
    assert_eq!(cluster.link(1, Listener::Controller), Link::Refuses);
}

/// Not a bench: keeps the step cheap enough for ten thousand trials (issue 4).
#[test]
fn minutes_of_trouble_take_milliseconds() {
    let start = std::time::Instant::now();
    for seed in 0..20 {
        let mut cluster = three(Release::V4_3, seed);
        cluster.kill(1).unwrap();
        cluster.advance(secs(20.0));
        cluster.start(1, None).unwrap();
        cluster.advance(secs(300.0));
        assert_eq!(lacking(&cluster, 2).0, 0);
    }
    assert!(start.elapsed() < secs(4.0), "{:?}", start.elapsed());
}
