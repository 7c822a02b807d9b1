//! The demo on real Kafka: a rolling restart in front of a gate, with one broker killed on the way.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::load::{Load, LoadSpec};
use crate::prove::faults::gate_args;
use crate::prove::gate::{Answer, Gate};
use crate::release::Release;
use crate::spec::{NodeId, Rules, Spec};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often the script asks, as a pipeline would.
const PACE: Duration = Duration::from_millis(100);

/// What to show it on.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kafka's release
    #[arg(long, default_value = "3.9.2")]
    pub release: Release,
    /// The gate's window; small, so that the demo does not take long
    #[arg(long, default_value = "5s")]
    pub window: String,
}

struct Show {
    start: Instant,
}

impl Show {
    fn line(&self, who: &str, what: &str) {
        // A reader who has gone does not stop the demo.
        let seconds = self.start.elapsed().as_secs_f64();
        let _ = writeln!(std::io::stdout(), "{seconds:6.1}s  {who:<8} {what}");
    }
}

/// Runs the demo.
pub async fn run(args: &Args) -> Result<()> {
    let show = Show {
        start: Instant::now(),
    };
    show.line(
        "script",
        &format!("starting Kafka {}: 3 controllers, 3 brokers", args.release),
    );
    let spec = Spec::kraft(args.release).quick().rules(Rules::Default);
    let cluster = Cluster::start(spec).await.context("start the cluster")?;
    cluster
        .create_topic("orders", 30, 3, &[("min.insync.replicas", "2")])
        .await?;
    let load = Load::start(LoadSpec::new(cluster.app_bootstrap(), "orders").rate(100))?;
    let gate = Gate::start(&gate_args(&cluster, &args.window)).await?;
    show.line(
        "gate",
        &format!(
            "http://127.0.0.1:{}/ (window {}, set small for the demo)",
            gate.port(),
            args.window
        ),
    );
    let active = cluster.active_controller().await?;
    // Standby controllers first, the active one last, then the brokers.
    let controllers = cluster
        .nodes()
        .iter()
        .filter(|node| node.role().is_controller());
    let mut nodes: Vec<NodeId> = controllers.map(crate::node::Node::id).collect();
    nodes.sort_by_key(|node| Some(*node) == active);
    nodes.extend(cluster.brokers().map(crate::node::Node::id));
    let fault_before = nodes.last().copied();
    for node in nodes {
        if Some(node) == fault_before {
            kill_another(&show, &cluster, &gate, node).await?;
        }
        let waited = wait(&show, &gate, node).await?;
        show.line(
            "script",
            &format!("check?node={node} is open after {waited:.1} s: SIGTERM to {node}"),
        );
        let target = cluster.node(node)?;
        target.stop()?;
        closed(&show, &gate, "SIGTERM").await?;
        target.wait_ended().await;
        target.start(None).await?;
        show.line("script", &format!("node {node} is started again"));
    }
    let took = gate.wait_open(PATIENCE).await?;
    show.line(
        "OPEN",
        &format!("the roll is over, after {:.1} s more", took.as_secs_f64()),
    );
    let report = load.stop().await?;
    show.line(
        "load",
        &format!(
            "{} records acknowledged, {} lost, {} doubled, worst acknowledgement {} ms",
            report.acknowledged, report.lost, report.doubled, report.worst_ack_ms
        ),
    );
    Ok(())
}

/// The one fault: a broker dies just before the script would stop another one.
async fn kill_another(show: &Show, cluster: &Cluster, gate: &Gate, next: NodeId) -> Result<()> {
    wait(show, gate, next).await?;
    let other = cluster
        .brokers()
        .map(crate::node::Node::id)
        .find(|id| *id != next);
    let other = other.context("find another broker")?;
    show.line(
        "FAULT",
        &format!("kill -9 of broker {other}, just before {next} would be stopped"),
    );
    cluster.node(other)?.kill()?;
    closed(show, gate, "kill -9").await?;
    sleep(Duration::from_secs(5)).await;
    cluster.node(other)?.start(None).await?;
    show.line("script", &format!("broker {other} is started again"));
    Ok(())
}

/// Waits until the gate is shut and says how fast it was and why.
async fn closed(show: &Show, gate: &Gate, after: &str) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let answer = gate.check("").await?;
        if !answer.is_open() {
            let ms = start.elapsed().as_millis();
            show.line(
                "CLOSED",
                &format!("{ms} ms after the {after}: {}", why(&answer)),
            );
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    show.line("gate", "still open after 10 s");
    Ok(())
}

/// Polls until this node may go; shows each new reason.
async fn wait(show: &Show, gate: &Gate, node: NodeId) -> Result<f64> {
    let start = Instant::now();
    let mut last = String::new();
    loop {
        let answer = gate.check(&format!("?node={node}")).await?;
        if answer.is_open() {
            return Ok(start.elapsed().as_secs_f64());
        }
        let codes = answer.codes().join(" ");
        if codes != last {
            show.line(&answer.state.to_uppercase(), &why(&answer));
            last = codes;
        }
        if start.elapsed() > PATIENCE {
            anyhow::bail!("see node {node} free within {PATIENCE:?}: {last}");
        }
        sleep(PACE).await;
    }
}

/// The first reason in words, and how many more there are.
fn why(answer: &Answer) -> String {
    let shut: Vec<_> = answer
        .reasons
        .iter()
        .filter(|r| r.severity != "warn")
        .collect();
    let first = shut.first().map_or_else(String::new, |reason| {
        let node = reason
            .node
            .map_or_else(String::new, |node| format!(" (node {node})"));
        format!("{}{node}: {}", reason.code, reason.observed)
    });
    match shut.len() {
        0 | 1 => first,
        more => format!("{first} (+{} more)", more - 1),
    }
}
