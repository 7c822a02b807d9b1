//! The proof `crashes`, and what `race` shares with it: gates that are killed while leases are asked
//! for, in front of the simulated cluster with a small window, so that hundreds of rounds take minutes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use upgrade_gate::gate::state::GateName;
use upgrade_gate::model::serve::Served;
use upgrade_gate::model::{Cluster, Release, Spec, TopicSpec};
use upgrade_gate::store::sqlite::look::{Found, look};

use super::gate::Gate;
use super::report::{Header, write};
use crate::http;
use crate::simulate::ops::Random;

/// How long an answer of a gate may take.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// How many rounds, or kills.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many rounds of the race, or how many kills
    #[arg(long)]
    pub rounds: Option<u64>,
    /// How many clusters and gates side by side
    #[arg(long, default_value_t = 4)]
    pub lanes: u64,
}

/// A simulated cluster, and the gate in front of it.
pub(super) struct Lane {
    _cluster: Served,
    config: PathBuf,
    pub(super) folder: tempfile::TempDir,
}

impl Lane {
    pub(super) async fn new() -> Result<Self> {
        let mut spec = Spec::kraft(3, 3, Release::V3_9);
        spec = spec.topics(vec![TopicSpec::new("orders", 6, 3).rate(5)]);
        spec.start_wall_ms = jiff::Timestamp::now().as_millisecond();
        let cluster = Served::start(Cluster::new(spec)?).await?;
        let folder = tempfile::tempdir().context("make a folder")?;
        let targets: serde_json::Map<String, Value> = cluster
            .jmx()
            .into_iter()
            .map(|(node, url)| (node.to_string(), json!(url)))
            .collect();
        let bootstrap: Vec<_> = cluster
            .brokers()
            .values()
            .map(ToString::to_string)
            .collect();
        let config = json!({
            "data_dir": folder.path().join("data"),
            "gates": {"default": {
                "kafka": {"bootstrap": bootstrap},
                "jmx": {"targets": targets},
                "policy": {"window": "500ms", "leadership_quiet": "0s"},
            }},
        });
        let path = folder.path().join("gate.json");
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok(Self {
            _cluster: cluster,
            config: path,
            folder,
        })
    }

    /// The revision, and the leases, in the store of a gate that is not at work.
    pub(super) fn durable_leases(&self) -> Result<(u64, Vec<u64>)> {
        let name: GateName = "default".to_owned().try_into()?;
        match look(&self.folder.path().join("data"), &name) {
            Found::Document(revision, doc) => {
                let leases = doc.leases.keys().map(|lease| lease.0);
                Ok((revision.0, leases.collect()))
            }
            other @ (Found::Nothing
            | Found::Damaged(_)
            | Found::Newer(_)
            | Found::Locked(_)
            | Found::Unreadable(_)) => bail!("read the killed gate's store: {other:?}"),
        }
    }

    pub(super) async fn gate(&self, pause: Option<&PathBuf>) -> Result<Gate> {
        let wish = pause.map(|file| format!("stored:{}", file.display()));
        let environment = wish.map(|wish| ("PAUSE_UPGRADE_GATE", wish));
        Gate::start_with(&[self.config.display().to_string()], environment).await
    }
}

pub(super) async fn leases(port: u16) -> Result<Vec<Value>> {
    let path = "/api/v1/gates/default/leases";
    let body = http::get(port, path, "application/json", ANSWER).await?;
    let body: Value = serde_json::from_slice(&body)?;
    Ok(body["leases"].as_array().cloned().unwrap_or_default())
}

#[derive(Serialize)]
struct Proof<T: Serialize> {
    #[serde(flatten)]
    header: Header,
    lanes: u64,
    #[serde(flatten)]
    found: T,
}

/// Writes the proof of what the lanes have found, and hands that back.
pub(super) fn written<T: Serialize + Debug>(
    name: &str,
    header: Header,
    args: &Args,
    found: T,
) -> Result<T> {
    let proof = Proof {
        header: header.ended(),
        lanes: args.lanes,
        found,
    };
    let path = write(name, &proof)?;
    println!("wrote {}: {:?}", path.display(), proof.found);
    Ok(proof.found)
}

/// Shares the rounds out among lanes that run side by side; what each has found.
pub(super) async fn in_lanes<T: Send + 'static, F>(
    args: &Args,
    rounds: u64,
    lane: impl Fn(u64, u64) -> F,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    let rounds = args.rounds.unwrap_or(rounds);
    let mut lanes = JoinSet::new();
    for number in 0..args.lanes {
        let share = rounds / args.lanes + u64::from(number < rounds % args.lanes);
        lanes.spawn(lane(number, share));
    }
    lanes.join_all().await.into_iter().collect()
}

/// The leases of a gate that has just been started.
pub(super) async fn wait_leases(port: u16) -> Result<Vec<Value>> {
    let began = Instant::now();
    loop {
        let listed = leases(port).await.unwrap_or_default();
        if !listed.is_empty() || began.elapsed() > Duration::from_secs(3) {
            return Ok(listed);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// "Go", as a caller reads it.
#[derive(Clone, Debug)]
pub(super) struct Go {
    pub(super) lease: u64,
    pub(super) token: u64,
}

impl Go {
    /// Whether a gate that lists these leases has this one, with its token.
    pub(super) fn is_among(&self, leases: &[Value]) -> bool {
        let mut leases = leases.iter();
        leases.any(|it| it["lease"] == self.lease && it["token"] == self.token)
    }

    pub(super) fn of(body: &Value) -> Option<Self> {
        (body["open"] == true).then_some(())?;
        Some(Self {
            lease: body["lease"].as_u64()?,
            token: body["token"].as_u64()?,
        })
    }
}

#[derive(Debug, Default, Serialize)]
struct Crashes {
    kills: u64,
    asked: u64,
    told_go: u64,
    /// Leases that were held while the gate was killed.
    held_over_a_kill: u64,
    /// Told "go", and the gate did not have the lease afterwards.
    lost: u64,
    /// Told "go" while somebody else was.
    two_holders: u64,
    /// Tokens that did not grow.
    old_tokens: u64,
}

/// What all owners of a lane know together.
#[derive(Default)]
struct Together {
    port: AtomicU16,
    kills: AtomicU64,
    found: Mutex<Crashes>,
    holders: Mutex<BTreeMap<u64, &'static str>>,
    last: AtomicU64,
    stop: std::sync::atomic::AtomicBool,
}

/// Gates are killed again and again while owners take leases and give them back.
pub async fn crashes(args: &Args) -> Result<()> {
    let header = Header::new("crashes", Vec::new());
    let mut found = Crashes::default();
    for lane in in_lanes(args, 1_000, crash_lane).await? {
        found.kills += lane.kills;
        found.asked += lane.asked;
        found.told_go += lane.told_go;
        found.held_over_a_kill += lane.held_over_a_kill;
        found.lost += lane.lost;
        found.two_holders += lane.two_holders;
        found.old_tokens += lane.old_tokens;
    }
    let found = written("crashes", header, args, found)?;
    ensure!(
        found.two_holders + found.lost + found.old_tokens == 0,
        "see nothing be lost: {found:?}"
    );
    Ok(())
}

async fn crash_lane(seed: u64, kills: u64) -> Result<Crashes> {
    let lane = Lane::new().await?;
    let mut gate = lane.gate(None).await?;
    let together = Arc::new(Together::default());
    together.port.store(gate.port(), Ordering::SeqCst);
    let owners: Vec<_> = ["ann", "bob", "cid", "dot"]
        .into_iter()
        .zip(0..)
        .map(|(owner, number)| {
            let random = Random(seed * 100 + number + 7);
            tokio::spawn(owner_of_leases(owner, random, Arc::clone(&together)))
        })
        .collect();
    let mut random = Random(seed + 99);
    for _ in 0..kills {
        sleep(Duration::from_millis(random.between(300, 4_000))).await;
        gate.kill().await?;
        together.kills.fetch_add(1, Ordering::SeqCst);
        gate = lane.gate(None).await?;
        together.port.store(gate.port(), Ordering::SeqCst);
    }
    together.stop.store(true, Ordering::SeqCst);
    for owner in owners {
        owner.await??;
    }
    gate.kill().await?;
    let mut found = std::mem::take(&mut *lock(&together.found));
    found.kills = together.kills.load(Ordering::SeqCst);
    Ok(found)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a node, holds it for a while, looks whether the gate still has the lease, gives it back.
async fn owner_of_leases(
    owner: &'static str,
    mut random: Random,
    together: Arc<Together>,
) -> Result<()> {
    while !together.stop.load(Ordering::SeqCst) {
        let node = random.between(1, 3);
        let path = format!("/api/v1/gates/default/enter?node={node}&owner={owner}&ttl=60s&wait=1s");
        let port = together.port.load(Ordering::SeqCst);
        lock(&together.found).asked += 1;
        let answer = http::post_for(port, &path, ANSWER).await;
        let go = answer.ok().filter(|(status, _)| *status == 200);
        let go = go.and_then(|(_, body)| Go::of(&serde_json::from_slice(&body).ok()?));
        let Some(go) = go else {
            sleep(Duration::from_millis(random.between(10, 100))).await;
            // An answer may have been lost with its gate: whoever is not told gives back what it
            // may have.
            leave(&together, owner, node).await?;
            continue;
        };
        let kills = together.kills.load(Ordering::SeqCst);
        {
            let mut holders = lock(&together.holders);
            let mut found = lock(&together.found);
            found.told_go += 1;
            found.two_holders += u64::from(!holders.is_empty());
            let last = together.last.fetch_max(go.token, Ordering::SeqCst);
            found.old_tokens += u64::from(go.token <= last);
            holders.insert(go.lease, owner);
        }
        sleep(Duration::from_millis(random.between(0, 2_500))).await;
        let began = Instant::now();
        let standing = loop {
            // A gate that has just been started has not read its store yet.
            let port = together.port.load(Ordering::SeqCst);
            let standing = leases(port).await.unwrap_or_default();
            let has = go.is_among(&standing);
            if has || began.elapsed() > Duration::from_secs(20) {
                break has;
            }
            sleep(Duration::from_millis(50)).await;
        };
        {
            let mut found = lock(&together.found);
            found.lost += u64::from(!standing);
            let killed = together.kills.load(Ordering::SeqCst) > kills;
            found.held_over_a_kill += u64::from(killed);
        }
        // From here on the gate may give the slot to somebody else.
        lock(&together.holders).remove(&go.lease);
        leave(&together, owner, node).await?;
    }
    Ok(())
}

async fn leave(together: &Together, owner: &str, node: u64) -> Result<()> {
    let path = format!("/api/v1/gates/default/leave?node={node}&owner={owner}&wait=5s");
    let began = Instant::now();
    loop {
        let port = together.port.load(Ordering::SeqCst);
        match http::post(port, &path, ANSWER).await {
            Ok(200 | 409) => return Ok(()),
            Ok(_) | Err(_) => {
                ensure!(
                    began.elapsed() < Duration::from_mins(3),
                    "see {owner} be rid of node {node}"
                );
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
