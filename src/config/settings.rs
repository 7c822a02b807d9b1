//! The typed settings: what the rest of the program gets. A value of these types is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::leaf::{HostPort, Series};
use crate::evidence::ids::NodeId;
use crate::evidence::jmx::Metric;
use crate::evidence::policy::Policy;
use crate::gate::state::GateName;
use crate::jmx::client::HeaderText;
use crate::kafka::sasl::Credentials;
use crate::rights::AuthSettings;
use crate::tls::ClientFiles;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where HTTP is served; never empty.
    pub listen: Vec<SocketAddr>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Folder of the durable state; `None`: nothing is kept.
    pub data_dir: Option<PathBuf>,
    /// Who may ask our own server.
    pub auth: AuthSettings,
    /// Whether `POST /-/reload` works.
    pub reload_enabled: bool,
    /// What the program bounds.
    pub limits: Limits,
    /// How much history is kept.
    pub history: HistorySettings,
    /// The gates; never empty.
    pub gates: BTreeMap<GateName, GateSettings>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Text or JSON.
    pub format: LogFormat,
    /// As [`crate::telemetry::filter`] reads it; it does parse.
    pub filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// What the program bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// HTTP connections at one time.
    pub connections: usize,
    /// HTTP connections of one peer at one time.
    pub connections_per_peer: usize,
    /// Requests of one peer in a second; `None`: as many as it likes.
    pub requests_per_second: Option<u32>,
    /// Long polls at one time.
    pub waiters: usize,
    /// Long polls of one peer at one time.
    pub waiters_per_peer: usize,
    /// How long requests may take to end after SIGTERM.
    pub drain: Duration,
    /// Largest JMX page after decompression, bytes.
    pub jmx_page: usize,
    /// Largest answer of a Kafka node, bytes.
    pub kafka_answer: usize,
}

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// For how long.
    pub retention: Duration,
    /// How many entries of each gate at most.
    pub max_entries: u64,
}

/// One gate.
#[derive(Clone, Debug, PartialEq)]
pub struct GateSettings {
    /// How Kafka is read; `None` in mode `jmx`.
    pub kafka: Option<KafkaSettings>,
    /// How JMX exporters are read; `None` in mode `kafka`.
    pub jmx: Option<JmxSettings>,
    /// The nodes on each machine, by a name that callers use; no node is on two.
    pub hosts: BTreeMap<String, BTreeSet<NodeId>>,
    /// What is judged, and how strictly. [`Policy::expected`] has the nodes of `nodes` and of
    /// `kafka.controllers`.
    pub policy: Policy,
}

/// How Kafka is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Brokers to begin with; never empty.
    pub bootstrap: Vec<HostPort>,
    /// `client.id`.
    pub client_id: String,
    /// Where nodes are reached from here.
    pub address_map: AddressMapSettings,
    /// How the controllers are reached.
    pub controllers: Controllers,
    /// TLS to the nodes; `None`: plaintext.
    pub tls: Option<ClientFiles>,
    /// How the gate logs in; `None`: not at all.
    pub login: Option<Credentials>,
}

/// Where nodes are reached, when not where they say. A node's own entry goes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressMapSettings {
    /// By node id.
    pub nodes: BTreeMap<NodeId, HostPort>,
    /// By advertised address.
    pub addresses: BTreeMap<HostPort, HostPort>,
}

/// How the controllers are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Controllers {
    /// Where the brokers' configuration or the quorum says.
    Discover,
    /// Not at all: brokers tell of the quorum.
    ViaBrokers,
    /// Here; never empty.
    At(BTreeMap<NodeId, HostPort>),
}

/// How JMX exporters are read. At least one of `targets` and `template` says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JmxSettings {
    /// Full URL by node id; goes before the template.
    pub targets: BTreeMap<NodeId, String>,
    /// A full URL with placeholders, for all other nodes.
    pub template: Option<String>,
    /// What TLS to the exporters is made of.
    pub tls: ClientFiles,
    /// User and password file at the exporters.
    pub basic_auth: Option<(String, PathBuf)>,
    /// Headers to send to the exporters.
    pub headers: BTreeMap<String, HeaderText>,
    /// Series that the user names for metrics that no rule finds.
    pub metrics: BTreeMap<Metric, Series>,
}

/// Every metric that `jmx.metrics` may name.
pub(super) const METRICS: &[Metric] = Metric::ALL;

/// The metric with this MBean name.
pub(super) fn metric_named(name: &str) -> Option<Metric> {
    METRICS
        .iter()
        .copied()
        .find(|metric| metric.mbean() == name)
}
