//! TLS of our own listener, as `tls_server_config` says it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::certificate::{Client, OnlyListed, can_be_listed};
use super::web::beside;
use crate::files::{BadFile, Watched, pem};

/// `tls_server_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsFile {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_allowed_sans: Vec<String>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
}

/// Whom the listener asks for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nobody,
    Everybody,
    WhoeverHasOne,
}

/// TLS that connections are taken with.
#[derive(Debug)]
pub(in crate::server) struct Tls {
    /// For rustls.
    pub(in crate::server) config: Arc<ServerConfig>,
    /// Whether certificates of callers are asked for, and verified.
    pub(super) asks_for_certificates: bool,
    /// Cancelled when another has taken its place: connections made with this one are then ended
    /// after their request, so that a CA that is trusted no more lets nobody go on.
    pub(in crate::server) replaced: CancellationToken,
}

impl Tls {
    /// TLS of these files, watched. `file` is where they are named.
    pub(super) fn watch(
        tls: TlsFile,
        folder: &Path,
        file: &Path,
    ) -> Result<Watched<Self>, BadFile> {
        let bad = |why: String| BadFile::new(file, format!("tls_server_config: {why}"));
        let need = |name: &str, path: &Option<PathBuf>| {
            let path = path
                .as_ref()
                .ok_or_else(|| bad(format!("{name} is missing")))?;
            Ok::<_, BadFile>(beside(folder, path))
        };
        let (cert, key) = (
            need("cert_file", &tls.cert_file)?,
            need("key_file", &tls.key_file)?,
        );
        let ca = tls.client_ca_file.as_ref().map(|ca| beside(folder, ca));
        let asks = tls.asks().map_err(bad)?;
        let (provider, versions) = (tls.provider().map_err(bad)?, tls.versions().map_err(bad)?);
        let sans = tls.client_allowed_sans;
        if let Some(san) = sans.iter().find(|san| !can_be_listed(san)) {
            let why = "client_allowed_sans takes DNS names, URIs and IP addresses";
            return Err(bad(format!("{san:?}: {why}")));
        }
        let own_order = tls.prefer_server_cipher_suites.unwrap_or(false);
        let paths = [Some(cert.clone()), Some(key.clone()), ca.clone()];
        Watched::new(paths.into_iter().flatten().collect(), move || {
            let of_cert = |error: rustls::Error| BadFile::new(&cert, error.to_string());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&versions)
                .map_err(of_cert)?;
            let builder = match ca.as_ref().filter(|_| asks != Asks::Nobody) {
                None => builder.with_no_client_auth(),
                Some(ca) => {
                    let verifier = verifier(ca, asks, &sans, &provider)?;
                    builder.with_client_cert_verifier(verifier)
                }
            };
            let chain = pem::certificates(&cert)?;
            let mut config = builder
                .with_single_cert(chain, pem::private_key(&key)?)
                .map_err(of_cert)?;
            config.ignore_client_order = own_order;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Self {
                config: Arc::new(config),
                asks_for_certificates: asks != Asks::Nobody,
                replaced: CancellationToken::new(),
            })
        })
    }
}

fn verifier(
    ca: &Path,
    asks: Asks,
    sans: &[String],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<OnlyListed>, BadFile> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|error| BadFile::new(ca, error.to_string()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match asks {
        Asks::WhoeverHasOne => builder.allow_unauthenticated(),
        Asks::Nobody | Asks::Everybody => builder,
    };
    let verifier = builder
        .build()
        .map_err(|error| BadFile::new(ca, error.to_string()))?;
    Ok(Arc::new(OnlyListed::new(verifier, sans.to_vec())))
}

impl TlsFile {
    /// Only what is verified proves anything: the types that ask for any certificate at all are
    /// refused.
    fn asks(&self) -> Result<Asks, String> {
        let asks = match self.client_auth_type.as_deref() {
            None | Some("" | "NoClientCert") => Asks::Nobody,
            Some("RequireAndVerifyClientCert") => Asks::Everybody,
            Some("VerifyClientCertIfGiven") => Asks::WhoeverHasOne,
            Some("RequestClientCert" | "RequireAnyClientCert") => {
                return Err(String::from(
                    "client_auth_type: certificates that nobody verifies prove nothing; say \
                     RequireAndVerifyClientCert",
                ));
            }
            Some(_) => {
                return Err(String::from(
                    "client_auth_type is NoClientCert, VerifyClientCertIfGiven or \
                     RequireAndVerifyClientCert",
                ));
            }
        };
        let why = match (asks, &self.client_ca_file) {
            (Asks::Nobody, Some(_)) => {
                "client_ca_file without client_auth_type verifies nobody; say RequireAndVerifyClientCert"
            }
            (Asks::Everybody | Asks::WhoeverHasOne, None) => {
                "client_ca_file is missing: client certificates are verified with it"
            }
            (Asks::Nobody, None) if !self.client_allowed_sans.is_empty() => {
                "client_allowed_sans needs client_ca_file and RequireAndVerifyClientCert"
            }
            (Asks::Nobody, None) | (Asks::Everybody | Asks::WhoeverHasOne, Some(_)) => {
                return Ok(asks);
            }
        };
        Err(String::from(why))
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
        let number = |name: &str, given: &Option<String>, usual: u8| match given.as_deref() {
            None | Some("") => Ok(usual),
            Some("TLS12") => Ok(12),
            Some("TLS13") => Ok(13),
            Some(_) => Err(format!(
                "{name} is TLS12 or TLS13: what is older is not safe"
            )),
        };
        let least = number("min_version", &self.min_version, 12)?;
        let most = number("max_version", &self.max_version, 13)?;
        if least > most {
            return Err(String::from("min_version is above max_version"));
        }
        let known = [(12, &rustls::version::TLS12), (13, &rustls::version::TLS13)];
        let wanted = known.into_iter();
        let wanted = wanted.filter(|(number, _)| (least..=most).contains(number));
        Ok(wanted.map(|(_, version)| version).collect())
    }

    /// ring's, in the order that is named. As in Go, the list is about TLS 1.2.
    fn provider(&self) -> Result<Arc<CryptoProvider>, String> {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            let (of_13, of_12): (Vec<_>, Vec<_>) = provider
                .cipher_suites
                .iter()
                .copied()
                .partition(|suite| suite.tls13().is_some());
            let named = |name: &String| {
                let found = of_12.iter().find(|suite| suite_name(suite) == *name);
                found.copied().ok_or_else(|| {
                    let known: Vec<_> = of_12.iter().map(suite_name).collect();
                    format!("cipher_suites: {name:?} is none of {}", known.join(", "))
                })
            };
            let wanted: Vec<_> = self
                .cipher_suites
                .iter()
                .map(named)
                .collect::<Result<_, _>>()?;
            provider.cipher_suites = of_13.into_iter().chain(wanted).collect();
        }
        if !self.curve_preferences.is_empty() {
            let curves: Vec<&'static dyn SupportedKxGroup> = provider.kx_groups.clone();
            let named = |name: &String| {
                let found = group(name).and_then(|wanted| {
                    let mut curves = curves.iter();
                    curves.find(|curve| curve.name() == wanted).copied()
                });
                found.ok_or_else(|| {
                    format!("curve_preferences: {name:?} is none of X25519, CurveP256, CurveP384")
                })
            };
            let wanted = self.curve_preferences.iter().map(named);
            provider.kx_groups = wanted.collect::<Result<_, _>>()?;
        }
        Ok(Arc::new(provider))
    }
}

fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite())
}

fn group(name: &str) -> Option<NamedGroup> {
    match name {
        "X25519" => Some(NamedGroup::X25519),
        "CurveP256" => Some(NamedGroup::secp256r1),
        "CurveP384" => Some(NamedGroup::secp384r1),
        _ => None,
    }
}

/// The certificate that a caller has proven to have.
pub(in crate::server) fn client(connection: &rustls::ServerConnection) -> Option<Client> {
    let certificates = connection.peer_certificates()?;
    certificates
        .first()
        .map(|first| Client::new(first.clone().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(text: &str) -> Result<Arc<Tls>, String> {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([String::from("localhost")]).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("cert", &made.cert.pem());
        write("key", &made.signing_key.serialize_pem());
        let other = rcgen::generate_simple_self_signed([String::from("localhost")]).unwrap();
        write("other", &other.signing_key.serialize_pem());
        let file: TlsFile = yaml_serde::from_str(text).unwrap();
        let watched = Tls::watch(file, folder.path(), Path::new("web.yml"));
        watched.map(|tls| tls.get()).map_err(|bad| bad.to_string())
    }

    const FILES: &str = "{cert_file: cert, key_file: key, ";

    #[test]
    fn versions_suites_and_curves_are_honoured() {
        let with = |rest: &str| tls(&format!("{FILES}{rest}}}"));
        let config = |rest| Arc::clone(&with(rest).unwrap().config);
        let suites = config("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]");
        let suites = &suites.crypto_provider().cipher_suites;
        let of_12 = suites.iter().filter(|suite| suite.tls13().is_none());
        assert_eq!(of_12.count(), 1);
        let curves = config("curve_preferences: [CurveP384]");
        let curves = &curves.crypto_provider().kx_groups;
        assert_eq!(curves.first().unwrap().name(), NamedGroup::secp384r1);
        assert!(config("prefer_server_cipher_suites: true").ignore_client_order);
        assert!(with("min_version: TLS13").is_ok());
        for (bad, says) in [
            ("min_version: TLS11", "TLS12 or TLS13"),
            ("min_version: TLS13, max_version: TLS12", "above"),
            (
                "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]",
                "is none of TLS_ECDHE",
            ),
            ("curve_preferences: [P521]", "is none of X25519"),
        ] {
            let why = with(bad).unwrap_err();
            assert!(
                why.contains("web.yml: tls_server_config") && why.contains(says),
                "{why}"
            );
        }
    }

    #[test]
    fn what_verifies_nobody_is_refused() {
        for (rest, says) in [
            ("client_ca_file: cert", "RequireAndVerifyClientCert"),
            (
                "client_auth_type: RequireAndVerifyClientCert",
                "client_ca_file is missing",
            ),
            (
                "client_ca_file: cert, client_auth_type: RequireAnyClientCert",
                "prove nothing",
            ),
            (
                "client_ca_file: cert, client_auth_type: Always",
                "client_auth_type is",
            ),
            ("client_allowed_sans: [a]", "needs client_ca_file"),
            (
                "client_ca_file: cert, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [a@b]",
                "takes DNS names",
            ),
        ] {
            let why = tls(&format!("{FILES}{rest}}}")).unwrap_err();
            assert!(why.contains(says), "{rest}: {why}");
        }
        let both = "client_ca_file: cert, client_auth_type: VerifyClientCertIfGiven";
        assert!(
            tls(&format!("{FILES}{both}}}"))
                .unwrap()
                .asks_for_certificates
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        assert!(tls("{cert_file: cert, key_file: other}").is_err());
        assert!(
            tls("{cert_file: cert}")
                .unwrap_err()
                .contains("key_file is missing")
        );
        assert!(
            tls("{cert_file: none, key_file: key}")
                .unwrap_err()
                .contains("none")
        );
    }
}
