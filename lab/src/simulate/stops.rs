//! A stop that somebody has in mind, and what it would truly break.

use std::collections::{BTreeMap, BTreeSet};

use upgrade_gate::gate::lease::Action;
use upgrade_gate::model::{Cluster, Harmed, NodeId};

use super::oracle::LATE;

/// Nodes that are stopped together, and what for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stop {
    /// Which.
    pub nodes: BTreeSet<NodeId>,
    /// A restart must break nothing; a repair must make nothing worse than it is.
    pub action: Action,
}

impl Stop {
    /// What it would break now, on top of what is gone.
    pub(super) fn breaks(&self, cluster: &Cluster, gone: &BTreeSet<NodeId>) -> Option<String> {
        match self.action {
            Action::Restart => harm(cluster, gone, &self.nodes),
            Action::Repair => worse(cluster, gone, &self.nodes),
        }
    }
}

/// What speaks against each of these.
pub(super) fn of_each(
    stops: &[Stop],
    against: impl Fn(&Stop) -> Option<String>,
) -> BTreeMap<Stop, String> {
    let told = stops
        .iter()
        .filter_map(|stop| Some((stop.clone(), against(stop)?)));
    told.collect()
}

/// What stopping these nodes would break on top of what is gone, beyond what their stop does to a
/// cluster in which nothing is wrong.
pub(super) fn harm(
    cluster: &Cluster,
    gone: &BTreeSet<NodeId>,
    stop: &BTreeSet<NodeId>,
) -> Option<String> {
    let voters = voters(cluster);
    // Two voters that do not reach each other, and of which none leads, show nowhere: followers
    // have nothing to say to each other before an election. So not `quorum_without` on KRaft.
    if voters.len() > 2 && !is_majority(&voters, &silent(cluster, gone), stop) {
        return Some("the quorum loses its majority".to_owned());
    }
    if voters.is_empty() && !cluster.quorum_without(stop) {
        return Some("nobody is left to be the controller".to_owned());
    }
    let harmed = cluster.harmed_without(gone, stop);
    let mut harmed = harmed.into_iter();
    harmed
        .find(|harmed| !is_by_design(cluster, harmed, stop))
        .map(|first| in_words(&first))
}

/// Whether stopping these nodes would leave a partition whose next write nobody acknowledges, since
/// members of its ISR do not reach each other. It shows in the ISR later, and not at all where nobody
/// writes.
pub(super) fn stalls(cluster: &Cluster, gone: &BTreeSet<NodeId>, stop: &BTreeSet<NodeId>) -> bool {
    let stalled = cluster.stalled_without(gone, stop);
    let mut stalled = stalled.iter();
    stalled.any(|harmed| !is_by_design(cluster, harmed, stop))
}

/// What stopping those of these nodes that run would make worse than it is.
fn worse(cluster: &Cluster, gone: &BTreeSet<NodeId>, nodes: &BTreeSet<NodeId>) -> Option<String> {
    let stop: BTreeSet<_> = nodes.difference(gone).copied().collect();
    if stop.is_empty() {
        return None;
    }
    let voters = voters(cluster);
    let none = BTreeSet::new();
    let silent = silent(cluster, gone);
    if is_majority(&voters, &silent, &none) && !is_majority(&voters, &silent, &stop) {
        return Some("the quorum loses its majority".to_owned());
    }
    let before = cluster.harmed_without(gone, &none).into_iter();
    let before: BTreeMap<_, _> = before.map(|it| (it.partition, it.harm)).collect();
    let is_new = |after: &Harmed| {
        let was = before.get(&after.partition);
        was.is_none_or(|was| *was < after.harm) && !is_by_design(cluster, after, &stop)
    };
    let mut after = cluster.harmed_without(gone, &stop).into_iter();
    after.find(is_new).map(|first| in_words(&first))
}

/// With nobody to elect leaders a repair takes away what its node leads.
pub(super) fn unled(cluster: &Cluster, down: &BTreeSet<NodeId>, stop: &Stop) -> Option<String> {
    if stop.action == Action::Restart {
        return Some("no controller can commit".to_owned());
    }
    let led = |leader: Option<NodeId>| {
        leader.is_some_and(|node| stop.nodes.contains(&node) && !down.contains(&node))
    };
    let mut partitions = cluster.committed_image().partitions();
    let found = partitions.find(|(.., partition)| led(partition.leader));
    found.map(|(topic, index, ..)| format!("{topic}-{index} without a leader, and none elected"))
}

fn voters(cluster: &Cluster) -> BTreeSet<NodeId> {
    let nodes = cluster.spec().nodes.iter();
    let voters = nodes.filter(|node| node.roles.controller);
    voters.map(|node| node.id).collect()
}

/// Those of them that do not vote: one that only publishes late what it has fetched does.
fn silent(cluster: &Cluster, gone: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    gone.difference(&cluster.late_brokers(LATE))
        .copied()
        .collect()
}

fn is_majority(
    voters: &BTreeSet<NodeId>,
    gone: &BTreeSet<NodeId>,
    stop: &BTreeSet<NodeId>,
) -> bool {
    let left = voters.difference(gone).filter(|id| !stop.contains(id));
    left.count() * 2 > voters.len()
}

/// Only one replica's stop can be the topic's own doing: two at once are the caller's.
fn is_by_design(cluster: &Cluster, harmed: &Harmed, stop: &BTreeSet<NodeId>) -> bool {
    let (name, index) = &harmed.partition;
    let mut partitions = cluster.committed_image().partitions();
    let found = partitions.find(|(topic, i, ..)| *topic == name && i == index);
    let stopped = found.map_or(0, |(.., partition)| {
        let replicas = partition.replicas.iter();
        replicas.filter(|id| stop.contains(id)).count()
    });
    harmed.structural && stopped <= 1
}

fn in_words(harmed: &Harmed) -> String {
    let (topic, index) = &harmed.partition;
    format!("{topic}-{index}: {:?}", harmed.harm)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use upgrade_gate::evidence::policy::Mode;
    use upgrade_gate::model::{Release, Spec, TopicSpec};

    use super::super::oracle::Truth;
    use super::*;

    /// Three brokers (1 to 3) and three controllers (101 to 103); three replicas, of which two have to
    /// be in sync. These are killed.
    fn cluster(killed: &[NodeId]) -> (Cluster, BTreeSet<NodeId>) {
        let topic = TopicSpec::new("orders", 3, 3).rate(10).min_isr(2);
        let spec = Spec::kraft(3, 3, Release::V4_1).topics(vec![topic]);
        let mut cluster = Cluster::new(spec).unwrap();
        cluster.advance(Duration::from_secs(30));
        for id in killed {
            cluster.kill(*id).unwrap();
        }
        cluster.advance(Duration::from_secs(60));
        (cluster, killed.iter().copied().collect())
    }

    fn breaks(killed: &[NodeId], action: Action, nodes: &[NodeId]) -> Option<String> {
        let (cluster, gone) = cluster(killed);
        let nodes = nodes.iter().copied().collect();
        Stop { nodes, action }.breaks(&cluster, &gone)
    }

    #[test]
    fn two_brokers_at_once_are_nobodys_design() {
        assert_eq!(breaks(&[], Action::Restart, &[1]), None);
        assert_eq!(breaks(&[], Action::Restart, &[1, 101]), None);
        let both = breaks(&[], Action::Restart, &[1, 2]).unwrap();
        assert!(both.contains("UnderMinIsr"), "{both}");
        let voters = breaks(&[], Action::Restart, &[101, 102]).unwrap();
        assert!(voters.contains("majority"), "{voters}");
    }

    /// They have fetched everything, and what they are given to lead they know 20 s later.
    #[test]
    fn brokers_that_learn_late_what_they_lead_count_as_gone() {
        let (mut cluster, _) = cluster(&[]);
        let truth = |cluster: &Cluster, mode| Truth::of(cluster, &BTreeSet::new(), mode, &[]);
        for id in [2, 3] {
            let lag = Duration::from_secs(20);
            cluster.set_metadata_lag(id, lag).unwrap();
        }
        cluster.advance(Duration::from_secs(62));
        assert!(truth(&cluster, Mode::Kafka).is_safe(), "not for long");
        cluster.advance(Duration::from_secs(63));
        let is = truth(&cluster, Mode::Kafka);
        assert_eq!(is.late, BTreeSet::from([2, 3]));
        assert!(is.down.is_empty(), "all of them answer");
        let offline = is.of_node.get(&1).expect("nobody else would lead");
        assert!(offline.contains("Offline"), "{offline}");
        assert!(is.of_node.values().all(|why| !why.contains("majority")));
        // Pages show only what is later still.
        assert!(truth(&cluster, Mode::Jmx).is_safe());
        for id in [2, 3] {
            cluster.set_metadata_lag(id, Duration::ZERO).unwrap();
        }
        assert!(truth(&cluster, Mode::Kafka).is_safe());
    }

    #[test]
    fn a_repair_is_judged_by_what_it_makes_worse() {
        assert_eq!(breaks(&[1], Action::Repair, &[1]), None);
        assert!(breaks(&[1], Action::Repair, &[2]).is_some());
        assert!(breaks(&[1], Action::Restart, &[2]).is_some());
        assert_eq!(breaks(&[1], Action::Repair, &[101]), None);
        assert!(breaks(&[101], Action::Repair, &[102]).is_some());
    }
}
