//! Polls the gate and the simple rule, tells every change, and keeps count.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::super::answer::{Asked, Body, Reason, Verdict};
use super::super::ask::ask;
use super::super::client::GateClient;
use super::super::lease::post;
use super::naive::Moment;
use super::say::{Say, Tag};
use super::world::World;
use crate::evidence::ids;
use crate::gate::lease::Action;
use crate::gate::state::{GateName, State};
use crate::model::NodeId;
use crate::model::serve::Live;

/// How often the gate is polled here, so that times of closing mean something.
pub(super) const POLL: Duration = Duration::from_millis(10);
/// How long a new reason has to wait for its line after the line before.
const CALM: Duration = Duration::from_millis(800);
/// How long a gate may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to grant: new evidence, and the store.
const GRANT: Duration = Duration::from_secs(15);

/// What the gate said last.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// When the question was sent.
    pub(super) asked: Instant,
    /// When the answer was there.
    pub(super) seen: Instant,
    /// The verdict; no answer is `Unknown`.
    pub(super) state: State,
    /// Why, the worst first, without warnings.
    pub(super) reasons: Vec<Reason>,
}

/// What is counted over the whole demo.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// When the gate opened first.
    pub(super) first_open: Option<Duration>,
    /// How often the rule began to say "go on" while something was missing.
    pub(super) naive_wrong: u32,
    /// For how long it said so in all.
    pub(super) naive_wrong_for: Duration,
    /// For how long the gate was open while something was missing.
    pub(super) gate_wrong_for: Duration,
    /// For how long something was missing.
    pub(super) missing_for: Duration,
}

/// The poller.
pub(super) struct Watch {
    sights: watch::Receiver<Sight>,
    counts: Arc<Mutex<Counts>>,
    client: GateClient,
}

impl Watch {
    /// Starts polling; ends with the process.
    pub(super) fn start(world: &World, say: Say) -> Result<Self> {
        let first = Sight {
            asked: Instant::now(),
            seen: Instant::now(),
            state: State::Unknown,
            reasons: Vec::new(),
        };
        let (sender, sights) = watch::channel(first);
        let counts = Arc::new(Mutex::new(Counts::default()));
        let poller = Poller {
            client: world.client()?,
            live: world.served.live(),
            say,
            counts: Arc::clone(&counts),
            told: None,
            told_at: Instant::now(),
            rule: None,
            looked: Instant::now(),
        };
        tokio::spawn(poller.run(sender));
        let client = world.client()?;
        Ok(Self {
            sights,
            counts,
            client,
        })
    }

    /// What is counted until now.
    pub(super) fn counts(&self) -> Counts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }

    /// Waits for an answer to a question asked after `since` that `wanted` likes.
    pub(super) async fn until(
        &self,
        since: Instant,
        within: Duration,
        wanted: impl Fn(&Sight) -> bool,
    ) -> Result<Sight> {
        let mut sights = self.sights.clone();
        let found = sights.wait_for(|sight| sight.asked >= since && wanted(sight));
        let found = timeout(within, found).await;
        let found = found.with_context(|| format!("waited {} s in vain", within.as_secs()))?;
        Ok(found.context("failed to poll the gate")?.clone())
    }

    /// Takes a node, or gives it back, as a pipeline does: what was said with yes, or why not.
    pub(super) async fn claim(&self, what: &str, node: NodeId) -> Result<Body, Sight> {
        let asked = Asked {
            gate: GateName::default(),
            nodes: BTreeSet::from([ids::NodeId(node)]),
            hosts: BTreeSet::new(),
            action: Action::Restart,
        };
        let begun = Instant::now();
        let owner = [("owner", String::from("demo"))];
        let (verdict, _) = post(&self.client, &asked, what, &owner, 0, GRANT).await;
        match verdict {
            Verdict::Says(State::Open, body) => Ok(*body),
            verdict => Err(sight(begun, verdict)),
        }
    }
}

/// Asks once.
async fn look(client: &GateClient, asked: &Asked) -> Sight {
    let begun = Instant::now();
    let (verdict, _) = ask(client, asked, 0, PATIENCE).await;
    sight(begun, verdict)
}

fn sight(begun: Instant, verdict: Verdict) -> Sight {
    let (state, reasons) = match verdict {
        Verdict::Says(state, body) => (state, body.reasons),
        Verdict::Contradicts(why) | Verdict::Unreachable(why) | Verdict::Refused(_, why) => {
            (State::Unknown, vec![no_answer(why)])
        }
    };
    let against = |reason: &Reason| reason.severity != "warn";
    Sight {
        asked: begun,
        seen: Instant::now(),
        state,
        reasons: reasons.into_iter().filter(against).collect(),
    }
}

fn no_answer(why: String) -> Reason {
    Reason {
        code: String::from("no_answer"),
        severity: String::from("unknown"),
        subject: String::from("gate"),
        observed: why,
        ..Reason::default()
    }
}

struct Poller {
    client: GateClient,
    live: Live,
    say: Say,
    counts: Arc<Mutex<Counts>>,
    told: Option<(State, String)>,
    told_at: Instant,
    rule: Option<bool>,
    looked: Instant,
}

impl Poller {
    async fn run(mut self, sender: watch::Sender<Sight>) {
        let asked = Asked {
            gate: GateName::default(),
            nodes: BTreeSet::new(),
            hosts: BTreeSet::new(),
            action: Action::Restart,
        };
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0_u64;
        loop {
            ticks.tick().await;
            let sight = look(&self.client, &asked).await;
            let told = self.tell(&sight);
            let compared = if tick.is_multiple_of(5) {
                self.compare(sight.state)
            } else {
                Ok(())
            };
            tick = tick.wrapping_add(1);
            if told.and(compared).is_err() || sender.send(sight).is_err() {
                return;
            }
        }
    }

    /// One line for every new verdict, and for a new first reason once in a while.
    fn tell(&mut self, sight: &Sight) -> Result<()> {
        let first = sight.reasons.first();
        let about = first.map(|first| format!("{} {}", first.code, first.subject));
        let now = (sight.state, about.unwrap_or_default());
        let calm = self.told_at.elapsed() >= CALM;
        let tell = match &self.told {
            Some(told) if *told == now => false,
            Some((state, _)) => *state != now.0 || calm,
            None => true,
        };
        if !tell {
            return Ok(());
        }
        if sight.state == State::Open {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let elapsed = self.say.elapsed();
            counts.first_open.get_or_insert(elapsed);
        }
        self.told = Some(now);
        self.told_at = Instant::now();
        let tag = match sight.state {
            State::Open => Tag::Open,
            State::Closed => Tag::Closed,
            State::Unknown => Tag::Unknown,
        };
        self.say.event(tag, &why(&sight.reasons))
    }

    /// Holds the simple rule and the gate against the truth.
    fn compare(&mut self, state: State) -> Result<()> {
        let moment = self.live.operate(|cluster| Moment::of(cluster));
        let since = self.looked.elapsed();
        self.looked = Instant::now();
        let (goes_on, missing) = (moment.goes_on(), moment.is_unsafe());
        let wrong = goes_on && missing;
        {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let mut add = |held: bool, to: fn(&mut Counts) -> &mut Duration| {
                if held {
                    *to(&mut counts) += since;
                }
            };
            add(missing, |counts| &mut counts.missing_for);
            add(wrong, |counts| &mut counts.naive_wrong_for);
            add(missing && state == State::Open, |counts| {
                &mut counts.gate_wrong_for
            });
            if wrong && self.rule != Some(true) {
                counts.naive_wrong += 1;
            }
        }
        let before = self.rule.replace(wrong);
        if before == Some(wrong) || (before.is_none() && !wrong) {
            return Ok(());
        }
        let sum = moment.sum.map_or_else(
            || String::from("no exporter shows it"),
            |sum| format!("sum(UnderReplicatedPartitions) = {sum}"),
        );
        let says = if goes_on { "go on" } else { "wait" };
        let verdict = if wrong { "WRONG: " } else { "" };
        let text = format!("{sum}: says {says}; {verdict}{}", moment.truth());
        self.say.event(Tag::Naive, &text)
    }
}

/// The first reason in words, and how many more there are.
pub(super) fn why(reasons: &[Reason]) -> String {
    let Some(first) = reasons.first() else {
        return String::from("every node may stop, one at a time");
    };
    let mut text = format!("{} {}: {}", first.code, first.subject, first.observed);
    if let more @ 1.. = reasons.len().saturating_sub(1) {
        text = format!("{text} (+{more} more)");
    }
    text
}
