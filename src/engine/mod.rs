//! One task per gate owns its Machine: drain the board, step, carry out effects. The Machine
//! decides; nothing here does.
//!
//! A task that ends or panics leaves its gate `unknown` (`engine_failed`) and is started again
//! from the store, with a pause that grows; other gates do not notice.

mod flight;
pub mod handle;
mod pause;
mod refresh;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::checks::reason::Reason;
use crate::clock::Clock;
use crate::collect::board::{Batch, Board};
use crate::collect::wants::Wants;
use crate::evidence::policy::Policy;
use crate::evidence::report::Wanted;
use crate::gate::doc::Stored;
use crate::gate::keep::CommitId;
use crate::gate::lease::LeaseId;
use crate::gate::machine::{Effect, Input, Machine};
use crate::gate::question::{Reply, Ticket};
use crate::gate::state::{GateName, State};
use crate::gate::view::View;
use crate::metrics::counters::Counters;
use crate::store::{Job, Writer};
use crate::time::Mono;
use crate::view::Published;
use flight::Flights;
use handle::Ask;
use refresh::Refreshes;

/// Good news waits until an evaluation has cost at most this share of the time.
const SHARE: u32 = 5;

/// The longest pause before an engine that failed is started again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Everything one gate's engine works with.
#[derive(Debug)]
pub struct Engine {
    /// The gate.
    pub gate: GateName,
    /// Its newest policy.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Where reports come from.
    pub board: Arc<Board>,
    /// Where views go.
    pub published: Arc<Published>,
    /// What keeps its document.
    pub store: Writer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to the collectors when evidence is wanted sooner than its pace brings it.
    pub wants: Arc<Wants>,
    /// What a watchdog wants to know of it.
    pub pulse: Arc<Pulse>,
    /// Where the cost of each judgement is noted.
    pub counters: Arc<Counters>,
}

/// Signs of life of one engine.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Grows with every step, so that a watchdog sees progress and not a timer.
    pub steps: AtomicU64,
    /// How often the engine had to be started again.
    pub failures: AtomicU64,
    /// How often evidence was wanted sooner than its pace brings it.
    pub refreshes: AtomicU64,
}

impl Engine {
    /// Runs until `shutdown`, starting again after every failure.
    pub async fn run(self, asks: mpsc::Receiver<Ask>, shutdown: CancellationToken) {
        let engine = Arc::new(self);
        // Behind a lock only so that it outlives a life that panics.
        let asks = Arc::new(Mutex::new(asks));
        let mut backoff = Duration::from_millis(100);
        loop {
            let (life, inbox) = (Arc::clone(&engine), Arc::clone(&asks));
            let stop = shutdown.clone();
            let task = tokio::spawn(async move { life.live(&mut *inbox.lock().await, stop).await });
            let (reason, why) = match task.await {
                Ok(Ok(())) => return,
                // Leases and holds that nobody knows may stand: nothing is open until they are read.
                Ok(Err(why)) => (Reason::StoreUnavailable, why),
                Err(panic) => (Reason::EngineFailed, panic.to_string()),
            };
            engine.pulse.failures.fetch_add(1, Ordering::Relaxed);
            error!(gate = %engine.gate, %reason, why, "the engine cannot go on; it is started again");
            let now = engine.clock.now();
            let view = View::nothing(engine.gate.clone(), now, reason, &why);
            engine.published.publish(Arc::new(view));
            // Nobody takes what waits: whoever asked hears so at once.
            let mut waiting = asks.lock().await;
            while waiting.try_recv().is_ok() {}
            drop(waiting);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = backoff.saturating_mul(2).min(LONGEST_BACKOFF);
        }
    }

    async fn live(
        &self,
        asks: &mut mpsc::Receiver<Ask>,
        shutdown: CancellationToken,
    ) -> Result<(), String> {
        let mut policy = self.policy.clone();
        let (revision, doc) = self.store.load(self.gate.clone()).await?;
        let current = Arc::clone(&policy.borrow_and_update());
        let machine = Machine::restore(self.gate.clone(), current, revision, doc, self.clock.now());
        let (done, mut stored) = mpsc::unbounded_channel();
        let mut life = Life {
            engine: self,
            machine,
            done,
            waiting: BTreeMap::new(),
            next: 0,
            flights: Flights::default(),
            refreshes: Refreshes::default(),
        };
        life.step(evidence(self.board.replay()));
        let mut last_state = State::Unknown;
        loop {
            life.log_change(&mut last_state);
            let wake = life.machine.next_deadline();
            let (refresh, overdue) = (life.refreshes.due(), life.flights.overdue());
            let input = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.board.changed() => life.evidence().await,
                Some(ask) = asks.recv() => life.register(ask),
                Some((id, result)) = stored.recv() => {
                    life.flights.landed(id);
                    if let Stored::Written(revision) = &result
                        && !life.waiting.is_empty()
                    {
                        pause::point(pause::STORED, *revision);
                    }
                    Input::Stored(id, result)
                }
                Ok(()) = policy.changed() => Input::Policy(Arc::clone(&policy.borrow_and_update())),
                () = self.sleep_until(wake) => Input::Wake,
                () = self.sleep_until(refresh), if refresh.is_some() => {
                    life.want(Wanted::Quick);
                    continue;
                }
                () = self.sleep_until(overdue), if overdue.is_some() => {
                    match life.flights.give_up() {
                        Some((id, result)) => Input::Stored(id, result),
                        None => continue,
                    }
                }
            };
            life.step(input);
            while life.more_waits() {
                life.step(self.take());
            }
        }
    }

    /// What is on the board.
    fn take(&self) -> Input {
        let batch = self.board.take();
        self.counters.untaken.count(&self.gate, &batch.reports);
        evidence(batch)
    }

    async fn sleep_until(&self, deadline: Option<Mono>) {
        let deadline = deadline.unwrap_or_else(|| self.clock.now().mono.plus(LONGEST_BACKOFF));
        tokio::time::sleep(deadline.since(self.clock.now().mono)).await;
    }
}

/// One life of an engine: a Machine, and those who wait for its answers.
struct Life<'a> {
    engine: &'a Engine,
    machine: Machine,
    done: mpsc::UnboundedSender<(CommitId, Stored)>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    next: u64,
    flights: Flights,
    refreshes: Refreshes,
}

impl Life<'_> {
    /// Picks up what is on the board. Good news may gather for a moment where judging is costly
    /// (tens of thousands of partitions); a failure never waits.
    async fn evidence(&self) -> Input {
        let cost = self.engine.counters.evaluation(&self.engine.gate);
        let cost = cost.unwrap_or_default();
        let pause = cost.saturating_mul(SHARE).min(Duration::from_millis(250));
        let until = self.engine.clock.now().mono.plus(pause);
        while !self.engine.board.is_urgent() {
            let left = until.since(self.engine.clock.now().mono);
            if left < Duration::from_millis(1) {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => break,
                () = self.engine.board.changed() => {}
            }
        }
        self.engine.take()
    }

    fn register(&mut self, ask: Ask) -> Input {
        let ticket = Ticket(self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.retain(|_, reply| !reply.is_closed());
        self.waiting.insert(ticket, ask.reply);
        self.refreshes.asked(&ask.command);
        Input::Ask(ticket, ask.command)
    }

    fn more_waits(&self) -> bool {
        self.engine.board.is_urgent()
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            inputs.extend(self.judge(input).into_iter().map(Input::Unheard));
        }
    }

    /// Judges once; the leases whose "go" has reached nobody.
    fn judge(&mut self, input: Input) -> Vec<LeaseId> {
        let start = self.engine.clock.now();
        let mut effects = Vec::new();
        self.machine.step(start, input, &mut effects);
        // The view first: whoever is answered finds in it what the answer is about.
        effects.sort_by_key(|effect| !matches!(effect, Effect::Publish(_)));
        let mut unheard = Vec::new();
        for effect in effects {
            unheard.extend(self.carry_out(start.mono, effect));
        }
        let cost = self.engine.clock.now().mono.since(start.mono);
        self.engine.pulse.steps.fetch_add(1, Ordering::Relaxed);
        self.engine.counters.evaluated(&self.engine.gate, cost);
        unheard
    }

    fn want(&mut self, wanted: Wanted) {
        self.refreshes.done(self.engine.clock.now().mono);
        self.engine.pulse.refreshes.fetch_add(1, Ordering::Relaxed);
        self.engine.wants.want(wanted);
    }

    /// Does it; the lease whose "go" has reached nobody, where it was one.
    fn carry_out(&mut self, now: Mono, effect: Effect) -> Option<LeaseId> {
        match effect {
            Effect::Publish(view) => self.engine.published.publish(view),
            Effect::Reply(ticket, reply) => return say(self.waiting.remove(&ticket), reply),
            Effect::Refresh(wanted) => {
                if self.refreshes.is_wanted(now, wanted) {
                    self.want(wanted);
                }
            }
            Effect::Commit {
                id,
                expect,
                doc,
                events,
            } => {
                let job = Job {
                    gate: self.engine.gate.clone(),
                    id,
                    expect,
                    doc,
                    events,
                    done: self.done.clone(),
                };
                match self.flights.take_off(now, id) {
                    Ok(()) => self.engine.store.write(job),
                    Err(why) => {
                        // The receiver is this engine's own, and lives as long as it.
                        let _ = self.done.send((id, Stored::Refused(why.to_owned())));
                    }
                }
            }
        }
        None
    }

    fn log_change(&self, last: &mut State) {
        let view = self.engine.published.load();
        let answer = view.at(self.engine.clock.now().mono);
        if answer.state() != *last {
            *last = answer.state();
            let reasons: Vec<_> = answer
                .reasons()
                .iter()
                .map(|reason| reason.reason.code())
                .take(8)
                .collect();
            info!(gate = %self.engine.gate, state = %last, ?reasons, "the verdict changed");
        }
    }
}

/// Answers whoever asked, unless they have given up; the lease whose "go" has reached nobody. An
/// answer that was handed over may have been read, whatever became of the reader since.
fn say(asker: Option<oneshot::Sender<Reply>>, reply: Reply) -> Option<LeaseId> {
    let unheard = match asker {
        Some(asker) => asker.send(reply).err()?,
        None => reply,
    };
    match unheard {
        Reply::Go { lease, .. } => Some(lease.id),
        Reply::Verdict(_)
        | Reply::Verdicts(_)
        | Reply::Over(_)
        | Reply::Changed(_)
        | Reply::Refused(_) => None,
    }
}

fn evidence(batch: Batch) -> Input {
    Input::Evidence {
        reports: batch.reports,
        dropped: batch.dropped,
    }
}
