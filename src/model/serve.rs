//! Puts a simulated cluster behind real TCP and HTTP on 127.0.0.1: the only part of the model
//! with I/O. Every listener and every exporter has its own port (chosen by the kernel and kept
//! for as long as it is served); ports refuse, stay silent, or close their connections the moment
//! the model says so.
//!
//! [`kafka`] and [`http()`] take any stream, so that tests can use in-memory ones.
//!
//! What connections meet was seen on the lab (kafka-lab.md, sections 4 and 5: refused, reset,
//! silent); order and muting are `Processor`'s (SocketServer.scala). Assumed: the exporter serves
//! one page for any HTTP method, and 404 where it has none.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Answer, Cluster, FRAME_LIMIT, Link, Listener, NodeId, Page};

/// How often time passes in a served cluster.
const TICK: Duration = Duration::from_millis(10);
/// How many connections a listener keeps for `accept`.
const BACKLOG: u32 = 128;

/// Why a cluster could not be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// No port on loopback.
    #[error("listen on 127.0.0.1 for node {node}: free some ports or file descriptors")]
    Bind {
        /// Whose port.
        node: NodeId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A cluster whose time passes by itself, shared by its connections.
#[derive(Clone)]
pub struct Live {
    cluster: Arc<Mutex<Cluster>>,
    began: Instant,
    ticks: watch::Sender<u64>,
    ending: CancellationToken,
}

/// A served cluster. Dropping it ends it too, but [`Served::shutdown`] waits for the end.
pub struct Served {
    live: Live,
    tasks: TaskTracker,
    brokers: BTreeMap<NodeId, SocketAddr>,
    controllers: BTreeMap<NodeId, SocketAddr>,
    exporters: BTreeMap<NodeId, SocketAddr>,
}

/// One port of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Kafka(Listener),
    Exporter,
}

impl Live {
    /// Starts the clock of `cluster` where it stands. Must be called in a tokio runtime; the time
    /// is tokio's, so it can be paused in tests.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        let began = Instant::now()
            .checked_sub(cluster.elapsed())
            .unwrap_or_else(Instant::now);
        let live = Self {
            cluster: Arc::new(Mutex::new(cluster)),
            began,
            ticks: watch::Sender::new(0),
            ending: CancellationToken::new(),
        };
        tokio::spawn(live.clone().tick());
        live
    }

    async fn tick(self) {
        let mut interval = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = self.ending.cancelled() => return,
                _ = interval.tick() => self.operate(|_| ()),
            }
        }
    }

    /// Lets time catch up, runs `operation` on the cluster, and tells all connections.
    pub fn operate<T>(&self, operation: impl FnOnce(&mut Cluster) -> T) -> T {
        let result = {
            let mut cluster = self.lock();
            cluster.advance(self.began.elapsed());
            operation(&mut cluster)
        };
        self.ticks.send_modify(|tick| *tick = tick.wrapping_add(1));
        result
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        // A panic while it was held leaves a cluster that is still good to look at.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done` holds, or until the end of serving.
    async fn until(&self, done: impl Fn(&Cluster) -> bool) {
        let mut ticks = self.ticks.subscribe();
        while !done(&self.lock()) {
            tokio::select! {
                () = self.ending.cancelled() => return,
                _ = ticks.changed() => {}
            }
        }
    }

    /// Ends time and all connections.
    pub fn end(&self) {
        self.ending.cancel();
    }
}

impl Served {
    /// Serves every node of `cluster` on ports of 127.0.0.1 that the kernel chooses, and tells the
    /// cluster these ports, so that its answers advertise them.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub async fn start(cluster: Cluster) -> Result<Self, ServeError> {
        let mut doors = Vec::new();
        for node in &cluster.spec().nodes {
            doors.push((node.id, Door::Exporter));
            if node.roles.broker {
                doors.push((node.id, Door::Kafka(Listener::Broker)));
            }
            if node.roles.controller {
                doors.push((node.id, Door::Kafka(Listener::Controller)));
            }
        }
        let live = Live::new(cluster);
        let mut served = Self {
            live,
            tasks: TaskTracker::new(),
            brokers: BTreeMap::new(),
            controllers: BTreeMap::new(),
            exporters: BTreeMap::new(),
        };
        let mut opening = Vec::new();
        for (node, door) in doors {
            let bind = |source| ServeError::Bind { node, source };
            let (reserved, address) = reserve().map_err(bind)?;
            served.note(node, door, address);
            opening.push((
                node,
                door,
                reserved,
                listen(address).map_err(bind)?,
                address,
            ));
        }
        for (node, door, reserved, listener, address) in opening {
            let keeper = Keeper {
                live: served.live.clone(),
                node,
                door,
                address,
            };
            let tasks = served.tasks.clone();
            served.tasks.spawn(async move {
                keeper.keep(listener, tasks).await;
                drop(reserved);
            });
        }
        Ok(served)
    }

    fn note(&mut self, node: NodeId, door: Door, address: SocketAddr) {
        let list = match door {
            Door::Exporter => &mut self.exporters,
            Door::Kafka(Listener::Broker) => &mut self.brokers,
            Door::Kafka(Listener::Controller) => &mut self.controllers,
        };
        list.insert(node, address);
        if let Door::Kafka(listener) = door {
            let port = address.port();
            // The node is one of the spec's, so this cannot fail.
            let _ = self
                .live
                .operate(|cluster| cluster.set_port(node, listener, port));
        }
    }

    /// `host:port` of every broker, joined by commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let list: Vec<String> = self.brokers.values().map(SocketAddr::to_string).collect();
        list.join(",")
    }

    /// The brokers' client listeners.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<NodeId, SocketAddr> {
        &self.brokers
    }

    /// The controllers' listeners.
    #[must_use]
    pub fn controllers(&self) -> &BTreeMap<NodeId, SocketAddr> {
        &self.controllers
    }

    /// Every node's `/metrics`.
    #[must_use]
    pub fn jmx(&self) -> BTreeMap<NodeId, String> {
        let urls = self.exporters.iter();
        urls.map(|(node, address)| (*node, format!("http://{address}/metrics")))
            .collect()
    }

    /// Runs an operation on the cluster now; connections feel it at once.
    pub fn operate<T>(&self, operation: impl FnOnce(&mut Cluster) -> T) -> T {
        self.live.operate(operation)
    }

    /// The clock and the cluster, for a script that runs beside.
    #[must_use]
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Closes everything and waits for it.
    pub async fn shutdown(self) {
        self.live.end();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.live.end();
    }
}

/// Keeps a port for the whole time, whether or not somebody listens on it: a bound socket that
/// does not listen lets the kernel refuse connections, and nobody else gets the port.
fn reserve() -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Opens and closes one port as the model says.
struct Keeper {
    live: Live,
    node: NodeId,
    door: Door,
    address: SocketAddr,
}

impl Keeper {
    fn link(&self, cluster: &Cluster) -> Link {
        match self.door {
            Door::Kafka(listener) => cluster.link(self.node, listener),
            Door::Exporter => cluster.jmx_link(self.node),
        }
    }

    async fn keep(self, first: TcpListener, tasks: TaskTracker) {
        let mut listener = Some(first);
        while !self.live.ending.is_cancelled() {
            self.live
                .until(|cluster| self.link(cluster) != Link::Refuses)
                .await;
            let open = match listener.take() {
                Some(open) => Ok(open),
                None => listen(self.address),
            };
            match open {
                Ok(open) => {
                    let refuses = self.live.until(|c| self.link(c) == Link::Refuses);
                    tokio::select! {
                        () = refuses => {}
                        () = self.accept(open, &tasks) => {}
                    }
                }
                Err(error) => {
                    let (node, address) = (self.node, self.address);
                    tracing::warn!(node, %address, %error, "failed to listen, trying again");
                    sleep(TICK).await;
                }
            }
        }
    }

    async fn accept(&self, listener: TcpListener, tasks: &TaskTracker) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.welcome(stream, tasks),
                Err(error) => {
                    tracing::warn!(node = self.node, %error, "failed to accept");
                    sleep(TICK).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, tasks: &TaskTracker) {
        let (live, node) = (self.live.clone(), self.node);
        // Only a hint: without it answers are a little later.
        let _ = stream.set_nodelay(true);
        match self.door {
            Door::Kafka(listener) => {
                tasks.spawn(async move { kafka(live, node, listener, stream).await });
            }
            Door::Exporter => {
                let resets = self.live.lock().jmx_page(node) == Page::Reset;
                if resets {
                    // With no lingering the kernel sends a reset.
                    let _ = stream.set_zero_linger();
                } else {
                    tasks.spawn(async move { http(live, node, stream).await });
                }
            }
        }
    }
}

/// Serves one Kafka connection until either side ends it. One request at a time, in order, as a
/// broker does: it mutes the channel until the answer is sent
/// (`Processor.processCompletedReceives`), and for the throttle time after it (KIP-219).
pub async fn kafka<S>(live: Live, node: NodeId, listener: Listener, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let life = live.lock().life(node);
    tokio::select! {
        biased;
        () = live.until(|cluster| cluster.life(node) != life) => {}
        result = converse(&live, node, listener, &mut stream) => {
            if let Err(error) = result {
                tracing::debug!(node, %error, "the connection ended");
            }
        }
    }
}

async fn converse<S>(
    live: &Live,
    node: NodeId,
    listener: Listener,
    stream: &mut S,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
        if length > FRAME_LIMIT {
            return Ok(());
        }
        let mut request = vec![0; length];
        stream.read_exact(&mut request).await?;
        let Some(reply) = answer(live, node, listener, &request).await else {
            return Ok(());
        };
        let length = i32::try_from(reply.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(reply.len() + 4);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&reply);
        stream.write_all(&frame).await?;
        stream.flush().await?;
        let muted = live.lock().mute(node);
        if !muted.is_zero() {
            sleep(muted).await;
        }
    }
}

/// The reply to one request, as soon as the node gives one; `None` closes the connection.
async fn answer(live: &Live, node: NodeId, listener: Listener, request: &[u8]) -> Option<Vec<u8>> {
    let mut ticks = live.ticks.subscribe();
    loop {
        let answer = live.lock().handle(node, listener, request);
        match answer {
            Answer::Reply(bytes) => return Some(bytes),
            Answer::Delay(wait, bytes) => {
                sleep(wait).await;
                live.until(|cluster| cluster.link(node, listener) != Link::Silent)
                    .await;
                return Some(bytes);
            }
            Answer::CloseConnection => return None,
            Answer::Silent => ticks.changed().await.ok()?,
        }
    }
}

/// Serves one connection to a node's exporter until either side ends it.
pub async fn http<S>(live: Live, node: NodeId, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let process = live.lock().exporter_start(node);
    let over = live.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let live = live.clone();
        async move { Ok::<_, Infallible>(scrape(&live, node, request.uri().path()).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = over.until(|cluster| cluster.exporter_start(node) != process) => {}
        result = connection => {
            if let Err(error) = result {
                tracing::debug!(node, %error, "the scrape ended");
            }
        }
    }
}

/// `/metrics`, and like the real exporter an HTML page with status 200 at `/`
/// (kafka-jmx-metrics.md, section 4.1).
async fn scrape(live: &Live, node: NodeId, path: &str) -> Response<Full<Bytes>> {
    let mut ticks = live.ticks.subscribe();
    loop {
        let (page, time) = {
            let cluster = live.lock();
            (cluster.jmx_page(node), cluster.page_time(node))
        };
        if !time.is_zero() {
            sleep(time).await;
        }
        match (page, path) {
            (
                Page::Text {
                    status,
                    content_type,
                    body,
                },
                "/metrics",
            ) => {
                return response(status, content_type, body);
            }
            (Page::Text { .. }, "/") => {
                let body = "<html><body><a href=\"/metrics\">metrics</a></body></html>";
                return response(200, "text/html", body.to_owned());
            }
            (Page::Text { .. }, _) => return response(404, "text/plain", String::new()),
            // A process that ended takes the connection with it, a frozen one goes on later.
            (Page::Silent | Page::Refused | Page::Reset, _) => {
                if ticks.changed().await.is_err() {
                    return response(503, "text/plain", String::new());
                }
            }
        }
    }
}

fn response(status: u16, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let value = hyper::header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, value);
    response
}
