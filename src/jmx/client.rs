//! The HTTP client of exporters: TLS, login and headers, all from files that may change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::files::{BadFile, Secret, Watched};
use crate::tls::{ClientFiles, Trust, install_provider};

/// How long connecting may take, within the deadline of the whole.
const CONNECT: Duration = Duration::from_secs(5);

/// The text of a header.
#[derive(Clone, PartialEq, Eq)]
pub enum HeaderText {
    /// This.
    Is(String),
    /// What stands in a file.
    File(PathBuf),
}

/// Without a text that may be a secret after all.
impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(_) => f.write_str("Is(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Whether something that comes by file is sent: the password of a login, or a header.
pub fn shows_a_secret(login: bool, headers: &BTreeMap<String, HeaderText>) -> bool {
    let is_file = |text: &HeaderText| matches!(text, HeaderText::File(_));
    login || headers.values().any(is_file)
}

/// How exporters are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// TLS, for targets with `https`.
    pub tls: ClientFiles,
    /// User, and file with the password.
    pub basic_auth: Option<(String, PathBuf)>,
    /// Headers by name.
    pub headers: BTreeMap<String, HeaderText>,
}

impl Access {
    /// Whether something that comes by file is sent with each request.
    pub fn shows_a_secret(&self) -> bool {
        shows_a_secret(self.basic_auth.is_some(), &self.headers)
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.tls.paths();
        paths.extend(self.basic_auth.iter().map(|(_, path)| path.clone()));
        for text in self.headers.values() {
            match text {
                HeaderText::File(path) => paths.push(path.clone()),
                HeaderText::Is(_) => {}
            }
        }
        paths
    }

    fn header_map(&self) -> Result<HeaderMap, BadFile> {
        let mut map = HeaderMap::new();
        if let Some((user, path)) = &self.basic_auth {
            let password = Secret::read(path)?;
            let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
            map.insert(AUTHORIZATION, value(&format!("Basic {pair}"), path)?);
        }
        for (name, text) in &self.headers {
            let own = PathBuf::from(format!("jmx.headers.{name}"));
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| BadFile::new(&own, "is no name of an HTTP header"))?;
            let value = match text {
                HeaderText::Is(text) => value(text, &own)?,
                HeaderText::File(path) => value(Secret::read(path)?.reveal(), path)?,
            };
            map.insert(key, value);
        }
        Ok(map)
    }

    fn client(&self) -> Result<Client, BadFile> {
        install_provider();
        let builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(1)
            .default_headers(self.header_map()?)
            .user_agent(concat!("upgrade-gate/", env!("CARGO_PKG_VERSION")));
        let builder = match self.tls.config() {
            Ok(config) => builder.tls_backend_preconfigured(config),
            // A machine without system certificates still reads plain HTTP; https then trusts nobody.
            Err(_) if self.tls == ClientFiles::default() => builder.tls_certs_only([]),
            Err(bad) => return Err(bad),
        };
        builder
            .build()
            .map_err(|error| BadFile::new(Path::new("HTTP client"), error.to_string()))
    }
}

/// A header that is never shown.
fn value(text: &str, from: &Path) -> Result<HeaderValue, BadFile> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| BadFile::new(from, "has characters that a header cannot have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A client that is made anew when its files change; connections made before end with the old one.
///
/// # Errors
/// Files that cannot be used.
pub(super) fn watched(access: Access) -> Result<(Watched<Client>, Shown), BadFile> {
    let shown = Shown {
        identity: access.tls.identity.is_some(),
        login: access.basic_auth.is_some() || !access.headers.is_empty(),
        secret: access.shows_a_secret(),
        trust: access.tls.trust.clone(),
    };
    let client = Watched::new(access.paths(), move || access.client())?;
    Ok((client, shown))
}

/// What is shown to exporters, for the words of failures.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// A certificate.
    pub(super) identity: bool,
    /// A password, or headers.
    pub(super) login: bool,
    /// A password, or headers of files.
    pub(super) secret: bool,
    /// How far they are trusted.
    pub(super) trust: Trust,
}
