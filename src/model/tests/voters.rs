//! Voters by directory id (KIP-853): a controller whose disk was formatted.

use kafka_protocol::messages::describe_quorum_response::{PartitionData, ReplicaState};

use super::protocol::quorum_request;
use super::{ask, secs, until};
use crate::model::{Cluster, Listener, NodeId, OperationError, Release, Spec};

fn dynamic() -> Cluster {
    let mut spec = Spec::kraft(3, 3, Release::V4_1).seed(7);
    spec.dynamic_quorum = true;
    let mut cluster = Cluster::new(spec).unwrap();
    cluster.advance(secs(5.0));
    cluster
}

fn quorum(cluster: &Cluster) -> PartitionData {
    let answer = ask(cluster, 1, Listener::Broker, &quorum_request(), 2);
    answer.topics[0].partitions[0].clone()
}

fn of(members: &[ReplicaState], id: NodeId) -> Option<&ReplicaState> {
    members.iter().find(|member| *member.replica_id == id)
}

fn standby(cluster: &Cluster) -> NodeId {
    let active = cluster.active_controller().unwrap();
    [101, 102, 103]
        .into_iter()
        .find(|id| *id != active)
        .unwrap()
}

/// Stops it, formats its disk and starts it again.
fn wipe(cluster: &mut Cluster, id: NodeId) {
    cluster.stop(id).unwrap();
    until(cluster, 15.0, |cluster| cluster.process_start(id).is_none());
    cluster.format(id).unwrap();
    cluster.start(id, None).unwrap();
    cluster.advance(cluster.elapsed() + secs(10.0));
}

#[test]
fn a_formatted_controller_observes_until_its_new_directory_gets_the_vote() {
    let mut cluster = dynamic();
    let wiped = standby(&cluster);
    let before = quorum(&cluster);
    let old = of(&before.current_voters, wiped).unwrap().clone();
    assert!(of(&before.observers, wiped).is_none());
    wipe(&mut cluster, wiped);

    let now = quorum(&cluster);
    assert_eq!(now.current_voters.len(), 3);
    let voter = of(&now.current_voters, wiped).unwrap();
    assert_eq!(voter.replica_directory_id, old.replica_directory_id);
    assert!(voter.log_end_offset < now.high_watermark, "it falls behind");
    let observer = of(&now.observers, wiped).unwrap();
    assert_ne!(observer.replica_directory_id, old.replica_directory_id);
    assert_eq!(observer.log_end_offset, now.high_watermark);
    assert_eq!(cluster.without_vote(), [wiped].into());

    cluster.replace_voter(wiped).unwrap();
    cluster.advance(cluster.elapsed() + secs(1.0));
    let after = quorum(&cluster);
    let voter = of(&after.current_voters, wiped).unwrap();
    assert_eq!(voter.replica_directory_id, observer.replica_directory_id);
    assert_eq!(voter.log_end_offset, after.high_watermark);
    let gone = of(&after.observers, wiped).unwrap();
    assert_eq!(gone.replica_directory_id, old.replica_directory_id);
    assert!(gone.log_end_offset < after.high_watermark);
    assert!(cluster.without_vote().is_empty());
    assert_eq!(
        cluster.replace_voter(wiped),
        Err(OperationError::Node(wiped, "a voter"))
    );
}

#[test]
fn an_observer_is_no_part_of_the_majority() {
    let mut cluster = dynamic();
    let wiped = standby(&cluster);
    wipe(&mut cluster, wiped);
    let active = cluster.active_controller().unwrap();
    assert!(
        !cluster.quorum_without(&[active].into()),
        "one vote of three"
    );
    let rest = [101, 102, 103].into_iter();
    let other = rest.into_iter().find(|id| *id != active && *id != wiped);
    cluster.kill(other.unwrap()).unwrap();
    cluster.advance(cluster.elapsed() + secs(10.0));
    assert_eq!(cluster.active_controller(), None);
    assert_eq!(
        cluster.replace_voter(wiped),
        Err(OperationError::NoController)
    );
}

#[test]
fn only_a_dedicated_controller_of_a_dynamic_quorum_that_is_down_is_formatted() {
    let mut cluster = dynamic();
    let refused = |id, why| Err(OperationError::Node(id, why));
    assert_eq!(cluster.format(101), refused(101, "running"));
    assert_eq!(cluster.format(1), refused(1, "a broker"));
    let mut fixed = Cluster::new(Spec::kraft(3, 3, Release::V4_1)).unwrap();
    assert_eq!(fixed.format(101), refused(101, "a static voter"));
}

/// Of two times a leader keeps the later one for each member, and reports itself with its present time.
#[test]
fn a_leader_whose_clock_was_set_back_keeps_the_later_time_of_each_voter() {
    let mut cluster = dynamic();
    let active = cluster.active_controller().unwrap();
    let dead = standby(&cluster);
    let mut rest = [101, 102, 103].into_iter();
    let lives = rest.find(|id| *id != active && *id != dead).unwrap();
    let behind = |cluster: &Cluster, id: NodeId| {
        let quorum = quorum(cluster);
        let seen = |id| {
            let voter = of(&quorum.current_voters, id).unwrap();
            voter.last_caught_up_timestamp
        };
        seen(active) - seen(id)
    };
    assert!((0..=500).contains(&behind(&cluster, dead)));
    cluster.step_clock(active, -10_000).unwrap();
    cluster.kill(dead).unwrap();
    for (seconds, (low, high)) in [(2.0, (-8_000, -7_400)), (9.0, (-1_000, -400))] {
        cluster.advance(secs(5.0 + seconds));
        for id in [dead, lives] {
            let behind = behind(&cluster, id);
            assert!(
                (low..=high).contains(&behind),
                "{id} after {seconds} s: {behind}"
            );
        }
    }
    cluster.advance(secs(5.0 + 12.0));
    assert!((2_000..=2_600).contains(&behind(&cluster, dead)));
    assert!((0..=500).contains(&behind(&cluster, lives)));
}
