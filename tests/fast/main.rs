//! Everything that is tested from outside the library and needs no cluster, in one binary and in
//! seconds; a module per subject.

// `cfg(test)` tells clippy that helpers outside `#[test]` functions are tests too.
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod config;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod http;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod promtool;
#[cfg(test)]
mod served;
