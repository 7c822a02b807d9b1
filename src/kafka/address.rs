//! Where a node listens, and where it is to be found instead (NAT, tunnels).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::evidence::ids::NodeId;

/// A host (name or address) and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Host name, IPv4 or IPv6 address without brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

/// Why text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not host:port (IPv6 addresses go in brackets: [::1]:9092)")]
pub struct BadAddress(pub String);

impl Address {
    /// An address from its parts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(bad)?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@') {
            return Err(bad());
        }
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Replaces addresses that nodes advertise by ones that can be reached from here. A node's own
/// entry wins over one for its advertised address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressMap {
    nodes: BTreeMap<NodeId, Address>,
    addresses: BTreeMap<Address, Address>,
}

impl AddressMap {
    /// From configuration entries: a node id or the advertised `host:port`, to `host:port`.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BadAddress> {
        let mut map = Self::default();
        for (from, to) in entries {
            let to = to.parse()?;
            match from.trim().parse().map(NodeId) {
                Ok(node) => map.nodes.insert(node, to),
                Err(_) => map.addresses.insert(from.parse()?, to),
            };
        }
        Ok(map)
    }

    /// Where to dial for this address, advertised by this node where one is known.
    pub fn reach(&self, node: Option<NodeId>, advertised: &Address) -> Address {
        node.and_then(|node| self.nodes.get(&node))
            .or_else(|| self.addresses.get(advertised))
            .unwrap_or(advertised)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_strictly() {
        for good in ["localhost:9092", "10.0.0.1:1", "[::1]:9092"] {
            let address: Address = good.parse().unwrap();
            assert_eq!(address.to_string(), good);
        }
        for bad in [
            "", "host", "host:", ":9092", "::1:9092", "h:0", "h:99999", "[::1:9", "a b:1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_nodes_own_entry_wins() {
        let map = AddressMap::parse([("b1:9092", "127.0.0.1:19092"), ("2", "127.0.0.1:29092")]);
        let map = map.unwrap();
        let advertised = Address::new("b1", 9092);
        let reach = |node| map.reach(node, &advertised).to_string();
        assert_eq!(reach(None), "127.0.0.1:19092");
        assert_eq!(reach(Some(NodeId(2))), "127.0.0.1:29092");
        assert_eq!(reach(Some(NodeId(1))), "127.0.0.1:19092");
        let other = Address::new("b3", 9092);
        assert_eq!(map.reach(Some(NodeId(3)), &other), other);
    }
}
