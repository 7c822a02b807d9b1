//! The proof `situations`: states of a cluster that no kill or restart makes, and what the gate
//! says of each. One row per situation; the proof fails when a row is not as expected.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::exporter::{Exporter, Page, TEXT};
use super::gate::{Answer, Gate};
use super::modes::modes;
use super::report::{Header, write};
use super::watch::{PATIENCE, Row, WINDOW, config, one_of, seconds, start, watch};
use crate::cluster::Cluster;
use crate::http;
use crate::links::Peer;
use crate::node::Node;
use crate::relay::Cut;
use crate::release::Release;
use crate::spec::{NodeId, Spec};

/// How long a wrong page may stay unseen: pages are asked for every 15 s.
const PAGE: Duration = Duration::from_secs(45);
/// Resident memory that endless pages may cost at most: two pages of the limit of 64 MiB while
/// the buffer grows, and the gate itself.
const MEMORY: u64 = 256 << 20;

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    window: &'static str,
    poll_ms: u64,
    /// Largest resident memory of the gate that was given the pages, bytes.
    gate_peak_memory: u64,
    rows: Vec<Row>,
}

/// Goes through every situation and writes the proof.
pub async fn run() -> Result<()> {
    let (old, new) = (Release::V3_9_2, Release::V4_3_1);
    let header = Header::new("situations", vec![old.to_string(), new.to_string()]);
    let mut rows = Vec::new();
    let foreign = without_rights(&mut rows).await?;
    let spec = Spec::kraft(old)
        .node_release(103, new)
        .node_release(3, new)
        .relays();
    let cluster = Cluster::start(spec).await.context("start the cluster")?;
    cluster
        .create_topic("orders", 24, 3, &[("min.insync.replicas", "2")])
        .await?;
    mixed(&cluster, &mut rows).await?;
    modes(&cluster, &mut rows).await?;
    let gate_peak_memory = pages(&cluster, foreign, &mut rows).await?;
    other_cluster(&cluster, &mut rows).await?;
    down_at_start(&cluster, &mut rows).await?;
    cut_off(&cluster, &mut rows).await?;

    let proof = Proof {
        header: header.ended(),
        window: WINDOW,
        poll_ms: 100,
        gate_peak_memory,
        rows,
    };
    let path = write("situations", &proof)?;
    println!("wrote {}", path.display());
    let bad: Vec<_> = proof.rows.iter().filter(|row| !row.ok).collect();
    ensure!(bad.is_empty(), "see every row as expected: {bad:#?}");
    Ok(())
}

/// A gate without any right never opens; that controllers want a login of it makes none of them dead. Returns a page of this cluster's broker 1, which is
/// another cluster's page to the next.
async fn without_rights(rows: &mut Vec<Row>) -> Result<Bytes> {
    let spec = Spec::kraft(Release::V3_9_2).acl().quick();
    let cluster = Cluster::start(spec).await.context("start the cluster")?;
    cluster.create_topic("orders", 7, 3, &[]).await?;
    let gate = start(&cluster, &config(&cluster)).await?;
    let minute = Duration::from_secs(60);
    let hidden: &[&str] = &["topics_hidden"];
    let watched = watch(&gate, minute, minute, one_of(hidden)).await;
    let opens = watched.opens();
    let at_last = watched.last.as_ref().map(|last| last.state.clone());
    let expected = format!("unknown, never open for 60 s; one of {hidden:?}");
    let mut row = watched.row("without_rights", expected, opens);
    row.ok &= row.state == "unknown" && at_last.as_deref() == Some("unknown");
    rows.push(row);
    let port = cluster.node(1)?.jmx_port();
    Ok(http::metrics(port, Duration::from_secs(10)).await?)
}

/// Two releases: the gate opens and tells them apart.
async fn mixed(cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    let gate = start(cluster, &config(cluster)).await?;
    let watched = watch(&gate, PATIENCE, Duration::from_secs(5), Answer::is_open).await;
    let mut row = watched.row("mixed_releases", "open; every node's release shown", 0);
    let document = gate.json("/api/v1/gates/default").await?;
    let shown = |node: &Node| {
        let nodes = document["nodes"].as_array()?;
        let mine = nodes.iter().find(|shown| shown["node"] == node.id())?;
        mine["release"].as_str().map(str::to_owned)
    };
    let mut told = Vec::new();
    for node in cluster.nodes() {
        let shown = shown(node).unwrap_or_default();
        let runs = node.release().to_string();
        row.ok &= !shown.is_empty() && runs.starts_with(&format!("{shown}."));
        told.push(format!("{}: {shown} ({runs})", node.id()));
    }
    row.note = told.join(", ");
    rows.push(row);
    Ok(())
}

/// What another thing than the exporter says in its place. Returns the gate's peak memory.
async fn pages(cluster: &Cluster, foreign: Bytes, rows: &mut Vec<Row>) -> Result<u64> {
    let port = cluster.node(1)?.jmx_port();
    let real = http::metrics(port, Duration::from_secs(10)).await?;
    let exporter = Exporter::start(Page::Real(port)).await?;
    let mut config = config(cluster);
    config["gates"]["default"]["jmx"]["targets"] = json!({"1": exporter.url()});
    let gate = start(cluster, &config).await?;
    let html = "<!doctype html><html><body><h1>Sign in</h1></body></html>\n";
    let failed: &[&str] = &["source_failed"];
    let incomplete: &[&str] = &["evidence_incomplete"];
    let bad: &[&str] = &["source_failed", "evidence_incomplete"];
    let foreigners: &[&str] = &["wrong_node", "wrong_cluster", "sources_disagree"];
    let cases = [
        ("html", Page::Whole("text/html", html.into()), failed),
        ("html_as_text", Page::Whole(TEXT, html.into()), failed),
        ("empty_page", Page::Whole(TEXT, Bytes::new()), bad),
        (
            "nan_page",
            Page::Whole(TEXT, not_numbers(&real)),
            incomplete,
        ),
        ("cut_page", Page::Cut(real.clone()), failed),
        (
            "cut_page_unseen_by_http",
            Page::CutUnseen(real.clone()),
            bad,
        ),
        ("endless_page", Page::Endless(real), failed),
        (
            "another_clusters_page",
            Page::Whole(TEXT, foreign),
            foreigners,
        ),
    ];
    for (name, page, codes) in cases {
        gate.wait_open(PATIENCE).await?;
        exporter.say(page);
        let mut row = page_row(&gate, name, codes).await;
        exporter.say(Page::Real(port));
        let back = Instant::now();
        gate.wait_open(PATIENCE).await?;
        row.note += &format!("; open again {} s after its end", seconds(back.elapsed()));
        rows.push(row);
    }
    drop(exporter);
    rows.push(page_row(&gate, "exporter_dead", failed).await);
    let peak = gate.peak_memory().context("read the gate's memory")?;
    rows.push(Row {
        name: String::from("memory"),
        expected: format!("at most {MEMORY} bytes at its peak"),
        state: String::new(),
        codes: Vec::new(),
        seconds: None,
        wrong_opens: 0,
        ok: peak <= MEMORY,
        note: format!("{peak} bytes at the peak, {:?} now", gate.memory()),
    });
    Ok(peak)
}

/// The page of node 1 is no good: the gate shuts, says so, and stays shut.
async fn page_row(gate: &Gate, name: &str, codes: &[&str]) -> Row {
    let watched = watch(gate, PAGE, Duration::from_secs(5), one_of(codes)).await;
    // A page is read every few seconds: before that something else may shut the gate and let it open again.
    let wrong = watched.opens_after(Duration::MAX);
    watched.row(name, format!("not open; one of {codes:?}"), wrong)
}

/// Every value of the page's Kafka metrics is NaN.
fn not_numbers(page: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(page);
    let lines = text.lines().map(|line| {
        let value = line.rsplit_once(' ').filter(|_| line.starts_with("kafka_"));
        value.map_or_else(|| line.to_owned(), |(name, _)| format!("{name} NaN"))
    });
    lines.map(|line| line + "\n").collect::<String>().into()
}

/// The bootstrap addresses lead to another cluster than the one that is meant.
async fn other_cluster(cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    let mut config = config(cluster);
    config["gates"]["default"]["cluster_id"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
    let gate = start(cluster, &config).await?;
    let limit = Duration::from_secs(20);
    let watched = watch(&gate, limit, limit, one_of(&["wrong_cluster"])).await;
    let opens = watched.opens();
    rows.push(watched.row("another_cluster", "never open; wrong_cluster", opens));
    Ok(())
}

/// A gate that has never seen broker 3 stays shut and names it: at once after the death, while
/// the controllers still count it in, and after they have fenced it.
async fn down_at_start(cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    const DEAD: NodeId = 3;
    cluster.wait_full_isr(PATIENCE).await?;
    let node = cluster.node(DEAD)?;
    node.kill()?;
    node.wait_ended().await;
    for name in ["down_at_start_unnoticed", "down_at_start_fenced"] {
        let gate = start(cluster, &config(cluster)).await?;
        let limit = Duration::from_secs(20);
        let names = |answer: &Answer| {
            let codes = ["node_unreachable", "node_missing", "node_fenced"];
            let mut reasons = answer.reasons.iter();
            let named = reasons.any(|r| r.node == Some(DEAD) && codes.contains(&r.code.as_str()));
            named && !answer.is_open()
        };
        let watched = watch(&gate, limit, limit, names).await;
        let opens = watched.opens();
        rows.push(watched.row(name, "never open for 20 s; node 3 named", opens));
        cluster.wait_fenced(DEAD, PATIENCE).await?;
        if name == "down_at_start_fenced" {
            node.start(None).await?;
            let back = Instant::now();
            let mut row = watch(&gate, PATIENCE, Duration::ZERO, Answer::is_open)
                .await
                .row("down_at_start_back", "open once every ISR is full", 0);
            row.ok &= cluster.isr_full_everywhere().await;
            row.note = format!("started {} s before", seconds(back.elapsed()));
            rows.push(row);
        }
    }
    Ok(())
}

/// Broker 1 reaches no controller and still answers with what it knew.
async fn cut_off(cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    const CUT: NodeId = 1;
    cluster.wait_full_isr(PATIENCE).await?;
    let gate = start(cluster, &config(cluster)).await?;
    gate.wait_open(PATIENCE).await?;
    cluster.cut(Peer::Node(CUT), Peer::Quorum, Cut::BlackHole)?;
    let long = Duration::from_secs(40);
    let named = |answer: &Answer| !answer.is_open() && answer.names(CUT);
    let watched = watch(&gate, long, long, named).await;
    let (reopened, shut) = (watched.reopened(), watched.shut());
    let expected = "shut within the session of 9 s, node 1 named; never open again while cut";
    let mut row = watched.row("cut_off_from_the_quorum", expected, reopened);
    row.ok &= row.seconds.is_some_and(|seconds| seconds <= 9.0);
    let (old, new) = (cluster.metadata(CUT).await?, cluster.metadata(2).await?);
    let lists = [old, new].map(|seen| {
        (
            seen.brokers.iter().copied().collect::<BTreeSet<_>>(),
            seen.short(),
        )
    });
    row.note += &format!(
        "; shut after {:?} s; broker 1 lists {:?} with {} short ISRs, broker 2 lists {:?} with {}",
        shut.map(seconds),
        lists[0].0,
        lists[0].1,
        lists[1].0,
        lists[1].1
    );
    row.ok &= lists[0] != lists[1];
    rows.push(row);

    cluster.heal();
    let watched = watch(&gate, PATIENCE, Duration::from_secs(5), Answer::is_open).await;
    let mut row = watched.row("healed", "open once every ISR is full", 0);
    row.ok &= cluster.isr_full_everywhere().await;
    rows.push(row);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kafkas_numbers_are_taken_away() {
        let page = not_numbers(b"# HELP kafka_x y\nkafka_x{a=\"b c\"} 1.0\njvm 2\n");
        assert_eq!(page, "# HELP kafka_x y\nkafka_x{a=\"b c\"} NaN\njvm 2\n");
    }
}
