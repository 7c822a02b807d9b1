//! The proof `race`: two processes ask at the same moment, and the gate is killed before and after
//! its answer.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::sleep;

use super::crashes::{ANSWER, Args, Go, Lane, in_lanes, leases, wait_leases, written};
use super::gate::{Gate, program};
use super::report::Header;
use super::watch::PATIENCE;
use crate::http;

#[derive(Debug, Default, Serialize)]
struct Race {
    rounds: u64,
    /// Rounds in which the gate was killed between the durable write and the answer.
    killed_before_the_answer: u64,
    /// Of these, in how many the lease that nobody was told of was there after the restart.
    found_again: u64,
    /// Killed with somebody waiting, after a durable write that was of something else: no lease
    /// was in it, and none was there after the restart. The round is made again.
    other_writes: u64,
    /// Clients that were told "go" right before the gate was killed, after its answer.
    told_before_a_kill: u64,
    /// Of these, how many had their lease, with its token, in the gate that was started then.
    held_after_the_restart: u64,
    told_go: u64,
    /// Rounds in which both were told "go".
    two_holders: u64,
    /// "Go" for a lease that the gate does not have.
    lost: u64,
    /// Tokens that did not grow.
    old_tokens: u64,
}

/// Two processes ask for two brokers at the same moment, again and again; in a third of the rounds
/// the gate is killed between the durable write and the answer, in another third right after the
/// answer: whoever was told "go" is looked for in the gate that is started then.
pub async fn race(args: &Args) -> Result<()> {
    let header = Header::new("race", Vec::new());
    let mut found = Race::default();
    for lane in in_lanes(args, 300, |_, share| race_lane(share)).await? {
        found.rounds += lane.rounds;
        found.killed_before_the_answer += lane.killed_before_the_answer;
        found.found_again += lane.found_again;
        found.other_writes += lane.other_writes;
        found.told_before_a_kill += lane.told_before_a_kill;
        found.held_after_the_restart += lane.held_after_the_restart;
        found.told_go += lane.told_go;
        found.two_holders += lane.two_holders;
        found.lost += lane.lost;
        found.old_tokens += lane.old_tokens;
    }
    let found = written("race", header, args, found)?;
    ensure!(
        found.two_holders + found.lost + found.old_tokens == 0
            && found.found_again == found.killed_before_the_answer
            && found.held_after_the_restart == found.told_before_a_kill,
        "see nobody lose: {found:?}"
    );
    Ok(())
}

async fn race_lane(rounds: u64) -> Result<Race> {
    let lane = Lane::new().await?;
    let mut race = Race::default();
    let mut gate = lane.gate(None).await?;
    let mut last = 0;
    for round in 0..rounds {
        let (paused, killed_after) = (round % 3 == 0, round % 3 == 1);
        if paused {
            gate.kill().await?;
            gate = killed_before_the_answer(&lane, &mut race).await?;
            gate.wait_open_or_taken(PATIENCE).await?;
        } else {
            gate.wait_open(PATIENCE).await?;
        }
        let mut told = Vec::new();
        for asker in both_ask(gate.port()) {
            told.extend(asker.await??);
        }
        race.rounds += 1;
        race.told_go += u64::try_from(told.len())?;
        race.two_holders += u64::from(told.len() > 1);
        let mut standing = leases(gate.port()).await?;
        if killed_after {
            gate.kill().await?;
            gate = lane.gate(None).await?;
            standing = wait_leases(gate.port()).await?;
            race.told_before_a_kill += u64::try_from(told.len())?;
            let held = told.iter().filter(|go| go.is_among(&standing)).count();
            race.held_after_the_restart += u64::try_from(held)?;
        }
        for go in &told {
            race.lost += u64::from(!go.is_among(&standing));
            race.old_tokens += u64::from(go.token <= last);
            last = last.max(go.token);
        }
        give_back(gate.port(), &standing).await?;
    }
    gate.kill().await?;
    Ok(race)
}

/// A gate that is killed at its pause point, as often as it takes until it stood there with a lease
/// in its store; the one that was started then.
async fn killed_before_the_answer(lane: &Lane, race: &mut Race) -> Result<Gate> {
    let began = Instant::now();
    loop {
        let written = killed_with_both_waiting(lane).await?;
        let (revision, durable) = lane.durable_leases()?;
        // What the gate took for durable is there, whatever it was.
        ensure!(
            revision >= written,
            "find revision {written} in the store: it has {revision}"
        );
        let gate = lane.gate(None).await?;
        let found = wait_leases(gate.port()).await?;
        let found: Vec<_> = found.iter().map(|lease| lease["lease"].as_u64()).collect();
        if !durable.is_empty() {
            race.killed_before_the_answer += 1;
            let all = durable.iter().all(|lease| found.contains(&Some(*lease)));
            race.found_again += u64::from(all);
            return Ok(gate);
        }
        // The write that somebody waited beside was another's, of a node that is back for one.
        ensure!(found.is_empty(), "see no lease, as in the store: {found:?}");
        race.other_writes += 1;
        ensure!(began.elapsed() < PATIENCE, "see a grant stored");
        gate.kill().await?;
    }
}

/// Two processes ask a gate that stands still once a write is durable, and it is killed there; the
/// revision that it says to have written.
async fn killed_with_both_waiting(lane: &Lane) -> Result<u64> {
    let stands = lane.folder.path().join("stands");
    let _ = std::fs::remove_file(&stands);
    let gate = lane.gate(Some(&stands)).await?;
    gate.wait_open(PATIENCE).await?;
    let mut asking = both_ask(gate.port());
    let began = Instant::now();
    let written = loop {
        if let Some(revision) = stands_at(&stands) {
            break revision;
        }
        ensure!(began.elapsed() < PATIENCE, "see the gate stand still");
        if asking.iter().all(tokio::task::JoinHandle::is_finished) {
            // Both were told "not now", for what was true for a moment.
            asking = both_ask(gate.port());
        }
        sleep(Duration::from_millis(5)).await;
    };
    gate.kill().await?;
    for asker in asking {
        let told = asker.await??;
        ensure!(
            told.is_none(),
            "told go by a gate that stood still: {told:?}"
        );
    }
    Ok(written)
}

/// The revision in the file of a gate that stands still, once it is written whole.
fn stands_at(file: &Path) -> Option<u64> {
    let said = std::fs::read_to_string(file).ok()?;
    let (_, revision) = said.strip_suffix('\n')?.split_once(' ')?;
    revision.parse().ok()
}

/// Two processes, at the same moment.
fn both_ask(port: u16) -> Vec<tokio::task::JoinHandle<Result<Option<Go>>>> {
    [(1, "one"), (2, "two")]
        .into_iter()
        .map(|(node, owner)| tokio::spawn(enter(port, node, owner)))
        .collect()
}

/// Every owner says that it has finished, until the gate has none left.
async fn give_back(port: u16, standing: &[Value]) -> Result<()> {
    for lease in standing {
        let (owner, nodes) = (&lease["owner"], &lease["nodes"]);
        let node = nodes[0].as_i64().context("a node of the lease")?;
        let owner = owner.as_str().context("an owner of the lease")?;
        let path = format!("/api/v1/gates/default/leave?node={node}&owner={owner}&wait=10s");
        let began = Instant::now();
        loop {
            match http::post(port, &path, ANSWER).await? {
                200 | 409 => break,
                _ => ensure!(began.elapsed() < PATIENCE, "see {owner} be rid of {node}"),
            }
        }
    }
    Ok(())
}

/// One process that asks once.
async fn enter(port: u16, node: i32, owner: &'static str) -> Result<Option<Go>> {
    let output = Command::new(program()?)
        .args([
            "enter",
            "--json",
            "--node",
            &node.to_string(),
            "--owner",
            owner,
        ])
        .args(["--url", &format!("http://127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("start upgrade-gate enter")?;
    if !output.status.success() {
        return Ok(None);
    }
    let body: Value = serde_json::from_slice(&output.stdout).context("read what enter prints")?;
    Ok(Some(Go::of(&body).context("find lease and token in it")?))
}
