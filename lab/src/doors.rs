//! Secured listeners of every broker, beside the plain ones: each another door to the same cluster.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::certs::{Issued, STORE_ALIAS, STORE_PASSWORD};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::spec::{NodeId, Spec};

/// The most doors there is room for in a block of ports, of up to nine brokers.
pub const MOST_DOORS: usize = 8;

/// Where brokers read the keys of signed tokens.
const KEYS: &str = "sasl.oauthbearer.jwks.endpoint.url";

/// One more listener of every broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Door {
    /// The listener's name, in capitals.
    pub name: String,
    /// Its `security.protocol`.
    pub protocol: String,
    /// Its settings, without `listener.name.NAME.`.
    pub lines: BTreeMap<String, String>,
}

impl Door {
    /// A listener without settings.
    pub fn new(name: &str, protocol: &str) -> Self {
        Self {
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            lines: BTreeMap::new(),
        }
    }

    /// One setting.
    #[must_use]
    pub fn line(mut self, key: &str, value: impl Into<String>) -> Self {
        self.lines.insert(key.to_owned(), value.into());
        self
    }

    /// TLS with this certificate (KIP-651), and the CAs of clients in a file. Key and chain stand in
    /// the properties themselves: 2.8 takes a PEM file only with an encrypted key.
    #[must_use]
    pub fn tls(self, shown: &Issued, ca: &Path) -> Self {
        let line = |pem: &str| pem.trim().replace('\r', "").replace('\n', "\\n");
        self.line("ssl.keystore.type", "PEM")
            .line("ssl.keystore.key", line(&shown.key))
            .line("ssl.keystore.certificate.chain", line(&shown.certificate))
            .line("ssl.truststore.type", "PEM")
            .line("ssl.truststore.location", ca.display().to_string())
    }

    /// SASL by PLAIN (this user), SCRAM (users are made later) and OAUTHBEARER (Kafka's own validator
    /// of unsigned tokens).
    #[must_use]
    pub fn sasl(self, user: &str, password: &str) -> Self {
        let module = "org.apache.kafka.common.security";
        let scram = format!("{module}.scram.ScramLoginModule required;");
        let plain = format!("{module}.plain.PlainLoginModule required user_{user}=\"{password}\";");
        // Without a name of its own the broker does not start with this module.
        let bearer = format!(
            "{module}.oauthbearer.OAuthBearerLoginModule required \
             unsecuredLoginStringClaim_sub=\"broker\";"
        );
        let all = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER";
        self.line("sasl.enabled.mechanisms", all)
            .line("plain.sasl.jaas.config", plain)
            .line("scram-sha-256.sasl.jaas.config", scram.clone())
            .line("scram-sha-512.sasl.jaas.config", scram)
            .line("oauthbearer.sasl.jaas.config", bearer)
    }

    /// SASL by OAUTHBEARER alone, with signed tokens: brokers read the keys at this URL, want this
    /// audience, and call the client that a token was made for by its name.
    #[must_use]
    pub fn oidc(self, keys: &str, audience: &str) -> Self {
        let module = "org.apache.kafka.common.security.oauthbearer";
        // The broker's own login here is never used; without a name it does not start.
        let bearer = format!(
            "{module}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
        );
        self.line("sasl.enabled.mechanisms", "OAUTHBEARER")
            .line("oauthbearer.sasl.jaas.config", bearer)
            .line(
                "oauthbearer.sasl.server.callback.handler.class",
                format!("{module}.OAuthBearerValidatorCallbackHandler"),
            )
            .line(KEYS, keys)
            .line("sasl.oauthbearer.expected.audience", audience)
            .line("sasl.oauthbearer.sub.claim.name", "azp")
    }
}

impl Spec {
    /// URLs that brokers read keys from: 4.0 and later read no other.
    pub(crate) fn key_urls(&self) -> Vec<&str> {
        let doors = self.doors.iter();
        doors
            .filter_map(|door| door.lines.get(KEYS))
            .map(String::as_str)
            .collect()
    }

    /// One more listener of every broker.
    #[must_use]
    pub fn door(mut self, door: Door) -> Self {
        self.doors.push(door);
        self
    }

    /// One more listener of every controller.
    #[must_use]
    pub fn controller_door(mut self, door: Door) -> Self {
        self.controller_doors.push(door);
        self
    }

    /// Every exporter speaks https with the key in this PKCS#12 file, and asks for this login.
    #[must_use]
    pub fn secure_exporters(mut self, store: &Path, user: &str, password: &str) -> Self {
        for (id, _) in self.nodes() {
            self = self.secure_exporter(id, store, user, password);
        }
        self
    }

    /// The same of one node's exporter.
    #[must_use]
    pub fn secure_exporter(mut self, id: NodeId, store: &Path, user: &str, password: &str) -> Self {
        let block = format!(
            "httpServer:\n  authentication:\n    basic:\n      username: {user}\n      \
             password: {password}\n  ssl:\n    keyStore:\n      filename: {}\n      \
             password: {STORE_PASSWORD}\n    certificate:\n      alias: {STORE_ALIAS}\n",
            store.display()
        );
        self.exporters.insert(id, block);
        self
    }
}

impl Cluster {
    /// `host:port` of every broker behind a door.
    pub fn behind(&self, door: &str) -> Vec<String> {
        let doors = &self.spec().doors;
        let place = doors.iter().position(|known| known.name == door);
        let address =
            |node: &Node| Some(format!("127.0.0.1:{}", self.door_port(place?, node.id())));
        self.brokers().filter_map(address).collect()
    }

    /// `host:port` of every controller behind a door of theirs.
    pub fn controllers_behind(&self, door: &str) -> BTreeMap<NodeId, String> {
        let spec = self.spec();
        let mut doors = spec.controller_doors.iter();
        let Some(place) = doors.position(|known| known.name == door) else {
            return BTreeMap::new();
        };
        let nodes = spec.nodes().into_iter();
        let controllers = nodes.filter(|(_, role)| role.is_controller());
        let address = |id| {
            let port = self.door_port(spec.doors.len().saturating_add(place), id);
            (id, format!("127.0.0.1:{port}"))
        };
        controllers.map(|(id, _)| address(id)).collect()
    }

    fn door_port(&self, place: usize, id: NodeId) -> u16 {
        self.base_port().saturating_add(offset(place, id))
    }
}

/// Where a door's port is in the block; behind ZooKeeper's.
pub(crate) fn offset(place: usize, id: NodeId) -> u16 {
    let place = u16::try_from(place).unwrap_or(0);
    let id = u16::try_from(id.rem_euclid(100)).unwrap_or(0);
    410 + 10 * place + id
}
