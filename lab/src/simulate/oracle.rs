//! Knows the truth at each instant, and says whether an `open` was a lie.
//!
//! A verdict at t is judged on the true state at t - D, with D the time that the gate is allowed
//! to notice: 100 ms for a killed process, whose connections close; 2 s for everything else. What
//! was unsafe then and is safe at t (a process that was frozen and goes on) is no lie: nobody who
//! acts on that open does harm.
//!
//! Rules in use today are held to harm alone ([`Standard::Harm`]); our gate also to what it promises
//! beyond that: never open while an expected node is down ([`Standard::EveryNodeUp`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::model::{Cluster, Image, Link, Listener, NodeId, Partition, Release, Topic};

/// What a killed process may take to be noticed: its connections close.
const KILL: Duration = Duration::from_millis(100);
/// What everything else may take.
const OTHER: Duration = Duration::from_secs(2);

/// D: what each may take to be noticed. The proofs on real Kafka allow the same; nothing here is
/// for tuning.
pub const ALLOWANCES: [(&str, Duration); 5] = [
    ("kill", KILL),
    ("freeze", OTHER),
    ("cut", OTHER),
    ("controlled stop", OTHER),
    ("everything else", OTHER),
];

/// The true state of one moment, as far as the next step is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// What speaks against stopping anything, harm or not: nodes that are down.
    pub general: Option<String>,
    /// What stopping a node would break.
    pub of_node: BTreeMap<NodeId, String>,
}

impl Truth {
    /// Whether any node may be stopped.
    pub fn is_safe(&self) -> bool {
        self.general.is_none() && self.of_node.is_empty()
    }

    /// Looks at the model itself. `cuts` are the cuts between nodes that stand.
    pub fn of(cluster: &Cluster, cuts: &BTreeSet<(NodeId, NodeId)>) -> Self {
        let nodes = || cluster.spec().nodes.iter();
        // A broker's listener answers before the broker is back in service.
        let mut down = cluster.out_of_service();
        down.extend(
            nodes()
                .filter(|node| node.roles.controller)
                .map(|node| node.id)
                .filter(|id| cluster.link(*id, Listener::Controller) != Link::Accepts),
        );
        let Some(active) = cluster.active_controller() else {
            let why = "no controller can commit";
            return Self {
                general: Some(why.into()),
                of_node: nodes().map(|node| (node.id, why.into())).collect(),
            };
        };
        // Who is cut off from the active controller hears of no new leader.
        let deaf: BTreeSet<_> = nodes()
            .map(|node| node.id)
            .filter(|id| cuts.contains(&(active.min(*id), active.max(*id))))
            .collect();
        let useless: BTreeSet<_> = down.union(&deaf).copied().collect();
        let voters: BTreeSet<_> = nodes()
            .filter(|node| node.roles.controller)
            .map(|node| node.id)
            .collect();
        let mut of_node = BTreeMap::new();
        for node in nodes() {
            let left = voters.difference(&useless).filter(|id| **id != node.id);
            let lost = voters.len() > 2 && left.count() * 2 <= voters.len();
            let why = if lost {
                Some("the quorum loses its majority".to_owned())
            } else {
                let image = cluster.committed_image();
                broken_partition(cluster, image, &useless, node.id)
            };
            if let Some(why) = why {
                of_node.insert(node.id, why);
            }
        }
        let general = (!down.is_empty()).then(|| format!("{down:?} down"));
        Self { general, of_node }
    }
}

/// The first partition that is unavailable once `stopped` is gone as well, unless a stop of one
/// node does that to it with everything up.
fn broken_partition(
    cluster: &Cluster,
    image: &Image,
    useless: &BTreeSet<NodeId>,
    stopped: NodeId,
) -> Option<String> {
    image.partitions().find_map(|(name, index, topic, p)| {
        let left: Vec<_> = p
            .isr
            .iter()
            .filter(|id| **id != stopped && !useless.contains(id))
            .collect();
        let min = min_isr(cluster, topic, p);
        let offline = left.is_empty() && p.replicas.len() > 1;
        let short = left.len() < min && p.replicas.len() > min;
        (offline || short).then(|| {
            format!(
                "{name}-{index} left with {left:?} of {:?}, min {min}",
                p.replicas
            )
        })
    })
}

/// Whether every partition has a leader and a full ISR.
pub fn all_in_sync(image: &Image) -> bool {
    let mut partitions = image.partitions();
    partitions.all(|(_, _, _, p)| p.leader.is_some() && p.isr.len() >= p.replicas.len())
}

fn min_isr(cluster: &Cluster, topic: &Topic, partition: &Partition) -> usize {
    let spec = cluster.spec();
    let configured = topic.min_isr.unwrap_or(spec.settings.min_insync_replicas);
    let configured = usize::try_from(configured).unwrap_or(usize::MAX);
    // From 3.7 on it is at most the number of replicas; the oldest binary is the careful reading.
    let oldest = spec
        .nodes
        .iter()
        .filter_map(|n| cluster.release(n.id))
        .min();
    if oldest.is_some_and(|release| release >= Release::V3_7) {
        configured.min(partition.replicas.len())
    } else {
        configured
    }
}

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
#[derive(Debug, Default)]
pub struct Oracle {
    standard: Standard,
    past: VecDeque<(Duration, Arc<Truth>)>,
    killed: BTreeMap<NodeId, Duration>,
    /// Open on a truth that is unsafe already, which is no lie within the allowance.
    pub exposed: Duration,
    /// Open for so long.
    pub open: Duration,
    /// Lies.
    pub lies: Vec<FalseOpen>,
    /// How long each truly safe time stayed shut before it opened, the start aside.
    pub needless: Vec<Duration>,
    spell: Option<Duration>,
    lying: bool,
    opened_once: bool,
    last: Duration,
}

impl Oracle {
    /// An oracle that has seen nothing yet.
    pub fn new(standard: Standard) -> Self {
        Self {
            standard,
            ..Self::default()
        }
    }

    /// A process was killed, and its connections with the gate were closed.
    pub fn killed(&mut self, node: NodeId, at: Duration) {
        self.killed.insert(node, at);
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
        let safe = truth.is_safe();
        self.past.push_back((now, truth));
        while self.past.get(1).is_some_and(|(at, _)| *at + OTHER <= now) {
            self.past.pop_front();
        }
        self.look_for_a_lie(now, step, said);
        self.note_needless(now, safe, said.open)
    }

    fn look_for_a_lie(&mut self, now: Duration, step: Duration, said: &Said) {
        let truth = self.against(now, said);
        let Some(truth) = truth else {
            self.lying = false;
            return;
        };
        if let (true, Some(lie)) = (self.lying, self.lies.last_mut()) {
            lie.lasted += step;
        } else {
            let (at, lasted) = (now, Duration::ZERO);
            self.lies.push(FalseOpen { at, truth, lasted });
        }
        self.lying = true;
    }

    /// What makes an open a lie now.
    fn against(&self, now: Duration, said: &Said) -> Option<String> {
        let open = |id: &NodeId| said.open || said.nodes.contains(id);
        if !said.open && said.nodes.is_empty() {
            return None;
        }
        let (_, is) = self.past.back()?;
        // What a kill did has to be seen sooner than anything else.
        let dead = self.killed.iter().find(|(_, at)| **at + KILL <= now);
        let allowed = if dead.is_some() { KILL } else { OTHER };
        let was = self.past.iter().rev().find(|(at, _)| *at + allowed <= now);
        match self.standard {
            Standard::EveryNodeUp => {
                if let Some((id, at)) = dead {
                    return Some(format!("{id} was killed at {at:?}"));
                }
                let (_, was) = was?;
                if let (Some(_), Some(why)) = (&was.general, &is.general) {
                    return Some(why.clone());
                }
            }
            Standard::Harm => {}
        }
        let (_, was) = was?;
        let mut broken = was.of_node.keys().filter(|id| open(id));
        let general = match self.standard {
            Standard::Harm => None,
            Standard::EveryNodeUp => is.general.as_ref(),
        };
        broken.find_map(|id| {
            let why = general.or_else(|| is.of_node.get(id))?;
            Some(format!("without {id}: {why}"))
        })
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
            (false, _) => self.spell = None,
        }
        safe && !open && self.opened_once
    }
}
