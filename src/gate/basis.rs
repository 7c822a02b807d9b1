//! What the healthy window is built from, read from the nodes' own settings.

use std::time::Duration;

use super::window::Basis;
use crate::checks::table::Evaluation;
use crate::evidence::ids::NodeId;
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

/// A setting in milliseconds, with Kafka's own default.
struct Setting {
    key: &'static str,
    default: Duration,
}

const REPLICA_LAG: Setting = Setting {
    key: "replica.lag.time.max.ms",
    default: Duration::from_secs(30),
};
const KRAFT_SESSION: Setting = Setting {
    key: "broker.session.timeout.ms",
    default: Duration::from_secs(9),
};
const ZOOKEEPER_SESSION: Setting = Setting {
    key: "zookeeper.session.timeout.ms",
    default: Duration::from_secs(18),
};

impl Setting {
    /// The largest value among these nodes; one that does not tell its own counts with the
    /// default.
    fn largest(&self, snapshot: &Snapshot<'_>, nodes: impl Iterator<Item = NodeId>) -> Duration {
        nodes
            .map(|node| self.of(snapshot, node).unwrap_or(self.default))
            .max()
            .unwrap_or(self.default)
    }

    fn of(&self, snapshot: &Snapshot<'_>, node: NodeId) -> Option<Duration> {
        let millis = snapshot.node_configs(node).ok()?.facts.number(self.key)?;
        u64::try_from(millis).ok().map(Duration::from_millis)
    }
}

/// The basis of the window as of this snapshot.
pub(super) fn basis(snapshot: &Snapshot<'_>, evaluation: &Evaluation) -> Basis {
    // On KRaft the controllers keep the brokers' sessions, so that their setting counts as well.
    let nodes = || snapshot.expected.keys().copied();
    let session = match snapshot.kind {
        ClusterKind::KRaft => KRAFT_SESSION.largest(snapshot, nodes()),
        ClusterKind::ZooKeeper => ZOOKEEPER_SESSION.largest(snapshot, snapshot.brokers()),
        ClusterKind::Unknown => {
            let kraft = KRAFT_SESSION.largest(snapshot, nodes());
            kraft.max(ZOOKEEPER_SESSION.largest(snapshot, nodes()))
        }
    };
    let tables = snapshot.reports_of(FactKind::Partitions).iter();
    let interval = tables.map(|report| report.every).max();
    Basis {
        lag_max: REPLICA_LAG.largest(snapshot, snapshot.brokers()),
        session,
        interval: interval.unwrap_or(Duration::from_secs(1)),
        progress_proven: evaluation.progress_proven,
        shortest: snapshot.policy.shortest_window,
        controller_changed: snapshot.memory.controller_changed(),
    }
}
