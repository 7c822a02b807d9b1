//! What the collectors would report, without them: every question is put to the model as a
//! function call, and time goes in steps of [`STEP`]. Intervals, deadlines, the order of
//! questions and the ways to fail are those of `collect`; requests, versions and decoders are the
//! gate's own. A test compares both on the same trials.

mod asker;
mod calls;
mod node;
pub(super) mod page;
mod quiet;
mod round;
mod zookeeper;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::collect::board::Slot;
use upgrade_gate::collect::due::Due;
use upgrade_gate::collect::roster::Roster;
use upgrade_gate::collect::schedule::Trips;
use upgrade_gate::evidence::facts::{ClusterFacts, Facts, RegisteredBroker};
use upgrade_gate::evidence::ids;
use upgrade_gate::evidence::known::Known;
use upgrade_gate::evidence::partitions::PartitionTable;
use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::evidence::report::Wanted;
use upgrade_gate::evidence::report::{FactKind, FailureClass, Report, SourceFailure, SourceId};
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::model::{Cluster, Link, Listener, NodeId, Spec};
use upgrade_gate::time::Mono;

use self::asker::Asker;
use self::calls::{Line, known};
use self::node::{Bulk, Live};
use self::page::Exporter;
use self::quiet::Quiet;
use self::round::Round;
use self::zookeeper::Topics;
use super::collect::settings;
use super::judge::Judge;
use super::setup::{Setup, Tuned};
use super::world::World;

/// Time goes in steps of this length.
pub const STEP: Duration = Duration::from_millis(50);
/// Good news gathers for so long before it is judged.
const GATHER: Duration = Duration::from_millis(100);
/// A machine whose evidence has expired is not woken more often than this: it says unknown.
const NAP: Duration = Duration::from_millis(200);
/// How often the cluster is looked for while no broker is connected.
const LOOK: Duration = Duration::from_secs(1);

/// One node's tasks.
#[derive(Debug)]
struct Tasks {
    live: Live,
    bulk: Bulk,
    topics: Topics,
    exporter: Exporter,
}

/// What the tasks share.
#[derive(Debug, Default)]
struct Shared {
    roster: Roster,
    reports: Vec<Report>,
    dropped: Vec<Slot>,
    pages_wanted: u64,
    joined: bool,
    /// Somebody needs evidence newer than now.
    refresh: bool,
    /// Grows whenever everything heard so far counts no more.
    everything: u64,
    /// Brokers' bulk connections.
    bulk: BTreeMap<NodeId, Line>,
    /// Bulk connections that nobody has given up.
    alive: BTreeSet<u64>,
    tables: BTreeMap<NodeId, Arc<PartitionTable>>,
    claims: BTreeMap<usize, NodeId>,
    /// What small questions to each node took lately.
    trips: BTreeMap<NodeId, Trips>,
    /// When a connection to each node was refused last.
    refused: BTreeMap<NodeId, Mono>,
    serial: u64,
    quiet: Quiet,
    tuned: Tuned,
}

impl Shared {
    /// A table to run rounds over: the largest.
    fn table(&self) -> Option<Arc<PartitionTable>> {
        self.tables
            .values()
            .max_by_key(|table| table.len())
            .cloned()
    }
}

/// One moment, as the tasks see it.
struct Scene<'a> {
    now: Mono,
    world: &'a World,
    cluster: &'a Cluster,
    cut: &'a BTreeSet<NodeId>,
    recogniser: &'a Recogniser,
    shared: &'a mut Shared,
}

impl Scene<'_> {
    fn is_cut(&self, node: NodeId) -> bool {
        self.cut.contains(&node)
    }

    /// The other side has closed it, and we can know.
    fn has_ended(&self, line: &Line) -> bool {
        !self.is_cut(line.node) && self.cluster.life(line.node) != line.life
    }

    fn is_broker(&self, node: NodeId) -> bool {
        let entry = self.shared.roster.nodes.get(&known(node));
        entry.is_some_and(|entry| entry.role.broker)
    }

    /// Where to ask the node, once its address is known.
    fn listener(&self, node: NodeId) -> Option<Listener> {
        let entry = self.shared.roster.nodes.get(&known(node))?;
        entry.address()?;
        Some(if entry.broker.is_some() {
            Listener::Broker
        } else {
            Listener::Controller
        })
    }

    /// As often as `collect::schedule` has it, at the pace a curve is drawn over.
    fn every(&self, usual: Duration) -> Duration {
        self.shared.tuned.stretched(usual)
    }

    /// Notes what a small question to the node took.
    fn note_trip(&mut self, node: NodeId, took: Duration) {
        self.shared.trips.entry(node).or_default().note(took);
    }

    /// The way to the node and back.
    fn trip(&self, node: NodeId) -> Duration {
        let trips = self.shared.trips.get(&node);
        trips.map(Trips::shortest).unwrap_or_default()
    }

    /// Notes an answer of the node, and how often such are asked for.
    fn done(
        &self,
        node: NodeId,
        due: &mut Due,
        asked: Mono,
        facts: &Result<Facts, SourceFailure>,
    ) -> Duration {
        let table = self.shared.table();
        due.done_beside(asked, self.now, self.trip(node), facts, table.as_deref());
        due.hurry(asked.plus(self.every(due.at().since(asked))));
        self.every(due.every())
    }

    fn serial(&mut self) -> u64 {
        self.shared.serial += 1;
        self.shared.serial
    }

    fn report(
        &mut self,
        source: SourceId,
        kind: FactKind,
        epoch: u64,
        asked: Mono,
        every: Duration,
        facts: Result<Facts, SourceFailure>,
    ) {
        self.shared.reports.push(Report {
            source,
            kind,
            epoch,
            asked,
            seen: self.now,
            every,
            facts,
        });
    }
}

/// All collectors of one gate, and the gate.
pub struct Probe {
    world: Arc<World>,
    spec: Spec,
    recogniser: Recogniser,
    collectors: Collectors,
    napped: Mono,
    judged: Mono,
    /// The gate.
    pub judge: Judge,
}

/// What begins anew with the gate's process, or with other sources.
struct Collectors {
    mode: Mode,
    /// Nodes that have a JMX target.
    scraped: BTreeSet<NodeId>,
    shared: Shared,
    nodes: BTreeMap<NodeId, Tasks>,
    askers: [Asker; 2],
    round: Round,
    brokers: Vec<NodeId>,
    found: bool,
    look: Mono,
    /// Slots whose newest report is a failure that was judged.
    failing: BTreeSet<Slot>,
}

impl Collectors {
    fn new(spec: &Spec, setup: &Setup, now: Mono) -> Self {
        let scraped = setup.scraped(spec);
        let shared = Shared {
            roster: settings(spec, setup).roster(),
            tuned: setup.tuned,
            ..Shared::default()
        };
        let brokers = spec.nodes.iter().filter(|node| node.roles.broker);
        Self {
            mode: setup.mode,
            scraped,
            shared,
            nodes: BTreeMap::new(),
            askers: [Asker::new(0, now), Asker::new(1, now)],
            round: Round::new(now),
            brokers: brokers.map(|node| node.id).collect(),
            found: false,
            look: now,
            failing: BTreeSet::new(),
        }
    }
}

impl Probe {
    /// Collectors that know what the configuration says.
    pub fn new(world: &Arc<World>, spec: &Spec, setup: &Setup, judge: Judge) -> Self {
        let now = World::mono(world.elapsed());
        Self {
            world: Arc::clone(world),
            spec: spec.clone(),
            recogniser: Recogniser::default(),
            collectors: Collectors::new(spec, setup, now),
            napped: now,
            judged: now,
            judge,
        }
    }

    /// Whether nothing has happened for a while, and nobody needs evidence sooner.
    pub fn is_calm(&self) -> bool {
        let shared = &self.collectors.shared;
        shared.quiet.is_calm() && !shared.refresh
    }

    /// Ends all collectors and starts new ones.
    pub fn collect(&mut self, setup: &Setup) {
        let now = World::mono(self.world.elapsed());
        self.collectors = Collectors::new(&self.spec, setup, now);
    }

    /// Everything that is due at this moment, and a judgement where there is something new.
    pub fn tick(&mut self) {
        let now = World::mono(self.world.elapsed());
        let wanted = self.judge.wants();
        let collectors = &mut self.collectors;
        collectors.shared.refresh = wanted.is_some();
        if wanted == Some(Wanted::Everything) {
            collectors.shared.everything += 1;
            collectors.shared.pages_wanted += 1;
        }
        collectors.tick(&self.world, &self.recogniser, now);
        let shared = &mut collectors.shared;
        let failing = &mut collectors.failing;
        let slot = |report: &Report| (report.source.clone(), report.kind);
        let urgent = shared
            .reports
            .iter()
            .any(|report| report.facts.is_err() && !failing.contains(&slot(report)));
        let gathered = now.since(self.judged) >= GATHER;
        let news = !shared.reports.is_empty() || !shared.dropped.is_empty();
        if urgent || (news && gathered) {
            let reports = std::mem::take(&mut shared.reports);
            for report in &reports {
                if report.facts.is_err() {
                    failing.insert(slot(report));
                } else {
                    failing.remove(&slot(report));
                }
            }
            let dropped = std::mem::take(&mut shared.dropped);
            self.judge.evidence(reports, dropped);
            self.judged = now;
            self.napped = now;
        } else if now.since(self.napped) >= NAP && self.judge.pause().is_zero() {
            self.judge.wake();
            self.napped = now;
        }
    }
}

impl Collectors {
    fn tick(&mut self, world: &World, recogniser: &Recogniser, now: Mono) {
        let cut = world.cut_off();
        let cluster = world.cluster();
        let operated = world.operated();
        let quiet = &mut self.shared.quiet;
        quiet.look(now, &cluster, operated, world.is_cut_anywhere());
        let mut scene = Scene {
            now,
            world,
            cluster: &cluster,
            cut: &cut,
            recogniser,
            shared: &mut self.shared,
        };
        let kafka = self.mode.kafka();
        if kafka && now >= self.look && (!self.found || scene.shared.bulk.is_empty()) {
            self.found = discover(&mut scene, &self.brokers);
            self.look = now.plus(LOOK);
        }
        let nodes = scene.shared.roster.nodes.keys();
        let ids: Vec<_> = nodes.map(|node| node.0).collect();
        for id in ids {
            let tasks = self.nodes.entry(id).or_insert_with(|| Tasks {
                live: Live::new(id, now),
                bulk: Bulk::new(id, now),
                topics: Topics::new(id, now),
                exporter: Exporter::new(id, now, self.scraped.contains(&id)),
            });
            if kafka {
                tasks.live.tick(&mut scene);
                tasks.bulk.tick(&mut scene);
                tasks.topics.tick(&mut scene);
            }
            if self.mode.jmx() && (!kafka || self.scraped.contains(&id)) {
                tasks.exporter.tick(&mut scene);
            }
        }
        if kafka {
            for asker in &mut self.askers {
                asker.tick(&mut scene);
            }
            self.round.tick(&mut scene);
        }
    }
}

/// Asks the first broker that answers who else there is.
fn discover(scene: &mut Scene<'_>, brokers: &[NodeId]) -> bool {
    let mut failed = Vec::new();
    for id in brokers {
        let there =
            !scene.is_cut(*id) && scene.cluster.link(*id, Listener::Broker) == Link::Accepts;
        let source = SourceId::Bootstrap(format!("node {id}"));
        if !there {
            let class = if scene.is_cut(*id) {
                FailureClass::ConnectTimeout
            } else {
                FailureClass::Refused
            };
            let now = scene.now;
            let failure = Err(calls::failure(class, *id));
            scene.report(source.clone(), FactKind::Cluster, 0, now, LOOK, failure);
            failed.push(source);
            continue;
        }
        let alive = scene.cluster.committed_image().brokers.keys();
        let brokers = alive.map(|id| RegisteredBroker {
            node: known(*id),
            host: "127.0.0.1".into(),
            port: 1,
            rack: None,
            fenced: false,
        });
        let facts = ClusterFacts {
            cluster_id: Known::Is(ids::ClusterId(scene.cluster.spec().cluster_id.clone())),
            brokers: brokers.collect(),
            controller: None,
            lists_fenced: true,
        };
        if scene.shared.roster.cluster(&facts).is_err() {
            return false;
        }
        for id in scene.cluster.spec().nodes.iter().map(|node| node.id) {
            let source = SourceId::Bootstrap(format!("node {id}"));
            scene.shared.dropped.push((source, FactKind::Cluster));
        }
        return true;
    }
    false
}
