//! One trial: a plan carried out in a world, watched by a gate, judged by the oracle.

use std::collections::BTreeMap;
use std::time::Duration;

use upgrade_gate::model::{Cluster, NodeId};

use super::collect::{Gate, Sabotage};
use super::ops::{Cuts, Op, Plan};
use super::oracle::{FalseOpen, Oracle, Truth};
use super::world::World;

/// How often the oracle looks.
const LOOK: Duration = Duration::from_millis(50);

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
    pub causes: BTreeMap<String, Duration>,
    /// What was done.
    pub done: Vec<(Duration, String)>,
    /// What the gate said, at each change (only when asked for).
    pub story: Vec<String>,
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

/// Runs a trial on a clock of its own; `story` keeps what the gate said.
pub fn run(seed: u64, sabotage: Sabotage, story: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(carry_out(seed, Plan::new(seed), sabotage, story))
}

async fn carry_out(seed: u64, plan: Plan, sabotage: Sabotage, story: bool) -> Outcome {
    let cluster = Cluster::new(plan.spec.clone()).expect("a sound spec");
    let world = World::new(cluster);
    let mut gate = Gate::start(&world, &plan.spec, plan.configured, sabotage);
    let mut oracle = Oracle::default();
    let mut cuts = Cuts::new();
    let mut ops = plan.ops.into_iter().peekable();
    let (mut done, mut told, mut causes) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut last = String::new();
    let mut now = Duration::ZERO;
    while now < plan.end {
        now += LOOK;
        gate.run_until(now).await;
        while let Some((_, op)) = ops.next_if(|(at, _)| *at <= now) {
            if apply(&world, &op, &mut cuts, &mut oracle, now) {
                done.push((now, op.to_string()));
                if story {
                    told.push(format!("{now:?} -- {op}"));
                }
            }
        }
        world.tick();
        let said = gate.says();
        let needless = {
            let cluster = world.cluster();
            let truth = Truth::of(&cluster, &cuts);
            oracle.judge(now, truth, &cluster, &said)
        };
        if needless {
            let why = gate.why().first().map_or_else(String::new, |why| {
                why.split(' ').next().unwrap_or_default().to_owned()
            });
            *causes.entry(why).or_insert(Duration::ZERO) += LOOK;
        }
        if story {
            let why = if said.open {
                String::from("OPEN")
            } else {
                gate.why().join("; ")
            };
            if why.split(' ').next() != last.split(' ').next() {
                told.push(format!("{now:?} {why}"));
            }
            last = why;
        }
        if sabotage != Sabotage::None && !oracle.lies.is_empty() {
            break;
        }
    }
    Outcome {
        seed,
        length: now,
        steps: gate.steps,
        open: oracle.open,
        exposed: oracle.exposed,
        lies: oracle.lies,
        needless: oracle.needless,
        causes,
        done,
        story: told,
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
        Op::Exporter(id, fault) => cluster.set_exporter(id, fault).is_ok(),
        Op::Latency(id, ms) => cluster.set_latency(id, Duration::from_millis(ms)).is_ok(),
        Op::CatchUp(id, rate) => cluster.set_catch_up_rate(id, rate).is_ok(),
    };
    drop(cluster);
    world.tell();
    done
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
