//! Episodes at length: what happens beside a node's own life. In most of them a node goes down in
//! the middle, so that a gate that believes what it is shown then would lie; each is undone at its
//! end.

use std::time::Duration;

use upgrade_gate::model::NodeId;

use super::drill::{Drill, Episode};
use super::ops::{Op, Random, Right};

/// Records per second and partition that a follower copies where nobody says otherwise
/// (`Timing::catch_up_rate`).
const CATCH_UP: u64 = 20_000;
/// Partitions of `orders`.
const ORDERS: u64 = 9;
/// Which disks fail is drawn apart, so that all other draws stay what they were.
const DISKS: u64 = 0xD15C_FA11;

impl Drill {
    /// Whether this can happen to this cluster as it is by now.
    pub fn can(&self, what: Episode) -> bool {
        let spare = self.brokers.len() > self.widest;
        match what {
            Episode::Joins => !self.newcomers.is_empty(),
            Episode::Leaves => spare && self.leaves,
            Episode::Move => spare,
            Episode::Formatted => !self.formattable.is_empty(),
            Episode::Down
            | Episode::TwoDown
            | Episode::Freeze
            | Episode::Cut
            | Episode::GateCut
            | Episode::GateCutMany
            | Episode::GateHalfCut
            | Episode::Leader
            | Episode::Exporter
            | Episode::Slow
            | Episode::BigAnswers
            | Episode::CutAnswers
            | Episode::Rights
            | Episode::CatchUp
            | Episode::SlowDisk
            | Episode::Flap
            | Episode::ByHand
            | Episode::GateStops
            | Episode::Clock
            | Episode::BlindClock
            | Episode::OldMetadata
            | Episode::OldIsr
            | Episode::Disk
            | Episode::Topics
            | Episode::Deleted
            | Episode::Throttle
            | Episode::SlowPages
            | Episode::NoQuorum
            | Episode::Away => true,
        }
    }

    /// Mostly somebody goes down in the middle.
    fn mostly_down(
        &mut self,
        (from, until): (Duration, Duration),
        victim: NodeId,
        random: &mut Random,
    ) -> Duration {
        if random.between(0, 3) == 0 {
            return until;
        }
        let length = until.saturating_sub(from).as_millis();
        let length = u64::try_from(length).expect("a short trial");
        let inside = from + random.millis(0, length / 2);
        self.down(inside, victim, random).max(until)
    }

    /// Some nodes at least two, the first of them often the one that goes down.
    fn some(&self, first: NodeId, random: &mut Random) -> Vec<NodeId> {
        let mut others = self.all.clone();
        others.retain(|id| *id != first);
        let count = u64::try_from(others.len()).expect("few nodes");
        let more = random.between(1, count);
        let mut some = vec![first];
        for _ in 0..more {
            let next = random.pick(&others);
            others.retain(|id| *id != next);
            some.push(next);
        }
        some
    }

    pub(super) fn gate_cut_many(
        &mut self,
        at: Duration,
        node: NodeId,
        random: &mut Random,
    ) -> Duration {
        let over = at + random.millis(300, 25_000);
        for id in self.some(node, random) {
            let mended = over + random.millis(0, 3_000);
            self.add(at, Op::GateCut(id));
            self.add(mended, Op::GateMend(id));
        }
        self.mostly_down((at, over), node, random) + Duration::from_secs(3)
    }

    /// Only one of the two ways to a node is cut, or to all of them.
    pub(super) fn gate_half_cut(
        &mut self,
        at: Duration,
        node: NodeId,
        random: &mut Random,
    ) -> Duration {
        let over = at + random.millis(1_000, 30_000);
        let nodes = random.pick(&[vec![node], self.all.clone()]);
        let pages = random.between(0, 1) == 0;
        for id in nodes {
            for (at, cut) in [(at, true), (over, false)] {
                self.add(
                    at,
                    if pages {
                        Op::GateCutPages(id, cut)
                    } else {
                        Op::GateCutKafka(id, cut)
                    },
                );
            }
        }
        self.mostly_down((at, over), node, random)
    }

    /// Liveness goes on while everything else waits.
    pub(super) fn big_answers(
        &mut self,
        at: Duration,
        node: NodeId,
        random: &mut Random,
    ) -> Duration {
        let over = at + random.millis(3_000, 40_000);
        let nodes = random.pick(&[vec![node], self.brokers.clone()]);
        let time = random.pick(&[300, 1_500, 4_000, 7_000]);
        for id in nodes {
            self.add(at, Op::BigAnswers(id, time));
            self.add(over, Op::BigAnswers(id, 0));
        }
        let victim = random.pick(&[node, random.clone().pick(&self.all)]);
        self.mostly_down((at, over), victim, random)
    }

    pub(super) fn cut_answers(
        &mut self,
        at: Duration,
        node: NodeId,
        random: &mut Random,
    ) -> Duration {
        let over = at + random.millis(500, 20_000);
        let nodes = random.pick(&[vec![node], self.brokers.clone(), self.all.clone()]);
        for id in nodes {
            self.add(at, Op::CutAnswers(id, true));
            self.add(over, Op::CutAnswers(id, false));
        }
        self.mostly_down((at, over), node, random)
    }

    /// Nobody says so, but some of what there is cannot be seen.
    pub(super) fn rights(&mut self, at: Duration, node: NodeId, random: &mut Random) -> Duration {
        let over = at + random.millis(1_000, 30_000);
        let topic = random.pick(&self.topics);
        let right = random.pick(&[Right::Topics, Right::Topic(topic), Right::Cluster]);
        self.add(at, Op::Hide(right.clone(), true));
        self.add(over, Op::Hide(right, false));
        self.mostly_down((at, over), node, random)
    }

    pub(super) fn slow_disk(&mut self, at: Duration, random: &mut Random) -> Duration {
        let broker = random.pick(&self.brokers);
        let over = at + random.millis(20_000, 60_000);
        self.add(at, Op::SlowDisk(broker, random.pick(&[3, 20, 200])));
        self.add(over, Op::SlowDisk(broker, 1));
        let victim = random.pick(&[broker, random.clone().pick(&self.brokers)]);
        self.mostly_down((at, over), victim, random)
    }

    /// A disk of a broker fails and is replaced. One time in three it is what Kafka gives up without
    /// (`ReplicaManager.handleLogDirFailure`, `LogManager.handleLogDirFailure`): on KRaft the first one,
    /// which has the metadata log, on ZooKeeper both. Two in three of those who find the process gone
    /// start it before they look at its disks, and it gives up once more.
    pub(super) fn disk(&mut self, at: Duration, random: &mut Random) -> Duration {
        let broker = random.pick(&self.brokers);
        let repaired = at + random.millis(2_000, 20_000);
        let over = repaired + random.millis(6_000, 12_000);
        let mut apart = Random(random.0 ^ DISKS);
        let gives_up = apart.between(0, 2) == 0;
        let dirs: &[u32] = match (gives_up, self.zookeeper) {
            (false, _) => &[1],
            (true, false) => &[0],
            (true, true) => &[0, 1],
        };
        for dir in dirs {
            self.add(at, Op::FailLogDir(broker, *dir));
            self.add(repaired, Op::ReplaceLogDir(broker, *dir));
        }
        if !gives_up {
            self.add(repaired, Op::Stop(broker));
        } else if apart.between(0, 2) > 0 {
            self.add(at + apart.millis(200, 1_900), Op::Start(broker));
        }
        self.add(over, Op::Start(broker));
        over + Duration::from_secs(5)
    }

    /// A broker that was never there joins, empty; sometimes it is given something to hold.
    pub(super) fn joins(&mut self, at: Duration, random: &mut Random) -> Duration {
        let Some(new) = self.newcomers.pop() else {
            return at;
        };
        self.add(at, Op::Start(new));
        let there = at + random.millis(5_000, 15_000);
        let over = if random.between(0, 1) == 0 {
            let victim = random.pick(&[new, random.clone().pick(&self.brokers)]);
            self.down(at + random.millis(500, 12_000), victim, random)
        } else {
            there
        };
        self.all.push(new);
        self.brokers.push(new);
        if random.between(0, 1) == 0 {
            return self.moves(over.max(there), random);
        }
        over.max(there)
    }

    /// A broker is emptied and stopped for good. Its registration stays until somebody forgets it,
    /// and the gate goes on expecting it until it is told.
    pub(super) fn leaves(&mut self, at: Duration, random: &mut Random) -> Duration {
        let gone = random.pick(&self.brokers);
        self.add(at, Op::Drain(gone));
        let emptied = at + random.millis(2_000, 20_000);
        self.add(emptied, Op::Stop(gone));
        self.all.retain(|id| *id != gone);
        self.brokers.retain(|id| *id != gone);
        self.formattable.retain(|id| *id != gone);
        let victim = random.pick(&self.all);
        let mut over = self.mostly_down((at, emptied), victim, random);
        over = over.max(emptied) + random.millis(6_000, 25_000);
        if random.between(0, 2) > 0 && !self.zookeeper {
            self.add(over, Op::Unregister(gone));
            over += random.millis(500, 5_000);
        }
        if random.between(0, 2) > 0 {
            self.add(over, Op::Retire(gone));
            over += random.millis(500, 20_000);
        }
        over
    }

    /// Partitions move to brokers that do not hold them, so slowly that it takes a while.
    pub(super) fn moves(&mut self, at: Duration, random: &mut Random) -> Duration {
        let takes = random.between(8_000, 45_000);
        let secs = takes.div_ceil(1_000);
        let partition = random.between(0, ORDERS - 1);
        // What it holds at the start of the simulation, and since.
        let since = at.as_secs();
        let missing = 1_000 * (1 + partition) + self.rate * since;
        let speed = self.rate + (missing / secs).max(10);
        let mut target = self.brokers.clone();
        while target.len() > self.orders {
            let spared = random.pick(&target);
            target.retain(|id| *id != spared);
        }
        let over = at + Duration::from_millis(takes) + random.millis(3_000, 15_000);
        for id in self.brokers.clone() {
            self.add(at, Op::CatchUp(id, speed));
            self.add(over, Op::CatchUp(id, CATCH_UP));
        }
        let partition = u32::try_from(partition).expect("small");
        self.add(at, Op::Reassign(partition, target.clone()));
        let victim = random.pick(&[random.clone().pick(&target), random.clone().pick(&self.all)]);
        self.mostly_down((at, over), victim, random)
    }

    /// Followers' work goes as fast as it used to.
    pub(super) fn usual_speed(&mut self, at: Duration) {
        for id in self.brokers.clone() {
            self.add(at, Op::CatchUp(id, CATCH_UP));
        }
    }

    /// A topic goes while a broker is down, and comes back before or after the broker does.
    pub(super) fn deleted(&mut self, at: Duration, random: &mut Random) -> Duration {
        let topic = random.pick(&self.topics);
        let broker = random.pick(&self.brokers);
        let over = self
            .down(at, broker, random)
            .max(at + Duration::from_secs(12));
        let deleted = at + random.millis(500, 6_000);
        self.add(deleted, Op::Delete(topic.clone()));
        let made = deleted + random.millis(300, 20_000);
        self.add(made, Op::Create(topic.clone()));
        // Too few brokers may have been there.
        let made = over.max(made) + Duration::from_secs(8);
        self.add(made, Op::Create(topic));
        made
    }

    /// A controller's disk is lost; it comes back as another directory, without a vote, and so it
    /// stays until somebody gives it one.
    pub(super) fn formatted(&mut self, at: Duration, random: &mut Random) -> Duration {
        let lost = random.pick(&self.formattable);
        let stop = random.pick(&[Op::Stop(lost), Op::Kill(lost)]);
        self.add(at, stop);
        let down = at + random.millis(1_500, 5_000);
        self.add(down, Op::Format(lost));
        self.add(down + Duration::from_millis(200), Op::Start(lost));
        let over = down + random.millis(12_000, 50_000);
        let victim = random.pick(&self.controllers);
        let over = self.mostly_down((down, over), victim, random).max(over);
        self.add(over, Op::ReplaceVoter(lost));
        // There may have been no leader, or it was one of those that were down.
        self.add(over + Duration::from_secs(8), Op::ReplaceVoter(lost));
        over + Duration::from_secs(8)
    }
}
