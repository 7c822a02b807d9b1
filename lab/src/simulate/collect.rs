//! The gate under test: the real collectors on the world's streams, their board, and a Machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use upgrade_gate::collect;
use upgrade_gate::collect::board::Board;
use upgrade_gate::collect::shared::{Settings, Shared};
use upgrade_gate::collect::wants::Wants;
use upgrade_gate::evidence::ids;
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scrape::Scraper;
use upgrade_gate::kafka::{AddressMap, ConnectionSettings};
use upgrade_gate::model::Spec;

use super::judge::Judge;
use super::setup::Setup;
use super::world::{World, WorldClock, WorldDial, WorldFetch};

/// Good news gathers for a moment before it is judged, as in the engine.
const GATHER: Duration = Duration::from_millis(2);

/// The settings of a gate with this configuration in front of this cluster.
pub(super) fn settings(spec: &Spec, setup: &Setup) -> Settings {
    let nodes = spec.nodes.iter();
    let brokers = nodes.filter(|node| node.roles.broker && setup.mode.kafka());
    let scraped = setup.scraped(spec).into_iter();
    Settings {
        mode: setup.mode,
        bootstrap: brokers.map(|node| World::address(node.id)).collect(),
        address_map: AddressMap::default(),
        connection: ConnectionSettings::default(),
        nodes: setup.nodes(spec),
        controllers: BTreeMap::new(),
        via_brokers: setup.via_brokers,
        cluster_id: None,
        exporters: scraped
            .map(|id| (ids::NodeId(id), World::exporter(id)))
            .collect(),
        exporter_template: None,
        groups: BTreeSet::new(),
    }
}

/// The gate.
pub struct Gate {
    world: Arc<World>,
    spec: Spec,
    board: Arc<Board>,
    wants: Arc<Wants>,
    stop: CancellationToken,
    /// The Machine.
    pub judge: Judge,
}

impl Gate {
    /// Starts the collectors and a machine that knows nothing.
    pub fn start(world: &Arc<World>, spec: &Spec, setup: &Setup, judge: Judge) -> Self {
        let mut gate = Self {
            world: Arc::clone(world),
            spec: spec.clone(),
            board: Arc::default(),
            wants: Arc::default(),
            stop: CancellationToken::new(),
            judge,
        };
        gate.collect(setup);
        gate
    }

    /// Ends all collectors and starts new ones.
    pub fn collect(&mut self, setup: &Setup) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        self.board = Arc::default();
        self.wants = Arc::default();
        let scraper = Scraper::new(
            Arc::new(WorldFetch(Arc::clone(&self.world))),
            Arc::new(Recogniser::default()),
            1 << 24,
        );
        let shared = Shared::new(
            settings(&self.spec, setup),
            Arc::clone(&self.board),
            Arc::new(WorldClock(Arc::clone(&self.world))),
            Arc::new(WorldDial(Arc::clone(&self.world))),
            scraper,
            Arc::clone(&self.wants),
        );
        tokio::spawn(collect::run(Arc::new(shared), self.stop.clone()));
    }

    /// Runs until `until`, judging whatever comes.
    pub async fn run_until(&mut self, until: Duration) {
        let end = self.world.at(until);
        loop {
            let pause = self.judge.pause();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => return,
                () = self.board.changed() => {
                    if !self.board.is_urgent() {
                        tokio::time::sleep(GATHER).await;
                    }
                    self.take();
                }
                () = tokio::time::sleep(pause) => self.judge.wake(),
            }
            while self.board.is_urgent() {
                self.take();
            }
            if let Some(wanted) = self.judge.wants() {
                self.wants.want(wanted);
            }
        }
    }

    fn take(&mut self) {
        let batch = self.board.take();
        self.judge.evidence(batch.reports, batch.dropped);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
