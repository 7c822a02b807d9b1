//! Asks one broker for what every broker knows: the cluster, the partitions, the quorum,
//! reassignments, topics' configurations. There are two askers, each with a broker of its own,
//! so that one broker's old metadata cannot pass for the truth.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::due::Due;
use super::schedule::deadline;
use super::shared::Shared;
use super::zookeeper::is_kraft;
use crate::evidence::facts::{Facts, Moves};
use crate::evidence::ids::NodeId;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::report::{FactKind, SourceFailure, SourceId};
use crate::kafka::Connection;

/// How many brokers are asked.
pub const ASKERS: usize = 2;

/// The kinds an asker asks for on KRaft.
const KINDS: [FactKind; 5] = [
    FactKind::Cluster,
    FactKind::Partitions,
    FactKind::Quorum,
    FactKind::Moves,
    FactKind::TopicConfigs,
];

/// While there is no broker to ask.
const NOBODY: Duration = Duration::from_millis(100);

/// Asks broker after broker: each as long as its connection lives.
pub async fn run(shared: Arc<Shared>, slot: usize) {
    let mut held: Option<NodeId> = None;
    let mut asked = Vec::new();
    loop {
        let Some((node, connection)) = choose(&shared, slot, held) else {
            sleep(NOBODY).await;
            continue;
        };
        if let Some(before) = held.replace(node)
            && before != node
        {
            forget(&shared, before, &asked);
        }
        asked = kinds(&connection);
        debug!(gate = %shared.settings.gate, slot, %node, "asking this broker about the cluster");
        let failure = Turn::new(&shared, node, connection).ask_on().await;
        debug!(gate = %shared.settings.gate, slot, %node, %failure, "this broker says no more");
        shared.set_table(node, None);
    }
}

/// A broker that no other asker asks; the one asked before, if it is still there.
fn choose(shared: &Shared, slot: usize, held: Option<NodeId>) -> Option<(NodeId, Arc<Connection>)> {
    let connections = shared.connections();
    let again = held.filter(|node| connections.contains_key(node));
    let node = shared.claim(slot, again.into_iter().chain(connections.keys().copied()))?;
    connections
        .get(&node)
        .map(|connection| (node, Arc::clone(connection)))
}

fn forget(shared: &Shared, node: NodeId, kinds: &[FactKind]) {
    for kind in kinds {
        shared.board.forget((SourceId::Kafka(node), *kind));
    }
}

/// What this broker is asked here. In ZooKeeper mode it has no quorum, and what it says of topics'
/// configurations, or owes, outlasts the asker ([`super::zookeeper`]).
fn kinds(connection: &Connection) -> Vec<FactKind> {
    let kraft = is_kraft(connection);
    let elsewhere = [FactKind::Quorum, FactKind::TopicConfigs];
    let kinds = KINDS.into_iter();
    kinds
        .filter(|kind| kraft || !elsewhere.contains(kind))
        .collect()
}

/// One broker being asked.
struct Turn<'a> {
    shared: &'a Shared,
    node: NodeId,
    connection: Arc<Connection>,
    dues: Vec<Due>,
    topics: Vec<String>,
    /// The controller as this broker told it last; only ZooKeeper mode means it.
    controller: Option<NodeId>,
    /// Whether some ISR was short in its last table.
    short: bool,
    /// Everything that was heard so far counts no more.
    everything: watch::Receiver<u64>,
}

impl<'a> Turn<'a> {
    fn new(shared: &'a Shared, node: NodeId, connection: Arc<Connection>) -> Self {
        let now = shared.now();
        let kinds = kinds(&connection).into_iter();
        let dues = kinds.map(|kind| Due::now(kind, now)).collect();
        Self {
            shared,
            node,
            connection,
            dues,
            topics: Vec::new(),
            controller: None,
            short: false,
            everything: shared.wants.everything(),
        }
    }

    /// Asks whatever is due, in order of urgency, until the connection fails and no other has taken
    /// its place.
    async fn ask_on(&mut self) -> SourceFailure {
        loop {
            self.take_over();
            let connection = Arc::clone(&self.connection);
            let failure = tokio::select! {
                biased;
                failure = connection.closed() => Some(failure),
                () = self.step() => self.connection.failure(),
            };
            if let Some(failure) = failure
                && !self.take_over()
            {
                return failure;
            }
        }
    }

    /// Goes over to the connection that has followed this one, if one has; between two questions,
    /// so that no answer is lost.
    fn take_over(&mut self) -> bool {
        // One that follows a connection that broke is another matter: it may be another process.
        let replaced = match (self.connection.failure(), self.connection.lifetime()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(lifetime)) => Instant::now() >= lifetime.renew,
        };
        let newest = self.shared.connections().remove(&self.node);
        let newest = newest.filter(|newest| replaced && !Arc::ptr_eq(newest, &self.connection));
        let follows = newest.is_some();
        if let Some(newest) = newest {
            self.connection = newest;
        }
        follows
    }

    /// Asks what is due first, or waits for it.
    async fn step(&mut self) {
        let now = self.shared.now();
        let next = self.dues.iter().enumerate().min_by_key(|(_, due)| due.at());
        match next.map(|(index, due)| (index, due.at())) {
            None => sleep(NOBODY).await,
            Some((_, due)) if due > now => self.wait(due.since(now)).await,
            Some((index, _)) => self.ask(index).await,
        }
    }

    /// Waits; when somebody needs newer evidence, everything quick is due at once, or everything.
    async fn wait(&mut self, pause: Duration) {
        let quick = [FactKind::Cluster, FactKind::Partitions, FactKind::Quorum];
        let wanted: &[FactKind] = tokio::select! {
            biased;
            Ok(()) = self.everything.changed() => &KINDS,
            () = self.shared.wants.quick() => &quick,
            () = sleep(pause) => return,
        };
        let now = self.shared.now();
        for due in self
            .dues
            .iter_mut()
            .filter(|due| wanted.contains(&due.kind()))
        {
            due.hurry(now);
        }
    }

    async fn ask(&mut self, index: usize) {
        let Some(due) = self.dues.get(index) else {
            return;
        };
        let (kind, asked) = (due.kind(), self.shared.now());
        let facts = self
            .question(kind, deadline(kind, due.cost.largest()))
            .await;
        let (now, trip) = (self.shared.now(), self.shared.trip(self.node));
        if let Some(due) = self.dues.get_mut(index) {
            due.done(asked, now, trip, &facts);
            due.report(self.shared, self.node, 0, asked, facts);
        }
    }

    async fn question(&mut self, kind: FactKind, within: Duration) -> Result<Facts, SourceFailure> {
        match kind {
            FactKind::Cluster => {
                let answer = self.connection.describe_cluster(within).await?;
                self.shared.learn(|roster| roster.cluster(&answer.facts))?;
                self.controller = answer.facts.controller;
                Ok(Facts::Cluster(answer.facts))
            }
            FactKind::Partitions => {
                let answer = self.connection.metadata(within).await?;
                let table = Arc::new(answer.facts.table);
                self.notice_topics(&table);
                self.notice_repair(&table);
                self.shared.set_table(self.node, Some(Arc::clone(&table)));
                Ok(Facts::Partitions(table))
            }
            FactKind::Quorum => {
                let answer = self.connection.quorum(within).await?;
                self.shared.learn(|roster| roster.quorum(&answer.facts))?;
                Ok(Facts::Quorum(answer.facts))
            }
            FactKind::Moves => Ok(Facts::Moves(self.moves(within).await?)),
            FactKind::TopicConfigs => {
                let names: Vec<_> = self.topics.iter().map(String::as_str).collect();
                let answer = self.connection.topic_configs(&names, within).await?;
                Ok(Facts::TopicConfigs(Arc::new(answer.facts)))
            }
            FactKind::Link
            | FactKind::LogEnds
            | FactKind::NodeConfigs
            | FactKind::LogDirs
            | FactKind::Jmx
            | FactKind::Groups => unreachable_kind(kind),
        }
    }

    /// When every ISR is full again, exporters are asked at once: what their pages say from
    /// before would keep the gate shut for a whole scrape interval.
    fn notice_repair(&mut self, table: &PartitionTable) {
        let short = table
            .partitions()
            .any(|(_, p)| p.isr.len() < p.replicas.len());
        if self.short && !short {
            self.shared.want_pages();
        }
        self.short = short;
    }

    /// KRaft brokers forward this question to the controller; ZooKeeper-mode brokers do not, so it
    /// goes to the controller itself (error 41 NOT_CONTROLLER from any other, measured on 2.8.2).
    async fn moves(&self, within: Duration) -> Result<Moves, SourceFailure> {
        let forwarded = is_kraft(&self.connection);
        let controller = self.controller.filter(|_| !forwarded);
        let direct = controller.and_then(|node| self.shared.connections().get(&node).cloned());
        let answer = match direct {
            Some(controller) => controller.moves(within).await?,
            None => self.connection.moves(within).await?,
        };
        Ok(answer.facts)
    }

    /// A topic that comes or goes makes the topics' configurations due.
    fn notice_topics(&mut self, table: &PartitionTable) {
        let same = table.topics().len() == self.topics.len()
            && table
                .topics()
                .zip(&self.topics)
                .all(|(topic, name)| topic.name() == name);
        if !same {
            self.topics = table
                .topics()
                .map(|topic| topic.name().to_owned())
                .collect();
            let now = self.shared.now();
            for due in self
                .dues
                .iter_mut()
                .filter(|due| due.kind() == FactKind::TopicConfigs)
            {
                due.hurry(now);
            }
        }
    }
}

/// An asker's list holds only the kinds above; another one there is a bug, and a failed source.
fn unreachable_kind(kind: FactKind) -> Result<Facts, SourceFailure> {
    let class = crate::evidence::report::FailureClass::Unsupported;
    Err(SourceFailure::new(
        class,
        format!("an asker does not ask for {kind}"),
    ))
}
