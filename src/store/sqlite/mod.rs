//! Documents and history in one SQLite file of the data folder.
//!
//! - `database`: one open database;
//! - [`look`]: a look at it that changes nothing;
//! - `schema`: its tables, and how older ones are brought up to date;
//! - `trouble`: what goes wrong, in words that say what to do.
//!
//! What cannot be opened, or has failed, is tried anew with every document that is read or
//! written; nothing is ever repaired or overwritten.

mod database;
pub mod look;
mod schema;
#[cfg(test)]
mod tests;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::Store;
use super::folder::{FolderError, FolderLock, Held};
use crate::clock::Clock;
use crate::gate::doc::{GateDoc, Revision, Stored};
use crate::gate::event::Event;
use crate::gate::state::GateName;
use crate::time::Mono;
use database::{Database, Failed};
use trouble::Trouble;

/// The database's name in the data folder.
pub const DATABASE: &str = "upgrade-gate.db";

/// How often old history is looked for at most.
const TIDY: Duration = Duration::from_mins(1);

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long.
    pub age: Duration,
    /// How many entries of each gate at most.
    pub entries: u64,
}

/// Keeps documents and history in a folder that no other process works in.
#[derive(Debug)]
pub struct SqliteStore {
    folder: PathBuf,
    keep: Retention,
    clock: Arc<dyn Clock>,
    /// The open database, or why there is none. Closed before the folder is given up.
    database: Result<Database, String>,
    lock: Option<FolderLock>,
    tidied: Option<Mono>,
}

impl SqliteStore {
    /// Takes the folder and opens the database in it. Trouble with either is logged, and tried
    /// anew whenever the store is used.
    ///
    /// # Errors
    /// Another process works in the folder.
    pub fn open(folder: &Path, keep: Retention, clock: Arc<dyn Clock>) -> Result<Self, Held> {
        let mut store = Self {
            // SQLite takes a relative path that begins with `file:` for a URI.
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf()),
            keep,
            clock,
            database: Err(String::new()),
            lock: None,
            tidied: None,
        };
        match store.reopen() {
            Err(Trouble::Folder(FolderError::Held(held))) => Err(held),
            Ok(()) | Err(_) => Ok(store),
        }
    }

    /// Every gate that something is kept of, also of those that are not configured any more.
    pub fn gates(&mut self) -> Result<Vec<GateName>, String> {
        let names = self.database()?.gates();
        let names = names.map_err(|trouble| trouble.to_string())?;
        // A name that is none was never ours.
        let gates = names.into_iter().map(GateName::try_from);
        Ok(gates.filter_map(Result::ok).collect())
    }

    /// The database; opened where it is not, or where another file stands in its place by now.
    fn database(&mut self) -> Result<&Database, String> {
        let stale = |database: &Database| !database.is_in_place();
        if self.database.as_ref().is_ok_and(stale) {
            self.close("its database was moved away or replaced");
        }
        if self.database.is_err() {
            // What it says is kept, and told from there.
            let _ = self.reopen();
        }
        self.database.as_ref().map_err(Clone::clone)
    }

    fn reopen(&mut self) -> Result<(), Trouble> {
        let opened = self.try_open();
        match opened {
            Ok(database) => {
                info!(folder = %self.folder.display(), "the store is open");
                self.database = Ok(database);
                Ok(())
            }
            Err(trouble) => {
                self.remember(&trouble.to_string());
                Err(trouble)
            }
        }
    }

    fn try_open(&mut self) -> Result<Database, Trouble> {
        if !self.lock.as_ref().is_some_and(FolderLock::stands) {
            self.lock = None;
            self.lock = Some(FolderLock::take(&self.folder)?);
        }
        Database::open(&self.folder.join(DATABASE))
    }

    /// Closes the database because of this.
    fn close(&mut self, why: &str) {
        if let Ok(database) = std::mem::replace(&mut self.database, Err(String::new())) {
            database.abandon();
        }
        self.remember(why);
    }

    /// Notes why there is no database; each reason is logged once.
    fn remember(&mut self, why: &str) {
        if self.database.as_ref().err().map(String::as_str) != Some(why) {
            error!(why, "the store cannot be used; no leases are given");
            self.database = Err(String::from(why));
        }
    }
}

impl Store for SqliteStore {
    fn load(&mut self, gate: &GateName) -> Result<(Revision, GateDoc), String> {
        self.database()?.load(gate).map_err(|trouble| {
            let why = trouble.to_string();
            if trouble.ends_connection() {
                self.close(&why);
            }
            why
        })
    }

    fn commit(
        &mut self,
        gate: &GateName,
        expect: Revision,
        doc: &GateDoc,
        events: &[Event],
    ) -> Stored {
        let done = match self.database() {
            Ok(database) => database.commit(gate, expect, doc, events),
            Err(why) => return Stored::Refused(why),
        };
        let Failed { unclear, why } = match done {
            Ok(stored) => return stored,
            Err(failed) => failed,
        };
        let text = why.to_string();
        if unclear || why.ends_connection() {
            self.close(&text);
        }
        if unclear {
            Stored::Unclear(text)
        } else {
            Stored::Refused(text)
        }
    }

    /// Opens nothing: those who only read must not slow down those who write.
    fn history(
        &mut self,
        gate: &GateName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, String> {
        let database = self.database.as_ref().map_err(Clone::clone)?;
        database
            .history(gate, before, limit)
            .map_err(|trouble| trouble.to_string())
    }

    fn tidy(&mut self) {
        let now = self.clock.now();
        let soon = |at: Mono| now.mono.since(at) < TIDY;
        let Ok(database) = &self.database else {
            return;
        };
        if self.tidied.is_some_and(soon) {
            return;
        }
        self.tidied = Some(now.mono);
        match database.trim(self.keep, now.wall) {
            Ok(0) => {}
            Ok(entries) => info!(entries, "old history was deleted"),
            Err(trouble) => {
                let why = trouble.to_string();
                warn!(why, "old history could not be deleted");
                if trouble.ends_connection() {
                    self.close(&why);
                }
            }
        }
    }
}
