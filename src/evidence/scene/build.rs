//! What a healthy cluster's sources say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::evidence::facts::{
    ClusterFacts, ConfigSource, Facts, Identity, LinkFacts, ListenerKind, LogDir, LogDirFacts,
    LogEndFacts, Moves, NodeConfigs, QuorumFacts, QuorumMember, RegisteredBroker, ReplicaEnd,
    TopicConfigs,
};
use crate::evidence::ids::{ClusterId, NodeId, Release, Role, Uuid, Version};
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;
use crate::evidence::partitions::{Builder, Partition, PartitionTable};
use crate::evidence::report::{FactKind, SourceId};

use super::{CLUSTER, Scene, SceneTopic, jmx, kafka, nodes};

impl Scene {
    pub(super) fn put_nodes(&mut self) {
        for (id, role) in self.roles() {
            let listener = if role.broker {
                ListenerKind::Broker
            } else {
                ListenerKind::Controller
            };
            let supported = if self.kraft {
                BTreeMap::from([(String::from("metadata.version"), (1, 21))])
            } else {
                BTreeMap::new()
            };
            let link = LinkFacts {
                listener,
                address: format!("10.0.0.{id}:9092"),
                identity: Identity::Proved,
                release: Release::Is(Version { major: 3, minor: 9 }),
                supported,
                finalized: BTreeMap::new(),
                published: if self.kraft && role.broker {
                    Known::Is(3_999)
                } else {
                    Known::NotInRelease
                },
                round_trip: Duration::from_millis(1),
            };
            self.put(SourceId::Kafka(id), Facts::Link(link));
            self.put(
                SourceId::Jmx(id),
                Facts::Jmx(Arc::new(self.stock_page(id, role))),
            );
            if role.broker {
                let configs = self.stock_configs();
                self.put(SourceId::Kafka(id), Facts::NodeConfigs(configs));
            }
        }
    }

    fn stock_configs(&self) -> NodeConfigs {
        let mut values: BTreeMap<String, (Option<String>, ConfigSource)> = BTreeMap::new();
        let mut add = |key: &str, value: &str| {
            values.insert(
                key.to_owned(),
                (Some(value.to_owned()), ConfigSource::Default),
            );
        };
        add("replica.lag.time.max.ms", "30000");
        if self.kraft {
            add("broker.session.timeout.ms", "9000");
            add("broker.heartbeat.interval.ms", "2000");
        } else {
            add("zookeeper.connect", "localhost:2181");
            add("zookeeper.session.timeout.ms", "18000");
        }
        NodeConfigs { values }
    }

    fn stock_page(&self, id: NodeId, role: Role) -> JmxFacts {
        let mut values = BTreeMap::new();
        if role.broker {
            values.insert(Metric::BrokerState, 3.0);
            for metric in [
                Metric::UnderReplicatedPartitions,
                Metric::UnderMinIsrPartitionCount,
                Metric::OfflineReplicaCount,
                Metric::ReassigningPartitions,
                Metric::OfflineLogDirectoryCount,
                Metric::FetcherFailedPartitions,
                Metric::FetcherDeadThreads,
            ] {
                values.insert(metric, 0.0);
            }
        }
        let active = self.active() == Some(id.0);
        if role.controller || !self.kraft {
            values.insert(Metric::OfflinePartitionsCount, 0.0);
            values.insert(Metric::PreferredReplicaImbalanceCount, 0.0);
            values.insert(Metric::UncleanLeaderElections, 0.0);
            values.insert(Metric::ActiveControllerCount, f64::from(u8::from(active)));
            let knows = self.kraft || active;
            let brokers = u32::try_from(self.brokers.len()).unwrap();
            let count = if knows { f64::from(brokers) } else { 0.0 };
            values.insert(Metric::ActiveBrokerCount, count);
            values.insert(Metric::FencedBrokerCount, 0.0);
        }
        if self.kraft {
            values.insert(Metric::MetadataLagMs, 400.0);
            values.insert(Metric::RaftHighWatermark, 4_000.0);
            values.insert(Metric::RaftLogEndOffset, 4_000.0);
        } else {
            values.insert(Metric::ZooKeeperConnects, 2.0);
            values.insert(Metric::ZooKeeperDisconnects, 1.0);
            values.insert(Metric::ZooKeeperAuthFailures, 0.0);
        }
        let heard = self.kraft && active;
        let heartbeat_age_ms = self
            .brokers
            .iter()
            .filter(|_| heard)
            .map(|b| (NodeId(*b), 900.0));
        JmxFacts {
            values,
            unfound: BTreeMap::new(),
            start_time: Known::Is(1_699_000_000.0 + f64::from(id.0)),
            node: Known::NotExported,
            version: Known::NotExported,
            raft_state: Known::NotExported,
            heartbeat_age_ms: heartbeat_age_ms.collect(),
            kafka_samples: 120,
            bytes: 18_000,
        }
    }

    fn active(&self) -> Option<i32> {
        let from = if self.kraft {
            &self.controllers
        } else {
            &self.brokers
        };
        from.first().copied()
    }

    pub(super) fn put_cluster(&mut self) {
        let brokers = self.brokers.iter().map(|id| RegisteredBroker {
            node: NodeId(*id),
            host: format!("10.0.0.{id}"),
            port: 9092,
            rack: None,
            fenced: false,
        });
        let cluster = ClusterFacts {
            cluster_id: Known::Is(ClusterId(CLUSTER.to_owned())),
            brokers: brokers.collect(),
            controller: self.active().map(NodeId),
            lists_fenced: true,
        };
        for id in self.brokers.clone().into_iter().take(2) {
            self.put(kafka(id), Facts::Cluster(cluster.clone()));
        }
        let Some(first) = self.brokers.first().copied() else {
            return;
        };
        self.put(kafka(first), Facts::Moves(Moves::default()));
        if !self.kraft {
            return;
        }
        let member = |id: &i32| QuorumMember {
            node: NodeId(*id),
            directory: None,
            log_end_offset: 4_000,
            last_fetch_ms: Some(1_700_000_000_000),
            last_caught_up_ms: Some(1_700_000_000_000),
        };
        let observers = self
            .brokers
            .iter()
            .filter(|id| !self.controllers.contains(id));
        let quorum = QuorumFacts {
            leader: self.active().map(NodeId),
            leader_epoch: 3,
            high_watermark: 4_000,
            voters: self.controllers.iter().map(member).collect(),
            observers: observers.map(member).collect(),
            endpoints: Vec::new(),
        };
        self.put(kafka(first), Facts::Quorum(quorum));
    }

    pub(super) fn put_layout(&mut self) {
        let table = Arc::new(table(&self.topics));
        for id in self.brokers.clone().into_iter().take(2) {
            self.put(kafka(id), Facts::Partitions(Arc::clone(&table)));
        }
        let configs = self
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.min_isr));
        let configs = TopicConfigs {
            min_insync_replicas: configs.collect(),
            hidden: Vec::new(),
        };
        if let Some(first) = self.brokers.first().copied() {
            self.put(kafka(first), Facts::TopicConfigs(Arc::new(configs)));
        }
        for id in self.brokers.clone() {
            self.put_hosted(id);
        }
        let all = u32::try_from(table.len()).unwrap();
        let told = if self.kraft {
            self.controllers.clone()
        } else {
            self.brokers.clone()
        };
        for id in told {
            let knows = self.kraft || self.active() == Some(id);
            let count = if knows { f64::from(all) } else { 0.0 };
            self.try_metric(id, Metric::GlobalPartitionCount, count);
        }
    }

    fn try_metric(&mut self, id: i32, metric: Metric, value: f64) {
        let has = self
            .reports
            .get(&(jmx(id), FactKind::Jmx))
            .is_some_and(|r| r.facts.is_ok());
        if has {
            self.metric(id, metric, value);
        }
    }

    /// What one broker hosts: its log ends, its log dirs, its page's counts.
    fn put_hosted(&mut self, id: i32) {
        let mut rows = Vec::new();
        let mut hosted: Vec<(Arc<str>, i32)> = Vec::new();
        let mut led = 0_u32;
        for topic in &self.topics {
            for (index, partition) in (0..).zip(&topic.partitions) {
                if !partition.replicas.contains(&id) {
                    continue;
                }
                hosted.push((Arc::from(topic.name.as_str()), index));
                if partition.leader == Some(id) {
                    led += 1;
                    continue;
                }
                rows.push(ReplicaEnd {
                    topic: Arc::from(topic.name.as_str()),
                    partition: index,
                    leader_end: Known::Is(500),
                    own_end: Known::Is(500),
                });
            }
        }
        rows.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        hosted.sort();
        let count = f64::from(u32::try_from(hosted.len()).unwrap());
        self.try_metric(id, Metric::PartitionCount, count);
        self.try_metric(id, Metric::LeaderCount, f64::from(led));
        let dirs = LogDirFacts {
            dirs: vec![LogDir {
                path: String::from("/data"),
                error: 0,
            }],
            hosted,
            readable: true,
        };
        self.put(kafka(id), Facts::LogEnds(Arc::new(LogEndFacts { rows })));
        self.put(kafka(id), Facts::LogDirs(Arc::new(dirs)));
    }
}

/// The partition table of these topics.
pub fn table(topics: &[SceneTopic]) -> PartitionTable {
    let mut builder = Builder::default();
    for (at, topic) in (1..).zip(topics) {
        builder.topic(Uuid::new(at), &topic.name, topic.internal, 0);
        for (index, partition) in (0..).zip(&topic.partitions) {
            builder.partition(Partition {
                index,
                leader: partition.leader.map(NodeId),
                leader_epoch: Some(partition.epoch),
                error: 0,
                replicas: &nodes(&partition.replicas),
                isr: &nodes(&partition.isr),
                offline: &nodes(&partition.offline),
            });
        }
    }
    builder.finish()
}
