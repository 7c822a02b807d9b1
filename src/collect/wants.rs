//! What the engine wants of the collectors beyond their usual pace.

use tokio::sync::{Notify, watch};

use crate::evidence::report::Wanted;

/// The engine's wishes, and those who hear them.
#[derive(Debug, Default)]
pub struct Wants {
    quick: Notify,
    /// Grows with every wish for everything: who was busy when it came still sees it.
    everything: watch::Sender<u64>,
}

impl Wants {
    /// Has everything that is wanted asked for at once.
    pub fn want(&self, wanted: Wanted) {
        if wanted == Wanted::Everything {
            self.everything
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        self.quick.notify_waiters();
    }

    /// Waits until somebody needs evidence newer than now.
    pub async fn quick(&self) {
        self.quick.notified().await;
    }

    /// Hears of every wish for everything from now on.
    pub fn everything(&self) -> watch::Receiver<u64> {
        self.everything.subscribe()
    }
}
