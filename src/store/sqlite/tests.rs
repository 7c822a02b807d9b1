use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use tempfile::TempDir;

use super::schema::{MIGRATIONS, migrate, newest, version};
use super::*;
use crate::gate::doc::SCHEMA;
use crate::gate::event::What;
use crate::gate::lease::{LeaseId, Token};
use crate::time::{Now, Timestamp};

/// The tables of the first release that had a database, as it made them.
const VERSION_1: &str = "
    CREATE TABLE gates (
        name TEXT PRIMARY KEY NOT NULL,
        revision INTEGER NOT NULL,
        doc TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE history (
        gate TEXT NOT NULL,
        number INTEGER NOT NULL,
        at_ns INTEGER NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (gate, number)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

const KEEP: Retention = Retention {
    age: Duration::from_hours(24),
    entries: 100,
};

/// A clock that a test moves.
#[derive(Debug, Default)]
struct Hand(std::sync::Mutex<u64>);

impl Hand {
    fn advance(&self, span: Duration) {
        *self.0.lock().unwrap() += u64::try_from(span.as_nanos()).unwrap();
    }
}

impl Clock for Hand {
    fn now(&self) -> Now {
        let nanos = *self.0.lock().unwrap();
        Now {
            mono: Mono::from_nanos(nanos),
            wall: Timestamp::from_nanos(i64::try_from(nanos).unwrap()),
        }
    }
}

pub(super) fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, KEEP, Arc::new(Hand::default())).unwrap()
}

pub(super) fn gate() -> GateName {
    GateName::default()
}

/// A document that can be told from others.
pub(super) fn doc(token: u64) -> GateDoc {
    GateDoc {
        last_token: Token(token),
        ..GateDoc::default()
    }
}

pub(super) fn event(number: u64, at: Duration) -> Event {
    Event {
        number,
        at: Timestamp::default().plus(at),
        what: What::Expired {
            lease: LeaseId(number),
        },
    }
}

pub(super) fn written(store: &mut SqliteStore, expect: u64, events: &[Event]) {
    let stored = store.commit(&gate(), Revision(expect), &doc(expect + 1), events);
    assert_eq!(stored, Stored::Written(Revision(expect + 1)));
}

fn refused(stored: &Stored) -> &str {
    match stored {
        Stored::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

/// Every file of the folder but the lock, and the index that every reader makes.
pub(super) fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().ends_with("-shm"))
        .filter(|path| !path.ends_with(super::super::folder::LOCK_FILE))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        // A log with nothing in it is as good as none.
        .filter(|(path, bytes)| !(bytes.is_empty() && path.to_string_lossy().ends_with("-wal")))
        .collect();
    files.sort();
    files
}

/// A closed database with some history, the newest of it still in the write-ahead log.
fn with_history(commits: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for n in 0..commits {
        written(&mut store, n, &[event(n + 1, Duration::ZERO)]);
    }
    store.close("as after a crash");
    folder
}

#[test]
fn what_is_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    assert_eq!(store.load(&gate()), Ok((Revision(0), GateDoc::default())));
    written(
        &mut store,
        0,
        &[event(1, Duration::ZERO), event(2, Duration::ZERO)],
    );
    let mode = |name: &str| {
        fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    for name in [DATABASE, "upgrade-gate.db-wal", "upgrade-gate.db-shm"] {
        assert_eq!(mode(name) & 0o777, 0o600, "{name}");
    }
    drop(store);
    let mut store = open(folder.path());
    assert_eq!(store.load(&gate()), Ok((Revision(1), doc(1))));
    let numbers = |store: &mut SqliteStore, before, limit| -> Vec<u64> {
        let entries = store.history(&gate(), before, limit).unwrap();
        entries.iter().map(|entry| entry.number).collect()
    };
    assert_eq!(numbers(&mut store, None, 10), [2, 1]);
    assert_eq!(numbers(&mut store, None, 1), [2]);
    assert_eq!(numbers(&mut store, Some(2), 10), [1]);
    let other = GateName::try_from(String::from("other")).unwrap();
    assert_eq!(store.load(&other), Ok((Revision(0), GateDoc::default())));
    assert_eq!(store.history(&other, None, 10), Ok(Vec::new()));
}

#[test]
fn a_write_on_an_old_revision_is_lost_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    written(&mut store, 0, &[event(1, Duration::ZERO)]);
    let late = store.commit(&gate(), Revision(0), &doc(9), &[event(2, Duration::ZERO)]);
    assert_eq!(late, Stored::Lost(Revision(1), doc(1)));
    let early = store.commit(&gate(), Revision(5), &doc(9), &[]);
    assert_eq!(early, Stored::Lost(Revision(1), doc(1)));
    assert_eq!(store.history(&gate(), None, 10).unwrap().len(), 1);
    let nowhere = GateName::try_from(String::from("nowhere")).unwrap();
    let none = store.commit(&nowhere, Revision(5), &doc(9), &[]);
    assert_eq!(none, Stored::Lost(Revision(0), GateDoc::default()));
}

#[test]
fn an_event_is_appended_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    written(&mut store, 0, &[event(1, Duration::ZERO)]);
    written(
        &mut store,
        1,
        &[event(1, Duration::from_secs(9)), event(2, Duration::ZERO)],
    );
    let entries = store.history(&gate(), None, 10).unwrap();
    assert_eq!(
        entries,
        [event(2, Duration::ZERO), event(1, Duration::ZERO)]
    );
}

#[test]
fn a_database_of_every_earlier_version_is_brought_up_to_date() {
    assert!(
        VERSION_1.contains(MIGRATIONS[0]),
        "migrations are append-only"
    );
    let folder = tempfile::tempdir().unwrap();
    let old = Connection::open(folder.path().join(DATABASE)).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    // A document of schema 1, as it was before leases.
    old.execute_batch(
        r#"INSERT INTO gates VALUES ('default', 7, '{"schema":1,"cluster_id":"abc",
             "known_nodes":{"1":{"broker":true,"controller":false}}}');
           INSERT INTO history VALUES ('default', 3, 5, 'expired', '{"kind":"expired","lease":3}');"#,
    )
    .unwrap();
    drop(old);
    let mut store = open(folder.path());
    let (revision, doc) = store.load(&gate()).unwrap();
    assert_eq!((revision, doc.schema), (Revision(7), SCHEMA));
    assert_eq!((doc.known_nodes.len(), doc.leases.len()), (1, 0));
    let entries = store.history(&gate(), None, 10).unwrap();
    assert_eq!(entries, [event(3, Duration::from_nanos(5))]);
    assert_eq!(
        store.commit(&gate(), revision, &doc, &[]),
        Stored::Written(Revision(8))
    );
}

#[test]
fn a_migration_happens_whole_or_not_at_all_from_every_version() {
    let steps = [
        "CREATE TABLE a (x)",
        "ALTER TABLE a ADD COLUMN y; INSERT INTO a VALUES (1, 2)",
        "CREATE TABLE b AS SELECT * FROM a",
    ];
    for from in 0..=steps.len() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, &steps[..from]).unwrap();
        assert_eq!(version(&db).unwrap(), newest(&steps[..from]));
        migrate(&mut db, &steps).unwrap();
        assert_eq!(version(&db).unwrap(), 3);
        let rows: i64 = db
            .query_row("SELECT count(*) FROM b", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1);
    }
    let mut db = Connection::open_in_memory().unwrap();
    let broken = [steps[0], "CREATE TABLE c (x); CREATE TABLE a (x)"];
    assert!(migrate(&mut db, &broken).is_err());
    assert_eq!(version(&db).unwrap(), 1);
    assert!(db.prepare("SELECT * FROM c").is_err(), "half a step stands");
}

#[test]
fn what_a_newer_release_wrote_is_refused_and_not_touched() {
    let folder = with_history(3);
    let path = folder.path().join(DATABASE);
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch("CREATE TABLE news (x); PRAGMA user_version = 99")
        .unwrap();
    drop(database);
    let before = contents(folder.path());
    let mut store = open(folder.path());
    let why = store.load(&gate()).unwrap_err();
    assert!(
        why.contains("schema 99") && why.contains("newer release"),
        "{why}"
    );
    let stored = store.commit(&gate(), Revision(3), &doc(4), &[]);
    assert!(refused(&stored).contains("upgrade-gate.db"), "{stored:?}");
    drop(store);
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn a_newer_document_is_refused_and_the_others_are_served() {
    let folder = with_history(1);
    let database = Connection::open(folder.path().join(DATABASE)).unwrap();
    let newer = format!(r#"{{"schema":{},"leases":"elsewhere"}}"#, SCHEMA + 1);
    database
        .execute("INSERT INTO gates VALUES ('newer', 4, ?1)", [newer])
        .unwrap();
    drop(database);
    let mut store = open(folder.path());
    let name = GateName::try_from(String::from("newer")).unwrap();
    let why = store.load(&name).unwrap_err();
    assert!(
        why.contains("gate newer") && why.contains("newer release"),
        "{why}"
    );
    assert!(refused(&store.commit(&name, Revision(1), &doc(1), &[])).contains("gate newer"));
    assert_eq!(store.load(&gate()), Ok((Revision(1), doc(1))));
}

/// Each way in which files get broken: what stands afterwards is refused, stays as it is to the
/// last byte, and is read again once it is repaired.
#[test]
fn a_damaged_database_is_refused_not_overwritten_and_heals() {
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 6] = [
        ("emptied", Vec::clear),
        ("cut", |bytes| bytes.truncate(5000)),
        ("no header", |bytes| bytes[..16].fill(b'x')),
        ("a page of noise", |bytes| bytes[4096..8192].fill(0xa5)),
        ("all zero", |bytes| bytes.fill(0)),
        ("something else", |bytes| {
            *bytes = b"not a database\n".repeat(500);
        }),
    ];
    for (name, harm) in damage {
        let folder = with_history(200);
        drop(open(folder.path()));
        let path = folder.path().join(DATABASE);
        let good = fs::read(&path).unwrap();
        assert!(good.len() > 8192, "{}", good.len());
        let mut bad = good.clone();
        harm(&mut bad);
        fs::write(&path, &bad).unwrap();
        let before = contents(folder.path());
        let mut store = open(folder.path());
        for _ in 0..2 {
            let why = store.load(&gate()).unwrap_err();
            assert!(
                why.contains("is damaged") && why.contains("docs/store.md"),
                "{name}: {why}"
            );
            let stored = store.commit(&gate(), Revision(0), &doc(1), &[]);
            assert!(
                refused(&stored).contains("is damaged"),
                "{name}: {stored:?}"
            );
            assert!(store.history(&gate(), None, 1).is_err(), "{name}");
        }
        assert_eq!(contents(folder.path()), before, "{name}");
        // Written over in place, as a restored backup may be.
        fs::write(&path, &good).unwrap();
        assert_eq!(store.load(&gate()).unwrap().0, Revision(200), "{name}");
    }
}

#[test]
fn the_write_ahead_log_of_a_damaged_database_stays_too() {
    let folder = with_history(40);
    let path = folder.path().join(DATABASE);
    let wal = fs::metadata(folder.path().join("upgrade-gate.db-wal")).unwrap();
    assert!(wal.len() > 4096, "the newest writes are in the log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[..100].fill(0);
    fs::write(&path, bytes).unwrap();
    let before = contents(folder.path());
    let mut store = open(folder.path());
    assert!(store.load(&gate()).is_err());
    drop(store);
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn a_log_without_its_database_is_not_read_into_a_new_one() {
    let folder = with_history(5);
    let path = folder.path().join(DATABASE);
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let mut store = open(folder.path());
    let why = store.load(&gate()).unwrap_err();
    assert!(
        why.contains("upgrade-gate.db-wal is there without"),
        "{why}"
    );
    assert!(!path.exists());
    fs::rename(&aside, &path).unwrap();
    assert_eq!(store.load(&gate()).unwrap().0, Revision(5));
}

#[test]
fn a_database_that_is_moved_away_under_a_running_store_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    written(&mut store, 0, &[]);
    let aside = folder.path().join("aside");
    fs::create_dir(&aside).unwrap();
    for name in [DATABASE, "upgrade-gate.db-wal", "upgrade-gate.db-shm"] {
        fs::rename(folder.path().join(name), aside.join(name)).unwrap();
    }
    let late = store.commit(&gate(), Revision(1), &doc(2), &[]);
    assert_eq!(late, Stored::Lost(Revision(0), GateDoc::default()));
    drop(store);
    assert_eq!(open(&aside).load(&gate()), Ok((Revision(1), doc(1))));
}

#[test]
fn a_folder_that_cannot_be_had_is_named_and_taken_once_it_can() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("data");
    fs::write(&folder, "a file").unwrap();
    let mut store = open(&folder);
    let why = store.load(&gate()).unwrap_err();
    assert!(why.contains("data") && why.contains("folder"), "{why}");
    assert!(refused(&store.commit(&gate(), Revision(0), &doc(1), &[])).contains("folder"));
    fs::remove_file(&folder).unwrap();
    written(&mut store, 0, &[]);
    let taken = SqliteStore::open(&folder, KEEP, Arc::new(Hand::default()));
    assert_eq!(taken.unwrap_err().pid, Some(std::process::id().to_string()));
}

#[test]
fn a_database_that_may_only_be_read_refuses_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    written(&mut store, 0, &[]);
    only_reads(&store, true);
    let stored = store.commit(&gate(), Revision(1), &doc(2), &[]);
    let why = refused(&stored);
    assert!(why.contains("let this process write to it"), "{why}");
    // The connection was given up; a new one may write.
    written(&mut store, 1, &[]);
}

fn only_reads(store: &SqliteStore, only: bool) {
    let database = store.database.as_ref().unwrap().connection();
    database.pragma_update(None, "query_only", only).unwrap();
}

#[test]
fn a_full_database_refuses_whole_writes_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    written(&mut store, 0, &[event(1, Duration::ZERO)]);
    let pages = |store: &SqliteStore, most: i64| {
        let database = store.database.as_ref().unwrap().connection();
        let set = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        database
            .pragma_update_and_check(None, "max_page_count", most, set)
            .unwrap();
    };
    pages(&store, 1);
    let many: Vec<Event> = (2..200).map(|n| event(n, Duration::ZERO)).collect();
    let stored = store.commit(&gate(), Revision(1), &doc(2), &many);
    assert!(
        refused(&stored).contains("free space on its disk"),
        "{stored:?}"
    );
    assert_eq!(store.load(&gate()), Ok((Revision(1), doc(1))));
    assert_eq!(store.history(&gate(), None, 500).unwrap().len(), 1);
    pages(&store, 1_000_000);
    written(&mut store, 1, &many);
}

#[test]
fn another_program_that_writes_is_refused_for_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    written(&mut store, 0, &[]);
    let other = Connection::open(folder.path().join(DATABASE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let stored = store.commit(&gate(), Revision(1), &doc(2), &[]);
    assert!(refused(&stored).contains("another program"), "{stored:?}");
    assert_eq!(store.load(&gate()), Ok((Revision(1), doc(1))));
    other.execute_batch("ROLLBACK").unwrap();
    written(&mut store, 1, &[]);
    // One that only reads is in nobody's way.
    other.execute_batch("BEGIN; SELECT * FROM gates").unwrap();
    written(&mut store, 2, &[]);
}

/// SQLite says at COMMIT that it failed: nobody knows what a restart would find, and the store
/// reads it back before it writes again.
#[test]
fn an_error_of_the_commit_itself_is_unclear() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    written(&mut store, 0, &[]);
    let database = store.database.as_ref().unwrap().connection();
    database
        .execute_batch(
            "CREATE TABLE a (x PRIMARY KEY);
             CREATE TABLE b (x REFERENCES a DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER broken AFTER UPDATE ON gates BEGIN INSERT INTO b VALUES (1); END;
             PRAGMA foreign_keys = ON",
        )
        .unwrap();
    let stored = store.commit(&gate(), Revision(1), &doc(2), &[]);
    assert!(
        matches!(&stored, Stored::Unclear(why) if why.contains("finish a write")),
        "{stored:?}"
    );
    let database = store.database().unwrap().connection();
    database.execute_batch("DROP TRIGGER broken").unwrap();
    assert_eq!(store.load(&gate()), Ok((Revision(1), doc(1))));
    written(&mut store, 1, &[]);
}

#[test]
fn old_history_goes_in_small_batches_once_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Hand::default());
    let mut store = SqliteStore::open(folder.path(), KEEP, Arc::clone(&clock) as _).unwrap();
    let at = |hours| Duration::from_hours(hours);
    let events: Vec<Event> = (1..=1200).map(|n| event(n, at(1))).collect();
    written(&mut store, 0, &events);
    let left = |store: &mut SqliteStore| {
        let entries = store.history(&gate(), None, 5000).unwrap();
        (entries.len(), entries.last().map(|entry| entry.number))
    };
    let mut sizes = Vec::new();
    for _ in 0..4 {
        clock.advance(Duration::from_mins(1));
        store.tidy();
        store.tidy();
        sizes.push(left(&mut store).0);
    }
    assert_eq!(sizes, [700, 200, 100, 100], "by count");
    assert_eq!(left(&mut store).1, Some(1101), "the newest are kept");
    clock.advance(at(20));
    written(&mut store, 1, &[event(1201, at(20))]);
    store.tidy();
    assert_eq!(left(&mut store).0, 100, "by count again");
    clock.advance(at(6));
    store.tidy();
    assert_eq!(left(&mut store), (1, Some(1201)), "by age");
}
