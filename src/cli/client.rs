//! The HTTP client of the commands that ask a gate.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, Method, Response, Url, redirect};

use super::answer::Raw;
use super::credentials::{CredentialArgs, Shown};
use super::out::note;
use crate::tls::is_readable_on_the_way;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Largest answer that is read, bytes. A verdict is a few KiB; a plan of 1,000 nodes under 4 MiB.
const LARGEST: usize = 16 << 20;

/// Asks one gate server.
#[derive(Clone, Debug)]
pub struct GateClient {
    http: Client,
    base: Url,
    shown: Shown,
}

impl GateClient {
    /// A client of the server at this URL. No redirects, and no proxy from the environment: what
    /// answers must be the gate itself.
    ///
    /// # Errors
    /// The system's certificates cannot be read.
    pub fn new(base: Url) -> anyhow::Result<Self> {
        Self::showing(base, &CredentialArgs::default())
    }

    /// The same, of a gate with TLS or authentication.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn showing(base: Url, credentials: &CredentialArgs) -> anyhow::Result<Self> {
        // Fails when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let builder = Client::builder()
                .redirect(redirect::Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT)
                .user_agent(concat!("upgrade-gate/", env!("CARGO_PKG_VERSION")));
            credentials.tls(builder)
        };
        // A machine without system certificates still asks over plain HTTP.
        let http = match builder()?.build() {
            Err(_) if credentials.ca_file.is_none() => builder()?.tls_certs_only([]).build(),
            built => built,
        };
        let shown = credentials.shown()?;
        if let Some(what) = shown.secret().filter(|_| is_readable_on_the_way(&base)) {
            note(&format!(
                "warning: the {what} crosses the network readable: give {base} TLS, and ask it by https"
            ));
        }
        Ok(Self {
            http: http.context("failed to set up HTTP")?,
            base,
            shown,
        })
    }

    /// One GET of `/api/v1/gates/{gate}/{what}`. The error says why there was no answer.
    pub async fn get(
        &self,
        gate: &str,
        what: &str,
        query: &[(&str, String)],
        within: Duration,
    ) -> Result<Raw, String> {
        self.send(Method::GET, gate, &[what], query, within).await
    }

    /// One request below `/api/v1/gates/{gate}`. Those that change something carry the header that
    /// says so.
    pub async fn send(
        &self,
        method: Method,
        gate: &str,
        path: &[&str],
        query: &[(&str, String)],
        within: Duration,
    ) -> Result<Raw, String> {
        let url = self.url(gate, path, query)?;
        let reads = method == Method::GET;
        let mut request = self.http.request(method, url);
        request = request.header("accept", "application/json");
        if !reads {
            request = request.header("x-upgrade-gate", "1");
        }
        let request = self.shown.on(request)?;
        let response = request.timeout(within).send().await;
        let response = response.map_err(|error| chain(&error))?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let many = response
            .headers()
            .get_all("upgrade-gate-state")
            .iter()
            .count()
            > 1;
        let raw = Raw {
            status: response.status().as_u16(),
            // Two of them, or one that is no text, say nothing that could be believed.
            state: response.headers().get("upgrade-gate-state").map(|value| {
                let text = value.to_str().unwrap_or_default();
                if many {
                    String::from("several")
                } else {
                    String::from(text)
                }
            }),
            cached: header("age").is_some_and(|age| age.trim() != "0"),
            body: Vec::new(),
        };
        let body = body(response).await?;
        Ok(Raw { body, ..raw })
    }

    fn url(&self, gate: &str, path: &[&str], query: &[(&str, String)]) -> Result<Url, String> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| String::from("the URL cannot have a path"))?
            .pop_if_empty()
            .extend(["api", "v1", "gates", gate])
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len().saturating_add(chunk.len()) > LARGEST {
            return Err(String::from("the answer is too large for a gate's"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error with its causes; the last one says what really happened.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A gate server's URL as typed: `http` or `https`, no user, no query.
///
/// # Errors
/// What it should be.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(String::from(
            "wants an http or https URL, such as http://gate:10190",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(String::from("wants a URL without user and password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(String::from("wants a URL without ? and #"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_the_url_is_kept() {
        for (base, wanted) in [
            (
                "http://g:10190",
                "http://g:10190/api/v1/gates/a.b/check?node=1%2C2",
            ),
            ("http://g/", "http://g/api/v1/gates/a.b/check?node=1%2C2"),
            (
                "https://g/up/gate/",
                "https://g/up/gate/api/v1/gates/a.b/check?node=1%2C2",
            ),
        ] {
            let client = GateClient::new(parse_url(base).unwrap()).unwrap();
            let url = client.url("a.b", &["check"], &[("node", String::from("1,2"))]);
            assert_eq!(url.unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn urls_are_strict() {
        for bad in [
            "gate:10190",
            "ftp://g",
            "http://u:p@g",
            "http://g?x",
            "http://g#x",
            "/x",
            "",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
