//! A server on a free port, over views and a clock that the test sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::clock::Clock;
use upgrade_gate::engine::handle::Ask;
use upgrade_gate::evidence::ids::{ClusterId, GroupId, NodeId, Release, Role, Version};
use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::evidence::report::{FactKind, SourceId};
use upgrade_gate::evidence::snapshot::ClusterKind;
use upgrade_gate::evidence::step::Step;
use upgrade_gate::gate::parts::{
    CheckView, ClusterView, FactsView, GroupView, NodeView, Outcome, ReasonView, SourceView,
    ViewParts, WindowView, verdict,
};
use upgrade_gate::gate::state::{GateName, State};
use upgrade_gate::gate::view::View;
use upgrade_gate::server::{AppState, Limits, Server};
use upgrade_gate::time::{Mono, Now, Timestamp};
use upgrade_gate::view::Published;

use crate::fuzz::targets::served as by_hand;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<Now>);

impl Clock for TestClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

impl TestClock {
    pub(crate) fn advance(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        now.mono = now.mono.plus(span);
        now.wall = now.wall.plus(span);
    }
}

pub(crate) const START: Now = Now {
    mono: Mono::from_nanos(1_000_000_000_000),
    wall: Timestamp::from_nanos(1_795_000_000_000_000_000),
};

/// For how long the views of these tests are true.
pub(crate) const VALID: Duration = Duration::from_secs(10);

/// A reason about a node, given a minute ago.
pub(crate) fn reason(reason: Reason, subject: Subject) -> ReasonView {
    ReasonView {
        reason,
        severity: reason.row().severity,
        subject,
        observed: String::from("orders-3: ISR [1, 3] of replicas [1, 2, 3] <b>"),
        required: String::from("every replica in the ISR"),
        count: 7,
        examples: vec![String::from("orders-3")],
        since: START.wall.minus(Duration::from_mins(1)),
        source: Some(SourceId::Kafka(NodeId(1))),
        asked: Some(START.mono.minus(Duration::from_millis(300))),
        step: None,
    }
}

fn node(id: i32, role: Role, state: State, active_controller: bool) -> NodeView {
    NodeView {
        node: NodeId(id),
        role,
        release: Release::Is(Version { major: 3, minor: 9 }),
        address: Some(format!("10.0.0.{}:9092", id % 100)),
        active_controller,
        down: false,
        may_stop: state,
        reasons: Vec::new(),
        leads: 20,
        replicas: 60,
        leads_without: BTreeMap::new(),
    }
}

/// A view of three brokers and three controllers with these reasons, and the verdict they make.
pub(crate) fn parts(reasons: Vec<ReasonView>) -> ViewParts {
    let state = verdict(reasons.iter().map(|reason| reason.severity));
    let codes: BTreeSet<Reason> = reasons.iter().map(|reason| reason.reason).collect();
    let isr = codes.contains(&Reason::UnderReplicated);
    let of_nodes = [Reason::WouldGoOffline, Reason::SingleReplica];
    let general = reasons.iter();
    let general = general.filter(|reason| !of_nodes.contains(&reason.reason));
    ViewParts {
        general: general.cloned().collect(),
        blind_spots: Vec::new(),
        gate: GateName::default(),
        generation: 7,
        evaluated: Now {
            mono: START.mono.minus(Duration::from_millis(250)),
            wall: START.wall.minus(Duration::from_millis(250)),
        },
        valid_until: START.mono.plus(VALID),
        state,
        since: START.wall.minus(Duration::from_secs(90)),
        transitions: BTreeMap::from([(State::Open, 2), (State::Closed, 3)]),
        checks: vec![
            CheckView {
                id: "isr",
                title: "Every replica is in its ISR",
                outcome: if isr { Outcome::Found } else { Outcome::Proved },
                reasons: codes
                    .into_iter()
                    .filter(|code| *code == Reason::UnderReplicated)
                    .collect(),
            },
            CheckView {
                id: "zookeeper",
                title: "The ZooKeeper session holds",
                outcome: Outcome::NotApplicable("KRaft"),
                reasons: BTreeSet::new(),
            },
        ],
        reasons,
        nodes: vec![
            node(1, Role::BROKER, state, false),
            node(2, Role::BROKER, state, false),
            node(3, Role::BROKER, state, false),
            node(101, Role::CONTROLLER, state, true),
            node(102, Role::CONTROLLER, state, false),
            node(103, Role::CONTROLLER, state, false),
        ],
        sources: vec![
            SourceView {
                source: SourceId::Kafka(NodeId(1)),
                up: true,
                last_success: Some(START.wall),
                trouble: Vec::new(),
            },
            SourceView {
                source: SourceId::Jmx(NodeId(2)),
                up: false,
                last_success: None,
                trouble: vec![(FactKind::Jmx, String::from("connection refused"))],
            },
        ],
        window: WindowView {
            required: Duration::from_secs(45),
            healthy_for: (state != State::Closed).then_some(Duration::from_secs(38)),
            settled: false,
            basis: String::from("1.5 x replica.lag.time.max.ms"),
        },
        cluster: ClusterView {
            id: Some(ClusterId(String::from("kRaFtClUsTeRiD0000000A"))),
            kind: ClusterKind::KRaft,
            controller: Some(NodeId(101)),
            metadata_version: Some(21),
        },
        facts: FactsView {
            partitions: Some(60),
            under_replicated: Some(0),
            under_min_isr: Some(0),
            offline: Some(0),
            reassigning: None,
            jmx_under_replicated: Some(0.0),
            jmx_active_controllers: Some(1.0),
            jmx_offline: Some(f64::NAN),
        },
        groups: vec![GroupView {
            group: GroupId(String::from("billing \"eu\"")),
            lag: Some(12),
            partitions: 6,
        }],
        leases: Vec::new(),
        hold: None,
        node_holds: BTreeMap::new(),
        mode: Mode::KafkaJmx,
    }
}

pub(crate) fn open() -> View {
    View::new(parts(vec![]))
}

pub(crate) fn closed() -> View {
    let subject = Subject::Node(NodeId(2));
    View::new(parts(vec![
        reason(Reason::UnderReplicated, subject),
        reason(Reason::SingleReplica, Subject::Cluster),
    ]))
}

pub(crate) fn unknown() -> View {
    let subject = Subject::Source(SourceId::Jmx(NodeId(2)));
    View::new(parts(vec![ReasonView {
        step: Some(Step::HttpLogin),
        ..reason(Reason::SourceFailed, subject)
    }]))
}

/// The view before the first judgement.
pub(crate) fn just_started() -> View {
    by_hand::just_started(START)
}

/// A served gate, called `default`.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) published: Arc<Published>,
    /// Questions to the engine; the test is the engine.
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) state: AppState,
    pub(crate) shutdown: CancellationToken,
    /// Ends with the server.
    pub(crate) ended: JoinHandle<()>,
}

/// What a server is made of, for tests that change a part of it.
pub(crate) fn state(
    view: View,
) -> (
    AppState,
    Arc<TestClock>,
    Arc<Published>,
    mpsc::Receiver<Ask>,
) {
    let clock = Arc::new(TestClock(Mutex::new(START)));
    let (state, published, asks) = by_hand::app(view, clock.clone());
    (state, clock, published, asks)
}

pub(crate) async fn serve(view: View) -> Served {
    serve_with(view, Limits::default(), |_| ()).await
}

pub(crate) async fn serve_with(
    view: View,
    limits: Limits,
    change: impl FnOnce(&mut AppState),
) -> Served {
    let (mut state, clock, published, asks) = state(view);
    change(&mut state);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(&[any], state.clone(), limits).await.unwrap();
    let address = server.local_addrs()[0];
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(server.serve(shutdown.clone()));
    Served {
        address,
        clock,
        published,
        asks,
        state,
        shutdown,
        ended,
    }
}

/// A response as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(known, _)| known == name);
        let found = named.next().map(|(_, value)| value.as_str());
        assert!(named.next().is_none(), "{name} is there twice");
        found
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Takes apart everything that came until the connection was closed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Self {
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        })
    }
}

/// Sends these bytes and reads until the server closes.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    // A reset after the answer is how a refused connection may look.
    let _ = read.expect("the server closes");
    answer
}

impl Served {
    pub(crate) async fn send(&self, method: &str, target: &str, headers: &str, body: &str) -> Got {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             {headers}{length}\r\n{body}"
        );
        let answer = raw(self.address, &request).await;
        Got::parse(&answer).unwrap_or_else(|| panic!("no response: {answer:?}"))
    }

    pub(crate) async fn get(&self, target: &str) -> Got {
        self.send("GET", target, "", "").await
    }
}
