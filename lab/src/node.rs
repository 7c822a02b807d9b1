//! One process of a cluster, and everything that can be done to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::Signal;

use crate::archive;
use crate::artifacts::{ArtifactError, Cache, Distribution, tail};
use crate::process::{Process, lock, mortal};
use crate::properties::{self, NodeConfig};
use crate::release::Release;
use crate::spec::{NodeId, Role, Spec, SpecError};
use crate::wiring::Wiring;

/// Why something could not be done to a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("start node {id}: it is running already")]
    Running { id: NodeId },
    #[error("signal node {id}: it is not running")]
    NotRunning { id: NodeId },
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("start node {id}: {source}")]
    Start { id: NodeId, source: io::Error },
    #[error("signal node {id}: {source}")]
    Signal { id: NodeId, source: io::Error },
}

/// What all nodes of a cluster share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cache: Cache,
    pub(crate) spec: Spec,
    pub(crate) wiring: Wiring,
    pub(crate) dir: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) password: String,
    /// Where nodes leave a class archive when they end.
    pub(crate) draft: Option<PathBuf>,
}

/// One Kafka node (or the ZooKeeper server). All methods take `&self` and may be called from
/// several tasks.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    role: Role,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    release: Release,
    overrides: BTreeMap<String, String>,
    process: Option<Arc<Process>>,
    frozen: bool,
    started: Option<Instant>,
}

impl Node {
    pub(crate) fn new(id: NodeId, role: Role, shared: Arc<Shared>) -> Self {
        let state = State {
            release: shared.spec.release_of(id),
            overrides: BTreeMap::new(),
            process: None,
            frozen: false,
            started: None,
        };
        Self {
            id,
            role,
            shared,
            state: Mutex::new(state),
        }
    }

    /// Kafka's node id (401: ZooKeeper).
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What it does.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The spec of its cluster.
    pub fn spec(&self) -> &Spec {
        &self.shared.spec
    }

    /// The release it runs, or ran last.
    pub fn release(&self) -> Release {
        lock(&self.state).release
    }

    /// The port that stands for it to the gate: client listener, else controller listener.
    pub fn port(&self) -> u16 {
        self.shared.wiring.main(self.id, self.role)
    }

    /// The port of its JMX exporter, as the gate finds it.
    pub fn jmx_port(&self) -> u16 {
        self.shared.wiring.jmx(self.id, self.role)
    }

    /// The address of its JMX exporter's page.
    pub fn jmx_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.jmx_port())
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().ok().map(|process| process.pid())
    }

    /// Whether the process exists; true while frozen.
    pub fn is_alive(&self) -> bool {
        self.process().is_ok()
    }

    /// Whether it is stopped by `freeze`.
    pub fn is_frozen(&self) -> bool {
        lock(&self.state).frozen && self.is_alive()
    }

    /// When its process was started last.
    pub fn started_at(&self) -> Option<Instant> {
        lock(&self.state).started
    }

    /// Standard output and error of all its lives.
    pub fn log_path(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        match fs::read(self.log_path()) {
            Ok(bytes) => tail(&String::from_utf8_lossy(&bytes), lines),
            Err(error) => format!("(no log: {error})"),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.shared.dir.join(self.id.to_string())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// SIGTERM: a controlled shutdown begins; returns at once.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop(&self) -> Result<(), NodeError> {
        self.signal(Signal::TERM)
    }

    /// SIGTERM, and waits until the process has ended (0.3-4 s, measured; a frozen one never does).
    ///
    /// # Errors
    /// When it is not running.
    pub async fn stop_and_wait(&self) -> Result<ExitStatus, NodeError> {
        let process = self.process()?;
        self.stop()?;
        process.ended().await.map_err(|source| NodeError::Signal {
            id: self.id,
            source,
        })
    }

    /// Waits until the process has ended by itself or by an earlier signal.
    pub async fn wait_ended(&self) {
        let process = lock(&self.state).process.clone();
        if let Some(process) = process {
            // An error means that there is no such child any more: ended.
            let _ = process.ended().await;
        }
    }

    /// SIGKILL; returns at once.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&self) -> Result<(), NodeError> {
        self.signal(Signal::KILL)
    }

    /// SIGSTOP: the process stands still with all its connections open.
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self) -> Result<(), NodeError> {
        self.signal(Signal::STOP)?;
        lock(&self.state).frozen = true;
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> Result<(), NodeError> {
        self.signal(Signal::CONT)?;
        lock(&self.state).frozen = false;
        Ok(())
    }

    /// Starts it again, with another release if one is given; returns once the process exists.
    ///
    /// # Errors
    /// When it is running already, the release cannot run in this layout or cannot be fetched.
    pub async fn start(&self, release: Option<Release>) -> Result<(), NodeError> {
        self.start_with_config(release, []).await
    }

    /// As [`Node::start`], with these lines set in `server.properties`, now and from now on.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with_config(
        &self,
        release: Option<Release>,
        lines: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), NodeError> {
        let release = release.unwrap_or_else(|| self.release());
        self.shared.spec.check_release(release)?;
        let cache = self.shared.cache.clone();
        let fetched = tokio::task::spawn_blocking(move || cache.kafka(release)).await;
        let distribution = fetched.map_err(|error| NodeError::Start {
            id: self.id,
            source: error.into(),
        })??;
        self.spawn(&distribution, lines.into_iter().collect())
    }

    pub(crate) fn spawn(
        &self,
        distribution: &Distribution,
        lines: BTreeMap<String, String>,
    ) -> Result<(), NodeError> {
        let mut state = lock(&self.state);
        if state.process.as_deref().is_some_and(is_running) {
            return Err(NodeError::Running { id: self.id });
        }
        state.overrides.extend(lines);
        let config = self.write_config(distribution.release, &state.overrides)?;
        let command = self.command(distribution, &config)?;
        let process = Process::spawn(command);
        let process = process.map_err(|source| NodeError::Start {
            id: self.id,
            source,
        })?;
        state.process = Some(Arc::new(process));
        state.release = distribution.release;
        state.frozen = false;
        state.started = Some(Instant::now());
        Ok(())
    }

    fn write_config(
        &self,
        release: Release,
        overrides: &BTreeMap<String, String>,
    ) -> Result<PathBuf, NodeError> {
        let data = self.data();
        let shared = &self.shared;
        let text = match self.role {
            Role::ZooKeeper => {
                properties::zoo_cfg(shared.spec.timing, shared.wiring.zookeeper_bind(), &data)
            }
            Role::Broker | Role::Controller | Role::Combined => NodeConfig {
                spec: &shared.spec,
                wiring: &shared.wiring,
                id: self.id,
                role: self.role,
                release,
                data: &data,
                password: &shared.password,
                overrides,
            }
            .render(),
        };
        self.write("server.properties", &text)
    }

    fn command(&self, distribution: &Distribution, config: &Path) -> Result<Command, NodeError> {
        let path = self.log_path();
        let log = File::options().create(true).append(true).open(&path);
        let streams = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = streams.map_err(|source| NodeError::Write { path, source })?;

        let mut command = mortal("java");
        // The log cleaner's buffer alone has 128 MB; a combined 4.3.1 node ran out of 256.
        let combined = self.role().is_broker() && self.role().is_controller();
        let heap = self.shared.spec.heap_mb + if combined { 128 } else { 0 };
        command.args(["-Xms128m", &format!("-Xmx{heap}m")]);
        command.args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
        ]);
        command.arg("-Djava.awt.headless=true");
        let urls = self.shared.spec.key_urls();
        if !urls.is_empty() {
            let urls = urls.join(",");
            command.arg(format!(
                "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={urls}"
            ));
        }
        command.args(self.options(distribution)?);
        command
            .arg("-cp")
            .arg(distribution.class_path())
            .arg(self.main_class())
            .arg(config);
        command
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        Ok(command)
    }

    /// Log configuration, class archive and JMX exporter.
    fn options(&self, distribution: &Distribution) -> Result<Vec<String>, NodeError> {
        let logging = properties::logging(distribution.release.logging());
        let log_config = self.write(logging.file, logging.text)?;
        let mut options = vec![format!("{}{}", logging.option, log_config.display())];
        if self.role == Role::ZooKeeper {
            return Ok(options);
        }
        if let Some(draft) = &self.shared.draft {
            options.push(format!("-XX:ArchiveClassesAtExit={}", draft.display()));
            return Ok(options);
        }
        options.extend(archive::option(&self.shared.cache, distribution));
        let mut rules = self.shared.spec.rules_of(self.id).yaml().to_owned();
        if let Some(http) = self.shared.spec.exporters.get(&self.id) {
            rules.push('\n');
            rules.push_str(http);
        }
        let rules = self.write("jmx.yml", &rules)?;
        let (agent, rules) = (self.shared.agent.display(), rules.display());
        let port = self.shared.wiring.jmx_bind(self.id, self.role);
        options.push(format!("-javaagent:{agent}=127.0.0.1:{port}:{rules}"));
        Ok(options)
    }

    fn main_class(&self) -> &'static str {
        match self.role {
            Role::ZooKeeper => "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            Role::Broker | Role::Controller | Role::Combined => "kafka.Kafka",
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, NodeError> {
        let path = self.dir().join(name);
        let made = fs::create_dir_all(self.dir()).and_then(|()| fs::write(&path, text));
        match made {
            Ok(()) => Ok(path),
            Err(source) => Err(NodeError::Write { path, source }),
        }
    }

    /// How the process ended, if it was started and has ended.
    pub fn exit(&self) -> Option<ExitStatus> {
        let process = lock(&self.state).process.clone();
        process.and_then(|process| process.exit().ok().flatten())
    }

    fn process(&self) -> Result<Arc<Process>, NodeError> {
        let process = lock(&self.state).process.clone();
        process
            .filter(|process| is_running(process))
            .ok_or(NodeError::NotRunning { id: self.id })
    }

    fn signal(&self, signal: Signal) -> Result<(), NodeError> {
        let sent = self.process()?.signal(signal);
        sent.map_err(|source| NodeError::Signal {
            id: self.id,
            source,
        })
    }
}

fn is_running(process: &Process) -> bool {
    matches!(process.exit(), Ok(None))
}
