//! What the return of a leased node waits for, in words and as reasons of their own.

use super::{Bed, WINDOW};
use crate::checks::reason::Reason;
use crate::evidence::facts::Move;
use crate::evidence::ids::{NodeId, Release, Version};
use crate::evidence::jmx::Metric;
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::{Scene, kafka, nodes, set};
use crate::gate::lease::End;
use crate::gate::question::{Answered, Change, Reply};

fn progress(bed: &Bed) -> String {
    let parts = bed.view.at(bed.scene.now.mono).parts().unwrap();
    parts.leases[0].progress.clone()
}

/// Broker 1 is leased, and its connection is refused; its page answers as `change` has it.
fn starting(release: Version, change: impl FnOnce(&mut Scene)) -> Bed {
    let mut bed = Bed::new();
    for id in [1, 2, 3, 101, 102, 103] {
        bed.scene
            .link(id, |link| link.release = Release::Is(release));
    }
    bed.tick();
    bed.enter("jenkins", &[1]).unwrap();
    bed.scene
        .fail(kafka(1), FactKind::Link, FailureClass::Refused);
    change(&mut bed.scene);
    bed.tick();
    bed
}

const NEWER: Version = Version { major: 4, minor: 1 };
const OLDER: Version = Version { major: 3, minor: 9 };

#[test]
fn a_registration_that_stalls_is_named_where_kafka_has_that() {
    let start = |scene: &mut Scene| scene.metric(1, Metric::BrokerState, 1.0);
    let mut bed = starting(NEWER, start);
    assert_eq!(progress(&bed), "node 1 runs and is not registered yet");
    assert!(bed.reasons().contains(&Reason::RegistrationStalled));
    // Its owner is told as well.
    let Reply::Verdict(Answered::Decided { decision, .. }) = bed.leave("jenkins", &[1]) else {
        panic!("it is not back");
    };
    let mut told = decision.reasons.iter().map(|told| told.reason);
    assert!(told.any(|reason| reason == Reason::RegistrationStalled));

    let bed = starting(OLDER, start);
    assert_eq!(progress(&bed), "node 1 is starting");
    assert!(!bed.reasons().contains(&Reason::RegistrationStalled));
}

#[test]
fn log_recovery_is_counted() {
    let bed = starting(NEWER, |scene| {
        scene.metric(1, Metric::BrokerState, 1.0);
        scene.metric(1, Metric::RemainingLogsToRecover, 17.0);
    });
    assert_eq!(progress(&bed), "node 1 recovers its logs, 17 left");
    assert!(!bed.reasons().contains(&Reason::RegistrationStalled));
}

#[test]
fn replicas_that_are_out_of_sync_are_counted() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.up(1, before);
    for index in [0, 3] {
        bed.scene.order(index, |p| p.isr.retain(|id| *id != 1));
    }
    bed.tick();
    assert_eq!(progress(&bed), "2 of its replicas are out of sync");
}

/// A reassignment takes hours: what a node is only being given does not keep its slot.
#[test]
fn replicas_that_are_only_being_added_are_not_waited_for() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let mut moving = bed.down(1);
    moving.order(3, |p| p.isr.retain(|id| *id != 1));
    moving.moves(1, |moves| {
        moves.list.push(Move {
            topic: String::from("orders"),
            partition: 3,
            replicas: nodes(&[2, 3, 1]),
            adding: nodes(&[1]),
            removing: Vec::new(),
        });
    });
    bed.up(1, moving);
    bed.run(WINDOW + 2);
    let left = bed.leave("jenkins", &[1]);
    assert!(matches!(left, Reply::Over(_)), "{}", progress(&bed));
}

#[test]
fn a_return_without_progress_is_a_reason_of_its_own() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    bed.down(1);
    bed.run(590);
    assert!(!bed.reasons().contains(&Reason::NoProgress));
    bed.run(20);
    assert!(bed.reasons().contains(&Reason::NoProgress));
}

/// Mode `kafka`: no start time shows that the process is another one. A stop that was ordered
/// before "leave" may still come, and a connection that was lost for a moment is no stop.
#[test]
fn without_start_times_a_whole_window_passes_after_leave() {
    let mut bed = Bed::bare(Scene::healthy_kafka());
    bed.run(WINDOW + 2);
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    let now = bed.scene.now;
    bed.scene = before;
    bed.scene.now = now;
    bed.run(WINDOW + 10);
    for _ in 0..2 {
        assert!(
            matches!(bed.leave("jenkins", &[1]), Reply::Verdict(_)),
            "it has said so a moment ago"
        );
    }
    bed.run(WINDOW + 1);
    assert!(matches!(bed.leave("jenkins", &[1]), Reply::Over(_)));
}

/// The machine under broker 9 is replaced by another one: its lease must not stay for ever, and
/// what else it holds must not be free.
#[test]
fn a_retired_node_leaves_the_lease_and_the_others_stay_in_it() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1, 103]).unwrap();
    bed.down(103);
    for source in bed.scene.sources(FactKind::Quorum) {
        bed.scene.edit(source, FactKind::Quorum, |facts| {
            if let crate::evidence::facts::Facts::Quorum(quorum) = facts {
                quorum.voters.retain(|voter| voter.node != NodeId(103));
            }
        });
    }
    bed.tick();
    let retire = Change::Retire {
        node: NodeId(103),
        by: super::owner("ann"),
    };
    assert!(matches!(bed.change(retire), Reply::Changed(_)));
    let lease = bed.doc.leases.values().next().unwrap().clone();
    assert_eq!((lease.nodes, lease.retired), (set(&[1]), set(&[103])));
    assert!(
        bed.enter("rundeck", &[2]).is_err(),
        "its owner may still stop broker 1"
    );
    // The owner goes on with the names it has entered with.
    bed.scene.reports.retain(|(source, _), _| {
        let of = [kafka(103), crate::evidence::scene::jmx(103)];
        !of.contains(source)
    });
    assert!(matches!(bed.leave("jenkins", &[1, 103]), Reply::Verdict(_)));
    bed.run(2 * WINDOW);
    let Reply::Over(ended) = bed.leave("jenkins", &[1, 103]) else {
        panic!("{:?}", bed.reasons());
    };
    assert_eq!((ended.how, ended.nodes), (End::NeverGone, set(&[1, 103])));
}

#[test]
fn the_lease_of_a_node_that_is_retired_is_over() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[103]).unwrap();
    bed.down(103);
    for source in bed.scene.sources(FactKind::Quorum) {
        bed.scene.edit(source, FactKind::Quorum, |facts| {
            if let crate::evidence::facts::Facts::Quorum(quorum) = facts {
                quorum.voters.retain(|voter| voter.node != NodeId(103));
            }
        });
    }
    bed.tick();
    bed.change(Change::Retire {
        node: NodeId(103),
        by: super::owner("ann"),
    });
    assert_eq!(bed.doc.ended.last().unwrap().how, End::Retired);
    assert!(bed.doc.leases.is_empty());
}
