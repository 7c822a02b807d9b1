//! What a service manager is told: when we are ready, that we live, and when we end.
//!
//! The watchdog is fed by judgements, not by a timer: a process whose gates no longer judge is worth
//! a restart, whatever its timers do. Without systemd (no `NOTIFY_SOCKET`) nothing is said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::engine::Pulse;
use crate::gate::state::GateName;

/// Every gate's signs of life.
pub type Pulses = BTreeMap<GateName, Arc<Pulse>>;

/// What was last seen of each gate.
#[derive(Debug, Default)]
struct Fed {
    seen: BTreeMap<GateName, u64>,
}

impl Fed {
    /// Whether every gate has judged, or at least tried to, since the last time; a gate that is new
    /// has. Names the one that has not.
    fn all_move(&mut self, pulses: &Pulses) -> Result<(), GateName> {
        let count = |pulse: &Pulse| {
            // An engine that fails over and over is started again with a pause: it moves as well.
            let steps = pulse.steps.load(Ordering::Relaxed);
            steps.wrapping_add(pulse.failures.load(Ordering::Relaxed))
        };
        let now: BTreeMap<_, _> = pulses
            .iter()
            .map(|(name, pulse)| (name.clone(), count(pulse)))
            .collect();
        let stands = now
            .iter()
            .find(|(name, count)| self.seen.get(*name) == Some(*count));
        if let Some((name, _)) = stands {
            return Err(name.clone());
        }
        self.seen = now;
        Ok(())
    }
}

/// Says that we are ready.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// Says that we are ending.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

fn say(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        warn!(%error, "failed to tell the service manager");
    }
}

/// Feeds the watchdog until `stop`, where there is one.
pub async fn feed(pulses: impl AsyncFn() -> Pulses, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // systemd advises half the limit; a third leaves room for one that comes late.
    let every = limit / 3;
    let mut fed = Fed::default();
    loop {
        match fed.all_move(&pulses().await) {
            Ok(()) => say(&[NotifyState::Watchdog]),
            Err(gate) => error!(
                %gate,
                "this gate has not judged for {every:?}; the service manager ends this process \
                 after {limit:?}"
            ),
        }
        let slept =
            stop.run_until_cancelled(tokio::time::sleep(every.max(Duration::from_millis(10))));
        if slept.await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_starves_when_any_gate_stands_still() {
        let gate = |name: &str| GateName::try_from(name.to_owned()).unwrap();
        let (a, b) = (Arc::new(Pulse::default()), Arc::new(Pulse::default()));
        let mut pulses = Pulses::from([(gate("a"), Arc::clone(&a)), (gate("b"), Arc::clone(&b))]);
        let mut fed = Fed::default();
        assert_eq!(fed.all_move(&pulses), Ok(()));
        a.steps.fetch_add(1, Ordering::Relaxed);
        assert_eq!(fed.all_move(&pulses), Err(gate("b")));
        b.failures.fetch_add(1, Ordering::Relaxed);
        assert_eq!(fed.all_move(&pulses), Ok(()));
        // A gate that was taken away, and a new one, hold nobody up.
        pulses.remove(&gate("b"));
        pulses.insert(gate("c"), Arc::default());
        a.steps.fetch_add(1, Ordering::Relaxed);
        assert_eq!(fed.all_move(&pulses), Ok(()));
        assert_eq!(fed.all_move(&pulses), Err(gate("a")));
    }
}
