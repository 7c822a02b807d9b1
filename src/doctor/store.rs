//! The durable state: what a gate would go on from.

use std::path::Path;

use serde::Serialize;

use crate::gate::doc::{GateDoc, Revision};
use crate::gate::state::GateName;
use crate::store::folder::holder;
use crate::store::sqlite::look::{Found, look};

/// The durable state.
#[derive(Clone, Debug, Serialize)]
pub struct Store {
    /// The folder; null: none.
    pub folder: Option<String>,
    /// What stands of it.
    pub standing: Standing,
    /// What was found out of it, in words.
    pub says: String,
    /// Nodes that are remembered: each is missed where it is not there.
    pub known_nodes: Vec<i32>,
    /// Leases that stand.
    pub leases: usize,
    /// Holds of the gate and of nodes.
    pub holds: usize,
    /// The process that works in the folder now.
    pub used_by: Option<String>,
}

/// What stands of a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No folder is configured.
    None,
    /// There is nothing in it yet.
    New,
    /// A gate can go on from what is in it.
    Readable,
    /// Its database is damaged.
    Damaged,
    /// A newer release wrote it.
    Newer,
    /// Another program keeps everybody out of the database.
    Locked,
    /// The database cannot be read.
    Unreadable,
    /// No file can be made in the folder.
    Unwritable,
}

/// The state of the store, and the document that a gate would go on from.
#[derive(Debug)]
pub struct Kept {
    /// For the report.
    pub store: Store,
    /// As the store has it; a new one where there is none, or where it cannot be had.
    pub revision: Revision,
    /// See above.
    pub doc: GateDoc,
}

impl Store {
    /// Why a gate could not work with it; `None` where it could.
    pub fn trouble(&self) -> Option<&str> {
        match self.standing {
            Standing::None | Standing::New | Standing::Readable => None,
            Standing::Damaged
            | Standing::Newer
            | Standing::Locked
            | Standing::Unreadable
            | Standing::Unwritable => Some(&self.says),
        }
    }
}

/// Looks at the folder, and changes nothing in it.
pub fn kept(folder: Option<&Path>, gate: &GateName) -> Kept {
    let (standing, says, found) = match folder {
        None => (
            Standing::None,
            String::from(
                "none: leases, holds and nodes seen before do not survive a restart of the gate; \
                 set data_dir",
            ),
            None,
        ),
        Some(folder) => read(folder, gate),
    };
    let (revision, doc) = found.unwrap_or_default();
    let store = Store {
        folder: folder.map(|at| at.display().to_string()),
        standing,
        says,
        known_nodes: doc.known_nodes.keys().map(|node| node.0).collect(),
        leases: doc.leases.len(),
        holds: doc
            .node_holds
            .len()
            .saturating_add(usize::from(doc.hold.is_some())),
        used_by: folder.and_then(holder),
    };
    Kept {
        store,
        revision,
        doc,
    }
}

fn read(folder: &Path, gate: &GateName) -> (Standing, String, Option<(Revision, GateDoc)>) {
    let found = look(folder, gate);
    if let (Found::Nothing | Found::Document(..), Err(why)) = (&found, is_writable(folder)) {
        return (Standing::Unwritable, why, None);
    }
    match found {
        Found::Nothing if folder.is_dir() => {
            let says = "it is there, files can be made in it, and there is no database yet";
            (Standing::New, says.to_owned(), None)
        }
        Found::Nothing => {
            let says = "it is not there yet, and can be made";
            (Standing::New, says.to_owned(), None)
        }
        Found::Document(Revision(0), _) => {
            let says = "its database is sound, and has nothing of this gate yet";
            (Standing::Readable, says.to_owned(), None)
        }
        Found::Document(revision, doc) => {
            let says = format!(
                "its database is sound; this gate's document is at revision {}",
                revision.0
            );
            (Standing::Readable, says, Some((revision, *doc)))
        }
        Found::Damaged(why) => (Standing::Damaged, why, None),
        Found::Newer(why) => (Standing::Newer, why, None),
        Found::Locked(why) => (Standing::Locked, why, None),
        Found::Unreadable(why) => (Standing::Unreadable, why, None),
    }
}

/// Whether files can be made in the folder, or it can be made; else why not.
fn is_writable(folder: &Path) -> Result<(), String> {
    // The nearest folder that is there is the one whose rights count.
    let there = folder.ancestors().find(|at| at.is_dir());
    let there = there.unwrap_or_else(|| Path::new("."));
    tempfile_in(there).map_err(|why| {
        format!(
            "no file can be made in {}: {why}; make it a folder that this user may write to",
            there.display()
        )
    })
}

/// Makes a file and takes it away.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".upgrade-gate-doctor-{}", std::process::id()));
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)
}
