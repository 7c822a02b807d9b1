//! The layout of the simulated state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::disks::Disks;
use super::faults::{Answers, Rights};
use super::image::{Image, Partition, PartitionId, Topic};
use super::published::End;
use super::recovery::Recovery;
use super::replication::PartitionLog;
use super::{Fault, Listener, NodeId, NodeSpec, Release, Spec};

/// Internal time in milliseconds; the simulation starts at [`ORIGIN`], so that things can have
/// happened before it.
pub(super) type Millis = u64;

/// Internal time of the start of the simulation.
pub(super) const ORIGIN: Millis = 3_600_000;

/// Idle records keep the metadata log moving every 500 ms (`metadata.max.idle.interval.ms`,
/// KIP-835).
pub(super) const IDLE_RECORD: Millis = 500;

/// The topic that keeps committed offsets.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// One simulated Kafka cluster. See the module's text for what it can do.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(super) spec: Spec,
    pub(super) now: Millis,
    pub(super) random: Random,
    pub(super) queue: BTreeMap<(Millis, u64), Event>,
    pub(super) queued: u64,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) quorum: Quorum,
    /// What the active controller has committed.
    pub(super) image: Arc<Image>,
    pub(super) sessions: BTreeMap<NodeId, Session>,
    pub(super) logs: BTreeMap<PartitionId, PartitionLog>,
    /// When the next look for caught-up followers is queued.
    pub(super) replicate_due: Option<Millis>,
    /// Pairs of nodes that cannot reach each other, smaller id first.
    pub(super) cuts: BTreeSet<(NodeId, NodeId)>,
    /// Brokers that cannot reach ZooKeeper.
    pub(super) zookeeper_cuts: BTreeSet<NodeId>,
    /// Since when ZooKeeper's ensemble has no quorum.
    pub(super) zookeeper_lost: Option<Millis>,
    pub(super) rights: Rights,
    /// Logs of deleted topics that brokers which were down still have on disk.
    pub(super) strays: BTreeMap<NodeId, BTreeSet<PartitionId>>,
    pub(super) stalled_groups: BTreeMap<String, BTreeMap<u32, i64>>,
}

/// One process and what it knows.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub spec: NodeSpec,
    pub release: Release,
    /// Counts processes; events of an earlier one are void.
    pub run: u64,
    /// Counts the moments at which all connections end.
    pub life: u64,
    pub process: Process,
    pub frozen: bool,
    /// The broker's listener takes connections.
    pub open: bool,
    /// Start of the newest process.
    pub started: Millis,
    /// The newest process ended by SIGKILL: its log must be recovered.
    pub unclean: bool,
    pub exporter_at: Millis,
    pub broker: BrokerPhase,
    pub controller: ControllerPhase,
    /// The metadata this node has published to itself.
    pub image: Arc<Image>,
    /// It has published metadata since its start.
    pub loaded: bool,
    /// Where the metadata it started from ended.
    pub first_offset: i64,
    pub position: Position,
    /// Whom it takes for the active controller.
    pub leader: Option<NodeId>,
    pub epoch: i32,
    /// How often its metadata disk was formatted: its directory id goes with it.
    pub formats: u32,
    /// The directory that voted for it before its disk was formatted, by how often it had been, and
    /// where that stopped.
    pub left_behind: Option<(u32, Position)>,
    /// Its own copy of the metadata comes this much later.
    pub metadata_lag: Millis,
    /// When somebody set its wall clock, and how far ahead of the true time it was before.
    pub clock_set: Vec<(Millis, i64)>,
    /// How far ahead it is now, in milliseconds.
    pub clock_ahead: i64,
    /// Up to which moment its process had published the log when that was last kept.
    pub published_until: Millis,
    pub recovery: Recovery,
    pub page_time: Millis,
    pub answers: Answers,
    pub disks: Disks,
    /// Catch-up speed of its followers, records per second and partition.
    pub catch_up_rate: u64,
    pub ports: BTreeMap<Listener, u16>,
    pub exporter_fault: Option<Fault>,
    /// The page that a stale exporter goes on showing.
    pub old_page: String,
    pub isr_shrinks: u64,
    pub isr_expands: u64,
    pub unclean_elections: u64,
    /// Leaders elected from eligible replicas outside the ISR.
    pub eligible_elections: u64,
    pub elections_won: u64,
    /// Connections with ZooKeeper that came about in this process, and those that were lost.
    pub zookeeper_connections: (u64, u64),
}

impl Node {
    /// How far ahead of the true time its wall clock was at a moment that is over.
    fn clock_at(&self, at: Millis) -> i64 {
        let later = self.clock_set.iter().find(|(set, _)| *set > at);
        later.map_or(self.clock_ahead, |(_, ahead)| *ahead)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// Ended at that moment.
    Ended {
        at: Millis,
        reset_until: Millis,
    },
    Alive,
    /// SIGTERM came at that moment.
    Stopping {
        since: Millis,
    },
}

/// How far a broker's start or stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BrokerPhase {
    /// No process, or no broker role.
    Off,
    /// The JVM is there, Kafka not yet: BrokerState 0.
    Jvm,
    /// BrokerState 1: loads metadata, recovers logs, tries to register.
    Starting,
    /// BrokerState 1 too, registered and fenced, followers fetch.
    Registered,
    /// BrokerState 2: caught up, waits to be unfenced.
    CaughtUp,
    /// BrokerState 3.
    Running,
    /// Controlled shutdown: still serves.
    Leaving,
    /// Fenced and closed, writes its last things.
    Closing,
}

/// How far a controller's start or stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ControllerPhase {
    /// No process, or no controller role.
    Off,
    /// The JVM is there, Kafka not yet.
    Jvm,
    /// Raft runs and the listener is open; no KafkaController series yet.
    Joined,
    /// KafkaController series are there and say 0.
    Loading,
    /// In service.
    Running,
    /// SIGTERM: no series, still up.
    Leaving,
}

/// A node's place in the metadata log, as the active controller of this epoch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Has not fetched from this leader.
    Never,
    /// Fetches all the time.
    Following,
    /// Fetched last at `at`, up to `end`.
    Stopped { at: Millis, end: i64 },
}

#[derive(Clone, Debug)]
pub(super) struct Quorum {
    pub leader: Option<NodeId>,
    /// The process that was elected.
    pub leader_run: u64,
    pub epoch: i32,
    /// Since when the leader leads.
    pub since: Millis,
    /// An election is queued.
    pub electing: bool,
    /// The log's end at some moment; idle records add to it while there is a leader.
    pub end: i64,
    pub end_at: Millis,
    /// The ends of before, in order.
    pub ends: VecDeque<End>,
    /// Since when the leader lacks a majority.
    pub alone_since: Option<Millis>,
    /// The directory with which each voter was added, by how often it had been formatted.
    pub voters: BTreeMap<NodeId, u32>,
}

/// The active controller's view of one broker's heartbeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub contact: Contact,
    /// Counts changes; expiries of an earlier contact are void.
    pub generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// A heartbeat came at this moment and at every interval after it.
    Live { first: Millis },
    /// The last heartbeat came then.
    Lost { last: Millis },
}

/// Something that happens later.
#[derive(Clone, Debug)]
pub(super) enum Event {
    SessionExpiry {
        broker: NodeId,
        generation: u64,
    },
    BrokerStep {
        node: NodeId,
        run: u64,
        to: BrokerPhase,
    },
    Open {
        node: NodeId,
        run: u64,
    },
    ControllerStep {
        node: NodeId,
        run: u64,
        to: ControllerPhase,
    },
    Exit {
        node: NodeId,
        run: u64,
    },
    LeaderNoticed {
        epoch: i32,
    },
    Election {
        epoch: i32,
    },
    Publish {
        node: NodeId,
        run: u64,
        image: Arc<Image>,
    },
    Replicate,
    IsrCheck {
        node: NodeId,
        run: u64,
    },
    /// Voters miss a leader that has lost its majority.
    Missed {
        epoch: i32,
    },
    Resign {
        node: NodeId,
        epoch: i32,
    },
    Balance,
    /// The broker's next heartbeat tells which log dirs are offline.
    DirsTold {
        node: NodeId,
        run: u64,
    },
    /// A supervisor starts a process that ended.
    Supervise {
        node: NodeId,
        run: u64,
    },
    /// The process ends by itself (`Exit.halt`).
    Halt {
        node: NodeId,
        run: u64,
    },
}

/// SplitMix64: small, fast, the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform over both ends.
    pub(super) fn between(&mut self, range: (u64, u64)) -> u64 {
        let span = range.1.saturating_sub(range.0).saturating_add(1);
        range.0 + self.next().checked_rem(span).unwrap_or(0)
    }
}

impl Cluster {
    /// Queues `event` for `delay` milliseconds from now.
    pub(super) fn after(&mut self, delay: Millis, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), event);
    }

    pub(super) fn draw(&mut self, range: (u64, u64)) -> Millis {
        self.random.between(range)
    }

    /// The effective `min.insync.replicas`: from 3.7 on at most the number of replicas
    /// (kafka-jmx-metrics.md, section 3.2; `Partition.effectiveMinIsr`, KAFKA-15583).
    pub(super) fn min_isr(&self, topic: &Topic, partition: &Partition, release: Release) -> usize {
        let configured = topic
            .min_isr
            .unwrap_or(self.spec.settings.min_insync_replicas);
        let configured = usize::try_from(configured).unwrap_or(usize::MAX);
        if release >= Release::V3_7 {
            configured.min(partition.replicas.len())
        } else {
            configured
        }
    }

    /// When a follower fetched by its leader's own wall clock, as the leader tells it. The follower
    /// fetched last at `last`, and last before another moment at `before` of that. Of two times the
    /// leader keeps the later one (`LeaderState.ReplicaState.updateFollowerState`), as long as it leads.
    pub(super) fn noted(
        &self,
        leader: NodeId,
        last: Millis,
        before: impl Fn(Millis) -> Millis,
    ) -> i64 {
        let Some(node) = self.nodes.get(&leader) else {
            return self.wall(last);
        };
        let sets = node.clock_set.iter();
        let mut newest = self.wall(last) + node.clock_at(last);
        for (at, ahead) in sets.filter(|(at, _)| *at <= last && *at > self.quorum.since) {
            newest = newest.max(self.wall(before(*at)) + ahead);
        }
        newest
    }

    /// Wall time by this node's own clock, now.
    pub(super) fn own_wall(&self, id: NodeId) -> i64 {
        let ahead = self.nodes.get(&id).map_or(0, |node| node.clock_ahead);
        self.wall(self.now) + ahead
    }

    /// Wall time of an internal moment, milliseconds since 1970.
    pub(super) fn wall(&self, at: Millis) -> i64 {
        let since = i64::try_from(at).unwrap_or(i64::MAX) - i64::try_from(ORIGIN).unwrap_or(0);
        self.spec.start_wall_ms + since
    }
}
