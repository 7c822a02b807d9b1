//! One node's two connections. The liveness connection asks one small question twice a second,
//! so that an answer that is late means a node that is frozen, and a connection that closes
//! means a node that has died. Everything big goes over the bulk connection: a broker answers a
//! connection's questions in order and says nothing else meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, info};

use super::schedule::{Cost, deadline, interval, row};
use super::shared::Shared;
use crate::evidence::facts::{Facts, Identity, LinkFacts};
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, SourceFailure, SourceId};
use crate::kafka::{Connection, ConnectionSettings};
use crate::time::Mono;

/// Between two attempts to connect. Short: a node that is back should be seen back.
const RETRY: Duration = Duration::from_millis(250);

/// While a node's address is not known yet.
const NO_ADDRESS: Duration = Duration::from_millis(200);

/// Keeps the liveness connection of a node and reports every answer and every end.
pub async fn liveness(shared: Arc<Shared>, node: NodeId) {
    let source = SourceId::Kafka(node);
    let mut epoch = 0;
    loop {
        epoch += 1;
        let asked = shared.now();
        let failure = match open(&shared, node).await {
            Opened::Connected(connection, identity) => {
                debug!(%node, epoch, "the liveness connection is open");
                shared.want_pages();
                live(&shared, node, epoch, &connection, identity).await
            }
            Opened::Failed(failure) => failure,
            Opened::NoAddress => {
                sleep(NO_ADDRESS).await;
                continue;
            }
        };
        debug!(%node, epoch, %failure, "the liveness connection ended");
        shared.report_end(source.clone(), FactKind::Link, epoch, failure);
        let since = shared.now().since(asked);
        sleep(RETRY.saturating_sub(since).max(Duration::from_millis(20))).await;
    }
}

enum Opened {
    Connected(Arc<Connection>, Identity),
    Failed(SourceFailure),
    NoAddress,
}

/// Connects and lets the node prove who it is. A connection that cannot is not used.
async fn open(shared: &Shared, node: NodeId) -> Opened {
    let Some(address) = shared.address_of(node) else {
        return Opened::NoAddress;
    };
    let settings = ConnectionSettings {
        connect_deadline: row(FactKind::Link).deadline,
        negotiate_deadline: row(FactKind::Link).deadline,
        ..shared.settings.connection.clone()
    };
    let opened = Connection::open(&*shared.dial, &address, &settings).await;
    match prove(shared, node, opened, settings.negotiate_deadline).await {
        Ok((connection, identity)) => Opened::Connected(connection, identity),
        Err(failure) => Opened::Failed(failure),
    }
}

async fn prove(
    shared: &Shared,
    node: NodeId,
    opened: Result<Connection, SourceFailure>,
    within: Duration,
) -> Result<(Arc<Connection>, Identity), SourceFailure> {
    let connection = opened?;
    let identity = connection.prove_node(node, within).await?;
    if let Some(cluster) = shared.cluster_id() {
        connection.prove_cluster(&cluster, within).await?;
    }
    Ok((Arc::new(connection), identity))
}

/// Asks until the connection ends; says how it ended.
async fn live(
    shared: &Shared,
    node: NodeId,
    epoch: u64,
    connection: &Connection,
    identity: Identity,
) -> SourceFailure {
    let every = row(FactKind::Link).interval;
    let mut moved = std::pin::pin!(shared.moved(node, connection.address()));
    loop {
        let asked = shared.now();
        let question = connection.link(identity.clone(), row(FactKind::Link).deadline);
        let answer = tokio::select! {
            biased;
            failure = connection.closed() => return failure,
            answer = question => answer,
        };
        match answer {
            Ok(answer) => {
                let facts: LinkFacts = answer.facts;
                let source = SourceId::Kafka(node);
                let facts = Ok(Facts::Link(facts));
                shared.report(source, FactKind::Link, epoch, asked, every, facts);
            }
            Err(failure) => return failure,
        }
        let left = every.saturating_sub(shared.now().since(asked));
        tokio::select! {
            biased;
            failure = connection.closed() => return failure,
            failure = moved.as_mut() => return failure,
            () = shared.pause(left) => {}
        }
    }
}

/// Keeps the bulk connection of a node, for the askers and rounds, and asks over it what only
/// the node itself can say: its configuration, its log dirs.
pub async fn bulk(shared: Arc<Shared>, node: NodeId) {
    let mut epoch = 0;
    loop {
        epoch += 1;
        if let Opened::Connected(connection, _) = open(&shared, node).await {
            let failure = tokio::select! {
                biased;
                failure = connection.closed() => failure,
                failure = shared.moved(node, connection.address()) => failure,
                failure = own_facts(&shared, node, epoch, &connection) => failure,
            };
            shared.set_connection(node, None);
            info!(%node, %failure, "the bulk connection ended");
        }
        sleep(RETRY).await;
    }
}

/// Configuration and log dirs, each at its own pace, until the connection fails.
async fn own_facts(
    shared: &Shared,
    node: NodeId,
    epoch: u64,
    connection: &Arc<Connection>,
) -> SourceFailure {
    let mut registered = false;
    let mut configs = Due::now(FactKind::NodeConfigs, shared.now());
    let mut dirs = Due::now(FactKind::LogDirs, shared.now());
    let mut hosted = None;
    let mut everything = shared.wants.everything();
    loop {
        let broker = shared.is_broker(node);
        if broker && !registered {
            shared.set_connection(node, Some(Arc::clone(connection)));
            registered = true;
        }
        if matches!(everything.has_changed(), Ok(true)) {
            everything.mark_unchanged();
            configs.hurry(shared.now());
            dirs.hurry(shared.now());
        }
        if configs.is_due(shared.now()) {
            let asked = shared.now();
            let within = deadline(FactKind::NodeConfigs, configs.cost.largest());
            let answer = connection.node_configs(node, within).await;
            configs.done(asked, shared.now());
            if let Ok(answer) = &answer {
                shared.learn(|roster| roster.configs(&answer.facts));
            }
            let facts = answer.map(|answer| Facts::NodeConfigs(answer.facts));
            configs.report(shared, node, epoch, asked, facts);
        }
        // A broker whose replicas change is looked at again at once: what it hosts and what we
        // may see are compared.
        let now_hosted = shared.table().map(|table| table.len());
        if broker && (dirs.is_due(shared.now()) || now_hosted != hosted) {
            hosted = now_hosted;
            let asked = shared.now();
            let answer = connection
                .log_dirs(deadline(FactKind::LogDirs, dirs.cost.largest()))
                .await;
            dirs.done(asked, shared.now());
            let facts = answer.map(|answer| Facts::LogDirs(Arc::new(answer.facts)));
            dirs.report(shared, node, epoch, asked, facts);
        }
        if let Some(failure) = connection.failure() {
            return failure;
        }
        sleep(RETRY).await;
    }
}

/// When a fact is to be asked for next.
#[derive(Debug)]
pub struct Due {
    kind: FactKind,
    at: Mono,
    /// What its last answers took.
    pub cost: Cost,
}

impl Due {
    /// A fact that is due now.
    pub fn now(kind: FactKind, now: Mono) -> Self {
        Self {
            kind,
            at: now,
            cost: Cost::default(),
        }
    }

    /// Which fact.
    pub const fn kind(&self) -> FactKind {
        self.kind
    }

    /// When it is due.
    pub const fn at(&self) -> Mono {
        self.at
    }

    /// Makes it due now.
    pub const fn hurry(&mut self, now: Mono) {
        self.at = now;
    }

    /// Whether it is due.
    pub fn is_due(&self, now: Mono) -> bool {
        now >= self.at
    }

    /// Notes an answer (or a failure): the next one is due an interval after the question.
    pub fn done(&mut self, asked: Mono, now: Mono) {
        self.cost.note(now.since(asked));
        self.at = asked.plus(self.every());
    }

    /// The interval that follows from its cost.
    pub fn every(&self) -> Duration {
        interval(self.kind, self.cost.smallest())
    }

    /// Reports an answer under this fact's interval.
    pub fn report(
        &self,
        shared: &Shared,
        node: NodeId,
        epoch: u64,
        asked: Mono,
        facts: Result<Facts, SourceFailure>,
    ) {
        shared.report(
            SourceId::Kafka(node),
            self.kind,
            epoch,
            asked,
            self.every(),
            facts,
        );
    }
}
