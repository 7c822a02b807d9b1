//! Owners who take their time, and owners who leave before their nodes go.

use upgrade_gate::evidence::ids;
use upgrade_gate::gate::lease::{Lease, Owner, Stage, Token};
use upgrade_gate::gate::question::Command;
use upgrade_gate::model::{Release, Spec};
use upgrade_gate::time::{Mono, Now, Timestamp};

use super::*;

const LEASE: LeaseId = LeaseId(7);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(Spec::kraft(3, 3, Release::V4_1)).unwrap();
    cluster.advance(at(30_000));
    cluster
}

/// Restarts broker 1, and is given twenty seconds for it.
fn operator(lag: u64, leaves_early: bool) -> Operator {
    Operator {
        nodes: vec![1],
        begins: 0,
        every: 500,
        by_node: false,
        kills: false,
        away: 1_000,
        pause: 0,
        to: None,
        owner: Some(String::from("one")),
        ttl: 20_000,
        dies: None,
        hosts: Vec::new(),
        repairs: false,
        patience: None,
        forgets: false,
        lag,
        leaves_early,
    }
}

fn go() -> Reply {
    let wall = Timestamp::from_nanos(0);
    let mono = Mono::from_nanos(0);
    Reply::Go {
        evaluated: Now { mono, wall },
        told: Some(1),
        lease: Box::new(Lease {
            id: LEASE,
            token: Token(7),
            owner: Owner::try_from(String::from("one")).ok(),
            nodes: BTreeSet::from([ids::NodeId(1)]),
            action: Action::Restart,
            stage: Stage::Held,
            granted_at: wall,
            stage_since: wall,
            expires_at: wall,
            starts: BTreeMap::new(),
            gone: BTreeSet::new(),
            retired: BTreeSet::new(),
            took_over: false,
        }),
    }
}

/// Asks at once, and is told "go" after so many milliseconds.
fn told(operator: &Operator, after: u64, cluster: &Cluster) -> (Roll, Mail, Vec<Op>) {
    let (mut roll, mut mail, said) = (Roll::new(operator), Mail::default(), Said::default());
    assert!(roll.act(at(0), cluster, &said, &mut mail).is_empty());
    let sent = mail.sent();
    let [(ticket, Command::Enter(_))] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    mail.receive(vec![(*ticket, go())]);
    let ops = roll.act(at(after), cluster, &said, &mut mail);
    (roll, mail, ops)
}

#[test]
fn a_stop_is_ordered_a_while_after_go_and_within_the_lease() {
    let cluster = cluster();
    let said = Said::default();
    let (roll, _, ops) = told(&operator(0, false), 100, &cluster);
    assert_eq!((ops, roll.goes_later()), (vec![Op::Stop(1)], false));
    // A second before the end of its lease, which counts from when it asked.
    for (lag, due) in [(8_000, 8_100), (20_000, 19_000)] {
        let (mut roll, mut mail, ops) = told(&operator(lag, false), 100, &cluster);
        assert!(ops.is_empty() && roll.goes_later() && !roll.has_left_early());
        assert!(mail.sent().is_empty());
        let early = roll.act(at(due - 1), &cluster, &said, &mut mail);
        assert_eq!(early, Vec::new());
        assert_eq!(roll.owes(at(due - 1), &cluster), Some(LEASE));
        let ops = roll.act(at(due), &cluster, &said, &mut mail);
        assert_eq!(ops, [Op::Stop(1)]);
    }
}

#[test]
fn whoever_leaves_early_owes_the_stop_until_the_process_has_ended() {
    let mut cluster = cluster();
    let said = Said::default();
    let (mut roll, mut mail, ops) = told(&operator(20_000, true), 100, &cluster);
    assert!(ops.is_empty() && roll.has_left_early());
    let sent = mail.sent();
    assert!(matches!(sent.as_slice(), [(_, Command::Leave { .. })]));
    let ops = roll.act(at(5_100), &cluster, &said, &mut mail);
    assert_eq!(ops, [Op::Stop(1)]);
    assert_eq!(roll.owes(at(5_100), &cluster), Some(LEASE));
    cluster.stop(1).unwrap();
    assert_eq!(roll.owes(at(5_200), &cluster), Some(LEASE));
    cluster.advance(at(60_000));
    assert_eq!(roll.owes(at(9_000), &cluster), None);
    // Who dies before it is due stops nothing any more.
    let dies = Operator {
        dies: Some(3_000),
        ..operator(20_000, true)
    };
    let (roll, ..) = told(&dies, 100, &cluster);
    assert!(roll.goes_later());
    assert_eq!(roll.owes(at(200), &cluster), None);
}
