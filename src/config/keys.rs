//! Every knob there is. The walk, the defaults, `config/reference.yaml` and the schema come from
//! this one table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::leaf::{Bytes, HostPort, JmxTemplate, JmxUrl, Leaf, Listen, Series, TrustedUrl};
use crate::evidence::ids::NodeId;
use crate::kafka::Extensions;

/// One knob.
#[derive(Debug)]
pub struct Key {
    /// Where it stands. `<gate>`, `<node>`, `<host>` and the like stand for names that the user
    /// chooses.
    pub path: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it is when nobody sets it.
    pub preset: Preset,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether `POST /-/reload` is enough for a change.
    pub reloadable: bool,
    /// What it does and why one would change it.
    pub why: &'static str,
}

/// A place in the table: the parts of a path, placeholders included.
pub(super) type Pattern = Vec<&'static str>;

/// What the table has at one place.
#[derive(Debug, Default)]
struct Place {
    /// Names that may follow, in the table's order.
    below: Vec<&'static str>,
    key: Option<&'static Key>,
}

/// Every place, found once: a walk looks here for every value it meets.
static PLACES: LazyLock<BTreeMap<Pattern, Place>> = LazyLock::new(|| {
    let mut places: BTreeMap<Pattern, Place> = BTreeMap::new();
    for key in KEYS {
        let mut pattern = Pattern::new();
        for name in key.segments() {
            let here = &mut places.entry(pattern.clone()).or_default().below;
            if !here.contains(&name) {
                here.push(name);
            }
            pattern.push(name);
        }
        places.entry(pattern).or_default().key = Some(key);
    }
    places
});

/// What may follow this place.
pub(super) fn below(pattern: &Pattern) -> &'static [&'static str] {
    PLACES.get(pattern).map_or(&[], |place| &place.below)
}

/// The key at this place.
pub(super) fn at(pattern: &Pattern) -> Option<&'static Key> {
    PLACES.get(pattern)?.key
}

/// Whether the names at a place are chosen by the user.
pub(super) fn is_placeholder(segment: &str) -> bool {
    segment.starts_with('<')
}

impl Key {
    /// The parts of its path.
    pub fn segments(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('.')
    }

    /// What one key's text has to be; the error says what is wanted.
    pub fn check(&self, text: &str) -> Result<(), String> {
        self.kind.check(text)
    }
}

/// What a knob is when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This value.
    Is(&'static str),
    /// Nothing; such a value is possible.
    Absent(&'static str),
    /// Nothing, and a gate needs it; such a value is possible.
    Needed(&'static str),
}

/// What values a knob takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text on one line.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number in this range.
    Count(u64, u64),
    /// A duration in this range, in milliseconds.
    Duration(u64, u64),
    /// A size in this range, in bytes.
    Size(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A file or folder.
    Path,
    /// An HTTP path that begins with `/`.
    UrlPath,
    /// IP address and port.
    Listen,
    /// `host:port`.
    HostPort,
    /// A JMX exporter's address.
    JmxUrl,
    /// A JMX exporter's address with placeholders.
    JmxTemplate,
    /// A series on a JMX page.
    Series,
    /// What is logged, as [`crate::telemetry::filter`] reads it.
    LogFilter,
    /// A node's id.
    NodeId,
    /// An address whose answers are trusted: `https`, or `http` on this machine.
    TrustedUrl,
    /// What is told beside a token.
    Extensions,
    /// Several of a kind, without repetition.
    List(&'static Self),
}

impl Kind {
    /// What one text has to be; the error says what is wanted. Of a list: one element.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Text => String::parse(text).map(drop),
            Self::Bool => bool::parse(text).map(drop),
            Self::Count(low, high) => in_range(u64::parse(text)?, low, high, |n| n.to_string()),
            Self::Duration(low, high) => {
                let [low, high] = [low, high].map(Duration::from_millis);
                in_range(Duration::parse(text)?, low, high, say_duration)
            }
            Self::Size(low, high) => {
                in_range(Bytes::parse(text)?, Bytes(low), Bytes(high), say_bytes)
            }
            Self::Word(words) if words.contains(&text) => Ok(()),
            Self::Word(words) => Err(format!("wants one of {}", words.join(", "))),
            Self::Path => PathBuf::parse(text).map(drop),
            Self::UrlPath if text.starts_with('/') && !text.contains(char::is_whitespace) => Ok(()),
            Self::UrlPath => Err(String::from("wants a path that begins with /")),
            Self::Listen => Listen::parse(text).map(drop),
            Self::HostPort => HostPort::parse(text).map(drop),
            Self::JmxUrl => JmxUrl::parse(text).map(drop),
            Self::JmxTemplate => JmxTemplate::parse(text).map(drop),
            Self::Series => Series::parse(text).map(drop),
            Self::LogFilter => crate::telemetry::filter(text).map(drop).map_err(|_| {
                String::from("wants a log filter, such as info or info,upgrade_gate::kafka=debug")
            }),
            Self::NodeId => NodeId::parse(text).map(drop),
            Self::TrustedUrl => TrustedUrl::parse(text).map(drop),
            Self::Extensions => Extensions::parse(text).map(drop),
            Self::List(of) => of.check(text),
        }
    }

    /// The unit or form of its values, for people.
    pub fn unit(self) -> String {
        match self {
            Self::Text => String::from("text"),
            Self::Bool => String::from("true or false"),
            Self::Count(low, high) => format!("a number from {low} to {high}"),
            Self::Duration(low, high) => {
                let [low, high] = [low, high].map(Duration::from_millis).map(say_duration);
                format!("a duration from {low} to {high}")
            }
            Self::Size(low, high) => {
                let [low, high] = [low, high].map(Bytes).map(say_bytes);
                format!("a size from {low} to {high}")
            }
            Self::Word(words) => words.join(" | "),
            Self::Path => String::from("a path"),
            Self::UrlPath => String::from("a path of a URL"),
            Self::Listen => String::from("IP:port"),
            Self::HostPort => String::from("host:port"),
            Self::JmxUrl => String::from("host:port or a URL"),
            Self::JmxTemplate => String::from("an address with placeholders"),
            Self::Series => String::from("a series"),
            Self::LogFilter => String::from("a log filter"),
            Self::NodeId => String::from("a node id"),
            Self::TrustedUrl => String::from("a URL with https"),
            Self::Extensions => String::from("key=value,key2=value2"),
            Self::List(of) => format!("a list, each {}", of.unit()),
        }
    }
}

fn in_range<T: PartialOrd + Copy>(
    value: T,
    low: T,
    high: T,
    say: impl Fn(T) -> String,
) -> Result<(), String> {
    if value < low || value > high {
        return Err(format!("is out of range: {} to {}", say(low), say(high)));
    }
    Ok(())
}

/// A duration as the configuration writes it.
pub(super) fn say_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return String::from("0s");
    }
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    match units
        .iter()
        .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

fn say_bytes(size: Bytes) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units
        .iter()
        .find(|(unit, _)| size.0 >= *unit && size.0.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", size.0 / unit),
        None => format!("{}B", size.0),
    }
}

const MODES: &[&str] = &["kafka+jmx", "kafka", "jmx"];
const WEIGHTS: &[&str] = &["block", "warn"];
const PROTOCOLS: &[&str] = &["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
const NAME_CHECKS: &[&str] = &["https", "none"];
const RIGHTS: &[&str] = &["read", "lease", "admin"];
const ROLES: &[&str] = &["broker", "controller", "combined"];
const MIB: u64 = 1 << 20;

macro_rules! keys {
    ($($path:literal, $kind:expr, $preset:expr, $reload:ident, $why:literal;)+) => {
        /// Every knob, in the order in which people meet them.
        pub static KEYS: &[Key] = &[$(Key {
            path: $path,
            kind: $kind,
            preset: $preset,
            secret: false,
            reloadable: keys!(@reload $reload),
            why: $why,
        },)+];
    };
    (@reload reload) => { true };
    (@reload restart) => { false };
}

keys! {
    "listen", Kind::List(&Kind::Listen), Preset::Is("0.0.0.0:10190"), restart,
        "Where HTTP is served. ':10190' is every IPv4 address, '[::]:10190' IPv6 and IPv4.";
    "web_config", Kind::Path, Preset::Absent("/etc/upgrade-gate/web.yml"), restart,
        "File with TLS and users, in the format of Prometheus' exporters. It and its certificates are read again when they change.";
    "auth.tokens.<token>.file", Kind::Path, Preset::Absent("/etc/upgrade-gate/tokens/jenkins"), restart,
        "File with one bearer token, at least 16 characters. It is read again when it changes.";
    "auth.tokens.<token>.rights", Kind::Word(RIGHTS), Preset::Absent("lease"), restart,
        "What the token lets do: read, lease (enter, leave, renew) or admin. Each includes the one before.";
    "auth.users.<user>", Kind::Word(RIGHTS), Preset::Absent("admin"), restart,
        "Rights of a user in web_config; without an entry a user may read.";
    "auth.certificates.<san>", Kind::Word(RIGHTS), Preset::Absent("lease"), restart,
        "Rights of a client certificate, by one of its subject alternative names.";
    "data_dir", Kind::Path, Preset::Absent("/var/lib/upgrade-gate"), restart,
        "Folder for state that survives restarts: leases, holds, nodes seen before, history. Without it a restart forgets them.";
    "reload_enabled", Kind::Bool, Preset::Is("false"), restart,
        "Whether POST /-/reload reads this file again.";
    "log.format", Kind::Word(&["text", "json"]), Preset::Is("text"), restart,
        "One line of text, or one JSON object, per event; on standard error.";
    "log.filter", Kind::LogFilter, Preset::Is("info"), reload,
        "What is logged: error, warn, info, debug, trace, also per module.";
    "limits.connections", Kind::Count(1, 65_536), Preset::Is("512"), restart,
        "HTTP connections at one time; more are refused.";
    "limits.connections_per_peer", Kind::Count(1, 65_536), Preset::Is("100"), restart,
        "HTTP connections of one address at one time. Raise it where a proxy stands before the gate.";
    "limits.requests_per_second", Kind::Count(0, 1_000_000), Preset::Is("1000"), restart,
        "Requests and new connections of one address in a second; more are told 503. 0 is no limit.";
    "limits.waiters", Kind::Count(0, 65_536), Preset::Is("128"), restart,
        "Long polls at one time; more are answered at once.";
    "limits.waiters_per_peer", Kind::Count(0, 65_536), Preset::Is("64"), restart,
        "Long polls of one address at one time; more are answered at once. Raise it where a proxy stands before the gate.";
    "limits.drain", Kind::Duration(0, 600_000), Preset::Is("10s"), restart,
        "How long running requests may take to end after SIGTERM.";
    "limits.jmx_page", Kind::Size(64 << 10, 1024 * MIB), Preset::Is("64MiB"), restart,
        "Largest JMX page, after decompression. A larger one is a failed scrape.";
    "limits.kafka_answer", Kind::Size(MIB, 1024 * MIB), Preset::Is("64MiB"), restart,
        "Largest answer of a Kafka node. A larger one ends the connection.";
    "history.retention", Kind::Duration(86_400_000, 3_650 * 86_400_000), Preset::Is("400d"), restart,
        "How long the history is kept. What is older is deleted, a little at a time.";
    "history.max_entries", Kind::Count(100, 10_000_000), Preset::Is("100000"), restart,
        "How many entries of each gate's history are kept at most.";
    "gates.<gate>.mode", Kind::Word(MODES), Preset::Is("kafka+jmx"), reload,
        "What is read. 'jmx' alone (brokers before 2.8) has no what-if per partition.";
    "gates.<gate>.cluster_id", Kind::Text, Preset::Absent("MkU3OEVBNTcwNTJENDM2Qg"), reload,
        "The cluster that is meant; any other is refused as wrong_cluster. Learned when absent.";
    "gates.<gate>.kafka.bootstrap", Kind::List(&Kind::HostPort),
        Preset::Needed("broker-1.example.org:9092"), reload,
        "Some brokers, to find all nodes from. Name two or more, of different machines.";
    "gates.<gate>.kafka.client_id", Kind::Text, Preset::Is("upgrade-gate"), reload,
        "client.id in the brokers' logs and quotas.";
    "gates.<gate>.kafka.security.protocol", Kind::Word(PROTOCOLS), Preset::Is("PLAINTEXT"), reload,
        "How the listeners are spoken to. This and what follows is named as in librdkafka.";
    "gates.<gate>.kafka.ssl.ca.location", Kind::Path, Preset::Absent("/etc/upgrade-gate/kafka-ca.pem"), reload,
        "The CAs that sign the nodes' certificates (PEM). The system's when absent.";
    "gates.<gate>.kafka.ssl.certificate.location", Kind::Path,
        Preset::Absent("/etc/upgrade-gate/kafka-client.pem"), reload,
        "Our own certificate, with its chain (PEM), for listeners with ssl.client.auth.";
    "gates.<gate>.kafka.ssl.key.location", Kind::Path, Preset::Absent("/etc/upgrade-gate/kafka-client.key"), reload,
        "Its key (PEM, not encrypted).";
    "gates.<gate>.kafka.ssl.endpoint.identification.algorithm", Kind::Word(NAME_CHECKS), Preset::Is("https"), reload,
        "Whether a node's certificate has to name the host that is dialled. 'none' trusts every certificate of the CA.";
    "gates.<gate>.kafka.sasl.mechanism", Kind::Word(MECHANISMS), Preset::Absent("SCRAM-SHA-512"), reload,
        "How the gate logs in, with the protocols SASL_PLAINTEXT and SASL_SSL.";
    "gates.<gate>.kafka.sasl.username", Kind::Text, Preset::Absent("upgrade-gate"), reload,
        "As whom, with PLAIN and SCRAM.";
    "gates.<gate>.kafka.sasl.password_file", Kind::Path, Preset::Absent("/etc/upgrade-gate/kafka-password"), reload,
        "File with the password, read anew for every connection.";
    "gates.<gate>.kafka.sasl.oauthbearer.token_file", Kind::Path, Preset::Absent("/run/secrets/kafka-token"), reload,
        "File with a token for OAUTHBEARER, read anew for every connection; something else keeps it in date.";
    "gates.<gate>.kafka.sasl.oauthbearer.token.endpoint.url", Kind::TrustedUrl,
        Preset::Absent("https://login.example.org/oauth2/token"), reload,
        "Where a token is asked for with the client's credentials (OpenID Connect), when no token_file is given.";
    "gates.<gate>.kafka.sasl.oauthbearer.client.id", Kind::Text, Preset::Absent("upgrade-gate"), reload,
        "The client's id at the token endpoint.";
    "gates.<gate>.kafka.sasl.oauthbearer.client.secret_file", Kind::Path,
        Preset::Absent("/etc/upgrade-gate/oidc-secret"), reload,
        "File with the client's secret, read anew for every token.";
    "gates.<gate>.kafka.sasl.oauthbearer.scope", Kind::Text, Preset::Absent("kafka"), reload,
        "Scope to ask for, where the endpoint wants one.";
    "gates.<gate>.kafka.sasl.oauthbearer.extensions", Kind::Extensions,
        Preset::Absent("logicalCluster=lkc-1,identityPoolId=pool-1"), reload,
        "What the brokers want to be told beside the token (SASL extensions). They are not secret: they are shown.";
    "gates.<gate>.kafka.https.ca.location", Kind::Path, Preset::Absent("/etc/upgrade-gate/oidc-ca.pem"), reload,
        "The CAs that sign the token endpoint's certificate (PEM). The system's when absent.";
    "gates.<gate>.kafka.address_map.<address>", Kind::HostPort, Preset::Absent("localhost:19092"), reload,
        "Where a node is reached from here (NAT, tunnels): by its id, or by its advertised address.";
    "gates.<gate>.kafka.controllers.<node>", Kind::HostPort,
        Preset::Absent("controller-1.example.org:9093"), reload,
        "Controllers' own listeners. Found through the brokers' configuration when absent.";
    "gates.<gate>.kafka.via_brokers", Kind::Bool, Preset::Is("false"), reload,
        "Ask brokers about the quorum and controllers nothing, where the controllers' listener is out of reach. A dead controller is noticed after some 2 s then.";
    "gates.<gate>.jmx.template", Kind::JmxTemplate, Preset::Needed("{host}:7071"), reload,
        "Every node's JMX exporter, made from its Kafka address: {host}, {port}, {port+200}, {id}.";
    "gates.<gate>.jmx.targets.<node>", Kind::JmxUrl, Preset::Absent("controller-1.example.org:7071"), reload,
        "A node's JMX exporter by node id; goes before the template.";
    "gates.<gate>.jmx.path", Kind::UrlPath, Preset::Is("/metrics"), reload,
        "Path of the exporters whose address has none.";
    "gates.<gate>.jmx.tls.ca_file", Kind::Path, Preset::Absent("/etc/upgrade-gate/jmx-ca.pem"), reload,
        "The CAs that sign the exporters' certificates (PEM). The system's when absent. This and what follows is named as in Prometheus.";
    "gates.<gate>.jmx.tls.cert_file", Kind::Path, Preset::Absent("/etc/upgrade-gate/jmx-client.pem"), reload,
        "Our own certificate, with its chain (PEM), for exporters that want one.";
    "gates.<gate>.jmx.tls.key_file", Kind::Path, Preset::Absent("/etc/upgrade-gate/jmx-client.key"), reload,
        "Its key (PEM, not encrypted).";
    "gates.<gate>.jmx.tls.server_name", Kind::Text, Preset::Absent("exporters.example.org"), reload,
        "The name that the exporters' certificates have to bear, where it is not the host that is asked.";
    "gates.<gate>.jmx.tls.insecure_skip_verify", Kind::Bool, Preset::Is("false"), reload,
        "Trusts whoever answers: the pages then prove nothing against somebody on the network.";
    "gates.<gate>.jmx.basic_auth.username", Kind::Text, Preset::Absent("upgrade-gate"), reload,
        "User at the exporters.";
    "gates.<gate>.jmx.basic_auth.password_file", Kind::Path, Preset::Absent("/etc/upgrade-gate/jmx-password"), reload,
        "File with the user's password.";
    "gates.<gate>.jmx.headers.<header>.value", Kind::Text, Preset::Absent("kafka-eu-1"), reload,
        "A header to send to the exporters. A secret belongs into a file instead.";
    "gates.<gate>.jmx.headers.<header>.file", Kind::Path, Preset::Absent("/run/secrets/jmx-token"), reload,
        "File with the header's value.";
    "gates.<gate>.jmx.metrics.<metric>", Kind::Series,
        Preset::Absent("my_jmx_value{name=\"UnderReplicatedPartitions\"}"), reload,
        "The series of a metric that no rule finds on your pages: the last resort.";
    "gates.<gate>.nodes.<node>", Kind::Word(ROLES), Preset::Absent("broker"), reload,
        "Nodes that have to be there, and their role. More are learned from the cluster.";
    "gates.<gate>.hosts.<host>", Kind::List(&Kind::NodeId), Preset::Absent("1"), reload,
        "The nodes on a machine, by a name that callers use: host=NAME means all of them.";
    "gates.<gate>.policy.window", Kind::Duration(0, 3_600_000), Preset::Absent("45s"), reload,
        "How long everything must have been healthy before the gate opens. When absent it comes from the brokers' own settings, which is right for nearly everybody.";
    "gates.<gate>.policy.structural", Kind::Word(WEIGHTS), Preset::Is("warn"), reload,
        "Risks that exist with every node up (replication factor 1 and the like).";
    "gates.<gate>.policy.degraded", Kind::Word(WEIGHTS), Preset::Is("block"), reload,
        "Risks of one node's stop that exist because something is missing now. With 'warn' a repair of a living node may take away what is left. What is missing closes the gate to everything else all the same.";
    "gates.<gate>.policy.leadership_quiet", Kind::Duration(0, 600_000), Preset::Is("6s"), reload,
        "How long the gate stays closed after partitions change their leader.";
    "gates.<gate>.policy.slots", Kind::Count(1, 16), Preset::Is("1"), reload,
        "How many leases may stand at one time. More than one only where their nodes hold no partition together and none of them may be the controller (voters; on ZooKeeper every broker).";
    "gates.<gate>.policy.groups", Kind::List(&Kind::Text), Preset::Absent("payments"), reload,
        "Consumer groups whose lag is watched.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::ids::{ClusterId, GroupId, Role};
    use crate::evidence::policy::{Mode, Weight};
    use crate::kafka::sasl::Mechanism;

    #[test]
    fn presets_and_examples_are_of_their_kind() {
        for key in KEYS {
            let (Preset::Is(text) | Preset::Absent(text) | Preset::Needed(text)) = key.preset;
            assert_eq!(key.check(text), Ok(()), "{}", key.path);
            assert!(key.why.ends_with('.'), "{}", key.path);
        }
    }

    #[test]
    fn every_word_has_its_parser() {
        assert!(MODES.iter().all(|word| Mode::parse(word).is_ok()));
        assert!(WEIGHTS.iter().all(|word| Weight::parse(word).is_ok()));
        for word in PROTOCOLS {
            assert!(super::super::security::Protocol::parse(word).is_ok());
        }
        for word in MECHANISMS {
            assert!(Mechanism::parse(word).is_ok());
        }
        assert!(ROLES.iter().all(|word| Role::parse(word).is_ok()));
        assert!(ClusterId::parse("x").is_ok() && GroupId::parse("x").is_ok());
    }

    #[test]
    fn paths_are_unique_and_no_key_is_a_section() {
        for key in KEYS {
            let section = format!("{}.", key.path);
            let clash = |other: &&Key| other.path == key.path || other.path.starts_with(&section);
            assert_eq!(KEYS.iter().filter(clash).count(), 1, "{}", key.path);
        }
    }

    #[test]
    fn ranges_are_said_in_the_units_of_the_configuration() {
        assert_eq!(
            Kind::Duration(0, 600_000).check("11m"),
            Err(String::from("is out of range: 0s to 10m"))
        );
        assert_eq!(
            Kind::Size(MIB, 1024 * MIB).unit(),
            "a size from 1MiB to 1GiB"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", shaped in "[-0-9a-z{}:=+.,\"\\[\\]]{0,20}") {
            for key in KEYS {
                for text in [&text, &shaped] {
                    if let Err(what) = key.check(text) {
                        proptest::prop_assert!(!what.is_empty());
                    }
                }
            }
        }
    }
}
