//! A JMX exporter that says what it is told to, in front of a real one or instead of it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Page {
    /// What the real exporter on this port says now.
    Real(u16),
    /// This, whole, with this content type.
    Whole(&'static str, Bytes),
    /// The length of this is announced, and half of it sent.
    Cut(Bytes),
    /// Half of this up to the end of a line, without any length: to HTTP it looks whole.
    CutUnseen(Bytes),
    /// This again and again, without end.
    Endless(Bytes),
    /// This again and again, a byte at a time.
    Dripping(Bytes),
    /// This, which is said to be compressed.
    Gzip(Bytes),
    /// Somewhere else.
    Redirect(String),
}

/// The type that exporters give their pages.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A fake exporter; nobody listens on its port any more once it is dropped.
#[derive(Debug)]
pub struct Exporter {
    port: u16,
    page: Arc<Mutex<Page>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(page: Page) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let page = Arc::new(Mutex::new(page));
        let told = Arc::clone(&page);
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let page = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Who asked may go away at any time.
                tokio::spawn(serve(stream, page));
            }
        });
        Ok(Self {
            port,
            page,
            asked,
            task,
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.port)
    }

    /// How often it was connected to.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Says this from now on.
    pub fn say(&self, page: Page) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, page: Page) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    match page {
        Page::Real(port) => {
            // An exporter that does not answer: the connection just ends.
            let real = http::metrics(port, Duration::from_secs(10)).await;
            let page = real.map_err(io::Error::other)?;
            send(&mut stream, TEXT, Some(page.len()), &page).await
        }
        Page::Whole(kind, page) => send(&mut stream, kind, Some(page.len()), &page).await,
        Page::Cut(page) => send(&mut stream, TEXT, Some(page.len()), half(&page)).await,
        Page::CutUnseen(page) => send(&mut stream, TEXT, None, half(&page)).await,
        Page::Endless(page) => {
            send(&mut stream, TEXT, None, &page).await?;
            loop {
                stream.write_all(&page).await?;
            }
        }
        Page::Dripping(page) => {
            send(&mut stream, TEXT, None, &[]).await?;
            for byte in page.iter().cycle() {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        }
        Page::Gzip(page) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {TEXT}\r\ncontent-encoding: gzip\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n",
                page.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&page).await
        }
        Page::Redirect(to) => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\
                 connection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await
        }
    }
}

async fn send(
    stream: &mut TcpStream,
    kind: &str,
    length: Option<usize>,
    body: &[u8],
) -> io::Result<()> {
    let length = length.map_or_else(String::new, |length| {
        format!("content-length: {length}\r\n")
    });
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{length}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

/// The first half, up to the end of a line.
fn half(page: &[u8]) -> &[u8] {
    let first = page.get(..page.len() / 2).unwrap_or_default();
    let end = first.iter().rposition(|byte| *byte == b'\n');
    first
        .get(..end.map_or(0, |end| end + 1))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetch(page: Page) -> Result<Bytes, http::HttpError> {
        let exporter = Exporter::start(page).await.unwrap();
        http::metrics(exporter.port, Duration::from_millis(500)).await
    }

    #[tokio::test]
    async fn every_page_is_what_it_says() {
        let page = Bytes::from_static(b"a 1\nb 2\nc 3\n");
        assert_eq!(fetch(Page::Whole(TEXT, page.clone())).await.unwrap(), page);
        assert_eq!(fetch(Page::CutUnseen(page.clone())).await.unwrap(), "a 1\n");
        assert!(matches!(
            fetch(Page::Cut(page.clone())).await,
            Err(http::HttpError::Read { .. })
        ));
        assert!(matches!(
            fetch(Page::Endless(page)).await,
            Err(http::HttpError::Timeout { .. })
        ));
    }
}
