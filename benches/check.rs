//! What `check` costs beside a bare hyper server that answers a constant body of the same size, in
//! the same run: CPU per request of each server's own thread, and requests per second.
//!
//! The aim is at most 1.2 times the bare server's CPU per request (issue 3). Rounds alternate
//! between the two, so that other load on the machine meets both; the median counts.
//!
//! `lab bench check`, or `cargo bench --bench check [-- --requests N --rounds N]`

#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]
#![expect(clippy::expect_used, reason = "a benchmark that cannot run ends here")]

#[expect(dead_code, reason = "its rounds are timed from outside, per server")]
mod measure;
#[path = "../fuzz/src/served.rs"]
#[expect(unreachable_pub, reason = "a library of its own for cargo-fuzz")]
mod served;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::time::ClockId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc as questions, oneshot};
use tokio_util::sync::CancellationToken;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::clock::{Clock, SystemClock};
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::view::View;
use upgrade_gate::server::{Limits, Server};

use measure::{Spread, argument, seconds};

const REQUEST: &[u8] = b"GET /api/v1/gates/default/check HTTP/1.1\r\nHost: gate\r\n\
    User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
const CONNECTIONS: usize = 4;

fn main() {
    let (requests, rounds) = (argument("--requests", 8_000), argument("--rounds", 41));
    let mut report = json!({ "connections": CONNECTIONS, "requests_per_round": requests });
    for (name, reasons) in [("open", 0), ("closed", 3)] {
        let view = view(reasons);
        let check = Running::start(move |runtime, stop| serve_check(runtime, view, stop));
        let size = body_size(check.address);
        let bare = Running::start(move |runtime, stop| serve_bare(runtime, size, stop));
        let mut compared = compare(&check, &bare, requests, rounds);
        compared["reasons"] = json!(reasons);
        compared["body_bytes"] = json!(size);
        report[name] = compared;
    }
    println!("{report:#}");
}

fn compare(check: &Running, bare: &Running, requests: usize, rounds: usize) -> Value {
    load(check, requests / 10);
    load(bare, requests / 10);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(load(check, requests));
        theirs.push(load(bare, requests));
    }
    let cpu = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.cpu * 1e6)).json();
    let rate = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.rate)).json();
    let pairs = ours.iter().zip(&theirs);
    json!({
        "cpu_microseconds_per_request": { "check": cpu(&ours), "bare": cpu(&theirs) },
        "requests_per_second": { "check": rate(&ours), "bare": rate(&theirs) },
        "cpu_ratio": Spread::of(pairs.map(|(ours, bare)| ours.cpu / bare.cpu)).json(),
    })
}

/// A server on a thread of its own, whose CPU time can be asked for.
struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    cpu: questions::UnboundedSender<oneshot::Sender<f64>>,
}

impl Running {
    fn start<F>(
        serve: impl FnOnce(&Runtime, CancellationToken) -> (SocketAddr, F) + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let stop = CancellationToken::new();
        let (cpu, mut asked) = questions::unbounded_channel::<oneshot::Sender<f64>>();
        let (started, address) = mpsc::channel();
        let stopping = stop.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            let (address, serving) = serve(&runtime, stopping);
            started.send(address).expect("the main thread waits");
            let local = tokio::task::LocalSet::new();
            local.spawn_local(async move {
                while let Some(answer) = asked.recv().await {
                    let _ = answer.send(seconds(ClockId::ThreadCPUTime));
                }
            });
            local.block_on(&runtime, serving);
        });
        Self {
            address: address.recv().expect("the server starts"),
            stop,
            cpu,
        }
    }

    fn cpu(&self) -> f64 {
        let (answer, asked) = oneshot::channel();
        self.cpu.send(answer).expect("the server runs");
        asked.blocking_recv().expect("the server answers")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One round.
struct Round {
    /// CPU seconds of the server per request.
    cpu: f64,
    /// Requests per second.
    rate: f64,
}

/// This many requests over a few kept connections, each asking again as soon as it has its answer.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
fn load(server: &Running, requests: usize) -> Round {
    let address = server.address;
    let (cpu, wall) = (server.cpu(), seconds(ClockId::Monotonic));
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|_| thread::spawn(move || converse(address, requests / CONNECTIONS)))
        .collect();
    for caller in callers {
        caller.join().expect("a caller ends well");
    }
    let wall = seconds(ClockId::Monotonic) - wall;
    Round {
        cpu: (server.cpu() - cpu) / requests as f64,
        rate: requests as f64 / wall,
    }
}

fn converse(address: SocketAddr, requests: usize) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("nodelay");
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..requests {
        stream.write_all(REQUEST).expect("the server reads");
        let mut have = 0;
        while whole_length(&buffer[..have]).is_none_or(|whole| have < whole) {
            let read = stream
                .read(&mut buffer[have..])
                .expect("the server answers");
            assert!(read > 0, "the server closed");
            have += read;
        }
    }
}

/// The length of the response that starts here, once its header is complete.
fn whole_length(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length: ";
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let head = find(b"\r\n\r\n")? + 4;
    let digits = bytes[find(NAME)? + NAME.len()..]
        .split(|byte| *byte == b'\r')
        .next()?;
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(head + length)
}

fn body_size(address: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(REQUEST).expect("the server reads");
    let mut buffer = vec![0; 64 * 1024];
    let read = stream.read(&mut buffer).expect("the server answers");
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n");
    read - head.expect("a whole header") - 4
}

fn serve_check(
    runtime: &Runtime,
    view: View,
    stop: CancellationToken,
) -> (SocketAddr, impl Future<Output = ()> + use<>) {
    let (state, _, _inbox) = served::app(view, Arc::new(SystemClock));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = runtime.block_on(Server::bind(&[any], state, Limits::default()));
    let server = server.expect("a free port");
    let address = server.local_addrs()[0];
    (address, server.serve(stop))
}

/// hyper with the same timer, and nothing else.
fn serve_bare(
    runtime: &Runtime,
    size: usize,
    stop: CancellationToken,
) -> (SocketAddr, impl Future<Output = ()> + use<>) {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let body = Bytes::from("x".repeat(size));
    let serving = async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, _) = accepted.expect("accept");
            stream.set_nodelay(true).expect("nodelay");
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(|_: Request<Incoming>| {
                    let response = Response::new(Full::new(body.clone()));
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    };
    (address, serving)
}

/// A view that stays true, with this many blocking reasons.
fn view(reasons: i32) -> View {
    let now = SystemClock.now();
    let reason = |node| served::under_replicated(now, Subject::Node(NodeId(node)));
    served::view(now, (0..reasons).map(reason).collect())
}
