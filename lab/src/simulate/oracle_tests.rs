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
