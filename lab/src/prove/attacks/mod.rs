//! The proof `attacks`: a real gate in front of a simulated cluster, callers and targets that mean
//! no good, and somebody who asks for the verdict all the while.
//!
//! - `stand`: what runs; `broker`: one that lies; `inbound`: what callers do; `targets`: what
//!   brokers and exporters say; `walls`: who sets the clock; `watch`: what is seen; [`lacks`]: what has
//!   to be seen.

mod broker;
mod demands;
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

pub use self::demands::{CAME_ABOUT, Came, WORST_CHECK_MS, keeps_new_callers_waiting, lacks};
use self::demands::{NO_DESCRIPTORS, SHUT_BY};
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
/// How much longer than its time an attack may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

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
    /// The same to those who are connected; to others that there is no place, where nothing else can be.
    AnswerConnected,
    /// Not open from so long after the begin, for this reason; and nothing but its own answers. What was
    /// not taken is counted under this, where it is a thing of its own.
    Shut(Duration, &'static str, Option<&'static str>),
    /// Never open at all.
    NeverOpen,
}

impl Should {
    /// Shut from so long after the begin, as the table says of what is done.
    fn shut(name: &str, after: Duration) -> Result<Self> {
        let of_it = SHUT_BY.iter().find(|(of, ..)| *of == name);
        let (_, because, not_taken) = *of_it.with_context(|| format!("what shuts it: {name}"))?;
        Ok(Self::Shut(after, because, not_taken))
    }
}

impl Row {
    /// The longest an answer took, milliseconds.
    pub const fn worst_check_ms(&self) -> f64 {
        self.seen.worst_check_ms
    }

    /// What this share of the answers took at most, milliseconds, in their order.
    pub fn check_ms(&self, share: f64) -> f64 {
        self.seen.looks.took_ms(share)
    }

    /// The longest an answer took over a new connection, milliseconds.
    pub const fn worst_new_connection_ms(&self) -> f64 {
        self.seen.worst_new_connection_ms
    }

    /// How often the gate refused somebody for this meanwhile.
    pub fn refused(&self, by: &str) -> u64 {
        self.counted.refused.get(by).copied().unwrap_or_default()
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
    let until = (sleep(span), None);
    row_until(before, name, gate, caller, (until, should), attack).await
}

/// The same, until something else than a time; and what has to be refused by then.
async fn row_until(
    before: Counted,
    name: &str,
    gate: &Gate,
    caller: &Caller,
    ((until, by), should): ((impl Future<Output = ()>, Option<&str>), Should),
    attack: impl Future<Output = Result<()>>,
) -> Result<Row> {
    gate.forget_peak_memory()?;
    let began = Instant::now();
    let seen = caller.watch(until, attack).await?;
    let seconds = began.elapsed().as_secs_f64().round();
    let counted = caller.counted_since(&before, by).await;
    let answered = match should {
        Should::AnswerConnected => !seen.said.contains_key("none"),
        Should::StayOpen | Should::Answer | Should::Shut(..) | Should::NeverOpen => {
            seen.said("none") == 0
        }
    };
    let ok = answered
        && match should {
            Should::StayOpen => seen.said("closed") + seen.said("unknown") == 0,
            Should::Answer | Should::AnswerConnected => true,
            Should::Shut(after, because, not_taken) => {
                let late = |look: &Look| look.asked.duration_since(began) > after;
                seen.looks.iter().any(late)
                    && !seen.all_looks().any(|look| look.is_open && late(look))
                    && seen.codes.iter().any(|code| code == because)
                    && not_taken.is_none_or(|why| counted.not_taken.contains_key(why))
            }
            Should::NeverOpen => seen.said("open") == 0,
        };
    let row = Row {
        name: name.to_owned(),
        seconds,
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

/// What callers can do, each for `span`, and until it has come about as `came` says.
///
/// # Errors
/// When an attack cannot be made.
pub async fn callers(stand: &Stand, span: Duration, came: &[Came]) -> Result<Vec<Row>> {
    let port = stand.gate.port();
    stand.gate.wait_open(OPENS).await?;
    let caller = Caller::new(port, None)?;
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
        let until = until(name, span, came, &made);
        let before = caller.counted().await?;
        let how = (until, Should::StayOpen);
        let mut row = row_until(before, name, &stand.gate, &caller, how, attack).await?;
        row.measured.insert("connections_made", made.take());
        rows.push(row);
    }
    Ok(rows)
}

/// When this attack may end, and what has to be refused for it.
fn until<'a>(
    name: &str,
    span: Duration,
    came: &[Came],
    made: &'a Made,
) -> (impl Future<Output = ()> + use<'a>, Option<&'static str>) {
    let of_it = came.iter().find(|(of, ..)| *of == name);
    let (connections, by) = of_it.map_or((0.0, None), |(_, connections, by)| (*connections, *by));
    let ends = async move {
        sleep(span).await;
        let began = Instant::now();
        while made.count() < connections && began.elapsed() < PATIENCE {
            sleep(PACE).await;
        }
    };
    (ends, by)
}

/// Makes the proof.
///
/// # Errors
/// When something cannot be started, or a row is not as it should be.
pub async fn run() -> Result<()> {
    let header = Header::new("attacks", Vec::new());
    let stand = Stand::start(|_| ()).await?;
    let mut rows = callers(&stand, Duration::from_secs(15), &CAME_ABOUT).await?;
    rows.extend(pages(&stand, None).await?);
    rows.extend(brokers(&stand, Duration::from_secs(15)).await?);
    rows.push(descriptors(&stand, Duration::from_secs(15)).await?);
    rows.push(stopped(&stand, Duration::from_secs(60), Duration::from_secs(10)).await?);
    rows.push(handshakes(Duration::from_secs(15), &CAME_ABOUT).await?);
    walls::all(&Stand::start(|_| ()).await?, &mut rows).await?;
    let proof = Proof {
        header: header.ended(),
        pace_ms: PACE.as_millis(),
        limit_ms: WORST_CHECK_MS,
        rows,
    };
    let path = write("attacks", &proof)?;
    tracing::info!(path = %path.display(), "written");
    let lacking: Vec<String> = serde_json::to_value(&proof.rows)?
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(lacks)
        .collect();
    ensure!(lacking.is_empty(), "{}", lacking.join("\n"));
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
    // Who comes anew is told so as soon as the last one is taken, and not left to wait.
    let answers = ((sleep(span), Some("accept")), Should::AnswerConnected);
    let counted = caller.counted().await?;
    let row = row_until(
        counted,
        NO_DESCRIPTORS,
        &stand.gate,
        &caller,
        answers,
        attack,
    )
    .await;
    prlimit(Some(pid), Resource::Nofile, before)?;
    let mut row = row?;
    // What a new connection is given is closed at once where there is none: one or two may be free.
    let most = most.into_inner();
    row.ok &= most + 2 >= usize::try_from(few)?;
    row.ok &= row.refused("accept") > 0;
    row.measured = BTreeMap::from([
        ("descriptors", f64::from(u32::try_from(most)?)),
        ("descriptors_limit", f64::from(u32::try_from(few)?)),
    ]);
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

/// Handshakes that stop half-way, at a gate with TLS, for `span`, and until they have come about as `came`
/// says.
///
/// # Errors
/// When the gate cannot be started or asked.
pub async fn handshakes(span: Duration, came: &[Came]) -> Result<Row> {
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
    let name = "stalled TLS handshakes";
    let how = (until(name, span, came, &made), Should::StayOpen);
    let before = caller.counted().await?;
    let mut row = row_until(before, name, &stand.gate, &caller, how, attack).await?;
    row.measured.insert("connections_made", made.take());
    Ok(row)
}
