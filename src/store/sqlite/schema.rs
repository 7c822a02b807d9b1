//! The tables, and how older ones are brought up to date.
//!
//! The version stands in `PRAGMA user_version`. A database of ours never has version 0: it is
//! made elsewhere and put in its place when it is whole.

use rusqlite::{Connection, TransactionBehavior};

/// What leads from each version to the next one; the first makes the tables in an empty file.
/// Append only: databases of every version are out there.
pub(super) const MIGRATIONS: &[&str] = &["
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
"];

/// The version that a list of migrations leads to.
pub(super) fn newest(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

/// The version a database has.
pub(super) fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Applies what is missing, each step whole or not at all.
pub(super) fn migrate(db: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let from = usize::try_from(version(db)?).unwrap_or(usize::MAX);
    for (step, sql) in migrations.iter().enumerate().skip(from) {
        let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute_batch(sql)?;
        change.pragma_update(None, "user_version", newest(&migrations[..=step]))?;
        change.commit()?;
    }
    Ok(())
}
