//! The gate under test at depth "drivers": the real collectors on the world's streams, the real engine
//! and its published view, put together as `app` does it for each gate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::clock::Clock;
use upgrade_gate::collect;
use upgrade_gate::collect::board::Board;
use upgrade_gate::collect::shared::{Settings, Shared};
use upgrade_gate::collect::wants::Wants;
use upgrade_gate::engine::handle::GateHandle;
use upgrade_gate::engine::{Engine, Pulse};
use upgrade_gate::evidence::ids;
use upgrade_gate::evidence::policy::Policy;
use upgrade_gate::gate::doc::{GateDoc, Revision};
use upgrade_gate::gate::question::{Command, Reply, Ticket};
use upgrade_gate::gate::state::GateName;
use upgrade_gate::gate::view::{Answer, View};
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scrape::Scraper;
use upgrade_gate::kafka::{AddressMap, ConnectionSettings};
use upgrade_gate::model::Spec;
use upgrade_gate::store::Writer;
use upgrade_gate::time::Now;
use upgrade_gate::view::Published;

use super::course::Speaker;
use super::flaky::{Answers, Kept, keep};
use super::oracle::Said;
use super::reading;
use super::sabotage::Sabotage;
use super::saboteur::{AGAIN, Saboteur};
use super::setup::Setup;
use super::trial::Order;
use super::world::{World, WorldClock, WorldDial, WorldFetch};

/// For how long an answer of the engine is waited for; it waits 5 s each for evidence and store itself.
const PATIENCE: Duration = Duration::from_secs(11);

/// The settings of a gate with this configuration in front of this cluster.
pub(super) fn settings(spec: &Spec, setup: &Setup) -> Settings {
    let nodes = spec.nodes.iter();
    let brokers = nodes.filter(|node| node.roles.broker && setup.mode.kafka());
    let scraped = setup.scraped(spec).into_iter();
    Settings {
        gate: GateName::default().to_string(),
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

/// One process of the gate.
struct Process {
    stop: CancellationToken,
    store: JoinHandle<()>,
    policy: watch::Sender<Arc<Policy>>,
    handle: GateHandle,
    pulse: Arc<Pulse>,
    saboteur: Arc<Mutex<Saboteur>>,
    answers: mpsc::UnboundedReceiver<(Ticket, Reply)>,
    answer: mpsc::UnboundedSender<(Ticket, Reply)>,
}

/// The gate, whatever process it is now.
pub struct Gate {
    world: Arc<World>,
    spec: Spec,
    sabotage: Sabotage,
    kept: Arc<Mutex<Kept>>,
    /// What the store has, as of the last look.
    stored: (Revision, GateDoc),
    process: Process,
    /// Steps of processes that are gone.
    steps: u64,
}

impl Gate {
    /// A gate that knows nothing.
    pub fn start(world: &Arc<World>, order: &Order) -> Self {
        let kept = Arc::new(Mutex::new(Kept::new(order.plan.moods)));
        let (spec, setup) = (&order.plan.spec, &order.plan.setup);
        let policy = setup.policy(spec);
        Self {
            process: Process::begin(world, settings(spec, setup), policy, order.sabotage, &kept),
            world: Arc::clone(world),
            spec: spec.clone(),
            sabotage: order.sabotage,
            kept,
            stored: (Revision(0), GateDoc::default()),
            steps: 0,
        }
    }

    /// The process ends as by `kill -9`, and another one goes on from what the store has.
    pub fn restart(&mut self, setup: &Setup, policy: Policy) {
        self.process.end();
        self.steps += self.process.steps();
        let settings = settings(&self.spec, setup);
        self.process = Process::begin(&self.world, settings, policy, self.sabotage, &self.kept);
    }

    /// The policy changed.
    pub fn reload(&mut self, policy: Policy) {
        let policy = lock(&self.process.saboteur).policy(policy);
        self.process.policy.send_replace(Arc::new(policy));
    }

    /// Somebody asks for a lease, or for its end.
    pub fn ask(&self, ticket: Ticket, command: Command) {
        let command = lock(&self.process.saboteur).command(ticket, command);
        let (handle, answer) = (self.process.handle.clone(), self.process.answer.clone());
        tokio::spawn(async move {
            if let Ok(reply) = handle.ask(command, PATIENCE).await {
                // Whoever asked a process that is gone hears nothing.
                let _ = answer.send((ticket, reply));
            }
        });
    }

    /// What it has answered since the last call.
    pub fn replies(&mut self) -> Vec<(Ticket, Reply)> {
        let now = WorldClock(Arc::clone(&self.world)).now();
        let mut replies = Vec::new();
        while let Ok((ticket, reply)) = self.process.answers.try_recv() {
            let reply = lock(&self.process.saboteur).reply(now, ticket, reply);
            replies.push((ticket, reply));
        }
        replies
    }

    /// Looks what the store has by now.
    pub fn look_at_store(&mut self) {
        let kept = lock(&self.kept);
        if kept.stands.0 != self.stored.0 {
            self.stored.clone_from(&kept.stands);
        }
    }

    /// What its store has said of writes.
    pub fn answers(&self) -> Answers {
        lock(&self.kept).answers()
    }

    /// How many judgements were made. No engine may have failed on the way.
    pub fn steps(&self) -> u64 {
        self.steps + self.process.steps()
    }

    fn read<T>(&self, read: impl Fn(&Answer<'_>) -> T) -> T {
        let view = self.process.handle.published().load();
        let saboteur = lock(&self.process.saboteur);
        let now = saboteur.now(WorldClock(Arc::clone(&self.world)).now());
        let published = view.at(now.mono).evaluated().mono;
        read(&view.at(saboteur.read_at(now.mono, published)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.process.end();
    }
}

impl Speaker for Gate {
    fn stored(&self) -> Option<&GateDoc> {
        // A gate that counts no grants keeps none.
        (self.sabotage != Sabotage::OwnGrants).then_some(&self.stored.1)
    }

    fn says(&self) -> Said {
        self.read(reading::says)
    }

    fn why(&self) -> Vec<String> {
        self.read(reading::why)
    }

    fn first_reason(&self) -> &'static str {
        self.read(reading::first_reason)
    }
}

impl Process {
    /// Puts together what `app` puts together for each gate.
    fn begin(
        world: &Arc<World>,
        settings: Settings,
        policy: Policy,
        sabotage: Sabotage,
        kept: &Arc<Mutex<Kept>>,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(WorldClock(Arc::clone(world)));
        let saboteur = Saboteur::new(sabotage);
        let policy = watch::Sender::new(Arc::new(saboteur.policy(policy)));
        let saboteur = Arc::new(Mutex::new(saboteur));
        let gate = GateName::default();
        let first = View::nothing(gate.clone(), clock.now(), Reason::WarmingUp, "just started");
        let published = Arc::new(Published::new(first));
        let (handle, asks) = GateHandle::new(gate.clone(), Arc::clone(&published));
        let (board, wants, pulse) = (Arc::default(), Arc::default(), Arc::<Pulse>::default());
        let (writer, inbox) = Writer::to_inbox();
        let (answer, answers) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let shared = shared(world, settings, &board, &clock, &wants);
        tokio::spawn(collect::run(Arc::new(shared), stop.clone()));
        let told = match sabotage {
            Sabotage::None => board,
            _ => broken(&board, &saboteur, &clock, &handle, &stop),
        };
        let engine = Engine {
            gate,
            policy: policy.subscribe(),
            board: told,
            published,
            store: writer,
            clock: Arc::new(BrokenClock(clock, Arc::clone(&saboteur))),
            wants,
            pulse: Arc::clone(&pulse),
            counters: Arc::default(),
        };
        tokio::spawn(engine.run(asks, stop.clone()));
        Self {
            store: tokio::spawn(keep(inbox, Arc::clone(kept))),
            stop,
            policy,
            handle,
            pulse,
            saboteur,
            answers,
            answer,
        }
    }

    /// Nothing that it had begun to write is written any more.
    fn end(&self) {
        self.store.abort();
        self.stop.cancel();
    }

    fn steps(&self) -> u64 {
        let failures = self.pulse.failures.load(Ordering::Relaxed);
        assert_eq!(failures, 0, "an engine failed");
        self.pulse.steps.load(Ordering::Relaxed)
    }
}

fn shared(
    world: &Arc<World>,
    settings: Settings,
    board: &Arc<Board>,
    clock: &Arc<dyn Clock>,
    wants: &Arc<Wants>,
) -> Shared {
    let scraper = Scraper::new(
        Arc::new(WorldFetch(Arc::clone(world))),
        Arc::new(Recogniser::default()),
        1 << 24,
    );
    Shared::new(
        settings,
        Arc::clone(board),
        Arc::clone(clock),
        Arc::new(WorldDial(Arc::clone(world))),
        scraper,
        Arc::clone(wants),
    )
}

/// Another board, on which a saboteur writes what he makes of the collectors' one.
fn broken(
    from: &Arc<Board>,
    saboteur: &Arc<Mutex<Saboteur>>,
    clock: &Arc<dyn Clock>,
    handle: &GateHandle,
    stop: &CancellationToken,
) -> Arc<Board> {
    let to = Arc::<Board>::default();
    let (from, told) = (Arc::clone(from), Arc::clone(&to));
    let (saboteur, clock) = (Arc::clone(saboteur), Arc::clone(clock));
    let (handle, stop) = (handle.clone(), stop.clone());
    let twisting = async move {
        loop {
            let again = tokio::time::timeout(AGAIN, from.changed());
            // Some have something to say all the time.
            let _ = again.await;
            let now = clock.now();
            let mut saboteur = lock(&saboteur);
            let mut more = true;
            while more {
                let batch = from.take();
                let (reports, dropped) = saboteur.reports(now, batch.reports, batch.dropped);
                dropped.into_iter().for_each(|slot| told.forget(slot));
                reports.into_iter().for_each(|report| told.put(report));
                more = batch.more;
            }
            for change in saboteur.changes(now.mono) {
                let handle = handle.clone();
                tokio::spawn(async move {
                    // Nobody waits for the answer.
                    let _ = handle.ask(Command::Change(change), PATIENCE).await;
                });
            }
        }
    };
    tokio::spawn(async move { stop.run_until_cancelled(twisting).await });
    to
}

/// The engine's clock.
#[derive(Debug)]
struct BrokenClock(Arc<dyn Clock>, Arc<Mutex<Saboteur>>);

impl Clock for BrokenClock {
    fn now(&self) -> Now {
        lock(&self.1).now(self.0.now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
