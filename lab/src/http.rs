//! One request: pages of the JMX exporter, questions to the gate.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("connect to 127.0.0.1:{port}: {source}")]
    Connect { port: u16, source: io::Error },
    #[error("read from 127.0.0.1:{port}: {source}")]
    Read { port: u16, source: hyper::Error },
    #[error("ask 127.0.0.1:{port}: {source}")]
    Request {
        port: u16,
        source: hyper::http::Error,
    },
    #[error("read from 127.0.0.1:{port}: status {status}")]
    Status { port: u16, status: u16 },
    #[error("read from 127.0.0.1:{port}: not within {deadline:?}")]
    Timeout { port: u16, deadline: Duration },
}

/// Fetches `/metrics` in the text format 0.0.4.
///
/// # Errors
/// When there is no whole page with status 200 within the deadline.
pub async fn metrics(port: u16, deadline: Duration) -> Result<Bytes, HttpError> {
    get(port, "/metrics", "text/plain;version=0.0.4", deadline).await
}

/// Fetches any path, of this content type.
///
/// # Errors
/// When there is no whole answer with status 200 within the deadline.
pub async fn get(
    port: u16,
    path: &str,
    accept: &str,
    deadline: Duration,
) -> Result<Bytes, HttpError> {
    let page = tokio::time::timeout(deadline, fetch(port, path, accept)).await;
    page.map_err(|_| HttpError::Timeout { port, deadline })?
}

/// Posts to a path of the gate that changes something; only the status is of interest.
///
/// # Errors
/// When there is no whole answer within the deadline.
pub async fn post(port: u16, path: &str, deadline: Duration) -> Result<u16, HttpError> {
    let (status, _) = post_for(port, path, deadline).await?;
    Ok(status)
}

/// The same with the body of the answer.
///
/// # Errors
/// When nobody answers in time.
pub async fn post_for(
    port: u16,
    path: &str,
    deadline: Duration,
) -> Result<(u16, Bytes), HttpError> {
    let request = Request::post(path).header("x-upgrade-gate", "1");
    let answer = tokio::time::timeout(deadline, send(port, request)).await;
    answer.map_err(|_| HttpError::Timeout { port, deadline })?
}

/// The same with these headers and no others.
///
/// # Errors
/// When nobody answers in time.
pub async fn post_with(
    port: u16,
    path: &str,
    headers: &[(String, String)],
    deadline: Duration,
) -> Result<(u16, Bytes), HttpError> {
    let request = headers
        .iter()
        .fold(Request::post(path), |request, (name, value)| {
            request.header(name, value)
        });
    let answer = tokio::time::timeout(deadline, send(port, request)).await;
    answer.map_err(|_| HttpError::Timeout { port, deadline })?
}

async fn fetch(port: u16, path: &str, accept: &str) -> Result<Bytes, HttpError> {
    let request = Request::get(path).header("accept", accept);
    match send(port, request).await? {
        (200, page) => Ok(page),
        (status, _) => Err(HttpError::Status { port, status }),
    }
}

async fn send(port: u16, request: Builder) -> Result<(u16, Bytes), HttpError> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let stream = stream.map_err(|source| HttpError::Connect { port, source })?;
    let read = |source| HttpError::Read { port, source };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(read)?;
    // Ends by itself when the sender is dropped; its error also reaches the answer below.
    let driver = tokio::spawn(connection);
    let request = request
        .header("host", format!("127.0.0.1:{port}"))
        .body(Empty::<Bytes>::new())
        .map_err(|source| HttpError::Request { port, source })?;
    let answer = sender.send_request(request).await.map_err(read)?;
    let status = answer.status().as_u16();
    let page = answer.into_body().collect().await.map_err(read)?.to_bytes();
    driver.abort();
    Ok((status, page))
}
