//! The quorum: failover, freshly started controllers, a broker cut off from it.

use super::protocol::quorum_request;
use super::{
    Answer, Cluster, Listener, Page, Release, Spec, ask, controller_gauge, frame, lacking, page,
    secs, three, until,
};
use crate::model::{Link, NodeId};

fn sum_active(cluster: &Cluster) -> f64 {
    let pages = [101, 102, 103]
        .into_iter()
        .filter(|id| matches!(cluster.jmx_page(*id), Page::Text { .. }));
    pages
        .filter_map(|id| controller_gauge(cluster, id, "ActiveControllerCount"))
        .sum()
}

fn standby(cluster: &Cluster) -> NodeId {
    let active = cluster.active_controller();
    [101, 102, 103]
        .into_iter()
        .find(|id| Some(*id) != active)
        .unwrap()
}

#[test]
fn killing_the_active_controller_leaves_a_gap_of_a_second() {
    for seed in 0..20 {
        let mut cluster = three(Release::V3_9, seed);
        cluster.advance(secs(5.0));
        assert_eq!(sum_active(&cluster), 1.0);
        let old = cluster.active_controller().unwrap();
        cluster.kill(old).unwrap();
        assert_eq!(sum_active(&cluster), 0.0);
        assert_eq!(cluster.active_controller(), None);
        let forwarded = cluster.handle(1, Listener::Broker, &frame(&quorum_request(), 2));
        assert_eq!(forwarded, Answer::Silent, "nobody to forward to");
        let back = until(&mut cluster, 8.0, |cluster| sum_active(cluster) == 1.0);
        assert!((5.9..6.9).contains(&back), "{back}");
        cluster.advance(secs(7.0));
        let quorum = ask(&cluster, 1, Listener::Broker, &quorum_request(), 2);
        let partition = &quorum.topics[0].partitions[0];
        assert_ne!(partition.leader_id.0, old);
        assert_eq!(partition.leader_epoch, 5);
        let gone = partition
            .current_voters
            .iter()
            .find(|v| v.replica_id.0 == old)
            .unwrap();
        assert_eq!((gone.log_end_offset, gone.last_fetch_timestamp), (-1, -1));
        cluster.advance(secs(30.0));
        assert_eq!(lacking(&cluster, 1).0, 0, "brokers do not notice");
    }
}

#[test]
fn a_controller_that_resigns_hands_over_at_once() {
    let mut cluster = three(Release::V3_9, 1);
    cluster.advance(secs(5.0));
    let old = cluster.active_controller().unwrap();
    cluster.stop(old).unwrap();
    cluster.advance(secs(5.15));
    assert_eq!(
        controller_gauge(&cluster, old, "ActiveControllerCount"),
        None
    );
    let back = until(&mut cluster, 6.0, |cluster| sum_active(cluster) == 1.0);
    assert!(back < 5.4, "{back}");
    until(&mut cluster, 6.0, |cluster| {
        cluster.link(old, Listener::Controller) == Link::Refuses
    });
}

#[test]
fn a_fresh_controller_has_no_series_then_says_0_then_the_truth() {
    let mut cluster = three(Release::V3_9, 2);
    let id = standby(&cluster);
    cluster.stop(id).unwrap();
    cluster.advance(secs(2.0));
    cluster.start(id, None).unwrap();
    let mut seen = Vec::new();
    while cluster.elapsed() < secs(10.0) {
        cluster.advance(cluster.elapsed() + secs(0.05));
        if matches!(cluster.jmx_page(id), Page::Text { .. }) {
            seen.push(controller_gauge(&cluster, id, "GlobalPartitionCount"));
        }
    }
    seen.dedup();
    assert_eq!(seen, [None, Some(0.0), Some(70.0)]);
}

#[test]
fn a_standby_down_is_invisible_but_in_the_quorum() {
    let mut cluster = three(Release::V3_9, 3);
    cluster.advance(secs(3.0));
    let id = standby(&cluster);
    cluster.kill(id).unwrap();
    cluster.advance(secs(20.0));
    assert_eq!(sum_active(&cluster), 1.0);
    assert_eq!(lacking(&cluster, 1), (0, 0));
    let quorum = ask(&cluster, 2, Listener::Broker, &quorum_request(), 1);
    let voters = &quorum.topics[0].partitions[0].current_voters;
    let gone = voters
        .iter()
        .find(|voter| voter.replica_id.0 == id)
        .unwrap();
    let there = voters
        .iter()
        .find(|voter| voter.replica_id.0 != id)
        .unwrap();
    assert!(there.last_fetch_timestamp - gone.last_fetch_timestamp > 16_000);
    assert!(there.log_end_offset - gone.log_end_offset > 30);
}

#[test]
fn without_a_majority_nothing_is_committed_until_it_is_back() {
    let mut cluster = three(Release::V3_9, 4);
    cluster.advance(secs(1.0));
    let active = cluster.active_controller().unwrap();
    let others: Vec<_> = [101, 102, 103]
        .into_iter()
        .filter(|id| *id != active)
        .collect();
    for id in &others {
        cluster.kill(*id).unwrap();
    }
    cluster.kill(1).unwrap();
    cluster.advance(secs(30.0));
    assert_eq!(lacking(&cluster, 2).0, 0, "nobody can fence");
    assert_eq!(cluster.active_controller(), None, "it resigned");
    cluster.start(others[0], None).unwrap();
    until(&mut cluster, 36.0, |cluster| {
        cluster.active_controller().is_some()
    });
    until(&mut cluster, 60.0, |cluster| lacking(cluster, 2) == (70, 0));
}

#[test]
fn a_broker_cut_off_from_the_quorum_answers_old_metadata() {
    let mut cluster = three(Release::V3_9, 5);
    cluster.advance(secs(5.0));
    for controller in [101, 102, 103] {
        cluster.cut(1, controller).unwrap();
    }
    cluster.advance(secs(30.0));
    assert_eq!(lacking(&cluster, 2), (70, 0));
    assert_eq!(lacking(&cluster, 1), (0, 0), "its own image stands still");
    let lag = page(&cluster, 1)["kafka_server_broker_metadata_metrics_last_applied_record_lag_ms"];
    assert!(lag >= 25_000.0, "{lag}");
    let quorum = ask(&cluster, 2, Listener::Broker, &quorum_request(), 2);
    let observers = &quorum.topics[0].partitions[0].observers;
    let cut = observers
        .iter()
        .find(|observer| observer.replica_id.0 == 1)
        .unwrap();
    let whole = observers
        .iter()
        .find(|observer| observer.replica_id.0 == 2)
        .unwrap();
    assert!(whole.log_end_offset - cut.log_end_offset > 40);
    for controller in [101, 102, 103] {
        cluster.mend(1, controller).unwrap();
    }
    until(&mut cluster, 33.0, |cluster| {
        lacking(cluster, 1).0 == 0 && lacking(cluster, 2).0 == 0
    });
}

#[test]
fn a_combined_node_is_both() {
    let mut cluster = Cluster::new(Spec::combined(3, Release::V4_3)).unwrap();
    cluster.advance(secs(5.0));
    let active = cluster.active_controller().unwrap();
    let samples = page(&cluster, active);
    assert!(samples.contains_key("kafka_server_ReplicaManager_Value{name=\"LeaderCount\"}"));
    assert_eq!(
        controller_gauge(&cluster, active, "ActiveControllerCount"),
        Some(1.0)
    );
    cluster.stop(active).unwrap();
    let other = (1..=3).find(|id| *id != active).unwrap();
    until(&mut cluster, 6.0, |cluster| lacking(cluster, other).0 == 70);
    until(&mut cluster, 10.0, |cluster| {
        cluster.jmx_page(active) == Page::Refused
    });
    until(&mut cluster, 12.0, |cluster| {
        cluster.active_controller().is_some()
    });
    cluster.start(active, None).unwrap();
    until(&mut cluster, 40.0, |cluster| lacking(cluster, other).0 == 0);
}

#[test]
fn broker_only_nodes_have_no_controller_beans_and_controllers_no_replica_manager() {
    let cluster = three(Release::V3_9, 1);
    assert!(
        !page(&cluster, 1)
            .keys()
            .any(|key| key.starts_with("kafka_controller"))
    );
    assert!(
        !page(&cluster, 101)
            .keys()
            .any(|key| key.contains("ReplicaManager"))
    );
    assert!(page(&cluster, 1).contains_key("kafka_server_raft_metrics_current_leader"));
}

#[test]
fn an_active_controller_cut_off_from_the_others_is_one_of_two_for_a_moment() {
    let mut cluster = three(Release::V3_9, 6);
    cluster.advance(secs(5.0));
    let old = cluster.active_controller().unwrap();
    let others = [101, 102, 103].into_iter().filter(|id| *id != old);
    for other in others.chain([1, 2, 3]) {
        cluster.cut(old, other).unwrap();
    }
    assert_eq!(cluster.active_controller(), None);
    let two = until(&mut cluster, 8.0, |cluster| sum_active(cluster) == 2.0);
    assert!((7.0..8.0).contains(&two), "{two}");
    let stale = ask(&cluster, old, Listener::Controller, &quorum_request(), 2);
    let partition = &stale.topics[0].partitions[0];
    assert_eq!((partition.leader_id.0, partition.leader_epoch), (old, 4));
    let silent = partition
        .current_voters
        .iter()
        .filter(|voter| voter.replica_id.0 != old);
    let now = cluster.spec.start_wall_ms + 7_000;
    assert!(
        silent
            .into_iter()
            .all(|voter| voter.last_fetch_timestamp < now - 1_500)
    );
    let one = until(&mut cluster, 9.0, |cluster| sum_active(cluster) == 1.0);
    assert!((7.9..8.2).contains(&one), "{one}");
    let new = cluster.active_controller().unwrap();
    assert_ne!(new, old);
    // The brokers went on with the new one.
    cluster.advance(secs(30.0));
    assert_eq!(lacking(&cluster, 1), (0, 0));
    for other in [1, 2, 3, 101, 102, 103] {
        cluster.mend(old, other).unwrap();
    }
    cluster.advance(secs(31.0));
    let quorum = ask(&cluster, 1, Listener::Broker, &quorum_request(), 2);
    let voters = &quorum.topics[0].partitions[0].current_voters;
    let ends: Vec<_> = voters.iter().map(|voter| voter.log_end_offset).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}
