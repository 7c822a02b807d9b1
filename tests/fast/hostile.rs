//! The HTTP server among slow, silent, greedy and confused callers, and at its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use upgrade_gate::server::Limits;

use crate::served::{Got, closed, open, raw, serve, serve_with};

const CHECK: &str = "/api/v1/gates/default/check";

#[tokio::test]
async fn bodies_of_requests_are_ignored_and_capped() {
    let served = serve(open()).await;
    let body = r#"{"name":"flagger"}"#;
    assert_eq!(served.send("POST", CHECK, "", body).await.status, 200);
    let chunked = format!(
        "POST {CHECK} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    let got = Got::parse(&raw(served.address, &chunked).await).unwrap();
    assert_eq!(got.status, 200);
    let large = "x".repeat(64 * 1024 + 1);
    let got = served.send("POST", CHECK, "", &large).await;
    assert_eq!(got.status, 413);
    assert_eq!(got.json()["open"], false);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        header_read: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = serve_with(open(), limits, |_| ()).await;
    let request = format!("POST {CHECK} HTTP/1.1\r\nHost: gate\r\nContent-Length: 9\r\n\r\nx");
    let got = Got::parse(&raw(served.address, &request).await).unwrap();
    assert_eq!(got.status, 400);
}

#[tokio::test]
async fn slow_and_silent_callers_are_closed_and_disturb_nobody() {
    let limits = Limits {
        header_read: Duration::from_millis(500),
        ..Limits::default()
    };
    let served = serve_with(open(), limits, |_| ()).await;
    let mut slow = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        }
        slow.push(stream);
    }
    let started = Instant::now();
    assert_eq!(served.get(CHECK).await.status, 200);
    assert!(started.elapsed() < Duration::from_millis(400));
    for mut stream in slow {
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        closed.expect("the server closes it").ok();
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{rest:?}");
    }
}

#[tokio::test]
async fn callers_over_the_cap_are_told_so_at_once() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let served = serve_with(open(), limits, |_| ()).await;
    let http = &served.state.metrics.counters().http;
    let _first = TcpStream::connect(served.address).await.unwrap();
    let _second = TcpStream::connect(served.address).await.unwrap();
    while http.connections.load(Ordering::Relaxed) < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    let mut third = TcpStream::connect(served.address).await.unwrap();
    let mut answer = Vec::new();
    third.read_to_end(&mut answer).await.unwrap();
    let got = Got::parse(&answer).unwrap();
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("unknown"))
    );
    assert_eq!(http.connections_refused.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_not_http_is_closed() {
    let served = serve(open()).await;
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(64 * 1024));
    for garbage in [
        "\r\n\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        &huge,
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let _ = stream.write_all(garbage.as_bytes()).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        let _ = read.await.expect("the server closes");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{garbage:?}");
    }
    assert_eq!(served.get(CHECK).await.status, 200);
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let served = serve(closed()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for _ in 0..3 {
        let request = format!("HEAD {CHECK} HTTP/1.1\r\nHost: gate\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        let got = Got::parse(&answer[..length]).unwrap();
        assert_eq!(got.status, 503);
        served.published.publish(Arc::new(closed()));
    }
}

#[tokio::test]
async fn the_end_answers_waiters_and_comes_in_time() {
    let limits = Limits {
        drain: Duration::from_millis(500),
        ..Limits::default()
    };
    let served = serve_with(closed(), limits, |_| ()).await;
    let mut half_sent = TcpStream::connect(served.address).await.unwrap();
    half_sent.write_all(b"GET / HTT").await.unwrap();
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let http = &served.state.metrics.counters().http;
    let end = async {
        while http.waiters.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        served.shutdown.cancel();
    };
    let started = Instant::now();
    let (got, ()) = tokio::join!(served.get("/api/v1/gates/default/check?wait=50"), end);
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (503, Some("closed"))
    );
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    timeout(Duration::from_secs(5), served.ended)
        .await
        .unwrap()
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(TcpStream::connect(served.address).await.is_err());
}
