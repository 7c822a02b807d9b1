//! Long proofs on real Kafka: each runs the real `upgrade-gate` in front of a real cluster and
//! writes `docs/proof/NAME.json`. A test of the main crate parses those files and holds them to
//! their thresholds.
//!
//! - [`gate`]: the gate's process, and a poller that asks it as a pipeline would;
//! - [`attacks`]: the proof `attacks`, on a simulated cluster;
//! - [`cycle`]: one fault, from before it to the next `open`;
//! - [`report`]: distributions, and what every proof says about how it was made;
//! - [`faults`]: the proofs `kill` and `restart`;
//! - [`openapi`]: the proof `openapi`, on a simulated cluster;
//! - [`plan`]: the proof `plan`; `table`: how its rows are made; `foreseen`: those in which something is
//!   done; `taken`: those in which a node is leased;
//! - [`roll`]: the proof `roll`; `returning`: what the gate says meanwhile;
//! - [`callers`]: the proof `callers`; [`jenkins`]: the pipeline of its recipe;
//! - [`race`], [`crashes`]: gates that are killed while leases are asked for;
//! - [`exporter`]: an exporter that says what it is told to;
//! - [`security`]: the proof `security`;
//! - [`situations`]: the proof `situations`; `modes`: its degraded modes; `watch`: how its
//!   rows are made.

pub mod attacks;
pub mod callers;
pub mod crashes;
pub mod cycle;
pub mod exporter;
pub mod faults;
mod foreseen;
pub mod gate;
pub mod jenkins;
pub mod modes;
pub mod openapi;
pub mod plan;
pub mod race;
pub mod report;
mod returning;
pub mod roll;
pub mod security;
pub mod situations;
mod table;
mod taken;
mod watch;
