//! What is said of a return on its way: the first thing that is missing, since when, and how long it
//! usually takes. Somebody decides by it at night whether to wait or to look at the machine.

use super::*;
use crate::checks::reason::Severity;
use crate::evidence::jmx::Metric;
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::kafka;
use crate::gate::doc::{ENDED_KEPT, RETURNS_KEPT};
use crate::gate::lease::Stage;
use crate::gate::parts::{LeaseView, ReasonView};

impl Bed {
    fn lease_view(&self) -> LeaseView {
        let seen = self.view.at(self.scene.now.mono).last_known();
        assert_eq!(seen.leases.len(), 1);
        seen.leases[0].clone()
    }

    fn progress(&self) -> String {
        self.lease_view().progress
    }

    fn reason(&self, reason: Reason) -> Option<ReasonView> {
        let reasons = self.view.at(self.scene.now.mono).reasons();
        reasons.into_iter().find(|it| it.reason == reason)
    }

    /// Node 1's process is another one now, and everything about it is well.
    fn restarted(&mut self, before: &Scene) {
        self.up(1, before.clone());
    }
}

/// A gate on whose node 1 somebody has a lease, and the scene before anything happened.
fn leased() -> (Bed, Scene) {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    bed.tick();
    let before = bed.scene.clone();
    (bed, before)
}

#[test]
fn a_return_is_told_step_by_step() {
    let (mut bed, before) = leased();
    assert_eq!(bed.progress(), "still up");
    bed.down(1);
    assert_eq!(bed.progress(), "down: 1");
    // It starts: its page is there before its listener.
    let runs = |bed: &mut Bed, state: f64, logs: f64| {
        let now = bed.scene.now;
        bed.scene = before.clone();
        bed.scene.now = now;
        bed.scene
            .fail(kafka(1), FactKind::Link, FailureClass::Refused);
        bed.scene.metric(1, Metric::BrokerState, state);
        bed.scene.metric(1, Metric::RemainingLogsToRecover, logs);
        bed.tick();
    };
    runs(&mut bed, 2.0, 12.0);
    assert_eq!(bed.progress(), "node 1 recovers its logs, 12 left");
    runs(&mut bed, 2.0, 0.0);
    assert_eq!(bed.progress(), "down: 1", "it does neither");
    assert_eq!(bed.reason(Reason::RegistrationStalled), None);
    runs(&mut bed, 1.0, 0.0);
    assert_eq!(bed.progress(), "node 1 is starting");
    assert_eq!(bed.reason(Reason::RegistrationStalled), None, "not on 3.9");
    // It is up, and recovers on.
    let mut recovering = before.clone();
    recovering.metric(1, Metric::RemainingLogsToRecover, 3.0);
    bed.restarted(&recovering);
    assert_eq!(bed.progress(), "node 1 recovers its logs, 3 left");
    let mut lagging = before.clone();
    lagging.order(0, |partition| partition.isr = vec![2, 3]);
    lagging.order(3, |partition| partition.isr = vec![2, 3]);
    bed.restarted(&lagging);
    assert_eq!(bed.progress(), "2 of its replicas are out of sync");
    let mut ill = before.clone();
    ill.metric(2, Metric::FetcherDeadThreads, 1.0);
    bed.restarted(&ill);
    assert_eq!(bed.progress(), "the cluster is not healthy");
    bed.restarted(&before);
    assert_eq!(bed.progress(), format!("settling, {WINDOW}.0s left"));
    bed.tick();
    assert_eq!(
        bed.progress(),
        format!("settling, {WINDOW}.0s left"),
        "whole seconds, rounded up"
    );
    bed.tick();
    assert_eq!(bed.progress(), format!("settling, {}.0s left", WINDOW - 1));
}

/// Only what the lease holds is its business.
#[test]
fn replicas_of_other_nodes_are_not_this_leases() {
    let (mut bed, mut lagging) = leased();
    bed.down(1);
    lagging.order(0, |partition| partition.isr = vec![1, 2]);
    bed.restarted(&lagging);
    assert_eq!(bed.progress(), "the cluster is not healthy");
}

#[test]
fn a_return_that_does_not_move_is_named_after_ten_minutes() {
    let (mut bed, _) = leased();
    bed.down(1);
    assert_eq!(bed.lease_view().unchanged_for, Duration::ZERO);
    bed.run(4);
    assert_eq!(bed.lease_view().unchanged_for, Duration::from_secs(4));
    bed.pass(595_000);
    bed.tick();
    assert_eq!(bed.reason(Reason::NoProgress), None, "a moment is left");
    bed.tick();
    let stuck = bed.reason(Reason::NoProgress).expect("a reason");
    assert!(stuck.observed.starts_with("down: 1, for "), "{stuck:?}");
    assert_eq!(stuck.severity, Severity::Warn);
    bed.scene.kill(101);
    bed.tick();
    assert!(
        bed.reason(Reason::NoProgress).is_some(),
        "that is another node"
    );
}

/// A node that dies in its start again and again is down, starting, recovering, and down again.
#[test]
fn a_node_that_never_comes_nearer_makes_no_progress() {
    let (mut bed, before) = leased();
    bed.down(1);
    let down = bed.scene.clone();
    let show = |bed: &mut Bed, scene: &Scene, state: Option<f64>| {
        let now = bed.scene.now;
        bed.scene = scene.clone();
        bed.scene.now = now;
        if let Some(state) = state {
            bed.scene
                .fail(kafka(1), FactKind::Link, FailureClass::Refused);
            bed.scene.metric(1, Metric::BrokerState, state);
            bed.scene.metric(1, Metric::RemainingLogsToRecover, 0.0);
        }
        bed.run(60);
    };
    for _ in 0..4 {
        show(&mut bed, &down, None);
        show(&mut bed, &before, Some(1.0));
    }
    assert_eq!(bed.progress(), "node 1 is starting");
    assert_eq!(bed.reason(Reason::NoProgress), None);
    for _ in 0..2 {
        show(&mut bed, &down, None);
        show(&mut bed, &before, Some(1.0));
    }
    assert!(bed.reason(Reason::NoProgress).is_some());
    bed.restarted(&before);
    assert_eq!(bed.reason(Reason::NoProgress), None, "it is back");
}

/// Who has not stopped the node yet, or waits for the window, is not stuck.
#[test]
fn a_lease_that_nobody_uses_is_not_stuck() {
    let mut bed = Bed::new();
    let lease = bed.enter("jenkins", &[1]).unwrap();
    let renewed = bed.change(Change::Renew {
        lease: lease.id,
        token: lease.token,
        ttl: Duration::from_secs(3600),
        by: None,
    });
    assert!(matches!(renewed, Reply::Changed(_)));
    bed.pass(700_000);
    bed.tick();
    assert_eq!(bed.progress(), "still up");
    let stays = bed.lease_view().unchanged_for;
    assert!(stays >= Duration::from_secs(700), "{stays:?}");
    assert_eq!(bed.reason(Reason::NoProgress), None);
    let taken = bed.reason(Reason::SlotTaken).expect("a reason");
    assert!(taken.observed.starts_with("taken by jenkins "), "{taken:?}");
    assert!(taken.observed.ends_with("(held, still up)"), "{taken:?}");
    assert_eq!(taken.examples, ["node 1"]);
}

/// The median of the last returns, those that nobody announced aside.
#[test]
fn how_long_it_usually_takes_is_learned() {
    let mut bed = Bed::new();
    for seconds in [5, 30, 10] {
        bed.enter("jenkins", &[1]).unwrap();
        let before = bed.down(1);
        bed.run(seconds);
        bed.up(1, before);
        bed.run(WINDOW + 2);
        bed.leave("jenkins", &[1]);
        bed.run(1);
    }
    assert_eq!(bed.doc.returns.len(), 3);
    let mut sorted = bed.doc.returns.clone();
    sorted.sort_unstable();
    bed.enter("jenkins", &[1]).unwrap();
    bed.tick();
    assert_eq!(bed.lease_view().usually, Some(sorted[1]));
    assert!(sorted[1] > Duration::from_secs(10) && sorted[1] < Duration::from_secs(20));
}

/// Controllers are back at once; a broker has replicas to catch up.
#[test]
fn brokers_and_controllers_are_learned_apart() {
    let mut bed = Bed::new();
    for (id, seconds) in [(103, 2), (102, 2), (1, 40)] {
        bed.enter("jenkins", &[id]).unwrap();
        let before = bed.down(id);
        bed.run(seconds);
        bed.up(id, before);
        bed.run(WINDOW + 2);
        bed.leave("jenkins", &[id]);
        bed.run(1);
    }
    assert_eq!(
        (bed.doc.returns.len(), bed.doc.controller_returns.len()),
        (1, 2)
    );
    let usually = |bed: &mut Bed, id: i32| {
        let lease = bed.enter("jenkins", &[id]).unwrap();
        bed.tick();
        let usually = bed.lease_view().usually.unwrap();
        bed.leave("jenkins", &[id]);
        bed.run(WINDOW + 2);
        assert!(!bed.doc.leases.contains_key(&lease.id));
        usually
    };
    assert!(usually(&mut bed, 2) >= Duration::from_secs(40));
    assert!(usually(&mut bed, 101) < Duration::from_secs(40));
}

/// By the clock that nobody sets, as long as the gate that granted it is the one that sees it end.
#[test]
fn a_clock_that_is_set_teaches_nothing_wrong() {
    let mut bed = Bed::new();
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.scene.now.wall = bed.scene.now.wall.plus(Duration::from_secs(86_400));
    bed.run(5);
    bed.up(1, before);
    bed.run(WINDOW + 2);
    bed.leave("jenkins", &[1]);
    bed.run(1);
    assert_eq!(bed.doc.returns.len(), 1);
    assert!(
        bed.doc.returns[0] < Duration::from_secs(60),
        "{:?}",
        bed.doc.returns
    );
}

#[test]
fn a_return_that_nobody_announced_teaches_nothing() {
    let mut bed = Bed::new();
    let before = bed.down(1);
    bed.run(6);
    assert_eq!(bed.lease_view().lease.stage, Stage::Unannounced);
    bed.up(1, before);
    bed.run(WINDOW + 2);
    assert!(bed.doc.leases.is_empty());
    assert!(bed.doc.returns.is_empty());
    let proven = bed.happened().into_iter().find_map(|what| match what {
        What::ProvenBack { gone, seconds, .. } => Some((*gone, *seconds)),
        _ => None,
    });
    let (gone, seconds) = proven.expect("an entry");
    assert!(gone && seconds <= 6, "from the slot's beginning: {seconds}");
}

/// The document stays small, however long a gate lives.
#[test]
fn only_the_last_returns_and_ends_are_kept() {
    let mut bed = Bed::new();
    bed.doc.returns = vec![Duration::from_secs(1); RETURNS_KEPT];
    bed.restart();
    bed.run(WINDOW + 2);
    bed.enter("jenkins", &[1]).unwrap();
    let before = bed.down(1);
    bed.run(5);
    bed.up(1, before);
    bed.run(WINDOW + 2);
    bed.leave("jenkins", &[1]);
    assert_eq!(bed.doc.returns.len(), RETURNS_KEPT);
    assert!(
        *bed.doc.returns.last().unwrap() > Duration::from_secs(1),
        "the oldest one goes"
    );
    for _ in 0..=ENDED_KEPT {
        let lease = bed.enter("jenkins", &[2]).unwrap();
        bed.change(Change::Break {
            lease: lease.id,
            by: owner("ann"),
            reason: String::from("test"),
        });
    }
    assert_eq!(bed.doc.ended.len(), ENDED_KEPT);
    let newest = bed.doc.ended.last().unwrap();
    assert_eq!(newest.id, bed.doc.last_lease);
}
