//! The simulated cluster as the collectors meet it: streams, pages and clocks over one pure
//! [`Cluster`], on tokio's paused clock. Nothing here leaves the process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use upgrade_gate::clock::Clock;
use upgrade_gate::evidence::report::{FailureClass, SourceFailure};
use upgrade_gate::jmx::scrape::{Fetch, Fetched, Fetching};
use upgrade_gate::kafka::{Address, BoxFuture, BoxedStream, Dial};
use upgrade_gate::model::{Answer, Cluster, FRAME_LIMIT, Link, Listener, NodeId, Page};
use upgrade_gate::time::{Mono, Now, Timestamp};

use super::oracle::ZOOKEEPER_SHOWS;
use super::setup::{Setup, Target};

/// Node `n` listens on this plus `n`.
const KAFKA_PORTS: u16 = 9_000;
/// Its exporter listens on this plus `n`.
const JMX_PORTS: u16 = 19_000;
/// Bytes that a stream holds; a node's longest answer here is shorter.
const PIPE: usize = 256 * 1024;
/// How long a page takes to make, at least.
const PAGE: Duration = Duration::from_millis(15);
/// The boot clock does not start at zero.
const BOOT: Duration = Duration::from_secs(10_000);

/// One cluster and the network between it and the gate.
#[derive(Debug)]
pub struct World {
    cluster: Mutex<Cluster>,
    time: Time,
    /// How much later it is than tokio's clock says, in nanoseconds: nobody's task has run meanwhile.
    ahead: AtomicU64,
    wall: i64,
    /// Nodes whose listeners the gate cannot reach; nobody tells it so.
    cut_off: Mutex<BTreeSet<NodeId>>,
    /// Nodes whose exporters it cannot reach.
    pages_cut: Mutex<BTreeSet<NodeId>>,
    /// Grows whenever somebody who waits should look again.
    changed: watch::Sender<u64>,
    /// Questions that wait for an answer.
    waiting: AtomicUsize,
    version: AtomicU64,
    operated: AtomicU64,
    /// How far somebody has set the wall clock forward or back, in nanoseconds.
    wall_step: AtomicI64,
    /// JMX targets that are not the node's own.
    targets: Mutex<BTreeMap<NodeId, Target>>,
    /// Another cluster just like this one, in which nothing ever happens.
    other: Mutex<Cluster>,
}

/// Whose time it is.
#[derive(Debug)]
enum Time {
    /// Tokio's, paused, since then.
    Tokio(Instant),
    /// Whatever it is set to, in nanoseconds since the start.
    Set(AtomicU64),
}

impl World {
    /// A world whose time starts now. Must be called in a runtime with a paused clock.
    pub fn new(cluster: Cluster) -> Arc<Self> {
        Self::with(cluster, Time::Tokio(Instant::now()))
    }

    /// A world whose time is what [`Self::set_elapsed`] says.
    pub fn standing(cluster: Cluster) -> Arc<Self> {
        Self::with(cluster, Time::Set(AtomicU64::new(0)))
    }

    fn with(mut cluster: Cluster, time: Time) -> Arc<Self> {
        for node in cluster.spec().nodes.clone() {
            for (has, listener) in [
                (node.roles.broker, Listener::Broker),
                (node.roles.controller, Listener::Controller),
            ] {
                if has {
                    cluster
                        .set_port(node.id, listener, port(KAFKA_PORTS, node.id))
                        .expect("a node of the spec");
                }
            }
        }
        let wall = cluster.spec().start_wall_ms;
        let spec = cluster.spec().clone();
        let seed = spec.seed;
        let other = Cluster::new(spec.seed(!seed)).expect("a sound spec");
        Arc::new(Self {
            cluster: Mutex::new(cluster),
            time,
            ahead: AtomicU64::new(0),
            wall,
            cut_off: Mutex::default(),
            pages_cut: Mutex::default(),
            changed: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            version: AtomicU64::new(0),
            operated: AtomicU64::new(0),
            wall_step: AtomicI64::new(0),
            targets: Mutex::default(),
            other: Mutex::new(other),
        })
    }

    /// Since the start of the simulation.
    pub fn elapsed(&self) -> Duration {
        match &self.time {
            Time::Tokio(began) => {
                began.elapsed() + Duration::from_nanos(self.ahead.load(Ordering::Relaxed))
            }
            Time::Set(nanos) => Duration::from_nanos(nanos.load(Ordering::Relaxed)),
        }
    }

    /// Sets the time of a world that stands still by itself.
    pub fn set_elapsed(&self, elapsed: Duration) {
        if let Time::Set(nanos) = &self.time {
            let elapsed = u64::try_from(elapsed.as_nanos()).expect("a short simulation");
            nanos.store(elapsed, Ordering::Relaxed);
        }
    }

    /// Time goes on until then and no task runs: every process of the gate is stopped (SIGSTOP).
    /// Whoever calls this must not await before [`Self::go_on`].
    pub fn stand_still(&self, until: Duration) {
        let more = until.saturating_sub(self.elapsed());
        let more = u64::try_from(more.as_nanos()).expect("a short simulation");
        self.ahead.fetch_add(more, Ordering::Relaxed);
    }

    /// Tasks go on, and find that all that time is over at once (SIGCONT). What nodes were asked
    /// before is answered only now, which is as good as late.
    pub async fn go_on(&self) {
        let ahead = Duration::from_nanos(self.ahead.swap(0, Ordering::Relaxed));
        if !ahead.is_zero() {
            tokio::time::advance(ahead).await;
        }
    }

    /// When that will be on tokio's clock.
    pub fn at(&self, elapsed: Duration) -> Instant {
        Instant::now() + elapsed.saturating_sub(self.elapsed())
    }

    /// The cluster, with its time caught up.
    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        let mut cluster = lock(&self.cluster);
        let now = self.elapsed();
        if cluster.next_event().is_some_and(|at| at <= now) {
            self.version.fetch_add(1, Ordering::Relaxed);
        }
        cluster.advance(now);
        cluster
    }

    /// Whether something happens by itself within this time: the cluster's own next step, or that a
    /// ZooKeeper that is gone comes to show.
    pub fn is_due_within(&self, within: Duration) -> bool {
        let cluster = lock(&self.cluster);
        let until = self.elapsed() + within;
        let lost = cluster.zookeeper_down_for();
        let shows =
            lost.is_some_and(|lost| lost < ZOOKEEPER_SHOWS && lost + within >= ZOOKEEPER_SHOWS);
        shows || cluster.next_event().is_some_and(|at| at <= until)
    }

    /// Grows whenever something has happened in the cluster or has been done to it.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Lets time catch up, and tells connections what has become of their nodes.
    pub fn tick(&self) {
        let ended = {
            let before = lives(&lock(&self.cluster));
            lives(&self.cluster()) != before
        };
        if ended || self.waiting.load(Ordering::Relaxed) > 0 {
            self.tell();
        }
    }

    /// Everybody who waits looks again.
    pub fn tell(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
        self.operated.fetch_add(1, Ordering::Relaxed);
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Whether the gate can reach the node.
    pub fn set_cut_off(&self, node: NodeId, cut: bool) {
        self.set_kafka_cut(node, cut);
        self.set_pages_cut(node, cut);
    }

    /// Whether the gate can reach the node's listeners.
    pub fn set_kafka_cut(&self, node: NodeId, cut: bool) {
        set(&self.cut_off, node, cut);
    }

    /// Whether the gate can reach the node's exporter.
    pub fn set_pages_cut(&self, node: NodeId, cut: bool) {
        set(&self.pages_cut, node, cut);
    }

    /// Whether the gate cannot reach some listener or exporter.
    pub fn is_cut_anywhere(&self) -> bool {
        !lock(&self.cut_off).is_empty() || !lock(&self.pages_cut).is_empty()
    }

    /// Whether somebody keeps from a gate with this configuration what it has to know, so that it
    /// is right to be shut: rights that it lacks, answers that are cut, exporters that wait for
    /// their start delay.
    pub fn blinds(&self, cluster: &Cluster, setup: &Setup) -> bool {
        let kafka = setup.mode.kafka() && (cluster.hides() || cluster.cuts_answers());
        let waits = || {
            let mut scraped = setup.scraped(cluster.spec()).into_iter();
            scraped.any(|id| cluster.exporter_delayed(id))
        };
        kafka || (cluster.spec().exporter.start_delay > 0 && waits())
    }

    /// Whether the gate cannot reach the node's listeners.
    pub fn is_cut_off(&self, node: NodeId) -> bool {
        lock(&self.cut_off).contains(&node)
    }

    /// Grows whenever something has been done to the cluster.
    pub fn operated(&self) -> u64 {
        self.operated.load(Ordering::Relaxed)
    }

    /// Sets the gate's wall clock forward, or back.
    pub fn step_wall(&self, millis: i64) {
        self.wall_step
            .fetch_add(millis * 1_000_000, Ordering::Relaxed);
    }

    /// Gives nodes JMX targets that are not their own.
    pub fn set_targets(&self, targets: BTreeMap<NodeId, Target>) {
        *lock(&self.targets) = targets;
    }

    /// What the JMX target of a node shows, and how long that takes; `None` where the gate does
    /// not reach it.
    pub fn page(&self, cluster: &Cluster, node: NodeId) -> Option<(Page, Duration)> {
        let target = lock(&self.targets).get(&node).copied();
        let shown = match target.unwrap_or(Target::Node(node)) {
            Target::Node(shown) => shown,
            Target::AnotherCluster => {
                let mut other = lock(&self.other);
                other.advance(self.elapsed());
                return Some((other.jmx_page(node), PAGE));
            }
        };
        let time = cluster.page_time(shown).max(PAGE);
        let cut = lock(&self.pages_cut).contains(&shown);
        (!cut).then(|| (cluster.jmx_page(shown), time))
    }

    /// Where a node's exporter is.
    pub fn exporter(node: NodeId) -> Url {
        let url = format!("http://127.0.0.1:{}/metrics", port(JMX_PORTS, node));
        url.parse().expect("a URL")
    }

    /// Where a node listens.
    pub fn address(node: NodeId) -> Address {
        Address::new("127.0.0.1", port(KAFKA_PORTS, node))
    }

    /// The boot clock after that time.
    pub fn mono(elapsed: Duration) -> Mono {
        let nanos = (BOOT + elapsed).as_nanos();
        Mono::from_nanos(u64::try_from(nanos).expect("a short simulation"))
    }

    /// Nodes whose listeners the gate cannot reach.
    pub fn cut_off(&self) -> BTreeSet<NodeId> {
        lock(&self.cut_off).clone()
    }

    /// The listener at which the gate asks a node.
    pub fn listener(&self, node: NodeId) -> Option<Listener> {
        let cluster = lock(&self.cluster);
        let spec = cluster.spec().nodes.iter().find(|spec| spec.id == node)?;
        Some(if spec.roles.broker {
            Listener::Broker
        } else {
            Listener::Controller
        })
    }
}

fn port(base: u16, node: NodeId) -> u16 {
    base + u16::try_from(node).expect("small ids")
}

fn lives(cluster: &Cluster) -> Vec<u64> {
    let nodes = cluster.spec().nodes.iter();
    nodes.map(|node| cluster.life(node.id)).collect()
}

fn set(list: &Mutex<BTreeSet<NodeId>>, node: NodeId, there: bool) {
    let mut list = lock(list);
    if there {
        list.insert(node);
    } else {
        list.remove(&node);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clocks of the gate in this world.
#[derive(Debug)]
pub struct WorldClock(pub Arc<World>);

impl Clock for WorldClock {
    fn now(&self) -> Now {
        let elapsed = self.0.elapsed();
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).expect("a short simulation");
        let wall = self.0.wall * 1_000_000 + i64::try_from(nanos(elapsed)).expect("short");
        let wall = wall + self.0.wall_step.load(Ordering::Relaxed);
        Now {
            mono: World::mono(elapsed),
            wall: Timestamp::from_nanos(wall),
        }
    }
}

/// The gate's way to the nodes' Kafka listeners.
#[derive(Debug)]
pub struct WorldDial(pub Arc<World>);

impl Dial for WorldDial {
    fn dial<'a>(
        &'a self,
        address: &'a Address,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<BoxedStream, SourceFailure>> {
        Box::pin(async move {
            let node = NodeId::from(address.port.saturating_sub(KAFKA_PORTS));
            let refused = || SourceFailure::new(FailureClass::Refused, format!("{address}"));
            let listener = self.0.listener(node).ok_or_else(refused)?;
            if self.0.is_cut_off(node) {
                sleep(deadline).await;
                let class = FailureClass::ConnectTimeout;
                return Err(SourceFailure::new(class, format!("{address}")));
            }
            if self.0.cluster().link(node, listener) == Link::Refuses {
                return Err(refused());
            }
            let (ours, theirs) = tokio::io::duplex(PIPE);
            tokio::spawn(serve(Arc::clone(&self.0), node, listener, theirs));
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

/// Answers one connection, in order, until the node ends it or the gate does.
async fn serve(world: Arc<World>, node: NodeId, listener: Listener, mut stream: DuplexStream) {
    let life = world.cluster().life(node);
    let mut changed = world.changed.subscribe();
    let ended = async {
        while lock(&world.cluster).life(node) == life {
            if changed.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = ended => {}
        // However it ends, the stream is dropped, which is all that the gate sees.
        _ = converse(&world, node, listener, &mut stream) => {}
    }
    // A cut network does not say that the node has gone.
    let mut changed = world.changed.subscribe();
    while world.is_cut_off(node) && changed.changed().await.is_ok() {}
}

async fn converse(
    world: &World,
    node: NodeId,
    listener: Listener,
    stream: &mut DuplexStream,
) -> io::Result<()> {
    loop {
        let length = usize::try_from(stream.read_i32().await?).map_err(io::Error::other)?;
        assert!(length <= FRAME_LIMIT, "a request of {length} bytes");
        let mut request = vec![0; length];
        stream.read_exact(&mut request).await?;
        let Some(reply) = answer(world, node, listener, &request).await else {
            return Ok(());
        };
        let length = i32::try_from(reply.len()).map_err(io::Error::other)?;
        let frame = [&length.to_be_bytes()[..], &reply].concat();
        stream.write_all(&frame).await?;
        // A throttled channel is muted (KIP-219).
        let muted = world.cluster().mute(node);
        if !muted.is_zero() {
            sleep(muted).await;
        }
    }
}

/// The answer, as soon as there is one; `None` closes the connection.
async fn answer(
    world: &World,
    node: NodeId,
    listener: Listener,
    request: &[u8],
) -> Option<Vec<u8>> {
    loop {
        let mut changed = world.changed.subscribe();
        if !world.is_cut_off(node) {
            let answer = world.cluster().handle(node, listener, request);
            match answer {
                Answer::Reply(bytes) => return Some(bytes),
                Answer::Delay(wait, bytes) => {
                    sleep(wait).await;
                    return Some(bytes);
                }
                Answer::CloseConnection => return None,
                Answer::Silent => {}
            }
        }
        let _waits = Waits::new(&world.waiting);
        changed.changed().await.ok()?;
    }
}

/// Counts somebody who waits, for as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The gate's way to the exporters.
#[derive(Debug)]
pub struct WorldFetch(pub Arc<World>);

impl Fetch for WorldFetch {
    fn fetch<'a>(&'a self, url: &'a Url, _limit: usize) -> Fetching<'a> {
        Box::pin(async move {
            let port = url.port().unwrap_or_default();
            let node = NodeId::from(port.saturating_sub(JMX_PORTS));
            let failed = |class| Err(SourceFailure::new(class, url.to_string()));
            let mut asked = false;
            loop {
                let mut changed = self.0.changed.subscribe();
                let page = self.0.page(&self.0.cluster(), node);
                match page {
                    Some((
                        Page::Text {
                            status,
                            content_type,
                            body,
                        },
                        time,
                    )) => {
                        sleep(time).await;
                        return Ok(Fetched {
                            status,
                            content_type: Some(content_type.to_owned()),
                            body: body.into(),
                        });
                    }
                    Some((Page::Refused, _)) if asked => return failed(FailureClass::Closed),
                    Some((Page::Refused, _)) => return failed(FailureClass::Refused),
                    Some((Page::Reset, _)) => return failed(FailureClass::Closed),
                    Some((Page::Silent, _)) => asked = true,
                    None => {}
                }
                let _waits = Waits::new(&self.0.waiting);
                if changed.changed().await.is_err() {
                    return failed(FailureClass::Closed);
                }
            }
        })
    }
}
