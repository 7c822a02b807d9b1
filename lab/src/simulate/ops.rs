//! What people and accidents do in a trial, all of it decided by the seed before it begins.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::model::{Family, Fault, NodeId, Release, Spec, TopicSpec};

/// SplitMix64, as in the model.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform over both ends.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let last = u64::try_from(from.len() - 1).expect("short lists");
        from[usize::try_from(self.between(0, last)).expect("short lists")].clone()
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}

/// A broken exporter, in words.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Fault")]
enum FaultText {
    Dead,
    Hangs,
    Html,
    Empty,
    Error,
    Cut,
    NotANumber,
    Stale,
    Of(NodeId),
}

/// A fault or none, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Broken(#[serde(with = "FaultText")] pub Fault);

/// One thing done to the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// `kill -9`.
    Kill(NodeId),
    /// SIGTERM.
    Stop(NodeId),
    /// Starts it again, if it is down.
    Start(NodeId),
    /// SIGSTOP.
    Freeze(NodeId),
    /// SIGCONT.
    Thaw(NodeId),
    /// Cuts two nodes from each other.
    Cut(NodeId, NodeId),
    /// Mends that.
    Mend(NodeId, NodeId),
    /// Cuts the gate from a node.
    GateCut(NodeId),
    /// Mends that.
    GateMend(NodeId),
    /// Breaks an exporter, or mends it.
    Exporter(NodeId, Option<Broken>),
    /// Every answer takes longer.
    Latency(NodeId, u64),
    /// SIGTERM to whoever leads the quorum then.
    StopActiveController,
    /// `kill -9` of whoever leads the quorum then.
    KillActiveController,
    /// Starts whatever is down.
    StartAll,
    /// Followers of this node copy this many records per second and partition.
    CatchUp(NodeId, u64),
    /// This node's copy of the metadata comes so many milliseconds late, without a sign of it.
    MetadataLag(NodeId, u64),
    /// The disk under a broker's second log dir fails.
    FailLogDir(NodeId),
    /// It gets a new one, which is taken into use at the next start.
    ReplaceLogDir(NodeId),
    /// Topic `events` is deleted and made anew.
    Recreate,
    /// Replica lists of partitions of `orders` are asked to become these.
    Reassign(u32, Vec<NodeId>),
    /// The gate's process does nothing for this many milliseconds; its view is still there.
    GateStop(u64),
    /// Somebody sets the gate's wall clock this many milliseconds forward, or back.
    WallStep(i64),
}

impl Op {
    /// Whether a node's process ends.
    pub const fn stops_a_node(&self) -> bool {
        matches!(
            self,
            Self::Kill(_) | Self::Stop(_) | Self::StopActiveController | Self::KillActiveController
        )
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A whole trial.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster.
    pub spec: Spec,
    /// Whether the gate's configuration names the nodes.
    pub configured: bool,
    /// What happens when, in order.
    pub ops: Vec<(Duration, Op)>,
    /// When it is over.
    pub end: Duration,
}

impl Plan {
    /// Everything follows from the seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x5851_F42D_4C95_7F2D) ^ 0x1405);
        let spec = spec(seed, &mut random);
        let brokers: Vec<_> = spec
            .nodes
            .iter()
            .filter(|n| n.roles.broker)
            .map(|n| n.id)
            .collect();
        let controllers: Vec<_> = spec
            .nodes
            .iter()
            .filter(|n| n.roles.controller)
            .map(|n| n.id)
            .collect();
        let mut drill = Drill {
            all: spec.nodes.iter().map(|n| n.id).collect(),
            brokers,
            controllers,
            ops: Vec::new(),
        };
        let mut at = random.millis(16_000, 30_000);
        for _ in 0..random.between(2, 3) {
            at = drill.episode(at, &mut random);
            // Time to heal and open again, or not quite.
            at += random.millis(8_000, 40_000);
        }
        drill.ops.sort_by_key(|(at, _)| *at);
        Self {
            configured: random.between(0, 1) == 0,
            spec,
            ops: drill.ops,
            end: at + Duration::from_secs(5),
        }
    }
}

/// Mostly three and three; some clusters are combined or larger.
fn layout(seed: u64, release: Release) -> Spec {
    match Random(seed ^ 0x6C61_796F_7574).between(0, 9) {
        0 => Spec::combined(3, release),
        1 => Spec::kraft(3, 5, release),
        2 => Spec::kraft(5, 3, release),
        _ => Spec::kraft(3, 3, release),
    }
}

fn spec(seed: u64, random: &mut Random) -> Spec {
    let releases = [
        Release::V3_9,
        Release::V4_0,
        Release::V4_1,
        Release::V4_2,
        Release::V4_3,
    ];
    let mut spec = layout(seed, random.pick(&releases)).seed(seed);
    let rate = random.pick(&[0, 5, 100, 2_000]);
    let mut topics = vec![TopicSpec::new("orders", 9, 3).rate(rate)];
    if random.between(0, 1) == 0 {
        topics.push(TopicSpec::new("events", 4, 2).rate(20).min_isr(1));
    }
    if random.between(0, 3) == 0 {
        topics.push(TopicSpec::new("pairs", 2, 2).rate(1));
    }
    spec = spec.topics(topics);
    spec.groups.clear();
    spec.settings.offsets_partitions = 3;
    spec.settings.log_dirs = 2;
    spec.settings.replica_lag_time_max = random.pick(&[30_000, 30_000, 10_000]);
    spec.family = random.pick(&[Family::Default, Family::Flat]);
    spec.dynamic_quorum = random.between(0, 1) == 0;
    spec
}

struct Drill {
    all: Vec<NodeId>,
    brokers: Vec<NodeId>,
    controllers: Vec<NodeId>,
    ops: Vec<(Duration, Op)>,
}

impl Drill {
    fn add(&mut self, at: Duration, op: Op) {
        self.ops.push((at, op));
    }

    /// One fault or two, and their repair; says when it is over.
    fn episode(&mut self, at: Duration, random: &mut Random) -> Duration {
        let node = random.pick(&self.all);
        match random.between(0, 17) {
            0 | 1 => self.down(at, node, random),
            2 => {
                let ends = self.down(at, node, random);
                let other = random.pick(&self.all);
                let soon = at + random.millis(1, 6_000);
                self.down(soon, other, random).max(ends)
            }
            3 => {
                let over = at + random.millis(200, 25_000);
                self.add(at, Op::Freeze(node));
                self.add(over, Op::Thaw(node));
                over
            }
            4 => {
                // Some of the links, for long enough that something follows.
                let over = at + random.millis(500, 45_000);
                for other in self.all.clone() {
                    if other != node && random.between(0, 2) > 0 {
                        self.add(at, Op::Cut(node, other));
                        self.add(over, Op::Mend(node, other));
                    }
                }
                over
            }
            5 => {
                let over = at + random.millis(300, 12_000);
                self.add(at, Op::GateCut(node));
                self.add(over, Op::GateMend(node));
                if random.between(0, 1) == 0 {
                    let inside = at + random.millis(0, 3_000);
                    return self.down(inside, node, random).max(over);
                }
                over
            }
            6 => {
                let op = random.pick(&[Op::StopActiveController, Op::KillActiveController]);
                let over = at + random.millis(2_000, 20_000);
                self.add(at, op);
                self.add(over, Op::StartAll);
                over
            }
            7 => {
                let fault = self.fault(random);
                let over = at + random.millis(1_000, 40_000);
                self.add(at, Op::Exporter(node, Some(Broken(fault))));
                self.add(over, Op::Exporter(node, None));
                if random.between(0, 1) == 0 {
                    let inside = at + random.millis(0, 15_000);
                    let victim = random.pick(&[node, random.clone().pick(&self.all)]);
                    return self.down(inside, victim, random).max(over);
                }
                over
            }
            8 => {
                let over = at + random.millis(2_000, 20_000);
                self.add(at, Op::Latency(node, random.between(20, 3_000)));
                self.add(over, Op::Latency(node, 0));
                over
            }
            9 => {
                // A broker comes back and its followers' work goes slowly.
                let broker = random.pick(&self.brokers);
                for id in self.brokers.clone() {
                    self.add(at, Op::CatchUp(id, random.between(100, 4_000)));
                }
                self.down(at, broker, random)
            }
            12 => {
                // The gate stands still, and something happens meanwhile.
                let op = Op::GateStop(random.between(500, 40_000));
                self.add(at, op);
                let inside = at + random.millis(0, 5_000);
                self.down(inside, node, random)
            }
            13 => {
                // The clock is set, by a second or by an hour, and something happens soon.
                let far = random.pick(&[400, 5_000, 60_000, 3_600_000]);
                let op = Op::WallStep(random.pick(&[far, -far]));
                self.add(at, op);
                let soon = at + random.millis(0, 20_000);
                self.down(soon, node, random)
            }
            14 => {
                // The clock is set while nothing can be seen of a node.
                let over = at + random.millis(4_000, 25_000);
                let far = random.pick(&[2_500, 5_000, 60_000]);
                let (cut, mend) = random.pick(&[
                    (Op::GateCut(node), Op::GateMend(node)),
                    (Op::Freeze(node), Op::Thaw(node)),
                ]);
                self.add(at, cut);
                self.add(at + random.millis(0, 1_500), Op::WallStep(-far));
                self.add(over, mend);
                over
            }
            15 => self.old_metadata(at, random),
            16 => {
                let broker = random.pick(&self.brokers);
                let repaired = at + random.millis(2_000, 20_000);
                self.add(at, Op::FailLogDir(broker));
                self.add(repaired, Op::ReplaceLogDir(broker));
                self.add(repaired, Op::Stop(broker));
                let over = repaired + random.millis(6_000, 12_000);
                self.add(over, Op::Start(broker));
                over + Duration::from_secs(5)
            }
            17 => {
                self.add(at, Op::Recreate);
                let mut replicas = self.brokers.clone();
                let count = replicas.len();
                replicas.rotate_left(usize::try_from(random.between(0, 2)).expect("small") % count);
                replicas.truncate(3);
                let partition = u32::try_from(random.between(0, 8)).expect("small");
                self.add(at, Op::Reassign(partition, replicas));
                at + Duration::from_secs(5)
            }
            10 => {
                // Flapping.
                let mut at = at;
                for _ in 0..random.between(2, 4) {
                    at = self.down(at, node, random) + random.millis(0, 9_000);
                }
                at
            }
            _ => {
                // A roll by hand that does not wait long enough.
                let mut at = at;
                let mut list = random.pick(&[self.brokers.clone(), self.controllers.clone()]);
                list.truncate(2);
                for id in list {
                    at = self.down(at, id, random) + random.millis(3_000, 20_000);
                }
                at
            }
        }
    }

    /// One broker, or all but one, know late what happens to another.
    fn old_metadata(&mut self, at: Duration, random: &mut Random) -> Duration {
        let victim = random.pick(&self.brokers);
        let keeps_up = random.pick(&self.brokers);
        let one = random.between(0, 1) == 0;
        let late = random.between(2_000, 25_000);
        let brokers = self.brokers.clone();
        let slow = |id: &NodeId| *id != victim && (*id == keeps_up) == one;
        let slow: Vec<_> = brokers.into_iter().filter(slow).collect();
        for id in &slow {
            self.add(at, Op::MetadataLag(*id, late));
        }
        let inside = at + random.millis(0, 2_000);
        let over = self.down(inside, victim, random) + random.millis(0, 10_000);
        for id in &slow {
            self.add(over, Op::MetadataLag(*id, 0));
        }
        over
    }

    fn down(&mut self, at: Duration, node: NodeId, random: &mut Random) -> Duration {
        let op = random.pick(&[Op::Kill(node), Op::Stop(node)]);
        let longest = random.pick(&[1_500, 8_000, 25_000]);
        let over = at + random.millis(400, longest);
        self.add(at, op);
        self.add(over, Op::Start(node));
        // A stop may have taken longer than the operator thought.
        self.add(over + Duration::from_secs(5), Op::Start(node));
        over + Duration::from_secs(5)
    }

    fn fault(&self, random: &mut Random) -> Fault {
        let other = random.pick(&self.all);
        random.pick(&[
            Fault::Dead,
            Fault::Hangs,
            Fault::Html,
            Fault::Empty,
            Fault::Error,
            Fault::Cut,
            Fault::NotANumber,
            Fault::Stale,
            Fault::Of(other),
        ])
    }
}

/// Cuts that stand, smaller id first.
pub type Cuts = BTreeSet<(NodeId, NodeId)>;
