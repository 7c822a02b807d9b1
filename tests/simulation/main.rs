//! The simulation (DESIGN 9.2): the gate on a simulated cluster and simulated time, with an
//! oracle that knows the truth. The machine itself is `lab::simulate`.
//!
//! `SIM_TRIALS` and `SIM_SEED` choose how many trials and from which seed; `SIM_STORY=<seed>`
//! prints what happened in one trial.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails here; its own seconds are measured, nothing is judged"
)]

mod coverage;

use std::time::{Duration, Instant};

use lab::simulate::figures::Figures;
use lab::simulate::ops::Op;
use lab::simulate::plan::{Kind, Plan, Slant};
use lab::simulate::regression::Regression;
use lab::simulate::setup::Setup;
use lab::simulate::{Depth, Order, Outcome, Sabotage, run, trial};
use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{Release, Spec, TopicSpec};

/// As in the lab's own program: a third of the time went into glibc's `malloc`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trials that drive the Machine with reports, where nobody says otherwise.
const TRIALS: u64 = 1000;
/// In so many of these a sound gate is looked at as well.
const CONTROLLED: usize = 5;
/// Trials that are kept, at least.
const REGRESSIONS: usize = 21;
/// Trials of leases, and of these with the real collectors and the real engine.
const LEASES: u64 = 100;
const DRIVEN_LEASES: u64 = 4;
/// Trials with the real collectors and the real engine.
const DRIVEN: u64 = 40;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// No safe time is left out, and the count by D as asked has every false open of the other.
fn they_add_up(figures: &Figures) {
    assert_eq!(figures.before_first_open.count, figures.opened);
    assert!(
        figures.before_first_open.median > 0.0,
        "open without a window"
    );
    let never = figures.never_opened_and_safe.iter();
    let never: usize = never.map(|row| row.trials).sum();
    assert_eq!(figures.opened + never, figures.trials);
    assert!(figures.cut_off_at_end.count <= figures.cut_off.count);
    let as_asked = &figures.as_asked.all;
    let counted = as_asked.kinds["counted"].false_opens;
    assert_eq!(usize::try_from(counted).ok(), Some(figures.false_opens));
    assert!(as_asked.false_opens >= counted);
    let by_mode = figures.as_asked.by_mode.iter();
    let by_mode: u64 = by_mode.map(|of| of.lies.false_opens).sum();
    assert_eq!(by_mode, as_asked.false_opens);
}

fn no_lies(depth: Depth, trials: u64) {
    let first = number("SIM_SEED", 1);
    if let Ok(seed) = std::env::var("SIM_STORY") {
        let order = Order::new(seed.parse().expect("a seed"), depth);
        let outcome = trial::run(Order {
            story: true,
            ..order
        });
        println!("{}\n{}", outcome.story.join("\n"), outcome.evidence());
        return;
    }
    let began = Instant::now();
    let outcomes = run(
        first..first + trials,
        |seed| Order::new(seed, depth),
        |_| false,
    );
    let figures = Figures::of(&outcomes);
    println!("{depth:?} in {:.1?}: {figures}", began.elapsed());
    they_add_up(&figures);
    if depth == Depth::Machine {
        coverage::every_op_is_done(&outcomes);
    }
    let lies: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.lies.is_empty())
        .map(Outcome::evidence)
        .collect();
    assert!(lies.is_empty(), "false opens:\n{}", lies.join("\n"));
    let harmful: u64 = outcomes.iter().map(|o| o.rolled.all.harmful).sum();
    assert_eq!(harmful, 0, "stops that did harm because the gate said go");
    // Who never opens never lies.
    let opened = outcomes.iter().filter(|o| !o.open.is_zero()).count();
    assert!(
        opened * 10 >= outcomes.len() * 9,
        "only {opened} of {} trials opened",
        outcomes.len()
    );
}

#[test]
fn the_machine_never_lies() {
    no_lies(Depth::Machine, number("SIM_TRIALS", TRIALS));
}

#[test]
fn the_gate_with_its_drivers_never_lies() {
    no_lies(Depth::Drivers, number("SIM_DRIVEN", DRIVEN));
}

fn leases(depth: Depth, trials: u64) -> Figures {
    let first = number("SIM_SEED", 1);
    let outcomes = run(
        first..first + trials,
        |seed| {
            let mut order = Order::new(seed, depth);
            let kind = Some(Kind::Leases);
            order.plan = Plan::slanted(
                seed,
                Slant {
                    kind,
                    ..Slant::default()
                },
            );
            order
        },
        |_| false,
    );
    let figures = Figures::of(&outcomes);
    println!("{depth:?}: {figures}");
    let wrong = outcomes.iter().filter(|outcome| outcome.went_wrong());
    let wrong: Vec<_> = wrong.map(Outcome::evidence).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    figures
}

/// Two orchestrators and those who come to repair, owners that die, a gate that is restarted, and a
/// store of many moods.
#[test]
fn leases_are_never_false_doubled_or_lost() {
    let trials = number("SIM_LEASES", LEASES);
    let grants = leases(Depth::Machine, trials).grants.expect("leases");
    assert!(grants.go >= 2 * trials, "only {} times go", grants.go);
    assert!(grants.beside > 0, "no second slot was ever given");
    assert!(grants.again > 0, "nobody asked again for what he had");
    assert!(grants.sets > 0, "nobody was told go for several nodes");
    assert!(grants.repairs > 0, "nobody was told go for a repair");
    assert!(grants.taken_over > 0, "no lease was taken over");
    assert!(grants.late > 0, "nobody took his time after go");
    assert!(grants.left_early > 0, "nobody left before his node went");
    assert_eq!(grants.ended_early, 0, "nodes called back that were not");
    let said = grants.store_said;
    let all = [
        said.written,
        said.lost,
        said.refused,
        said.unclear_and_there,
        said.unclear_and_not_there,
    ];
    assert!(
        all.iter().all(|times| *times > 0),
        "not every answer of a store: {said:?}"
    );
    let driven = leases(Depth::Drivers, DRIVEN_LEASES);
    assert!(driven.grants.is_some_and(|grants| grants.go > 0));
}

/// Two ways to drive the gate see the same world: what they say differs only for as long as
/// their questions fall differently, and whoever is open then is so on a safe truth, or within D.
#[test]
fn both_depths_say_the_same() {
    const LONGEST: Duration = Duration::from_secs(12);
    let (mut looks, mut differ) = (0, 0);
    for seed in 1..=number("SIM_COMPARED", 8) {
        let order = |depth| Order {
            story: true,
            even: true,
            ..Order::new(seed, depth)
        };
        // Operators go when they are told to: here both shall see the same things happen.
        let first = trial::run(order(Depth::Machine));
        let again = |depth| {
            let mut order = order(depth).replayed(&first);
            order.plan.end = first.length;
            trial::run(order)
        };
        let (machine, drivers) = (again(Depth::Machine), again(Depth::Drivers));
        assert_eq!(machine.done, drivers.done, "seed {seed}: another world");
        for one in [&machine, &drivers] {
            assert!(one.lies.is_empty(), "{}", one.evidence());
        }
        let (mut spell, mut longest) = (Duration::ZERO, Duration::ZERO);
        for (one, other) in machine.verdicts.iter().zip(&drivers.verdicts) {
            looks += 1;
            if one == other {
                spell = Duration::ZERO;
            } else {
                differ += 1;
                spell += Duration::from_millis(50);
                longest = longest.max(spell);
            }
        }
        println!("seed {seed}: differ for {longest:?} at most");
        assert!(longest <= LONGEST, "seed {seed}: differ for {longest:?}");
    }
    println!("{differ} of {looks} looks differ");
    assert!(differ * 20 <= looks, "{differ} of {looks} looks differ");
}

#[test]
fn what_was_found_once_is_not_found_again() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulation/regressions");
    let files = std::fs::read_dir(folder).expect("tests/simulation/regressions");
    let mut count = 0;
    for file in files {
        let path = file.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        count += 1;
        let regression = Regression::read(&path).expect("a trial");
        let order = regression.order().expect("a trial");
        if regression.sabotage.is_some() {
            is_right_when_sound(order.clone());
        }
        let outcome = trial::run(order);
        let lied = outcome.went_wrong();
        let path = path.display();
        assert_eq!(
            lied,
            regression.sabotage.is_some(),
            "{path}: {}\n{}",
            regression.why,
            outcome.evidence()
        );
    }
    assert!(count >= REGRESSIONS, "only {count} trials in {folder}");
}

/// What the gate says every 50 ms of 90 s in which brokers 2 and 3 of three publish the metadata so
/// many milliseconds late from the 60th second on; nothing else happens.
fn with_old_metadata(depth: Depth, late: u64) -> Vec<bool> {
    let topic = TopicSpec::new("orders", 3, 3).rate(10).min_isr(2);
    let at = Duration::from_secs(60);
    let plan = Plan {
        kind: Kind::Accidents,
        spec: Spec::kraft(3, 3, Release::V4_1).topics(vec![topic]),
        setup: Setup::new(Mode::Kafka, true),
        ops: vec![
            (at, Op::MetadataLag(2, late)),
            (at, Op::MetadataLag(3, late)),
        ],
        operators: Vec::new(),
        episodes: Vec::new(),
        moods: None,
        end: Duration::from_secs(90),
    };
    let outcome = trial::run(Order {
        plan,
        story: true,
        even: true,
        ..Order::new(1, depth)
    });
    assert!(outcome.lies.is_empty(), "{}", outcome.evidence());
    outcome.verdicts
}

#[test]
fn brokers_that_publish_the_metadata_late_close_the_gate() {
    const PER_SECOND: usize = 20;
    for depth in [Depth::Machine, Depth::Drivers] {
        let said = with_old_metadata(depth, 20_000);
        assert!(said[59 * PER_SECOND], "{depth:?}: it opens before");
        let closed = said[60 * PER_SECOND..].iter().position(|open| !open);
        let after = closed.expect("it closes") * 50;
        println!("{depth:?}: closed after {after} ms");
        assert!(after <= 3_250, "{depth:?}: only after {after} ms");
        let stays = said[64 * PER_SECOND..].iter().all(|open| !open);
        assert!(stays, "{depth:?}: it opens again");
        // As far behind as a healthy one may be.
        let said = with_old_metadata(depth, 600);
        let stays = said[59 * PER_SECOND..].iter().all(|open| *open);
        assert!(stays, "{depth:?}: it closes for nothing");
    }
}

#[test]
fn sabotages_are_caught() {
    let machine = Sabotage::ALL.map(|sabotage| (sabotage, Depth::Machine));
    let driven = Sabotage::DRIVEN.map(|sabotage| (sabotage, Depth::Drivers));
    let all = machine.into_iter().chain(driven);
    let missed: Vec<_> = all
        .filter(|(how, depth)| !is_caught(*how, *depth))
        .collect();
    assert!(missed.is_empty(), "not caught by so many seeds: {missed:?}");
}

/// What a broken gate does wrong in a trial, a sound one does not.
fn is_right_when_sound(order: Order) {
    let broken = order.sabotage;
    let sound = trial::run(Order {
        sabotage: broken.control(),
        ..order
    });
    assert!(
        !sound.went_wrong(),
        "{broken:?} is not why: {}",
        sound.evidence()
    );
}

/// Whether so many of the trials made for it catch it; stops as soon as they do. A sound gate is right
/// in the first of them: what fails for everybody catches nobody.
fn is_caught(sabotage: Sabotage, depth: Depth) -> bool {
    let by = sabotage.wanted(depth);
    let count = |outcomes: &[Outcome]| outcomes.iter().filter(|o| o.went_wrong()).count();
    let began = Instant::now();
    let outcomes = run(
        1..1 + number("SIM_TRIALS", TRIALS),
        |seed| Order::broken(seed, depth, sabotage),
        |outcomes| count(outcomes) >= by,
    );
    let first = outcomes.iter().find(|o| o.went_wrong());
    println!(
        "{sabotage:?}, {depth:?}: caught by {} of {} in {:.1?}\n{}",
        count(&outcomes),
        outcomes.len(),
        began.elapsed(),
        first.map(Outcome::evidence).unwrap_or_default()
    );
    for caught in outcomes.iter().filter(|o| o.went_wrong()).take(CONTROLLED) {
        is_right_when_sound(Order::broken(caught.seed, depth, sabotage));
    }
    count(&outcomes) >= by
}

/// Who tests with trials of certain kinds only tests that: every kind, mode and layout is there.
#[test]
fn every_kind_of_plan_is_made() {
    let plans: Vec<_> = (1..=1000).map(Plan::new).collect();
    for (kind, share) in Kind::SHARES {
        let own = plans.iter().filter(|plan| plan.kind == kind).count();
        let share = usize::try_from(share).expect("small");
        println!("{kind}: {own} of 1000");
        assert!(own.abs_diff(10 * share) <= 40, "{kind}: {own} of 1000");
    }
    for mode in [Mode::KafkaJmx, Mode::Kafka, Mode::Jmx] {
        let own = plans.iter().filter(|plan| plan.setup.mode == mode).count();
        println!("{}: {own} of 1000", mode.as_str());
        assert!(own >= 30, "{mode:?}: {own} of 1000");
    }
    let zookeeper = plans.iter().filter(|plan| plan.spec.zookeeper).count();
    println!("ZooKeeper: {zookeeper} of 1000");
    assert!(zookeeper >= 100, "ZooKeeper: {zookeeper} of 1000");
}
