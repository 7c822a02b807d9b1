//! False opens once more, by the table of allowances as it was asked for: 100 ms for a kill, 2 s for
//! everything else, whatever the gate reads and whoever was killed; by the truth at t - D alone, what
//! nothing shows included.
//!
//! Beside the oracle's own count, not in its place: it says what the oracle's zeros leave out, and why
//! (docs/decisions.md).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::model::{Cluster, NodeId};

use super::ops::{Cuts, Op};
use super::oracle::{Cause, Said, Truth};
use super::stops::{harm, stalls};

/// Why an open that is false by the table as asked is none by the oracle's. The first of those that
/// fit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Apart {
    /// It is: the oracle counts it, too.
    Counted,
    /// Nothing shows what was unsafe, before it shows.
    Hidden,
    /// A kill that closed no connection with the gate: of a controller that is not asked itself, over
    /// a cut network, or while the gate's process stood still.
    SilentKill,
    /// In mode `jmx` a page may be older than that.
    Page,
    /// It was so at t - D, and is no more at t.
    Over,
}

impl Apart {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Counted,
        Self::Hidden,
        Self::SilentKill,
        Self::Page,
        Self::Over,
    ];

    /// Its name in a report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Hidden => "hidden_truth",
            Self::SilentKill => "silent_kill",
            Self::Page => "page",
            Self::Over => "over",
        }
    }
}

/// Times without a break in which one of them held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spells {
    /// How many.
    pub count: u64,
    /// How long all together.
    pub lasted: Duration,
}

/// What was true at a moment.
#[derive(Debug)]
struct Was {
    at: Duration,
    truth: Arc<Truth>,
    hidden: Arc<BTreeSet<NodeId>>,
}

impl Was {
    fn shows(&self, node: NodeId) -> bool {
        self.truth.of_node.contains_key(&node)
    }

    fn harms(&self, node: NodeId) -> bool {
        self.shows(node) || self.hidden.contains(&node)
    }

    /// The nodes that could not be stopped.
    fn harmed(&self) -> impl Iterator<Item = NodeId> {
        self.truth.of_node.keys().chain(&*self.hidden).copied()
    }
}

/// One moment of a trial.
#[derive(Debug)]
pub struct Moment<'a> {
    /// When, since the start.
    pub now: Duration,
    /// Since the moment before.
    pub step: Duration,
    /// Changes whenever the cluster does.
    pub version: u64,
    /// The truth as the oracle has it.
    pub truth: &'a Arc<Truth>,
    /// Where the rest of it is.
    pub cluster: &'a Cluster,
    /// Cuts between nodes that stand.
    pub cuts: &'a Cuts,
    /// What the gate says.
    pub said: &'a Said,
    /// By the oracle it is false.
    pub counted: bool,
}

/// Keeps the truth of the last two seconds.
#[derive(Debug)]
pub struct AsAsked {
    mode: Mode,
    past: VecDeque<Was>,
    /// When somebody was killed, and which nodes could no longer be stopped by that.
    kills: Vec<(Duration, BTreeSet<NodeId>)>,
    /// Somebody was killed since the last look.
    killed: bool,
    /// Brokers that ZooKeeper does not hear.
    unheard: BTreeSet<NodeId>,
    /// Of which version of the cluster, with which brokers late.
    hidden: (u64, BTreeSet<NodeId>, Arc<BTreeSet<NodeId>>),
    lying: Option<Apart>,
    spells: BTreeMap<Apart, Spells>,
}

impl AsAsked {
    /// Has seen nothing yet of a gate that reads so much.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            past: VecDeque::new(),
            kills: Vec::new(),
            killed: false,
            unheard: BTreeSet::new(),
            hidden: (u64::MAX, BTreeSet::new(), Arc::default()),
            lying: None,
            spells: BTreeMap::new(),
        }
    }

    /// This was done.
    pub fn notice(&mut self, op: &Op) {
        match op {
            Op::Kill(_) => self.killed = true,
            Op::ZooKeeperCut(id, true) => {
                self.unheard.insert(*id);
            }
            Op::ZooKeeperCut(id, false) => {
                self.unheard.remove(id);
            }
            _ => {}
        }
    }

    /// Judges one moment.
    pub fn look(&mut self, moment: &Moment<'_>) {
        let now = moment.now;
        let late = moment.cluster.late_brokers(Cause::Other.allowance());
        if self.hidden.0 != moment.version || self.hidden.1 != late {
            let hidden = hidden(moment, &self.unheard, &late);
            self.hidden = (moment.version, late, Arc::new(hidden));
        }
        let is = Was {
            at: now,
            truth: Arc::clone(moment.truth),
            hidden: Arc::clone(&self.hidden.2),
        };
        let other = Cause::Other.allowance();
        if std::mem::take(&mut self.killed) {
            let before = self.past.back();
            let safe = |node: &NodeId| before.is_none_or(|was| !was.harms(*node));
            self.kills.push((now, is.harmed().filter(safe).collect()));
        }
        self.kills.retain(|(at, _)| *at + other >= now);
        self.past.push_back(is);
        while self.past.get(1).is_some_and(|was| was.at + other <= now) {
            self.past.pop_front();
        }
        let found = if moment.counted {
            Some(Apart::Counted)
        } else {
            self.against(now, moment.said)
        };
        self.count(found, moment.step);
    }

    fn count(&mut self, found: Option<Apart>, step: Duration) {
        if let Some(apart) = found {
            let spells = self.spells.entry(apart).or_default();
            if self.lying == found {
                spells.lasted += step;
            } else {
                spells.count += 1;
            }
        }
        self.lying = found;
    }

    fn before(&self, now: Duration, allowed: Duration) -> Option<&Was> {
        let mut past = self.past.iter().rev();
        past.find(|was| was.at + allowed <= now)
    }

    /// What makes an open false that the oracle lets pass.
    fn against(&self, now: Duration, said: &Said) -> Option<Apart> {
        if !said.open && said.nodes.is_empty() {
            return None;
        }
        let kill = Cause::Kill.allowance();
        let soon = self.before(now, kill);
        let killed = self.kills.iter().filter(|(at, _)| *at + kill <= now);
        let killed = killed
            .flat_map(|(_, nodes)| nodes.iter().copied())
            .filter_map(|node| Some((node, soon?)));
        let late = self.before(now, Cause::Other.allowance());
        let others = late
            .into_iter()
            .flat_map(|was| was.harmed().map(move |node| (node, was)));
        let is = self.past.back()?;
        let open = |node: NodeId| said.open || said.nodes.contains(&node);
        killed
            .chain(others)
            .filter(|(node, was)| open(*node) && was.harms(*node))
            .map(|(node, was)| self.why_apart(node, was, is))
            .min()
    }

    fn why_apart(&self, node: NodeId, was: &Was, is: &Was) -> Apart {
        if !is.harms(node) {
            Apart::Over
        } else if !was.shows(node) || !is.shows(node) {
            Apart::Hidden
        } else {
            match self.mode {
                Mode::Jmx => Apart::Page,
                // What shows for two seconds the oracle counts by itself.
                Mode::KafkaJmx | Mode::Kafka => Apart::SilentKill,
            }
        }
    }

    /// What came of it.
    pub fn spells(self) -> BTreeMap<Apart, Spells> {
        self.spells
    }
}

/// Nodes that cannot be stopped for something that the oracle's truth leaves out until it shows: nodes
/// that do not hear the controller or ZooKeeper, voters that do not reach each other, a controller on
/// ZooKeeper whose session has not ended yet, members of an ISR that do not reach who leads once the node
/// is stopped, brokers that publish the metadata late.
fn hidden(
    moment: &Moment<'_>,
    unheard: &BTreeSet<NodeId>,
    late: &BTreeSet<NodeId>,
) -> BTreeSet<NodeId> {
    let Moment {
        truth,
        cluster,
        cuts,
        ..
    } = moment;
    let active = cluster.active_controller();
    let in_office_only = cluster.spec().zookeeper && active.is_none();
    if cuts.is_empty() && unheard.is_empty() && late.is_empty() && !in_office_only {
        return BTreeSet::new();
    }
    let nodes = || cluster.spec().nodes.iter().map(|node| node.id);
    let new = nodes().filter(|id| !truth.of_node.contains_key(id));
    let Some(active) = active else {
        return new.collect();
    };
    let deaf = nodes().filter(|id| cuts.contains(&(active.min(*id), active.max(*id))));
    let mut gone: BTreeSet<_> = truth.down.union(unheard).copied().collect();
    gone.extend(deaf);
    gone.extend(late);
    let voters = cluster.spec().nodes.iter();
    let voters = voters.filter(|node| node.roles.controller).count();
    new.filter(|id| {
        let alone = BTreeSet::from([*id]);
        harm(cluster, &gone, &alone).is_some()
            || stalls(cluster, &gone, &alone)
            || (voters > 2 && !cluster.quorum_without(&alone))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use upgrade_gate::model::{Release, Spec, TopicSpec};

    use super::super::oracle::{Oracle, Standard};
    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    /// Looks every 50 ms from `from` to `to` (milliseconds), at an open gate.
    struct Watched {
        judge: AsAsked,
        cluster: Cluster,
        cuts: Cuts,
    }

    impl Watched {
        fn new(mode: Mode) -> Self {
            let topic = TopicSpec::new("orders", 1, 1);
            Self::of(mode, Spec::kraft(3, 1, Release::V4_1).topics(vec![topic]))
        }

        /// Brokers 1 and 2 of three are cut from each other, after 30 s; so many records per second go into
        /// each partition.
        fn cut(rate: u64) -> Self {
            let topic = TopicSpec::new("orders", 3, 3).rate(rate).min_isr(2);
            let spec = Spec::kraft(3, 3, Release::V4_1).topics(vec![topic]);
            let mut watched = Self::of(Mode::KafkaJmx, spec);
            watched.cluster.advance(Duration::from_secs(30));
            watched.cluster.cut(1, 2).unwrap();
            watched.cuts.insert((1, 2));
            watched
        }

        fn of(mode: Mode, spec: Spec) -> Self {
            Self {
                judge: AsAsked::new(mode),
                cluster: Cluster::new(spec).unwrap(),
                cuts: Cuts::new(),
            }
        }

        fn look(&mut self, from: u64, to: u64, truth: &Truth, open: bool) {
            let nodes = Vec::new();
            self.hear(from, to, truth, &Said { open, nodes });
        }

        fn hear(&mut self, from: u64, to: u64, truth: &Truth, said: &Said) {
            let truth = Arc::new(truth.clone());
            for millis in (from..to).step_by(50) {
                self.judge.look(&Moment {
                    now: Duration::from_millis(millis),
                    step: STEP,
                    version: millis,
                    truth: &truth,
                    cluster: &self.cluster,
                    cuts: &self.cuts,
                    said,
                    counted: false,
                });
            }
        }

        fn truth(&self) -> Truth {
            Truth::of(&self.cluster, &self.cuts, Mode::KafkaJmx, &[])
        }

        /// Whether it counts as needless to be shut, for a gate that was open before the cut.
        fn is_needless(&self) -> bool {
            let mut oracle = Oracle::new(Standard::EveryNodeUp, Mode::KafkaJmx);
            let mut judge = |seconds, truth, open| {
                let nodes = Vec::new();
                let (now, said) = (Duration::from_secs(seconds), Said { open, nodes });
                oracle.judge(now, Arc::new(truth), &self.cluster, &said)
            };
            judge(29, Truth::default(), true);
            judge(31, self.truth(), false)
        }

        fn spells(self) -> Vec<(Apart, u64, Duration)> {
            let spells = self.judge.spells().into_iter();
            spells
                .map(|(apart, it)| (apart, it.count, it.lasted))
                .collect()
        }
    }

    fn unsafe_truth() -> Truth {
        Truth {
            of_node: BTreeMap::from([(1, String::from("harm"))]),
            ..Truth::default()
        }
    }

    #[test]
    fn a_kill_has_100_ms_whoever_was_killed() {
        let mut watched = Watched::new(Mode::KafkaJmx);
        watched.look(0, 3_000, &Truth::default(), true);
        watched.judge.notice(&Op::Kill(3));
        // Killed at 3.0 s: false from 3.1 s on, 400 ms long.
        watched.look(3_000, 3_550, &unsafe_truth(), true);
        watched.look(3_550, 4_000, &unsafe_truth(), false);
        let expected = (Apart::SilentKill, 1, Duration::from_millis(400));
        assert_eq!(watched.spells(), [expected]);
    }

    #[test]
    fn everything_else_has_2_s_in_mode_jmx_as_well() {
        let mut watched = Watched::new(Mode::Jmx);
        watched.look(0, 3_000, &Truth::default(), true);
        watched.look(3_000, 5_000, &unsafe_truth(), true);
        assert!(watched.judge.spells.is_empty());
        watched.look(5_000, 6_000, &unsafe_truth(), true);
        let expected = (Apart::Page, 1, Duration::from_millis(950));
        assert_eq!(watched.spells(), [expected]);
    }

    #[test]
    fn what_was_so_two_seconds_ago_counts_though_it_is_over() {
        let mut watched = Watched::new(Mode::KafkaJmx);
        watched.look(0, 3_000, &Truth::default(), true);
        watched.look(3_000, 3_500, &unsafe_truth(), true);
        // From 5.0 s to 5.45 s it was so two seconds ago.
        watched.look(3_500, 8_000, &Truth::default(), true);
        let expected = (Apart::Over, 1, Duration::from_millis(450));
        assert_eq!(watched.spells(), [expected]);
    }

    #[test]
    fn voters_that_do_not_reach_each_other_are_a_hidden_truth() {
        let mut watched = Watched::new(Mode::KafkaJmx);
        watched.cluster.advance(Duration::from_secs(30));
        let active = watched.cluster.active_controller().unwrap();
        let nodes = watched.cluster.spec().nodes.clone().into_iter();
        let voters = nodes.filter(|node| node.roles.controller && node.id != active);
        let others: Vec<NodeId> = voters.map(|node| node.id).collect();
        watched.look(0, 3_000, &Truth::default(), true);
        watched.cluster.cut(others[0], others[1]).unwrap();
        watched
            .cuts
            .insert((others[0].min(others[1]), others[0].max(others[1])));
        watched.look(3_000, 5_500, &Truth::default(), true);
        let expected = (Apart::Hidden, 1, Duration::from_millis(450));
        assert_eq!(watched.spells(), [expected]);
    }

    #[test]
    fn members_of_an_isr_that_do_not_reach_each_other_are_a_hidden_truth() {
        let mut watched = Watched::cut(0);
        // All in sync, nobody writes, everybody hears the controller: this shows nowhere.
        let truth = watched.truth();
        assert_eq!(truth, Truth::default());
        let open_for = |nodes: &[NodeId]| Said {
            open: false,
            nodes: nodes.to_vec(),
        };
        watched.hear(0, 5_000, &truth, &open_for(&[1, 2, 101]));
        assert!(watched.judge.spells.is_empty(), "3 and one of them do");
        // Without 3 there are 1 and 2, and one of them copies nothing; for two seconds it has been so.
        watched.hear(5_000, 5_500, &truth, &open_for(&[3]));
        let expected = (Apart::Hidden, 1, Duration::from_millis(450));
        assert_eq!(watched.spells(), [expected]);
    }

    #[test]
    fn who_is_shut_while_writes_wait_for_a_follower_that_is_cut_off_is_right() {
        assert!(Watched::cut(0).is_needless(), "nobody waits for anything");
        let mut busy = Watched::cut(100);
        assert!(busy.truth().is_safe(), "no open counts before it shows");
        assert!(!busy.is_needless());
        busy.cluster.mend(1, 2).unwrap();
        busy.cuts.clear();
        assert!(busy.is_needless());
    }

    #[test]
    fn what_the_oracle_counts_is_counted() {
        let mut watched = Watched::new(Mode::Kafka);
        let (truth, said) = (Arc::new(Truth::default()), Said::default());
        for millis in [50, 100, 150] {
            watched.judge.look(&Moment {
                now: Duration::from_millis(millis),
                step: STEP,
                version: millis,
                truth: &truth,
                cluster: &watched.cluster,
                cuts: &watched.cuts,
                said: &said,
                counted: millis != 100,
            });
        }
        assert_eq!(watched.spells(), [(Apart::Counted, 2, Duration::ZERO)]);
    }
}
