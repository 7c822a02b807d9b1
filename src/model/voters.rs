//! Voters by directory id (KIP-853, `kraft.version` 1): a vote belongs to a node id *and* the
//! directory that its metadata log is in.
//!
//! A controller whose disk was formatted gets a new directory id (`kafka-storage format`). It comes
//! back, reads the metadata and is an observer; its vote is still the old directory's, which nobody
//! has any more and which falls behind, and the majority is still one of all voters. So it goes
//! until somebody removes the old voter and adds the new one (`kafka-metadata-quorum
//! remove-controller`, `add-controller`). Assumed: those two are done as one here, and no release
//! adds voters by itself (`controller.quorum.auto.join.enable`, from 4.2 on, is off by default).
//!
//! With static voters (`controller.quorum.voters`) ids are all there is: a formatted disk would
//! vote on at once with an empty log, the danger that KIP-853 ends. That is not simulated, nor is
//! the format of a combined node, whose partitions would go with it.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::life::OperationError;
use super::state::Position;
use super::{Cluster, NodeId, Roles};

impl Cluster {
    /// Somebody formats the metadata disk of a controller that is down.
    ///
    /// # Errors
    /// When the node is no dedicated controller, runs, or its voters have no directory ids.
    pub fn format(&mut self, id: NodeId) -> Result<(), OperationError> {
        let voted = self.is_voter(id);
        let node = self.nodes.get_mut(&id).ok_or(OperationError::NoNode(id))?;
        if node.spec.roles != Roles::CONTROLLER {
            return Err(OperationError::Node(id, "a broker"));
        }
        if !self.spec.dynamic_quorum {
            return Err(OperationError::Node(id, "a static voter"));
        }
        if node.alive() {
            return Err(OperationError::Node(id, "running"));
        }
        if voted {
            node.left_behind = Some((node.formats, node.position));
        }
        node.formats += 1;
        node.position = Position::Never;
        Ok(())
    }

    /// Somebody removes the old directory of a controller from the voters and adds its present
    /// one. `AddVoterHandler` takes no id that votes already and only a node that is caught up. The
    /// leader goes on showing the old one among the observers
    /// (`LeaderState.updateVoterAndObserverStates`), until that has not fetched for five minutes
    /// (`LeaderState.clearInactiveObservers`).
    ///
    /// # Errors
    /// When the node votes already, does not follow the metadata log, or nobody can commit it.
    pub fn replace_voter(&mut self, id: NodeId) -> Result<(), OperationError> {
        self.controller()?;
        let node = self.nodes.get(&id).ok_or(OperationError::NoNode(id))?;
        if self.is_voter(id) {
            return Err(OperationError::Node(id, "a voter"));
        }
        if node.position != Position::Following {
            return Err(OperationError::Node(id, "not caught up"));
        }
        self.operate(|cluster| {
            if let Some(node) = cluster.nodes.get(&id) {
                cluster.quorum.voters.insert(id, node.formats);
            }
            // One VotersRecord each.
            cluster.commit(|_, _| 2);
        });
        Ok(())
    }

    /// The node is a controller, and its directory is the one that votes.
    pub(super) fn is_voter(&self, id: NodeId) -> bool {
        let node = self.nodes.get(&id);
        node.is_some_and(|node| self.quorum.voters.get(&id) == Some(&node.formats))
    }

    /// Controllers that run with a directory that has no vote: observers.
    #[must_use]
    pub fn without_vote(&self) -> BTreeSet<NodeId> {
        self.voters().filter(|id| !self.is_voter(*id)).collect()
    }

    /// The id of the node's present metadata directory; all zero with static voters
    /// (`kraft.version` 0).
    pub(super) fn directory(&self, id: NodeId) -> Uuid {
        let formats = self.nodes.get(&id).map_or(0, |node| node.formats);
        self.directory_after(id, formats)
    }

    /// The id of the directory that votes for the node.
    pub(super) fn voting_directory(&self, id: NodeId) -> Uuid {
        let formats = self.quorum.voters.get(&id).copied().unwrap_or(0);
        self.directory_after(id, formats)
    }

    /// The id of the node's metadata directory once it had been formatted so often.
    pub(super) fn directory_after(&self, id: NodeId, formats: u32) -> Uuid {
        if !self.spec.dynamic_quorum {
            return Uuid::nil();
        }
        let id = u64::try_from(id).unwrap_or(0);
        let seed = self.spec.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Uuid::from_u64_pair(seed.wrapping_add(u64::from(formats)), id + 1)
    }
}
