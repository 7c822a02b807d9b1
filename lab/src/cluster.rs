//! A whole cluster: started, owned and ended together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::archive;
use crate::artifacts::{ArtifactError, Cache, Distribution};
use crate::client::{ClientError, Login};
use crate::format::{FormatError, Template, random_id};
use crate::links::{LinkError, Peer, Relays};
use crate::node::{Node, NodeError, Shared};
use crate::ports::{Block, PortError};
use crate::properties::SUPER_USER;
use crate::relay::Cut;
use crate::release::Release;
use crate::spec::{Layout, NodeId, Role, Spec, SpecError, ZOOKEEPER_ID};
use crate::wiring::Wiring;

/// Longest start: 5-8 s measured on two quiet cores, and test machines are not quiet.
const START: Duration = Duration::from_secs(120);
/// Lines of a node's log in an error.
const TAIL: usize = 25;

/// Why something could not be done to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Client(ClientError),
    #[error("use the folder {path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("start {role} {id}: it ended ({status}); the end of its log:\n{tail}")]
    Ended {
        id: NodeId,
        role: Role,
        status: String,
        tail: String,
    },
    #[error("start the cluster: {last} after {waited:?}; the end of the log of node {id}:\n{tail}")]
    NotUp {
        waited: Duration,
        last: String,
        id: NodeId,
        tail: String,
    },
    #[error("wait until {what}: not within {deadline:?} (last look: {last})")]
    Deadline {
        what: String,
        deadline: Duration,
        last: String,
    },
    #[error("open the relays: {source}")]
    Relays { source: io::Error },
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("run {class}: it says\n{tail}")]
    Tool { class: String, tail: String },
    #[error("find node {id}: this cluster has no such node")]
    UnknownNode { id: NodeId },
    #[error("ask a broker: none is running")]
    NobodyServes,
    #[error("run blocking work: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// A running cluster. Dropping it kills every node and removes the data.
#[derive(Debug)]
pub struct Cluster {
    /// Dropped first: the folder and the ports are only free once the processes are gone.
    nodes: Vec<Node>,
    zookeeper: Option<Node>,
    pub(crate) shared: Arc<Shared>,
    relays: Option<Relays>,
    _folder: Folder,
    _block: Block,
}

/// Removes itself.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is removed by the next cluster on the same ports.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Cluster {
    /// Starts a cluster and waits until every broker lists all brokers. Fetches what is missing.
    ///
    /// # Errors
    /// When the spec cannot be, artifacts are missing, ports are taken, or a node does not come
    /// up; then the end of its log is in the error.
    pub async fn start(spec: Spec) -> Result<Self, ClusterError> {
        spec.check()?;
        let cache = Cache::open()?;
        for release in spec.releases() {
            archive::ensure(&cache, release).await;
        }
        Self::start_now(spec, None).await
    }

    /// As [`Cluster::start`], for the making of a class archive.
    pub(crate) async fn start_training(spec: Spec, draft: PathBuf) -> Result<Self, ClusterError> {
        Self::start_now(spec, Some(draft)).await
    }

    async fn start_now(spec: Spec, draft: Option<PathBuf>) -> Result<Self, ClusterError> {
        let prepared = tokio::task::spawn_blocking(move || Self::prepare(spec, draft)).await??;
        let (cluster, distributions) = prepared;
        let begun = Instant::now();
        cluster.spawn_all(&distributions)?;
        cluster.wait_up(begun).await?;
        let seconds = begun.elapsed().as_secs_f32();
        tracing::info!(port = cluster.base_port(), seconds, "up");
        Ok(cluster)
    }

    /// Everything before the first process: artifacts, ports, folders, formatted logs. Blocks.
    fn prepare(spec: Spec, draft: Option<PathBuf>) -> Result<(Self, Distributions), ClusterError> {
        let cache = Cache::open()?;
        let agent = cache.jmx_agent()?;
        let distributions = Distributions::of(&cache, &spec)?;
        let block = Block::claim(&Wiring::offsets(&spec))?;
        let mut wiring = Wiring::new(&spec, block.base());
        let opened = spec
            .relays
            .then(|| Relays::open(&spec, &mut wiring))
            .transpose();
        let relays = opened.map_err(|source| ClusterError::Relays { source })?;
        let folder = fresh_folder(cache.root(), block.base())?;
        let dir = folder.0.clone();
        let password = random_id();
        let shared = Arc::new(Shared {
            cache,
            spec,
            wiring,
            dir,
            agent,
            password,
            draft,
        });

        let node = |(id, role)| Node::new(id, role, Arc::clone(&shared));
        let nodes: Vec<Node> = shared.spec.nodes().into_iter().map(node).collect();
        let zookeeper = match shared.spec.layout {
            Layout::ZooKeeper { .. } => Some(node((ZOOKEEPER_ID, Role::ZooKeeper))),
            Layout::KraftSeparate { .. } | Layout::KraftCombined { .. } => {
                format(&shared, &distributions, &nodes)?;
                None
            }
        };
        let cluster = Self {
            nodes,
            zookeeper,
            shared,
            relays,
            _folder: folder,
            _block: block,
        };
        Ok((cluster, distributions))
    }

    fn spawn_all(&self, distributions: &Distributions) -> Result<(), ClusterError> {
        for node in self.all() {
            node.spawn(distributions.get(node.release())?, BTreeMap::new())?;
        }
        Ok(())
    }

    async fn wait_up(&self, begun: Instant) -> Result<(), ClusterError> {
        let brokers: BTreeSet<NodeId> = self.brokers().map(Node::id).collect();
        let mut waiting: Vec<NodeId> = brokers.iter().copied().collect();
        while let Some(id) = waiting.last().copied() {
            self.fail_if_one_ended()?;
            let last = match self.metadata(id).await {
                Ok(seen) if seen.brokers == brokers => {
                    waiting.pop();
                    continue;
                }
                Ok(seen) => format!("broker {id} lists only {:?}", seen.brokers),
                Err(error) => format!("broker {id} does not serve: failed to {error}"),
            };
            let waited = begun.elapsed();
            if waited > START {
                let tail = self.node(id)?.log_tail(TAIL);
                return Err(ClusterError::NotUp {
                    waited,
                    last,
                    id,
                    tail,
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn fail_if_one_ended(&self) -> Result<(), ClusterError> {
        let ended = self
            .all()
            .find_map(|node| node.exit().map(|status| (node, status)));
        match ended {
            None => Ok(()),
            Some((node, status)) => Err(ClusterError::Ended {
                id: node.id(),
                role: node.role(),
                status: status.to_string(),
                tail: node.log_tail(TAIL),
            }),
        }
    }

    /// What it was started from.
    pub fn spec(&self) -> &Spec {
        &self.shared.spec
    }

    /// The first port of its block.
    pub fn base_port(&self) -> u16 {
        self.shared.wiring.base()
    }

    /// Its folder: one subfolder per node with `server.properties`, `log` and `data`.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// `host:port,...` of all brokers' client listeners, as the gate would be given it.
    pub fn bootstrap(&self) -> String {
        self.addresses(|node| self.shared.wiring.client(node.id()))
    }

    /// `host:port,...` for load and tools: never cut by relays; SASL PLAIN with ACLs on.
    pub fn app_bootstrap(&self) -> String {
        self.addresses(|node| self.shared.wiring.app(node.id()))
    }

    /// User and password for [`Cluster::app_bootstrap`] with ACLs on.
    pub fn app_login(&self) -> Option<(String, String)> {
        self.login().0
    }

    fn addresses(&self, port: impl Fn(&Node) -> u16) -> String {
        let all = self
            .brokers()
            .map(|node| format!("127.0.0.1:{}", port(node)));
        all.collect::<Vec<_>>().join(",")
    }

    /// The exporter's address for every node, in the gate's template form.
    pub fn jmx_template(&self) -> &'static str {
        "http://{host}:{port+200}/metrics"
    }

    /// The address of one node's JMX exporter.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn jmx_url(&self, id: NodeId) -> Result<String, ClusterError> {
        Ok(self.node(id)?.jmx_url())
    }

    /// `id@host:port,...` of all controllers, as the gate finds them; empty with ZooKeeper.
    pub fn controllers(&self) -> String {
        let all = self.nodes.iter().filter(|node| node.role().is_controller());
        let address = |node: &Node| {
            format!(
                "{}@127.0.0.1:{}",
                node.id(),
                self.shared.wiring.controller(node.id())
            )
        };
        all.map(address).collect::<Vec<_>>().join(",")
    }

    /// The Kafka nodes, controllers first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that serve clients.
    pub fn brokers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role().is_broker())
    }

    /// One node; the ZooKeeper server has the id 401.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node(&self, id: NodeId) -> Result<&Node, ClusterError> {
        self.all()
            .find(|node| node.id() == id)
            .ok_or(ClusterError::UnknownNode { id })
    }

    /// Cuts the link between two ends; `links` says what stops and what goes on.
    ///
    /// # Errors
    /// When the cluster has no relays, or there is no such link.
    pub fn cut(&self, a: Peer, b: Peer, how: Cut) -> Result<(), ClusterError> {
        Ok(self
            .relays
            .as_ref()
            .ok_or(LinkError::NoRelays)?
            .cut(a, b, how)?)
    }

    /// Heals every cut link.
    pub fn heal(&self) {
        if let Some(relays) = &self.relays {
            relays.heal();
        }
    }

    /// The ZooKeeper server first, then the Kafka nodes.
    fn all(&self) -> impl Iterator<Item = &Node> {
        self.zookeeper.iter().chain(&self.nodes)
    }

    pub(crate) fn login(&self) -> Login {
        let password = self.shared.password.clone();
        Login(self.spec().acl.then(|| (SUPER_USER.to_owned(), password)))
    }
}

/// The jars of every release in use.
struct Distributions(BTreeMap<Release, Distribution>);

impl Distributions {
    fn of(cache: &Cache, spec: &Spec) -> Result<Self, ClusterError> {
        let mut all = BTreeMap::new();
        for release in spec.releases() {
            all.insert(release, cache.kafka(release)?);
        }
        Ok(Self(all))
    }

    fn get(&self, release: Release) -> Result<&Distribution, ClusterError> {
        let missing = || SpecError::NotPrepared { release };
        Ok(self.0.get(&release).ok_or_else(missing)?)
    }
}

fn format(
    shared: &Shared,
    distributions: &Distributions,
    nodes: &[Node],
) -> Result<(), ClusterError> {
    let cluster_id = random_id();
    let level = shared.spec.format_level();
    for node in nodes {
        let distribution = distributions.get(node.release())?;
        let template = Template::of(&shared.cache, distribution, level.as_deref())?;
        template.copy_to(&node.data(), &cluster_id, node.id())?;
    }
    Ok(())
}

/// An empty folder for the cluster on these ports. Whatever is there belonged to a lab that was
/// killed: its ports are ours now, and its nodes died with it.
fn fresh_folder(cache: &Path, base: u16) -> Result<Folder, ClusterError> {
    let path = cache.join("clusters").join(base.to_string());
    let cleared = match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => fs::create_dir_all(&path),
    };
    match cleared {
        Ok(()) => Ok(Folder(path)),
        Err(source) => Err(ClusterError::Folder { path, source }),
    }
}
