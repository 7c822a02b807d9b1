//! TLS below the protocol.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::transport::{BoxFuture, BoxedStream, Dial};
use crate::evidence::report::{FailureClass, SourceFailure};
use crate::tls::{ClientTls, Names, explain, in_io};

/// What TLS to Kafka is configured by.
pub(super) const NAMES: Names = Names {
    ca: "kafka.ssl.ca.location",
    certificate: "kafka.ssl.certificate.location",
    name: "kafka.ssl.endpoint.identification.algorithm",
    protocol: "kafka.security.protocol",
};

/// TLS over the streams of another `Dial`. Certificates are looked at again for each connection.
pub struct TlsDial {
    below: Arc<dyn Dial>,
    tls: Arc<ClientTls>,
}

impl fmt::Debug for TlsDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsDial").field(&self.below).finish()
    }
}

impl TlsDial {
    /// TLS over what `below` connects.
    pub const fn new(below: Arc<dyn Dial>, tls: Arc<ClientTls>) -> Self {
        Self { below, tls }
    }

    async fn shake_hands(
        &self,
        address: &Address,
        stream: BoxedStream,
        until: Instant,
    ) -> Result<BoxedStream, SourceFailure> {
        let fail = |why: String| {
            SourceFailure::new(FailureClass::Tls, format!("TLS with {address}: {why}"))
        };
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| fail(String::from("no certificate can bear that host name")))?;
        // Half of what is left: what was read before is as good as new for most handshakes.
        let patience = until.saturating_duration_since(Instant::now()) / 2;
        let config = self.tls.current(patience).await;
        let shaking = TlsConnector::from(config).connect(name, stream);
        match timeout_at(until, shaking).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(fail(self.why(&error))),
            Err(_) => Err(SourceFailure::new(
                FailureClass::Timeout,
                format!("TLS with {address}: no answer in time"),
            )),
        }
    }

    fn why(&self, error: &io::Error) -> String {
        match in_io(error) {
            Some(error) => explain(error, NAMES, self.tls.shows_identity()),
            None => format!(
                "the connection was closed in the handshake; a plaintext listener does that (see \
                 {}), and a node that is going down: {error}",
                NAMES.protocol
            ),
        }
    }
}

impl Dial for TlsDial {
    fn dial<'a>(
        &'a self,
        address: &'a Address,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<BoxedStream, SourceFailure>> {
        Box::pin(async move {
            let until = Instant::now() + deadline;
            let stream = self.below.dial(address, deadline).await?;
            self.shake_hands(address, stream, until).await
        })
    }

    fn is_secure(&self) -> bool {
        true
    }

    fn shows_identity(&self) -> bool {
        self.tls.shows_identity()
    }
}
