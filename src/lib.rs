//! `upgrade-gate` says whether the next step of a Kafka rolling upgrade is safe.

pub mod app;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod engine;
pub mod evidence;
pub mod gate;
pub mod jmx;
pub mod kafka;
pub mod metrics;
pub mod model;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod view;
