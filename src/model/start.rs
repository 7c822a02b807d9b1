//! The start: a whole cluster that has been up and healthy for some minutes.
//!
//! Assumed: epochs, offsets and ages of processes at that moment are made up, and every replica
//! holds the same number of records, 1,000 more for each next partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::disks::Disks;
use super::faults::{Answers, Rights};
use super::image::{Image, Partition, PartitionId, Registration, Topic};
use super::published::End;
use super::recovery::Recovery;
use super::replication::PartitionLog;
use super::state::{
    BrokerPhase, Contact, ControllerPhase, Event, Node, OFFSETS_TOPIC, ORIGIN, Position, Process,
    Quorum, Random, Session,
};
use super::{Cluster, Listener, NodeId, NodeSpec, Spec, SpecError, TopicSpec};

impl Cluster {
    /// A cluster that has been up and healthy for some minutes.
    ///
    /// # Errors
    /// When the spec contradicts itself.
    pub fn new(spec: Spec) -> Result<Self, SpecError> {
        spec.check()?;
        let mut random = Random(spec.seed);
        let image = Arc::new(first_image(&spec, &mut random));
        let nodes = first_nodes(&spec, &image, &mut random);
        let voters: Vec<NodeId> = if spec.zookeeper {
            spec.first_brokers().collect()
        } else {
            let nodes = spec.nodes.iter().filter(|node| node.roles.controller);
            nodes.map(|node| node.id).collect()
        };
        let pick = usize::try_from(random.next()).unwrap_or(0) % voters.len().max(1);
        let quorum = Quorum {
            leader: voters.get(pick).copied(),
            leader_run: 1,
            epoch: 4,
            since: ORIGIN - 600_000,
            electing: false,
            end: image.offset,
            end_at: ORIGIN,
            ends: [(0, false), (ORIGIN, !voters.is_empty())]
                .map(|(at, grows)| End {
                    at,
                    offset: image.offset,
                    grows,
                    commit: false,
                })
                .into(),
            alone_since: None,
            voters: voters.iter().map(|id| (*id, 0)).collect(),
        };
        let mut cluster = Self {
            logs: first_logs(&spec, &image),
            spec,
            now: ORIGIN,
            random,
            queue: BTreeMap::new(),
            queued: 0,
            nodes,
            quorum,
            image,
            sessions: BTreeMap::new(),
            replicate_due: None,
            cuts: BTreeSet::new(),
            zookeeper_cuts: BTreeSet::new(),
            zookeeper_lost: None,
            rights: Rights::default(),
            strays: BTreeMap::new(),
            stalled_groups: BTreeMap::new(),
        };
        cluster.begin();
        Ok(cluster)
    }

    fn begin(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let (leader, epoch) = (self.quorum.leader, self.quorum.epoch);
        for id in ids {
            let interval = self.heartbeat_interval();
            let first = ORIGIN - self.random.between((0, interval.saturating_sub(1)));
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            let (there, run) = (node.loaded, node.run);
            if there {
                (node.leader, node.epoch) = (leader, epoch);
            }
            if there && node.spec.roles.broker {
                self.sessions.insert(
                    id,
                    Session {
                        contact: Contact::Live { first },
                        generation: 0,
                    },
                );
                self.queue_isr_check(id, run);
            }
        }
        self.after(self.spec.settings.balance_interval, Event::Balance);
    }
}

fn first_image(spec: &Spec, random: &mut Random) -> Image {
    let mut image = Image {
        offset: 10_000,
        ..Image::default()
    };
    let mut brokers: Vec<NodeId> = spec.first_brokers().collect();
    brokers.sort_unstable();
    for (epoch, broker) in (100..).zip(&brokers) {
        let registration = Registration {
            fenced: false,
            new: false,
            shutting_down: false,
            epoch,
            offline_dirs: 0,
        };
        image.brokers.insert(*broker, registration);
    }
    let count = u32::try_from(brokers.len()).unwrap_or(u32::MAX);
    let mut topics = spec.topics.clone();
    if spec.settings.offsets_partitions > 0 {
        let mut offsets = TopicSpec::new(
            OFFSETS_TOPIC,
            spec.settings.offsets_partitions,
            count.min(3),
        );
        offsets.internal = true;
        topics.push(offsets);
    }
    for topic in &topics {
        let topic_image = new_topic(topic, &brokers, spec.settings.log_dirs, random);
        image
            .topics
            .insert(Arc::from(topic.name.as_str()), Arc::new(topic_image));
    }
    image
}

/// A topic with a new id, spread over `brokers`.
pub(super) fn new_topic(
    topic: &TopicSpec,
    brokers: &[NodeId],
    log_dirs: u32,
    random: &mut Random,
) -> Topic {
    let partitions = (0..topic.partitions).map(|index| place(topic, index, brokers, log_dirs));
    Topic {
        id: Uuid::from_u64_pair(random.next(), random.next()),
        internal: topic.internal,
        min_isr: topic.min_isr,
        partitions: partitions.collect(),
    }
}

/// Replicas of one partition, as `AdminUtils.assignReplicasToBrokers` (ZooKeeper) spreads them over
/// brokers of one rack, without its random beginnings: the leader goes round the brokers, the
/// followers' distance grows with each turn, so that every pair of brokers shares partitions.
/// Assumed: no difference to `StripedReplicaPlacer` (KRaft), which takes neighbours and shuffles
/// the brokers after each turn.
fn place(topic: &TopicSpec, index: u32, brokers: &[NodeId], log_dirs: u32) -> Partition {
    let count = u32::try_from(brokers.len()).unwrap_or(1).max(1);
    let turn = index / count;
    let mut order: Vec<u32> = vec![index % count];
    let mut step = turn % count.saturating_sub(1).max(1);
    while order.len() < usize::try_from(topic.replication).unwrap_or(0) {
        step += 1;
        let next = (index + step) % count;
        if !order.contains(&next) {
            order.push(next);
        }
    }
    let replicas: Vec<NodeId> = order
        .iter()
        .filter_map(|position| brokers.get(usize::try_from(*position).ok()?).copied())
        .collect();
    Partition {
        isr: replicas.clone(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: replicas.first().copied(),
        adding: Vec::new(),
        removing: Vec::new(),
        leader_epoch: 0,
        partition_epoch: 0,
        log_dir: index % log_dirs.max(1),
        replicas,
    }
}

fn first_nodes(spec: &Spec, image: &Arc<Image>, random: &mut Random) -> BTreeMap<NodeId, Node> {
    let mut nodes = BTreeMap::new();
    for node in &spec.nodes {
        let roles = node.roles;
        let there = !spec.later.contains(&node.id);
        let started = ORIGIN - random.between((600_000, 1_200_000));
        let broker = if roles.broker && there {
            BrokerPhase::Running
        } else {
            BrokerPhase::Off
        };
        let controller = if roles.controller {
            ControllerPhase::Running
        } else {
            ControllerPhase::Off
        };
        let entry = Node {
            release: node.release,
            spec: node.clone(),
            run: 1,
            life: 1,
            process: if there {
                Process::Alive
            } else {
                Process::Ended {
                    at: ORIGIN,
                    reset_until: ORIGIN,
                }
            },
            frozen: false,
            open: roles.broker && there,
            started,
            unclean: false,
            exporter_at: started,
            broker,
            controller,
            image: if there { image.clone() } else { Arc::default() },
            loaded: there,
            first_offset: 0,
            position: if there {
                Position::Following
            } else {
                Position::Never
            },
            leader: None,
            epoch: 0,
            formats: 0,
            left_behind: None,
            metadata_lag: 0,
            clock_set: Vec::new(),
            clock_ahead: 0,
            published_until: 0,
            recovery: Recovery::default(),
            page_time: 0,
            answers: Answers::default(),
            disks: Disks::default(),
            catch_up_rate: spec.timing.catch_up_rate,
            ports: default_ports(node),
            exporter_fault: None,
            old_page: String::new(),
            isr_shrinks: 0,
            isr_expands: 0,
            unclean_elections: 0,
            eligible_elections: 0,
            elections_won: 0,
            zookeeper_connections: (u64::from(spec.zookeeper && there), 0),
        };
        nodes.insert(node.id, entry);
    }
    nodes
}

fn default_ports(node: &NodeSpec) -> BTreeMap<Listener, u16> {
    let mut ports = BTreeMap::new();
    if node.roles.broker {
        let port = 9_092_i32.saturating_add(node.id);
        ports.insert(Listener::Broker, u16::try_from(port).unwrap_or(9_092));
    }
    if node.roles.controller {
        let port = 19_092_i32.saturating_add(node.id);
        ports.insert(Listener::Controller, u16::try_from(port).unwrap_or(19_092));
    }
    ports
}

fn first_logs(spec: &Spec, image: &Image) -> BTreeMap<PartitionId, PartitionLog> {
    let mut logs = BTreeMap::new();
    for (name, index, _, partition) in image.partitions() {
        let rate = spec
            .topics
            .iter()
            .find(|topic| topic.name == **name)
            .map_or(0, |t| t.rate);
        let end = 1_000_000 * u64::from(1 + index);
        let log = PartitionLog::new(&partition.replicas, rate, end, ORIGIN);
        logs.insert((name.clone(), index), log);
    }
    logs
}
