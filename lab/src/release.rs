//! Kafka releases: which ones the lab can run, and how they differ on the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One Kafka release, such as `3.9.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Release {
    major: u16,
    minor: u16,
    patch: u16,
}

/// A text that names no Kafka release.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no Kafka release: write it as MAJOR.MINOR.PATCH, for example 4.3.1")]
pub struct ReleaseError {
    text: String,
}

/// The SLF4J binding that a release needs beside its own jars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// Up to 3.9: log4j 1 API. reload4j itself is needed, `kafka.Kafka` loads `Log4jController`.
    Reload4j,
    /// From 4.0 (KIP-653).
    Log4j2,
}

impl Release {
    pub const V2_8_2: Self = Self::new(2, 8, 2);
    pub const V3_7_2: Self = Self::new(3, 7, 2);
    pub const V3_9_2: Self = Self::new(3, 9, 2);
    pub const V4_0_2: Self = Self::new(4, 0, 2);
    pub const V4_1_2: Self = Self::new(4, 1, 2);
    pub const V4_2_1: Self = Self::new(4, 2, 1);
    pub const V4_3_1: Self = Self::new(4, 3, 1);
    pub const V4_4_0: Self = Self::new(4, 4, 0);

    /// Every release the lab has been run with.
    pub const KNOWN: [Self; 8] = [
        Self::V2_8_2,
        Self::V3_7_2,
        Self::V3_9_2,
        Self::V4_0_2,
        Self::V4_1_2,
        Self::V4_2_1,
        Self::V4_3_1,
        Self::V4_4_0,
    ];

    const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    pub fn logging(self) -> Logging {
        if self.major < 4 {
            Logging::Reload4j
        } else {
            Logging::Log4j2
        }
    }

    /// KRaft is production-ready from 3.3; the lab needs `StorageTool` as it is from there on.
    pub fn has_kraft(self) -> bool {
        (self.major, self.minor) >= (3, 3)
    }

    /// ZooKeeper mode went away with 4.0 (KIP-500).
    pub fn has_zookeeper(self) -> bool {
        self.major < 4
    }

    /// From 3.9 the quorum's leader tells its advertised address to those who fetch (KIP-853), and
    /// controllers may have `advertised.listeners`.
    pub fn tells_voter_endpoints(self) -> bool {
        (self.major, self.minor) >= (3, 9)
    }

    /// 4.4.0 was published without `kafka-tools` and `kafka-tools-api` (measured).
    pub fn has_tools(self) -> bool {
        (self.major, self.minor) < (4, 4)
    }

    /// The release whose command-line tools speak to this one.
    pub fn tools(self) -> Self {
        if self.has_tools() { self } else { Self::V4_3_1 }
    }

    /// `MAJOR.MINOR`, as `metadata.version` and `inter.broker.protocol.version` take it.
    pub fn feature_level(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Release {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let numbers: Option<Vec<u16>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([major, minor, patch]) => Ok(Self::new(*major, *minor, *patch)),
            _ => Err(ReleaseError {
                text: text.to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for Release {
    type Error = ReleaseError;

    fn try_from(text: String) -> Result<Self, ReleaseError> {
        text.parse()
    }
}

impl From<Release> for String {
    fn from(release: Release) -> Self {
        release.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for release in Release::KNOWN {
            assert_eq!(release.to_string().parse::<Release>().unwrap(), release);
        }
        for wrong in ["", "4", "4.3", "4.3.1.0", "4.3.x", "v4.3.1", "-1.0.0"] {
            assert!(wrong.parse::<Release>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn releases_differ_where_kafka_does() {
        assert_eq!(Release::V3_9_2.logging(), Logging::Reload4j);
        assert_eq!(Release::V4_0_2.logging(), Logging::Log4j2);
        assert!(Release::V3_9_2.has_zookeeper() && Release::V3_9_2.has_kraft());
        assert!(!Release::V4_0_2.has_zookeeper());
        assert!(!Release::V2_8_2.has_kraft());
        assert_eq!(Release::V4_4_0.tools(), Release::V4_3_1);
    }
}
