//! A real gate in front of a simulated cluster, where one broker and one exporter can be replaced
//! by something that lies.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use upgrade_gate::model::serve::Served;
use upgrade_gate::model::{Cluster, NodeId, Release, Spec, TopicSpec};

use super::broker::{Broker, Says};
use crate::prove::exporter::{Exporter, Page};
use crate::prove::gate::Gate;

/// The node that is replaced.
pub(super) const VICTIM: NodeId = 1;

/// The gate's configuration, in the stand's folder.
const CONFIG: &str = "gate.json";

/// Everything that runs for one proof.
pub struct Stand {
    /// The cluster.
    pub served: Served,
    /// The gate.
    pub gate: Gate,
    pub(super) broker: Broker,
    pub(super) exporter: Exporter,
    real_page: u16,
    folder: TempDir,
}

impl Stand {
    /// Starts all of it. `change` changes the gate's configuration.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn start(change: impl FnOnce(&mut Value)) -> Result<Self> {
        Self::of(3, change).await
    }

    /// The same with so many brokers.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn of(brokers: u16, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let topics = vec![TopicSpec::new("orders", 24, 3).rate(20)];
        let mut spec = Spec::kraft(3, brokers, Release::V3_9).topics(topics);
        spec.start_wall_ms = jiff::Timestamp::now().as_millisecond();
        let cluster = Cluster::new(spec).context("simulate a cluster")?;
        let served = Served::start(cluster).await.context("serve the cluster")?;
        let real = served.brokers().get(&VICTIM).context("a broker")?;
        let broker = Broker::start(*real).await?;
        let mut pages = served.jmx();
        let real_page = pages.get(&VICTIM).and_then(|url| port(url));
        let real_page = real_page.context("an exporter's port")?;
        let exporter = Exporter::start(Page::Real(real_page)).await?;
        pages.insert(VICTIM, exporter.url());
        let targets: serde_json::Map<String, Value> = pages
            .into_iter()
            .map(|(node, url)| (node.to_string(), json!(url)))
            .collect();
        let bootstrap: Vec<String> = served.bootstrap().split(',').map(str::to_owned).collect();
        let mut config = json!({"gates": {"default": {
            "kafka": {
                "bootstrap": bootstrap,
                "address_map": {VICTIM.to_string(): broker.address().to_string()},
            },
            "jmx": {"targets": targets},
            "policy": {"window": "2s", "leadership_quiet": "1s"},
        }}});
        change(&mut config);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(CONFIG);
        std::fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
        let wall = wall(&folder).display().to_string();
        let seam = Some(("STEP_UPGRADE_GATE", wall));
        let gate = Gate::start_with(&[path.display().to_string()], seam).await?;
        Ok(Self {
            served,
            gate,
            broker,
            exporter,
            real_page,
            folder,
        })
    }

    /// The file of the gate's configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join(CONFIG)
    }

    /// The gate's wall clock is ahead by so many seconds from now on.
    pub(super) fn set_wall_ahead(&self, seconds: i64) -> Result<()> {
        let nanos = seconds.saturating_mul(1_000_000_000);
        std::fs::write(wall(&self.folder), nanos.to_string()).context("set the gate's wall clock")
    }

    pub(super) fn let_broker_say(&self, says: Says) {
        if let Some(real) = self.served.brokers().get(&VICTIM) {
            self.broker.say(says, *real);
        }
    }

    /// Everything tells the truth again.
    pub(super) fn heal(&self) {
        self.exporter.say(Page::Real(self.real_page));
        self.let_broker_say(Says::Truth);
    }
}

/// The file that the gate's wall clock follows (`src/clock/step.rs`).
fn wall(folder: &TempDir) -> PathBuf {
    folder.path().join("wall")
}

fn port(url: &str) -> Option<u16> {
    let rest = url.split("://").nth(1)?;
    let host = rest.split('/').next()?;
    host.rsplit(':').next()?.parse().ok()
}
