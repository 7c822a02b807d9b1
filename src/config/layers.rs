//! The layers that are merged: defaults, a file, the environment, flags. Each layer is brought
//! into one shape first (`security.protocol: x` and `security: {protocol: x}` are the same key),
//! so that figment merges like with like.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use figment::providers::Format;
use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

use super::keys::{self, KEYS, Key, Pattern, Preset, is_placeholder};
use super::names::refused;
use super::problem::{Origin, Problem};
use super::settings::METRICS;
use super::suggest;

/// Begins the name of every environment variable that sets a key.
pub(super) const ENV_PREFIX: &str = "UPGRADE_GATE_";

/// Variables that begin the same and set something else: the command line reads them itself.
const OTHER_VARIABLES: &[&str] = &[
    "CONFIG",
    "URL",
    "GATE",
    "OWNER",
    "TOKEN_FILE",
    "CA_FILE",
    "CERT_FILE",
    "KEY_FILE",
    "USERNAME",
    "PASSWORD_FILE",
    // `exec` gives these to its command.
    "LEASE",
    "TOKEN",
];

/// YAML (and so JSON) for figment, whose own backend is unmaintained.
struct Yaml;

impl Format for Yaml {
    type Error = yaml_serde::Error;
    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        // Into yaml's own value first: it refuses a key that is written twice, a map keeps the last.
        match yaml_serde::from_str(text)? {
            yaml_serde::Value::Null => yaml_serde::from_str("{}"),
            _ => yaml_serde::from_str(text),
        }
    }
}

/// TOML for figment, whose own backend is two versions behind.
struct Toml;

impl Format for Toml {
    type Error = toml::de::Error;
    const NAME: &'static str = "TOML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        toml::from_str(text)
    }
}

/// One layer: what one source sets.
#[derive(Clone)]
pub(super) struct Layer {
    origin: Origin,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.origin.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

impl Layer {
    /// A file: TOML by its name, YAML otherwise. Exactly this file: no search in parent folders.
    pub(super) fn file(path: &Path) -> Result<Self, Problem> {
        let origin = Origin::File(path.to_path_buf());
        let toml = path.extension().is_some_and(|end| end == "toml");
        let read = if toml {
            Toml::file_exact(path).data()
        } else {
            Yaml::file_exact(path).data()
        };
        let mut profiles = read.map_err(|error| Problem {
            path: String::new(),
            what: format!(
                "failed to read the file: {}",
                in_one_line(&error.to_string())
            ),
            origin: Some(origin.clone()),
        })?;
        let dict = profiles.remove(&Profile::Default).unwrap_or_default();
        let dict = nested(dict, &mut Pattern::new());
        Ok(Self { origin, dict })
    }

    /// One value at one place.
    fn one(origin: Origin, path: &[String], text: &str) -> Self {
        let mut dict = Dict::new();
        put(&mut dict, path, Value::from(text));
        Self { origin, dict }
    }

    /// What a flag sets.
    pub(super) fn flag(name: &str, path: &[String], text: &str) -> Self {
        Self::one(Origin::Flag(String::from(name)), path, text)
    }

    /// What an environment variable sets; `None` for a variable that is none of ours.
    pub(super) fn env(
        name: &str,
        text: &str,
        gates: &BTreeSet<String>,
    ) -> Option<Result<Self, Problem>> {
        let rest = name.strip_prefix(ENV_PREFIX)?;
        if OTHER_VARIABLES.contains(&rest) || is_service_link(rest) {
            return None;
        }
        let origin = Origin::Env(String::from(name));
        Some(match env_path(rest, gates) {
            Ok(path) => Ok(Self::one(origin, &path, text)),
            Err(what) => Err(Problem {
                path: String::new(),
                what,
                origin: Some(origin),
            }),
        })
    }

    /// Every default: of the program, and of each gate that the other layers name.
    pub(super) fn defaults(gates: &BTreeSet<String>) -> Self {
        let mut dict = Dict::new();
        for key in KEYS {
            let Preset::Is(text) = key.preset else {
                continue;
            };
            for path in default_paths(key, gates) {
                put(&mut dict, &path, Value::from(text));
            }
        }
        let origin = Origin::Default;
        Self { origin, dict }
    }

    /// The gates that this layer names.
    pub(super) fn gates(&self) -> BTreeSet<String> {
        let gates = self.dict.get("gates").and_then(Value::as_dict);
        gates
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Where a key's default goes. A key below a name other than a gate's has no default.
fn default_paths(key: &Key, gates: &BTreeSet<String>) -> Vec<Vec<String>> {
    let path_in = |gate: &str| {
        let name = |part| if part == "<gate>" { gate } else { part };
        key.segments()
            .map(|part| String::from(name(part)))
            .collect()
    };
    if key.path.contains("<gate>") {
        gates.iter().map(|gate| path_in(gate)).collect()
    } else {
        vec![path_in("")]
    }
}

/// Sets one value, making the sections on the way.
fn put(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => match (dict.get_mut(name), value) {
            (Some(Value::Dict(_, old)), Value::Dict(_, new)) => old.extend(new),
            (_, value) => {
                dict.insert(name.clone(), value);
            }
        },
        [name, rest @ ..] => {
            let section = dict
                .entry(name.clone())
                .or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
            if !matches!(section, Value::Dict(..)) {
                *section = Value::Dict(Tag::Default, Dict::new());
            }
            if let Value::Dict(_, section) = section {
                put(section, rest, value);
            }
        }
    }
}

/// The same settings with dotted names as sections, except where users choose the names.
fn nested(dict: Dict, pattern: &mut Pattern) -> Dict {
    let known = keys::below(pattern);
    let chosen = known.iter().copied().find(|name| is_placeholder(name));
    let mut out = Dict::new();
    for (name, value) in dict {
        let parts: Vec<String> = match chosen {
            Some(_) => vec![name],
            None => name.split('.').map(String::from).collect(),
        };
        let depth = pattern.len();
        for part in &parts {
            let known = keys::below(pattern);
            let literal = known.iter().copied().find(|known| known == part);
            pattern.extend(chosen.or(literal));
        }
        let value = match value {
            Value::Dict(tag, inner) if pattern.len() == depth + parts.len() => {
                Value::Dict(tag, nested(inner, pattern))
            }
            value => value,
        };
        pattern.truncate(depth);
        put(&mut out, &parts, value);
    }
    out
}

/// The path that `GATES__DEFAULT__KAFKA__BOOTSTRAP` names. Names that users choose are looked up
/// among those known, since a variable's name has neither case nor dots and dashes.
fn env_path(name: &str, gates: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let mut pattern = Pattern::new();
    let mut path = Vec::new();
    for part in name.split("__") {
        let part = part.to_ascii_lowercase();
        let known = keys::below(&pattern);
        let literal = known.iter().copied().find(|known| *known == part);
        let chosen = known.iter().copied().find(|known| is_placeholder(known));
        let Some(segment) = literal.or(chosen) else {
            return Err(match refused(&pattern, &part) {
                Some(why) => String::from(why),
                None => format!("sets no key that exists{}", env_hint(name)),
            });
        };
        path.push(match segment {
            "<gate>" => like(&part, gates.iter().map(String::as_str)),
            "<metric>" => like(&part, METRICS.iter().map(|metric| metric.mbean())),
            _ => part,
        });
        pattern.push(segment);
    }
    match keys::at(&pattern) {
        Some(_) => Ok(path),
        None => Err(String::from("names a section, not a key")),
    }
}

fn env_hint(name: &str) -> String {
    static KNOWN: LazyLock<Vec<String>> =
        LazyLock::new(|| KEYS.iter().map(|key| env_name(key.path)).collect());
    // Nobody who wrote the prefix has come nearer to a name by it.
    let known = KNOWN
        .iter()
        .filter_map(|name| name.strip_prefix(ENV_PREFIX));
    suggest::did_you_mean(name, known, ENV_PREFIX)
}

/// The variable that sets a key: `UPGRADE_GATE_GATES__DEFAULT__MODE`.
pub(super) fn env_name(path: &str) -> String {
    let path = path.replace("<gate>", "default").replace('.', "__");
    format!("{ENV_PREFIX}{}", path.to_ascii_uppercase())
}

/// The known name that reads like this one in a variable's name, or the name itself.
fn like<'k>(part: &str, mut known: impl Iterator<Item = &'k str>) -> String {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['.', '-'], "_");
    let same = known.find(|name| plain(name) == plain(part));
    String::from(same.unwrap_or(part))
}

/// Kubernetes puts `<SERVICE>_PORT`, `<SERVICE>_SERVICE_HOST` and the like into every container;
/// a service called `upgrade-gate` must not become a configuration error.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT"
        || rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// What and where, without the picture between them.
fn in_one_line(error: &str) -> String {
    match (error.lines().next(), error.lines().last()) {
        (Some(first), Some(last)) if first != last => format!("{first}: {last}"),
        (first, _) => String::from(first.unwrap_or_default()),
    }
}
