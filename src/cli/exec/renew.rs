//! Keeps a lease while a command runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Granted, boot};
use crate::cli::answer::{Asked, Raw, Refusal, Verdict, read};
use crate::cli::change::done;
use crate::cli::client::GateClient;
use crate::cli::lease::{ANSWER, seconds};
use crate::cli::out::{note, plain};
use crate::cli::print;
use crate::time::Mono;

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
    pub(super) async fn once(&self, within: Duration) -> Result<Mono, Verdict> {
        let id = self.granted.lease.to_string();
        let query = [
            ("token", self.granted.token.to_string()),
            ("ttl", seconds(self.ttl)),
        ];
        let path = ["leases", &id, "renew"];
        let gate = self.asked.gate.as_str();
        let asked = boot();
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

/// The pause before the next renewal of a lease of whose time so much is over: a third of what is left.
fn pause(ttl: Duration, over: Duration) -> Duration {
    ttl.saturating_sub(over) / 3
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
    /// The gate has said so: for so long after this moment, also while this machine sleeps.
    For(Mono, Duration),
    /// It is somebody else's, or no more.
    Lost,
}

impl Kept {
    /// `asked`: when the request was sent.
    fn heard(&self, asked: Mono, ttl: Duration) {
        *self.lock() = Until::For(asked, ttl);
    }

    fn lost(&self) {
        *self.lock() = Until::Lost;
    }

    /// Nobody has said that it is lost, but nobody has heard us for as long as it lasts.
    fn is_over(&self, now: Mono) -> bool {
        match *self.lock() {
            Until::For(asked, ttl) => now.since(asked) >= ttl,
            Until::Lost => true,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Until> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Renewer {
    /// `asked`: when the last renewal was sent.
    pub(super) fn start(renewal: Renewal, asked: Mono) -> Self {
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
        self.kept.is_over(boot())
    }
}

/// Renews until the gate says that the lease is somebody else's, or no more.
async fn renew(renewal: &Renewal, asked: Mono, kept: &Kept) {
    let third = renewal.ttl / 3;
    let id = renewal.granted.lease;
    let within = ANSWER.min(third.max(Duration::from_secs(1)));
    let mut rest = pause(renewal.ttl, boot().since(asked));
    let (mut failing, mut warned) = (false, false);
    loop {
        sleep(rest).await;
        let verdict = match renewal.once(within).await {
            Ok(asked) => {
                kept.heard(asked, renewal.ttl);
                rest = pause(renewal.ttl, boot().since(asked));
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
        if kept.is_over(boot()) && !warned {
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
    use super::*;

    #[test]
    fn the_next_renewal_comes_after_a_third_of_what_is_left() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(seconds(90), Duration::ZERO), seconds(30));
        assert_eq!(pause(seconds(90), seconds(45)), seconds(15));
        assert_eq!(pause(seconds(90), seconds(95)), Duration::ZERO);
    }

    /// The boot clock goes on while the machine sleeps, as the gate's does; the timers of the runtime
    /// stand still then.
    #[tokio::test(start_paused = true)]
    async fn a_lease_is_over_by_the_boot_clock() {
        let (ttl, asked) = (Duration::from_secs(90), boot());
        let kept = Kept(Arc::new(Mutex::new(Until::For(asked, ttl))));
        tokio::time::advance(ttl * 2).await;
        assert!(!kept.is_over(boot()));
        assert!(!kept.is_over(asked.plus(ttl.saturating_sub(Duration::from_nanos(1)))));
        assert!(kept.is_over(asked.plus(ttl)));
        kept.heard(asked.plus(ttl), ttl);
        assert!(!kept.is_over(asked.plus(ttl)));
        kept.lost();
        assert!(kept.is_over(asked));
    }
}
