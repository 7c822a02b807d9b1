//! The proof `plan`: what the gate says about stopping one node or several, on real Kafka, for
//! every layout of replicas that people have. One row per question, expected and actual side by
//! side.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::gate::{Answer, Gate};
use super::report::{Header, write};
use super::watch::{PATIENCE, config, start};
use super::{foreseen, taken};
use crate::cluster::Cluster;
use crate::load::{Load, LoadSpec};
use crate::release::Release;
use crate::spec::{Layout, NodeId, Spec};

/// Between two questions.
const PACE: Duration = Duration::from_millis(200);
/// How long a wrong answer has to stay away once the expected one came.
const STAYS: Duration = Duration::from_secs(2);

/// What has to be said of stopping some nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// They may go, without a word.
    Free,
    /// They may go, with this warning.
    Warns(&'static str),
    /// They may not go, for this reason among others.
    Shut(&'static str),
    /// They may not go, for this reason alone.
    ShutOnly(&'static str),
}

impl Expected {
    fn words(self) -> String {
        match self {
            Self::Free => String::from("may stop, nothing to warn of"),
            Self::Warns(code) => format!("may stop, warns {code}"),
            Self::Shut(code) => format!("may not stop: {code}"),
            Self::ShutOnly(code) => format!("may not stop: {code} alone"),
        }
    }

    fn is_met(self, answer: &Answer) -> bool {
        let warns = |code: &str| {
            let mut reasons = answer.reasons.iter();
            reasons.any(|reason| reason.severity == "warn" && reason.code == code)
        };
        match self {
            Self::Free => answer.is_open() && !RISKS.iter().any(|code| warns(code)),
            Self::Warns(code) => answer.is_open() && warns(code),
            Self::Shut(code) => !answer.is_open() && answer.codes().iter().any(|c| c == code),
            Self::ShutOnly(code) => !answer.is_open() && answer.codes() == [code],
        }
    }
}

/// Warnings that a row "nothing to warn of" must not have.
const RISKS: [&str; 6] = [
    "single_replica",
    "no_spare_replica",
    "last_copy_by_design",
    "internal_topic_at_risk",
    "single_voter",
    "two_voters",
];

#[derive(Debug, Serialize)]
struct Row {
    cluster: String,
    situation: String,
    /// The nodes asked about, as in `?node=`.
    nodes: String,
    expected: String,
    /// The state, and every code with its severity.
    actual: String,
    seconds: f64,
    ok: bool,
}

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    rows: Vec<Row>,
}

/// A gate in front of a cluster, and the rows that are made there.
pub(super) struct Table<'a> {
    cluster: &'a Cluster,
    gate: Gate,
    name: &'static str,
    rows: &'a mut Vec<Row>,
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

impl<'a> Table<'a> {
    async fn of(cluster: &'a Cluster, name: &'static str, rows: &'a mut Vec<Row>) -> Result<Self> {
        let mut settings = config(cluster);
        // Combined nodes answer at their brokers' listeners; with ZooKeeper there are none.
        let without = matches!(
            cluster.spec().layout,
            Layout::KraftCombined { .. } | Layout::ZooKeeper { .. }
        );
        if without && let Some(kafka) = settings["gates"]["default"]["kafka"].as_object_mut() {
            kafka.remove("controllers");
        }
        if let Layout::KraftSeparate { controllers: 3, .. } = cluster.spec().layout {
            // Together these may not go, whatever each may.
            settings["gates"]["default"]["hosts"] = json!({"a": [1, 101], "b": [2, 3]});
        }
        let gate = start(cluster, &settings).await?;
        Ok(Self {
            cluster,
            gate,
            name,
            rows,
        })
    }

    pub(super) const fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// A row of two things that have to be the same.
    pub(super) fn compared(&mut self, name: &str, nodes: &str, expected: String, actual: String) {
        let ok = expected == actual;
        tracing::info!(ok, name, nodes, expected, actual, "row");
        self.rows.push(Row {
            cluster: self.name.to_owned(),
            situation: name.to_owned(),
            nodes: nodes.to_owned(),
            expected,
            actual,
            seconds: 0.0,
            ok,
        });
    }

    /// Asks until the expected answer came and stayed.
    pub(super) async fn row(
        &mut self,
        situation: &str,
        nodes: &str,
        expected: Expected,
    ) -> Result<()> {
        let begun = Instant::now();
        let query = format!("?node={nodes}");
        let mut met: Option<Instant> = None;
        let mut last = None;
        while begun.elapsed() < PATIENCE {
            // An answer that is none (a 400 while the gate does not know the node) is not it.
            if let Ok(answer) = self.gate.check(&query).await {
                if expected.is_met(&answer) {
                    met.get_or_insert_with(Instant::now);
                } else {
                    met = None;
                }
                last = Some(answer);
                if met.is_some_and(|since| since.elapsed() >= STAYS) {
                    break;
                }
            }
            sleep(PACE).await;
        }
        let row = Row {
            cluster: self.name.to_owned(),
            situation: situation.to_owned(),
            nodes: nodes.to_owned(),
            expected: expected.words(),
            actual: last.as_ref().map(describe).unwrap_or_default(),
            seconds: super::watch::seconds(begun.elapsed()),
            ok: met.is_some(),
        };
        tracing::info!(
            ok = row.ok,
            situation,
            nodes,
            expected = row.expected,
            actual = row.actual,
            seconds = row.seconds,
            "row"
        );
        self.rows.push(row);
        Ok(())
    }

    /// A topic, one row about its leader, and the topic's end.
    async fn topic(&mut self, (replication, min_isr): (i16, u8), expected: Expected) -> Result<()> {
        let name = format!("rf{replication}-m{min_isr}");
        let min = min_isr.to_string();
        self.cluster
            .create_topic(&name, 3, replication, &[("min.insync.replicas", &min)])
            .await?;
        let leader = self.leader(&name).await?;
        let situation = format!("topic with {replication} replicas, min ISR {min_isr}");
        self.row(&situation, &leader.to_string(), expected).await?;
        self.cluster.delete_topic(&name).await?;
        Ok(())
    }

    async fn leader(&self, topic: &str) -> Result<NodeId> {
        let from = self.cluster.serving_brokers().next();
        let from = from.context("find a broker that serves")?.id();
        let seen = self.cluster.metadata(from).await?;
        let leader = seen.topic(topic).find_map(|partition| partition.leader);
        leader.with_context(|| format!("find a leader of {topic}"))
    }
}

fn describe(answer: &Answer) -> String {
    let mut codes: Vec<_> = answer
        .reasons
        .iter()
        .map(|reason| format!("{} {}", reason.severity, reason.code))
        .collect();
    codes.sort();
    codes.dedup();
    format!("{}: {}", answer.state, codes.join(", "))
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
    let cluster = table.cluster;
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
        table.row(&situation, &node.to_string(), stop).await?;
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
    let cluster = table.cluster;
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
    let failed = Expected::Shut("log_dir_failed");
    table.row("a failed log dir elsewhere", "1", failed).await?;
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
    let cluster = table.cluster;
    let second = cluster.node(2)?;
    second.freeze()?;
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
