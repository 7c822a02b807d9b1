//! Numbers at their bounds, and what is said, counted and named: of topics, releases, disks, groups,
//! pages and nodes.

use std::sync::Arc;
use std::time::Duration;

use super::bounds_tests::{found, one, reasons};
use super::finding::{EXAMPLES, Finding, Subject};
use super::reason::{Reason, Severity};
use super::samples::unpublished;
use super::{
    fetchers, groups, identity, jmx_view, log_dirs, metadata, nodes, release, topics, unclean,
};
use crate::evidence::facts::{
    ConfigSource, Facts, GroupOffsets, GroupTable, Identity, LogDir, NodeConfigs, PartitionLag,
};
use crate::evidence::ids::{GroupId, Release, Role, Version};
use crate::evidence::jmx::Metric;
use crate::evidence::known::Known;
use crate::evidence::memory::LeadershipChange;
use crate::evidence::policy::{Mode, Weight};
use crate::evidence::report::{FactKind, FailureClass, SourceId};
use crate::evidence::scene::{Scene, ScenePartition, SceneTopic, jmx, kafka, node};
use crate::evidence::tide::Tide;

#[test]
fn hosted_partitions_that_nobody_lists_are_counted_and_a_few_are_named() {
    let mut scene = Scene::healthy_kraft();
    scene.log_dirs(2, |dirs| {
        dirs.hosted.push((Arc::from("__cluster_metadata"), 0));
    });
    assert_eq!(
        found(&scene, topics::run),
        [],
        "the metadata log is no topic"
    );
    scene.log_dirs(2, |dirs| {
        dirs.hosted
            .extend((0..7).map(|index| (Arc::from("secret"), index)));
    });
    let hidden = one(&scene, topics::run, Reason::TopicsHidden).expect("a finding");
    assert_eq!(
        hidden.observed,
        "it hosts 7 partitions that Metadata does not list"
    );
    assert_eq!((hidden.count, hidden.examples.len()), (7, EXAMPLES));
    assert_eq!(
        (hidden.subject, &*hidden.examples[0]),
        (Subject::Node(node(2)), "secret-0")
    );
}

/// Either of the two is enough to hide what a broker hosts.
#[test]
fn a_topic_that_one_broker_hides_and_another_describes_is_described() {
    let mut scene = Scene::healthy_kraft();
    let hides = |scene: &mut Scene, id: i32| {
        scene.topic_configs(id, |configs| {
            configs.min_insync_replicas.remove("orders");
            configs.hidden.push(String::from("orders"));
        });
    };
    let mut described = None;
    scene.topic_configs(1, |configs| described = Some(configs.clone()));
    let described = Facts::TopicConfigs(Arc::new(described.expect("configs")));
    scene.put(kafka(2), described);
    hides(&mut scene, 1);
    assert_eq!(found(&scene, topics::run), []);
    hides(&mut scene, 2);
    let hidden = one(&scene, topics::run, Reason::TopicsHidden).expect("a finding");
    assert_eq!(
        (hidden.count, hidden.examples),
        (1, vec![String::from("orders")])
    );
}

/// "There is no partition" is a claim about every expected broker's disks.
#[test]
fn no_partition_anywhere_is_proven_by_every_broker() {
    let empty = || Scene::with(&[1, 2, 3], &[101, 102, 103], Vec::new());
    assert_eq!(reasons(&empty(), topics::run), [Reason::NoPartitions]);
    let spoilers: [fn(&mut Scene); 3] = [
        |scene| scene.log_dirs(2, |dirs| dirs.dirs.clear()),
        |scene| scene.log_dirs(2, |dirs| dirs.readable = false),
        |scene| scene.fail(kafka(2), FactKind::LogDirs, FailureClass::Timeout),
    ];
    for spoil in spoilers {
        let mut scene = empty();
        spoil(&mut scene);
        let unproven = one(&scene, topics::run, Reason::EvidenceIncomplete).expect("a finding");
        assert!(unproven.observed.contains("broker 2"), "{unproven:?}");
    }
}

#[test]
fn a_release_counts_from_the_oldest_that_is_judged() {
    let judged = |mut scene: Scene, major, minor| {
        let release = Release::Is(Version { major, minor });
        scene.link(2, |link| link.release = release);
        reasons(&scene, release::run)
    };
    assert_eq!(judged(Scene::healthy_kraft(), 3, 3), []);
    assert_eq!(
        judged(Scene::healthy_kraft(), 3, 2),
        [Reason::UnsupportedRelease]
    );
    assert_eq!(judged(Scene::healthy_zookeeper(), 2, 8), []);
    assert_eq!(
        judged(Scene::healthy_zookeeper(), 2, 7),
        [Reason::UnsupportedRelease]
    );
}

#[test]
fn failed_log_dirs_are_counted_and_named() {
    let mut scene = Scene::healthy_kraft();
    scene.log_dirs(2, |dirs| {
        let dir = |path: &str, error| LogDir {
            path: String::from(path),
            error,
        };
        dirs.dirs.extend([dir("/a", 56), dir("/b", 57)]);
    });
    let failed = one(&scene, log_dirs::run, Reason::LogDirFailed).expect("a finding");
    assert_eq!(failed.observed, "/a: Kafka error 56");
    assert_eq!(
        (failed.count, failed.examples),
        (2, vec!["/a".to_owned(), "/b".to_owned()])
    );
    let mut scene = Scene::healthy_kraft();
    scene.metric(3, Metric::FetcherDeadThreads, 2.0);
    let dead = one(&scene, fetchers::run, Reason::FetcherFailed).expect("a finding");
    assert_eq!(
        (dead.subject, dead.source),
        (Subject::Node(node(3)), Some(jmx(3)))
    );
}

#[test]
fn an_unclean_election_is_one_more_than_when_it_was_first_seen() {
    let mut scene = Scene::healthy_kraft();
    scene.memory.unclean.insert(node(101), 2.0);
    scene.metric(101, Metric::UncleanLeaderElections, 2.0);
    assert_eq!(found(&scene, unclean::run), []);
    scene.metric(101, Metric::UncleanLeaderElections, 3.0);
    let new = one(&scene, unclean::run, Reason::UncleanElection).expect("a finding");
    assert_eq!(new.observed, "3 unclean elections, 2 when first seen");
}

fn group_of(lags: &[(Known<i64>, i64)]) -> Vec<Finding> {
    let group = GroupId(String::from("billing"));
    let mut scene = Scene::healthy_kraft();
    scene.policy.groups = vec![group.clone()];
    let partitions = (0..)
        .zip(lags)
        .map(|(partition, (committed, end))| PartitionLag {
            topic: String::from("orders"),
            partition,
            committed: committed.clone(),
            end: Known::Is(*end),
        });
    let partitions = Known::Is(partitions.collect());
    let mut others = vec![GroupOffsets { group, partitions }];
    others.push(GroupOffsets {
        group: GroupId(String::from("other")),
        partitions: Known::Is(vec![PartitionLag {
            topic: String::from("orders"),
            partition: 0,
            committed: Known::Is(0),
            end: Known::Is(1_000_000),
        }]),
    });
    scene.put(
        kafka(1),
        Facts::Groups(Arc::new(GroupTable { groups: others })),
    );
    found(&scene, groups::run)
}

/// Below a thousand records a busy group always is.
#[test]
fn a_group_is_behind_from_a_thousand_records_over_all_its_partitions() {
    assert_eq!(group_of(&[(Known::Is(0), 400), (Known::Is(0), 599)]), []);
    let behind = &group_of(&[(Known::Is(0), 400), (Known::Is(0), 600)])[0];
    assert_eq!(behind.reason, Reason::GroupLagging);
    assert_eq!(behind.observed, "1000 records behind on 2 partitions");
    let unknown = &group_of(&[(Known::Is(0), 5_000), (Known::Hidden, 5)])[0];
    assert_eq!(unknown.reason, Reason::GroupUnknown);
    assert!(unknown.observed.starts_with("orders-1: "), "{unknown:?}");
    let none = &group_of(&[])[0];
    assert_eq!(
        (none.reason, &*none.observed),
        (Reason::GroupUnknown, "no committed offset")
    );
}

/// Pages are older than tables: differing counts mean something once the layout has been quiet for
/// thirty seconds, and the page was asked for five seconds after the last change.
#[test]
fn pages_and_tables_have_to_agree_once_the_layout_is_quiet() {
    let quiet = |changed: u64, asked: u64| {
        let mut scene = Scene::healthy_kraft();
        let ago = |millis| scene.now.mono.minus(Duration::from_millis(millis));
        let (changed, asked) = (ago(changed), ago(asked));
        scene.memory.partitions_changed = Some(changed);
        scene.snapshot(|snapshot| jmx_view::is_quiet(snapshot, asked))
    };
    assert!(quiet(30_000, 25_000));
    assert!(!quiet(29_999, 0), "it has changed a moment ago");
    assert!(
        !quiet(40_000, 35_001),
        "the page may be from before the change"
    );
    assert!(quiet(40_000, 35_000));
    let mut scene = Scene::healthy_kraft();
    scene.memory.partitions_changed = None;
    let asked = scene.now.mono;
    assert!(scene.snapshot(|snapshot| jmx_view::is_quiet(snapshot, asked)));
    // The last of the two counts: leaders that move are a change as well.
    scene.memory.partitions_changed = Some(scene.now.mono.minus(Duration::from_secs(99)));
    scene.memory.leadership = Some(LeadershipChange {
        at: scene.now.mono.minus(Duration::from_secs(9)),
        partitions: 1,
    });
    assert!(!scene.snapshot(|snapshot| jmx_view::is_quiet(snapshot, asked)));
}

/// Before 3.7 a topic with fewer replicas than its min ISR is under it by design: its leader counts
/// it, and nothing is missing.
#[test]
fn what_is_under_min_isr_by_design_is_taken_off_the_pages_count() {
    let mut scene = Scene::healthy_kraft();
    for id in [1, 2, 3] {
        let version = Version { major: 3, minor: 6 };
        scene.link(id, |link| link.release = Release::Is(version));
    }
    scene.retopic(|topics| topics.push(SceneTopic::new("raw", 2, &[&[1]])));
    scene.metric(1, Metric::UnderMinIsrPartitionCount, 1.0);
    assert_eq!(one(&scene, jmx_view::run, Reason::UnderMinIsr), None);
    scene.metric(1, Metric::UnderMinIsrPartitionCount, 2.0);
    let under = one(&scene, jmx_view::run, Reason::UnderMinIsr).expect("a finding");
    assert_eq!(
        (&*under.observed, &*under.required),
        ("2 by the JMX pages", "1 by the JMX pages")
    );
    assert_eq!(under.count, 2);
}

/// Mode `jmx` has no tables: what is under min ISR by design is told by pages that count no short ISR,
/// if every broker's is there.
#[test]
fn without_tables_full_isrs_show_what_is_under_min_isr_by_design() {
    let told = |scene: &Scene| {
        let found = found(scene, jmx_view::run);
        let told = found.into_iter().map(|it| (it.reason, it.severity));
        told.collect::<Vec<_>>()
    };
    let mut scene = Scene::healthy_jmx();
    scene.metric(1, Metric::UnderMinIsrPartitionCount, 2.0);
    let by_design = one(&scene, jmx_view::run, Reason::NoSpareReplica).expect("a finding");
    assert_eq!((by_design.severity, by_design.count), (Severity::Warn, 2));
    assert_eq!(by_design.examples, ["jmx:1 says 2"]);
    assert_eq!(told(&scene), [(Reason::NoSpareReplica, Severity::Warn)]);
    // Nobody tells who holds them: where such risks block, they block all nodes.
    let mut blocks = scene.clone();
    blocks.policy.structural = Weight::Block;
    assert_eq!(told(&blocks), [(Reason::NoSpareReplica, Severity::Block)]);
    // The table of a gate that reads tables says what is by design.
    let mut tables = Scene::healthy_kraft();
    tables.metric(1, Metric::UnderMinIsrPartitionCount, 2.0);
    assert_eq!(told(&tables), [(Reason::UnderMinIsr, Severity::Block)]);
    let bad = |spoil: &dyn Fn(&mut Scene)| {
        let mut scene = scene.clone();
        spoil(&mut scene);
        let under = one(&scene, jmx_view::run, Reason::UnderMinIsr);
        assert_eq!(under.map(|it| it.severity), Some(Severity::Block));
        assert_eq!(one(&scene, jmx_view::run, Reason::NoSpareReplica), None);
    };
    // A short ISR anywhere, a page that does not tell, a page that is not there, and one that is old.
    bad(&|s| s.metric(1, Metric::UnderReplicatedPartitions, 1.0));
    bad(&|s| s.metric(3, Metric::UnderReplicatedPartitions, 1.0));
    bad(&|s| s.metric(2, Metric::UnderReplicatedPartitions, f64::NAN));
    bad(&|s| {
        s.page(2, |page| {
            page.values.remove(&Metric::UnderReplicatedPartitions);
        });
    });
    bad(&|s| s.fail(jmx(3), FactKind::Jmx, FailureClass::Refused));
    bad(&|s| s.age(&jmx(3), FactKind::Jmx));
}

/// A page whose counts fit exactly its own node is that node's; one that fits another node as well
/// shows nothing, and one that fits only another is that one's.
#[test]
fn a_page_is_known_by_what_it_counts() {
    let alike = |id: i32| ScenePartition {
        leader: Some(id),
        ..ScenePartition::on(&[1, 2, 3])
    };
    let mut scene = Scene::healthy_kraft();
    assert_eq!(one(&scene, identity::run, Reason::WrongNode), None);
    scene.retopic(|topics| {
        topics.truncate(1);
        topics[0].partitions = vec![alike(1), alike(2), alike(3), alike(3)];
    });
    let unproven = one(&scene, identity::run, Reason::IdentityUnproven).expect("a finding");
    assert_eq!(unproven.severity, Severity::Warn);
    let named = |id: i32| SourceId::Jmx(node(id)).to_string();
    assert!(unproven.examples.contains(&named(1)), "{unproven:?}");
    assert!(unproven.examples.contains(&named(2)), "{unproven:?}");
    assert!(
        !unproven.examples.contains(&named(3)),
        "it alone leads two: {unproven:?}"
    );
    scene.metric(1, Metric::LeaderCount, 2.0);
    let wrong = one(&scene, identity::run, Reason::WrongNode).expect("a finding");
    assert_eq!(wrong.observed, "4 replicas and 2 leaders fit node 3");
    assert_eq!(wrong.subject, Subject::Source(jmx(1)));
    // Leaders that have just moved: the page is older than the tables, which proves nothing.
    scene.memory.leadership = Some(LeadershipChange {
        at: scene.now.mono.minus(Duration::from_secs(1)),
        partitions: 1,
    });
    assert_eq!(one(&scene, identity::run, Reason::WrongNode), None);
}

/// A page that carries its node's id and counts what that node does not hold is another cluster's.
#[test]
fn a_page_of_the_same_node_of_another_cluster_is_noticed() {
    let mut scene = Scene::healthy_kraft();
    for id in [1, 2, 3, 101, 102, 103] {
        scene.page(id, |page| page.node = Known::Is(node(id)));
    }
    assert_eq!(found(&scene, identity::run), []);
    scene.metric(2, Metric::LeaderCount, 6.0);
    let other = one(&scene, identity::run, Reason::SourcesDisagree).expect("a finding");
    assert_eq!(other.subject, Subject::Source(jmx(2)));
    assert_eq!(
        other.observed,
        "7 replicas and 6 leaders, which Metadata does not say"
    );
}

/// A controller that cannot show who it is is heard by the quorum's leader, and one whose page shows it
/// needs no more; of a broker without either nothing is shown.
#[test]
fn who_a_node_is_has_to_be_shown_by_something() {
    let unproven = |mut scene: Scene, id: i32| {
        scene.link(id, |link| {
            let why = String::from("no right to DescribeConfigs");
            link.identity = Identity::Unproven(why);
        });
        let all = found(&scene, identity::run).into_iter();
        let mut of_it = all.filter(|it| it.subject == Subject::Source(kafka(id)));
        of_it.next().expect("a finding").severity
    };
    assert_eq!(unproven(Scene::healthy_kafka(), 102), Severity::Warn);
    assert_eq!(unproven(Scene::healthy_kafka(), 2), Severity::Unknown);
    assert_eq!(unproven(Scene::healthy_kraft(), 2), Severity::Warn);
    assert_eq!(unproven(Scene::healthy_combined(), 1), Severity::Warn);
    let mut combined = Scene::healthy_combined();
    combined.policy.mode = Mode::Kafka;
    combined
        .reports
        .retain(|(_, kind), _| *kind != FactKind::Jmx);
    assert_eq!(
        unproven(combined, 1),
        Severity::Unknown,
        "a broker has to show itself"
    );
}

#[test]
fn what_the_cluster_says_of_a_node_is_told_as_it_says_it() {
    let mut scene = Scene::healthy_kraft();
    scene.quorum(1, |quorum| {
        let member = quorum.voters.remove(2);
        quorum.observers.push(member);
    });
    let said = one(&scene, nodes::run, Reason::NodeMissing).expect("a finding");
    assert_eq!(said.observed, "an observer of the quorum, without a vote");
    assert_eq!(said.subject, Subject::Node(node(103)));
    scene.quorum(1, |quorum| {
        quorum.observers.retain(|it| it.node != node(103));
    });
    let said = one(&scene, nodes::run, Reason::NodeMissing).expect("a finding");
    assert_eq!(said.observed, "not among the voters");
    // "Fenced" by one broker says more than "not listed" by another.
    let mut scene = Scene::healthy_kraft();
    scene.cluster(1, |cluster| cluster.brokers[2].fenced = true);
    scene.cluster(2, |cluster| cluster.brokers.retain(|it| it.node != node(3)));
    assert_eq!(reasons(&scene, nodes::run), [Reason::NodeFenced]);
}

/// Mode `jmx`: the controllers count brokers, and nobody names them.
#[test]
fn brokers_are_counted_where_nobody_names_them() {
    let counted = |active: f64, fenced: f64| {
        let mut scene = Scene::healthy_jmx();
        for id in [101, 102, 103] {
            scene.metric(id, Metric::ActiveBrokerCount, active);
            scene.metric(id, Metric::FencedBrokerCount, fenced);
        }
        let said = found(&scene, nodes::run).into_iter().next();
        said.map(|it| (it.reason, it.severity, it.observed))
    };
    let text = |text: &str| String::from(text);
    assert_eq!(counted(3.0, 0.0), None);
    // Of brokers without a target nothing is seen, whoever else is fenced.
    for (active, fenced) in [(4.0, 0.0), (5.0, 1.0)] {
        let more = format!("{active} brokers active, {fenced} fenced, 3 expected");
        let unseen = (Reason::EvidenceIncomplete, Severity::Unknown, more);
        assert_eq!(counted(active, fenced), Some(unseen));
    }
    let missing = text("2 brokers active, 0 fenced, 3 expected");
    assert_eq!(
        counted(2.0, 0.0),
        Some((Reason::NodeMissing, Severity::Block, missing))
    );
    let fenced = text("2 brokers active, 1 fenced, 3 expected");
    assert_eq!(
        counted(2.0, 1.0),
        Some((Reason::NodeFenced, Severity::Block, fenced))
    );
    let left = text("3 brokers active, 1 fenced, 3 expected");
    assert_eq!(
        counted(3.0, 1.0),
        Some((Reason::LeftoverRegistration, Severity::Warn, left))
    );
}

/// Mode `jmx` where no node counts brokers, or where one is fenced and may be any of them: of brokers
/// that nobody named it shows that they lead what the others do not.
#[test]
fn brokers_that_nobody_named_are_noticed_by_what_they_lead() {
    let unseen = |scene: &Scene| {
        let found = one(scene, nodes::run, Reason::EvidenceIncomplete);
        found.map(|it| (it.severity, it.observed))
    };
    let uncounted = |scene: &mut Scene| {
        for id in [101, 102, 103] {
            scene.page(id, |page| {
                page.values.remove(&Metric::ActiveBrokerCount);
                page.values.remove(&Metric::FencedBrokerCount);
            });
        }
    };
    let fenced = |scene: &mut Scene| scene.metric(102, Metric::FencedBrokerCount, 1.0);
    let cases: [&dyn Fn(&mut Scene); 2] = [&uncounted, &fenced];
    for spoil in cases {
        let mut scene = Scene::healthy_jmx();
        spoil(&mut scene);
        assert_eq!(unseen(&scene), None, "all seven are led by the three");
        for id in [101, 102, 103] {
            scene.metric(id, Metric::GlobalPartitionCount, 9.0);
        }
        let text = "the expected brokers lead 7 of 9 partitions by the JMX pages";
        let expected = Some((Severity::Unknown, String::from(text)));
        assert_eq!(unseen(&scene), expected);
        // More are led than a controller has: a page of before a topic's end, and nobody unknown.
        for id in [101, 102, 103] {
            scene.metric(id, Metric::GlobalPartitionCount, 5.0);
        }
        assert_eq!(unseen(&scene), None);
        // Who says nothing of partitions is another row's.
        scene.page(2, |page| {
            page.values.remove(&Metric::LeaderCount);
        });
        assert_eq!(unseen(&scene), None);
    }
    // They are counted, and nobody is fenced: what the pages say of leaders is not needed.
    let mut scene = Scene::healthy_jmx();
    scene.metric(102, Metric::GlobalPartitionCount, 9.0);
    assert_eq!(unseen(&scene), None);
    // The protocol names all brokers.
    let mut scene = Scene::healthy_kraft();
    uncounted(&mut scene);
    scene.metric(102, Metric::GlobalPartitionCount, 9.0);
    assert_eq!(unseen(&scene), None);
}

/// The same on ZooKeeper, where the one controller among the brokers tells how many partitions there are.
#[test]
fn brokers_on_zookeeper_that_nobody_named_are_noticed_by_what_they_lead() {
    let mut scene = Scene::healthy_zookeeper();
    scene.policy.mode = Mode::Jmx;
    for id in [1, 2, 3] {
        scene.policy.expected.insert(node(id), Role::BROKER);
        scene.page(id, |page| {
            page.values.remove(&Metric::ActiveBrokerCount);
        });
    }
    let unseen = |scene: &Scene| one(scene, nodes::run, Reason::EvidenceIncomplete).is_some();
    assert!(!unseen(&scene));
    scene.metric(1, Metric::GlobalPartitionCount, 8.0);
    assert!(unseen(&scene));
}

/// Links were asked 300 ms ago; offset 3,999 is the last of what is committed up to 4,000.
#[test]
fn a_broker_has_published_what_was_committed_by_a_slack_before() {
    let lags = |ago: u64, published: i64| {
        let mut scene = Scene::healthy_kraft();
        let mut tide = Tide::default();
        tide.rise(scene.now.mono.minus(Duration::from_millis(ago)), 4_000);
        scene.memory.committed = tide;
        scene.link(2, |link| link.published = Known::Is(published));
        one(&scene, metadata::run, Reason::MetadataLagging)
    };
    assert_eq!(lags(60_000, 3_999), None);
    assert_eq!(lags(60_000, 4_500), None);
    assert_eq!(lags(1_549, 3_000), None, "it has had less than 1.25 s");
    let late = lags(1_550, 3_998).expect("a finding");
    assert_eq!(late.subject, Subject::Node(node(2)));
    assert_eq!(
        late.observed,
        "published the metadata up to offset 3998, 3999 was committed 1.2s before"
    );
    assert_eq!(late.source, Some(kafka(2)));
}

/// Nothing follows from an offset that is not told, nor from what the quorum itself no longer has.
#[test]
fn where_it_is_not_told_what_is_published_the_quorums_word_has_to_do() {
    let lags = |change: fn(&mut Scene)| {
        let mut scene = Scene::healthy_kraft();
        unpublished(&mut scene, 2, 3_990);
        change(&mut scene);
        one(&scene, metadata::run, Reason::MetadataLagging).is_some()
    };
    assert!(lags(|_| {}));
    // A new leader does not know it yet; what was committed stays.
    assert!(lags(|s| s.quorum(1, |q| q.high_watermark = -1)));
    assert!(lags(|s| s.quorum(1, |q| q.high_watermark = 3_992)));
    assert!(!lags(|s| s.quorum(1, |q| q.high_watermark = 3_991)));
    assert!(!lags(
        |s| s.link(2, |link| link.published = Known::NotInRelease)
    ));
    assert!(!lags(|s| s.memory.committed = Tide::default()));
    // It writes nothing while nothing happens.
    assert!(!lags(|s| {
        let value = (Some(String::from("0")), ConfigSource::StaticBroker);
        let values = [(String::from("metadata.max.idle.interval.ms"), value)].into();
        s.put(kafka(101), Facts::NodeConfigs(NodeConfigs { values }));
    }));
    // Nor before 3.3-IV1.
    for (level, expected) in [(4, false), (5, true)] {
        let mut scene = Scene::healthy_kraft();
        unpublished(&mut scene, 2, 3_990);
        scene.metric(3, Metric::MetadataLagMs, 60_000.0);
        scene.link(1, |link| {
            let feature = String::from("metadata.version");
            link.finalized = [(feature, level)].into();
        });
        let lagging = found(&scene, metadata::run).len();
        assert_eq!(lagging, if expected { 2 } else { 0 }, "{level}");
    }
    // Of a broker that does not even fetch it is said once.
    assert!(lags(|s| {
        s.quorum(1, |q| q.observers[1].last_caught_up_ms = None);
    }));
}

/// What brokers have published is committed, and sooner told than by the quorum.
#[test]
fn brokers_are_held_against_each_other_as_well() {
    let mut scene = Scene::healthy_kraft();
    scene.memory.committed = Tide::default();
    scene.quorum(1, |quorum| quorum.high_watermark = 4_010);
    for (id, published) in [(1, 4_003), (2, 3_999)] {
        scene.link(id, |link| link.published = Known::Is(published));
        let mut report = scene.reports[&(kafka(id), FactKind::Link)].clone();
        report.seen = scene.now.mono.minus(Duration::from_secs(2));
        scene.memory.observe(&report);
    }
    let late = found(&scene, metadata::run)
        .into_iter()
        .map(|it| it.subject);
    let late: Vec<Subject> = late.collect();
    assert_eq!(late, [Subject::Node(node(2)), Subject::Node(node(3))]);
}
