//! What signals do: SIGHUP loads the configuration again, SIGTERM and SIGINT end the process.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::error;

use crate::server::Reload;

/// Signals that are listened for.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self> {
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// Reloads at each SIGHUP, until SIGTERM or SIGINT comes: at once, also while a reload waits for
    /// its files. Those SIGHUPs that come while a reload runs make one more after it.
    pub(super) async fn wait(self, reload: &Reload) {
        let Self {
            mut term,
            mut int,
            mut hup,
        } = self;
        let reloads = async {
            while hup.recv().await.is_some() {
                // In a task of its own: the end must not leave half of it done. What became of it is
                // logged by the reload itself.
                let _ = tokio::spawn(reload()).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            () = reloads => {}
        }
    }
}

/// From now on a signal ends the process at once.
pub(super) fn abort_on_second() -> Result<()> {
    let (mut term, mut int) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        error!("second signal: ending at once");
        std::process::exit(1);
    });
    Ok(())
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).with_context(|| format!("failed to listen for {kind:?}"))
}
