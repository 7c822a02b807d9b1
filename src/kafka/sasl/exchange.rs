//! SaslHandshake and SaslAuthenticate over a bare stream (KIP-43, KIP-152, KIP-255, KIP-368).

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::scram::{self, First};
use super::{Credentials, Mechanism, Ready, failure};
use crate::evidence::report::{Cap, FailureClass, SourceFailure};
use crate::files::Secret;
use crate::kafka::address::Address;
use crate::kafka::decode::sasl::{self, Authenticated};
use crate::kafka::reader::{DecodeError, Reader};
use crate::kafka::secure::NAMES;
use crate::kafka::transport::BoxedStream;
use crate::kafka::{encode, errors};
use crate::tls::{explain, in_io, is_tls};

/// SaslHandshake v1 makes what follows SaslAuthenticate frames. Every release that is judged has it.
const HANDSHAKE: i16 = 1;
/// SaslAuthenticate v2 tells how long the session lasts (v1 does, too).
const AUTHENTICATE: i16 = 2;
/// The largest answer that is read, bytes.
const LARGEST: usize = 64 * 1024;
/// Kafka's error 33: the listener has other mechanisms.
const UNSUPPORTED_MECHANISM: i16 = 33;
/// Kafka's error 34: the listener has no SASL, or wants something else first.
const ILLEGAL_STATE: i16 = 34;

/// A login that has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// When it began; before the node counts it from.
    pub began: Instant,
    /// How long it lasts (`connections.max.reauth.ms`, a token's end); `None`: as long as the
    /// connection.
    pub lasts: Option<Duration>,
}

/// The bare stream, and whom it leads to.
pub(in crate::kafka) struct Bare<'a> {
    pub(in crate::kafka) stream: &'a mut BoxedStream,
    pub(in crate::kafka) address: &'a Address,
    pub(in crate::kafka) client_id: &'a str,
    /// Whether TLS is below, with a certificate of ours or without.
    pub(in crate::kafka) secure: bool,
    pub(in crate::kafka) shows_identity: bool,
    /// For each question.
    pub(in crate::kafka) deadline: Duration,
}

/// Logs in.
pub(in crate::kafka) async fn authenticate(
    bare: Bare<'_>,
    ready: Ready<'_>,
) -> Result<Session, SourceFailure> {
    let mut exchange = Exchange {
        bare,
        mechanism: ready.login.credentials.mechanism(),
        secret: &ready.secret,
        correlation: 0,
    };
    let began = Instant::now();
    exchange.handshake().await?;
    let done = exchange.prove(&ready).await;
    let done = done.inspect_err(|refusal| {
        if refusal.class == FailureClass::Authentication {
            ready.login.refused();
        }
    })?;
    let lasts = u64::try_from(done.session_ms).ok().filter(|ms| *ms > 0);
    Ok(Session {
        began,
        lasts: lasts.map(Duration::from_millis),
    })
}

struct Exchange<'a> {
    bare: Bare<'a>,
    mechanism: Mechanism,
    secret: &'a Secret,
    correlation: i32,
}

impl Exchange<'_> {
    /// What the other side says never shows what we said to it.
    fn words(&self, what: &str) -> String {
        let what = what.replace(self.secret.reveal(), "***");
        format!("SASL {} at {}: {what}", self.mechanism, self.bare.address)
    }

    fn fail(&self, class: FailureClass, what: &str) -> SourceFailure {
        SourceFailure::new(class, self.words(what))
    }

    fn refused(&self, what: &str) -> SourceFailure {
        failure(self.words(what))
    }

    /// Names the mechanism.
    async fn handshake(&mut self) -> Result<(), SourceFailure> {
        let name = StrBytes::from_static_str(self.mechanism.name());
        let request = SaslHandshakeRequest::default().with_mechanism(name);
        let answer = self
            .ask(&request, HANDSHAKE, sasl::decode_handshake)
            .await?;
        match answer.error {
            0 => Ok(()),
            UNSUPPORTED_MECHANISM => Err(self.refused(&format!(
                "this listener has only {}: set kafka.sasl.mechanism to one of them",
                answer.mechanisms.join(", ")
            ))),
            ILLEGAL_STATE => Err(self.refused(
                "this listener has no SASL: set kafka.security.protocol to PLAINTEXT or SSL, or \
                 name another listener's port",
            )),
            code => Err(self.refused(&errors::name(code))),
        }
    }

    async fn prove(&mut self, ready: &Ready<'_>) -> Result<Authenticated, SourceFailure> {
        let secret = &ready.secret;
        let settings = ready.login.settings();
        match &ready.login.credentials {
            Credentials::Plain { username, .. } => {
                let message = format!("\0{username}\0{}", secret.reveal());
                self.authenticate(message.into(), &settings).await
            }
            Credentials::Scram { hash, username, .. } => {
                self.scram(*hash, username, secret, &settings).await
            }
            Credentials::Token { extensions, .. } => {
                let message = extensions.message(secret.reveal());
                self.bearer(message, &settings).await
            }
        }
    }

    async fn scram(
        &mut self,
        hash: scram::Hash,
        username: &str,
        password: &Secret,
        settings: &str,
    ) -> Result<Authenticated, SourceFailure> {
        let broken = |exchange: &Self, why: scram::Broken| {
            let words = why.to_string();
            if why.is_too_much() {
                return exchange.fail(FailureClass::TooLarge(Cap::LoginIterations), &words);
            }
            exchange.refused(&words)
        };
        let first = First::new(hash, username).map_err(|why| broken(self, why))?;
        let challenge = self.authenticate(first.message().into(), settings).await?;
        let password = password.clone();
        // The iterations are for the CPU to be busy: not where deadlines are kept.
        let answer = tokio::task::spawn_blocking(move || first.answer(&challenge.bytes, &password));
        let last = match answer.await {
            Ok(last) => last.map_err(|why| broken(self, why))?,
            Err(error) => return Err(self.refused(&error.to_string())),
        };
        let done = self
            .authenticate(last.message.clone().into(), settings)
            .await?;
        last.check(&done.bytes).map_err(|why| broken(self, why))?;
        Ok(done)
    }

    /// A refusal comes as an answer with code 0 and a text; only after one more byte from us does
    /// Kafka say it with its error code (KIP-255).
    async fn bearer(
        &mut self,
        message: String,
        settings: &str,
    ) -> Result<Authenticated, SourceFailure> {
        let done = self.authenticate(message.into(), settings).await?;
        if done.bytes.is_empty() {
            return Ok(done);
        }
        let said = String::from_utf8_lossy(&done.bytes).into_owned();
        let refusal = self
            .authenticate(Bytes::from_static(b"\x01"), settings)
            .await;
        Err(match refusal {
            Err(refusal) if refusal.class == FailureClass::Authentication => {
                self.refused(&format!("refused {settings}: {said}; {}", refusal.detail))
            }
            Ok(_) | Err(_) => self.refused(&format!("refused {settings}: {said}")),
        })
    }

    async fn authenticate(
        &mut self,
        message: Bytes,
        settings: &str,
    ) -> Result<Authenticated, SourceFailure> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message);
        let answer = self
            .ask(&request, AUTHENTICATE, sasl::decode_authenticate)
            .await?;
        if answer.error == 0 {
            return Ok(answer);
        }
        let name = errors::name(answer.error);
        let said = answer.message.unwrap_or_default();
        Err(self.refused(&format!("refused {settings}: {name} ({said})")))
    }

    async fn ask<R: Request, T>(
        &mut self,
        request: &R,
        version: i16,
        decode: fn(&[u8], i16) -> Result<T, DecodeError>,
    ) -> Result<T, SourceFailure> {
        self.correlation = self.correlation.wrapping_add(1);
        let frame = encode::frame(request, version, self.correlation, self.bare.client_id)?;
        let until = Instant::now() + self.bare.deadline;
        let body = match timeout_at(until, self.round_trip(&frame)).await {
            Ok(body) => body?,
            Err(_) => return Err(self.fail(FailureClass::Timeout, "no answer in time")),
        };
        let flexible =
            <R::Response as kafka_protocol::protocol::HeaderVersion>::header_version(version) >= 1;
        let mut reader = Reader::new(&body, flexible);
        let read = reader.int32().and_then(|id| {
            reader.tags()?;
            Ok((id, decode(reader.rest(), version)?))
        });
        match read {
            Ok((id, answer)) if id == self.correlation => Ok(answer),
            Ok(_) => Err(self.fail(FailureClass::Malformed, "an answer to another question")),
            Err(error) => Err(self.fail(FailureClass::Malformed, &error.to_string())),
        }
    }

    async fn round_trip(&mut self, frame: &Bytes) -> Result<Vec<u8>, SourceFailure> {
        let moved = async {
            let stream = &mut *self.bare.stream;
            stream.write_all(frame).await?;
            stream.flush().await?;
            let mut start = [0; 4];
            stream.read_exact(&mut start).await?;
            let length = usize::try_from(i32::from_be_bytes(start)).ok();
            let Some(length) = length.filter(|length| *length <= LARGEST) else {
                return Ok(Err(start));
            };
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            Ok(Ok(body))
        };
        match moved.await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(start)) if is_tls(start) => Err(self.fail(
                FailureClass::Tls,
                "it answers with TLS: set kafka.security.protocol to SASL_SSL",
            )),
            Ok(Err(start)) => Err(self.no_frame(i32::from_be_bytes(start))),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// A length that no answer of a login has.
    fn no_frame(&self, length: i32) -> SourceFailure {
        let class = if length < 0 {
            FailureClass::Malformed
        } else {
            FailureClass::TooLarge(Cap::LoginBytes)
        };
        let what = format!(
            "a frame of {length} bytes, where {LARGEST} are read at most: this is no Kafka listener"
        );
        self.fail(class, &what)
    }

    fn lost(&self, error: &std::io::Error) -> SourceFailure {
        if let Some(error) = in_io(error) {
            let why = explain(error, NAMES, self.bare.shows_identity);
            return SourceFailure::new(
                FailureClass::Tls,
                format!("TLS with {}: {why}", self.bare.address),
            );
        }
        let hint = if self.bare.secure || self.correlation > 1 {
            ""
        } else {
            "; a listener that wants TLS does that (see kafka.security.protocol)"
        };
        let what = format!("the connection was closed instead of an answer{hint}");
        self.fail(FailureClass::Closed, &what)
    }
}
