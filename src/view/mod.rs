//! The published view: swapped by one writer, read by everybody, never locked.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::gate::view::View;

/// One gate's newest view.
#[derive(Debug)]
pub struct Published {
    view: ArcSwap<View>,
    changed: watch::Sender<u64>,
}

impl Published {
    /// Publishes the first view.
    pub fn new(view: View) -> Self {
        Self {
            view: ArcSwap::from_pointee(view),
            changed: watch::Sender::new(0),
        }
    }

    /// Replaces the view and wakes those who wait for a change.
    pub fn publish(&self, view: Arc<View>) {
        self.view.store(view);
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The newest view. Read it through [`View::at`].
    pub fn load(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Wakes at each new view. A view can also end without a new one coming: wait with a timeout.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
