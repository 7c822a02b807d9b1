//! Rows of the proof `plan` in which something is done: what `GET plan` foresees, held against what
//! Kafka does when a node really stops, and who is let repair what.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::gate::Gate;
use super::table::{PACE, Table};
use super::watch::{PATIENCE, config, start};
use crate::cluster::Cluster;
use crate::http;
use crate::node::Node;
use crate::spec::{Layout, NodeId};

const PLAN: &str = "/api/v1/gates/default/plan";
/// How long an answer may take: new evidence, and the store.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// For how long a repair that must not begin is asked for.
const REFUSED_FOR: Duration = Duration::from_secs(15);

/// What `GET plan` says of every node, of the order, of machines, and of who leads what without one
/// node, which is then stopped.
pub(super) async fn plan(table: &mut Table<'_>, stopped: NodeId) -> Result<()> {
    table.gate().wait_open(PATIENCE).await?;
    let plan = every_node(table, "every node as check says", "open").await?;
    order(table, &plan).await?;
    machines(table, &plan).await?;
    leaders(table, stopped).await
}

/// What a row of `GET plan` is called.
fn called(table: &Table<'_>, what: &str) -> String {
    format!("GET plan, {}: {what}", table.name())
}

/// Every node of the cluster is in this state, in the plan as by `check`. Where none may stop, the
/// first `open` decides. Returns the plan.
pub(super) async fn every_node(table: &mut Table<'_>, what: &str, state: &str) -> Result<Value> {
    let nodes = judged(table.cluster());
    let expected: BTreeMap<i64, String> = nodes
        .map(|node| (i64::from(node.id()), state.to_owned()))
        .collect();
    let name = called(table, what);
    let begun = Instant::now();
    loop {
        let plan = table.gate().json(PLAN).await?;
        let (says, check) = states(table.gate(), &plan).await?;
        let opens = says.values().chain(check.values()).any(|it| it == "open");
        let met = says == expected && check == expected;
        if met || (opens && state != "open") || begun.elapsed() >= PATIENCE {
            let actual = both(format!("{says:?}"), &format!("{check:?}"));
            table.compared(&name, "", format!("{expected:?}"), actual);
            return Ok(plan);
        }
        sleep(PACE).await;
    }
}

/// What the plan and `check` say of every node of the plan.
async fn states(
    gate: &Gate,
    plan: &Value,
) -> Result<(BTreeMap<i64, String>, BTreeMap<i64, String>)> {
    let (mut says, mut check) = (BTreeMap::new(), BTreeMap::new());
    for node in plan["nodes"].as_array().context("nodes of the plan")? {
        let id = node["node"].as_i64().context("a node's id")?;
        says.insert(id, node["may_stop"].as_str().context("a state")?.to_owned());
        check.insert(id, gate.check(&format!("?node={id}")).await?.state);
    }
    Ok((says, check))
}

/// What the plan says, and what `check` says where that is something else.
fn both(says: String, check: &str) -> String {
    if says == check {
        says
    } else {
        format!("{says}, but check {check}")
    }
}

/// The nodes that a gate judges: all, and with ZooKeeper the brokers.
fn judged(cluster: &Cluster) -> impl Iterator<Item = &Node> {
    let zookeeper = matches!(cluster.spec().layout, Layout::ZooKeeper { .. });
    let nodes = cluster.nodes().iter();
    nodes.filter(move |node| !zookeeper || node.role().is_broker())
}

/// Controllers first, the active one last among them; with ZooKeeper the active one last of all.
async fn order(table: &mut Table<'_>, plan: &Value) -> Result<()> {
    let active = table.cluster().active_controller().await?;
    let mut nodes: Vec<(bool, bool, NodeId)> = Vec::new();
    for node in judged(table.cluster()) {
        let id = node.id();
        nodes.push((!node.role().is_controller(), active == Some(id), id));
    }
    nodes.sort_unstable();
    let wanted: Vec<NodeId> = nodes.into_iter().map(|(_, _, id)| id).collect();
    let name = called(table, "the order");
    table.compared(
        &name,
        "",
        json!(wanted).to_string(),
        plan["order"].to_string(),
    );
    Ok(())
}

async fn machines(table: &mut Table<'_>, plan: &Value) -> Result<()> {
    let told = plan["hosts"].as_object().context("hosts of the plan")?;
    let machines = super::table::machines(table.cluster());
    ensure!(told.len() == machines.len(), "see every machine: {told:?}");
    for (host, nodes, expected) in machines {
        let told = told.get(*host).context("find a machine in the plan")?;
        ensure!(told["nodes"] == json!(nodes), "see its nodes: {told}");
        let nodes = nodes.map(|node| node.to_string()).join(",");
        let check = table.gate().check(&format!("?node={nodes}")).await?.state;
        let says = told["may_stop"].as_str().context("a state")?.to_owned();
        tracing::info!(host, nodes, "a machine");
        let name = called(table, "a machine");
        table.compared(&name, &nodes, (*expected).to_owned(), both(says, &check));
    }
    Ok(())
}

/// Stops the node and counts who leads what.
async fn leaders(table: &mut Table<'_>, stopped: NodeId) -> Result<()> {
    let plan = table.gate().json(PLAN).await?;
    let nodes = plan["nodes"].as_array().context("nodes of the plan")?;
    let node = nodes.iter().find(|node| node["node"] == stopped);
    let foreseen = &node.context("the node to stop")?["leads_without"];
    let foreseen: BTreeMap<NodeId, usize> = serde_json::from_value(foreseen.clone())?;
    let cluster = table.cluster();
    cluster.node(stopped)?.stop_and_wait().await?;
    let begun = Instant::now();
    let mut found = led(cluster).await?;
    while found.contains_key(&stopped) && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(200)).await;
        found = led(cluster).await?;
    }
    // Those that lead nothing have a zero in the plan.
    for broker in foreseen.keys() {
        found.entry(*broker).or_insert(0);
    }
    let name = called(table, "who leads without it");
    let node = stopped.to_string();
    table.compared(&name, &node, format!("{found:?}"), format!("{foreseen:?}"));
    cluster.node(stopped)?.start(None).await?;
    cluster.wait_full_isr(PATIENCE).await?;
    table.gate().wait_open(PATIENCE).await?;
    Ok(())
}

/// How many partitions each broker leads, by the word of one that serves.
async fn led(cluster: &Cluster) -> Result<BTreeMap<NodeId, usize>> {
    let from = cluster.serving_brokers().next();
    let from = from.context("find a broker that serves")?.id();
    let mut led = BTreeMap::new();
    for partition in cluster.metadata(from).await?.partitions {
        if let Some(leader) = partition.leader {
            *led.entry(leader).or_insert(0) += 1;
        }
    }
    Ok(led)
}

/// Broker 2 is killed: it may be repaired, and nobody else who lives, whether the gate reaches it
/// or not, where that would make something worse.
pub(super) async fn repairs(table: &mut Table<'_>) -> Result<()> {
    const KILLED: NodeId = 2;
    let cluster = table.cluster();
    cluster.wait_full_isr(PATIENCE).await?;
    let killed = cluster.node(KILLED)?;
    killed.kill()?;
    killed.wait_ended().await;
    cluster.wait_fenced(KILLED, PATIENCE).await?;
    let beside = holds_with(cluster, KILLED).await?;
    let name = "repair of a broker that lives, beside it";
    let told = refused(table.gate(), beside).await?;
    table.compared(name, &beside.to_string(), WORSE.to_owned(), told);

    let cut_off = cut_off_from(cluster, beside).await?;
    let told = refused(&cut_off, beside).await?;
    drop(cut_off);
    let name = "repair of a broker that only the gate is cut off from, beside it";
    table.compared(name, &beside.to_string(), WORSE.to_owned(), told);

    let begun = Instant::now();
    let mut last = String::new();
    while last != "go" && begun.elapsed() < PATIENCE {
        last = ask(table.gate(), "enter", KILLED).await?;
    }
    let name = "repair of a broker that is killed";
    table.compared(name, &KILLED.to_string(), String::from("go"), last);
    killed.start(None).await?;
    let begun = Instant::now();
    while ask(table.gate(), "leave", KILLED).await? != "go" {
        ensure!(begun.elapsed() < PATIENCE, "see the repaired broker back");
        // Who asks without a pause is shed.
        sleep(Duration::from_millis(500)).await;
    }
    cluster.wait_full_isr(PATIENCE).await?;
    Ok(())
}

/// What is said where a repair would take a replica too many.
const WORSE: &str = "never go; would_lose_min_isr";

/// The verdict on a repair that must not begin, after asking for it for a while.
async fn refused(gate: &Gate, node: NodeId) -> Result<String> {
    let begun = Instant::now();
    let mut last = String::new();
    let mut said_worse = false;
    while begun.elapsed() < REFUSED_FOR || (!said_worse && begun.elapsed() < PATIENCE) {
        last = ask(gate, "enter", node).await?;
        if last == "go" {
            return Ok(last);
        }
        said_worse = last.contains("would_lose_min_isr");
        sleep(Duration::from_millis(500)).await;
    }
    Ok(if said_worse { WORSE.to_owned() } else { last })
}

/// One request for a repair, or its end.
async fn ask(gate: &Gate, what: &str, node: NodeId) -> Result<String> {
    let action = if what == "enter" {
        "&action=repair&ttl=10m"
    } else {
        ""
    };
    request(gate, what, node, action).await
}

/// One request for a lease, or its end: `go`, or the codes of what speaks against it.
pub(super) async fn request(gate: &Gate, what: &str, node: NodeId, more: &str) -> Result<String> {
    let path = format!("/api/v1/gates/default/{what}?node={node}&owner=lab{more}");
    let (status, body) = http::post_for(gate.port(), &path, ANSWER).await?;
    if status == 200 {
        return Ok(String::from("go"));
    }
    let body: Value = serde_json::from_slice(&body)?;
    let reasons = body["reasons"].as_array().into_iter().flatten();
    let against = reasons.filter(|reason| reason["severity"] != "warn");
    let codes: Vec<_> = against
        .filter_map(|reason| reason["code"].as_str())
        .collect();
    Ok(format!("{status} {}", codes.join(", ")))
}

/// A broker that is in the ISR of a partition with min ISR 2 and three replicas, of which `killed` is
/// one: without it the partition would be short.
pub(super) async fn holds_with(cluster: &Cluster, killed: NodeId) -> Result<NodeId> {
    let from = cluster.serving_brokers().next();
    let from = from.context("find a broker that serves")?.id();
    let seen = cluster.metadata(from).await?;
    let mut shared = seen
        .topic("orders")
        .filter(|it| it.replicas.contains(&killed));
    let other = shared.find_map(|it| it.isr.iter().copied().find(|id| *id != killed && *id != 4));
    other.context("find a broker that shares a partition with it")
}

/// A gate that cannot reach one broker which everybody else can.
async fn cut_off_from(cluster: &Cluster, node: NodeId) -> Result<Gate> {
    let mut settings = config(cluster);
    let kafka = &mut settings["gates"]["default"]["kafka"];
    let others = cluster.serving_brokers().map(Node::id);
    let other = others.filter(|id| *id != node).last();
    let other = cluster.node(other.context("find another broker")?)?;
    kafka["bootstrap"] = json!([format!("127.0.0.1:{}", other.port())]);
    // Nobody listens at port 1.
    kafka["address_map"] = json!({node.to_string(): "127.0.0.1:1"});
    start(cluster, &settings).await
}
