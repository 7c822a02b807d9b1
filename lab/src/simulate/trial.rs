//! One trial: a plan carried out in a world, watched by a gate, judged by the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::evidence::ids::{self, Role};
use upgrade_gate::evidence::policy::Policy;
use upgrade_gate::model::{Cluster, NodeId};

use super::collect::Gate;
use super::judge::Judge;
use super::ops::{Cuts, Op, Plan};
use super::oracle::{FalseOpen, Oracle, Standard, Truth};
use super::probe::Probe;
use super::rivals::{Rivals, Score};
use super::sabotage::Sabotage;
use super::world::{World, WorldClock};

/// How often the oracle looks.
const LOOK: Duration = Duration::from_millis(50);

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
    /// What the curve of the window tries out.
    pub tuned: Tuned,
}

/// The times of a policy that a curve is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuned {
    /// `Policy::shortest_window`.
    pub shortest_window: Duration,
    /// `Policy::leadership_quiet`.
    pub leadership_quiet: Duration,
}

impl Default for Tuned {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            shortest_window: policy.shortest_window,
            leadership_quiet: policy.leadership_quiet,
        }
    }
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
            tuned: Tuned::default(),
        }
    }

    /// With a gate broken like this.
    pub const fn broken(mut self, sabotage: Sabotage) -> Self {
        self.sabotage = sabotage;
        self
    }
}

/// What became of a trial.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
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
    /// How long truly safe times stayed shut before they opened.
    pub needless: Vec<Duration>,
    /// Needless time by first reason.
    pub causes: BTreeMap<&'static str, Duration>,
    /// Needless waits by the reason that held for the longest part of each.
    pub waits: Vec<(&'static str, Duration)>,
    /// How often somebody took a node down.
    pub restarts: u64,
    /// What was done.
    pub done: Vec<(Duration, Op)>,
    /// What the gate said, at each change (only when asked for).
    pub story: Vec<String>,
    /// What the verdict was at each look (only when asked for).
    pub verdicts: Vec<bool>,
    /// How the rules in use today did (only when asked for).
    pub rivals: Vec<Score>,
}

impl Outcome {
    /// What was done last before the first lie.
    pub fn evidence(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("seed {}\n", self.seed);
        for lie in &self.lies {
            let _ = writeln!(text, "{}", self.before(lie));
        }
        text
    }

    fn before(&self, lie: &FalseOpen) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let before: Vec<_> = self.done.iter().filter(|(at, _)| *at <= lie.at).collect();
        for (at, op) in before.iter().skip(before.len().saturating_sub(8)) {
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
    match order.depth {
        Depth::Machine => machine(order),
        Depth::Drivers => tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
            .block_on(drivers(order)),
    }
}

fn configured(plan: &Plan) -> BTreeMap<ids::NodeId, Role> {
    let nodes = plan.spec.nodes.iter().filter(|_| plan.configured);
    let role = |node: &upgrade_gate::model::NodeSpec| Role {
        broker: node.roles.broker,
        controller: node.roles.controller,
    };
    nodes
        .map(|node| (ids::NodeId(node.id), role(node)))
        .collect()
}

fn judge(world: &Arc<World>, order: &Order) -> Judge {
    let policy = Policy {
        expected: configured(&order.plan),
        shortest_window: order.tuned.shortest_window,
        leadership_quiet: order.tuned.leadership_quiet,
        ..Policy::default()
    };
    Judge::new(WorldClock(Arc::clone(world)), policy, order.sabotage)
}

fn machine(order: Order) -> Outcome {
    let cluster = Cluster::new(order.plan.spec.clone()).expect("a sound spec");
    let world = World::standing(cluster);
    let judge = judge(&world, &order);
    let configured = configured(&order.plan);
    let mut probe = Probe::new(&world, &order.plan.spec, &configured, judge);
    let mut course = Course::new(world, order);
    while let Some(now) = course.next() {
        course.world.set_elapsed(now);
        if !course.is_stalled() {
            probe.tick();
        }
        course.look(&probe.judge);
    }
    course.finish(probe.judge.steps)
}

async fn drivers(order: Order) -> Outcome {
    let cluster = Cluster::new(order.plan.spec.clone()).expect("a sound spec");
    let world = World::new(cluster);
    let judge = judge(&world, &order);
    let mut gate = Gate::start(&world, &order.plan.spec, &configured(&order.plan), judge);
    let mut course = Course::new(world, order);
    while let Some(now) = course.next() {
        if course.is_stalled() {
            tokio::time::sleep_until(course.world.at(now)).await;
        } else {
            gate.run_until(now).await;
        }
        course.look(&gate.judge);
    }
    course.finish(gate.judge.steps)
}

/// A trial under way, however the gate is driven.
struct Course {
    world: Arc<World>,
    order: Order,
    oracle: Oracle,
    rivals: Option<Rivals>,
    cuts: Cuts,
    truth: Option<(u64, Arc<Truth>)>,
    next: usize,
    now: Duration,
    stalled: Duration,
    restarts: u64,
    done: Vec<(Duration, Op)>,
    story: Vec<String>,
    verdicts: Vec<bool>,
    last: String,
    causes: BTreeMap<&'static str, Duration>,
    waits: Vec<(&'static str, Duration)>,
    /// Of the needless wait under way.
    wait: BTreeMap<&'static str, Duration>,
}

impl Course {
    fn new(world: Arc<World>, order: Order) -> Self {
        let rivals = order.rivals.then(|| Rivals::new(&order.plan.spec));
        Self {
            world,
            order,
            oracle: Oracle::new(Standard::EveryNodeUp),
            rivals,
            cuts: Cuts::new(),
            truth: None,
            next: 0,
            now: Duration::ZERO,
            stalled: Duration::ZERO,
            restarts: 0,
            done: Vec::new(),
            story: Vec::new(),
            verdicts: Vec::new(),
            last: String::new(),
            causes: BTreeMap::new(),
            waits: Vec::new(),
            wait: BTreeMap::new(),
        }
    }

    /// The moment of the next look, while there is one.
    fn next(&mut self) -> Option<Duration> {
        let caught = self.order.sabotage != Sabotage::None && !self.oracle.lies.is_empty();
        let goes_on = self.now < self.order.plan.end && !caught;
        self.now += LOOK;
        goes_on.then_some(self.now)
    }

    /// The gate's process is stopped; its view is still read.
    fn is_stalled(&self) -> bool {
        self.now < self.stalled
    }

    fn look(&mut self, judge: &Judge) {
        self.operate();
        self.world.tick();
        let version = self.world.version();
        let cluster = self.world.cluster();
        let truth = match &self.truth {
            Some((at, truth)) if *at == version => Arc::clone(truth),
            Some(_) | None => Arc::new(Truth::of(&cluster, &self.cuts)),
        };
        self.truth = Some((version, Arc::clone(&truth)));
        if let Some(rivals) = &mut self.rivals {
            rivals.look(self.now, &truth, &cluster, &self.world.cut_off());
        }
        let said = judge.says();
        let needless = self.oracle.judge(self.now, truth, &cluster, &said);
        drop(cluster);
        self.account(needless, judge);
        if self.order.story {
            self.verdicts.push(said.open);
            self.tell(said.open, judge);
        }
    }

    fn operate(&mut self) {
        while let Some((at, op)) = self.order.plan.ops.get(self.next) {
            if *at > self.now {
                return;
            }
            self.next += 1;
            let op = op.clone();
            let stops = op.stops_a_node();
            let done = match op {
                Op::GateStop(millis) => {
                    self.stalled = self.now + Duration::from_millis(millis);
                    true
                }
                Op::WallStep(millis) => {
                    self.world.step_wall(millis);
                    true
                }
                _ => apply(&self.world, &op, &mut self.cuts, &mut self.oracle, self.now),
            };
            if done {
                self.restarts += u64::from(stops);
                if let Some(rivals) = &mut self.rivals {
                    rivals.notice(&op, self.now, &self.oracle);
                }
                if self.now < self.stalled {
                    self.oracle.gate_stands_still();
                }
                if self.order.story {
                    self.story.push(format!("{:?} -- {op}", self.now));
                }
                self.done.push((self.now, op));
            }
        }
    }

    fn account(&mut self, needless: bool, judge: &Judge) {
        if needless {
            let why = judge.first_reason();
            *self.causes.entry(why).or_default() += LOOK;
            *self.wait.entry(why).or_default() += LOOK;
            return;
        }
        let wait = std::mem::take(&mut self.wait);
        let length: Duration = wait.values().sum();
        let longest = wait.into_iter().max_by_key(|(_, time)| *time);
        self.waits.extend(longest.map(|(why, _)| (why, length)));
    }

    fn tell(&mut self, open: bool, judge: &Judge) {
        let why = if open {
            String::from("OPEN")
        } else {
            judge.why().join("; ")
        };
        if why.split(' ').next() != self.last.split(' ').next() {
            self.story.push(format!("{:?} {why}", self.now));
        }
        self.last = why;
    }

    fn finish(self, steps: u64) -> Outcome {
        Outcome {
            seed: self.order.seed,
            length: self.now,
            steps,
            open: self.oracle.open,
            exposed: self.oracle.exposed,
            lies: self.oracle.lies,
            needless: self.oracle.needless,
            causes: self.causes,
            waits: self.waits,
            restarts: self.restarts,
            done: self.done,
            story: self.story,
            verdicts: self.verdicts,
            rivals: self.rivals.map(Rivals::scores).unwrap_or_default(),
        }
    }
}

/// Does it; what makes no sense right now is not done.
fn apply(world: &World, op: &Op, cuts: &mut Cuts, oracle: &mut Oracle, now: Duration) -> bool {
    let pair = |a: NodeId, b: NodeId| (a.min(b), a.max(b));
    let mut cluster = world.cluster();
    let done = match *op {
        Op::Kill(id) => kill(world, &mut cluster, id, oracle, now),
        Op::KillActiveController => cluster
            .active_controller()
            .is_some_and(|id| kill(world, &mut cluster, id, oracle, now)),
        Op::Stop(id) => cluster.stop(id).is_ok(),
        Op::StopActiveController => cluster
            .active_controller()
            .is_some_and(|id| cluster.stop(id).is_ok()),
        Op::Start(id) => cluster.start(id, None).is_ok(),
        Op::StartAll => {
            let ids: Vec<_> = cluster.spec().nodes.iter().map(|node| node.id).collect();
            ids.into_iter()
                .filter(|id| cluster.start(*id, None).is_ok())
                .count()
                > 0
        }
        Op::Freeze(id) => cluster.freeze(id).is_ok(),
        Op::Thaw(id) => cluster.thaw(id).is_ok(),
        Op::Cut(a, b) => {
            cuts.insert(pair(a, b));
            cluster.cut(a, b).is_ok()
        }
        Op::Mend(a, b) => {
            cuts.remove(&pair(a, b));
            cluster.mend(a, b).is_ok()
        }
        Op::GateCut(id) => {
            world.set_cut_off(id, true);
            true
        }
        Op::GateMend(id) => {
            world.set_cut_off(id, false);
            true
        }
        Op::Exporter(id, fault) => cluster.set_exporter(id, fault.map(|fault| fault.0)).is_ok(),
        Op::Latency(id, ms) => cluster.set_latency(id, Duration::from_millis(ms)).is_ok(),
        Op::CatchUp(id, rate) => cluster.set_catch_up_rate(id, rate).is_ok(),
        Op::MetadataLag(id, ms) => cluster
            .set_metadata_lag(id, Duration::from_millis(ms))
            .is_ok(),
        Op::FailLogDir(id) => cluster.fail_log_dir(id, 1).is_ok(),
        Op::ReplaceLogDir(id) => cluster.replace_log_dir(id, 1).is_ok(),
        Op::Recreate => recreate(&mut cluster, "events"),
        Op::Reassign(partition, ref replicas) => {
            cluster.reassign("orders", partition, replicas).is_ok()
        }
        // Done to the gate, not to the cluster.
        Op::GateStop(_) | Op::WallStep(_) => false,
    };
    drop(cluster);
    world.tell();
    done
}

/// Deletes a topic and makes it anew.
fn recreate(cluster: &mut Cluster, name: &str) -> bool {
    let topics = cluster.spec().topics.clone();
    let Some(topic) = topics.iter().find(|topic| topic.name == name) else {
        return false;
    };
    cluster.delete_topic(name).is_ok() && cluster.create_topic(topic).is_ok()
}

fn kill(
    world: &World,
    cluster: &mut Cluster,
    id: NodeId,
    oracle: &mut Oracle,
    now: Duration,
) -> bool {
    let done = cluster.kill(id).is_ok();
    // A frozen process's connections are closed by the kernel; over a cut network nothing comes.
    if done && !world.is_cut_off(id) {
        oracle.killed(id, now);
    }
    done
}
