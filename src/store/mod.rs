//! What has to survive a restart: one small document per gate, written by compare-and-swap on a
//! thread of its own, so that a slow disk never delays a judgement.
//!
//! [`SqliteStore`] keeps it in a folder. [`MemoryStore`] forgets everything when the process ends:
//! for the simulation, the demo, and a gate without a data folder.

pub mod folder;
pub mod sqlite;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

pub use sqlite::SqliteStore;

use crate::gate::doc::{GateDoc, Revision, Stored};
use crate::gate::event::Event;
use crate::gate::keep::CommitId;
use crate::gate::state::GateName;

/// How many writes may wait; more are refused.
const QUEUE: usize = 64;

/// How many readers of the history may wait; more are refused, so that the queue stays free for
/// writes.
const READERS: usize = 4;

/// A place that keeps gate documents.
pub trait Store: Debug + Send {
    /// The document of a gate and its revision; a new one where there is none.
    fn load(&mut self, gate: &GateName) -> Result<(Revision, GateDoc), String>;

    /// Replaces the document if its revision is still `expect`, and appends `events` to the
    /// history; both or neither. Returns when it is durable. An event whose number is there
    /// already is not appended again.
    fn commit(
        &mut self,
        gate: &GateName,
        expect: Revision,
        doc: &GateDoc,
        events: &[Event],
    ) -> Stored;

    /// Entries of the history with a number below `before`, the newest first, `limit` at most.
    fn history(
        &mut self,
        gate: &GateName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, String>;

    /// Work that can wait. Called after a write was answered, when nobody else waits.
    fn tidy(&mut self) {}
}

/// Keeps documents in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    docs: BTreeMap<GateName, (Revision, GateDoc)>,
    events: BTreeMap<(GateName, u64), Event>,
}

/// Entries of a gate's history that [`MemoryStore`] keeps.
const EVENTS_KEPT: usize = 1_000;

impl Store for MemoryStore {
    fn load(&mut self, gate: &GateName) -> Result<(Revision, GateDoc), String> {
        Ok(self.docs.entry(gate.clone()).or_default().clone())
    }

    fn commit(
        &mut self,
        gate: &GateName,
        expect: Revision,
        doc: &GateDoc,
        events: &[Event],
    ) -> Stored {
        let (revision, held) = self.docs.entry(gate.clone()).or_default();
        if *revision != expect {
            return Stored::Lost(*revision, held.clone());
        }
        *revision = Revision(revision.0.saturating_add(1));
        held.clone_from(doc);
        let written = Stored::Written(*revision);
        for event in events {
            let key = (gate.clone(), event.number);
            self.events.entry(key).or_insert_with(|| event.clone());
        }
        while self.events.len() > EVENTS_KEPT {
            self.events.pop_first();
        }
        written
    }

    fn history(
        &mut self,
        gate: &GateName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, String> {
        let end = (gate.clone(), before.unwrap_or(u64::MAX));
        let entries = self.events.range((gate.clone(), 0)..end).rev();
        Ok(entries
            .take(limit)
            .map(|(_, event)| event.clone())
            .collect())
    }
}

/// A write on its way to the store, and where its result goes.
#[derive(Debug)]
pub struct Job {
    /// Whose document.
    pub gate: GateName,
    /// Which write.
    pub id: CommitId,
    /// The revision it builds on.
    pub expect: Revision,
    /// The new document.
    pub doc: GateDoc,
    /// What goes into the history with it.
    pub events: Vec<Event>,
    /// Where the result goes.
    pub done: mpsc::UnboundedSender<(CommitId, Stored)>,
}

/// The way to the store's thread.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Request>,
    readers: Arc<Semaphore>,
}

#[derive(Debug)]
enum Request {
    Load(
        GateName,
        tokio::sync::oneshot::Sender<Result<(Revision, GateDoc), String>>,
    ),
    Write(Box<Job>),
    History {
        gate: GateName,
        before: Option<u64>,
        limit: usize,
        reply: tokio::sync::oneshot::Sender<Result<Vec<Event>, String>>,
        place: OwnedSemaphorePermit,
    },
}

/// Why a history could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too many read.
    #[error("too many requests wait for the store; ask again")]
    Busy,
    /// The store says so.
    #[error("{0}")]
    Failed(String),
}

impl Request {
    fn serve(self, store: &mut dyn Store) {
        match self {
            Self::Load(gate, reply) => {
                // Nobody waits any more when the engine has ended meanwhile.
                let _ = reply.send(store.load(&gate));
            }
            Self::Write(job) => {
                let stored = store.commit(&job.gate, job.expect, &job.doc, &job.events);
                let _ = job.done.send((job.id, stored));
            }
            Self::History {
                gate,
                before,
                limit,
                reply,
                place,
            } => {
                if !reply.is_closed() {
                    let _ = reply.send(store.history(&gate, before, limit));
                }
                drop(place);
            }
        }
    }
}

/// The other end of [`Writer::to_inbox`].
#[derive(Debug)]
pub struct Inbox {
    requests: mpsc::Receiver<Request>,
    next: Option<Request>,
}

impl Inbox {
    /// Waits for the next request; `false` once no writer is left.
    pub async fn wait(&mut self) -> bool {
        self.next = self.requests.recv().await;
        self.next.is_some()
    }

    /// Serves the request that was waited for.
    pub fn serve(&mut self, store: &mut dyn Store) {
        if let Some(request) = self.next.take() {
            request.serve(store);
        }
    }
}

impl Writer {
    /// Gives the store a thread of its own, which ends with the last writer.
    pub fn spawn(mut store: Box<dyn Store>) -> std::io::Result<Self> {
        let (jobs, mut inbox) = mpsc::channel::<Request>(QUEUE);
        thread::Builder::new()
            .name(String::from("store"))
            .spawn(move || {
                while let Some(request) = inbox.blocking_recv() {
                    let writes = matches!(request, Request::Write(_));
                    request.serve(&mut *store);
                    if writes && inbox.is_empty() {
                        store.tidy();
                    }
                }
            })?;
        let readers = Arc::new(Semaphore::new(READERS));
        Ok(Self { jobs, readers })
    }

    /// A way to a store that somebody serves on a task and at a pace of his own: the simulation, whose
    /// paused clock waits for no thread.
    pub fn to_inbox() -> (Self, Inbox) {
        let (jobs, requests) = mpsc::channel(QUEUE);
        let readers = Arc::new(Semaphore::new(READERS));
        let next = None;
        (Self { jobs, readers }, Inbox { requests, next })
    }

    /// The document of a gate and its revision.
    pub async fn load(&self, gate: GateName) -> Result<(Revision, GateDoc), String> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let gone = |()| String::from("the store's thread has ended");
        self.jobs
            .send(Request::Load(gate, reply))
            .await
            .map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    /// Entries of a gate's history, as [`Store::history`] gives them.
    pub async fn history(
        &self,
        gate: GateName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, ReadError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        // Writes come first: a reader that asks too often is refused and delays none of them.
        let place = Arc::clone(&self.readers)
            .try_acquire_owned()
            .map_err(|_| ReadError::Busy)?;
        let request = Request::History {
            gate,
            before,
            limit,
            reply,
            place,
        };
        self.jobs.try_send(request).map_err(|_| ReadError::Busy)?;
        let gone = || ReadError::Failed(String::from("the store's thread has ended"));
        let read = answer.await.map_err(|_| gone())?;
        read.map_err(ReadError::Failed)
    }

    /// Hands a write over. When the queue is full the write is refused at once.
    pub fn write(&self, job: Job) {
        if let Err(refused) = self.jobs.try_send(Request::Write(Box::new(job))) {
            let (why, request) = match refused {
                mpsc::error::TrySendError::Full(request) => ("too many writes wait", request),
                mpsc::error::TrySendError::Closed(request) => ("the store has ended", request),
            };
            if let Request::Write(job) = request {
                let _ = job.done.send((job.id, Stored::Refused(why.to_owned())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_on_an_old_revision_is_lost_and_says_what_stands() {
        let mut store = MemoryStore::default();
        let gate = GateName::default();
        let (revision, doc) = store.load(&gate).unwrap();
        assert_eq!(
            store.commit(&gate, revision, &doc, &[]),
            Stored::Written(Revision(1))
        );
        assert_eq!(
            store.commit(&gate, revision, &doc, &[]),
            Stored::Lost(Revision(1), doc)
        );
    }

    /// Answers when it is told to.
    #[derive(Debug)]
    struct Slow(std::sync::mpsc::Receiver<()>);

    impl Store for Slow {
        fn load(&mut self, _: &GateName) -> Result<(Revision, GateDoc), String> {
            Ok((Revision(0), GateDoc::default()))
        }

        fn commit(&mut self, _: &GateName, _: Revision, _: &GateDoc, _: &[Event]) -> Stored {
            Stored::Written(Revision(1))
        }

        fn history(
            &mut self,
            _: &GateName,
            _: Option<u64>,
            _: usize,
        ) -> Result<Vec<Event>, String> {
            self.0.recv().map_err(|gone| gone.to_string())?;
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn readers_of_the_history_leave_the_queue_to_writes() {
        let (go_on, told) = std::sync::mpsc::channel();
        let writer = Writer::spawn(Box::new(Slow(told))).unwrap();
        let ask = || {
            let writer = writer.clone();
            tokio::spawn(async move { writer.history(GateName::default(), None, 1).await })
        };
        let readers: Vec<_> = (0..2 * READERS).map(|_| ask()).collect();
        while writer.readers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        let (done, mut stored) = mpsc::unbounded_channel();
        writer.write(Job {
            gate: GateName::default(),
            id: CommitId(7),
            expect: Revision(0),
            doc: GateDoc::default(),
            events: Vec::new(),
            done,
        });
        for _ in 0..READERS {
            go_on.send(()).unwrap();
        }
        drop(go_on);
        let written = (CommitId(7), Stored::Written(Revision(1)));
        assert_eq!(stored.recv().await, Some(written));
        let mut answered = 0;
        for reader in readers {
            answered += usize::from(reader.await.unwrap().is_ok());
        }
        assert_eq!(answered, READERS);
    }
}
