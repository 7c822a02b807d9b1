//! Questions that the published view does not answer, and what the Machine does by itself: clocks
//! that jump, policies that change, deadlines.

use super::*;
use crate::checks::reason::Severity;
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::kafka;
use crate::gate::question::Question;
use crate::gate::view::Decision;
use crate::time::Mono;

impl Bed {
    fn question(&mut self, nodes: &[i32], newer_than: Option<Mono>) -> Ticket {
        let nodes = set(nodes);
        self.ask(Command::Decide(Question { nodes, newer_than }))
    }

    /// The answer that is there already.
    fn decided(&mut self, ticket: Ticket) -> Option<Decision> {
        match self.replies.remove(&ticket)? {
            Reply::Verdict(Answered::Decided {
                decision,
                evaluated,
            }) => {
                assert_eq!(evaluated, self.scene.now);
                Some(decision)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The answer on what is known now.
    fn at_once(&mut self, nodes: &[i32]) -> (State, Vec<Reason>) {
        let ticket = self.question(nodes, None);
        let decision = self.decided(ticket).expect("an answer at once");
        let against = decision.reasons.iter();
        let against = against.filter(|it| it.severity != Severity::Warn);
        (decision.state, against.map(|it| it.reason).collect())
    }

    /// What speaks against `open` in the published view.
    fn against(&self) -> BTreeSet<Reason> {
        let reasons = self.view.at(self.mono()).reasons().into_iter();
        let against = reasons.filter(|it| it.severity != Severity::Warn);
        against.map(|it| it.reason).collect()
    }

    /// The moment now, on the boot clock.
    fn mono(&self) -> Mono {
        self.scene.now.mono
    }
}

#[test]
fn a_set_of_nodes_is_judged_as_a_set() {
    let mut bed = Bed::new();
    assert_eq!(bed.at_once(&[]), (State::Open, vec![]));
    assert_eq!(bed.at_once(&[2]), (State::Open, vec![]));
    let (state, reasons) = bed.at_once(&[1, 2]);
    assert_eq!(state, State::Closed);
    assert!(reasons.contains(&Reason::WouldLoseMinIsr), "{reasons:?}");
    let ticket = bed.question(&[1, 9], None);
    let stranger = Reply::Verdict(Answered::NoSuchNodes(set(&[9])));
    assert_eq!(bed.replies.remove(&ticket), Some(stranger));
}

/// Before everybody has been heard a gate cannot call a node a stranger: it may be one that has not
/// told of itself yet.
#[test]
fn nobody_is_a_stranger_to_a_gate_that_has_just_started() {
    let mut bed = Bed::bare(Scene::healthy_kraft());
    let (state, reasons) = bed.at_once(&[9]);
    assert_ne!(state, State::Open);
    assert!(reasons.contains(&Reason::WarmingUp), "{reasons:?}");
}

#[test]
fn leases_and_holds_speak_in_an_answer_as_they_do_in_a_view() {
    let mut bed = Bed::new();
    let hold = bed.change(Change::Hold {
        node: Some(NodeId(3)),
        author: owner("ann"),
        reason: String::from("disks"),
        ttl: None,
    });
    assert!(matches!(hold, Reply::Changed(_)), "{hold:?}");
    assert_eq!(bed.at_once(&[3]), (State::Closed, vec![Reason::NodeHold]));
    assert_eq!(bed.at_once(&[2]), (State::Open, vec![]));
    bed.enter("roll", &[1]).unwrap();
    let (state, reasons) = bed.at_once(&[2]);
    assert_eq!(state, State::Closed);
    assert!(reasons.contains(&Reason::SlotTaken), "{reasons:?}");
    assert!(
        reasons.contains(&Reason::WouldLoseMinIsr),
        "node 1 counts as down: {reasons:?}"
    );
}

/// Evidence older than the question does not answer it, however healthy it was.
#[test]
fn a_question_for_new_evidence_waits_for_it() {
    let mut bed = Bed::new();
    bed.pass(100);
    let ticket = bed.question(&[2], Some(bed.mono()));
    assert_eq!(bed.decided(ticket), None, "nothing newer has come yet");
    bed.refreshed.clear();
    bed.tick();
    let decision = bed.decided(ticket).expect("an answer");
    assert_eq!(decision.state, State::Open);
    let ticket = bed.question(&[2], Some(bed.mono()));
    assert_eq!(bed.refreshed, [Wanted::Quick], "it is asked for at once");
    bed.pass(4_999);
    bed.input(Input::Wake);
    assert_eq!(bed.decided(ticket), None);
    bed.pass(1);
    bed.input(Input::Wake);
    let decision = bed
        .decided(ticket)
        .expect("an answer once its patience is over");
    assert_ne!(decision.state, State::Open);
}

/// A "no" needs no proof that everything else is known.
#[test]
fn a_question_is_closed_as_soon_as_something_shows_it() {
    let mut bed = Bed::new();
    bed.pass(500);
    let ticket = bed.question(&[2], Some(bed.mono()));
    bed.pass(100);
    let mut spoiled = bed.scene.clone();
    spoiled.fail(kafka(1), FactKind::Link, FailureClass::Closed);
    let report = spoiled.reports[&(kafka(1), FactKind::Link)].clone();
    bed.input(Input::Evidence {
        reports: vec![report],
        dropped: Vec::new(),
    });
    assert_eq!(bed.decided(ticket).map(|it| it.state), Some(State::Closed));
}

/// The wall clock was set by somebody, or the machine slept: nothing that was seen before counts.
#[test]
fn a_clock_that_jumps_begins_everything_anew() {
    for (boot, wall, jumps) in [
        (500, 500, false),
        (500, 1_500, false),
        (1_500, 500, false),
        (500, 1_501, true),
        (1_501, 500, true),
    ] {
        let mut bed = Bed::new();
        bed.refreshed.clear();
        let now = &mut bed.scene.now;
        now.mono = now.mono.plus(Duration::from_millis(boot));
        now.wall = now.wall.plus(Duration::from_millis(wall));
        bed.input(Input::Wake);
        let said = bed.reasons().contains(&Reason::ClockJumped);
        assert_eq!(
            said, jumps,
            "{boot} ms by the boot clock, {wall} ms by the wall clock"
        );
        let everything = bed.refreshed.contains(&Wanted::Everything);
        assert_eq!(everything, jumps);
        if jumps {
            assert_ne!(bed.state(), State::Open);
            bed.run(1);
            assert_eq!(bed.against(), BTreeSet::from([Reason::Settling]));
            bed.run(WINDOW);
            assert_eq!(bed.state(), State::Open);
        }
    }
}

/// What was healthy by one policy need not be so by another.
#[test]
fn another_policy_begins_the_window_anew() {
    let mut bed = Bed::new();
    let mut policy = bed.scene.policy.clone();
    policy.slots = 2;
    bed.input(Input::Policy(Arc::new(policy)));
    assert_eq!(bed.against(), BTreeSet::from([Reason::Settling]));
    assert_eq!(bed.state(), State::Closed);
}

#[test]
fn a_verdict_is_counted_dated_and_written_down_when_it_changes() {
    let mut bed = Bed::new();
    let opened = bed.view.at(bed.mono()).since();
    let counts = |bed: &Bed, state| {
        let seen = bed.view.at(bed.mono()).last_known();
        seen.transitions.get(&state).copied().unwrap_or(0)
    };
    assert_eq!(counts(&bed, State::Open), 1);
    let before = bed.happened().len();
    bed.run(2);
    assert_eq!(bed.view.at(bed.mono()).since(), opened);
    assert_eq!(bed.happened().len(), before, "nothing has changed");
    let healthy = bed.down(2);
    let closed = bed.scene.now.wall;
    assert_eq!(bed.state(), State::Closed);
    assert_eq!(bed.view.at(bed.mono()).since(), closed);
    let said = bed
        .happened()
        .into_iter()
        .rev()
        .find_map(|what| match what {
            What::Verdict { state, reasons } => Some((*state, reasons.clone())),
            _ => None,
        });
    let (state, reasons) = said.expect("an entry");
    assert_eq!(state, State::Closed);
    let sorted: BTreeSet<_> = reasons.iter().cloned().collect();
    assert_eq!(sorted.len(), reasons.len(), "each code once: {reasons:?}");
    assert!(sorted.contains("node_unreachable"), "{reasons:?}");
    let times = counts(&bed, State::Closed);
    let now = bed.scene.now;
    bed.scene = healthy;
    bed.scene.now = now;
    bed.run(40);
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
    assert_eq!(counts(&bed, State::Open), 2);
    assert!(counts(&bed, State::Closed) >= times);
}

/// The engine sleeps until then: a later moment would leave a view that has expired, a window that
/// is over, or a question unanswered.
#[test]
fn the_next_moment_is_the_first_at_which_something_changes() {
    let mut bed = Bed::bare(Scene::healthy_kraft());
    assert_eq!(bed.machine.next_deadline(), None, "nothing has been judged");
    bed.tick();
    let valid = bed.view.at(bed.mono()).last_known().valid_until;
    assert!(valid > bed.mono() && valid <= bed.mono().plus(Duration::from_secs(2)));
    let before = bed.mono().plus(Duration::from_secs(1));
    assert_eq!(bed.machine.next_deadline(), Some(before));
    bed.pass(1_000);
    bed.input(Input::Wake);
    assert_eq!(bed.machine.next_deadline(), Some(valid));
    // The window is over before the evidence is old.
    bed.run(WINDOW - 2);
    bed.pass(500);
    bed.input(Input::Wake);
    let left = bed.view.at(bed.mono()).last_known().window.left();
    let left = left
        .filter(|left| !left.is_zero())
        .expect("some of the window is left");
    assert_eq!(bed.machine.next_deadline(), Some(bed.mono().plus(left)));
    // An answer that counts for this moment and no longer: not in a loop.
    let mut bed = Bed::new();
    bed.pass(1_980);
    bed.input(Input::Wake);
    assert_eq!(bed.view.at(bed.mono()).last_known().valid_until, bed.mono());
    let soon = bed.mono().plus(Duration::from_millis(100));
    assert_eq!(bed.machine.next_deadline(), Some(soon));
    // A lease that ends before anything else.
    let mut bed = Bed::new();
    let lease = bed.enter("roll", &[1]).unwrap();
    let ttl = Duration::from_secs(10);
    let end = bed.mono().plus(ttl);
    let renewed = bed.change(Change::Renew {
        lease: lease.id,
        token: lease.token,
        ttl,
        by: None,
    });
    assert!(matches!(renewed, Reply::Changed(_)));
    bed.run(9);
    assert_eq!(bed.machine.next_deadline(), Some(end));
}

/// Timers are late by a millisecond, and all pages may come at one moment, every 5 s. Found on real Kafka: such
/// a gate never opened.
#[test]
fn the_window_outlasts_the_time_between_two_pages() {
    let mut bed = Bed::bare(Scene::healthy_jmx());
    bed.hear(|_, _| true);
    for _ in 0..=WINDOW / 5 + 1 {
        let next_page = bed.mono().plus(Duration::from_secs(5));
        while let Some(wake) = bed.machine.next_deadline()
            && wake < next_page
        {
            let late = wake.since(bed.mono()) + Duration::from_millis(1);
            bed.pass(u64::try_from(late.as_millis()).unwrap());
            assert!(!bed.view.at(bed.mono()).expired());
            bed.input(Input::Wake);
        }
        let left = next_page.since(bed.mono());
        bed.pass(u64::try_from(left.as_millis()).unwrap());
        bed.hear(|_, _| true);
    }
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
}

/// Slots that nobody asks about any more are forgotten: their last word must not count for ever.
#[test]
fn a_source_that_is_no_longer_asked_is_forgotten() {
    let mut bed = Bed::new();
    let slot = (kafka(2), FactKind::Partitions);
    bed.scene.reports.remove(&slot);
    bed.tick();
    assert!(!bed.reasons().contains(&Reason::EvidenceMissing));
    bed.input(Input::Evidence {
        reports: Vec::new(),
        dropped: vec![slot],
    });
    assert!(
        bed.reasons().contains(&Reason::EvidenceMissing),
        "{:?}",
        bed.reasons()
    );
}

/// A late answer never covers a death notice.
#[test]
fn an_answer_to_an_older_question_is_no_news() {
    let mut bed = Bed::new();
    let slot = (kafka(2), FactKind::Link);
    let alive = bed.scene.reports[&slot].clone();
    bed.scene.kill(2);
    bed.tick();
    assert_eq!(bed.state(), State::Closed);
    bed.input(Input::Evidence {
        reports: vec![alive],
        dropped: Vec::new(),
    });
    let reasons = bed.reasons();
    assert!(reasons.contains(&Reason::NodeUnreachable), "{reasons:?}");
}
