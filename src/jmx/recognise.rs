//! Which series on a page is which of Kafka's MBeans, whatever rules file named it.
//!
//! Exporters rename: `kafka_server_ReplicaManager_Value{name="UnderReplicatedPartitions"}`,
//! `kafka_server_replicamanager_underreplicatedpartitions` and
//! `kafka_server_replicamanager_total_underreplicatedpartitions_value` are one number. Reduced to
//! its letters and digits in lower case, a name is `kafka<domain><type>[total]<name>[suffix]`, or
//! `kafka<domain><type>(value|count)` with the MBean's name in the label `name`. From the table
//! of wanted MBeans all such keys are generated once; a page's names are looked up in them
//! (reference `kafka-jmx-metrics.md` 2.6).
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::scan::{Label, Verdict};
use super::table::{DOMAINS, Form, PARTITION, ROWS, Reading, Series, generated};
use crate::evidence::jmx::Metric;

/// What a scan of a page is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The node's own numbers.
    Node,
    /// The partitions' shares, of which a page may have a hundred thousand.
    Partitions,
}

/// A series that the configuration names, where no rule finds a metric: the last resort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredSeries {
    /// Its name as the page has it.
    pub name: String,
    /// Labels it must have, with their values; others may be there too.
    pub labels: BTreeMap<String, String>,
}

/// As a page has it.
impl fmt::Display for ConfiguredSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (place, (label, value)) in self.labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            write!(f, "{before}{label}={value:?}")?;
        }
        if !self.labels.is_empty() {
            f.write_str("}")?;
        }
        Ok(())
    }
}

/// The recogniser: the generated keys, and the configured series that go before them.
#[derive(Debug)]
pub struct Recogniser {
    keys: HashMap<Box<[u8]>, Series>,
    configured: BTreeMap<Metric, ConfiguredSeries>,
}

impl Default for Recogniser {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl Recogniser {
    /// A recogniser. A configured metric is read from its configured series only.
    pub fn new(configured: BTreeMap<Metric, ConfiguredSeries>) -> Self {
        let mut keys = HashMap::new();
        for (key, series) in generated() {
            keys.insert(key.into_bytes().into_boxed_slice(), series);
        }
        Self { keys, configured }
    }

    /// The configured series.
    pub const fn configured(&self) -> &BTreeMap<Metric, ConfiguredSeries> {
        &self.configured
    }

    /// Metrics whose configured series gave none of these values, and that series.
    pub fn unfound(&self, values: &BTreeMap<Metric, f64>) -> BTreeMap<Metric, String> {
        let configured = self.configured.iter();
        let unfound = configured.filter(|(metric, _)| !values.contains_key(metric));
        unfound
            .map(|(metric, series)| (*metric, series.to_string()))
            .collect()
    }

    /// What the samples under this name are.
    pub fn judge(&self, name: &[u8], pass: Pass) -> Verdict<Series> {
        if let Some(metric) = self.configured_as(name) {
            return Verdict::Wanted(Series::Configured(metric));
        }
        let key = Key::of(name);
        let Some(series) = self.look_up(&key) else {
            let kafka = DOMAINS
                .iter()
                .any(|domain| key.text().starts_with(domain.as_bytes()));
            return if kafka { Verdict::Kafka } else { Verdict::Skip };
        };
        let of_partitions = match series {
            Series::Flat(reading) => matches!(reading, Reading::PartitionShare(_)),
            Series::Named { bean, .. } => bean == PARTITION,
            Series::Configured(_) => false,
        };
        match (pass, of_partitions) {
            (Pass::Node, true) => Verdict::Kafka,
            (Pass::Node, false) if beside_kafka(series) => Verdict::Beside(series),
            (Pass::Node, false) | (Pass::Partitions, true) => Verdict::Wanted(series),
            (Pass::Partitions, false) => Verdict::Skip,
        }
    }

    /// What one sample of a series is; `None` when it is nothing that is read.
    pub fn reading(&self, series: Series, labels: &[Label<'_>]) -> Option<Reading> {
        let series = match series {
            Series::Configured(metric) => {
                let name = self.configured.get(&metric)?.name.as_str();
                if let Some(metric) = self.chosen(name, labels) {
                    return Some(Reading::Configured(metric));
                }
                self.look_up(&Key::of(name.as_bytes()))?
            }
            Series::Flat(_) | Series::Named { .. } => series,
        };
        let reading = match series {
            Series::Flat(reading) => reading,
            Series::Named { bean, count } => named(bean, count, labels)?,
            Series::Configured(_) => return None,
        };
        self.not_configured(reading).then_some(reading)
    }

    /// The metric whose configured series this sample is.
    fn chosen(&self, name: &str, labels: &[Label<'_>]) -> Option<Metric> {
        let fits = |(_, series): &(&Metric, &ConfiguredSeries)| {
            series.name == name && series.labels.iter().all(|(k, v)| has(labels, k, v))
        };
        self.configured.iter().find(fits).map(|(metric, _)| *metric)
    }

    fn look_up(&self, key: &Key) -> Option<Series> {
        let text = key.text();
        self.keys
            .get(text)
            .copied()
            .filter(|series| !(key.rates && is_meter(text, *series)))
            .or_else(|| by_prefix(text).map(Series::Flat))
    }

    fn configured_as(&self, name: &[u8]) -> Option<Metric> {
        let named = |(_, series): &(&Metric, &ConfiguredSeries)| series.name.as_bytes() == name;
        self.configured
            .iter()
            .find(named)
            .map(|(metric, _)| *metric)
    }

    fn not_configured(&self, reading: Reading) -> bool {
        match reading {
            Reading::Value(metric) | Reading::Share(metric) | Reading::PartitionShare(metric) => {
                !self.configured.contains_key(&metric)
            }
            Reading::Configured(_)
            | Reading::HeartbeatAge
            | Reading::HeartbeatAgeOf(_)
            | Reading::RaftState
            | Reading::RaftStateIs(_)
            | Reading::Version
            | Reading::AppStartMillis
            | Reading::JvmStartMillis
            | Reading::ProcessStartSeconds
            | Reading::ExporterBuild => true,
        }
    }
}

/// The value of a label; label names are compared by their letters and digits, because rules
/// files change their case and exporters their dashes.
pub(super) fn label<'l>(labels: &'l [Label<'_>], name: &str) -> Option<&'l [u8]> {
    let wanted = |label: &&Label<'_>| letters(&label.name).eq(name.bytes());
    labels.iter().find(wanted).map(|label| &*label.value)
}

fn has(labels: &[Label<'_>], name: &str, value: &str) -> bool {
    labels
        .iter()
        .any(|label| *label.name == *name.as_bytes() && *label.value == *value.as_bytes())
}

/// A metric name, a label name or an MBean name reduced to what rules files do not change.
fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase)
}

/// Each byte as [`letters`] makes it; 0 for those that it leaves out.
const LETTERS: [u8; 256] = letters_by_byte();

#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "runs at compile time, where it would be an error"
)]
const fn letters_by_byte() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte = match byte.checked_add(1) {
            Some(next) => next,
            None => return table,
        };
    }
}

/// A metric name by its letters, at most 128 of them; no generated key is that long.
struct Key {
    text: [u8; 128],
    len: usize,
    /// cp-helm-charts' prefix `cp_`: its meters are one-minute rates, not counts.
    rates: bool,
}

impl Key {
    fn of(name: &[u8]) -> Self {
        let rates = name.starts_with(b"cp_kafka_");
        let name = if rates {
            name.get(3..).unwrap_or(name)
        } else {
            name
        };
        let mut text = [0; 128];
        let mut len = 0_usize;
        // Without a branch per byte: this runs for every name of a page.
        for byte in name {
            let letter = LETTERS.get(usize::from(*byte)).copied().unwrap_or(0);
            let Some(slot) = text.get_mut(len) else {
                break;
            };
            *slot = letter;
            len = len.saturating_add(usize::from(letter != 0));
        }
        Self { text, len, rates }
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

/// Series of the JVM and of the exporter.
const fn beside_kafka(series: Series) -> bool {
    matches!(
        series,
        Series::Flat(
            Reading::ProcessStartSeconds | Reading::ExporterBuild | Reading::JvmStartMillis
        )
    )
}

fn is_meter(key: &[u8], series: Series) -> bool {
    match series {
        Series::Named { count, .. } => count,
        Series::Flat(reading) => ROWS.iter().any(|row| {
            row.form == Form::Meter
                && row.reading == reading
                && key.starts_with(row.bean.as_bytes())
        }),
        Series::Configured(_) => false,
    }
}

/// Default form: the MBean is in the label `name`, in whatever case.
fn named(bean: &'static str, count: bool, labels: &[Label<'_>]) -> Option<Reading> {
    let form = if count { Form::Meter } else { Form::Gauge };
    let name = label(labels, "name")?;
    ROWS.iter()
        .find(|row| row.bean == bean && row.form == form && letters(name).eq(row.name.bytes()))
        .map(|row| row.reading)
}

/// Names with something of the cluster in them (the 0.8.2 rules and the Bitnami chart).
fn by_prefix(key: &[u8]) -> Option<Reading> {
    const HEARTBEAT: &[u8] =
        b"kafkacontrollerkafkacontrollertimesincelastheartbeatreceivedmsbroker";
    const LOGS: &[u8] = b"kafkaloglogmanagerremaininglogstorecover";
    if key.starts_with(LOGS) {
        return Some(Reading::Share(Metric::RemainingLogsToRecover));
    }
    let broker = key.strip_prefix(HEARTBEAT)?;
    let broker = broker.strip_suffix(b"value").unwrap_or(broker);
    let id = std::str::from_utf8(broker).ok()?.parse().ok()?;
    Some(Reading::HeartbeatAgeOf(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_do_not_collide_and_fit_the_buffer() {
        let mut seen = HashMap::new();
        for (key, series) in generated() {
            assert!(key.len() < 128, "{key}");
            assert_eq!(letters(key.as_bytes()).count(), key.len(), "{key}");
            if let Some(other) = seen.insert(key.clone(), series) {
                assert_eq!(other, series, "{key}");
            }
        }
        assert!(seen.len() > 300);
    }

    #[test]
    fn every_metric_has_a_row() {
        for metric in Metric::ALL {
            let found = ROWS.iter().any(
                |row| matches!(row.reading, Reading::Value(m) | Reading::Share(m) if m == *metric),
            );
            assert!(found, "{metric}");
        }
    }

    #[test]
    fn keys_are_made_of_letters() {
        let name: Vec<u8> = (0..=255).collect();
        let key = Key::of(&name);
        assert_eq!(key.text(), letters(&name).collect::<Vec<_>>());
        assert_eq!(Key::of(&[b'x'; 300]).text().len(), 128);
    }

    fn flat(name: &str) -> Option<Reading> {
        match Recogniser::default().judge(name.as_bytes(), Pass::Node) {
            Verdict::Wanted(Series::Flat(reading)) | Verdict::Beside(Series::Flat(reading)) => {
                Some(reading)
            }
            Verdict::Skip | Verdict::Kafka | Verdict::Wanted(_) | Verdict::Beside(_) => None,
        }
    }

    #[test]
    fn one_metric_under_every_spelling() {
        let under_replicated = Some(Reading::Value(Metric::UnderReplicatedPartitions));
        for name in [
            "kafka_server_replicamanager_underreplicatedpartitions",
            "kafka_server_replicamanager_total_underreplicatedpartitions_value",
            "cp_kafka_server_replicamanager_underreplicatedpartitions",
            "kafka_server_ReplicaManager_UnderReplicatedPartitions_Value",
            "kafka_server_ReplicaManager_UnderReplicatedPartitions",
            "kafka_server_replica_manager_under_replicated_partitions",
            "messaging.kafka.partitions.under-replicated",
        ] {
            assert_eq!(flat(name), under_replicated, "{name}");
        }
    }

    #[test]
    fn connections_with_zookeeper_under_every_spelling() {
        let connects = Some(Reading::Value(Metric::ZooKeeperConnects));
        let disconnects = Some(Reading::Value(Metric::ZooKeeperDisconnects));
        for (name, reading) in [
            (
                "kafka_server_sessionexpirelistener_zookeepersyncconnects_total",
                connects,
            ),
            (
                "kafka_server_sessionexpirelistener_zookeepersyncconnectspersec_count",
                connects,
            ),
            (
                "kafka_server_sessionexpirelistener_zookeeperdisconnects_total",
                disconnects,
            ),
            (
                "kafka_server_SessionExpireListener_ZooKeeperDisconnectsPerSec_Count",
                disconnects,
            ),
            (
                "kafka_server_sessionexpirelistener_zookeeperexpires_total",
                None,
            ),
            (
                "cp_kafka_server_sessionexpirelistener_zookeeperdisconnectspersec",
                None,
            ),
        ] {
            assert_eq!(flat(name), reading, "{name}");
        }
        let recogniser = Recogniser::default();
        let name = b"kafka_server_SessionExpireListener_Count";
        let Verdict::Wanted(series) = recogniser.judge(name, Pass::Node) else {
            panic!("not wanted")
        };
        let read = |value: &'static str| {
            let label = Label {
                name: b"name".into(),
                value: value.as_bytes().into(),
            };
            recogniser.reading(series, &[label])
        };
        assert_eq!(read("ZooKeeperSyncConnectsPerSec"), connects);
        assert_eq!(read("ZooKeeperDisconnectsPerSec"), disconnects);
        let failures = Some(Reading::Value(Metric::ZooKeeperAuthFailures));
        assert_eq!(read("ZooKeeperAuthFailuresPerSec"), failures);
        assert_eq!(read("ZooKeeperExpiresPerSec"), None);
    }

    #[test]
    fn rates_and_other_beans_are_not_taken_for_counts() {
        for name in [
            "cp_kafka_server_brokertopicmetrics_bytesinpersec",
            "cp_kafka_controller_controllerstats_uncleanleaderelectionspersec",
            "kafka_server_BrokerTopicMetrics_OneMinuteRate",
            "kafka_server_brokertopicmetrics_bytesinpersec_oneminuterate",
            "kafka_server_replicaalterlogdirsmanager_failedpartitionscount",
            "kafka_server_replicamanager_atminisrpartitioncount",
            "kafka_server_raft_channel_metrics_current_leader",
            "kafka_topic_partition_under_replicated_partition",
        ] {
            assert_eq!(flat(name), None, "{name}");
        }
    }

    #[test]
    fn names_with_ids_and_states_in_them() {
        let age = "kafka_controller_kafkacontroller_timesincelastheartbeatreceivedms_broker_12";
        assert_eq!(flat(age), Some(Reading::HeartbeatAgeOf(12)));
        assert_eq!(
            flat(&format!("{age}_value")),
            Some(Reading::HeartbeatAgeOf(12))
        );
        let state = flat("kafka_server_raft_metrics_current_state_unattached_voted");
        assert!(
            matches!(state, Some(Reading::RaftStateIs(word)) if word.as_str() == "unattached-voted")
        );
        assert_eq!(
            flat("kafka_log_logmanager_remaininglogstorecover_dir_var_lib_kafka_value"),
            Some(Reading::Share(Metric::RemainingLogsToRecover))
        );
    }

    #[test]
    fn a_configured_series_replaces_the_recognised_one_and_hides_no_other() {
        let series = ConfiguredSeries {
            name: String::from("kafka_server_ReplicaManager_Value"),
            labels: BTreeMap::from([(String::from("name"), String::from("Mine"))]),
        };
        let metric = Metric::UnderReplicatedPartitions;
        let recogniser = Recogniser::new(BTreeMap::from([(metric, series)]));
        let Verdict::Wanted(series) =
            recogniser.judge(b"kafka_server_ReplicaManager_Value", Pass::Node)
        else {
            panic!("not wanted")
        };
        let read = |name: &'static str| {
            let label = Label {
                name: b"name".into(),
                value: name.as_bytes().into(),
            };
            recogniser.reading(series, &[label])
        };
        assert_eq!(read("Mine"), Some(Reading::Configured(metric)));
        assert_eq!(read("UnderReplicatedPartitions"), None);
        assert_eq!(
            read("LeaderCount"),
            Some(Reading::Value(Metric::LeaderCount))
        );
    }
}
