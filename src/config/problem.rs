//! What is wrong with a configuration: every problem, where it is and where it came from.

use std::fmt;
use std::path::PathBuf;

use figment::{Metadata, Source};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable, by name.
    Env(String),
    /// A command line flag, by name.
    Flag(String),
}

impl Origin {
    /// What figment remembers about one layer; `None` for a layer that is not ours.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        match (&*metadata.name, &metadata.source) {
            (_, Some(Source::File(path))) => Some(Self::File(path.clone())),
            (Self::ENV, Some(Source::Custom(name))) => Some(Self::Env(name.clone())),
            (Self::FLAG, Some(Source::Custom(name))) => Some(Self::Flag(name.clone())),
            (Self::DEFAULT, _) => Some(Self::Default),
            _ => None,
        }
    }

    /// What figment is to remember about this layer.
    pub(super) fn metadata(&self) -> Metadata {
        match self {
            Self::Default => Metadata::named(Self::DEFAULT),
            Self::File(path) => Metadata::from("file", path.as_path()),
            Self::Env(name) => Metadata::from(Self::ENV, name.clone()),
            Self::Flag(name) => Metadata::from(Self::FLAG, name.clone()),
        }
    }

    /// Whether a message may repeat the value. Values in the environment may have been put there
    /// by somebody else and be secret.
    pub(super) const fn may_be_shown(&self) -> bool {
        match self {
            Self::Default | Self::File(_) | Self::Flag(_) => true,
            Self::Env(_) => false,
        }
    }

    const DEFAULT: &'static str = "default";
    const ENV: &'static str = "environment";
    const FLAG: &'static str = "flag";
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `gates.default.policy.window`; empty where it is none in particular.
    pub path: String,
    /// What is wrong and what to do.
    pub what: String,
    /// Where the value came from.
    pub origin: Option<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        match &self.origin {
            Some(origin) => write!(f, " [{origin}]"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Lines(.0))]
pub struct ConfigError(pub Vec<Problem>);

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in the configuration")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
