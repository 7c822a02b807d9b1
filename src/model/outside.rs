//! What can be asked of a cluster without changing it: what connections meet, and the truth.
//!
//! That a node which ends refuses at once and a frozen one stays silent was seen on the lab
//! (kafka-lab.md, sections 4 and 5).

use super::state::{BrokerPhase, ControllerPhase};
use super::{Cluster, Image, Link, Listener, NodeId, Release, Spec};

impl Cluster {
    /// What a new connection to that listener meets. Listeners that the node does not have
    /// refuse.
    #[must_use]
    pub fn link(&self, id: NodeId, listener: Listener) -> Link {
        let Some(node) = self.nodes.get(&id) else {
            return Link::Refuses;
        };
        let open = match listener {
            Listener::Broker => {
                let up = matches!(
                    node.broker,
                    BrokerPhase::CaughtUp | BrokerPhase::Running | BrokerPhase::Leaving
                );
                node.open && up
            }
            Listener::Controller => match node.controller {
                ControllerPhase::Off | ControllerPhase::Jvm => false,
                ControllerPhase::Joined
                | ControllerPhase::Loading
                | ControllerPhase::Running
                | ControllerPhase::Leaving => true,
            },
        };
        match (open && node.alive(), node.frozen) {
            (false, _) => Link::Refuses,
            (true, true) => Link::Silent,
            (true, false) => Link::Accepts,
        }
    }

    /// The active controller, if one can commit now: the truth, not what nodes believe.
    #[must_use]
    pub fn active_controller(&self) -> Option<NodeId> {
        self.committing()
    }

    /// Whose place it is to be the active controller, whether it can commit anything or not. On
    /// ZooKeeper that ends with its session.
    #[must_use]
    pub fn controller_in_office(&self) -> Option<NodeId> {
        self.quorum.leader
    }

    /// The metadata that the active controller has committed: the truth, ahead of every node's
    /// own copy.
    #[must_use]
    pub fn committed_image(&self) -> &Image {
        &self.image
    }

    /// The metadata that the node has published to itself: what it answers Metadata from.
    #[must_use]
    pub fn published_image(&self, id: NodeId) -> Option<&Image> {
        self.nodes.get(&id).map(|node| node.image.as_ref())
    }

    /// Every broker's log dirs are in use.
    #[must_use]
    pub fn disks_online(&self) -> bool {
        let mut disks = self.nodes.values().map(|node| &node.disks);
        disks.all(|disks| disks.offline.is_empty())
    }

    /// The spec it was made from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The binary that the node runs, or ran last.
    #[must_use]
    pub fn release(&self, id: NodeId) -> Option<Release> {
        self.nodes.get(&id).map(|node| node.release)
    }

    /// When the node's process started, milliseconds since 1970; `None` when there is none.
    #[must_use]
    pub fn process_start(&self, id: NodeId) -> Option<i64> {
        let node = self.nodes.get(&id)?;
        node.alive().then(|| self.wall(node.started))
    }

    /// Changes whenever all connections to the node have ended.
    #[must_use]
    pub fn life(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.life)
    }
}
