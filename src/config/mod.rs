//! The configuration: layers merged by figment, one walk that tells every problem at once, and
//! typed settings that are valid when they exist.
//!
//! - [`keys`]: the table of every knob, from which all else comes;
//! - `names`: what chosen names have to be;
//! - [`leaf`]: how one value is read from text;
//! - `layers`: defaults, file, environment and flags in one shape;
//! - `walk`: the visit of the merged value; `build`: the settings and their contradictions;
//! - `security`: the same for TLS and logins;
//! - [`settings`]: the typed settings;
//! - [`effective`]: every value with where it came from; [`mod@reference`] and [`schema`]: the table
//!   as a commented file and as a JSON schema.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::Value;
use figment::{Figment, Metadata};

use layers::Layer;
use problem::{ConfigError, Origin, Problem};
use settings::Settings;

mod build;
pub mod effective;
pub mod keys;
mod layers;
pub mod leaf;
mod names;
pub mod problem;
pub mod reference;
pub mod schema;
mod security;
pub mod settings;
mod suggest;
mod walk;

/// What a configuration is made of, from weak to strong; the defaults are below all.
#[derive(Clone, Default)]
pub struct Sources {
    /// A YAML, JSON or TOML (`.toml`) file.
    pub file: Option<PathBuf>,
    /// The environment. Variables that do not begin with `UPGRADE_GATE_` are passed over.
    pub env: Vec<(String, String)>,
    /// What flags set.
    pub flags: Vec<Flag>,
}

/// Without values of the environment: they may be secret.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("env", &names)
            .field("flags", &self.flags)
            .finish()
    }
}

/// One value set by a flag.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as typed: `--bootstrap`.
    pub name: String,
    /// The parts of the key's path.
    pub path: Vec<String>,
    /// The value, as the configuration writes it.
    pub text: String,
}

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Every value, with where it came from.
    pub effective: effective::Effective,
}

impl Sources {
    /// This file and this process's environment.
    pub fn of_process(file: Option<&Path>) -> Self {
        // What is no UTF-8 keeps a replacement character, which no key takes.
        let text = |part: OsString| part.to_string_lossy().into_owned();
        Self {
            file: file.map(Path::to_path_buf),
            env: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .filter(|(name, _)| name.starts_with(layers::ENV_PREFIX))
                .collect(),
            flags: Vec::new(),
        }
    }

    /// Reads everything. Blocks on the file.
    ///
    /// # Errors
    /// Every problem there is, not the first.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let layers = self.layers(&mut problems);
        let mut figment = Figment::new();
        for layer in layers {
            figment = figment.merge(layer);
        }
        let gates = gates_in(&figment);
        let figment = figment.join(Layer::defaults(&gates));
        let merged = figment.find_value("").ok().and_then(Value::into_dict);
        let mut walked = walk::walk(&figment, &merged.unwrap_or_default());
        let settings = build::build(&mut walked, &gates);
        // Without the file that was meant, what is missing elsewhere says nothing.
        let file_failed = self.file.is_some() && !figment.metadata().any(is_file);
        if !file_failed {
            problems.append(&mut walked.problems);
        }
        match settings {
            Some(settings) if problems.is_empty() => Ok(Loaded {
                settings,
                effective: effective::Effective::of(walked.entries),
            }),
            Some(_) | None => Err(ConfigError(problems)),
        }
    }

    fn layers(&self, problems: &mut Vec<Problem>) -> Vec<Layer> {
        let mut layers = Vec::new();
        match self.file.as_deref().map(Layer::file) {
            None => {}
            Some(Ok(layer)) => layers.push(layer),
            Some(Err(problem)) => problems.push(problem),
        }
        let flags = self.flags.iter();
        let flags: Vec<_> = flags
            .map(|flag| Layer::flag(&flag.name, &flag.path, &flag.text))
            .collect();
        let gates: BTreeSet<String> = layers.iter().chain(&flags).flat_map(Layer::gates).collect();
        for (name, text) in &self.env {
            match Layer::env(name, text, &gates) {
                None => {}
                Some(Ok(layer)) => layers.push(layer),
                Some(Err(problem)) => problems.push(problem),
            }
        }
        layers.extend(flags);
        layers
    }
}

fn is_file(metadata: &Metadata) -> bool {
    matches!(Origin::of(metadata), Some(Origin::File(_)))
}

/// The names under `gates` that are sections.
fn gates_in(figment: &Figment) -> BTreeSet<String> {
    let gates = figment.find_value("gates").ok().and_then(Value::into_dict);
    let sections = gates.into_iter().flatten();
    sections
        .filter(|(_, gate)| gate.as_dict().is_some())
        .map(|(name, _)| name)
        .collect()
}
