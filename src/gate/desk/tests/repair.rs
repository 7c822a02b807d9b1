//! A repair needs no what-if only where the node's end is shown, by what the gate sees and by what
//! the cluster says.

use std::sync::Arc;

use super::{Bed, WINDOW, fence};
use crate::checks::reason::Reason;
use crate::evidence::facts::Facts;
use crate::evidence::jmx::Metric;
use crate::evidence::known::Known;
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::{Scene, SceneTopic, jmx, kafka};
use crate::gate::lease::{Action, Stage};
use crate::gate::question::{Change, Command};

/// Broker 1 leads what has one other copy left: without it writes fail.
fn needed(mut scene: Scene) -> Bed {
    scene.order(0, |p| p.isr.retain(|id| *id != 2));
    let mut bed = Bed::bare(scene);
    bed.run(1);
    bed
}

fn ended(bed: &mut Bed, id: i32, class: FailureClass) {
    bed.scene.fail(kafka(id), FactKind::Link, class);
    bed.tick();
}

const ENDED: [FailureClass; 2] = [FailureClass::Closed, FailureClass::Refused];

/// A firewall that resets looks like a process that has ended.
#[test]
fn a_refused_connection_alone_is_no_end() {
    for class in ENDED {
        let mut bed = needed(Scene::healthy_kraft());
        ended(&mut bed, 1, class);
        let why = bed.repair("ann", &[1]).unwrap_err();
        assert!(why.contains(&Reason::WouldLoseMinIsr), "{class:?}: {why:?}");
        bed.fence(1);
        assert!(bed.repair("ann", &[1]).is_ok(), "{class:?}");
    }
}

/// A broker that answers the gate and nobody else is no copy to count on. Found by the simulation.
#[test]
fn a_living_broker_is_not_repaired_beside_one_that_its_cluster_has_lost() {
    for id in [1, 2] {
        let mut bed = Bed::new();
        bed.scene.metric(id, Metric::MetadataLagMs, 60_000.0);
        bed.tick();
        match (id, bed.repair("ann", &[1])) {
            (1, repair) => assert!(repair.is_ok(), "itself: {repair:?}"),
            (_, repair) => {
                let why = repair.unwrap_err();
                assert!(why.contains(&Reason::WouldLoseMinIsr), "{why:?}");
                bed.scene.metric(id, Metric::MetadataLagMs, 10.0);
                bed.tick();
                assert!(bed.repair("ann", &[1]).is_ok());
            }
        }
    }
}

/// After five minutes the leader of the quorum lists it no more.
#[test]
fn a_living_broker_is_not_repaired_beside_one_that_fetches_no_metadata() {
    for (lost, may) in [(1, true), (2, false)] {
        let mut bed = Bed::new();
        bed.scene
            .quorum(1, |quorum| quorum.observers.retain(|it| it.node.0 != lost));
        bed.tick();
        let repair = bed.repair("ann", &[1]);
        assert_eq!(repair.is_ok(), may, "{lost} is lost: {repair:?}");
    }
}

/// Without the right to see a topic no row tells of it: its one copy in sync may be here.
#[test]
fn a_living_broker_is_not_repaired_where_it_hosts_what_is_hidden() {
    let mut bed = Bed::new();
    bed.scene
        .log_dirs(1, |dirs| dirs.hosted.push((Arc::from("secret"), 0)));
    bed.tick();
    let why = bed.repair("ann", &[1]).unwrap_err();
    assert!(why.contains(&Reason::TopicsHidden), "{why:?}");
    // Nobody tells who else has a copy of it.
    assert!(bed.repair("ann", &[2]).is_err());
    // A controller serves no partition.
    assert!(bed.repair("ann", &[102]).is_ok());
}

/// A leader that nobody hears has left a follower out of its ISR, and tables still list that one.
/// Found by the simulation.
#[test]
fn a_living_broker_is_not_repaired_where_newer_words_than_the_tables_doubt_the_rest() {
    let mut bed = Bed::new();
    bed.scene.metric(1, Metric::UnderReplicatedPartitions, 1.0);
    bed.tick();
    let why = bed.repair("ann", &[1]).unwrap_err();
    assert_eq!(why, [Reason::SourcesDisagree]);
    bed.scene.metric(1, Metric::UnderReplicatedPartitions, 0.0);
    bed.scene.log_ends(2, |ends| {
        for end in &mut ends.rows {
            end.own_end = Known::Is(0);
        }
    });
    bed.tick();
    let why = bed.repair("ann", &[1]).unwrap_err();
    assert_eq!(why, [Reason::ReplicaBehind]);
    // Whoever is behind itself is no copy that anybody counts on.
    assert!(bed.repair("ann", &[2]).is_ok());
}

/// An entry below an epoch already seen is no row either.
#[test]
fn a_living_broker_is_not_repaired_while_a_partition_is_told_by_old_news() {
    let mut bed = Bed::new();
    bed.scene.order(0, |p| p.epoch = 6);
    bed.tick();
    bed.scene.order(0, |p| p.epoch = 5);
    bed.tick();
    let why = bed.repair("ann", &[1]).unwrap_err();
    assert!(why.contains(&Reason::EvidenceStale), "{why:?}");
    bed.scene.order(0, |p| p.epoch = 6);
    bed.tick();
    assert!(bed.repair("ann", &[1]).is_ok());
}

/// One of the two who are asked is cut off and goes on telling that the broker is out of sync, which is back
/// since. Found by the simulation.
#[test]
fn a_living_broker_that_one_table_has_in_sync_is_not_repaired_beside_nobody_else() {
    let isr = |isr: &'static [i32]| {
        let mut topic = SceneTopic::new("orders", 2, &[&[1, 2, 3]]);
        topic.partitions[0].isr = isr.to_vec();
        [topic]
    };
    for (one, other, may) in [
        (&[1, 2][..], &[2, 3][..], false),
        (&[2, 3], &[1, 2], false),
        (&[2, 3], &[2, 3], true),
    ] {
        let mut bed = Bed::bare(Scene::with(&[1, 2, 3], &[101, 102, 103], isr(one).to_vec()));
        bed.run(1);
        bed.scene.table_of(2, &isr(other));
        bed.tick();
        let repair = bed.repair("ann", &[1]);
        let why = repair.err().unwrap_or_default();
        assert_eq!(why.is_empty(), may, "{one:?} {other:?}");
        assert_eq!(why.contains(&Reason::WouldLoseMinIsr), !may, "{why:?}");
    }
}

/// Who tells of the cluster has kept up, and who tells of partitions has not.
#[test]
fn a_living_broker_is_not_repaired_by_tables_of_the_cut_off_alone() {
    let mut bed = Bed::new();
    bed.scene.metric(2, Metric::MetadataLagMs, 60_000.0);
    bed.scene
        .fail(kafka(1), FactKind::Partitions, FailureClass::Timeout);
    bed.tick();
    let why = bed.repair("ann", &[3]).unwrap_err();
    assert!(why.contains(&Reason::EvidenceStale), "{why:?}");
    assert!(bed.repair("ann", &[102]).is_ok(), "it serves no partition");
}

/// What it hosts only the broker itself can say.
#[test]
fn a_living_broker_has_to_show_what_it_hosts_and_one_that_has_gone_has_not() {
    let fails = |bed: &mut Bed, id| {
        let class = FailureClass::Timeout;
        bed.scene.fail(kafka(id), FactKind::LogDirs, class);
        bed.tick();
    };
    let mut bed = Bed::new();
    fails(&mut bed, 2);
    let why = bed.repair("ann", &[2]).unwrap_err();
    assert!(why.contains(&Reason::SourceFailed), "{why:?}");
    let mut bed = Bed::new();
    fails(&mut bed, 2);
    assert!(bed.repair("ann", &[1]).is_ok(), "its own are shown");
    // A cluster in which nobody shows anything.
    let mut bed = Bed::new();
    for id in [1, 2, 3] {
        fails(&mut bed, id);
    }
    ended(&mut bed, 1, FailureClass::Closed);
    assert!(bed.repair("ann", &[1]).is_err(), "it may lead");
    bed.fence(1);
    assert!(bed.repair("ann", &[1]).is_ok());
}

/// A process that hangs closes no connection, and on ZooKeeper no list alone shows its end.
#[test]
fn a_frozen_broker_that_is_in_nobodys_list_can_be_repaired() {
    let mut bed = Bed::bare(Scene::healthy_zookeeper());
    ended(&mut bed, 3, FailureClass::Timeout);
    bed.scene
        .fail(kafka(3), FactKind::LogDirs, FailureClass::Timeout);
    bed.tick();
    assert!(bed.repair("ann", &[3]).is_err(), "it may lead");
    bed.scene.retopic(|topics| {
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.isr.retain(|id| *id != 3);
            partition.leader = partition.isr.first().copied();
        }
    });
    bed.scene
        .fail(kafka(3), FactKind::LogDirs, FailureClass::Timeout);
    bed.fence(3);
    assert!(bed.repair("ann", &[3]).is_ok());
}

/// Pages show a process's end, and nothing of what a living node holds up.
#[test]
fn in_mode_jmx_only_who_has_ended_is_repaired() {
    let mut bed = Bed::bare(Scene::healthy_jmx());
    bed.run(1);
    bed.scene.fail(jmx(1), FactKind::Jmx, FailureClass::Refused);
    bed.tick();
    for nodes in [&[2][..], &[1, 2], &[101]] {
        let why = bed.repair("ann", nodes).unwrap_err();
        assert_eq!(why, [Reason::NoWhatIf], "{nodes:?}");
    }
    assert!(bed.repair("ann", &[1]).is_ok());
    // A machine that does not answer may live, and so may one whose exporter hangs up.
    for class in [FailureClass::ConnectTimeout, FailureClass::Closed] {
        let mut bed = Bed::bare(Scene::healthy_jmx());
        bed.run(1);
        bed.scene.fail(jmx(1), FactKind::Jmx, class);
        bed.tick();
        assert!(bed.repair("ann", &[1]).is_err(), "{class:?}");
    }
}

/// A broker that hangs in its start serves nothing: whoever has stopped it can cure it.
#[test]
fn in_mode_jmx_a_broker_that_is_starting_is_repaired() {
    for (state, may) in [
        (0.0, true),
        (1.0, true),
        (2.0, true),
        (3.0, false),
        (6.0, false),
    ] {
        let mut bed = Bed::bare(Scene::healthy_jmx());
        bed.run(1);
        bed.scene.metric(1, Metric::BrokerState, state);
        bed.tick();
        assert_eq!(bed.repair("ann", &[1]).is_ok(), may, "{state}");
    }
}

#[test]
fn one_broker_that_has_heard_it_before_the_others_is_not_enough() {
    let mut bed = needed(Scene::healthy_kraft());
    ended(&mut bed, 1, FailureClass::Closed);
    bed.scene.cluster(2, |cluster| fence(cluster, 1));
    bed.tick();
    assert!(bed.repair("ann", &[1]).is_err());
}

#[test]
fn on_zookeeper_the_list_alone_shows_nothing() {
    let mut bed = needed(Scene::healthy_zookeeper());
    bed.fence(1);
    assert!(bed.repair("ann", &[1]).is_err(), "it may not be told yet");
    ended(&mut bed, 1, FailureClass::Refused);
    assert!(bed.repair("ann", &[1]).is_ok());
}

#[test]
fn where_nobody_answers_nothing_is_shown() {
    let mut bed = needed(Scene::healthy_kraft());
    for id in [1, 2, 3, 101, 102, 103] {
        bed.scene.kill(id);
    }
    for kind in [FactKind::Cluster, FactKind::Quorum, FactKind::Partitions] {
        bed.scene.fail_all(kind, FailureClass::Refused);
    }
    bed.tick();
    assert!(bed.repair("ann", &[1]).is_err());
    assert!(bed.repair("ann", &[101]).is_err());
}

#[test]
fn a_controller_has_gone_when_its_leader_does_not_hear_it() {
    // 102 is behind, so that 101 and 103 are the majority.
    let mut bed = Bed::new();
    let old = 1_699_999_990_000;
    bed.scene
        .quorum(1, |q| q.voters[1].last_caught_up_ms = Some(old));
    bed.tick();
    let other = |bed: &mut Bed, id| bed.repair("ann", &[id]);
    ended(&mut bed, 103, FailureClass::Refused);
    let why = other(&mut bed, 103).unwrap_err();
    assert!(why.contains(&Reason::WouldLoseQuorum), "{why:?}");
    bed.scene
        .quorum(1, |q| q.voters[2].last_caught_up_ms = Some(old));
    bed.tick();
    assert!(other(&mut bed, 103).is_ok());
}

/// A clock that was set back says nothing: whoever has to be shown gone is not.
#[test]
fn a_leader_whose_clock_was_set_back_shows_no_end() {
    let mut bed = Bed::new();
    let later = 1_700_000_010_000;
    bed.scene.quorum(1, |q| {
        q.voters[1].last_caught_up_ms = Some(1_699_999_990_000);
        q.voters[2].last_caught_up_ms = Some(later);
    });
    bed.tick();
    ended(&mut bed, 103, FailureClass::Refused);
    let why = bed.repair("ann", &[103]).unwrap_err();
    assert!(why.contains(&Reason::WouldLoseQuorum), "{why:?}");
}

/// Nobody can fence brokers or hear voters then, and the brokers tell what was true before.
#[test]
fn a_lost_quorum_can_be_cured() {
    for scene in [Scene::healthy_kraft(), Scene::healthy_combined()] {
        let mut bed = Bed::bare(scene);
        bed.run(1);
        let controllers: Vec<i32> = {
            let separate = bed.scene.sources(FactKind::Link).contains(&kafka(101));
            if separate { vec![101, 102] } else { vec![1, 2] }
        };
        bed.scene.fail_all(FactKind::Quorum, FailureClass::Timeout);
        bed.scene.kill(controllers[0]);
        bed.run(10);
        assert!(bed.repair("ann", &controllers[..1]).is_err(), "one is left");
        bed.scene.kill(controllers[1]);
        bed.tick();
        for id in controllers {
            assert!(bed.repair("ann", &[id]).is_ok(), "{id}");
        }
    }
}

fn five_voters() -> Bed {
    let voters = [101, 102, 103, 104, 105];
    let orders = vec![SceneTopic::new("orders", 2, &[&[1, 2, 3]])];
    let mut bed = Bed::bare(Scene::with(&[1, 2, 3], &voters, orders));
    bed.run(WINDOW + 2);
    bed
}

/// Whoever was told "go" of two nodes may stop both, whoever repairs one of them now.
#[test]
fn a_repair_of_a_part_counts_the_rest_of_the_lease_it_takes_over_as_down() {
    let mut bed = five_voters();
    bed.enter("jenkins", &[101, 102]).unwrap();
    ended(&mut bed, 103, FailureClass::Closed);
    let why = bed.repair("ann", &[101]).unwrap_err();
    assert!(why.contains(&Reason::WouldLoseQuorum), "{why:?}");
}

#[test]
fn a_repair_of_another_part_of_ones_own_lease_counts_the_first_part_as_down() {
    let mut bed = five_voters();
    bed.enter("jenkins", &[101, 102]).unwrap();
    bed.repair("ann", &[101]).unwrap();
    ended(&mut bed, 103, FailureClass::Closed);
    let why = bed.repair("ann", &[102]).unwrap_err();
    assert!(why.contains(&Reason::WouldLoseQuorum), "{why:?}");
}

/// An election is under way: that no leader has caught up voters says nothing of them.
#[test]
fn a_quorum_without_a_leader_shows_no_end() {
    let mut bed = Bed::new();
    for source in bed.scene.sources(FactKind::Quorum) {
        bed.scene
            .edit(source, FactKind::Quorum, |facts| match facts {
                Facts::Quorum(quorum) => quorum.leader = None,
                other => panic!("{other:?}"),
            });
    }
    ended(&mut bed, 101, FailureClass::Closed);
    assert!(bed.repair("ann", &[101]).is_err());
}

#[test]
fn a_repair_waits_for_answers_newer_than_itself() {
    let mut bed = needed(Scene::healthy_kraft());
    ended(&mut bed, 1, FailureClass::Closed);
    bed.fence(1);
    let ticket = bed.ask_enter("ann", &[1], Action::Repair);
    assert!(
        !bed.replies.contains_key(&ticket),
        "by what was said before"
    );
    assert!(bed.await_go(ticket).is_ok());
}

/// Its owner was told "go" and may still stop the node: the slot must not be free because a repair
/// that took it over came to nothing.
#[test]
fn a_takeover_that_is_withdrawn_frees_nobody() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.fence(1);
    bed.answers = false;
    let ticket = bed.ask_enter("ann", &[1], Action::Repair);
    while bed.commits.is_empty() {
        bed.tick();
    }
    // A moment before it is written somebody closes the gate by hand.
    bed.ask(Command::Change(Change::Hold {
        node: None,
        author: super::owner("ben"),
        reason: String::from("stop"),
        ttl: None,
    }));
    bed.answers = true;
    bed.answer_written();
    assert!(bed.await_go(ticket).unwrap_err().contains(&Reason::Hold));
    bed.tick();
    let lease = bed.doc.leases.values().next().expect("it stays");
    assert_eq!((lease.stage, lease.owner_name()), (Stage::Held, "jenkins"));
    bed.change(Change::Lift {
        node: None,
        by: super::owner("ben"),
    });
    assert!(bed.enter("rundeck", &[2]).is_err());
    bed.up(1, before);
    bed.run(WINDOW + 2);
    bed.leave("jenkins", &[1]);
    assert!(bed.doc.leases.is_empty(), "as if nobody had come");
}
