//! The degraded modes in front of a real cluster: each opens, and closes for a dead broker.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::gate::{Answer, Gate};
use super::watch::{PATIENCE, Row, config, start, watch};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::simulate::oracle::Cause;
use crate::spec::NodeId;

/// A broker and a controller that are killed.
const BROKER: NodeId = 2;
const CONTROLLER: NodeId = 102;

/// Goes through the degraded modes.
pub(super) async fn modes(cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    for (mode, config, dead) in [
        ("kafka", kafka(cluster), BROKER),
        ("jmx", jmx(cluster, super::watch::WINDOW), BROKER),
        ("via_brokers", via_brokers(kafka(cluster)), CONTROLLER),
        ("broker_pages", via_brokers(broker_pages(cluster)), BROKER),
    ] {
        cluster.wait_full_isr(PATIENCE).await?;
        let gate = start(cluster, &config).await?;
        let opened = watch(&gate, PATIENCE, Duration::from_secs(5), Answer::is_open).await;
        rows.push(opened.row(&format!("mode_{mode}"), "open", 0));

        let node = cluster.node(dead)?;
        let what = if dead == CONTROLLER {
            "controller"
        } else {
            "broker"
        };
        node.kill()?;
        let named = |answer: &Answer| !answer.is_open() && answer.names(dead);
        // What is asked over Kafka, and what pages tell, which count up to the age of 20 s
        // (docs/degraded.md).
        let known = if mode == "jmx" {
            Cause::InModeJmx
        } else {
            Cause::Other
        };
        let known = known.allowance();
        let limit = Duration::from_secs(20);
        let shut = watch(&gate, limit, limit, named).await;
        let wrong = shut.opens_after(known);
        let expected = format!(
            "shut, node {dead} named, not open again while it is down, nor later than {} s",
            known.as_secs()
        );
        rows.push(shut.row(&format!("mode_{mode}_{what}_killed"), expected, wrong));

        node.start(None).await?;
        let back = watch(&gate, PATIENCE, Duration::ZERO, Answer::is_open).await;
        let mut row = back.row(
            &format!("mode_{mode}_{what}_back"),
            "open once every ISR is full",
            0,
        );
        row.ok &= cluster.isr_full_everywhere().await;
        rows.push(row);
    }
    Ok(())
}

/// No exporter is known to the gate.
fn kafka(cluster: &Cluster) -> Value {
    let mut config = config(cluster);
    let gate = &mut config["gates"]["default"];
    gate["mode"] = json!("kafka");
    if let Some(gate) = gate.as_object_mut() {
        gate.remove("jmx");
    }
    config
}

/// The controllers' listener is out of reach.
fn via_brokers(mut config: Value) -> Value {
    let kafka = &mut config["gates"]["default"]["kafka"];
    kafka["via_brokers"] = json!(true);
    if let Some(kafka) = kafka.as_object_mut() {
        kafka.remove("controllers");
    }
    config
}

/// Brokers alone have exporters.
fn broker_pages(cluster: &Cluster) -> Value {
    let mut config = config(cluster);
    let brokers = cluster
        .nodes()
        .iter()
        .filter(|node| node.role().is_broker());
    let targets = brokers.map(|node| (node.id().to_string(), json!(node.jmx_url())));
    config["gates"]["default"]["jmx"] = json!({"targets": Value::Object(targets.collect())});
    config
}

/// A gate that reads nothing but pages, with a window of so long.
///
/// # Errors
/// It does not start.
pub async fn gate_of_pages(cluster: &Cluster, window: &str) -> Result<Gate> {
    start(cluster, &jmx(cluster, window)).await
}

/// Nothing but exporters is known to the gate.
fn jmx(cluster: &Cluster, window: &str) -> Value {
    let role = |node: &Node| match (node.role().is_broker(), node.role().is_controller()) {
        (true, true) => "combined",
        (true, false) => "broker",
        (false, _) => "controller",
    };
    let nodes: Vec<_> = cluster.nodes().iter().collect();
    let of = |value: &dyn Fn(&Node) -> String| -> Value {
        let all = nodes
            .iter()
            .map(|node| (node.id().to_string(), json!(value(node))));
        Value::Object(all.collect())
    };
    json!({"gates": {"default": {
        "mode": "jmx",
        "nodes": of(&|node| role(node).to_owned()),
        "jmx": {"targets": of(&Node::jmx_url)},
        "policy": {"window": window},
    }}})
}
