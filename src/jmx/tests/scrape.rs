//! One target over HTTP: what is asked, and what each way of not answering is called.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::JmxFacts;
use crate::evidence::report::{Cap, FailureClass, SourceFailure};
use crate::jmx::client::Access;
use crate::jmx::recognise::Recogniser;
use crate::jmx::scrape::{HttpFetch, Scraper, Target};

const PAGE: &str = "kafka_server_replicamanager_underreplicatedpartitions 3.0\n";

fn scraper(limit: usize) -> Scraper {
    let fetch = HttpFetch::new(Access::default()).expect("client");
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
    assert_eq!(
        class(Then::Endless(head)).await,
        FailureClass::TooLarge(Cap::PageBytes)
    );
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
    // The kernel says no by itself: nobody connects to a group of hosts.
    assert_eq!(
        ask(String::from("http://224.0.0.1:9/")).await,
        FailureClass::ConnectTimeout
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
    assert_eq!(
        capped.expect_err("cap").class,
        FailureClass::TooLarge(Cap::PageBytes)
    );
    let half = &packed[..packed.len() / 2];
    let cut = [head(half.len()).as_bytes(), half].concat();
    assert_eq!(class(Then::Send(cut)).await, FailureClass::Cut);
    let noise = [head(4).as_bytes(), b"noise"].concat();
    assert_eq!(class(Then::Send(noise)).await, FailureClass::Malformed);
}
