//! Keeps the store's document in step with what is wanted: one write at a time, each result an
//! input.
//!
//! What restricts is in force as soon as it is wanted; what permits only once the store no longer
//! has the restriction (law 5). Both follow from one rule: a restriction is in force while *any*
//! document that may stand has it (`Keeper::standing`).

mod join;

use std::time::Duration;

pub(super) use self::join::Joined;
use super::doc::{ENDED_KEPT, GateDoc, Revision, Stored};
use super::event::{Event, What};
use super::lease::Ended;
use super::machine::Effect;
use crate::time::{Mono, Timestamp};

/// How long a write that failed waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Names one write, so that its result is not taken for another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// What is stored, what is wanted, and the write that is on its way.
#[derive(Debug)]
pub(super) struct Keeper {
    stored: GateDoc,
    revision: Revision,
    wanted: GateDoc,
    /// For the history, with the next write.
    events: Vec<Event>,
    next: CommitId,
    in_flight: Option<Flight>,
    /// Writes of which nobody knows whether they stand; any of them may.
    unclear: Vec<GateDoc>,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Flight {
    id: CommitId,
    doc: GateDoc,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Trouble {
    why: String,
    retry: Mono,
}

impl Keeper {
    pub(super) fn new(revision: Revision, stored: GateDoc) -> Self {
        Self {
            wanted: stored.clone(),
            stored,
            revision,
            events: Vec::new(),
            next: CommitId(0),
            in_flight: None,
            unclear: Vec::new(),
            trouble: None,
        }
    }

    /// The document that stands in the store, as far as is known.
    pub(super) const fn stored(&self) -> &GateDoc {
        &self.stored
    }

    /// The document that is to stand there.
    pub(super) const fn wanted(&self) -> &GateDoc {
        &self.wanted
    }

    /// Every document that may stand now or after the next restart, the wanted one first.
    pub(super) fn standing(&self) -> impl Iterator<Item = &GateDoc> + Clone {
        let in_flight = self.in_flight.iter().map(|flight| &flight.doc);
        [&self.wanted, &self.stored]
            .into_iter()
            .chain(in_flight)
            .chain(&self.unclear)
    }

    /// Changes what is wanted.
    pub(super) fn edit<T>(&mut self, change: impl FnOnce(&mut GateDoc) -> T) -> T {
        change(&mut self.wanted)
    }

    /// Ends a lease: it is not wanted any more.
    pub(super) fn end(&mut self, ended: Ended) {
        self.wanted.leases.remove(&ended.id);
        self.wanted.ended.push(ended);
        let surplus = self.wanted.ended.len().saturating_sub(ENDED_KEPT);
        self.wanted.ended.drain(..surplus);
    }

    /// Adds an entry to the history.
    pub(super) fn note(&mut self, at: Timestamp, what: What) {
        let number = self.wanted.last_event.saturating_add(1);
        self.wanted.last_event = number;
        self.events.push(Event { number, at, what });
    }

    /// Why the newest write did not succeed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| trouble.why.as_str())
    }

    /// When a failed write is tried again.
    pub(super) fn retry(&self) -> Option<Mono> {
        let waits = self.in_flight.is_none();
        let trouble = self.trouble.as_ref().filter(|_| waits);
        trouble.map(|trouble| trouble.retry)
    }

    /// Writes what is wanted, unless it stands there already, another write is on its way, or the
    /// last one failed just now. After a failure it is written even where nothing has changed:
    /// nothing else shows that the store is back.
    pub(super) fn write(&mut self, now: Mono) -> Option<Effect> {
        if self.in_flight.is_some() {
            return None;
        }
        match &self.trouble {
            Some(trouble) if now < trouble.retry => return None,
            None if self.wanted == self.stored && self.events.is_empty() => return None,
            Some(_) | None => {}
        }
        let id = self.next;
        self.next = CommitId(id.0.wrapping_add(1));
        let doc = self.wanted.clone();
        let events = std::mem::take(&mut self.events);
        self.in_flight = Some(Flight {
            id,
            doc: doc.clone(),
            events: events.clone(),
        });
        Some(Effect::Commit {
            id,
            expect: self.revision,
            doc,
            events,
        })
    }

    /// Takes in what became of a write, and says what became of leases where somebody else has written.
    pub(super) fn result(&mut self, now: Mono, id: CommitId, result: Stored) -> Joined {
        let mut joined = Joined::default();
        let Some(flight) = self.in_flight.take_if(|flight| flight.id == id) else {
            return joined;
        };
        match result {
            Stored::Written(revision) => {
                self.stored = flight.doc;
                self.revision = revision;
                self.unclear.clear();
                self.trouble = None;
            }
            Stored::Lost(revision, doc) => {
                self.again(flight.events);
                self.revision = revision;
                self.trouble = None;
                if !self.unclear.contains(&doc) {
                    joined = self.join(&flight.doc, &doc);
                }
                self.unclear.clear();
                self.wanted.last_token = self.wanted.last_token.max(doc.last_token);
                self.wanted.last_lease = self.wanted.last_lease.max(doc.last_lease);
                self.wanted.last_event = self.wanted.last_event.max(doc.last_event);
                self.stored = doc;
            }
            Stored::Refused(why) => {
                self.again(flight.events);
                self.fail(now, why);
            }
            Stored::Unclear(why) => {
                self.again(flight.events);
                if !self.unclear.contains(&flight.doc) {
                    self.unclear.push(flight.doc);
                }
                self.fail(now, why);
            }
        }
        joined
    }

    /// Entries that may not stand are written once more; the store knows them by their numbers.
    fn again(&mut self, mut events: Vec<Event>) {
        events.append(&mut self.events);
        self.events = events;
    }

    fn fail(&mut self, now: Mono, why: String) {
        let retry = now.plus(RETRY);
        self.trouble = Some(Trouble { why, retry });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::evidence::ids::{NodeId, Role};
    use crate::gate::lease::{Action, End, Hold, Lease, LeaseId, Owner, Stage, Token};

    fn lease(id: u64) -> Lease {
        Lease {
            id: LeaseId(id),
            token: Token(id),
            owner: None,
            nodes: BTreeSet::from([NodeId(1)]),
            action: Action::Restart,
            stage: Stage::Held,
            granted_at: Timestamp::default(),
            stage_since: Timestamp::default(),
            expires_at: Timestamp::default(),
            starts: std::collections::BTreeMap::new(),
            gone: BTreeSet::new(),
            retired: BTreeSet::new(),
            took_over: false,
        }
    }

    fn over(id: u64) -> Ended {
        Ended {
            id: LeaseId(id),
            token: Token(id),
            owner: None,
            nodes: BTreeSet::new(),
            how: End::ProvenBack,
            at: Timestamp::default(),
        }
    }

    fn take(keeper: &mut Keeper, id: u64) {
        keeper.edit(|doc| doc.leases.insert(LeaseId(id), lease(id)));
    }

    fn is_taken(keeper: &Keeper) -> bool {
        keeper.standing().any(|doc| !doc.leases.is_empty())
    }

    fn id_of(effect: Option<Effect>) -> CommitId {
        match effect {
            Some(Effect::Commit { id, .. }) => id,
            other => panic!("no write: {other:?}"),
        }
    }

    const NOW: Mono = Mono::from_nanos(1);
    const LATER: Mono = Mono::from_nanos(2_000_000_000);

    #[test]
    fn a_restriction_holds_at_once_and_ends_only_when_that_is_written() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        take(&mut keeper, 1);
        assert!(is_taken(&keeper));
        let id = id_of(keeper.write(NOW));
        keeper.result(NOW, id, Stored::Written(Revision(1)));
        keeper.end(over(1));
        assert!(is_taken(&keeper), "not written yet");
        let id = id_of(keeper.write(NOW));
        assert!(is_taken(&keeper), "on its way");
        keeper.result(NOW, id, Stored::Refused(String::from("disk full")));
        assert!(is_taken(&keeper), "refused");
        let id = id_of(keeper.write(LATER));
        keeper.result(LATER, id, Stored::Written(Revision(2)));
        assert!(!is_taken(&keeper));
        assert_eq!(keeper.trouble(), None);
    }

    #[test]
    fn an_unclear_write_counts_until_the_store_has_said_what_stands() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        take(&mut keeper, 1);
        let id = id_of(keeper.write(NOW));
        let unclear = keeper.wanted().clone();
        keeper.result(NOW, id, Stored::Unclear(String::from("timed out")));
        // Nobody was told of it: it is not wanted any more, and may stand all the same.
        keeper.end(over(1));
        assert!(is_taken(&keeper));
        let id = id_of(keeper.write(LATER));
        keeper.result(LATER, id, Stored::Lost(Revision(1), unclear));
        assert!(is_taken(&keeper), "it stood");
        let id = id_of(keeper.write(LATER));
        keeper.result(LATER, id, Stored::Written(Revision(2)));
        assert!(!is_taken(&keeper));
    }

    #[test]
    fn after_a_failure_the_store_is_tried_though_nothing_is_wanted() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        take(&mut keeper, 1);
        let id = id_of(keeper.write(NOW));
        keeper.result(NOW, id, Stored::Refused(String::from("read-only")));
        keeper.end(over(1));
        keeper.edit(|doc| doc.ended.clear());
        assert!(keeper.write(NOW).is_none(), "not at once");
        let id = id_of(keeper.write(LATER));
        keeper.result(LATER, id, Stored::Written(Revision(1)));
        assert_eq!(keeper.trouble(), None);
        assert!(keeper.write(LATER).is_none());
    }

    #[test]
    fn what_somebody_else_wrote_restricts_too() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        keeper.edit(|doc| doc.known_nodes.insert(NodeId(1), Role::BROKER));
        let id = id_of(keeper.write(NOW));
        let mut theirs = GateDoc::default();
        theirs.leases.insert(LeaseId(7), lease(7));
        theirs.last_token = Token(7);
        keeper.result(NOW, id, Stored::Lost(Revision(9), theirs));
        assert!(keeper.wanted().leases.contains_key(&LeaseId(7)));
        assert_eq!(keeper.wanted().last_token, Token(7));
    }

    #[test]
    fn a_number_that_two_have_given_is_the_durable_lease() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        take(&mut keeper, 1);
        let id = id_of(keeper.write(NOW));
        let mut theirs = GateDoc::default();
        let foreign = Lease {
            nodes: BTreeSet::from([NodeId(2)]),
            granted_at: Timestamp::from_nanos(5),
            ..lease(1)
        };
        theirs.leases.insert(LeaseId(1), foreign.clone());
        keeper.result(NOW, id, Stored::Lost(Revision(9), theirs));
        assert_eq!(keeper.wanted().leases.get(&LeaseId(1)), Some(&foreign));
    }

    #[test]
    fn each_of_several_unclear_writes_may_stand() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        take(&mut keeper, 1);
        let id = id_of(keeper.write(NOW));
        keeper.result(NOW, id, Stored::Unclear(String::from("timed out")));
        keeper.end(over(1));
        let id = id_of(keeper.write(LATER));
        keeper.result(LATER, id, Stored::Unclear(String::from("timed out")));
        assert!(is_taken(&keeper), "the first one may stand");
    }

    #[test]
    fn entries_of_a_write_that_failed_are_written_again() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        keeper.note(Timestamp::default(), What::Expired { lease: LeaseId(1) });
        let id = id_of(keeper.write(NOW));
        keeper.result(NOW, id, Stored::Unclear(String::from("?")));
        keeper.note(Timestamp::default(), What::Expired { lease: LeaseId(2) });
        let Some(Effect::Commit { events, .. }) = keeper.write(LATER) else {
            panic!("a write");
        };
        let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
        assert_eq!(numbers, [1, 2]);
    }
    /// Holds and nodes as well; and a lease that is over here does not come back by it.
    #[test]
    fn of_what_somebody_else_wrote_everything_that_restricts_is_taken() {
        let hold = |author: &str| Hold {
            author: Owner::try_from(String::from(author)).unwrap(),
            reason: String::from("disks"),
            since: Timestamp::default(),
            until: None,
        };
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        keeper.edit(|doc| {
            doc.known_nodes.insert(NodeId(1), Role::BROKER);
            doc.node_holds.insert(NodeId(1), hold("ours"));
        });
        take(&mut keeper, 7);
        let id = id_of(keeper.write(NOW));
        keeper.result(NOW, id, Stored::Written(Revision(1)));
        keeper.end(over(7));
        let id = id_of(keeper.write(NOW));
        let mut theirs = GateDoc::default();
        theirs.known_nodes.insert(NodeId(1), Role::CONTROLLER);
        theirs.known_nodes.insert(NodeId(2), Role::BROKER);
        theirs.hold = Some(hold("theirs"));
        theirs.node_holds.insert(NodeId(1), hold("theirs"));
        theirs.node_holds.insert(NodeId(2), hold("theirs"));
        theirs.leases.insert(LeaseId(7), lease(7));
        theirs.last_lease = LeaseId(8);
        theirs.last_event = 40;
        keeper.result(NOW, id, Stored::Lost(Revision(9), theirs.clone()));
        let wanted = keeper.wanted();
        let both = Role::BROKER.and(Role::CONTROLLER);
        assert_eq!(wanted.known_nodes[&NodeId(1)], both);
        assert_eq!(wanted.known_nodes[&NodeId(2)], Role::BROKER);
        assert_eq!(wanted.hold, theirs.hold);
        assert_eq!(wanted.node_holds[&NodeId(1)], hold("ours"));
        assert_eq!(wanted.node_holds[&NodeId(2)], hold("theirs"));
        assert_eq!(wanted.leases.len(), 0, "it is over here");
        assert_eq!((wanted.last_lease, wanted.last_event), (LeaseId(8), 40));
        assert_eq!(*keeper.stored(), theirs);
        // Ours goes before theirs where both hold the gate.
        keeper.edit(|doc| doc.hold = Some(hold("ours")));
        let id = id_of(keeper.write(LATER));
        keeper.result(LATER, id, Stored::Lost(Revision(10), theirs));
        assert_eq!(keeper.wanted().hold, Some(hold("ours")));
    }

    /// An engine sleeps until the retry; while a write is on its way there is none.
    #[test]
    fn a_failed_write_is_tried_again_after_a_second() {
        let mut keeper = Keeper::new(Revision(0), GateDoc::default());
        assert_eq!(keeper.retry(), None);
        take(&mut keeper, 1);
        let id = id_of(keeper.write(NOW));
        assert_eq!(keeper.retry(), None);
        keeper.result(NOW, id, Stored::Refused(String::from("disk full")));
        assert_eq!(keeper.trouble(), Some("disk full"));
        let again = NOW.plus(RETRY);
        assert_eq!(keeper.retry(), Some(again));
        assert!(keeper.write(NOW.plus(RETRY / 2)).is_none());
        let id = id_of(keeper.write(again));
        assert_eq!(keeper.retry(), None, "it is on its way");
        assert!(keeper.write(again).is_none(), "one at a time");
        keeper.result(again, id, Stored::Written(Revision(1)));
        assert_eq!((keeper.retry(), keeper.trouble()), (None, None));
    }
}
