//! The proof `plan`: what the gate says about stopping one node or several, on real Kafka, for
//! every layout of replicas that people have. One row per question, expected and actual side by
//! side.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::time::sleep;

use super::report::{Header, write};
use super::table::{Expected, Row, Table};
use super::watch::PATIENCE;
use super::{foreseen, taken};
use crate::cluster::Cluster;
use crate::load::{Load, LoadSpec};
use crate::release::Release;
use crate::simulate::oracle::Cause;
use crate::spec::{Layout, Spec};

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    rows: Vec<Row>,
}

/// Goes through the whole table and writes the proof.
pub async fn run() -> Result<()> {
    // Only 4.0 and newer tell of registrations that are fenced (DescribeCluster v2).
    let (old, new) = (Release::V3_9_2, Release::V4_3_1);
    let header = Header::new("plan", vec![old.to_string(), new.to_string()]);
    let mut rows = Vec::new();
    separate(new, &mut rows).await?;
    small(old, &mut rows).await?;
    two_controllers(old, &mut rows).await?;
    combined(old, &mut rows).await?;
    zookeeper(old, &mut rows).await?;
    let proof = Proof {
        header: header.ended(),
        rows,
    };
    let path = write("plan", &proof)?;
    println!("wrote {}", path.display());
    let bad: Vec<_> = proof.rows.iter().filter(|row| !row.ok).collect();
    ensure!(bad.is_empty(), "see every row as expected: {bad:#?}");
    Ok(())
}

/// Three controllers and four brokers; broker 4 comes and goes.
async fn separate(release: Release, rows: &mut Vec<Row>) -> Result<()> {
    let layout = Layout::KraftSeparate {
        controllers: 3,
        brokers: 4,
    };
    let cluster = Cluster::start(Spec::new(layout, release).quick()).await?;
    // A registration that nobody uses: stopped before anything was placed on it.
    let fourth = cluster.node(4)?;
    fourth.stop_and_wait().await?;
    cluster.wait_fenced(4, PATIENCE).await?;
    cluster
        .create_topic("orders", 12, 3, &[("min.insync.replicas", "2")])
        .await?;
    let mut table = Table::of(&cluster, "3 controllers, 4 brokers", rows).await?;
    let leftover = Expected::Warns("leftover_registration");
    table.row("a leftover registration", "1", leftover).await?;
    fourth.start(None).await?;
    cluster.wait_registered(4, PATIENCE).await?;
    table.row("a new empty broker", "4", Expected::Free).await?;
    table
        .row("a new empty broker beside it", "1", Expected::Free)
        .await?;
    for (layout, expected) in [
        ((1, 1), Expected::Warns("single_replica")),
        ((2, 1), Expected::Warns("last_copy_by_design")),
        ((2, 2), Expected::Warns("no_spare_replica")),
        ((3, 2), Expected::Free),
        ((3, 3), Expected::Warns("no_spare_replica")),
    ] {
        table.topic(layout, expected).await?;
    }
    table
        .row("one of three controllers", "101", Expected::Free)
        .await?;
    let lost = Expected::Shut("would_lose_quorum");
    table
        .row("two of three controllers", "101,102", lost)
        .await?;
    let short = Expected::Shut("would_lose_min_isr");
    table.row("two of four brokers", "1,2", short).await?;
    table
        .row("a broker and a controller", "1,101", Expected::Free)
        .await?;
    foreseen::plan(&mut table, 1).await?;
    taken::subtracted(&mut table).await?;
    moving(&mut table).await?;
    failed_log_dir(&mut table).await?;
    fenced(&mut table).await?;
    foreseen::repairs(&mut table).await
}

/// Two megabytes of records, and so many consumers in a group.
async fn fill(cluster: &Cluster, topic: &str, consumers: u16) -> Result<()> {
    let spec = LoadSpec::new(cluster.app_bootstrap(), topic);
    let load = Load::start(spec.rate(200).size(10_000).consumers(consumers))?;
    sleep(Duration::from_secs(2)).await;
    let report = load.stop().await?;
    ensure!(report.is_clean(), "fill {topic} without a loss: {report:?}");
    Ok(())
}

/// A reassignment that is held up, so that it can be looked at.
async fn moving(table: &mut Table<'_>) -> Result<()> {
    let cluster = table.cluster();
    cluster
        .create_topic("moved", 1, 1, &[("min.insync.replicas", "1")])
        .await?;
    let from = table.leader("moved").await?;
    let to = [1, 2, 3, 4].into_iter().find(|id| *id != from);
    let to = to.context("another broker")?;
    let others = [1, 2, 3, 4]
        .into_iter()
        .filter(|id| *id != from && *id != to);
    let other = others.min().context("a broker that has no part in it")?;
    // The broker that is to take the copy is frozen for its fetches by a throttle of one byte a
    // second on data that is there.
    fill(cluster, "moved", 0).await?;
    for id in [from, to] {
        for key in [
            "leader.replication.throttled.rate",
            "follower.replication.throttled.rate",
        ] {
            cluster.alter_broker(id, key, Some("1")).await?;
        }
    }
    for key in [
        "leader.replication.throttled.replicas",
        "follower.replication.throttled.replicas",
    ] {
        cluster.alter_topic("moved", key, Some("*")).await?;
    }
    cluster.reassign("moved", 0, &[to]).await?;
    let stop = Expected::Shut("would_stop_reassignment");
    for (what, node) in [("its source", from), ("its target", to)] {
        let situation = format!("a running reassignment, {what}");
        let known = Cause::Other.allowance();
        table
            .row_once_known(known, &situation, &node.to_string(), stop)
            .await?;
    }
    let apart = Expected::Warns("reassigning");
    table
        .row(
            "a running reassignment that does not touch it",
            &other.to_string(),
            apart,
        )
        .await?;
    for id in [from, to] {
        for key in [
            "leader.replication.throttled.rate",
            "follower.replication.throttled.rate",
        ] {
            cluster.alter_broker(id, key, None).await?;
        }
    }
    let single = Expected::Warns("single_replica");
    table
        .row("the reassignment is over", &to.to_string(), single)
        .await?;
    cluster.delete_topic("moved").await?;
    Ok(())
}

/// Broker 3 gets a second log dir, which is then a file: its next checkpoint fails.
async fn failed_log_dir(table: &mut Table<'_>) -> Result<()> {
    let cluster = table.cluster();
    let third = cluster.node(3)?;
    let second = cluster.dir().join("second-log-dir");
    std::fs::create_dir_all(&second).context("make a second log dir")?;
    // A log dir that is not formatted keeps a broker from starting; its directory id is made at
    // the first start (KIP-858).
    let formatted = std::fs::read_to_string(third.data().join("meta.properties"))?;
    let lines = formatted
        .lines()
        .filter(|line| !line.starts_with("directory.id"));
    let formatted: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(second.join("meta.properties"), &formatted).context("format it")?;
    let dirs = format!("{},{}", third.data().display(), second.display());
    third.stop_and_wait().await?;
    third
        .start_with_config(None, [(String::from("log.dirs"), dirs)])
        .await?;
    cluster.wait_full_isr(PATIENCE).await?;
    cluster
        .create_topic("spread", 12, 3, &[("min.insync.replicas", "2")])
        .await?;
    table
        .row("two log dirs, both well", "3", Expected::Free)
        .await?;
    std::fs::remove_dir_all(&second).context("take the log dir away")?;
    std::fs::write(&second, "no folder").context("put a file in its place")?;
    // The broker sees it at its next checkpoint; what it held is offline from then on.
    let begun = Instant::now();
    while cluster.metadata(1).await?.isr_full() {
        ensure!(begun.elapsed() < PATIENCE, "see the log dir fail");
        sleep(Duration::from_millis(100)).await;
    }
    let failed = Expected::Shut("log_dir_failed");
    let known = Cause::Other.allowance();
    table
        .row_once_known(known, "a failed log dir elsewhere", "1", failed)
        .await?;
    table.row("a failed log dir on it", "3", failed).await?;
    std::fs::remove_file(&second).context("take the file away")?;
    std::fs::create_dir_all(&second).context("give a new disk")?;
    std::fs::write(second.join("meta.properties"), formatted).context("format it")?;
    third.stop_and_wait().await?;
    third.start(None).await?;
    cluster.wait_full_isr(PATIENCE).await?;
    table.row("the disk is replaced", "1", Expected::Free).await
}

/// Broker 2 is frozen until the controllers fence it.
async fn fenced(table: &mut Table<'_>) -> Result<()> {
    let cluster = table.cluster();
    let second = cluster.node(2)?;
    second.freeze()?;
    // Its session is longer than the gate may need to see it frozen.
    cluster.wait_fenced(2, PATIENCE).await?;
    table
        .row(
            "a fenced broker elsewhere",
            "1",
            Expected::Shut("node_fenced"),
        )
        .await?;
    table
        .row("a fenced broker", "2", Expected::Shut("node_fenced"))
        .await?;
    second.thaw()?;
    cluster.wait_full_isr(PATIENCE).await?;
    table.row("the broker is back", "1", Expected::Free).await
}

/// One controller and one broker, with Kafka's own topics in one copy.
async fn small(release: Release, rows: &mut Vec<Row>) -> Result<()> {
    let layout = Layout::KraftSeparate {
        controllers: 1,
        brokers: 3,
    };
    let spec = Spec::new(layout, release)
        .quick()
        .property("offsets.topic.replication.factor", "1");
    let cluster = Cluster::start(spec).await?;
    cluster
        .create_topic("orders", 3, 3, &[("min.insync.replicas", "2")])
        .await?;
    let mut table = Table::of(&cluster, "1 controller, 3 brokers", rows).await?;
    let single = Expected::Warns("single_voter");
    table.row("the only controller", "101", single).await?;
    // A consumer group makes the topic of offsets.
    fill(&cluster, "orders", 1).await?;
    let leader = table.leader("__consumer_offsets").await?;
    let internal = Expected::Warns("internal_topic_at_risk");
    table
        .row(
            "__consumer_offsets in one copy",
            &leader.to_string(),
            internal,
        )
        .await
}

async fn two_controllers(release: Release, rows: &mut Vec<Row>) -> Result<()> {
    let layout = Layout::KraftSeparate {
        controllers: 2,
        brokers: 3,
    };
    let cluster = Cluster::start(Spec::new(layout, release).quick()).await?;
    cluster
        .create_topic("orders", 3, 3, &[("min.insync.replicas", "2")])
        .await?;
    let mut table = Table::of(&cluster, "2 controllers, 3 brokers", rows).await?;
    let two = Expected::Warns("two_voters");
    table.row("one of two controllers", "101", two).await
}

/// Three nodes that are broker and controller.
async fn combined(release: Release, rows: &mut Vec<Row>) -> Result<()> {
    let cluster = Cluster::start(Spec::combined(release).quick()).await?;
    cluster
        .create_topic("orders", 6, 3, &[("min.insync.replicas", "2")])
        .await?;
    let mut table = Table::of(&cluster, "3 combined nodes", rows).await?;
    table.row("one combined node", "1", Expected::Free).await?;
    let lost = Expected::Shut("would_lose_quorum");
    table
        .row("two of three combined nodes", "1,2", lost)
        .await?;
    foreseen::plan(&mut table, 1).await
}

/// Three brokers that elect their controller in ZooKeeper.
async fn zookeeper(release: Release, rows: &mut Vec<Row>) -> Result<()> {
    let cluster = Cluster::start(Spec::zookeeper(release).quick()).await?;
    cluster
        .create_topic("orders", 12, 3, &[("min.insync.replicas", "2")])
        .await?;
    let mut table = Table::of(&cluster, "ZooKeeper, 3 brokers", rows).await?;
    table
        .row("ZooKeeper: one of three brokers", "1", Expected::Free)
        .await?;
    let short = Expected::Shut("would_lose_min_isr");
    table
        .row("ZooKeeper: two of three brokers", "1,2", short)
        .await?;
    foreseen::plan(&mut table, 1).await
}
