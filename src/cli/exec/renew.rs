//! Keeps a lease while a command runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

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
    kept: Kept,
}

/// Until when the lease is known to be ours.
#[derive(Clone, Debug)]
struct Kept(Arc<Mutex<Until>>);

#[derive(Clone, Copy, Debug)]
enum Until {
    /// The gate has said so: for so long after this moment.
    For(Instant, Duration),
    /// It is somebody else's, or no more.
    Lost,
}

impl Kept {
    /// `asked`: when the request was sent, so that our reckoning ends before the gate's.
    fn heard(&self, asked: Instant, ttl: Duration) {
        *self.lock() = Until::For(asked, ttl);
    }

    fn lost(&self) {
        *self.lock() = Until::Lost;
    }

    /// Nobody has said that it is lost, but nobody has heard us for as long as it lasts.
    fn is_over(&self) -> bool {
        match *self.lock() {
            Until::For(asked, ttl) => asked.elapsed() >= ttl,
            Until::Lost => true,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Until> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Renewer {
    pub(super) fn start(
        client: GateClient,
        gate: GateName,
        granted: Granted,
        ttl: Duration,
    ) -> Self {
        let kept = Kept(Arc::new(Mutex::new(Until::For(granted.asked, ttl))));
        let told = kept.clone();
        let task = tokio::spawn(async move { renew(&client, &gate, granted, ttl, &told).await });
        Self { task, kept }
    }

    /// Ends it, and says whether the lease was lost.
    pub(super) async fn end(self) -> bool {
        self.task.abort();
        // Aborted: its error says so, and no more.
        let _ = self.task.await;
        self.kept.is_over()
    }
}

/// Renews until the gate says that the lease is somebody else's, or no more.
async fn renew(client: &GateClient, gate: &GateName, granted: Granted, ttl: Duration, kept: &Kept) {
    let third = ttl / 3;
    let id = granted.lease.to_string();
    let query = [("token", granted.token.to_string()), ("ttl", seconds(ttl))];
    let path = ["leases", &id, "renew"];
    let mut pause = third;
    let mut warned = false;
    loop {
        sleep(pause).await;
        let within = ANSWER.min(third.max(Duration::from_secs(1)));
        let asked = Instant::now();
        let sent = client.send(Method::POST, gate.as_str(), &path, &query, within);
        let why = match sent.await {
            Ok(raw) if raw.status == 200 => {
                kept.heard(asked, ttl);
                pause = third;
                warned = false;
                continue;
            }
            Ok(raw) if raw.status == 409 || raw.status == 404 => {
                note(&format!(
                    "upgrade-gate: WARNING: lease {id} is lost (HTTP {}); the command goes on",
                    raw.status
                ));
                kept.lost();
                return;
            }
            Ok(raw) => format!("HTTP {}", raw.status),
            Err(why) => why,
        };
        if pause == third {
            note(&format!("upgrade-gate: lease {id} not renewed yet: {why}"));
        }
        if kept.is_over() && !warned {
            note(&format!(
                "upgrade-gate: WARNING: lease {id} is over, and the gate was not reached in its \
                 time; the command goes on"
            ));
            warned = true;
        }
        pause = AGAIN.min(third / 2);
    }
}
