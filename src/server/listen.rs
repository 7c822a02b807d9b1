//! The accept loop: caps, timeouts, and an end that comes.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Limits;
use super::access::principal::Principal;
use super::access::tls::{self, Tls};
use super::access_log::Refusals;
use super::admit::Caller;
use super::app::{App, AppState};
use super::check::Rendered;
use super::peers::{Peers, Place};
use super::spare::Spare;
use super::stall::{Stall, is_unread};
use super::turns::Turns;
use crate::files::Aside;
use crate::metrics::counters::{Held, Refused};

/// What a connection over the cap is told. Written without reading the request: whoever has no
/// place costs nothing.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nUpgrade-Gate-State: unknown\r\n\
    Retry-After: 5\r\nCache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Between two looks at certificates, users and tokens; and how long one may take.
const LOOK: Duration = Duration::from_secs(5);

/// The HTTP server of one process.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    state: AppState,
    limits: Limits,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}: {why}; choose another address, or stop what listens there")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub why: io::Error,
}

impl Server {
    /// Takes the addresses; port 0 takes a free port.
    ///
    /// # Errors
    /// The first address that cannot be had.
    pub async fn bind(
        listen: &[SocketAddr],
        state: AppState,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let mut listeners = Vec::with_capacity(listen.len());
        for address in listen {
            let failed = |why| ListenError {
                address: *address,
                why,
            };
            listeners.push(TcpListener::bind(address).await.map_err(failed)?);
        }
        Ok(Self {
            listeners,
            state,
            limits,
        })
    }

    /// The addresses it really has.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let listeners = self.listeners.iter();
        listeners.filter_map(|l| l.local_addr().ok()).collect()
    }

    /// Answers until `shutdown`, then ends: not ready any more, no new connections, waiters
    /// answered, requests under way finished, and after [`Limits::drain`] the rest cut off.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self {
            listeners,
            state,
            limits,
        } = self;
        let running = Running::new(state, limits, shutdown);
        let loops = TaskTracker::new();
        for listener in listeners {
            loops.spawn(running.clone().accept(listener));
        }
        loops.spawn(running.clone().look_at_files());
        loops.close();
        running.shutdown.cancelled().await;
        running.app.state.readiness.drain();
        loops.wait().await;
        running.connections.close();
        // Each of them ends by itself within `Limits::drain`.
        running.connections.wait().await;
    }
}

/// Answers on one stream that somebody else accepted, until its caller is done or `shutdown`: the
/// same rules as on a [`Server`]'s own connections, without its listeners.
pub async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    peer: IpAddr,
    state: AppState,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let running = Running::new(state, limits, shutdown);
    running.converse(stream, &Caller::at(peer)).await;
}

/// What the accept loops and connections of one server share.
#[derive(Clone)]
struct Running {
    app: Arc<App>,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
    connections: TaskTracker,
}

impl Running {
    fn new(state: AppState, limits: Limits, shutdown: CancellationToken) -> Self {
        let http = &state.metrics.counters().http;
        let whole = |number| u64::try_from(number).unwrap_or(u64::MAX);
        http.connections_limit
            .store(whole(limits.connections), Ordering::Relaxed);
        http.waiters_limit
            .store(whole(limits.waiters), Ordering::Relaxed);
        Self {
            places: Arc::new(Semaphore::new(limits.connections)),
            app: Arc::new(App {
                waiters: Semaphore::new(limits.waiters),
                stopping: shutdown.clone(),
                rendered: Rendered::default(),
                turns: Turns::default(),
                peers: Arc::new(Peers::new(
                    limits.connections_per_peer,
                    limits.waiters_per_peer,
                    limits.requests_per_second,
                )),
                access: Arc::clone(&state.access),
                refusals: Refusals::default(),
                state,
                limits,
            }),
            shutdown,
            connections: TaskTracker::new(),
        }
    }

    async fn accept(self, listener: TcpListener) {
        let mut spare = Spare::beside(&listener);
        let mut pause = Duration::ZERO;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = Duration::ZERO;
                    spare.keep(&listener);
                    self.admit(stream, peer.ip());
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Most likely out of file descriptors.
                    if let Some(stream) = spare.accept(&listener, &error).await {
                        self.app.counters().http.refused(Refused::Accept);
                        self.turn_away(stream);
                        spare.keep(&listener);
                        continue;
                    }
                    // Trying again at once would only burn the CPU that the connections need to
                    // end.
                    pause = (pause * 2).clamp(ACCEPT_PAUSE.0, ACCEPT_PAUSE.1);
                    tracing::warn!(%error, ?pause, "failed to accept a connection; pausing");
                    tokio::select! {
                        () = self.shutdown.cancelled() => return,
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: IpAddr) {
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let tls = self.app.access.tls();
        let places = match self.places(peer) {
            Ok(places) => places,
            Err(refused) => {
                self.app.counters().http.refused(refused);
                self.turn_away(stream);
                return;
            }
        };
        let this = self.clone();
        self.connections.spawn(async move {
            let _places = places;
            let _counted = Held::new(&this.app.counters().http.connections);
            let mut caller = Caller::at(peer);
            match tls {
                None => this.converse(stream, &caller).await,
                Some(tls) => {
                    let Some((stream, certified)) = this.shake_hands(stream, &tls).await else {
                        return;
                    };
                    caller.certified = certified;
                    caller.replaced = tls.replaced.clone();
                    this.converse(stream, &caller).await;
                }
            }
        });
    }

    /// Says that there is no place, where that can be said without a handshake, and closes.
    fn turn_away(&self, stream: TcpStream) {
        if self.app.access.tls().is_none() {
            // A fresh socket's buffer holds this; if it does not, the caller sees a closed
            // connection, which is no "open" either.
            let _ = stream
                .into_std()
                .and_then(|mut stream| stream.write(NO_PLACE));
        }
    }

    /// The places that one more connection of this address takes.
    fn places(&self, peer: IpAddr) -> Result<(Place, OwnedSemaphorePermit), Refused> {
        if !self.app.peers.may_ask(peer) {
            return Err(Refused::Rate);
        }
        let place = self.app.peers.connect(peer);
        let place = place.ok_or(Refused::ConnectionsOfPeer)?;
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| Refused::Connections)?;
        Ok((place, permit))
    }

    /// TLS, within its time; and whom the caller's certificate names.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        tls: &Tls,
    ) -> Option<(TlsStream<TcpStream>, Option<Arc<Principal>>)> {
        let app = &self.app;
        let shaking = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
        let shaken = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return None,
            shaken = timeout(app.limits.handshake, shaking) => shaken,
        };
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                app.counters().http.refused(Refused::Handshake);
                return None;
            }
            Err(_) => {
                app.counters().http.refused(Refused::HandshakeTime);
                return None;
            }
        };
        let (_, session) = stream.get_ref();
        let certified = tls::client(session).and_then(|client| app.access.certified(&client));
        Some((stream, certified))
    }

    /// Looks again and again whether certificates, users and tokens have changed. A file that hangs
    /// holds up this look and nothing else: neither who asks, nor the end.
    async fn look_at_files(self) {
        let (aside, mut hangs) = (Aside::default(), false);
        loop {
            let access = Arc::clone(&self.app.access);
            let look = async {
                sleep(LOOK).await;
                aside.read(LOOK, move || access.refresh()).await
            };
            let Some(looked) = self.shutdown.run_until_cancelled(look).await else {
                return;
            };
            match &looked {
                Err(late) if !hangs => tracing::error!(
                    why = %late,
                    "NOTHING IS REVOKED: the files of certificates, users and tokens cannot be looked \
                     at; what they were before goes on until they can"
                ),
                Ok(()) if hangs => {
                    tracing::info!("certificates, users and tokens can be looked at again");
                }
                Ok(()) | Err(_) => {}
            }
            hangs = looked.is_err();
            let usable = !hangs && self.app.access.files_usable();
            self.app.counters().http.files_are_usable(usable);
        }
    }

    /// Serves one connection to its end, which comes early once this process ends or TLS is another.
    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send, caller: &Caller) {
        let limits = &self.app.limits;
        let app = &self.app;
        let service =
            service_fn(
                |request| async move { Ok::<_, Infallible>(app.answer(caller, request).await) },
            );
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_buf_size(limits.header_bytes)
            .serve_connection(
                TokioIo::new(Stall::new(stream, limits.write_stall)),
                service,
            );
        let mut connection = std::pin::pin!(connection);
        // An error here is the caller's: gone, too slow, or not speaking HTTP.
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = self.shutdown.cancelled() => None,
            () = caller.replaced.cancelled() => {
                // The request under way is answered in its own time; who waits is answered at once.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => Some(ended),
                    () = self.shutdown.cancelled() => None,
                    () = sleep(limits.request) => None,
                }
            }
        };
        let ended = if ended.is_some() {
            ended
        } else {
            connection.as_mut().graceful_shutdown();
            timeout(limits.drain, connection).await.ok()
        };
        if let Some(Err(error)) = ended {
            let http = &app.counters().http;
            if error.is_parse_too_large() {
                http.refused(Refused::HeaderSize);
            } else if error.is_timeout() {
                http.refused(Refused::HeaderTime);
            } else if is_unread(&error) {
                http.refused(Refused::WriteTime);
            }
        }
    }
}

/// The shortest and longest pause after a failed accept.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Whether a failed accept concerns only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
