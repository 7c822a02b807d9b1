//! Keeps a lease while a command runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Granted;
use crate::cli::client::GateClient;
use crate::cli::lease::{ANSWER, seconds};
use crate::cli::out::note;
use crate::gate::state::GateName;

/// The longest pause before a renewal that was not heard is sent again.
const AGAIN: Duration = Duration::from_secs(5);

/// A task that renews at a third of the lease's time.
pub(super) struct Renewer {
    task: JoinHandle<()>,
    lost: Arc<AtomicBool>,
}

impl Renewer {
    pub(super) fn start(
        client: GateClient,
        gate: GateName,
        granted: Granted,
        ttl: Duration,
    ) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            renew(&client, &gate, granted, ttl).await;
            told.store(true, Ordering::SeqCst);
        });
        Self { task, lost }
    }

    /// Ends it, and says whether the lease was lost.
    pub(super) async fn end(self) -> bool {
        self.task.abort();
        // Aborted: its error says so, and no more.
        let _ = self.task.await;
        self.lost.load(Ordering::SeqCst)
    }
}

/// Renews until the gate says that the lease is somebody else's, or no more.
async fn renew(client: &GateClient, gate: &GateName, granted: Granted, ttl: Duration) {
    let third = ttl / 3;
    let id = granted.lease.to_string();
    let query = [("token", granted.token.to_string()), ("ttl", seconds(ttl))];
    let path = ["leases", &id, "renew"];
    let mut pause = third;
    loop {
        sleep(pause).await;
        let within = ANSWER.min(third.max(Duration::from_secs(1)));
        let sent = client.send(Method::POST, gate.as_str(), &path, &query, within);
        let why = match sent.await {
            Ok(raw) if raw.status == 200 => {
                pause = third;
                continue;
            }
            Ok(raw) if raw.status == 409 || raw.status == 404 => {
                note(&format!(
                    "upgrade-gate: WARNING: lease {} is lost (HTTP {}); the command goes on",
                    granted.lease, raw.status
                ));
                return;
            }
            Ok(raw) => format!("HTTP {}", raw.status),
            Err(why) => why,
        };
        if pause == third {
            note(&format!("upgrade-gate: lease {id} not renewed yet: {why}"));
        }
        pause = AGAIN.min(third / 2);
    }
}
