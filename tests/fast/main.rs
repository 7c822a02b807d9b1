//! Everything that is tested from outside the library and needs no cluster, in one binary and in
//! seconds; a module per subject.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails here"
)]

mod alerts;
mod architecture;
mod attacks;
mod bodies;
mod callers;
mod canary;
mod cli;
mod config;
mod dashboards;
mod demo;
mod docs;
mod doctor;
mod exec;
mod fuzz;
mod history;
mod hostile;
mod http;
mod leases;
mod limits;
mod metrics;
mod mutual;
mod openapi;
mod orchestrated;
mod packages;
mod packaging;
mod promtool;
mod proof_plan;
mod proof_security;
mod proof_simulation;
mod proof_speed;
mod proofs;
mod reread;
mod revoked;
mod rights;
mod secured;
mod served;
mod started;
mod store;
mod waits;
