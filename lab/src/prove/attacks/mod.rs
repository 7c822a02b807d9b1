//! The proof `attacks`: a real gate in front of a simulated cluster, callers and targets that mean
//! no good, and somebody who asks for the verdict all the while.
//!
//! - `stand`: what runs; `broker`: one that lies; `inbound`: what callers do; `targets`: what
//!   brokers and exporters say; `walls`: who sets the clock; `watch`: what is seen.

mod broker;
mod inbound;
mod stand;
mod targets;
mod walls;
mod watch;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use self::inbound::Made;
pub use self::stand::Stand;
use self::stand::VICTIM;
use self::targets::pages;
pub use self::targets::{brokers, dripping, pages_for};
pub use self::walls::there_and_back;
use self::watch::{Caller, Counted, Look, PACE, Seen};
use super::gate::Gate;
use super::report::{Header, write};

/// How long the gate may take to open.
const OPENS: Duration = Duration::from_secs(90);
/// What an answer of `check` may take at most, milliseconds.
pub const WORST_CHECK_MS: f64 = 50.0;

/// How many connections an attack has to have made, and what the gate has to have refused for it, in
/// a row of the proof: an attack that did not come about shows nothing.
pub const CAME_ABOUT: [(&str, f64, Option<&str>); 7] = [
    ("slow headers", 300.0, Some("header_time")),
    ("slow bodies", 300.0, Some("body_time")),
    (
        "10,000 idle connections",
        10_000.0,
        Some("connections_per_peer"),
    ),
    ("huge headers", 1_000.0, Some("header_size")),
    ("malformed HTTP", 1_000.0, None),
    ("a flood of requests", 1.0, Some("requests_per_second")),
    ("stalled TLS handshakes", 1_000.0, Some("handshake_time")),
];

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    pace_ms: u128,
    limit_ms: f64,
    rows: Vec<Row>,
}

/// One attack, and what came of it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// How long it went on.
    pub seconds: f64,
    #[serde(flatten)]
    seen: Seen,
    /// Largest resident memory of the gate meanwhile, bytes.
    pub peak_memory: u64,
    /// What the gate refused, and did not take, meanwhile.
    #[serde(flatten)]
    counted: Counted,
    /// What else was measured; in seconds where the name ends with `_s`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub measured: BTreeMap<&'static str, f64>,
    /// Whether the gate said what it should.
    pub ok: bool,
}

/// What the gate should say meanwhile.
#[derive(Clone, Copy, Debug)]
enum Should {
    /// Open all the time: the cluster is well.
    StayOpen,
    /// Whatever is true: the cluster is well, and the gate may not be able to see it.
    Answer,
    /// Not open from so long after the begin, for this reason; and nothing but its own answers. What was
    /// not taken is counted under this, where it is a thing of its own.
    Shut(Duration, &'static str, Option<&'static str>),
    /// Never open at all.
    NeverOpen,
}

impl Row {
    /// The longest an answer took, milliseconds.
    pub const fn worst_check_ms(&self) -> f64 {
        self.seen.worst_check_ms
    }

    /// What this share of the answers took at most, milliseconds, in their order.
    pub fn check_ms(&self, share: f64) -> f64 {
        let looks = self.seen.looks.iter();
        let took = looks.map(|look| (look.seen - look.asked).as_secs_f64() * 1000.0);
        let mut took: Vec<f64> = took.collect();
        took.sort_by(f64::total_cmp);
        let all = u32::try_from(took.len()).map_or(f64::INFINITY, f64::from);
        let within = (0_u32..).zip(&took);
        let within = within.take_while(|(rank, _)| f64::from(*rank) < all * share);
        within.last().map_or(f64::INFINITY, |(_, took)| *took)
    }
}

async fn row(
    name: &str,
    gate: &Gate,
    caller: &Caller,
    how: (Duration, Should),
    attack: impl Future<Output = Result<()>>,
) -> Result<Row> {
    let before = caller.counted().await?;
    row_since(before, name, gate, caller, how, attack).await
}

/// The same, with what was refused before: the first question of this row is that for the verdict.
async fn row_since(
    before: Counted,
    name: &str,
    gate: &Gate,
    caller: &Caller,
    (span, should): (Duration, Should),
    attack: impl Future<Output = Result<()>>,
) -> Result<Row> {
    gate.forget_peak_memory()?;
    let began = Instant::now();
    let seen = caller.watch(span, attack).await?;
    let counted = caller.counted().await.unwrap_or_default().since(&before);
    let said = |state: &str| seen.said.get(state).copied().unwrap_or_default();
    let ok = said("none") == 0
        && match should {
            Should::StayOpen => said("closed") + said("unknown") == 0,
            Should::Answer => true,
            Should::Shut(after, because, not_taken) => {
                let late = |look: &Look| look.asked.duration_since(began) > after;
                seen.looks.iter().any(late)
                    && !seen.looks.iter().any(|look| look.is_open && late(look))
                    && seen.codes.iter().any(|code| code == because)
                    && not_taken.is_none_or(|why| counted.not_taken.contains_key(why))
            }
            Should::NeverOpen => said("open") == 0,
        };
    let row = Row {
        name: name.to_owned(),
        seconds: began.elapsed().as_secs_f64().round(),
        peak_memory: gate.peak_memory().unwrap_or_default(),
        counted,
        measured: BTreeMap::new(),
        seen,
        ok,
    };
    tracing::info!(?row, "row");
    Ok(row)
}

/// What goes on until it is dropped.
type Attack = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// What callers can do, each for `span`.
///
/// # Errors
/// When an attack cannot be made.
pub async fn callers(stand: &Stand, span: Duration) -> Result<Vec<Row>> {
    let port = stand.gate.port();
    stand.gate.wait_open(OPENS).await?;
    let caller = Caller::new(port, None)?;
    let stays = (span, Should::StayOpen);
    let mut rows = Vec::new();
    let made = Made::default();
    let attacks: [(&str, Attack); 6] = [
        (
            "slow headers",
            Box::pin(inbound::slow_headers(port, made.clone())),
        ),
        (
            "slow bodies",
            Box::pin(inbound::slow_bodies(port, made.clone())),
        ),
        (
            "10,000 idle connections",
            Box::pin(inbound::idle_connections(port, made.clone())),
        ),
        (
            "huge headers",
            Box::pin(inbound::huge_headers(port, made.clone())),
        ),
        (
            "malformed HTTP",
            Box::pin(inbound::malformed(port, made.clone())),
        ),
        (
            "a flood of requests",
            Box::pin(inbound::flood(port, made.clone())),
        ),
    ];
    for (name, attack) in attacks {
        let mut row = row(name, &stand.gate, &caller, stays, attack).await?;
        row.measured.insert("connections_made", made.take());
        rows.push(row);
    }
    Ok(rows)
}

/// Makes the proof.
///
/// # Errors
/// When something cannot be started, or a row is not as it should be.
pub async fn run() -> Result<()> {
    let header = Header::new("attacks", Vec::new());
    let stand = Stand::start(|_| ()).await?;
    let mut rows = callers(&stand, Duration::from_secs(15)).await?;
    rows.extend(pages(&stand, None).await?);
    rows.extend(brokers(&stand, Duration::from_secs(15)).await?);
    rows.push(descriptors(&stand, Duration::from_secs(15)).await?);
    rows.push(stopped(&stand, Duration::from_secs(60), Duration::from_secs(10)).await?);
    rows.push(handshakes(Duration::from_secs(15)).await?);
    walls::all(&Stand::start(|_| ()).await?, &mut rows).await?;
    let proof = Proof {
        header: header.ended(),
        pace_ms: PACE.as_millis(),
        limit_ms: WORST_CHECK_MS,
        rows,
    };
    let path = write("attacks", &proof)?;
    tracing::info!(path = %path.display(), "written");
    for row in &proof.rows {
        let name = &row.name;
        ensure!(row.ok, "{name}: the gate did not say what it should");
        let took = row.worst_check_ms();
        ensure!(took <= WORST_CHECK_MS, "{name}: an answer took {took} ms");
        let came = CAME_ABOUT.iter().find(|(of, ..)| of == name);
        if let Some((_, connections, refused)) = came {
            let made = row
                .measured
                .get("connections_made")
                .copied()
                .unwrap_or_default();
            ensure!(made >= *connections, "{name}: only {made} connections");
            let counted = refused.is_none_or(|by| row.counted.refused.contains_key(by));
            ensure!(
                counted,
                "{name}: nothing was refused for it: {:?}",
                row.counted.refused
            );
        }
    }
    Ok(())
}

fn pid(gate: &Gate) -> Result<Pid> {
    let pid = gate.pid().and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw).context("the gate's process")
}

/// How many file descriptors it has open.
fn descriptors_of(gate: &Gate) -> Result<usize> {
    let pid = pid(gate)?.as_raw_nonzero();
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// No file descriptors are left.
///
/// # Errors
/// When the gate cannot be asked, or its limits cannot be set.
pub async fn descriptors(stand: &Stand, span: Duration) -> Result<Row> {
    stand.gate.wait_open(OPENS).await?;
    let caller = Caller::new(stand.gate.port(), None)?;
    caller.check().await?;
    let pid = pid(&stand.gate)?;
    let few = u64::try_from(descriptors_of(&stand.gate)?)?.saturating_add(10);
    let limit = |most| Rlimit {
        current: Some(most),
        maximum: Some(20_000),
    };
    let before = prlimit(Some(pid), Resource::Nofile, limit(few))?;
    let most = AtomicUsize::new(0);
    let attack = async {
        let counts = async {
            loop {
                most.fetch_max(descriptors_of(&stand.gate)?, Ordering::Relaxed);
                sleep(PACE).await;
            }
        };
        let idle = inbound::idle_connections(stand.gate.port(), Made::default());
        tokio::select! {
            ended = counts => ended,
            ended = idle => ended,
        }
    };
    let answers = (span, Should::Answer);
    let name = "no file descriptors left";
    let row = row(name, &stand.gate, &caller, answers, attack).await;
    prlimit(Some(pid), Resource::Nofile, before)?;
    let mut row = row?;
    // What a new connection is given is closed at once where there is none: one or two may be free.
    let most = most.into_inner();
    row.ok &= most + 2 >= usize::try_from(few)?;
    let number = f64::from(u32::try_from(most)?);
    row.measured.insert("descriptors", number);
    Ok(row)
}

/// The gate is stopped for so long, and a broker dies meanwhile. Who asks from then on, for `after`, is
/// never told what was true before.
///
/// # Errors
/// When the gate cannot be stopped or asked.
pub async fn stopped(stand: &Stand, span: Duration, after: Duration) -> Result<Row> {
    stand.gate.wait_open(OPENS).await?;
    let pid = pid(&stand.gate)?;
    let before = Caller::new(stand.gate.port(), None)?.counted().await?;
    kill_process(pid, Signal::STOP)?;
    sleep(Duration::from_secs(1)).await;
    stand.served.operate(|cluster| cluster.kill(VICTIM))?;
    sleep(span.saturating_sub(Duration::from_secs(1))).await;
    kill_process(pid, Signal::CONT)?;
    // Over a new connection, and asked at once.
    let caller = Caller::new(stand.gate.port(), None)?;
    let never = (after, Should::NeverOpen);
    let none = std::future::pending();
    let name = format!("SIGSTOP for {} s, while a broker dies", span.as_secs());
    let row = row_since(before, &name, &stand.gate, &caller, never, none).await;
    stand
        .served
        .operate(|cluster| cluster.start(VICTIM, None))?;
    row
}

/// Handshakes that stop half-way, at a gate with TLS, for `span`.
///
/// # Errors
/// When the gate cannot be started or asked.
pub async fn handshakes(span: Duration) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed([String::from("127.0.0.1")])?;
    let ca = made.cert.pem();
    std::fs::write(folder.path().join("cert.pem"), &ca)?;
    std::fs::write(
        folder.path().join("key.pem"),
        made.signing_key.serialize_pem(),
    )?;
    let web = folder.path().join("web.yml");
    std::fs::write(
        &web,
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n",
    )?;
    let stand = Stand::start(|config| {
        config["web_config"] = json!(web.display().to_string());
    })
    .await?;
    let caller = Caller::new(stand.gate.port(), Some(ca.as_bytes()))?;
    let began = Instant::now();
    while !matches!(caller.check().await, Ok((state, _)) if state == "open") {
        ensure!(began.elapsed() < OPENS, "the gate with TLS does not open");
        sleep(PACE).await;
    }
    let made = Made::default();
    let attack = inbound::stalled_handshakes(stand.gate.port(), made.clone());
    let stays = (span, Should::StayOpen);
    let name = "stalled TLS handshakes";
    let mut row = row(name, &stand.gate, &caller, stays, attack).await?;
    row.measured.insert("connections_made", made.take());
    Ok(row)
}
