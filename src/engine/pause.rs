//! Named points at which a test build stands still, to be killed there by a proof.
//!
//! `PAUSE_UPGRADE_GATE=stored:/path/to/file` makes the engine stop once a write is durable and
//! before anybody is told; the file says that it stands there. Builds for release have none of it.

use crate::gate::doc::Revision;

/// Between a durable write and the answer to whoever waits for it.
pub(super) const STORED: &str = "stored";

/// Stands still here for ever, if the environment says so; the file says where, and at which revision.
#[cfg(debug_assertions)]
pub(super) fn point(name: &str, revision: Revision) {
    let Ok(wish) = std::env::var("PAUSE_UPGRADE_GATE") else {
        return;
    };
    let Some((_, file)) = wish.split_once(':').filter(|(wanted, _)| *wanted == name) else {
        return;
    };
    tracing::warn!(name, file, "standing still at a pause point");
    let _ = std::fs::write(file, format!("{name} {}\n", revision.0));
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// Nothing, in a build for release.
#[cfg(not(debug_assertions))]
pub(super) const fn point(_: &str, _: Revision) {}
