//! Reading files beside the threads that answer.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{BadFile, Secret};
use crate::time::Human;

/// Reads files on threads that may wait, one read at a time. A network mount that hangs, or a pipe
/// that nobody writes to, holds up one of those threads, and nobody who answers.
#[derive(Clone, Debug)]
pub struct Aside(Arc<Semaphore>);

/// What was to be read was not, within this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late(Duration);

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = Human(self.0);
        write!(
            f,
            "not read within {within}: is a file a pipe, or on a network mount that hangs?"
        )
    }
}

impl std::error::Error for Late {}

impl Default for Aside {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Aside {
    /// What `read` makes of files, within `patience`, its turn included. A read that hangs keeps its
    /// turn: whoever comes after it starts no other one.
    ///
    /// # Errors
    /// It takes longer.
    pub async fn read<T: Send + 'static>(
        &self,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late> {
        let turns = Arc::clone(&self.0);
        let reading = async {
            let turn = turns.acquire_owned().await.ok()?;
            let reading = tokio::task::spawn_blocking(move || {
                let _until_read = turn;
                read()
            });
            reading.await.ok()
        };
        let read = timeout(patience, reading).await;
        read.ok().flatten().ok_or(Late(patience))
    }

    /// A secret, as [`Secret::read`] reads it.
    ///
    /// # Errors
    /// A file that cannot be used, or is not read in time.
    pub async fn secret(&self, path: &Path, patience: Duration) -> Result<Secret, BadFile> {
        let from = path.to_owned();
        let read = self.read(patience, move || Secret::read(&from)).await;
        read.unwrap_or_else(|late| Err(BadFile::new(path, late.to_string())))
    }

    /// Whether something is being read.
    pub fn is_busy(&self) -> bool {
        self.0.available_permits() == 0
    }
}

/// Makes a pipe, which hangs as a dead mount does: whoever opens it waits for the other end.
#[cfg(test)]
pub(crate) fn pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// Opens the other end of a pipe, writes this and closes it: whoever reads it goes on.
#[cfg(test)]
pub(crate) async fn release(path: &Path, text: &'static str) {
    let path = path.to_owned();
    let write = tokio::task::spawn_blocking(move || std::fs::write(path, text));
    write.await.unwrap().unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    /// The only thread that answers goes on, and no second one is held up.
    #[tokio::test]
    async fn a_file_that_hangs_holds_up_one_thread_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        pipe(&path);
        let aside = Aside::default();
        for _ in 0..3 {
            let bad = aside.secret(&path, SOON).await.unwrap_err();
            assert!(bad.to_string().contains("not read within 50ms"), "{bad}");
            assert_eq!(bad.path, path);
            assert!(aside.is_busy());
        }
        let second = aside.read::<()>(SOON, || panic!("a second thread"));
        assert_eq!(second.await, Err(Late(SOON)));
        release(&path, "secret").await;
        assert_eq!(aside.read(LONG, || 7).await, Ok(7));
        assert!(!aside.is_busy());
    }

    /// Kubernetes shows a secret as a link to a link to a file.
    #[tokio::test]
    async fn a_link_to_a_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (data, link) = (folder.path().join("..data"), folder.path().join("password"));
        std::fs::create_dir(folder.path().join("now")).unwrap();
        std::fs::write(folder.path().join("now/password"), "secret\n").unwrap();
        std::os::unix::fs::symlink("now", &data).unwrap();
        std::os::unix::fs::symlink("..data/password", &link).unwrap();
        let read = Aside::default().secret(&link, LONG).await.unwrap();
        assert_eq!(read.reveal(), "secret");
    }
}
