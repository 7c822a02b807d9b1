//! Waiting for an answer that is worth more: `wait=` of `check`, `enter` and `leave`.
//!
//! A view that is published is no reason to ask the engine: the step that answers a question
//! publishes one, too. Asked again is when a view says something that was not said before, not more
//! often than twice a second for one request, and for all requests together only for a share of the
//! engine's time.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::app::App;
use super::asker::Asker;
use super::problem::Problem;
use crate::checks::finding::Subject;
use crate::checks::reason::{Reason, Severity};
use crate::engine::handle::GateHandle;
use crate::evidence::ids::NodeId;
use crate::gate::lease::{Stage, Token};
use crate::gate::parts::{NodeView, ReasonView};
use crate::gate::state::State;
use crate::gate::view::Answer;
use crate::metrics::counters::{Held, Refused};
use crate::time::Mono;

/// The shortest time between two questions of one request to the engine.
const APART: Duration = Duration::from_millis(500);

/// When the engine is asked again although no view says anything new: two nodes together may
/// become free by what no view shows, such as a topic that is deleted.
const ANYWAY: Duration = Duration::from_secs(2);

/// How old the moment may be that evidence has to be newer than when a request is asked again: whoever is
/// told "go" after a minute of waiting is told so on evidence of just now, as whoever asks only then. Not
/// anew each time: evidence that is asked for costs brokers more than the engine.
const RENEWED: Duration = Duration::from_secs(2);

/// Questions asked again cost the engine one part in so many of its time, however many wait.
const SHARE: u32 = 10;

impl App {
    /// Asks; while the answer is to be waited for, asks again until the deadline, or the end of
    /// this process or of the connection. Each time it is asked before whether they still may: an
    /// answer can be a lease. Where too many wait, at this address or at all, the first answer is given.
    /// `ask` is told what evidence has to be newer than.
    /// `free`: whether an answer costs nothing, because it is read from the view: then it is read
    /// from every view, and at the end as well.
    pub(super) async fn wait<T, F>(
        &self,
        gate: &GateHandle,
        deadline: Instant,
        free: bool,
        asker: &Asker<'_>,
        ask: impl Fn(Mono) -> F,
        waits: impl Fn(&T) -> bool,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Problem>>,
    {
        // Before the first question, so that no change falls between asking and waiting.
        let mut views = gate.published().subscribe();
        let mut said = self.said(gate);
        self.still_may(asker).await?;
        let mut asked = self.state.clock.now().mono;
        let mut answer = ask(asked).await?;
        if !waits(&answer) || deadline <= Instant::now() {
            return Ok(answer);
        }
        let http = &self.counters().http;
        let Some(_share) = self.peers.wait(asker.peer()) else {
            http.refused(Refused::WaitersOfPeer);
            return Ok(answer);
        };
        let Ok(_place) = self.waiters.try_acquire() else {
            http.waiters_refused.fetch_add(1, Ordering::Relaxed);
            return Ok(answer);
        };
        let _counted = Held::new(&http.waiters);
        loop {
            let again = async {
                if free {
                    // Without a writer nothing comes any more; the deadline does.
                    if views.changed().await.is_err() {
                        pending::<()>().await;
                    }
                } else {
                    self.worth_asking(gate, &mut views, &said).await;
                }
            };
            let again = tokio::select! {
                biased;
                () = self.stopping.cancelled() => false,
                () = asker.replaced().cancelled() => false,
                () = sleep_until(deadline) => false,
                () = again => true,
            };
            if !again && !free {
                return Ok(answer);
            }
            said = self.said(gate);
            self.still_may(asker).await?;
            asked = renewed(asked, self.state.clock.now().mono);
            answer = ask(asked).await?;
            if !again || !waits(&answer) {
                return Ok(answer);
            }
        }
    }

    fn said(&self, gate: &GateHandle) -> Said {
        let view = gate.published().load();
        Said::by(view.at(self.state.clock.now().mono))
    }

    /// Waits until the engine may have another answer, and until it is this request's turn.
    async fn worth_asking(&self, gate: &GateHandle, views: &mut watch::Receiver<u64>, said: &Said) {
        let asked = Instant::now();
        let news = async {
            while self.said(gate) == *said {
                if views.changed().await.is_err() {
                    pending::<()>().await;
                }
            }
        };
        let _ = timeout_at(asked + ANYWAY, news).await;
        sleep_until(asked + APART).await;
        let cost = self.counters().evaluation(gate.name()).unwrap_or_default();
        gate.turn_to_ask_again(cost.saturating_mul(SHARE)).await;
    }
}

fn renewed(asked: Mono, now: Mono) -> Mono {
    if now.since(asked) >= RENEWED {
        now
    } else {
        asked
    }
}

/// What a view says, but for what changes with every look: ages, measured values, progress.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    state: State,
    reasons: Vec<Why>,
    nodes: Vec<(NodeId, State, bool, Vec<Why>)>,
    leases: Vec<(Token, Stage)>,
    held: (bool, Vec<NodeId>),
}

type Why = (Reason, Severity, Subject, usize);

impl Said {
    /// Whether the view is in date does not matter: who asks gets no answer from it.
    fn by(answer: Answer<'_>) -> Self {
        let parts = answer.last_known();
        let why =
            |view: &ReasonView| (view.reason, view.severity, view.subject.clone(), view.count);
        let of_node = |node: &NodeView| {
            let reasons = node.reasons.iter().map(why).collect();
            (node.node, node.may_stop, node.down, reasons)
        };
        let leases = parts.leases.iter();
        Self {
            state: parts.state,
            reasons: parts.reasons.iter().map(why).collect(),
            nodes: parts.nodes.iter().map(of_node).collect(),
            leases: leases.map(|it| (it.lease.token, it.lease.stage)).collect(),
            held: (
                parts.hold.is_some(),
                parts.node_holds.keys().copied().collect(),
            ),
        }
    }
}
