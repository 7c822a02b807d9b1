//! Finds the cluster from any bootstrap address, at the start and again whenever no broker is
//! connected any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::node::login_wanted;
use super::schedule;
use super::shared::Shared;
use crate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use crate::kafka::{Address, Connection};

/// How often to look whether anybody is connected.
const LOOK: Duration = Duration::from_secs(1);

/// Tries bootstrap addresses while no broker is connected.
pub async fn run(shared: Arc<Shared>) {
    let mut found = false;
    loop {
        if !found || shared.connections().is_empty() {
            found = try_all(&shared).await;
        }
        sleep(LOOK).await;
    }
}

async fn try_all(shared: &Shared) -> bool {
    for address in &shared.settings.bootstrap {
        let asked = shared.now();
        match ask(shared, address).await {
            Ok(()) => {
                for address in &shared.settings.bootstrap {
                    let source = SourceId::Bootstrap(address.to_string());
                    shared.board.forget((source, FactKind::Cluster));
                }
                info!(gate = %shared.settings.gate, %address, "found the cluster");
                return true;
            }
            Err(failure) => {
                warn!(gate = %shared.settings.gate, %address, %failure, "failed to find the cluster here");
                let source = SourceId::Bootstrap(address.to_string());
                shared.report(source, FactKind::Cluster, 0, asked, LOOK, Err(failure));
            }
        }
    }
    false
}

async fn ask(shared: &Shared, address: &Address) -> Result<(), SourceFailure> {
    let settings = &shared.settings.connection;
    let connection = Connection::open(&*shared.dial, address, settings).await?;
    let told = learn_from(shared, &connection).await;
    told.map_err(|failure| match failure.class {
        FailureClass::Closed if settings.login.is_none() => login_wanted(failure),
        _ => failure,
    })
}

async fn learn_from(shared: &Shared, connection: &Connection) -> Result<(), SourceFailure> {
    let settings = &shared.settings.connection;
    if let Some(expected) = shared.cluster_id() {
        connection
            .prove_cluster(&expected, settings.negotiate_deadline)
            .await?;
    }
    let deadline = schedule::row(FactKind::Cluster).deadline;
    let cluster = connection.describe_cluster(deadline).await?;
    shared.learn(|roster| roster.cluster(&cluster.facts))
}
