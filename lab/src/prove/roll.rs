//! The proof `roll`: every node of a real cluster restarted by `upgrade-gate exec`, while a second
//! orchestrator asks at random; then a broker that cannot start and is repaired through the gate,
//! and an owner that is killed in mid-restart.

mod other;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use self::other::{Other, Phase, Second, Shared, enters, free, leave_until_over};
use super::gate::{Gate, program};
use super::report::{Header, write};
use super::returning::{Returning, Said};
use super::watch::{PATIENCE, config_of_roll, seconds, start};
use crate::cluster::Cluster;
use crate::http;
use crate::load::{Load, LoadReport, LoadSpec};
use crate::node::Node;
use crate::release::Release;
use crate::spec::{NodeId, Spec};

/// What `exec` ends with when its node is not proven back in time.
const NOT_BACK: i32 = 124;

/// What to prove.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is done to the nodes
    #[arg(long, value_enum, default_value_t = Kind::Restart)]
    pub kind: Kind,
    /// Kafka's release
    #[arg(long, default_value = "4.3.1")]
    pub release: Release,
}

/// What is done to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The same release again.
    Restart,
}

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    kind: Kind,
    window: String,
    steps: Vec<Step>,
    second: Second,
    broken_config: Story,
    killed_owner: Story,
    load: LoadReport,
}

/// One node's restart.
#[derive(Clone, Debug, Serialize)]
struct Step {
    node: NodeId,
    /// From the call of `exec` to the start of its command: others, health, the decision.
    waited_for_go: f64,
    /// Until the process ran again.
    restart: f64,
    /// From there until every broker saw every ISR full and the quorum had every voter: Kafka was
    /// not back yet.
    kafka_not_back: f64,
    /// From there until `exec` ended: the gate's window.
    gates_window: f64,
    /// What the gate said meanwhile that the whole usually takes, from grant to proof, by what it
    /// has seen of this cluster; nothing before the first.
    said_usually: Option<f64>,
    /// What the gate said of its return.
    said: Said,
    exit: i32,
}

/// A scene with one expected end.
#[derive(Clone, Debug, Serialize)]
struct Story {
    what: String,
    seen: Vec<String>,
    ok: bool,
}

/// Runs it all and writes the proof.
pub async fn run(args: &Args) -> Result<()> {
    let header = Header::new("roll", vec![args.release.to_string()]);
    let cluster = Cluster::start(Spec::kraft(args.release)).await?;
    cluster
        .create_topic("orders", 30, 3, &[("min.insync.replicas", "2")])
        .await?;
    let load = Load::start(LoadSpec::new(cluster.app_bootstrap(), "orders").rate(150))?;
    let gate = start(&cluster, &config_of_roll(&cluster)).await?;
    gate.wait_open(PATIENCE).await?;
    let stage = Stage {
        cluster: &cluster,
        gate: &gate,
        folder: cluster.dir().join("steps"),
    };
    std::fs::create_dir_all(&stage.folder).context("make the folder of the steps")?;

    let held = free();
    let other = Other::start(gate.port(), brokers(&cluster), Shared::clone(&held));
    let mut steps = Vec::new();
    for node in order(&cluster).await? {
        let step = stage.restart(node, &held).await?;
        tracing::info!(?step, "step");
        steps.push(step);
    }
    let mut second = other.stop().await;
    second.beside_the_first = beside(&history(&gate).await?, &second.leases)?;
    let broken_config = stage.broken_config().await?;
    tracing::info!(?broken_config, "story");
    let killed_owner = stage.killed_owner().await?;
    tracing::info!(?killed_owner, "story");
    let load = load.stop().await?;
    let proof = Proof {
        header: header.ended(),
        kind: args.kind,
        window: window(&gate).await?,
        steps,
        second,
        broken_config,
        killed_owner,
        load,
    };
    let path = write("roll", &proof)?;
    println!("wrote {}", path.display());
    ensure!(proof.load.is_clean(), "lose nothing: {:?}", proof.load);
    let second = &proof.second;
    let beside = second.beside_the_first + second.beside_a_node_that_is_out;
    ensure!(beside == 0, "see the second one go alone: {second:?}");
    // One go in the window of each step would have been seen.
    ensure!(
        second.asked_in_the_window >= 3 * u64::try_from(proof.steps.len())?,
        "see the second one ask often enough: {second:?}"
    );
    ensure!(
        proof.steps.iter().all(|step| step.exit == 0),
        "see every exec end with 0"
    );
    ensure!(
        proof.broken_config.ok && proof.killed_owner.ok,
        "see both scenes end well"
    );
    Ok(())
}

/// Standby controllers first, the active one last, then the brokers.
pub(super) async fn order(cluster: &Cluster) -> Result<Vec<NodeId>> {
    let active = cluster.active_controller().await?;
    let controllers = cluster.nodes().iter();
    let controllers = controllers.filter(|node| node.role().is_controller());
    let mut nodes: Vec<NodeId> = controllers.map(Node::id).collect();
    nodes.sort_by_key(|node| Some(*node) == active);
    nodes.extend(brokers(cluster));
    Ok(nodes)
}

fn brokers(cluster: &Cluster) -> Vec<NodeId> {
    cluster.brokers().map(Node::id).collect()
}

async fn window(gate: &Gate) -> Result<String> {
    let document = gate.json("/api/v1/gates/default").await?;
    Ok(document["window"].to_string())
}

struct Stage<'a> {
    cluster: &'a Cluster,
    gate: &'a Gate,
    folder: PathBuf,
}

impl Stage<'_> {
    /// `exec` around a command that asks this process to act on a node, and waits for it.
    fn exec(&self, node: NodeId, owner: &str, more: &[&str]) -> Result<Child> {
        for end in ["want", "done"] {
            remove(&self.file(node, end))?;
        }
        let (want, done) = (self.file(node, "want"), self.file(node, "done"));
        let script = format!(
            "echo \"$UPGRADE_GATE_TOKEN\" > '{}'; until [ -e '{}' ]; do sleep 0.05; done",
            want.display(),
            done.display()
        );
        Command::new(program()?)
            .args(["exec", "--node", &node.to_string(), "--owner", owner])
            .args(["--url", &format!("http://127.0.0.1:{}", self.gate.port())])
            .args(more)
            .args(["--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start upgrade-gate exec")
    }

    fn file(&self, node: NodeId, end: &str) -> PathBuf {
        self.folder.join(format!("{node}.{end}"))
    }

    /// Waits until the command runs.
    async fn told_go(&self, node: NodeId, exec: &mut Child) -> Result<()> {
        let want = self.file(node, "want");
        let begun = Instant::now();
        while !want.is_file() {
            if let Some(status) = exec.try_wait()? {
                bail!("see exec start its command on {node}: it ended with {status}");
            }
            ensure!(
                begun.elapsed() < PATIENCE * 2,
                "see exec be told go on {node}"
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn restart(&self, node: NodeId, held: &Shared) -> Result<Step> {
        let called = Instant::now();
        let mut exec = self.exec(node, "roll", &["--wait", "10m"])?;
        self.told_go(node, &mut exec).await?;
        enters(held, Phase::Out);
        let returning = Returning::watch(self.gate.port(), node);
        let go = Instant::now();
        let target = self.cluster.node(node)?;
        target.stop_and_wait().await?;
        target.start(None).await?;
        let running = Instant::now();
        std::fs::write(self.file(node, "done"), "").context("say that it is done")?;
        let cluster = self.cluster;
        cluster.wait_full_isr(PATIENCE).await?;
        // A controller is back when a leader is there and every node answers.
        while cluster.active_controller().await.ok().flatten().is_none() {
            sleep(Duration::from_millis(50)).await;
        }
        let back = Instant::now();
        let said_usually = self.said_usually(node).await?;
        // The lease is over a moment before `exec` ends: what is told in between is looked up in the
        // history.
        enters(held, Phase::Window);
        let status = timeout(PATIENCE * 2, exec.wait()).await;
        let status = status.context("see exec end")??;
        let ended = Instant::now();
        enters(held, Phase::Free);
        Ok(Step {
            node,
            waited_for_go: seconds(go - called),
            restart: seconds(running - go),
            kafka_not_back: seconds(back - running),
            gates_window: seconds(ended - back),
            said_usually,
            said: returning.said(),
            exit: status.code().unwrap_or(-1),
        })
    }

    /// The gate's estimate, beside the lease on this node.
    async fn said_usually(&self, node: NodeId) -> Result<Option<f64>> {
        let leases = self.gate.json("/api/v1/gates/default/leases").await?;
        let mut leases = leases["leases"].as_array().context("leases")?.iter();
        let own = leases.find(|lease| lease["nodes"] == serde_json::json!([node]));
        Ok(own.and_then(|lease| lease["usually_seconds"].as_f64()))
    }

    /// A broker is restarted with a setting that it refuses: it is not proven back, the slot stays
    /// taken, and the gate lets it be repaired.
    async fn broken_config(&self) -> Result<Story> {
        let node = *brokers(self.cluster).last().context("a broker")?;
        let target = self.cluster.node(node)?;
        let mut seen = Vec::new();
        let mut exec = self.exec(node, "roll", &["--wait", "5m", "--wait-back", "20s"])?;
        self.told_go(node, &mut exec).await?;
        target.stop_and_wait().await?;
        let bad = (String::from("num.io.threads"), String::from("none"));
        target.start_with_config(None, [bad]).await?;
        target.wait_ended().await;
        seen.push(String::from(
            "the broker refuses its configuration and ends",
        ));
        std::fs::write(self.file(node, "done"), "")?;
        let status = exec.wait().await?;
        seen.push(format!("exec ends with {:?}", status.code()));
        let not_back = status.code() == Some(NOT_BACK);
        let other = brokers(self.cluster).first().copied().context("a broker")?;
        let refused = enter(self.gate.port(), other, "second", "restart").await? != 200;
        seen.push(format!("enter for node {other} is refused: {refused}"));
        let wait = ["--wait", "1m", "--action", "repair"];
        let mut repair = self.exec(node, "person", &wait)?;
        self.told_go(node, &mut repair).await?;
        seen.push(String::from("exec --action repair is told go"));
        let good = (String::from("num.io.threads"), String::from("8"));
        target.start_with_config(None, [good]).await?;
        std::fs::write(self.file(node, "done"), "")?;
        let status = repair.wait().await?;
        seen.push(format!("the repair ends with {:?}", status.code()));
        self.gate.wait_open(PATIENCE).await?;
        Ok(Story {
            what: String::from("a broker started with a broken configuration is repaired"),
            ok: not_back && refused && status.success(),
            seen,
        })
    }

    /// The owner's process is killed in mid-restart: shut until the broker is back, then free.
    async fn killed_owner(&self) -> Result<Story> {
        let node = *brokers(self.cluster).last().context("a broker")?;
        let target = self.cluster.node(node)?;
        let mut seen = Vec::new();
        let mut exec = self.exec(node, "doomed", &["--wait", "5m", "--ttl", "15s"])?;
        self.told_go(node, &mut exec).await?;
        target.stop_and_wait().await?;
        exec.start_kill().context("kill the owner")?;
        exec.wait().await?;
        seen.push(String::from("the owner is killed while the broker is down"));
        let other = brokers(self.cluster).first().copied().context("a broker")?;
        let mut gos = 0;
        let dead = Instant::now();
        while dead.elapsed() < Duration::from_secs(30) {
            let status = enter(self.gate.port(), other, "second", "restart").await?;
            gos += usize::from(status == 200);
            sleep(Duration::from_millis(500)).await;
        }
        seen.push(format!("30 s without it: {gos} times go for another node"));
        target.start(None).await?;
        let begun = Instant::now();
        let mut told = None;
        while told.is_none() && begun.elapsed() < PATIENCE {
            let full = self.cluster.isr_full_everywhere().await;
            if enter(self.gate.port(), other, "second", "restart").await? == 200 {
                told = Some((begun.elapsed(), full));
            }
            sleep(Duration::from_millis(200)).await;
        }
        let (took, full) = told.context("see the slot become free by itself")?;
        seen.push(format!(
            "{} s after its start another node is told go; every ISR full then: {full}",
            seconds(took)
        ));
        leave_until_over(self.gate.port(), other, "second").await?;
        Ok(Story {
            what: String::from("an owner is killed in mid-restart"),
            ok: gos == 0 && full,
            seen,
        })
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}

async fn enter(port: u16, node: NodeId, owner: &str, action: &str) -> Result<u16> {
    let path =
        format!("/api/v1/gates/default/enter?node={node}&owner={owner}&ttl=30s&action={action}");
    Ok(http::post(port, &path, Duration::from_secs(15)).await?)
}

/// The whole history of the gate, oldest first.
async fn history(gate: &Gate) -> Result<Vec<Value>> {
    let mut entries: Vec<Value> = Vec::new();
    let mut next = String::from("/api/v1/gates/default/history?limit=500");
    loop {
        let page = gate.json(&next).await?;
        entries.extend(
            page["entries"]
                .as_array()
                .context("entries")?
                .iter()
                .cloned(),
        );
        let Some(before) = page["next_before"].as_u64() else {
            entries.reverse();
            return Ok(entries);
        };
        next = format!("/api/v1/gates/default/history?limit=500&before={before}");
    }
}

/// How many of these leases were given while one of the first orchestrator's was not over.
fn beside(history: &[Value], told: &[u64]) -> Result<u64> {
    let mut running = BTreeSet::new();
    let mut beside = 0;
    for entry in history {
        let lease = entry["lease"].as_u64();
        match entry["kind"].as_str().context("a kind")? {
            "granted" if entry["owner"] == "roll" => {
                running.extend(lease);
            }
            "granted" => {
                let was_told = lease.is_some_and(|lease| told.contains(&lease));
                beside += u64::from(was_told && !running.is_empty());
            }
            "proven_back" | "withdrawn" | "broken" | "ended" => {
                running.retain(|running| Some(*running) != lease);
            }
            _ => {}
        }
    }
    Ok(beside)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_given_before_the_first_ones_is_over_is_counted() {
        let granted = |lease, owner| json!({"kind": "granted", "lease": lease, "owner": owner});
        let back = |lease| json!({"kind": "proven_back", "lease": lease});
        let verdict = json!({"kind": "verdict"});
        let apart = [
            granted(1, "roll"),
            verdict,
            back(1),
            granted(2, "second"),
            back(2),
        ];
        assert_eq!(beside(&apart, &[2]).unwrap(), 0);
        let together = [granted(1, "roll"), granted(2, "second"), back(1), back(2)];
        assert_eq!(beside(&together, &[2]).unwrap(), 1);
        assert_eq!(beside(&together, &[]).unwrap(), 0, "it was not told");
        // Taken over by somebody else, the first one's is over.
        let taken = json!({"kind": "ended", "lease": 1, "how": "taken_over"});
        let after = [granted(1, "roll"), taken, granted(2, "second")];
        assert_eq!(beside(&after, &[2]).unwrap(), 0);
    }
}
