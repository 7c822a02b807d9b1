//! What the trials are made of: whatever the model can do and nobody ever does proves nothing. Only
//! plans are made here; how many operations come to nothing is counted in trials that are made
//! anyway.

use std::collections::BTreeMap;

use lab::simulate::Outcome;
use lab::simulate::drill::Episode;
use lab::simulate::operator::Operator;
use lab::simulate::ops::{Broken, Op, Right};
use lab::simulate::plan::{Kind, Plan, Slant};
use lab::simulate::setup::Target;
use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{Delayed, Exporter, Fault, Release, Spec};

/// Plans of the standard run.
const PLANS: u64 = 1000;
/// Everything is in so many of them at least.
const LEAST: usize = 3;

/// The names of an enum's variants; a new one does not compile before it is listed.
macro_rules! names {
    ($all:ident, $name:ident, $type:ident: $($variant:ident)*) => {
        const $all: &[&str] = &[$(stringify!($variant)),*];

        const fn $name(of: &$type) -> &'static str {
            match of {
                $($type::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

names!(OPS, op_name, Op:
    Kill Stop Start Freeze Thaw Cut Mend GateCut GateMend GateCutKafka GateCutPages Exporter Latency
    BigAnswers CutAnswers Hide StopActiveController KillActiveController StartAll CatchUp MetadataLag
    FailLogDir ReplaceLogDir Recreate Delete Create SlowDisk Drain Unregister Retire Format
    ReplaceVoter Reassign GateStop GateRestart Reload Upgrade Throttle PageTime Rate ZooKeeperCut
    NodeClock ZooKeeperDown WallStep);
names!(FAULTS, fault_name, Fault: Dead Hangs Html Empty Error Cut NotANumber Stale Of);
names!(RIGHTS, right_name, Right: Topics Topic Cluster);
names!(DELAYS, delay_name, Delayed: Closes Fails Refuses);

/// How often something is there, by its name.
#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn expect(&mut self, name: impl Into<String>) {
        self.0.entry(name.into()).or_default();
    }

    fn add(&mut self, name: impl Into<String>) {
        *self.0.entry(name.into()).or_default() += 1;
    }

    /// Everything that has to be there.
    fn expected() -> Self {
        let mut counts = Self::default();
        // Operators start other releases; no plan says when.
        let ops = OPS.iter().filter(|name| **name != "Upgrade");
        ops.for_each(|name| counts.expect(format!("op {name}")));
        counts.expect("operator who upgrades");
        for (all, what) in [
            (FAULTS, "fault"),
            (RIGHTS, "right"),
            (DELAYS, "exporter that"),
        ] {
            for name in all {
                counts.expect(format!("{what} {name}"));
            }
        }
        let episodes = Episode::ALL;
        for what in &episodes {
            counts.expect(format!("episode {what:?}"));
        }
        let kinds = Kind::SHARES;
        for (kind, _) in &kinds {
            counts.expect(format!("kind {kind}"));
        }
        for mode in [Mode::KafkaJmx, Mode::Kafka, Mode::Jmx] {
            counts.expect(format!("mode {}", mode.as_str()));
        }
        for release in &Release::ALL {
            counts.expect(format!("KRaft {release}"));
        }
        let zookeeper = Release::ZOOKEEPER;
        for release in &zookeeper {
            counts.expect(format!("ZooKeeper {release}"));
        }
        (1..=4).for_each(|replicas| counts.expect(format!("RF {replicas}")));
        (3..=5).for_each(|brokers| counts.expect(format!("{brokers} brokers")));
        for voters in [3, 5] {
            counts.expect(format!("{voters} voters"));
        }
        for what in [
            "combined nodes",
            "voters by directory id",
            "ELR by upgrade",
            "ELR by default",
            "no ELR on 4.1 or later",
            "unclean elections",
            "short lag time",
            "KRaft sessions of 6 s",
            "KRaft sessions of 30 s",
            "ZooKeeper sessions of 6 s",
            "ZooKeeper sessions of 30 s",
            "min ISR 1 of the brokers",
            "min ISR 1 of a topic of three replicas",
            "min ISR 3 of a topic of three replicas",
            "a broker without its metadata disk",
            "a broker on ZooKeeper without any disk",
            "a start without a disk that it needs",
            "a broker that joins",
            "standalone exporter",
            "controllers by the brokers' word",
            "nodes by configuration",
            "nodes by the cluster's word",
            "mistake: pages swapped",
            "mistake: page of another cluster",
            "mistake: node left out",
        ] {
            counts.expect(what);
        }
        counts
    }

    fn plan(&mut self, plan: &Plan) {
        self.add(format!("kind {}", plan.kind));
        self.add(format!("mode {}", plan.setup.mode.as_str()));
        let mut episodes = plan.episodes.clone();
        episodes.sort_unstable();
        episodes.dedup();
        for what in &episodes {
            self.add(format!("episode {what:?}"));
        }
        for (_, op) in &plan.ops {
            self.add(format!("op {}", op_name(op)));
            match op {
                Op::Exporter(_, Some(Broken(fault))) => {
                    self.add(format!("fault {}", fault_name(fault)));
                }
                Op::Hide(right, true) => self.add(format!("right {}", right_name(right))),
                _ => {}
            }
        }
        if plan.operators.iter().any(|operator| operator.to.is_some()) {
            self.add("operator who upgrades");
        }
        self.spec(&plan.spec);
        self.settings(&plan.spec);
        self.disks(plan);
        let setup = &plan.setup;
        let targets = || setup.targets.values();
        let swapped = targets().any(|target| matches!(target, Target::Node(_)));
        let another = targets().any(|target| *target == Target::AnotherCluster);
        for (there, what) in [
            (setup.via_brokers, "controllers by the brokers' word"),
            (setup.configured, "nodes by configuration"),
            (!setup.configured, "nodes by the cluster's word"),
            (swapped, "mistake: pages swapped"),
            (another, "mistake: page of another cluster"),
            (!setup.left_out.is_empty(), "mistake: node left out"),
        ] {
            if there {
                self.add(what);
            }
        }
    }

    fn spec(&mut self, spec: &Spec) {
        let mode = if spec.zookeeper { "ZooKeeper" } else { "KRaft" };
        self.add(format!("{mode} {}", spec.finalized));
        let mut replicas: Vec<_> = spec.topics.iter().map(|topic| topic.replication).collect();
        replicas.sort_unstable();
        replicas.dedup();
        for replicas in &replicas {
            self.add(format!("RF {replicas}"));
        }
        let there = || {
            spec.nodes
                .iter()
                .filter(|node| !spec.later.contains(&node.id))
        };
        let brokers = there().filter(|node| node.roles.broker).count();
        let voters = there().filter(|node| node.roles.controller).count();
        self.add(format!("{brokers} brokers"));
        self.add(format!("{voters} voters"));
        let combined = there().any(|node| node.roles.broker && node.roles.controller);
        let by_default = spec.finalized >= Release::V4_1;
        for (there, what) in [
            (combined, "combined nodes"),
            (spec.dynamic_quorum, "voters by directory id"),
            (spec.elr && by_default, "ELR by default"),
            (spec.elr && !by_default, "ELR by upgrade"),
            (!spec.elr && by_default, "no ELR on 4.1 or later"),
            (spec.settings.unclean_leader_election, "unclean elections"),
            (
                spec.settings.replica_lag_time_max < 30_000,
                "short lag time",
            ),
            (!spec.later.is_empty(), "a broker that joins"),
        ] {
            if there {
                self.add(what);
            }
        }
        let Exporter {
            standalone,
            start_delay,
            delayed,
        } = spec.exporter;
        if standalone {
            self.add("standalone exporter");
        }
        if start_delay > 0 {
            self.add(format!("exporter that {}", delay_name(&delayed)));
        }
    }

    /// Sessions and min ISR that are not the usual ones.
    fn settings(&mut self, spec: &Spec) {
        let settings = &spec.settings;
        let (name, session, usual) = if spec.zookeeper {
            ("ZooKeeper", settings.zookeeper_session_timeout, 18_000)
        } else {
            ("KRaft", settings.session_timeout, 9_000)
        };
        if session != usual {
            self.add(format!("{name} sessions of {} s", session / 1_000));
        }
        if settings.min_insync_replicas == 1 {
            self.add("min ISR 1 of the brokers");
        }
        let of_three = spec.topics.iter().filter(|topic| topic.replication == 3);
        for own in of_three.filter_map(|topic| topic.min_isr) {
            self.add(format!("min ISR {own} of a topic of three replicas"));
        }
    }

    /// Brokers that give up for want of a disk: on KRaft of the first one, on ZooKeeper of both.
    fn disks(&mut self, plan: &Plan) {
        for (failed, op) in &plan.ops {
            let Op::FailLogDir(broker, 0) = op else {
                continue;
            };
            self.add(if plan.spec.zookeeper {
                "a broker on ZooKeeper without any disk"
            } else {
                "a broker without its metadata disk"
            });
            let when = |wanted: &Op| {
                let mut later = plan.ops.iter().filter(|(at, _)| at > failed);
                later.find(|(_, op)| op == wanted).map(|(at, _)| *at)
            };
            let (starts, replaced) = (
                when(&Op::Start(*broker)),
                when(&Op::ReplaceLogDir(*broker, 0)),
            );
            if starts.is_some() && starts < replaced {
                self.add("a start without a disk that it needs");
            }
        }
    }
}

#[test]
fn everything_that_can_happen_is_in_some_plan() {
    let mut counts = Counts::expected();
    (1..=PLANS).for_each(|seed| counts.plan(&Plan::new(seed)));
    for (what, count) in &counts.0 {
        println!("{count:>6} {what}");
    }
    let rare = counts.0.iter().filter(|(_, count)| **count < LEAST);
    let rare: Vec<_> = rare.collect();
    assert!(rare.is_empty(), "in too few of {PLANS} plans: {rare:?}");
}

/// Those who take leases are of every sort, in trials of leases.
#[test]
fn every_sort_of_owner_is_in_some_plan_of_leases() {
    let mut counts = Counts::default();
    let sorts = |operator: &Operator| {
        let late = operator.lag > 0 && !operator.leaves_early;
        [
            (operator.dies.is_some(), "owner who dies"),
            (!operator.hosts.is_empty(), "owner of several nodes"),
            (operator.repairs, "owner who repairs"),
            (operator.forgets, "owner who forgets"),
            (late, "owner who stops late"),
            (operator.leaves_early, "owner who leaves early"),
            (
                operator.forgets && operator.leaves_early,
                "owner who is told again and leaves early",
            ),
        ]
    };
    for seed in 1..=PLANS {
        let slant = Slant {
            kind: Some(Kind::Leases),
            ..Slant::default()
        };
        for operator in &Plan::slanted(seed, slant).operators {
            for (is_one, what) in sorts(operator) {
                counts.expect(what);
                if is_one {
                    counts.add(what);
                }
            }
        }
    }
    let rare = counts.0.iter().filter(|(_, count)| **count < LEAST);
    let rare: Vec<_> = rare.collect();
    assert!(!counts.0.is_empty() && rare.is_empty(), "{rare:?}");
}

/// What is asked for at a moment at which it makes no sense is not done: some of each is.
pub(super) fn every_op_is_done(outcomes: &[Outcome]) {
    /// Of an operation that was asked for so often ...
    const ASKED: usize = 20;
    /// ... one in so many is done.
    const DONE: usize = 4;
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for outcome in outcomes {
        let plan = Plan::new(outcome.seed);
        let due = plan.ops.iter().filter(|(at, _)| *at < outcome.length);
        due.for_each(|(_, op)| counts.entry(op_name(op)).or_default().0 += 1);
        // Operators do the same kinds of things, and at other times.
        let planned = |op: &Op| plan.ops.iter().any(|(_, other)| other == op);
        // Of the active controller only the node is known by then that it was.
        let done = outcome.done.iter().filter(|(_, op)| planned(op));
        done.for_each(|(_, op)| counts.entry(op_name(op)).or_default().1 += 1);
    }
    for (name, (asked, done)) in &counts {
        println!("{name}: {done} of {asked} done");
    }
    let idle = counts.iter();
    let idle = idle.filter(|(name, _)| !name.ends_with("ActiveController"));
    let idle = idle.filter(|(_, (asked, done))| *asked >= ASKED && done * DONE < *asked);
    let idle: Vec<_> = idle.collect();
    assert!(idle.is_empty(), "hardly ever done: {idle:?}");
}
