//! The pages of the JMX exporter, with the lies that real ones tell. What a page shows follows
//! from the node's phase and its own published image, never from the truth
//! (kafka-jmx-metrics.md, sections 2 and 3; kafka-lab.md, sections 3 and 4).

mod page;
mod zookeeper;

use super::image::{Image, Partition};
use super::state::{BrokerPhase, ControllerPhase, Millis, Node, ORIGIN, Position, Process};
use super::{Cluster, Fault, NodeId, Release};
use page::Lines;

/// What a scrape of a node's exporter meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// An HTTP answer.
    Text {
        /// HTTP status.
        status: u16,
        /// `Content-Type`.
        content_type: &'static str,
        /// The page.
        body: String,
    },
    /// The connection is refused.
    Refused,
    /// Accepted, and no answer now.
    Silent,
    /// The connection is reset.
    Reset,
}

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn text(status: u16, body: String) -> Page {
    Page::Text {
        status,
        content_type: CONTENT_TYPE,
        body,
    }
}

/// Bytes of one record.
const RECORD_BYTES: u64 = 100;

impl Cluster {
    pub(super) fn faulty_page(&self, node: &Node, fault: Fault) -> Page {
        match fault {
            Fault::Dead => Page::Refused,
            Fault::Hangs => Page::Silent,
            Fault::Html => {
                let body = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>".to_owned();
                Page::Text {
                    status: 200,
                    content_type: "text/html",
                    body,
                }
            }
            Fault::Empty => text(200, String::new()),
            Fault::Error => text(500, String::new()),
            Fault::Cut => {
                // The page is ASCII, so every byte is a boundary; a line break would be no cut.
                let whole = self.page(node);
                let half = whole.get(..whole.len() / 2).unwrap_or_default();
                text(200, half.trim_end().to_owned())
            }
            Fault::NotANumber => {
                let page = self.page(node);
                let lines = page.lines().map(|line| match line.rsplit_once(' ') {
                    Some((series, _)) if !line.starts_with('#') => format!("{series} NaN\n"),
                    Some(_) | None => format!("{line}\n"),
                });
                text(200, lines.collect())
            }
            Fault::Stale => text(200, node.old_page.clone()),
            Fault::Of(other) => match self.nodes.get(&other).filter(|other| other.alive()) {
                Some(other) => text(200, self.page(other)),
                None => Page::Refused,
            },
        }
    }

    pub(super) fn page(&self, node: &Node) -> String {
        let mut lines = Lines::new(self.spec.family);
        let started = self.wall(node.started);
        lines.exporter(
            self.exporter_start(node.spec.id).unwrap_or(started),
            self.now.saturating_sub(node.started),
            self.spec.exporter.standalone,
            node.alive(),
        );
        if !node.alive() {
            return lines.text();
        }
        lines.jvm_start(started);
        let gone = match node.process {
            // Kafka's beans are unregistered early in the shutdown: absent, not 0.
            Process::Stopping { since } => self.now >= since + self.spec.timing.series_gone,
            Process::Alive | Process::Ended { .. } => false,
        };
        if gone {
            return lines.text();
        }
        self.broker_beans(node, &mut lines);
        self.controller_beans(node, &mut lines);
        let raft_runs = !matches!(node.broker, BrokerPhase::Off | BrokerPhase::Jvm)
            || !matches!(node.controller, ControllerPhase::Off | ControllerPhase::Jvm);
        if raft_runs && !self.spec.zookeeper {
            self.raft_beans(node, &mut lines);
        }
        let up = match (node.spec.roles.broker, node.spec.roles.controller) {
            (true, _) => node.broker == BrokerPhase::Running && node.open,
            (false, _) => node.controller == ControllerPhase::Running,
        };
        if up {
            // Registered last, after the start-up has returned (`KafkaRaftServer.startup`).
            lines.app_info(node.spec.id, started);
        }
        lines.text()
    }

    fn broker_beans(&self, node: &Node, lines: &mut Lines) {
        let state = match node.broker {
            BrokerPhase::Off | BrokerPhase::Closing => return,
            BrokerPhase::Jvm => {
                lines.gauge(("kafka.server", "KafkaServer"), "BrokerState", &[], 0.0);
                return;
            }
            BrokerPhase::Starting | BrokerPhase::Registered if self.spec.zookeeper => 2.0,
            BrokerPhase::Starting | BrokerPhase::Registered => 1.0,
            BrokerPhase::CaughtUp => 2.0,
            BrokerPhase::Running | BrokerPhase::Leaving => 3.0,
        };
        lines.gauge(("kafka.server", "KafkaServer"), "BrokerState", &[], state);
        // On ZooKeeper they are made only after log recovery.
        if !(self.spec.zookeeper && node.broker == BrokerPhase::Starting) {
            self.replica_manager(node, lines);
        }
        let logs = ("kafka.log", "LogManager");
        let offline = size(node.disks.offline.len());
        lines.gauge(logs, "OfflineLogDirectoryCount", &[], offline);
        if let Some(remaining) = self.remaining_logs(node) {
            let dir = format!("\"/var/lib/kafka/data-{}\"", node.spec.id);
            let name = "remainingLogsToRecover";
            lines.gauge(logs, name, &[("dir", &dir)], size(remaining));
        }
        let fetcher = ("kafka.server", "ReplicaFetcherManager");
        let client = [("clientId", "Replica")];
        let failed = size(self.stale_copies(node.spec.id));
        lines.gauge(fetcher, "FailedPartitionsCount", &client, failed);
        lines.gauge(fetcher, "DeadThreadCount", &client, 0.0);
        lines.gauge(
            fetcher,
            "MaxLag",
            &[("clientId", "Replica")],
            self.max_lag(node.spec.id),
        );
        let topics = ("kafka.server", "BrokerTopicMetrics");
        lines.meter(topics, "BytesInPerSec", self.bytes_in(node.spec.id));
        lines.meter(topics, "FailedProduceRequestsPerSec", 0.0);
        let idle = ("kafka.server", "KafkaRequestHandlerPool");
        lines.percent(idle, "RequestHandlerAvgIdlePercent", 0.97);
        if self.spec.zookeeper {
            let (connects, losses) = node.zookeeper_connections;
            let session = ("kafka.server", "SessionExpireListener");
            lines.meter(session, "ZooKeeperSyncConnectsPerSec", count(connects));
            lines.meter(session, "ZooKeeperDisconnectsPerSec", count(losses));
            lines.meter(session, "ZooKeeperAuthFailuresPerSec", 0.0);
            self.zookeeper_beans(node, lines);
            return;
        }
        let lag = self.applied_lag(node);
        lines.plain(
            "kafka.server",
            "broker-metadata-metrics",
            "last-applied-record-lag-ms",
            lag,
        );
        let applied = if node.loaded { node.image.offset } else { -1 };
        let applied = number(applied);
        let name = "last-applied-record-offset";
        lines.plain("kafka.server", "broker-metadata-metrics", name, applied);
        for name in ["metadata-load-error-count", "metadata-apply-error-count"] {
            lines.plain("kafka.server", "broker-metadata-metrics", name, 0.0);
        }
    }

    /// Counts of the partitions this node leads by its own image (`ReplicaManager`'s gauges over
    /// `Partition.isUnderReplicated` and others). A broker that comes back leads nothing and says 0
    /// while it lacks everywhere; partitions without a leader are counted by nobody.
    fn replica_manager(&self, node: &Node, lines: &mut Lines) {
        let id = node.spec.id;
        let mut counts = Counts::default();
        let mut single = Vec::new();
        let recovering = self.remaining_logs(node).is_some();
        for (name, index, topic, partition) in node.image.partitions() {
            if recovering || !partition.replicas.contains(&id) {
                continue;
            }
            let lost = node.disks.offline.contains(&partition.log_dir);
            counts.lost += flag(lost);
            let leads =
                partition.leader == Some(id) && node.broker >= BrokerPhase::Running && !lost;
            let needed = self.min_isr(topic, partition, node.release);
            let flags = Flags::of(partition, leads, needed);
            counts.add(partition, leads, flags);
            single.push((name.clone(), index, flags));
        }
        let bean = ("kafka.server", "ReplicaManager");
        lines.gauge(
            bean,
            "UnderReplicatedPartitions",
            &[],
            counts.under_replicated,
        );
        lines.gauge(bean, "UnderMinIsrPartitionCount", &[], counts.under_min_isr);
        lines.gauge(bean, "AtMinIsrPartitionCount", &[], counts.at_min_isr);
        lines.gauge(bean, "LeaderCount", &[], counts.leaders);
        lines.gauge(bean, "PartitionCount", &[], counts.partitions);
        lines.gauge(bean, "OfflineReplicaCount", &[], counts.lost);
        lines.gauge(bean, "ReassigningPartitions", &[], counts.reassigning);
        lines.meter(bean, "IsrShrinksPerSec", count(node.isr_shrinks));
        lines.meter(bean, "IsrExpandsPerSec", count(node.isr_expands));
        let bean = ("kafka.cluster", "Partition");
        for (topic, index, flags) in single {
            let index = index.to_string();
            let labels = [("partition", index.as_str()), ("topic", topic.as_ref())];
            lines.gauge(
                bean,
                "UnderReplicated",
                &labels,
                flag(flags.under_replicated),
            );
            lines.gauge(bean, "UnderMinIsr", &labels, flag(flags.under_min_isr));
            lines.gauge(bean, "AtMinIsr", &labels, flag(flags.at_min_isr));
        }
    }

    /// Absent on broker-only nodes (KIP-771). Every controller, active or not, computes the
    /// counts from its own image (`ControllerMetadataMetricsPublisher`); a fresh one says 0.
    fn controller_beans(&self, node: &Node, lines: &mut Lines) {
        let empty = Image::default();
        let (image, ready) = match node.controller {
            ControllerPhase::Off
            | ControllerPhase::Jvm
            | ControllerPhase::Joined
            | ControllerPhase::Leaving => return,
            ControllerPhase::Loading => (&empty, false),
            ControllerPhase::Running => (node.image.as_ref(), true),
        };
        let id = node.spec.id;
        let active = ready && node.leader == Some(id);
        let bean = ("kafka.controller", "KafkaController");
        let fenced = image.brokers.values().filter(|r| r.fenced).count();
        let partitions = || image.partitions().map(|(_, _, _, partition)| partition);
        let offline = partitions().filter(|p| p.leader.is_none()).count();
        let unpreferred =
            partitions().filter(|p| p.leader.is_some() && p.leader != p.replicas.first().copied());
        lines.gauge(bean, "ActiveControllerCount", &[], flag(active));
        lines.gauge(bean, "OfflinePartitionsCount", &[], size(offline));
        lines.gauge(
            bean,
            "ActiveBrokerCount",
            &[],
            size(image.brokers.len() - fenced),
        );
        lines.gauge(bean, "FencedBrokerCount", &[], size(fenced));
        lines.gauge(
            bean,
            "PreferredReplicaImbalanceCount",
            &[],
            size(unpreferred.count()),
        );
        lines.gauge(
            bean,
            "GlobalPartitionCount",
            &[],
            size(partitions().count()),
        );
        lines.gauge(bean, "GlobalTopicCount", &[], size(image.topics.len()));
        lines.gauge(bean, "MetadataErrorCount", &[], 0.0);
        lines.gauge(bean, "LastAppliedRecordLagMs", &[], self.applied_lag(node));
        if node.release >= Release::V3_6 {
            lines.gauge(
                bean,
                "NewActiveControllersCount",
                &[],
                count(node.elections_won),
            );
        }
        if node.release >= Release::V3_9 {
            let stats = ("kafka.controller", "ControllerStats");
            lines.meter(
                stats,
                "UncleanLeaderElectionsPerSec",
                count(node.unclean_elections),
            );
            if node.release >= Release::V4_1 {
                let name = "ElectionFromEligibleLeaderReplicasPerSec";
                lines.meter(stats, name, count(node.eligible_elections));
            }
        }
        lines.meter(("kafka.server", "BrokerTopicMetrics"), "BytesInPerSec", 0.0);
        if node.release >= Release::V4_1 {
            self.heartbeat_beans(node, image, active, lines);
        }
    }

    /// New in 4.1 (KIP-1131, KAFKA-18666). Heartbeats are known to the active controller only and
    /// capped at the session timeout.
    fn heartbeat_beans(&self, node: &Node, image: &Image, active: bool, lines: &mut Lines) {
        let bean = ("kafka.controller", "KafkaController");
        for (broker, registration) in &image.brokers {
            let name = broker.to_string();
            let labels = [("broker", name.as_str())];
            let state = match (registration.fenced, registration.shutting_down) {
                (true, _) => 10.0,
                (false, true) => 20.0,
                (false, false) => 30.0,
            };
            // A registration that was in the snapshot a controller started from has no series:
            // `ControllerMetricsChanges.handleBrokerChange` makes one only for an id that was not
            // there. Assumed: a new registration of that id gets one too.
            if node.started < ORIGIN || registration.epoch > node.first_offset {
                lines.gauge(bean, "BrokerRegistrationState", &labels, state);
            }
            if active {
                let last = self.last_contact(*broker).unwrap_or(0).min(self.now);
                let since = (self.now - last).min(self.spec.settings.session_timeout);
                lines.gauge(
                    bean,
                    "TimeSinceLastHeartbeatReceivedMs",
                    &labels,
                    count(since),
                );
            }
        }
        if active {
            let leaving = image.brokers.values().filter(|r| r.shutting_down).count();
            lines.gauge(bean, "ControlledShutdownBrokerCount", &[], size(leaving));
        }
    }

    fn raft_beans(&self, node: &Node, lines: &mut Lines) {
        let id = node.spec.id;
        let leader = node.leader;
        let own_end = match node.position {
            Position::Following => self.metadata_end(),
            Position::Stopped { end, .. } => end,
            Position::Never => node.image.offset,
        };
        let watermark = if leader.is_some() { own_end } else { -1 };
        let raft = "raft-metrics";
        lines.plain(
            "kafka.server",
            raft,
            "current-leader",
            f64::from(leader.unwrap_or(-1)),
        );
        lines.plain("kafka.server", raft, "current-epoch", f64::from(node.epoch));
        lines.plain("kafka.server", raft, "log-end-offset", number(own_end));
        lines.plain("kafka.server", raft, "high-watermark", number(watermark));
        let voter = node.spec.roles.controller && self.is_voter(id);
        let state = match leader {
            Some(leader) if leader == id => "leader",
            Some(_) if voter => "follower",
            Some(_) => "observer",
            None if voter && node.release >= Release::V4_0 => "prospective",
            None if voter => "candidate",
            None => "unattached",
        };
        lines.raft_state(state);
        if node.release >= Release::V3_7 {
            let loader = ("kafka.server", "MetadataLoader");
            let leader = f64::from(leader.unwrap_or(-1));
            lines.gauge(loader, "CurrentControllerId", &[], leader);
            // 7 (3.3-IV3) until the log has been read (kafka-lab.md, section 3): the
            // `MINIMUM_VERSION` that `MetadataLoaderMetrics` begins with from 4.0 on. Assumed
            // before too, where it begins with 1 (3.0-IV1).
            let level = if node.loaded {
                self.spec.finalized.metadata_version()
            } else {
                7
            };
            lines.gauge(loader, "CurrentMetadataVersion", &[], f64::from(level));
        }
    }

    /// Age of the newest applied record: idle records come every 500 ms; about 1.7e12 before the
    /// first one.
    fn applied_lag(&self, node: &Node) -> f64 {
        if !node.loaded {
            return number(self.wall(self.now));
        }
        let since = match node.position {
            Position::Following => {
                self.now.saturating_sub(self.quorum.end_at) % 500 + 10 + node.metadata_lag
            }
            Position::Stopped { at, .. } => self.now - at,
            Position::Never => self.now.saturating_sub(self.quorum.end_at),
        };
        count(since)
    }

    fn bytes_in(&self, id: NodeId) -> f64 {
        let logs = self.logs.keys().filter_map(|key| self.log_now(key));
        let produced: u64 = logs
            .filter_map(|log| log.replicas.get(&id).map(|replica| replica.produced))
            .sum();
        count(produced / 1_000 * RECORD_BYTES)
    }

    /// Records that the partition furthest behind lacks (`AbstractFetcherManager`'s MaxLag).
    /// Assumed: followers that do not fetch count too.
    fn max_lag(&self, id: NodeId) -> f64 {
        let behind = self
            .image
            .partitions()
            .filter_map(|(name, index, _, partition)| {
                let leader = partition.leader.filter(|leader| *leader != id)?;
                let log = self.log_now(&(name.clone(), index))?;
                let end = log.replicas.get(&leader)?.end;
                Some(end.saturating_sub(log.replicas.get(&id)?.end) / 1_000)
            });
        count(behind.max().unwrap_or(0))
    }
}

#[derive(Clone, Copy)]
struct Flags {
    under_replicated: bool,
    under_min_isr: bool,
    at_min_isr: bool,
}

impl Flags {
    /// Only the leader knows; others say 0.
    fn of(partition: &Partition, leads: bool, needed: usize) -> Self {
        Self {
            under_replicated: leads && partition.under_replicated(),
            under_min_isr: leads && partition.isr.len() < needed,
            at_min_isr: leads && partition.isr.len() == needed,
        }
    }
}

#[derive(Default)]
struct Counts {
    partitions: f64,
    leaders: f64,
    under_replicated: f64,
    under_min_isr: f64,
    at_min_isr: f64,
    reassigning: f64,
    /// Replicas in its own failed log dirs.
    lost: f64,
}

impl Counts {
    fn add(&mut self, partition: &Partition, leads: bool, flags: Flags) {
        let moves = !partition.adding.is_empty() || !partition.removing.is_empty();
        self.partitions += 1.0;
        self.leaders += flag(leads);
        self.under_replicated += flag(flags.under_replicated);
        self.under_min_isr += flag(flags.under_min_isr);
        self.at_min_isr += flag(flags.at_min_isr);
        self.reassigning += flag(leads && moves);
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn size(value: usize) -> f64 {
    count(u64::try_from(value).unwrap_or(u64::MAX))
}

/// As Java does, which counts in longs and exports doubles.
fn count(value: Millis) -> f64 {
    value as f64
}

fn number(value: i64) -> f64 {
    value as f64
}
