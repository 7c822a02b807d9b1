//! Topics' configurations in ZooKeeper mode, and with them the only sign that Kafka's protocol gives of
//! ZooKeeper itself.
//!
//! There a broker reads them from ZooKeeper while it answers (`ZkConfigRepository.config`). Without a
//! connection it waits for one without end, on one of its request-handler threads
//! (`KafkaZkClient.retryRequestUntilConnected`, `ZooKeeperClient.waitUntilConnected`), whatever becomes of
//! the connection that the question came over. So a broker has one such question to answer at a time,
//! over a connection of its own: the others go on, and nobody gives it up who could not put it again.
//!
//! Without a quorum of ZooKeeper no session ends: the controller stays in office, ISRs stay full, and
//! nothing else changes in what brokers say, until one stops and nobody elects leaders.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::due::Due;
use super::node::{Opened, open};
use super::schedule::deadline;
use super::shared::Shared;
use crate::evidence::facts::Facts;
use crate::evidence::ids::NodeId;
use crate::evidence::partitions::PartitionTable;
use crate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use crate::kafka::Connection;
use crate::kafka::versions::DESCRIBE_QUORUM;
use crate::time::Mono;

/// How often it is looked whether something is to be asked.
const LOOK: Duration = Duration::from_millis(250);

/// From an answer to the next question, which is about one topic and costs one read of ZooKeeper.
pub const PROBE: Duration = Duration::from_secs(5);

/// A question that was not answered is not put again before so long after it was put: each may keep a
/// thread of the broker until ZooKeeper is back. After each further one it is twice as long.
pub const OWED: Duration = Duration::from_secs(300);

/// The longest of these pauses.
const OWED_AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// A broker that nobody asks any more is forgotten so long after.
const LEFT: Duration = Duration::from_secs(10);

/// So many topics have one deadline (`Connection::topic_configs` asks for them at once).
const TOPICS_AT_ONCE: usize = 1000;

/// A ZooKeeper-mode broker has no quorum to ask about, and says so.
pub fn is_kraft(connection: &Connection) -> bool {
    connection.versions().range(DESCRIBE_QUORUM.key).is_some()
}

/// Asks this broker while an asker asks it for the rest, and while it owes an answer; nothing on KRaft.
pub async fn run(shared: Arc<Shared>, node: NodeId) {
    let mut topics = Topics::new(&shared, node);
    loop {
        topics.look().await;
        sleep(LOOK).await;
    }
}

/// A question that was not answered before its connection ended.
#[derive(Clone, Copy, Debug)]
struct Owed {
    asked: Mono,
    until: Mono,
}

/// One broker's topics.
struct Topics<'a> {
    shared: &'a Shared,
    node: NodeId,
    connection: Option<Arc<Connection>>,
    names: Arc<Vec<String>>,
    /// When all topics are asked for.
    all: Due,
    /// When one of them is.
    one: Mono,
    owed: Option<Owed>,
    /// How long the next question that is not answered is owed.
    pause: Duration,
    /// What was reported last: whether it was an answer.
    told: Option<bool>,
    /// Since when nobody asks this broker.
    left: Option<Mono>,
    everything: watch::Receiver<u64>,
}

impl<'a> Topics<'a> {
    fn new(shared: &'a Shared, node: NodeId) -> Self {
        let now = shared.now();
        Self {
            shared,
            node,
            connection: None,
            names: Arc::default(),
            all: Due::now(FactKind::TopicConfigs, now),
            one: now,
            owed: None,
            pause: OWED,
            told: None,
            left: None,
            everything: shared.wants.everything(),
        }
    }

    /// Asks what is due, if it may.
    async fn look(&mut self) {
        let now = self.shared.now();
        if let Some(owed) = self.owed {
            if self.is_another_process(owed.asked) {
                self.pause = OWED;
            } else if now < owed.until {
                return;
            }
            self.owed = None;
            self.all.hurry(now);
        }
        let Some(table) = self.wanted() else {
            self.leave(now);
            return;
        };
        self.left = None;
        self.notice(&table, now);
        let all = self.all.is_due(now);
        // What failed is asked for at its own pace.
        let one = now >= self.one && self.told == Some(true);
        if !all && !one {
            return;
        }
        match self.connected().await {
            Some(Ok(connection)) => self.ask(&connection, all).await,
            Some(Err(failure)) => self.heard(self.shared.now(), true, Err(failure)),
            None => {}
        }
    }

    /// The table of a ZooKeeper-mode broker that an asker asks.
    fn wanted(&self) -> Option<Arc<PartitionTable>> {
        let connection = self.shared.connection_of(self.node)?;
        let table = self.shared.table_of(self.node);
        table.filter(|_| !is_kraft(&connection))
    }

    /// Nobody asks it any more; where it owes nothing, what it said is forgotten. After a migration an
    /// asker's own reports have taken the place.
    fn leave(&mut self, now: Mono) {
        let connection = self.shared.connection_of(self.node);
        if connection.is_some_and(|connection| is_kraft(&connection)) {
            self.told = None;
        }
        let since = *self.left.get_or_insert(now);
        if now.since(since) < LEFT {
            return;
        }
        self.connection = None;
        if self.told.take().is_some() {
            let slot = (SourceId::Kafka(self.node), FactKind::TopicConfigs);
            self.shared.board.forget(slot);
            self.all = Due::now(FactKind::TopicConfigs, now);
        }
    }

    /// Topics that come or go make all of them due, as does a wish for everything.
    fn notice(&mut self, table: &PartitionTable, now: Mono) {
        let names = || table.topics().map(|topic| topic.name());
        if !names().eq(self.names.iter().map(String::as_str)) {
            self.names = Arc::new(names().map(str::to_owned).collect());
            self.all.hurry(now);
        }
        if matches!(self.everything.has_changed(), Ok(true)) {
            self.everything.mark_unchanged();
            self.all.hurry(now);
        }
    }

    /// The connection in use, or a new one; `None` while there is no address.
    async fn connected(&mut self) -> Option<Result<Arc<Connection>, SourceFailure>> {
        let address = self.shared.address_of(self.node);
        let usable = |kept: &Arc<Connection>| {
            let session = kept.lifetime();
            kept.failure().is_none()
                && session.is_none_or(|session| Instant::now() < session.renew)
                && address.as_ref() == Some(kept.address())
        };
        if let Some(kept) = self.connection.take().filter(usable) {
            self.connection = Some(Arc::clone(&kept));
            return Some(Ok(kept));
        }
        match open(self.shared, self.node).await {
            Opened::Connected(connection, _) => {
                self.connection = Some(Arc::clone(&connection));
                Some(Ok(connection))
            }
            Opened::Failed(failure) | Opened::HungUp(failure) => Some(Err(failure)),
            Opened::NoAddress => None,
        }
    }

    /// Asks for all topics or for the first, and waits as long as an answer can still come.
    async fn ask(&mut self, connection: &Connection, all: bool) {
        let asked = self.shared.now();
        let topics = Arc::clone(&self.names);
        let count = if all { topics.len() } else { 1 };
        let names: Vec<_> = topics.iter().take(count).map(String::as_str).collect();
        let chunks = u32::try_from(names.len().div_ceil(TOPICS_AT_ONCE)).unwrap_or(u32::MAX);
        let within = deadline(FactKind::TopicConfigs, Duration::ZERO).saturating_mul(chunks.max(1));
        let mut question = pin!(connection.topic_configs(&names, self.pause));
        let answer = if let Ok(answer) = timeout(within, &mut question).await {
            Some(answer)
        } else {
            let why = format!("in {} s", within.as_secs());
            self.tell_owed(asked, FailureClass::Timeout, &why);
            tokio::select! {
                biased;
                answer = &mut question => Some(answer),
                () = self.another_process(asked) => None,
            }
        };
        match answer {
            None => {
                self.connection = None;
                self.pause = OWED;
                self.all.hurry(self.shared.now());
            }
            Some(Err(failure)) if !is_answer(failure.class) => self.owe(asked, &failure),
            Some(answer) => {
                let facts = answer.map(|answer| Facts::TopicConfigs(Arc::new(answer.facts)));
                self.heard(asked, all, facts);
            }
        }
    }

    /// Nobody can say whether the broker still works at it.
    fn owe(&mut self, asked: Mono, failure: &SourceFailure) {
        self.connection = None;
        self.owed = Some(Owed {
            asked,
            until: asked.plus(self.pause),
        });
        self.pause = self.pause.saturating_mul(2).min(OWED_AT_MOST);
        self.tell_owed(asked, failure.class, &format!("({})", failure.detail));
    }

    fn tell_owed(&mut self, asked: Mono, class: FailureClass, why: &str) {
        let node = self.node;
        let detail = format!(
            "no answer to DescribeConfigs of topics {why}; ZooKeeper may be out of reach of broker {node}"
        );
        warn!(gate = %self.shared.settings.gate, %node, "{detail}");
        self.tell(asked, Err(SourceFailure::new(class, detail)));
    }

    /// Something was answered, or nothing could be asked.
    fn heard(&mut self, asked: Mono, all: bool, facts: Result<Facts, SourceFailure>) {
        let now = self.shared.now();
        self.one = now.plus(PROBE);
        if facts.is_ok() {
            self.pause = OWED;
        }
        if all {
            self.all
                .done(asked, now, self.shared.trip(self.node), &facts);
            self.tell(asked, facts);
            return;
        }
        // That one topic was described stands for nothing but ZooKeeper; what it does not show is
        // found out about all.
        let good = matches!(&facts, Ok(Facts::TopicConfigs(configs)) if configs.hidden.is_empty());
        if !good || self.told != Some(true) {
            self.all.hurry(now);
        }
    }

    fn tell(&mut self, asked: Mono, facts: Result<Facts, SourceFailure>) {
        let good = facts.is_ok();
        if good && self.told == Some(false) {
            info!(gate = %self.shared.settings.gate, node = %self.node, "the configuration of topics is told again");
        }
        self.told = Some(good);
        self.all.report(self.shared, self.node, 0, asked, facts);
    }

    /// The process that was asked is gone, and with it the thread that waits.
    fn is_another_process(&self, asked: Mono) -> bool {
        self.shared.was_refused_since(self.node, asked)
    }

    async fn another_process(&self, asked: Mono) {
        while !self.is_another_process(asked) {
            sleep(LOOK).await;
        }
    }
}

/// The broker has done with the question, or was never asked.
const fn is_answer(class: FailureClass) -> bool {
    match class {
        FailureClass::Authentication
        | FailureClass::Authorization
        | FailureClass::Malformed
        | FailureClass::Kafka(_)
        | FailureClass::TooLarge(_)
        | FailureClass::Throttled
        | FailureClass::Unsupported => true,
        FailureClass::Resolve
        | FailureClass::Refused
        | FailureClass::ConnectTimeout
        | FailureClass::Closed
        | FailureClass::Timeout
        | FailureClass::Tls
        | FailureClass::HttpStatus(_)
        | FailureClass::NotKafkaMetrics
        | FailureClass::Cut
        | FailureClass::WrongNode
        | FailureClass::WrongCluster
        | FailureClass::OwnFile => false,
    }
}

#[cfg(test)]
#[path = "zookeeper_tests.rs"]
mod tests;
