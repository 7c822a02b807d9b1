//! `upgrade-gate` says whether the next step of a Kafka rolling upgrade is safe, and whether
//! *this* node may be the one that is taken.
//!
//! # A map
//!
//! **What is known.** [`evidence`] has the facts as plain values: what one source said about one
//! kind of fact, when it was asked, and how two brokers' answers become one. A fact that is not
//! known has a reason, never a default. [`time`] has the two clocks as values; [`clock`] is the
//! only module that reads them.
//!
//! **What follows from it.** [`checks`] turns a snapshot of the evidence into findings: one file
//! per check, one table of checks, one closed table of reasons, and the what-if of every node.
//! [`gate`] turns findings into a verdict over time: the unbroken healthy window, the view that
//! expires, and the Machine between inputs and effects. These three are pure: no clock, no I/O,
//! no task; `tests/fast/architecture.rs` holds them to an allow-list.
//!
//! **Where it comes from.** [`kafka`] is a thin client of the wire protocol, [`jmx`] reads
//! exporters' pages. [`collect`] decides what to ask whom, how often and with which deadline, and
//! leaves the answers on a board.
//!
//! **Where it goes.** [`engine`] is one task per gate that owns its Machine: it drains the board,
//! steps, and carries out effects. [`store`] keeps what has to survive; [`view`] is the published
//! judgement, read by [`server`] (HTTP), [`metrics`] and nobody else's rules.
//!
//! **Around it.** [`config`] reads settings from files, environment and flags, all from one table
//! of keys. [`doctor`] looks at a cluster once, as a gate would. [`files`] reads certificates, keys
//! and secrets, [`tls`] makes TLS of them; [`rights`] says who may ask our own server. [`cli`] is
//! the command line, [`telemetry`]
//! the log, [`app`] puts the parts together.
//! [`model`] is a simulated Kafka cluster: the demo and the simulation run on it.
//!
//! Facts flow one way: `kafka`, `jmx` -> `collect` -> `engine` (`evidence`, `checks`, `gate`) ->
//! `store`, `view` -> `server`, `metrics`, `cli`.

pub mod app;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod evidence;
pub mod files;
pub mod gate;
pub mod jmx;
pub mod kafka;
pub mod metrics;
pub mod model;
pub mod rights;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod view;
