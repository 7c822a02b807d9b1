//! One trial: a plan carried out in a world, watched by a gate, judged by the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::Cluster;

use super::as_asked::{Apart, Spells};
use super::collect::Gate;
use super::course::{BY_ORDER, Course, STOPPED, Wish};
use super::flaky::Answers;
use super::judge::Judge;
use super::layout;
use super::ledger::Grants;
use super::ops::Op;
use super::oracle::FalseOpen;
use super::plan::{Kind, Plan, Slant};
use super::probe::Probe;
use super::rivals::{Rolled, Score, rolls};
use super::sabotage::Sabotage;
use super::world::{World, WorldClock};

/// How the gate is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// The Machine, with reports made of the model's answers.
    Machine,
    /// The real collectors on in-memory streams.
    Drivers,
}

/// A trial to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Everything follows from it.
    pub seed: u64,
    /// What happens; by default what the seed says.
    pub plan: Plan,
    /// How the gate is driven.
    pub depth: Depth,
    /// How it is broken.
    pub sabotage: Sabotage,
    /// Keep what the gate said.
    pub story: bool,
    /// Let the rules in use today judge, too.
    pub rivals: bool,
    /// Look as often where nothing happens as anywhere.
    pub even: bool,
}

impl Order {
    /// The trial of this seed, with a sound gate and without rivals.
    pub fn new(seed: u64, depth: Depth) -> Self {
        Self {
            seed,
            plan: Plan::new(seed),
            depth,
            sabotage: Sabotage::None,
            story: false,
            rivals: false,
            even: false,
        }
    }

    /// A trial of this seed that suits a gate broken like this.
    pub fn broken(seed: u64, depth: Depth, sabotage: Sabotage) -> Self {
        Self {
            plan: Plan::slanted(seed, sabotage.slant()),
            sabotage,
            ..Self::new(seed, depth)
        }
    }

    /// The same, with what the operators did as plain operations.
    #[must_use]
    pub fn replayed(&self, outcome: &Outcome) -> Self {
        let mut order = self.clone();
        if !order.plan.operators.is_empty() {
            order.plan.operators.clear();
            order.plan.ops.clone_from(&outcome.done);
        }
        order
    }
}

/// What became of a trial.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What it was about.
    pub kind: Kind,
    /// What the gate reads.
    pub mode: Mode,
    /// How long it was, in simulated time.
    pub length: Duration,
    /// How many judgements the Machine made.
    pub steps: u64,
    /// How long it was open.
    pub open: Duration,
    /// How long it was open on a truth already unsafe, within the allowance.
    pub exposed: Duration,
    /// The first lies.
    pub lies: Vec<FalseOpen>,
    /// How long truly safe times stayed shut before they opened, by the reason that held for the
    /// longest part of each.
    pub waits: Vec<(&'static str, Duration)>,
    /// The same of those that ended before it opened: by the next fault, or with the trial.
    pub cut_off: Vec<(&'static str, Duration)>,
    /// The one of these that ended with the trial.
    pub cut_off_at_end: Option<(&'static str, Duration)>,
    /// How long it was truly safe and shut before it first opened, or for good.
    pub before_first: Duration,
    /// The reason that held longest, where it never opened.
    pub never_opened: Option<&'static str>,
    /// False opens by the table of allowances as it was asked for.
    pub as_asked: BTreeMap<Apart, Spells>,
    /// How often somebody took a node down.
    pub restarts: u64,
    /// What was done.
    pub done: Vec<(Duration, Op)>,
    /// What the gate said, at each change (only when asked for).
    pub story: Vec<String>,
    /// What the verdict was at each look (only when asked for).
    pub verdicts: Vec<bool>,
    /// What came of the nodes that operators took down by the book.
    pub rolled: Rolled,
    /// In mode `jmx` the same by the standard of the rules in use today (only when asked for).
    pub rolled_by_harm: Option<Rolled>,
    /// What came of leases.
    pub grants: Grants,
    /// What a store of many moods said of writes.
    pub answers: Answers,
    /// How the rules in use today, and the gate by the same standard, did (only when asked for).
    pub rivals: Vec<Score>,
    /// The same roll with each of them as the one who says go (only when asked for).
    pub rolls: Vec<Rolled>,
}

impl Outcome {
    /// Needless waits that its people have ordered: for a longer window, for a gate they have stopped.
    /// Or all others.
    pub fn waits_by_order(&self, by_order: bool) -> impl Iterator<Item = Duration> {
        let waits = self.waits.iter();
        let waits = waits.filter(move |(why, _)| [BY_ORDER, STOPPED].contains(why) == by_order);
        waits.map(|(_, wait)| *wait)
    }

    /// Whether the cluster kept Kafka's own times, its nodes throttled nobody, and none was far away. Of
    /// the cluster nothing is kept: all of it follows from the seed.
    pub fn is_on_stock(&self) -> bool {
        let slant = Slant {
            kind: Some(self.kind),
            mode: Some(self.mode),
            ..Slant::default()
        };
        let is_near = !matches!(self.kind, Kind::Throttled | Kind::Distant);
        is_near && layout::has_stock_times(&Plan::slanted(self.seed, slant).spec)
    }

    /// Whether it said something false: an open, or a go.
    pub fn went_wrong(&self) -> bool {
        !self.lies.is_empty() || !self.grants.are_sound()
    }

    /// When it said the first false thing.
    pub fn wrong_at(&self) -> Option<Duration> {
        let lie = self.lies.first().map(|lie| lie.at + lie.lasted);
        let go = self.grants.first.as_ref().map(|(at, _)| *at);
        match (lie, go) {
            (Some(lie), Some(go)) => Some(lie.min(go)),
            (lie, go) => lie.or(go),
        }
    }

    /// What was done last before the first lie.
    pub fn evidence(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("seed {}\n", self.seed);
        if let Some(wrong) = &self.grants.first {
            let (at, what) = wrong;
            for (at, op) in self.last_ops(*at) {
                let _ = writeln!(text, "  {at:?} {op}");
            }
            let _ = writeln!(text, "  {at:?} {what}");
        }
        for lie in &self.lies {
            let _ = writeln!(text, "{}", self.before(lie));
        }
        text
    }

    fn last_ops(&self, until: Duration) -> impl Iterator<Item = &(Duration, Op)> {
        let before: Vec<_> = self.done.iter().filter(|(at, _)| *at <= until).collect();
        let many = before.len().saturating_sub(8);
        before.into_iter().skip(many)
    }

    fn before(&self, lie: &FalseOpen) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (at, op) in self.last_ops(lie.at) {
            let _ = writeln!(text, "  {at:?} {op}");
        }
        let _ = writeln!(
            text,
            "  {:?} open, but {} (for {:?})",
            lie.at, lie.truth, lie.lasted
        );
        text
    }
}

/// Makes a trial.
pub fn run(order: Order) -> Outcome {
    let plan = &order.plan;
    let reads_all = plan.setup.mode == Mode::KafkaJmx;
    // One roll in eight: each is made sixteen times.
    let compared =
        order.rivals && reads_all && plan.kind == Kind::Book && order.seed.is_multiple_of(8);
    let again = compared.then(|| order.clone());
    let mut outcome = match order.depth {
        Depth::Machine => machine(order),
        Depth::Drivers => tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
            .block_on(drivers(order)),
    };
    if let Some(order) = again {
        outcome.rolls = rolls(&order);
    }
    outcome
}

fn judge(world: &Arc<World>, order: &Order) -> Judge {
    let policy = order.plan.setup.policy(&order.plan.spec);
    let judge = Judge::new(WorldClock(Arc::clone(world)), policy, order.sabotage);
    match order.plan.moods {
        Some(seed) => judge.with_flaky_store(seed),
        None => judge,
    }
}

fn machine(order: Order) -> Outcome {
    let cluster = Cluster::new(order.plan.spec.clone()).expect("a sound spec");
    let world = World::standing(cluster);
    let judge = judge(&world, &order);
    let mut probe = Probe::new(&world, &order.plan.spec, &order.plan.setup, judge);
    let mut course = Course::new(world, order);
    while let Some(now) = course.next_look(probe.is_calm()) {
        course.world.set_elapsed(now);
        if !course.is_stalled() {
            match course.wish() {
                Some(Wish::Begin(setup, policy)) => {
                    probe.judge.restart(policy);
                    probe.collect(&setup);
                }
                Some(Wish::Policy(policy)) => probe.judge.reload(policy),
                None => {}
            }
            probe.judge.hear_store();
            for (ticket, command) in course.mail.sent() {
                probe.judge.ask(ticket, command);
            }
            probe.tick();
            course.mail.receive(probe.judge.replies());
        }
        course.look(&probe.judge);
    }
    let answers = probe.judge.answers();
    course.finish(probe.judge.steps, answers)
}

async fn drivers(order: Order) -> Outcome {
    let cluster = Cluster::new(order.plan.spec.clone()).expect("a sound spec");
    let world = World::new(cluster);
    let mut gate = Gate::start(&world, &order);
    let mut course = Course::new(world, order);
    while let Some(now) = course.next_look(false) {
        if course.is_stalled() {
            // Nothing is awaited: no task of the gate runs.
            course.world.stand_still(now);
        } else {
            match course.wish() {
                Some(Wish::Begin(setup, policy)) => gate.restart(&setup, policy),
                Some(Wish::Policy(policy)) => gate.reload(policy),
                None => {}
            }
            course.world.go_on().await;
            for (ticket, command) in course.mail.sent() {
                gate.ask(ticket, command);
            }
            tokio::time::sleep_until(course.world.at(now)).await;
            course.mail.receive(gate.replies());
        }
        gate.look_at_store();
        course.look(&gate);
    }
    let (steps, answers) = (gate.steps(), gate.answers());
    course.finish(steps, answers)
}
