//! One fault, from before it to the next `open`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::sleep;

use super::gate::{Gate, Look, Poller};
use crate::cluster::Cluster;
use crate::http;
use crate::simulate::oracle::Cause;
use crate::spec::NodeId;

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// `kill -9`, then a start.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Freeze,
    /// SIGTERM (controlled shutdown), then a start.
    Stop,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Freeze, Self::Stop];

    /// The detection allowance: an `open` within it after the fault is exposure, one after it is
    /// a false open (issue: the main job; not to be tuned).
    pub fn allowance(self) -> Duration {
        match self {
            Self::Kill => Cause::Kill.allowance(),
            Self::Freeze => Cause::Freeze.allowance(),
            Self::Stop => Cause::ControlledStop.allowance(),
        }
    }

    /// The word in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Stop => "stop",
        }
    }
}

/// What one cycle showed. Spans count from the fault.
#[derive(Clone, Debug, Serialize)]
pub struct Cycle {
    pub node: NodeId,
    pub fault: Fault,
    /// First answer that is not open.
    pub closed_ms: Option<f64>,
    /// First answer that is not open and names the node.
    pub named_ms: Option<f64>,
    /// What that answer gave as reasons.
    pub codes: Vec<String>,
    /// When a survivor's metadata first showed a short ISR or a missing leader.
    pub metadata_ms: Option<f64>,
    /// When the survivors' JMX pages first showed an under-replicated partition.
    pub jmx_ms: Option<f64>,
    /// Answers `open` to questions sent within the allowance: exposure.
    pub exposed_opens: usize,
    /// Last of them.
    pub exposed_ms: f64,
    /// Answers `open` to questions sent after the allowance and before every ISR was full.
    pub false_opens: usize,
    /// When every broker saw every ISR full.
    pub full_ms: f64,
    /// From there to the next `open`: needless waiting, the window included.
    pub needless_ms: f64,
    /// Milliseconds of that for which each reason kept the gate shut; several may at once.
    pub needless_by: BTreeMap<String, f64>,
    /// Questions asked.
    pub asked: usize,
}

/// How long anything may take before a cycle is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does one fault to one node and watches until the gate is open again.
pub async fn run(
    cluster: &Cluster,
    gate: &Gate,
    poller: &Poller,
    node: NodeId,
    fault: Fault,
) -> Result<Cycle> {
    cluster.wait_full_isr(PATIENCE).await?;
    gate.wait_open(PATIENCE).await?;
    poller.take();
    let survivor = cluster
        .brokers()
        .map(crate::node::Node::id)
        .find(|id| *id != node);
    let survivor = survivor.context("find a broker that survives")?;

    let start = Instant::now();
    let target = cluster.node(node)?;
    match fault {
        Fault::Kill => target.kill()?,
        Fault::Freeze => target.freeze()?,
        Fault::Stop => target.stop()?,
    }
    let (metadata, jmx) = tokio::join!(
        metadata_shows(cluster, survivor, start),
        jmx_shows(cluster, node, start)
    );
    match fault {
        Fault::Kill => target.start(None).await?,
        Fault::Stop => {
            target.wait_ended().await;
            target.start(None).await?;
        }
        Fault::Freeze => {
            sleep(Duration::from_secs(1)).await;
            target.thaw()?;
        }
    }
    cluster.wait_full_isr(PATIENCE).await?;
    let full = Instant::now();
    gate.wait_open(PATIENCE).await?;
    let needless = full.elapsed();
    let looks = poller.take();
    Ok(judge(
        node, fault, start, full, needless, metadata, jmx, &looks,
    ))
}

#[expect(
    clippy::too_many_arguments,
    reason = "one cycle's raw readings, used once"
)]
fn judge(
    node: NodeId,
    fault: Fault,
    start: Instant,
    full: Instant,
    needless: Duration,
    metadata: Option<Duration>,
    jmx: Option<Duration>,
    looks: &[Look],
) -> Cycle {
    let after = |look: &&Look| look.seen >= start;
    let open = |look: &Look| {
        look.answer
            .as_ref()
            .is_some_and(super::gate::Answer::is_open)
    };
    let shut = looks.iter().filter(after).find(|look| !open(look));
    let named = looks.iter().filter(after).find(|look| {
        look.answer
            .as_ref()
            .is_some_and(|answer| !answer.is_open() && answer.names(node))
    });
    let t1 = start + fault.allowance();
    let exposed: Vec<_> = looks
        .iter()
        .filter(|look| look.seen >= start && look.asked < t1 && open(look))
        .collect();
    let false_opens = looks
        .iter()
        .filter(|look| look.asked >= t1 && look.seen < full && open(look))
        .count();
    let since = |look: &Look| look.seen.saturating_duration_since(start);
    Cycle {
        node,
        fault,
        closed_ms: shut.map(|look| ms(since(look))),
        named_ms: named.map(|look| ms(since(look))),
        codes: named
            .and_then(|look| look.answer.as_ref())
            .map(|a| a.codes())
            .unwrap_or_default(),
        metadata_ms: metadata.map(ms),
        jmx_ms: jmx.map(ms),
        exposed_opens: exposed.len(),
        exposed_ms: exposed.last().map_or(0.0, |look| ms(since(look))),
        false_opens,
        full_ms: ms(full.duration_since(start)),
        needless_ms: ms(needless),
        needless_by: causes(looks, full),
        asked: looks.len(),
    }
}

/// For how long each reason kept the gate shut after `full`.
fn causes(looks: &[Look], full: Instant) -> BTreeMap<String, f64> {
    let mut causes = BTreeMap::new();
    for pair in looks.windows(2) {
        let [look, next] = pair else { continue };
        let Some(answer) = look.answer.as_ref().filter(|answer| !answer.is_open()) else {
            continue;
        };
        if look.seen < full {
            continue;
        }
        for code in answer.codes() {
            let span = next.seen.saturating_duration_since(look.seen);
            *causes.entry(code).or_insert(0.0) += ms(span);
        }
    }
    causes
}

/// Milliseconds with one decimal.
pub fn ms(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

/// When a survivor's metadata first shows that something is missing.
async fn metadata_shows(cluster: &Cluster, from: NodeId, start: Instant) -> Option<Duration> {
    while start.elapsed() < PATIENCE {
        if cluster
            .metadata(from)
            .await
            .is_ok_and(|seen| !seen.isr_full())
        {
            return Some(start.elapsed());
        }
        sleep(Duration::from_millis(50)).await;
    }
    None
}

/// When the survivors' pages first show an under-replicated partition.
async fn jmx_shows(cluster: &Cluster, dead: NodeId, start: Instant) -> Option<Duration> {
    let ports: Vec<u16> = cluster
        .brokers()
        .filter(|node| node.id() != dead)
        .map(crate::node::Node::jmx_port)
        .collect();
    while start.elapsed() < PATIENCE {
        for port in &ports {
            let page = http::metrics(*port, Duration::from_secs(5)).await;
            if page.is_ok_and(|page| under_replicated(&String::from_utf8_lossy(&page)) > 0.0) {
                return Some(start.elapsed());
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

/// `UnderReplicatedPartitions` of a page in the exporter's default names.
fn under_replicated(page: &str) -> f64 {
    let name = "kafka_server_ReplicaManager_Value{name=\"UnderReplicatedPartitions\"";
    let line = page.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_naive_number_is_read_from_a_page() {
        let page =
            "a 1\nkafka_server_ReplicaManager_Value{name=\"UnderReplicatedPartitions\",} 7.0\n";
        assert!((under_replicated(page) - 7.0).abs() < f64::EPSILON);
        assert!(under_replicated("") < 0.5);
    }
}
