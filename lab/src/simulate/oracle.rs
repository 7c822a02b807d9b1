//! Knows the truth at each instant, and says whether an `open` was a lie.
//!
//! - `allowance`: how long a gate may take to notice;
//! - `truth`: the true state of one moment.
//!
//! A verdict at t is judged on the true state at t - D, with D the time that the gate is allowed
//! to notice ([`ALLOWANCES`]): 100 ms for a killed process, whose connections close; 2 s for everything else. What
//! was unsafe then and is safe at t (a process that was frozen and goes on) is no lie: nobody who
//! acts on that open does harm.
//!
//! Rules in use today are held to harm alone ([`Standard::Harm`]); our gate also to what it promises
//! beyond that: never open while an expected node is down ([`Standard::EveryNodeUp`]).

mod allowance;
mod truth;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{Cluster, NodeId};

pub(super) use self::allowance::allowances;
pub use self::allowance::{ALLOWANCES, Cause, ZOOKEEPER_SHOWS};
pub(super) use self::truth::{LATE, late};
pub use self::truth::{Truth, all_in_sync, are_apart};
pub use super::stops::Stop;

/// What the gate said at one moment.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The verdict is open.
    pub open: bool,
    /// Nodes whose own verdict is open.
    pub nodes: Vec<NodeId>,
}

/// One open that was a lie.
#[derive(Clone, Debug)]
pub struct FalseOpen {
    /// When, since the start.
    pub at: Duration,
    /// What was true.
    pub truth: String,
    /// For how long it went on.
    pub lasted: Duration,
    /// At some moment of it the stop of a broker would have done harm, and not only that of a controller.
    pub of_brokers: bool,
}

/// What a stop at one moment does.
#[derive(Clone, Debug)]
pub struct Harm {
    /// What it breaks.
    pub why: String,
    /// It was so long enough ago to be noticed.
    pub noticed: bool,
}

/// What counts as a false open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standard {
    /// Harm: the next stop would take a partition or the quorum away.
    #[default]
    Harm,
    /// That, or any expected node that is down: what our gate promises beyond it.
    EveryNodeUp,
}

/// Keeps the truth of the last moments and judges what the gate says.
#[derive(Debug)]
pub struct Oracle {
    standard: Standard,
    /// What a kill may take to be noticed, and everything else.
    allowed: (Duration, Duration),
    past: VecDeque<(Duration, Arc<Truth>)>,
    killed: BTreeMap<NodeId, Duration>,
    /// Controllers that are not asked themselves: no connection with the gate closes.
    pub remote: BTreeSet<NodeId>,
    /// To be shut is right now, whatever the cluster is like: the gate's configuration is wrong.
    pub excuses: bool,
    /// Open on a truth that is unsafe already, which is no lie within the allowance.
    pub exposed: Duration,
    /// Open for so long.
    pub open: Duration,
    /// Lies.
    pub lies: Vec<FalseOpen>,
    /// How long each truly safe time stayed shut before it opened, the start aside.
    pub needless: Vec<Duration>,
    /// How long each stayed shut that ended before it opened.
    pub cut_off: Vec<Duration>,
    /// Truly safe and shut before it first opened, or for good.
    pub before_first: Duration,
    spell: Option<Duration>,
    lying: bool,
    opened_once: bool,
    last: Duration,
}

impl Oracle {
    /// An oracle that has seen nothing yet, for a gate or a rule that reads so much.
    pub fn new(standard: Standard, mode: Mode) -> Self {
        Self {
            standard,
            allowed: allowances(mode),
            past: VecDeque::new(),
            killed: BTreeMap::new(),
            remote: BTreeSet::new(),
            excuses: false,
            exposed: Duration::ZERO,
            open: Duration::ZERO,
            lies: Vec::new(),
            needless: Vec::new(),
            cut_off: Vec::new(),
            before_first: Duration::ZERO,
            spell: None,
            lying: false,
            opened_once: false,
            last: Duration::ZERO,
        }
    }

    /// Whether a stop does harm now, and whether there was time enough to notice.
    pub fn would_harm(&self, stop: &Stop) -> Option<Harm> {
        let (now, is) = self.past.back()?;
        let why = is.against(stop)?.clone();
        let harms = |truth: &Truth| truth.against(stop).is_some();
        let allowed = self.allowed_now(*now).1;
        let was = self.before(*now, allowed);
        let noticed = was.is_some_and(|was| harms(was)) && self.unbroken(*now, allowed, harms);
        Some(Harm { why, noticed })
    }

    /// Whether this node has been down at any time as far as is looked back.
    pub fn was_down(&self, node: NodeId) -> bool {
        let mut past = self.past.iter();
        past.any(|(_, truth)| truth.down.contains(&node))
    }

    /// Whether the controllers had this broker fenced within the longest allowance.
    pub fn was_fenced(&self, node: NodeId) -> bool {
        let mut past = self.past.iter();
        past.any(|(_, truth)| truth.fenced.contains(&node))
    }

    /// Whether the active controller does not hear this node now.
    pub fn is_deaf(&self, node: NodeId) -> bool {
        let now = self.past.back();
        now.is_some_and(|(_, truth)| truth.deaf.contains(&node))
    }

    /// From which moment on the gate has to know of a node that is not well since then.
    pub fn known_by(&self, node: NodeId, since: Duration) -> Duration {
        let (kill, other) = self.allowed;
        let known = since + other;
        let killed = self.killed.get(&node);
        killed.map_or(known, |at| known.min(*at + kill))
    }

    fn before(&self, now: Duration, allowed: Duration) -> Option<&Arc<Truth>> {
        let mut past = self.past.iter().rev();
        let found = past.find(|(at, _)| *at + allowed <= now);
        found.map(|(_, was)| was)
    }

    /// Who was killed long enough ago to be noticed, and what may be allowed now.
    fn allowed_now(&self, now: Duration) -> (Option<(NodeId, Duration)>, Duration) {
        let (kill, other) = self.allowed;
        // What a kill did has to be seen sooner than anything else.
        let dead = self.killed.iter().find(|(_, at)| **at + kill <= now);
        let dead = dead.map(|(id, at)| (*id, *at));
        (dead, if dead.is_some() { kill } else { other })
    }

    /// A process was killed, and its connections with the gate were closed.
    pub fn killed(&mut self, node: NodeId, at: Duration) {
        if !self.remote.contains(&node) {
            self.killed.insert(node, at);
        }
    }

    /// The gate stands still: it sees no connection close. Its view, which expires within two
    /// seconds, is all that there is.
    pub fn gate_stands_still(&mut self) {
        self.killed.clear();
    }

    /// The same processes were killed.
    pub fn share_kills(&mut self, other: &Self) {
        self.killed.clone_from(&other.killed);
    }

    /// Judges one moment; whether it was needlessly shut.
    pub fn judge(
        &mut self,
        now: Duration,
        truth: Arc<Truth>,
        cluster: &Cluster,
        said: &Said,
    ) -> bool {
        self.killed
            .retain(|id, _| cluster.process_start(*id).is_none());
        let step = now.saturating_sub(self.last);
        self.last = now;
        if said.open {
            self.open += step;
            let unsafe_now = match self.standard {
                Standard::Harm => !truth.of_node.is_empty(),
                Standard::EveryNodeUp => !truth.is_safe(),
            };
            if unsafe_now {
                self.exposed += step;
            }
        }
        let safe = truth.is_safe() && !truth.stalls && !self.excuses;
        if safe && !said.open && !self.opened_once {
            self.before_first += step;
        }
        self.past.push_back((now, truth));
        while self
            .past
            .get(1)
            .is_some_and(|(at, _)| *at + self.allowed.1 <= now)
        {
            self.past.pop_front();
        }
        self.look_for_a_lie(now, step, cluster, said);
        self.note_needless(now, safe, said.open)
    }

    fn look_for_a_lie(&mut self, now: Duration, step: Duration, cluster: &Cluster, said: &Said) {
        let truth = self.against(now, said);
        let Some(truth) = truth else {
            self.lying = false;
            return;
        };
        let of_brokers = self.broken(now, said).any(|(id, _)| is_broker(cluster, id));
        if let (true, Some(lie)) = (self.lying, self.lies.last_mut()) {
            lie.lasted += step;
            lie.of_brokers |= of_brokers;
        } else {
            self.lies.push(FalseOpen {
                at: now,
                truth,
                lasted: Duration::ZERO,
                of_brokers,
            });
        }
        self.lying = true;
    }

    /// What makes an open a lie now.
    fn against(&self, now: Duration, said: &Said) -> Option<String> {
        if !said.open && said.nodes.is_empty() {
            return None;
        }
        match self.standard {
            Standard::EveryNodeUp => {
                let (_, is) = self.past.back()?;
                let (dead, allowed) = self.allowed_now(now);
                if let Some((id, at)) = dead {
                    return Some(format!("{id} was killed at {at:?}"));
                }
                // A node that is down at both moments.
                let was = self.before(now, allowed)?;
                let down: BTreeSet<_> = was.down.intersection(&is.down).collect();
                if !down.is_empty() && self.unbroken(now, allowed, |truth| !truth.down.is_empty()) {
                    return Some(format!("{down:?} down"));
                }
            }
            Standard::Harm => {}
        }
        let (id, why) = self.broken(now, said).next()?;
        Some(format!("without {id}: {why}"))
    }

    /// Nodes that may go by what is said, and what their stop breaks: now, and when there was time left
    /// to notice it.
    fn broken(&self, now: Duration, said: &Said) -> impl Iterator<Item = (NodeId, &String)> {
        let allowed = self.allowed_now(now).1;
        let is = self.past.back().map(|(_, is)| is);
        let was = self.before(now, allowed);
        let nodes = was.into_iter().flat_map(|was| was.of_node.keys());
        let nodes = nodes.filter(move |id| said.open || said.nodes.contains(id));
        nodes.filter_map(move |id| {
            let why = is?.of_node.get(id)?;
            let harms = |truth: &Truth| truth.of_node.contains_key(id);
            self.unbroken(now, allowed, harms).then_some((*id, why))
        })
    }

    /// Whether it was so all the time since, where that is long: in 20 s one accident can be over
    /// and the next one begin.
    fn unbroken(&self, now: Duration, allowed: Duration, so: impl Fn(&Truth) -> bool) -> bool {
        let since = now.saturating_sub(allowed);
        let recent = self.past.iter().filter(|(at, _)| *at >= since);
        allowed < Cause::InModeJmx.allowance()
            || recent.map(|(_, truth)| truth).all(|truth| so(truth))
    }

    /// What is said is false, by this count.
    pub const fn is_lying(&self) -> bool {
        self.lying
    }

    /// The trial is over, and with it whatever went on.
    pub fn end(&mut self) {
        let spell = self.spell.take().filter(|_| self.opened_once);
        self.cut_off
            .extend(spell.map(|since| self.last.saturating_sub(since)));
    }

    fn note_needless(&mut self, now: Duration, safe: bool, open: bool) -> bool {
        match (safe, open) {
            (true, false) => {
                self.spell.get_or_insert(now);
            }
            (true, true) => {
                let spell = self.spell.take();
                if self.opened_once {
                    self.needless
                        .extend(spell.map(|since| now.saturating_sub(since)));
                }
                self.opened_once = true;
            }
            (false, _) => {
                let spell = self.spell.take().filter(|_| self.opened_once);
                self.cut_off
                    .extend(spell.map(|since| now.saturating_sub(since)));
            }
        }
        safe && !open && self.opened_once
    }
}

fn is_broker(cluster: &Cluster, id: NodeId) -> bool {
    let mut nodes = cluster.spec().nodes.iter();
    nodes.any(|node| node.id == id && node.roles.broker)
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
