//! May two sets of nodes be out at the same time, as far as what they hold goes?

use std::collections::BTreeSet;

use super::layout::Layout;
use super::needs::unmet;
use super::what_if::NEEDS;
use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::{ClusterKind, Snapshot};
use crate::evidence::voters;

/// Whether it is proven that the two sets hold no partition together, by assignments and running
/// moves, and that nobody among them may be the controller: with the active one out, nobody elects
/// leaders or shrinks ISRs for whoever goes beside it, and who is active may change. On ZooKeeper
/// every broker may be it. Racks prove nothing: assignments need not follow them. What is not
/// known is not proven.
pub fn are_apart(
    snapshot: &Snapshot<'_>,
    one: &BTreeSet<NodeId>,
    other: &BTreeSet<NodeId>,
) -> bool {
    let quorum = match snapshot.kind {
        ClusterKind::KRaft => voters::newest(snapshot),
        ClusterKind::ZooKeeper | ClusterKind::Unknown => None,
    };
    let Some(quorum) = quorum else { return false };
    if !unmet(snapshot, NEEDS).is_empty() {
        return false;
    }
    let mut voters = quorum.facts.voters.iter().map(|voter| voter.node);
    let one_votes = voters.any(|voter| one.contains(&voter) || other.contains(&voter));
    let layout = Layout::of(snapshot);
    let mut rows = layout.rows(snapshot);
    let shared = rows.any(|held| {
        let holds = |nodes: &BTreeSet<NodeId>| nodes.iter().any(|node| held.touches(*node));
        holds(one) && holds(other)
    });
    !one_votes && !shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::report::FactKind;
    use crate::evidence::scene::{Scene, SceneTopic, set};

    fn halves(controllers: &[i32]) -> Scene {
        let topics = vec![
            SceneTopic::new("left", 2, &[&[1, 2, 3]]),
            SceneTopic::new("right", 2, &[&[4, 5, 6]]),
        ];
        Scene::with(&[1, 2, 3, 4, 5, 6], controllers, topics)
    }

    fn apart(scene: &Scene, one: &[i32], other: &[i32]) -> bool {
        let both =
            |snapshot: &Snapshot<'_>, one, other| are_apart(snapshot, &set(one), &set(other));
        let apart = scene.snapshot(|snapshot| both(snapshot, one, other));
        let turned = scene.snapshot(|snapshot| both(snapshot, other, one));
        assert_eq!(apart, turned, "{one:?} and {other:?}");
        apart
    }

    #[test]
    fn only_brokers_that_hold_no_partition_together_are_apart() {
        let scene = halves(&[101, 102, 103]);
        assert!(apart(&scene, &[1], &[4]));
        assert!(apart(&scene, &[1, 2, 3], &[4, 5, 6]));
        assert!(!apart(&scene, &[1], &[2]));
        assert!(!apart(&scene, &[1, 4], &[5]));
        assert!(!apart(&scene, &[101], &[1]));
        assert!(!apart(&scene, &[101], &[102]));
    }

    #[test]
    fn who_may_be_the_controller_is_never_beside_another() {
        // Combined: nodes 1 to 3 vote as well.
        let scene = halves(&[1, 2, 3]);
        assert!(!apart(&scene, &[1], &[4]));
        assert!(!apart(&Scene::healthy_zookeeper(), &[1], &[99]));
    }

    #[test]
    fn what_is_not_known_is_not_proven() {
        let whole = halves(&[101, 102, 103]);
        for kind in [
            FactKind::Partitions,
            FactKind::TopicConfigs,
            FactKind::Moves,
            FactKind::Quorum,
        ] {
            let mut scene = whole.clone();
            scene.remove(kind);
            assert!(!apart(&scene, &[1], &[4]), "without {kind:?}");
        }
        assert!(!apart(&Scene::healthy_jmx(), &[1], &[99]));
    }
}
