//! Anything may be done at any time: the truth stays sound, nothing acknowledged is lost, and
//! when all is mended the cluster heals.

use super::{Cluster, Listener, Release, Spec, lacking, secs};
use crate::model::state::Random;
use crate::model::{Link, NodeId, TopicSpec};

fn spec(seed: u64) -> Spec {
    let release = [Release::V3_5, Release::V3_9, Release::V4_3][seed as usize % 3];
    let spec = match seed % 5 {
        4 => Spec::zookeeper(
            3,
            [Release::V2_8, Release::V3_7, Release::V3_9][seed as usize % 3],
        ),
        0 => Spec::combined(3, release),
        1 => Spec::kraft(3, 5, release),
        2 => Spec::kraft(1, 3, release),
        _ => Spec::kraft(3, 3, release),
    };
    let topics = vec![
        TopicSpec::new("one", 3, 1).rate(5),
        TopicSpec::new("two", 6, 2).rate(50).min_isr(1),
        TopicSpec::new("three", 9, 3).rate(500),
    ];
    spec.topics(topics).seed(seed)
}

fn operate(cluster: &mut Cluster, random: &mut Random) {
    let ids: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    let mut pick = || ids[random.next() as usize % ids.len()];
    let (a, b) = (pick(), pick());
    // Operations that make no sense right now are refused, which is fine here.
    let _ = match random.next() % 10 {
        0 => cluster.kill(a),
        1 => cluster.stop(a),
        2 | 3 => cluster.start(a, None),
        4 => cluster.freeze(a),
        5 => cluster.thaw(a),
        6 if a != b => cluster.cut(a, b),
        7 => cluster.mend(a, b),
        8 => cluster.set_catch_up_rate(a, 100 * (random.next() % 20)),
        _ => cluster.set_rate("three", random.next() % 2_000),
    };
}

fn mend(cluster: &mut Cluster) {
    let ids: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    for a in &ids {
        let _ = cluster.thaw(*a);
        cluster.set_catch_up_rate(*a, 1_000_000).unwrap();
        for b in &ids {
            cluster.mend(*a, *b).unwrap();
        }
    }
    // Whatever is still stopping gets the time to end.
    for _ in 0..15 {
        cluster.advance(cluster.elapsed() + secs(2.0));
        for id in &ids {
            let _ = cluster.start(*id, None);
        }
    }
}

/// Soundness of the truth; `acknowledged` are the high watermarks so far, which never fall.
fn check(cluster: &Cluster, acknowledged: &mut Vec<u64>) {
    let mut marks = Vec::new();
    for (name, index, _, partition) in cluster.image.partitions() {
        assert!(
            !partition.isr.is_empty() || cluster.spec.elr,
            "{name}-{index}"
        );
        assert!(
            partition
                .isr
                .iter()
                .all(|id| partition.replicas.contains(id))
        );
        if let Some(leader) = partition.leader {
            assert!(partition.isr.contains(&leader));
            // On ZooKeeper a last member leads until its session ends.
            let leaving = cluster.spec.zookeeper && partition.isr == [leader];
            let active = cluster.image.brokers[&leader].active();
            assert!(active || leaving, "{name}-{index}");
        }
        for id in partition.isr.iter().filter(|_| partition.isr.len() > 1) {
            assert!(cluster.image.brokers[id].active(), "{name}-{index}");
        }
        let log = cluster.log_now(&(name.clone(), index)).unwrap();
        for id in &partition.isr {
            assert!(
                log.replicas[id].end >= log.high_watermark,
                "{name}-{index} lost records"
            );
        }
        for id in &partition.elr {
            assert!(
                log.replicas[id].end >= log.acknowledged,
                "{name}-{index} {id} is eligible and lacks records"
            );
        }
        assert_eq!(log.lost, 0, "{name}-{index}");
        marks.push(log.acknowledged);
    }
    if !acknowledged.is_empty() {
        assert!(
            marks
                .iter()
                .zip(acknowledged.iter())
                .all(|(now, then)| now >= then)
        );
    }
    let _ = cluster.jmx_page(1);
    *acknowledged = marks;
    for node in cluster.nodes.values() {
        assert!(node.image.offset <= cluster.image.offset);
    }
}

/// The partitions that lack replicas, for the message of a failure.
fn why(cluster: &Cluster) -> String {
    let lacking = cluster
        .image
        .partitions()
        .filter(|(_, _, _, p)| p.isr.len() < p.replicas.len());
    let list = lacking.map(|(name, index, _, partition)| {
        let log = cluster.log_now(&(name.clone(), index));
        format!("{name}-{index} {partition:?} {log:?}\n")
    });
    let nodes = cluster.nodes.values().map(|node| {
        (
            node.spec.id,
            node.process,
            node.broker,
            node.position,
            node.image.offset,
        )
    });
    let nodes: Vec<_> = nodes.collect();
    format!(
        "{}\n{nodes:?}\n{:?}",
        list.collect::<String>(),
        cluster.image.brokers
    )
}

#[test]
fn the_truth_stays_sound_and_everything_heals() {
    for seed in 0..60 {
        let mut cluster = Cluster::new(spec(seed)).unwrap();
        let mut random = Random(seed + 1_000);
        let mut acknowledged = Vec::new();
        for _ in 0..60 {
            operate(&mut cluster, &mut random);
            let step = random.between((10, 8_000));
            cluster.advance(cluster.elapsed() + std::time::Duration::from_millis(step));
            check(&cluster, &mut acknowledged);
        }
        mend(&mut cluster);
        cluster.advance(cluster.elapsed() + secs(90.0));
        check(&cluster, &mut acknowledged);
        assert!(cluster.active_controller().is_some(), "seed {seed}");
        let brokers = cluster.nodes.values().filter(|node| node.spec.roles.broker);
        for id in brokers.map(|node| node.spec.id) {
            assert_eq!(
                cluster.link(id, Listener::Broker),
                Link::Accepts,
                "seed {seed}: {id} {}",
                why(&cluster)
            );
            assert_eq!(
                lacking(&cluster, id),
                (0, 0),
                "seed {seed}: {id} {}",
                why(&cluster)
            );
        }
    }
}
