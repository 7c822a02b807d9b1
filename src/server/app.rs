//! What the server answers from, and the answer to each route.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accept::prefer;
use super::access::Access;
use super::access_log::Refusals;
use super::asker::Asker;
use super::body::{CheckBody, GateBody, GatesBody, HistoryBody};
use super::check::Rendered;
use super::peers::Peers;
use super::problem::Problem;
use super::query::HistoryQuery;
use super::readiness::Readiness;
use super::reply::{Content, Reply, STATE, UNKNOWN};
use super::route::Route;
use super::turns::Turns;
use super::verdict::Verdict;
use super::{Limits, Shape, openapi, page, text};
use crate::clock::Clock;
use crate::engine::handle::{AskError, GateHandle, Room};
use crate::gate::event::Event;
use crate::gate::state::GateName;
use crate::gate::view::View;
use crate::metrics::counters::{Counters, Refused};
use crate::metrics::{Format, Gates, Metrics};
use crate::time::Now;

/// Loads the configuration anew and says what became of it. Runs to its end even when the caller
/// goes away.
pub type Reload = Arc<dyn Fn() -> ReloadFuture + Send + Sync>;

/// What a [`Reload`] returns: what was done, or why nothing was done.
pub type ReloadFuture = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Reads a gate's history: entries with a number below one, the newest first, so many at most.
pub type History = Arc<dyn Fn(GateName, Option<u64>, usize) -> HistoryFuture + Send + Sync>;

/// What a [`History`] returns: the entries, or why they cannot be read now.
pub type HistoryFuture = Pin<Box<dyn Future<Output = Result<Vec<Event>, NoHistory>> + Send>>;

/// Why a history cannot be read now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHistory {
    /// Too many read.
    #[error("too many requests wait for the store; ask again")]
    Busy,
    /// The store says so.
    #[error("{0}")]
    Failed(String),
}

/// What the server reads and calls.
#[derive(Clone)]
pub struct AppState {
    /// Every gate.
    pub gates: Gates,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// `/metrics`, and the counters in it.
    pub metrics: Arc<Metrics>,
    /// Whether every gate has judged.
    pub readiness: Arc<Readiness>,
    /// What `/-/reload` calls; `None`: it is off.
    pub reload: Option<Reload>,
    /// Where the history comes from.
    pub history: History,
    /// Who may ask what.
    pub access: Arc<Access>,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState")
            .field("gates", &self.gates)
            .field("readiness", &self.readiness)
            .field("reload", &self.reload.is_some())
            .finish_non_exhaustive()
    }
}

/// The state of one server.
pub(super) struct App {
    pub(super) state: AppState,
    pub(super) limits: Limits,
    pub(super) waiters: Semaphore,
    pub(super) stopping: CancellationToken,
    pub(super) rendered: Rendered,
    pub(super) turns: Turns,
    pub(super) peers: Arc<Peers>,
    pub(super) access: Arc<Access>,
    pub(super) refusals: Refusals,
}

impl App {
    pub(super) fn counters(&self) -> &Counters {
        self.state.metrics.counters()
    }

    /// What is asked, by somebody who may.
    pub(super) async fn dispatch(&self, route: Route, asker: &Asker<'_>) -> Result<Reply, Problem> {
        let headers = asker.headers();
        let now = self.state.clock.now();
        let ok = |content: Content| Ok(content.reply(StatusCode::OK));
        match route {
            Route::Page => ok(Content::html(page::page(&self.views(), now))),
            Route::Metrics => self.metrics(headers),
            Route::Healthy => ok(Content::text("upgrade-gate is healthy.\n")),
            Route::Ready => Ok(self.ready()),
            Route::Reload => self.reload().await,
            Route::OpenApi => Ok(openapi::reply()),
            Route::Gates => ok(Content::json(&self.list(now))),
            Route::Document(name) => ok(document(&self.gate(&name)?, now, shape(headers))),
            Route::Plan(name) => {
                let gate = self.gate(&name)?;
                ok(self.plan(&gate, asker.peer()).await)
            }
            Route::History(name, query) => {
                self.gate(&name)?;
                ok(Content::json(&self.history(name, query).await?))
            }
            Route::Check(name, query) => {
                let gate = self.gate(&name)?;
                self.check(&gate, query, shape(headers), asker).await
            }
            Route::Leases(name) => Ok(self.leases(&self.gate(&name)?)),
            Route::Enter(name, query) => {
                let gate = self.gate(&name)?;
                self.enter(&gate, &query, shape(headers), asker).await
            }
            Route::Leave(name, query) => {
                let gate = self.gate(&name)?;
                self.leave(&gate, &query, shape(headers), asker).await
            }
            Route::Change(name, change) => {
                let gate = self.gate(&name)?;
                self.change(&gate, change, asker.peer()).await
            }
        }
    }

    fn gate(&self, name: &GateName) -> Result<GateHandle, Problem> {
        let gates = self.state.gates.load();
        gates.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = gates.keys().map(GateName::as_str).collect();
            Problem::not_found(format!(
                "no gate is called {name}; there is {}",
                known.join(", ")
            ))
        })
    }

    /// Asks a gate's engine for somebody at this address, where there is room for one more question;
    /// counts those for which there is none.
    pub(super) async fn heard<T, F>(
        &self,
        gate: &GateName,
        peer: IpAddr,
        ask: impl FnOnce(Room) -> F,
    ) -> Result<T, AskError>
    where
        F: Future<Output = Result<T, AskError>>,
    {
        let answered = match self.peers.ask(peer, gate) {
            Some(place) => ask(Room::of(place)).await,
            None => Err(AskError::BusyForPeer),
        };
        let http = &self.counters().http;
        answered.inspect_err(|why| match why {
            AskError::Busy => http.refused(Refused::EngineQueue),
            AskError::BusyForPeer => http.refused(Refused::EngineQueueOfPeer),
            AskError::Gone | AskError::Late(_) => {}
        })
    }

    async fn history(&self, gate: GateName, query: HistoryQuery) -> Result<HistoryBody, Problem> {
        let late = |_| {
            Err(NoHistory::Failed(format!(
                "the store did not answer within {:?}",
                self.limits.decide
            )))
        };
        let entries = (self.state.history)(gate.clone(), query.before, query.limit);
        let entries = timeout(self.limits.decide, entries).await;
        entries
            .unwrap_or_else(late)
            .map(|entries| HistoryBody::new(&gate, entries, query.limit))
            .map_err(|why| {
                if why == NoHistory::Busy {
                    self.counters().http.refused(Refused::HistoryReaders);
                }
                Problem::unavailable("the history cannot be read now", why.to_string())
            })
    }

    fn views(&self) -> Vec<Arc<View>> {
        let gates = self.state.gates.load();
        gates.values().map(|gate| gate.published().load()).collect()
    }

    fn list(&self, now: Now) -> GatesBody {
        let verdict = |view: &Arc<View>| Verdict::of_view(view.at(now.mono));
        let views = self.views();
        GatesBody {
            gates: views
                .iter()
                .map(|view| CheckBody::new(&verdict(view), now))
                .collect(),
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Result<Reply, Problem> {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = match prefer(accept, &["text/plain", "application/openmetrics-text"]) {
            0 => Format::Text,
            _ => Format::OpenMetrics,
        };
        match self.state.metrics.render(format) {
            Ok(page) => Ok(Content::new(format.content_type(), page).reply(StatusCode::OK)),
            Err(fmt::Error) => Err(Problem::unavailable(
                "metrics cannot be written",
                "a value cannot be written as text; report this as a defect",
            )),
        }
    }

    fn ready(&self) -> Reply {
        let gates = self.state.gates.load();
        let judged = gates
            .iter()
            .map(|(name, gate)| (name, gate.published().load().generation() > 0));
        match self.state.readiness.look(judged) {
            Ok(()) => Content::text("upgrade-gate is ready.\n").reply(StatusCode::OK),
            Err(why) => {
                tracing::debug!(%why, "not ready");
                let why = why.without_names();
                let mut content = Content::text(format!("upgrade-gate is not ready: {why}.\n"));
                content.headers.insert(STATE, UNKNOWN);
                content.reply(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    async fn reload(&self) -> Result<Reply, Problem> {
        let Some(reload) = &self.state.reload else {
            let why = "reloading over HTTP is off; enable it, or send SIGHUP";
            return Err(Problem::forbidden(why));
        };
        // In a task of its own: a caller who goes away must not leave half of it done.
        match tokio::spawn(reload()).await {
            Ok(Ok(done)) => Ok(Content::text(done + "\n").reply(StatusCode::OK)),
            Ok(Err(why)) => Err(reload_failed(why)),
            Err(stopped) => Err(reload_failed(stopped.to_string())),
        }
    }
}

fn reload_failed(why: String) -> Problem {
    Problem::unavailable("reload failed; the configuration before stays", why)
}

fn document(gate: &GateHandle, now: Now, shape: Shape) -> Content {
    let view = gate.published().load();
    let answer = view.at(now.mono);
    let verdict = Verdict::of_view(answer);
    let content = match shape {
        Shape::Json => Content::json(&GateBody::new(answer, now)),
        Shape::Text => {
            let checks = answer.parts().map_or(&[][..], |parts| &parts.checks);
            Content::text(text::verdict(&verdict, checks))
        }
    };
    content.with_verdict(&verdict)
}

/// How a verdict is to be written.
pub(super) fn shape(headers: &HeaderMap) -> Shape {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match prefer(accept, &["application/json", "text/plain"]) {
        0 => Shape::Json,
        _ => Shape::Text,
    }
}
