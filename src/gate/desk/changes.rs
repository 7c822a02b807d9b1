//! Renewing, breaking, holding, lifting, retiring.

use std::collections::BTreeSet;
use std::time::Duration;

use super::gone::is_todays;
use super::roles::{has_in_hand, kept_role, tells_brokers};
use super::{Awaited, Desk, Scene};
use crate::checks::needs::list;
use crate::checks::unheard::unheard;
use crate::evidence::ids::{NodeId, Role};
use crate::evidence::snapshot::{Expected, Origin, Snapshot};
use crate::gate::event::What;
use crate::gate::lease::{End, Hold, Lease, LeaseId, Owner, Stage, Token};
use crate::gate::question::{Change, Refusal};
use crate::time::Now;

impl Desk {
    /// Makes a change in what is wanted, and says what the store has to have before it is
    /// answered.
    pub(super) fn make(
        &mut self,
        scene: &Scene<'_, '_>,
        change: Change,
    ) -> Result<Awaited, Refusal> {
        match change {
            Change::Renew {
                lease,
                token,
                ttl,
                by,
            } => self.renew(scene, lease, token, ttl, by),
            Change::Break { lease, by, reason } => self.break_lease(scene, lease, by, reason),
            Change::Hold {
                node,
                author,
                reason,
                ttl,
            } => self.set_hold(scene, node, author, reason, ttl),
            Change::Lift { node, by } => self.lift(scene, node, by),
            Change::Retire { node, by } => self.retire(scene, node, by),
        }
    }

    fn renew(
        &mut self,
        scene: &Scene<'_, '_>,
        id: LeaseId,
        token: Token,
        ttl: Duration,
        by: Option<Owner>,
    ) -> Result<Awaited, Refusal> {
        let lease = self.keeper.wanted().leases.get(&id);
        let lease = lease.ok_or(Refusal::NoSuchLease(id))?;
        if lease.token != token {
            return Err(Refusal::OldToken {
                lease: id,
                given: token,
            });
        }
        if let Some(by) = &by
            && !lease.owner.as_ref().is_some_and(|it| it.is_signed_by(by))
        {
            return Err(Refusal::OfAnother {
                lease: id,
                owner: lease.owner_name().to_owned(),
                by: by.clone(),
            });
        }
        match lease.stage {
            Stage::Held => {}
            Stage::Leaving | Stage::Expired | Stage::Unannounced => {
                return Err(Refusal::NotHeld {
                    lease: id,
                    stage: lease.stage.as_str(),
                });
            }
        }
        let renewed = self.move_end(scene.now, id, ttl, by);
        renewed.map(Awaited::Lease).ok_or(Refusal::NoSuchLease(id))
    }

    /// Lets a lease last for so long from now on; `by` renews it, where that is not its owner who enters
    /// again. The lease as it is now.
    pub(super) fn move_end(
        &mut self,
        now: Now,
        id: LeaseId,
        ttl: Duration,
        by: Option<Owner>,
    ) -> Option<Lease> {
        let expires_at = now.wall.plus(ttl);
        let renewed = self.keeper.edit(|doc| {
            let lease = doc.leases.get_mut(&id)?;
            lease.expires_at = expires_at;
            Some(lease.clone())
        })?;
        self.deadlines.insert(id, now.mono.plus(ttl));
        self.keeper.note(
            now.wall,
            What::Renewed {
                lease: id,
                expires_at,
                by,
            },
        );
        Some(renewed)
    }

    fn break_lease(
        &mut self,
        scene: &Scene<'_, '_>,
        id: LeaseId,
        by: Owner,
        reason: String,
    ) -> Result<Awaited, Refusal> {
        let lease = self.leases().get(&id).copied().cloned();
        let lease = lease.ok_or(Refusal::NoSuchLease(id))?;
        let what = What::Broken {
            lease: id,
            by: by.clone(),
            reason: reason.clone(),
        };
        self.keeper.note(scene.now.wall, what);
        self.forget_taken(id);
        self.finish(&lease, End::Broken { by, reason }, scene.now);
        Ok(Awaited::Broken(id))
    }

    fn set_hold(
        &mut self,
        scene: &Scene<'_, '_>,
        node: Option<NodeId>,
        author: Owner,
        reason: String,
        ttl: Option<Duration>,
    ) -> Result<Awaited, Refusal> {
        let now = scene.now;
        let asked: BTreeSet<_> = node.into_iter().collect();
        let course = scene.course;
        if let Some(strangers) = course.strangers(scene.snapshot, &asked) {
            // It would hold nothing, and somebody would count on it.
            return Err(Refusal::NoSuchNodes {
                strangers: list(strangers),
                known: list(scene.snapshot.expected.keys().copied()),
            });
        }
        let hold = Hold {
            author: author.clone(),
            reason: reason.clone(),
            since: now.wall,
            until: ttl.map(|ttl| now.wall.plus(ttl)),
        };
        self.keeper.edit(|doc| match node {
            Some(node) => {
                doc.node_holds.insert(node, hold.clone());
            }
            None => doc.hold = Some(hold.clone()),
        });
        let ends = hold.until.zip(ttl);
        self.hold_ends
            .extend(ends.map(|(until, ttl)| (until, now.mono.plus(ttl))));
        self.forget_ends();
        let what = What::HoldSet {
            node,
            author,
            reason,
            until: hold.until,
        };
        self.keeper.note(now.wall, what);
        Ok(Awaited::Held(node, hold))
    }

    /// Only holds that may stand have an end.
    fn forget_ends(&mut self) {
        let docs = self.keeper.standing();
        let holds = docs.flat_map(|doc| doc.hold.iter().chain(doc.node_holds.values()));
        let until: BTreeSet<_> = holds.filter_map(|hold| hold.until).collect();
        self.hold_ends.retain(|end, _| until.contains(end));
    }

    fn lift(
        &mut self,
        scene: &Scene<'_, '_>,
        node: Option<NodeId>,
        by: Owner,
    ) -> Result<Awaited, Refusal> {
        let lifted = self.keeper.edit(|doc| match node {
            Some(node) => doc.node_holds.remove(&node).is_some(),
            None => doc.hold.take().is_some(),
        });
        if !lifted {
            return Err(Refusal::NothingHeld);
        }
        self.keeper
            .note(scene.now.wall, What::HoldLifted { node, by });
        Ok(Awaited::Lifted(node))
    }

    fn retire(
        &mut self,
        scene: &Scene<'_, '_>,
        node: NodeId,
        by: Owner,
    ) -> Result<Awaited, Refusal> {
        let refuse = |why: &str| Refusal::StillExpected {
            node,
            why: why.to_owned(),
        };
        let snapshot = scene.snapshot;
        let expected = snapshot.expected.get(&node);
        // In mode `jmx` nobody but the configuration tells of nodes: once a machine that was replaced
        // under another id is in it no more, only its slot is left, and that must not stay for ever.
        let is_in_hand = self.keeper.standing().any(|doc| has_in_hand(doc, node));
        if expected.is_none() && !is_in_hand {
            return Err(refuse("it is not known here"));
        }
        // One that is down stays in no role: whatever still names it is to let go of it first.
        let is_up = !snapshot.down.contains(&node);
        if let Some(kept) = kept_role(snapshot, node).filter(|_| is_up) {
            return Ok(self.retire_role(scene, node, kept, by));
        }
        if let Some(why) = expected.and_then(still_named) {
            return Err(refuse(why));
        }
        if snapshot.policy.mode.kafka() && !tells_everybody(snapshot) {
            return Err(refuse(
                "the cluster does not say now who belongs to it, to whom partitions are assigned, \
                 and who votes; try again once the gate has heard that",
            ));
        }
        self.end_slots_of(scene.now, node);
        let held = self.keeper.edit(|doc| {
            doc.known_nodes.remove(&node);
            doc.node_holds.remove(&node)
        });
        if held.is_some() {
            let (node, by) = (Some(node), by.clone());
            self.keeper
                .note(scene.now.wall, What::HoldLifted { node, by });
        }
        let (kept, role) = (Role::default(), None);
        self.retiring.insert(node, kept);
        let what = What::Retired { node, by, role };
        self.keeper.note(scene.now.wall, what);
        Ok(Awaited::Retired(node, kept))
    }

    /// Takes a node that is gone for good out of every lease.
    fn end_slots_of(&mut self, now: Now, node: NodeId) {
        let of_it: Vec<_> = self.leases().into_values().cloned().collect();
        for lease in of_it.iter().filter(|l| l.nodes.contains(&node)) {
            if lease.nodes.len() == 1 {
                self.finish(lease, End::Retired, now);
            } else {
                // Its owner may still stop the others.
                self.keeper.edit(|doc| {
                    if let Some(lease) = doc.leases.get_mut(&lease.id) {
                        lease.nodes.remove(&node);
                        lease.retired.insert(node);
                        lease.gone.remove(&node);
                        lease.starts.remove(&node);
                    }
                });
            }
        }
    }
}

/// Who still names a node, and what to do about it; nobody where it is only remembered.
fn still_named(expected: &Expected) -> Option<&'static str> {
    let mut because = expected.because.iter();
    because.find_map(|origin| match origin {
        Origin::SeenBefore => None,
        Origin::Configured => Some("the configuration names it; take it out there first"),
        Origin::Registered => Some(
            "it is registered in the cluster; stop it and unregister it first \
             (kafka-cluster.sh unregister)",
        ),
        Origin::Voter => Some(
            "it is a voter of the quorum; remove it there first \
             (kafka-metadata-quorum.sh remove-controller)",
        ),
        Origin::Assigned => Some("partitions are assigned to it; reassign them first"),
    })
}

/// Whether everything is told now that could still name a node: that nobody names it is shown by answers
/// and not by their absence.
fn tells_everybody(snapshot: &Snapshot<'_>) -> bool {
    tells_brokers(snapshot) && is_todays(snapshot, &unheard(snapshot))
}
