//! A store that answers in every way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::event::Event;
use upgrade_gate::gate::keep::CommitId;
use upgrade_gate::gate::state::GateName;
use upgrade_gate::store::{Inbox, Store};

use super::ops::Random;

/// What a store of many moods has said of writes, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// It is written.
    pub written: u64,
    /// Something else stands there.
    pub lost: u64,
    /// It is not written.
    pub refused: u64,
    /// Nobody knows; it is there.
    pub unclear_and_there: u64,
    /// Nobody knows; it is not there.
    pub unclear_and_not_there: u64,
}

impl Answers {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            written: self.written + other.written,
            lost: self.lost + other.lost,
            refused: self.refused + other.refused,
            unclear_and_there: self.unclear_and_there + other.unclear_and_there,
            unclear_and_not_there: self.unclear_and_not_there + other.unclear_and_not_there,
        }
    }
}

/// A store that takes its time, and does not always say what it has done.
#[derive(Debug)]
pub struct Flaky {
    random: Random,
    due: Vec<(Duration, CommitId, Stored)>,
    /// What it has said by now.
    pub answers: Answers,
}

impl Flaky {
    /// Its moods follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random(seed ^ 0x0073_746f_7265),
            due: Vec::new(),
            answers: Answers::default(),
        }
    }

    /// A write comes in; what stands afterwards is decided here, what is said of it comes later.
    pub fn commit(
        &mut self,
        now: Duration,
        id: CommitId,
        expect: Revision,
        doc: GateDoc,
        stands: &mut (Revision, GateDoc),
    ) {
        let said = self.decide(expect, &doc, stands);
        let at = now + self.pause();
        self.due.push((at, id, said));
    }

    /// What becomes of a write, and what is said of it.
    pub fn decide(
        &mut self,
        expect: Revision,
        doc: &GateDoc,
        stands: &mut (Revision, GateDoc),
    ) -> Stored {
        let answers = &mut self.answers;
        match self.random.between(0, 19) {
            0 => {
                answers.refused += 1;
                Stored::Refused(String::from("disk full"))
            }
            1 => {
                answers.unclear_and_not_there += 1;
                Stored::Unclear(String::from("no answer, and it is not there"))
            }
            2 | 3 => {
                write(expect, doc, stands);
                answers.unclear_and_there += 1;
                Stored::Unclear(String::from("no answer, and it is there"))
            }
            _ => {
                let said = write(expect, doc, stands);
                let lost = matches!(said, Stored::Lost(..));
                answers.lost += u64::from(lost);
                answers.written += u64::from(!lost);
                said
            }
        }
    }

    /// How long it takes.
    pub fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.pick(&[0, 0, 20, 200, 1_500]))
    }

    /// What has been found out by now.
    pub fn said(&mut self, now: Duration) -> Vec<(CommitId, Stored)> {
        let due = std::mem::take(&mut self.due);
        let (ready, later) = due.into_iter().partition(|(at, ..)| *at <= now);
        self.due = later;
        let ready: Vec<(Duration, CommitId, Stored)> = ready;
        ready.into_iter().map(|(_, id, said)| (id, said)).collect()
    }

    /// Whoever waited is gone.
    pub fn forget(&mut self) {
        self.due.clear();
    }
}

/// Replaces what stands, if it is what is expected.
pub(super) fn write(expect: Revision, doc: &GateDoc, stands: &mut (Revision, GateDoc)) -> Stored {
    if stands.0 != expect {
        return Stored::Lost(stands.0, stands.1.clone());
    }
    *stands = (Revision(expect.0 + 1), doc.clone());
    Stored::Written(stands.0)
}

/// What a store keeps of one gate, whatever process writes it.
#[derive(Debug)]
pub(super) struct Kept {
    /// The document.
    pub(super) stands: (Revision, GateDoc),
    flaky: Option<Flaky>,
}

impl Kept {
    /// Nothing is kept yet, by a store of these moods or of none.
    pub(super) fn new(moods: Option<u64>) -> Self {
        Self {
            stands: (Revision(0), GateDoc::default()),
            flaky: moods.map(Flaky::new),
        }
    }

    /// What was said of writes.
    pub(super) fn answers(&self) -> Answers {
        self.flaky.as_ref().map(|it| it.answers).unwrap_or_default()
    }

    fn pause(&mut self) -> Duration {
        self.flaky.as_mut().map_or(Duration::ZERO, Flaky::pause)
    }
}

/// The store as one process sees it.
#[derive(Debug)]
struct Shelf(Arc<Mutex<Kept>>);

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Shelf {
    fn load(&mut self, _: &GateName) -> Result<(Revision, GateDoc), String> {
        Ok(self.kept().stands.clone())
    }

    fn commit(&mut self, _: &GateName, expect: Revision, doc: &GateDoc, _: &[Event]) -> Stored {
        let mut kept = self.kept();
        let Kept { stands, flaky } = &mut *kept;
        match flaky {
            Some(flaky) => flaky.decide(expect, doc, stands),
            None => write(expect, doc, stands),
        }
    }

    fn history(&mut self, _: &GateName, _: Option<u64>, _: usize) -> Result<Vec<Event>, String> {
        Ok(Vec::new())
    }
}

/// Serves one process's requests, each after a while, until it is gone.
pub(super) async fn keep(mut inbox: Inbox, kept: Arc<Mutex<Kept>>) {
    let mut shelf = Shelf(kept);
    while inbox.wait().await {
        let pause = shelf.kept().pause();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        inbox.serve(&mut shelf);
    }
}
