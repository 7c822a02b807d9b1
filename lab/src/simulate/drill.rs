//! Episodes: one accident or two with their repair, all of it decided by the seed.

use std::time::Duration;

use upgrade_gate::model::{Fault, NodeId, Roles, Spec, TopicSpec};

use super::ops::{Broken, Op, Random};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Episode {
    /// A node goes down and comes back.
    Down,
    /// Two do, one soon after the other.
    TwoDown,
    /// A node freezes.
    Freeze,
    /// Some of a node's links to others are cut.
    Cut,
    /// The gate does not reach a node, which may go down meanwhile.
    GateCut,
    /// The gate does not reach several nodes from one moment on.
    GateCutMany,
    /// It reaches only the exporters of nodes, or only their listeners.
    GateHalfCut,
    /// The active controller goes.
    Leader,
    /// An exporter is broken, and a node may go down meanwhile.
    Exporter,
    /// A node answers slowly.
    Slow,
    /// Big answers take long, small ones do not.
    BigAnswers,
    /// Answers end in the middle.
    CutAnswers,
    /// The gate may not see topics, or the cluster.
    Rights,
    /// Followers catch up slowly.
    CatchUp,
    /// A broker's disks are slow.
    SlowDisk,
    /// A node goes down several times.
    Flap,
    /// A roll by hand that does not wait long enough.
    ByHand,
    /// The gate stands still, and a node goes down meanwhile.
    GateStops,
    /// The wall clock is set, and a node goes down soon.
    Clock,
    /// The wall clock is set back while nothing can be seen of a node, or just before it dies.
    BlindClock,
    /// Some brokers know late what happens to another.
    OldMetadata,
    /// A follower that is up does not come back into the ISRs, and some broker does not know it.
    OldIsr,
    /// A disk fails.
    Disk,
    /// Topics and replicas change.
    Topics,
    /// A topic is deleted while a broker is down, and made anew.
    Deleted,
    /// Partitions move to other brokers.
    Move,
    /// A new broker joins.
    Joins,
    /// A broker is emptied and stopped for good.
    Leaves,
    /// A controller's disk is formatted.
    Formatted,
    /// A node throttles its clients, and a node may go down meanwhile.
    Throttle,
    /// Pages take long, and a node may go down meanwhile.
    SlowPages,
    /// A broker loses ZooKeeper, or all do; on `KRaft` one loses the controllers.
    NoQuorum,
    /// A node goes down and nobody comes for up to a minute. Only where a trial is made for it.
    Away,
}

impl Episode {
    /// Every kind, those that happen more often more often.
    pub const ALL: [Self; 39] = [
        Self::Down,
        Self::Down,
        Self::TwoDown,
        Self::Freeze,
        Self::Cut,
        Self::GateCut,
        Self::GateCutMany,
        Self::GateHalfCut,
        Self::Leader,
        Self::Exporter,
        Self::Exporter,
        Self::Exporter,
        Self::Exporter,
        Self::Slow,
        Self::BigAnswers,
        Self::CutAnswers,
        Self::Rights,
        Self::CatchUp,
        Self::SlowDisk,
        Self::Flap,
        Self::ByHand,
        Self::ByHand,
        Self::GateStops,
        Self::Clock,
        Self::BlindClock,
        Self::OldMetadata,
        Self::OldIsr,
        Self::Disk,
        Self::Topics,
        Self::Deleted,
        Self::Move,
        Self::Move,
        Self::Joins,
        Self::Joins,
        Self::Leaves,
        Self::Formatted,
        Self::Throttle,
        Self::SlowPages,
        Self::NoQuorum,
    ];
}

/// Makes episodes for one cluster.
#[derive(Debug)]
pub struct Drill {
    /// Every node.
    pub all: Vec<NodeId>,
    /// Those that hold partitions.
    pub brokers: Vec<NodeId>,
    /// Those that vote.
    pub controllers: Vec<NodeId>,
    /// What happens, in no order.
    pub ops: Vec<(Duration, Op)>,
    /// Who is hit, if not anybody.
    pub favourite: Option<NodeId>,
    /// What was made.
    pub made: Vec<Episode>,
    /// Brokers may be stopped for good: nobody has a list of nodes to restart.
    pub leaves: bool,
    /// Brokers that have never been started.
    pub(super) newcomers: Vec<NodeId>,
    /// Controllers whose disk can be formatted.
    pub(super) formattable: Vec<NodeId>,
    /// Topics that can be deleted or hidden.
    pub(super) topics: Vec<String>,
    /// Replicas of the topic that has most of them.
    pub(super) widest: usize,
    /// Replicas of `orders`.
    pub(super) orders: usize,
    /// Records per second into each partition of `orders`.
    pub(super) rate: u64,
    pub(super) zookeeper: bool,
    /// How long answers take when nothing is wrong, in milliseconds.
    pub(super) way: u64,
}

impl Drill {
    /// Nothing has happened yet.
    pub fn new(spec: &Spec) -> Self {
        let nodes = || {
            let nodes = spec.nodes.iter();
            nodes.filter(|node| !spec.later.contains(&node.id))
        };
        let votes = nodes().filter(|n| n.roles.controller);
        let controllers: Vec<_> = votes.map(|n| n.id).collect();
        let wiped = nodes().filter(|n| spec.dynamic_quorum && n.roles == Roles::CONTROLLER);
        let replicas = |topic: &TopicSpec| usize::try_from(topic.replication).expect("small");
        let orders = spec.topics.iter().find(|topic| topic.name == "orders");
        Self {
            all: nodes().map(|n| n.id).collect(),
            brokers: nodes().filter(|n| n.roles.broker).map(|n| n.id).collect(),
            formattable: wiped.map(|n| n.id).collect(),
            controllers,
            ops: Vec::new(),
            favourite: None,
            made: Vec::new(),
            leaves: true,
            newcomers: spec.later.iter().copied().collect(),
            topics: spec.topics.iter().map(|topic| topic.name.clone()).collect(),
            // `__consumer_offsets` has three.
            widest: spec.topics.iter().map(replicas).max().unwrap_or(3).max(3),
            orders: orders.map_or(3, replicas),
            rate: orders.map_or(0, |topic| topic.rate),
            zookeeper: spec.zookeeper,
            way: 0,
        }
    }

    /// One more thing that happens.
    pub fn add(&mut self, at: Duration, op: Op) {
        self.ops.push((at, op));
    }

    /// An episode; says when it is over.
    pub fn episode(&mut self, what: Episode, at: Duration, random: &mut Random) -> Duration {
        let node = random.pick(&self.all);
        let node = self.favourite.unwrap_or(node);
        self.made.push(what);
        match what {
            Episode::Down => self.down(at, node, random),
            Episode::TwoDown => {
                let ends = self.down(at, node, random);
                let other = random.pick(&self.all);
                let soon = at + random.millis(1, 6_000);
                self.down(soon, other, random).max(ends)
            }
            Episode::Freeze => {
                let over = at + random.millis(200, 25_000);
                self.add(at, Op::Freeze(node));
                self.add(over, Op::Thaw(node));
                over
            }
            Episode::Cut => {
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
            Episode::GateCut => {
                let over = at + random.millis(300, 12_000);
                self.add(at, Op::GateCut(node));
                self.add(over, Op::GateMend(node));
                if random.between(0, 1) == 0 {
                    let inside = at + random.millis(0, 3_000);
                    return self.down(inside, node, random).max(over);
                }
                over
            }
            Episode::GateCutMany => self.gate_cut_many(at, node, random),
            Episode::GateHalfCut => self.gate_half_cut(at, node, random),
            Episode::BigAnswers => self.big_answers(at, node, random),
            Episode::CutAnswers => self.cut_answers(at, node, random),
            Episode::Rights => self.rights(at, node, random),
            Episode::SlowDisk => self.slow_disk(at, random),
            Episode::Deleted => self.deleted(at, random),
            Episode::Move => self.moves(at, random),
            Episode::Joins => self.joins(at, random),
            Episode::Leaves => self.leaves(at, random),
            Episode::Formatted => self.formatted(at, random),
            Episode::Leader => {
                let op = random.pick(&[Op::StopActiveController, Op::KillActiveController]);
                let over = at + random.millis(2_000, 20_000);
                self.add(at, op);
                self.add(over, Op::StartAll);
                over
            }
            Episode::Exporter => {
                let fault = self.fault(random);
                let over = at + random.millis(1_000, 40_000);
                self.add(at, Op::Exporter(node, Some(Broken(fault))));
                self.add(over, Op::Exporter(node, None));
                let victim = random.pick(&[node, random.clone().pick(&self.all)]);
                self.perhaps_down(at, 15_000, victim, random).max(over)
            }
            Episode::Slow => {
                let over = at + random.millis(2_000, 20_000);
                self.add(at, Op::Latency(node, random.between(20, 3_000)));
                self.add(over, Op::Latency(node, self.way));
                over
            }
            Episode::CatchUp => {
                // A broker comes back and its followers' work goes slowly.
                let broker = random.pick(&self.brokers);
                for id in self.brokers.clone() {
                    self.add(at, Op::CatchUp(id, random.between(100, 4_000)));
                }
                let over = self.down(at, broker, random);
                self.usual_speed(over + random.millis(5_000, 40_000));
                over
            }
            Episode::Flap => {
                let mut at = at;
                for _ in 0..random.between(2, 4) {
                    at = self.down(at, node, random) + random.millis(0, 9_000);
                }
                at
            }
            Episode::ByHand => {
                let mut lists = vec![self.brokers.clone(), self.controllers.clone()];
                lists.retain(|list| !list.is_empty());
                let mut list = random.pick(&lists);
                list.truncate(2);
                self.by_hand(at, &list, (3_000, 20_000), random)
            }
            Episode::GateStops => {
                let (short, long) = random.pick(&[(500, 40_000), (500, 40_000), (60_000, 90_000)]);
                let length = random.between(short, long);
                self.add(at, Op::GateStop(length));
                let inside = at + random.millis(0, 5_000);
                let over = self.down(inside, node, random);
                over.max(at + Duration::from_millis(length))
            }
            Episode::Clock => {
                // By a second or by an hour.
                let far = random.pick(&[400, 5_000, 60_000, 3_600_000]);
                let op = Op::WallStep(random.pick(&[far, -far]));
                self.add(at, op);
                let soon = at + random.millis(0, 20_000);
                self.down(soon, node, random)
            }
            Episode::BlindClock => self.blind_clock(at, node, random),
            Episode::OldMetadata => self.old_metadata(at, random),
            Episode::OldIsr => self.old_isr(at, random),
            Episode::Disk => self.disk(at, random),
            Episode::Topics => {
                if self.topics.iter().any(|name| name == "events") {
                    self.add(at, Op::Recreate);
                }
                let mut replicas = self.brokers.clone();
                let count = replicas.len();
                replicas.rotate_left(usize::try_from(random.between(0, 2)).expect("small") % count);
                replicas.truncate(3);
                let partition = u32::try_from(random.between(0, 8)).expect("small");
                self.add(at, Op::Reassign(partition, replicas));
                at + Duration::from_secs(5)
            }
            Episode::Throttle => {
                let over = at + random.millis(3_000, 30_000);
                let time = random.pick(&[50, 400, 900, 3_000, 8_000]);
                self.add(at, Op::Throttle(node, time));
                self.add(over, Op::Throttle(node, 0));
                let victim = random.pick(&[node, random.clone().pick(&self.all)]);
                self.perhaps_down(at, 8_000, victim, random).max(over)
            }
            Episode::SlowPages => {
                let over = at + random.millis(10_000, 60_000);
                let time = random.pick(&[300, 2_000, 9_000, 30_000]);
                self.add(at, Op::PageTime(node, time));
                self.add(over, Op::PageTime(node, self.way));
                let victim = random.pick(&[node, random.clone().pick(&self.all)]);
                self.perhaps_down(at, 20_000, victim, random).max(over)
            }
            Episode::NoQuorum => self.no_quorum(at, random),
            Episode::Away => {
                let over = at + random.millis(25_000, 60_000);
                self.add(at, random.pick(&[Op::Kill(node), Op::Stop(node)]));
                self.add(over, Op::Start(node));
                over
            }
        }
    }

    fn perhaps_down(
        &mut self,
        at: Duration,
        within: u64,
        victim: NodeId,
        random: &mut Random,
    ) -> Duration {
        if random.between(0, 1) == 1 {
            return at;
        }
        let inside = at + random.millis(0, within);
        self.down(inside, victim, random)
    }

    /// Somebody restarts these nodes and waits as long as it seems right.
    pub fn by_hand(
        &mut self,
        at: Duration,
        nodes: &[NodeId],
        (short, long): (u64, u64),
        random: &mut Random,
    ) -> Duration {
        let mut at = at;
        for id in nodes {
            at = self.down(at, *id, random) + random.millis(short, long);
        }
        at
    }

    fn blind_clock(&mut self, at: Duration, node: NodeId, random: &mut Random) -> Duration {
        let over = at + random.millis(4_000, 25_000);
        let far = random.pick(&[2_500, 5_000, 15_000, 60_000]);
        let (blind, sees) = random.pick(&[
            (Op::GateCut(node), Op::GateMend(node)),
            (Op::Freeze(node), Op::Thaw(node)),
            (Op::Kill(node), Op::Start(node)),
        ]);
        // Sometimes the clock is first, sometimes it is too late.
        let (first, second) = random.pick(&[(0, 1_500), (1_500, 0)]);
        self.add(at + random.millis(0, first), blind);
        self.add(at + random.millis(0, second), Op::WallStep(-far));
        self.add(over, sees);
        over + Duration::from_secs(2)
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

    /// A follower leads nothing any more since it was restarted. It is restarted again and comes
    /// back, but cannot copy from the other brokers, and one that is asked still has the ISRs of
    /// before. Where nobody writes, its log ends are its leaders' all the same.
    fn old_isr(&mut self, at: Duration, random: &mut Random) -> Duration {
        let follower = random.pick(&self.brokers);
        let mut others = self.brokers.clone();
        others.retain(|id| *id != follower);
        let slow = random.pick(&[0, 0, 0, 1]);
        let slow = others.get(slow).copied().expect("three brokers");
        if random.between(0, 1) == 0 {
            self.add(at, Op::Rate(0));
        }
        self.add(at, Op::Stop(follower));
        self.add(at + Duration::from_secs(5), Op::Start(follower));
        let again = at + random.millis(18_000, 25_000);
        self.add(again, Op::MetadataLag(slow, 90_000));
        self.add(again, Op::Stop(follower));
        let back = again + Duration::from_secs(5);
        let over = back + random.millis(15_000, 40_000);
        for other in others {
            self.add(back, Op::Cut(follower, other));
            self.add(over, Op::Mend(follower, other));
        }
        self.add(back, Op::Start(follower));
        self.add(over, Op::MetadataLag(slow, 0));
        over
    }

    fn no_quorum(&mut self, at: Duration, random: &mut Random) -> Duration {
        let broker = random.pick(&self.brokers);
        let over = at + random.millis(1_000, 40_000);
        if self.zookeeper {
            // Drawn here alone, so that other plans stay what they are.
            if random.between(0, 1) == 0 {
                self.add(at, Op::ZooKeeperDown(true));
                self.add(over, Op::ZooKeeperDown(false));
                let victim = random.pick(&self.all);
                return self.perhaps_down(at, 30_000, victim, random).max(over);
            }
            self.add(at, Op::ZooKeeperCut(broker, true));
            self.add(over, Op::ZooKeeperCut(broker, false));
            return over;
        }
        for other in self.controllers.clone() {
            if other != broker {
                self.add(at, Op::Cut(broker, other));
                self.add(over, Op::Mend(broker, other));
            }
        }
        over
    }

    /// A node goes down and somebody starts it again.
    pub fn down(&mut self, at: Duration, node: NodeId, random: &mut Random) -> Duration {
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
