//! Knows the truth at each instant, and says whether an `open` was a lie.
//!
//! A verdict at t is judged on the true state at t - D, with D the time that the gate is allowed
//! to notice ([`ALLOWANCES`]): 100 ms for a killed process, whose connections close; 2 s for everything else. What
//! was unsafe then and is safe at t (a process that was frozen and goes on) is no lie: nobody who
//! acts on that open does harm.
//!
//! Rules in use today are held to harm alone ([`Standard::Harm`]); our gate also to what it promises
//! beyond that: never open while an expected node is down ([`Standard::EveryNodeUp`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::gate::lease::Action;
use upgrade_gate::model::{Cluster, Image, Link, Listener, NodeId};

pub use super::stops::Stop;
use super::stops::{harm, of_each, unled};

/// Why a truth may be new to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A process was killed: its connections close.
    Kill,
    /// The same of a controller that is not asked itself: none closes.
    KillOfRemote,
    /// A process stands still.
    Freeze,
    /// A network is cut.
    Cut,
    /// A process ends as it was asked to.
    ControlledStop,
    /// Everything else.
    Other,
    /// Anything in mode `jmx`, which sees nothing but pages: so old a page may be.
    InModeJmx,
}

impl Cause {
    /// Its name in a report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillOfRemote => "kill of a controller that is not asked itself",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
            Self::ControlledStop => "controlled stop",
            Self::Other => "everything else",
            Self::InModeJmx => "anything in mode jmx",
        }
    }
}

/// D, in milliseconds: what each may take to be noticed. The oracle judges by this table; the
/// proofs on real Kafka allow the same. Nothing here is for tuning.
pub const ALLOWANCES: [(Cause, u64); 7] = [
    (Cause::Kill, 100),
    (Cause::KillOfRemote, 2_000),
    (Cause::Freeze, 2_000),
    (Cause::Cut, 2_000),
    (Cause::ControlledStop, 2_000),
    (Cause::Other, 2_000),
    (Cause::InModeJmx, 20_000),
];

/// Without ZooKeeper nothing that a node says changes, but pages, which are read every 5 s, and that it
/// owes an answer about topics: asked for 5 s after the last one, and missed after 5 s. Pages that are
/// late or old leave the second sign alone. D comes on top.
pub const ZOOKEEPER_SHOWS: Duration = Duration::from_secs(10);

impl Cause {
    /// D for this.
    pub fn allowance(self) -> Duration {
        allowed(&[self])
    }
}

/// What these causes may take: the longest of them.
fn allowed(causes: &[Cause]) -> Duration {
    let rows = ALLOWANCES.iter();
    let own = rows.filter(|(cause, _)| causes.contains(cause));
    let longest = own.map(|(_, millis)| *millis).max();
    Duration::from_millis(longest.expect("a row for every cause"))
}

/// What a gate that reads so much may take for a kill, and for everything else.
pub(super) fn allowances(mode: Mode) -> (Duration, Duration) {
    match mode {
        Mode::KafkaJmx | Mode::Kafka => (
            Cause::Kill.allowance(),
            allowed(&[
                Cause::KillOfRemote,
                Cause::Freeze,
                Cause::Cut,
                Cause::ControlledStop,
                Cause::Other,
            ]),
        ),
        Mode::Jmx => {
            let page = Cause::InModeJmx.allowance();
            (page, page)
        }
    }
}

/// A broker whose own copy of the metadata is further behind than this cannot take anything over: made a
/// leader, it knows that so much later. From here on it shows for certain: an idle record may be half a
/// second away, the quorum is asked every half second, and who is 1.25 s behind is well
/// (`checks::metadata`).
pub(super) const LATE: Duration = Duration::from_millis(2_500);

/// The brokers of which that is true and shows. Pages tell it only from ten seconds on, and on ZooKeeper
/// nobody does.
pub(super) fn late(cluster: &Cluster, mode: Mode) -> BTreeSet<NodeId> {
    if mode.kafka() {
        cluster.late_brokers(LATE)
    } else {
        BTreeSet::new()
    }
}

/// The true state of one moment, as far as the next step is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Nodes that are down: they speak against stopping anything, harm or not.
    pub down: BTreeSet<NodeId>,
    /// Brokers that the controllers have fenced.
    pub fenced: BTreeSet<NodeId>,
    /// Nodes that the active controller does not hear, where that shows.
    pub deaf: BTreeSet<NodeId>,
    /// Brokers whose own copy of the metadata is late: it grows without anything happening.
    pub late: BTreeSet<NodeId>,
    /// What stopping a node would break.
    pub of_node: BTreeMap<NodeId, String>,
    /// The same of stops that somebody has in mind: of several nodes, or for a repair.
    pub of_stop: BTreeMap<Stop, String>,
    /// Somebody writes and is not answered, since a follower in the ISR does not reach its leader. Who is
    /// shut then is right to be; an open counts once it is of a node.
    pub stalls: bool,
}

impl Truth {
    /// What speaks against a stop.
    pub fn against(&self, stop: &Stop) -> Option<&String> {
        match (stop.action, stop.nodes.first(), stop.nodes.len()) {
            (Action::Restart, Some(node), 1) => self.of_node.get(node),
            (Action::Restart | Action::Repair, ..) => self.of_stop.get(stop),
        }
    }

    /// Whether any node may be stopped.
    pub fn is_safe(&self) -> bool {
        self.down.is_empty() && self.of_node.is_empty()
    }

    /// Looks at the model itself, for a gate that reads so much. `cuts` are the cuts between nodes
    /// that stand.
    ///
    /// On KRaft a node that does not hear the active controller is useless at once, and it shows
    /// in the quorum. On ZooKeeper a broker keeps its session while it does not hear the
    /// controller, and nothing shows before followers fall out of ISRs; it counts from then on.
    /// The same goes for brokers that ZooKeeper does not hear: they count once it says so. That
    /// ZooKeeper itself is gone shows [`ZOOKEEPER_SHOWS`] later.
    /// In mode `jmx` as well: no page tells how far voters are, so that mode promises nothing
    /// about voters that run and are cut off.
    ///
    /// A broker that publishes the metadata late counts as gone, in modes that read the protocol.
    pub fn of(
        cluster: &Cluster,
        cuts: &BTreeSet<(NodeId, NodeId)>,
        mode: Mode,
        stops: &[Stop],
    ) -> Self {
        let spec = cluster.spec();
        let shows = mode.kafka() && !spec.zookeeper;
        let nodes = || spec.nodes.iter();
        let late = late(cluster, mode);
        let brokers = cluster.committed_image().brokers.iter();
        let fenced = brokers.filter(|(_, broker)| broker.fenced);
        let fenced: BTreeSet<_> = fenced.map(|(id, _)| *id).collect();
        // A broker's listener answers before the broker is back in service.
        let mut down = cluster.not_serving();
        down.extend(
            nodes()
                .filter(|node| node.roles.controller)
                .map(|node| node.id)
                .filter(|id| cluster.link(*id, Listener::Controller) != Link::Accepts),
        );
        // Its vote is that of a directory which nobody has any more (KIP-853).
        down.extend(cluster.without_vote());
        // Nobody but itself knows that a controller on ZooKeeper has lost its connection there,
        // until the session ends.
        let in_office = cluster.controller_in_office();
        let in_office = in_office.filter(|id| spec.zookeeper && !down.contains(id));
        let stalls = !cuts.is_empty() && cluster.stalls();
        let lost = cluster.zookeeper_down_for();
        let in_office = in_office.filter(|_| lost.is_none_or(|since| since < ZOOKEEPER_SHOWS));
        let Some(active) = cluster.active_controller().or(in_office) else {
            let why = "no controller can commit";
            let leaderless = |stop: &Stop| unled(cluster, &down, stop);
            return Self {
                of_node: nodes().map(|node| (node.id, why.into())).collect(),
                of_stop: of_each(stops, leaderless),
                down,
                fenced,
                deaf: BTreeSet::new(),
                stalls,
                late,
            };
        };
        let deaf = nodes().map(|node| node.id);
        let deaf: BTreeSet<_> = deaf
            .filter(|id| shows && cuts.contains(&(active.min(*id), active.max(*id))))
            .collect();
        let gone = down.iter().chain(&deaf).chain(&late);
        let gone: BTreeSet<_> = gone.copied().collect();
        if gone.is_empty() && all_in_sync(cluster.committed_image()) && cluster.disks_online() {
            // Everything is there: what a stop does now it always does.
            return Self {
                of_stop: of_each(stops, |stop| stop.breaks(cluster, &gone)),
                stalls,
                fenced,
                ..Self::default()
            };
        }
        let alone = |node| harm(cluster, &gone, &BTreeSet::from([node]));
        let of_node = nodes().filter_map(|node| Some((node.id, alone(node.id)?)));
        Self {
            of_node: of_node.collect(),
            of_stop: of_each(stops, |stop| stop.breaks(cluster, &gone)),
            down,
            fenced,
            deaf,
            stalls,
            late,
        }
    }
}

/// Whether two sets of nodes share nothing: no partition, moves included, and no voter among them.
pub fn are_apart(cluster: &Cluster, one: &BTreeSet<NodeId>, other: &BTreeSet<NodeId>) -> bool {
    let mut nodes = cluster.spec().nodes.iter();
    let voter = nodes
        .any(|node| node.roles.controller && (one.contains(&node.id) || other.contains(&node.id)));
    let holds = |nodes: &BTreeSet<NodeId>, replicas: &[NodeId]| {
        replicas.iter().any(|replica| nodes.contains(replica))
    };
    let mut partitions = cluster.committed_image().partitions();
    let shared = partitions.any(|(.., p)| holds(one, &p.replicas) && holds(other, &p.replicas));
    !voter && !shared
}

/// Whether every partition has a leader and a full ISR.
pub fn all_in_sync(image: &Image) -> bool {
    let mut partitions = image.partitions();
    partitions.all(|(_, _, _, p)| p.leader.is_some() && p.isr.len() >= p.replicas.len())
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
        let (dead, allowed) = self.allowed_now(now);
        let was = self.before(now, allowed);
        match self.standard {
            Standard::EveryNodeUp => {
                if let Some((id, at)) = dead {
                    return Some(format!("{id} was killed at {at:?}"));
                }
                // A node that is down at both moments.
                let down: BTreeSet<_> = was?.down.intersection(&is.down).collect();
                if !down.is_empty() && self.unbroken(now, allowed, |truth| !truth.down.is_empty()) {
                    return Some(format!("{down:?} down"));
                }
            }
            Standard::Harm => {}
        }
        let mut broken = was?.of_node.keys().filter(|id| open(id));
        broken.find_map(|id| {
            let why = is.of_node.get(id)?;
            let harms = |truth: &Truth| truth.of_node.contains_key(id);
            let lies = self.unbroken(now, allowed, harms);
            lies.then(|| format!("without {id}: {why}"))
        })
    }

    /// Whether it was so all the time since, where that is long: in 20 s one accident can be over
    /// and the next one begin.
    fn unbroken(&self, now: Duration, allowed: Duration, so: impl Fn(&Truth) -> bool) -> bool {
        let since = now.saturating_sub(allowed);
        let recent = self.past.iter().filter(|(at, _)| *at >= since);
        allowed < self::allowed(&[Cause::InModeJmx])
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

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
