//! A cluster with a gate in front of it, and the scenarios that every kind of cluster has.

use std::io::Write as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lab::prove::cycle::{self, Fault};
use lab::prove::faults::gate_args;
use lab::prove::gate::{Answer, Gate, Poller};
use lab::{Cluster, Node, NodeId, Spec, http};

use crate::promtool::check_metrics;

/// How long anything may take that has no deadline of its own.
pub(crate) const LONG: Duration = Duration::from_secs(120);

const WINDOW: &str = "2s";

/// Runs one scenario and prints its seconds, past the test's captured output.
pub(crate) async fn scenario<T>(name: &str, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let done = Box::pin(work).await;
    let seconds = start.elapsed().as_secs_f32();
    writeln!(std::io::stderr(), "{seconds:6.1} s  {name}").expect("standard error");
    done
}

/// Runs the scenarios of one cluster.
pub(crate) fn run(scenarios: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(Box::pin(scenarios));
}

/// A healthy cluster and an open gate.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) gate: Gate,
}

impl Scene {
    pub(crate) async fn start(spec: Spec) -> Self {
        let cluster = Cluster::start(spec.quick()).await.expect("a cluster");
        let configs = [("min.insync.replicas", "2")];
        let topic = cluster.create_topic("orders", 12, 3, &configs).await;
        topic.expect("a topic");
        let args = gate_args(&cluster, WINDOW);
        let gate = Gate::start(&args).await.expect("a gate");
        gate.wait_open(LONG)
            .await
            .expect("open on a healthy cluster");
        Self { cluster, gate }
    }

    /// A fault to broker 2, from before it to the next `open`.
    pub(crate) async fn cycle(&self, fault: Fault, limit_ms: f64) {
        let poller = Poller::start(self.gate.port(), Duration::from_millis(20));
        let seen = cycle::run(&self.cluster, &self.gate, &poller, 2, fault).await;
        let seen = seen.expect("a cycle");
        assert!(seen.named_ms.is_some_and(|ms| ms <= limit_ms), "{seen:?}");
        assert_eq!(seen.false_opens, 0, "{seen:?}");
    }

    /// Everyone who may ask is told the same: open, and every node may stop.
    pub(crate) async fn open_to_all(&self) {
        let told = self.told(true).await;
        let nodes = told.plan["nodes"].as_array().expect("nodes");
        let mut listed: Vec<_> = nodes.iter().map(|node| node["node"].as_i64()).collect();
        listed.sort_unstable();
        let mut expected: Vec<_> = self.cluster.nodes().iter().map(Node::id).collect();
        expected.sort_unstable();
        let expected: Vec<_> = expected.into_iter().map(|id| Some(i64::from(id))).collect();
        assert_eq!(listed, expected);
        assert!(
            nodes.iter().all(|node| node["may_stop"] == "open"),
            "{:#}",
            told.plan
        );
    }

    /// The page that Prometheus scrapes and the command line say this, as `check` does.
    ///
    /// They are asked one after the other, and on a busy machine a gate may shut for a moment in
    /// between (an answer of Kafka's that is late). So they are compared when `check` says before
    /// and after them that nothing has changed.
    async fn told(&self, open: bool) -> Told {
        let start = Instant::now();
        loop {
            let before = self.gate.check("").await.expect("an answer");
            let told = Told::gather(&self.gate).await;
            let after = self.gate.check("").await.expect("an answer");
            let same = before.state == after.state && before.since == after.since;
            if same && before.is_open() == open {
                told.check(open);
                return told;
            }
            eprintln!("asked again: {before:?}, then {after:?}");
            assert!(start.elapsed() < LONG, "{}", self.gate.log_tail(20));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A broker is down: everyone is told so, also by a gate that has never seen it.
    pub(crate) async fn down_at_start(&self) {
        const DOWN: NodeId = 3;
        let node = self.cluster.node(DOWN).expect("a broker");
        node.stop_and_wait().await.expect("a stop");
        let second = Gate::start(&gate_args(&self.cluster, WINDOW)).await;
        let second = second.expect("a second gate");
        let shut = shut_for(&second, Duration::from_secs(8)).await;
        assert!(shut.names(DOWN), "{shut:?}");
        assert!(shut_for(&self.gate, Duration::ZERO).await.names(DOWN));
        self.told(false).await;
        node.start(None).await.expect("a start");
        self.cluster.wait_full_isr(LONG).await.expect("full ISRs");
        second.wait_open(LONG).await.expect("open: it is back");
        self.gate.wait_open(LONG).await.expect("open: it is back");
    }

    /// A topic with one replica is at risk in every restart: said, and no reason to wait.
    pub(crate) async fn single_replica(&self) {
        let topic = self.cluster.create_topic("scratch", 1, 1, &[]).await;
        topic.expect("a topic");
        let start = Instant::now();
        while start.elapsed() < LONG {
            let answer = self.gate.check("").await.expect("an answer");
            let warned = |code: &str| {
                let mut reasons = answer.reasons.iter();
                reasons.any(|reason| reason.code == code && reason.severity == "warn")
            };
            if answer.is_open() && warned("single_replica") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not open with a warning: {:?}", self.gate.check("").await);
    }
}

/// Asks for so long, and at least once; every answer has to be shut. Returns the last one.
pub(crate) async fn shut_for(gate: &Gate, span: Duration) -> Answer {
    let start = Instant::now();
    loop {
        let answer = gate.check("").await.expect("an answer");
        assert!(!answer.is_open(), "open after {:?}", start.elapsed());
        if start.elapsed() >= span {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What one gate says to those who do not ask `check` over HTTP.
struct Told {
    plan: serde_json::Value,
    page: String,
    command: Output,
}

impl Told {
    async fn gather(gate: &Gate) -> Self {
        let plan = gate.json("/api/v1/gates/default/plan").await;
        let page = http::metrics(gate.port(), LONG).await.expect("a page");
        let url = format!("http://127.0.0.1:{}", gate.port());
        let command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"))
            .args(["check", "--url", &url])
            .output();
        Self {
            plan: plan.expect("a plan"),
            page: String::from_utf8(page.to_vec()).expect("text"),
            command: command.expect("upgrade-gate check"),
        }
    }

    fn check(&self, open: bool) {
        let value = u8::from(open);
        let series = format!("\nupgrade_gate_open{{gate=\"default\"}} {value}\n");
        assert!(self.page.contains(&series), "{}", self.page);
        check_metrics(&self.page);
        let code = self.command.status.code();
        assert_eq!(code, Some(i32::from(!open)), "{:?}", self.command);
    }
}
