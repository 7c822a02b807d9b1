//! What a node's page has and what it lacks, for people to see at start: absence is normal, but
//! must be known.

use std::fmt;

use crate::evidence::aggregate::Mode;
use crate::evidence::ids::Role;
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;

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

/// What one page has and lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The role and mode it was compared with.
    pub role: Role,
    /// See `role`.
    pub mode: Mode,
    /// Wanted and there.
    pub found: Vec<Metric>,
    /// Required and absent, or not a number.
    pub missing: Vec<Metric>,
    /// Optional and absent, or not a number.
    pub missing_optional: Vec<Metric>,
    /// Whether a start time is there, by which a restart is seen.
    pub start_time: bool,
}

impl Found {
    /// Compares a page with what a node in this role should export.
    pub fn compare(facts: &JmxFacts, role: Role, mode: Mode) -> Self {
        let mut report = Self {
            role,
            mode,
            found: Vec::new(),
            missing: Vec::new(),
            missing_optional: Vec::new(),
            start_time: facts.start_time.value().is_some(),
        };
        for metric in Metric::ALL.iter().copied() {
            match (facts.value(metric), need(metric, role, mode)) {
                (Known::Is(_), _) => report.found.push(metric),
                (_, Need::Required) => report.missing.push(metric),
                (_, Need::Optional) => report.missing_optional.push(metric),
                (_, Need::AtTimes | Need::NotThere) => {}
            }
        }
        report
    }

    /// Whether everything required is there.
    pub fn complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} page: {} metrics found",
            self.role.as_str(),
            self.found.len()
        )?;
        list(f, "missing", &self.missing)?;
        list(f, "missing but optional", &self.missing_optional)?;
        if !self.start_time {
            f.write_str("; no start time: a restart is seen by connections only")?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, metrics: &[Metric]) -> fmt::Result {
    for (index, metric) in metrics.iter().enumerate() {
        if index == 0 {
            write!(f, "; {title}: {metric}")?;
        } else {
            write!(f, ", {metric}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jmx::page::read;
    use crate::jmx::recognise::Recogniser;
    use crate::jmx::scan::Format;

    #[test]
    fn the_report_reads_as_one_line() {
        let page = b"kafka_server_replicamanager_underreplicatedpartitions 0\n\
            kafka_server_replicamanager_underminisrpartitioncount NaN\n\
            kafka_server_replicamanager_leadercount 0\n";
        let facts = read(page, Format::Text, &Recogniser::default()).expect("page");
        let found = Found::compare(&facts, Role::BROKER, Mode::ZooKeeper);
        assert_eq!(
            found.found,
            [Metric::UnderReplicatedPartitions, Metric::LeaderCount]
        );
        let text = found.to_string();
        let start = "broker page: 2 metrics found; missing: UnderMinIsrPartitionCount, \
            PartitionCount, BrokerState, OfflinePartitionsCount, ActiveControllerCount, GlobalPartitionCount; \
            missing but optional: OfflineReplicaCount, ";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.ends_with("; no start time: a restart is seen by connections only"),
            "{text}"
        );
        assert!(!text.contains("current-leader"), "not on ZooKeeper: {text}");
    }

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
