//! What callers do to a gate. Each goes on until it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// Addresses that attacks come from; whoever asks for the verdict has another one.
const FROM: [[u8; 4]; 4] = [
    [127, 0, 0, 2],
    [127, 0, 0, 3],
    [127, 0, 0, 4],
    [127, 0, 0, 5],
];

async fn connect(from: usize, port: u16) -> Result<TcpStream> {
    let address = FROM
        .get(from % FROM.len())
        .copied()
        .unwrap_or([127, 0, 0, 2]);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((address, 0)))?;
    let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port)));
    Ok(tokio::time::timeout(Duration::from_secs(2), stream).await??)
}

/// How many connections an attack has made: one that is not made attacks nobody.
#[derive(Clone, Debug, Default)]
pub(super) struct Made(Arc<AtomicU32>);

impl Made {
    /// So far.
    pub(super) fn count(&self) -> f64 {
        f64::from(self.0.load(Ordering::Relaxed))
    }

    /// Since the last call.
    pub(super) fn take(&self) -> f64 {
        f64::from(self.0.swap(0, Ordering::Relaxed))
    }
}

/// So many connections that first send this; those that are refused do not count.
async fn connections(count: usize, port: u16, first: &[u8], made: &Made) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for number in 0..count {
        if let Ok(mut stream) = connect(number, port).await {
            made.0.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(first).await;
            open.push(stream);
        }
    }
    open
}

/// One more byte for each of them, again and again.
async fn drip(mut open: Vec<TcpStream>, byte: &[u8]) -> Result<()> {
    loop {
        for stream in &mut open {
            let _ = stream.write_all(byte).await;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Headers that come a byte at a time.
pub(super) async fn slow_headers(port: u16, made: Made) -> Result<()> {
    drip(
        connections(300, port, b"GET / HTTP/1.1\r\nHost: g\r\nX: ", &made).await,
        b"x",
    )
    .await
}

/// Bodies that come a byte at a time.
pub(super) async fn slow_bodies(port: u16, made: Made) -> Result<()> {
    let head =
        b"POST /api/v1/gates/default/check HTTP/1.1\r\nHost: g\r\nContent-Length: 9999\r\n\r\n";
    drip(connections(300, port, head, &made).await, b"x").await
}

/// Ten thousand connections that say nothing.
pub(super) async fn idle_connections(port: u16, made: Made) -> Result<()> {
    let _open = connections(10_000, port, b"", &made).await;
    std::future::pending().await
}

/// TLS handshakes that stop after their first bytes.
pub(super) async fn stalled_handshakes(port: u16, made: Made) -> Result<()> {
    let _open = connections(1000, port, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], &made).await;
    std::future::pending().await
}

/// Headers of a megabyte.
pub(super) async fn huge_headers(port: u16, made: Made) -> Result<()> {
    let huge = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(1 << 20));
    loop {
        drop(connections(10, port, huge.as_bytes(), &made).await);
    }
}

/// What is no HTTP.
pub(super) async fn malformed(port: u16, made: Made) -> Result<()> {
    let garbage: [&[u8]; 8] = [
        b"\0\0\0\0\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    ];
    loop {
        for bytes in garbage {
            drop(connections(4, port, bytes, &made).await);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// As many requests as one connection carries.
pub(super) async fn flood(port: u16, made: Made) -> Result<()> {
    let many = b"GET /api/v1/gates/default/plan HTTP/1.1\r\nHost: g\r\n\r\n".repeat(50);
    loop {
        let mut stream = connect(0, port).await?;
        made.0.fetch_add(1, Ordering::Relaxed);
        let (mut from, mut to) = stream.split();
        let mut sink = tokio::io::sink();
        let sends = async { while to.write_all(&many).await.is_ok() {} };
        tokio::select! {
            () = sends => {}
            _ = tokio::io::copy(&mut from, &mut sink) => {}
        }
        sleep(Duration::from_millis(10)).await;
    }
}
