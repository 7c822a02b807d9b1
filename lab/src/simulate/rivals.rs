//! The rules in use today, scored by the same oracle as the gate.
//!
//! Twice: on trials in which nobody asks, every rule watches and is held to what it says at each
//! moment; and on rolls by the book, each rule in turn is the one who says go, on the same cluster
//! with the same accidents at the same times. Only the second lets a rule take as long as it
//! wants, and counts what its user would have suffered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{Cluster, NodeId, Spec};

use super::course::{Course, Speaker};
use super::ops::Op;
use super::oracle::{Harm, Oracle, Standard, Truth};
use super::rules::{Follower, RULES, Sight};
use super::sabotage::Sabotage;
use super::trial::Order;
use super::world::World;

/// The gate, beside the rules.
pub const OURS: &str = "upgrade-gate";
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
        Self {
            name,
            lies: u64::try_from(oracle.lies.len()).unwrap_or(u64::MAX),
            lied: oracle.lies.iter().map(|lie| lie.lasted).sum(),
            exposed: oracle.exposed,
            needless: oracle.needless,
            cut_off: oracle.cut_off,
            open: oracle.open,
        }
    }
}

/// What came of the nodes that were taken down because somebody said go.
#[derive(Clone, Debug)]
pub struct Rolled {
    /// Who said go.
    pub name: &'static str,
    /// How many were taken down.
    pub steps: u64,
    /// How many of these stops did harm, and there had been time to notice.
    pub harmful: u64,
    /// How many did harm before that.
    pub too_soon: u64,
    /// What the first of either broke.
    pub first_harm: Option<String>,
    /// How long each waited though its stop would have done no harm.
    pub needless: Vec<Duration>,
    /// Open on a truth already unsafe, within the allowance.
    pub exposed: Duration,
    /// How many rolls were begun.
    pub begun: usize,
    /// How many were finished.
    pub finished: usize,
    waits: Duration,
}

impl Rolled {
    /// Nothing yet.
    pub const fn new(name: &'static str, begun: usize) -> Self {
        Self {
            name,
            steps: 0,
            harmful: 0,
            too_soon: 0,
            first_harm: None,
            needless: Vec::new(),
            exposed: Duration::ZERO,
            begun,
            finished: 0,
            waits: Duration::ZERO,
        }
    }

    /// It waits for a go, and nothing speaks against it.
    pub fn waits_needlessly(&mut self, time: Duration) {
        self.waits += time;
    }

    /// It goes.
    pub fn goes(&mut self, harm: Option<&Harm>) {
        self.steps += 1;
        self.needless.push(std::mem::take(&mut self.waits));
        if let Some(harm) = harm {
            if harm.noticed {
                self.harmful += 1;
            } else {
                self.too_soon += 1;
            }
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
    pub fn look(
        &mut self,
        now: Duration,
        truth: &Arc<Truth>,
        cluster: &Cluster,
        cut: &BTreeSet<NodeId>,
    ) {
        for (follower, oracle) in &mut self.followers {
            follower.look(now, &mut self.sight, cluster, cut);
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
    let mut sight = Sight::new(&order.plan.spec);
    let cluster = Cluster::new(order.plan.spec.clone()).expect("a sound spec");
    let world = World::standing(cluster);
    let oracle = Oracle::new(Standard::Harm, Mode::KafkaJmx);
    let mut course = Course::new(world, order).judged_by(oracle, PACE);
    let mut noticed = 0;
    while let Some(now) = course.next_look(false) {
        course.world.set_elapsed(now);
        for (at, op) in course.done().get(noticed..).unwrap_or_default() {
            sight.notice(op, *at);
        }
        noticed = course.done().len();
        let cut = course.world.cut_off();
        follower.look(now, &mut sight, &course.world.cluster(), &cut);
        course.look(&follower);
    }
    let name = follower.name;
    Rolled {
        name,
        ..course.rolled()
    }
}
