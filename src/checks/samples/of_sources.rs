//! Samples of the rows about the sources themselves.

use std::time::Duration;

use crate::evidence::facts::{ConfigSource, Identity};
use crate::evidence::ids::{ClusterId, Release, Version};
use crate::evidence::jmx::Metric;
use crate::evidence::known::{Known, Why};
use crate::evidence::report::{FactKind, FailureClass};
use crate::evidence::scene::{Scene, jmx, kafka, node};
use crate::evidence::tide::Tide;

use super::super::reason::Reason;
use super::Samples;

pub(in crate::checks) fn evidence() -> Samples {
    let fails = |class| move |s: &mut Scene| s.fail(kafka(2), FactKind::NodeConfigs, class);
    Samples::new()
        .finds(Reason::NoNodesKnown, |s| {
            s.reports.clear();
            s.memory.known_nodes.clear();
        })
        .finds(Reason::EvidenceMissing, |s| {
            s.reports.remove(&(kafka(2), FactKind::LogDirs));
        })
        .finds(Reason::EvidenceMissing, |s| {
            s.reports.remove(&(kafka(2), FactKind::Partitions));
        })
        .finds(Reason::EvidenceMissing, |s| {
            s.reports.remove(&(jmx(103), FactKind::Jmx));
        })
        .finds(Reason::EvidenceStale, |s| s.make_stale(FactKind::Jmx))
        .finds(Reason::EvidenceStale, |s| {
            let mut tide = Tide::default();
            tide.rise(s.now.mono.minus(Duration::from_secs(6)), 4_000);
            s.memory.committed_by_pages = tide;
            s.metric(102, Metric::RaftHighWatermark, 3_980.0);
            s.metric(102, Metric::RaftLogEndOffset, 3_980.0);
        })
        .finds(Reason::SourceFailed, fails(FailureClass::Closed))
        .finds(Reason::SourceFailed, fails(FailureClass::Malformed))
        .finds(Reason::SourceFailed, |s| {
            s.fail(jmx(1), FactKind::Jmx, FailureClass::NotKafkaMetrics);
        })
        .finds(
            Reason::EvidenceIncomplete,
            fails(FailureClass::Authorization),
        )
        .finds(Reason::EvidenceIncomplete, |s| {
            s.page(2, |page| {
                page.values.remove(&Metric::UnderReplicatedPartitions);
            });
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(101, Metric::ActiveControllerCount, f64::NAN);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.metric(2, Metric::PartitionCount, f64::INFINITY);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.page(102, |page| page.kafka_samples = 0);
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.page(3, |page| {
                let typo = String::from("my_typo");
                page.unfound.insert(Metric::FetcherDeadThreads, typo);
            });
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.policy
                .expected
                .insert(node(9), crate::evidence::ids::Role::default());
        })
        .finds(Reason::WrongNode, fails(FailureClass::WrongNode))
        .finds(Reason::WrongCluster, fails(FailureClass::WrongCluster))
        .finds(Reason::GateThrottled, fails(FailureClass::Throttled))
        .finds(Reason::UnsupportedRelease, fails(FailureClass::Unsupported))
        .finds(Reason::TopicsHidden, |s| {
            s.fail(kafka(3), FactKind::LogDirs, FailureClass::Authorization);
        })
        .finds_in(
            Reason::EvidenceIncomplete,
            Scene::healthy_zookeeper(),
            |s| {
                s.page(2, |page| {
                    page.values.remove(&Metric::ActiveControllerCount);
                });
            },
        )
        .finds_in(Reason::SourceFailed, Scene::healthy_jmx(), |s| {
            s.fail(jmx(101), FactKind::Jmx, FailureClass::HttpStatus(500));
        })
        .finds_in(Reason::EvidenceMissing, Scene::healthy_jmx(), |s| {
            s.policy.jmx_nodes = Some([1, 2, 101, 102, 103].map(node).into());
            s.reports.remove(&(jmx(3), FactKind::Jmx));
        })
}

pub(in crate::checks) fn kind() -> Samples {
    Samples::new()
        .finds(Reason::MetadataKindUnknown, |s| {
            s.remove(FactKind::Quorum);
            for id in [1, 2, 3, 101, 102, 103] {
                s.link(id, |link| link.supported.clear());
            }
        })
        .finds(Reason::MetadataKindUnknown, |s| {
            s.configs(2, |configs| {
                let value = (Some(String::from("zk:2181")), ConfigSource::StaticBroker);
                configs
                    .values
                    .insert(String::from("zookeeper.connect"), value);
            });
        })
        .disagree(|s| {
            s.configs(3, |configs| {
                let value = (Some(String::from("zk:2181")), ConfigSource::StaticBroker);
                configs
                    .values
                    .insert(String::from("zookeeper.connect"), value);
            });
        })
}

pub(in crate::checks) fn release() -> Samples {
    let version = |major, minor| Version { major, minor };
    Samples::new()
        .finds(Reason::ReleaseUnknown, |s| {
            s.link(2, |link| link.release = Release::Unknown);
        })
        .finds(Reason::UnsupportedRelease, |s| {
            s.link(2, |link| link.release = Release::Is(version(3, 2)));
        })
        .finds_in(
            Reason::UnsupportedRelease,
            Scene::healthy_zookeeper(),
            |s| {
                s.link(2, |link| link.release = Release::AtLeast(version(2, 7)));
            },
        )
}

pub(in crate::checks) fn identity() -> Samples {
    let unproven = || Identity::Unproven(String::from("no right to DescribeConfigs"));
    Samples::new()
        .finds_in(Reason::IdentityUnproven, Scene::healthy_jmx(), |s| {
            // Two targets that lead to the same exporter.
            s.page(2, |page| page.start_time = Known::Is(1_699_000_001.0));
        })
        .finds(Reason::WrongNode, |s| {
            s.page(2, |page| page.node = Known::Is(node(3)));
        })
        .finds(Reason::WrongNode, |s| {
            s.metric(1, Metric::LeaderCount, 2.0);
        })
        .finds(Reason::WrongCluster, |s| {
            s.cluster(2, |c| {
                c.cluster_id = Known::Is(ClusterId(String::from("other")));
            });
        })
        .finds(Reason::WrongCluster, |s| {
            s.policy.cluster_id = Some(ClusterId(String::from("meant")));
        })
        .finds(Reason::EvidenceIncomplete, |s| {
            s.cluster(2, |c| {
                c.cluster_id = Known::Failed(Why(String::from("empty")));
            });
        })
        .finds(Reason::IdentityUnproven, |s| {
            s.link(102, |link| link.identity = unproven());
        })
        .finds_in(Reason::IdentityUnproven, Scene::healthy_kafka(), |s| {
            s.link(2, |link| link.identity = unproven());
        })
        .finds(Reason::SourcesDisagree, |s| {
            s.metric(1, Metric::PartitionCount, 6.0);
        })
        .disagree(|s| s.metric(2, Metric::PartitionCount, 99.0))
        .disagree(|s| {
            s.cluster(1, |c| {
                c.cluster_id = Known::Is(ClusterId(String::from("other")));
            });
        })
}
