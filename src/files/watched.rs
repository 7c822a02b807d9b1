//! Something made of files, made anew when they change.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Aside, BadFile};

/// What tells one state of the files from another. Links are followed: an orchestrator replaces
/// a folder of secrets by changing one link.
type Stamp = Vec<Option<(u64, u64, u64, i64, i64, i64, i64)>>;

type Make<T> = Box<dyn Fn() -> Result<T, BadFile> + Send + Sync>;

/// Something made of files. What was made last stays in use until the files have changed *and*
/// give something usable: a half written certificate must not end a service.
pub struct Watched<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    current: ArcSwap<T>,
    stamp: Mutex<Stamp>,
    aside: Aside,
    /// Whether the newest look took too long.
    hangs: AtomicBool,
}

/// What became of looking at the files again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// They are the same files.
    No,
    /// They are others, and in use from now on.
    Yes,
    /// They are others and cannot be used; what was made before stays in use. Said once.
    Unusable(BadFile),
}

impl<T> Watched<T> {
    /// Makes it for the first time. `make` reads those `paths`, and no other file.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn new(
        paths: Vec<PathBuf>,
        make: impl Fn() -> Result<T, BadFile> + Send + Sync + 'static,
    ) -> Result<Self, BadFile> {
        // Before they are read: a change during reading is then noticed later.
        let stamp = stamp(&paths);
        let current = ArcSwap::from_pointee(make()?);
        Ok(Self {
            paths,
            make: Box::new(make),
            current,
            stamp: Mutex::new(stamp),
            aside: Aside::default(),
            hangs: AtomicBool::new(false),
        })
    }

    /// What was made last.
    pub fn get(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Looks at the files, and makes it anew where they have changed. Reads files, shortly.
    pub fn refresh(&self) -> Changed {
        let now = stamp(&self.paths);
        let mut before = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == now {
            return Changed::No;
        }
        *before = now;
        self.make_anew()
    }

    /// Makes it anew although its own files are the same: for what else it is made of.
    pub fn again(&self) -> Changed {
        let _one_at_a_time = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_anew()
    }

    fn make_anew(&self) -> Changed {
        match (self.make)() {
            Ok(made) => {
                self.current.store(Arc::new(made));
                Changed::Yes
            }
            Err(why) => Changed::Unusable(why),
        }
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// [`Watched::refresh`] for threads that answer. Where looking takes longer than `patience`, what
    /// was made before stays in use: that is said once, and waited for no more until it is over.
    pub async fn look(self: &Arc<Self>, patience: Duration) -> Changed {
        let hung = self.hangs.load(Ordering::Relaxed);
        let Some(first) = self
            .paths
            .first()
            .filter(|_| !hung || !self.aside.is_busy())
        else {
            return Changed::No;
        };
        let watched = Arc::clone(self);
        match self.aside.read(patience, move || watched.refresh()).await {
            Ok(changed) => {
                self.hangs.store(false, Ordering::Relaxed);
                changed
            }
            Err(_) if self.hangs.swap(true, Ordering::Relaxed) => Changed::No,
            Err(late) => Changed::Unusable(BadFile::new(first, late.to_string())),
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    let of = |path: &PathBuf| {
        let known = fs::metadata(path).ok()?;
        Some((
            known.dev(),
            known.ino(),
            known.len(),
            known.mtime(),
            known.mtime_nsec(),
            known.ctime(),
            known.ctime_nsec(),
        ))
    };
    paths.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Secret, pipe, release};
    use super::*;

    #[test]
    fn changed_files_are_used_and_broken_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one").unwrap();
        let from = path.clone();
        let token = Watched::new(vec![path.clone()], move || Secret::read(&from)).unwrap();
        let reveal = || token.get().reveal().to_owned();
        assert_eq!((token.refresh(), reveal()), (Changed::No, "one".into()));
        fs::write(&path, "three").unwrap();
        assert_eq!((token.refresh(), reveal()), (Changed::Yes, "three".into()));
        assert_eq!(token.refresh(), Changed::No);
        fs::write(&path, "").unwrap();
        assert!(matches!(token.refresh(), Changed::Unusable(_)));
        assert_eq!((token.refresh(), reveal()), (Changed::No, "three".into()));
        fs::remove_file(&path).unwrap();
        assert!(matches!(token.refresh(), Changed::Unusable(_)));
        fs::write(&path, "four").unwrap();
        assert_eq!((token.refresh(), reveal()), (Changed::Yes, "four".into()));
    }

    /// What was made before is used while a file hangs, and what comes of it afterwards.
    #[tokio::test]
    async fn a_file_that_hangs_leaves_what_was_before() {
        let (soon, long) = (Duration::from_millis(50), Duration::from_secs(30));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one").unwrap();
        let from = path.clone();
        let token = Watched::new(vec![path.clone()], move || Secret::read(&from)).unwrap();
        let token = Arc::new(token);
        let reveal = || token.get().reveal().to_owned();
        assert_eq!(token.look(long).await, Changed::No);
        fs::remove_file(&path).unwrap();
        pipe(&path);
        let changed = token.look(soon).await;
        assert!(
            matches!(&changed, Changed::Unusable(bad) if bad.path == path),
            "{changed:?}"
        );
        // Told once, and not waited for: this would take very long.
        assert_eq!(
            (token.look(long).await, reveal()),
            (Changed::No, "one".into())
        );
        release(&path, "two").await;
        fs::remove_file(&path).unwrap();
        fs::write(&path, "three").unwrap();
        while token.aside.is_busy() {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            (token.look(long).await, reveal()),
            (Changed::Yes, "three".into())
        );
    }

    #[test]
    fn a_link_that_is_changed_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&old, "old").unwrap();
        fs::write(&new, "new").unwrap();
        let link = folder.path().join("token");
        std::os::unix::fs::symlink(&old, &link).unwrap();
        let from = link.clone();
        let token = Watched::new(vec![link.clone()], move || Secret::read(&from)).unwrap();
        let other = folder.path().join("other");
        std::os::unix::fs::symlink(&new, &other).unwrap();
        fs::rename(&other, &link).unwrap();
        assert_eq!(token.refresh(), Changed::Yes);
        assert_eq!(token.get().reveal(), "new");
    }

    #[test]
    fn nothing_is_made_of_files_that_are_not_there() {
        let path = PathBuf::from("/nonexistent/token");
        let from = path.clone();
        assert!(Watched::new(vec![path], move || Secret::read(&from)).is_err());
    }
}
