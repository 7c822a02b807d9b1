//! What a lease has to be before its owner is told "go".

use std::collections::{BTreeMap, BTreeSet};

use super::Scene;
use super::sight::Sight;
use super::takeover::taken_by;
use crate::evidence::ids::NodeId;
use crate::gate::doc::GateDoc;
use crate::gate::lease::{Lease, StartTime};
use crate::gate::question::Entry;

/// Whether a document has the lease as its owner is to be told of it.
pub(super) fn is_as_told(doc: &GateDoc, lease: &Lease) -> bool {
    let stored = doc.leases.get(&lease.id);
    stored.is_some_and(|stored| {
        stored.stage == lease.stage
            && stored.expires_at >= lease.expires_at
            && stored.nodes == lease.nodes
            && stored.starts == lease.starts
            && stored.gone.is_subset(&lease.gone)
            && taken_by(doc, lease).next().is_none()
    })
}

/// "Go" is for a stop that is still to come: that a node has gone once shows nothing of it, nor that it was
/// started anew between the grant and the first "go". So whichever has not gone now has to go anew, as the
/// process that it is now. Where that is not sure (its page may be older than its process) it counts as not
/// known, and `leave` is followed by a window. So it is with one that is gone now: who starts it next may be
/// somebody else (the run before, a supervisor), and the stop that was ordered comes after that.
pub(super) fn count_anew(scene: &Scene<'_, '_>, entry: &Entry, lease: &mut Lease) {
    let reports = scene.seen.newer_than(entry.asked);
    let granted = BTreeSet::new();
    let snapshot = scene.seen.snapshot_of(scene.now, &granted, &reports);
    let sight = Sight::new(&snapshot, scene.snapshot, entry.asked);
    let sure = scene.course.window.is_heard_anew();
    for node in &lease.nodes {
        if sight.is_gone(*node) {
            lease.starts.remove(node);
            continue;
        }
        lease.gone.remove(node);
        let page = snapshot.jmx(*node).ok().filter(|_| sure);
        let start = page.and_then(|page| page.facts.start_time.value().copied());
        match start.map(StartTime::from_seconds) {
            Some(now) => {
                let known = lease.starts.get(node);
                // Readings of one process differ a little.
                if known.is_none_or(|before| !before.is_same_process(now)) {
                    lease.starts.insert(*node, now);
                }
            }
            None => {
                lease.starts.remove(node);
            }
        }
    }
}

/// Start times of these nodes, as far as their pages tell.
pub(super) fn starts(
    scene: &Scene<'_, '_>,
    nodes: &BTreeSet<NodeId>,
) -> BTreeMap<NodeId, StartTime> {
    let lives = &scene.seen.memory.lives;
    let start = |node: &NodeId| {
        let seconds = lives.get(node)?.start_time?;
        Some((*node, StartTime::from_seconds(seconds)))
    };
    nodes.iter().filter_map(start).collect()
}
