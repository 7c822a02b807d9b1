//! The verdict's three states and the gate's name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The verdict. Only `Open` lets anyone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Everything needed is proven, on fresh evidence, for a whole window.
    Open,
    /// Something is wrong.
    Closed,
    /// Not enough is known.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::Unknown];

    /// `open`, `closed`, `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A gate's name: the `gate` label and a path segment, so 1 to 63 characters of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GateName(String);

/// A name that cannot be a gate's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no gate name: use 1 to 63 letters, digits, '.', '_' or '-'")]
pub struct BadGateName(String);

impl GateName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for GateName {
    fn default() -> Self {
        Self(String::from("default"))
    }
}

impl TryFrom<String> for GateName {
    type Error = BadGateName;

    fn try_from(name: String) -> Result<Self, BadGateName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let good =
            (1..=63).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.');
        if good {
            Ok(Self(name))
        } else {
            Err(BadGateName(name))
        }
    }
}

impl From<GateName> for String {
    fn from(name: GateName) -> Self {
        name.0
    }
}

impl fmt::Display for GateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_a_path_and_a_label() {
        let parse = |name: &str| GateName::try_from(String::from(name));
        assert!(parse("default").is_ok() && parse("prod-eu.1_a").is_ok());
        for bad in ["", "a/b", "a b", "..", &"x".repeat(64)] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
