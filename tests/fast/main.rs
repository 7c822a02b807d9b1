//! Everything that is tested from outside the library, in one binary and in seconds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails here"
)]

mod bodies;
mod callers;
mod hostile;
mod http;
mod metrics;
mod promtool;
mod served;
