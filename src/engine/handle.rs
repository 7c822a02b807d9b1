//! How the rest of the program talks to a gate's engine.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::evidence::ids::NodeId;
use crate::gate::question::{Answered, Command, Question, Repair, Reply};
use crate::gate::state::GateName;
use crate::view::Published;

/// How many questions may wait for one engine; more are refused at once.
pub const QUEUE: usize = 64;

/// A question on its way to the engine.
#[derive(Debug)]
pub struct Ask {
    /// The question.
    pub command: Command,
    /// Where its answer goes.
    pub reply: oneshot::Sender<Reply>,
    /// Its asker's share of the queue, until it is out of it.
    pub room: Room,
}

/// What a question gives back once it is out of the queue, taken by the engine or not.
#[derive(Debug, Default)]
pub struct Room {
    _held: Option<Box<dyn Any + Send>>,
}

impl Room {
    /// Drops this when the question is out of the queue.
    pub fn of(share: impl Any + Send) -> Self {
        Self {
            _held: Some(Box::new(share)),
        }
    }
}

/// Why a question was not answered. All of them mean "not open".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many questions wait.
    #[error("too many questions wait for this gate; ask again in a few seconds")]
    Busy,
    /// Too many questions of one address wait.
    #[error("too many questions of this address wait; ask again in a few seconds")]
    BusyForPeer,
    /// The engine does not run now.
    #[error("this gate's engine does not run now; ask again in a few seconds")]
    Gone,
    /// No answer within the time given: the evidence asked for did not come.
    #[error("no answer within {0:?}: the evidence asked for did not come")]
    Late(Duration),
}

/// Machines by name, and the nodes on each.
pub type Hosts = BTreeMap<String, BTreeSet<NodeId>>;

/// One gate, as the server and the metrics see it.
#[derive(Clone, Debug)]
pub struct GateHandle {
    name: GateName,
    published: Arc<Published>,
    asks: mpsc::Sender<Ask>,
    hosts: Arc<Hosts>,
    /// When a question was asked again last, for somebody who waits.
    again: Arc<Mutex<Option<Instant>>>,
}

impl GateHandle {
    /// A handle on an engine that reads `asks`, and the engine's end of it.
    pub fn new(name: GateName, published: Arc<Published>) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, inbox) = mpsc::channel(QUEUE);
        (
            Self {
                name,
                published,
                asks,
                hosts: Arc::default(),
                again: Arc::default(),
            },
            inbox,
        )
    }

    /// The same, with machines that callers may name in place of their nodes.
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self {
            hosts: Arc::new(hosts),
            ..self
        }
    }

    /// The machines that callers may name.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The gate's name.
    pub const fn name(&self) -> &GateName {
        &self.name
    }

    /// The published view.
    pub const fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Asks the engine itself: for a set of nodes, or for evidence newer than a moment.
    pub async fn decide(
        &self,
        question: Question,
        within: Duration,
        room: Room,
    ) -> Result<Answered, AskError> {
        self.verdict(Command::Decide(question), within, room).await
    }

    /// Asks the engine whether a repair may begin.
    pub async fn decide_repair(
        &self,
        repair: Repair,
        within: Duration,
        room: Room,
    ) -> Result<Answered, AskError> {
        let command = Command::DecideRepair(repair);
        self.verdict(command, within, room).await
    }

    async fn verdict(
        &self,
        command: Command,
        within: Duration,
        room: Room,
    ) -> Result<Answered, AskError> {
        match self.ask_in(room, command, within).await? {
            Reply::Verdict(answered) => Ok(answered),
            Reply::Verdicts(_)
            | Reply::Go { .. }
            | Reply::Over(_)
            | Reply::Changed(_)
            | Reply::Refused(_) => Err(AskError::Gone),
        }
    }

    /// Asks the engine for several sets of nodes at once: one judgement for all of them.
    pub async fn decide_each(
        &self,
        sets: Vec<BTreeSet<NodeId>>,
        within: Duration,
        room: Room,
    ) -> Result<Vec<Answered>, AskError> {
        let asked = sets.len();
        match self.ask_in(room, Command::DecideEach(sets), within).await? {
            Reply::Verdicts(answered) if answered.len() == asked => Ok(answered),
            Reply::Verdicts(_)
            | Reply::Verdict(_)
            | Reply::Go { .. }
            | Reply::Over(_)
            | Reply::Changed(_)
            | Reply::Refused(_) => Err(AskError::Gone),
        }
    }

    /// Waits for a turn to ask again on behalf of somebody who waits. However many wait, their
    /// questions come one after the other and `apart` from each other: the engine's time for them
    /// is bounded. First come, first served.
    pub async fn turn_to_ask_again(&self, apart: Duration) {
        let mut last = self.again.lock().await;
        if let Some(at) = *last {
            sleep_until(at + apart).await;
        }
        *last = Some(Instant::now());
    }

    /// Asks the engine for something only it can do.
    pub async fn ask(&self, command: Command, within: Duration) -> Result<Reply, AskError> {
        self.ask_in(Room::default(), command, within).await
    }

    /// The same for somebody who has a share of the queue.
    pub async fn ask_in(
        &self,
        room: Room,
        command: Command,
        within: Duration,
    ) -> Result<Reply, AskError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            command,
            reply,
            room,
        };
        self.asks.try_send(ask).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::Gone,
        })?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(AskError::Gone),
            Err(_) => Err(AskError::Late(within)),
        }
    }
}
