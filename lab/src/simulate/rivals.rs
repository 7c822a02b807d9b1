//! The rules in use today, scored by the same oracle as the gate.
//!
//! Twice: on trials in which nobody asks, every rule watches and is held to what it says at each
//! moment; and on rolls by the book, each rule in turn is the one who says go, on the same cluster
//! with the same accidents at the same times. Only the second lets a rule take as long as it
//! wants, and counts what its user would have suffered. There it is a script: what it read before
//! somebody asked it does not count.
//!
//! Most rules are about brokers. Who rolls by one of them would look at the quorum before he stops a
//! controller (Strimzi does): stops are told by the role of the node.

use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{Cluster, Spec};

use super::course::{Course, Speaker};
use super::ops::Op;
use super::oracle::{FalseOpen, Harm, Oracle, Standard, Stop, Truth};
use super::rules::{Follower, RULES, Sight};
use super::sabotage::Sabotage;
use super::trial::Order;
use super::world::World;

/// The gate, beside the rules.
pub const OURS: &str = "upgrade-gate";
/// The same with nothing but pages to read, held to the rules' D: in trials and rolls of its own.
pub const OURS_BY_PAGES: &str = "upgrade-gate, mode jmx";
/// A rule may take so long for each node of a roll.
const PATIENCE: Duration = Duration::from_secs(420);
/// How often an operator who follows a rule looks up.
const PACE: Duration = Duration::from_millis(250);

/// How a rule did that was only watched.
#[derive(Clone, Debug)]
pub struct Score {
    /// Its name.
    pub name: &'static str,
    /// False opens.
    pub lies: u64,
    /// Of these, those that are false if nobody stops anything but brokers.
    pub lies_of_brokers: u64,
    /// For how long they lasted, together.
    pub lied: Duration,
    /// Open on a truth already unsafe, within the allowance.
    pub exposed: Duration,
    /// Needless waits.
    pub needless: Vec<Duration>,
    /// Those that ended before it opened.
    pub cut_off: Vec<Duration>,
    /// Open for so long.
    pub open: Duration,
}

impl Score {
    /// By this oracle.
    pub fn of(name: &'static str, mut oracle: Oracle) -> Self {
        oracle.end();
        let count = |of: fn(&FalseOpen) -> bool| {
            let lies = oracle.lies.iter().filter(|lie| of(lie));
            u64::try_from(lies.count()).unwrap_or(u64::MAX)
        };
        Self {
            name,
            lies: count(|_| true),
            lies_of_brokers: count(|lie| lie.of_brokers),
            lied: oracle.lies.iter().map(|lie| lie.lasted).sum(),
            exposed: oracle.exposed,
            needless: oracle.needless,
            cut_off: oracle.cut_off,
            open: oracle.open,
        }
    }
}

/// What is stopped. Who is both is a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A broker.
    Broker,
    /// A controller and nothing else.
    Controller,
}

impl Role {
    /// Of this stop.
    pub fn of(cluster: &Cluster, stop: &Stop) -> Self {
        let mut nodes = cluster.spec().nodes.iter();
        if nodes.any(|node| node.roles.broker && stop.nodes.contains(&node.id)) {
            Self::Broker
        } else {
            Self::Controller
        }
    }
}

/// Stops because somebody said go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stops {
    /// How many.
    pub steps: u64,
    /// How many of them did harm, and there had been time to notice.
    pub harmful: u64,
    /// How many did harm before that.
    pub too_soon: u64,
}

impl Stops {
    const fn new() -> Self {
        Self {
            steps: 0,
            harmful: 0,
            too_soon: 0,
        }
    }

    const fn count(&mut self, harm: Option<&Harm>) {
        self.steps += 1;
        match harm {
            Some(Harm { noticed: true, .. }) => self.harmful += 1,
            Some(Harm { noticed: false, .. }) => self.too_soon += 1,
            None => {}
        }
    }
}

/// What came of the nodes that were taken down because somebody said go.
#[derive(Clone, Debug)]
pub struct Rolled {
    /// Who said go.
    pub name: &'static str,
    /// All of them.
    pub all: Stops,
    /// Of these, brokers.
    pub brokers: Stops,
    /// Of these, nodes that are controllers and nothing else.
    pub controllers: Stops,
    /// What the first that did harm broke.
    pub first_harm: Option<String>,
    /// How long each waited though its stop would have done no harm.
    pub needless: Vec<Duration>,
    /// How long all of them waited together, needlessly or not.
    pub waited: Duration,
    /// Open on a truth already unsafe, within the allowance.
    pub exposed: Duration,
    /// How many rolls were begun.
    pub begun: usize,
    /// How many were finished.
    pub finished: usize,
    /// Of the node that waits now: how long, and how much of it needlessly.
    waits: (Duration, Duration),
}

impl Rolled {
    /// Nothing yet.
    pub const fn new(name: &'static str, begun: usize) -> Self {
        Self {
            name,
            all: Stops::new(),
            brokers: Stops::new(),
            controllers: Stops::new(),
            first_harm: None,
            needless: Vec::new(),
            waited: Duration::ZERO,
            exposed: Duration::ZERO,
            begun,
            finished: 0,
            waits: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// It waits for a go; needlessly, if nothing speaks against it.
    pub fn waits(&mut self, time: Duration, needlessly: bool) {
        self.waits.0 += time;
        if needlessly {
            self.waits.1 += time;
        }
    }

    /// It goes.
    pub fn goes(&mut self, role: Role, harm: Option<&Harm>) {
        self.all.count(harm);
        match role {
            Role::Broker => self.brokers.count(harm),
            Role::Controller => self.controllers.count(harm),
        }
        let (waited, needlessly) = std::mem::take(&mut self.waits);
        self.waited += waited;
        self.needless.push(needlessly);
        if let Some(harm) = harm {
            self.first_harm.get_or_insert_with(|| harm.why.clone());
        }
    }
}

/// Every rule, watched over one trial.
pub struct Rivals {
    sight: Sight,
    followers: Vec<(Follower, Oracle)>,
}

impl Rivals {
    /// Rules that have seen nothing yet.
    pub fn new(spec: &Spec) -> Self {
        let oracle = || Oracle::new(Standard::Harm, Mode::KafkaJmx);
        let followers = RULES
            .into_iter()
            .map(|rule| (Follower::new(rule), oracle()));
        Self {
            sight: Sight::new(spec),
            followers: followers.collect(),
        }
    }

    /// What was done. `oracle` knows who was killed.
    pub fn notice(&mut self, op: &Op, now: Duration, oracle: &Oracle) {
        for (_, own) in &mut self.followers {
            own.share_kills(oracle);
        }
        self.sight.notice(op, now);
    }

    /// Lets every rule look that is due, and judges what each says.
    pub fn look(&mut self, now: Duration, truth: &Arc<Truth>, cluster: &Cluster, world: &World) {
        for (follower, oracle) in &mut self.followers {
            follower.look(now, &mut self.sight, cluster, world);
            oracle.judge(now, Arc::clone(truth), cluster, &follower.says());
        }
    }

    /// How each did.
    pub fn scores(self) -> Vec<Score> {
        let followers = self.followers.into_iter();
        followers
            .map(|(follower, oracle)| Score::of(follower.name, oracle))
            .collect()
    }
}

/// The same roll with each rule as the one who says go.
pub fn rolls(order: &Order) -> Vec<Rolled> {
    RULES
        .into_iter()
        .map(|rule| roll(order, Follower::new(rule)))
        .collect()
}

fn roll(order: &Order, mut follower: Follower) -> Rolled {
    let mut order = Order {
        rivals: false,
        sabotage: Sabotage::None,
        story: false,
        ..order.clone()
    };
    let nodes: usize = order.plan.operators.iter().map(|op| op.nodes.len()).sum();
    order.plan.end += PATIENCE * u32::try_from(nodes).expect("few nodes");
    if let Some(every) = follower.looks_itself() {
        // Whoever goes by it goes by a reading when that is made, and not some time later.
        for operator in &mut order.plan.operators {
            operator.every = u64::try_from(every.as_millis()).expect("short");
        }
    }
    let mut sight = Sight::new(&order.plan.spec);
    let cluster = Cluster::new(order.plan.spec.clone()).expect("a sound spec");
    let world = World::standing(cluster);
    let oracle = Oracle::new(Standard::Harm, Mode::KafkaJmx);
    let mut course = Course::new(world, order).judged_by(oracle, PACE);
    let (mut noticed, mut asked) = (0, false);
    while let Some(now) = course.next_look(false) {
        course.world.set_elapsed(now);
        for (at, op) in course.done().get(noticed..).unwrap_or_default() {
            sight.notice(op, *at);
        }
        noticed = course.done().len();
        let asks = course.is_asked();
        if asks && !asked {
            follower.asked(now);
        }
        asked = asks;
        let world = &course.world;
        follower.look(now, &mut sight, &world.cluster(), world);
        course.look(&follower);
    }
    let name = follower.name;
    Rolled {
        name,
        ..course.rolled()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use upgrade_gate::gate::lease::Action;
    use upgrade_gate::model::Release;

    use super::super::plan::{Kind, Plan, Slant};
    use super::super::rules::Rule;
    use super::super::trial::Depth;
    use super::*;

    /// A roll by the book of six or more nodes in which nothing else happens.
    fn quiet() -> Order {
        let slant = Slant {
            kind: Some(Kind::Book),
            mode: Some(Mode::KafkaJmx),
            kraft: true,
            ..Slant::default()
        };
        let plans = (1..).map(|seed| (seed, Plan::slanted(seed, slant)));
        let is_long = |plan: &Plan| plan.operators.iter().any(|op| op.nodes.len() > 5);
        let mut long = plans.filter(|(_, plan)| is_long(plan));
        let (seed, mut plan) = long.next().unwrap();
        plan.ops.clear();
        Order {
            plan,
            ..Order::new(seed, Depth::Machine)
        }
    }

    #[test]
    fn twelve_readings_take_as_long_as_they_take_at_every_node() {
        for (every, least) in [(5_000, 55), (10_000, 110)] {
            let order = quiet();
            let rolled = roll(&order, Follower::new(("", Rule::TwelveTimes, every)));
            assert_eq!(rolled.finished, 1);
            let steps = u32::try_from(rolled.all.steps).unwrap();
            assert!(steps > 5);
            let least = Duration::from_secs(least) * steps;
            assert!(rolled.waited >= least, "{:?}", rolled.waited);
            let needless: Duration = rolled.needless.iter().sum();
            assert!(needless <= rolled.waited);
        }
    }

    #[test]
    fn stops_are_told_by_what_was_stopped() {
        let mut rolled = Rolled::new("", 1);
        let harm = |noticed| {
            let why = String::from("broken");
            Some(Harm { why, noticed })
        };
        rolled.goes(Role::Broker, None);
        rolled.goes(Role::Broker, harm(true).as_ref());
        rolled.goes(Role::Controller, harm(true).as_ref());
        rolled.goes(Role::Controller, harm(false).as_ref());
        let of = |stops: Stops| (stops.steps, stops.harmful, stops.too_soon);
        assert_eq!(of(rolled.brokers), (2, 1, 0));
        assert_eq!(of(rolled.controllers), (2, 1, 1));
        assert_eq!(of(rolled.all), (4, 2, 1));
    }

    #[test]
    fn who_is_both_is_a_broker() {
        let release = Release::V4_1;
        for spec in [Spec::combined(3, release), Spec::kraft(3, 3, release)] {
            let cluster = Cluster::new(spec).unwrap();
            for node in &cluster.spec().nodes {
                let stop = Stop {
                    nodes: BTreeSet::from([node.id]),
                    action: Action::Restart,
                };
                let broker = Role::of(&cluster, &stop) == Role::Broker;
                assert_eq!(broker, node.roles.broker, "{}", node.id);
            }
        }
    }
}
