//! What `lab` says to the `lab up` that owns the cluster: one JSON line there, one back.

use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use lab::artifacts::Cache;
use lab::{Cut, Layout, NodeId, Peer, Release, Role};

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    Status,
    Stop {
        node: NodeId,
    },
    Kill {
        node: NodeId,
    },
    Freeze {
        node: NodeId,
    },
    Thaw {
        node: NodeId,
    },
    Start {
        node: NodeId,
        release: Option<Release>,
        config: Vec<(String, String)>,
    },
    Cut {
        a: Peer,
        b: Peer,
        how: Cut,
    },
    Heal,
    Topic {
        name: String,
        partitions: i32,
        replication: i16,
        config: Vec<(String, String)>,
    },
    Access,
    Down,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Done,
    Status(Box<Status>),
    Access {
        bootstrap: String,
        login: Option<(String, String)>,
    },
    Failed {
        why: String,
    },
}

/// The cluster and its nodes; also the content of the state file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Process id of `lab up`.
    pub pid: u32,
    pub layout: Layout,
    pub folder: PathBuf,
    pub bootstrap: String,
    pub app_bootstrap: String,
    pub controllers: String,
    pub jmx_template: String,
    pub nodes: Vec<NodeStatus>,
    pub active_controller: Option<NodeId>,
    /// What each running broker sees; `None`: it does not answer.
    pub views: Vec<(NodeId, Option<View>)>,
}

/// The cluster as one broker has it; one that is cut off sees an old one.
#[derive(Debug, Serialize, Deserialize)]
pub struct View {
    pub brokers: Vec<NodeId>,
    pub partitions: usize,
    /// Partitions that miss a replica in the ISR or have no leader.
    pub short: usize,
}

/// One node.
#[derive(Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    pub id: NodeId,
    pub role: Role,
    pub release: Release,
    pub pid: Option<u32>,
    pub frozen: bool,
    pub port: u16,
    pub jmx_url: String,
    pub log: PathBuf,
}

/// Where the owner of the lab called `name` listens, and where it writes its state.
pub struct Place {
    pub socket: PathBuf,
    pub state: PathBuf,
}

impl Place {
    /// Makes the folder when missing.
    pub fn of(name: &str) -> anyhow::Result<Self> {
        let folder = Cache::open()?.root().join("run");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let file = |ending| folder.join(format!("{name}.{ending}"));
        Ok(Self {
            socket: file("sock"),
            state: file("json"),
        })
    }
}

/// Sends one order to the owner and waits for its answer.
pub async fn ask(name: &str, order: &Order) -> anyhow::Result<Answer> {
    let place = Place::of(name)?;
    let stream = UnixStream::connect(&place.socket).await;
    let mut stream = stream.context("reach a running lab: start one with `lab up`")?;
    send(&mut stream, line(order)?).await?;
    match receive(&mut stream).await? {
        Answer::Failed { why } => anyhow::bail!("{why}"),
        answer => Ok(answer),
    }
}

/// One JSON line.
pub fn line(what: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(line)
}

/// Sends one line.
pub async fn send(stream: &mut UnixStream, line: Vec<u8>) -> anyhow::Result<()> {
    stream
        .write_all(&line)
        .await
        .context("write to the lab's socket")
}

/// Reads one JSON line.
pub async fn receive<T: for<'de> Deserialize<'de>>(stream: &mut UnixStream) -> anyhow::Result<T> {
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line).await;
    read.context("read from the lab's socket")?;
    serde_json::from_str(&line).context("understand the lab's socket")
}
