//! The nodes that are known, and where they listen.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::facts::{ClusterFacts, NodeConfigs, QuorumFacts};
use crate::evidence::ids::{ClusterId, MOST_NODES, NodeId, Role};
use crate::evidence::report::{Cap, FailureClass, SourceFailure};
use crate::kafka::Address;

/// Everybody known so far. Nodes are added, never removed: a node that has gone is missed. Each
/// costs tasks and connections, so that there are [`MOST_NODES`] at most, whatever brokers say.
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
    /// Whether the quorum has told where the controller listens; then no node's text overrides it.
    pub told: bool,
    /// Where it listens by the text of other nodes' configuration, by node.
    texts: BTreeMap<NodeId, Address>,
}

impl Entry {
    /// The address to ask: a broker's where there is one, a combined node is asked as broker.
    pub const fn address(&self) -> Option<&Address> {
        match (&self.broker, &self.controller) {
            (Some(address), _) | (None, Some(address)) => Some(address),
            (None, None) => None,
        }
    }

    /// Takes the address that most texts name. Texts differ while a change is being rolled out, and the
    /// address must not go to and fro with whoever was asked last: a change ends the connection.
    fn read_texts(&mut self) {
        if self.configured || self.told {
            return;
        }
        let mut named: BTreeMap<&Address, usize> = BTreeMap::new();
        for address in self.texts.values() {
            let count = named.entry(address).or_default();
            *count = count.saturating_add(1);
        }
        let now = self.controller.as_ref();
        let most = named
            .into_iter()
            .max_by_key(|(address, count)| (*count, now == Some(*address)));
        if let Some((address, _)) = most {
            self.controller = Some(address.clone());
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

    /// Whether there is room for these nodes. Nobody is left out silently: an answer that names too
    /// many is no answer, and what is known stays as it is.
    fn room_for(&self, nodes: impl Iterator<Item = NodeId>) -> Result<(), SourceFailure> {
        let is_new = |node: &NodeId| !self.nodes.contains_key(node);
        let new: BTreeSet<_> = nodes.filter(is_new).collect();
        if new.is_empty() || self.nodes.len().saturating_add(new.len()) <= MOST_NODES {
            return Ok(());
        }
        let what = format!(
            "it names {} nodes that are new, beside {} known ones: more than {MOST_NODES} are not \
             believed (restart the gate where the known ones are wrong)",
            new.len(),
            self.nodes.len()
        );
        Err(SourceFailure::new(FailureClass::TooLarge(Cap::Nodes), what))
    }

    /// Takes in what a broker says of the brokers.
    ///
    /// # Errors
    /// It names more nodes than are believed; then nothing of it is taken in.
    pub fn cluster(&mut self, facts: &ClusterFacts) -> Result<(), SourceFailure> {
        self.room_for(facts.brokers.iter().map(|broker| broker.node))?;
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
        Ok(())
    }

    /// Takes in the voters, and where they listen as far as the answer says it.
    ///
    /// # Errors
    /// It names more nodes than are believed; then nothing of it is taken in.
    pub fn quorum(&mut self, facts: &QuorumFacts) -> Result<(), SourceFailure> {
        let voters = facts.voters.iter().map(|voter| voter.node);
        let listening = facts.endpoints.iter().map(|(node, ..)| *node);
        self.room_for(voters.chain(listening))?;
        for voter in &facts.voters {
            let entry = self.nodes.entry(voter.node).or_default();
            entry.role = entry.role.and(Role::CONTROLLER);
        }
        for (node, host, port) in &facts.endpoints {
            let entry = self.nodes.entry(*node).or_default();
            entry.role = entry.role.and(Role::CONTROLLER);
            if !entry.configured && !self.via_brokers {
                entry.controller = Some(Address::new(host.clone(), *port));
                entry.told = true;
            }
        }
        Ok(())
    }

    /// Takes in `controller.quorum.voters` (`101@host:9093,...`) of this node's configuration.
    ///
    /// # Errors
    /// It names more nodes than are believed; then nothing of it is taken in.
    pub fn configs(&mut self, teller: NodeId, configs: &NodeConfigs) -> Result<(), SourceFailure> {
        let voters = configs.text("controller.quorum.voters").unwrap_or_default();
        let voters: Vec<_> = voters.split(',').filter_map(voter).collect();
        self.room_for(voters.iter().map(|(node, _)| *node))?;
        for entry in self.nodes.values_mut() {
            entry.texts.remove(&teller);
        }
        for (node, address) in voters {
            let entry = self.nodes.entry(node).or_default();
            entry.role = entry.role.and(Role::CONTROLLER);
            if !self.via_brokers {
                entry.texts.insert(teller, address);
            }
        }
        for entry in self.nodes.values_mut() {
            entry.read_texts();
        }
        Ok(())
    }
}

/// `101@host:9093`
fn voter(text: &str) -> Option<(NodeId, Address)> {
    let (id, address) = text.split_once('@')?;
    Some((NodeId(id.trim().parse().ok()?), address.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::facts::{ConfigSource, QuorumMember, RegisteredBroker};
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
        roster
            .configs(NodeId(1), &voters("101@h1:9093,102@h2:9093"))
            .unwrap();
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
        roster.configs(NodeId(1), &voters("101@h1:9093")).unwrap();
        let entry = &roster.nodes[&NodeId(101)];
        assert_eq!((entry.role, entry.address()), (Role::CONTROLLER, None));
    }

    #[test]
    fn the_configuration_of_the_gate_wins_and_combined_nodes_are_asked_as_brokers() {
        let mut roster = Roster::default();
        let mine = Address::new("tunnel", 1);
        roster.configured(NodeId(1), Role::CONTROLLER, Some(&mine));
        roster.configs(NodeId(1), &voters("1@h1:9093")).unwrap();
        assert_eq!(roster.nodes[&NodeId(1)].address(), Some(&mine));
        roster.cluster(&brokers(1..=1)).unwrap();
        let entry = &roster.nodes[&NodeId(1)];
        assert_eq!(entry.address(), Some(&Address::new("h1", 9092)));
        assert_eq!(entry.role, Role::COMBINED);
    }

    /// What was told by whom and in which order: the address must not go to and fro.
    #[test]
    fn where_the_quorum_has_told_a_controller_no_text_moves_it() {
        let listens = |roster: &Roster| roster.nodes[&NodeId(101)].controller.clone();
        let at = |host: &str| Some(Address::new(host, 9093));
        let mut told = quorum(101..=101);
        told.endpoints = vec![(NodeId(101), String::from("b"), 9093)];
        let mut roster = Roster::default();
        roster.quorum(&told).unwrap();
        for _ in 0..2 {
            assert_eq!(listens(&roster), at("b"));
            roster.configs(NodeId(1), &voters("101@a:9093")).unwrap();
            assert_eq!(listens(&roster), at("b"));
            roster.quorum(&told).unwrap();
        }
        // A text that came first gives way once.
        let mut roster = Roster::default();
        roster.configs(NodeId(1), &voters("101@a:9093")).unwrap();
        assert_eq!(listens(&roster), at("a"));
        roster.quorum(&told).unwrap();
        roster.configs(NodeId(1), &voters("101@a:9093")).unwrap();
        assert_eq!(listens(&roster), at("b"));
    }

    #[test]
    fn of_several_texts_the_one_that_most_nodes_have_counts() {
        let mut roster = Roster::default();
        let mut say = |teller, host: &str| {
            let text = voters(&format!("101@{host}:9093"));
            roster.configs(NodeId(teller), &text).unwrap();
            roster.nodes[&NodeId(101)].controller.clone().unwrap().host
        };
        assert_eq!(say(1, "a"), "a");
        assert_eq!(say(2, "b"), "a", "one each: it stays");
        assert_eq!(say(1, "a"), "a");
        assert_eq!(say(3, "b"), "b");
        assert_eq!(say(1, "a"), "b");
        assert_eq!(say(1, "b"), "b");
        // Whoever does not say it any more does not count, and what was known stays.
        for teller in [1, 2, 3] {
            roster.configs(NodeId(teller), &voters("")).unwrap();
        }
        let stays = roster.nodes[&NodeId(101)].controller.clone();
        assert_eq!(stays, Some(Address::new("b", 9093)));
    }

    fn brokers(ids: std::ops::RangeInclusive<i32>) -> ClusterFacts {
        let broker = |id| RegisteredBroker {
            node: NodeId(id),
            host: format!("h{id}"),
            port: 9092,
            rack: None,
            fenced: false,
        };
        ClusterFacts {
            cluster_id: Known::NotInRelease,
            brokers: ids.map(broker).collect(),
            controller: None,
            lists_fenced: false,
        }
    }

    fn quorum(ids: std::ops::RangeInclusive<i32>) -> QuorumFacts {
        let member = |id| QuorumMember {
            node: NodeId(id),
            directory: None,
            log_end_offset: 0,
            last_fetch_ms: None,
            last_caught_up_ms: None,
        };
        QuorumFacts {
            leader: None,
            leader_epoch: 1,
            high_watermark: 0,
            voters: ids.map(member).collect(),
            observers: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn more_nodes_than_a_cluster_has_are_not_taken_in_and_not_in_part() {
        let mut roster = Roster::default();
        roster.cluster(&brokers(1..=990)).unwrap();
        let before = roster.clone();
        let many = roster.cluster(&brokers(981..=1001)).unwrap_err();
        assert_eq!(many.class, FailureClass::TooLarge(Cap::Nodes));
        assert!(many.detail.contains("11 nodes that are new"), "{many}");
        let more = roster.quorum(&quorum(2001..=2011)).unwrap_err();
        assert_eq!(more.class, FailureClass::TooLarge(Cap::Nodes));
        let text: Vec<_> = (3001..=3011).map(|id| format!("{id}@h:1")).collect();
        let told = roster
            .configs(NodeId(1), &voters(&text.join(",")))
            .unwrap_err();
        assert_eq!(told.class, FailureClass::TooLarge(Cap::Nodes));
        assert_eq!(roster, before);
        // Little by little is not another way.
        roster.quorum(&quorum(2001..=2010)).unwrap();
        assert_eq!(roster.nodes.len(), MOST_NODES);
        assert!(roster.quorum(&quorum(2011..=2011)).is_err());
        roster.cluster(&brokers(1..=990)).unwrap();
    }
}
