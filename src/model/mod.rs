//! One pure simulated Kafka cluster, on KRaft or ZooKeeper, for the demo, the tests and the
//! simulation.
//!
//! A [`Cluster`] is a value: no I/O, no clock, no threads; the same [`Spec`] (with its seed) and
//! the same calls give the same answers. It has three sides:
//!
//! - **time**: [`Cluster::advance`] lets queued events happen up to a moment;
//! - **operations**: [`Cluster::kill`], [`Cluster::stop`], [`Cluster::start`],
//!   [`Cluster::freeze`], [`Cluster::cut`] and others do what people and accidents do;
//! - **outside**: [`Cluster::handle`] answers a Kafka request, [`Cluster::jmx_page`] a scrape,
//!   [`Cluster::link`] and [`Cluster::life`] say what connections meet.
//!
//! Inside, `state` is the layout, `image` the metadata (what the active controller has committed,
//! and each node's own published copy, which lags), `published` how far that copy is, `controllers`
//! the quorum, `voters` their directories, `zookeeper` what is different without a quorum,
//! `brokers` registration, fencing and controlled shutdown, `elections` leaders, ISRs and ELRs, `replication` the logs, `acknowledged`
//! what an oracle asks of them, `moves` reassignments, `disks` log dirs that fail, `recovery` what
//! follows an unclean stop, `topics` and `joining` what comes and goes, `life` events and
//! operations, `faults` exporters that lie, answers that are slow and rights that are missing,
//! `requests` the wire protocol, `jmx` the exporter's pages and `exporter` its life. Every
//! operation first settles the logs, then changes something, then lets all consequences follow
//! (`Cluster::refresh`), so that new behaviours only add an event or an operation. `serve` is the
//! only part with I/O: it puts a cluster behind real TCP and HTTP.
//!
//! Comments name where a behaviour comes from. Reference files are measured or read, and
//! `tests/fixtures/traces` are recordings that the tests hold the model to. The names of Kafka's
//! classes, settings, KIPs and issues were checked against apache/kafka at commit 1eb7644349cb
//! (trunk, October 2024) and its tags 2.8.2 to 3.9.0-rc3; what is newer, at d79bd502ec7f (trunk,
//! August 2026) and on the branches 4.0 to 4.4 of that month, as confluentinc/kafka mirrors them.
//! A class has its newest name. What the source does not say, or what is known to be different
//! here, is marked "assumed" ("there" then means in Kafka).

#![expect(
    clippy::cast_precision_loss,
    clippy::match_same_arms,
    clippy::needless_pass_by_value,
    clippy::struct_excessive_bools,
    clippy::unused_async,
    reason = "a simulation: readable rows of behaviour count more than these"
)]

mod acknowledged;
mod brokers;
mod controllers;
mod disks;
mod elections;
mod exporter;
mod faults;
mod groups;
mod image;
mod jmx;
mod joining;
mod life;
mod moves;
mod outside;
mod published;
mod recovery;
mod release;
mod replication;
mod requests;
pub mod serve;
mod spec;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod timing;
mod topics;
mod voters;
mod zookeeper;

use std::time::Duration;

pub use self::acknowledged::{Harm, Harmed};
pub use self::exporter::{Delayed, Exporter};
pub use self::faults::Fault;
pub use self::image::{Image, Partition, PartitionId, Registration, Topic};
pub use self::jmx::Page;
pub use self::life::OperationError;
pub use self::release::{Feature, Release};
pub use self::spec::{
    Family, GroupSpec, NodeId, NodeSpec, Roles, Settings, Spec, SpecError, TopicSpec,
};
pub use self::state::Cluster;
pub use self::timing::Timing;

/// The biggest request frame that is read, in bytes.
pub const FRAME_LIMIT: usize = 1 << 20;

/// The two kinds of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// Where clients and other brokers connect.
    Broker,
    /// Where brokers and other controllers connect.
    Controller,
}

/// What a new connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is accepted and requests are answered.
    Accepts,
    /// It is refused.
    Refuses,
    /// The kernel accepts it, the frozen process says nothing.
    Silent,
}

/// What a node does with a request. Bytes are one frame without its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answers at once.
    Reply(Vec<u8>),
    /// Answers after a while.
    Delay(Duration, Vec<u8>),
    /// Closes the connection without an answer.
    CloseConnection,
    /// Does not answer now; ask again later with the same request.
    Silent,
}
