//! What the healthy window is built from, read from the nodes' own settings.

use std::time::Duration;

use super::window::Basis;
use crate::checks::table::Evaluation;
use crate::evidence::facts::NodeConfigs;
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

/// A setting in milliseconds, with Kafka's own default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// What a node has that does not tell its own.
    pub default: Duration,
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
        self.read(snapshot.node_configs(node).ok()?.facts)
    }

    /// What a node's own configuration says.
    pub fn read(&self, configs: &NodeConfigs) -> Option<Duration> {
        let millis = configs.number(self.key)?;
        u64::try_from(millis).ok().map(Duration::from_millis)
    }
}

/// The settings of a node that the window is built from. On KRaft the controllers keep the brokers'
/// sessions, so that their setting counts as well.
pub fn settings_of(kind: ClusterKind, role: Role) -> Vec<Setting> {
    let session: &[Setting] = match (kind, role.broker) {
        (ClusterKind::KRaft, _) => &[KRAFT_SESSION],
        (ClusterKind::ZooKeeper, true) => &[ZOOKEEPER_SESSION],
        (ClusterKind::ZooKeeper, false) => &[],
        (ClusterKind::Unknown, _) => &[KRAFT_SESSION, ZOOKEEPER_SESSION],
    };
    let lag = role.broker.then_some(REPLICA_LAG);
    lag.into_iter().chain(session.iter().copied()).collect()
}

/// The basis of the window as of this snapshot.
pub(super) fn basis(snapshot: &Snapshot<'_>, evaluation: &Evaluation) -> Basis {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::table::evaluate;
    use crate::evidence::scene::Scene;

    #[test]
    fn the_settings_of_each_node_are_those_that_the_basis_is_made_of() {
        for scene in [
            Scene::healthy_kraft(),
            Scene::healthy_combined(),
            Scene::healthy_zookeeper(),
            Scene::healthy_jmx(),
        ] {
            scene.snapshot(|snapshot| {
                let basis = basis(snapshot, &evaluate(snapshot, snapshot));
                let largest = |of_lag: bool| {
                    let nodes = snapshot.expected.iter().flat_map(|(node, expected)| {
                        let settings = settings_of(snapshot.kind, expected.role).into_iter();
                        settings.map(|setting| (*node, setting))
                    });
                    let wanted = nodes.filter(|(_, it)| (*it == REPLICA_LAG) == of_lag);
                    let value =
                        |(node, it): (NodeId, Setting)| it.of(snapshot, node).unwrap_or(it.default);
                    wanted.map(value).max().unwrap()
                };
                assert_eq!(
                    (basis.lag_max, basis.session),
                    (largest(true), largest(false))
                );
            });
        }
    }
}
