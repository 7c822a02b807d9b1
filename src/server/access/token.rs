//! Bearer tokens, each in a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::principal::{Means, Principal};
use super::tag::{Tag, Tagger};
use crate::files::{BadFile, Secret, Watched};
use crate::rights::TokenSettings;

/// The shortest token, in characters: nobody may guess one.
const SHORTEST: usize = 16;

/// The tokens, known by their tags: what is looked up tells nothing about what is kept.
pub(super) struct Tokens {
    tagger: Arc<Tagger>,
    known: BTreeMap<Tag, Arc<Principal>>,
    /// The first file whose change could not be used; its token is what it was before, or none where it
    /// is another one's now.
    pub(super) trouble: Option<BadFile>,
}

/// Each one's tag, by name; none where it has the token of somebody else, or where its file is gone.
type Tags = BTreeMap<String, Option<Tag>>;

impl Tokens {
    /// The tokens of these files, watched; `None` where there is none.
    pub(super) fn watch(
        settings: &BTreeMap<String, TokenSettings>,
    ) -> Result<Option<Watched<Self>>, BadFile> {
        if settings.is_empty() {
            return Ok(None);
        }
        let paths: Vec<PathBuf> = settings.values().map(|token| token.file.clone()).collect();
        let settings = settings.clone();
        let (tagger, last) = (Arc::new(Tagger::new()), Mutex::new(Tags::new()));
        let read = move || Self::read(&settings, &tagger, &mut lock(&last));
        Watched::new(paths, read).map(Some)
    }

    /// Reads every file. One that cannot be used holds back nobody else's change, least of all a
    /// token that is to be valid no more: it keeps the token it had. At the start there is none. Whoever
    /// takes a file away means its token: it is valid no more, until there is a file again.
    fn read(
        settings: &BTreeMap<String, TokenSettings>,
        tagger: &Arc<Tagger>,
        last: &mut Tags,
    ) -> Result<Self, BadFile> {
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        for (name, token) in settings {
            let kept = last.get(name).copied();
            let tag = match (tag_of(token, tagger), kept) {
                (Ok(tag), _) => Some(tag),
                (Err(bad), None) => return Err(bad),
                (Err(_), Some(kept)) if is_gone(&token.file) => {
                    if kept.is_some() {
                        say_gone(name, &token.file);
                    }
                    None
                }
                (Err(bad), Some(kept)) => {
                    troubles.push(bad);
                    kept
                }
            };
            found.push(Found {
                name,
                token,
                tag,
                is_new: kept.is_none(),
                kept: kept.flatten(),
            });
        }
        while let Some(bad) = part_one(&mut found)? {
            troubles.push(bad);
        }
        *last = found
            .iter()
            .map(|it| (it.name.to_owned(), it.tag))
            .collect();
        let known = found.iter().filter_map(|it| {
            let principal = Principal {
                means: Means::Token,
                name: it.name.to_owned(),
                right: it.token.rights,
            };
            Some((it.tag?, Arc::new(principal)))
        });
        Ok(Self {
            tagger: Arc::clone(tagger),
            known: known.collect(),
            trouble: troubles.into_iter().next(),
        })
    }

    /// Whose token this is.
    pub(super) fn whose(&self, token: &str) -> Option<Arc<Principal>> {
        self.known.get(&self.tagger.tag(&[token])).cloned()
    }
}

fn tag_of(token: &TokenSettings, tagger: &Tagger) -> Result<Tag, BadFile> {
    let secret = Secret::read(&token.file)?;
    if secret.reveal().len() < SHORTEST {
        let why = format!(
            "has a token of less than {SHORTEST} characters: make one with openssl rand -hex 32"
        );
        return Err(BadFile::new(&token.file, why));
    }
    Ok(tagger.tag(&[secret.reveal()]))
}

/// Whether there is no such file. One that cannot be looked at is not gone.
fn is_gone(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn say_gone(token: &str, path: &Path) {
    warn!(
        token,
        file = %path.display(),
        "the file of this token is gone: THE TOKEN IS VALID NO MORE; take it out of auth.tokens too, for \
         without its file the gate does not start"
    );
}

/// A token, as it was read.
struct Found<'a> {
    name: &'a str,
    token: &'a TokenSettings,
    tag: Option<Tag>,
    /// Whether there is no before.
    is_new: bool,
    /// What it was before.
    kept: Option<Tag>,
}

/// Of some that have the same token now, those that have changed have none, and why is said: neither
/// somebody else's, nor the one that was to be valid no more.
///
/// # Errors
/// Two have the same token from the start.
fn part_one(found: &mut [Found<'_>]) -> Result<Option<BadFile>, BadFile> {
    let mut seen = BTreeSet::new();
    let Some(twice) = found
        .iter()
        .filter_map(|it| it.tag)
        .find(|tag| !seen.insert(*tag))
    else {
        return Ok(None);
    };
    let names: Vec<&str> = found
        .iter()
        .filter(|it| it.tag == Some(twice))
        .map(|it| it.name)
        .collect();
    let mut trouble = None;
    for it in found.iter_mut().filter(|it| it.tag == Some(twice)) {
        let others: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| *name != it.name)
            .collect();
        let why = format!(
            "has the same token as {}: who asks could not be told",
            others.join(", ")
        );
        let bad = BadFile::new(&it.token.file, why);
        let has_changed = !it.is_new && it.kept != it.tag;
        if has_changed {
            it.tag = None;
            trouble = Some(Ok(bad));
        } else if !matches!(trouble, Some(Ok(_))) {
            trouble = Some(Err(bad));
        }
    }
    trouble.transpose()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.values()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::rights::Right;

    #[test]
    fn a_token_is_known_by_its_whole_text() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = BTreeMap::new();
        for (name, text, rights) in [
            ("ci", "0123456789abcdef", Right::Lease),
            ("ops", "fedcba9876543210", Right::Admin),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, format!("{text}\n")).unwrap();
            settings.insert(String::from(name), TokenSettings { file, rights });
        }
        let tokens = Tokens::watch(&settings).unwrap().unwrap();
        let whose = |token| tokens.get().whose(token).map(|it| it.to_string());
        assert_eq!(whose("0123456789abcdef").as_deref(), Some("token ci"));
        for none in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789ABCDEF",
        ] {
            assert_eq!(whose(none), None, "{none}");
        }
        assert!(!format!("{:?}", tokens.get()).contains("0123"));
        for (bad, says) in [
            ("fedcba9876543210", "same token as ci"),
            ("short", "less than 16"),
        ] {
            let file = &settings["ops"].file;
            fs::write(&settings["ci"].file, "fedcba9876543210").unwrap();
            fs::write(file, bad).unwrap();
            let why = Tokens::watch(&settings).unwrap_err().to_string();
            assert!(why.contains(says) && !why.contains(bad), "{why}");
        }
    }

    /// A token that is to be valid no more is, whatever is wrong with another one's file.
    #[test]
    fn a_file_that_cannot_be_used_keeps_no_other_token_alive() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = BTreeMap::new();
        let write = |name: &str, letter: char| {
            let file = folder.path().join(name);
            fs::write(&file, letter.to_string().repeat(16)).unwrap();
            file
        };
        for (name, letter) in [("ann", 'a'), ("bob", 'b'), ("cid", 'c')] {
            let (file, rights) = (write(name, letter), Right::Lease);
            settings.insert(String::from(name), TokenSettings { file, rights });
        }
        let tokens = Tokens::watch(&settings).unwrap().unwrap();
        let whose = |letter: char| {
            let whose = tokens.get().whose(&letter.to_string().repeat(16));
            whose.map(|it| it.name.clone())
        };
        let refresh = || {
            assert_eq!(tokens.refresh(), crate::files::Changed::Yes);
            tokens.get().trouble.clone().map(|bad| bad.to_string())
        };
        write("ann", '\n');
        write("bob", 'x');
        assert!(refresh().unwrap().contains("ann"));
        let all = |letters: &str| letters.chars().map(whose).collect::<Vec<_>>();
        let some = |name: &str| Some(String::from(name));
        assert_eq!(all("abxc"), [some("ann"), None, some("bob"), some("cid")]);
        // One file gets another one's token: nobody is taken for somebody else.
        write("ann", 'c');
        assert!(refresh().unwrap().contains("same token as cid"));
        assert_eq!(all("ac"), [None, some("cid")]);
        write("cid", 'x');
        assert!(refresh().unwrap().contains("same token as bob"));
        assert_eq!(all("acx"), [None, some("ann"), some("bob")]);
        write("cid", 'd');
        assert_eq!(refresh(), None);
        assert_eq!(all("cdx"), [some("ann"), some("cid"), some("bob")]);
    }

    /// Taking the file away revokes its token, and no other.
    #[test]
    fn a_token_whose_file_is_gone_is_valid_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = BTreeMap::new();
        for (name, letter) in [("ann", 'a'), ("bob", 'b')] {
            let (file, rights) = (folder.path().join(name), Right::Lease);
            fs::write(&file, letter.to_string().repeat(16)).unwrap();
            settings.insert(String::from(name), TokenSettings { file, rights });
        }
        let ann = settings["ann"].file.clone();
        let tokens = Tokens::watch(&settings).unwrap().unwrap();
        let valid = || {
            let is_valid = |letter: &char| {
                let token = letter.to_string().repeat(16);
                tokens.get().whose(&token).is_some()
            };
            ['a', 'b', 'c']
                .into_iter()
                .filter(is_valid)
                .collect::<String>()
        };
        let refresh = || {
            assert_eq!(tokens.refresh(), crate::files::Changed::Yes);
            tokens.get().trouble.is_some()
        };
        assert_eq!(valid(), "ab");
        fs::remove_file(&ann).unwrap();
        assert_eq!((refresh(), valid().as_str()), (false, "b"));
        // What cannot be read brings nothing back.
        fs::create_dir(&ann).unwrap();
        assert_eq!((refresh(), valid().as_str()), (true, "b"));
        fs::remove_dir(&ann).unwrap();
        fs::write(&ann, "c".repeat(16)).unwrap();
        assert_eq!((refresh(), valid().as_str()), (false, "bc"));
        // A file that is there and cannot be read is not gone.
        fs::remove_file(&ann).unwrap();
        fs::create_dir(&ann).unwrap();
        assert_eq!((refresh(), valid().as_str()), (true, "bc"));
        fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!((refresh(), valid().as_str()), (false, ""));
        // At the start it is an error, as ever.
        assert!(Tokens::watch(&settings).is_err());
    }
}
