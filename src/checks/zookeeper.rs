//! What a broker's page says of its connection with ZooKeeper. Without a quorum of ZooKeeper no session
//! ends, and nothing else on any page changes.
//!
//! Each connection that comes about and each that is lost is counted once: the client reports a state
//! only when it is another one than before (`ClientCnxn.EventThread.queueEvent`), and Kafka marks a meter
//! per state (`ZooKeeperClient.ZooKeeperClientWatcher`). After a session that expired a new client
//! connects. So a broker that is connected has counted one more connection than losses.
//!
//! Not where an authentication has failed: that is a state between two others, so that an attempt which fails
//! after it counts as one more loss (no `Client` section in the JAAS file: the client goes on without), and a
//! connection on which it is refused ends uncounted (`ClientCnxn.startConnect`, `queueEvent`). Then these
//! numbers tell nothing for as long as the process lives.

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;
use crate::evidence::snapshot::{ClusterKind, Snapshot};

use super::finding::{Finding, Subject};
use super::gauges::{self, whole};
use super::reason::Reason;

/// Connections that came about and connections that were lost, where the page counts both and nothing came
/// in between. No broker starts without a connection: one that counts none shows rates, or something
/// else.
fn connections(page: &JmxFacts) -> Option<(u64, u64)> {
    let count = |metric| match page.value(metric) {
        Known::Is(value) if value.is_finite() && value >= 0.0 && value.fract() == 0.0 => {
            Some(whole(value))
        }
        Known::Is(_)
        | Known::NotInRelease
        | Known::NotExported
        | Known::Hidden
        | Known::Failed(_) => None,
    };
    if count(Metric::ZooKeeperAuthFailures)? > 0 {
        return None;
    }
    let connects = count(Metric::ZooKeeperConnects).filter(|connects| *connects > 0)?;
    Some((connects, count(Metric::ZooKeeperDisconnects)?))
}

/// Whether nobody but Kafka's protocol can tell of this cluster's ZooKeeper: it has one, and there is a
/// broker of which no page counts its connections.
pub(super) fn is_unseen(snapshot: &Snapshot<'_>) -> bool {
    // That a page is late says nothing of what it has.
    let unseen = |node: NodeId| {
        let page = snapshot.jmx(node);
        !snapshot.wants_page(node) || page.is_ok_and(|page| connections(page.facts).is_none())
    };
    snapshot.kind == ClusterKind::ZooKeeper && snapshot.brokers().any(unseen)
}

/// Brokers whose pages say that they have no connection with ZooKeeper.
pub(super) fn disconnected(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    if snapshot.kind != ClusterKind::ZooKeeper {
        return Vec::new();
    }
    let brokers = gauges::pages(snapshot).filter(|(_, role, _)| role.broker);
    let found = brokers.filter_map(|(node, _, page)| {
        let (connects, losses) = connections(page.facts)?;
        (connects <= losses).then(|| {
            let observed = format!("{connects} connections with ZooKeeper, {losses} of them lost");
            let reason = Reason::ZooKeeperDisconnected;
            Finding::new(
                reason,
                Subject::Node(node),
                observed,
                "a connection with ZooKeeper",
            )
            .from_source(page.report.source.clone(), page.report.asked)
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::policy::Mode;
    use crate::evidence::report::FactKind;
    use crate::evidence::scene::{Scene, jmx, node, set};

    fn counted(scene: &mut Scene, connects: f64, losses: f64) {
        scene.metric(2, Metric::ZooKeeperConnects, connects);
        scene.metric(2, Metric::ZooKeeperDisconnects, losses);
    }

    fn found(scene: &Scene) -> (Vec<Subject>, bool) {
        scene.snapshot(|snapshot| {
            let findings = disconnected(snapshot).into_iter();
            let subjects = findings.map(|finding| finding.subject).collect();
            (subjects, is_unseen(snapshot))
        })
    }

    #[test]
    fn a_connection_lost_and_not_made_again_is_found() {
        let lost = || (vec![Subject::Node(node(2))], false);
        let mut scene = Scene::healthy_zookeeper();
        for (connects, losses, expected) in [
            (1.0, 0.0, (vec![], false)),
            (1.0, 1.0, lost()),
            (2.0, 1.0, (vec![], false)),
            (7.0, 7.0, lost()),
            (7.0, 8.0, lost()),
            // Nothing counted, or rates: nothing is known.
            (0.0, 0.0, (vec![], true)),
            (0.25, 0.25, (vec![], true)),
            (1.0, f64::NAN, (vec![], true)),
        ] {
            counted(&mut scene, connects, losses);
            assert_eq!(found(&scene), expected, "{connects} {losses}");
        }
    }

    /// Neither that it is connected nor that it is not: the JAAS file has no section for it, or ZooKeeper
    /// refused it once.
    #[test]
    fn once_an_authentication_failed_the_numbers_tell_nothing() {
        let mut scene = Scene::healthy_zookeeper();
        for (connects, losses) in [(2.0, 4.0), (2.0, 1.0)] {
            counted(&mut scene, connects, losses);
            scene.metric(2, Metric::ZooKeeperAuthFailures, 1.0);
            assert_eq!(found(&scene), (vec![], true));
        }
        // Whether any has failed has to be told.
        counted(&mut scene, 1.0, 1.0);
        scene.page(2, |page| {
            page.values.remove(&Metric::ZooKeeperAuthFailures);
        });
        assert_eq!(found(&scene), (vec![], true));
    }

    #[test]
    fn on_kraft_such_numbers_mean_nothing() {
        let mut scene = Scene::healthy_kraft();
        counted(&mut scene, 1.0, 1.0);
        assert_eq!(found(&scene), (vec![], false));
    }

    #[test]
    fn what_no_page_counts_is_unseen() {
        let mut scene = Scene::healthy_zookeeper();
        scene.page(3, |page| {
            page.values.remove(&Metric::ZooKeeperDisconnects);
        });
        assert_eq!(found(&scene), (vec![], true));
        let mut scene = Scene::healthy_zookeeper();
        scene.policy.mode = Mode::Kafka;
        assert!(found(&scene).1);
        let mut scene = Scene::healthy_zookeeper();
        scene.policy.jmx_nodes = Some(set(&[1, 2]));
        scene.reports.remove(&(jmx(3), FactKind::Jmx));
        assert!(found(&scene).1);
    }
}
