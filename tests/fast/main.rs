//! Everything that is tested from outside the library and needs no cluster, in one binary and in
//! seconds; a module per subject.

// `cfg(test)` tells clippy that helpers outside `#[test]` functions are tests too.
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod config;
#[cfg(test)]
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
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod promtool;
#[cfg(test)]
mod served;
