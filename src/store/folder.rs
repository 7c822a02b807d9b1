//! The data folder: who works in it, and with which rights its files are made.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The file whose lock says that a process works in the folder; what stands in it is for people.
pub const LOCK_FILE: &str = "upgrade-gate.lock";

/// Another process works in the data folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data folder {} is in use by {}: one process per folder; end that one, or give this one \
     another data_dir", .folder.display(), pid_text(.pid.as_deref())
)]
pub struct Held {
    /// The folder.
    pub folder: PathBuf,
    /// Who, where it is written there.
    pub pid: Option<String>,
}

fn pid_text(pid: Option<&str>) -> String {
    pid.map_or_else(
        || String::from("another process"),
        |pid| format!("the process with pid {pid}"),
    )
}

/// Why the folder cannot be worked in.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody else is there.
    #[error(transparent)]
    Held(#[from] Held),
    /// The operating system refuses.
    #[error("failed to {doing} {}: {source}; make it a folder that this process may write to", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The right to work in a folder, for as long as this lives.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    /// The lock lives and dies with it.
    file: File,
}

/// Which file stands behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the file at `path`; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|found| Self::from(&found))
    }
}

impl From<&fs::Metadata> for Identity {
    fn from(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

impl FolderLock {
    /// Makes the folder where there is none (0700), and takes it.
    ///
    /// # Errors
    /// Somebody has it, or the operating system refuses.
    pub fn take(folder: &Path) -> Result<Self, FolderError> {
        let io = |doing, path: &Path| {
            let path = path.to_path_buf();
            move |source| FolderError::Io {
                doing,
                path,
                source,
            }
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(folder)
            .map_err(io("make the data folder", folder))?;
        let path = folder.join(LOCK_FILE);
        let mut options = private();
        // What stands there is the holder's until the lock is ours.
        options.read(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(FolderError::Held(Held {
                    folder: folder.to_path_buf(),
                    pid: read_pid(&mut file),
                }));
            }
            Err(errno) => return Err(io("lock", &path)(errno.into())),
        }
        // The lock is what counts: on a full disk the note for people is empty.
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        Ok(Self { path, file })
    }

    /// Whether the file that is locked is the one that others would find.
    pub fn stands(&self) -> bool {
        let mine = self.file.metadata().ok();
        mine.is_some_and(|mine| Identity::of(&self.path) == Some(Identity::from(&mine)))
    }
}

/// The process that works in this folder, in words; `None`: nobody, or that cannot be seen. Takes no
/// lock itself: a gate that starts meanwhile would be turned away by it.
pub fn holder(folder: &Path) -> Option<String> {
    let pid = locks_of(&folder.join(LOCK_FILE))?;
    Some(pid_text((!pid.starts_with('-')).then_some(&pid)))
}

/// The process that has a lock on a file, of whatever kind.
pub(super) fn locks_of(path: &Path) -> Option<String> {
    let inode = fs::metadata(path).ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // `1: FLOCK  ADVISORY  WRITE 1234 08:01:131090 0 EOF`; whoever waits for one has `->` there.
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let has = fields.next()? != "->";
        let pid = fields.nth(2)?;
        let of = fields.next()?.rsplit(':').next()?;
        (has && of == inode).then(|| pid.to_owned())
    })
}

/// How the folder's files are made: for this user only.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn read_pid(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    let pid = text.trim();
    let digits = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| String::from(pid))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_and_its_files_are_for_this_user_only_and_for_one_holder() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b");
        let lock = FolderLock::take(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(LOCK_FILE)), 0o600);
        let refused = FolderLock::take(&folder).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(
            matches!(&refused, FolderError::Held(held) if held.pid.as_deref() == Some(&*pid)),
            "{refused}"
        );
        assert!(refused.to_string().contains(&pid));
        assert!(lock.stands());
        let seen = holder(&folder).unwrap();
        assert!(seen.contains(&pid) || seen == "another process", "{seen}");
        drop(lock);
        assert_eq!(holder(&folder), None);
        assert!(FolderLock::take(&folder).is_ok());
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_no_longer_stands() {
        let base = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(base.path()).unwrap();
        fs::remove_file(base.path().join(LOCK_FILE)).unwrap();
        assert!(!lock.stands());
        let _other = FolderLock::take(base.path()).unwrap();
        assert!(!lock.stands());
    }

    #[test]
    fn what_cannot_be_a_folder_is_named() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        let text = FolderLock::take(&file.join("sub")).unwrap_err().to_string();
        assert!(
            text.contains("file/sub") && text.contains("data folder"),
            "{text}"
        );
    }
}
