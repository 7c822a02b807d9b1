//! The proof `callers`: a real cluster restarted by those who call the gate in real life, with the
//! recipes as they stand in `docs/recipes`: Ansible itself (ansible-core from PyPI), Rundeck's
//! script step run by its shell, and the requests of Jenkins' `waitUntil`, replayed. The gate wants a
//! token, which they read from where their recipe has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::gate::{Gate, program};
use super::jenkins::{Pipeline, Then};
use super::report::{Header, write};
use super::roll::order;
use super::watch::{PATIENCE, config_of_roll, seconds, start};
use crate::artifacts::Cache;
use crate::cluster::Cluster;
use crate::http;
use crate::load::{Load, LoadReport, LoadSpec};
use crate::node::Node;
use crate::release::Release;
use crate::spec::{NodeId, Spec};

/// Ansible, as it is installed from PyPI.
const ANSIBLE: &str = "ansible-core>=2.17,<2.20";

/// How long one caller may take for all nodes.
const WHOLE_ROLL: Duration = Duration::from_mins(15);

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    ansible: String,
    callers: BTreeMap<&'static str, Roll>,
    load: LoadReport,
}

/// What one caller did.
#[derive(Debug, Serialize)]
struct Roll {
    /// Nodes in the order they were restarted, each with what was true when its turn came.
    restarts: Vec<Restart>,
    /// Whether the caller itself ended well.
    ok: bool,
    /// From its first word to its last, seconds.
    seconds: f64,
}

/// One node stopped and started because a caller was told "go".
#[derive(Clone, Debug, Serialize)]
struct Restart {
    node: NodeId,
    /// Restarts that were under way then.
    beside: usize,
    /// Whether every ISR was full then, by Kafka's own word.
    isr_full: bool,
    seconds: f64,
}

/// Runs it all and writes the proof.
pub async fn run(release: Release) -> Result<()> {
    let header = Header::new("callers", vec![release.to_string()]);
    let ansible = install().await?;
    let cluster = Arc::new(Cluster::start(Spec::kraft(release)).await?);
    cluster
        .create_topic("orders", 30, 3, &[("min.insync.replicas", "2")])
        .await?;
    let load = Load::start(LoadSpec::new(cluster.app_bootstrap(), "orders").rate(100))?;
    let secret = Secret::make(cluster.dir())?;
    let mut config = config_of_roll(&cluster);
    config["auth"] = json!({"tokens": {"roll": {"file": &secret.token, "rights": "lease"}}});
    let gate = start(&cluster, &config).await?;
    secret.wait_open(&gate).await?;

    let hands = Hands::start(Arc::clone(&cluster))?;
    let stage = Stage {
        gate: &gate,
        secret: &secret,
        hands: &hands,
        nodes: order(&cluster).await?,
        folder: cluster.dir().to_path_buf(),
    };
    let mut callers = BTreeMap::new();
    let began = Instant::now();
    let ok = stage.ansible(&ansible).await?;
    callers.insert("ansible", hands.take(ok, began));
    let began = Instant::now();
    let ok = stage.rundeck().await?;
    callers.insert("rundeck", hands.take(ok, began));
    let began = Instant::now();
    let ok = stage.jenkins().await?;
    callers.insert("jenkins", hands.take(ok, began));

    let proof = Proof {
        header: header.ended(),
        ansible: version(&ansible).await?,
        callers,
        load: load.stop().await?,
    };
    let path = write("callers", &proof)?;
    println!("wrote {}", path.display());
    ensure!(proof.load.is_clean(), "lose nothing: {:?}", proof.load);
    for (caller, roll) in &proof.callers {
        let nodes: Vec<_> = roll.restarts.iter().map(|restart| restart.node).collect();
        ensure!(roll.ok, "see {caller} end well");
        ensure!(
            nodes == stage.nodes,
            "see {caller} restart every node: {nodes:?}"
        );
        let sound = |restart: &Restart| restart.beside == 0 && restart.isr_full;
        ensure!(
            roll.restarts.iter().all(sound),
            "see {caller} go one at a time: {roll:?}"
        );
    }
    Ok(())
}

/// Installs Ansible into the lab's cache, once; the folder of its programs.
async fn install() -> Result<PathBuf> {
    let home = Cache::open()?.root().join("python/ansible");
    let programs = home.join("bin");
    if !programs.join("ansible-playbook").is_file() {
        checked(Command::new("python3").args(["-m", "venv"]).arg(&home)).await?;
        let mut pip = Command::new(programs.join("pip"));
        checked(pip.args(["install", "--quiet", ANSIBLE])).await?;
    }
    Ok(programs)
}

async fn version(programs: &Path) -> Result<String> {
    let told = checked(Command::new(programs.join("ansible-playbook")).arg("--version")).await?;
    Ok(told.lines().next().unwrap_or_default().to_owned())
}

async fn checked(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("start {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "run {command:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// Restarts nodes for whoever leaves a file `NODE.want` in a folder, and answers with `NODE.done`.
struct Hands {
    folder: PathBuf,
    done: Arc<Mutex<Vec<Restart>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Hands {
    fn start(cluster: Arc<Cluster>) -> Result<Self> {
        let folder = cluster.dir().join("hands");
        std::fs::create_dir_all(&folder).context("make the folder of the restarts")?;
        let script = format!(
            "#!/bin/sh\nset -eu\nrm -f '{at}'/\"$1\".done\ntouch '{at}'/\"$1\".want\n\
             until [ -e '{at}'/\"$1\".done ]; do sleep 0.1; done\n",
            at = folder.display()
        );
        let path = folder.join("restart");
        std::fs::write(&path, script).context("write the restart script")?;
        let done = Arc::new(Mutex::new(Vec::new()));
        let (at, restarts) = (folder.clone(), Arc::clone(&done));
        let task = tokio::spawn(async move {
            let running = Arc::new(Mutex::new(0));
            loop {
                for node in cluster.nodes().iter().map(Node::id) {
                    let want = at.join(format!("{node}.want"));
                    if std::fs::remove_file(&want).is_err() {
                        continue;
                    }
                    let beside = {
                        let mut running = lock(&running);
                        *running += 1;
                        *running - 1
                    };
                    let (cluster, at) = (Arc::clone(&cluster), at.clone());
                    let (restarts, running) = (Arc::clone(&restarts), Arc::clone(&running));
                    tokio::spawn(async move {
                        let began = Instant::now();
                        let isr_full = cluster.isr_full_everywhere().await;
                        if let Err(error) = restart(&cluster, node).await {
                            tracing::error!(%node, "{error:#}");
                            return;
                        }
                        *lock(&running) -= 1;
                        lock(&restarts).push(Restart {
                            node,
                            beside,
                            isr_full,
                            seconds: seconds(began.elapsed()),
                        });
                        tracing::info!(%node, beside, isr_full, "restarted");
                        let _ = std::fs::write(at.join(format!("{node}.done")), "");
                    });
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        Ok(Self { folder, done, task })
    }

    /// The command that restarts a node.
    fn command(&self) -> String {
        format!("sh {}/restart", self.folder.display())
    }

    /// What was restarted since the last time.
    fn take(&self, ok: bool, began: Instant) -> Roll {
        Roll {
            restarts: std::mem::take(&mut *lock(&self.done)),
            ok,
            seconds: seconds(began.elapsed()),
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn restart(cluster: &Cluster, node: NodeId) -> Result<()> {
    let target = cluster.node(node)?;
    target.stop_and_wait().await?;
    target.start(None).await?;
    Ok(())
}

/// The callers' token, in the files that their recipes read it from.
struct Secret {
    /// The token alone.
    token: PathBuf,
    /// As a header.
    header: PathBuf,
}

impl Secret {
    fn make(folder: &Path) -> Result<Self> {
        let made = Self {
            token: folder.join("token"),
            header: folder.join("header"),
        };
        let token = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        std::fs::write(&made.token, format!("{token}\n")).context("write a token")?;
        let header = format!("Authorization: Bearer {token}\n");
        std::fs::write(&made.header, header).context("write a header")?;
        Ok(made)
    }

    fn read(&self) -> Result<String> {
        let token = std::fs::read_to_string(&self.token).context("read the token")?;
        Ok(token.trim().to_owned())
    }

    async fn wait_open(&self, gate: &Gate) -> Result<()> {
        let mut wait = Command::new(program()?);
        wait.args(["wait", "--quiet", "--token-file"])
            .arg(&self.token);
        wait.args(["--timeout", &format!("{}s", PATIENCE.as_secs())]);
        wait.args(["--url", &format!("http://127.0.0.1:{}", gate.port())]);
        checked(&mut wait).await.context("see the gate open")?;
        Ok(())
    }
}

/// The gate's address in the recipes.
const GATE: &str = "https://gate.example.org:10190";

/// A recipe's text with this put in place of that, which has to be there.
fn filled(recipe: &str, places: &[(&str, &str)]) -> Result<String> {
    let mut text = recipe.to_owned();
    for (place, with) in places {
        ensure!(text.contains(place), "find {place:?} in the recipe");
        text = text.replace(place, with);
    }
    Ok(text)
}

struct Stage<'a> {
    gate: &'a Gate,
    secret: &'a Secret,
    hands: &'a Hands,
    nodes: Vec<NodeId>,
    folder: PathBuf,
}

impl Stage<'_> {
    /// The playbook of the recipe, with the cluster's nodes as its hosts and our hands in place of
    /// systemd.
    async fn ansible(&self, programs: &Path) -> Result<bool> {
        let book = block(&recipe("ansible.md")?, "yaml")?;
        let ours = format!(
            "ansible.builtin.command: {} {{{{ node_id }}}}",
            self.hands.command()
        );
        let token = self.secret.token.display().to_string();
        let book = filled(
            &book,
            &[
                (
                    "ansible.builtin.systemd:\n        name: kafka\n        state: restarted",
                    &ours,
                ),
                (GATE, &self.url()),
                ("/etc/ansible/upgrade-gate-token", &token),
            ],
        )?;
        let book_path = self.folder.join("roll.yml");
        std::fs::write(&book_path, book)?;
        let mut inventory = String::from("[kafka]\n");
        for node in &self.nodes {
            inventory.push_str(&format!("node-{node} node_id={node}\n"));
        }
        inventory.push_str(
            "[kafka:vars]\nansible_connection=local\ngate_host=localhost\n\
             ansible_python_interpreter=/usr/bin/python3\n",
        );
        let hosts = self.folder.join("hosts.ini");
        std::fs::write(&hosts, inventory)?;
        let mut play = Command::new(programs.join("ansible-playbook"));
        play.arg("-i").arg(&hosts).arg(&book_path);
        play.args(["-e", "roll_id=4711"]).env("ANSIBLE_NOCOWS", "1");
        let told = timeout(WHOLE_ROLL, checked(&mut play)).await;
        let told = told.context("see the playbook end")??;
        tracing::info!("{told}");
        Ok(told.matches("failed=0").count() == self.nodes.len())
    }

    /// Rundeck's script step with `enter`, the restart, and the same step with `leave`.
    async fn rundeck(&self) -> Result<bool> {
        let step = block(&recipe("rundeck.md")?, "yaml")?;
        let (_, script) = step
            .split_once("script: |\n")
            .context("find the script step")?;
        let script: Vec<_> = script
            .lines()
            .map(|line| line.strip_prefix("    ").unwrap_or(line))
            .collect();
        let header = self.secret.header.display().to_string();
        let script = filled(
            &script.join("\n"),
            &[
                (GATE, &self.url()),
                ("/etc/rundeck/upgrade-gate-header", &header),
            ],
        )?;
        for node in &self.nodes {
            let node_text = node.to_string();
            let of_node = filled(
                &script,
                &[("@option.node@", &node_text), ("@job.execid@", "88")],
            )?;
            self.sh(&of_node).await?;
            self.sh(&format!("{} {node}", self.hands.command())).await?;
            self.sh(&of_node.replace("/enter?", "/leave?")).await?;
        }
        Ok(true)
    }

    async fn sh(&self, script: &str) -> Result<String> {
        let ran = timeout(WHOLE_ROLL, checked(Command::new("sh").args(["-c", script]))).await;
        ran.context("see the script end")?
    }

    /// The pipeline as its page has it.
    async fn jenkins(&self) -> Result<bool> {
        let pipeline = Pipeline::read(&recipe("jenkins.md")?)?;
        ensure!(pipeline.method == "POST", "see it POST");
        let (before, after) = &pipeline.around;
        for node in &self.nodes {
            self.wait_until(&pipeline, before, *node).await?;
            self.sh(&format!("{} {node}", self.hands.command())).await?;
            self.wait_until(&pipeline, after, *node).await?;
        }
        Ok(true)
    }

    /// `waitUntil`: asks at once, then after the page's pause, and with pauses that grow by a fifth
    /// up to 15 s.
    async fn wait_until(&self, pipeline: &Pipeline, what: &str, node: NodeId) -> Result<()> {
        let target = pipeline.target(what, &node.to_string(), "roll-17");
        let path = format!("/api/v1/gates/default{target}");
        let headers = pipeline.headers(&self.secret.read()?);
        let mut pause = pipeline.pause;
        let began = Instant::now();
        while began.elapsed() < WHOLE_ROLL {
            let answer = http::post_with(self.gate.port(), &path, &headers, pipeline.timeout).await;
            // A refused or late connection is 408 to the plugin.
            let (status, body) = answer.unwrap_or((408, Bytes::new()));
            match pipeline.then(status, &body) {
                Then::GoesOn => return Ok(()),
                Then::Again => {}
                Then::Ends => {
                    let body = String::from_utf8_lossy(&body);
                    bail!("see {what} of node {node} go on: {status} {body}");
                }
            }
            sleep(pause).await;
            pause = (pause * 6 / 5).min(Duration::from_secs(15));
        }
        bail!("see {what} of node {node} come to its end")
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.gate.port())
    }
}

fn recipe(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/recipes")
        .join(name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The first block of code of this language.
fn block(page: &str, language: &str) -> Result<String> {
    let start = format!("```{language}\n");
    let (_, rest) = page.split_once(&start).context("find a block of code")?;
    let (block, _) = rest.split_once("```").context("find its end")?;
    Ok(block.to_owned())
}
