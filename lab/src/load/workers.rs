//! The threads of a load. librdkafka's calls block, so they get threads of their own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::ledger::Ledger;
use super::{LoadError, LoadSpec};
use crate::process::lock;

/// Length of one burst of the producer.
const TICK: Duration = Duration::from_millis(10);
/// How long live consumers may take to reach the end once nothing is sent any more.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How long the full re-read may take.
const REREAD: Duration = Duration::from_secs(180);

type Shared = Arc<Mutex<Ledger>>;

/// All threads of one load.
pub(super) struct Workers {
    stop_sending: Arc<AtomicBool>,
    stop_reading: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    producer: Arc<LedgerProducer>,
}

impl Workers {
    pub(super) fn start(spec: &LoadSpec, run: &str, ledger: &Shared) -> Result<Self, LoadError> {
        let producer = Arc::new(producer(spec, ledger)?);
        let mut workers = Self {
            stop_sending: Arc::default(),
            stop_reading: Arc::default(),
            sender: None,
            readers: Vec::new(),
            producer: Arc::clone(&producer),
        };
        for _ in 0..spec.consumers {
            let consumer = consumer(spec, run)?;
            let stop = Arc::clone(&workers.stop_reading);
            let (run, ledger) = (run.to_owned(), Arc::clone(ledger));
            let work = move || read_live(&consumer, &run, &ledger, &stop);
            workers.readers.push(spawn("lab-reader", work)?);
        }
        let stop = Arc::clone(&workers.stop_sending);
        let (spec, run, ledger) = (spec.clone(), run.to_owned(), Arc::clone(ledger));
        let work = move || send(&producer, &spec, &run, &ledger, &stop);
        workers.sender = Some(spawn("lab-sender", work)?);
        Ok(workers)
    }

    /// Ends sending and waits until every record has its answer, at most `deadline`.
    pub(super) fn finish_producing(&mut self, deadline: Duration) {
        self.stop_sending.store(true, Ordering::Relaxed);
        join(self.sender.take());
        // Not flushed in time: those records stay unanswered, and the report says so.
        let _ = self.producer.flush(deadline);
    }

    /// Lets the consumers reach the end, then ends them.
    pub(super) fn finish_reading(&mut self, ledger: &Shared) {
        let begun = Instant::now();
        while !self.readers.is_empty() && begun.elapsed() < CATCH_UP && !lock(ledger).all_read() {
            thread::sleep(TICK);
        }
        self.stop_reading.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            join(Some(reader));
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop_sending.store(true, Ordering::Relaxed);
        self.stop_reading.store(true, Ordering::Relaxed);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LoadError> {
    let spawned: io::Result<_> = thread::Builder::new().name(name.into()).spawn(work);
    spawned.map_err(|error| LoadError::Thread {
        why: error.to_string(),
    })
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(_)) = thread.map(JoinHandle::join) {
        tracing::error!("a thread of the load has panicked");
    }
}

type LedgerProducer = ThreadedProducer<Accountant>;

/// Writes every delivery into the ledger.
struct Accountant(Shared);

/// What a record under way carries.
struct Sent {
    seq: u64,
    at: Instant,
}

impl ClientContext for Accountant {}

impl ProducerContext for Accountant {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let now = Instant::now();
        let mut ledger = lock(&self.0);
        match result {
            Ok(_) => ledger.acknowledge(sent.seq, sent.at, now),
            Err((error, _)) => ledger.fail(sent.seq, error.to_string()),
        }
    }
}

fn client(spec: &LoadSpec) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &spec.bootstrap);
    // Addresses of restarted nodes must not be avoided for long: the lab restarts them all day.
    config.set("reconnect.backoff.max.ms", "1000");
    if let Some((user, password)) = &spec.login {
        config
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanisms", "PLAIN");
        config
            .set("sasl.username", user)
            .set("sasl.password", password);
    }
    config
}

fn producer(spec: &LoadSpec, ledger: &Shared) -> Result<LedgerProducer, KafkaError> {
    let mut config = client(spec);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5");
    config.set(
        "message.timeout.ms",
        spec.message_timeout.as_millis().to_string(),
    );
    config.create_with_context(Accountant(Arc::clone(ledger)))
}

fn consumer(spec: &LoadSpec, run: &str) -> Result<BaseConsumer, KafkaError> {
    let group = spec.group.clone().unwrap_or_else(|| format!("lab-{run}"));
    let mut config = client(spec);
    config
        .set("group.id", group)
        .set("auto.offset.reset", "earliest");
    config
        .set("session.timeout.ms", "10000")
        .set("auto.commit.interval.ms", "1000");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[&spec.topic])?;
    Ok(consumer)
}

fn send(producer: &LedgerProducer, spec: &LoadSpec, run: &str, ledger: &Shared, stop: &AtomicBool) {
    let begun = Instant::now();
    let mut sent: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = u128::from(spec.rate) * begun.elapsed().as_millis() / 1000;
        while u128::from(sent) < due && !stop.load(Ordering::Relaxed) {
            let seq = lock(ledger).send();
            send_one(producer, spec, run, ledger, seq);
            sent += 1;
        }
        thread::sleep(TICK);
    }
}

fn send_one(producer: &LedgerProducer, spec: &LoadSpec, run: &str, ledger: &Shared, seq: u64) {
    let key = seq.to_string();
    let payload = payload(run, seq, spec.size);
    let sent = Box::new(Sent {
        seq,
        at: Instant::now(),
    });
    let mut record = BaseRecord::with_opaque_to(&spec.topic, sent)
        .key(&key)
        .payload(&payload);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((error, unsent)) if is_queue_full(&error) => {
                // The clock of this record runs on: the application would wait just so.
                record = unsent;
                thread::sleep(TICK);
            }
            Err((error, _)) => return lock(ledger).fail(seq, error.to_string()),
        }
    }
}

fn is_queue_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull)
}

/// `RUN:SEQ:` filled up with dots.
fn payload(run: &str, seq: u64, size: usize) -> String {
    format!("{:.<size$}", format!("{run}:{seq}:"))
}

/// The sequence number, if the record is of this run.
fn sequence(payload: &[u8], run: &str) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    let (seq, _) = text.strip_prefix(run)?.strip_prefix(':')?.split_once(':')?;
    seq.parse().ok()
}

fn sequence_of(message: &BorrowedMessage<'_>, run: &str) -> Option<u64> {
    sequence(message.payload()?, run)
}

fn read_live(consumer: &BaseConsumer, run: &str, ledger: &Shared, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // Errors are passing ones here (a broker is down); what stays unread shows in the report.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100))
            && let Some(seq) = sequence_of(&message, run)
        {
            lock(ledger).read(seq);
        }
    }
}

/// Reads the whole topic from its beginning and notes every record of this run.
pub(super) fn read_all(spec: &LoadSpec, run: &str, ledger: &Shared) -> Result<(), LoadError> {
    let mut config = client(spec);
    // The group is never joined; librdkafka wants a name all the same.
    config
        .set("group.id", format!("lab-reread-{run}"))
        .set("enable.auto.commit", "false");
    config
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "error");
    let consumer: BaseConsumer = config.create()?;
    let mut ends = ends(&consumer, &spec.topic)?;
    let wanted: i64 = ends.iter().map(|(_, end)| end).sum();
    ends.retain(|(_, end)| *end > 0);
    let mut list = TopicPartitionList::new();
    for (partition, _) in &ends {
        list.add_partition_offset(&spec.topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;

    let begun = Instant::now();
    let mut read: i64 = 0;
    while !ends.is_empty() {
        if begun.elapsed() > REREAD {
            let topic = spec.topic.clone();
            return Err(LoadError::Unread {
                topic,
                read,
                wanted,
                deadline: REREAD,
            });
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        read += 1;
        if let Some(seq) = sequence_of(&message, run) {
            lock(ledger).found(seq);
        }
        let (partition, next) = (message.partition(), message.offset() + 1);
        ends.retain(|(other, end)| *other != partition || *end > next);
    }
    Ok(())
}

/// Partition and end offset of every partition; refuses a topic that has lost its beginning.
fn ends(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64)>, LoadError> {
    let answer = Duration::from_secs(30);
    let metadata = consumer.fetch_metadata(Some(topic), answer)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|p| p.id())
        .collect();
    if partitions.is_empty() {
        return Err(LoadError::NoTopic {
            topic: topic.to_owned(),
        });
    }
    let mut ends = Vec::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, answer)?;
        if low > 0 {
            return Err(LoadError::Deleted {
                topic: topic.to_owned(),
                partition,
                low,
            });
        }
        ends.push((partition, high));
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_carry_run_and_sequence() {
        let record = payload("run", 12, 64);
        assert_eq!(record.len(), 64);
        assert_eq!(sequence(record.as_bytes(), "run"), Some(12));
        assert_eq!(sequence(record.as_bytes(), "ru"), None);
        assert_eq!(sequence(b"run:1", "run"), None);
        assert_eq!(sequence(b"", "run"), None);
        assert_eq!(sequence(&[0xff, 0xfe], "run"), None);
    }

    #[test]
    fn a_load_without_kafka_answers_with_an_error_and_not_with_zeros() {
        let ledger = Arc::new(Mutex::new(Ledger::new(Instant::now())));
        let mut spec = LoadSpec::new("no such address", "topic");
        spec.login = Some(("u".into(), "p".into()));
        assert!(producer(&spec, &ledger).is_ok());
        let mut config = client(&spec);
        let consumer: BaseConsumer = config.set("group.id", "g").create().unwrap();
        let answer = consumer.fetch_metadata(Some("topic"), Duration::from_millis(200));
        assert!(answer.is_err());
    }
}
