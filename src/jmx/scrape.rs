//! One target, asked once, over HTTP.
//!
//! No redirects, no ambient proxy, gzip, a capped body and one deadline over everything. That at
//! most one request is in flight per target, and how often it is asked, is the caller's.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Url};
use tracing::warn;

use super::client::{self, Access, Shown};
use super::page;
use super::recognise::Recogniser;
use super::scan::Format;
use crate::evidence::ids::NodeId;
use crate::evidence::jmx::JmxFacts;
use crate::evidence::report::{Cap, FailureClass, SourceFailure};
use crate::files::{BadFile, Watched};
use crate::time::Human;
use crate::tls::{Names, Trust, cause, explain, innermost, is_readable_on_the_way, tell};

/// Default cap of a page after decompression, bytes. A broker of 12,000 partitions says 9 MB.
pub const PAGE_LIMIT: usize = 64 << 20;

/// The one format that all exporter versions share.
const WANTED_FORMAT: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// A node's exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whose page it should be.
    pub node: NodeId,
    /// Where it is.
    pub url: Url,
}

/// What HTTP brought.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, where there is one.
    pub content_type: Option<String>,
    /// The body after decompression; may be left empty when the status is not 200.
    pub body: Bytes,
}

/// The answer that a [`Fetch`] promises.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fetched, SourceFailure>> + Send + 'a>>;

/// Fetches pages. The simulation has its own.
pub trait Fetch: Debug + Send + Sync + 'static {
    /// Fetches `url`, reading at most `limit` bytes of body (after decompression): more is
    /// [`FailureClass::TooLarge`], a body that ends early is [`FailureClass::Cut`]. The deadline
    /// is the caller's, who drops the future.
    fn fetch<'a>(&'a self, url: &'a Url, limit: usize) -> Fetching<'a>;
}

/// Asks targets and reads their pages.
#[derive(Clone, Debug)]
pub struct Scraper {
    fetch: Arc<dyn Fetch>,
    recogniser: Arc<Recogniser>,
    limit: usize,
}

impl Scraper {
    /// A scraper; `limit` is the cap of a page, in bytes after decompression.
    pub fn new(fetch: Arc<dyn Fetch>, recogniser: Arc<Recogniser>, limit: usize) -> Self {
        Self {
            fetch,
            recogniser,
            limit,
        }
    }

    /// One page of one target, within `deadline` from now.
    pub async fn scrape(
        &self,
        target: &Target,
        deadline: Duration,
    ) -> Result<JmxFacts, SourceFailure> {
        let url = &target.url;
        let fetching = self.fetch.fetch(url, self.limit);
        let in_time = tokio::time::timeout(deadline, fetching).await;
        let fetched = in_time.map_err(|_| {
            let detail = format!("no whole page from {url} within {}", Human(deadline));
            SourceFailure::new(FailureClass::Timeout, detail)
        })??;
        if fetched.status != 200 {
            let detail = format!("{url} answered HTTP status {}", fetched.status);
            let class = FailureClass::HttpStatus(fetched.status);
            return Err(SourceFailure::new(class, detail));
        }
        page::read(&fetched.body, format_of(&fetched), &self.recogniser).map_err(|error| {
            let detail = format!("the page of {url} is not used: {error}");
            SourceFailure::new(error.class(), detail)
        })
    }
}

fn format_of(fetched: &Fetched) -> Format {
    match &fetched.content_type {
        Some(kind) if kind.starts_with("application/openmetrics-text") => Format::OpenMetrics,
        Some(_) | None => Format::Text,
    }
}

/// How long a page waits for files that may have changed: a part of any page's deadline.
const FILES: Duration = Duration::from_secs(2);

/// What TLS to exporters is configured by.
const NAMES: Names = Names {
    ca: "jmx.tls.ca_file",
    certificate: "jmx.tls.cert_file",
    name: "jmx.tls.server_name",
    protocol: "the scheme in jmx.targets or jmx.template",
};

/// Fetches over the network.
#[derive(Debug)]
pub struct HttpFetch {
    client: Arc<Watched<Client>>,
    shown: Shown,
    /// Whether it was said that secrets are sent readable.
    warned: AtomicBool,
}

impl HttpFetch {
    /// A client for all targets of a gate; without any TLS settings https trusts the system's
    /// certificates.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn new(access: Access) -> Result<Self, BadFile> {
        let (client, shown) = client::watched(access)?;
        Ok(Self {
            client: Arc::new(client),
            shown,
            warned: AtomicBool::new(false),
        })
    }

    /// Says it once, and of the first exporter: it is the same setting for all of them.
    fn warn(&self, url: &Url) {
        let readable = self.shown.secret && is_readable_on_the_way(url);
        if readable && !self.warned.swap(true, Ordering::Relaxed) {
            warn!(
                %url,
                "the password or header for exporters crosses the network readable: prefer https"
            );
        }
    }

    /// The statuses that say something about us, in words.
    fn status(&self, status: u16) -> Option<&'static str> {
        match status {
            401 if self.shown.login => {
                Some("it refuses our user, password or header: see jmx.basic_auth and jmx.headers")
            }
            401 => Some("it wants a login: set jmx.basic_auth or jmx.headers"),
            403 => Some("it knows us and does not let us read: give this user the right there"),
            _ => None,
        }
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(&'a self, url: &'a Url, limit: usize) -> Fetching<'a> {
        Box::pin(async move {
            tell(&self.client.look(FILES).await);
            self.warn(url);
            let client = self.client.get();
            let request = client.get(url.clone()).header(ACCEPT, WANTED_FORMAT);
            let mut response = request
                .send()
                .await
                .map_err(|e| not_answered(url, &e, &self.shown))?;
            let content_type = response.headers().get(CONTENT_TYPE);
            let mut fetched = Fetched {
                status: response.status().as_u16(),
                content_type: content_type.and_then(|v| v.to_str().ok()).map(String::from),
                body: Bytes::new(),
            };
            if let Some(why) = self.status(fetched.status) {
                let class = FailureClass::HttpStatus(fetched.status);
                let detail = format!("{url} answered HTTP status {}: {why}", fetched.status);
                return Err(SourceFailure::new(class, detail));
            }
            if fetched.status != 200 {
                return Ok(fetched);
            }
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| broken_off(url, &e))? {
                if body.len().saturating_add(chunk.len()) > limit {
                    let detail = format!("the page of {url} is larger than {limit} bytes");
                    return Err(SourceFailure::new(
                        FailureClass::TooLarge(Cap::PageBytes),
                        detail,
                    ));
                }
                body.extend_from_slice(&chunk);
            }
            fetched.body = body.freeze();
            Ok(fetched)
        })
    }
}

/// No head of an answer came.
fn not_answered(url: &Url, error: &reqwest::Error, shown: &Shown) -> SourceFailure {
    if let Some(tls) = cause::<rustls::Error>(error) {
        let mut why = explain(tls, NAMES, shown.identity);
        if shown.trust == Trust::Anybody {
            why.push_str(" (with insecure_skip_verify)");
        }
        return SourceFailure::new(FailureClass::Tls, format!("TLS with {url}: {why}"));
    }
    let io = cause::<io::Error>(error).map(io::Error::kind);
    let (class, what) = if error.is_dns() {
        (FailureClass::Resolve, "the host name does not resolve")
    } else if error.is_connect() {
        match io {
            _ if error.is_timeout() => (FailureClass::ConnectTimeout, "connecting took too long"),
            Some(io::ErrorKind::TimedOut) => (FailureClass::ConnectTimeout, "connecting timed out"),
            Some(io::ErrorKind::UnexpectedEof) if url.scheme() == "https" => (
                FailureClass::Tls,
                "the connection was closed in the TLS handshake (an exporter without TLS does that)",
            ),
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                (FailureClass::Closed, "the connection was closed")
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                (FailureClass::Refused, "the connection was refused")
            }
            // No route, no free port, too many open files: no word from the other side.
            Some(_) | None => (FailureClass::ConnectTimeout, "no connection could be made"),
        }
    } else if error.is_timeout() {
        (FailureClass::Timeout, "no answer in time")
    } else if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        (FailureClass::Malformed, "the answer is not HTTP")
    } else {
        (
            FailureClass::Closed,
            "the connection was closed without an answer",
        )
    };
    failure(class, what, url, error)
}

/// The head came, the body did not come whole.
fn broken_off(url: &Url, error: &reqwest::Error) -> SourceFailure {
    let early = cause::<io::Error>(error).is_some_and(|e| {
        matches!(
            e.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        )
    });
    let hyper = cause::<hyper::Error>(error);
    let (class, what) = if error.is_timeout() {
        (FailureClass::Timeout, "the page did not come whole in time")
    } else if early || hyper.is_some_and(|e| !e.is_parse()) {
        (
            FailureClass::Cut,
            "the connection ended before the page did",
        )
    } else {
        (FailureClass::Malformed, "the body cannot be read")
    };
    failure(class, what, url, error)
}

fn failure(class: FailureClass, what: &str, url: &Url, error: &reqwest::Error) -> SourceFailure {
    SourceFailure::new(class, format!("{what} by {url}: {}", innermost(error)))
}
