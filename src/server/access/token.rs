//! Bearer tokens, each in a file of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::principal::{Means, Principal};
use super::tag::{Tag, Tagger};
use crate::files::{BadFile, Secret, Watched};
use crate::rights::TokenSettings;

/// The shortest token, in characters: nobody may guess one.
const SHORTEST: usize = 16;

/// The tokens, known by their tags: what is looked up tells nothing about what is kept.
pub(super) struct Tokens {
    tagger: Tagger,
    known: BTreeMap<Tag, Arc<Principal>>,
}

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
        Watched::new(paths, move || Self::read(&settings)).map(Some)
    }

    fn read(settings: &BTreeMap<String, TokenSettings>) -> Result<Self, BadFile> {
        let tagger = Tagger::new();
        let mut known: BTreeMap<Tag, Arc<Principal>> = BTreeMap::new();
        for (name, token) in settings {
            let secret = Secret::read(&token.file)?;
            let bad = |why: String| Err(BadFile::new(&token.file, why));
            if secret.reveal().len() < SHORTEST {
                return bad(format!(
                    "has a token of less than {SHORTEST} characters: make one with openssl rand -hex 32"
                ));
            }
            let principal = Principal {
                means: Means::Token,
                name: name.clone(),
                right: token.rights,
            };
            let tag = tagger.tag(&[secret.reveal()]);
            if let Some(other) = known.insert(tag, Arc::new(principal)) {
                let other = &other.name;
                return bad(format!(
                    "has the same token as {other}: who asks could not be told"
                ));
            }
        }
        Ok(Self { tagger, known })
    }

    /// Whose token this is.
    pub(super) fn whose(&self, token: &str) -> Option<Arc<Principal>> {
        self.known.get(&self.tagger.tag(&[token])).cloned()
    }
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
            let why = Tokens::read(&settings).unwrap_err().to_string();
            assert!(why.contains(says) && !why.contains(bad), "{why}");
        }
    }
}
