//! TLS towards others: whom we trust, who we say we are, and what went wrong in words.
//!
//! [`ClientTls`] is made of PEM files and made anew when they change; [`explain`] says what a
//! failed handshake means and what to do.

mod explain;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use tracing::{info, warn};

pub use explain::{Names, cause, explain, in_io, innermost, is_tls};
pub use trust::Trust;

use crate::files::{BadFile, Changed, Watched, pem};

/// Whether what is sent to this URL crosses a network readable: no TLS, and not this machine.
pub fn is_readable_on_the_way(url: &Url) -> bool {
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.scheme() == "http" && !here
}

/// The files of a client's side, and how far it trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The CAs that are trusted; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate; `None`: none is shown.
    pub identity: Option<IdentityFiles>,
    /// What a server's certificate has to show.
    pub trust: Trust,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, leaf first (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM, not encrypted).
    pub key: PathBuf,
}

impl ClientFiles {
    /// Every file that is read.
    pub fn paths(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|files| [files.certificate.clone(), files.key.clone()]);
        self.ca.iter().cloned().chain(identity).collect()
    }

    /// What the files say now.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn config(&self) -> Result<ClientConfig, BadFile> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.bad(&error.to_string()))?;
        let verifier = match &self.trust {
            Trust::Anybody => trust::anybody(provider),
            Trust::Host | Trust::AnyName | Trust::Name(_) => {
                let roots = Arc::new(self.roots()?);
                let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| self.bad(&error.to_string()))?;
                self.trust.over(inner).map_err(|why| self.bad(&why))?
            }
        };
        // Not dangerous: the chain is always verified but for `Anybody`, which says so.
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some(files) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = pem::certificates(&files.certificate)?;
        let key = pem::private_key(&files.key)?;
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let why = format!(
                "does not go with the certificate in {}: {error}",
                files.certificate.display()
            );
            BadFile::new(&files.key, why)
        })
    }

    fn roots(&self) -> Result<RootCertStore, BadFile> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca else {
            // A machine without any trusts nobody, and every handshake says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(self.bad("no CA of the system is found: name the one to trust"));
            }
            return Ok(roots);
        };
        for certificate in pem::certificates(path)? {
            roots.add(certificate).map_err(|error| {
                BadFile::new(path, format!("has a certificate that is no CA's: {error}"))
            })?;
        }
        Ok(roots)
    }

    fn bad(&self, why: &str) -> BadFile {
        let path = self.ca.clone().unwrap_or_else(|| PathBuf::from("TLS"));
        BadFile::new(&path, why)
    }
}

/// A client's side of TLS, made anew when its files change.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<Watched<ClientConfig>>,
    shows_identity: bool,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn new(files: ClientFiles) -> Result<Self, BadFile> {
        let shows_identity = files.identity.is_some();
        Ok(Self {
            config: Arc::new(Watched::new(files.paths(), move || files.config())?),
            shows_identity,
        })
    }

    /// What to connect with now. Files that are not read within `patience` leave what was before.
    pub async fn current(&self, patience: Duration) -> Arc<ClientConfig> {
        tell(&self.config.look(patience).await);
        self.config.get()
    }

    /// Whether a certificate of ours is shown to who asks for one.
    pub const fn shows_identity(&self) -> bool {
        self.shows_identity
    }
}

/// Makes ring the provider of all clients that are not told one. Fails when one is installed
/// already, which is as good.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Says in the log what became of files that may have changed.
pub fn tell(changed: &Changed) {
    match changed {
        Changed::No => {}
        Changed::Yes => info!("certificates or secrets have changed; the new ones are in use"),
        Changed::Unusable(why) => {
            warn!(%why, "a changed file cannot be used; what it said before stays in use");
        }
    }
}
