//! Who has what become of every record: pure accounting, indexed by sequence number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::LoadReport;

/// Sequence numbers named in a report as examples.
const EXAMPLES: usize = 20;

/// The whole account of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    begun: Instant,
    records: Vec<Record>,
    errors: BTreeMap<String, u64>,
    latencies: Vec<Duration>,
    last_ack: Instant,
    longest_silence: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    fate: Fate,
    /// Times the live consumers have read it.
    live: u32,
    /// Times it is in the topic.
    stored: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Pending,
    Acknowledged,
    Failed,
}

/// Counts while the load is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoadStatus {
    pub sent: u64,
    pub acknowledged: u64,
    pub read: u64,
    pub delivery_errors: u64,
    pub worst_ack_ms: u64,
}

impl Ledger {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            records: Vec::new(),
            errors: BTreeMap::new(),
            latencies: Vec::new(),
            last_ack: now,
            longest_silence: Duration::ZERO,
        }
    }

    /// The next sequence number.
    pub(crate) fn send(&mut self) -> u64 {
        self.records.push(Record::default());
        count(self.records.len().saturating_sub(1))
    }

    pub(crate) fn acknowledge(&mut self, seq: u64, sent: Instant, now: Instant) {
        self.set(seq, Fate::Acknowledged);
        self.latencies.push(now.saturating_duration_since(sent));
        let silence = now.saturating_duration_since(self.last_ack);
        self.longest_silence = self.longest_silence.max(silence);
        self.last_ack = now;
    }

    pub(crate) fn fail(&mut self, seq: u64, error: String) {
        self.set(seq, Fate::Failed);
        let errors = self.errors.entry(error).or_default();
        *errors = errors.saturating_add(1);
    }

    /// A live consumer has read it.
    pub(crate) fn read(&mut self, seq: u64) {
        if let Some(record) = self.record(seq) {
            record.live = record.live.saturating_add(1);
        }
    }

    /// The full re-read at the end has found it.
    pub(crate) fn found(&mut self, seq: u64) {
        if let Some(record) = self.record(seq) {
            record.stored = record.stored.saturating_add(1);
        }
    }

    /// Whether the live consumers have read all that was acknowledged.
    pub(crate) fn all_read(&self) -> bool {
        self.records
            .iter()
            .all(|record| record.fate != Fate::Acknowledged || record.live > 0)
    }

    pub(crate) fn status(&self) -> LoadStatus {
        LoadStatus {
            sent: count(self.records.len()),
            acknowledged: self.number(|record| record.fate == Fate::Acknowledged),
            read: self.number(|record| record.live > 0),
            delivery_errors: self.number(|record| record.fate == Fate::Failed),
            worst_ack_ms: millis(self.latencies.iter().max().copied().unwrap_or_default()),
        }
    }

    /// The final account; `seconds` of load before the flush.
    pub(crate) fn report(&self, run: &str, topic: &str, load: Duration) -> LoadReport {
        let status = self.status();
        let lost = |record: &Record| record.fate == Fate::Acknowledged && record.stored == 0;
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        LoadReport {
            run: run.to_owned(),
            topic: topic.to_owned(),
            seconds: load.as_secs_f64(),
            sent: status.sent,
            acknowledged: status.acknowledged,
            delivery_errors: status.delivery_errors,
            unanswered: self.number(|record| record.fate == Fate::Pending),
            errors: self.errors.clone(),
            read_live: status.read,
            read_live_again: self.number(|record| record.live > 1),
            lost: self.number(lost),
            lost_examples: self.examples(lost),
            doubled: self.number(|record| record.stored > 1),
            doubled_examples: self.examples(|record| record.stored > 1),
            stored_unacknowledged: self
                .number(|record| record.fate != Fate::Acknowledged && record.stored > 0),
            ack_p50_ms: millis(percentile(&latencies, 50)),
            ack_p99_ms: millis(percentile(&latencies, 99)),
            worst_ack_ms: status.worst_ack_ms,
            longest_silence_ms: millis(self.longest_silence),
        }
    }

    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    fn set(&mut self, seq: u64, fate: Fate) {
        if let Some(record) = self.record(seq) {
            record.fate = fate;
        }
    }

    fn record(&mut self, seq: u64) -> Option<&mut Record> {
        self.records.get_mut(usize::try_from(seq).ok()?)
    }

    fn number(&self, wanted: impl Fn(&Record) -> bool) -> u64 {
        count(self.records.iter().filter(|record| wanted(record)).count())
    }

    fn examples(&self, wanted: impl Fn(&Record) -> bool) -> Vec<u64> {
        let numbered = (0..).zip(&self.records);
        numbered
            .filter(|(_, record)| wanted(record))
            .map(|(seq, _)| seq)
            .take(EXAMPLES)
            .collect()
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last.saturating_mul(percent) / 100)
        .copied()
        .unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_is_counted_once() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut ledger = Ledger::new(begun);
        for _ in 0..6 {
            ledger.send();
        }
        // 0 fine, 1 lost, 2 doubled, 3 failed but stored, 4 failed, 5 never answered.
        ledger.acknowledge(0, at(0), at(5));
        ledger.acknowledge(1, at(0), at(7));
        ledger.acknowledge(2, at(0), at(900));
        ledger.fail(3, "time-out".into());
        ledger.fail(4, "time-out".into());
        for seq in [0, 2, 2, 3] {
            ledger.found(seq);
            ledger.read(seq);
        }
        ledger.found(77);
        assert!(!ledger.all_read());

        let report = ledger.report("r", "t", Duration::from_secs(1));
        assert_eq!((report.sent, report.acknowledged), (6, 3));
        assert_eq!(
            (report.lost, report.lost_examples.as_slice()),
            (1, &[1][..])
        );
        assert_eq!(
            (report.doubled, report.doubled_examples.as_slice()),
            (1, &[2][..])
        );
        assert_eq!((report.delivery_errors, report.unanswered), (2, 1));
        assert_eq!(report.errors, BTreeMap::from([("time-out".to_owned(), 2)]));
        assert_eq!(report.stored_unacknowledged, 1);
        assert_eq!((report.read_live, report.read_live_again), (3, 1));
        assert_eq!((report.worst_ack_ms, report.longest_silence_ms), (900, 893));
        assert_eq!(report.ack_p50_ms, 7);
    }

    #[test]
    fn a_clean_run_is_clean() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        for _ in 0..3 {
            let seq = ledger.send();
            ledger.acknowledge(seq, now, now);
            ledger.found(seq);
            ledger.read(seq);
        }
        assert!(ledger.all_read());
        assert!(ledger.report("r", "t", Duration::ZERO).is_clean());
    }
}
