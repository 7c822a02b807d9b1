//! What is true at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_gate::evidence::policy::Mode;
use upgrade_gate::gate::lease::Action;
use upgrade_gate::model::{Cluster, Image, Link, Listener, NodeId};

use super::allowance::ZOOKEEPER_SHOWS;
use crate::simulate::stops::{Stop, harm, of_each, unled};

/// A broker whose own copy of the metadata is further behind than this cannot take anything over: made a
/// leader, it knows that so much later. From here on it shows for certain: an idle record may be half a
/// second away, the quorum is asked every half second, and who is 1.25 s behind is well
/// (`checks::metadata`).
pub(in crate::simulate) const LATE: Duration = Duration::from_millis(2_500);

/// The brokers of which that is true and shows. Pages tell it only from ten seconds on, and on ZooKeeper
/// nobody does.
pub(in crate::simulate) fn late(cluster: &Cluster, mode: Mode) -> BTreeSet<NodeId> {
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
