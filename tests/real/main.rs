//! The gate in front of real Kafka: one KRaft and one ZooKeeper cluster, each shared by all its
//! scenarios. Everything longer is a proof of `lab prove`.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails here")]

mod kraft;
