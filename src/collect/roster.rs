//! The nodes that are known, and where they listen.

use std::collections::BTreeMap;

use crate::evidence::facts::{ClusterFacts, NodeConfigs, QuorumFacts};
use crate::evidence::ids::{ClusterId, NodeId, Role};
use crate::kafka::Address;

/// Everybody known so far. Nodes are added, never removed: a node that has gone is missed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The cluster, once an answer has told it or the configuration names it.
    pub cluster_id: Option<ClusterId>,
    /// Known nodes.
    pub nodes: BTreeMap<NodeId, Entry>,
    /// Controllers are not asked themselves: where they listen is not kept.
    pub via_brokers: bool,
}

/// One known node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is for.
    pub role: Role,
    /// The address it advertises as a broker.
    pub broker: Option<Address>,
    /// Where it listens as a controller.
    pub controller: Option<Address>,
    /// Whether the configuration says where the controller listens; then nothing overrides it.
    pub configured: bool,
}

impl Entry {
    /// The address to ask: a broker's where there is one, a combined node is asked as broker.
    pub const fn address(&self) -> Option<&Address> {
        match (&self.broker, &self.controller) {
            (Some(address), _) | (None, Some(address)) => Some(address),
            (None, None) => None,
        }
    }
}

impl Roster {
    /// Takes in a node that the configuration names.
    pub fn configured(&mut self, node: NodeId, role: Role, controller: Option<&Address>) {
        let entry = self.nodes.entry(node).or_default();
        entry.role = entry.role.and(role);
        if let Some(address) = controller {
            entry.role = entry.role.and(Role::CONTROLLER);
            entry.controller = Some(address.clone());
            entry.configured = true;
        }
    }

    /// Takes in what a broker says of the brokers.
    pub fn cluster(&mut self, facts: &ClusterFacts) {
        if self.cluster_id.is_none() {
            self.cluster_id = facts.cluster_id.value().cloned();
        }
        for broker in &facts.brokers {
            // A fenced broker may be listed without an endpoint for this listener.
            let address = (!broker.host.is_empty() && broker.port != 0)
                .then(|| Address::new(broker.host.clone(), broker.port));
            let entry = self.nodes.entry(broker.node).or_default();
            entry.role = entry.role.and(Role::BROKER);
            entry.broker = address.or_else(|| entry.broker.take());
        }
    }

    /// Takes in the voters, and where they listen as far as the answer says it.
    pub fn quorum(&mut self, facts: &QuorumFacts) {
        for voter in &facts.voters {
            let entry = self.nodes.entry(voter.node).or_default();
            entry.role = entry.role.and(Role::CONTROLLER);
        }
        for (node, host, port) in &facts.endpoints {
            self.controller_at(*node, Address::new(host.clone(), *port));
        }
    }

    /// Takes in `controller.quorum.voters` (`101@host:9093,...`) of a node's configuration.
    pub fn configs(&mut self, configs: &NodeConfigs) {
        let voters = configs.text("controller.quorum.voters").unwrap_or_default();
        for voter in voters.split(',').filter(|voter| !voter.is_empty()) {
            let Some((id, address)) = voter.split_once('@') else {
                continue;
            };
            let (Ok(id), Ok(address)) = (id.trim().parse(), address.parse()) else {
                continue;
            };
            self.controller_at(NodeId(id), address);
        }
    }

    fn controller_at(&mut self, node: NodeId, address: Address) {
        let entry = self.nodes.entry(node).or_default();
        entry.role = entry.role.and(Role::CONTROLLER);
        if !entry.configured && !self.via_brokers {
            entry.controller = Some(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::facts::{ConfigSource, RegisteredBroker};
    use crate::evidence::known::Known;

    fn voters(text: &str) -> NodeConfigs {
        let value = (Some(text.to_owned()), ConfigSource::StaticBroker);
        NodeConfigs {
            values: BTreeMap::from([("controller.quorum.voters".to_owned(), value)]),
        }
    }

    #[test]
    fn controllers_are_found_in_a_brokers_configuration() {
        let mut roster = Roster::default();
        roster.configs(&voters("101@h1:9093,102@h2:9093"));
        let entry = &roster.nodes[&NodeId(102)];
        assert_eq!(entry.address(), Some(&Address::new("h2", 9093)));
        assert_eq!(entry.role, Role::CONTROLLER);
    }

    #[test]
    fn controllers_that_are_not_asked_have_no_address() {
        let mut roster = Roster {
            via_brokers: true,
            ..Roster::default()
        };
        roster.configs(&voters("101@h1:9093"));
        let entry = &roster.nodes[&NodeId(101)];
        assert_eq!((entry.role, entry.address()), (Role::CONTROLLER, None));
    }

    #[test]
    fn the_configuration_of_the_gate_wins_and_combined_nodes_are_asked_as_brokers() {
        let mut roster = Roster::default();
        let mine = Address::new("tunnel", 1);
        roster.configured(NodeId(1), Role::CONTROLLER, Some(&mine));
        roster.configs(&voters("1@h1:9093"));
        assert_eq!(roster.nodes[&NodeId(1)].address(), Some(&mine));
        roster.cluster(&ClusterFacts {
            cluster_id: Known::NotInRelease,
            brokers: vec![RegisteredBroker {
                node: NodeId(1),
                host: String::from("h1"),
                port: 9092,
                rack: None,
                fenced: false,
            }],
            controller: None,
            lists_fenced: false,
        });
        let entry = &roster.nodes[&NodeId(1)];
        assert_eq!(entry.address(), Some(&Address::new("h1", 9092)));
        assert_eq!(entry.role, Role::COMBINED);
    }
}
