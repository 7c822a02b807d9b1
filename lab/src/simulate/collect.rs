//! The gate under test: the real collectors on the world's streams, their board, and a Machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use upgrade_gate::collect;
use upgrade_gate::collect::board::Board;
use upgrade_gate::collect::shared::{Settings, Shared};
use upgrade_gate::collect::wants::Wants;
use upgrade_gate::evidence::ids::{self, Role};
use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scrape::Scraper;
use upgrade_gate::kafka::{AddressMap, ConnectionSettings};
use upgrade_gate::model::Spec;

use super::judge::Judge;
use super::world::{World, WorldClock, WorldDial, WorldFetch};

/// Good news gathers for a moment before it is judged, as in the engine.
const GATHER: Duration = Duration::from_millis(2);

/// The settings of a gate in front of this cluster: every exporter, and the nodes that the
/// configuration names.
pub(super) fn settings(spec: &Spec, configured: &BTreeMap<ids::NodeId, Role>) -> Settings {
    let brokers = spec.nodes.iter().filter(|node| node.roles.broker);
    let exporters = spec.nodes.iter();
    Settings {
        mode: Mode::KafkaJmx,
        bootstrap: brokers.map(|node| World::address(node.id)).collect(),
        address_map: AddressMap::default(),
        connection: ConnectionSettings::default(),
        nodes: configured.clone(),
        controllers: BTreeMap::new(),
        cluster_id: None,
        exporters: exporters
            .map(|node| (ids::NodeId(node.id), World::exporter(node.id)))
            .collect(),
        exporter_template: None,
        groups: BTreeSet::new(),
    }
}

/// The gate.
pub struct Gate {
    world: Arc<World>,
    board: Arc<Board>,
    wants: Arc<Wants>,
    stop: CancellationToken,
    /// The Machine.
    pub judge: Judge,
}

impl Gate {
    /// Starts the collectors and a machine that knows nothing.
    pub fn start(
        world: &Arc<World>,
        spec: &Spec,
        configured: &BTreeMap<ids::NodeId, Role>,
        judge: Judge,
    ) -> Self {
        let board = Arc::new(Board::default());
        let wants = Arc::new(Wants::default());
        let scraper = Scraper::new(
            Arc::new(WorldFetch(Arc::clone(world))),
            Arc::new(Recogniser::default()),
            1 << 24,
        );
        let shared = Shared::new(
            settings(spec, configured),
            Arc::clone(&board),
            Arc::new(WorldClock(Arc::clone(world))),
            Arc::new(WorldDial(Arc::clone(world))),
            scraper,
            Arc::clone(&wants),
        );
        let stop = CancellationToken::new();
        tokio::spawn(collect::run(Arc::new(shared), stop.clone()));
        Self {
            world: Arc::clone(world),
            board,
            wants,
            stop,
            judge,
        }
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
