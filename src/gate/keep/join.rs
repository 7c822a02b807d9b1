//! Somebody else has written in between: two processes served one gate for a moment. What restricts
//! of theirs is ours from then on, what theirs has ended is over, and numbers that both have given
//! are theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::Keeper;
use crate::gate::doc::{ENDED_KEPT, GateDoc};
use crate::gate::event::What;
use crate::gate::lease::{End, Ended, Lease, LeaseId, Stage, Token};

/// What became of leases by what somebody else has written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::gate) struct Joined {
    /// Leases that stand there, or have ended there.
    pub(in crate::gate) theirs: BTreeSet<LeaseId>,
    /// Leases of ours that had numbers of theirs, and the numbers they have now.
    pub(in crate::gate) moved: BTreeMap<LeaseId, LeaseId>,
}

impl Keeper {
    /// Takes in what somebody else has written over `stored`, while `flight` was to be written.
    pub(super) fn join(&mut self, flight: &GateDoc, theirs: &GateDoc) -> Joined {
        let mut of_theirs = self.take_ends(theirs);
        let moved = self.make_room(theirs);
        self.remember_ends(theirs);
        self.take_leases(flight, theirs);
        of_theirs.extend(theirs.leases.keys());
        for (node, role) in &theirs.known_nodes {
            let known = self.wanted.known_nodes.entry(*node).or_default();
            *known = known.and(*role);
        }
        if self.wanted.hold.is_none() {
            self.wanted.hold.clone_from(&theirs.hold);
        }
        for (node, hold) in &theirs.node_holds {
            let holds = &mut self.wanted.node_holds;
            holds.entry(*node).or_insert_with(|| hold.clone());
        }
        self.number_anew(theirs.last_event);
        Joined {
            theirs: of_theirs,
            moved,
        }
    }

    /// What has ended there is over here, too: it was broken, or is proven back. Says what.
    fn take_ends(&mut self, theirs: &GateDoc) -> BTreeSet<LeaseId> {
        let ours = &self.wanted.leases;
        let ends = |ended: &&Ended| {
            let lease = ours.get(&ended.id);
            lease.is_some_and(|lease| is_end_of(ended, lease))
        };
        let over = theirs.ended.iter().filter(ends);
        let over: BTreeSet<_> = over.map(|ended| ended.id).collect();
        self.wanted.leases.retain(|id, _| !over.contains(id));
        over
    }

    /// A question asked again gets the same answer here.
    fn remember_ends(&mut self, theirs: &GateDoc) {
        for ended in &theirs.ended {
            let id = ended.id;
            let known = self.wanted.ended.iter().any(|it| it.id == id);
            if !known && !self.wanted.leases.contains_key(&id) {
                self.wanted.ended.push(ended.clone());
            }
        }
        self.wanted.ended.sort_by_key(|ended| ended.at);
        let surplus = self.wanted.ended.len().saturating_sub(ENDED_KEPT);
        self.wanted.ended.drain(..surplus);
    }

    /// Moves leases of ours behind theirs where both have given a number. Nobody was told of ours: they
    /// were never durable. They may have taken others over, or be of nodes that went unannounced.
    fn make_room(&mut self, theirs: &GateDoc) -> BTreeMap<LeaseId, LeaseId> {
        let is_stored = |lease: &Lease| is_in(&self.stored, lease);
        let clashes = |lease: &&Lease| match theirs.leases.get(&lease.id) {
            Some(other) => !other.is_same_grant(lease),
            None => lease.id <= theirs.last_lease && !is_stored(lease),
        };
        let ours = self.wanted.leases.values().filter(clashes);
        let ours: Vec<(Lease, bool)> = ours.map(|it| (it.clone(), is_stored(it))).collect();
        let mut moved = BTreeMap::new();
        let mut given = BTreeMap::new();
        let mut id = last_lease(&self.wanted).max(last_lease(theirs));
        let mut token = self.wanted.last_token.max(theirs.last_token);
        for (mut lease, stored) in ours {
            self.wanted.leases.remove(&lease.id);
            id = LeaseId(id.0.saturating_add(1));
            if lease.owner.is_some() && !stored {
                token = Token(token.0.saturating_add(1));
                lease.token = token;
            }
            moved.insert(lease.id, id);
            given.insert(lease.id, lease.token);
            lease.id = id;
            self.wanted.leases.insert(id, lease);
        }
        (self.wanted.last_lease, self.wanted.last_token) = (id, token);
        for event in &mut self.events {
            if let What::Granted { lease, token, .. } = &mut event.what
                && let Some(new) = given.get(lease)
            {
                *token = *new;
            }
            if let Some(lease) = event.what.lease_mut()
                && let Some(new) = moved.get(lease)
            {
                *lease = *new;
            }
        }
        moved
    }

    /// Leases of theirs, but for those that we knew and that are over here.
    fn take_leases(&mut self, flight: &GateDoc, theirs: &GateDoc) {
        for (id, lease) in &theirs.leases {
            let joined = if let Some(ours) = self.wanted.leases.get(id) {
                both(ours, lease)
            } else {
                // What we took back because nobody was told of it, somebody may have been told of there.
                let mut ours = self.wanted.ended.iter();
                let taken_back = ours.any(|it| it.id == *id && it.how == End::Withdrawn);
                let mut docs = [&self.stored, flight].into_iter().chain(&self.unclear);
                if !taken_back && docs.any(|doc| doc.leases.get(id) == Some(lease)) {
                    continue;
                }
                // One of ours that had its number and is over was another one, or goes on.
                self.wanted.ended.retain(|ended| ended.id != *id);
                lease.clone()
            };
            self.wanted.leases.insert(*id, joined);
        }
    }

    /// The store keeps what it has by a number: what has one of theirs would be lost.
    fn number_anew(&mut self, theirs: u64) {
        let clash = self.events.first().is_some_and(|it| it.number <= theirs);
        let mut last = theirs;
        for event in self.events.iter_mut().filter(|_| clash) {
            last = last.saturating_add(1);
            event.number = last;
        }
        self.wanted.last_event = self.wanted.last_event.max(last);
    }
}

fn last_lease(doc: &GateDoc) -> LeaseId {
    let newest = doc.leases.last_key_value().map(|(id, _)| *id);
    newest.unwrap_or_default().max(doc.last_lease)
}

fn is_in(doc: &GateDoc, lease: &Lease) -> bool {
    let same = doc.leases.get(&lease.id);
    same.is_some_and(|it| it.is_same_grant(lease))
}

fn is_end_of(ended: &Ended, lease: &Lease) -> bool {
    (ended.token, &ended.owner) == (lease.token, &lease.owner) && ended.nodes == lease.all_nodes()
}

/// One grant of which two have written: the later end counts, and whoever has finished has finished.
fn both(ours: &Lease, theirs: &Lease) -> Lease {
    let later = if theirs.expires_at > ours.expires_at {
        theirs
    } else {
        ours
    };
    let mut left = [ours, theirs].into_iter();
    let left = left.find(|lease| lease.stage == Stage::Leaving);
    let stands = left.unwrap_or(later);
    Lease {
        stage: stands.stage,
        stage_since: stands.stage_since,
        expires_at: later.expires_at,
        gone: ours.gone.union(&theirs.gone).copied().collect(),
        ..ours.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::evidence::ids::NodeId;
    use crate::gate::doc::{Revision, Stored};
    use crate::gate::event::Event;
    use crate::gate::lease::{Action, Owner};
    use crate::gate::machine::Effect;
    use crate::time::{Mono, Timestamp};

    const NOW: Mono = Mono::from_nanos(1);

    fn owner(name: &str) -> Owner {
        Owner::try_from(String::from(name)).unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_secs(seconds))
    }

    fn lease(id: u64, name: &str, node: i32) -> Lease {
        Lease {
            id: LeaseId(id),
            token: Token(id),
            owner: Some(owner(name)),
            nodes: BTreeSet::from([NodeId(node)]),
            action: Action::Restart,
            stage: Stage::Held,
            granted_at: at(id),
            stage_since: at(id),
            expires_at: at(60),
            starts: BTreeMap::new(),
            gone: BTreeSet::new(),
            retired: BTreeSet::new(),
            took_over: false,
        }
    }

    fn holding<const N: usize>(leases: [&Lease; N]) -> GateDoc {
        let last = leases
            .iter()
            .map(|lease| lease.id)
            .max()
            .unwrap_or_default();
        GateDoc {
            leases: leases.into_iter().map(|it| (it.id, it.clone())).collect(),
            last_lease: last,
            last_token: Token(last.0),
            ..GateDoc::default()
        }
    }

    /// One who was to write, and finds that somebody else has.
    fn lost(keeper: &mut Keeper, theirs: &GateDoc) -> Joined {
        let Some(Effect::Commit { id, .. }) = keeper.write(NOW) else {
            panic!("a write");
        };
        keeper.result(NOW, id, Stored::Lost(Revision(9), theirs.clone()))
    }

    fn written(keeper: &mut Keeper) -> Vec<Event> {
        match keeper.write(NOW) {
            Some(Effect::Commit { events, .. }) => events,
            other => panic!("no write: {other:?}"),
        }
    }

    #[test]
    fn entries_that_are_not_written_yet_come_after_theirs() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        keeper.note(at(1), What::Expired { lease: LeaseId(1) });
        let theirs = GateDoc {
            last_event: 40,
            ..GateDoc::default()
        };
        let Some(Effect::Commit { id, .. }) = keeper.write(NOW) else {
            panic!("a write");
        };
        keeper.note(at(2), What::Leaving { lease: LeaseId(2) });
        keeper.result(NOW, id, Stored::Lost(Revision(9), theirs));
        keeper.note(at(3), What::Expired { lease: LeaseId(3) });
        let numbers: Vec<_> = written(&mut keeper).iter().map(|it| it.number).collect();
        assert_eq!(numbers, [41, 42, 43]);
        assert_eq!(keeper.wanted().last_event, 43);
    }

    #[test]
    fn of_two_renewals_the_later_counts_and_who_has_left_has_left() {
        let known = lease(1, "jenkins", 1);
        for (ours, theirs, end) in [(70, 90, 90), (90, 70, 90), (60, 61, 61)] {
            let mut keeper = Keeper::new(Revision(0), holding([&known]));
            let renewed = |seconds| Lease {
                expires_at: at(seconds),
                ..known.clone()
            };
            keeper.edit(|doc| {
                doc.leases.insert(LeaseId(1), renewed(ours));
                doc.last_event = 1;
            });
            let joined = lost(&mut keeper, &holding([&renewed(theirs)]));
            assert_eq!(joined.theirs, BTreeSet::from([LeaseId(1)]));
            assert_eq!(keeper.wanted().leases[&LeaseId(1)].expires_at, at(end));
        }
        let left = Lease {
            stage: Stage::Leaving,
            ..known.clone()
        };
        let later = Lease {
            expires_at: at(90),
            ..known
        };
        for (ours, theirs) in [(&left, &later), (&later, &left)] {
            let both = both(ours, theirs);
            assert_eq!((both.stage, both.expires_at), (Stage::Leaving, at(90)));
        }
    }

    #[test]
    fn what_was_broken_there_is_over_here() {
        let known = lease(1, "jenkins", 1);
        let mut keeper = Keeper::new(Revision(0), holding([&known]));
        keeper.note(at(1), What::Expired { lease: LeaseId(1) });
        let ended = Ended {
            id: known.id,
            token: known.token,
            owner: known.owner.clone(),
            nodes: known.nodes,
            how: End::Broken {
                by: owner("ann"),
                reason: String::from("gone home"),
            },
            at: at(5),
        };
        let mut theirs = holding([]);
        theirs.ended.push(ended.clone());
        let joined = lost(&mut keeper, &theirs);
        assert_eq!(joined.theirs, BTreeSet::from([LeaseId(1)]));
        assert!(keeper.wanted().leases.is_empty());
        assert_eq!(keeper.wanted().ended, [ended]);
    }

    /// Ours has taken lease 5 over, whose owner may still act: it must not be lost with its number.
    #[test]
    fn a_lease_of_ours_with_a_number_of_theirs_gets_another() {
        let first = lease(5, "jenkins", 1);
        let mut keeper = Keeper::new(Revision(0), holding([&first]));
        let by = owner("ann");
        keeper.end(Ended {
            id: first.id,
            token: first.token,
            owner: first.owner.clone(),
            nodes: first.nodes.clone(),
            how: End::TakenOver { by: by.clone() },
            at: at(6),
        });
        let ours = Lease {
            took_over: true,
            ..lease(6, "ann", 1)
        };
        keeper.edit(|doc| {
            doc.leases.insert(ours.id, ours.clone());
            (doc.last_lease, doc.last_token) = (ours.id, ours.token);
        });
        let granted = |lease, token| What::Granted {
            lease,
            token,
            owner: by.clone(),
            nodes: ours.nodes.clone(),
            action: ours.action,
            taken_from: None,
        };
        keeper.note(at(6), granted(LeaseId(6), Token(6)));
        let theirs = Lease {
            granted_at: at(7),
            ..lease(6, "rundeck", 2)
        };
        let joined = lost(&mut keeper, &holding([&first, &theirs]));
        assert_eq!(joined.moved, BTreeMap::from([(LeaseId(6), LeaseId(7))]));
        let moved = Lease {
            id: LeaseId(7),
            token: Token(7),
            ..ours.clone()
        };
        let wanted = &keeper.wanted().leases;
        assert_eq!(wanted.len(), 2, "5 is over");
        assert_eq!(
            (&wanted[&LeaseId(6)], &wanted[&LeaseId(7)]),
            (&theirs, &moved)
        );
        assert_eq!(keeper.wanted().last_token, Token(7));
        assert_eq!(written(&mut keeper)[0].what, granted(LeaseId(7), Token(7)));
    }

    /// Nobody was told of it here; there its owner was, who has it renewed.
    #[test]
    fn what_was_taken_back_here_and_told_there_goes_on() {
        let known = lease(1, "jenkins", 1);
        for renewed in [false, true] {
            let mut keeper = Keeper::new(Revision(0), holding([&known]));
            keeper.end(Ended {
                id: known.id,
                token: known.token,
                owner: known.owner.clone(),
                nodes: known.nodes.clone(),
                how: End::Withdrawn,
                at: at(5),
            });
            let mut theirs = known.clone();
            if renewed {
                theirs.expires_at = at(90);
            }
            let joined = lost(&mut keeper, &holding([&theirs]));
            assert!(joined.theirs.contains(&LeaseId(1)));
            assert_eq!(keeper.wanted().leases.get(&LeaseId(1)), Some(&theirs));
            assert!(keeper.wanted().ended.is_empty());
        }
    }

    /// One of ours that was given and withdrawn before it was written is not theirs of that number.
    #[test]
    fn what_is_over_here_before_it_was_written_ends_nothing_of_theirs() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        let ours = lease(1, "jenkins", 1);
        keeper.end(Ended {
            id: ours.id,
            token: ours.token,
            owner: ours.owner.clone(),
            nodes: ours.nodes,
            how: End::Withdrawn,
            at: at(1),
        });
        let theirs = lease(1, "rundeck", 2);
        lost(&mut keeper, &holding([&theirs]));
        assert_eq!(keeper.wanted().leases.get(&LeaseId(1)), Some(&theirs));
    }
}
