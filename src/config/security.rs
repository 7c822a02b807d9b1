//! Settings of TLS and of logins, and the combinations of them that cannot be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::build::Builder;
use super::leaf::{Leaf, TrustedUrl, one_of};
use crate::jmx::client::HeaderText;
use crate::kafka::sasl::{ClientCredentials, Credentials, Mechanism, TokenSource};
use crate::tls::{ClientFiles, IdentityFiles, Trust};

/// Kafka's `security.protocol`: TLS or not, and SASL or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    tls: bool,
    sasl: bool,
}

impl Leaf for Protocol {
    fn parse(text: &str) -> Result<Self, String> {
        let of = |tls, sasl| Self { tls, sasl };
        one_of(
            text,
            [
                ("PLAINTEXT", of(false, false)),
                ("SSL", of(true, false)),
                ("SASL_PLAINTEXT", of(false, true)),
                ("SASL_SSL", of(true, true)),
            ],
        )
    }
}

impl Leaf for Mechanism {
    fn parse(text: &str) -> Result<Self, String> {
        one_of(
            text,
            Self::ALL.map(|mechanism| (mechanism.name(), mechanism)),
        )
    }
}

/// TLS and login to Kafka.
type Security = (Option<ClientFiles>, Option<Credentials>);

/// Headers that are made of nothing but secrets: by file only.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// What exporters are asked with.
pub(super) struct ExporterAccess {
    pub(super) tls: ClientFiles,
    pub(super) basic_auth: Option<(String, PathBuf)>,
    pub(super) headers: BTreeMap<String, HeaderText>,
}

impl Builder<'_> {
    /// How Kafka is spoken to; `None` when something about it is wrong.
    pub(super) fn security(&mut self, reads: bool) -> Option<Security> {
        let protocol: Protocol = self.get("kafka.security.protocol")?;
        if !reads {
            return Some((None, None));
        }
        self.unused_unless(protocol.tls, "kafka.ssl", "SSL or SASL_SSL");
        self.unused_unless(protocol.sasl, "kafka.sasl", "SASL_PLAINTEXT or SASL_SSL");
        let tls = if protocol.tls {
            Some(self.kafka_tls()?)
        } else {
            None
        };
        let login = if protocol.sasl {
            Some(self.login()?)
        } else {
            None
        };
        let oidc = matches!(
            login,
            Some(Credentials::Token {
                source: TokenSource::Endpoint(_),
                ..
            })
        );
        if self.set_under("kafka.https") && !oidc {
            let what = "has no effect: it is for kafka.sasl.oauthbearer.token.endpoint.url only";
            self.problem("kafka.https.ca.location", what);
        }
        Some((tls, login))
    }

    fn unused_unless(&mut self, used: bool, section: &str, protocols: &str) {
        if !used && self.set_under(section) {
            let what = format!(
                "has no effect with this kafka.security.protocol: set that to {protocols}, or \
                 remove this"
            );
            self.problem(section, &what);
        }
    }

    fn kafka_tls(&mut self) -> Option<ClientFiles> {
        let check: String = self.get("kafka.ssl.endpoint.identification.algorithm")?;
        let identity = self.identity("kafka.ssl.certificate.location", "kafka.ssl.key.location");
        Some(ClientFiles {
            ca: self.get("kafka.ssl.ca.location"),
            identity,
            trust: if check == "none" {
                Trust::AnyName
            } else {
                Trust::Host
            },
        })
    }

    /// A certificate and its key: both, or neither.
    fn identity(&mut self, certificate: &str, key: &str) -> Option<IdentityFiles> {
        let pair = (self.get(certificate), self.get(key));
        match pair {
            (Some(certificate), Some(key)) => return Some(IdentityFiles { certificate, key }),
            (Some(_), None) => self.missing(key, &format!("{certificate} is of no use without it")),
            (None, Some(_)) => self.missing(certificate, &format!("{key} is of no use without it")),
            (None, None) => {}
        }
        None
    }

    fn missing(&mut self, path: &str, why: &str) {
        if !self.is_bad(path) {
            self.problem(path, &format!("is missing: {why}"));
        }
    }

    /// A value that has to be there.
    fn demand<T: Leaf>(&mut self, path: &str, why: &str) -> Option<T> {
        let value = self.get(path);
        if value.is_none() {
            self.missing(path, why);
        }
        value
    }

    fn login(&mut self) -> Option<Credentials> {
        let why = "kafka.security.protocol asks for a login";
        let mechanism: Mechanism = self.demand("kafka.sasl.mechanism", why)?;
        match mechanism {
            Mechanism::Plain => {
                let (username, password_file) = self.password(mechanism)?;
                Some(Credentials::Plain {
                    username,
                    password_file,
                })
            }
            Mechanism::Scram(hash) => {
                let (username, password_file) = self.password(mechanism)?;
                Some(Credentials::Scram {
                    hash,
                    username,
                    password_file,
                })
            }
            Mechanism::OauthBearer => {
                let extensions = self.get("kafka.sasl.oauthbearer.extensions");
                self.token().map(|source| Credentials::Token {
                    source,
                    extensions: extensions.unwrap_or_default(),
                })
            }
        }
    }

    fn password(&mut self, mechanism: Mechanism) -> Option<(String, PathBuf)> {
        self.contradicts("kafka.sasl.oauthbearer", mechanism);
        let why = format!("{mechanism} wants it");
        let username: Option<String> = self.demand("kafka.sasl.username", &why);
        let file = self.demand("kafka.sasl.password_file", &why);
        Some((username?, file?))
    }

    fn contradicts(&mut self, path: &str, mechanism: Mechanism) {
        if self.set_under(path) {
            let what = format!("contradicts kafka.sasl.mechanism: {mechanism}; remove one of them");
            self.problem(path, &what);
        }
    }

    fn token(&mut self) -> Option<TokenSource> {
        for path in ["kafka.sasl.username", "kafka.sasl.password_file"] {
            self.contradicts(path, Mechanism::OauthBearer);
        }
        let section = "kafka.sasl.oauthbearer";
        let at = |name: &str| format!("{section}.{name}");
        let endpoint: Option<TrustedUrl> = self.get(&at("token.endpoint.url"));
        let file = self.get(&at("token_file"));
        match (file, endpoint) {
            (Some(_), Some(_)) => {
                let what = "contradicts token.endpoint.url: name one of them";
                self.problem(&at("token_file"), what);
                None
            }
            (Some(file), None) => {
                for name in ["client", "scope"] {
                    if self.set_under(&at(name)) {
                        let what = "has no effect with a token_file: remove one of them";
                        self.problem(&at(name), what);
                    }
                }
                Some(TokenSource::File(file))
            }
            (None, Some(url)) => {
                let why = "the token endpoint wants it";
                let id = self.demand(&at("client.id"), why);
                let secret_file = self.demand(&at("client.secret_file"), why);
                Some(TokenSource::Endpoint(ClientCredentials {
                    url: url.0,
                    id: id?,
                    secret_file: secret_file?,
                    scope: self.get(&at("scope")),
                    ca: self.get("kafka.https.ca.location"),
                }))
            }
            (None, None) => {
                let what = "set token_file, or token.endpoint.url with client.id and \
                            client.secret_file";
                self.missing(section, what);
                None
            }
        }
    }

    /// What exporters are asked with; `None` when something about it is wrong.
    pub(super) fn exporter_access(&mut self) -> Option<ExporterAccess> {
        let identity = self.identity("jmx.tls.cert_file", "jmx.tls.key_file");
        let nothing: bool = self.get("jmx.tls.insecure_skip_verify")?;
        let ca = self.get("jmx.tls.ca_file");
        let name: Option<String> = self.get("jmx.tls.server_name");
        if nothing && (ca.is_some() || name.is_some()) {
            let what = "contradicts jmx.tls.ca_file or server_name: nothing is verified with it";
            self.problem("jmx.tls.insecure_skip_verify", what);
        }
        let trust = match name {
            _ if nothing => Trust::Anybody,
            None => Trust::Host,
            Some(name) => {
                if ServerName::try_from(name.as_str()).is_err() {
                    let what = "is neither a host name nor an IP address";
                    self.problem("jmx.tls.server_name", what);
                }
                Trust::Name(name)
            }
        };
        let basic_auth = self.basic_auth();
        let headers = self.headers(basic_auth.is_some());
        Some(ExporterAccess {
            tls: ClientFiles {
                ca,
                identity,
                trust,
            },
            basic_auth,
            headers,
        })
    }

    fn basic_auth(&mut self) -> Option<(String, PathBuf)> {
        let section = "jmx.basic_auth";
        if !self.set_under(section) {
            return None;
        }
        let username: Option<String> =
            self.demand("jmx.basic_auth.username", "basic_auth wants it");
        let file = self.demand("jmx.basic_auth.password_file", "basic_auth wants it");
        Some((username?, file?))
    }

    fn headers(&mut self, basic_auth: bool) -> BTreeMap<String, HeaderText> {
        let mut headers = BTreeMap::new();
        let (mut by_value, mut twice) = (Vec::new(), Vec::new());
        for (path, entry) in self.under("jmx.headers") {
            let (Some([name, kind]), Some(text)) = (path.last_chunk::<2>(), entry.texts.first())
            else {
                continue;
            };
            let text = if kind == "file" {
                HeaderText::File(PathBuf::from(text))
            } else {
                by_value.push(name.clone());
                HeaderText::Is(text.clone())
            };
            let login = basic_auth && name.eq_ignore_ascii_case("authorization");
            if headers.insert(name.to_ascii_lowercase(), text).is_some() || login {
                twice.push(name.clone());
            }
        }
        let is_secret = |name: &&String| {
            SECRET_HEADERS
                .iter()
                .any(|it| name.eq_ignore_ascii_case(it))
        };
        for name in by_value.iter().filter(is_secret) {
            let what = format!(
                "is a secret, which would be shown: put the whole value into a file, and name that \
                 as jmx.headers.{name}.file"
            );
            self.problem(&format!("jmx.headers.{name}.value"), &what);
        }
        for name in twice {
            let what = "is given twice: by value and by file, in two spellings, or by basic_auth";
            self.problem(&format!("jmx.headers.{name}"), what);
        }
        headers
    }
}
