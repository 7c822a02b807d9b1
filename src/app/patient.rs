//! A gate whose files cannot be used yet: it is unknown, says why, and looks again.
//!
//! Certificates and secrets often come a moment after the process that needs them, and one cluster's
//! trouble must not keep the gates of the others from starting. The gate's engine runs meanwhile: its
//! leases and holds stand.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::Common;
use crate::collect::board::Board;
use crate::collect::wants::Wants;
use crate::config::settings::GateSettings;
use crate::evidence::report::{FactKind, FailureClass, Report, SourceFailure, SourceId};
use crate::files::Aside;
use crate::gate::state::GateName;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);

/// What makes a gate's collectors.
pub(super) struct Patient {
    pub(super) name: GateName,
    pub(super) settings: GateSettings,
    pub(super) common: Common,
    pub(super) board: Arc<Board>,
    pub(super) wants: Arc<Wants>,
}

impl Patient {
    /// Collects as soon as the files can be used, until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let slot = self.slot();
        let mut told = None;
        let aside = Aside::default();
        let shared = loop {
            let goes_into = (&self.board, &self.wants);
            let making = self
                .common
                .collectors(&aside, &self.name, &self.settings, goes_into);
            let why = match stop.run_until_cancelled(making).await {
                None => return,
                Some(Ok(shared)) => break shared,
                Some(Err(error)) => format!("{error:#}"),
            };
            if told.as_ref() != Some(&why) {
                error!(gate = %self.name, why, "this gate cannot collect anything; it looks again");
                told = Some(why.clone());
            }
            self.board.put(self.report(slot.clone(), &why));
            if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
                return;
            }
        };
        if told.is_some() {
            info!(gate = %self.name, "this gate's files can be used now");
            self.board.forget(slot);
        }
        crate::collect::run(Arc::new(shared), stop).await;
    }

    /// The source that the verdict names: one that nothing can be heard of without the files.
    fn slot(&self) -> (SourceId, FactKind) {
        let settings = &self.settings;
        let bootstrap = settings.kafka.as_ref();
        let bootstrap = bootstrap.and_then(|kafka| kafka.bootstrap.first());
        let exporter = settings.jmx.as_ref();
        let exporter = exporter.and_then(|jmx| jmx.targets.keys().next());
        match (bootstrap, exporter) {
            (None, Some(node)) => (SourceId::Jmx(*node), FactKind::Jmx),
            (Some(address), _) => {
                let address = super::address(address).to_string();
                (SourceId::Bootstrap(address), FactKind::Cluster)
            }
            (None, None) => {
                let any = String::from("any");
                (SourceId::Bootstrap(any), FactKind::Cluster)
            }
        }
    }

    fn report(&self, (source, kind): (SourceId, FactKind), why: &str) -> Report {
        let now = self.common.clock.now().mono;
        // It is about us: it says nothing of any node (`FailureClass::sign`).
        let failure = SourceFailure::new(FailureClass::OwnFile, why);
        Report {
            source,
            kind,
            epoch: 0,
            asked: now,
            seen: now,
            every: LOOK,
            facts: Err(failure),
        }
    }
}
