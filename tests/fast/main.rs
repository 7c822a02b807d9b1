//! Everything that is tested from outside the library, in one binary and in seconds.

mod bodies;
mod callers;
mod hostile;
mod http;
mod metrics;
mod promtool;
mod served;
