//! The seam between the protocol and the bytes below it.
//!
//! A [`Dial`] makes a stream of bytes to an address. [`TcpDial`] is plain TCP; [`super::TlsDial`] wraps
//! another `Dial` in TLS, and the simulation brings one over in-memory streams.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::address::Address;
use crate::evidence::report::{FailureClass, SourceFailure};

/// A future on the heap, so that traits with async methods stay object safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Any stream.
pub type BoxedStream = Box<dyn Stream>;

/// Makes streams.
pub trait Dial: Send + Sync + fmt::Debug {
    /// Connects within `deadline`. Failures are classed as resolve, refused, connect timeout or
    /// TLS, with the address in their detail.
    fn dial<'a>(
        &'a self,
        address: &'a Address,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<BoxedStream, SourceFailure>>;

    /// Whether its streams are TLS.
    fn is_secure(&self) -> bool {
        false
    }

    /// Whether a certificate of ours is shown to who asks for one.
    fn shows_identity(&self) -> bool {
        false
    }
}

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(
        &'a self,
        address: &'a Address,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<BoxedStream, SourceFailure>> {
        Box::pin(async move {
            let stream = connect(address, Instant::now() + deadline).await?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}

async fn connect(address: &Address, until: Instant) -> Result<TcpStream, SourceFailure> {
    let mut failure = None;
    let mut targets = resolve(address, until).await?;
    while let Some(target) = targets.pop() {
        // A silent first address must not use up the time of those behind it.
        let left = until.saturating_duration_since(Instant::now());
        let share = u32::try_from(targets.len()).map_or(left, |more| left / (more + 1));
        let result = timeout_at(Instant::now() + share, TcpStream::connect(target)).await;
        let error = match result {
            Ok(Ok(stream)) => {
                // Small questions must not wait for each other's acknowledgements.
                return match stream.set_nodelay(true) {
                    Ok(()) => Ok(stream),
                    Err(error) => Err(refused(&error, address, target)),
                };
            }
            Ok(Err(error)) => refused(&error, address, target),
            Err(_) => SourceFailure::new(
                FailureClass::ConnectTimeout,
                format!("no connection to {} in time", at(address, target)),
            ),
        };
        // One address that refuses beside one that is silent does not prove that nobody listens.
        match &failure {
            Some(SourceFailure { class, .. }) if *class == FailureClass::ConnectTimeout => {}
            Some(_) | None => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| nameless(address, "the name has no address")))
}

/// The addresses behind a name, the one to try first last.
async fn resolve(address: &Address, until: Instant) -> Result<Vec<SocketAddr>, SourceFailure> {
    let found = timeout_at(until, lookup_host((address.host.as_str(), address.port))).await;
    let mut targets: Vec<SocketAddr> = match found {
        Ok(Ok(targets)) => targets.collect(),
        Ok(Err(error)) => return Err(nameless(address, &error.to_string())),
        Err(_) => return Err(nameless(address, "no answer from name resolution in time")),
    };
    targets.reverse();
    Ok(targets)
}

fn nameless(address: &Address, why: &str) -> SourceFailure {
    SourceFailure::new(
        FailureClass::Resolve,
        format!("{} does not resolve: {why}", address.host),
    )
}

fn refused(error: &io::Error, address: &Address, target: SocketAddr) -> SourceFailure {
    let at = at(address, target);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            SourceFailure::new(FailureClass::Refused, format!("connection refused by {at}"))
        }
        // A router's or a firewall's word says nothing of the process.
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => SourceFailure::new(
            FailureClass::ConnectTimeout,
            format!("no route to {at}: {error}"),
        ),
        // Anything else (no free port, too many open files) is no word from the other side.
        _ => SourceFailure::new(
            FailureClass::ConnectTimeout,
            format!("no connection to {at}: {error}"),
        ),
    }
}

/// `host:port`, with the IP address where the host is a name.
fn at(address: &Address, target: SocketAddr) -> String {
    if target.ip().to_string() == address.host {
        address.to_string()
    } else {
        format!("{address} ({})", target.ip())
    }
}
