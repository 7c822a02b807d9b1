//! The two who are asked of the cluster answer one after the other, and each puts its questions one after
//! the other: what has not come yet permits nothing.

use std::time::Duration;

use super::{Bed, fence};
use crate::checks::reason::Reason;
use crate::evidence::jmx::Metric;
use crate::evidence::report::{FactKind, FailureClass, SourceId};
use crate::evidence::scene::{Scene, kafka};
use crate::gate::lease::Action;
use crate::gate::machine::Input;
use crate::gate::question::Ticket;

impl Bed {
    fn asks_for_a_repair(&mut self, nodes: &[i32]) -> Ticket {
        let ticket = self.ask_enter("ann", nodes, Action::Repair);
        self.pass(100);
        ticket
    }

    fn still_waits(&self, ticket: Ticket) -> bool {
        !self.replies.contains_key(&ticket)
    }
}

fn is(wanted: FactKind) -> impl Fn(&SourceId, FactKind) -> bool {
    move |_, kind| kind == wanted
}

/// Broker 1 leads what has one other copy left, and its connection to the gate has ended.
fn cut_off() -> Bed {
    let mut scene = Scene::healthy_kraft();
    scene.order(0, |p| p.isr.retain(|id| *id != 2));
    scene.fail(kafka(1), FactKind::Link, FailureClass::Closed);
    let mut bed = Bed::bare(scene);
    bed.run(1);
    bed
}

/// Whoever answers first may be cut off from the controllers, and tell that a broker is fenced which is
/// back since.
#[test]
fn one_who_has_not_answered_yet_speaks_against_an_end() {
    for stays in [true, false] {
        let mut bed = cut_off();
        let ticket = bed.asks_for_a_repair(&[1]);
        bed.scene.cluster(1, |cluster| fence(cluster, 1));
        bed.hear(|source, kind| *source == kafka(1) && kind != FactKind::Link);
        assert!(bed.still_waits(ticket), "the other one has it in service");
        bed.pass(100);
        if !stays {
            bed.scene.cluster(2, |cluster| fence(cluster, 1));
        }
        bed.hear(|_, _| true);
        let repair = bed.await_go(ticket);
        assert_eq!(repair.is_err(), stays, "{repair:?}");
    }
}

/// The same of "go" that is said again.
#[test]
fn one_who_has_not_answered_yet_speaks_against_going_on() {
    for stays in [true, false] {
        let mut bed = Bed::new();
        bed.enter("jenkins", &[1]).unwrap();
        bed.down(1);
        let ticket = bed.ask_enter("jenkins", &[1], Action::Restart);
        bed.pass(100);
        bed.scene.cluster(1, |cluster| fence(cluster, 1));
        bed.hear(|source, kind| *source == kafka(1) && kind == FactKind::Cluster);
        assert!(bed.still_waits(ticket), "the other one has it in service");
        if !stays {
            bed.scene.cluster(2, |cluster| fence(cluster, 1));
        }
        bed.pass(100);
        bed.hear(|_, _| true);
        let again = bed.await_go(ticket);
        assert_eq!(again.is_err(), stays, "{again:?}");
    }
}

/// One of the two says nothing any more: its last word counts as long as it is in date, and then the other
/// one's has to do.
#[test]
fn one_who_is_silent_is_not_waited_for_for_ever() {
    let mut bed = cut_off();
    bed.fence(1);
    let ticket = bed.asks_for_a_repair(&[1]);
    let silent =
        |source: &SourceId, kind: FactKind| *source == kafka(2) && kind == FactKind::Cluster;
    for tenths in 0..108 {
        assert!(tenths > 48 || bed.still_waits(ticket));
        bed.hear(|source, kind| !silent(source, kind));
        while !bed.commits.is_empty() {
            bed.answer_written();
        }
        bed.pass(100);
    }
    assert_eq!(bed.await_go(ticket).map(|_| ()), Ok(()));
    // Where nobody else is up there is nobody to wait for.
    let mut bed = cut_off();
    for id in [2, 3] {
        bed.scene
            .fail(kafka(id), FactKind::Link, FailureClass::Refused);
    }
    bed.fence(1);
    bed.run(4);
    let slot = (kafka(2), FactKind::Cluster);
    bed.scene.reports.remove(&slot);
    bed.input(Input::Evidence {
        reports: Vec::new(),
        dropped: vec![slot],
    });
    let ticket = bed.asks_for_a_repair(&[1]);
    bed.hear(|_, _| true);
    assert!(bed.replies.contains_key(&ticket));
    assert!(bed.await_go(ticket).is_ok());
}

/// A firewall resets the gate's connections to most controllers and to a broker; the quorum lives, and
/// brokers tell of its leader a moment after they have told of the cluster.
fn walled_off() -> Bed {
    let mut scene = Scene::healthy_kraft();
    scene.order(0, |p| p.isr.retain(|id| *id != 2));
    let mut bed = Bed::bare(scene);
    bed.run(1);
    for id in [1, 101, 102] {
        bed.scene
            .fail(kafka(id), FactKind::Link, FailureClass::Refused);
    }
    bed.tick();
    bed
}

#[test]
fn a_quorum_is_not_lost_because_nobody_has_told_of_it_yet() {
    let mut bed = walled_off();
    let ticket = bed.asks_for_a_repair(&[1]);
    bed.hear(is(FactKind::Cluster));
    assert!(
        bed.still_waits(ticket),
        "it has a leader by all that is known"
    );
    // Not when its patience is over either, and its last word too old.
    bed.pass(4_800);
    bed.hear(is(FactKind::Cluster));
    assert!(bed.still_waits(ticket));
    bed.pass(100);
    bed.input(Input::Wake);
    assert!(bed.await_go(ticket).is_err());
    // Nor for a gate that has just begun.
    let mut bed = walled_off();
    bed.restart();
    let ticket = bed.asks_for_a_repair(&[1]);
    bed.hear(|_, kind| kind != FactKind::Quorum);
    assert!(bed.still_waits(ticket));
    bed.run(1);
    assert!(bed.await_go(ticket).is_err());
}

/// Whoever asks in vain for the quorum goes to another broker: nothing is left of the question.
#[test]
fn a_lost_quorum_of_which_no_word_is_left_can_be_cured() {
    let mut bed = walled_off();
    bed.scene.remove(FactKind::Quorum);
    bed.input(Input::Evidence {
        reports: Vec::new(),
        dropped: vec![(kafka(1), FactKind::Quorum)],
    });
    bed.run(3);
    assert!(bed.repair("ann", &[1]).is_err(), "it had a leader just now");
    bed.run(10);
    let ticket = bed.asks_for_a_repair(&[101]);
    bed.run(1);
    assert!(bed.still_waits(ticket), "somebody may tell of it yet");
    bed.run(2);
    assert!(bed.replies.contains_key(&ticket));
    assert!(bed.await_go(ticket).is_ok());
    assert!(bed.repair("ann", &[1]).is_ok(), "whom nobody can fence");
}

/// A "no" as well has to wait: whoever asks anew each time would never come to an answer.
#[test]
fn a_living_node_is_judged_once_everything_is_heard() {
    let mut bed = Bed::new();
    let ticket = bed.asks_for_a_repair(&[1]);
    for kind in [FactKind::Cluster, FactKind::Partitions, FactKind::Quorum] {
        bed.hear(is(kind));
        assert!(bed.still_waits(ticket), "{kind}");
        bed.pass(10);
    }
    bed.hear(is(FactKind::Link));
    assert!(bed.await_go(ticket).is_ok());
}

/// Two tables of one epoch may differ, and the smaller ISR counts: also where its broker is slow.
#[test]
fn a_living_node_is_judged_by_the_older_table_as_well() {
    let mut bed = Bed::new();
    let mut topics = bed.scene.topics.clone();
    topics[0].partitions[0].isr.retain(|id| *id != 2);
    bed.scene.table_of(2, &topics);
    let slot = (kafka(2), FactKind::Partitions);
    let report = bed.scene.reports.get_mut(&slot).unwrap();
    report.every = Duration::from_secs(5);
    bed.tick();
    let ticket = bed.asks_for_a_repair(&[1]);
    let others = |source: &SourceId, kind: FactKind| (source.clone(), kind) != slot;
    for _ in 0..49 {
        bed.hear(others);
        assert!(bed.still_waits(ticket), "for the other table");
        bed.pass(100);
    }
    bed.hear(others);
    let why = bed.await_go(ticket).unwrap_err();
    assert!(why.contains(&Reason::WouldLoseMinIsr), "{why:?}");
}

/// Broker 3 answers, and the two who tell of the cluster have it out: fenced, and in no ISR.
fn told_out() -> Bed {
    let mut bed = Bed::bare(Scene::healthy_kraft());
    bed.scene.retopic(|topics| {
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.isr.retain(|id| *id != 3);
            partition.leader = partition.isr.first().copied();
        }
    });
    bed.run(1);
    bed.fence(3);
    bed
}

/// Both who tell of the cluster are cut off from the controllers: they have a broker out that may be back
/// and lead by now, and their tables as well are of before.
#[test]
fn who_is_cut_off_from_the_controllers_shows_no_end_of_a_broker_that_answers() {
    let mut bed = told_out();
    assert!(bed.repair("ann", &[3]).is_ok(), "its controllers say so");
    let mut bed = told_out();
    bed.scene.fail_all(FactKind::Quorum, FailureClass::Timeout);
    bed.tick();
    for seconds in [0, 20] {
        bed.run(seconds);
        let why = bed.repair("ann", &[3]).unwrap_err();
        assert!(why.contains(&Reason::NoActiveController), "{why:?}");
    }
    // Nor where our connections to most controllers are cut as well, so that the quorum seems lost.
    for id in [101, 102] {
        bed.scene.kill(id);
    }
    bed.run(20);
    let why = bed.repair("ann", &[3]).unwrap_err();
    assert!(why.contains(&Reason::NoActiveController), "{why:?}");
    assert!(bed.repair("ann", &[101]).is_ok(), "the cure comes first");
}

/// They may hear of the leader, and publish late what they have fetched.
#[test]
fn who_lags_behind_the_controllers_shows_no_end_of_a_broker_that_answers() {
    let mut bed = told_out();
    bed.scene.metric(1, Metric::MetadataLagMs, 60_000.0);
    bed.tick();
    bed.scene.metric(2, Metric::MetadataLagMs, 60_000.0);
    bed.tick();
    let why = bed.repair("ann", &[3]).unwrap_err();
    assert!(why.contains(&Reason::EvidenceStale), "{why:?}");
    bed.scene.metric(2, Metric::MetadataLagMs, 10.0);
    bed.tick();
    assert!(bed.repair("ann", &[3]).is_ok(), "the other one knows");
}

/// The same of "go" that is said again.
#[test]
fn who_is_cut_off_from_the_controllers_lets_nobody_go_on_with_a_broker_that_answers() {
    for leader in [true, false] {
        let mut bed = Bed::new();
        bed.enter("jenkins", &[3]).unwrap();
        let before = bed.down(3);
        bed.fence(3);
        bed.up(3, before);
        bed.fence(3);
        if !leader {
            bed.scene.fail_all(FactKind::Quorum, FailureClass::Timeout);
        }
        bed.tick();
        let again = bed.enter("jenkins", &[3]);
        assert_eq!(again.is_ok(), leader, "{again:?}");
    }
}

/// The one word there is of the quorum is of an election.
#[test]
fn an_election_shows_no_end_of_a_broker_that_answers() {
    let mut bed = told_out();
    bed.scene.quorum(1, |quorum| quorum.leader = None);
    bed.tick();
    let why = bed.repair("ann", &[3]).unwrap_err();
    assert_eq!(why, [Reason::NoActiveController]);
    assert!(bed.repair("ann", &[1]).is_err());
}
