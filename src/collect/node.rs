//! One node's two connections. The liveness connection asks one small question twice a second,
//! so that an answer that is late means a node that is frozen, and a connection that closes
//! means a node that has died. Everything big goes over the bulk connection: a broker answers a
//! connection's questions in order and says nothing else meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info};

use super::due::Due;
use super::renewal::renewal;
use super::schedule::{deadline, row};
use super::shared::Shared;
use crate::evidence::facts::{Facts, Identity, LinkFacts};
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use crate::kafka::{Connection, ConnectionSettings};

/// Between two attempts to connect. Short: a node that is back should be seen back.
const RETRY: Duration = Duration::from_millis(250);

/// How often a node is asked again to prove who it is, while we have no right to hear it.
const PROVE_AGAIN: Duration = Duration::from_secs(2);

/// While a node's address is not known yet.
const NO_ADDRESS: Duration = Duration::from_millis(200);

/// Keeps the liveness connection of a node and reports every answer and every end.
pub async fn liveness(shared: Arc<Shared>, node: NodeId) {
    let source = SourceId::Kafka(node);
    let mut epoch = 0;
    let mut heard = false;
    loop {
        epoch += 1;
        let asked = shared.now();
        let failure = match open(&shared, node).await {
            Opened::Connected(connection, identity) => {
                heard = true;
                debug!(gate = %shared.settings.gate, %node, epoch, "the liveness connection is open");
                shared.want_pages();
                live(&shared, node, epoch, connection, identity).await
            }
            Opened::Failed(failure) => failure,
            Opened::HungUp(failure) if heard || shared.settings.connection.login.is_some() => {
                failure
            }
            Opened::HungUp(failure) => login_wanted(failure),
            Opened::NoAddress => {
                sleep(NO_ADDRESS).await;
                continue;
            }
        };
        debug!(gate = %shared.settings.gate, %node, epoch, %failure, "the liveness connection ended");
        shared.report_end(source.clone(), FactKind::Link, epoch, failure);
        let since = shared.now().since(asked);
        sleep(RETRY.saturating_sub(since).max(Duration::from_millis(20))).await;
    }
}

pub(super) enum Opened {
    Connected(Arc<Connection>, Identity),
    Failed(SourceFailure),
    /// Versions were negotiated, and the connection was closed instead of the next answer.
    HungUp(SourceFailure),
    NoAddress,
}

/// A listener that wants a login negotiates versions with everybody and hangs up on whoever then
/// asks anything else. Of a node that was never heard that is no sign of its end: where it did end,
/// the next attempt is refused, and the gate, which has not heard it, is not open meanwhile.
pub(super) fn login_wanted(failure: SourceFailure) -> SourceFailure {
    SourceFailure::new(FailureClass::Authentication, failure.detail)
}

/// Connects and lets the node prove who it is. A connection that cannot is not used.
pub(super) async fn open(shared: &Shared, node: NodeId) -> Opened {
    let Some(address) = shared.address_of(node) else {
        return Opened::NoAddress;
    };
    let settings = ConnectionSettings {
        connect_deadline: row(FactKind::Link).deadline,
        negotiate_deadline: row(FactKind::Link).deadline,
        ..shared.settings.connection.clone()
    };
    let within = settings.negotiate_deadline;
    let connection = match Connection::open(&*shared.dial, &address, &settings).await {
        Ok(connection) => connection,
        Err(failure) => {
            if failure.class == FailureClass::Refused {
                shared.note_refusal(node);
            }
            return Opened::Failed(failure);
        }
    };
    let asked = shared.now();
    let identity = match connection.prove_node(node, within).await {
        Ok(identity) => identity,
        Err(failure) if failure.class == FailureClass::Closed => return Opened::HungUp(failure),
        Err(failure) => return Opened::Failed(failure),
    };
    // Nothing is asked over it before the way is known: its first answers would count as costly, and
    // the next ones come 15 s later.
    shared.note_trip(node, shared.now().since(asked));
    if let Some(cluster) = shared.cluster_id()
        && let Err(failure) = connection.prove_cluster(&cluster, within).await
    {
        return Opened::Failed(failure);
    }
    Opened::Connected(Arc::new(connection), identity)
}

/// Asks until the connection ends; says how it ended.
async fn live(
    shared: &Shared,
    node: NodeId,
    epoch: u64,
    mut connection: Arc<Connection>,
    mut identity: Identity,
) -> SourceFailure {
    let every = row(FactKind::Link).interval;
    let mut renewed = renewal(shared, node, &connection);
    let address = connection.address().clone();
    let mut moved = std::pin::pin!(shared.moved(node, &address));
    let mut proving = shared.now();
    loop {
        let asked = shared.now();
        // Rights may be granted later, and reach one node after the other.
        let unproven = matches!(identity, Identity::Unproven(_));
        if unproven && asked.since(proving) >= PROVE_AGAIN {
            proving = asked;
            match connection
                .prove_node(node, row(FactKind::Link).deadline)
                .await
            {
                Ok(proved) => identity = proved,
                Err(failure) => return failure,
            }
        }
        let question = connection.link(identity.clone(), row(FactKind::Link).deadline);
        let answer = tokio::select! {
            biased;
            failure = connection.closed() => return failure,
            answer = question => answer,
        };
        match answer {
            Ok(answer) => {
                let facts: LinkFacts = answer.facts;
                shared.note_trip(node, facts.round_trip);
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
            next = renewed.as_mut() => match next {
                // The old one still answered after the new one had proved whose it is: it is the
                // same life of the same node, and nobody has to hear of it.
                Ok((new, proved)) => {
                    (connection, identity) = (new, proved);
                    renewed = renewal(shared, node, &connection);
                }
                Err(failure) => return failure,
            },
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
            let address = connection.address().clone();
            let failure = tokio::select! {
                biased;
                failure = shared.moved(node, &address) => failure,
                failure = own_facts(&shared, node, epoch, connection) => failure,
            };
            shared.set_connection(node, None);
            info!(gate = %shared.settings.gate, %node, %failure, "the bulk connection ended");
        }
        sleep(RETRY).await;
    }
}

/// Configuration and log dirs, each at its own pace, until the connection fails. One whose session
/// ends is replaced before: the new one is registered first.
async fn own_facts(
    shared: &Shared,
    node: NodeId,
    epoch: u64,
    mut connection: Arc<Connection>,
) -> SourceFailure {
    let mut own = Own::new(shared, node, epoch);
    let mut renewed = renewal(shared, node, &connection);
    loop {
        own.register(&connection);
        tokio::select! {
            biased;
            failure = connection.closed() => return failure,
            () = own.ask(&connection) => {}
        }
        // Between two questions, so that no answer is lost.
        let next = tokio::select! {
            biased;
            failure = connection.closed() => return failure,
            next = renewed.as_mut() => Some(next),
            () = sleep(RETRY) => None,
        };
        match next {
            None => {}
            Some(Ok((new, _))) => {
                connection = new;
                own.registered = false;
                renewed = renewal(shared, node, &connection);
            }
            Some(Err(failure)) => return failure,
        }
    }
}

/// What only the node itself can say.
struct Own<'a> {
    shared: &'a Shared,
    node: NodeId,
    epoch: u64,
    registered: bool,
    configs: Due,
    dirs: Due,
    /// How many partitions there were when its log dirs were read.
    hosted: Option<usize>,
    everything: watch::Receiver<u64>,
}

impl<'a> Own<'a> {
    fn new(shared: &'a Shared, node: NodeId, epoch: u64) -> Self {
        Self {
            shared,
            node,
            epoch,
            registered: false,
            configs: Due::now(FactKind::NodeConfigs, shared.now()),
            dirs: Due::now(FactKind::LogDirs, shared.now()),
            hosted: None,
            everything: shared.wants.everything(),
        }
    }

    /// Hands a broker's connection to the askers and rounds.
    fn register(&mut self, connection: &Arc<Connection>) {
        if !self.registered && self.shared.is_broker(self.node) {
            let connection = Arc::clone(connection);
            self.shared.set_connection(self.node, Some(connection));
            self.registered = true;
        }
    }

    async fn ask(&mut self, connection: &Connection) {
        let shared = self.shared;
        if matches!(self.everything.has_changed(), Ok(true)) {
            self.everything.mark_unchanged();
            self.configs.hurry(shared.now());
            self.dirs.hurry(shared.now());
        }
        if self.configs.is_due(shared.now()) {
            self.ask_configs(connection).await;
        }
        // A broker whose replicas change is looked at again at once: what it hosts and what we
        // may see are compared.
        let hosted = shared.table().map(|table| table.len());
        let due = self.dirs.is_due(shared.now()) || hosted != self.hosted;
        if due && shared.is_broker(self.node) {
            self.hosted = hosted;
            self.ask_log_dirs(connection).await;
        }
    }

    async fn ask_configs(&mut self, connection: &Connection) {
        let shared = self.shared;
        let asked = shared.now();
        let within = deadline(FactKind::NodeConfigs, self.configs.cost.largest());
        let answer = connection.node_configs(self.node, within).await;
        let facts = answer.and_then(|answer| {
            shared.learn(|roster| roster.configs(self.node, &answer.facts))?;
            Ok(Facts::NodeConfigs(answer.facts))
        });
        let trip = shared.trip(self.node);
        self.configs.done(asked, shared.now(), trip, &facts);
        self.configs
            .report(shared, self.node, self.epoch, asked, facts);
    }

    async fn ask_log_dirs(&mut self, connection: &Connection) {
        let shared = self.shared;
        let asked = shared.now();
        let within = deadline(FactKind::LogDirs, self.dirs.cost.largest());
        let answer = connection.log_dirs(within).await;
        let facts = answer.map(|answer| Facts::LogDirs(Arc::new(answer.facts)));
        let (table, trip) = (shared.table(), shared.trip(self.node));
        self.dirs
            .done_beside(asked, shared.now(), trip, &facts, table.as_deref());
        self.dirs
            .report(shared, self.node, self.epoch, asked, facts);
    }
}
