//! `lab simulate`: the truth machine, at length.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use upgrade_gate::evidence::policy::Mode;

use lab::prove::report::{Header, write};
use lab::simulate::caught::Caught;
use lab::simulate::figures::Figures;
use lab::simulate::oracle::ALLOWANCES;
use lab::simulate::plan::{Plan, Slant};
use lab::simulate::regression::Regression;
use lab::simulate::shrink::shrink;
use lab::simulate::{Depth, Kind, Order, Outcome, Sabotage, Tuned, run};

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many trials; one seed is one trial
    #[arg(long, default_value_t = 1000)]
    trials: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the gate is driven
    #[arg(long, value_enum, default_value_t = Depth::Machine)]
    depth: Depth,
    /// Let the rules in use today judge the same trials
    #[arg(long)]
    rival: bool,
    /// Only plans of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    plan: Option<Kind>,
    /// Only gates that read this: kafka+jmx, kafka or jmx
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,
    /// Break the gate, and see that the oracle notices
    #[arg(long, value_enum, default_value_t = Sabotage::None)]
    sabotage: Sabotage,
    /// Break it in every way, one after the other, and see how soon the oracle notices each often enough
    #[arg(long, conflicts_with = "sabotage")]
    every_sabotage: bool,
    /// Tell what happened in the first trial, and make no other
    #[arg(long)]
    story: bool,
    /// Tell what happens in a trial that was kept (tests/simulation/regressions), and make no other
    #[arg(long, value_name = "FILE", conflicts_with = "story")]
    tell: Option<PathBuf>,
    /// Draw the curve of the shortest window, the quiet time of leadership, the longest blip and the
    /// intervals: false opens against needless waiting, each value on the same trials
    #[arg(long)]
    curve: bool,
    /// Another shortest window, in seconds
    #[arg(long, value_name = "SECONDS")]
    shortest_window: Option<u64>,
    /// Another quiet time of leadership, in seconds
    #[arg(long, value_name = "SECONDS")]
    leadership_quiet: Option<u64>,
    /// Shrink the first lie to few operations and write it here
    #[arg(long, value_name = "FILE")]
    shrink: Option<PathBuf>,
    /// Write docs/proof/simulate.json; of `--plan leases` simulate-leases.json, of `--depth drivers`
    /// simulate-drivers.json, of `--every-sabotage` sabotages.json
    #[arg(long, conflicts_with = "sabotage")]
    write: bool,
}

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    depth: String,
    /// How the program was built: `release`, or `dev`, which takes more than twice as long.
    build: &'static str,
    seconds: f64,
    allowance_ms: BTreeMap<&'static str, u64>,
    #[serde(flatten)]
    figures: Figures,
}

/// `docs/proof/sabotages.json`.
#[derive(Debug, Serialize)]
struct Sabotages {
    #[serde(flatten)]
    header: Header,
    /// At most so many are made for each, and so many ordinary ones.
    trials: u64,
    first_seed: u64,
    sabotages: Vec<Caught>,
}

/// Values of `Policy::shortest_window`, `Policy::leadership_quiet` and `Policy::longest_blip` that are
/// tried, in seconds, and of the intervals, in percent of those in use. The last ones are for the pause
/// and for the intervals, with the others as they are chosen.
const CURVE: [(u64, u64, u64, u32); 17] = [
    (0, 0, 5, 100),
    (1, 1, 5, 100),
    (2, 2, 5, 100),
    (3, 3, 5, 100),
    (4, 4, 5, 100),
    (6, 6, 5, 100),
    (10, 10, 5, 100),
    (20, 20, 5, 100),
    (0, 6, 5, 100),
    (6, 0, 5, 100),
    (2, 6, 5, 100),
    (6, 6, 0, 100),
    (6, 6, 2, 100),
    (6, 6, 10, 100),
    (6, 6, 5, 50),
    (6, 6, 5, 200),
    (6, 6, 5, 400),
];

/// `docs/proof/curve.json`.
#[derive(Debug, Serialize)]
struct Curve {
    #[serde(flatten)]
    header: Header,
    trials: u64,
    first_seed: u64,
    points: Vec<Point>,
}

/// What one value comes to.
#[derive(Debug, Serialize)]
struct Point {
    shortest_window_seconds: u64,
    leadership_quiet_seconds: u64,
    longest_blip_seconds: u64,
    intervals_percent: u32,
    false_opens: usize,
    false_open_trials: usize,
    exposed_seconds: f64,
    needless_median_seconds: f64,
    needless_p99_seconds: f64,
    needless_seconds_per_step: f64,
}

impl Point {
    fn of(tuned: Tuned, figures: &Figures) -> Self {
        Self {
            shortest_window_seconds: tuned.shortest_window.as_secs(),
            leadership_quiet_seconds: tuned.leadership_quiet.as_secs(),
            longest_blip_seconds: tuned.longest_blip.as_secs(),
            intervals_percent: tuned.pace,
            false_opens: figures.false_opens,
            false_open_trials: figures.false_open_seeds.len(),
            exposed_seconds: figures.exposed_seconds,
            needless_median_seconds: figures.needless.median,
            needless_p99_seconds: figures.needless.p99,
            needless_seconds_per_step: figures.needless_seconds_per_step,
        }
    }
}

/// Tells one trial.
fn tell(order: Order) {
    let outcome = lab::simulate::trial::run(Order {
        story: true,
        ..order
    });
    println!("{}\n{}", outcome.story.join("\n"), outcome.evidence());
}

fn mode(text: &str) -> Result<Mode, String> {
    let all = [Mode::KafkaJmx, Mode::Kafka, Mode::Jmx];
    let found = all.into_iter().find(|mode| mode.as_str() == text);
    found.ok_or_else(|| format!("no mode {text}"))
}

impl Args {
    fn order(&self, seed: u64) -> Order {
        let mut order = Order::broken(seed, self.depth, self.sabotage);
        let slant = self.sabotage.slant();
        order.plan = Plan::slanted(
            seed,
            Slant {
                kind: self.plan.or(slant.kind),
                mode: self.mode.or(slant.mode),
                ..slant
            },
        );
        let tuned = &mut order.plan.setup.tuned;
        if let Some(seconds) = self.shortest_window {
            tuned.shortest_window = Duration::from_secs(seconds);
        }
        if let Some(seconds) = self.leadership_quiet {
            tuned.leadership_quiet = Duration::from_secs(seconds);
        }
        order.rivals = self.rival;
        order
    }

    /// Every set of times, on the same trials.
    fn draw(&self) -> Result<()> {
        let header = Header::new("curve", Vec::new());
        let mut points = Vec::new();
        for (window, quiet, blip, pace) in CURVE {
            let tuned = Tuned {
                shortest_window: Duration::from_secs(window),
                leadership_quiet: Duration::from_secs(quiet),
                longest_blip: Duration::from_secs(blip),
                pace,
            };
            let seeds = self.seed..self.seed.saturating_add(self.trials);
            let order = |seed| {
                let mut order = self.order(seed);
                order.plan.setup.tuned = tuned;
                order
            };
            let point = Point::of(tuned, &Figures::of(&run(seeds, order, |_| false)));
            println!("{}", serde_json::to_string(&point)?);
            points.push(point);
        }
        if self.write {
            let proof = Curve {
                header: header.ended(),
                trials: self.trials,
                first_seed: self.seed,
                points,
            };
            println!(
                "{}",
                write("curve", &proof).context("write the proof")?.display()
            );
        }
        Ok(())
    }

    /// How many trials catch a broken gate, and how many of those that nobody made for it.
    fn tell_of_ordinary_trials(&self, made: &[Outcome]) {
        let caught = |outcomes: &[Outcome]| outcomes.iter().filter(|o| o.went_wrong()).count();
        let how = self.sabotage;
        if how == Sabotage::None || self.shrink.is_some() {
            return;
        }
        if how.is_slanted() {
            println!(
                "{how}: caught by {} of {} trials made for it",
                caught(made),
                made.len()
            );
            let seeds = self.seed..self.seed.saturating_add(self.trials);
            let ordinary = |seed| Order {
                sabotage: how,
                ..Order::new(seed, self.depth)
            };
            let outcomes = run(seeds, ordinary, |_| false);
            let (caught, all) = (caught(&outcomes), outcomes.len());
            println!("{how}: caught by {caught} of {all} ordinary trials");
        } else {
            let (caught, all) = (caught(made), made.len());
            println!("{how}: caught by {caught} of {all} ordinary trials");
        }
    }

    /// Every way to break a gate, one after the other.
    fn catch_each(&self) -> Result<()> {
        let header = Header::new("sabotages", Vec::new());
        let machine = Sabotage::ALL.map(|sabotage| (sabotage, Depth::Machine));
        let driven = Sabotage::DRIVEN.map(|sabotage| (sabotage, Depth::Drivers));
        let mut sabotages = Vec::new();
        for (sabotage, depth) in machine.into_iter().chain(driven) {
            let seeds = self.seed..self.seed.saturating_add(self.trials);
            let caught = Caught::of(sabotage, depth, seeds);
            println!("{caught}");
            sabotages.push(caught);
        }
        let enough = sabotages.iter().all(Caught::is_enough);
        if self.write {
            let proof = Sabotages {
                header: header.ended(),
                trials: self.trials,
                first_seed: self.seed,
                sabotages,
            };
            let path = write("sabotages", &proof).context("write the proof")?;
            println!("{}", path.display());
        }
        anyhow::ensure!(enough, "catch every broken gate, and no sound one");
        Ok(())
    }

    /// Runs it; blocks.
    pub fn run(&self) -> Result<()> {
        if self.story {
            tell(self.order(self.seed));
            return Ok(());
        }
        if let Some(path) = &self.tell {
            tell(Regression::read(path)?.order()?);
            return Ok(());
        }
        if self.curve {
            return self.draw();
        }
        if self.every_sabotage {
            return self.catch_each();
        }
        let name = match (self.depth, self.plan) {
            (Depth::Drivers, _) => "simulate-drivers",
            (Depth::Machine, Some(Kind::Leases)) => "simulate-leases",
            (Depth::Machine, _) => "simulate",
        };
        let header = Header::new(name, Vec::new());
        let began = Instant::now();
        let seeds = self.seed..self.seed.saturating_add(self.trials);
        let stop_early = self.shrink.is_some();
        let lied = |outcomes: &[Outcome]| stop_early && outcomes.iter().any(Outcome::went_wrong);
        let outcomes = run(seeds, |seed| self.order(seed), lied);
        let figures = Figures::of(&outcomes);
        println!("{figures}took {:.0?}", began.elapsed());
        self.tell_of_ordinary_trials(&outcomes);
        let lying = outcomes.iter().find(|outcome| outcome.went_wrong());
        if let Some(outcome) = lying {
            println!("{}", outcome.evidence());
            if let Some(path) = &self.shrink {
                let (order, shrunk) = shrink(&self.order(outcome.seed));
                println!("shrunk:\n{}", shrunk.evidence());
                let why = shrunk.evidence();
                Regression::of(&order, why).write(path)?;
            }
        }
        if self.write {
            let proof = Proof {
                header: header.ended(),
                depth: format!("{:?}", self.depth).to_lowercase(),
                build: if cfg!(debug_assertions) {
                    "dev"
                } else {
                    "release"
                },
                seconds: began.elapsed().as_secs_f64(),
                allowance_ms: ALLOWANCES
                    .into_iter()
                    .map(|(cause, millis)| (cause.as_str(), millis))
                    .collect(),
                figures,
            };
            let path = write(name, &proof).context("write the proof")?;
            println!("{}", path.display());
        }
        let sound = self.sabotage == Sabotage::None;
        anyhow::ensure!(
            !sound || lying.is_none(),
            "get through without a false open and without a false grant"
        );
        Ok(())
    }
}
