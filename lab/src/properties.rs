//! Rendering `server.properties`, `zoo.cfg` and the log configurations. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use crate::doors::Door;
use crate::release::{Logging, Release};
use crate::spec::{Layout, NodeId, Role, Spec, Timing};
use crate::wiring::{APP, BROKER, CLIENT, CONTROLLER, Wiring};

/// The name of the super user that brokers, controllers and the lab itself use with ACLs on.
pub(crate) const SUPER_USER: &str = "lab";

type Properties = BTreeMap<String, String>;

/// Everything `server.properties` of one node depends on.
pub(crate) struct NodeConfig<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) wiring: &'a Wiring,
    pub(crate) id: NodeId,
    pub(crate) role: Role,
    pub(crate) release: Release,
    /// The folder for logs (data).
    pub(crate) data: &'a Path,
    /// Password of [`SUPER_USER`]; used with ACLs only.
    pub(crate) password: &'a str,
    /// Set by `start_with_config`; win over everything.
    pub(crate) overrides: &'a BTreeMap<String, String>,
}

impl NodeConfig<'_> {
    /// The text of `server.properties`.
    pub(crate) fn render(&self) -> String {
        let mut all = Properties::new();
        self.identity(&mut all);
        self.listeners(&mut all);
        self.quorum(&mut all);
        self.sizes(&mut all);
        if self.spec.timing == Timing::Quick {
            self.quick(&mut all);
        }
        if self.spec.acl {
            self.security(&mut all);
        }
        all.extend(self.spec.properties.clone());
        all.extend(
            self.spec
                .node_properties
                .get(&self.id)
                .cloned()
                .unwrap_or_default(),
        );
        all.extend(self.overrides.clone());
        lines(&all)
    }

    fn is_zookeeper(&self) -> bool {
        matches!(self.spec.layout, Layout::ZooKeeper { .. })
    }

    fn identity(&self, all: &mut Properties) {
        let roles = match self.role {
            Role::Broker => "broker",
            Role::Controller => "controller",
            Role::Combined => "broker,controller",
            Role::ZooKeeper => return,
        };
        if self.is_zookeeper() {
            put(all, "broker.id", self.id);
        } else {
            put(all, "node.id", self.id);
            put(all, "process.roles", roles);
        }
        put(all, "log.dirs", self.data.display());
    }

    fn listeners(&self, all: &mut Properties) {
        let (id, wiring) = (self.id, self.wiring);
        let mut bound = Vec::new();
        let mut advertised = Vec::new();
        if self.role.is_broker() {
            bound.push((CLIENT, wiring.client_bind(id)));
            advertised.push((CLIENT, wiring.client(id)));
            if wiring.is_split() {
                bound.push((BROKER, wiring.inter_broker_bind(id)));
                bound.push((APP, wiring.app(id)));
                advertised.push((BROKER, wiring.inter_broker(id)));
                advertised.push((APP, wiring.app(id)));
            }
            for (place, door) in self.spec.doors.iter().enumerate() {
                bound.push((&door.name, wiring.door(place, id)));
                advertised.push((&door.name, wiring.door(place, id)));
                door_lines(all, door);
            }
            let between = if wiring.is_split() { BROKER } else { CLIENT };
            put(all, "inter.broker.listener.name", between);
        }
        if self.role.is_controller() {
            bound.push((CONTROLLER, wiring.controller_bind(id)));
            for (place, door) in self.spec.controller_doors.iter().enumerate() {
                bound.push((&door.name, wiring.controller_door(self.spec, place, id)));
                door_lines(all, door);
            }
            // Before 3.9 a controller's listener must not be advertised; nobody would look, either.
            if self.spec.relays && self.release.tells_voter_endpoints() {
                advertised.push((CONTROLLER, wiring.controller(id)));
            }
        }
        put(all, "listeners", join(&bound));
        if !advertised.is_empty() {
            put(all, "advertised.listeners", join(&advertised));
        }
        put(all, "listener.security.protocol.map", self.protocols());
    }

    fn protocols(&self) -> String {
        let inner = if self.spec.acl {
            "SASL_PLAINTEXT"
        } else {
            "PLAINTEXT"
        };
        let mut brokers = format!("{CLIENT}:PLAINTEXT,{BROKER}:{inner},{APP}:{inner}");
        for door in self.spec.doors.iter().chain(&self.spec.controller_doors) {
            brokers.push_str(&format!(",{}:{}", door.name, door.protocol));
        }
        if self.is_zookeeper() {
            brokers
        } else {
            format!("{brokers},{CONTROLLER}:{inner}")
        }
    }

    fn quorum(&self, all: &mut Properties) {
        if self.is_zookeeper() {
            let port = self.wiring.zookeeper_link(self.id);
            put(all, "zookeeper.connect", format!("127.0.0.1:{port}"));
            // Its default is the session time-out, too short for a ZooKeeper that starts meanwhile
            // on a busy machine: the broker would give up and end.
            put(all, "zookeeper.connection.timeout.ms", 60_000);
            return;
        }
        let nodes = self.spec.nodes();
        let voters = nodes
            .iter()
            .filter(|(_, role)| role.is_controller())
            .map(|(voter, _)| {
                format!(
                    "{voter}@127.0.0.1:{}",
                    self.wiring.quorum_link(self.id, *voter)
                )
            });
        put(
            all,
            "controller.quorum.voters",
            voters.collect::<Vec<_>>().join(","),
        );
        // The first is the one that nodes use among themselves.
        let doors = self.spec.controller_doors.iter();
        let names = [CONTROLLER]
            .into_iter()
            .chain(doors.map(|door| &*door.name));
        let names: Vec<_> = names.collect();
        put(all, "controller.listener.names", names.join(","));
    }

    fn sizes(&self, all: &mut Properties) {
        let copies = self.spec.broker_count().min(3);
        let needed = copies.saturating_sub(1).max(1);
        put(all, "default.replication.factor", copies);
        put(all, "min.insync.replicas", needed);
        put(all, "offsets.topic.replication.factor", copies);
        put(all, "offsets.topic.num.partitions", 10);
        put(all, "transaction.state.log.replication.factor", copies);
        put(all, "transaction.state.log.min.isr", needed);
        put(all, "transaction.state.log.num.partitions", 3);
        put(all, "auto.create.topics.enable", false);
        put(all, "group.initial.rebalance.delay.ms", 0);
        put(all, "log.segment.bytes", 64 * 1024 * 1024);
        put(all, "num.network.threads", 2);
        put(all, "num.io.threads", 4);
    }

    fn quick(&self, all: &mut Properties) {
        put(all, "offsets.topic.num.partitions", 1);
        put(all, "transaction.state.log.num.partitions", 1);
        put(all, "replica.lag.time.max.ms", 5000);
        // 128 MB of every broker's memory is the cleaner's buffer (measured).
        put(all, "log.cleaner.enable", false);
        if self.is_zookeeper() {
            put(all, "zookeeper.session.timeout.ms", 3000);
        } else {
            put(all, "broker.session.timeout.ms", 3000);
            put(all, "broker.heartbeat.interval.ms", 500);
            put(all, "controller.quorum.election.timeout.ms", 500);
            put(all, "controller.quorum.fetch.timeout.ms", 1000);
        }
    }

    fn security(&self, all: &mut Properties) {
        let zookeeper = self.is_zookeeper();
        let authorizer = if zookeeper {
            "kafka.security.authorizer.AclAuthorizer"
        } else {
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        };
        put(all, "authorizer.class.name", authorizer);
        put(all, "super.users", format!("User:{SUPER_USER}"));
        put(all, "sasl.enabled.mechanisms", "PLAIN");
        put(all, "sasl.mechanism.inter.broker.protocol", "PLAIN");
        let password = self.password;
        let login = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"{SUPER_USER}\" password=\"{password}\" user_{SUPER_USER}=\"{password}\";"
        );
        let mut listeners = vec![BROKER, APP];
        if !zookeeper {
            put(all, "sasl.mechanism.controller.protocol", "PLAIN");
            listeners.push(CONTROLLER);
        }
        for listener in listeners {
            let listener = listener.to_lowercase();
            put(
                all,
                &format!("listener.name.{listener}.plain.sasl.jaas.config"),
                &login,
            );
        }
    }
}

/// The text of `zoo.cfg`. `tickTime` bounds the session time-outs a server grants: 2 to 20 ticks.
pub(crate) fn zoo_cfg(timing: Timing, port: u16, data: &Path) -> String {
    let tick = match timing {
        Timing::Stock => 2000,
        Timing::Quick => 500,
    };
    let mut all = Properties::new();
    put(&mut all, "tickTime", tick);
    put(&mut all, "dataDir", data.display());
    put(&mut all, "clientPort", port);
    put(&mut all, "clientPortAddress", "127.0.0.1");
    put(&mut all, "admin.enableServer", false);
    put(&mut all, "maxClientCnxns", 0);
    lines(&all)
}

/// A log configuration: everything to standard output.
pub(crate) struct LogConfig {
    pub(crate) file: &'static str,
    /// What comes before the file's path in the `-D` option.
    pub(crate) option: &'static str,
    pub(crate) text: &'static str,
}

pub(crate) fn logging(kind: Logging) -> LogConfig {
    match kind {
        Logging::Reload4j => LogConfig {
            file: "log4j.properties",
            option: "-Dlog4j.configuration=file:",
            text: "log4j.rootLogger=INFO, out\n\
                   log4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                   log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                   log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n\n",
        },
        Logging::Log4j2 => LogConfig {
            file: "log4j2.properties",
            option: "-Dlog4j2.configurationFile=",
            text: "rootLogger.level=INFO\n\
                   rootLogger.appenderRef.out.ref=OUT\n\
                   appender.out.type=Console\n\
                   appender.out.name=OUT\n\
                   appender.out.layout.type=PatternLayout\n\
                   appender.out.layout.pattern=%d{ISO8601} %p %c{1}: %m%n\n",
        },
    }
}

fn put(all: &mut Properties, key: &str, value: impl ToString) {
    all.insert(key.to_owned(), value.to_string());
}

fn door_lines(all: &mut Properties, door: &Door) {
    let name = door.name.to_lowercase();
    for (key, value) in &door.lines {
        put(all, &format!("listener.name.{name}.{key}"), value);
    }
}

fn join(listeners: &[(&str, u16)]) -> String {
    let all = listeners
        .iter()
        .map(|(name, port)| format!("{name}://127.0.0.1:{port}"));
    all.collect::<Vec<_>>().join(",")
}

fn lines(all: &Properties) -> String {
    all.iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(spec: &Spec, id: NodeId, role: Role) -> Vec<String> {
        let config = NodeConfig {
            spec,
            wiring: &Wiring::new(spec, 20_000),
            id,
            role,
            release: spec.release,
            data: Path::new("/d"),
            password: "pw",
            overrides: &BTreeMap::from([("num.io.threads".into(), "7".into())]),
        };
        config.render().lines().map(str::to_owned).collect()
    }

    fn has(lines: &[String], line: &str) -> bool {
        lines.iter().any(|have| have == line)
    }

    #[test]
    fn a_broker_and_a_controller_of_a_separate_cluster() {
        let spec = Spec::kraft(Release::V3_9_2).property("num.network.threads", "9");
        let broker = render(&spec, 2, Role::Broker);
        assert!(has(&broker, "process.roles=broker"));
        assert!(has(&broker, "listeners=CLIENT://127.0.0.1:20002"));
        assert!(has(
            &broker,
            "advertised.listeners=CLIENT://127.0.0.1:20002"
        ));
        let voters = "101@127.0.0.1:20101,102@127.0.0.1:20102,103@127.0.0.1:20103";
        assert!(has(&broker, &format!("controller.quorum.voters={voters}")));
        assert!(
            has(&broker, "num.network.threads=9"),
            "the spec's own lines win"
        );
        assert!(
            has(&broker, "num.io.threads=7"),
            "start_with_config wins over all"
        );
        let controller = render(&spec, 101, Role::Controller);
        assert!(has(&controller, "listeners=CONTROLLER://127.0.0.1:20101"));
        assert!(!controller.iter().any(|line| line.starts_with("advertised")));
    }

    #[test]
    fn zookeeper_brokers_name_no_kraft_key() {
        let lines = render(
            &Spec::zookeeper(Release::V2_8_2).quick().acl(),
            1,
            Role::Broker,
        );
        assert!(has(&lines, "broker.id=1"));
        assert!(has(&lines, "zookeeper.connect=127.0.0.1:20401"));
        assert!(has(&lines, "zookeeper.session.timeout.ms=3000"));
        let kraft = |line: &String| line.contains("controller.") || line.contains("process.roles");
        assert!(!lines.iter().any(kraft), "{lines:?}");
    }

    #[test]
    fn with_acls_only_the_client_listener_is_open_to_anyone() {
        let lines = render(&Spec::combined(Release::V4_3_1).acl(), 1, Role::Combined);
        let map =
            "CLIENT:PLAINTEXT,BROKER:SASL_PLAINTEXT,APP:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT";
        assert!(has(
            &lines,
            &format!("listener.security.protocol.map={map}")
        ));
        assert!(has(&lines, "super.users=User:lab"));
        assert!(has(&lines, "inter.broker.listener.name=BROKER"));
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.contains("user_lab=\"pw\""))
                .count(),
            3
        );
    }

    #[test]
    fn with_relays_nodes_find_each_other_through_them() {
        let spec = Spec::kraft(Release::V3_9_2).relays();
        let mut wiring = Wiring::new(&spec, 20_000);
        wiring.links.quorum.insert((1, 101), 40_001);
        wiring.links.inter_broker.insert(1, 40_002);
        let config = NodeConfig {
            spec: &spec,
            wiring: &wiring,
            id: 1,
            role: Role::Broker,
            release: spec.release,
            data: Path::new("/d"),
            password: "",
            overrides: &BTreeMap::new(),
        };
        let text = config.render();
        assert!(
            text.contains("101@127.0.0.1:40001,102@127.0.0.1:20142"),
            "{text}"
        );
        let advertised = "CLIENT://127.0.0.1:20001,BROKER://127.0.0.1:40002,APP://127.0.0.1:20061";
        assert!(
            text.contains(&format!("advertised.listeners={advertised}\n")),
            "{text}"
        );
        assert!(
            text.contains("\nlisteners=CLIENT://127.0.0.1:20041,"),
            "{text}"
        );
    }
}
