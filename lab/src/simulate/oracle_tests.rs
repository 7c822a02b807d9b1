use upgrade_gate::gate::lease::Action;
use upgrade_gate::model::{Release, Spec, TopicSpec};

use super::*;

/// Without ZooKeeper a stop leaves partitions without a leader: that counts once it shows, and until then
/// neither for one node nor for a stop that somebody has in mind.
#[test]
fn that_zookeeper_is_gone_counts_once_it_shows() {
    let topics = vec![TopicSpec::new("orders", 6, 3)];
    let spec = Spec::zookeeper(3, Release::V3_9).topics(topics);
    let mut cluster = Cluster::new(spec).unwrap();
    let stop = Stop {
        nodes: BTreeSet::from([2]),
        action: Action::Restart,
    };
    let truth = |cluster: &Cluster| {
        let stops = [stop.clone()];
        Truth::of(cluster, &BTreeSet::new(), Mode::Kafka, &stops)
    };
    cluster.advance(Duration::from_secs(5));
    cluster.set_zookeeper_down(true);
    let at = Duration::from_secs(5) + ZOOKEEPER_SHOWS;
    cluster.advance(at - Duration::from_millis(50));
    let hidden = truth(&cluster);
    assert!(hidden.is_safe() && hidden.of_stop.is_empty(), "{hidden:?}");
    cluster.advance(at);
    let shown = truth(&cluster);
    assert_eq!(shown.of_node.len(), 3, "{shown:?}");
    assert!(
        shown.against(&stop).is_some() && shown.down.is_empty(),
        "{shown:?}"
    );
    cluster.set_zookeeper_down(false);
    assert!(truth(&cluster).is_safe());
}

/// A controller that is down makes stops of others harmful; those of brokers only once one of these is
/// down as well. Both are one false open.
#[test]
fn a_false_open_about_controllers_alone_is_none_of_brokers() {
    let topic = TopicSpec::new("orders", 3, 3).rate(10).min_isr(2);
    let spec = Spec::kraft(3, 3, Release::V4_1).topics(vec![topic]);
    let mut cluster = Cluster::new(spec).unwrap();
    let mut oracle = Oracle::new(Standard::Harm, Mode::KafkaJmx);
    let active = cluster.active_controller();
    let follower = [101, 102, 103].into_iter().find(|id| Some(*id) != active);
    let said = Said {
        open: true,
        nodes: Vec::new(),
    };
    let mut lies = Vec::new();
    for second in 0..90 {
        let now = Duration::from_secs(second);
        cluster.advance(now);
        match second {
            20 => cluster.kill(follower.unwrap()).unwrap(),
            50 => cluster.kill(1).unwrap(),
            _ => {}
        }
        let truth = Truth::of(&cluster, &BTreeSet::new(), Mode::KafkaJmx, &[]);
        oracle.judge(now, Arc::new(truth), &cluster, &said);
        if [19, 49, 89].contains(&second) {
            lies.push(oracle.lies.clone());
        }
    }
    let of_brokers = |lies: &Vec<FalseOpen>| -> Vec<bool> {
        let lies = lies.iter();
        lies.map(|lie| lie.of_brokers).collect()
    };
    let of_brokers: Vec<_> = lies.iter().map(of_brokers).collect();
    assert_eq!(of_brokers, [vec![], vec![false], vec![true]], "{lies:?}");
}
