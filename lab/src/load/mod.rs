//! A producer and consumers that account for every record.
//!
//! The producer is what a careful application uses: `acks=all`, idempotent. Each record carries
//! the run's id and its sequence number. At the end the whole topic is read again from the
//! beginning, which decides what is lost (acknowledged and not there) and doubled (there twice).

mod ledger;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::ledger::Ledger;
pub use self::ledger::LoadStatus;
use self::workers::Workers;
use crate::format::random_id;
use crate::process::lock;

/// Why a load could not be run or accounted for.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("use Kafka as a client: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("find the topic {topic}: it has no partitions")]
    NoTopic { topic: String },
    #[error("read the topic {topic} again: only {read} of {wanted} offsets within {deadline:?}")]
    Unread {
        topic: String,
        read: i64,
        wanted: i64,
        deadline: Duration,
    },
    #[error(
        "account for the topic {topic}: partition {partition} starts at offset {low}, records were deleted"
    )]
    Deleted {
        topic: String,
        partition: i32,
        low: i64,
    },
    #[error("run the load's threads: {why}")]
    Thread { why: String },
}

/// What load.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    pub bootstrap: String,
    /// User and password for SASL PLAIN.
    pub login: Option<(String, String)>,
    pub topic: String,
    /// Records per second.
    pub rate: u32,
    /// Bytes per record, at least 64.
    pub size: usize,
    /// Consumers in one group; 0: nobody reads while the load is running.
    pub consumers: u16,
    /// The consumers' group; `None`: `lab-` and the run's id.
    pub group: Option<String>,
    /// librdkafka's `message.timeout.ms`: after this a record is a delivery error.
    pub message_timeout: Duration,
}

impl LoadSpec {
    /// 500 records of 200 bytes a second, one consumer, 120 s until a delivery error.
    pub fn new(bootstrap: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            login: None,
            topic: topic.into(),
            rate: 500,
            size: 200,
            consumers: 1,
            group: None,
            message_timeout: Duration::from_secs(120),
        }
    }

    #[must_use]
    pub fn rate(mut self, records_per_second: u32) -> Self {
        self.rate = records_per_second;
        self
    }

    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    #[must_use]
    pub fn consumers(mut self, count: u16) -> Self {
        self.consumers = count;
        self
    }

    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    #[must_use]
    pub fn login(mut self, login: Option<(String, String)>) -> Self {
        self.login = login;
        self
    }
}

/// The final account of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    pub run: String,
    pub topic: String,
    /// How long records were sent.
    pub seconds: f64,
    pub sent: u64,
    pub acknowledged: u64,
    /// Records the producer gave up, by [`LoadReport::errors`].
    pub delivery_errors: u64,
    /// Records with neither acknowledgement nor error (the flush at the end was cut short).
    pub unanswered: u64,
    pub errors: BTreeMap<String, u64>,
    /// Different records the live consumers have read.
    pub read_live: u64,
    /// Records the live consumers have read more than once (after a rebalance; no fault of Kafka).
    pub read_live_again: u64,
    /// Acknowledged, and not in the topic at the end.
    pub lost: u64,
    pub lost_examples: Vec<u64>,
    /// In the topic more than once.
    pub doubled: u64,
    pub doubled_examples: Vec<u64>,
    /// In the topic although never acknowledged: allowed.
    pub stored_unacknowledged: u64,
    pub ack_p50_ms: u64,
    pub ack_p99_ms: u64,
    /// Longest time from sending a record to its acknowledgement.
    pub worst_ack_ms: u64,
    /// Longest time without any acknowledgement.
    pub longest_silence_ms: u64,
}

impl LoadReport {
    /// Nothing lost, doubled, failed or unanswered, and something was sent.
    pub fn is_clean(&self) -> bool {
        let faults = [
            self.lost,
            self.doubled,
            self.delivery_errors,
            self.unanswered,
        ];
        self.sent > 0 && faults.iter().all(|count| *count == 0)
    }
}

/// A running load. Dropping it ends it without an account.
pub struct Load {
    spec: LoadSpec,
    run: String,
    ledger: Arc<Mutex<Ledger>>,
    workers: Workers,
}

impl Load {
    /// Starts sending, and reading if consumers are wanted. Returns at once.
    ///
    /// # Errors
    /// When librdkafka refuses the settings or a thread cannot start.
    pub fn start(spec: LoadSpec) -> Result<Self, LoadError> {
        let run = random_id();
        let ledger = Arc::new(Mutex::new(Ledger::new(Instant::now())));
        let workers = Workers::start(&spec, &run, &ledger)?;
        Ok(Self {
            spec,
            run,
            ledger,
            workers,
        })
    }

    /// Counts so far.
    pub fn status(&self) -> LoadStatus {
        lock(&self.ledger).status()
    }

    /// Stops sending, waits for what is under way, reads the whole topic again and accounts.
    ///
    /// # Errors
    /// When the topic cannot be read to its end; then there is no account.
    pub async fn stop(self) -> Result<LoadReport, LoadError> {
        let account = tokio::task::spawn_blocking(move || self.account()).await;
        account.map_err(|error| LoadError::Thread {
            why: error.to_string(),
        })?
    }

    fn account(mut self) -> Result<LoadReport, LoadError> {
        let load = lock(&self.ledger).begun().elapsed();
        self.workers.finish_producing(self.spec.message_timeout);
        self.workers.finish_reading(&self.ledger);
        workers::read_all(&self.spec, &self.run, &self.ledger)?;
        Ok(lock(&self.ledger).report(&self.run, &self.spec.topic, load))
    }
}
