//! Recording how a real cluster looks from outside while one broker is killed, stopped and started
//! again: what `src/model/tests/traces.rs` holds the model to.
//!
//! Broker 3 is the one that is touched; broker 1's metadata, broker 3's own page and its listener
//! are what is watched. Only changes are kept, in milliseconds after the signal or the spawn.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::{Connection, Login, encode};
use crate::cluster::Cluster;
use crate::http::{self, HttpError};
use crate::metadata::{Metadata, Partition};
use crate::node::Node;
use crate::release::Release;
use crate::spec::{NodeId, Spec};

const TARGET: NodeId = 3;
const WATCHED: NodeId = 1;
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 15;
/// So that broker 3 leads again soon after it came back. Kafka's own is five minutes.
const IMBALANCE: (&str, &str) = ("leader.imbalance.check.interval.seconds", "10");
/// Past the session (9 s), so that nothing refuses the next registration.
const PAST_SESSION: Duration = Duration::from_secs(12);
/// For everything that has to come about between two recordings.
const LONGEST: Duration = Duration::from_secs(120);

/// What is done to broker 3; one file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Trace {
    /// SIGKILL while it leads partitions
    Kill,
    /// SIGTERM while it leads partitions
    Stop,
    /// SIGTERM right after its return, when it leads nothing yet
    StopIdle,
    /// Its start, past the session of a life that was killed or stopped
    Return,
}

impl Trace {
    /// Each, in the order in which they are recorded.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::StopIdle, Self::Return];

    const fn file(self) -> &'static str {
        match self {
            Self::Kill => "kill.json",
            Self::Stop => "stop.json",
            Self::StopIdle => "stop-idle.json",
            Self::Return => "return.json",
        }
    }
}

/// Values by name, as they were seen.
type Seen = Vec<(&'static str, Value)>;

/// One recording.
#[derive(Debug, Serialize)]
struct Run {
    /// The machine's load average when it began.
    load: f64,
    /// Whether the end that was waited for came.
    whole: bool,
    /// What changed, with `at`: milliseconds since the signal or the spawn.
    changes: Vec<BTreeMap<&'static str, Value>>,
}

/// Records `wanted` this many times on a cluster of its own, and writes one file of each.
///
/// # Errors
/// When the cluster does not start, or does not come back between two recordings.
pub async fn record(out: &Path, wanted: &[Trace], rounds: usize, release: Release) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    let (key, value) = IMBALANCE;
    let cluster = Cluster::start(Spec::kraft(release).property(key, value)).await?;
    cluster.create_topic(TOPIC, PARTITIONS, 3, &[]).await?;
    let is_wanted = |trace| wanted.contains(&trace);
    let returns_only = wanted == [Trace::Return];
    let mut runs: BTreeMap<Trace, Vec<Run>> = BTreeMap::new();
    for round in 1..=rounds {
        for fault in [Trace::Kill, Trace::Stop, Trace::StopIdle] {
            // A return needs an end before it: the kill's where none is asked for.
            let needed = is_wanted(fault) || (returns_only && fault == Trace::Kill);
            if !needed {
                continue;
            }
            let run = end(&cluster, fault).await?;
            sleep(PAST_SESSION).await;
            let back = come_back(&cluster).await?;
            for (trace, run) in [(fault, run), (Trace::Return, back)] {
                ensure!(run.whole, "see the end of {trace:?}: {run:?}");
                if is_wanted(trace) {
                    runs.entry(trace).or_default().push(run);
                }
            }
            println!("round {round} of {rounds}: {fault:?} recorded");
        }
    }
    for (trace, runs) in runs {
        write(&out.join(trace.file()), release, &runs)?;
    }
    Ok(())
}

fn write(path: &Path, release: Release, runs: &[Run]) -> Result<()> {
    let trace = json!({
        "release": release.to_string(),
        "layout": "3 controllers, 3 brokers, KRaft",
        "settings": format!("stock, but {}={}", IMBALANCE.0, IMBALANCE.1),
        "topic": { "partitions": PARTITIONS, "replication": 3, "records_per_second": 0 },
        "node": TARGET,
        "runs": runs,
    });
    let mut text = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b" ");
    trace.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text, indented,
    ))?;
    text.push(b'\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Ends broker 3 in this way, from where it has to begin.
async fn end(cluster: &Cluster, fault: Trace) -> Result<Run> {
    let target = cluster.node(TARGET)?;
    if fault == Trace::StopIdle {
        idle(cluster).await?;
    } else {
        cluster.wait_full_isr(LONGEST).await?;
        wait_leads(cluster).await?;
    }
    let gone = |now: &BTreeMap<&str, Value>| {
        now.get("listed") == Some(&json!(false)) && now.get("page") == Some(&json!("refused"))
    };
    let begin = async || {
        let zero = Instant::now();
        let sent = match fault {
            Trace::Kill => target.kill(),
            Trace::Stop | Trace::StopIdle | Trace::Return => target.stop(),
        };
        sent.map(|()| zero).map_err(anyhow::Error::from)
    };
    watch(cluster, begin, gone, Duration::from_secs(30)).await
}

async fn come_back(cluster: &Cluster) -> Result<Run> {
    let target = cluster.node(TARGET)?;
    target.wait_ended().await;
    let begin = async || {
        target.start(None).await?;
        target.started_at().context("start broker 3")
    };
    let full = |now: &BTreeMap<&str, Value>| {
        now.get("short") == Some(&json!(0))
            && now.get("listed") == Some(&json!(true))
            && now.get("state") == Some(&json!(3.0))
    };
    watch(cluster, begin, full, Duration::from_secs(60)).await
}

/// Broker 3 just back, with nothing to lead: until the next check of the leaders' balance.
async fn idle(cluster: &Cluster) -> Result<()> {
    let target = cluster.node(TARGET)?;
    for _ in 0..5 {
        cluster.wait_full_isr(LONGEST).await?;
        if led(&cluster.metadata(WATCHED).await?) == 0 {
            return Ok(());
        }
        target.kill()?;
        sleep(PAST_SESSION).await;
        target.wait_ended().await;
        target.start(None).await?;
    }
    anyhow::bail!("find broker 3 without leaders: it leads again before its ISRs are full")
}

async fn wait_leads(cluster: &Cluster) -> Result<()> {
    let begun = Instant::now();
    while led(&cluster.metadata(WATCHED).await?) == 0 {
        ensure!(
            begun.elapsed() < LONGEST,
            "wait until broker 3 leads: not within {LONGEST:?}"
        );
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

fn led(metadata: &Metadata) -> usize {
    let leads = |partition: &&Partition| partition.leader == Some(TARGET);
    metadata.topic(TOPIC).filter(leads).count()
}

/// What changed since the moment that `begin` answers, until `done` holds.
async fn watch(
    cluster: &Cluster,
    begin: impl AsyncFnOnce() -> Result<Instant>,
    done: impl Fn(&BTreeMap<&'static str, Value>) -> bool,
    limit: Duration,
) -> Result<Run> {
    let (target, deadline) = (cluster.node(TARGET)?, Duration::from_secs(5));
    let login = Login(cluster.app_login());
    let watched = cluster.node(WATCHED)?.port();
    let mut metadata = Connection::open(watched, &login, deadline).await?;
    let load = load()?;
    let zero = begin().await?;
    let over = CancellationToken::new();
    let notes = Mutex::new((BTreeMap::new(), Vec::new()));
    let note = |seen: Seen| {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, changes) = &mut *notes;
        let mut fresh: BTreeMap<&'static str, Value> = seen
            .into_iter()
            .filter(|(name, value)| now.get(name) != Some(value))
            .collect();
        if !fresh.is_empty() {
            now.extend(fresh.clone());
            let at = u64::try_from(zero.elapsed().as_millis()).unwrap_or(u64::MAX);
            fresh.insert("at", json!(at));
            changes.push(fresh);
        }
        if done(now) {
            over.cancel();
        }
    };
    let asking = async {
        let request = MetadataRequest::default()
            .with_topics(None)
            .with_allow_auto_topic_creation(false);
        loop {
            let answer = metadata.call(&request, 9, deadline).await?;
            note(of_metadata(&answer.into()));
            sleep(Duration::from_millis(20)).await;
        }
    };
    let reading = every(Duration::from_millis(100), async || {
        note(page(target).await)
    });
    let knocking = every(Duration::from_millis(20), async || {
        note(vec![("link", json!(serves(target.port()).await))]);
    });
    let failed: Result<()> = tokio::select! {
        () = over.cancelled() => Ok(()),
        () = sleep(limit) => Ok(()),
        failed = asking => failed,
        () = reading => Ok(()),
        () = knocking => Ok(()),
    };
    failed?;
    let whole = over.is_cancelled();
    let (_, changes) = notes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Run {
        load,
        whole,
        changes,
    })
}

async fn every(pause: Duration, look: impl AsyncFn()) {
    loop {
        look().await;
        sleep(pause).await;
    }
}

fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("read the load average")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().context("read the load average")
}

fn of_metadata(seen: &Metadata) -> Seen {
    let count = |which: &dyn Fn(&Partition) -> bool| {
        let rows = seen.topic(TOPIC);
        json!(rows.filter(|row| which(row)).count())
    };
    vec![
        ("short", count(&|row| row.isr.len() < row.replicas.len())),
        ("led", json!(led(seen))),
        ("offline", count(&|row| row.leader.is_none())),
        ("listed", json!(seen.brokers.contains(&TARGET))),
    ]
}

/// What broker 3's own page says.
async fn page(target: &Node) -> Seen {
    let page = http::metrics(target.jmx_port(), Duration::from_secs(3)).await;
    let kind = match &page {
        Ok(_) => "text",
        Err(HttpError::Connect { .. } | HttpError::Timeout { .. }) => "refused",
        Err(_) => "broken",
    };
    let page = page.unwrap_or_default();
    let page = String::from_utf8_lossy(&page);
    let gauge = |bean: &str, name: &str| {
        let series = format!("kafka_server_{bean}_Value{{name=\"{name}\"}} ");
        let mut values = page.lines().filter_map(|line| line.strip_prefix(&series));
        json!(values.next().and_then(|value| value.parse::<f64>().ok()))
    };
    vec![
        ("page", json!(kind)),
        ("state", gauge("KafkaServer", "BrokerState")),
        ("urp", gauge("ReplicaManager", "UnderReplicatedPartitions")),
        ("partitions", gauge("ReplicaManager", "PartitionCount")),
    ]
}

/// Whether a new connection is taken, and an ApiVersions on it answered within half a second.
async fn serves(port: u16) -> &'static str {
    let answer = async {
        let connect = TcpStream::connect(("127.0.0.1", port));
        let mut stream = timeout(Duration::from_secs(1), connect).await??;
        let frame = encode(&ApiVersionsRequest::default(), 0, 7).map_err(io::Error::other)?;
        stream.write_all(&frame).await?;
        timeout(Duration::from_millis(500), stream.read_i32()).await?
    };
    match answer.await.map_err(|error: io::Error| error.kind()) {
        Ok(_) => "answers",
        Err(io::ErrorKind::ConnectionRefused) => "refuses",
        Err(io::ErrorKind::TimedOut) => "silent",
        Err(_) => "closes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_reads_as_those_recorded_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kill.json");
        let changes = vec![BTreeMap::from([("at", json!(5)), ("page", json!("text"))])];
        let run = Run {
            load: 1.5,
            whole: true,
            changes,
        };
        write(&path, Release::V3_9_2, &[run]).unwrap();
        let ours: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let before = include_str!("../../tests/fixtures/traces/kill.json");
        let before: Value = serde_json::from_str(before).unwrap();
        for same in ["release", "layout", "settings", "topic", "node"] {
            assert_eq!(ours[same], before[same], "{same}");
        }
        let keys = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(&ours), keys(&before));
        assert_eq!(keys(&ours["runs"][0]), keys(&before["runs"][0]));
        assert_eq!(ours["runs"][0]["changes"][0]["at"], 5);
    }
}
