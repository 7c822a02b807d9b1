//! Tokens of a token endpoint: OAuth 2.0 client credentials (RFC 6749, 4.4).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::failure;
use crate::evidence::report::{Cap, FailureClass, SourceFailure};
use crate::files::{Aside, BadFile, Secret, Watched};
use crate::time::Human;
use crate::tls::{ClientFiles, Names, cause, explain, innermost, tell};

/// A client at a token endpoint. The secret is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The endpoint.
    pub url: String,
    /// The client's id.
    pub id: String,
    /// File with its secret.
    pub secret_file: PathBuf,
    /// What is asked for, where the endpoint wants it said.
    pub scope: Option<String>,
    /// The CAs that sign the endpoint's certificate; `None`: the system's.
    pub ca: Option<PathBuf>,
}

/// How long the endpoint may take for one answer.
const ANSWER: Duration = Duration::from_secs(4);
/// How long one login waits for a token at most, its turn included: longer than one answer takes, so
/// that whoever waits for another one's answer hears what came of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the client's secret, and the CAs of the endpoint, may take to be read.
const FILES: Duration = Duration::from_secs(1);
/// For how long a failure is everybody's: the connections to all nodes want a token at once, and
/// one after the other would wait for the same silence.
const SHARED: Duration = Duration::from_secs(1);
/// The largest answer that is read, bytes.
const LARGEST: usize = 256 * 1024;
/// How long a token counts whose endpoint does not say it.
const UNSAID: u64 = 60;

/// Asks for tokens and keeps one while it is good.
pub(super) struct Tokens {
    settings: ClientCredentials,
    client: Arc<Watched<Client>>,
    aside: Aside,
    kept: Mutex<Option<Kept>>,
    /// The newest failure, and when it was one.
    failed: Mutex<Option<(Instant, SourceFailure)>>,
    /// One question at a time: the connections to all nodes want a token at once.
    asking: tokio::sync::Mutex<()>,
}

struct Kept {
    token: Secret,
    until: Instant,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tokens").field(&self.settings).finish()
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
}

/// A token of an endpoint.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token: not empty, and without control characters.
    pub token: Secret,
    /// How long it is kept: half the time for which it is good, 12 hours at most.
    pub keep: Duration,
}

impl ClientCredentials {
    /// Reads an endpoint's answer.
    ///
    /// # Errors
    /// What it says instead of a token; never the client's secret, whatever the endpoint repeats.
    pub fn token(&self, status: u16, body: &[u8], secret: &Secret) -> Result<Token, SourceFailure> {
        if status != 200 {
            return Err(self.refused(status, body, secret));
        }
        // An object (RFC 6749, 5.1): a list of the values would be taken as well.
        let object = body.trim_ascii_start().starts_with(b"{");
        let answer: Option<Answer> = serde_json::from_slice(body).ok().filter(|_| object);
        let answer = answer.ok_or_else(|| self.fail("its answer has no access_token"))?;
        if answer.access_token.is_empty() || answer.access_token.contains(char::is_control) {
            return Err(self.fail("its access_token is empty or no token"));
        }
        let seconds = answer.expires_in.as_ref().and_then(|value| {
            value
                .as_u64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        });
        Ok(Token {
            token: Secret::new(answer.access_token),
            // A session lasts as long as its token: one that is shown late makes a short session.
            keep: Duration::from_secs(seconds.unwrap_or(UNSAID).min(86_400)).mul_f64(0.5),
        })
    }

    fn fail(&self, why: &str) -> SourceFailure {
        failure(format!("no token from {}: {why}", self.url))
    }

    fn refused(&self, status: u16, body: &[u8], secret: &Secret) -> SourceFailure {
        let said: Option<Refusal> = serde_json::from_slice(body).ok();
        let said = said.map(|refusal| {
            [refusal.error, refusal.error_description]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ")
        });
        let said = said
            .unwrap_or_default()
            .replace(secret.reveal(), "***")
            .replace(&encoded(secret.reveal()), "***")
            .replace(&self.pair(secret), "***");
        self.fail(&format!(
            "HTTP status {status} for client '{}' with the secret in {}: {said}",
            self.id,
            self.secret_file.display()
        ))
    }

    /// RFC 6749, 2.3.1: both are form encoded before they are joined.
    fn pair(&self, secret: &Secret) -> String {
        let pair = [encoded(&self.id), encoded(secret.reveal())].join(":");
        STANDARD.encode(pair)
    }
}

impl Tokens {
    pub(super) fn new(settings: ClientCredentials) -> Result<Self, BadFile> {
        Secret::read(&settings.secret_file)?;
        let files = ClientFiles {
            ca: settings.ca.clone(),
            ..ClientFiles::default()
        };
        let url = settings.url.clone();
        let make = move || {
            // Plain HTTP (on this machine) needs no CAs.
            let builder = if url.starts_with("https:") {
                Client::builder().tls_backend_preconfigured(files.config()?)
            } else {
                crate::tls::install_provider();
                Client::builder().tls_certs_only([])
            };
            builder
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .timeout(ANSWER)
                .build()
                .map_err(|error| BadFile::new(&PathBuf::from(&url), error.to_string()))
        };
        let paths = settings.ca.iter().cloned().collect();
        Ok(Self {
            client: Arc::new(Watched::new(paths, make)?),
            aside: Aside::default(),
            settings,
            kept: Mutex::default(),
            failed: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// A token that is good for a while yet; within [`PATIENCE`].
    pub(super) async fn token(&self) -> Result<Secret, SourceFailure> {
        if let Some(token) = self.kept() {
            return Ok(token);
        }
        let late = |_| self.fail(&format!("none within {}", Human(PATIENCE)));
        timeout(PATIENCE, self.turn()).await.map_err(late)?
    }

    /// Waits for its turn, and asks unless somebody has just been answered.
    async fn turn(&self) -> Result<Secret, SourceFailure> {
        let _turn = self.asking.lock().await;
        if let Some(token) = self.kept() {
            return Ok(token);
        }
        if let Some(failure) = self.just_failed() {
            return Err(failure);
        }
        let token = self.next().await;
        *lock(&self.failed) = token
            .as_ref()
            .err()
            .map(|failure| (Instant::now(), failure.clone()));
        token
    }

    async fn next(&self) -> Result<Secret, SourceFailure> {
        let asked = Instant::now();
        let Token { token, keep } = self.ask().await?;
        *lock(&self.kept) = Some(Kept {
            token: token.clone(),
            until: asked + keep,
        });
        Ok(token)
    }

    /// Forgets a token that was refused.
    pub(super) fn forget(&self) {
        *lock(&self.kept) = None;
    }

    fn kept(&self) -> Option<Secret> {
        let kept = lock(&self.kept);
        let kept = kept.as_ref().filter(|kept| Instant::now() < kept.until)?;
        Some(kept.token.clone())
    }

    fn just_failed(&self) -> Option<SourceFailure> {
        let failed = lock(&self.failed);
        let (at, failure) = failed.as_ref()?;
        (at.elapsed() < SHARED).then(|| failure.clone())
    }

    fn fail(&self, why: &str) -> SourceFailure {
        self.settings.fail(why)
    }

    async fn ask(&self) -> Result<Token, SourceFailure> {
        let secret = self.aside.secret(&self.settings.secret_file, FILES).await;
        let secret = secret.map_err(|bad| self.fail(&bad.to_string()))?;
        tell(&self.client.look(FILES).await);
        let url = Url::parse(&self.settings.url).map_err(|error| self.fail(&error.to_string()))?;
        let request = self
            .client
            .get()
            .post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, self.authorization(&secret)?)
            .body(self.form());
        let mut response = request
            .send()
            .await
            .map_err(|error| self.fail(&explained(&error)))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.fail(&explained(&error)))?
        {
            if body.len().saturating_add(chunk.len()) > LARGEST {
                let why = self.fail(&format!("its answer is larger than {LARGEST} bytes"));
                return Err(SourceFailure::new(
                    FailureClass::TooLarge(Cap::TokenBytes),
                    why.detail,
                ));
            }
            body.extend_from_slice(&chunk);
        }
        self.settings.token(status.as_u16(), &body, &secret)
    }

    fn authorization(&self, secret: &Secret) -> Result<HeaderValue, SourceFailure> {
        let text = format!("Basic {}", self.settings.pair(secret));
        let mut value =
            HeaderValue::from_str(&text).map_err(|error| self.fail(&error.to_string()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn form(&self) -> String {
        let scope = self.settings.scope.as_deref();
        let scope = scope.map(|scope| format!("&scope={}", encoded(scope)));
        format!("grant_type=client_credentials{}", scope.unwrap_or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As a form has it.
fn encoded(text: &str) -> String {
    Url::parse_with_params("http://x/", [("", text)])
        .ok()
        .and_then(|url| {
            url.query()
                .map(|query| query.trim_start_matches('=').to_owned())
        })
        .unwrap_or_default()
}

/// What TLS to the token endpoint is configured by.
const NAMES: Names = Names {
    ca: "kafka.https.ca.location",
    certificate: "(no setting: the gate shows no certificate to token endpoints)",
    name: "kafka.sasl.oauthbearer.token.endpoint.url",
    protocol: "the scheme in kafka.sasl.oauthbearer.token.endpoint.url",
};

/// What went wrong on the way, and what to do about it.
fn explained(error: &reqwest::Error) -> String {
    cause::<rustls::Error>(error).map_or_else(
        || innermost(error),
        |tls| format!("TLS: {}", explain(tls, NAMES, false)),
    )
}
