//! What a release of Kafka speaks: feature levels and API version ranges.

use std::fmt;

use kafka_protocol::messages::ApiKey;

use super::Listener;

/// A minor release of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the releases")]
pub enum Release {
    /// ZooKeeper mode only.
    V2_8,
    V3_3,
    V3_4,
    V3_5,
    V3_6,
    V3_7,
    V3_8,
    V3_9,
    V4_0,
    V4_1,
    V4_2,
    V4_3,
    V4_4,
}

use Release::{V2_8, V3_3, V3_4, V3_5, V3_6, V3_7, V3_8, V3_9, V4_0, V4_1, V4_2, V4_3, V4_4};

/// A feature with the range of levels that a binary supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As in ApiVersions, for example `metadata.version`.
    pub name: &'static str,
    /// Lowest supported level.
    pub min: i16,
    /// Highest supported level.
    pub max: i16,
}

impl Release {
    /// Every release the model knows in KRaft mode, oldest first.
    pub const ALL: [Self; 12] = [
        V3_3, V3_4, V3_5, V3_6, V3_7, V3_8, V3_9, V4_0, V4_1, V4_2, V4_3, V4_4,
    ];

    /// Every release the model knows in ZooKeeper mode, oldest first.
    pub const ZOOKEEPER: [Self; 8] = [V2_8, V3_3, V3_4, V3_5, V3_6, V3_7, V3_8, V3_9];

    /// Major and minor number as people write them.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            V2_8 => "2.8",
            V3_3 => "3.3",
            V3_4 => "3.4",
            V3_5 => "3.5",
            V3_6 => "3.6",
            V3_7 => "3.7",
            V3_8 => "3.8",
            V3_9 => "3.9",
            V4_0 => "4.0",
            V4_1 => "4.1",
            V4_2 => "4.2",
            V4_3 => "4.3",
            V4_4 => "4.4",
        }
    }

    /// The release named `text` ("3.9"), if the model knows it.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter().chain(Self::ZOOKEEPER);
        all.find(|release| release.name() == text)
    }

    /// Highest `metadata.version` this binary supports
    /// (kafka-lag-and-clients.md, section 3.1).
    #[must_use]
    pub fn metadata_version(self) -> i16 {
        match self {
            V2_8 => 0,
            V3_3 => 7,
            V3_4 => 8,
            V3_5 => 11,
            V3_6 => 14,
            V3_7 => 19,
            V3_8 => 20,
            V3_9 => 21,
            V4_0 => 25,
            V4_1 => 27,
            V4_2 => 29,
            V4_3 => 30,
            V4_4 => 33,
        }
    }

    /// Features in the order of their names, as ApiVersions v4 shows them
    /// (`BrokerFeatures.defaultSupportedFeatures`). Version 3 leaves out those with minimum 0
    /// (rust-stack-measured.md, section 2.2; KAFKA-17011).
    #[must_use]
    pub fn features(self) -> Vec<Feature> {
        let lowest = if self >= V4_0 { 7 } else { 1 };
        let mut features = vec![Feature {
            name: "metadata.version",
            min: lowest,
            max: self.metadata_version(),
        }];
        let since = [
            ("kraft.version", V3_9, 1),
            ("transaction.version", V4_0, 2),
            ("group.version", V4_0, 1),
            ("eligible.leader.replicas.version", V4_0, 1),
            ("share.version", V4_1, if self >= V4_4 { 2 } else { 1 }),
            ("streams.version", V4_2, 1),
        ];
        for (name, release, max) in since {
            if self >= release {
                features.push(Feature { name, min: 0, max });
            }
        }
        features.sort_by_key(|feature| feature.name);
        features
    }

    /// Every API this binary advertises as a broker on ZooKeeper. Highest versions as in the
    /// message definitions of the releases; those of `kafka::release`'s table decide which release
    /// a client takes it for. Assumed: 2.8 is like 3.3 in what the table does not name (there
    /// LeaveGroup ends at 4, UpdateFeatures at 0), and the new group protocol is left out.
    #[must_use]
    pub fn zookeeper_apis(self) -> Vec<(i16, i16, i16)> {
        let mut apis = self.max(V3_3).apis(Listener::Broker);
        let kraft_only = [
            ApiKey::DescribeQuorum,
            ApiKey::UnregisterBroker,
            ApiKey::ConsumerGroupHeartbeat,
            ApiKey::ConsumerGroupDescribe,
            ApiKey::DescribeTopicPartitions,
        ];
        apis.retain(|(key, _, _)| kraft_only.iter().all(|only| *only as i16 != *key));
        for (index, (key, steps)) in ZOOKEEPER_APIS.iter().enumerate() {
            let newest = steps.iter().rev().find(|(since, _)| *since <= self);
            let Some((_, max)) = newest else { continue };
            match apis.iter_mut().find(|(known, _, _)| known == key) {
                Some(api) => api.2 = *max,
                None => apis.insert(index, (*key, 0, *max)),
            }
        }
        apis.sort_unstable();
        apis
    }

    /// Every API this binary advertises on `listener`: key, lowest and highest version.
    #[must_use]
    pub fn apis(self, listener: Listener) -> Vec<(i16, i16, i16)> {
        let table = match listener {
            Listener::Broker => BROKER_APIS,
            Listener::Controller => CONTROLLER_APIS,
        };
        let mut apis = Vec::new();
        for (key, steps) in table {
            let newest = steps.iter().rev().find(|(since, _, _)| *since <= self);
            if let Some((_, min, max)) = newest {
                apis.push((*key as i16, *min, *max));
            }
        }
        apis
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// Keys by number: the codec has no UpdateMetadata any more.
const ZOOKEEPER_APIS: &[(i16, &[(Release, i16)])] = &[
    (
        1,
        &[(V2_8, 12), (V3_3, 13), (V3_5, 15), (V3_7, 16), (V3_9, 17)],
    ),
    (2, &[(V2_8, 6), (V3_3, 7), (V3_5, 8), (V3_9, 9)]),
    (3, &[(V2_8, 11), (V3_3, 12)]),
    (6, &[(V2_8, 7), (V3_4, 8)]),
    (9, &[(V2_8, 7), (V3_3, 8), (V3_7, 9)]),
    (10, &[(V2_8, 3), (V3_3, 4), (V3_8, 5), (V3_9, 6)]),
    (11, &[(V2_8, 7), (V3_3, 9)]),
    (16, &[(V2_8, 4), (V3_8, 5)]),
    (24, &[(V2_8, 3), (V3_6, 4), (V3_8, 5)]),
    (35, &[(V2_8, 2), (V3_3, 4)]),
    (60, &[(V2_8, 0), (V3_7, 1)]),
];

/// One API: from which release on which lowest and highest version.
type Steps = &'static [(Release, i16, i16)];

// Looked up in franz-go's kversion (kafka-lag-and-clients.md, section 3.2) and measured
// (rust-stack-measured.md), then compared with the message definitions of every release
// (`clients/src/main/resources/common/message`, stable versions by listener). The minimum versions
// went up in 4.0 with KIP-896; Produce still shows 0
// (`ApiKeys.PRODUCE_API_VERSIONS_RESPONSE_MIN_VERSION`), and JoinGroup got its old ones back in a
// patch of 4.0 (KAFKA-19444). APIs between brokers that only need a cluster action right, telemetry
// (shown only when configured, KIP-714) and share groups are left out.
const BROKER_APIS: &[(ApiKey, Steps)] = &[
    (
        ApiKey::Produce,
        &[
            (V3_3, 0, 9),
            (V3_7, 0, 10),
            (V3_8, 0, 11),
            (V4_0, 0, 12),
            (V4_1, 0, 13),
        ],
    ),
    (
        ApiKey::Fetch,
        &[
            (V3_3, 0, 13),
            (V3_5, 0, 15),
            (V3_7, 0, 16),
            (V3_9, 0, 17),
            (V4_0, 4, 17),
            (V4_1, 4, 18),
        ],
    ),
    (
        ApiKey::ListOffsets,
        &[
            (V3_3, 0, 7),
            (V3_5, 0, 8),
            (V3_9, 0, 9),
            (V4_0, 1, 10),
            (V4_2, 1, 11),
        ],
    ),
    (ApiKey::Metadata, &[(V3_3, 0, 12), (V4_0, 0, 13)]),
    (
        ApiKey::OffsetCommit,
        &[(V3_3, 0, 8), (V3_7, 0, 9), (V4_0, 2, 9), (V4_2, 2, 10)],
    ),
    (
        ApiKey::OffsetFetch,
        &[(V3_3, 0, 8), (V3_7, 0, 9), (V4_0, 1, 9), (V4_2, 1, 10)],
    ),
    (
        ApiKey::FindCoordinator,
        &[(V3_3, 0, 4), (V3_8, 0, 5), (V3_9, 0, 6)],
    ),
    (
        ApiKey::JoinGroup,
        &[(V3_3, 0, 9), (V4_0, 2, 9), (V4_1, 0, 9)],
    ),
    (ApiKey::Heartbeat, &[(V3_3, 0, 4)]),
    (ApiKey::LeaveGroup, &[(V3_3, 0, 5)]),
    (ApiKey::SyncGroup, &[(V3_3, 0, 5)]),
    (ApiKey::DescribeGroups, &[(V3_3, 0, 5), (V4_0, 0, 6)]),
    (ApiKey::ListGroups, &[(V3_3, 0, 4), (V3_8, 0, 5)]),
    (ApiKey::SaslHandshake, &[(V3_3, 0, 1)]),
    (
        ApiKey::ApiVersions,
        &[(V3_3, 0, 3), (V3_9, 0, 4), (V4_4, 0, 5)],
    ),
    (ApiKey::CreateTopics, &[(V3_3, 0, 7), (V4_0, 2, 7)]),
    (ApiKey::DeleteTopics, &[(V3_3, 0, 6), (V4_0, 1, 6)]),
    (ApiKey::DeleteRecords, &[(V3_3, 0, 2)]),
    (ApiKey::InitProducerId, &[(V3_3, 0, 4), (V3_8, 0, 5)]),
    (ApiKey::OffsetForLeaderEpoch, &[(V3_3, 0, 4), (V4_0, 2, 4)]),
    (ApiKey::DescribeConfigs, &[(V3_3, 0, 4), (V4_0, 1, 4)]),
    (ApiKey::AlterReplicaLogDirs, &[(V3_3, 0, 2), (V4_0, 1, 2)]),
    (
        ApiKey::DescribeLogDirs,
        &[(V3_3, 0, 4), (V4_0, 1, 4), (V4_3, 1, 5)],
    ),
    (ApiKey::SaslAuthenticate, &[(V3_3, 0, 2)]),
    (ApiKey::CreatePartitions, &[(V3_3, 0, 3)]),
    (ApiKey::DeleteGroups, &[(V3_3, 0, 2), (V4_4, 0, 3)]),
    (ApiKey::ElectLeaders, &[(V3_3, 0, 2)]),
    (ApiKey::IncrementalAlterConfigs, &[(V3_3, 0, 1)]),
    (
        ApiKey::AlterPartitionReassignments,
        &[(V3_3, 0, 0), (V4_1, 0, 1)],
    ),
    (ApiKey::ListPartitionReassignments, &[(V3_3, 0, 0)]),
    (ApiKey::OffsetDelete, &[(V3_3, 0, 0)]),
    (ApiKey::DescribeQuorum, &[(V3_3, 0, 1), (V3_9, 0, 2)]),
    (ApiKey::UpdateFeatures, &[(V3_3, 0, 1), (V4_0, 0, 2)]),
    (
        ApiKey::DescribeCluster,
        &[(V3_3, 0, 0), (V3_7, 0, 1), (V4_0, 0, 2)],
    ),
    (ApiKey::DescribeProducers, &[(V3_3, 0, 0)]),
    (ApiKey::UnregisterBroker, &[(V3_3, 0, 0)]),
    (
        ApiKey::ConsumerGroupHeartbeat,
        &[(V3_7, 0, 0), (V4_0, 0, 1)],
    ),
    (ApiKey::ConsumerGroupDescribe, &[(V3_8, 0, 0), (V4_0, 0, 1)]),
    (ApiKey::DescribeTopicPartitions, &[(V3_8, 0, 0)]),
];

// Controllers answer DescribeConfigs and DescribeCluster from 3.7 on (KIP-919).
const CONTROLLER_APIS: &[(ApiKey, Steps)] = &[
    (
        ApiKey::Fetch,
        &[
            (V3_3, 0, 13),
            (V3_5, 0, 15),
            (V3_7, 0, 16),
            (V3_9, 0, 17),
            (V4_0, 4, 17),
            (V4_1, 4, 18),
        ],
    ),
    (ApiKey::SaslHandshake, &[(V3_3, 0, 1)]),
    (
        ApiKey::ApiVersions,
        &[(V3_3, 0, 3), (V3_9, 0, 4), (V4_4, 0, 5)],
    ),
    (ApiKey::CreateTopics, &[(V3_3, 0, 7), (V4_0, 2, 7)]),
    (ApiKey::DeleteTopics, &[(V3_3, 0, 6), (V4_0, 1, 6)]),
    (ApiKey::DescribeConfigs, &[(V3_7, 0, 4), (V4_0, 1, 4)]),
    (ApiKey::SaslAuthenticate, &[(V3_3, 0, 2)]),
    (ApiKey::CreatePartitions, &[(V3_3, 0, 3)]),
    (ApiKey::ElectLeaders, &[(V3_3, 0, 2)]),
    (ApiKey::IncrementalAlterConfigs, &[(V3_3, 0, 1)]),
    (
        ApiKey::AlterPartitionReassignments,
        &[(V3_3, 0, 0), (V4_1, 0, 1)],
    ),
    (ApiKey::ListPartitionReassignments, &[(V3_3, 0, 0)]),
    (ApiKey::Vote, &[(V3_3, 0, 0), (V3_9, 0, 1), (V4_0, 0, 2)]),
    (ApiKey::BeginQuorumEpoch, &[(V3_3, 0, 0), (V3_9, 0, 1)]),
    (ApiKey::EndQuorumEpoch, &[(V3_3, 0, 0), (V3_9, 0, 1)]),
    (ApiKey::DescribeQuorum, &[(V3_3, 0, 1), (V3_9, 0, 2)]),
    (
        ApiKey::AlterPartition,
        &[(V3_3, 0, 2), (V3_5, 0, 3), (V4_0, 2, 3)],
    ),
    (ApiKey::UpdateFeatures, &[(V3_3, 0, 1), (V4_0, 0, 2)]),
    (ApiKey::DescribeCluster, &[(V3_7, 0, 1), (V4_0, 0, 2)]),
    (
        ApiKey::BrokerRegistration,
        &[(V3_3, 0, 0), (V3_4, 0, 1), (V3_7, 0, 3), (V3_9, 0, 4)],
    ),
    (
        ApiKey::BrokerHeartbeat,
        &[(V3_3, 0, 0), (V3_7, 0, 1), (V4_3, 0, 2)],
    ),
    (ApiKey::UnregisterBroker, &[(V3_3, 0, 0)]),
];
