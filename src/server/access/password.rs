//! Passwords of basic authentication: bcrypt is slow on purpose, so it runs beside the server's
//! threads, one at a time, and what has passed is remembered.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use bcrypt::HashParts;
use tokio::sync::Semaphore;

use super::tag::{Tag, Tagger};
use crate::files::Secret;
use crate::rights::is_principal;

/// How many passwords that have passed are remembered.
const REMEMBERED: usize = 128;

/// How many may wait for their turn; more are told to come back.
const QUEUE: usize = 16;

/// The highest cost of a hash: one check takes seconds at this one, and twice as long with each more.
const HIGHEST_COST: u32 = 15;

/// The users of a file: a name and a bcrypt hash each.
#[derive(Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// The costliest hash there is: checked for names that there are not, so that the time an
    /// answer takes does not tell which there are.
    dummy: String,
}

impl Users {
    /// Reads them; the error names the user, never the hash.
    pub(super) fn read(hashes: BTreeMap<String, String>) -> Result<Self, String> {
        let mut dummy = (0, String::new());
        for (name, hash) in &hashes {
            let bad = |why: &str| Err(format!("basic_auth_users: {name:?}: {why}"));
            if !is_principal(name) || name.contains(':') {
                return bad("use letters, digits and signs without ':', '(' and ')'");
            }
            let Ok(parts) = HashParts::from_str(hash) else {
                return bad("this is no bcrypt hash; make one with htpasswd -nBC 10 \"\" ");
            };
            let cost = parts.get_cost();
            if cost > HIGHEST_COST {
                return bad("this hash has a cost above 15, which takes many seconds to check");
            }
            if cost > dummy.0 {
                dummy = (cost, hash.clone());
            }
        }
        Ok(Self {
            hashes,
            dummy: dummy.1,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.hashes.keys().map(String::as_str)
    }

    /// What has to be checked before somebody with this name and password is believed.
    pub(super) fn login(&self, user: &str, password: Secret) -> Login {
        let hash = self.hashes.get(user);
        Login {
            user: user.to_owned(),
            password,
            known: hash.is_some(),
            hash: hash.unwrap_or(&self.dummy).clone(),
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.hashes.keys()).finish()
    }
}

/// A name and a password that are still to be checked.
#[derive(Debug)]
pub(in crate::server) struct Login {
    user: String,
    password: Secret,
    known: bool,
    hash: String,
}

impl Login {
    /// The name that is claimed.
    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

/// Too many passwords wait to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Checks passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    tagger: Tagger,
    passed: Mutex<VecDeque<Tag>>,
    queue: Semaphore,
    turn: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            tagger: Tagger::new(),
            passed: Mutex::default(),
            queue: Semaphore::new(QUEUE),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Passwords {
    /// Whether this has passed before, with the same hash.
    pub(super) fn passed(&self, login: &Login) -> bool {
        let tag = self.tag(login);
        login.known && self.lock().contains(&tag)
    }

    /// Whether the password is the user's. Takes as long for a user who is not there.
    pub(super) async fn check(&self, login: Login) -> Result<bool, Busy> {
        let tag = self.tag(&login);
        let known = login.known;
        let Ok(_place) = self.queue.try_acquire() else {
            return Err(Busy);
        };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Err(Busy);
        };
        let checking = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, even where nobody waits for it any more.
            let _turn = turn;
            bcrypt::non_truncating_verify(login.password.reveal(), &login.hash)
        });
        let right = known && matches!(checking.await, Ok(Ok(true)));
        if right {
            self.remember(tag);
        }
        Ok(right)
    }

    fn remember(&self, tag: Tag) {
        let mut passed = self.lock();
        if !passed.contains(&tag) {
            passed.push_back(tag);
        }
        while passed.len() > REMEMBERED {
            passed.pop_front();
        }
    }

    /// With the hash: a password that was changed is asked for again.
    fn tag(&self, login: &Login) -> Tag {
        self.tagger
            .tag(&[&login.user, login.password.reveal(), &login.hash])
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Tag>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(list: &[(&str, &str)]) -> Users {
        let hashed = list.iter().map(|(name, password)| {
            let hash = bcrypt::hash(password, 4).unwrap();
            (String::from(*name), hash)
        });
        Users::read(hashed.collect()).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(String::from(text))
    }

    #[tokio::test]
    async fn only_the_right_password_passes_and_is_remembered() {
        let users = users(&[("ann", "right"), ("bob", "other")]);
        let passwords = Passwords::default();
        for (user, password, right) in [
            ("ann", "right", true),
            ("ann", "wrong", false),
            ("ann", "", false),
            ("bob", "right", false),
            // The hash that stands in for it is bob's or ann's; the user is still not there.
            ("eve", "right", false),
            ("eve", "other", false),
            ("", "right", false),
            ("ann", &"right".repeat(20), false),
        ] {
            let login = || users.login(user, secret(password));
            assert!(!passwords.passed(&login()), "{user}");
            assert_eq!(passwords.check(login()).await, Ok(right), "{user}");
            assert_eq!(passwords.passed(&login()), right, "{user}");
        }
    }

    /// Whoever is not there costs a check like the costliest of those who are.
    #[tokio::test]
    async fn a_name_that_there_is_not_is_checked_all_the_same() {
        let hash = |cost| bcrypt::hash("right", cost).unwrap();
        let hashes = BTreeMap::from([
            (String::from("ann"), hash(4)),
            (String::from("bob"), hash(6)),
            (String::from("cid"), hash(5)),
        ]);
        let costliest = hashes["bob"].clone();
        let users = Users::read(hashes).unwrap();
        assert_eq!(users.login("eve", secret("right")).hash, costliest);
        let passwords = Passwords::default();
        let turn = Arc::clone(&passwords.turn).acquire_owned().await.unwrap();
        let mut check = Box::pin(passwords.check(users.login("eve", secret("right"))));
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut check).await.is_err());
        drop(turn);
        assert_eq!(check.await, Ok(false));
    }

    #[tokio::test]
    async fn a_changed_password_is_checked_anew() {
        let passwords = Passwords::default();
        let before = users(&[("ann", "right")]);
        assert_eq!(
            passwords.check(before.login("ann", secret("right"))).await,
            Ok(true)
        );
        let after = users(&[("ann", "changed")]);
        assert!(!passwords.passed(&after.login("ann", secret("right"))));
        let gone = users(&[("bob", "right")]);
        assert!(!passwords.passed(&gone.login("ann", secret("right"))));
    }

    #[tokio::test]
    async fn what_is_remembered_and_what_waits_is_bounded() {
        let passwords = Passwords::default();
        for number in 0..200_u32 {
            passwords.remember(passwords.tagger.tag(&[&number.to_string()]));
        }
        assert_eq!(passwords.lock().len(), REMEMBERED);
        let _turn = Arc::clone(&passwords.turn).acquire_owned().await.unwrap();
        let users = users(&[("ann", "right")]);
        let login = || users.login("ann", secret("wrong"));
        let mut waiting: Vec<_> = (0..QUEUE)
            .map(|_| Box::pin(passwords.check(login())))
            .collect();
        for check in &mut waiting {
            let soon = std::time::Duration::from_millis(1);
            assert!(tokio::time::timeout(soon, check).await.is_err());
        }
        assert_eq!(passwords.check(login()).await, Err(Busy));
    }

    #[test]
    fn bad_users_are_named_without_their_hashes() {
        let canary = "$2y$31$canarycanarycanarycanary";
        for (name, hash) in [
            ("ann", canary),
            ("ann", "plain-canary"),
            ("a:canary", "x"),
            ("a (token canary)", "x"),
            ("", "x"),
        ] {
            let one = BTreeMap::from([(String::from(name), String::from(hash))]);
            let why = Users::read(one).unwrap_err();
            assert!(
                why.contains(&format!("{name:?}")) && !why.contains(hash),
                "{why}"
            );
        }
        let costly = bcrypt::hash("x", 4).unwrap().replace("$04$", "$16$");
        let one = BTreeMap::from([(String::from("ann"), costly)]);
        assert!(Users::read(one).unwrap_err().contains("cost"));
    }
}
