//! One target, asked once, over HTTP.
//!
//! No redirects, no ambient proxy, gzip, a capped body and one deadline over everything. That at
//! most one request is in flight per target, and how often it is asked, is the caller's.

use std::error::Error as _;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Url};
use thiserror::Error;

use super::page;
use super::recognise::Recogniser;
use super::scan::Format;
use crate::evidence::ids::NodeId;
use crate::evidence::jmx::JmxFacts;
use crate::evidence::report::{FailureClass, SourceFailure};
use crate::time::Human;

/// Default cap of a page after decompression, bytes. A broker of 12,000 partitions says 9 MB.
pub const PAGE_LIMIT: usize = 64 << 20;

/// How long connecting may take, within the deadline of the whole.
const CONNECT: Duration = Duration::from_secs(5);

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
        let fetched = match tokio::time::timeout(deadline, fetching).await {
            Ok(fetched) => fetched?,
            Err(_) => {
                let detail = format!("no whole page from {url} within {}", Human(deadline));
                return Err(SourceFailure::new(FailureClass::Timeout, detail));
            }
        };
        if fetched.status != 200 {
            let detail = format!("{url} answered HTTP status {}", fetched.status);
            let class = match fetched.status {
                401 => FailureClass::Authentication,
                403 => FailureClass::Authorization,
                status => FailureClass::HttpStatus(status),
            };
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

/// The HTTP client could not be made.
#[derive(Debug, Error)]
#[error("no HTTP client for JMX exporters: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// The client for all targets with the same TLS settings. Certificates, client identity and basic
/// authentication get their settings here; without any, https trusts the system's certificates.
pub fn client() -> Result<Client, ClientError> {
    // Fails when one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("upgrade-gate/", env!("CARGO_PKG_VERSION")))
    };
    // A machine without system certificates still reads plain HTTP; https then trusts nobody.
    let client = builder().build();
    Ok(client.or_else(|_| builder().tls_certs_only([]).build())?)
}

/// Fetches over the network.
#[derive(Clone, Debug)]
pub struct HttpFetch {
    client: Client,
}

impl HttpFetch {
    /// With a client made by [`client`].
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(&'a self, url: &'a Url, limit: usize) -> Fetching<'a> {
        Box::pin(async move {
            let request = self.client.get(url.clone()).header(ACCEPT, WANTED_FORMAT);
            let mut response = request.send().await.map_err(|e| not_answered(url, &e))?;
            let content_type = response.headers().get(CONTENT_TYPE);
            let mut fetched = Fetched {
                status: response.status().as_u16(),
                content_type: content_type.and_then(|v| v.to_str().ok()).map(String::from),
                body: Bytes::new(),
            };
            if fetched.status != 200 {
                return Ok(fetched);
            }
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| broken_off(url, &e))? {
                if body.len().saturating_add(chunk.len()) > limit {
                    let detail = format!("the page of {url} is larger than {limit} bytes");
                    return Err(SourceFailure::new(FailureClass::TooLarge, detail));
                }
                body.extend_from_slice(&chunk);
            }
            fetched.body = body.freeze();
            Ok(fetched)
        })
    }
}

/// No head of an answer came.
fn not_answered(url: &Url, error: &reqwest::Error) -> SourceFailure {
    let io = cause::<io::Error>(error).map(io::Error::kind);
    let (class, what) = if error.is_dns() {
        (FailureClass::Resolve, "the host name does not resolve")
    } else if cause::<rustls::Error>(error).is_some() {
        (FailureClass::Tls, "TLS did not come about")
    } else if error.is_connect() {
        match io {
            _ if error.is_timeout() => (FailureClass::ConnectTimeout, "connecting took too long"),
            Some(io::ErrorKind::TimedOut) => (FailureClass::ConnectTimeout, "connecting timed out"),
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                (FailureClass::Closed, "the connection was closed")
            }
            Some(_) | None => (FailureClass::Refused, "the connection was refused"),
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
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    SourceFailure::new(class, format!("{what} by {url}: {root}"))
}

/// The first cause of this type. An I/O error may hide its cause from `source`.
fn cause<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref::<E>()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
