//! Looks at a cluster for some seconds, as a gate would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Patient;
use super::store::{Kept, kept};
use crate::app::{FILES, collectors};
use crate::checks::reason::{Reason, Severity};
use crate::clock::{Clock, SystemClock};
use crate::collect::board::Board;
use crate::collect::shared::Shared;
use crate::collect::wants::Wants;
use crate::evidence::ids::NodeId;
use crate::evidence::report::SourceFailure;
use crate::evidence::snapshot::Reports;
use crate::files::Aside;
use crate::gate::machine::{Effect, Input, Machine};
use crate::gate::view::View;
use crate::kafka::versions::{
    API_VERSIONS, Api, DESCRIBE_CLUSTER, DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS, DESCRIBE_QUORUM,
    FIND_COORDINATOR, LIST_MOVES, LIST_OFFSETS, METADATA, OFFSET_FETCH,
};
use crate::kafka::{Connection, Dial, TcpDial};
use crate::time::Now;

/// Every request that a gate makes.
const APIS: [Api; 10] = [
    API_VERSIONS,
    DESCRIBE_CLUSTER,
    METADATA,
    DESCRIBE_QUORUM,
    LIST_MOVES,
    DESCRIBE_CONFIGS,
    DESCRIBE_LOG_DIRS,
    LIST_OFFSETS,
    FIND_COORDINATOR,
    OFFSET_FETCH,
];

/// How long to look at least once everybody has been heard: rounds over replicas and second
/// answers come after the first ones.
const AT_LEAST: Duration = Duration::from_secs(3);

/// How often to look whether it is enough.
const STEP: Duration = Duration::from_millis(100);

/// Versions of one request: what the node has, and what is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The request.
    pub api: Api,
    /// What the node has; `None`: no such request.
    pub has: Option<(i16, i16)>,
}

/// What was seen.
#[derive(Debug)]
pub struct Gathered {
    /// The last judgement.
    pub view: Arc<View>,
    /// When the looking ended.
    pub now: Now,
    /// The newest report of every slot.
    pub reports: Reports,
    /// What each node advertises, or where the configuration puts it, and where it was dialled.
    pub addresses: BTreeMap<NodeId, (String, String)>,
    /// Versions of every request, by node.
    pub versions: BTreeMap<NodeId, Result<Vec<Spoken>, SourceFailure>>,
    /// What a gate would go on from.
    pub kept: Kept,
    /// How far the wall clock went from the boot clock meanwhile, in nanoseconds.
    pub drift: i128,
}

/// Looks until every source has been heard, or patience is over. A gate whose files cannot be used
/// hears nothing, and why is what there is against it.
pub async fn gather(patient: &Patient) -> Gathered {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (board, wants) = (Arc::new(Board::default()), Arc::new(Wants::default()));
    let kept = kept(patient.data_dir.as_deref(), &patient.gate);
    let shared = match shared(patient, &clock, &board, &wants).await {
        Ok(shared) => Arc::new(shared),
        Err(why) => return Gathered::nothing(patient, kept, clock.now(), &why),
    };
    let stop = CancellationToken::new();
    let collecting = tokio::spawn(crate::collect::run(Arc::clone(&shared), stop.clone()));
    let began = clock.now();
    let mut look = Look::new(patient, &kept, began);
    loop {
        let _ = tokio::time::timeout(STEP, board.changed()).await;
        let now = clock.now();
        look.step(now, &board, &wants);
        let since = now.mono.since(began.mono);
        if since >= patient.patience || (since >= AT_LEAST && look.has_heard_everybody(now)) {
            break;
        }
    }
    let versions = versions(&shared).await;
    let now = clock.now();
    // One more time: opening connections takes a moment, and a view expires.
    look.step(now, &board, &wants);
    stop.cancel();
    let _ = collecting.await;
    let wall = i128::from(now.wall.as_nanos()) - i128::from(began.wall.as_nanos());
    let boot = i128::from(now.mono.as_nanos()) - i128::from(began.mono.as_nanos());
    Gathered {
        view: look.view,
        now,
        reports: look.reports,
        addresses: addresses(&shared),
        versions,
        kept,
        drift: wall - boot,
    }
}

/// What the collectors share; their files are read aside.
async fn shared(
    patient: &Patient,
    clock: &Arc<dyn Clock>,
    board: &Arc<Board>,
    wants: &Arc<Wants>,
) -> Result<Shared> {
    let (patient, clock) = (patient.clone(), Arc::clone(clock));
    let (board, wants) = (Arc::clone(board), Arc::clone(wants));
    let make = move || {
        let dial: Arc<dyn Dial> = Arc::new(TcpDial);
        let (gate, settings) = (&patient.gate, &patient.settings);
        collectors(gate, settings, patient.limits, &clock, &dial, board, wants)
    };
    let made = Aside::default().read(FILES, make).await;
    made.context("failed to read its certificates and secrets")?
}

impl Gathered {
    /// Of a gate that cannot even ask.
    fn nothing(patient: &Patient, kept: Kept, now: Now, why: &Error) -> Self {
        let why = format!("nothing can be asked: {why:#}");
        let view = View::nothing(patient.gate.clone(), now, Reason::SourceFailed, &why);
        Self {
            view: Arc::new(view),
            now,
            reports: Reports::new(),
            addresses: BTreeMap::new(),
            versions: BTreeMap::new(),
            kept,
            drift: 0,
        }
    }
}

/// A Machine, and the evidence it was given.
struct Look {
    machine: Machine,
    view: Arc<View>,
    reports: Reports,
}

impl Look {
    /// It goes on from what is stored, as a gate that starts now would.
    fn new(patient: &Patient, kept: &Kept, now: Now) -> Self {
        let policy = Arc::new(patient.settings.policy.clone());
        let (gate, doc) = (patient.gate.clone(), kept.doc.clone());
        Self {
            machine: Machine::restore(gate.clone(), policy, kept.revision, doc, now),
            view: Arc::new(View::nothing(gate, now, Reason::WarmingUp, "just begun")),
            reports: Reports::new(),
        }
    }

    fn step(&mut self, now: Now, board: &Board, wants: &Wants) {
        loop {
            let batch = board.take();
            for slot in &batch.dropped {
                self.reports.remove(slot);
            }
            for report in &batch.reports {
                let slot = (report.source.clone(), report.kind);
                self.reports.insert(slot, report.clone());
            }
            let input = Input::Evidence {
                reports: batch.reports,
                dropped: batch.dropped,
            };
            let mut effects = Vec::new();
            self.machine.step(now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Publish(view) => self.view = view,
                    Effect::Refresh(wanted) => wants.want(wanted),
                    // Nobody asks, and nothing is kept.
                    Effect::Reply(..) | Effect::Commit { .. } => {}
                }
            }
            if !batch.more {
                return;
            }
        }
    }

    /// Whether nothing is missing that another moment could bring.
    fn has_heard_everybody(&self, now: Now) -> bool {
        let reasons = self.view.at(now.mono).reasons();
        let waits = |reason: Reason| {
            matches!(
                reason,
                Reason::WarmingUp | Reason::EvidenceMissing | Reason::NoNodesKnown
            )
        };
        !reasons
            .iter()
            .any(|view| view.severity != Severity::Warn && waits(view.reason))
    }
}

/// What each node says it speaks, over a connection of its own.
async fn versions(shared: &Arc<Shared>) -> BTreeMap<NodeId, Result<Vec<Spoken>, SourceFailure>> {
    let nodes: Vec<NodeId> = shared.roster.borrow().nodes.keys().copied().collect();
    let mut asking = JoinSet::new();
    for node in nodes {
        let Some(address) = shared.address_of(node) else {
            continue;
        };
        let shared = Arc::clone(shared);
        asking.spawn(async move {
            let settings = &shared.settings.connection;
            let opened = Connection::open(&*shared.dial, &address, settings).await;
            (node, opened.map(|connection| spoken(&connection)))
        });
    }
    asking.join_all().await.into_iter().collect()
}

fn spoken(connection: &Connection) -> Vec<Spoken> {
    let has = |api: Api| Spoken {
        api,
        has: connection.versions().range(api.key),
    };
    APIS.into_iter().map(has).collect()
}

fn addresses(shared: &Shared) -> BTreeMap<NodeId, (String, String)> {
    let roster = shared.roster.borrow().clone();
    let of = |node: &NodeId| {
        let advertised = roster.nodes.get(node)?.address()?.to_string();
        let dialled = shared.address_of(*node)?.to_string();
        Some((*node, (advertised, dialled)))
    };
    roster.nodes.keys().filter_map(of).collect()
}
