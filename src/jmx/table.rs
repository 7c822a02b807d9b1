//! The wanted MBeans, how each is read, and every key under which rules files name them.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

use crate::evidence::jmx::Metric;

/// How the samples of a recognised series are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The value of this metric for the whole node. A sample with a `topic` label is one topic's
    /// and is left out.
    Value(Metric),
    /// One share of this metric, by log dir; the shares are added up.
    Share(Metric),
    /// One partition's share of this metric, with which the aggregate is replaced where it is
    /// not exported.
    PartitionShare(Metric),
    /// The value of this metric from the series that the configuration names.
    Configured(Metric),
    /// Milliseconds since this broker's (label `broker`) last heartbeat.
    HeartbeatAge,
    /// The same, the broker being in the name.
    HeartbeatAgeOf(i32),
    /// The raft state is in a label.
    RaftState,
    /// The raft state is the end of the name.
    RaftStateIs(RaftWord),
    /// Kafka's release in the label `version`; the node id in `broker_id`, where it is there.
    Version,
    /// app-info's `start-time-ms`; the node id in `id` or `client-id`, where it is there.
    AppStartMillis,
    /// `java.lang:type=Runtime` StartTime in milliseconds: of Kafka's JVM wherever the exporter
    /// runs.
    JvmStartMillis,
    /// `process_start_time_seconds`: of the process that the exporter runs in.
    ProcessStartSeconds,
    /// `jmx_exporter_build_info`, whose label `name` tells an agent from a standalone exporter.
    ExporterBuild,
}

/// The states of a raft node that rules files write into names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftWord(usize);

/// `KafkaRaftMetrics` current-state, 3.0 to 4.4: (as Kafka writes it, its letters).
const RAFT_STATES: [(&str, &str); 10] = [
    ("leader", "leader"),
    ("follower", "follower"),
    ("observer", "observer"),
    ("candidate", "candidate"),
    ("prospective", "prospective"),
    ("prospective-voted", "prospectivevoted"),
    ("voted", "voted"),
    ("unattached", "unattached"),
    ("unattached-voted", "unattachedvoted"),
    ("resigned", "resigned"),
];

impl RaftWord {
    /// The state as Kafka writes it.
    pub fn as_str(self) -> &'static str {
        RAFT_STATES.get(self.0).map_or("", |(word, _)| word)
    }
}

/// Which attribute of an MBean is wanted, and so how rules files spell it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A Yammer gauge: attribute `Value`.
    Gauge,
    /// A Yammer meter: attribute `Count`, cumulative. Rates of it are not wanted.
    Meter,
    /// An attribute of a Kafka-metrics MBean, whose name is the attribute's.
    Attribute,
}

/// One wanted MBean attribute.
pub(super) struct Row {
    /// `kafka` + domain + type, letters only.
    pub(super) bean: &'static str,
    /// MBean name or attribute, letters only.
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) reading: Reading,
}

const REPLICA_MANAGER: &str = "kafkaserverreplicamanager";
const CONTROLLER: &str = "kafkacontrollerkafkacontroller";
const LOG_MANAGER: &str = "kafkaloglogmanager";
const FETCHER: &str = "kafkaserverreplicafetchermanager";
const RAFT: &str = "kafkaserverraftmetrics";
const METADATA: &str = "kafkaserverbrokermetadatametrics";
const SESSION: &str = "kafkaserversessionexpirelistener";
pub(super) const PARTITION: &str = "kafkaclusterpartition";

const fn gauge(bean: &'static str, name: &'static str, metric: Metric) -> Row {
    row(bean, name, Form::Gauge, Reading::Value(metric))
}

const fn meter(bean: &'static str, name: &'static str, metric: Metric) -> Row {
    row(bean, name, Form::Meter, Reading::Value(metric))
}

const fn attribute(bean: &'static str, name: &'static str, metric: Metric) -> Row {
    row(bean, name, Form::Attribute, Reading::Value(metric))
}

const fn row(bean: &'static str, name: &'static str, form: Form, reading: Reading) -> Row {
    Row {
        bean,
        name,
        form,
        reading,
    }
}

/// Every MBean that is read.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    gauge(REPLICA_MANAGER, "underreplicatedpartitions", Metric::UnderReplicatedPartitions),
    gauge(REPLICA_MANAGER, "underminisrpartitioncount", Metric::UnderMinIsrPartitionCount),
    gauge(REPLICA_MANAGER, "offlinereplicacount", Metric::OfflineReplicaCount),
    gauge(REPLICA_MANAGER, "partitioncount", Metric::PartitionCount),
    gauge(REPLICA_MANAGER, "leadercount", Metric::LeaderCount),
    gauge(REPLICA_MANAGER, "reassigningpartitions", Metric::ReassigningPartitions),
    gauge("kafkaserverkafkaserver", "brokerstate", Metric::BrokerState),
    gauge(LOG_MANAGER, "offlinelogdirectorycount", Metric::OfflineLogDirectoryCount),
    row(LOG_MANAGER, "remaininglogstorecover", Form::Gauge, Reading::Share(Metric::RemainingLogsToRecover)),
    gauge(FETCHER, "failedpartitionscount", Metric::FetcherFailedPartitions),
    gauge(FETCHER, "deadthreadcount", Metric::FetcherDeadThreads),
    gauge(CONTROLLER, "offlinepartitionscount", Metric::OfflinePartitionsCount),
    gauge(CONTROLLER, "activecontrollercount", Metric::ActiveControllerCount),
    gauge(CONTROLLER, "activebrokercount", Metric::ActiveBrokerCount),
    gauge(CONTROLLER, "fencedbrokercount", Metric::FencedBrokerCount),
    gauge(CONTROLLER, "globalpartitioncount", Metric::GlobalPartitionCount),
    gauge(CONTROLLER, "preferredreplicaimbalancecount", Metric::PreferredReplicaImbalanceCount),
    gauge(CONTROLLER, "metadataerrorcount", Metric::MetadataErrorCount),
    gauge(CONTROLLER, "lastappliedrecordlagms", Metric::MetadataLagMs),
    row(CONTROLLER, "timesincelastheartbeatreceivedms", Form::Gauge, Reading::HeartbeatAge),
    meter("kafkacontrollercontrollerstats", "uncleanleaderelectionspersec", Metric::UncleanLeaderElections),
    gauge("kafkaservermetadataloader", "currentcontrollerid", Metric::CurrentControllerId),
    meter("kafkaserverbrokertopicmetrics", "bytesinpersec", Metric::BytesIn),
    meter(SESSION, "zookeepersyncconnectspersec", Metric::ZooKeeperConnects),
    meter(SESSION, "zookeeperdisconnectspersec", Metric::ZooKeeperDisconnects),
    meter(SESSION, "zookeeperauthfailurespersec", Metric::ZooKeeperAuthFailures),
    attribute(METADATA, "lastappliedrecordlagms", Metric::MetadataLagMs),
    attribute(METADATA, "metadataloaderrorcount", Metric::MetadataLoadErrorCount),
    attribute(METADATA, "metadataapplyerrorcount", Metric::MetadataApplyErrorCount),
    attribute(RAFT, "currentleader", Metric::RaftCurrentLeader),
    attribute(RAFT, "highwatermark", Metric::RaftHighWatermark),
    attribute(RAFT, "logendoffset", Metric::RaftLogEndOffset),
    attribute(RAFT, "currentepoch", Metric::RaftCurrentEpoch),
    row("kafkaserverappinfo", "starttimems", Form::Attribute, Reading::AppStartMillis),
    row("kafkaserverappinfo", "version", Form::Attribute, Reading::Version),
    row("javalangruntime", "starttime", Form::Attribute, Reading::JvmStartMillis),
    row(PARTITION, "underreplicated", Form::Gauge, Reading::PartitionShare(Metric::UnderReplicatedPartitions)),
    row(PARTITION, "underminisr", Form::Gauge, Reading::PartitionShare(Metric::UnderMinIsrPartitionCount)),
];

/// Names outside the scheme (reference 2.5): snake-cased exporters, and OpenTelemetry's two
/// generations of Kafka rules.
#[rustfmt::skip]
const ALIASES: &[(&str, Reading)] = &[
    ("processstarttimeseconds", Reading::ProcessStartSeconds),
    ("jmxexporterbuildinfo", Reading::ExporterBuild),
    ("kafkacontrollerofflinepartitioncount", Reading::Value(Metric::OfflinePartitionsCount)),
    ("messagingkafkapartitionsunderreplicated", Reading::Value(Metric::UnderReplicatedPartitions)),
    ("messagingkafkapartitionsoffline", Reading::Value(Metric::OfflinePartitionsCount)),
    ("messagingkafkacontrollersactive", Reading::Value(Metric::ActiveControllerCount)),
    ("messagingkafkaleaderuncleanelections", Reading::Value(Metric::UncleanLeaderElections)),
    ("messagingkafkaleaderuncleanelectionstotal", Reading::Value(Metric::UncleanLeaderElections)),
    ("kafkapartitionunderreplicated", Reading::Value(Metric::UnderReplicatedPartitions)),
    ("kafkapartitionoffline", Reading::Value(Metric::OfflinePartitionsCount)),
    ("kafkacontrolleractivecount", Reading::Value(Metric::ActiveControllerCount)),
];

/// Domains of the MBeans that brokers and controllers have. Clients and Connect have others.
pub(super) const DOMAINS: [&str; 6] = [
    "kafkaserver",
    "kafkacontroller",
    "kafkacluster",
    "kafkanetwork",
    "kafkalog",
    "kafkacoordinator",
];

/// What a name says about its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// All of them are this.
    Flat(Reading),
    /// Default form: their label `name` says which they are.
    Named {
        /// Domain and type.
        bean: &'static str,
        /// Whether the name ends in `count`; else it ends in `value`.
        count: bool,
    },
    /// The series that the configuration names for this metric.
    Configured(Metric),
}

/// All keys that lead to a series.
pub(super) fn generated() -> Vec<(String, Series)> {
    let mut keys = Vec::new();
    for row in ROWS {
        let flat = Series::Flat(row.reading);
        match row.form {
            Form::Gauge => {
                keys.push((format!("{}value", row.bean), by_name(row, false)));
                for infix in ["", "total"] {
                    for suffix in ["", "value", "total", "valuetotal"] {
                        keys.push((format!("{}{infix}{}{suffix}", row.bean, row.name), flat));
                    }
                }
            }
            Form::Meter => {
                keys.push((format!("{}count", row.bean), by_name(row, true)));
                let short = row.name.strip_suffix("persec").unwrap_or(row.name);
                for (infix, name) in [
                    ("", row.name),
                    ("", short),
                    ("total", row.name),
                    ("total", short),
                ] {
                    for suffix in ["", "count", "total", "counttotal"] {
                        keys.push((format!("{}{infix}{name}{suffix}", row.bean), flat));
                    }
                }
            }
            Form::Attribute => {
                for suffix in ["", "value", "total", "info"] {
                    keys.push((format!("{}{}{suffix}", row.bean, row.name), flat));
                }
            }
        }
    }
    for bean in ["kafkaserverraftmetricscurrentstate", "kafkaserverraftstate"] {
        for suffix in ["", "info", "total", "value"] {
            keys.push((format!("{bean}{suffix}"), Series::Flat(Reading::RaftState)));
        }
        for (index, (_, word)) in RAFT_STATES.iter().enumerate() {
            let reading = Reading::RaftStateIs(RaftWord(index));
            keys.push((format!("{bean}{word}"), Series::Flat(reading)));
        }
    }
    for (alias, reading) in ALIASES {
        keys.push((String::from(*alias), Series::Flat(*reading)));
    }
    keys
}

const fn by_name(row: &Row, count: bool) -> Series {
    Series::Named {
        bean: row.bean,
        count,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `kafka.server:type=ReplicaManager,*` as rows name it: letters only, a name after it left out.
    fn bean(listed: &str) -> String {
        let (domain, keys) = listed.split_once(":type=").unwrap();
        let kind = keys.split(',').next().unwrap_or_default();
        let letters = domain.chars().chain(kind.chars());
        let letters = letters.filter(char::is_ascii_alphabetic);
        letters.map(|letter| letter.to_ascii_lowercase()).collect()
    }

    /// The rules that we deliver let through everything that is read.
    #[test]
    fn the_small_rules_have_every_bean() {
        let rules = include_str!("../../config/jmx-exporter.yml");
        let listed = rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- "));
        let listed: BTreeSet<String> = listed.map(bean).collect();
        let read = ROWS.iter().map(|row| String::from(row.bean));
        // A page per partition is what the small rules are there to avoid: the sums over them are
        // exported beside.
        let read: BTreeSet<String> = read.filter(|bean| bean != PARTITION).collect();
        let missing: Vec<_> = read.difference(&listed).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let needless: Vec<_> = listed.difference(&read).collect();
        assert!(needless.is_empty(), "{needless:?}");
    }

    /// A rule for one name of a bean lets through what is read of it.
    #[test]
    fn rules_for_one_name_have_the_right_one() {
        let rules = include_str!("../../config/jmx-exporter.yml");
        for line in rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- "))
        {
            let Some((_, name)) = line.split_once(",name=") else {
                continue;
            };
            let name = name.to_ascii_lowercase();
            let rows = ROWS.iter().filter(|row| row.bean == bean(line));
            assert!(rows.clone().count() > 0, "{line}");
            assert!(rows.clone().all(|row| row.name == name), "{line}");
        }
    }
}
