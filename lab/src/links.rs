//! Which relays a cluster has, and what each cut really cuts.
//!
//! | cut | what stops | what goes on |
//! |---|---|---|
//! | `Node(n)`, `Quorum` | everything n sends to the controllers and gets back: heartbeats, metadata, votes (with ZooKeeper: its session); of a controller also what the others send to it | clients and other brokers still reach n |
//! | `Gate`, `Node(n)` | n's client listener, controller listener and JMX exporter, as the gate finds them | everything between nodes; the load (`app_bootstrap`) |
//! | `Node(a)`, `Node(b)` | replication between the two brokers in both directions, votes and fetches between two controllers, broker to controller | both reach everyone else |
//!
//! Kafka has one inter-broker address per broker, not one per pair: a broker's peers share one
//! relay, which tells them apart by the client id of the first request on a connection. A
//! connection that names no node is never cut by a pair.
//! Each node finds the controllers through its own `controller.quorum.voters`, so those links have
//! a relay per pair. From 3.9 on the leader also tells its own advertised address to whoever
//! fetches (KIP-853), and raft goes there: that is the relay the gate uses too, and again the
//! client id tells who it is.
//! The gate may learn controllers from a broker's `controller.quorum.voters`: a cut of that
//! broker's link to the quorum then cuts the gate's link to the controllers too. Give it
//! `Cluster::controllers` instead.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::relay::{Cut, Hub, Relay};
use crate::spec::{Layout, NodeId, Role, Spec, ZOOKEEPER_ID};
use crate::wiring::{Links, Wiring};

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Peer {
    Node(NodeId),
    /// All controllers, or ZooKeeper.
    Quorum,
    /// Whoever uses `bootstrap()`, `controllers()` and `jmx_url()`.
    Gate,
}

/// A link that cannot be cut.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cut a link: this cluster runs without relays, start it with them (`--relays`)")]
    NoRelays,
    #[error("cut {a} from {b}: there is no such link")]
    NoLink { a: Peer, b: Peer },
    #[error("{text:?} is no end of a link: write a node's id, `quorum` or `gate`")]
    NoPeer { text: String },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "{id}"),
            Self::Quorum => f.write_str("quorum"),
            Self::Gate => f.write_str("gate"),
        }
    }
}

impl FromStr for Peer {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        match text {
            "quorum" => Ok(Self::Quorum),
            "gate" => Ok(Self::Gate),
            _ => text.parse().map(Self::Node).map_err(|_| LinkError::NoPeer {
                text: text.to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for Peer {
    type Error = LinkError;

    fn try_from(text: String) -> Result<Self, LinkError> {
        text.parse()
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> Self {
        peer.to_string()
    }
}

/// All relays of one cluster.
#[derive(Debug)]
pub(crate) struct Relays {
    /// Node -> client listener and exporter.
    gate: BTreeMap<NodeId, Vec<Relay>>,
    /// Controller -> its listener as the gate and (from 3.9) raft find it.
    controllers: BTreeMap<NodeId, Relay>,
    /// (from, to) -> link to a controller or to ZooKeeper.
    quorum: BTreeMap<(NodeId, NodeId), Relay>,
    inter_broker: BTreeMap<NodeId, Relay>,
    hub: Hub,
}

impl Relays {
    /// Opens every relay of the layout and writes their ports into the wiring.
    pub(crate) fn open(spec: &Spec, wiring: &mut Wiring) -> io::Result<Self> {
        let hub = Hub::start()?;
        let mut relays = Self {
            gate: BTreeMap::new(),
            controllers: BTreeMap::new(),
            quorum: BTreeMap::new(),
            inter_broker: BTreeMap::new(),
            hub,
        };
        let nodes = spec.nodes();
        for (id, role) in &nodes {
            relays.open_gate(wiring, *id, *role)?;
            if role.is_broker() {
                let upstream = wiring.inter_broker_bind(*id);
                relays
                    .inter_broker
                    .insert(*id, relays.hub.relay(0, upstream, true)?);
            }
            for (to, upstream) in quorum(spec, wiring) {
                if to != *id {
                    let relay = relays.hub.relay(0, upstream, false)?;
                    relays.quorum.insert((*id, to), relay);
                }
            }
        }
        wiring.links = relays.ports();
        Ok(relays)
    }

    fn open_gate(&mut self, wiring: &Wiring, id: NodeId, role: Role) -> io::Result<()> {
        let mut pairs = vec![(wiring.jmx(id, role), wiring.jmx_bind(id, role))];
        if role.is_broker() {
            pairs.push((wiring.client(id), wiring.client_bind(id)));
        }
        if role.is_controller() {
            let (port, upstream) = (wiring.controller(id), wiring.controller_bind(id));
            self.controllers
                .insert(id, self.hub.relay(port, upstream, true)?);
        }
        let open = |(port, upstream)| self.hub.relay(port, upstream, false);
        let relays = pairs.into_iter().map(open).collect::<io::Result<_>>()?;
        self.gate.insert(id, relays);
        Ok(())
    }

    fn ports(&self) -> Links {
        Links {
            quorum: self
                .quorum
                .iter()
                .map(|(pair, relay)| (*pair, relay.port()))
                .collect(),
            inter_broker: self
                .inter_broker
                .iter()
                .map(|(id, relay)| (*id, relay.port()))
                .collect(),
        }
    }

    /// Cuts the link between two ends.
    pub(crate) fn cut(&self, a: Peer, b: Peer, how: Cut) -> Result<(), LinkError> {
        let found = match (a, b) {
            (Peer::Gate, Peer::Node(id)) | (Peer::Node(id), Peer::Gate) => self.cut_gate(id, how),
            (Peer::Quorum, Peer::Node(id)) | (Peer::Node(id), Peer::Quorum) => {
                self.cut_quorum(how, |from, to| from == id || to == id)
            }
            (Peer::Node(one), Peer::Node(other)) if one != other => {
                let voters = self.cut_quorum(how, |from, to| {
                    (from, to) == (one, other) || (from, to) == (other, one)
                });
                self.cut_brokers(one, other, how) || voters
            }
            (Peer::Node(_), Peer::Node(_))
            | (Peer::Gate | Peer::Quorum, Peer::Gate | Peer::Quorum) => false,
        };
        found.then_some(()).ok_or(LinkError::NoLink { a, b })
    }

    fn cut_gate(&self, id: NodeId, how: Cut) -> bool {
        let gate = self.gate.get(&id);
        let relays = gate.into_iter().flatten().chain(self.controllers.get(&id));
        relays.for_each(|relay| relay.cut(None, how));
        gate.is_some()
    }

    fn cut_quorum(&self, how: Cut, wanted: impl Fn(NodeId, NodeId) -> bool) -> bool {
        let pairs = self
            .quorum
            .iter()
            .filter(|((from, to), _)| wanted(*from, *to));
        let mut found = false;
        for ((from, to), relay) in pairs {
            relay.cut(None, how);
            if let Some(advertised) = self.controllers.get(to) {
                advertised.cut(Some(*from), how);
            }
            found = true;
        }
        found
    }

    fn cut_brokers(&self, one: NodeId, other: NodeId, how: Cut) -> bool {
        let relays = (self.inter_broker.get(&one), self.inter_broker.get(&other));
        let (Some(to_one), Some(to_other)) = relays else {
            return false;
        };
        to_one.cut(Some(other), how);
        to_other.cut(Some(one), how);
        true
    }

    /// Heals every link.
    pub(crate) fn heal(&self) {
        let gate = self
            .gate
            .values()
            .flatten()
            .chain(self.controllers.values());
        gate.chain(self.quorum.values())
            .chain(self.inter_broker.values())
            .for_each(Relay::heal);
    }
}

/// Controllers (or ZooKeeper) and where they really listen.
fn quorum(spec: &Spec, wiring: &Wiring) -> Vec<(NodeId, u16)> {
    match spec.layout {
        Layout::ZooKeeper { .. } => vec![(ZOOKEEPER_ID, wiring.zookeeper_bind())],
        Layout::KraftSeparate { .. } | Layout::KraftCombined { .. } => {
            let nodes = spec.nodes();
            let voters = nodes.iter().filter(|(_, role)| role.is_controller());
            voters
                .map(|(id, _)| (*id, wiring.controller_bind(*id)))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Block;
    use crate::release::Release;

    fn open(spec: &Spec) -> (Block, Wiring, Relays) {
        let block = Block::claim(&Wiring::offsets(spec)).unwrap();
        let mut wiring = Wiring::new(spec, block.base());
        let relays = Relays::open(spec, &mut wiring).unwrap();
        (block, wiring, relays)
    }

    #[test]
    fn every_link_has_its_relay() {
        let (_block, wiring, relays) = open(&Spec::kraft(Release::V4_3_1).relays());
        // Six nodes to three controllers, but not a controller to itself.
        assert_eq!(relays.quorum.len(), 6 * 3 - 3);
        assert_eq!(relays.inter_broker.len(), 3);
        assert_eq!(relays.gate.values().map(Vec::len).sum::<usize>(), 6 + 3);
        assert_eq!(relays.controllers.len(), 3);
        assert_ne!(wiring.quorum_link(1, 101), wiring.quorum_link(2, 101));
        assert_eq!(wiring.quorum_link(101, 101), wiring.controller_bind(101));
        let (_block, wiring, relays) = open(&Spec::zookeeper(Release::V3_9_2).relays());
        assert_eq!(relays.quorum.len(), 3);
        assert_ne!(wiring.zookeeper_link(1), wiring.zookeeper_bind());
    }

    #[test]
    fn only_links_that_exist_can_be_cut() {
        let (_block, _wiring, relays) = open(&Spec::kraft(Release::V4_3_1).relays());
        let cut = |a, b| relays.cut(a, b, Cut::BlackHole);
        assert!(cut(Peer::Node(1), Peer::Quorum).is_ok());
        assert!(cut(Peer::Gate, Peer::Node(103)).is_ok());
        assert!(cut(Peer::Node(1), Peer::Node(2)).is_ok());
        assert!(cut(Peer::Node(1), Peer::Node(102)).is_ok());
        relays.heal();
        assert!(cut(Peer::Node(1), Peer::Node(1)).is_err());
        assert!(cut(Peer::Node(9), Peer::Quorum).is_err());
        assert!(cut(Peer::Gate, Peer::Quorum).is_err());
        assert!(cut(Peer::Gate, Peer::Node(9)).is_err());
    }

    #[test]
    fn ends_are_written_as_on_the_command_line() {
        for text in ["1", "quorum", "gate"] {
            assert_eq!(text.parse::<Peer>().unwrap().to_string(), text);
        }
        assert!("broker".parse::<Peer>().is_err());
    }
}
