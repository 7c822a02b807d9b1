//! How a command shows a secured gate who it is, and knows the gate for what it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder};

use crate::files::{BadFile, Changed, Secret, Watched, pem};

/// What the command line says about it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "A gate with TLS or authentication")]
pub struct CredentialArgs {
    /// File with the bearer token to show
    #[arg(
        long,
        value_name = "FILE",
        env = "UPGRADE_GATE_TOKEN_FILE",
        hide_env_values = true,
        conflicts_with = "username"
    )]
    pub token_file: Option<PathBuf>,
    /// User's name to show, with --password-file
    #[arg(
        long,
        value_name = "NAME",
        env = "UPGRADE_GATE_USERNAME",
        hide_env_values = true
    )]
    #[arg(requires = "password_file")]
    pub username: Option<String>,
    /// File with the user's password
    #[arg(
        long,
        value_name = "FILE",
        env = "UPGRADE_GATE_PASSWORD_FILE",
        hide_env_values = true
    )]
    #[arg(requires = "username")]
    pub password_file: Option<PathBuf>,
    /// Certificates of the CAs that the gate's certificate may come from (PEM); no others then
    #[arg(
        long,
        value_name = "FILE",
        env = "UPGRADE_GATE_CA_FILE",
        hide_env_values = true
    )]
    pub ca_file: Option<PathBuf>,
    /// Client certificate to show, with its chain (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "UPGRADE_GATE_CERT_FILE",
        hide_env_values = true
    )]
    #[arg(requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "UPGRADE_GATE_KEY_FILE",
        hide_env_values = true
    )]
    #[arg(requires = "cert_file")]
    pub key_file: Option<PathBuf>,
}

/// What goes with every request.
#[derive(Clone, Debug, Default)]
pub enum Shown {
    /// Nothing.
    #[default]
    Nothing,
    /// A bearer token.
    Token(Arc<Watched<Secret>>),
    /// A name and a password.
    Login(String, Arc<Watched<Secret>>),
}

impl CredentialArgs {
    /// Reads what is shown with every request.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn shown(&self) -> Result<Shown, BadFile> {
        let watch = |path: &Path| {
            let from = path.to_owned();
            Watched::new(vec![path.to_owned()], move || Secret::read(&from)).map(Arc::new)
        };
        match (&self.token_file, &self.username, &self.password_file) {
            (Some(token), _, _) => watch(token).map(Shown::Token),
            (None, Some(user), Some(password)) => Ok(Shown::Login(user.clone(), watch(password)?)),
            (None, _, _) => Ok(Shown::Nothing),
        }
    }

    /// Whom to trust, and the certificate to show.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn tls(&self, mut builder: ClientBuilder) -> Result<ClientBuilder> {
        if let Some(ca) = &self.ca_file {
            let trusted = pem::certificates(ca)?;
            let trusted = trusted.iter().map(|der| Certificate::from_der(der));
            let trusted: Result<Vec<_>, _> = trusted.collect();
            let trusted = trusted.with_context(|| format!("{}: no certificate", ca.display()))?;
            builder = builder.tls_certs_only(trusted);
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            // Read once before, for an error that says which of the files is wrong and why.
            pem::certificates(cert)?;
            pem::private_key(key)?;
            let mut both = std::fs::read(cert).map_err(|error| bad(cert, &error))?;
            both.push(b'\n');
            both.extend(std::fs::read(key).map_err(|error| bad(key, &error))?);
            let identity = Identity::from_pem(&both)
                .map_err(|_| BadFile::new(cert, "does not go together with its key"))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}

fn bad(path: &Path, error: &std::io::Error) -> BadFile {
    BadFile::new(path, error.to_string())
}

impl Shown {
    /// What of it is a secret.
    pub const fn secret(&self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Token(_) => Some("token"),
            Self::Login(..) => Some("password"),
        }
    }

    /// The request with it. A file that has changed is read again: a command may run for hours.
    pub fn on(&self, request: RequestBuilder) -> Result<RequestBuilder, String> {
        let fresh = |secret: &Watched<Secret>| match secret.refresh() {
            Changed::No | Changed::Yes => Ok(secret.get()),
            Changed::Unusable(why) => Err(why.to_string()),
        };
        Ok(match self {
            Self::Nothing => request,
            Self::Token(token) => request.bearer_auth(fresh(token)?.reveal()),
            Self::Login(user, password) => {
                request.basic_auth(user, Some(fresh(password)?.reveal()))
            }
        })
    }
}
