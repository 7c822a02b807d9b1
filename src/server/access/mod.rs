//! Who asks, and what they may do.
//!
//! Authentication is on as soon as there is a token, a user of the web config file, or a client CA.
//! Then everybody but probes has to prove who they are. While it is off, everybody may read and
//! only this machine may change anything.
//!
//! - [`principal`]: somebody who has proven who they are;
//! - `web`, `tls`, `certificate`: the web config file, TLS, and names in certificates;
//! - `password`, `token`, `tag`: what is compared, and how;
//! - `host`: where a request was sent to.

mod certificate;
mod host;
mod password;
pub mod principal;
mod tag;
pub(in crate::server) mod tls;
mod token;
mod web;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use self::certificate::Client;
use self::password::{Login, Passwords};
use self::principal::{Means, Principal};
use self::tls::Tls;
use self::token::Tokens;
use self::web::Web;
use super::endpoint::Endpoint;
use super::problem::Problem;
use crate::files::{BadFile, Changed, Secret, Watched};
use crate::rights::{AuthSettings, Right};

/// Who may ask this server what.
#[derive(Debug, Default)]
pub struct Access {
    web: Option<Watched<Web>>,
    tokens: Option<Watched<Tokens>>,
    rights: AuthSettings,
    passwords: Passwords,
    on: bool,
    broken: Mutex<BTreeSet<&'static str>>,
}

/// Who sends a request, as far as it is known before a password is checked.
#[derive(Debug)]
pub(super) enum Who {
    /// Nobody is asked.
    Anybody,
    /// Somebody who has proven it.
    Is(Arc<Principal>),
    /// Somebody with a password that has to be checked first.
    Claims(Login),
}

/// Why somebody is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// Nothing was shown.
    Nothing,
    /// What was shown is not right.
    Wrong,
    /// Too many passwords wait to be checked.
    Busy,
    /// Too many of this address wait.
    BusyForPeer,
}

/// What [`Access::refresh`] looks at, as the log names it.
const WEB: &str = "web config";
const CERTIFICATES: &str = "certificates";
const TOKENS: &str = "tokens";

impl Access {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(settings: &AuthSettings) -> Result<Self, BadFile> {
        let web = settings.web_config.as_deref().map(Web::watch).transpose()?;
        let tokens = Tokens::watch(&settings.tokens)?;
        let proves = web.as_ref().is_some_and(|web| web.get().shape().proves);
        let access = Self {
            on: proves || tokens.is_some(),
            web,
            tokens,
            rights: settings.clone(),
            ..Self::default()
        };
        access.names_fit()?;
        Ok(access)
    }

    /// Rights of users that there are not are a mistake, most likely in a name.
    fn names_fit(&self) -> Result<(), BadFile> {
        let web = self.web.as_ref().map(Watched::get);
        let known: Vec<String> = web
            .iter()
            .flat_map(|web| web.users.names())
            .map(String::from)
            .collect();
        match self.rights.users.keys().find(|user| !known.contains(user)) {
            None => Ok(()),
            Some(user) => {
                let path = self.rights.web_config.clone().unwrap_or_default();
                let why = format!(
                    "has no user {user:?} in basic_auth_users, to whom auth.users gives rights"
                );
                Err(BadFile::new(&path, why))
            }
        }
    }

    /// Whether callers have to prove who they are.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// TLS for the next connection; `None`: plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.web.as_ref()?.get().tls().map(|tls| tls.get())
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls().is_some()
    }

    /// Adds the headers that every answer is to have.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        if let Some(web) = &self.web {
            for (name, value) in &web.get().headers {
                headers.insert(name, value.clone());
            }
        }
    }

    /// Whether every file could be used when it was read last.
    pub fn files_usable(&self) -> bool {
        self.broken().is_empty()
    }

    fn broken(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the files again. What cannot be used leaves what was there before. Reads files.
    pub fn refresh(&self) {
        let tls = self.tls();
        let mut seen = Vec::new();
        if let Some(web) = &self.web {
            let before = web.get();
            let changed = Web::refresh(web);
            let now = web.get();
            if !same(before.tls(), now.tls()) {
                // Others are named, and they are taken only where they can be used.
                self.broken().remove(CERTIFICATES);
            }
            seen.push((WEB, changed, now.trouble.clone()));
            let tls = now.tls().map(|tls| tls.refresh());
            seen.extend(tls.map(|changed| (CERTIFICATES, changed, None)));
        }
        if let Some(tokens) = &self.tokens {
            seen.push((TOKENS, tokens.refresh(), tokens.get().trouble.clone()));
        }
        for (what, changed, in_part) in seen {
            match (changed, in_part) {
                (Changed::No, _) => {}
                (Changed::Yes, None) => {
                    self.broken().remove(what);
                    tracing::info!(what, "changed files are in use");
                }
                (Changed::Yes, Some(why)) | (Changed::Unusable(why), _) => {
                    self.broken().insert(what);
                    tracing::error!(what, %why, "a changed file cannot be used; what it was before goes on");
                }
            }
        }
        if let (Some(before), Some(now)) = (tls, self.tls())
            && !Arc::ptr_eq(&before, &now)
        {
            before.replaced.cancel();
        }
    }

    /// Who a certificate names.
    pub(super) fn certified(&self, client: &Client) -> Option<Arc<Principal>> {
        let mut listed = self.rights.certificates.iter();
        let listed = listed.find(|(san, _)| client.is_named(san));
        // With users or tokens beside it, a certificate opens the door for those; it is nobody by
        // itself unless it is named.
        let (name, right) = match listed {
            Some((san, right)) => (san.clone(), *right),
            None if self.asks_for_more() => return None,
            None => (client.name(), Right::Read),
        };
        Some(Arc::new(Principal {
            means: Means::Certificate,
            name,
            right,
        }))
    }

    fn asks_for_more(&self) -> bool {
        self.tokens.is_some() || self.has_users()
    }

    fn has_users(&self) -> bool {
        self.web
            .as_ref()
            .is_some_and(|web| !web.get().users.is_empty())
    }

    /// Who sends a request with these headers, over a connection with this certificate. What a
    /// request shows of its own goes before the certificate, and has to be right.
    pub(super) fn who(
        &self,
        headers: &HeaderMap,
        certified: Option<&Arc<Principal>>,
    ) -> Result<Who, Denied> {
        if !self.on {
            return Ok(Who::Anybody);
        }
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        match (shown.next(), shown.next()) {
            (None, _) => certified.cloned().map(Who::Is).ok_or(Denied::Nothing),
            (Some(_), Some(_)) => Err(Denied::Wrong),
            (Some(shown), None) => self.shown(shown).ok_or(Denied::Wrong),
        }
    }

    fn shown(&self, header: &HeaderValue) -> Option<Who> {
        let (scheme, shown) = header.to_str().ok()?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            let tokens = self.tokens.as_ref()?.get();
            return tokens.whose(shown.trim()).map(Who::Is);
        }
        if !scheme.eq_ignore_ascii_case("basic") || !self.has_users() {
            return None;
        }
        let decoded = STANDARD.decode(shown.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, password) = decoded.split_once(':')?;
        let web = self.web.as_ref()?.get();
        let login = web.users.login(user, Secret::new(password.to_owned()));
        Some(if self.passwords.passed(&login) {
            Who::Is(Arc::new(self.user(login.user())))
        } else {
            Who::Claims(login)
        })
    }

    /// Checks a password.
    pub(super) async fn check(&self, login: Login) -> Result<Arc<Principal>, Denied> {
        let user = login.user().to_owned();
        match self.passwords.check(login).await {
            Ok(true) => Ok(Arc::new(self.user(&user))),
            Ok(false) => Err(Denied::Wrong),
            Err(password::Busy) => Err(Denied::Busy),
        }
    }

    fn user(&self, name: &str) -> Principal {
        Principal {
            means: Means::User,
            name: name.to_owned(),
            right: self.rights.users.get(name).copied().unwrap_or(Right::Read),
        }
    }

    /// Whether this endpoint may be used by this principal, from this address, with such a request.
    pub(super) fn may(
        endpoint: Endpoint,
        principal: Option<&Principal>,
        peer: IpAddr,
        asked: &Parts,
    ) -> Result<(), Problem> {
        let row = endpoint.row();
        match (principal, row.right) {
            (_, None) => return Ok(()),
            (Some(principal), Some(needed)) if principal.right < needed => {
                return Err(Problem::forbidden(format!(
                    "this needs the right {needed}, and {principal} has {}",
                    principal.right
                )));
            }
            (None, Some(_)) if endpoint.changes() => only_here(peer, asked)?,
            (Some(_) | None, Some(_)) => {}
        }
        // A page of another origin cannot send it: the browser asks first whether it may (a CORS
        // preflight, OPTIONS), and nobody here says yes. Who has no origin of its own: `only_here`.
        let header = asked.headers.get("x-upgrade-gate");
        if endpoint.changes() && header.is_none_or(|it| it != "1") {
            return Err(Problem::forbidden(
                "what changes something needs the header X-Upgrade-Gate: 1",
            ));
        }
        Ok(())
    }

    /// What somebody is told who is not believed.
    pub(super) fn denied(&self, denied: Denied) -> Problem {
        let mut means = Vec::new();
        if self.tokens.is_some() || !self.has_users() {
            means.push("Bearer realm=\"upgrade-gate\"");
        }
        if self.has_users() {
            means.push("Basic realm=\"upgrade-gate\", charset=\"UTF-8\"");
        }
        match denied {
            Denied::Nothing => Problem::unauthorized(
                "say who you are: a token, a user's name and password, or a client certificate \
                 that the gate knows",
                means,
            ),
            Denied::Wrong => Problem::unauthorized(
                "the token, or the name and password, are not right here",
                means,
            ),
            Denied::Busy => Problem::unavailable(
                "too busy",
                "too many passwords wait to be checked; ask again",
            ),
            Denied::BusyForPeer => Problem::unavailable(
                "too busy",
                "too many passwords of this address wait to be checked; ask again",
            ),
        }
    }
}

fn same(before: Option<&Arc<Watched<Tls>>>, now: Option<&Arc<Watched<Tls>>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Without authentication, who changes something has to sit at this machine, and to mean it: what a
/// web site makes a browser here send is sent to the site's name.
fn only_here(peer: IpAddr, asked: &Parts) -> Result<(), Problem> {
    if !peer.to_canonical().is_loopback() {
        return Err(Problem::forbidden(
            "without authentication only this machine may change something: ask on the gate's own \
             machine, at 127.0.0.1, or give the gate users or tokens",
        ));
    }
    if !host::is_no_site(asked) {
        return Err(Problem::forbidden(
            "without authentication what changes something has to be sent to an address or to \
             localhost, and not to a name, which may be a web site's: ask at 127.0.0.1, or give the \
             gate users or tokens",
        ));
    }
    Ok(())
}
