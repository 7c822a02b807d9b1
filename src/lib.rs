//! `upgrade-gate` says whether the next step of a Kafka rolling upgrade is safe.

pub mod checks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod evidence;
pub mod gate;
pub mod telemetry;
pub mod time;
pub mod view;
