//! Which nodes are truly not back, and since when: what the end of a lease is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_gate::model::{Cluster, Image, NodeId};

use super::oracle::{Oracle, Truth};

/// The nodes that are not back.
#[derive(Debug, Default)]
pub struct Away {
    since: BTreeMap<NodeId, Duration>,
    /// What the world was like at the last look.
    version: Option<u64>,
}

impl Away {
    /// Looks at the model itself.
    pub fn look(&mut self, now: Duration, version: u64, truth: &Truth, cluster: &Cluster) {
        if self.version.replace(version) == Some(version) {
            return;
        }
        let away = not_back(cluster, &truth.down);
        self.since.retain(|node, _| away.contains(node));
        for node in away {
            self.since.entry(node).or_insert(now);
        }
    }

    /// From which moment on the gate had to know of each.
    pub fn known(&self, oracle: &Oracle) -> BTreeMap<NodeId, Duration> {
        let known = |(node, since): (&NodeId, &Duration)| (*node, oracle.known_by(*node, *since));
        self.since.iter().map(known).collect()
    }
}

/// Nodes that are down, and brokers that are fenced or miss in an ISR they belong to.
///
/// The last two show in metadata alone, and "what nothing shows counts once it shows": so not before
/// every other broker that serves tells of it, whichever of them the gate asks.
fn not_back(cluster: &Cluster, down: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let brokers = cluster.spec().nodes.iter();
    let brokers = brokers.filter(|node| node.roles.broker).map(|node| node.id);
    let brokers: Vec<NodeId> = brokers.collect();
    let told = |node: NodeId| {
        let others = brokers
            .iter()
            .filter(|id| **id != node && !down.contains(id));
        let mut images = others.filter_map(|id| cluster.published_image(*id));
        is_out(cluster.committed_image(), node) && images.all(|image| is_out(image, node))
    };
    let missed = brokers.iter().copied();
    let missed = missed.filter(|node| cluster.belongs(*node) && told(*node));
    missed.chain(down.iter().copied()).collect()
}

/// Whether a broker is fenced by these metadata, or not in every ISR that it belongs to. A replica
/// that a move adds belongs to none yet.
fn is_out(image: &Image, node: NodeId) -> bool {
    let mut partitions = image.partitions();
    !image.alive(node)
        || partitions.any(|(.., partition)| {
            let adds = partition.adding.contains(&node);
            partition.replicas.contains(&node) && !adds && !partition.isr.contains(&node)
        })
}

#[cfg(test)]
mod tests {
    use upgrade_gate::evidence::policy::Mode;
    use upgrade_gate::model::{Release, Spec, TopicSpec};

    use super::*;
    use crate::simulate::oracle::Standard;

    /// Three brokers (1 to 3) and three controllers (101 to 103), and what is in every ISR.
    fn cluster() -> Cluster {
        let topic = TopicSpec::new("orders", 3, 3).rate(10).min_isr(2);
        let spec = Spec::kraft(3, 3, Release::V4_1).topics(vec![topic]);
        let mut cluster = Cluster::new(spec).unwrap();
        cluster.advance(Duration::from_secs(30));
        cluster
    }

    #[test]
    fn a_broker_is_back_when_it_is_in_every_isr_again() {
        let none = BTreeSet::new();
        let mut cluster = cluster();
        assert_eq!(not_back(&cluster, &none), none);
        cluster.kill(2).unwrap();
        // By what the oracle sees of its listener, at once; by metadata, once it is fenced.
        assert_eq!(not_back(&cluster, &none), none);
        assert_eq!(
            not_back(&cluster, &cluster.not_serving()),
            BTreeSet::from([2])
        );
        cluster.advance(Duration::from_secs(90));
        assert_eq!(not_back(&cluster, &none), BTreeSet::from([2]));
        cluster.start(2, None).unwrap();
        cluster.advance(Duration::from_secs(150));
        assert_eq!(not_back(&cluster, &none), none);
    }

    #[test]
    fn what_one_broker_has_not_heard_of_shows_nowhere_yet() {
        let none = BTreeSet::new();
        let mut cluster = cluster();
        cluster
            .set_metadata_lag(3, Duration::from_secs(60))
            .unwrap();
        cluster.kill(2).unwrap();
        cluster.advance(Duration::from_secs(50));
        assert!(is_out(cluster.committed_image(), 2));
        assert_eq!(not_back(&cluster, &none), none);
        cluster.advance(Duration::from_secs(180));
        assert_eq!(not_back(&cluster, &none), BTreeSet::from([2]));
    }

    #[test]
    fn the_gate_had_to_know_within_what_it_is_allowed() {
        let mut cluster = cluster();
        let truth = |cluster: &Cluster| Truth {
            down: cluster.not_serving(),
            ..Truth::default()
        };
        let mut oracle = Oracle::new(Standard::EveryNodeUp, Mode::Kafka);
        let mut away = Away::default();
        let at = Duration::from_secs;
        away.look(at(30), 1, &truth(&cluster), &cluster);
        assert_eq!(away.known(&oracle), BTreeMap::new());
        cluster.kill(2).unwrap();
        away.look(at(31), 2, &truth(&cluster), &cluster);
        away.look(at(40), 3, &truth(&cluster), &cluster);
        assert_eq!(away.known(&oracle), BTreeMap::from([(2, at(33))]));
        oracle.killed(2, at(31));
        let soon = at(31) + Duration::from_millis(100);
        assert_eq!(away.known(&oracle), BTreeMap::from([(2, soon)]));
    }
}
