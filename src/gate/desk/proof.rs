//! Which nodes went, and which are proven back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::gone::seems_gone;
use super::told::starts;
use super::{Desk, Scene};
use crate::checks::layout::out_of_sync;
use crate::checks::nodes::leftovers;
use crate::evidence::ids::{NodeId, Version};
use crate::evidence::jmx::Metric;
use crate::evidence::snapshot::Snapshot;
use crate::gate::event::What;
use crate::gate::lease::{Action, End, Lease, LeaseId, Stage, StartTime};
use crate::time::{Human, Mono, Now};

/// Without any progress for so long (10 minutes, docs/reasons.md), a node that is out is worth a look.
const NO_PROGRESS: Duration = Duration::from_secs(600);

/// How far the nodes of a lease are on their way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gate) struct Measured {
    /// What is waited for.
    pub(in crate::gate) wait: Wait,
    /// How near they have ever come.
    nearest: Near,
    /// Since when they have not come nearer.
    pub(in crate::gate) unchanged_since: Mono,
    /// How long nodes of this cluster take from grant to proof; the median of the last ones.
    pub(in crate::gate) usual: Option<Duration>,
}

/// What the return of a lease's nodes waits for, the first thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gate) enum Wait {
    /// They have not gone yet.
    ToGo,
    /// These are down.
    Down(BTreeSet<NodeId>),
    /// This broker recovers its logs; so many are left.
    Recovering(NodeId, u64),
    /// This node's process runs and serves nobody yet.
    Starting(NodeId),
    /// The same, and the controllers may be refusing its registration until its session before has
    /// ended.
    Registration(NodeId),
    /// So many of their replicas are out of sync.
    OutOfSync(usize),
    /// Something else in the cluster is not well.
    Health,
    /// The healthy window: what is left of it.
    Window(Duration),
}

/// How near nodes are to being back, the nearest last. By what is left of a stage where it can be
/// counted: a node that dies in its start again and again comes no nearer, whatever it shows between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    ToGo,
    /// So many of them are down, and what the first one does.
    Out(Reverse<usize>, Step),
    /// Before replicas: nobody knows of them while no table is to be had.
    Health,
    OutOfSync(Reverse<usize>),
    Window,
}

/// How far a node's start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Down,
    Starting,
    Recovering(Reverse<u64>),
}

impl Wait {
    /// `down`: how many of the nodes are down.
    const fn near(&self, down: usize) -> Near {
        match self {
            Self::ToGo => Near::ToGo,
            Self::Down(_) => Near::Out(Reverse(down), Step::Down),
            Self::Starting(_) | Self::Registration(_) => Near::Out(Reverse(down), Step::Starting),
            Self::Recovering(_, left) => Near::Out(Reverse(down), Step::Recovering(Reverse(*left))),
            Self::Health => Near::Health,
            Self::OutOfSync(count) => Near::OutOfSync(Reverse(*count)),
            Self::Window(_) => Near::Window,
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wait {
            Wait::ToGo => f.write_str("still up"),
            Wait::Down(nodes) => {
                let ids: Vec<_> = nodes.iter().map(ToString::to_string).collect();
                write!(f, "down: {}", ids.join(", "))
            }
            Wait::Recovering(node, left) => {
                write!(f, "node {node} recovers its logs, {left} left")
            }
            Wait::Starting(node) => write!(f, "node {node} is starting"),
            Wait::Registration(node) => {
                write!(f, "node {node} runs and is not registered yet")
            }
            Wait::OutOfSync(count) => write!(f, "{count} of its replicas are out of sync"),
            Wait::Health => f.write_str("the cluster is not healthy"),
            Wait::Window(left) => write!(f, "settling, {} left", Human(*left)),
        }
    }
}

impl Desk {
    /// Notices which leased nodes have gone, and nodes that went without a lease.
    pub(super) fn watch_nodes(&mut self, scene: &Scene<'_, '_>) {
        self.mark_gone(scene);
        let mut covered: BTreeSet<NodeId> = BTreeSet::new();
        for lease in self.leases().values() {
            covered.extend(&lease.nodes);
        }
        let memory = &scene.seen.memory;
        let restarted = |node: &NodeId| memory.lives.get(node).and_then(|life| life.restarted);
        for node in &covered {
            if let Some(at) = restarted(node) {
                self.watch.restarts.insert(*node, at);
            }
        }
        let leftovers = leftovers(scene.snapshot);
        let mut went = BTreeSet::new();
        for node in scene.snapshot.expected.keys() {
            let known = memory.heard.contains(node) && !leftovers.contains(node);
            if covered.contains(node) || !known {
                self.watch.down.remove(node);
                continue;
            }
            if seems_gone(scene.snapshot, *node) {
                let since = *self.watch.down.entry(*node).or_insert(scene.now.mono);
                // A blip of the network is none.
                if scene.now.mono.since(since) >= scene.snapshot.policy.longest_blip {
                    went.insert(*node);
                }
            } else {
                self.watch.down.remove(node);
            }
            let last = restarted(node);
            if last > self.watch.restarts.get(node).copied() {
                went.insert(*node);
            }
        }
        for node in went {
            if let Some(at) = restarted(&node) {
                self.watch.restarts.insert(node, at);
            }
            self.watch.down.remove(&node);
            self.take_unannounced(scene, node);
        }
    }

    fn take_unannounced(&mut self, scene: &Scene<'_, '_>, node: NodeId) {
        let now = scene.now;
        let nodes = BTreeSet::from([node]);
        let id = self.keeper.edit(|doc| {
            doc.last_lease = LeaseId(doc.last_lease.0.saturating_add(1));
            let lease = Lease {
                id: doc.last_lease,
                token: doc.last_token,
                owner: None,
                starts: starts(scene, &nodes),
                gone: nodes.clone(),
                retired: BTreeSet::new(),
                took_over: false,
                nodes: nodes.clone(),
                action: Action::Restart,
                stage: Stage::Unannounced,
                granted_at: now.wall,
                stage_since: now.wall,
                expires_at: now.wall,
            };
            doc.leases.insert(lease.id, lease);
            doc.last_lease
        });
        self.watch.begun(id, now.mono);
        self.keeper
            .note(now.wall, What::Unannounced { lease: id, nodes });
    }

    /// A leased node has gone when its start time is another than at the grant; where no page
    /// tells start times, when it showed a sign that its process has ended. Nobody has gone because
    /// a gate that has just started has not heard of it.
    fn mark_gone(&mut self, scene: &Scene<'_, '_>) {
        let mut gone = Vec::new();
        for lease in self.keeper.wanted().leases.values() {
            let now = starts(scene, &lease.nodes);
            for node in lease.nodes.difference(&lease.gone) {
                let restarted = has_restarted(lease, &now, *node);
                if restarted.unwrap_or_else(|| seems_gone(scene.snapshot, *node)) {
                    gone.push((lease.id, *node));
                }
            }
        }
        for (id, node) in gone {
            self.keeper.edit(|doc| {
                if let Some(lease) = doc.leases.get_mut(&id) {
                    lease.gone.insert(node);
                }
            });
        }
    }

    /// Measures every lease's return, and ends those whose nodes are proven back.
    pub(super) fn prove(&mut self, scene: &Scene<'_, '_>) {
        let leases: Vec<Lease> = self.keeper.wanted().leases.values().cloned().collect();
        for lease in leases {
            let usual = usual(self.keeper.wanted().returns_of(&lease.nodes));
            let staged = self.watch.staged.get(&lease.id).copied();
            let waited = staged.map_or(Duration::ZERO, |at| scene.now.mono.since(at));
            let missing = missing(scene, &lease);
            let down = missing.len();
            match wait(scene, &lease, missing, waited) {
                Some(wait) => self.measure(scene.now, lease.id, (wait, down), usual),
                None if lease.stage.ends_by_proof() => self.end_proven(scene, &lease),
                None => {
                    // Back, and its owner has not said that it has finished: what comes now is new.
                    self.measured.remove(&lease.id);
                    self.measure(
                        scene.now,
                        lease.id,
                        (Wait::Window(Duration::ZERO), 0),
                        usual,
                    );
                }
            }
        }
    }

    fn measure(
        &mut self,
        now: Now,
        lease: LeaseId,
        (wait, down): (Wait, usize),
        usual: Option<Duration>,
    ) {
        let near = wait.near(down);
        let before = self.measured.get(&lease);
        // Going is the begin of the way back.
        let stays = |of: &Wait| *of == Wait::ToGo;
        let before =
            before.filter(|before| stays(&before.wait) == stays(&wait) && before.nearest >= near);
        let (nearest, unchanged_since) = before.map_or((near, now.mono), |before| {
            (before.nearest, before.unchanged_since)
        });
        self.measured.insert(
            lease,
            Measured {
                wait,
                nearest,
                unchanged_since,
                usual,
            },
        );
    }

    fn end_proven(&mut self, scene: &Scene<'_, '_>, lease: &Lease) {
        let now = scene.now;
        let gone = !lease.gone.is_empty();
        // The wall clock may have been set since; where another process granted it there is no other.
        let given = self.watch.given_at(lease.id);
        let took = given.map_or_else(
            || {
                let nanos = u64::try_from(now.wall.as_nanos() - lease.granted_at.as_nanos());
                Duration::from_nanos(nanos.unwrap_or(0))
            },
            |at| now.mono.since(at),
        );
        self.keeper.note(
            now.wall,
            What::ProvenBack {
                lease: lease.id,
                nodes: lease.nodes.clone(),
                gone,
                seconds: took.as_secs(),
            },
        );
        if gone && lease.stage != Stage::Unannounced {
            self.keeper.edit(|doc| doc.learn_return(&lease.nodes, took));
        }
        let how = if gone {
            End::ProvenBack
        } else {
            End::NeverGone
        };
        self.finish(lease, how, now);
    }
}

impl Measured {
    /// For how long they have come no nearer, where that is worth a look.
    pub(in crate::gate) fn stuck(&self, now: Mono) -> Option<Duration> {
        let moving = matches!(self.wait, Wait::ToGo | Wait::Window(_));
        let unchanged = now.since(self.unchanged_since);
        (!moving && unchanged >= NO_PROGRESS).then_some(unchanged)
    }
}

/// What the return of a lease's nodes still waits for; `None`: they are proven back, or proven
/// never to have gone.
///
/// Whoever says "finished" before its node has gone at all must not be believed at once: a stop
/// that was ordered may still come. So where start times do not show that every node went, a whole
/// window has to pass since then: a connection that was lost for a moment looks like a node that
/// went. A restart that nobody announced has nobody who could still order anything.
fn wait(
    scene: &Scene<'_, '_>,
    lease: &Lease,
    missing: BTreeSet<NodeId>,
    waited: Duration,
) -> Option<Wait> {
    let snapshot = scene.snapshot;
    if !missing.is_empty() {
        let starting = missing.iter().find_map(|node| starting(snapshot, *node));
        return Some(starting.unwrap_or(Wait::Down(missing)));
    }
    let all_gone = lease.nodes.is_subset(&lease.gone);
    if !all_gone && !lease.stage.ends_by_proof() {
        return Some(Wait::ToGo);
    }
    if let Some(wait) = lease
        .nodes
        .iter()
        .find_map(|node| recovering(snapshot, *node))
    {
        return Some(wait);
    }
    let out_of_sync = out_of_sync(snapshot, &lease.nodes);
    if out_of_sync > 0 {
        return Some(Wait::OutOfSync(out_of_sync));
    }
    if !scene.healthy {
        return Some(Wait::Health);
    }
    let required = scene.window.required;
    if !scene.window.settled {
        let held = scene.window.healthy_for.unwrap_or_default();
        return Some(Wait::Window(whole_seconds(required.saturating_sub(held))));
    }
    let went = lease.stage == Stage::Unannounced || have_restarted(scene, lease);
    if !went && waited < required {
        return Some(Wait::Window(whole_seconds(required.saturating_sub(waited))));
    }
    None
}

/// Those of its nodes that are down.
fn missing(scene: &Scene<'_, '_>, lease: &Lease) -> BTreeSet<NodeId> {
    let snapshot = scene.snapshot;
    let nodes = lease.nodes.iter().copied();
    nodes
        .filter(|node| snapshot.down.contains(node) || !snapshot.expected.contains_key(node))
        .collect()
}

/// Whether every node of a lease shows another start time than at the grant.
fn have_restarted(scene: &Scene<'_, '_>, lease: &Lease) -> bool {
    let now = starts(scene, &lease.nodes);
    lease
        .nodes
        .iter()
        .all(|node| has_restarted(lease, &now, *node) == Some(true))
}

/// Whether a node shows another start time than at the grant; `None` where either is not known.
fn has_restarted(lease: &Lease, now: &BTreeMap<NodeId, StartTime>, node: NodeId) -> Option<bool> {
    let (before, now) = (lease.starts.get(&node)?, now.get(&node)?);
    Some(!before.is_same_process(*now))
}

/// What a node that counts as down is doing, when its page tells.
fn starting(snapshot: &Snapshot<'_>, node: NodeId) -> Option<Wait> {
    recovering(snapshot, node).or_else(|| {
        let runs = snapshot.jmx(node).is_ok() && snapshot.link(node).is_err();
        let state = gauge(snapshot, node, Metric::BrokerState)?;
        (runs && state == STARTING).then(|| {
            if has_strict_registration(snapshot) {
                Wait::Registration(node)
            } else {
                Wait::Starting(node)
            }
        })
    })
}

/// `BrokerState.STARTING`: logs, metadata and the registration all come in it.
const STARTING: u64 = 1;

/// Whether the cluster refuses a broker whose last heartbeat is younger than the session timeout
/// (`DUPLICATE_BROKER_REGISTRATION`): 4.0 and later, measured (reference `kafka-lab.md` 5).
fn has_strict_registration(snapshot: &Snapshot<'_>) -> bool {
    const FIRST: Version = Version { major: 4, minor: 0 };
    let mut links = snapshot.links().filter_map(|(_, read)| read.ok());
    links.any(|read| {
        let release = read.facts.release.floor();
        release.is_some_and(|release| release >= FIRST)
    })
}

fn recovering(snapshot: &Snapshot<'_>, node: NodeId) -> Option<Wait> {
    let logs = gauge(snapshot, node, Metric::RemainingLogsToRecover)?;
    (logs > 0).then_some(Wait::Recovering(node, logs))
}

fn gauge(snapshot: &Snapshot<'_>, node: NodeId, metric: Metric) -> Option<u64> {
    let page = snapshot.jmx(node).ok()?;
    crate::checks::gauges::count(page.facts, metric)
        .value()
        .copied()
}

fn usual(returns: &[Duration]) -> Option<Duration> {
    let mut sorted = returns.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// Steps of a second: what is shown must not change with every judgement.
const fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs() + if span.subsec_nanos() > 0 { 1 } else { 0 })
}
