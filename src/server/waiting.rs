//! Waiting for an answer that is worth more: `wait=` of `check`, `enter` and `leave`.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep_until};

use super::app::App;
use super::problem::Problem;
use crate::engine::handle::GateHandle;
use crate::metrics::counters::{Held, Refused};

impl App {
    /// Asks; while the answer is to be waited for, asks again with every new view until the
    /// deadline, or the end of this process. Where too many wait, at this address or at all, the
    /// first answer is given.
    /// `once_more`: whether to ask at the end as well, because an answer costs nothing.
    pub(super) async fn wait<T, F>(
        &self,
        gate: &GateHandle,
        deadline: Instant,
        once_more: bool,
        peer: IpAddr,
        ask: impl Fn() -> F,
        waits: impl Fn(&T) -> bool,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Problem>>,
    {
        // Before the first question, so that no change falls between asking and waiting.
        let mut views = gate.published().subscribe();
        let mut answer = ask().await?;
        if !waits(&answer) || deadline <= Instant::now() {
            return Ok(answer);
        }
        let http = &self.counters().http;
        let Some(_share) = self.peers.wait(peer) else {
            http.refused(Refused::WaitersOfPeer);
            return Ok(answer);
        };
        let Ok(_place) = self.waiters.try_acquire() else {
            http.waiters_refused.fetch_add(1, Ordering::Relaxed);
            return Ok(answer);
        };
        let _counted = Held::new(&http.waiters);
        loop {
            let changed = tokio::select! {
                biased;
                () = self.stopping.cancelled() => false,
                () = sleep_until(deadline) => false,
                changed = views.changed() => changed.is_ok(),
            };
            if !changed && !once_more {
                return Ok(answer);
            }
            answer = ask().await?;
            if !changed || !waits(&answer) {
                return Ok(answer);
            }
        }
    }
}
