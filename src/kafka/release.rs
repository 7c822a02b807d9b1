//! Which release a node runs, from its ApiVersions answer.

use super::decode::api_versions::ApiVersions;
use crate::evidence::ids::{Release, Version};

/// The supported maximum of `metadata.version` is unique per minor release (reference
/// `kafka-lag-and-clients.md` 3.1; KRaft from 3.3).
const METADATA_LEVELS: [(i16, Version); 12] = [
    (7, Version { major: 3, minor: 3 }),
    (8, Version { major: 3, minor: 4 }),
    (11, Version { major: 3, minor: 5 }),
    (14, Version { major: 3, minor: 6 }),
    (19, Version { major: 3, minor: 7 }),
    (20, Version { major: 3, minor: 8 }),
    (21, Version { major: 3, minor: 9 }),
    (25, Version { major: 4, minor: 0 }),
    (27, Version { major: 4, minor: 1 }),
    (29, Version { major: 4, minor: 2 }),
    (30, Version { major: 4, minor: 3 }),
    (33, Version { major: 4, minor: 4 }),
];

/// The release an answer stands for.
pub fn release(versions: &ApiVersions) -> Release {
    match versions.supported.get("metadata.version") {
        Some((_, level)) => from_level(*level),
        None => Release::Unknown,
    }
}

fn from_level(level: i16) -> Release {
    let known = METADATA_LEVELS
        .iter()
        .rev()
        .find(|(known, _)| *known <= level);
    match known {
        None => Release::Unknown,
        Some((known, version)) if *known == level => Release::Is(*version),
        Some((known, version)) if Some(*known) == METADATA_LEVELS.last().map(|row| row.0) => {
            Release::NewerThan(*version)
        }
        // Between two releases: a development build, or unstable features switched on.
        Some((_, version)) => Release::AtLeast(*version),
    }
}
