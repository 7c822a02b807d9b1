//! What the program reads from files beside its settings: certificates, keys, passwords, tokens.
//!
//! Secrets come from files and from nowhere else, so that neither a process list nor a shown
//! configuration has them ([`Secret`] has no way to be printed). Files change while the program
//! runs, certificates every few weeks: [`Watched`] makes anew what was made of them. Threads that answer
//! read none: [`Aside`] does it for them.

mod aside;
pub mod pem;
mod secret;
mod watched;

use std::path::{Path, PathBuf};

pub use aside::{Aside, Late};
#[cfg(test)]
pub(crate) use aside::{pipe, release};
pub use secret::Secret;
pub use watched::{Changed, Watched};

/// A file that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it; never what stands in it.
    pub why: String,
}

impl BadFile {
    /// A file, and what is wrong with it.
    pub fn new(path: &Path, why: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}
