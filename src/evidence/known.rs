//! A fact that may not be known. There is no default value and no last known value.

use std::fmt;

/// A fact, or the reason why there is none. Never an `Option`: absence has causes, and they are
/// judged differently.
#[derive(Clone, Debug, PartialEq)]
pub enum Known<T> {
    /// The source said so.
    Is(T),
    /// The release asked has no such fact (for instance `fenced` before DescribeCluster v2).
    NotInRelease,
    /// The source has it but does not show it (an exporter's rules dropped the MBean).
    NotExported,
    /// We have no right to see it.
    Hidden,
    /// It was there and could not be read.
    Failed(Why),
}

/// Why a fact could not be read, in a few words that fit "failed to read it: ...".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why(pub String);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Known<T> {
    /// The value, when it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::NotInRelease | Self::NotExported | Self::Hidden | Self::Failed(_) => None,
        }
    }

    /// Why there is no value, for people; empty when there is one.
    pub fn why(&self) -> String {
        match self {
            Self::Is(_) => String::new(),
            Self::NotInRelease => String::from("this release has no such fact"),
            Self::NotExported => String::from("not exported"),
            Self::Hidden => String::from("no right to see it"),
            Self::Failed(why) => why.to_string(),
        }
    }
}
