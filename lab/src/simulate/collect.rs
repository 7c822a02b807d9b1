//! The gate under test: the real collectors on the world's streams, their board, and a Machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use upgrade_gate::clock::Clock;
use upgrade_gate::collect;
use upgrade_gate::collect::board::{Batch, Board, Slot};
use upgrade_gate::collect::shared::{Settings, Shared};
use upgrade_gate::evidence::facts::Facts;
use upgrade_gate::evidence::ids::{self, Role};
use upgrade_gate::evidence::policy::{Mode, Policy};
use upgrade_gate::evidence::report::Report;
use upgrade_gate::gate::doc::{GateDoc, Revision, Stored};
use upgrade_gate::gate::machine::{Effect, Input, Machine};
use upgrade_gate::gate::state::{GateName, State};
use upgrade_gate::gate::view::View;
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scrape::Scraper;
use upgrade_gate::kafka::{AddressMap, ConnectionSettings};
use upgrade_gate::model::Spec;

use super::oracle::Said;
use super::world::{World, WorldClock, WorldDial, WorldFetch};

/// Good news gathers for a moment before it is judged, as in the engine.
const GATHER: Duration = Duration::from_millis(2);

/// A gate broken on purpose, to see that the oracle notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing is broken.
    None,
    /// Every failure is covered by the last good answer, and nothing is waited for.
    LastKnown,
    /// A page that cannot be had, or a link that is lost, is covered by the last good one.
    LastPageAndLink,
}

/// The gate.
pub struct Gate {
    world: Arc<World>,
    clock: WorldClock,
    board: Arc<Board>,
    machine: Machine,
    view: Option<Arc<View>>,
    refresh: Arc<Notify>,
    revision: u64,
    sabotage: Sabotage,
    good: BTreeMap<Slot, Facts>,
    stop: CancellationToken,
    /// How many judgements were made.
    pub steps: u64,
}

impl Gate {
    /// Starts the collectors and a machine that knows nothing.
    pub fn start(world: &Arc<World>, spec: &Spec, configured: bool, sabotage: Sabotage) -> Self {
        let clock = WorldClock(Arc::clone(world));
        let board = Arc::new(Board::default());
        let refresh = Arc::new(Notify::new());
        let roles: BTreeMap<_, _> = spec
            .nodes
            .iter()
            .map(|node| {
                let role = Role {
                    broker: node.roles.broker,
                    controller: node.roles.controller,
                };
                (ids::NodeId(node.id), role)
            })
            .collect();
        let nodes = if configured { roles } else { BTreeMap::new() };
        let brokers = spec.nodes.iter().filter(|node| node.roles.broker);
        let settings = Settings {
            mode: Mode::KafkaJmx,
            bootstrap: brokers.map(|node| World::address(node.id)).collect(),
            address_map: AddressMap::default(),
            connection: ConnectionSettings::default(),
            nodes: nodes.clone(),
            controllers: BTreeMap::new(),
            cluster_id: None,
            exporters: spec
                .nodes
                .iter()
                .map(|node| (ids::NodeId(node.id), World::exporter(node.id)))
                .collect(),
            exporter_template: None,
            groups: BTreeSet::new(),
        };
        let scraper = Scraper::new(
            Arc::new(WorldFetch(Arc::clone(world))),
            Arc::new(Recogniser::default()),
            1 << 24,
        );
        let shared = Shared::new(
            settings,
            Arc::clone(&board),
            Arc::new(WorldClock(Arc::clone(world))),
            Arc::new(WorldDial(Arc::clone(world))),
            scraper,
            Arc::clone(&refresh),
        );
        let stop = CancellationToken::new();
        tokio::spawn(collect::run(Arc::new(shared), stop.clone()));
        let policy = Policy {
            expected: nodes,
            window: (sabotage != Sabotage::None).then_some(Duration::ZERO),
            ..Policy::default()
        };
        let machine = Machine::restore(
            GateName::default(),
            Arc::new(policy),
            Revision(0),
            GateDoc::default(),
            clock.now(),
        );
        Self {
            world: Arc::clone(world),
            clock,
            board,
            machine,
            view: None,
            refresh,
            revision: 0,
            sabotage,
            good: BTreeMap::new(),
            stop,
            steps: 0,
        }
    }

    /// Runs until `until`, judging whatever comes.
    pub async fn run_until(&mut self, until: Duration) {
        let end = self.world.at(until);
        loop {
            let wake = self.machine.next_deadline();
            let pause = wake.map_or(Duration::from_secs(1), |at| at.since(self.clock.now().mono));
            let input = tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => return,
                () = self.board.changed() => {
                    if !self.board.is_urgent() {
                        tokio::time::sleep(GATHER).await;
                    }
                    let batch = self.board.take();
                    self.evidence(batch)
                }
                () = tokio::time::sleep(pause) => Input::Wake,
            };
            self.step(input);
            while self.board.is_urgent() {
                let batch = self.board.take();
                let input = self.evidence(batch);
                self.step(input);
            }
        }
    }

    fn evidence(&mut self, batch: Batch) -> Input {
        let mut reports = batch.reports;
        for report in &mut reports {
            self.cover_up(report);
        }
        Input::Evidence {
            reports,
            dropped: batch.dropped,
        }
    }

    fn cover_up(&mut self, report: &mut Report) {
        let slot = (report.source.clone(), report.kind);
        let covers = match self.sabotage {
            Sabotage::None => return,
            Sabotage::LastKnown => true,
            Sabotage::LastPageAndLink => matches!(
                report.kind,
                upgrade_gate::evidence::report::FactKind::Link
                    | upgrade_gate::evidence::report::FactKind::Jmx
            ),
        };
        match (&report.facts, self.good.get(&slot)) {
            (Ok(facts), _) => {
                self.good.insert(slot, facts.clone());
            }
            (Err(_), Some(good)) if covers => report.facts = Ok(good.clone()),
            (Err(_), _) => {}
        }
    }

    fn step(&mut self, input: Input) {
        self.steps += 1;
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.machine.step(self.clock.now(), input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Publish(view) => self.view = Some(view),
                    Effect::Refresh { .. } => self.refresh.notify_waiters(),
                    Effect::Reply(..) => {}
                    Effect::Commit { id, .. } => {
                        self.revision += 1;
                        inputs.push(Input::Stored(id, Stored::Written(Revision(self.revision))));
                    }
                }
            }
        }
    }

    /// What it says now.
    pub fn says(&self) -> Said {
        let Some(view) = &self.view else {
            return Said::default();
        };
        let answer = view.at(self.clock.now().mono);
        let nodes = answer.parts().map(|parts| &parts.nodes[..]);
        let may = |state| state == State::Open;
        Said {
            open: may(answer.state()),
            nodes: nodes
                .unwrap_or_default()
                .iter()
                .filter(|node| may(node.may_stop))
                .map(|node| node.node.0)
                .collect(),
        }
    }

    /// Why it does not say open, the first reason first.
    pub fn why(&self) -> Vec<String> {
        let Some(view) = &self.view else {
            return vec!["nothing published".into()];
        };
        let answer = view.at(self.clock.now().mono);
        let reasons = answer.reasons();
        reasons
            .iter()
            .filter(|r| r.severity != upgrade_gate::checks::reason::Severity::Warn)
            .map(|r| format!("{} {:?}: {}", r.reason.code(), r.subject, r.observed))
            .collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
