//! Whether a node has gone: what the gate sees of its process, and what the cluster says of it.
//!
//! Two questions, because a mistake costs something else in each. What only *restricts* (a slot
//! for a restart that nobody announced) follows from any sign: [`seems_gone`]. What *permits* (a
//! repair that needs no what-if, "go" once more) wants the node's end shown by two that do not
//! depend on one another: [`is_gone`].

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checks::unheard::unheard;
use crate::evidence::ids::NodeId;
use crate::evidence::report::Sign;
use crate::evidence::snapshot::{Absent, ClusterKind, Snapshot};
use crate::evidence::voters::{self, Remote};

/// How long nobody may have told of a leader before the quorum can count as lost. That no word of one is
/// there shows nothing by itself: an asker puts one question after the other (the one for the table
/// may hang for 5 s, the one for the quorum for 1 s), and what it was told is forgotten when it goes to
/// another broker.
const LEADERLESS: Duration = Duration::from_secs(10);

/// Whether a node shows any sign that its process has ended: its connections were closed or are
/// refused, the cluster has fenced it, or its quorum hears it no more.
pub(super) fn seems_gone(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    let broker = snapshot.expected.get(&node).is_some_and(|e| e.role.broker);
    let fenced = broker && is_told(snapshot) && !snapshot.is_in_service(node);
    let shown = snapshot.down.contains(&node) && (has_ended(snapshot, node) || fenced);
    shown || is_silent(snapshot, node)
}

/// Whether this node certainly leads nothing and votes no more, so that stopping it stops nothing.
///
/// A closed or refused connection alone does not show that: a firewall resets as well as a dead
/// process, and the node may lead on. So the cluster has to have it out, too: a broker is
/// unfenced in nobody's answer, a voter is not caught up. Where nobody answers nothing is shown.
///
/// Where the quorum is lost ([`is_quorum_lost`]) nobody can be fenced and no voter be heard; the brokers
/// then go on telling what was true before, and a gate that wanted more could not let the cure begin.
pub(super) fn is_gone(snapshot: &Snapshot<'_>, node: NodeId, lost: bool) -> bool {
    let Some(expected) = snapshot.expected.get(&node) else {
        return false;
    };
    if snapshot.is_remote(node) {
        return is_silent(snapshot, node);
    }
    if !is_told(snapshot) {
        return false;
    }
    let role = expected.role;
    let ended = has_ended(snapshot, node);
    if ended && lost {
        return true;
    }
    let out = !role.broker || !snapshot.in_service(node);
    let silent = !role.controller || (ended && is_behind(snapshot, node));
    // A fenced broker leads nothing, however it answers; but it may be back since for all that those know
    // who are cut off from the controllers. On ZooKeeper a broker that is in nobody's list may be one
    // that nobody has been told of yet.
    let is_sure = || {
        ended || (snapshot.kind == ClusterKind::KRaft && is_todays(snapshot, &unheard(snapshot)))
    };
    (role.broker || role.controller) && out && silent && is_sure()
}

/// Whether its connections were closed or are refused.
fn has_ended(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    match snapshot.link(node) {
        Err(Absent::Failed(failure)) => failure.class.sign() == Sign::Ended,
        Err(Absent::Missing | Absent::Stale { .. }) | Ok(_) => false,
    }
}

/// Whether any broker says now who belongs to the cluster.
fn is_told(snapshot: &Snapshot<'_>) -> bool {
    snapshot.clusters().any(|(_, read)| read.is_ok())
}

/// Whether the quorum has a leader, which does not have this node as a voter that is caught up. A
/// leader whose clock was set back cannot say.
fn is_behind(snapshot: &Snapshot<'_>, controller: NodeId) -> bool {
    has_leader(snapshot)
        && !voters::is_caught_up(snapshot, controller)
        && !voters::is_ahead(snapshot, controller)
}

/// Whether what brokers tell of the cluster is of today: somebody tells of a quorum that has a leader, and
/// not everybody who tells of the cluster lags behind it. Whoever is cut off from the controllers goes on
/// answering what was true before, and shows nothing of that itself. A broker on ZooKeeper tells no more
/// of its own age.
///
/// `unheard`: brokers that their cluster hears no more ([`unheard`]).
pub(super) fn is_todays(snapshot: &Snapshot<'_>, unheard: &BTreeSet<NodeId>) -> bool {
    let mut tell = snapshot.clusters().filter(|(_, read)| read.is_ok());
    match snapshot.kind {
        ClusterKind::ZooKeeper => is_told(snapshot),
        ClusterKind::KRaft | ClusterKind::Unknown => {
            has_leader(snapshot) && tell.any(|(broker, _)| !unheard.contains(&broker))
        }
    }
}

/// Whether anybody tells of a quorum that has a leader.
pub(super) fn has_leader(snapshot: &Snapshot<'_>) -> bool {
    voters::newest(snapshot).is_some_and(|quorum| quorum.facts.leader.is_some())
}

/// Whether nobody has told of a leader for long, and of the controllers so many have ended that none can
/// be. On all that is in date: absence permits here, and what is newer than a request begins with none.
pub(super) fn is_quorum_lost(snapshot: &Snapshot<'_>) -> bool {
    let ended = snapshot.controllers().filter(|id| has_ended(snapshot, *id));
    let all = snapshot.controllers().count();
    let left = all.saturating_sub(ended.count());
    let memory = snapshot.memory;
    let told = memory.leader_told.unwrap_or(memory.started);
    all > 0
        && snapshot.kind != ClusterKind::ZooKeeper
        && !has_leader(snapshot)
        && snapshot.now.mono.since(told) >= LEADERLESS
        && left.saturating_mul(2) <= all
}

/// Whether a controller that is not asked itself is heard by its leader no more.
fn is_silent(snapshot: &Snapshot<'_>, node: NodeId) -> bool {
    snapshot.is_remote(node)
        && match voters::remote(snapshot, node) {
            Remote::Behind(_) => true,
            Remote::CaughtUp(_) | Remote::Old(_) | Remote::Untold => false,
        }
}
