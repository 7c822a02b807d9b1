use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use tokio::time::{Instant, sleep};

use super::flight::DEADLINE;
use super::handle::{AskError, GateHandle, Room};
use super::*;
use crate::clock::SystemClock;
use crate::evidence::ids::NodeId;
use crate::gate::doc::{GateDoc, Revision};
use crate::gate::event::Event;
use crate::gate::lease::{Action, Lease, Owner, Stage, Token};
use crate::gate::question::{Change, Command, Entry, Question, Refusal};
use crate::store::{MemoryStore, Store};
use crate::time::{Now, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Mono {
    Mono::from_nanos(1_000_000_000_000).plus(Duration::from_millis(millis))
}

fn owner() -> Owner {
    Owner::try_from(String::from("ann")).unwrap()
}

fn enter(asked: Mono) -> Command {
    Command::Enter(Entry {
        owner: owner(),
        nodes: [NodeId(1)].into(),
        ttl: SECOND,
        action: Action::Restart,
        asked,
    })
}

#[test]
fn a_request_that_waits_has_its_evidence_asked_for_once() {
    let mut refreshes = Refreshes::default();
    let mut ask = |now, command: &Command| {
        refreshes.asked(command);
        let wanted = refreshes.is_wanted(now, Wanted::Quick);
        if wanted {
            refreshes.done(now);
        }
        (wanted, refreshes.due())
    };
    assert_eq!(ask(at(0), &enter(at(0))), (true, None));
    for later in [1, 500, 1_000, 50_000] {
        assert_eq!(
            ask(at(later), &enter(at(0))),
            (false, None),
            "{later} ms later"
        );
    }
    let fresh = |moment| {
        Command::Decide(Question {
            nodes: [NodeId(1)].into(),
            newer_than: Some(moment),
        })
    };
    assert_eq!(
        ask(at(50_001), &fresh(at(50_001))),
        (true, None),
        "another request"
    );
    // One right after it: its evidence comes a moment later, together with everybody else's.
    let due = (false, Some(at(50_251)));
    assert_eq!(ask(at(50_010), &enter(at(50_010))), due);
    assert_eq!(ask(at(50_100), &fresh(at(50_100))), due);
}

#[test]
fn a_write_that_is_late_is_unclear_and_the_store_gets_no_second_one() {
    let mut flights = Flights::default();
    assert_eq!(flights.overdue(), None);
    assert_eq!(flights.take_off(at(0), CommitId(1)), Ok(()));
    assert_eq!(flights.overdue(), Some(at(0).plus(DEADLINE)));
    let (id, result) = flights.give_up().unwrap();
    assert!(id == CommitId(1) && matches!(result, Stored::Unclear(_)));
    assert_eq!(flights.give_up(), None, "said once");
    assert_eq!(flights.overdue(), None);
    let refused = flights.take_off(at(6_000), CommitId(2));
    assert!(refused.is_err());
    flights.landed(CommitId(2));
    assert!(flights.take_off(at(7_000), CommitId(3)).is_err());
    flights.landed(CommitId(1));
    assert_eq!(flights.take_off(at(8_000), CommitId(4)), Ok(()));
}

fn go() -> Reply {
    let at = Now {
        mono: at(0),
        wall: Timestamp::default(),
    };
    Reply::Go {
        told: Some(1),
        lease: Box::new(Lease {
            id: LeaseId(3),
            token: Token(3),
            owner: Some(owner()),
            nodes: [NodeId(1)].into(),
            action: Action::Restart,
            stage: Stage::Held,
            granted_at: at.wall,
            stage_since: at.wall,
            expires_at: at.wall,
            starts: BTreeMap::new(),
            gone: BTreeSet::new(),
            retired: BTreeSet::new(),
            took_over: false,
        }),
        evaluated: at,
    }
}

#[test]
fn a_go_is_unheard_only_where_nobody_can_have_read_it() {
    assert_eq!(say(None, go()), Some(LeaseId(3)), "forgotten before");
    let (asker, answer) = oneshot::channel();
    drop(answer);
    assert_eq!(say(Some(asker), go()), Some(LeaseId(3)), "given up before");
    let (asker, answer) = oneshot::channel();
    assert_eq!(say(Some(asker), go()), None, "handed over");
    drop(answer);
    let refused = Reply::Refused(Refusal::NothingHeld);
    assert_eq!(say(None, refused), None, "no lease");
}

/// Commits nothing until it is told to.
#[derive(Debug)]
struct Hangs {
    store: MemoryStore,
    told: std::sync::mpsc::Receiver<()>,
    stuck: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
}

impl Store for Hangs {
    fn load(&mut self, gate: &GateName) -> Result<(Revision, GateDoc), String> {
        self.store.load(gate)
    }

    fn commit(
        &mut self,
        gate: &GateName,
        expect: Revision,
        doc: &GateDoc,
        events: &[Event],
    ) -> Stored {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.stuck.load(Ordering::SeqCst) {
            let _ = self.told.recv();
        }
        self.store.commit(gate, expect, doc, events)
    }

    fn history(
        &mut self,
        gate: &GateName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, String> {
        self.store.history(gate, before, limit)
    }
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < 4 * DEADLINE, "never {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn engine(
    published: &Arc<Published>,
    store: &Writer,
    policy: &watch::Sender<Arc<Policy>>,
) -> Engine {
    Engine {
        gate: GateName::default(),
        policy: policy.subscribe(),
        board: Arc::default(),
        published: Arc::clone(published),
        store: store.clone(),
        clock: Arc::new(SystemClock),
        wants: Arc::default(),
        pulse: Arc::default(),
        counters: Arc::default(),
    }
}

/// Has a document that nobody here can read.
#[derive(Debug)]
struct Unreadable;

impl Store for Unreadable {
    fn load(&mut self, _: &GateName) -> Result<(Revision, GateDoc), String> {
        Err(String::from("it is of a newer release"))
    }

    fn commit(&mut self, _: &GateName, _: Revision, _: &GateDoc, _: &[Event]) -> Stored {
        unreachable!("nothing was read")
    }

    fn history(&mut self, _: &GateName, _: Option<u64>, _: usize) -> Result<Vec<Event>, String> {
        Ok(Vec::new())
    }
}

/// Its queue would fill, and with it the shares of whoever asks.
#[tokio::test]
async fn what_waits_for_an_engine_that_cannot_read_its_store_is_let_go() {
    let first = View::nothing(
        GateName::default(),
        SystemClock.now(),
        Reason::WarmingUp,
        "",
    );
    let published = Arc::new(Published::new(first));
    let (handle, asks) = GateHandle::new(GateName::default(), Arc::clone(&published));
    let writer = Writer::spawn(Box::new(Unreadable)).unwrap();
    let policy = watch::Sender::new(Arc::new(Policy::default()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(engine(&published, &writer, &policy).run(asks, stop.clone()));
    let question = Question {
        nodes: BTreeSet::new(),
        newer_than: None,
    };
    for _ in 0..3 {
        let room = Room::default();
        let answered = handle.decide(question.clone(), 60 * SECOND, room).await;
        assert_eq!(answered.unwrap_err(), AskError::Gone);
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_said_in_time_and_what_it_wrote_late_is_found() {
    let gate = GateName::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let first = View::nothing(gate.clone(), clock.now(), Reason::WarmingUp, "");
    let published = Arc::new(Published::new(first));
    let (handle, asks) = GateHandle::new(gate.clone(), Arc::clone(&published));
    let (tell, told) = std::sync::mpsc::channel();
    let (stuck, commits) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let writer = Writer::spawn(Box::new(Hangs {
        store: MemoryStore::default(),
        told,
        stuck: Arc::clone(&stuck),
        commits: Arc::clone(&commits),
    }))
    .unwrap();
    let policy = watch::Sender::new(Arc::new(Policy::default()));
    let engine = engine(&published, &writer, &policy);
    let stop = CancellationToken::new();
    let running = tokio::spawn(engine.run(asks, stop.clone()));
    let hold = Command::Change(Change::Hold {
        node: None,
        author: owner(),
        reason: String::from("disks"),
        ttl: None,
    });
    let asked = handle.ask(hold, 4 * DEADLINE).await.unwrap();
    assert!(
        matches!(asked, Reply::Refused(Refusal::NotDurable(_))),
        "{asked:?}"
    );
    let says_trouble = || {
        let view = published.load();
        let answer = view.at(clock.now().mono);
        let reasons = answer.last_known().reasons.iter();
        let says = reasons.map(|reason| reason.reason);
        says.filter(|reason| *reason == Reason::StoreUnavailable)
            .count()
            == 1
    };
    until("in trouble", says_trouble).await;
    // What restricts is in force all the same. Meanwhile the store is left alone.
    assert!(
        published
            .load()
            .at(clock.now().mono)
            .last_known()
            .hold
            .is_some()
    );
    sleep(2 * SECOND).await;
    assert_eq!(commits.load(Ordering::SeqCst), 1);
    assert!(says_trouble());

    stuck.store(false, Ordering::SeqCst);
    tell.send(()).unwrap();
    until("well again", || !says_trouble()).await;
    let (revision, doc) = writer.load(gate).await.unwrap();
    assert_eq!(doc.hold.map(|hold| hold.reason).as_deref(), Some("disks"));
    assert!(revision >= Revision(1));
    stop.cancel();
    running.await.unwrap();
}
