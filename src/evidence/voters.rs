//! The quorum as its newest answer tells it.

use std::time::Duration;

use super::facts::{QuorumFacts, QuorumMember};
use super::ids::NodeId;
use super::snapshot::{Read, Snapshot};
use crate::time::Mono;

/// The answer of the highest leader epoch; among those the one that was asked last. A leader that
/// was cut off answers with a lower epoch.
pub fn newest<'a>(snapshot: &Snapshot<'a>) -> Option<Read<'a, QuorumFacts>> {
    snapshot
        .quorums()
        .filter_map(|(_, read)| read.ok())
        .max_by_key(|read| (read.facts.leader_epoch, read.report.asked))
}

/// How far behind the leader a member of the quorum may be and still count, whatever
/// `controller.quorum.fetch.timeout.ms` says: that one is about the leader, and a longer one makes
/// nobody fetch more seldom.
///
/// A member that follows fetches every 500 ms at the least, so it is never further behind than
/// that and a round trip. Found by the simulation: at twice that time a voter that was cut off
/// counted for 4.5 s, and a broker that was cut off until the controller fenced it.
pub const SLACK: Duration = Duration::from_millis(1_250);

/// How far after its leader's own present time a member may have caught up last, in milliseconds. Two
/// threads of the leader take these times, so that they may cross by some; in [`SLACK`] itself a
/// controller that is killed just after its leader's clock was set back by a second could hide.
const CROSSED: i64 = 100;

/// How long before the leader's newest word a member had last caught up. `None` while unknown:
/// there is no leader, the leader has not seen it caught up yet, or its clock was set back
/// ([`ahead`]).
pub fn behind(facts: &QuorumFacts, member: &QuorumMember) -> Option<Duration> {
    let lag = lag(facts, member).filter(|lag| *lag >= -CROSSED)?;
    u64::try_from(lag.max(0)).ok().map(Duration::from_millis)
}

/// How long after the leader's own present time a member had last caught up, where that shows that
/// the leader's clock was set back: then nobody can say how far behind the member is.
///
/// The leader keeps the later of the old and the present time of each member (Kafka:
/// `LeaderState.ReplicaState.updateFollowerState`), so that one which is dead by now stays ahead for
/// as long as the clock was set back.
pub fn ahead(facts: &QuorumFacts, member: &QuorumMember) -> Option<Duration> {
    let lag = lag(facts, member).filter(|lag| *lag < -CROSSED)?;
    Some(Duration::from_millis(lag.unsigned_abs()))
}

/// The leader's present time less that of the member's last catching up, in milliseconds.
///
/// The leader reports itself with its own present time (Kafka: `LeaderState.describeQuorum`).
fn lag(facts: &QuorumFacts, member: &QuorumMember) -> Option<i64> {
    let leader = facts.leader?;
    if member.node == leader {
        return Some(0);
    }
    if member.log_end_offset < 0 {
        return None;
    }
    let own = facts.voters.iter().find(|voter| voter.node == leader);
    let newest = own.and_then(|voter| voter.last_caught_up_ms).or_else(|| {
        let all = facts.voters.iter().chain(&facts.observers);
        all.filter_map(|m| m.last_fetch_ms.max(m.last_caught_up_ms))
            .max()
    })?;
    Some(newest.saturating_sub(member.last_caught_up_ms?))
}

/// How long ago a controller that is not asked itself may have caught up last, by the leader's word and
/// the age of that word together. A living one fetches every 500 ms and is told of every 500 ms, so
/// that it stays below 1.2 s; the fetch that a dead one has left with the leader may count half a second
/// longer, so that it is noticed within 2 s however answers come. Found by the simulation: with the slack
/// alone, an old word kept a dead controller up for 2.4 s.
const REMOTE_LIMIT: Duration = Duration::from_millis(1_500);

/// What the quorum says of a controller that is not asked itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Its leader has it caught up, and that counts until this moment. Whatever is judged by it is
    /// true no longer: a gate that is stopped just then must not go on saying so.
    CaughtUp(Mono),
    /// Its leader has not: so long ago it had.
    Behind(Duration),
    /// It had it caught up, and that word is too old: its age.
    Old(Duration),
    /// Nobody tells, it is no voter that the leader has heard, or the leader's clock was set back.
    Untold,
}

/// Whether the quorum's leader has this voter caught up, by its newest word that counts.
pub fn is_caught_up(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    word(snapshot, node).is_some_and(|(_, behind)| behind <= SLACK)
}

/// Whether nobody can say how far behind this voter is, because its leader's clock was set back: then
/// nothing shows that it is caught up, and nothing that it has gone.
pub fn is_ahead(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    newest(snapshot).is_some_and(|quorum| {
        let mut entries = quorum.facts.voters.iter().filter(|it| it.node == node);
        entries.any(|voter| ahead(quorum.facts, voter).is_some())
    })
}

/// What the quorum says of this voter: the only word of a controller that is not asked itself.
pub fn remote(snapshot: &Snapshot<'_>, node: NodeId) -> Remote {
    let Some((quorum, behind)) = word(snapshot, node) else {
        return Remote::Untold;
    };
    let age = snapshot.age(quorum.report);
    if behind > SLACK {
        Remote::Behind(behind)
    } else if behind.saturating_add(age) > REMOTE_LIMIT {
        Remote::Old(age)
    } else {
        let left = REMOTE_LIMIT.saturating_sub(behind);
        Remote::CaughtUp(quorum.report.asked.plus(left))
    }
}

/// The newest answer of the quorum, and how far behind it has this voter.
fn word<'a>(snapshot: &Snapshot<'a>, node: NodeId) -> Option<(Read<'a, QuorumFacts>, Duration)> {
    let quorum = newest(snapshot)?;
    let entries = quorum
        .facts
        .voters
        .iter()
        .filter(|voter| voter.node == node);
    // An id may be listed twice, once with a directory that is gone (KIP-853).
    let behind = entries
        .filter_map(|voter| behind(quorum.facts, voter))
        .min();
    behind.map(|behind| (quorum, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::scene::{Scene, node};

    /// What is said of voter 102, which caught up so many milliseconds before its leader's word.
    fn said(lag: i64) -> (Option<Duration>, Option<Duration>) {
        let mut scene = Scene::healthy_kraft();
        scene.quorum(1, |quorum| {
            let at = quorum.voters[0].last_caught_up_ms.map(|own| own - lag);
            quorum.voters[1].last_caught_up_ms = at;
        });
        scene.snapshot(|snapshot| {
            let facts = newest(snapshot).unwrap().facts;
            let voter = facts.voters.iter().find(|it| it.node == node(102)).unwrap();
            assert_eq!(
                is_ahead(snapshot, node(102)),
                ahead(facts, voter).is_some(),
                "{lag}"
            );
            (behind(facts, voter), ahead(facts, voter))
        })
    }

    #[test]
    fn whoever_caught_up_after_its_leaders_present_time_is_not_known_to_be_caught_up() {
        let ms = |millis| Some(Duration::from_millis(millis));
        assert_eq!(said(700), (ms(700), None));
        assert_eq!(said(0), (ms(0), None));
        // Two times of one answer may cross.
        assert_eq!(said(-100), (ms(0), None));
        assert_eq!(said(-101), (None, ms(101)));
        assert_eq!(said(-5_000), (None, ms(5_000)));
    }
}
