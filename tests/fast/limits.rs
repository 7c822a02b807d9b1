//! Every limit of the server: what a caller beyond it is told, and that it is counted by its name.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use upgrade_gate::engine::handle::QUEUE;
use upgrade_gate::evidence::report::Cap;
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::event::Event;
use upgrade_gate::gate::state::GateName;
use upgrade_gate::metrics::Format;
use upgrade_gate::metrics::counters::Refused;
use upgrade_gate::rights::AuthSettings;
use upgrade_gate::server::access::Access;
use upgrade_gate::server::{Limits, serve_stream};
use upgrade_gate::store::{Store, Writer};

use crate::secured::{World, secured};
use crate::served::{Got, Served, closed, open, raw, serve, serve_with};

const CHECK: &str = "/api/v1/gates/default/check";
const SOON: Duration = Duration::from_millis(100);
const MAY: &str = "X-Upgrade-Gate: 1\r\n";

async fn limited(limits: Limits) -> Served {
    serve_with(open(), limits, |_| ()).await
}

/// Meets one limit. A limit that nobody meets here does not compile.
async fn meet(limit: Refused) -> Option<Served> {
    let served = match limit {
        // Every test of this process shares its descriptors: `attacks` takes those of a gate of its own.
        Refused::Accept => return None,
        Refused::Connections => connections(1, 9).await,
        Refused::ConnectionsOfPeer => connections(9, 1).await,
        Refused::WaitersOfPeer => waiters().await,
        Refused::RequestsOfOwner => requests_of_one_owner().await,
        Refused::Rate => rate().await,
        Refused::Handshake => handshake("GET / HTTP/1.1\r\nHost: g\r\n\r\n").await,
        Refused::HandshakeTime => handshake("").await,
        Refused::HeaderSize => large_header().await,
        Refused::HeaderTime => slow("GET / HTTP/1.1\r\nHost:", None).await,
        Refused::BodyTime => {
            let begun = format!("POST {CHECK} HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\nx");
            slow(&begun, Some(400)).await
        }
        Refused::BodySize => large_body().await,
        Refused::RequestTime => long_request().await,
        Refused::WriteTime => unread().await,
        Refused::EngineQueue => engine_queue().await,
        Refused::EngineQueueOfPeer => engine_queue_of_one_address().await,
        Refused::HistoryReaders => history_readers().await,
        Refused::Passwords => passwords().await,
        Refused::PasswordsOfPeer => passwords_of_one_address().await,
        Refused::NotAuthenticated => nobody().await,
        Refused::NotAllowed => not_allowed().await,
    };
    Some(served)
}

#[tokio::test]
async fn every_limit_is_counted_by_its_name() {
    for limit in Refused::ALL {
        let Some(served) = meet(limit).await else {
            continue;
        };
        let metrics = &served.state.metrics;
        let count = |limit| metrics.counters().http.refusals(limit);
        let began = Instant::now();
        while count(limit) == 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "{limit:?}");
            sleep(Duration::from_millis(5)).await;
        }
        for other in Refused::ALL {
            // Passwords that were wrong, and were checked.
            let expected = other == limit || other == Refused::NotAuthenticated;
            assert!(expected || count(other) == 0, "{limit:?}: {other:?}");
        }
        let page = metrics.render(Format::Text).unwrap();
        let series = format!(
            "upgrade_gate_http_refused_total{{by=\"{}\"}} ",
            limit.as_str()
        );
        let line = page.lines().find_map(|line| line.strip_prefix(&*series));
        assert_eq!(line, Some(&*count(limit).to_string()), "{limit:?}");
    }
}

#[test]
fn every_limit_is_documented_by_its_name() {
    let security = include_str!("../../docs/security.md");
    let metrics = include_str!("../../docs/metrics.md");
    for limit in Refused::ALL {
        let name = format!("`{}`", limit.as_str());
        assert!(security.contains(&name), "{name}");
    }
    for cap in Cap::ALL {
        let name = format!("`{}`", cap.as_str());
        assert!(
            security.contains(&name) && metrics.contains(&name),
            "{name}"
        );
    }
}

/// As many connections as there are places, and one more.
async fn connections(all: usize, per_peer: usize) -> Served {
    let served = limited(Limits {
        connections: all,
        connections_per_peer: per_peer,
        ..Limits::default()
    })
    .await;
    let _first = TcpStream::connect(served.address).await.unwrap();
    let open = &served.state.metrics.counters().http.connections;
    while open.load(Ordering::Relaxed) < 1 {
        sleep(Duration::from_millis(5)).await;
    }
    let got = Got::parse(&raw(served.address, "").await).unwrap();
    let state = got.header("upgrade-gate-state");
    assert_eq!((got.status, state), (503, Some("unknown")));
    served
}

async fn waiters() -> Served {
    let limits = Limits {
        waiters_per_peer: 0,
        ..Limits::default()
    };
    let served = serve_with(closed(), limits, |_| ()).await;
    // Answered at once: nobody waits 50 s here.
    assert_eq!(served.get(&format!("{CHECK}?wait=50")).await.status, 503);
    served
}

/// The answer to somebody at 127.0.0.LAST.
async fn asked_from(to: SocketAddr, last: u8, method: &'static str, target: String) -> Got {
    let socket = TcpSocket::new_v4().unwrap();
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(from).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{MAY}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    Got::parse(&answer).unwrap()
}

/// Its first request is being served; one for another node does not wait for ever.
async fn requests_of_one_owner() -> Served {
    let mut served = serve(open()).await;
    let target = |node| format!("/api/v1/gates/default/enter?node={node}&owner=me");
    let first = tokio::spawn(asked_from(served.address, 1, "POST", target(1)));
    let asked = served.asks.recv().await;
    let got = served.send("POST", &target(2), MAY, "").await;
    assert_eq!(got.status, 503);
    assert!(
        got.text().contains("another request of me"),
        "{}",
        got.text()
    );
    drop(asked);
    first.await.unwrap();
    served
}

async fn rate() -> Served {
    let served = limited(Limits {
        requests_per_second: Some(2),
        ..Limits::default()
    })
    .await;
    let many = "GET /-/healthy HTTP/1.1\r\nHost: g\r\n\r\n".repeat(20);
    let last = "GET /-/healthy HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n";
    let told = raw(served.address, &(many + last)).await;
    let told = String::from_utf8(told).unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(told.contains("HTTP/1.1 503"), "{told}");
    assert!(told.contains("\"too many requests\""), "{told}");
    served
}

async fn handshake(sent: &str) -> Served {
    let (served, _) = secured(&World::new()).await;
    let told = raw(served.address, sent).await;
    assert!(!told.starts_with(b"HTTP"), "{told:?}");
    served
}

async fn large_header() -> Served {
    let served = serve(open()).await;
    let large = "y".repeat(20 * 1024);
    let request = format!("GET / HTTP/1.1\r\nHost: g\r\nX: {large}\r\n\r\n");
    let got = Got::parse(&raw(served.address, &request).await).unwrap();
    assert_eq!(got.status, 431);
    served
}

/// Sends this and then nothing.
async fn slow(begun: &str, status: Option<u16>) -> Served {
    let served = limited(Limits {
        header_read: SOON,
        ..Limits::default()
    })
    .await;
    let told = Got::parse(&raw(served.address, begun).await);
    assert_eq!(told.map(|got| got.status), status);
    served
}

async fn large_body() -> Served {
    let served = limited(Limits {
        body_bytes: 10,
        ..Limits::default()
    })
    .await;
    assert_eq!(
        served.send("POST", CHECK, "", "0123456789").await.status,
        200
    );
    assert_eq!(
        served.send("POST", CHECK, "", "0123456789x").await.status,
        413
    );
    served
}

/// Nobody answers the engine's questions here.
async fn long_request() -> Served {
    let served = limited(Limits {
        request: SOON,
        ..Limits::default()
    })
    .await;
    let got = served.get(&format!("{CHECK}?fresh=1")).await;
    let state = got.header("upgrade-gate-state");
    assert_eq!((got.status, state), (503, Some("unknown")));
    assert!(got.text().contains("was not answered within"));
    served
}

/// A caller whose connection holds little and who reads nothing.
async fn unread() -> Served {
    let served = serve(open()).await;
    let limits = Limits {
        write_stall: SOON,
        ..Limits::default()
    };
    let (mut ours, theirs) = duplex(512);
    let request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: g\r\n\r\n";
    ours.write_all(request).await.unwrap();
    let peer = "127.0.0.1".parse().unwrap();
    let none = CancellationToken::new();
    // Ends by itself.
    serve_stream(theirs, peer, served.state.clone(), limits, none).await;
    served
}

/// What the engine decides: here nobody takes the questions out of its queue.
const FRESH: &str = "/api/v1/gates/default/check?fresh=1&closed_status=423";

async fn impatient() -> Served {
    let soon = Duration::from_millis(1);
    limited(Limits {
        decide: soon,
        grant: soon,
        ..Limits::default()
    })
    .await
}

async fn engine_queue() -> Served {
    let served = impatient().await;
    let counted = || {
        let http = &served.state.metrics.counters().http;
        http.refusals(Refused::EngineQueue)
    };
    // Of one address a quarter.
    for peer in (2..6).cycle().take(QUEUE) {
        let got = asked_from(served.address, peer, "GET", FRESH.to_owned()).await;
        assert_eq!(got.status, 423);
    }
    assert_eq!(counted(), 0);
    let got = served.get(FRESH).await;
    let state = got.header("upgrade-gate-state");
    assert_eq!((got.status, state, counted()), (423, Some("unknown"), 1));
    assert!(got.text().contains("too many questions"), "{}", got.text());
    for (method, target) in [
        ("POST", "enter?node=1&owner=me"),
        ("POST", "leave?node=1&owner=me"),
        ("PUT", "hold?author=me&reason=test"),
    ] {
        let before = counted();
        let target = format!("/api/v1/gates/default/{target}");
        let got = served.send(method, &target, MAY, "").await;
        assert_eq!(got.status, 503, "{target}");
        assert_eq!(counted(), before + 1, "{target}");
    }
    served
}

/// It has its share and no more; what is taken out of the queue makes room again.
async fn engine_queue_of_one_address() -> Served {
    let mut served = impatient().await;
    for _ in 0..QUEUE / 4 {
        let got = served.get(FRESH).await;
        assert!(got.text().contains("no answer within"), "{}", got.text());
    }
    let got = served.get(FRESH).await;
    let state = got.header("upgrade-gate-state");
    assert_eq!((got.status, state), (423, Some("unknown")));
    assert!(got.text().contains("of this address"), "{}", got.text());
    let hold = "/api/v1/gates/default/hold?author=me&reason=test";
    assert_eq!(served.send("PUT", hold, MAY, "").await.status, 503);
    let other = asked_from(served.address, 2, "GET", FRESH.to_owned()).await;
    assert!(
        other.text().contains("no answer within"),
        "{}",
        other.text()
    );
    drop(served.asks.recv().await);
    let got = served.get(FRESH).await;
    assert!(got.text().contains("no answer within"), "{}", got.text());
    let http = &served.state.metrics.counters().http;
    assert_eq!(http.refusals(Refused::EngineQueueOfPeer), 2);
    served
}

/// A store that does not find anything until it is told to give up.
#[derive(Debug)]
struct Stuck(Receiver<()>);

impl Store for Stuck {
    fn load(&mut self, _: &GateName) -> Result<(Revision, GateDoc), String> {
        Ok((Revision(0), GateDoc::default()))
    }

    fn commit(&mut self, _: &GateName, _: Revision, _: &GateDoc, _: &[Event]) -> Stored {
        Stored::Written(Revision(1))
    }

    fn history(&mut self, _: &GateName, _: Option<u64>, _: usize) -> Result<Vec<Event>, String> {
        let told = self.0.recv();
        told.map(|()| Vec::new()).map_err(|gone| gone.to_string())
    }
}

async fn history_readers() -> Served {
    let (give_up, told) = channel();
    let writer = Writer::spawn(Box::new(Stuck(told))).unwrap();
    let served = serve_with(open(), Limits::default(), |state| {
        state.history = upgrade_gate::app::serve::history(writer);
    })
    .await;
    let address = served.address;
    let ask = || {
        let request = "GET /api/v1/gates/default/history HTTP/1.1\r\nHost: g\r\n\
                       Connection: close\r\n\r\n";
        tokio::spawn(async move { Got::parse(&raw(address, request).await).unwrap() })
    };
    let asked: Vec<_> = (0..5).map(|_| ask()).collect();
    let http = &served.state.metrics.counters().http;
    while http.refusals(Refused::HistoryReaders) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(give_up);
    let mut busy = 0;
    for asked in asked {
        let got = asked.await.unwrap();
        assert_eq!(got.status, 503);
        busy += usize::from(got.text().contains("too many requests wait"));
    }
    assert_eq!(busy, 1);
    served
}

/// A server with one user, whose password takes a moment to check.
async fn with_a_user() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let hash = bcrypt::hash("right", 10).unwrap();
    fs::write(&file, format!("basic_auth_users: {{ann: {hash}}}\n")).unwrap();
    let settings = AuthSettings {
        web_config: Some(file),
        ..AuthSettings::default()
    };
    let access = Arc::new(Access::load(&settings).unwrap());
    serve_with(open(), Limits::default(), |state| state.access = access).await
}

/// Somebody at this address logs in.
async fn log_in(to: SocketAddr, from: [u8; 4], password: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let shown = STANDARD.encode(format!("ann:{password}"));
    let request = format!(
        "GET {CHECK} HTTP/1.1\r\nHost: g\r\nConnection: close\r\nAuthorization: Basic {shown}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn status(mut stream: TcpStream) -> u16 {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    Got::parse(&answer).unwrap().status
}

/// Wrong passwords from many addresses, four from each.
async fn passwords() -> Served {
    let served = with_a_user().await;
    let http = &served.state.metrics.counters().http;
    let mut open = Vec::new();
    // Some are checked meanwhile: others come until there is no room.
    for peer in 2..250 {
        if http.refusals(Refused::Passwords) > 0 {
            break;
        }
        for _ in 0..4 {
            open.push(log_in(served.address, [127, 0, 0, peer], "wrong").await);
        }
        tokio::task::yield_now().await;
    }
    served
}

/// Wrong passwords from one address, until it has no room; another address has it.
async fn passwords_of_one_address() -> Served {
    let served = with_a_user().await;
    let http = &served.state.metrics.counters().http;
    let mut open = Vec::new();
    while http.refusals(Refused::PasswordsOfPeer) == 0 {
        assert!(open.len() < 90);
        open.push(log_in(served.address, [127, 0, 0, 2], "wrong").await);
        tokio::task::yield_now().await;
    }
    let other = log_in(served.address, [127, 0, 0, 3], "right").await;
    assert_eq!(status(other).await, 200);
    served
}

async fn nobody() -> Served {
    let served = with_a_user().await;
    assert_eq!(served.get(CHECK).await.status, 401);
    served
}

async fn not_allowed() -> Served {
    let served = serve(open()).await;
    let target = "/api/v1/gates/default/enter?node=1&owner=me";
    assert_eq!(served.send("POST", target, "", "").await.status, 403);
    served
}
