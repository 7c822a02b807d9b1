//! The real `upgrade-gate` as a process, and a poller that asks it as a pipeline would.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::http;
use crate::spec::NodeId;

/// How long the gate may take to listen.
const START: Duration = Duration::from_secs(10);

/// A gate that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Gate {
    child: Child,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

/// One reason, as the body of `check` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: String,
    pub severity: String,
    pub node: Option<NodeId>,
    #[serde(default)]
    pub observed: String,
    /// The step at which a source failed, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// One answer of `check`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    #[serde(skip)]
    pub status: u16,
    pub state: String,
    /// When the gate took this state.
    pub since: Option<String>,
    pub reasons: Vec<Reason>,
}

impl Answer {
    /// Let through by status and body.
    pub fn is_open(&self) -> bool {
        self.status == 200
    }

    /// Whether something that keeps the gate shut names this node.
    pub fn names(&self, node: NodeId) -> bool {
        let shuts = |reason: &&Reason| reason.severity != "warn";
        self.reasons
            .iter()
            .filter(shuts)
            .any(|reason| reason.node == Some(node))
    }

    /// The codes of what keeps the gate shut, each once.
    pub fn codes(&self) -> Vec<String> {
        let mut codes: Vec<_> = self
            .reasons
            .iter()
            .filter(|reason| reason.severity != "warn")
            .map(|reason| reason.code.clone())
            .collect();
        codes.sort();
        codes.dedup();
        codes
    }
}

/// The program beside this one, in the same target folder.
pub(super) fn program() -> Result<PathBuf> {
    let here = std::env::current_exe().context("find this program's folder")?;
    let folder = here.parent().context("find this program's folder")?;
    let candidates = [folder.join("upgrade-gate"), folder.join("../upgrade-gate")];
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "find upgrade-gate in {}: run `cargo build --workspace --bins`",
                folder.display()
            )
        })
}

impl Gate {
    /// Starts `upgrade-gate serve` with these arguments on a free port.
    pub async fn start(args: &[String]) -> Result<Self> {
        Self::start_with(args, None).await
    }

    /// The same with something in its environment.
    pub async fn start_with(
        args: &[String],
        environment: Option<(&'static str, String)>,
    ) -> Result<Self> {
        let mut child = Command::new(program()?)
            .envs(environment)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start upgrade-gate")?;
        let stderr = child.stderr.take().context("read the gate's log")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(stderr).lines();
        let (found, port) = tokio::sync::oneshot::channel();
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            let mut found = Some(found);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(port) = listening(&line)
                    && let Some(found) = found.take()
                {
                    let _ = found.send(port);
                }
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        match timeout(START, port).await {
            Ok(Ok(port)) => Ok(Self { child, port, log }),
            Ok(Err(_)) | Err(_) => {
                let lines = log
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .join("\n");
                bail!("start upgrade-gate: it does not listen\n{lines}")
            }
        }
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill the gate")
    }

    /// Waits until it is open, or shut for nothing but leases.
    pub async fn wait_open_or_taken(&self, deadline: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < deadline {
            if let Ok(answer) = self.check("").await {
                let taken = |code: &String| {
                    code == "slot_taken" || code.starts_with("would_") || code == "no_progress"
                };
                if answer.is_open() || answer.codes().iter().all(taken) {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "see nothing but leases speak against it: {}",
            self.log_tail(20)
        )
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resident memory of the process, in bytes.
    pub fn memory(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid()?)).ok()?;
        statm
            .split(' ')
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|pages| pages * 4096)
    }

    /// The last lines of its log.
    pub fn log_tail(&self, count: usize) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let from = log.len().saturating_sub(count);
        log.get(from..).unwrap_or_default().join("\n")
    }

    /// What it answers on any path of its API, such as `/api/v1/gates/default/plan`.
    pub async fn json(&self, path: &str) -> Result<serde_json::Value> {
        let body = http::get(self.port, path, "application/json", Duration::from_secs(10)).await?;
        serde_json::from_slice(&body).with_context(|| format!("read {path}"))
    }

    /// From now on the peak of its memory is counted anew (proc(5): 5 into clear_refs).
    pub fn forget_peak_memory(&self) -> Result<()> {
        let pid = self.pid().context("the gate's process")?;
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("forget the peak of memory")
    }

    /// Largest resident memory it ever had, or since that was forgotten, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Asks `check` once. `query` such as `?node=1`, or empty.
    pub async fn check(&self, query: &str) -> Result<Answer> {
        Client::connect(self.port).await?.check(query).await
    }

    /// Asks until the gate is open; says how long it took.
    pub async fn wait_open(&self, deadline: Duration) -> Result<Duration> {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < deadline {
            if let Ok(answer) = self.check("").await {
                if answer.is_open() {
                    return Ok(start.elapsed());
                }
                last = format!("{:?}", answer.reasons);
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "see the gate open within {deadline:?}; it says {last}\n{}",
            self.log_tail(20)
        )
    }
}

fn listening(line: &str) -> Option<u16> {
    line.contains("listening").then_some(())?;
    let rest = line.split("127.0.0.1:").nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// A keep-alive connection to the gate.
struct Client {
    port: u16,
    sender: SendRequest<Empty<Bytes>>,
}

impl Client {
    async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .context("reach the gate")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; its error also reaches the answer.
        tokio::spawn(connection);
        Ok(Self { port, sender })
    }

    async fn check(&mut self, query: &str) -> Result<Answer> {
        self.sender.ready().await?;
        let request = Request::get(format!("/api/v1/gates/default/check{query}"))
            .header("host", format!("127.0.0.1:{}", self.port))
            .body(Empty::new())?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        let answer: Answer = serde_json::from_slice(&body).with_context(|| {
            format!(
                "read the answer {status}: {}",
                String::from_utf8_lossy(&body)
            )
        })?;
        Ok(Answer { status, ..answer })
    }
}

/// One look of the poller.
#[derive(Clone, Debug)]
pub struct Look {
    /// When the question was sent.
    pub asked: Instant,
    /// When the answer was there.
    pub seen: Instant,
    /// The answer; `None` when there was none.
    pub answer: Option<Answer>,
}

/// Asks `check` again and again at a fixed pace and keeps every look.
#[derive(Debug)]
pub struct Poller {
    looks: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

impl Poller {
    /// Starts asking every `pace`.
    pub fn start(port: u16, pace: Duration) -> Self {
        let looks = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&looks);
        let task = tokio::spawn(async move {
            let mut client = None;
            let mut tick = tokio::time::interval(pace);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let asked = Instant::now();
                if client.is_none() {
                    client = Client::connect(port).await.ok();
                }
                let answer = match &mut client {
                    Some(open) => open.check("").await.ok(),
                    None => None,
                };
                if answer.is_none() {
                    client = None;
                }
                let look = Look {
                    asked,
                    seen: Instant::now(),
                    answer,
                };
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(look);
            }
        });
        Self { looks, task }
    }

    /// Everything seen since the last call.
    pub fn take(&self) -> Vec<Look> {
        std::mem::take(&mut *self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_log() {
        let line =
            r#"{"level":"INFO","fields":{"message":"listening","address":"127.0.0.1:4711"}}"#;
        assert_eq!(listening(line), Some(4711));
        assert_eq!(listening("something else"), None);
    }
}
