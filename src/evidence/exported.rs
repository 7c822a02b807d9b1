//! Which node has which of Kafka's MBeans on its page (reference `kafka-jmx-metrics.md` 3.1).

use super::aggregate::Mode;
use super::ids::Role;
use super::jmx::Metric;

/// How much a node in this role needs to export a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Without it the page cannot speak for the node's health.
    Required,
    /// Its absence makes the gate see less, later or with fewer words. Many rules files drop it,
    /// or only newer releases have it.
    Optional,
    /// It is there only at times; its absence says nothing.
    AtTimes,
    /// A node in this role never has it.
    NotThere,
}

/// The need of a metric for a node in this role and mode (reference `kafka-jmx-metrics.md` 3.1:
/// which node exposes what).
pub const fn need(metric: Metric, role: Role, mode: Mode) -> Need {
    match (mode, role.broker, role.controller) {
        // Every ZooKeeper broker has the controller's beans and may become it.
        (Mode::ZooKeeper, _, _) | (Mode::Kraft, true, true) => {
            stronger(on_broker(metric, mode), on_controller(metric, mode))
        }
        (Mode::Kraft, true, false) => on_broker(metric, mode),
        (Mode::Kraft, false, true) => on_controller(metric, mode),
        (Mode::Kraft, false, false) => Need::Optional,
    }
}

const fn stronger(a: Need, b: Need) -> Need {
    match (a, b) {
        (Need::Required, _) | (_, Need::Required) => Need::Required,
        (Need::Optional, _) | (_, Need::Optional) => Need::Optional,
        (Need::AtTimes, _) | (_, Need::AtTimes) => Need::AtTimes,
        (Need::NotThere, Need::NotThere) => Need::NotThere,
    }
}

const fn on_broker(metric: Metric, mode: Mode) -> Need {
    match metric {
        Metric::UnderReplicatedPartitions
        | Metric::UnderMinIsrPartitionCount
        | Metric::BrokerState
        | Metric::PartitionCount
        | Metric::LeaderCount => Need::Required,
        Metric::OfflineReplicaCount
        | Metric::ReassigningPartitions
        | Metric::OfflineLogDirectoryCount
        | Metric::FetcherFailedPartitions
        | Metric::FetcherDeadThreads
        | Metric::CurrentControllerId
        | Metric::BytesIn => Need::Optional,
        Metric::RemainingLogsToRecover => Need::AtTimes,
        Metric::ZooKeeperConnects
        | Metric::ZooKeeperDisconnects
        | Metric::ZooKeeperAuthFailures => match mode {
            Mode::Kraft => Need::NotThere,
            Mode::ZooKeeper => Need::Optional,
        },
        Metric::MetadataLoadErrorCount
        | Metric::MetadataApplyErrorCount
        | Metric::MetadataLagMs
        | Metric::RaftCurrentLeader
        | Metric::RaftHighWatermark
        | Metric::RaftLogEndOffset
        | Metric::RaftCurrentEpoch => kraft(mode),
        Metric::OfflinePartitionsCount
        | Metric::ActiveControllerCount
        | Metric::ActiveBrokerCount
        | Metric::FencedBrokerCount
        | Metric::GlobalPartitionCount
        | Metric::PreferredReplicaImbalanceCount
        | Metric::UncleanLeaderElections
        | Metric::MetadataErrorCount => Need::NotThere,
    }
}

const fn on_controller(metric: Metric, mode: Mode) -> Need {
    match metric {
        Metric::OfflinePartitionsCount
        | Metric::ActiveControllerCount
        | Metric::GlobalPartitionCount => Need::Required,
        // KIP-748 brought them to both modes in 3.1.
        Metric::ActiveBrokerCount | Metric::FencedBrokerCount => match mode {
            Mode::Kraft => Need::Required,
            Mode::ZooKeeper => Need::Optional,
        },
        Metric::PreferredReplicaImbalanceCount
        | Metric::UncleanLeaderElections
        | Metric::CurrentControllerId => Need::Optional,
        Metric::MetadataErrorCount
        | Metric::MetadataLagMs
        | Metric::RaftCurrentLeader
        | Metric::RaftHighWatermark
        | Metric::RaftLogEndOffset
        | Metric::RaftCurrentEpoch => kraft(mode),
        Metric::UnderReplicatedPartitions
        | Metric::UnderMinIsrPartitionCount
        | Metric::OfflineReplicaCount
        | Metric::PartitionCount
        | Metric::LeaderCount
        | Metric::ReassigningPartitions
        | Metric::BrokerState
        | Metric::OfflineLogDirectoryCount
        | Metric::RemainingLogsToRecover
        | Metric::FetcherFailedPartitions
        | Metric::FetcherDeadThreads
        | Metric::MetadataLoadErrorCount
        | Metric::MetadataApplyErrorCount
        | Metric::BytesIn
        | Metric::ZooKeeperConnects
        | Metric::ZooKeeperDisconnects
        | Metric::ZooKeeperAuthFailures => Need::NotThere,
    }
}

const fn kraft(mode: Mode) -> Need {
    match mode {
        Mode::Kraft => Need::Optional,
        Mode::ZooKeeper => Need::NotThere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_owes_nothing_of_a_broker() {
        for metric in Metric::ALL.iter().copied() {
            let controller = need(metric, Role::CONTROLLER, Mode::Kraft);
            let broker = need(metric, Role::BROKER, Mode::Kraft);
            let combined = need(metric, Role::COMBINED, Mode::Kraft);
            assert!(
                (controller, broker) != (Need::Required, Need::Required),
                "{metric}"
            );
            assert_eq!(combined, controller.min(broker), "{metric}");
        }
    }
}
