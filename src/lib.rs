//! `upgrade-gate` says whether the next step of a Kafka rolling upgrade is safe.

pub mod checks;
pub mod clock;
pub mod engine;
pub mod evidence;
pub mod gate;
pub mod metrics;
pub mod server;
pub mod time;
pub mod view;
