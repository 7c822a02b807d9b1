//! Which port is whose: pure arithmetic over the block of `ports`.

use std::collections::BTreeMap;

use crate::doors;
use crate::spec::{NodeId, Role, Spec, ZOOKEEPER_ID};

/// Listener names in `server.properties`.
pub(crate) const CLIENT: &str = "CLIENT";
pub(crate) const BROKER: &str = "BROKER";
pub(crate) const APP: &str = "APP";
pub(crate) const CONTROLLER: &str = "CONTROLLER";

/// The ports of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Wiring {
    base: u16,
    relays: bool,
    /// More listeners than the client one: with relays or ACLs.
    split: bool,
    pub(crate) links: Links,
}

/// Ports of the relays between nodes; empty without relays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// (from, to) -> port at which `from` finds the controller (or ZooKeeper) `to`.
    pub(crate) quorum: BTreeMap<(NodeId, NodeId), u16>,
    /// Broker -> port at which the other brokers find it.
    pub(crate) inter_broker: BTreeMap<NodeId, u16>,
}

impl Wiring {
    pub(crate) fn new(spec: &Spec, base: u16) -> Self {
        let split = spec.relays || spec.acl;
        Self {
            base,
            relays: spec.relays,
            split,
            links: Links::default(),
        }
    }

    pub(crate) fn base(&self) -> u16 {
        self.base
    }

    /// Whether brokers have listeners of their own for each other and for the load.
    pub(crate) fn is_split(&self) -> bool {
        self.split
    }

    fn port(&self, offset: u16, id: NodeId) -> u16 {
        // 101.. are the controllers' ids, 1.. everyone else's: both are small by `Spec::check`.
        let id = u16::try_from(id.rem_euclid(100)).unwrap_or(0);
        self.base.saturating_add(offset).saturating_add(id)
    }

    fn behind_relay(&self, port: u16) -> u16 {
        if self.relays {
            port.saturating_add(40)
        } else {
            port
        }
    }

    /// Where the gate finds the node's client listener.
    pub(crate) fn client(&self, id: NodeId) -> u16 {
        self.port(0, id)
    }

    /// Where that listener really is.
    pub(crate) fn client_bind(&self, id: NodeId) -> u16 {
        self.behind_relay(self.client(id))
    }

    /// Where the inter-broker listener really is.
    pub(crate) fn inter_broker_bind(&self, id: NodeId) -> u16 {
        self.port(20, id)
    }

    /// Where other brokers find the inter-broker listener.
    pub(crate) fn inter_broker(&self, id: NodeId) -> u16 {
        let direct = self.inter_broker_bind(id);
        self.links.inter_broker.get(&id).copied().unwrap_or(direct)
    }

    /// The listener for load and the lab itself, which no relay ever cuts.
    pub(crate) fn app(&self, id: NodeId) -> u16 {
        if self.split {
            self.port(60, id)
        } else {
            self.client(id)
        }
    }

    /// Where a broker's door is.
    pub(crate) fn door(&self, place: usize, id: NodeId) -> u16 {
        self.base.saturating_add(doors::offset(place, id))
    }

    /// Where a controller's door is; behind the brokers' ones.
    pub(crate) fn controller_door(&self, spec: &Spec, place: usize, id: NodeId) -> u16 {
        self.door(spec.doors.len().saturating_add(place), id)
    }

    /// Where the gate finds the controller listener.
    pub(crate) fn controller(&self, id: NodeId) -> u16 {
        self.port(100, id)
    }

    /// Where that listener really is.
    pub(crate) fn controller_bind(&self, id: NodeId) -> u16 {
        self.behind_relay(self.controller(id))
    }

    /// Where `from` finds the controller `to`.
    pub(crate) fn quorum_link(&self, from: NodeId, to: NodeId) -> u16 {
        let direct = self.controller_bind(to);
        self.links
            .quorum
            .get(&(from, to))
            .copied()
            .unwrap_or(direct)
    }

    /// Where ZooKeeper listens.
    pub(crate) fn zookeeper_bind(&self) -> u16 {
        self.base.saturating_add(401)
    }

    /// Where the broker `from` finds ZooKeeper.
    pub(crate) fn zookeeper_link(&self, from: NodeId) -> u16 {
        let direct = self.zookeeper_bind();
        self.links
            .quorum
            .get(&(from, ZOOKEEPER_ID))
            .copied()
            .unwrap_or(direct)
    }

    /// Where the gate finds the node's JMX exporter: 200 above its main port.
    pub(crate) fn jmx(&self, id: NodeId, role: Role) -> u16 {
        self.main(id, role).saturating_add(200)
    }

    /// Where the exporter really is.
    pub(crate) fn jmx_bind(&self, id: NodeId, role: Role) -> u16 {
        self.behind_relay(self.jmx(id, role))
    }

    /// The port that stands for the node to the gate.
    pub(crate) fn main(&self, id: NodeId, role: Role) -> u16 {
        match role {
            Role::Broker | Role::Combined => self.client(id),
            Role::Controller => self.controller(id),
            Role::ZooKeeper => self.zookeeper_bind(),
        }
    }

    /// Every port that a node of this cluster binds or the gate's relays take, as offsets.
    pub(crate) fn offsets(spec: &Spec) -> Vec<u16> {
        let wiring = Self::new(spec, 0);
        let mut all = vec![wiring.zookeeper_bind()];
        for (id, role) in spec.nodes() {
            all.extend([wiring.jmx(id, role), wiring.jmx_bind(id, role)]);
            if role.is_broker() {
                all.extend([wiring.client(id), wiring.client_bind(id)]);
                all.extend([wiring.app(id), wiring.inter_broker_bind(id)]);
                all.extend((0..spec.doors.len()).map(|place| wiring.door(place, id)));
            }
            if role.is_controller() {
                all.extend([wiring.controller(id), wiring.controller_bind(id)]);
                let doors = 0..spec.controller_doors.len();
                all.extend(doors.map(|place| wiring.controller_door(spec, place, id)));
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::BLOCK;
    use crate::release::Release;
    use crate::spec::Layout;

    #[test]
    fn ports_are_where_the_design_puts_them() {
        let wiring = Wiring::new(&Spec::kraft(Release::V3_9_2), 20_000);
        assert_eq!(wiring.client(2), 20_002);
        assert_eq!(wiring.controller(103), 20_103);
        assert_eq!(wiring.jmx(2, Role::Broker), 20_202);
        assert_eq!(wiring.jmx(103, Role::Controller), 20_303);
        assert_eq!(wiring.zookeeper_bind(), 20_401);
        assert_eq!(wiring.app(2), wiring.client_bind(2));
    }

    #[test]
    fn doors_have_ports_of_their_own() {
        let door = |name: usize| crate::doors::Door::new(&format!("D{name}"), "SSL");
        let layout = Layout::ZooKeeper { brokers: 9 };
        let plain = Spec::new(layout, Release::V3_9_2).relays().acl();
        let without = Wiring::offsets(&plain).len();
        let spec = (0..crate::doors::MOST_DOORS).fold(plain, |spec, name| spec.door(door(name)));
        assert!(spec.check().is_ok());
        let offsets = Wiring::offsets(&spec);
        assert_eq!(offsets.len(), without + 9 * crate::doors::MOST_DOORS);
        assert!(offsets.iter().all(|offset| (1..BLOCK).contains(offset)));
        assert!(spec.door(door(8)).check().is_err());
    }

    #[test]
    fn the_largest_cluster_fits_the_block_without_a_clash() {
        let layout = Layout::KraftSeparate {
            controllers: 19,
            brokers: 19,
        };
        let offsets = Wiring::offsets(&Spec::new(layout, Release::V3_9_2).relays().acl());
        // Per broker: client twice, inter-broker, app, exporter twice; per controller: two and two.
        assert_eq!(offsets.len(), 19 * 6 + 19 * 4 + 1);
        assert!(offsets.iter().all(|offset| (1..BLOCK).contains(offset)));
    }
}
