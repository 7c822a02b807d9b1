//! What stopping nodes would cost, and eligible leader replicas.

use std::collections::BTreeSet;

use super::{Cluster, Release, Spec, lacking, metadata, secs, until};
use crate::model::{Harm, Harmed, TopicSpec};

fn set(ids: &[i32]) -> BTreeSet<i32> {
    ids.iter().copied().collect()
}

fn one_topic(release: Release, replication: u32, min_isr: u32) -> Spec {
    let topic = TopicSpec::new("orders", 4, replication)
        .rate(100)
        .min_isr(min_isr);
    let mut spec = Spec::kraft(3, 4, release).topics(vec![topic]);
    spec.settings.offsets_partitions = 0;
    spec
}

fn healthy(spec: Spec) -> Cluster {
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    cluster
}

/// Harm and whether it is structural, of partition 0, whose replicas begin with broker 1.
fn of_first(harmed: &[Harmed]) -> Option<(Harm, bool)> {
    let first = harmed.iter().find(|harmed| harmed.partition.1 == 0);
    first.map(|harmed| (harmed.harm, harmed.structural))
}

#[test]
fn every_replication_and_min_isr_is_judged_for_one_and_two_stops() {
    let offline = Some((Harm::Offline, true));
    let under = Some((Harm::UnderMinIsr, true));
    // Replicas, min ISR, one stopped, two stopped.
    let rows = [
        (1, 1, offline, offline),
        (2, 1, None, offline),
        (2, 2, under, offline),
        (3, 1, None, None),
        (3, 2, None, under),
        (3, 3, under, under),
        (4, 1, None, None),
        (4, 2, None, None),
        (4, 3, None, under),
        (4, 4, under, under),
    ];
    for (replication, min_isr, one, two) in rows {
        let cluster = healthy(one_topic(Release::V3_9, replication, min_isr));
        let replicas = cluster
            .committed_image()
            .partition("orders", 0)
            .unwrap()
            .replicas
            .clone();
        let first = set(&replicas[..1]);
        let both = set(&replicas[..replicas.len().min(2)]);
        let without = |nodes| of_first(&cluster.acknowledged_readable_without(nodes));
        assert_eq!(without(&first), one, "RF {replication} min {min_isr}");
        assert_eq!(without(&both), two, "RF {replication} min {min_isr}");
        assert_eq!(without(&BTreeSet::new()), None);
    }
}

#[test]
fn what_is_down_already_counts_and_makes_it_degraded() {
    let mut cluster = healthy(one_topic(Release::V3_9, 3, 2));
    let replicas = cluster
        .committed_image()
        .partition("orders", 0)
        .unwrap()
        .replicas
        .clone();
    let [a, b, c] = replicas[..] else { panic!() };
    cluster.freeze(b).unwrap();
    // Nobody has noticed yet: the ISR is full.
    let stop_a = cluster.acknowledged_readable_without(&set(&[a]));
    assert_eq!(of_first(&stop_a), Some((Harm::UnderMinIsr, false)));
    let both = cluster.acknowledged_readable_without(&set(&[a, c]));
    assert_eq!(of_first(&both), Some((Harm::Offline, false)));
    cluster.thaw(b).unwrap();
    assert!(cluster.acknowledged_readable_without(&set(&[a])).is_empty());
    let active = cluster.active_controller().unwrap();
    cluster.cut(b, active).unwrap();
    assert_eq!(cluster.out_of_service(), set(&[b]));
    assert!(cluster.quorum_without(&set(&[101])));
    assert!(!cluster.quorum_without(&set(&[101, 102])));
}

#[test]
fn who_does_not_reach_the_leader_does_not_count_towards_min_isr() {
    let mut cluster = healthy(one_topic(Release::V3_9, 3, 2));
    let partition = cluster.committed_image().partition("orders", 0).unwrap();
    let replicas = partition.replicas.clone();
    let [a, b, c] = replicas[..] else { panic!() };
    assert_eq!(partition.leader, Some(a));
    assert!(!cluster.stalls());
    let stalled = |cluster: &Cluster, stopped: Option<i32>| {
        let stopped = stopped.into_iter().collect();
        of_first(&cluster.stalled_without(&BTreeSet::new(), &stopped))
    };
    cluster.cut(a, b).unwrap();
    assert!(cluster.stalls(), "writes wait until the ISR has shrunk");
    let under = Some((Harm::UnderMinIsr, false));
    assert_eq!(stalled(&cluster, None), None, "two are left");
    for (stopped, expected) in [(a, None), (b, None), (c, under)] {
        let found = stalled(&cluster, Some(stopped));
        assert_eq!(found, expected, "without {stopped}");
    }
    // The same between two followers: it matters once one of them leads.
    cluster.mend(a, b).unwrap();
    cluster.cut(b, c).unwrap();
    for (stopped, expected) in [(a, under), (b, None), (c, None)] {
        let found = stalled(&cluster, Some(stopped));
        assert_eq!(found, expected, "without {stopped}");
    }
    // Once the ISR has shrunk it shows by itself.
    cluster.mend(b, c).unwrap();
    cluster.cut(a, b).unwrap();
    cluster.advance(secs(60.0));
    let partition = cluster.committed_image().partition("orders", 0).unwrap();
    assert!(!partition.isr.contains(&b));
    assert_eq!(stalled(&cluster, None), None);
    let shows = of_first(&cluster.acknowledged_readable_without(&set(&[c])));
    assert_eq!(shows, under);
}

#[test]
fn an_unclean_election_loses_what_was_acknowledged_and_is_foretold() {
    let mut spec = one_topic(Release::V3_9, 2, 1);
    spec.settings.unclean_leader_election = true;
    let mut cluster = healthy(spec);
    let replicas = cluster
        .committed_image()
        .partition("orders", 0)
        .unwrap()
        .replicas
        .clone();
    let [a, b] = replicas[..] else { panic!() };
    cluster.kill(b).unwrap();
    cluster.advance(secs(40.0));
    cluster.set_catch_up_rate(b, 0).unwrap();
    cluster.start(b, None).unwrap();
    cluster.advance(secs(60.0));
    let Some((Harm::Lost { records }, false)) =
        of_first(&cluster.acknowledged_readable_without(&set(&[a])))
    else {
        panic!("not foretold");
    };
    // About 44 s at 100 records a second were acknowledged by the leader alone.
    assert!((4_000..5_600).contains(&records), "{records}");
    let before = cluster.acknowledged("orders", 0).unwrap();
    cluster.kill(a).unwrap();
    cluster.advance(secs(75.0));
    let lost = cluster.lost_records();
    let lost = lost.get(&("orders".into(), 0)).copied().unwrap();
    assert!(lost.abs_diff(records) <= 1, "{lost} {records}");
    let partition = cluster.committed_image().partition("orders", 0).unwrap();
    assert_eq!(
        (partition.leader, partition.isr.as_slice()),
        (Some(b), &[b][..])
    );
    assert!(cluster.acknowledged("orders", 0).unwrap() > before - records);
}

/// Kills `b` and then `c` of a partition with min ISR 2, so that `a` is alone.
fn alone(elr: bool, c_clean: bool) -> (Cluster, [i32; 3]) {
    let mut spec = one_topic(Release::V4_3, 3, 2);
    spec.elr = elr;
    let mut cluster = healthy(spec);
    let replicas = cluster
        .committed_image()
        .partition("orders", 0)
        .unwrap()
        .replicas
        .clone();
    let [a, b, c] = replicas[..] else { panic!() };
    cluster.kill(b).unwrap();
    cluster.advance(secs(30.0));
    if c_clean {
        cluster.stop(c).unwrap();
    } else {
        cluster.kill(c).unwrap();
    }
    cluster.advance(secs(50.0));
    (cluster, [a, b, c])
}

#[test]
fn below_min_isr_who_was_in_sync_stays_eligible_and_can_lead() {
    let (mut cluster, [a, _, c]) = alone(true, true);
    let first = |cluster: &Cluster| {
        let partition = cluster.committed_image().partition("orders", 0).unwrap();
        (
            partition.isr.clone(),
            partition.elr.clone(),
            partition.leader,
        )
    };
    assert_eq!(first(&cluster), (vec![a], vec![c], Some(a)));
    let acknowledged = cluster.acknowledged("orders", 0).unwrap();
    cluster.kill(a).unwrap();
    cluster.advance(secs(70.0));
    // With ELR the ISR may be empty; nobody leads.
    let mut both = vec![a, c];
    both.sort_unstable();
    assert_eq!(first(&cluster), (vec![], both, None));
    assert!(lacking(&cluster, first_up(&cluster)).1 > 0);
    // The one that stopped cleanly holds everything that was acknowledged.
    cluster.start(c, None).unwrap();
    until(&mut cluster, 100.0, |cluster| first(cluster).2 == Some(c));
    assert_eq!(first(&cluster).0, [c]);
    assert!(cluster.lost_records().is_empty());
    assert_eq!(
        cluster.acknowledged("orders", 0),
        Some(acknowledged),
        "alone it acknowledges nothing"
    );
    let elections: u64 = cluster
        .nodes
        .values()
        .map(|node| node.eligible_elections)
        .sum();
    assert!(elections > 0);
}

fn first_up(cluster: &Cluster) -> i32 {
    (1..=4)
        .find(|id| cluster.process_start(*id).is_some())
        .unwrap()
}

#[test]
fn after_a_kill_it_is_not_eligible_and_the_last_leader_has_to_come_back() {
    let (mut cluster, [a, _, c]) = alone(true, false);
    cluster.kill(a).unwrap();
    cluster.advance(secs(70.0));
    cluster.start(c, None).unwrap();
    cluster.advance(secs(90.0));
    let first = |cluster: &Cluster| {
        let partition = cluster.committed_image().partition("orders", 0).unwrap();
        (partition.elr.clone(), partition.leader)
    };
    assert_eq!(
        first(&cluster),
        (vec![a], None),
        "its page cache may be gone"
    );
    cluster.start(a, None).unwrap();
    until(&mut cluster, 130.0, |cluster| first(cluster).1 == Some(a));
    assert!(cluster.lost_records().is_empty());
    until(&mut cluster, 400.0, |cluster| {
        let image = cluster.committed_image();
        image.partition("orders", 0).unwrap().isr.len() == 2
    });
}

#[test]
fn without_elr_the_last_member_stays_in_the_isr() {
    let (mut cluster, [a, _, c]) = alone(false, true);
    cluster.kill(a).unwrap();
    cluster.advance(secs(70.0));
    cluster.start(c, None).unwrap();
    cluster.advance(secs(90.0));
    let partition = cluster.committed_image().partition("orders", 0).unwrap();
    assert_eq!(
        (partition.isr.as_slice(), partition.leader),
        (&[a][..], None)
    );
    let up = first_up(&cluster);
    let shown = metadata(&cluster, up);
    assert_eq!(shown.topics[0].partitions[0].leader_id.0, -1);
    let now = cluster.acknowledged_readable_without(&BTreeSet::new());
    assert_eq!(of_first(&now), Some((Harm::Offline, false)));
}
