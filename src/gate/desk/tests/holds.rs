//! Holds, and nodes that are retired.

use std::sync::Arc;
use std::time::Duration;

use super::{Bed, owner};
use crate::checks::reason::Reason;
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::{Scene, jmx};
use crate::gate::event::What;
use crate::gate::lease::End;
use crate::gate::machine::Input;
use crate::gate::question::{Change, Changed, Command, Refusal, Reply};
use crate::gate::state::State;
use crate::time::Timestamp;

fn hold(node: Option<NodeId>, ttl: Option<u64>) -> Change {
    Change::Hold {
        node,
        author: owner("ann"),
        reason: String::from("disk being changed"),
        ttl: ttl.map(Duration::from_secs),
    }
}

#[test]
fn a_hold_closes_at_once_and_is_lifted_only_by_hand_or_by_its_end() {
    let mut bed = Bed::new();
    assert!(matches!(
        bed.change(hold(None, None)),
        Reply::Changed(Changed::Hold(Some(_)))
    ));
    assert_eq!(bed.state(), State::Closed);
    assert!(
        bed.enter("jenkins", &[1])
            .unwrap_err()
            .contains(&Reason::Hold)
    );
    bed.restart();
    bed.run(10);
    assert!(
        bed.reasons().contains(&Reason::Hold),
        "it survives a restart"
    );
    let lift = Change::Lift {
        node: None,
        by: owner("ben"),
    };
    assert_eq!(
        bed.change(lift.clone()),
        Reply::Changed(Changed::Hold(None))
    );
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
    assert_eq!(bed.change(lift), Reply::Refused(Refusal::NothingHeld));
    bed.change(hold(None, Some(5)));
    assert_eq!(bed.state(), State::Closed);
    bed.run(6);
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
}

#[test]
fn a_wall_clock_that_is_set_neither_lifts_nor_prolongs_a_hold() {
    const HOUR: Duration = Duration::from_hours(1);
    for forward in [true, false] {
        let mut bed = Bed::new();
        bed.change(hold(None, Some(30)));
        bed.change(hold(Some(NodeId(2)), Some(30)));
        let wall = bed.scene.now.wall;
        bed.scene.now.wall = if forward {
            wall.plus(HOUR)
        } else {
            Timestamp::from_nanos(wall.as_nanos() - i64::try_from(HOUR.as_nanos()).unwrap())
        };
        bed.run(20);
        let reasons = bed.reasons();
        assert!(reasons.contains(&Reason::Hold), "{forward}: {reasons:?}");
        assert_eq!(bed.node_state(2), State::Closed);
        bed.run(12);
        assert_eq!(bed.state(), State::Open, "{forward}: {:?}", bed.reasons());
    }
}

#[test]
fn a_hold_on_a_node_concerns_that_node() {
    let mut bed = Bed::new();
    bed.change(hold(Some(NodeId(2)), None));
    assert_eq!(bed.node_state(2), State::Closed);
    assert_eq!(bed.node_state(1), State::Open);
    // Without a target every node has to be free to go.
    assert_eq!(bed.state(), State::Closed);
    assert!(
        bed.enter("jenkins", &[2])
            .unwrap_err()
            .contains(&Reason::NodeHold)
    );
    assert!(bed.enter("jenkins", &[1]).is_ok());
}

/// A slip of the finger: somebody would count on a hold that holds nothing.
#[test]
fn a_node_that_nobody_knows_is_not_held() {
    let mut bed = Bed::new();
    let refused = bed.change(hold(Some(NodeId(22)), None));
    let Reply::Refused(refusal @ Refusal::NoSuchNodes { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        refusal.to_string(),
        "no such node in this cluster: 22; it has 1, 2, 3, 101, 102, 103"
    );
    assert!(bed.doc.node_holds.is_empty());
    // Before everybody has been heard nobody is a stranger.
    bed.restart();
    let held = bed.change(hold(Some(NodeId(2)), None));
    assert!(matches!(held, Reply::Changed(_)), "{held:?}");
}

#[test]
fn a_node_is_retired_when_nobody_names_it_any_more() {
    let mut bed = Bed::new();
    let retire = |id| Change::Retire {
        node: NodeId(id),
        by: owner("ann"),
    };
    let reply = bed.change(retire(2));
    assert!(
        matches!(reply, Reply::Refused(Refusal::StillExpected { .. })),
        "{reply:?}"
    );
    // A broker that was there once.
    bed.doc.known_nodes.insert(NodeId(7), Role::BROKER);
    bed.restart();
    bed.run(8);
    assert_ne!(bed.state(), State::Open);
    assert_eq!(
        bed.change(retire(7)),
        Reply::Changed(Changed::Retired(NodeId(7)))
    );
    bed.run(4);
    assert_eq!(bed.state(), State::Open, "{:?}", bed.reasons());
    assert!(!bed.doc.known_nodes.contains_key(&NodeId(7)));
}

/// A cluster that lists no fenced brokers (before 4.0), and a gate that has not heard everything yet:
/// nobody names the node because nobody has told.
#[test]
fn a_node_is_not_retired_because_nobody_has_told_of_it_yet() {
    let retire = || Change::Retire {
        node: NodeId(7),
        by: owner("ann"),
    };
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(Refusal::StillExpected { .. }));
    for kind in [FactKind::Partitions, FactKind::Quorum, FactKind::Cluster] {
        let mut bed = Bed::new();
        bed.doc.known_nodes.insert(NodeId(7), Role::BROKER);
        bed.restart();
        let healthy = bed.scene.reports.clone();
        bed.scene.remove(kind);
        bed.run(2);
        let reply = bed.change(retire());
        assert!(refused(&reply), "{kind}: {reply:?}");
        bed.scene.reports = healthy;
        bed.run(1);
        if kind == FactKind::Partitions {
            bed.scene.order(0, |partition| partition.replicas.push(7));
            bed.tick();
            let reply = bed.change(retire());
            assert!(refused(&reply), "it is assigned: {reply:?}");
            bed.scene
                .order(0, |partition| partition.replicas.retain(|id| *id != 7));
            bed.tick();
        }
        let done = Reply::Changed(Changed::Retired(NodeId(7)));
        assert_eq!(bed.change(retire()), done, "{kind}");
    }
    // Without a quorum that could be asked.
    let mut bed = Bed::bare(Scene::healthy_zookeeper());
    bed.doc.known_nodes.insert(NodeId(7), Role::BROKER);
    bed.restart();
    bed.run(2);
    let done = Reply::Changed(Changed::Retired(NodeId(7)));
    assert_eq!(bed.change(retire()), done);
}

/// Pages tell of no other node: once the configuration names it no more only its slot is left, and
/// nothing would ever free that.
#[test]
fn in_mode_jmx_a_machine_that_was_replaced_leaves_its_slot() {
    let retire = || Change::Retire {
        node: NodeId(3),
        by: owner("ann"),
    };
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(Refusal::StillExpected { .. }));
    let mut bed = Bed::bare(Scene::healthy_jmx());
    bed.run(1);
    bed.scene.fail(jmx(3), FactKind::Jmx, FailureClass::Refused);
    bed.tick();
    bed.repair("jenkins", &[3]).unwrap();
    bed.change(hold(Some(NodeId(3)), None));
    let reply = bed.change(retire());
    assert!(refused(&reply), "the configuration names it: {reply:?}");
    bed.scene.policy.expected.remove(&NodeId(3));
    let policy = Arc::new(bed.scene.policy.clone());
    bed.input(Input::Policy(policy));
    bed.run(1);
    assert_eq!(
        bed.doc.leases.len(),
        1,
        "a machine that is down frees nobody"
    );
    // It is said once it is written.
    bed.answers = false;
    let ticket = bed.ask(Command::Change(retire()));
    assert!(!bed.replies.contains_key(&ticket));
    bed.answers = true;
    bed.answer_written();
    let done = Reply::Changed(Changed::Retired(NodeId(3)));
    assert_eq!(bed.await_reply(ticket), done);
    assert!(bed.doc.leases.is_empty() && bed.doc.node_holds.is_empty());
    assert_eq!(bed.doc.ended.last().unwrap().how, End::Retired);
    let reply = bed.change(retire());
    assert!(refused(&reply), "nothing is left of it: {reply:?}");
}

/// A combined node has become a plain broker: its vote has gone, and it stays.
#[test]
fn a_role_that_nobody_vouches_for_is_retired_and_the_node_stays() {
    let retire = |id| Change::Retire {
        node: NodeId(id),
        by: owner("ann"),
    };
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(Refusal::StillExpected { .. }));
    let mut bed = Bed::bare(Scene::healthy_combined());
    bed.run(2);
    assert_eq!(bed.doc.known_nodes[&NodeId(1)], Role::COMBINED);
    let reply = bed.change(retire(1));
    assert!(refused(&reply), "it votes: {reply:?}");
    bed.scene.quorum(1, |quorum| {
        let voters = std::mem::take(&mut quorum.voters);
        let (gone, left) = voters.into_iter().partition(|it| it.node == NodeId(1));
        (quorum.observers, quorum.voters) = (gone, left);
        quorum.leader = None;
    });
    bed.run(1);
    assert!(bed.reasons().contains(&Reason::NodeMissing));
    let reply = bed.change(retire(1));
    assert!(refused(&reply), "nobody leads: {reply:?}");
    bed.scene
        .quorum(1, |quorum| quorum.leader = Some(NodeId(2)));
    bed.run(1);
    assert!(bed.reasons().contains(&Reason::NodeMissing));
    let done = Reply::Changed(Changed::Retired(NodeId(1)));
    assert_eq!(bed.change(retire(1)), done);
    for _ in 0..2 {
        bed.run(3);
        assert!(!bed.reasons().contains(&Reason::NodeMissing));
        assert_eq!(bed.doc.known_nodes[&NodeId(1)], Role::BROKER);
        bed.restart();
    }
    bed.run(3);
    let reply = bed.change(retire(1));
    assert!(refused(&reply), "it is registered: {reply:?}");
    let role = Some(Role::BROKER);
    let node = NodeId(1);
    let by = owner("ann");
    let entry = What::Retired { node, by, role };
    assert!(bed.happened().contains(&&entry));
}
