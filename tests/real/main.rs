//! The gate in front of real Kafka: one KRaft and one ZooKeeper cluster, each shared by all its
//! scenarios, which run in order and print their seconds. Everything longer is a proof of
//! `lab prove`.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails here"
)]

mod kraft;
#[path = "../fast/promtool.rs"]
mod promtool;
mod scene;
mod zookeeper;
