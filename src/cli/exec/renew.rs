//! Keeps a lease while a command runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Granted;
use crate::cli::answer::{Asked, Raw, Refusal, Verdict, read};
use crate::cli::change::done;
use crate::cli::client::GateClient;
use crate::cli::lease::{ANSWER, seconds};
use crate::cli::out::{note, plain};
use crate::cli::print;

/// The longest pause before a renewal that was not heard is sent again.
const AGAIN: Duration = Duration::from_secs(5);

/// How a lease's end is moved.
#[derive(Clone, Debug)]
pub(super) struct Renewal {
    pub(super) client: GateClient,
    pub(super) asked: Asked,
    pub(super) granted: Granted,
    pub(super) ttl: Duration,
}

impl Renewal {
    /// Renews once. What comes back is when it was asked for: from then on the lease lasts for its
    /// whole time, so that our reckoning ends before the gate's.
    pub(super) async fn once(&self, within: Duration) -> Result<Instant, Verdict> {
        let id = self.granted.lease.to_string();
        let query = [
            ("token", self.granted.token.to_string()),
            ("ttl", seconds(self.ttl)),
        ];
        let path = ["leases", &id, "renew"];
        let gate = self.asked.gate.as_str();
        let asked = Instant::now();
        let sent = self.client.send(Method::POST, gate, &path, &query, within);
        match sent.await {
            Ok(raw) if raw.status == 200 => {
                let confirmed = self.confirms(&raw);
                confirmed.map(|()| asked).map_err(Verdict::Contradicts)
            }
            Ok(raw) => Err(read(&self.asked, &raw)),
            Err(why) => Err(Verdict::Unreachable(why)),
        }
    }

    /// Whether a 200 says that this lease is renewed.
    fn confirms(&self, raw: &Raw) -> Result<(), String> {
        let body = done(self.asked.gate.as_str(), raw)?;
        let this = body["changed"] == "renewed" && body["lease"] == self.granted.lease;
        this.then_some(())
            .ok_or_else(|| String::from("HTTP 200 that does not say that the lease is renewed"))
    }
}

/// The pause before the next renewal of a lease whose time is counted from `asked`: a third of what
/// is left of it.
fn pause(ttl: Duration, asked: Instant) -> Duration {
    ttl.saturating_sub(asked.elapsed()) / 3
}

/// A task that renews whenever a third of the lease's time has gone by.
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
    /// `asked`: when the request was sent.
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
    /// `asked`: when the last renewal was sent.
    pub(super) fn start(renewal: Renewal, asked: Instant) -> Self {
        let kept = Kept(Arc::new(Mutex::new(Until::For(asked, renewal.ttl))));
        let told = kept.clone();
        let task = tokio::spawn(async move { renew(&renewal, asked, &told).await });
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
async fn renew(renewal: &Renewal, asked: Instant, kept: &Kept) {
    let third = renewal.ttl / 3;
    let id = renewal.granted.lease;
    let within = ANSWER.min(third.max(Duration::from_secs(1)));
    let mut rest = pause(renewal.ttl, asked);
    let (mut failing, mut warned) = (false, false);
    loop {
        sleep(rest).await;
        let verdict = match renewal.once(within).await {
            Ok(asked) => {
                kept.heard(asked, renewal.ttl);
                rest = pause(renewal.ttl, asked);
                (failing, warned) = (false, false);
                continue;
            }
            Err(verdict) => verdict,
        };
        if let Verdict::Refused(Refusal::Conflict, why) = &verdict {
            note(&plain(&format!(
                "upgrade-gate: WARNING: lease {id} is lost ({why}); the command goes on"
            )));
            kept.lost();
            return;
        }
        if !failing {
            let why = print::summary(&verdict);
            note(&format!("upgrade-gate: lease {id} not renewed yet: {why}"));
            failing = true;
        }
        if kept.is_over() && !warned {
            note(&format!(
                "upgrade-gate: WARNING: lease {id} is over, and the gate was not reached in its \
                 time; the command goes on"
            ));
            warned = true;
        }
        rest = AGAIN.min(third / 2);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_next_renewal_comes_after_a_third_of_what_is_left() {
        let (ttl, asked) = (Duration::from_secs(90), Instant::now());
        assert_eq!(pause(ttl, asked), Duration::from_secs(30));
        advance(Duration::from_secs(45)).await;
        assert_eq!(pause(ttl, asked), Duration::from_secs(15));
        advance(Duration::from_secs(50)).await;
        assert_eq!(pause(ttl, asked), Duration::ZERO);
    }
}
