//! Rows of the proof `plan` in which a node is taken: it counts as down for everybody else, from the
//! moment it is given until it is proven back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::foreseen::{self, holds_with};
use super::table::{Expected, Table};
use super::watch::PATIENCE;
use crate::cluster::Cluster;
use crate::spec::NodeId;

/// The node that is taken, and restarted.
const TAKEN: NodeId = 1;
/// Nothing was ever placed on it.
const EMPTY: NodeId = 4;

/// Node 1 is leased, and has not gone yet; then it has restarted, and nobody has said that it is
/// done: all the while a broker that shares a partition with it would leave that short, and one that
/// shares none has only the slot against it.
pub(super) async fn subtracted(table: &mut Table<'_>) -> Result<()> {
    let cluster = table.cluster();
    cluster.wait_full_isr(PATIENCE).await?;
    table.gate().wait_open(PATIENCE).await?;
    let beside = holds_with(cluster, TAKEN).await?;
    ensure!(holds_nothing(cluster, EMPTY).await?, "see {EMPTY} empty");
    until_go(table, "enter", "&ttl=30m").await?;
    rows(table, beside, "a node that is leased").await?;

    let node = cluster.node(TAKEN)?;
    node.stop_and_wait().await?;
    node.start(None).await?;
    cluster.wait_registered(TAKEN, PATIENCE).await?;
    cluster.wait_full_isr(PATIENCE).await?;
    rows(table, beside, "a node that is back and not proven yet").await?;

    until_go(table, "leave", "").await?;
    cluster.wait_full_isr(PATIENCE).await?;
    let name = "a node that is proven back, beside it";
    table.row(name, &beside.to_string(), Expected::Free).await
}

async fn rows(table: &mut Table<'_>, beside: NodeId, what: &str) -> Result<()> {
    let short = Expected::Shut("would_lose_min_isr");
    let name = format!("{what}, one that shares a partition with it");
    table.row(&name, &beside.to_string(), short).await?;
    let taken = Expected::ShutOnly("slot_taken");
    let name = format!("{what}, one that shares none");
    table.row(&name, &EMPTY.to_string(), taken).await?;
    let name = format!("{what}, every node as check says");
    foreseen::every_node(table, &name, "closed").await?;
    Ok(())
}

/// Asks until it is said.
async fn until_go(table: &Table<'_>, what: &str, more: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let last = foreseen::request(table.gate(), what, TAKEN, more).await?;
        if last == "go" {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{what} node {TAKEN}: {last}");
        // Who asks without a pause is shed.
        sleep(Duration::from_millis(500)).await;
    }
}

async fn holds_nothing(cluster: &Cluster, node: NodeId) -> Result<bool> {
    let from = cluster.serving_brokers().next();
    let from = from.context("find a broker that serves")?.id();
    let partitions = cluster.metadata(from).await?.partitions;
    Ok(partitions.iter().all(|it| !it.replicas.contains(&node)))
}
