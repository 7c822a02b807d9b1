//! TCP relays between the nodes, and between the gate and the nodes, that can be cut.
//!
//! Two kinds of cut:
//! - **black hole**: nothing is forwarded in either direction, connections stay open, new ones are
//!   accepted and stay silent. That is a firewall that drops packets, but for one difference: a
//!   new connection seems to succeed (the relay's own kernel answers it), where a real partition
//!   would let it time out. A peer's FIN or RST does not come through either, until `heal`.
//! - **reset**: open connections get a TCP reset, new ones too.
//!
//! What a heal lets through is everything that waited: TCP would have sent it again.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use crate::spec::NodeId;

/// How a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    BlackHole,
    Reset,
}

/// Bytes of a request up to the end of the longest client id looked at.
const HEAD: usize = 256;

/// All relays of one cluster. They run on a thread and a runtime of their own, so that a test
/// which blocks its runtime does not cut its cluster by accident.
#[derive(Debug)]
pub(crate) struct Hub {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        // Dropping the sender ends the wait too; both mean the end.
        let run = move || drop(runtime.block_on(stopped));
        let thread = thread::Builder::new()
            .name("lab-relays".into())
            .spawn(run)?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Opens a relay on `port` (0: any) that forwards to `upstream`.
    pub(crate) fn relay(&self, port: u16, upstream: u16, identify: bool) -> io::Result<Relay> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let _inside = self.handle.enter();
        let listener = TcpListener::from_std(listener)?;
        let (cuts, seen) = watch::channel(Cuts::default());
        self.handle
            .spawn(accept(listener, upstream, identify, seen));
        Ok(Relay { port, cuts })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to report.
            let _ = thread.join();
        }
    }
}

/// One relayed port.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    cuts: watch::Sender<Cuts>,
}

/// What is cut at one relay, by who has opened the connection; `None`: anyone who is no node, and
/// everyone at a relay that does not identify.
type Cuts = BTreeMap<Option<NodeId>, Cut>;

impl Relay {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the connections that `peer` has opened.
    pub(crate) fn cut(&self, peer: Option<NodeId>, how: Cut) {
        self.cuts.send_modify(|cuts| {
            cuts.insert(peer, how);
        });
    }

    /// Forwards everything again.
    pub(crate) fn heal(&self) {
        self.cuts.send_replace(Cuts::default());
    }
}

async fn accept(listener: TcpListener, upstream: u16, identify: bool, cuts: watch::Receiver<Cuts>) {
    loop {
        // Out of file descriptors or the like: the next connection may do better.
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(forward(client, upstream, identify, cuts.clone()));
    }
}

async fn forward(
    mut client: TcpStream,
    upstream: u16,
    identify: bool,
    mut cuts: watch::Receiver<Cuts>,
) {
    // Small Kafka frames must not wait for each other; both sides have it set, so has the relay.
    let _ = client.set_nodelay(true);
    let mut head = Vec::new();
    let peer = if identify {
        read_peer(&mut client, &mut head).await
    } else {
        None
    };
    if !passable(&mut cuts, peer).await {
        return reset(&client);
    }
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else {
        // Nobody listens. The client cannot be refused any more, a reset comes nearest.
        return reset(&client);
    };
    let _ = server.set_nodelay(true);
    if server.write_all(&head).await.is_err() {
        return reset(&client);
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = pump(&mut from_client, &mut to_server, peer, cuts.clone());
    let back = pump(&mut from_server, &mut to_client, peer, cuts);
    if tokio::try_join!(there, back).is_err() {
        reset(from_client.as_ref());
        reset(from_server.as_ref());
        // Dropping a write half sends a FIN, which would come before the reset.
        to_client.forget();
        to_server.forget();
    }
}

/// A direction that ends with a reset of the whole connection.
struct Broken;

/// Copies one direction until its end, and stands still while the link is cut.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    peer: Option<NodeId>,
    mut cuts: watch::Receiver<Cuts>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 64 * 1024];
    let mut orders = cuts.clone();
    loop {
        let read = tokio::select! {
            biased;
            () = reset_ordered(&mut orders, peer) => return Err(Broken),
            read = from.read(&mut buffer) => read,
        };
        // What was read while the link was being cut waits for the heal like everything after it.
        if !passable(&mut cuts, peer).await {
            return Err(Broken);
        }
        let chunk = buffer.get(..read.map_err(|_| Broken)?).ok_or(Broken)?;
        if chunk.is_empty() {
            // The other direction goes on: Kafka never half-closes, but that is not ours to say.
            return to.shutdown().await.map_err(|_| Broken);
        }
        to.write_all(chunk).await.map_err(|_| Broken)?;
    }
}

/// Waits while the link is a black hole; `false`: it is to be reset.
async fn passable(cuts: &mut watch::Receiver<Cuts>, peer: Option<NodeId>) -> bool {
    // The relay itself is gone: the cluster ends.
    let Ok(cuts) = cuts
        .wait_for(|cuts| cuts.get(&peer) != Some(&Cut::BlackHole))
        .await
    else {
        return false;
    };
    !cuts.contains_key(&peer)
}

/// Returns once the link is to be reset.
async fn reset_ordered(cuts: &mut watch::Receiver<Cuts>, peer: Option<NodeId>) {
    // An error means that the relay is gone, and its connections with it.
    let _ = cuts
        .wait_for(|cuts| cuts.get(&peer) == Some(&Cut::Reset))
        .await;
}

/// Makes the coming close a TCP reset.
fn reset(stream: &TcpStream) {
    // Fails on a socket that is closed already, which is as good.
    let _ = stream.set_zero_linger();
}

/// Which node has opened this connection, by the client id of its first request. Everything read
/// is left in `head`.
async fn read_peer(client: &mut TcpStream, head: &mut Vec<u8>) -> Option<NodeId> {
    let mut buffer = [0; HEAD];
    loop {
        match client_id(head) {
            Head::Id(id) => return node_of(&id),
            Head::Unknown => return None,
            Head::More => {}
        }
        let length = client
            .read(&mut buffer)
            .await
            .ok()
            .filter(|length| *length > 0)?;
        head.extend_from_slice(buffer.get(..length)?);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    More,
    Unknown,
    Id(String),
}

/// The client id in a request header: length (4 bytes), key (2), version (2), correlation id (4),
/// length of the client id (2), client id. The same in header versions 1 and 2.
fn client_id(head: &[u8]) -> Head {
    let Some(length) = head.get(12..14) else {
        return Head::More;
    };
    let length = length
        .iter()
        .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
    if length > HEAD {
        return Head::Unknown;
    }
    match head.get(14..14 + length) {
        None => Head::More,
        Some(id) => String::from_utf8(id.to_vec()).map_or(Head::Unknown, Head::Id),
    }
}

/// The node behind a client id: `broker-1-fetcher-0` (replica fetcher), `raft-client-1` (quorum),
/// `1` (broker to controller, and in ZooKeeper mode controller to broker).
fn node_of(client_id: &str) -> Option<NodeId> {
    let broker = client_id
        .strip_prefix("broker-")
        .and_then(|rest| rest.split('-').next());
    broker
        .or_else(|| client_id.strip_prefix("raft-client-"))
        .unwrap_or(client_id)
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_peer_is_read_from_the_first_request() {
        let mut head = vec![0, 0, 0, 30, 0, 18, 0, 3, 0, 0, 0, 1, 0, 18];
        assert_eq!(client_id(&head), Head::More);
        head.extend_from_slice(b"broker-7-fetcher-0");
        assert_eq!(client_id(&head), Head::Id("broker-7-fetcher-0".into()));
        assert_eq!(node_of("broker-7-fetcher-0"), Some(7));
        assert_eq!(node_of("3"), Some(3));
        assert_eq!(node_of("raft-client-101"), Some(101));
        assert_eq!(node_of("rdkafka"), None);
        // A null client id has the length -1.
        let null = [0, 0, 0, 30, 0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff];
        assert_eq!(client_id(&null), Head::Unknown);
    }

    async fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        port
    }

    async fn answers(stream: &mut TcpStream) -> bool {
        let mut one = [0; 1];
        let sent = stream.write_all(b"x").await.is_ok();
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut one));
        sent && matches!(read.await, Ok(Ok(_)))
    }

    #[tokio::test]
    async fn a_black_hole_keeps_connections_and_heals() {
        let hub = Hub::start().unwrap();
        let relay = hub.relay(0, echo().await, false).unwrap();
        let mut old = TcpStream::connect(("127.0.0.1", relay.port()))
            .await
            .unwrap();
        assert!(answers(&mut old).await);
        relay.cut(None, Cut::BlackHole);
        assert!(!answers(&mut old).await);
        let mut new = TcpStream::connect(("127.0.0.1", relay.port()))
            .await
            .unwrap();
        assert!(!answers(&mut new).await);
        relay.heal();
        // The bytes that waited come first.
        assert!(answers(&mut old).await && answers(&mut new).await);
    }

    #[tokio::test]
    async fn a_reset_ends_old_and_new_connections() {
        let hub = Hub::start().unwrap();
        let relay = hub.relay(0, echo().await, false).unwrap();
        let mut old = TcpStream::connect(("127.0.0.1", relay.port()))
            .await
            .unwrap();
        assert!(answers(&mut old).await);
        relay.cut(None, Cut::Reset);
        let error = old.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        // The reset may come while connecting, while writing, or while reading.
        let new = TcpStream::connect(("127.0.0.1", relay.port())).await;
        if let Ok(mut new) = new
            && new.write_all(b"x").await.is_ok()
        {
            assert!(!matches!(new.read(&mut [0; 1]).await, Ok(1)));
        }
        relay.heal();
        let mut again = TcpStream::connect(("127.0.0.1", relay.port()))
            .await
            .unwrap();
        assert!(answers(&mut again).await);
    }

    #[tokio::test]
    async fn only_the_named_peer_is_cut() {
        let hub = Hub::start().unwrap();
        let relay = hub.relay(0, echo().await, true).unwrap();
        relay.cut(Some(7), Cut::BlackHole);
        let hello = |id: &str| {
            let mut head = vec![0, 0, 0, 30, 0, 18, 0, 3, 0, 0, 0, 1, 0, id.len() as u8];
            head.extend_from_slice(id.as_bytes());
            head
        };
        for (id, passes) in [("broker-8-fetcher-0", true), ("broker-7-fetcher-0", false)] {
            let mut stream = TcpStream::connect(("127.0.0.1", relay.port()))
                .await
                .unwrap();
            stream.write_all(&hello(id)).await.unwrap();
            let mut back = vec![0; hello(id).len()];
            let read = stream.read_exact(&mut back);
            let came = tokio::time::timeout(Duration::from_millis(300), read).await;
            assert_eq!(came.is_ok(), passes, "{id}");
        }
    }
}
