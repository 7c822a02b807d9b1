//! One open database: it was looked through, it is up to date, and it answers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::Deserialize;

use super::super::folder::{Identity, private};
use super::Retention;
use super::schema::{MIGRATIONS, migrate, newest, version};
use super::trouble::Trouble;
use crate::gate::doc::{GateDoc, Revision, SCHEMA, Stored};
use crate::gate::event::{Event, What};
use crate::gate::state::GateName;
use crate::time::Timestamp;

/// How long another program's write is waited for.
pub(super) const BUSY: Duration = Duration::from_millis(100);

/// How many entries of a gate's history are deleted at a time: a few milliseconds' work.
const BATCH: u32 = 500;

/// How a write failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// Whether it may have been written all the same.
    pub(super) unclear: bool,
    pub(super) why: Trouble,
}

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    db: Connection,
    path: PathBuf,
    identity: Identity,
}

impl Database {
    /// Opens the database, or makes one where there is none. What is damaged or newer stays as
    /// it is, to the last byte.
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        if !exists(path)? {
            create(path)?;
        }
        let length = fs::metadata(path).map_err(io(path, "look at"))?;
        if length.is_file() && length.len() == 0 {
            // SQLite would take it for a new one, and leases would be forgotten.
            return Err(Trouble::Damaged {
                path: path.to_path_buf(),
                what: String::from("it is empty"),
            });
        }
        let failed = sqlite(path, "open");
        let mut db = connect(path).map_err(&failed)?;
        // Closing must not carry the write-ahead log over into a file that may be damaged.
        keep_as_is(&db, true).map_err(&failed)?;
        let (found, known) = (version(&db).map_err(&failed)?, newest(MIGRATIONS));
        if found > known {
            let path = path.to_path_buf();
            return Err(Trouble::Newer { path, found, known });
        }
        look_through(&db, path, found)?;
        run(&db, "PRAGMA journal_mode = WAL")
            .and_then(|()| run(&db, "PRAGMA synchronous = FULL"))
            // The change of the journal is over with the next read only; until then SQLite calls
            // its own database locked.
            .and_then(|()| run(&db, "SELECT count(*) FROM gates"))
            // What is read from here on is on the disk: a write that was never answered may be
            // in the log without having been synchronised.
            .and_then(|()| run(&db, "PRAGMA wal_checkpoint(TRUNCATE)"))
            .map_err(&failed)?;
        migrate(&mut db, MIGRATIONS).map_err(sqlite(path, "bring up to date"))?;
        keep_as_is(&db, false).map_err(&failed)?;
        Self::looked_at(db, path)
    }

    /// One that is open and was looked through.
    pub(super) fn looked_at(db: Connection, path: &Path) -> Result<Self, Trouble> {
        let identity = Identity::of(path).ok_or_else(|| moved_away(path))?;
        Ok(Self {
            db,
            path: path.to_path_buf(),
            identity,
        })
    }

    /// Whether the file that is open is still the one that a restart would find.
    pub(super) fn is_in_place(&self) -> bool {
        Identity::of(&self.path) == Some(self.identity)
    }

    /// Gives it up without another write to its files.
    pub(super) fn abandon(self) {
        let _ = keep_as_is(&self.db, true);
    }

    /// For tests that break things.
    #[cfg(test)]
    pub(super) const fn connection(&self) -> &Connection {
        &self.db
    }

    /// A gate's document and its revision.
    pub(super) fn load(&self, gate: &GateName) -> Result<(Revision, GateDoc), Trouble> {
        match self.row(gate)? {
            None => Ok((Revision(0), GateDoc::default())),
            Some((revision, text)) => Ok((revision, self.document(gate, &text)?)),
        }
    }

    /// Compare-and-swap, whole or not at all.
    pub(super) fn commit(
        &self,
        gate: &GateName,
        expect: Revision,
        doc: &GateDoc,
        events: &[Event],
    ) -> Result<Stored, Failed> {
        let before = |why| Failed {
            unclear: false,
            why,
        };
        let after = |why| Failed { unclear: true, why };
        let step = |sql, doing| {
            self.db
                .execute_batch(sql)
                .map_err(sqlite(&self.path, doing))
        };
        step("BEGIN IMMEDIATE", "begin a write to").map_err(before)?;
        let swapped = self.swap(gate, expect, doc, events);
        if let Ok(stored @ Stored::Written(_)) = swapped {
            step("COMMIT", "finish a write to").map_err(after)?;
            return Ok(stored);
        }
        // After some errors SQLite has rolled back by itself.
        if !self.db.is_autocommit() {
            step("ROLLBACK", "take back a write to").map_err(after)?;
        }
        swapped.map_err(before)
    }

    fn swap(
        &self,
        gate: &GateName,
        expect: Revision,
        doc: &GateDoc,
        events: &[Event],
    ) -> Result<Stored, Trouble> {
        let row = self.row(gate)?;
        let revision = row.as_ref().map_or(Revision(0), |(revision, _)| *revision);
        if revision != expect {
            let stands = row.map(|(_, text)| self.document(gate, &text));
            return Ok(Stored::Lost(
                revision,
                stands.transpose()?.unwrap_or_default(),
            ));
        }
        let next = Revision(revision.0.saturating_add(1));
        let failed = sqlite(&self.path, "write to");
        self.db
            .execute(
                "INSERT INTO gates (name, revision, doc) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET revision = ?2, doc = ?3",
                params![gate.as_str(), self.number(next.0)?, self.json(doc)?],
            )
            .map_err(&failed)?;
        let mut insert = self
            .db
            .prepare(
                "INSERT OR IGNORE INTO history (gate, number, at_ns, kind, body)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .map_err(&failed)?;
        for event in events {
            let body = self.json(&event.what)?;
            let kind = self.read::<Kind>(&body)?.kind;
            let row = params![
                gate.as_str(),
                self.number(event.number)?,
                event.at.as_nanos(),
                kind,
                body
            ];
            insert.execute(row).map_err(&failed)?;
        }
        Ok(Stored::Written(next))
    }

    /// Entries of the history below a number, the newest first.
    pub(super) fn history(
        &self,
        gate: &GateName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, Trouble> {
        let before = before.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let failed = sqlite(&self.path, "read");
        let mut select = self
            .db
            .prepare(
                "SELECT number, at_ns, body FROM history WHERE gate = ?1 AND number < ?2
                 ORDER BY number DESC LIMIT ?3",
            )
            .map_err(&failed)?;
        let row = |row: &rusqlite::Row<'_>| {
            let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok((number, at, row.get::<_, String>(2)?))
        };
        let rows = select
            .query_map(params![gate.as_str(), before, limit], row)
            .map_err(&failed)?;
        rows.map(|row| {
            let (number, at, body) = row.map_err(&failed)?;
            Ok(Event {
                number: u64::try_from(number).unwrap_or(0),
                at: Timestamp::from_nanos(at),
                what: self.read::<What>(&body)?,
            })
        })
        .collect()
    }

    /// The name of every gate that there is something of.
    pub(super) fn gates(&self) -> Result<Vec<String>, Trouble> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut names = self.db.prepare("SELECT name FROM gates")?;
            names.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(sqlite(&self.path, "read"))
    }

    /// Deletes some of what is older, or more, than is kept.
    pub(super) fn trim(&self, keep: Retention, now: Timestamp) -> Result<usize, Trouble> {
        let most = i64::try_from(keep.entries).unwrap_or(i64::MAX);
        let since = now.minus(keep.age).as_nanos();
        let mut deleted = 0;
        for gate in self.gates()? {
            deleted += self
                .db
                .execute(
                    "DELETE FROM history WHERE gate = ?1
                     AND number < (SELECT min(number) FROM history WHERE gate = ?1) + ?2
                     AND (at_ns < ?3
                          OR number <= (SELECT max(number) FROM history WHERE gate = ?1) - ?4)",
                    params![gate, BATCH, since, most],
                )
                .map_err(sqlite(&self.path, "delete old history from"))?;
        }
        Ok(deleted)
    }

    fn row(&self, gate: &GateName) -> Result<Option<(Revision, String)>, Trouble> {
        self.db
            .query_row(
                "SELECT revision, doc FROM gates WHERE name = ?1",
                [gate.as_str()],
                |row| {
                    let revision: i64 = row.get(0)?;
                    Ok((Revision(u64::try_from(revision).unwrap_or(0)), row.get(1)?))
                },
            )
            .optional()
            .map_err(sqlite(&self.path, "read"))
    }

    /// A document of any schema up to ours, as one of ours.
    fn document(&self, gate: &GateName, text: &str) -> Result<GateDoc, Trouble> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let found = self.read::<Version>(text)?.schema;
        if found > SCHEMA {
            return Err(Trouble::NewerDocument {
                path: self.path.clone(),
                gate: gate.to_string(),
                found,
                known: SCHEMA,
            });
        }
        let doc: GateDoc = self.read(text)?;
        Ok(GateDoc {
            schema: SCHEMA,
            ..doc
        })
    }

    fn read<'t, T: Deserialize<'t>>(&self, text: &'t str) -> Result<T, Trouble> {
        serde_json::from_str(text).map_err(|error| Trouble::Damaged {
            path: self.path.clone(),
            what: format!("an entry that cannot be read: {error}"),
        })
    }

    fn json(&self, value: &impl serde::Serialize) -> Result<String, Trouble> {
        serde_json::to_string(value).map_err(|error| self.unwritable(error.to_string()))
    }

    fn number(&self, number: u64) -> Result<i64, Trouble> {
        i64::try_from(number).map_err(|_| self.unwritable(format!("{number} is too large")))
    }

    fn unwritable(&self, what: String) -> Trouble {
        Trouble::Unwritable {
            path: self.path.clone(),
            what,
        }
    }
}

/// The word for an event, which stands in a column of its own for people who look with SQL.
#[derive(Deserialize)]
struct Kind {
    kind: String,
}

fn moved_away(path: &Path) -> Trouble {
    Trouble::Damaged {
        path: path.to_path_buf(),
        what: String::from("it was moved away while it was opened"),
    }
}

fn exists(path: &Path) -> Result<bool, Trouble> {
    path.try_exists().map_err(io(path, "look at"))
}

/// Makes an empty database beside its place and moves it there when it is whole, so that no
/// crash leaves half of one.
fn create(path: &Path) -> Result<(), Trouble> {
    let wal = beside(path, "-wal");
    if fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
        // SQLite would read it into the new database.
        let path = path.to_path_buf();
        return Err(Trouble::LoneWal { path, wal });
    }
    let new = beside(path, ".new");
    for left_over in [&new, &beside(&new, "-journal")] {
        if exists(left_over)? {
            fs::remove_file(left_over).map_err(io(left_over, "remove"))?;
        }
    }
    private()
        .create_new(true)
        .open(&new)
        .map_err(io(&new, "make"))?;
    let failed = sqlite(&new, "make");
    let mut db = connect(&new).map_err(&failed)?;
    db.pragma_update(None, "synchronous", "FULL")
        .and_then(|()| migrate(&mut db, MIGRATIONS))
        .map_err(&failed)?;
    drop(db);
    fs::rename(&new, path).map_err(io(path, "move a new database to"))?;
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io(folder, "synchronise"))
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

/// Runs a statement to its end, whatever rows it has: one that stops at its first row may keep
/// its transaction.
fn run(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Whether closing leaves the write-ahead log where it is.
pub(super) fn keep_as_is(db: &Connection, keep: bool) -> rusqlite::Result<bool> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
}

/// Reads every page once.
pub(super) fn look_through(db: &Connection, path: &Path, version: i64) -> Result<(), Trouble> {
    let damaged = |what| {
        Err(Trouble::Damaged {
            path: path.to_path_buf(),
            what,
        })
    };
    if version < 1 {
        return damaged(String::from("it is no database of upgrade-gate"));
    }
    let found: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(sqlite(path, "look through"))?;
    if found == "ok" {
        Ok(())
    } else {
        damaged(found)
    }
}

pub(super) fn sqlite(
    path: &Path,
    doing: &'static str,
) -> impl Fn(rusqlite::Error) -> Trouble + use<> {
    let path = path.to_path_buf();
    move |source| Trouble::Sqlite {
        path: path.clone(),
        doing,
        source,
    }
}

fn io(path: &Path, doing: &'static str) -> impl Fn(std::io::Error) -> Trouble + use<> {
    let path = path.to_path_buf();
    move |source| Trouble::Io {
        path: path.clone(),
        doing,
        source,
    }
}
