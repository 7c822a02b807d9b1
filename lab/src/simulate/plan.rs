//! A whole trial before it begins: the cluster, the gate's configuration, what happens when, and
//! who rolls. Everything follows from the seed.

mod leases;
mod mistakes;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{NodeId, Release, Spec};

use super::drill::{Drill, Episode};
use super::layout;
use super::operator::Operator;
use super::ops::{Op, Random};
use super::setup::Setup;

/// What a trial is about.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Accidents and people who do not ask the gate.
    #[default]
    Accidents,
    /// A roll that takes the next node whenever the gate says go; in half of them with an
    /// accident.
    Book,
    /// Two such rolls at once: until there are leases, nothing keeps them apart.
    TwoBooks,
    /// Two rolls by hand that know nothing of each other.
    TwoByHand,
    /// The gate is restarted in the middle of a roll or of accidents.
    Restarted,
    /// Its configuration is changed there.
    Reloaded,
    /// Its configuration is wrong.
    Misconfigured,
    /// Nodes throttle it, or need long for their pages.
    Throttled,
    /// The gate is far away: every answer and every page takes longer, from every node.
    Distant,
    /// Two rolls by leases at once, whose owners and whose gate die, on a store of many moods.
    /// Only when asked for: it is judged by what owners were told.
    Leases,
}

impl Kind {
    /// Every kind and its share, in percent.
    pub const SHARES: [(Self, u64); 9] = [
        (Self::Accidents, 42),
        (Self::Book, 18),
        (Self::TwoBooks, 4),
        (Self::TwoByHand, 6),
        (Self::Restarted, 8),
        (Self::Reloaded, 7),
        (Self::Misconfigured, 8),
        (Self::Throttled, 7),
        // Some of those of accidents become such ([`DISTANT`]).
        (Self::Distant, 0),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// Shares of the modes, in percent.
const MODES: [(Mode, u64); 3] = [(Mode::KafkaJmx, 80), (Mode::Kafka, 15), (Mode::Jmx, 5)];
/// Of the trials of accidents, in percent, those whose gate is far away.
const DISTANT: u64 = 8;
/// Of the other ones, those in which somebody sets the controllers' clocks back.
const CLOCKS_SET_BACK: u64 = 8;
/// The way to the nodes and back, in milliseconds. Of the 2 s in which a node that is cut off from the
/// quorum has to be noticed more is not left.
const WAY: (u64, u64) = (20, 100);
/// What came later is drawn apart, so that all other trials stay what they were.
const APART: u64 = 0xD157_A9CE;
/// A roll gets at most so long per node.
const PER_NODE: Duration = Duration::from_secs(70);

/// Trials made for gates that are broken in a way that only few show: with this kind, this mode and
/// these accidents, whatever the seed says. All but [`Episode::Away`] are among what a sound gate
/// meets in every run, there as one trial in many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slant {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only this mode.
    pub mode: Option<Mode>,
    /// Only these episodes, if there are any.
    pub episodes: &'static [Episode],
    /// Only topics into which nobody writes, with the shorter of the lag times.
    pub idle: bool,
    /// No cluster on ZooKeeper.
    pub kraft: bool,
    /// What goes wrong goes wrong with the node of the highest id.
    pub last: bool,
}

/// A whole trial.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is about.
    pub kind: Kind,
    /// The cluster.
    pub spec: Spec,
    /// The gate's configuration at the start.
    pub setup: Setup,
    /// What happens when, in order.
    pub ops: Vec<(Duration, Op)>,
    /// Who asks the gate and goes.
    pub operators: Vec<Operator>,
    /// What the operations were made for.
    pub episodes: Vec<Episode>,
    /// What the store answers follows from it; `None`: it always writes.
    pub moods: Option<u64>,
    /// When it is over.
    pub end: Duration,
}

impl Plan {
    /// Everything follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self::slanted(seed, Slant::default())
    }

    /// Everything follows from the seed and the slant.
    pub fn slanted(seed: u64, slant: Slant) -> Self {
        let mut random = Random(seed.wrapping_mul(0x5851_F42D_4C95_7F2D) ^ 0x1405);
        let kind = random.weighted(&Kind::SHARES);
        let mut apart = Random(seed ^ APART);
        let distant = apart.between(1, 100) <= DISTANT && kind == Kind::Accidents;
        let kind = if distant { Kind::Distant } else { kind };
        let kind = slant.kind.unwrap_or(kind);
        let mode = random.weighted(&MODES);
        let mode = slant.mode.unwrap_or(mode);
        let spec = layout::spec(seed, (kind, mode), slant, &mut random);
        let slots = (kind == Kind::Leases && seed % 4 == 3).then_some(2);
        let spec = if slots.is_some() {
            layout::apart(spec)
        } else {
            spec
        };
        let configured = random.between(0, 1) == 0;
        let jmx = mode == Mode::Jmx;
        let mut setup = Setup::new(mode, configured || jmx);
        // Dedicated controllers before 3.7 cannot say who they are: everybody has to do it so there.
        let nameless = layout::has_nameless_controllers(&spec);
        setup.via_brokers = mode.kafka() && (seed % 8 == 5 || nameless);
        setup.slots = slots;
        let mut maker = Maker {
            // Without log ends the window is 45 s and more.
            slow: Duration::from_secs(if jmx { 36 } else { 0 }),
            // Without the protocol nobody tells who is there and what for.
            setup,
            drill: Drill::new(&spec),
            operators: Vec::new(),
            end: Duration::ZERO,
            slant,
            spec,
            random,
            apart,
        };
        if slant.last {
            maker.drill.favourite = maker.drill.all.iter().max().copied();
        }
        maker.make(kind);
        if kind == Kind::Accidents && slant.kind.is_none() {
            maker.clocks();
            maker.one_more_disk();
        }
        maker.drill.ops.sort_by_key(|(at, _)| *at);
        let end = maker.over();
        Self {
            kind,
            spec: maker.spec,
            setup: maker.setup,
            ops: maker.drill.ops,
            operators: maker.operators,
            episodes: maker.drill.made,
            moods: (kind == Kind::Leases).then_some(seed),
            end,
        }
    }
}

struct Maker {
    setup: Setup,
    drill: Drill,
    operators: Vec<Operator>,
    end: Duration,
    slant: Slant,
    spec: Spec,
    random: Random,
    /// For what must not change what else is drawn.
    apart: Random,
    /// How much longer than usual it takes to open.
    slow: Duration,
}

impl Maker {
    fn make(&mut self, kind: Kind) {
        match kind {
            Kind::Accidents => self.accidents((2, 3)),
            Kind::Distant => {
                self.far_away();
                self.accidents((2, 3));
            }
            Kind::Book => {
                self.roll();
                if self.random.between(0, 1) == 0 {
                    self.accident_within();
                }
            }
            Kind::TwoBooks => {
                let (one, other) = self.halves();
                self.book(one);
                self.book(other);
            }
            Kind::Leases => self.two_by_leases(),
            Kind::TwoByHand => {
                let (one, other) = self.halves();
                for list in [one, other] {
                    let at = self.random.millis(14_000, 30_000);
                    let waits = self.random.pick(&[(2_000, 15_000), (20_000, 45_000)]);
                    let over = self.drill.by_hand(at, &list, waits, &mut self.random);
                    self.end = self.end.max(over);
                }
            }
            Kind::Restarted => {
                self.something();
                for _ in 0..self.random.between(1, 2) {
                    let at = self.somewhere();
                    let away = self.random.pick(&[0, 500, 3_000, 20_000]);
                    self.drill.add(at, Op::GateRestart(away));
                }
            }
            Kind::Reloaded => {
                self.something();
                let at = self.somewhere();
                if let Some(changed) = self.another_setup() {
                    self.drill.add(at, Op::Reload(Box::new(changed)));
                }
            }
            Kind::Misconfigured => {
                // In mode jmx pages are believed, and whoever is not in the list is nobody: all
                // that is to be noticed there is one page that stands for two nodes.
                let sound = self.setup.clone();
                self.setup = if sound.mode == Mode::Jmx {
                    self.one_page_twice()
                } else {
                    self.mistake()
                };
                self.something();
                if self.random.between(0, 1) == 0 {
                    let at = self.somewhere();
                    self.drill.add(at, Op::Reload(Box::new(sound)));
                }
            }
            Kind::Throttled => {
                let from = self.random.millis(1_000, 20_000);
                let until = from + self.random.millis(20_000, 120_000);
                for id in self.drill.all.clone() {
                    let throttle = self.random.pick(&[0, 0, 100, 700, 2_500]);
                    let page = self.random.pick(&[0, 0, 200, 1_500]);
                    for (at, factor) in [(from, 1), (until, 0)] {
                        self.drill.add(at, Op::Throttle(id, throttle * factor));
                        self.drill.add(at, Op::PageTime(id, page * factor));
                    }
                }
                self.something();
            }
        }
    }

    /// When it is over. A broker that was killed is fenced only with the end of its session, and from
    /// 4.0 on back only then (KAFKA-17793): where sessions are longer than usual each stop may take so
    /// much longer.
    fn over(&self) -> Duration {
        let rolls = self.operators.iter();
        let stops = rolls.map(|roll| roll.nodes.len()).max().unwrap_or(1);
        let stops = u32::try_from(stops).expect("few nodes");
        self.end + Duration::from_secs(5) + layout::longer_sessions(&self.spec) * stops
    }

    fn something(&mut self) {
        if self.random.between(0, 1) == 0 {
            self.roll();
        } else {
            self.accidents((1, 2));
        }
    }

    /// Every answer takes so much longer, from the beginning.
    fn far_away(&mut self) {
        let (near, far) = WAY;
        let way = self.apart.between(near, far);
        self.drill.way = way;
        let nodes: Vec<_> = self.spec.nodes.iter().map(|node| node.id).collect();
        for id in nodes {
            self.drill.add(Duration::ZERO, Op::Latency(id, way));
            self.drill.add(Duration::ZERO, Op::PageTime(id, way));
        }
    }

    /// Somebody sets the controllers' clocks back, sometimes, soon before something happens.
    fn clocks(&mut self) {
        let set = self.apart.between(1, 100) <= CLOCKS_SET_BACK;
        if !set || self.drill.zookeeper || self.drill.ops.is_empty() {
            return;
        }
        let times: Vec<_> = self.drill.ops.iter().map(|(at, _)| *at).collect();
        let at = self.apart.pick(&times);
        let at = at.saturating_sub(self.apart.millis(0, 2_000));
        let by = self.apart.pick(&[1_200, 2_500, 5_000, 15_000]);
        for id in self.drill.controllers.clone() {
            self.drill.add(at, Op::NodeClock(id, -by));
        }
    }

    /// Clusters on ZooKeeper are few, and fewer lose a disk: half of these do once everything else is over.
    fn one_more_disk(&mut self) {
        if !self.drill.zookeeper || self.apart.between(0, 1) == 0 {
            return;
        }
        let (drill, apart) = (&mut self.drill, &mut self.apart);
        let over = drill.episode(Episode::Disk, self.end, apart);
        self.end = over + self.slow + apart.millis(8_000, 40_000);
    }

    /// A moment in the middle of it.
    fn somewhere(&mut self) -> Duration {
        let end = u64::try_from(self.end.as_millis()).expect("a short trial");
        self.slow + self.random.millis(14_000, end.clamp(15_000, 120_000))
    }

    fn which(&mut self) -> Episode {
        match self.slant.episodes {
            [] => {
                let mut all = Episode::ALL.to_vec();
                all.retain(|what| self.drill.can(*what));
                self.random.pick(&all)
            }
            episodes => self.random.pick(episodes),
        }
    }

    fn accidents(&mut self, (few, many): (u64, u64)) {
        let mut at = self.slow + self.random.millis(16_000, 30_000);
        for _ in 0..self.random.between(few, many) {
            let episode = self.which();
            at = self.drill.episode(episode, at, &mut self.random);
            // Time to heal and open again, or not quite.
            at += self.slow + self.random.millis(8_000, 40_000);
        }
        self.end = self.end.max(at);
    }

    fn accident_within(&mut self) {
        let at = self.somewhere();
        let episode = self.which();
        self.drill.episode(episode, at, &mut self.random);
    }

    fn roll(&mut self) {
        let mut nodes = self.in_order();
        if self.random.between(0, 1) == 0 {
            // The rest has been done before.
            let skip = self.random.between(0, 2);
            nodes.drain(..usize::try_from(skip).expect("small"));
        }
        self.book(nodes);
    }

    /// Controllers first.
    fn in_order(&self) -> Vec<NodeId> {
        let mut nodes = self.drill.controllers.clone();
        let rest = self.drill.brokers.iter();
        let rest: Vec<_> = rest.filter(|id| !nodes.contains(id)).copied().collect();
        nodes.extend(rest);
        nodes
    }

    /// Every second node, and the others.
    fn halves(&self) -> (Vec<NodeId>, Vec<NodeId>) {
        let of = |part| {
            let nodes = self.in_order().into_iter().enumerate();
            let nodes = nodes.filter(|(index, _)| index % 2 == part);
            nodes.map(|(_, id)| id).collect()
        };
        (of(0), of(1))
    }

    fn book(&mut self, nodes: Vec<NodeId>) {
        self.drill.leaves = false;
        let newer = if self.spec.zookeeper {
            self.newer_than(&Release::ZOOKEEPER)
        } else {
            self.newer_than(&Release::ALL)
        };
        // In mode jmx a page counts for up to 20 s: who asks sooner after a stop is told of before.
        let jmx = self.setup.mode == Mode::Jmx;
        let pauses: &[u64] = if jmx { &[20_000] } else { &[0, 500, 3_000] };
        let begins = self.slow + self.random.millis(14_000, 24_000);
        let page = Duration::from_millis(self.spec.exporter.start_delay);
        let page = if self.setup.mode.jmx() {
            page
        } else {
            Duration::ZERO
        };
        let allowed = PER_NODE + self.slow + page;
        let allowed = allowed * u32::try_from(nodes.len()).expect("few nodes");
        self.end = self.end.max(begins + allowed);
        self.operators.push(Operator {
            nodes,
            begins: u64::try_from(begins.as_millis()).expect("a short trial"),
            every: self.random.pick(&[500, 2_000, 5_000]),
            by_node: self.random.between(0, 1) == 0,
            kills: self.random.between(0, 3) == 0,
            away: self.random.pick(&[1_000, 5_000, 20_000]),
            pause: self.random.pick(pauses),
            to: newer.filter(|_| self.random.between(0, 1) == 0),
            owner: None,
            ttl: 0,
            dies: None,
            hosts: Vec::new(),
            repairs: false,
            patience: None,
            forgets: false,
            lag: 0,
            leaves_early: false,
        });
    }

    fn newer_than(&mut self, releases: &[Release]) -> Option<String> {
        let now = self.spec.nodes.first().map(|node| node.release);
        let newer = releases.iter().filter(|release| Some(**release) > now);
        let newer: Vec<_> = newer.collect();
        (!newer.is_empty()).then(|| self.random.pick(&newer).to_string())
    }
}
