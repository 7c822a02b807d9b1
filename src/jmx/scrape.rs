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

/// The first cause of this type.
fn cause<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // `source` of an I/O error skips the error that it wraps.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const PAGE: &str = "kafka_server_replicamanager_underreplicatedpartitions 3.0\n";

    fn scraper(limit: usize) -> Scraper {
        let fetch = HttpFetch::new(client().expect("client"));
        Scraper::new(Arc::new(fetch), Arc::new(Recogniser::default()), limit)
    }

    fn target(url: &str) -> Target {
        Target {
            node: NodeId(1),
            url: Url::parse(url).expect("url"),
        }
    }

    /// What the exporter does after it has read the request.
    #[derive(Clone)]
    enum Then {
        /// Sends this and closes.
        Send(Vec<u8>),
        /// Sends this and stays silent.
        Hang(Vec<u8>),
        /// Sends this, then `x` for ever.
        Endless(Vec<u8>),
    }

    async fn serve(mut stream: TcpStream, then: Then) -> io::Result<String> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        match then {
            Then::Send(answer) => stream.write_all(&answer).await?,
            Then::Hang(answer) => {
                stream.write_all(&answer).await?;
                std::future::pending::<()>().await;
            }
            Then::Endless(answer) => {
                stream.write_all(&answer).await?;
                while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            }
        }
        Ok(String::from_utf8_lossy(&request).into_owned())
    }

    /// Scrapes an exporter that does this once; also returns the request, where it ended.
    async fn scrape(then: Then, limit: usize) -> (Result<JmxFacts, SourceFailure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let port = listener.local_addr().expect("address").port();
        let deadline = match &then {
            Then::Hang(_) => Duration::from_millis(300),
            Then::Send(_) | Then::Endless(_) => Duration::from_secs(20),
        };
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("connection");
            serve(stream, then).await
        });
        let target = target(&format!("http://127.0.0.1:{port}/metrics"));
        let scraped = scraper(limit).scrape(&target, deadline).await;
        if let Err(failure) = &scraped {
            assert!(
                failure.detail.contains(&format!(":{port}/metrics")),
                "{failure}"
            );
        }
        if server.is_finished() || scraped.is_ok() {
            let request = server.await.expect("server").unwrap_or_default();
            return (scraped, request);
        }
        server.abort();
        (scraped, String::new())
    }

    async fn class(then: Then) -> FailureClass {
        scrape(then, 1 << 20).await.0.expect_err("failure").class
    }

    fn answer(head: &str, body: &str) -> Then {
        let length = body.len();
        Then::Send(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").into())
    }

    #[tokio::test]
    async fn a_page_is_asked_for_as_text_and_read() {
        let (facts, request) = scrape(answer("200 OK", PAGE), 1 << 20).await;
        assert_eq!(facts.expect("facts").values.len(), 1);
        let request = request.to_lowercase();
        assert!(
            request.starts_with("get /metrics http/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("accept: text/plain;version=0.0.4;q=1,*/*;q=0.1\r\n"),
            "{request}"
        );
        assert!(request.contains("accept-encoding: gzip\r\n"), "{request}");
    }

    #[tokio::test]
    async fn statuses_are_failures_and_redirects_are_not_followed() {
        for (head, wanted) in [
            (
                "302 Found\r\nLocation: http://127.0.0.1:1/",
                FailureClass::HttpStatus(302),
            ),
            ("500 Internal Server Error", FailureClass::HttpStatus(500)),
            ("204 No Content", FailureClass::HttpStatus(204)),
            ("401 Unauthorized", FailureClass::HttpStatus(401)),
            ("403 Forbidden", FailureClass::HttpStatus(403)),
        ] {
            assert_eq!(class(answer(head, "")).await, wanted, "{head}");
        }
    }

    #[tokio::test]
    async fn what_is_not_kafkas_page_is_named_so() {
        for body in [
            "",
            "\n",
            "<html>",
            "node_load1 0.5\n",
            "process_start_time_seconds 1\n",
        ] {
            let class = class(answer("200 OK", body)).await;
            assert_eq!(class, FailureClass::NotKafkaMetrics, "{body}");
        }
        let cut = class(answer("200 OK", PAGE.trim_end())).await;
        assert_eq!(cut, FailureClass::Cut);
        let openmetrics = "200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0";
        assert_eq!(class(answer(openmetrics, PAGE)).await, FailureClass::Cut);
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_cut_even_at_the_end_of_a_line() {
        let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{PAGE}");
        assert_eq!(class(Then::Send(long.into())).await, FailureClass::Cut);
        let length = PAGE.len();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = format!("{head}{length:x}\r\n{PAGE}\r\n");
        assert_eq!(
            class(Then::Send(chunk.clone().into())).await,
            FailureClass::Cut
        );
        let whole = format!("{chunk}0\r\n\r\n");
        assert!(scrape(Then::Send(whole.into()), 1 << 20).await.0.is_ok());
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        assert_eq!(class(Then::Hang(Vec::new())).await, FailureClass::Timeout);
        let half = format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{PAGE}");
        assert_eq!(class(Then::Hang(half.into())).await, FailureClass::Timeout);
    }

    #[tokio::test]
    async fn an_endless_page_ends_at_the_cap() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        assert_eq!(class(Then::Endless(head)).await, FailureClass::TooLarge);
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering_are_told_apart() {
        assert_eq!(class(Then::Send(Vec::new())).await, FailureClass::Closed);
        let ssh = b"SSH-2.0-OpenSSH_9.2\r\n".to_vec();
        assert_eq!(class(Then::Send(ssh)).await, FailureClass::Malformed);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let ask = |url: String| async move {
            let scraped = scraper(1 << 20)
                .scrape(&target(&url), Duration::from_secs(5))
                .await;
            scraped.expect_err("failure").class
        };
        assert_eq!(
            ask(format!("http://{address}/")).await,
            FailureClass::Refused
        );
        assert_eq!(
            ask(String::from("http://a..b/")).await,
            FailureClass::Resolve
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("connection");
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        });
        assert_eq!(ask(format!("https://{address}/")).await, FailureClass::Tls);
    }

    #[tokio::test]
    async fn gzip_is_unpacked_capped_and_noticed_when_cut() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/jmx/small.prom.gz"
        );
        let packed = fs::read(path).expect("fixture");
        let head = |length: usize| {
            format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n")
        };
        let whole = [head(packed.len()).as_bytes(), &packed].concat();
        let (facts, _) = scrape(Then::Send(whole.clone()), 1 << 20).await;
        let facts = facts.expect("facts");
        assert!(facts.bytes > packed.len() as u64 * 10);
        let (capped, _) = scrape(Then::Send(whole), packed.len() * 2).await;
        assert_eq!(capped.expect_err("cap").class, FailureClass::TooLarge);
        let half = &packed[..packed.len() / 2];
        let cut = [head(half.len()).as_bytes(), half].concat();
        assert_eq!(class(Then::Send(cut)).await, FailureClass::Cut);
        let noise = [head(4).as_bytes(), b"noise"].concat();
        assert_eq!(class(Then::Send(noise)).await, FailureClass::Malformed);
    }
}
