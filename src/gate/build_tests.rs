//! What a view says of a cluster: numbers that dashboards and alerts are built on, so a missing
//! answer must never read as a number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::doc::{GateDoc, Revision};
use super::machine::{Effect, Input, Machine};
use super::parts::{GroupView, NodeView, Outcome, SourceView, ViewParts};
use super::question::{Answered, Command, Question, Reply, Ticket};
use super::state::{GateName, State};
use super::view::View;
use crate::checks::reason::{Reason, Severity};
use crate::checks::table::evaluate;
use crate::evidence::facts::{
    ConfigSource, Facts, GroupOffsets, GroupTable, Move, Moves, PartitionLag,
};
use crate::evidence::ids::{GroupId, NodeId, Release, Version};
use crate::evidence::jmx::Metric;
use crate::evidence::known::{Known, Why};
use crate::evidence::policy::Weight;
use crate::evidence::report::{FactKind, FailureClass, SourceId};
use crate::evidence::scene::{Scene, ScenePartition, SceneTopic, jmx, kafka, node, set};

/// A Machine that has just heard this scene, and what it wants done.
fn heard(scene: &Scene) -> (Machine, Vec<Effect>) {
    let policy = Arc::new(scene.policy.clone());
    let doc = GateDoc::default();
    let mut machine = Machine::restore(GateName::default(), policy, Revision(0), doc, scene.now);
    let mut effects = Vec::new();
    let reports = scene.reports.values().cloned().collect();
    let evidence = Input::Evidence {
        reports,
        dropped: Vec::new(),
    };
    machine.step(scene.now, evidence, &mut effects);
    (machine, effects)
}

/// The view of this scene that is published at once.
fn newest(scene: &Scene) -> Arc<View> {
    let (_, effects) = heard(scene);
    let views = effects.into_iter().filter_map(|effect| match effect {
        Effect::Publish(view) => Some(view),
        Effect::Commit { .. } | Effect::Reply(..) | Effect::Refresh(_) => None,
    });
    views.last().expect("a view")
}

/// What is published of this scene at once.
fn view(scene: &Scene) -> ViewParts {
    let view = newest(scene);
    view.at(scene.now.mono).last_known().clone()
}

fn node_view(scene: &Scene, id: i32) -> NodeView {
    let nodes = view(scene).nodes;
    nodes
        .into_iter()
        .find(|it| it.node == node(id))
        .expect("a node")
}

fn source_view(scene: &Scene, source: &SourceId) -> SourceView {
    let sources = view(scene).sources;
    sources
        .into_iter()
        .find(|it| it.source == *source)
        .expect("a source")
}

#[test]
fn a_healthy_cluster_is_counted() {
    let facts = view(&Scene::healthy_kraft()).facts;
    assert_eq!((facts.partitions, facts.offline), (Some(7), Some(0)));
    assert_eq!(
        (facts.under_replicated, facts.under_min_isr),
        (Some(0), Some(0))
    );
    assert_eq!(facts.reassigning, Some(0));
    assert_eq!(facts.jmx_under_replicated, Some(0.0));
    assert_eq!(
        (facts.jmx_active_controllers, facts.jmx_offline),
        (Some(1.0), Some(0.0))
    );
}

#[test]
fn what_is_broken_is_counted_once_each() {
    let mut scene = Scene::healthy_kraft();
    scene.order(0, |partition| partition.isr = vec![1, 2]);
    scene.order(1, |partition| partition.isr = vec![1]);
    scene.order(2, |partition| partition.leader = None);
    let facts = view(&scene).facts;
    assert_eq!(
        (facts.partitions, facts.under_replicated),
        (Some(7), Some(2))
    );
    assert_eq!((facts.under_min_isr, facts.offline), (Some(1), Some(1)));
}

/// Two brokers name the same reassignment, and one names another: two partitions are on the move.
#[test]
fn reassignments_are_counted_by_partition_and_only_where_somebody_tells_them() {
    let moving = |partition| Move {
        topic: String::from("orders"),
        partition,
        replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
        adding: vec![NodeId(3)],
        removing: Vec::new(),
    };
    let mut scene = Scene::healthy_kraft();
    scene.put(
        kafka(1),
        Facts::Moves(Moves {
            list: vec![moving(0)],
        }),
    );
    let list = vec![moving(0), moving(4)];
    scene.put(kafka(2), Facts::Moves(Moves { list }));
    assert_eq!(view(&scene).facts.reassigning, Some(2));
    scene.fail_all(FactKind::Moves, FailureClass::Authorization);
    assert_eq!(view(&scene).facts.reassigning, None);
}

#[test]
fn pages_are_added_up_only_where_every_one_of_them_tells() {
    let mut scene = Scene::healthy_kraft();
    scene.metric(1, Metric::UnderReplicatedPartitions, 2.0);
    scene.metric(3, Metric::UnderReplicatedPartitions, 3.0);
    scene.metric(102, Metric::ActiveControllerCount, 1.0);
    let facts = view(&scene).facts;
    assert_eq!(facts.jmx_under_replicated, Some(5.0));
    assert_eq!(facts.jmx_active_controllers, Some(2.0));
    scene.fail(jmx(2), FactKind::Jmx, FailureClass::Refused);
    scene.page(103, |page| {
        page.values.remove(&Metric::ActiveControllerCount);
    });
    let facts = view(&scene).facts;
    assert_eq!(
        (facts.jmx_under_replicated, facts.jmx_active_controllers),
        (None, None)
    );
}

/// A controller that has not loaded its metadata yet says 0 of everything (measured, DESIGN 4.3).
#[test]
fn offline_partitions_are_those_of_the_worst_controller_that_knows_any() {
    let mut scene = Scene::healthy_kraft();
    scene.metric(101, Metric::OfflinePartitionsCount, 1.0);
    scene.metric(102, Metric::OfflinePartitionsCount, 4.0);
    scene.metric(103, Metric::OfflinePartitionsCount, 9.0);
    scene.metric(103, Metric::GlobalPartitionCount, 0.0);
    assert_eq!(view(&scene).facts.jmx_offline, Some(4.0));
    for id in [101, 102] {
        scene.fail(jmx(id), FactKind::Jmx, FailureClass::Refused);
    }
    assert_eq!(view(&scene).facts.jmx_offline, None);
    let mut scene = Scene::healthy_zookeeper();
    scene.metric(1, Metric::OfflinePartitionsCount, 2.0);
    let facts = view(&scene).facts;
    assert_eq!(
        (facts.jmx_offline, facts.jmx_active_controllers),
        (Some(2.0), Some(1.0))
    );
}

#[test]
fn without_a_table_nothing_is_counted() {
    let facts = view(&Scene::healthy_jmx()).facts;
    assert_eq!((facts.partitions, facts.under_replicated), (None, None));
    assert_eq!(
        (facts.under_min_isr, facts.offline, facts.reassigning),
        (None, None, None)
    );
    assert_eq!(facts.jmx_under_replicated, Some(0.0));
    let facts = view(&Scene::healthy_kafka()).facts;
    assert_eq!(
        (facts.jmx_under_replicated, facts.jmx_active_controllers),
        (None, None)
    );
}

/// A scene of one named group with these partitions.
fn of_group(partitions: Known<Vec<PartitionLag>>) -> GroupView {
    let group = GroupId(String::from("billing"));
    let mut scene = Scene::healthy_kraft();
    scene.policy.groups.push(group.clone());
    let other = GroupOffsets {
        group: GroupId(String::from("another")),
        partitions: Known::Is(vec![lag(1, 9)]),
    };
    let groups = vec![other, GroupOffsets { group, partitions }];
    scene.put(kafka(1), Facts::Groups(Arc::new(GroupTable { groups })));
    view(&scene).groups.remove(0)
}

fn lag(committed: i64, end: i64) -> PartitionLag {
    PartitionLag {
        topic: String::from("orders"),
        partition: 0,
        committed: Known::Is(committed),
        end: Known::Is(end),
    }
}

/// "0 behind" is a claim about every partition of the group.
#[test]
fn a_groups_lag_is_known_where_all_of_it_is() {
    let seen = of_group(Known::Is(vec![lag(10, 14), lag(3, 3), lag(5, 7)]));
    assert_eq!((seen.lag, seen.partitions), (Some(6), 3));
    let unknown = PartitionLag {
        end: Known::Failed(Why(String::from("no leader"))),
        ..lag(1, 1)
    };
    let seen = of_group(Known::Is(vec![lag(10, 14), unknown]));
    assert_eq!((seen.lag, seen.partitions), (None, 2));
    let seen = of_group(Known::Is(Vec::new()));
    assert_eq!(
        (seen.lag, seen.partitions),
        (None, 0),
        "a group that is not there has no lag"
    );
    let seen = of_group(Known::Hidden);
    assert_eq!((seen.lag, seen.partitions), (None, 0));
}

#[test]
fn the_controller_is_the_one_of_the_newest_epoch() {
    let mut scene = Scene::healthy_kraft();
    let mut newer = None;
    scene.quorum(1, |quorum| newer = Some(quorum.clone()));
    let mut newer = newer.expect("a quorum");
    newer.leader = Some(node(102));
    newer.leader_epoch += 1;
    scene.put(kafka(2), Facts::Quorum(newer));
    let seen = view(&scene);
    assert_eq!(seen.cluster.controller, Some(node(102)));
    let active = |it: &&NodeView| it.active_controller;
    let active: Vec<_> = seen.nodes.iter().filter(active).map(|it| it.node).collect();
    assert_eq!(active, [node(102)]);
}

#[test]
fn on_zookeeper_the_controller_is_the_one_that_was_named_last() {
    let mut scene = Scene::healthy_zookeeper();
    for newest in [1, 2] {
        let mut scene = scene.clone();
        for id in [1, 2] {
            scene.cluster(id, |cluster| cluster.controller = Some(node(id)));
        }
        let slot = (kafka(newest), FactKind::Cluster);
        let report = scene.reports.get_mut(&slot).expect("a report");
        report.asked = report.asked.plus(Duration::from_millis(50));
        assert_eq!(view(&scene).cluster.controller, Some(node(newest)));
    }
    scene.fail_all(FactKind::Cluster, FailureClass::Timeout);
    assert_eq!(view(&scene).cluster.controller, None);
}

#[test]
fn the_metadata_version_is_the_highest_that_was_finalized() {
    let mut scene = Scene::healthy_kraft();
    assert_eq!(view(&scene).cluster.metadata_version, None);
    for (id, version) in [(1, 20), (2, 21), (3, 19)] {
        scene.link(id, |link| {
            link.finalized
                .insert(String::from("metadata.version"), version);
        });
    }
    assert_eq!(view(&scene).cluster.metadata_version, Some(21));
}

#[test]
fn a_source_is_up_while_everything_it_is_asked_for_is_fresh() {
    let mut scene = Scene::healthy_kraft();
    let seen = source_view(&scene, &kafka(2));
    let last = scene.reports[&(kafka(2), FactKind::Link)].seen;
    assert!(seen.up && seen.trouble.is_empty());
    assert_eq!(seen.last_success, Some(scene.now.wall_of(last)));
    scene.age(&kafka(2), FactKind::LogDirs);
    scene.fail(kafka(2), FactKind::Partitions, FailureClass::Malformed);
    let seen = source_view(&scene, &kafka(2));
    assert!(!seen.up);
    let (kinds, why): (Vec<_>, Vec<_>) = seen.trouble.into_iter().unzip();
    assert_eq!(kinds, [FactKind::Partitions, FactKind::LogDirs]);
    assert_eq!(why[0], "Malformed by test");
    assert!(why[1].contains("old, counts up to"), "{why:?}");
    scene.fail(jmx(2), FactKind::Jmx, FailureClass::Refused);
    assert_eq!(source_view(&scene, &jmx(2)).last_success, None);
}

/// An answer counts up to its age limit, that moment included.
#[test]
fn an_answer_as_old_as_it_may_be_is_no_trouble() {
    let mut scene = Scene::healthy_kraft();
    let slot = (kafka(2), FactKind::Link);
    let every = scene.reports[&slot].every;
    let limit = crate::evidence::policy::max_age(FactKind::Link, every);
    for (age, up) in [(limit, true), (limit + Duration::from_millis(1), false)] {
        let asked = scene.now.mono.minus(age);
        scene.reports.get_mut(&slot).expect("a report").asked = asked;
        assert_eq!(source_view(&scene, &kafka(2)).up, up, "{age:?}");
    }
}

/// Kafka gives what a stopped broker leads to the first in-sync replica of each list, so the plan
/// shows who would carry how much.
#[test]
fn leaders_go_to_the_next_replica_that_is_in_sync_and_up() {
    let mut scene = Scene::healthy_kraft();
    let on = ScenePartition::on;
    scene.retopic(|topics| {
        let mut orders = SceneTopic::new("orders", 1, &[]);
        orders.partitions = vec![
            on(&[1, 2, 3]),
            on(&[1, 3, 2]),
            // 2 is next in the list and out of sync.
            ScenePartition {
                isr: vec![1, 3],
                ..on(&[1, 2, 3])
            },
            on(&[3, 1, 2]),
            // Nobody leads it: there is nothing to hand over.
            ScenePartition {
                leader: None,
                ..on(&[2, 1])
            },
        ];
        *topics = vec![orders];
    });
    let one = node_view(&scene, 1);
    assert_eq!((one.leads, one.replicas, one.down), (3, 5, false));
    assert_eq!(
        one.leads_without,
        BTreeMap::from([(node(2), 1), (node(3), 3)])
    );
    let three = node_view(&scene, 3);
    assert_eq!((three.leads, three.replicas), (1, 4));
    assert_eq!(
        three.leads_without,
        BTreeMap::from([(node(1), 4), (node(2), 0)])
    );
    scene.kill(2);
    let one = node_view(&scene, 1);
    assert_eq!(one.leads_without, BTreeMap::from([(node(3), 4)]));
    assert!(node_view(&scene, 2).down);
    let controller = node_view(&scene, 101);
    assert_eq!((controller.leads, controller.replicas), (0, 0));
    assert!(controller.active_controller && !one.active_controller);
}

#[test]
fn every_row_says_how_it_ended_and_why() {
    let mut scene = Scene::healthy_kraft();
    scene.metric(2, Metric::BrokerState, 1.0);
    let checks = view(&scene).checks;
    let of = |id: &str| checks.iter().find(|it| it.id == id).expect("a row");
    assert_eq!(of("broker_state").outcome, Outcome::Found);
    assert!(!of("broker_state").reasons.is_empty());
    assert_eq!(of("active_controller").outcome, Outcome::Proved);
    assert!(of("active_controller").reasons.is_empty());
    assert!(matches!(of("groups").outcome, Outcome::NotApplicable(_)));
}

/// What is only about one node speaks against that node; what is about all, against all.
#[test]
fn a_node_may_stop_where_neither_it_nor_the_cluster_speaks_against_it() {
    let mut scene = Scene::healthy_kraft();
    scene.policy.window = Some(Duration::ZERO);
    scene.policy.leadership_quiet = Duration::ZERO;
    scene.order(0, |partition| partition.replicas = vec![1, 2]);
    scene.order(0, |partition| partition.isr = vec![1, 2]);
    let states = |scene: &Scene| [1, 2, 3].map(|id| node_view(scene, id).may_stop);
    let with_two = states(&scene);
    scene.order(1, |partition| partition.isr = vec![1]);
    assert_eq!(states(&scene), [State::Closed; 3]);
    assert_eq!(with_two[2], State::Open, "{with_two:?}");
}

/// A follower that stalls stays in the ISR for as long as the broker with the longest
/// `replica.lag.time.max.ms` lets it; a broker that does not tell its own counts with Kafka's default.
#[test]
fn the_window_is_built_from_the_longest_setting_of_any_broker() {
    let window = |millis: &[Option<&str>; 3]| {
        let mut scene = Scene::healthy_kraft();
        // Nobody shows that every replica follows, which would make it short.
        scene.fail_all(FactKind::LogEnds, FailureClass::Timeout);
        for (id, millis) in (1..).zip(millis) {
            scene.configs(id, |configs| {
                let key = String::from("replica.lag.time.max.ms");
                configs.values.remove(&key);
                let value = millis.map(|it| (Some(String::from(it)), ConfigSource::StaticBroker));
                configs.values.extend(value.map(|value| (key, value)));
            });
        }
        view(&scene).window.required
    };
    let lag = |seconds| Duration::from_millis(1_500) * seconds + Duration::from_millis(500);
    assert_eq!(window(&[Some("30000"); 3]), lag(30));
    assert_eq!(
        window(&[Some("10000"), Some("60000"), Some("20000")]),
        lag(60)
    );
    assert_eq!(window(&[Some("10000"), None, Some("20000")]), lag(30));
}

/// The published word on "this node stops now": the verdict, and what speaks against it.
fn published(scene: &Scene, id: i32) -> (State, Vec<Reason>) {
    let view = newest(scene);
    let decision = view.at(scene.now.mono).node(node(id)).expect("a node");
    let against = decision.reasons.iter();
    let against = against.filter(|it| it.severity != Severity::Warn);
    (decision.state, against.map(|it| it.reason).collect())
}

/// The word on the same question that is judged anew for whoever asks (`enter`, `fresh`).
fn asked(scene: &Scene, ids: &[i32]) -> State {
    let (mut machine, mut effects) = heard(scene);
    effects.clear();
    let question = Question {
        nodes: set(ids),
        newer_than: None,
    };
    let ask = Input::Ask(Ticket(1), Command::Decide(question));
    machine.step(scene.now, ask, &mut effects);
    let mut answers = effects.into_iter().filter_map(|effect| match effect {
        Effect::Reply(_, Reply::Verdict(Answered::Decided { decision, .. })) => {
            Some(decision.state)
        }
        Effect::Publish(_) | Effect::Commit { .. } | Effect::Reply(..) | Effect::Refresh(_) => None,
    });
    answers.next().expect("an answer")
}

/// Structural risks block: brokers 1 to 3 before 3.7, and broker 1 alone holds a topic with fewer
/// replicas than its min ISR.
fn short_by_design() -> Scene {
    let topics = vec![
        SceneTopic::new("orders", 2, &[&[1, 2, 3], &[1, 3, 2], &[2, 3, 1]]),
        SceneTopic::new("raw", 2, &[&[1]]),
    ];
    let mut scene = Scene::with(&[1, 2, 3], &[101, 102, 103], topics);
    let old = Release::Is(Version { major: 3, minor: 6 });
    for id in [1, 2, 3] {
        scene.link(id, |link| link.release = old);
    }
    scene.metric(1, Metric::UnderMinIsrPartitionCount, 1.0);
    scene.policy.leadership_quiet = Duration::ZERO;
    scene.policy.structural = Weight::Block;
    scene
}

/// Found by an audit: what blocks the nodes that hold such a topic kept the window broken, was left
/// out of the word on every other node, and so opened that one without any window.
#[test]
fn a_risk_by_design_opens_no_other_node_without_a_window() {
    let scene = short_by_design();
    for id in [2, 3, 102] {
        let settling = (State::Closed, vec![Reason::Settling]);
        assert_eq!(published(&scene, id), settling, "node {id}");
        assert_eq!(asked(&scene, &[id]), State::Closed, "node {id}");
    }
}

/// A risk by design is so with every node up: it closes for those who hold it, for ever, and for
/// nobody else, whichever way is asked.
#[test]
fn a_risk_by_design_breaks_no_window_and_is_its_nodes_alone() {
    let mut scene = short_by_design();
    scene.policy.window = Some(Duration::ZERO);
    let healthy = |scene: &Scene| scene.snapshot(|s| super::build::healthy(&evaluate(s, s)));
    assert!(healthy(&scene));
    assert_eq!(view(&scene).state, State::Closed);
    let holder = (State::Closed, vec![Reason::SingleReplica]);
    assert_eq!(published(&scene, 1), holder);
    assert_eq!(asked(&scene, &[1]), State::Closed);
    for id in [2, 3, 101, 102] {
        assert_eq!(published(&scene, id), (State::Open, vec![]), "node {id}");
        assert_eq!(asked(&scene, &[id]), State::Open, "node {id}");
    }
    // What is missing on top of it is everybody's.
    scene.order(0, |partition| partition.isr = vec![1, 2]);
    assert!(!healthy(&scene));
    assert_eq!(published(&scene, 3).0, State::Closed);
    assert_eq!(asked(&scene, &[3]), State::Closed);
}

/// The same of a quorum of one: brokers do not vote.
#[test]
fn a_single_voter_blocks_itself_alone() {
    let topics = vec![SceneTopic::new("orders", 2, &[&[1, 2, 3]])];
    let mut scene = Scene::with(&[1, 2, 3], &[101], topics);
    scene.policy.leadership_quiet = Duration::ZERO;
    scene.policy.structural = Weight::Block;
    assert_eq!(
        published(&scene, 2),
        (State::Closed, vec![Reason::Settling])
    );
    scene.policy.window = Some(Duration::ZERO);
    assert_eq!(view(&scene).state, State::Closed);
    let voter = (State::Closed, vec![Reason::SingleVoter]);
    assert_eq!(published(&scene, 101), voter);
    assert_eq!(published(&scene, 2), (State::Open, vec![]));
    assert_eq!(asked(&scene, &[2]), State::Open);
}
