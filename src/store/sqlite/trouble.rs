//! What goes wrong with a database, in words that say what to do.

use std::path::{Path, PathBuf};

use rusqlite::{Error, ErrorCode};

use super::super::folder::FolderError;

/// Why the database cannot be used, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{}", explain(.path, .doing, .source))]
    Sqlite {
        path: PathBuf,
        /// What was tried, as in "failed to ...".
        doing: &'static str,
        source: Error,
    },
    #[error("{}", damaged(.path, .what))]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{} has schema {found}, this release knows {known}: a newer release wrote it; start that \
         one again. Nothing in it was changed", .path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "the document of gate {gate} in {} has schema {found}, this release knows {known}: a newer \
         release wrote it; start that one again. Nothing in it was changed", .path.display()
    )]
    NewerDocument {
        path: PathBuf,
        gate: String,
        found: u32,
        known: u32,
    },
    #[error(
        "{} is there without its database: the last writes are in it; put {} back beside it, or \
         move it away as well", .wal.display(), .path.display()
    )]
    LoneWal { path: PathBuf, wal: PathBuf },
    #[error("failed to {doing} {}: {source}", .path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: std::io::Error,
    },
    #[error("a value for {} cannot be written: {what}; report this as a defect", .path.display())]
    Unwritable { path: PathBuf, what: String },
}

impl Trouble {
    /// Whether the connection has to be made anew before it can be believed again.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => !matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)
            ),
            Self::NewerDocument { .. } | Self::Unwritable { .. } => false,
            Self::Folder(_)
            | Self::Damaged { .. }
            | Self::Newer { .. }
            | Self::LoneWal { .. }
            | Self::Io { .. } => true,
        }
    }
}

fn explain(path: &Path, doing: &str, error: &Error) -> String {
    let at = path.display();
    let todo = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return damaged(path, &error.to_string());
        }
        Some(ErrorCode::DiskFull) => "free space on its disk",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "let this process write to it and to its folder, and see whether the disk is mounted \
             read-only"
        }
        Some(ErrorCode::CannotOpen) => {
            "let this process read and write it and its folder; it has to be a file"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program writes to it; end that one"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "see what the system's log says about its disk, and whether that is full or read-only"
        }
        _ => "see docs/store.md",
    };
    format!("failed to {doing} {at}: {error}; {todo}. It is tried again by itself")
}

fn damaged(path: &Path, what: &str) -> String {
    let at = path.display();
    format!(
        "{at} is damaged ({what}) and was left as it is. Move it away together with {at}-wal and \
         {at}-shm, and put a backup in its place (docs/store.md); without one, leases, holds and \
         history are forgotten. It is looked at again by itself"
    )
}
