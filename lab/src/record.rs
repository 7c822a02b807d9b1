//! Recording pages of the real JMX exporter, as raw material for parser fixtures.
//!
//! One cluster per rules family and release. Files: `OUT/FAMILY/RELEASE/ROLE-PHASE-N.prom`, role
//! also `zkbroker` (ZooKeeper mode) and `ROLE-active` (the active controller).
//!
//! | phase | what |
//! |---|---|
//! | running | everything up, every ISR full, some records written |
//! | degraded | the node itself is fine, one broker is dead and fenced |
//! | stopping | right after SIGTERM, until the exporter is gone |
//! | starting | right after the process was started again, until it runs |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::cluster::{Cluster, ClusterError};
use crate::http;
use crate::node::{Node, NodeError};
use crate::release::Release;
use crate::spec::{Layout, NodeId, Role, Rules, Spec};

/// A page of 1 MB takes 0.5 s at first and 0.2 s later (measured).
const PAGE: Duration = Duration::from_secs(10);
/// Most pages kept of one phase.
const MOST: usize = 12;

/// Why pages could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("produce records: {0}")]
    Produce(#[from] rdkafka::error::KafkaError),
    #[error("read a page of node {id} while {phase}: not one came whole")]
    NoPage { id: NodeId, phase: &'static str },
}

/// Records every phase of one family and release; answers how many pages were written.
///
/// # Errors
/// When the cluster does not start, or a phase gives no page at all.
pub async fn record(spec: Spec, out: &Path) -> Result<usize, RecordError> {
    let folder = out.join(spec.rules.name()).join(spec.release.to_string());
    let made = fs::create_dir_all(&folder);
    made.map_err(|source| RecordError::Write {
        path: folder.clone(),
        source,
    })?;
    let cluster = Cluster::start(spec).await?;
    cluster.create_topic("orders", 60, 3, &[]).await?;
    cluster.create_topic("single", 3, 1, &[]).await?;
    cluster.wait_full_isr(Duration::from_secs(60)).await?;
    produce(&cluster, 2000)?;

    let mut pages = Recorder { folder, written: 0 };
    let controller = idle_controller(&cluster).await?;
    let roles: Vec<&Node> = match controller {
        Some(controller) => vec![cluster.node(1)?, cluster.node(controller)?],
        None => vec![cluster.node(1)?],
    };
    for node in &roles {
        pages.running(node, "running").await?;
    }
    if let Some(active) = cluster.active_controller().await? {
        pages.active_controller(cluster.node(active)?).await?;
    }
    pages.degraded(&cluster, &roles).await?;
    for node in &roles {
        pages.stopping(node).await?;
        pages.starting(node).await?;
        cluster.wait_full_isr(Duration::from_secs(60)).await?;
    }
    Ok(pages.written)
}

/// A dedicated controller that is not the active one.
async fn idle_controller(cluster: &Cluster) -> Result<Option<NodeId>, ClusterError> {
    let active = cluster.active_controller().await?;
    let controllers = cluster
        .nodes()
        .iter()
        .filter(|node| node.role() == Role::Controller);
    Ok(controllers.map(Node::id).find(|id| Some(*id) != active))
}

struct Recorder {
    folder: PathBuf,
    written: usize,
}

impl Recorder {
    async fn running(&mut self, node: &Node, phase: &'static str) -> Result<(), RecordError> {
        for n in 1..=2 {
            let page = http::metrics(node.jmx_port(), PAGE).await;
            let page = page.map_err(|_| RecordError::NoPage {
                id: node.id(),
                phase,
            })?;
            self.write(&label(node), phase, n, &page)?;
        }
        Ok(())
    }

    /// Some series exist on the active controller only.
    async fn active_controller(&mut self, node: &Node) -> Result<(), RecordError> {
        let phase = "running";
        let page = http::metrics(node.jmx_port(), PAGE).await;
        let page = page.map_err(|_| RecordError::NoPage {
            id: node.id(),
            phase,
        })?;
        self.write(&format!("{}-active", label(node)), phase, 1, &page)
    }

    async fn degraded(&mut self, cluster: &Cluster, roles: &[&Node]) -> Result<(), RecordError> {
        let victim = cluster.node(2)?;
        victim.kill()?;
        cluster.wait_fenced(2, Duration::from_secs(60)).await?;
        for node in roles {
            self.running(node, "degraded").await?;
        }
        victim.wait_ended().await;
        victim.start(None).await?;
        cluster.wait_full_isr(Duration::from_secs(60)).await?;
        Ok(())
    }

    async fn stopping(&mut self, node: &Node) -> Result<(), RecordError> {
        node.stop()?;
        let mut count = 0;
        while node.is_alive() && count < MOST {
            if let Ok(page) = http::metrics(node.jmx_port(), PAGE).await {
                count += 1;
                self.write(&label(node), "stopping", count, &page)?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        node.wait_ended().await;
        self.some(node, "stopping", count)
    }

    async fn starting(&mut self, node: &Node) -> Result<(), RecordError> {
        node.start(None).await?;
        let begun = Instant::now();
        let mut count = 0;
        while count < MOST && begun.elapsed() < Duration::from_secs(20) {
            if let Ok(page) = http::metrics(node.jmx_port(), PAGE).await {
                count += 1;
                self.write(&label(node), "starting", count, &page)?;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        self.some(node, "starting", count)
    }

    fn some(&self, node: &Node, phase: &'static str, count: usize) -> Result<(), RecordError> {
        (count > 0).then_some(()).ok_or(RecordError::NoPage {
            id: node.id(),
            phase,
        })
    }

    fn write(&mut self, role: &str, phase: &str, n: usize, page: &[u8]) -> Result<(), RecordError> {
        let path = self.folder.join(format!("{role}-{phase}-{n}.prom"));
        let written = fs::write(&path, page);
        written.map_err(|source| RecordError::Write { path, source })?;
        self.written += 1;
        Ok(())
    }
}

/// The role in a file's name; brokers of a ZooKeeper cluster export other MBeans.
fn label(node: &Node) -> String {
    match (node.role(), node.spec().layout) {
        (Role::Broker, Layout::ZooKeeper { .. }) => "zkbroker".to_owned(),
        (role, _) => role.to_string(),
    }
}

fn produce(cluster: &Cluster, count: u32) -> Result<(), RecordError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.app_bootstrap())
        .set("acks", "all");
    let producer: BaseProducer = config.create()?;
    for n in 0..count {
        let key = n.to_string();
        let record = BaseRecord::to("orders")
            .key(&key)
            .payload("a record of forty bytes, more or less");
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(Duration::from_secs(30))?)
}

/// What `lab record pages` records when nothing else is asked for.
pub fn everything() -> Vec<Spec> {
    let releases = [Release::V3_9_2, Release::V4_3_1];
    let families = [Rules::Default, Rules::Lower, Rules::Flat];
    let separate = releases.iter().flat_map(|release| {
        families
            .iter()
            .map(|rules| Spec::kraft(*release).quick().rules(*rules))
    });
    let combined = releases
        .iter()
        .map(|release| Spec::combined(*release).quick());
    let zookeeper = Spec::zookeeper(Release::V3_9_2).quick();
    separate.chain(combined).chain([zookeeper]).collect()
}
