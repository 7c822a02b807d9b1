//! The proofs `kill` and `restart`: the same cycles, asked about two things. `kill` asks how fast
//! a dead, frozen or stopping broker closes the gate, beside the moment at which the survivors
//! show it. `restart` asks whether the gate was ever open before the broker was really back, and
//! how long it stayed closed afterwards for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::cycle::{self, Cycle, Fault};
use super::gate::{Gate, Poller};
use super::report::{Distribution, Header, write};
use crate::cluster::Cluster;
use crate::load::{Load, LoadReport, LoadSpec};
use crate::release::Release;
use crate::spec::{Layout, Rules, Spec};

/// What to prove it on, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Cycles per kind of fault
    #[arg(long, default_value_t = 20)]
    pub runs: usize,
    /// Which faults; none: all of them
    #[arg(long, value_enum)]
    pub fault: Vec<Fault>,
    /// Kafka's release
    #[arg(long, default_value = "3.9.2")]
    pub release: Release,
    /// ZooKeeper instead of KRaft 3+3
    #[arg(long)]
    pub zookeeper: bool,
    /// The gate's window; the proof is about detection, so it is set small and said so
    #[arg(long, default_value = "3s")]
    pub window: String,
    /// Short session and lag timeouts on the brokers instead of Kafka's own
    #[arg(long)]
    pub quick: bool,
    /// Name of the proof's file, where it is not the proof's own
    #[arg(long)]
    pub name: Option<String>,
}

/// The file of a proof.
#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    layout: String,
    settings: String,
    window: String,
    partitions: usize,
    poll_ms: u64,
    faults: BTreeMap<Fault, Summary>,
    load: LoadReport,
    /// Resident memory of the gate at the end, bytes.
    gate_memory: Option<u64>,
    cycles: Vec<Cycle>,
}

#[derive(Debug, Serialize)]
struct Summary {
    runs: usize,
    allowance_ms: u64,
    /// Runs in which the node was named.
    named: usize,
    closed_ms: Option<Distribution>,
    named_ms: Option<Distribution>,
    survivors_metadata_ms: Option<Distribution>,
    survivors_jmx_ms: Option<Distribution>,
    exposure_ms: Option<Distribution>,
    false_opens: usize,
    full_isr_ms: Option<Distribution>,
    needless_ms: Option<Distribution>,
}

/// How often the gate is asked.
const PACE: Duration = Duration::from_millis(20);

/// Runs the cycles and writes the proof `name`.
pub async fn run(name: &str, args: &Args) -> Result<()> {
    let layout = if args.zookeeper {
        Layout::ZooKeeper { brokers: 3 }
    } else {
        Layout::KraftSeparate {
            controllers: 3,
            brokers: 3,
        }
    };
    let mut spec = Spec::new(layout, args.release).rules(Rules::Default);
    if args.quick {
        spec = spec.quick();
    }
    let words = format!("{layout:?}");
    let cluster = Cluster::start(spec).await.context("start the cluster")?;
    cluster
        .create_topic("orders", 60, 3, &[("min.insync.replicas", "2")])
        .await?;
    cluster.wait_full_isr(Duration::from_secs(60)).await?;
    let load = Load::start(LoadSpec::new(cluster.app_bootstrap(), "orders").rate(150))?;
    let gate = Gate::start(&gate_args(&cluster, &args.window)).await?;
    let poller = Poller::start(gate.port(), PACE);

    let faults = if args.fault.is_empty() {
        Fault::ALL.to_vec()
    } else {
        args.fault.clone()
    };
    let brokers: Vec<_> = cluster.brokers().map(crate::node::Node::id).collect();
    let mut cycles = Vec::new();
    for round in 0..args.runs {
        for fault in &faults {
            let node = brokers[round % brokers.len()];
            let cycle = cycle::run(&cluster, &gate, &poller, node, *fault).await?;
            tracing::info!(
                round,
                fault = fault.name(),
                node,
                named_ms = cycle.named_ms,
                metadata_ms = cycle.metadata_ms,
                jmx_ms = cycle.jmx_ms,
                false_opens = cycle.false_opens,
                needless_ms = cycle.needless_ms,
                needless_by = ?cycle.needless_by,
                "cycle"
            );
            cycles.push(cycle);
        }
    }
    drop(poller);
    let gate_memory = gate.memory();
    let load = load.stop().await?;
    let summaries = faults
        .iter()
        .map(|fault| (*fault, summary(*fault, &cycles)))
        .collect();
    let name = args.name.as_deref().unwrap_or(name);
    let proof = Proof {
        header: Header::new(name, vec![args.release.to_string()]),
        layout: words,
        settings: String::from(if args.quick { "quick" } else { "stock" }),
        window: args.window.clone(),
        partitions: 60,
        poll_ms: 20,
        faults: summaries,
        load,
        gate_memory,
        cycles,
    };
    let path = write(name, &proof)?;
    for (fault, summary) in &proof.faults {
        println!("{}: {}", fault.name(), serde_json::to_string(summary)?);
    }
    println!("wrote {}", path.display());
    Ok(())
}

/// The gate's arguments in front of a cluster of the lab.
pub fn gate_args(cluster: &Cluster, window: &str) -> Vec<String> {
    let text = |text: &str| text.to_owned();
    vec![
        text("--bootstrap"),
        cluster.bootstrap(),
        text("--jmx"),
        text(cluster.jmx_template()),
        text("--window"),
        text(window),
    ]
}

fn summary(fault: Fault, cycles: &[Cycle]) -> Summary {
    let mine: Vec<&Cycle> = cycles.iter().filter(|cycle| cycle.fault == fault).collect();
    let spans = |pick: fn(&Cycle) -> Option<f64>| {
        let values = mine.iter().filter_map(|cycle| pick(cycle));
        Distribution::of(values.map(|ms| Duration::from_secs_f64(ms / 1000.0)))
    };
    Summary {
        runs: mine.len(),
        allowance_ms: u64::try_from(fault.allowance().as_millis()).unwrap_or(u64::MAX),
        named: mine.iter().filter(|cycle| cycle.named_ms.is_some()).count(),
        closed_ms: spans(|cycle| cycle.closed_ms),
        named_ms: spans(|cycle| cycle.named_ms),
        survivors_metadata_ms: spans(|cycle| cycle.metadata_ms),
        survivors_jmx_ms: spans(|cycle| cycle.jmx_ms),
        exposure_ms: spans(|cycle| Some(cycle.exposed_ms)),
        false_opens: mine.iter().map(|cycle| cycle.false_opens).sum(),
        full_isr_ms: spans(|cycle| Some(cycle.full_ms)),
        needless_ms: spans(|cycle| Some(cycle.needless_ms)),
    }
}
