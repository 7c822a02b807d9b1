//! A look at a database that leaves it, and everything beside it, as it is: for `doctor`, who may be
//! another user, while a gate may be at work in it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::folder::locks_of;
use super::DATABASE;
use super::database::{BUSY, Database, beside, keep_as_is, look_through, sqlite};
use super::schema::{MIGRATIONS, newest, version};
use super::trouble::Trouble;
use crate::gate::doc::{GateDoc, Revision};
use crate::gate::state::GateName;

/// What stands in a data folder for one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no database yet; a gate makes one.
    Nothing,
    /// A gate could go on from this; revision 0 where it has nothing of this gate.
    Document(Revision, Box<GateDoc>),
    /// It is damaged: no gate works with it.
    Damaged(String),
    /// A newer release wrote it: no gate of this release works with it.
    Newer(String),
    /// Another program keeps everybody out of it.
    Locked(String),
    /// It cannot be read, by this user or at all.
    Unreadable(String),
}

/// Looks for a gate's document in a folder.
pub fn look(folder: &Path, gate: &GateName) -> Found {
    // SQLite takes a relative path that begins with `file:` for a URI.
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    match read(&folder.join(DATABASE), gate) {
        Ok(None) => Found::Nothing,
        Ok(Some((revision, doc))) => Found::Document(revision, Box::new(doc)),
        Err(trouble) => found(&trouble),
    }
}

fn found(trouble: &Trouble) -> Found {
    let words = trouble.to_string();
    match trouble {
        Trouble::Damaged { .. } | Trouble::LoneWal { .. } => Found::Damaged(words),
        Trouble::Newer { .. } | Trouble::NewerDocument { .. } => Found::Newer(words),
        Trouble::Sqlite { source, .. } => match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Found::Damaged(words),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Found::Locked(words),
            _ => Found::Unreadable(words),
        },
        Trouble::Folder(_) | Trouble::Io { .. } | Trouble::Unwritable { .. } => {
            Found::Unreadable(words)
        }
    }
}

fn read(path: &Path, gate: &GateName) -> Result<Option<(Revision, GateDoc)>, Trouble> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Trouble::Io {
            path,
            doing: "look at",
            source,
        }
    };
    let length = |path: &Path| match fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path)(error)),
    };
    let wal = beside(path, "-wal");
    let logged = length(&wal)?.is_some_and(|bytes| bytes > 0);
    let damaged = |what: &str| Trouble::Damaged {
        path: path.to_path_buf(),
        what: what.to_owned(),
    };
    match length(path)? {
        None if logged => {
            let path = path.to_path_buf();
            return Err(Trouble::LoneWal { path, wal });
        }
        None => return Ok(None),
        Some(0) if path.is_file() => return Err(damaged("it is empty")),
        Some(_) => {}
    }
    // An open database has a lock of its own, also where its index is not beside it.
    let shared = length(&beside(path, "-shm"))?.is_some() || locks_of(path).is_some();
    let failed = sqlite(path, "open");
    let db = connect(path, shared || logged).map_err(&failed)?;
    keep_as_is(&db, true).map_err(&failed)?;
    let (found, known) = (version(&db).map_err(&failed)?, newest(MIGRATIONS));
    if found > known {
        let path = path.to_path_buf();
        return Err(Trouble::Newer { path, found, known });
    }
    look_through(&db, path, found)?;
    Database::looked_at(db, path)?.load(gate).map(Some)
}

/// Where nobody is at work and nothing is left in the log, the file is all there is, and SQLite is
/// told so: else it would make an index beside it, which would be ours and not the gate's.
fn connect(path: &Path, at_work: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            other => {
                // Writing into a text cannot fail.
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri.push_str(if at_work {
        "?mode=ro"
    } else {
        "?mode=ro&immutable=1"
    });
    let db = Connection::open_with_flags(uri, flags)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{contents, doc, event, gate, open, written};
    use super::*;

    /// Everything in the folder, by name.
    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_look_finds_what_a_gate_would_and_leaves_everything_as_it_is() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a folder?#");
        assert_eq!(look(&folder, &gate()), Found::Nothing);
        assert!(!folder.exists());
        let mut store = open(&folder);
        written(&mut store, 0, &[event(1, Duration::ZERO)]);
        let document = |token| Found::Document(Revision(token), Box::new(doc(token)));
        // While the gate is at work, with the newest write in its log.
        assert_eq!(look(&folder, &gate()), document(1));
        written(&mut store, 1, &[]);
        assert_eq!(look(&folder, &gate()), document(2));
        let other = GateName::try_from(String::from("other")).unwrap();
        let nothing = Found::Document(Revision(0), Box::default());
        assert_eq!(look(&folder, &other), nothing);
        drop(store);
        let (before, names) = (contents(&folder), names_in(&folder));
        assert_eq!(look(&folder, &gate()), document(2));
        assert_eq!((contents(&folder), names_in(&folder)), (before, names));
    }

    #[test]
    fn a_look_says_what_no_gate_would_work_with() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path();
        let path = folder.join(DATABASE);
        fs::write(&path, "").unwrap();
        assert!(matches!(look(folder, &gate()), Found::Damaged(why) if why.contains("is empty")));
        fs::write(
            &path,
            "not a database at all, and longer than a header of one would be: 100 bytes, and more",
        )
        .unwrap();
        assert!(matches!(look(folder, &gate()), Found::Damaged(_)));
        fs::remove_file(&path).unwrap();
        fs::write(folder.join("upgrade-gate.db-wal"), "x").unwrap();
        assert!(
            matches!(look(folder, &gate()), Found::Damaged(why) if why.contains("-wal is there"))
        );
        fs::remove_file(folder.join("upgrade-gate.db-wal")).unwrap();
        fs::create_dir(&path).unwrap();
        let found = look(folder, &gate());
        assert!(matches!(found, Found::Unreadable(_)), "{found:?}");
        fs::remove_dir(&path).unwrap();

        drop(open(folder));
        let db = Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM history;")
            .unwrap();
        let found = look(folder, &gate());
        assert!(matches!(found, Found::Locked(_)), "{found:?}");
        db.execute_batch("COMMIT").unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        let before = contents(folder);
        let found = look(folder, &gate());
        assert!(
            matches!(&found, Found::Newer(why) if why.contains("schema 99")),
            "{found:?}"
        );
        assert_eq!(contents(folder), before);
    }
}
