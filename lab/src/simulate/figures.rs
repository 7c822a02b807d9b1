//! Many trials in a few numbers: for people, and for `docs/proof/simulate.json`.

pub mod as_asked;
pub mod rolls;
pub mod shut;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use upgrade_gate::evidence::policy::Mode;

use super::flaky::Answers;
use super::ledger::Grants;
use super::oracle::allowances;
use super::plan::Kind;
use super::rivals::{OURS, OURS_BY_PAGES, Score};
use super::rules::RULES;
use super::trial::Outcome;

use self::as_asked::AsAsked;
use self::rolls::{Roll, rival_rolls, roll};
use self::shut::NeverOpened;

/// How waits are distributed, in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Waits {
    /// How many.
    pub count: usize,
    /// Half of them are at most so long.
    pub median: f64,
    /// Nine in ten.
    pub p90: f64,
    /// Ninety-nine in a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// All together.
    pub sum: f64,
}

impl Waits {
    /// Of these.
    pub fn of(waits: impl IntoIterator<Item = Duration>) -> Self {
        let mut all: Vec<_> = waits.into_iter().collect();
        all.sort_unstable();
        let part = |of_1000: usize| {
            let index = all.len().saturating_sub(1) * of_1000 / 1000;
            seconds(all.get(index).copied().unwrap_or_default())
        };
        Self {
            count: all.len(),
            median: part(500),
            p90: part(900),
            p99: part(990),
            max: part(1000),
            sum: seconds(all.iter().sum()),
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} waits, median {:>5.1} s, p90 {:>5.1} s, p99 {:>5.1} s, longest {:>5.1} s",
            self.count, self.median, self.p90, self.p99, self.max
        )
    }
}

fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 100.0).round() / 100.0
}

/// Needless waiting of one cause.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// The first reason that was given for most of the wait.
    pub reason: &'static str,
    /// Its waits.
    pub waits: Waits,
}

/// One kind of plan.
#[derive(Clone, Debug, Serialize)]
pub struct OfKind {
    /// Which.
    pub kind: Kind,
    /// What came of them.
    #[serde(flatten)]
    pub part: Part,
}

/// Trials by what the gate reads.
#[derive(Clone, Debug, Serialize)]
pub struct OfMode {
    /// What.
    pub mode: Mode,
    /// D for a kill and for everything else, in seconds: what the zeros of this mode rest on.
    pub allowed_seconds: (f64, f64),
    /// What came of them.
    #[serde(flatten)]
    pub part: Part,
}

/// What came of some of the trials.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// How many.
    pub trials: usize,
    /// Times that a node was taken down.
    pub steps: u64,
    /// False opens.
    pub false_opens: usize,
    /// Open on a truth already unsafe, within the allowance, in seconds.
    pub exposed_seconds: f64,
    /// Stops by operators who were told to go that did harm before anybody had to notice.
    pub harmful_within_allowance: u64,
    /// Needless waits.
    pub needless: Waits,
    /// The same on stock settings.
    pub needless_on_stock: Waits,
}

/// How a rule in use today did, or the gate by the same standard, that was only watched.
#[derive(Clone, Debug, Serialize)]
pub struct Rival {
    /// Its name.
    pub name: &'static str,
    /// Times that a node was taken down in its trials.
    pub steps: u64,
    /// False opens.
    pub false_opens: u64,
    /// Of these, those that stand when only brokers are looked at: most rules speak of nothing else.
    pub false_opens_of_brokers: u64,
    /// False opens per 1,000 times that a node was taken down.
    pub false_opens_per_1000_steps: f64,
    /// How long they lasted, together, in seconds.
    pub false_open_seconds: f64,
    /// Open on a truth already unsafe, within the allowance, in seconds.
    pub exposed_seconds: f64,
    /// Needless waiting per time that a node was taken down, in seconds.
    pub needless_seconds_per_step: f64,
    /// The same per node of a roll in which it says go (`rival_rolls`), where there is one.
    pub needless_seconds_per_node: Option<f64>,
    /// Its needless waits.
    pub needless: Waits,
    /// Those that ended before it opened: by the next fault, or with the trial.
    pub cut_off: Waits,
}

/// What came out of many trials.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// How many.
    pub trials: usize,
    /// The first one's seed; the others follow it.
    pub first_seed: u64,
    /// Times that a node was taken down.
    pub steps: u64,
    /// Simulated time, in hours.
    pub simulated_hours: f64,
    /// Judgements made.
    pub judgements: u64,
    /// Trials in which the gate opened at all.
    pub opened: usize,
    /// Seeds of trials in which it did not.
    pub never_opened_seeds: Vec<u64>,
    /// How many of these by the reason that held longest.
    pub never_opened: BTreeMap<&'static str, usize>,
    /// How long they were truly safe all the same, by that reason, the costliest first.
    pub never_opened_and_safe: Vec<NeverOpened>,
    /// False opens.
    pub false_opens: usize,
    /// False opens by the table of allowances as it was asked for, those above among them.
    pub as_asked: AsAsked,
    /// Seeds of trials with false opens.
    pub false_open_seeds: Vec<u64>,
    /// Open, in seconds.
    pub open_seconds: f64,
    /// Open on a truth already unsafe, within the allowance, in seconds.
    pub exposed_seconds: f64,
    /// Needless waiting per time that a node was taken down, in seconds.
    pub needless_seconds_per_step: f64,
    /// Needless waits, those by order aside.
    pub needless: Waits,
    /// The same on stock settings: without trials whose nodes throttle the gate, need long for their
    /// pages or are far away, or whose sessions or `replica.lag.time.max.ms` are not Kafka's own.
    pub needless_on_stock: Waits,
    /// Needless waits that the gate's users have ordered: for a longer window than its own, or while
    /// its process was stopped.
    pub needless_by_order: Waits,
    /// Needless waits that ended before it opened, by the next fault or with the trial.
    pub cut_off: Waits,
    /// Of these, those that ended with the trial.
    pub cut_off_at_end: Waits,
    /// How long each trial in which it opened was truly safe before it first did: in none of the rows
    /// above.
    pub before_first_open: Waits,
    /// How long each node of the rolls by the book waited that could have gone.
    pub needless_per_node: Waits,
    /// Both by cause, the costliest first.
    pub causes: Vec<Cause>,
    /// The longest needless waits: seed, reason, seconds.
    pub longest: Vec<(u64, &'static str, f64)>,
    /// What came of leases, where somebody took some.
    pub grants: Option<GrantsRow>,
    /// By kind of plan.
    pub kinds: Vec<OfKind>,
    /// By what the gate reads.
    pub modes: Vec<OfMode>,
    /// Rolls by the book of all trials: the gate says go.
    pub rolls: Vec<Roll>,
    /// The same roll once with the gate and once with each rule; beside them the gate in mode `jmx` on
    /// rolls of its own.
    pub rival_rolls: Vec<Roll>,
    /// The gate and the rules in use today on trials in which nobody asks, by harm alone.
    pub rivals: Vec<Rival>,
}

impl Figures {
    /// Of these trials.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let sum = |part: fn(&Outcome) -> Duration| outcomes.iter().map(part).sum::<Duration>();
        let steps: u64 = outcomes.iter().map(|o| o.restarts).sum();
        let needless = Waits::of(outcomes.iter().flat_map(|o| o.waits_by_order(false)));
        let by_order = Waits::of(outcomes.iter().flat_map(|o| o.waits_by_order(true)));
        let never = outcomes.iter().filter(|o| o.open.is_zero());
        let lying = outcomes.iter().filter(|o| !o.lies.is_empty());
        let rival_rolls = rival_rolls(outcomes);
        Self {
            trials: outcomes.len(),
            first_seed: outcomes.first().map_or(0, |o| o.seed),
            steps,
            simulated_hours: seconds(sum(|o| o.length)) / 3600.0,
            judgements: outcomes.iter().map(|o| o.steps).sum(),
            opened: outcomes.iter().filter(|o| !o.open.is_zero()).count(),
            never_opened_seeds: never.map(|o| o.seed).collect(),
            never_opened: never_opened(outcomes),
            never_opened_and_safe: NeverOpened::all(outcomes),
            false_opens: outcomes.iter().map(|o| o.lies.len()).sum(),
            as_asked: AsAsked::of(outcomes),
            false_open_seeds: lying.map(|o| o.seed).collect(),
            open_seconds: seconds(sum(|o| o.open)),
            exposed_seconds: seconds(sum(|o| o.exposed)),
            needless_seconds_per_step: per(needless.sum, steps),
            needless,
            needless_on_stock: on_stock(outcomes.iter()),
            needless_by_order: by_order,
            cut_off: Waits::of(outcomes.iter().flat_map(|o| &o.cut_off).map(|wait| wait.1)),
            cut_off_at_end: shut::cut_off_at_end(outcomes),
            before_first_open: shut::before_first_open(outcomes),
            needless_per_node: Waits::of(outcomes.iter().flat_map(|o| o.rolled.needless.clone())),
            causes: causes(outcomes),
            longest: longest(outcomes),
            grants: grants(outcomes),
            kinds: kinds(outcomes),
            modes: modes(outcomes),
            rolls: vec![roll(OURS, outcomes.iter().map(|o| &o.rolled))],
            rivals: rivals(outcomes, &rival_rolls),
            rival_rolls,
        }
    }
}

/// Needless waits on stock settings that nobody has ordered.
fn on_stock<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Waits {
    let stock = outcomes.filter(|o| o.is_on_stock());
    Waits::of(stock.flat_map(|o| o.waits_by_order(false)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
fn per(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}

fn never_opened(outcomes: &[Outcome]) -> BTreeMap<&'static str, usize> {
    let mut by_reason = BTreeMap::new();
    for reason in outcomes.iter().filter_map(|o| o.never_opened) {
        *by_reason.entry(reason).or_default() += 1;
    }
    by_reason
}

fn causes(outcomes: &[Outcome]) -> Vec<Cause> {
    let mut by_reason: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for (reason, wait) in outcomes.iter().flat_map(|o| &o.waits) {
        by_reason.entry(reason).or_default().push(*wait);
    }
    let causes = by_reason.into_iter().map(|(reason, waits)| Cause {
        reason,
        waits: Waits::of(waits),
    });
    let mut causes: Vec<_> = causes.collect();
    causes.sort_by(|a, b| b.waits.sum.total_cmp(&a.waits.sum));
    causes
}

fn longest(outcomes: &[Outcome]) -> Vec<(u64, &'static str, f64)> {
    let waits = outcomes.iter().flat_map(|o| {
        let own = o.waits.iter();
        own.map(|(reason, wait)| (o.seed, *reason, seconds(*wait)))
    });
    let mut waits: Vec<_> = waits.collect();
    waits.sort_by(|a, b| b.2.total_cmp(&a.2));
    waits.truncate(12);
    waits
}

/// What came of leases.
#[derive(Clone, Debug, Serialize)]
pub struct GrantsRow {
    /// Times that somebody was told "go".
    pub go: u64,
    /// Of these, how many beside somebody else, by a second slot, where they share nothing.
    pub beside: u64,
    /// How often somebody was told so once more of a lease that he had.
    pub again: u64,
    /// Of these, how many for several nodes at once.
    pub sets: u64,
    /// Of these, how many for a repair.
    pub repairs: u64,
    /// Of these, how many have lost their lease to a repair of its nodes.
    pub taken_over: u64,
    /// Of these, how many would have done harm, with time enough to notice.
    pub false_grants: u64,
    /// Of these, how many would have done harm, before that.
    pub too_soon_to_tell: u64,
    /// How often the stop was ordered only some time after "go".
    pub late: u64,
    /// How often "finished" was said before anything was stopped.
    pub left_early: u64,
    /// Told "go" beside somebody else who was out, where that must not be.
    pub doubled: u64,
    /// Told "go", and the lease is gone without an end.
    pub lost: u64,
    /// Leases that ended as proven while their nodes were not back, or were yet to be stopped.
    pub ended_early: u64,
    /// Fencing tokens that did not grow.
    pub old_tokens: u64,
    /// What stores of many moods said of writes.
    pub store_said: Answers,
    /// Seeds of trials in which something of that went wrong.
    pub bad_seeds: Vec<u64>,
}

fn grants(outcomes: &[Outcome]) -> Option<GrantsRow> {
    let all = outcomes
        .iter()
        .fold(Grants::default(), |sum, outcome| sum.and(&outcome.grants));
    let bad = outcomes.iter().filter(|o| !o.grants.are_sound());
    (all.go > 0).then(|| GrantsRow {
        go: all.go,
        beside: all.beside,
        again: all.again,
        sets: all.sets,
        repairs: all.repairs,
        taken_over: all.taken_over,
        false_grants: all.false_go,
        too_soon_to_tell: all.too_soon,
        late: all.late,
        left_early: all.left_early,
        doubled: all.doubled,
        lost: all.lost,
        ended_early: all.ended_early,
        old_tokens: all.old_tokens,
        store_said: outcomes
            .iter()
            .fold(Answers::default(), |sum, outcome| sum.and(outcome.answers)),
        bad_seeds: bad.map(|outcome| outcome.seed).collect(),
    })
}

fn kinds(outcomes: &[Outcome]) -> Vec<OfKind> {
    let kinds = Kind::SHARES.into_iter().map(|(kind, _)| kind);
    let kinds = kinds.chain([Kind::Leases]).map(|kind| OfKind {
        kind,
        part: part(|| outcomes.iter().filter(move |o| o.kind == kind)),
    });
    kinds.filter(|of| of.part.trials > 0).collect()
}

fn modes(outcomes: &[Outcome]) -> Vec<OfMode> {
    let modes = [Mode::KafkaJmx, Mode::Kafka, Mode::Jmx].map(|mode| {
        let (kill, other) = allowances(mode);
        OfMode {
            mode,
            allowed_seconds: (seconds(kill), seconds(other)),
            part: part(|| outcomes.iter().filter(move |o| o.mode == mode)),
        }
    });
    modes.into_iter().filter(|of| of.part.trials > 0).collect()
}

fn part<'a, I: Iterator<Item = &'a Outcome>>(own: impl Fn() -> I) -> Part {
    Part {
        trials: own().count(),
        steps: own().map(|o| o.restarts).sum(),
        false_opens: own().map(|o| o.lies.len()).sum(),
        exposed_seconds: seconds(own().map(|o| o.exposed).sum()),
        harmful_within_allowance: own().map(|o| o.rolled.all.too_soon).sum(),
        needless: Waits::of(own().flat_map(|o| o.waits_by_order(false))),
        needless_on_stock: on_stock(own()),
    }
}

fn rivals(outcomes: &[Outcome], rolls: &[Roll]) -> Vec<Rival> {
    let of = |name: &'static str| -> Vec<(u64, &Score)> {
        let scored = outcomes.iter().filter_map(|o| {
            let score = o.rivals.iter().find(|score| score.name == name)?;
            Some((o.restarts, score))
        });
        scored.collect()
    };
    let rival = |name: &'static str| {
        let scored = of(name);
        let steps: u64 = scored.iter().map(|(steps, _)| steps).sum();
        let scores = || scored.iter().map(|(_, score)| *score);
        let lies = scores().map(|score| score.lies).sum::<u64>();
        let of_brokers = scores().map(|score| score.lies_of_brokers).sum::<u64>();
        let needless = Waits::of(scores().flat_map(|s| s.needless.iter().copied()));
        let own = rolls.iter().find(|roll| roll.name == name);
        let rival = Rival {
            name,
            steps,
            false_opens: lies,
            false_opens_of_brokers: of_brokers,
            false_opens_per_1000_steps: per(1000.0, steps) * per_unit(lies),
            false_open_seconds: seconds(scores().map(|s| s.lied).sum()),
            exposed_seconds: seconds(scores().map(|s| s.exposed).sum()),
            needless_seconds_per_step: per(needless.sum, steps),
            needless_seconds_per_node: own.map(|roll| roll.needless_seconds_per_node),
            needless,
            cut_off: Waits::of(scores().flat_map(|s| s.cut_off.iter().copied())),
        };
        (!scored.is_empty()).then_some(rival)
    };
    let rules = RULES.into_iter().map(|(name, ..)| name);
    let names = [OURS, OURS_BY_PAGES].into_iter().chain(rules);
    names.filter_map(rival).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of lies are small")]
const fn per_unit(count: u64) -> f64 {
    count as f64
}
