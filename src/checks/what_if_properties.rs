//! The what-if against a naive reading of DESIGN 4.4, and the laws it has to keep.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::evidence::facts::Move;
use crate::evidence::ids::NodeId;
use crate::evidence::policy::Weight;
use crate::evidence::scene::{Scene, ScenePartition, SceneTopic, node, nodes, set};

use super::reason::{Reason, Severity};
use super::what_if::{every_node, what_if, what_ifs};

fn partition() -> impl Strategy<Value = ScenePartition> {
    let replicas = prop::sample::subsequence((1..=5).collect::<Vec<i32>>(), 1..=4);
    (
        replicas.prop_shuffle(),
        any::<[bool; 4]>(),
        any::<[bool; 4]>(),
        0..10,
    )
        .prop_map(|(replicas, isr, offline, leader)| {
            let pick = |keep: &dyn Fn(usize) -> bool| -> Vec<i32> {
                let kept = replicas.iter().enumerate().filter(|(at, _)| keep(*at));
                kept.map(|(_, id)| *id).collect()
            };
            let isr = pick(&|at| isr[at] || at == 0);
            let offline = pick(&|at| at > 0 && offline[at] && offline[0]);
            let leader = if leader == 0 {
                None
            } else {
                isr.first().copied()
            };
            ScenePartition {
                leader,
                epoch: 5,
                replicas,
                isr,
                offline,
            }
        })
}

#[derive(Clone, Debug)]
struct World {
    topics: Vec<(i32, Vec<ScenePartition>, bool)>,
    voters: usize,
    behind: BTreeSet<usize>,
    granted: BTreeSet<i32>,
    adding: bool,
    weights: (bool, bool),
}

fn world() -> impl Strategy<Value = World> {
    let topics = prop::collection::vec(
        (
            1..4,
            prop::collection::vec(partition(), 1..4),
            any::<bool>(),
        ),
        1..4,
    );
    (
        topics,
        1_usize..6,
        prop::collection::btree_set(1_usize..6, 0..2),
        prop::collection::btree_set(1..6, 0..2),
        any::<bool>(),
        any::<(bool, bool)>(),
    )
        .prop_map(|(topics, voters, behind, granted, adding, weights)| World {
            topics,
            voters,
            behind,
            granted,
            adding,
            weights,
        })
}

fn scene_of(world: &World) -> Scene {
    let topics = (0..)
        .zip(&world.topics)
        .map(|(at, (min_isr, partitions, internal))| SceneTopic {
            name: format!("{}t{at}", if *internal { "__" } else { "" }),
            min_isr: *min_isr,
            internal: *internal,
            partitions: partitions.clone(),
        });
    let voters: Vec<i32> = (101..).take(world.voters).collect();
    let mut scene = Scene::with(&[1, 2, 3, 4, 5], &voters, topics.collect());
    scene.granted = world.granted.iter().map(|id| NodeId(*id)).collect();
    scene.quorum(1, |quorum| {
        for at in &world.behind {
            if let Some(voter) = quorum.voters.get_mut(*at) {
                voter.last_caught_up_ms = Some(1_699_999_000_000);
            }
        }
    });
    if world.adding {
        let topic = scene.topics[0].name.clone();
        let replicas = nodes(&scene.topics[0].partitions[0].replicas);
        let adding = replicas.last().copied().into_iter().collect();
        scene.moves(1, |moves| {
            moves.list.push(Move {
                topic,
                partition: 0,
                replicas,
                adding,
                removing: Vec::new(),
            });
        });
    }
    let weight = |block: bool| if block { Weight::Block } else { Weight::Warn };
    scene.policy.structural = weight(world.weights.0);
    scene.policy.degraded = weight(world.weights.1);
    scene
}

/// DESIGN 4.4 read word by word, with sets, one partition and one node at a time.
fn naive(scene: &Scene, stop: &BTreeSet<NodeId>) -> BTreeMap<(Reason, Severity), usize> {
    let severity = |weight| match weight {
        Weight::Block => Severity::Block,
        Weight::Warn => Severity::Warn,
    };
    let structural = severity(scene.policy.structural);
    let degraded = severity(scene.policy.degraded);
    let moves = scene.snapshot(|snapshot| snapshot.moves(node(1)).unwrap().facts.list.clone());
    let mut found = BTreeMap::new();
    let mut add = |reason, severity| *found.entry((reason, severity)).or_insert(0) += 1;
    for topic in &scene.topics {
        for (index, p) in (0..).zip(&topic.partitions) {
            let moving = moves
                .iter()
                .find(|m| m.topic == topic.name && m.partition == index);
            if moving.is_some() && p.replicas.iter().any(|id| stop.contains(&NodeId(*id))) {
                add(Reason::WouldStopReassignment, Severity::Block);
            }
            let adding = moving.map_or(Vec::new(), |m| m.adding.clone());
            let all: BTreeSet<NodeId> = nodes(&p.replicas).into_iter().collect();
            let required: BTreeSet<NodeId> = all
                .iter()
                .filter(|id| !adding.contains(id))
                .copied()
                .collect();
            let stopped = required.intersection(stop).count();
            if stopped == 0 {
                continue;
            }
            let now: BTreeSet<NodeId> = nodes(&p.isr)
                .into_iter()
                .filter(|id| required.contains(id) && !scene.granted.contains(id))
                .filter(|id| !p.offline.contains(&id.0))
                .collect();
            let left: BTreeSet<NodeId> = now.difference(stop).copied().collect();
            let min = usize::try_from(topic.min_isr).unwrap().min(all.len());
            let full = now == required && p.leader.is_some();
            let spare = required.len() - 1;
            let design = if topic.internal && (spare == 0 || spare < min) {
                Some(Reason::InternalTopicAtRisk)
            } else if spare == 0 {
                Some(Reason::SingleReplica)
            } else if spare < min {
                Some(Reason::NoSpareReplica)
            } else if spare == 1 {
                Some(Reason::LastCopyByDesign)
            } else {
                None
            };
            if full && stopped == 1 {
                if let Some(reason) = design {
                    add(reason, structural);
                }
                continue;
            }
            // Two at once are nobody's design.
            let degraded = if stopped > 1 {
                Severity::Block
            } else {
                degraded
            };
            let severity = if design.is_some() {
                degraded.max(structural)
            } else {
                degraded
            };
            if left.is_empty() || p.leader.is_none() {
                add(Reason::WouldGoOffline, severity);
            } else if left.len() < min {
                add(Reason::WouldLoseMinIsr, severity);
            } else if left.len() == 1 && required.len() > 1 {
                add(Reason::WouldLeaveLastCopy, severity);
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_pass_finds_what_the_naive_reading_finds(
        world in world(),
        pairs in prop::collection::vec(prop::collection::btree_set(1_i32..6, 2..4), 0..4),
    ) {
        let scene = scene_of(&world);
        scene.snapshot(|snapshot| {
            let quorum = [Reason::WouldLoseQuorum, Reason::SingleVoter, Reason::TwoVoters];
            let alone = every_node(snapshot);
            let mut sets: Vec<_> = alone.keys().map(|id| BTreeSet::from([*id])).collect();
            // Sets that share nodes, among those of one.
            for pair in pairs {
                let pair: Vec<i32> = pair.into_iter().collect();
                sets.insert(sets.len() / 2, set(&pair));
            }
            let judged = what_ifs(snapshot, &sets);
            assert_eq!(judged.len(), sets.len());
            for (stop, judged) in sets.iter().zip(judged) {
                let seen: BTreeMap<_, _> = judged
                    .findings()
                    .iter()
                    .filter(|finding| !quorum.contains(&finding.reason))
                    .map(|finding| ((finding.reason, finding.severity), finding.count))
                    .collect();
                assert_eq!(seen, naive(&scene, stop), "nodes {stop:?}");
                assert_eq!(what_if(snapshot, stop), judged);
            }
            for (id, judged) in alone {
                assert_eq!(what_if(snapshot, &BTreeSet::from([id])), judged);
            }
        });
    }

    #[test]
    fn one_more_node_down_never_opens_a_closed_what_if(
        world in world(),
        down in 1_i32..6,
        controller in any::<bool>(),
        stop in prop::collection::btree_set(prop::sample::select(vec![1, 2, 3, 4, 5, 101, 102]), 1..4),
    ) {
        let scene = scene_of(&world);
        let stop: Vec<i32> = stop
            .into_iter()
            .filter(|id| *id < 101 || usize::try_from(*id - 100).unwrap() <= world.voters)
            .collect();
        prop_assume!(!stop.is_empty());
        let down = if controller { 101 } else { down };
        let mut worse = scene.clone();
        worse.granted.insert(NodeId(down));
        let opens = |scene: &Scene| {
            scene.snapshot(|snapshot| what_if(snapshot, &set(&stop)).allows_open())
        };
        prop_assert!(opens(&scene) || !opens(&worse));
    }

    #[test]
    fn stopping_one_more_node_never_opens_a_closed_what_if(
        world in world(),
        stop in prop::collection::btree_set(1_i32..6, 1..3),
        more in 1_i32..6,
    ) {
        let scene = scene_of(&world);
        let few: Vec<i32> = stop.iter().copied().collect();
        let many: Vec<i32> = stop.iter().copied().chain([more]).collect();
        let opens = |stop: &[i32]| {
            scene.snapshot(|snapshot| what_if(snapshot, &set(stop)).allows_open())
        };
        prop_assert!(opens(&few) || !opens(&many));
    }
}
