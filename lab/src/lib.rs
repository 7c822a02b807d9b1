//! Real Kafka clusters on loopback, for tests, proofs and people.
//!
//! ```text
//! certs      a CA of the lab's own, and certificates good and bad
//! artifacts  Kafka releases and the JMX exporter from the Maven registry, cached
//! archive    class archives: nodes start faster
//! spec       what is wanted: layout, releases, rules, time-outs, relays, ACLs
//! doors      secured listeners;  principals: users and rights;  keycloak: an OpenID Connect server
//! ports      one free block of 500 ports per cluster;  wiring: which port is whose
//! format     formatted log folders without a JVM per node
//! properties server.properties, zoo.cfg, log configuration (pure text)
//! process    children that die with the lab, even on SIGKILL
//! node       stop, kill, freeze, thaw, start one node
//! cluster    all of it together: Cluster::start(Spec), Drop ends everything
//! tools      Kafka's own command-line tools
//! load       a producer and consumers that account for every record
//! relay      TCP relays that can be cut;  links: which there are, and what each cut means
//! demo       a rolling restart in front of a gate, on real Kafka
//! prove      long proofs on real Kafka, written to docs/proof
//! simulate   the gate on a simulated cluster, with an oracle that knows the truth
//! bench      ours beside its peers;  fuzz: everything that reads foreign bytes; both to docs/proof
//! record     pages of the real JMX exporter;  traces: a broker's end and return;  http: one GET
//! client     the lab's own small Kafka client;  admin: topics, configs, quorum;  metadata: a light view
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "the lab measures spans on its own machine; nothing here judges"
)]

pub mod admin;
mod archive;
pub mod artifacts;
pub mod bench;
pub mod certs;
pub mod client;
pub mod cluster;
pub mod demo;
pub mod doors;
pub mod format;
pub mod fuzz;
pub mod http;
pub mod keycloak;
pub mod links;
pub mod load;
pub mod metadata;
pub mod node;
pub mod ports;
pub mod principals;
mod process;
mod properties;
pub mod prove;
pub mod record;
pub mod relay;
pub mod release;
pub mod simulate;
pub mod spec;
pub mod tools;
pub mod traces;
mod wiring;

pub use cluster::{Cluster, ClusterError};
pub use links::Peer;
pub use load::{Load, LoadReport, LoadSpec};
pub use metadata::{Metadata, Partition};
pub use node::{Node, NodeError};
pub use relay::Cut;
pub use release::Release;
pub use spec::{Layout, NodeId, Role, Rules, Spec, Timing};
