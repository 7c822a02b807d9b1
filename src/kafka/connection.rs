//! One connection to one node: typed questions, each with a deadline.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::protocol::{HeaderVersion, Request};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::address::Address;
use super::decode::api_versions::{self, ApiVersions};
use super::facts::About;
use super::reader::{DecodeError, Reader};
use super::sasl::{Bare, authenticate};
use super::settings::{ConnectionSettings, Lifetime};
use super::transport::Dial;
use super::versions::{API_VERSIONS, Api};
use super::wire::{End, Outgoing, Side, Wire, end};
use super::{encode, facts, release};
use crate::evidence::facts::{Identity, LinkFacts, ListenerKind};
use crate::evidence::ids::Release;
use crate::evidence::report::{FailureClass, SourceFailure};

/// An answer, and how it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// What was answered.
    pub facts: T,
    /// How long the node throttles this connection from now on; zero nearly always. Kafka sends
    /// the answer first and is silent afterwards (KIP-219).
    pub throttle: Duration,
    /// From sending the question to having the answer.
    pub took: Duration,
}

impl<T> Answer<T> {
    /// The same answer with other facts.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            facts: change(self.facts),
            throttle: self.throttle,
            took: self.took,
        }
    }

    /// The same answer with other facts, or why they are none.
    pub fn try_map<U, E>(self, change: impl FnOnce(T) -> Result<U, E>) -> Result<Answer<U>, E> {
        Ok(Answer {
            facts: change(self.facts)?,
            throttle: self.throttle,
            took: self.took,
        })
    }
}

/// The most requests that wait to be written.
const QUEUE: usize = 16;

/// The longest silence of a throttled connection that is waited out (KIP-219). Several questions take
/// turns on it: after a longer one each answer would be of two seconds ago, and a gate that is told so
/// late has to say so (found by the simulation: 700 ms hid a failed log dir for 3.3 s).
pub const LONGEST_THROTTLE: Duration = Duration::from_millis(500);

/// An open, negotiated connection. Share it in an `Arc`: questions take `&self` and are answered
/// in the order asked. Dropping it closes it; a question whose future is dropped is answered
/// into the void and harms nothing.
pub struct Connection {
    address: Address,
    settings: ConnectionSettings,
    versions: ApiVersions,
    requests: mpsc::Sender<Outgoing>,
    state: watch::Sender<End>,
    correlation: AtomicI32,
    throttled_until: Mutex<Option<Instant>>,
    pub(super) lifetime: Option<Lifetime>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("end", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, logs in and negotiates versions. Negotiate anew with every connection: a rolling upgrade
    /// changes the answer, and a version that the node does not know makes it hang up.
    pub async fn open(
        dial: &dyn Dial,
        address: &Address,
        settings: &ConnectionSettings,
    ) -> Result<Self, SourceFailure> {
        let ready = match &settings.login {
            Some(login) => Some(login.ready(settings.connect_deadline).await?),
            None => None,
        };
        let mut stream = dial.dial(address, settings.connect_deadline).await?;
        let mut session = None;
        if let Some(ready) = ready {
            let bare = Bare {
                stream: &mut stream,
                address,
                client_id: &settings.client_id,
                secure: dial.is_secure(),
                shows_identity: dial.shows_identity(),
                deadline: settings.negotiate_deadline,
            };
            session = Some(authenticate(bare, ready).await?);
        }
        let (requests, queue) = mpsc::channel(QUEUE);
        let (state, _) = watch::channel(None);
        let side = Side {
            name: address.to_string(),
            secure: dial.is_secure(),
            shows_identity: dial.shows_identity(),
            logged_in: session.is_some(),
        };
        let wire = Wire::new(stream, side, settings.largest_frame);
        tokio::spawn(wire.run(queue, state.clone()));
        let mut connection = Self {
            address: address.clone(),
            settings: settings.clone(),
            versions: ApiVersions::default(),
            requests,
            state,
            correlation: AtomicI32::new(0),
            throttled_until: Mutex::new(None),
            lifetime: session.and_then(Lifetime::of),
        };
        connection.versions = connection.negotiate().await?;
        Ok(connection)
    }

    /// Asks for the best version we have; a node that does not know it says which it knows, in
    /// the format of version 0.
    async fn negotiate(&self) -> Result<ApiVersions, SourceFailure> {
        let deadline = self.settings.negotiate_deadline;
        let first = self.ask_versions(API_VERSIONS.best, deadline).await?.facts;
        let answer = match facts::version_to_ask_again(&first) {
            Some(version) => self.ask_versions(version, deadline).await?.facts,
            None => first,
        };
        facts::versions(answer, self.about(API_VERSIONS))
    }

    async fn ask_versions(
        &self,
        version: i16,
        deadline: Duration,
    ) -> Result<Answer<ApiVersions>, SourceFailure> {
        self.ask_at(
            API_VERSIONS,
            version,
            &encode::api_versions(version),
            api_versions::decode,
            deadline,
        )
        .await
    }

    /// Asks ApiVersions again, as the liveness connection does twice a second.
    pub async fn api_versions(
        &self,
        deadline: Duration,
    ) -> Result<Answer<ApiVersions>, SourceFailure> {
        let version = self.version_of(API_VERSIONS)?;
        self.ask_versions(version, deadline)
            .await?
            .try_map(|answer| facts::versions(answer, self.about(API_VERSIONS)))
    }

    /// Asks ApiVersions again and says what it shows, with the identity found out before.
    pub async fn link(
        &self,
        identity: Identity,
        deadline: Duration,
    ) -> Result<Answer<LinkFacts>, SourceFailure> {
        let answer = self.api_versions(deadline).await?;
        let round_trip = answer.took;
        let address = self.address.to_string();
        Ok(answer.map(|versions| facts::link(versions, address, identity, round_trip)))
    }

    /// Where it leads, as dialled.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What was negotiated when it was opened.
    pub const fn versions(&self) -> &ApiVersions {
        &self.versions
    }

    /// A broker's listener or a controller's.
    pub fn listener(&self) -> ListenerKind {
        facts::listener(&self.versions)
    }

    /// The release that was negotiated with when it was opened.
    pub fn release(&self) -> Release {
        release::release(&self.versions)
    }

    /// Resolves as soon as the connection has ended, with the reason: the other side closed it
    /// (noticed at once, asked or not), an answer was late or wrong, or it was dropped.
    pub fn closed(&self) -> impl Future<Output = SourceFailure> + Send + use<> {
        let mut state = self.state.subscribe();
        async move {
            // The sender outlives this only in the task and in us; either way there is an end.
            match state.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(failure)) => failure.clone(),
                Ok(None) | Err(_) => SourceFailure::new(FailureClass::Closed, "closed by us"),
            }
        }
    }

    /// Why it has ended; `None` while it lives.
    pub fn failure(&self) -> Option<SourceFailure> {
        self.state.borrow().clone()
    }

    /// How long the node will go on saying nothing because it throttles us; `None` when it does
    /// not. Deadlines are suspended meanwhile.
    pub fn throttled(&self) -> Option<Duration> {
        let until = *self.lock_throttle();
        until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
    }

    fn lock_throttle(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.throttled_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// For details of failures.
    pub(super) fn about(&self, api: Api) -> About<'_> {
        About {
            api,
            at: &self.address,
        }
    }

    /// The version in which this request is put to this node.
    pub(super) fn version_of(&self, api: Api) -> Result<i16, SourceFailure> {
        api.choose(&self.versions).map_err(|failure| {
            SourceFailure::new(failure.class, format!("{}: {failure}", self.address))
        })
    }

    /// Chooses the version, asks and decodes.
    pub(super) async fn ask<R: Request, T: Throttled>(
        &self,
        api: Api,
        build: impl FnOnce(i16) -> R,
        decode: fn(&[u8], i16) -> Result<T, DecodeError>,
        deadline: Duration,
    ) -> Result<Answer<T>, SourceFailure> {
        let version = self.version_of(api)?;
        self.ask_at(api, version, &build(version), decode, deadline)
            .await
    }

    async fn ask_at<R: Request, T: Throttled>(
        &self,
        api: Api,
        version: i16,
        request: &R,
        decode: fn(&[u8], i16) -> Result<T, DecodeError>,
        deadline: Duration,
    ) -> Result<Answer<T>, SourceFailure> {
        self.wait_out_throttle(api, deadline).await?;
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed);
        let frame = encode::frame(request, version, correlation, &self.settings.client_id)?;
        let asked = Instant::now();
        let frame = self
            .exchange(api, frame, correlation, asked, deadline)
            .await?;
        let took = asked.elapsed();
        let facts = strip_header::<R>(&frame, version)
            .and_then(|body| decode(body, version))
            .map_err(|error| {
                // What follows on a connection whose answers we misread may be misread, too.
                let about = self.about(api);
                let failure = about.malformed(format_args!("v{version} answer: {error}"));
                end(&self.state, failure.clone());
                failure
            })?;
        let throttle = u64::try_from(facts.throttle_ms()).unwrap_or(0);
        let throttle = Duration::from_millis(throttle);
        if !throttle.is_zero() {
            *self.lock_throttle() = Some(Instant::now() + throttle);
        }
        Ok(Answer {
            facts,
            throttle,
            took,
        })
    }

    /// A throttled connection is silent until the time is over: a short silence is waited out, a
    /// long one is said to be one.
    async fn wait_out_throttle(&self, api: Api, deadline: Duration) -> Result<(), SourceFailure> {
        match self.throttled() {
            None => Ok(()),
            Some(left) if left <= LONGEST_THROTTLE && left < deadline => {
                tokio::time::sleep(left).await;
                Ok(())
            }
            Some(left) => Err(self.too_throttled(api, left)),
        }
    }

    fn too_throttled(&self, api: Api, left: Duration) -> SourceFailure {
        SourceFailure::new(
            FailureClass::Throttled,
            format!(
                "{}: the node throttles client id '{}' for another {} ms (raise its quota)",
                self.about(api),
                self.settings.client_id,
                left.as_millis()
            ),
        )
    }

    /// Sends a frame and waits for its answer; a late one ends the connection, since whatever
    /// comes after it would be late, too.
    async fn exchange(
        &self,
        api: Api,
        frame: Bytes,
        correlation: i32,
        asked: Instant,
        deadline: Duration,
    ) -> Result<Bytes, SourceFailure> {
        let (reply, answer) = oneshot::channel();
        let outgoing = Outgoing {
            frame,
            correlation,
            reply,
        };
        let exchange = async {
            self.requests
                .send(outgoing)
                .await
                .map_err(|_| self.ended())?;
            answer.await.unwrap_or_else(|_| Err(self.ended()))
        };
        let late = || {
            if let Some(left) = self.throttled() {
                return self.too_throttled(api, left);
            }
            let what = format!(
                "{}: no answer in {} ms",
                self.about(api),
                deadline.as_millis()
            );
            let failure = SourceFailure::new(FailureClass::Timeout, what);
            end(&self.state, failure.clone());
            failure
        };
        timeout_at(asked + deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    fn ended(&self) -> SourceFailure {
        self.failure().unwrap_or_else(|| {
            let what = format!("connection to {}: closed", self.address);
            SourceFailure::new(FailureClass::Closed, what)
        })
    }
}

/// An answer that may say how long the node throttles us.
pub(super) trait Throttled {
    /// In milliseconds; 0 where the message has no such field.
    fn throttle_ms(&self) -> i32;
}

impl Throttled for ApiVersions {
    fn throttle_ms(&self) -> i32 {
        self.throttle_ms
    }
}

/// The body behind a response header (correlation id, checked before, and tagged fields).
fn strip_header<R: Request>(frame: &[u8], version: i16) -> Result<&[u8], DecodeError> {
    let flexible = R::Response::header_version(version) >= 1;
    let mut reader = Reader::new(frame, flexible);
    reader.int32()?;
    reader.tags()?;
    Ok(reader.rest())
}
