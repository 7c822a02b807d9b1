//! From checked values to typed settings, and the contradictions between values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::keys::Preset;
use super::leaf::{Bytes, HostPort, JmxTemplate, JmxUrl, Leaf, Listen, Series, one_of};
use super::problem::{Origin, Problem};
use super::settings::{
    AddressMapSettings, Controllers, GateSettings, HistorySettings, JmxSettings, KafkaSettings,
    Limits, LogFormat, LogSettings, Settings, metric_named,
};
use super::walk::{Entry, Walked};
use crate::evidence::ids::{ClusterId, GroupId, NodeId, Role};
use crate::evidence::jmx::Metric;
use crate::evidence::policy::{LONGEST_BLIP, Mode, Policy, SHORTEST_WINDOW, Weight};
use crate::gate::state::GateName;
use crate::rights::{AuthSettings, Right, TokenSettings};

/// Builds the settings. `None` only when there are problems; they are in `walked.problems`.
pub(super) fn build(walked: &mut Walked, gates: &BTreeSet<String>) -> Option<Settings> {
    let mut problems = Vec::new();
    let settings = Builder {
        walked,
        problems: &mut problems,
        base: Vec::new(),
    }
    .settings(gates);
    walked.problems.append(&mut problems);
    if settings.is_none() && walked.problems.is_empty() {
        // The table and this file disagree, which a test over all keys excludes.
        walked.problems.push(Problem {
            path: String::new(),
            what: String::from("the program could not read its own defaults; report this"),
            origin: None,
        });
    }
    settings.filter(|_| walked.problems.is_empty())
}

pub(super) struct Builder<'w> {
    walked: &'w Walked,
    problems: &'w mut Vec<Problem>,
    /// The section that paths begin in.
    base: Vec<String>,
}

impl Builder<'_> {
    fn settings(&mut self, gates: &BTreeSet<String>) -> Option<Settings> {
        if gates.is_empty() && !self.is_bad("gates") {
            self.problem(
                "gates",
                "is missing: name a gate there, or give --bootstrap and --jmx",
            );
        }
        let mut built = BTreeMap::new();
        for gate in gates {
            let inner = self.inside(gate).gate();
            if let (Ok(name), Some(inner)) = (GateName::try_from(gate.clone()), inner) {
                built.insert(name, inner);
            }
        }
        let listen: Vec<Listen> = self.list("listen");
        self.needs_some("listen", &listen);
        Some(Settings {
            listen: listen.into_iter().map(|listen| listen.0).collect(),
            log: self.log()?,
            data_dir: self.get::<PathBuf>("data_dir"),
            auth: self.auth(),
            reload_enabled: self.get("reload_enabled")?,
            limits: self.limits()?,
            history: HistorySettings {
                retention: self.get("history.retention")?,
                max_entries: self.get("history.max_entries")?,
            },
            gates: built,
        })
    }

    fn log(&self) -> Option<LogSettings> {
        Some(LogSettings {
            format: self.get("log.format")?,
            filter: self.get("log.filter")?,
        })
    }

    fn auth(&mut self) -> AuthSettings {
        let files: BTreeMap<String, PathBuf> = self.named("auth.tokens", Some("file"));
        let rights: BTreeMap<String, Right> = self.named("auth.tokens", Some("rights"));
        for name in files.keys().chain(rights.keys()) {
            for (what, there) in [
                ("file", files.contains_key(name)),
                ("rights", rights.contains_key(name)),
            ] {
                let path = format!("auth.tokens.{name}.{what}");
                if !there && !self.is_bad(&path) {
                    self.problem(&path, "is missing: a token needs its file and its rights");
                }
            }
        }
        let both = |(name, file)| {
            let rights = rights.get(&name).copied()?;
            Some((name, TokenSettings { file, rights }))
        };
        let web_config = self.get::<PathBuf>("web_config");
        for section in ["auth.users", "auth.certificates"] {
            if web_config.is_none() && self.any_under(section) && !self.is_bad("web_config") {
                self.problem(
                    section,
                    "needs web_config, the file that has users and the client CA",
                );
            }
        }
        AuthSettings {
            web_config,
            tokens: files.into_iter().filter_map(both).collect(),
            users: self.named("auth.users", None),
            certificates: self.named("auth.certificates", None),
        }
    }

    /// What stands below a section under names that the user chose, in the key of this name.
    fn named<T: Leaf>(&self, section: &str, key: Option<&str>) -> BTreeMap<String, T> {
        let depth = self.full(section).len();
        let read = |(path, entry): (&Vec<String>, &Entry)| {
            let (name, rest) = path.get(depth..)?.split_first()?;
            let fits = rest.first().map(String::as_str) == key;
            let value = T::parse(entry.texts.first()?).ok()?;
            fits.then(|| (name.clone(), value))
        };
        self.under(section).filter_map(read).collect()
    }

    fn limits(&self) -> Option<Limits> {
        let number = |n: u64| usize::try_from(n).ok();
        Some(Limits {
            connections: number(self.get("limits.connections")?)?,
            connections_per_peer: number(self.get("limits.connections_per_peer")?)?,
            requests_per_second: u32::try_from(self.get::<u64>("limits.requests_per_second")?)
                .ok()
                .filter(|limit| *limit > 0),
            waiters: number(self.get("limits.waiters")?)?,
            waiters_per_peer: number(self.get("limits.waiters_per_peer")?)?,
            drain: self.get("limits.drain")?,
            jmx_page: number(self.get::<Bytes>("limits.jmx_page")?.0)?,
            kafka_answer: number(self.get::<Bytes>("limits.kafka_answer")?.0)?,
        })
    }

    fn gate(&mut self) -> Option<GateSettings> {
        let mode: Option<Mode> = self.get("mode");
        let nodes: BTreeMap<NodeId, Role> = self.map("nodes");
        let kafka = self.kafka(mode, &nodes);
        let jmx = self.jmx(mode);
        let hosts = self.hosts();
        let mode = mode?;
        let jmx_nodes = match &jmx {
            Some(jmx) if jmx.template.is_none() => Some(jmx.targets.keys().copied().collect()),
            Some(_) => None,
            None => Some(BTreeSet::new()),
        };
        let policy = Policy {
            mode,
            cluster_id: self.get::<ClusterId>("cluster_id"),
            expected: expected(nodes, kafka.as_ref()),
            jmx_nodes,
            via_brokers: kafka
                .as_ref()
                .is_some_and(|kafka| kafka.controllers == Controllers::ViaBrokers),
            window: self.get::<Duration>("policy.window"),
            shortest_window: SHORTEST_WINDOW,
            longest_blip: LONGEST_BLIP,
            structural: self.get::<Weight>("policy.structural")?,
            degraded: self.get::<Weight>("policy.degraded")?,
            leadership_quiet: self.get("policy.leadership_quiet")?,
            slots: usize::try_from(self.get::<u64>("policy.slots")?).ok()?,
            groups: self.list::<GroupId>("policy.groups"),
        };
        Some(GateSettings {
            kafka: kafka.filter(|_| mode.kafka()),
            jmx: jmx.filter(|_| mode.jmx()),
            hosts,
            policy,
        })
    }

    fn hosts(&mut self) -> BTreeMap<String, BTreeSet<NodeId>> {
        let mut hosts = BTreeMap::new();
        for (path, entry) in self.under("hosts") {
            let nodes = entry.texts.iter();
            let nodes = nodes.filter_map(|node| NodeId::parse(node).ok());
            if let Some(name) = path.last() {
                hosts.insert(name.clone(), nodes.collect::<BTreeSet<_>>());
            }
        }
        let mut seen: BTreeMap<NodeId, &str> = BTreeMap::new();
        for (name, nodes) in &hosts {
            if nodes.is_empty() {
                self.problem(&format!("hosts.{name}"), "is empty: name the nodes on it");
            }
            for node in nodes {
                if let Some(other) = seen.insert(*node, name) {
                    let what = format!("node {node} is on {other} already: one node, one host");
                    self.problem(&format!("hosts.{name}"), &what);
                }
            }
        }
        hosts
    }

    fn kafka(
        &mut self,
        mode: Option<Mode>,
        nodes: &BTreeMap<NodeId, Role>,
    ) -> Option<KafkaSettings> {
        let reads = mode.is_none_or(Mode::kafka);
        let bootstrap: Vec<HostPort> = self.list("kafka.bootstrap");
        if reads {
            self.needs_some("kafka.bootstrap", &bootstrap);
        }
        let unused = ["bootstrap", "address_map", "controllers"]
            .map(|name| format!("kafka.{name}"))
            .into_iter()
            .find(|path| !reads && self.any_under(path));
        if let Some(path) = unused {
            self.problem(
                &path,
                "contradicts mode: jmx, in which Kafka itself is not read",
            );
        }
        let address_map = self.address_map();
        let what = "two nodes cannot share an address";
        self.each_once("kafka.address_map", &address_map.nodes, what);
        let security = self.security(reads);
        let controllers = self.controllers(nodes)?;
        let (tls, login) = security?;
        Some(KafkaSettings {
            bootstrap,
            client_id: self.get("kafka.client_id")?,
            address_map,
            controllers,
            tls,
            login,
        })
    }

    fn controllers(&mut self, nodes: &BTreeMap<NodeId, Role>) -> Option<Controllers> {
        let at: BTreeMap<NodeId, HostPort> = self.map("kafka.controllers");
        self.each_once(
            "kafka.controllers",
            &at,
            "two controllers cannot share an address",
        );
        for node in at.keys() {
            if nodes.get(node).is_some_and(|role| !role.controller) {
                let path = format!("kafka.controllers.{node}");
                self.problem(&path, "contradicts nodes, where this node is no controller");
            }
        }
        match (self.get("kafka.via_brokers")?, at.is_empty()) {
            (false, true) => Some(Controllers::Discover),
            (false, false) => Some(Controllers::At(at)),
            (true, true) => Some(Controllers::ViaBrokers),
            (true, false) => {
                let what =
                    "contradicts kafka.controllers: controllers are asked themselves, or not";
                self.problem("kafka.via_brokers", what);
                None
            }
        }
    }

    fn address_map(&self) -> AddressMapSettings {
        AddressMapSettings {
            nodes: self.map("kafka.address_map"),
            addresses: self.map("kafka.address_map"),
        }
    }

    fn jmx(&mut self, mode: Option<Mode>) -> Option<JmxSettings> {
        let path: String = self.get("jmx.path")?;
        let access = self.exporter_access();
        let targets: BTreeMap<NodeId, JmxUrl> = self.map("jmx.targets");
        let targets: BTreeMap<NodeId, String> = targets
            .into_iter()
            .map(|(node, url)| (node, with_path(url.0, &path)))
            .collect();
        let template: Option<JmxTemplate> = self.get("jmx.template");
        let template = template.map(|template| with_path(template.0, &path));
        let what = "two nodes cannot share a JMX exporter: one would be judged by the other's page";
        self.each_once("jmx.targets", &targets, what);
        let given = |path: &str| self.any_under(path) || self.is_bad(path);
        let (has_targets, has_template) = (given("jmx.targets"), given("jmx.template"));
        match mode {
            Some(Mode::Kafka) if has_targets || has_template => {
                self.problem("jmx", "contradicts mode: kafka, in which JMX is not read");
            }
            Some(Mode::Jmx) if !has_targets => self.problem(
                "jmx.targets",
                "is missing: mode jmx finds no nodes by itself, so a template has nothing to fill",
            ),
            Some(Mode::KafkaJmx) if !has_targets && !has_template => self.problem(
                "jmx",
                "is missing: set jmx.template or jmx.targets (or --jmx), or mode: kafka to do without",
            ),
            Some(Mode::Kafka | Mode::Jmx | Mode::KafkaJmx) | None => {}
        }
        let access = access?;
        Some(JmxSettings {
            targets,
            template,
            tls: access.tls,
            basic_auth: access.basic_auth,
            headers: access.headers,
            metrics: self
                .map::<MetricName, Series>("jmx.metrics")
                .into_iter()
                .map(|(name, series)| (name.0, series))
                .collect(),
        })
    }
}

/// The nodes that the configuration names, with their roles.
fn expected(
    mut nodes: BTreeMap<NodeId, Role>,
    kafka: Option<&KafkaSettings>,
) -> BTreeMap<NodeId, Role> {
    match kafka.map(|kafka| &kafka.controllers) {
        Some(Controllers::At(controllers)) => {
            for node in controllers.keys() {
                let role = nodes.entry(*node).or_default();
                *role = role.and(Role::CONTROLLER);
            }
        }
        Some(Controllers::Discover | Controllers::ViaBrokers) | None => {}
    }
    nodes
}

/// A metric by its MBean name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct MetricName(Metric);

impl Leaf for MetricName {
    fn parse(text: &str) -> Result<Self, String> {
        metric_named(text)
            .map(Self)
            .ok_or_else(|| String::from("wants a metric that the gate reads"))
    }
}

impl Leaf for Right {
    fn parse(text: &str) -> Result<Self, String> {
        one_of(text, Self::ALL.map(|right| (right.as_str(), right)))
    }
}

impl Leaf for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        one_of(text, [("text", Self::Text), ("json", Self::Json)])
    }
}

/// The address with this path, unless it has one.
fn with_path(url: String, path: &str) -> String {
    let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    match host.split_once('/') {
        None => url + path,
        Some((_, "")) => String::from(url.trim_end_matches('/')) + path,
        Some(_) => url,
    }
}

/// How values are read.
impl Builder<'_> {
    /// A builder for one gate.
    fn inside(&mut self, gate: &str) -> Builder<'_> {
        Builder {
            walked: self.walked,
            problems: self.problems,
            base: vec![String::from("gates"), String::from(gate)],
        }
    }

    fn full(&self, path: &str) -> Vec<String> {
        let parts = path.split('.').map(String::from);
        self.base.iter().cloned().chain(parts).collect()
    }

    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        self.walked.entries.get(&self.full(path))
    }

    /// The value, unless there is none or it is wrong, which the walk has told.
    pub(super) fn get<T: Leaf>(&self, path: &str) -> Option<T> {
        let entry = self.entry(path)?;
        T::parse(entry.texts.first()?).ok()
    }

    fn list<T: Leaf>(&self, path: &str) -> Vec<T> {
        let texts = self.entry(path).map(|entry| entry.texts.as_slice());
        let texts = texts.unwrap_or_default();
        texts
            .iter()
            .filter_map(|text| T::parse(text).ok())
            .collect()
    }

    /// The entries of a section whose names the user chose, as far as names and values are of
    /// these types.
    fn map<K: Leaf + Ord, T: Leaf>(&self, path: &str) -> BTreeMap<K, T> {
        let read = |(path, entry): (&Vec<String>, &Entry)| {
            let name = K::parse(path.last()?).ok()?;
            let value = T::parse(entry.texts.first()?).ok()?;
            Some((name, value))
        };
        self.under(path).filter_map(read).collect()
    }

    pub(super) fn under(&self, path: &str) -> impl Iterator<Item = (&Vec<String>, &Entry)> {
        let full = self.full(path);
        let entries = self.walked.entries.iter();
        entries.filter(move |(path, _)| path.starts_with(&full))
    }

    /// Whether somebody has set something here or below that differs from the default.
    pub(super) fn set_under(&self, path: &str) -> bool {
        let differs = |entry: &Entry| match entry.key.preset {
            Preset::Is(text) => entry.texts.first().is_none_or(|set| set != text),
            Preset::Absent(_) | Preset::Needed(_) => true,
        };
        self.under(path).any(|(_, entry)| differs(entry))
    }

    fn any_under(&self, path: &str) -> bool {
        self.under(path).next().is_some()
    }

    /// Whether something at or under this path is wrong, and told already.
    pub(super) fn is_bad(&self, path: &str) -> bool {
        let full = self.full(path);
        self.walked
            .bad
            .iter()
            .any(|bad| bad.starts_with(&full) || full.starts_with(bad))
    }

    fn needs_some<T>(&mut self, path: &str, list: &[T]) {
        if list.is_empty() && !self.is_bad(path) {
            let what = match self.entry(path) {
                Some(_) => "is empty: name at least one",
                None => "is missing",
            };
            self.problem(path, what);
        }
    }

    fn each_once<T: Ord>(&mut self, path: &str, map: &BTreeMap<NodeId, T>, what: &str) {
        let mut seen = BTreeSet::new();
        for (node, value) in map {
            if !seen.insert(value) {
                self.problem(&format!("{path}.{node}"), what);
            }
        }
    }

    pub(super) fn problem(&mut self, path: &str, what: &str) {
        let origin = self
            .under(path)
            .map(|(_, entry)| entry.origin.clone())
            .find(|origin| *origin != Origin::Default);
        self.problems.push(Problem {
            path: self.full(path).join("."),
            what: String::from(what),
            origin,
        });
    }
}
