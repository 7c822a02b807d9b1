//! What the collecting tasks of one gate share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{Notify, watch};

use super::board::Board;
use super::roster::Roster;
use super::schedule::{self, Trips};
use super::wants::Wants;
use crate::clock::Clock;
use crate::evidence::facts::Facts;
use crate::evidence::ids::{ClusterId, GroupId, NodeId, Role};
use crate::evidence::partitions::PartitionTable;
use crate::evidence::policy::Mode;
use crate::evidence::report::{FactKind, FailureClass, Report, SourceFailure, SourceId};
use crate::jmx::scrape::Scraper;
use crate::jmx::template::Template;
use crate::kafka::{Address, AddressMap, Connection, ConnectionSettings, Connections, Dial};
use crate::time::Mono;

/// What one gate collects, from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose collectors they are: what they log names it.
    pub gate: String,
    /// Which kinds of source are read.
    pub mode: Mode,
    /// Where to begin.
    pub bootstrap: Vec<Address>,
    /// Addresses that replace advertised ones.
    pub address_map: AddressMap,
    /// How connections behave.
    pub connection: ConnectionSettings,
    /// Nodes that the configuration names.
    pub nodes: BTreeMap<NodeId, Role>,
    /// Where controllers listen, where the configuration says it.
    pub controllers: BTreeMap<NodeId, Address>,
    /// Controllers that are no brokers are not asked themselves.
    pub via_brokers: bool,
    /// The cluster that is meant, where the configuration names it.
    pub cluster_id: Option<ClusterId>,
    /// Exporters that the configuration names, by node.
    pub exporters: BTreeMap<NodeId, Url>,
    /// The pattern of the other nodes' exporters.
    pub exporter_template: Option<Template>,
    /// Groups that are watched.
    pub groups: BTreeSet<GroupId>,
}

impl Settings {
    /// The nodes that the configuration knows.
    pub fn roster(&self) -> Roster {
        let mut roster = Roster {
            cluster_id: self.cluster_id.clone(),
            via_brokers: self.via_brokers,
            ..Roster::default()
        };
        for (node, role) in &self.nodes {
            roster.configured(*node, *role, None);
        }
        for (node, address) in &self.controllers {
            roster.configured(*node, Role::CONTROLLER, Some(address));
        }
        for node in self.exporters.keys() {
            roster.nodes.entry(*node).or_default();
        }
        roster
    }

    /// Whether this node's exporter is asked. One that the configuration does not name is none that has
    /// failed: its source would be down for ever. In mode `jmx` a page is the only sign of life, and that
    /// there is none is told.
    pub fn asks_page_of(&self, node: NodeId) -> bool {
        let named = self.exporter_template.is_some() || self.exporters.contains_key(&node);
        self.mode.jmx() && (named || !self.mode.kafka())
    }
}

/// What the collecting tasks of one gate share.
#[derive(Debug)]
pub struct Shared {
    /// From the configuration.
    pub settings: Settings,
    /// Where reports go.
    pub board: Arc<Board>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes streams to Kafka.
    pub dial: Arc<dyn Dial>,
    /// Asks exporters.
    pub scraper: Scraper,
    /// What the engine wants beyond the usual pace.
    pub wants: Arc<Wants>,
    /// Grows when exporters are to be asked soon: a node came back (its start time is wanted),
    /// or every ISR is full again.
    pub pages_wanted: watch::Sender<u64>,
    /// A broker's bulk connection came: its replicas are asked at once.
    pub joined: Notify,
    /// The nodes known so far.
    pub roster: watch::Sender<Roster>,
    bulk: Mutex<Connections>,
    tables: Mutex<BTreeMap<NodeId, Arc<PartitionTable>>>,
    /// Which broker each asker asks.
    claims: Mutex<BTreeMap<usize, NodeId>>,
    trips: Mutex<BTreeMap<NodeId, Trips>>,
    /// When a connection to each node was refused last.
    refused: Mutex<BTreeMap<NodeId, Mono>>,
}

impl Shared {
    /// What a gate's tasks share at the start: the nodes of the configuration.
    pub fn new(
        settings: Settings,
        board: Arc<Board>,
        clock: Arc<dyn Clock>,
        dial: Arc<dyn Dial>,
        scraper: Scraper,
        wants: Arc<Wants>,
    ) -> Self {
        let roster = settings.roster();
        Self {
            settings,
            board,
            clock,
            dial,
            scraper,
            wants,
            pages_wanted: watch::Sender::new(0),
            joined: Notify::new(),
            roster: watch::Sender::new(roster),
            bulk: Mutex::default(),
            tables: Mutex::default(),
            claims: Mutex::default(),
            trips: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Now, on the boot clock.
    pub fn now(&self) -> Mono {
        self.clock.now().mono
    }

    /// Has every exporter asked soon.
    pub fn want_pages(&self) {
        self.pages_wanted
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes the roster; nobody is woken when nothing changes.
    ///
    /// # Errors
    /// What the change says.
    pub fn learn(
        &self,
        change: impl FnOnce(&mut Roster) -> Result<(), SourceFailure>,
    ) -> Result<(), SourceFailure> {
        let mut learnt = Ok(());
        self.roster.send_if_modified(|roster| {
            let before = roster.clone();
            learnt = change(roster);
            *roster != before
        });
        learnt
    }

    /// The cluster that is meant, once it is known.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.roster.borrow().cluster_id.clone()
    }

    /// Where to dial a node, the address map applied.
    pub fn address_of(&self, node: NodeId) -> Option<Address> {
        let roster = self.roster.borrow();
        let advertised = roster.nodes.get(&node)?.address()?;
        Some(self.settings.address_map.reach(Some(node), advertised))
    }

    /// Resolves when the node is to be reached elsewhere than at `from`: a node that was asked as a
    /// controller has turned out to be a broker as well, or advertises another address.
    pub async fn moved(&self, node: NodeId, from: &Address) -> SourceFailure {
        let mut roster = self.roster.subscribe();
        loop {
            if let Some(to) = self.address_of(node).filter(|to| to != from) {
                let why = format!("connection to {from}: closed by us, node {node} is at {to} now");
                return SourceFailure::new(FailureClass::Closed, why);
            }
            if roster.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether the node is known as a broker.
    pub fn is_broker(&self, node: NodeId) -> bool {
        self.roster
            .borrow()
            .nodes
            .get(&node)
            .is_some_and(|entry| entry.role.broker)
    }

    /// The bulk connections of brokers.
    pub fn connections(&self) -> Connections {
        lock(&self.bulk).clone()
    }

    /// This broker's bulk connection.
    pub fn connection_of(&self, node: NodeId) -> Option<Arc<Connection>> {
        lock(&self.bulk).get(&node).cloned()
    }

    /// A connection to this node was refused: nobody listens there, so that its process has ended.
    pub fn note_refusal(&self, node: NodeId) {
        lock(&self.refused).insert(node, self.now());
    }

    /// Whether the process that was there at this moment has ended, as far as that was noticed.
    pub fn was_refused_since(&self, node: NodeId, since: Mono) -> bool {
        let refused = lock(&self.refused).get(&node).copied();
        refused.is_some_and(|at| at >= since)
    }

    /// Registers a broker's bulk connection, or takes it away.
    pub fn set_connection(&self, node: NodeId, connection: Option<Arc<Connection>>) {
        let mut bulk = lock(&self.bulk);
        match connection {
            Some(connection) => {
                bulk.insert(node, connection);
                self.joined.notify_one();
            }
            None => {
                bulk.remove(&node);
            }
        }
    }

    /// Claims the first of these brokers that no other asker has; gives up the one held before.
    pub fn claim(&self, slot: usize, wanted: impl Iterator<Item = NodeId>) -> Option<NodeId> {
        let mut claims = lock(&self.claims);
        claims.remove(&slot);
        let mut wanted = wanted;
        let free = wanted.find(|node| claims.values().all(|claimed| claimed != node))?;
        claims.insert(slot, free);
        Some(free)
    }

    /// Notes what a small question to the node took.
    pub fn note_trip(&self, node: NodeId, took: Duration) {
        lock(&self.trips).entry(node).or_default().note(took);
    }

    /// The way to the node and back, as its last answers to small questions have it. Whoever has a
    /// connection to it has asked one.
    pub fn trip(&self, node: NodeId) -> Duration {
        let trips = lock(&self.trips);
        trips.get(&node).map(Trips::shortest).unwrap_or_default()
    }

    /// Keeps the newest table of a broker for the rounds; `None` when it is no longer asked.
    pub fn set_table(&self, node: NodeId, table: Option<Arc<PartitionTable>>) {
        let mut tables = lock(&self.tables);
        match table {
            Some(table) => tables.insert(node, table),
            None => tables.remove(&node),
        };
    }

    /// The table of this broker while an asker asks it.
    pub fn table_of(&self, node: NodeId) -> Option<Arc<PartitionTable>> {
        lock(&self.tables).get(&node).cloned()
    }

    /// A table to run rounds over: the largest, so that nothing is left out while a topic is
    /// being made.
    pub fn table(&self) -> Option<Arc<PartitionTable>> {
        lock(&self.tables)
            .values()
            .max_by_key(|table| table.len())
            .cloned()
    }

    /// Reports an answer, or a failure to answer, to a question asked at `asked`.
    pub fn report(
        &self,
        source: SourceId,
        kind: FactKind,
        epoch: u64,
        asked: Mono,
        every: Duration,
        facts: Result<Facts, SourceFailure>,
    ) {
        let seen = self.now();
        self.board.put(Report {
            source,
            kind,
            epoch,
            asked,
            seen,
            every,
            facts,
        });
    }

    /// Reports that a connection ended: it counts from when it was noticed.
    pub fn report_end(&self, source: SourceId, kind: FactKind, epoch: u64, failure: SourceFailure) {
        let every = schedule::row(kind).interval;
        self.report(source, kind, epoch, self.now(), every, Err(failure));
    }

    /// Waits `pause`, or less when somebody needs newer evidence.
    pub async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.wants.quick() => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
