//! Quick tests of everything that needs no cluster. One binary; a module per subject.

mod architecture;
//! Everything that is tested from outside the library, in one binary and in seconds.

// `cfg(test)` tells clippy that helpers outside `#[test]` functions are tests too.
#[cfg(test)]
mod cli;
#[cfg(test)]
mod config;
mod packages;
//! Everything that is tested from outside the library, in one binary and in seconds.

mod callers;
mod http;
mod metrics;
mod promtool;
mod served;
