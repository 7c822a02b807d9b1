//! What a gate does not see in the way it is set up, and what stands in for it. Shown with the
//! verdict, by `doctor` and in `docs/degraded.md`: whoever relies on "open" has to know what it
//! rests on.

use serde::Serialize;

use crate::evidence::policy::Weight;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

use super::zookeeper;

/// One thing that is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BlindSpot {
    /// Its name in the API and the docs.
    pub id: &'static str,
    /// What is not seen, or not promised.
    pub unseen: &'static str,
    /// What the verdict rests on in its place.
    pub instead: &'static str,
    /// What can be added to see it; whatever source is named is required from then on.
    pub optional: &'static str,
}

/// Mode `kafka`.
pub const NO_PAGES: BlindSpot = BlindSpot {
    id: "no_pages",
    unseen: "broker states, log recovery, dead fetchers, late heartbeats, start times",
    instead: "the Kafka protocol alone; without start times every blip of a connection starts the \
              window anew",
    optional: "exporters, with mode kafka+jmx: of some nodes or of all",
};

/// Mode `jmx`.
pub const NO_PROTOCOL: BlindSpot = BlindSpot {
    id: "no_protocol",
    unseen: "single partitions, replica progress, reassignments, brokers' settings, voters that \
             are cut off: no what-if, so no word on one node in particular: sets of brokers, and of \
             controllers without which no majority is left, are unknown, and a node is repaired \
             only where its exporter's port is shut or its page says that the broker starts",
    instead: "sums over pages that are up to 20 s old, and the window of stock settings",
    optional: "the Kafka protocol, with mode kafka+jmx and kafka.bootstrap",
};

/// `kafka.via_brokers`.
pub const REMOTE_CONTROLLERS: BlindSpot = BlindSpot {
    id: "remote_controllers",
    unseen: "whether a controller answers, its release and its process, and whether the active one still commits",
    instead: "the quorum leader's word of each voter, some 2 s later",
    optional: "exporters of controllers, under jmx.targets; the controllers themselves without kafka.via_brokers",
};

/// No controller has an exporter that the gate knows.
pub const NO_CONTROLLER_PAGES: BlindSpot = BlindSpot {
    id: "no_controller_pages",
    unseen: "late heartbeats, and what the active controller counts: offline partitions, fenced brokers",
    instead: "partition tables and registrations, as two brokers tell them",
    optional: "exporters of controllers, under jmx.targets",
};

/// Some broker has no exporter that the gate knows.
pub const MISSING_PAGES: BlindSpot = BlindSpot {
    id: "missing_pages",
    unseen: "the state, log recovery and start time of brokers without a JMX target",
    instead: "the Kafka protocol for these brokers",
    optional: "exporters of these brokers, under jmx.targets",
};

/// On ZooKeeper: some broker's page does not count its connections with it, or is not read.
pub const ZOOKEEPER_UNSEEN: BlindSpot = BlindSpot {
    id: "zookeeper_unseen",
    unseen: "whether brokers that no page tells of still have ZooKeeper: without it nobody elects leaders, \
             and nothing else shows that",
    instead: "one question in 5 s to two brokers whose answer needs ZooKeeper, so up to 10 s later; in mode \
              jmx nothing",
    optional: "ZooKeeperSyncConnectsPerSec, ZooKeeperDisconnectsPerSec and ZooKeeperAuthFailuresPerSec \
               (SessionExpireListener), the last one 0, on every broker's page",
};

/// `policy.window`.
pub const FIXED_WINDOW: BlindSpot = BlindSpot {
    id: "fixed_window",
    unseen: "whether the window is long enough for these brokers' settings",
    instead: "policy.window, as it was set by hand",
    optional: "nothing; without policy.window it follows the brokers' settings",
};

/// `policy.degraded: warn`.
pub const DEGRADED_WARNS: BlindSpot = BlindSpot {
    id: "degraded_warns",
    unseen: "nothing; but a repair of a living node is only warned of what one node's stop takes \
             away beside what is missing already",
    instead: "whoever set policy.degraded to warn",
    optional: "nothing; it is about the verdict, not about evidence",
};

/// Every blind spot there is.
pub const ALL: [BlindSpot; 8] = [
    NO_PAGES,
    NO_PROTOCOL,
    REMOTE_CONTROLLERS,
    NO_CONTROLLER_PAGES,
    MISSING_PAGES,
    ZOOKEEPER_UNSEEN,
    FIXED_WINDOW,
    DEGRADED_WARNS,
];

/// What this gate does not see of this cluster.
pub fn blind_spots(snapshot: &Snapshot<'_>) -> Vec<BlindSpot> {
    let policy = snapshot.policy;
    let (kafka, jmx) = (policy.mode.kafka(), policy.mode.jmx());
    let unwanted = |node| !snapshot.wants_page(node);
    let kraft = snapshot.kind == ClusterKind::KRaft;
    let has_controllers = snapshot.controllers().next().is_some();
    let found = [
        (!jmx, NO_PAGES),
        (!kafka, NO_PROTOCOL),
        (policy.via_brokers, REMOTE_CONTROLLERS),
        (
            jmx && kraft && has_controllers && snapshot.controllers().all(unwanted),
            NO_CONTROLLER_PAGES,
        ),
        (jmx && snapshot.brokers().any(unwanted), MISSING_PAGES),
        (zookeeper::is_unseen(snapshot), ZOOKEEPER_UNSEEN),
        (policy.window.is_some(), FIXED_WINDOW),
        (policy.degraded == Weight::Warn, DEGRADED_WARNS),
    ];
    found
        .into_iter()
        .filter_map(|(is_one, spot)| is_one.then_some(spot))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::evidence::jmx::Metric;
    use crate::evidence::policy::Mode;
    use crate::evidence::scene::{Scene, set};

    fn ids(scene: &Scene) -> Vec<&'static str> {
        let spots = scene.snapshot(blind_spots);
        spots.iter().map(|spot| spot.id).collect()
    }

    #[test]
    fn a_gate_that_reads_everything_has_none() {
        for scene in [
            Scene::healthy_kraft(),
            Scene::healthy_combined(),
            Scene::healthy_zookeeper(),
        ] {
            assert!(ids(&scene).is_empty());
        }
    }

    #[test]
    fn each_setting_that_takes_something_away_is_named() {
        assert_eq!(ids(&Scene::healthy_kafka()), ["no_pages"]);
        let mut scene = Scene::healthy_jmx();
        assert_eq!(scene.policy.mode, Mode::Jmx);
        assert_eq!(ids(&scene), ["no_protocol"]);
        scene.policy.degraded = Weight::Warn;
        scene.policy.window = Some(Duration::from_secs(6));
        let all = ["no_protocol", "fixed_window", "degraded_warns"];
        assert_eq!(ids(&scene), all);
        let mut scene = Scene::healthy_kraft();
        scene.policy.jmx_nodes = Some(set(&[1, 2, 3]));
        assert_eq!(ids(&scene), ["no_controller_pages"]);
        scene.policy.jmx_nodes = Some(set(&[1, 2, 101, 102, 103]));
        assert_eq!(ids(&scene), ["missing_pages"]);
        let mut scene = Scene::healthy_kraft();
        scene.policy.via_brokers = true;
        assert_eq!(ids(&scene), ["remote_controllers", "no_controller_pages"]);
    }

    #[test]
    fn a_zookeeper_that_no_page_tells_of_is_named() {
        let mut scene = Scene::healthy_zookeeper();
        scene.policy.mode = Mode::Kafka;
        assert_eq!(ids(&scene), ["no_pages", "zookeeper_unseen"]);
        let mut scene = Scene::healthy_zookeeper();
        scene.page(3, |page| {
            page.values.remove(&Metric::ZooKeeperConnects);
        });
        assert_eq!(ids(&scene), ["zookeeper_unseen"]);
    }

    #[test]
    fn names_are_given_once() {
        let names: BTreeSet<_> = ALL.iter().map(|spot| spot.id).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
