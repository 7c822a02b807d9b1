//! A trial under way, whoever says go and however that is found out: things happen, the oracle
//! looks, operators act.
//!
//! `rolls`: operators ask and go, and what they are told of leases is held against the truth.

mod rolls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::policy::{Mode, Policy};
use upgrade_gate::gate::doc::GateDoc;
use upgrade_gate::model::Cluster;

use super::apply::apply;
use super::as_asked::{AsAsked, Moment};
use super::back::Away;
use super::flaky::Answers;
use super::leases::Mail;
use super::ledger::Ledger;
use super::operator::{Operator, Roll};
use super::ops::{Cuts, Op};
use super::oracle::{Oracle, Said, Standard, Stop, Truth, late};
use super::plan::Kind;
use super::rivals::{OURS, OURS_BY_PAGES, Rivals, Rolled, Score};
use super::sabotage::Sabotage;
use super::setup::Setup;
use super::trial::{Order, Outcome};
use super::world::World;

/// How often the oracle looks.
const LOOK: Duration = Duration::from_millis(50);
/// Where nothing has happened for a while the next look is so far away: nothing is to be seen there, and
/// most of all time passes like this. It is the usual interval: questions are asked as often as ever.
const CALM: Duration = Duration::from_millis(500);
/// The same while the gate is needlessly shut: that is measured.
const CALM_AND_SHUT: Duration = Duration::from_millis(250);
/// The same where every answer takes up to so long: with longer steps it would take as long as a step.
const CALM_AND_DISTANT: Duration = Duration::from_millis(100);
/// How long a roll is watched once it is over.
const AFTER: Duration = Duration::from_secs(5);

/// The cause of a wait for a window that the gate's users have made longer.
pub const BY_ORDER: &str = "settling_by_order";

/// The cause of a wait for a gate whose process somebody has stopped: it cannot say anything.
pub const STOPPED: &str = "gate_stopped";

/// Who says go, or does not.
pub trait Speaker {
    /// What it says now.
    fn says(&self) -> Said;
    /// What its store has, where it has one.
    fn stored(&self) -> Option<&GateDoc> {
        None
    }
    /// The code of the first reason why it does not say open.
    fn first_reason(&self) -> &'static str;
    /// Why it does not say open, the first reason first.
    fn why(&self) -> Vec<String>;
}

/// What is to be done to the gate's process.
#[derive(Debug)]
pub enum Wish {
    /// It begins anew, with this configuration.
    Begin(Setup, Policy),
    /// Only its policy is another one.
    Policy(Policy),
}

/// What is true at a moment.
#[derive(Clone)]
struct Truths {
    /// For a gate that reads what this one reads.
    own: Arc<Truth>,
    /// For the rules in use today, and for the gate by their standard.
    by_harm: Arc<Truth>,
}

/// A trial under way.
pub struct Course {
    /// What it happens to.
    pub world: Arc<World>,
    order: Order,
    oracle: Oracle,
    /// The same gate by the standard of the rules in use today.
    by_harm: Option<Oracle>,
    /// The gate by the table of allowances as it was asked for.
    as_asked: Option<AsAsked>,
    rivals: Option<Rivals>,
    cuts: Cuts,
    truth: Option<(u64, Truths)>,
    /// What operators have in mind beside stopping one node.
    stops: Vec<Stop>,
    next: usize,
    /// What operators do at the next look.
    decided: Vec<Op>,
    rolls: Vec<Roll>,
    /// Between those who roll by leases and the gate.
    pub mail: Mail,
    ledger: Ledger,
    /// Which nodes are truly not back.
    away: Away,
    /// When somebody has set the gate's wall clock last.
    wall_set: Option<Duration>,
    rolled: Rolled,
    /// The same rolls by the standard of the rules in use today, where the gate's own allows more.
    rolled_by_harm: Option<Rolled>,
    over_since: Option<Duration>,
    now: Duration,
    /// From one look to the next, while anything happens.
    pace: Duration,
    /// From the look before to this one.
    step: Duration,
    /// It was needlessly shut at the last look.
    needless: bool,
    stalled: Duration,
    /// The gate's process is gone: nobody answers.
    gone: bool,
    wish: Option<Wish>,
    setup: Setup,
    restarts: u64,
    done: Vec<(Duration, Op)>,
    story: Vec<String>,
    verdicts: Vec<bool>,
    last: String,
    waits: Vec<(&'static str, Duration)>,
    /// Needless waits that ended before it opened.
    cut_off: Vec<(&'static str, Duration)>,
    /// Of the needless wait under way.
    wait: BTreeMap<&'static str, Duration>,
    /// Why it was shut until it first opened.
    shut: BTreeMap<&'static str, Duration>,
}

impl Course {
    /// A trial in which nothing has happened.
    pub fn new(world: Arc<World>, order: Order) -> Self {
        let setup = order.plan.setup.clone();
        world.set_targets(setup.targets.clone());
        let unasked = order.plan.operators.is_empty();
        let by_pages = !setup.mode.kafka();
        let compared = order.rivals && !by_pages && unasked;
        let by_harm = || Oracle::new(Standard::Harm, Mode::KafkaJmx);
        let mut oracle = Oracle::new(Standard::EveryNodeUp, setup.mode);
        oracle.remote = setup.remote(&order.plan.spec);
        let stops = order.plan.operators.iter();
        let repairers = order.plan.operators.iter().filter(|op| op.repairs);
        let repairers: BTreeSet<_> = repairers.filter_map(|op| op.owner.clone()).collect();
        let rolls = order.plan.operators.len() - repairers.len();
        Self {
            oracle,
            by_harm: order.rivals.then(by_harm),
            as_asked: Some(AsAsked::new(setup.mode)),
            rivals: compared.then(|| Rivals::new(&order.plan.spec)),
            cuts: Cuts::new(),
            truth: None,
            stops: stops.flat_map(Operator::special_stops).collect(),
            next: 0,
            decided: Vec::new(),
            rolls: order.plan.operators.iter().map(Roll::new).collect(),
            mail: Mail::default(),
            ledger: Ledger::new(setup.slots.unwrap_or(1), repairers),
            away: Away::default(),
            wall_set: None,
            rolled: Rolled::new(OURS, rolls),
            rolled_by_harm: (order.rivals && by_pages).then(|| Rolled::new(OURS_BY_PAGES, rolls)),
            over_since: None,
            now: Duration::ZERO,
            pace: LOOK,
            step: LOOK,
            needless: false,
            stalled: Duration::ZERO,
            gone: false,
            wish: None,
            setup,
            restarts: 0,
            done: Vec::new(),
            story: Vec::new(),
            verdicts: Vec::new(),
            last: String::new(),
            waits: Vec::new(),
            cut_off: Vec::new(),
            wait: BTreeMap::new(),
            shut: BTreeMap::new(),
            world,
            order,
        }
    }

    /// By whom whoever says go is judged, and how often.
    #[must_use]
    pub fn judged_by(mut self, oracle: Oracle, pace: Duration) -> Self {
        self.oracle = oracle;
        self.as_asked = None;
        self.pace = pace;
        self
    }

    /// Whether somebody who rolls wants to be told now whether he may go.
    pub fn is_asked(&self) -> bool {
        let cluster = self.world.cluster();
        let mut rolls = self.rolls.iter();
        rolls.any(|roll| roll.asks(self.now, &cluster).is_some())
    }

    /// What was done so far.
    pub fn done(&self) -> &[(Duration, Op)] {
        &self.done
    }

    /// The moment of the next look, while there is one; further away where nothing happens.
    pub fn next_look(&mut self, calm: bool) -> Option<Duration> {
        let found = !self.oracle.lies.is_empty() || !self.ledger.grants.are_sound();
        let caught = self.order.sabotage != Sabotage::None && found;
        let rolled = self.over_since.is_some_and(|at| self.now >= at + AFTER);
        let goes_on = self.now < self.order.plan.end && !caught && !rolled;
        self.step = self.pace;
        let far = if self.order.plan.kind == Kind::Distant {
            CALM_AND_DISTANT
        } else if self.needless {
            CALM_AND_SHUT
        } else {
            CALM
        };
        if calm && !self.order.even && self.nothing_is_due(far) {
            self.step = far;
        }
        self.now += self.step;
        goes_on.then_some(self.now)
    }

    /// Whether nobody does anything within this time, and nothing happens by itself, as far as it is known
    /// now. What an ISR check or the end of a session does would otherwise count from the look after it.
    fn nothing_is_due(&self, within: Duration) -> bool {
        let mut next = self.order.plan.ops.iter().skip(self.next);
        let far = next.next().is_none_or(|(at, _)| *at > self.now + within);
        let idle = self.decided.is_empty() && self.mail.is_empty() && !self.is_stalled();
        far && idle && !self.world.is_due_within(within)
    }

    /// The gate's process is stopped, and its view is still read; or it is gone.
    pub fn is_stalled(&self) -> bool {
        self.now < self.stalled
    }

    /// What is to be done to the gate before it goes on.
    pub fn wish(&mut self) -> Option<Wish> {
        self.gone = false;
        self.wish.take()
    }

    /// What happens at this moment, and what is said of it.
    pub fn look(&mut self, speaker: &impl Speaker) {
        self.operate();
        self.world.tick();
        let version = self.world.version();
        let world = Arc::clone(&self.world);
        let cluster = world.cluster();
        let truths = match &self.truth {
            Some((at, truths)) if *at == version && self.stands(&cluster, truths) => truths.clone(),
            Some(_) | None => self.truths(&cluster),
        };
        self.truth = Some((version, truths.clone()));
        let truth = &truths.own;
        if let Some(rivals) = &mut self.rivals {
            rivals.look(self.now, &truths.by_harm, &cluster, &world);
        }
        let said = if self.gone {
            Said::default()
        } else {
            speaker.says()
        };
        if let Some(oracle) = &mut self.by_harm {
            oracle.judge(self.now, Arc::clone(&truths.by_harm), &cluster, &said);
        }
        let blinded = world.blinds(&cluster, &self.setup);
        self.oracle.excuses = blinded || !self.setup.is_right();
        let needless = self
            .oracle
            .judge(self.now, Arc::clone(truth), &cluster, &said);
        self.needless = needless;
        if let Some(as_asked) = &mut self.as_asked {
            as_asked.look(&Moment {
                now: self.now,
                step: self.step,
                version,
                truth,
                cluster: &cluster,
                cuts: &self.cuts,
                said: &said,
                counted: self.oracle.is_lying(),
            });
        }
        self.roll(&cluster, &truths, &said);
        self.account_leases(&cluster, version, truth, speaker.stored());
        self.end_rolls();
        drop(cluster);
        self.account(needless, said.open, speaker);
        if self.order.story {
            self.verdicts.push(said.open);
            self.tell(said.open, speaker);
        }
    }

    /// Whether this is still so where nothing has happened since: a copy of the metadata grows old by itself,
    /// and that ZooKeeper is lost shows after a time.
    fn stands(&self, cluster: &Cluster, truths: &Truths) -> bool {
        let own = truths.own.late == late(cluster, self.setup.mode);
        let alike = Arc::ptr_eq(&truths.own, &truths.by_harm)
            || truths.by_harm.late == late(cluster, Mode::KafkaJmx);
        own && alike && cluster.zookeeper_down_for().is_none()
    }

    /// The truth, for the gate and for the rules in use today. In mode `jmx` less of it counts against
    /// the gate by its own standard.
    fn truths(&self, cluster: &Cluster) -> Truths {
        let of = |mode| Arc::new(Truth::of(cluster, &self.cuts, mode, &self.stops));
        let own = of(self.setup.mode);
        let by_harm = if self.by_harm.is_some() && !self.setup.mode.kafka() {
            of(Mode::KafkaJmx)
        } else {
            Arc::clone(&own)
        };
        Truths { own, by_harm }
    }

    fn operate(&mut self) {
        for op in std::mem::take(&mut self.decided) {
            self.happens(op);
        }
        while let Some((at, op)) = self.order.plan.ops.get(self.next) {
            if *at > self.now {
                return;
            }
            self.next += 1;
            let op = op.clone();
            self.happens(op);
        }
    }

    fn happens(&mut self, op: Op) {
        let op = self.by_name(op);
        let done = match &op {
            Op::GateStop(millis) => {
                let until = self.now + Duration::from_millis(*millis);
                self.stalled = self.stalled.max(until);
                true
            }
            Op::GateRestart(millis) => {
                let until = self.now + Duration::from_millis(*millis);
                self.stalled = self.stalled.max(until);
                self.gone = true;
                self.mail.lose();
                self.begin();
                true
            }
            Op::Reload(setup) => {
                self.reload(Setup::clone(setup));
                true
            }
            Op::WallStep(millis) => {
                self.world.step_wall(*millis);
                self.wall_set = Some(self.now);
                true
            }
            Op::Retire(id) => {
                self.mail.retire(*id);
                true
            }
            op => apply(&self.world, op, &mut self.cuts, &mut self.oracle, self.now),
        };
        if !done {
            return;
        }
        self.restarts += u64::from(op.stops_a_node());
        if let Some(rivals) = &mut self.rivals {
            rivals.notice(&op, self.now, &self.oracle);
        }
        if let Some(as_asked) = &mut self.as_asked {
            as_asked.notice(&op);
        }
        if self.now < self.stalled {
            self.oracle.gate_stands_still();
        }
        if let Some(oracle) = &mut self.by_harm {
            oracle.share_kills(&self.oracle);
        }
        if self.order.story {
            self.story.push(format!("{:?} -- {op}", self.now));
        }
        self.done.push((self.now, op));
    }

    /// Whoever is the active controller now: who waits for its return has to know who went.
    fn by_name(&self, op: Op) -> Op {
        let active = || self.world.cluster().active_controller();
        match op {
            Op::StopActiveController => active().map_or(op, Op::Stop),
            Op::KillActiveController => active().map_or(op, Op::Kill),
            op => op,
        }
    }

    fn begin(&mut self) {
        let policy = self.setup.policy(&self.order.plan.spec);
        self.wish = Some(Wish::Begin(self.setup.clone(), policy));
    }

    fn reload(&mut self, mut setup: Setup) {
        setup.tuned = self.setup.tuned;
        let same = self.setup.same_sources(&setup);
        self.setup = setup;
        self.world.set_targets(self.setup.targets.clone());
        if same && self.wish.is_none() {
            let policy = self.setup.policy(&self.order.plan.spec);
            self.wish = Some(Wish::Policy(policy));
        } else {
            self.begin();
        }
    }

    /// A wait that ends because the truth becomes unsafe is none that the gate has ended: it is
    /// counted apart.
    fn account(&mut self, needless: bool, open: bool, speaker: &impl Speaker) {
        if self.oracle.open.is_zero() {
            *self.shut.entry(speaker.first_reason()).or_default() += self.step;
        }
        if needless {
            let why = self.cause(speaker.first_reason());
            *self.wait.entry(why).or_default() += self.step;
            return;
        }
        let wait = self.take_wait();
        if open {
            self.waits.extend(wait);
        } else {
            self.cut_off.extend(wait);
        }
    }

    /// The wait that is over, by the reason that held for the longest part of it.
    fn take_wait(&mut self) -> Option<(&'static str, Duration)> {
        let wait = std::mem::take(&mut self.wait);
        let length: Duration = wait.values().sum();
        let longest = wait.into_iter().max_by_key(|(_, time)| *time);
        longest.map(|(why, _)| (why, length))
    }

    /// Who has asked for a longer window than the gate's own waits by his own order.
    fn cause(&self, reason: &'static str) -> &'static str {
        if self.is_stalled() {
            STOPPED
        } else if reason == "settling" && self.setup.waits_by_order() {
            BY_ORDER
        } else {
            reason
        }
    }

    fn tell(&mut self, open: bool, speaker: &impl Speaker) {
        let why = if open {
            String::from("OPEN")
        } else {
            speaker.why().join("; ")
        };
        if why.split(' ').next() != self.last.split(' ').next() {
            self.story.push(format!("{:?} {why}", self.now));
        }
        self.last = why;
    }

    /// What came of the rolls.
    pub fn rolled(&self) -> Rolled {
        self.over(&self.rolled)
    }

    fn over(&self, rolled: &Rolled) -> Rolled {
        let mut rolled = rolled.clone();
        let rolls = self.rolls.iter().filter(|roll| !roll.repairs());
        rolled.finished = rolls.filter(|roll| roll.is_over()).count();
        rolled.exposed = self.by_harm.as_ref().unwrap_or(&self.oracle).exposed;
        rolled
    }

    /// What became of it.
    pub fn finish(mut self, steps: u64, answers: Answers) -> Outcome {
        let rolled = self.rolled();
        let rolled_by_harm = self.rolled_by_harm.as_ref();
        let rolled_by_harm = rolled_by_harm.map(|rolled| self.over(rolled));
        let at_end = self.take_wait();
        self.cut_off.extend(at_end);
        let longest = self.shut.iter().max_by_key(|(_, time)| **time);
        let never = longest.filter(|_| self.oracle.open.is_zero());
        let never_opened = never.map(|(why, _)| *why);
        let by_pages = !self.order.plan.setup.mode.kafka();
        let name = if by_pages { OURS_BY_PAGES } else { OURS };
        let watched = self.order.plan.operators.is_empty();
        let ours = self.by_harm.filter(|_| watched);
        let ours = ours.map(|oracle| Score::of(name, oracle));
        let rivals = self.rivals.map(Rivals::scores).unwrap_or_default();
        Outcome {
            seed: self.order.seed,
            kind: self.order.plan.kind,
            mode: self.order.plan.setup.mode,
            length: self.now,
            steps,
            open: self.oracle.open,
            exposed: self.oracle.exposed,
            lies: self.oracle.lies,
            waits: self.waits,
            cut_off: self.cut_off,
            cut_off_at_end: at_end,
            before_first: self.oracle.before_first,
            never_opened,
            as_asked: self.as_asked.map(AsAsked::spells).unwrap_or_default(),
            restarts: self.restarts,
            done: self.done,
            story: self.story,
            verdicts: self.verdicts,
            rolled,
            rolled_by_harm,
            grants: self.ledger.grants,
            answers,
            rivals: ours.into_iter().chain(rivals).collect(),
            rolls: Vec::new(),
        }
    }
}
