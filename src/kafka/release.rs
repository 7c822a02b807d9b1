//! Which release a node runs, from its ApiVersions answer. Never the patch level: it is not on
//! the wire.

use super::decode::api_versions::ApiVersions;
use crate::evidence::ids::{Release, Version};

const fn version(major: u8, minor: u8) -> Version {
    Version { major, minor }
}

/// The supported maximum of `metadata.version` is unique per minor release (reference
/// `kafka-lag-and-clients.md` 3.1; KRaft brokers and controllers from 3.3).
const METADATA_LEVELS: [(i16, Version); 12] = [
    (7, version(3, 3)),
    (8, version(3, 4)),
    (11, version(3, 5)),
    (14, version(3, 6)),
    (19, version(3, 7)),
    (20, version(3, 8)),
    (21, version(3, 9)),
    (25, version(4, 0)),
    (27, version(4, 1)),
    (29, version(4, 2)),
    (30, version(4, 3)),
    (33, version(4, 4)),
];

/// ZooKeeper-mode brokers advertise no features, but each minor release raised the highest
/// version of at least one of these requests. The keys, in the order of [`ZOOKEEPER`]'s columns:
/// Fetch, ListOffsets, UpdateMetadata, JoinGroup, ListGroups, AddPartitionsToTxn,
/// DescribeLogDirs, DescribeCluster.
const MARKERS: [i16; 8] = [1, 2, 6, 11, 16, 24, 35, 60];

/// Highest stable versions per release, read from the message definitions inside the
/// `kafka-clients` artifacts of 2.8.2, 3.0.2, 3.1.2, 3.2.3, 3.3.2, 3.4.1, 3.5.2, 3.6.2, 3.7.2,
/// 3.8.1 and 3.9.1 (listener `zkBroker`, unstable last versions left out).
const ZOOKEEPER: [([i16; 8], Version); 11] = [
    ([12, 6, 7, 7, 4, 3, 2, 0], version(2, 8)),
    ([12, 7, 7, 7, 4, 3, 2, 0], version(3, 0)),
    ([13, 7, 7, 7, 4, 3, 2, 0], version(3, 1)),
    ([13, 7, 7, 9, 4, 3, 3, 0], version(3, 2)),
    ([13, 7, 7, 9, 4, 3, 4, 0], version(3, 3)),
    ([13, 7, 8, 9, 4, 3, 4, 0], version(3, 4)),
    ([15, 8, 8, 9, 4, 3, 4, 0], version(3, 5)),
    ([15, 8, 8, 9, 4, 4, 4, 0], version(3, 6)),
    ([16, 8, 8, 9, 4, 4, 4, 1], version(3, 7)),
    ([16, 8, 8, 9, 5, 5, 4, 1], version(3, 8)),
    ([17, 9, 8, 9, 5, 5, 4, 1], version(3, 9)),
];

/// The release an answer stands for: by features, else by the table of ZooKeeper mode.
pub fn release(versions: &ApiVersions) -> Release {
    match versions.supported.get("metadata.version") {
        Some((_, level)) => from_level(*level),
        None => from_markers(versions),
    }
}

fn from_level(level: i16) -> Release {
    let newest = METADATA_LEVELS.last().map(|(level, _)| *level);
    let mut rows = METADATA_LEVELS.iter().rev();
    match rows.find(|(known, _)| *known <= level) {
        None => Release::Unknown,
        Some((known, version)) if *known == level => Release::Is(*version),
        Some((known, version)) if Some(*known) == newest => Release::NewerThan(*version),
        // Between two releases: a development build, or unstable features switched on.
        Some((_, version)) => Release::AtLeast(*version),
    }
}

/// The newest row that the node reaches in every marker; exact only when it exceeds it in none.
fn from_markers(versions: &ApiVersions) -> Release {
    let highest = MARKERS.map(|key| versions.range(key).map_or(-1, |(_, high)| high));
    let reached = |row: &&([i16; 8], Version)| {
        row.0
            .iter()
            .zip(&highest)
            .all(|(known, high)| high >= known)
    };
    match ZOOKEEPER.iter().rev().find(reached) {
        None => Release::Unknown,
        Some((row, version)) if *row == highest => Release::Is(*version),
        Some((_, version)) => Release::AtLeast(*version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_level(level: i16) -> Release {
        let mut versions = ApiVersions::default();
        let name = String::from("metadata.version");
        versions.supported.insert(name, (1, level));
        release(&versions)
    }

    fn with_markers(markers: [i16; 8]) -> ApiVersions {
        let apis = MARKERS.into_iter().zip(markers.map(|high| (0, high)));
        ApiVersions {
            apis: apis.collect(),
            ..ApiVersions::default()
        }
    }

    #[test]
    fn features_say_the_release() {
        assert_eq!(with_level(21), Release::Is(version(3, 9)));
        assert_eq!(with_level(33), Release::Is(version(4, 4)));
        assert_eq!(with_level(34), Release::NewerThan(version(4, 4)));
        assert_eq!(with_level(24), Release::AtLeast(version(3, 9)));
        assert_eq!(with_level(6), Release::Unknown);
    }

    #[test]
    fn every_row_of_zookeeper_mode_is_its_own_release() {
        for (row, release_of_row) in ZOOKEEPER {
            let found = release(&with_markers(row));
            assert_eq!(found, Release::Is(release_of_row));
        }
        let levels = METADATA_LEVELS.map(|(level, _)| level);
        assert!(levels.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn what_fits_no_row_is_not_guessed() {
        let mut custom = with_markers(ZOOKEEPER[3].0);
        custom.apis.insert(60, (0, 7));
        assert_eq!(release(&custom), Release::AtLeast(version(3, 2)));
        custom.apis.remove(&6);
        assert_eq!(release(&custom), Release::Unknown);
        assert_eq!(release(&ApiVersions::default()), Release::Unknown);
    }
}
