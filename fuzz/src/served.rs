//! A served gate without an engine behind it: a view made by hand, and what a server needs to
//! answer with it. For the fuzz target, the benchmark of `check` and the tests of the server,
//! which each include this file.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::Receiver;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::clock::Clock;
use upgrade_gate::engine::handle::{Ask, GateHandle};
use upgrade_gate::gate::parts::{ReasonView, ViewParts, verdict};
use upgrade_gate::gate::state::GateName;
use upgrade_gate::gate::view::View;
use upgrade_gate::metrics::{BuildInfo, Metrics};
use upgrade_gate::server::AppState;
use upgrade_gate::time::Now;
use upgrade_gate::view::Published;

/// What the gate says before its first judgement.
pub fn just_started(now: Now) -> View {
    View::nothing(GateName::default(), now, Reason::WarmingUp, "just started")
}

/// A view of nothing but these reasons, with the verdict they make, that stays true.
pub fn view(now: Now, reasons: Vec<ReasonView>) -> View {
    let nothing = just_started(now);
    View::new(ViewParts {
        state: verdict(reasons.iter().map(|reason| reason.severity)),
        general: reasons.clone(),
        reasons,
        ..nothing.at(now.mono).last_known().clone()
    })
}

/// A reason to be closed, with as much in it as there usually is.
pub fn under_replicated(now: Now, subject: Subject) -> ReasonView {
    ReasonView {
        reason: Reason::UnderReplicated,
        severity: Reason::UnderReplicated.row().severity,
        subject,
        observed: String::from("7 partitions without this replica in the ISR"),
        required: String::from("every replica in the ISR"),
        count: 7,
        examples: (0..5).map(|n| format!("orders-{n}")).collect(),
        since: now.wall,
        source: None,
        asked: Some(now.mono),
        step: None,
    }
}

/// What a server of one gate is made of; where its views are published; and the questions to its
/// engine, which nobody answers unless the caller does.
pub fn app(view: View, clock: Arc<dyn Clock>) -> (AppState, Arc<Published>, Receiver<Ask>) {
    let name = view.gate().clone();
    let published = Arc::new(Published::new(view));
    let (handle, asks) = GateHandle::new(name.clone(), Arc::clone(&published));
    let gates = Arc::new(ArcSwap::from_pointee(BTreeMap::from([(name, handle)])));
    let build = BuildInfo {
        version: "0.1.0",
        revision: "unknown",
    };
    let metrics = Metrics::new(
        Arc::clone(&gates),
        Arc::clone(&clock),
        Arc::default(),
        build,
    );
    let app = AppState {
        gates,
        clock,
        metrics: Arc::new(metrics),
        readiness: Arc::default(),
        reload: None,
        history: Arc::new(|_, _, _| Box::pin(async { Ok(Vec::new()) })),
        access: Arc::default(),
    };
    (app, published, asks)
}
