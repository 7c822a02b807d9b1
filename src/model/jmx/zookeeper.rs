//! What a broker's page has instead of raft and metadata series on ZooKeeper.

use super::page::Lines;
use super::{count, flag, size};
use crate::model::image::Image;
use crate::model::state::{BrokerPhase, Node};
use crate::model::{Cluster, Release};

impl Cluster {
    /// Every broker has the controller's beans; all but the controller say 0 (kafka-lab.md,
    /// section 6), and no raft or metadata series exist.
    pub(super) fn zookeeper_beans(&self, node: &Node, lines: &mut Lines) {
        if node.broker == BrokerPhase::Starting {
            return;
        }
        let active = self.acts_as_controller(node);
        let empty = Image::default();
        let image = if active { node.image.as_ref() } else { &empty };
        let bean = ("kafka.controller", "KafkaController");
        let partitions = || image.partitions().map(|(_, _, _, partition)| partition);
        let offline = partitions().filter(|p| p.leader.is_none()).count();
        let unpreferred =
            partitions().filter(|p| p.leader.is_some() && p.leader != p.replicas.first().copied());
        lines.gauge(bean, "ActiveControllerCount", &[], flag(active));
        lines.gauge(bean, "ControllerState", &[], 0.0);
        lines.gauge(bean, "OfflinePartitionsCount", &[], size(offline));
        let unpreferred = size(unpreferred.count());
        lines.gauge(bean, "PreferredReplicaImbalanceCount", &[], unpreferred);
        let partitions = size(partitions().count());
        lines.gauge(bean, "GlobalPartitionCount", &[], partitions);
        lines.gauge(bean, "GlobalTopicCount", &[], size(image.topics.len()));
        for name in ["TopicsToDeleteCount", "ReplicasToDeleteCount"] {
            lines.gauge(bean, name, &[], 0.0);
        }
        if node.release >= Release::V3_3 {
            // KIP-748, in 3.1; nobody is ever fenced here (`KafkaController`'s gauges).
            let alive = image.brokers.values().filter(|r| !r.fenced).count();
            lines.gauge(bean, "ActiveBrokerCount", &[], size(alive));
            lines.gauge(bean, "FencedBrokerCount", &[], 0.0);
        }
        let stats = ("kafka.controller", "ControllerStats");
        let unclean = count(node.unclean_elections);
        lines.meter(stats, "UncleanLeaderElectionsPerSec", unclean);
        if node.release >= Release::V3_7 {
            let leader = f64::from(node.leader.unwrap_or(-1));
            let loader = ("kafka.server", "MetadataLoader");
            lines.gauge(loader, "CurrentControllerId", &[], leader);
        }
    }
}
