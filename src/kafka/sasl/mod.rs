//! How the gate logs in: SASL, on the bare stream, before a connection is used.
//!
//! - [`Credentials`]: what is configured; [`Login`]: what a gate's connections share of it;
//! - `exchange`: the frames; `scram`: SCRAM's messages; `oidc`: tokens from a token endpoint;
//!   `extensions`: what is told beside a token.
//!
//! Secrets are read anew for each connection, so a changed file needs no restart.

mod exchange;
mod extensions;
mod oidc;
pub mod scram;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use exchange::Session;
pub(super) use exchange::{Bare, authenticate};
pub use extensions::{BadExtensions, Extensions};
pub use oidc::{ClientCredentials, Token};
pub use scram::Hash;

use crate::evidence::report::{FailureClass, SourceFailure};
use crate::files::{Aside, BadFile, Secret};

/// Kafka's `sasl.mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// User and password as they are.
    Plain,
    /// A proof of knowing the password, both ways.
    Scram(Hash),
    /// A token that somebody else made.
    OauthBearer,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Self; 4] = [
        Self::Plain,
        Self::Scram(Hash::Sha256),
        Self::Scram(Hash::Sha512),
        Self::OauthBearer,
    ];

    /// Its registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Self::Scram(Hash::Sha512) => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As whom the gate logs in. Secrets are in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// PLAIN.
    Plain {
        /// User.
        username: String,
        /// File with the password.
        password_file: PathBuf,
    },
    /// SCRAM.
    Scram {
        /// Which.
        hash: Hash,
        /// User.
        username: String,
        /// File with the password.
        password_file: PathBuf,
    },
    /// OAUTHBEARER.
    Token {
        /// Where the token comes from.
        source: TokenSource,
        /// What is told beside it.
        extensions: Extensions,
    },
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that somebody else keeps in date.
    File(PathBuf),
    /// A token endpoint (OpenID Connect, client credentials).
    Endpoint(ClientCredentials),
}

impl Credentials {
    /// How it logs in.
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::Plain { .. } => Mechanism::Plain,
            Self::Scram { hash, .. } => Mechanism::Scram(*hash),
            Self::Token { .. } => Mechanism::OauthBearer,
        }
    }

    /// Whether whoever reads the network without TLS has the secret.
    pub const fn is_readable(&self) -> bool {
        match self {
            Self::Plain { .. } | Self::Token { .. } => true,
            Self::Scram { .. } => false,
        }
    }
}

/// What a gate's connections share for logging in.
#[derive(Debug)]
pub struct Login {
    credentials: Credentials,
    /// Tokens of a token endpoint, kept while they are good.
    tokens: Option<oidc::Tokens>,
    aside: Aside,
}

/// What one login needs, read and ready.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    login: &'a Login,
    secret: Secret,
}

impl Login {
    /// Reads every file once, so that a wrong name is told at the start.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn new(credentials: Credentials) -> Result<Self, BadFile> {
        let tokens = match &credentials {
            Credentials::Plain { password_file, .. } | Credentials::Scram { password_file, .. } => {
                Secret::read(password_file)?;
                None
            }
            Credentials::Token { source, .. } => match source {
                TokenSource::File(path) => {
                    Secret::read(path)?;
                    None
                }
                TokenSource::Endpoint(client) => Some(oidc::Tokens::new(client.clone())?),
            },
        };
        Ok(Self {
            credentials,
            tokens,
            aside: Aside::default(),
        })
    }

    /// Gets the secret, before anybody is dialled: a listener waits for no token endpoint. A file may
    /// take `patience` to be read.
    pub(super) async fn ready(&self, patience: Duration) -> Result<Ready<'_>, SourceFailure> {
        let secret = match (&self.credentials, &self.tokens) {
            (_, Some(tokens)) => tokens.token().await?,
            (
                Credentials::Plain { password_file, .. } | Credentials::Scram { password_file, .. },
                None,
            ) => self
                .aside
                .secret(password_file, patience)
                .await
                .map_err(|bad| unreadable(&bad))?,
            (Credentials::Token { source, .. }, None) => match source {
                TokenSource::File(path) => self
                    .aside
                    .secret(path, patience)
                    .await
                    .map_err(|bad| unreadable(&bad))?,
                TokenSource::Endpoint(client) => {
                    return Err(failure(format!("no tokens of {}", client.url)));
                }
            },
        };
        Ok(Ready {
            login: self,
            secret,
        })
    }

    /// A refused token is not shown again.
    fn refused(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.forget();
        }
    }

    /// What to look at when a login is refused.
    fn settings(&self) -> String {
        match &self.credentials {
            Credentials::Plain {
                username,
                password_file,
            }
            | Credentials::Scram {
                username,
                password_file,
                ..
            } => format!(
                "as user '{username}' with the password in {}",
                password_file.display()
            ),
            Credentials::Token { source, .. } => match source {
                TokenSource::File(path) => format!("with the token in {}", path.display()),
                TokenSource::Endpoint(client) => {
                    format!("with a token of {} for '{}'", client.url, client.id)
                }
            },
        }
    }
}

fn unreadable(bad: &BadFile) -> SourceFailure {
    failure(format!("no secret to log in with: {bad}"))
}

/// We cannot log in. Never a word about the node: what the node itself says is another class.
fn failure(detail: impl Into<String>) -> SourceFailure {
    SourceFailure::new(FailureClass::Authentication, detail)
}
