//! Steps of the wall clock in a test build: nobody may set the clock of the machine that proves.
//!
//! `STEP_UPGRADE_GATE=/path/to/file` names a file with the nanoseconds that the wall clock is to be
//! ahead (or behind, with a minus), read at every look at the clock. Builds for release have none
//! of it.

/// How far the wall clock is to be ahead, in nanoseconds.
#[cfg(debug_assertions)]
pub(super) fn nanos() -> i64 {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    static AHEAD: AtomicI64 = AtomicI64::new(0);

    let wish = FILE.get_or_init(|| std::env::var_os("STEP_UPGRADE_GATE").map(PathBuf::from));
    let Some(file) = wish else {
        return 0;
    };
    // A file that is not there yet, or half written, is no step.
    let said = std::fs::read_to_string(file).ok();
    if let Some(ahead) = said.and_then(|text| text.trim().parse().ok()) {
        AHEAD.store(ahead, Ordering::Relaxed);
    }
    AHEAD.load(Ordering::Relaxed)
}

/// None, in a build for release.
#[cfg(not(debug_assertions))]
pub(super) const fn nanos() -> i64 {
    0
}
