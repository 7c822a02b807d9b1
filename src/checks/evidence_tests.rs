use super::super::reason::Severity;
use super::*;
use crate::evidence::policy::Mode;
use crate::evidence::report::FailureClass;
use crate::evidence::scene::{Scene, SceneTopic, jmx, kafka, node};
use crate::evidence::step::Step;

#[test]
fn why_no_bootstrap_address_answers_is_told() {
    let mut scene = Scene::healthy_kraft();
    scene.reports.clear();
    scene.memory.known_nodes.clear();
    for address in ["b1:1", "b2:1"] {
        let source = SourceId::Bootstrap(String::from(address));
        scene.fail(source, FactKind::Cluster, FailureClass::Tls);
    }
    let judged = scene.snapshot(run);
    let findings = judged.findings();
    let [nobody, first, second] = findings.as_slice() else {
        unreachable!("{findings:?}")
    };
    assert_eq!(nobody.reason, Reason::NoNodesKnown);
    assert!(nobody.observed.contains("Tls by test"), "{nobody:?}");
    let more = "1 other addresses fail, too";
    assert!(nobody.observed.contains(more), "{nobody:?}");
    for (told, address) in [(first, "b1:1"), (second, "b2:1")] {
        let source = SourceId::Bootstrap(String::from(address));
        assert_eq!(told.reason, Reason::SourceFailed);
        assert_eq!(told.subject, Subject::Source(source));
    }
    for finding in findings {
        assert_eq!(finding.step, Some(Step::Tls), "{finding:?}");
        assert_eq!(finding.severity, Severity::Unknown, "{finding:?}");
    }
}

/// Whatever they fail with, nothing is known of any node: never closed, never open.
#[test]
fn however_bootstrap_addresses_fail_the_step_is_named_and_nothing_is_known() {
    let classes = [
        FailureClass::Resolve,
        FailureClass::Refused,
        FailureClass::Closed,
        FailureClass::Tls,
        FailureClass::Authentication,
        FailureClass::Authorization,
        FailureClass::WrongCluster,
        FailureClass::Throttled,
        FailureClass::Unsupported,
        FailureClass::OwnFile,
    ];
    for class in classes {
        let mut scene = Scene::healthy_kraft();
        scene.reports.clear();
        scene.memory.known_nodes.clear();
        let source = SourceId::Bootstrap(String::from("b1:1"));
        scene.fail(source, FactKind::Cluster, class);
        let judged = scene.snapshot(run);
        assert!(!judged.allows_open(), "{class:?}");
        let findings = judged.findings();
        assert_eq!(findings.len(), 2, "{class:?}: {findings:?}");
        for finding in findings {
            assert_eq!(finding.step, Some(class.step()), "{finding:?}");
            assert_eq!(finding.severity, Severity::Unknown, "{finding:?}");
        }
    }
    // Before any has answered or failed there is nothing to name.
    let mut scene = Scene::healthy_kraft();
    scene.reports.clear();
    scene.memory.known_nodes.clear();
    let judged = scene.snapshot(run);
    let findings = judged.findings();
    assert_eq!((findings.len(), findings[0].step), (1, None));
}

/// Nodes that are configured, or remembered from before a restart, are found through these addresses.
#[test]
fn why_no_bootstrap_address_answers_is_told_where_nodes_are_known() {
    let mut scene = Scene::healthy_kraft();
    scene.reports.clear();
    assert!(!scene.memory.known_nodes.is_empty());
    let source = SourceId::Bootstrap(String::from("b1:1"));
    scene.fail(
        source.clone(),
        FactKind::Cluster,
        FailureClass::Authentication,
    );
    scene.snapshot(|snapshot| {
        let judged = run(snapshot);
        let findings = judged.findings();
        let told = findings
            .iter()
            .find(|it| it.subject == Subject::Source(source.clone()));
        let told = told.expect("a finding about the address");
        assert_eq!(told.reason, Reason::SourceFailed);
        assert!(told.observed.contains("Authentication by test"), "{told:?}");
        assert_eq!(told.step, Some(Step::Sasl));
    });
    // Once nodes answer, what became of an address says nothing.
    let mut scene = Scene::healthy_kraft();
    let source = SourceId::Bootstrap(String::from("b1:1"));
    scene.fail(source, FactKind::Cluster, FailureClass::Authentication);
    scene.snapshot(|snapshot| assert!(run(snapshot).findings().is_empty()));
}

/// The kinds that this node itself has to answer.
fn asked_of(scene: &Scene, id: i32) -> Vec<FactKind> {
    let wanted = scene.snapshot(own_answers);
    let of_it = |(source, _): &(SourceId, FactKind)| source.node() == Some(node(id));
    let kinds = wanted.into_iter().filter(of_it).map(|(_, kind)| kind);
    kinds.collect()
}

const OF_A_BROKER: [FactKind; 5] = [
    FactKind::Link,
    FactKind::NodeConfigs,
    FactKind::LogDirs,
    FactKind::LogEnds,
    FactKind::Jmx,
];

#[test]
fn a_broker_answers_for_its_disks_and_a_controller_does_not() {
    let scene = Scene::healthy_kraft();
    assert_eq!(asked_of(&scene, 2), OF_A_BROKER);
    assert_eq!(asked_of(&scene, 102), [FactKind::Link, FactKind::Jmx]);
    assert_eq!(asked_of(&Scene::healthy_combined(), 1), OF_A_BROKER);
}

#[test]
fn each_mode_asks_for_its_own_kinds() {
    let mut scene = Scene::healthy_kraft();
    scene.policy.mode = Mode::Kafka;
    assert_eq!(asked_of(&scene, 2), OF_A_BROKER[..4]);
    assert_eq!(asked_of(&scene, 102), [FactKind::Link]);
    let scene = Scene::healthy_jmx();
    assert_eq!(asked_of(&scene, 2), [FactKind::Jmx]);
    assert_eq!(asked_of(&scene, 102), [FactKind::Jmx]);
}

/// Its brokers tell of such a controller: no answer of its own is missing.
#[test]
fn a_controller_that_is_seen_through_brokers_answers_nothing_itself() {
    let mut scene = Scene::healthy_kraft();
    scene.policy.via_brokers = true;
    assert_eq!(asked_of(&scene, 102), []);
    assert_eq!(asked_of(&scene, 2), OF_A_BROKER);
}

/// A partition with one replica has no other log end to be compared with.
#[test]
fn log_ends_are_wanted_of_brokers_that_share_a_partition() {
    let mut scene = Scene::healthy_kraft();
    let topics = vec![
        SceneTopic::new("single", 1, &[&[1], &[2]]),
        SceneTopic::new("shared", 1, &[&[2, 3]]),
    ];
    scene.retopic(|all| *all = topics);
    let follows = |id| asked_of(&scene, id).contains(&FactKind::LogEnds);
    assert_eq!([1, 2, 3].map(follows), [false, true, true]);
}

/// What is found of shared answers, as (observed, required).
fn too_few(scene: &Scene) -> Vec<(String, String)> {
    let judged = scene.snapshot(run);
    let findings = judged.findings().into_iter();
    findings
        .filter(|it| it.reason == Reason::EvidenceMissing && it.subject == Subject::Cluster)
        .map(|it| (it.observed.clone(), it.required.clone()))
        .collect()
}

/// Two brokers' tables are wanted, so that one that is behind shows: one broker's alone is too few,
/// and that of a second that fails is named as that broker's gap.
#[test]
fn one_brokers_table_is_not_enough() {
    let mut scene = Scene::healthy_kraft();
    assert_eq!(too_few(&scene), []);
    scene.reports.remove(&(kafka(2), FactKind::Partitions));
    let text = |text: &str| String::from(text);
    let kind = FactKind::Partitions;
    assert_eq!(
        too_few(&scene),
        [(
            format!("{kind} from 1 nodes"),
            format!("{kind} from 2 nodes")
        )]
    );
    scene.fail(kafka(2), kind, FailureClass::Malformed);
    assert_eq!(too_few(&scene), [], "it was asked, and its failure is told");
    let judged = scene.snapshot(run);
    let failed = judged
        .findings()
        .into_iter()
        .find(|it| it.reason == Reason::SourceFailed);
    let failed = failed.expect("a finding");
    assert_eq!(failed.subject, Subject::Source(kafka(2)));
    assert_eq!(
        failed.observed,
        format!("{kind}: {}", text("Malformed by test"))
    );
}

/// More answers than are wanted cannot do harm: a third broker's failure is no gap.
#[test]
fn enough_answers_are_enough() {
    let mut scene = Scene::healthy_kraft();
    for kind in [FactKind::Cluster, FactKind::Partitions] {
        scene.fail(kafka(3), kind, FailureClass::Timeout);
    }
    scene.fail(kafka(2), FactKind::Quorum, FailureClass::Timeout);
    let judged = scene.snapshot(run);
    assert!(judged.findings().is_empty(), "{judged:?}");
}

/// On ZooKeeper one that owes an answer about topics is told beside another's older answer; on KRaft
/// nobody waits for anything while it answers that.
#[test]
fn an_answer_about_topics_that_is_owed_is_not_made_up_for_by_anothers() {
    let kind = FactKind::TopicConfigs;
    let mut scene = Scene::healthy_zookeeper();
    assert!(scene.snapshot(run).allows_open());
    scene.fail(kafka(2), kind, FailureClass::Timeout);
    let judged = scene.snapshot(run);
    assert!(!judged.allows_open());
    let found: Vec<_> = judged.findings().into_iter().cloned().collect();
    let [owed] = found.as_slice() else {
        unreachable!("{found:?}")
    };
    assert_eq!(owed.reason, Reason::SourceFailed);
    assert_eq!(owed.severity, Severity::Unknown);
    assert_eq!(owed.subject, Subject::Source(kafka(2)));
    let mut scene = Scene::healthy_kraft();
    scene.fail(kafka(2), kind, FailureClass::Timeout);
    assert!(scene.snapshot(run).allows_open());
}

/// A node that answers nothing is one finding that names what is missing, each kind once.
#[test]
fn gaps_of_one_source_are_one_finding_that_names_them() {
    let mut gaps = Gaps::default();
    for kind in [FactKind::LogDirs, FactKind::LogEnds, FactKind::LogDirs] {
        gaps.add(kafka(1), kind, &Absent::Missing);
    }
    gaps.add(kafka(2), FactKind::LogDirs, &Absent::Missing);
    let found: Vec<Finding> = gaps.into_findings().collect();
    assert_eq!(found.len(), 2);
    let [dirs, ends] = [FactKind::LogDirs, FactKind::LogEnds].map(|kind| kind.to_string());
    assert_eq!(
        found[0].observed,
        format!("{dirs}, {ends}: nothing heard yet")
    );
    assert_eq!((found[0].count, &found[0].examples), (2, &vec![dirs, ends]));
    assert_eq!(
        (found[1].count, &found[1].subject),
        (1, &Subject::Source(kafka(2)))
    );
}

/// What is found of one node's page.
fn of_page(scene: &Scene, id: i32) -> Option<(String, usize)> {
    let judged = scene.snapshot(run);
    let findings = judged.findings().into_iter();
    let mut of_it = findings.filter(|it| it.subject == Subject::Source(jmx(id)));
    of_it.next().map(|it| (it.observed.clone(), it.count))
}

#[test]
fn a_page_without_a_metric_of_its_role_is_incomplete() {
    let mut scene = Scene::healthy_kraft();
    assert_eq!(of_page(&scene, 1), None);
    scene.page(1, |page| {
        page.values.remove(&Metric::BrokerState);
    });
    let (observed, count) = of_page(&scene, 1).expect("a finding");
    assert!(
        observed.starts_with(&Metric::BrokerState.to_string()),
        "{observed}"
    );
    assert_eq!(count, 1);
}

/// An exporter whose rules match nothing of Kafka's says so, however many numbers it has.
#[test]
fn a_page_without_anything_of_kafka_is_no_page() {
    let mut scene = Scene::healthy_kraft();
    scene.page(1, |page| page.kafka_samples = 0);
    let (observed, count) = of_page(&scene, 1).expect("a finding");
    assert_eq!(observed, "a page without any metric of Kafka");
    assert_eq!(count, 0);
}

/// A configured series is the only one its metric is read from: mistyped, it would switch off what is
/// judged by that metric. It is missed where a node of this role has such a number, and nowhere else.
#[test]
fn a_configured_series_that_is_not_on_the_page_is_missed_where_it_belongs() {
    let missed = |mut scene: Scene, id: i32, metric: Metric| {
        scene.page(id, |page| {
            page.values.remove(&metric);
            page.unfound
                .insert(metric, String::from("my_typo{a=\"b\"}"));
        });
        of_page(&scene, id)
    };
    let named = |metric: Metric| {
        let text = format!("{metric} not there as the configured series my_typo{{a=\"b\"}}");
        Some((text, 1))
    };
    let (kraft, combined) = (Scene::healthy_kraft, Scene::healthy_combined);
    let zookeeper = Scene::healthy_zookeeper;
    // Required, and optional, of a broker and of a controller.
    for (scene, id, metric) in [
        (kraft(), 1, Metric::UnderReplicatedPartitions),
        (kraft(), 1, Metric::FetcherFailedPartitions),
        (Scene::healthy_jmx(), 2, Metric::ReassigningPartitions),
        (kraft(), 101, Metric::MetadataErrorCount),
        (combined(), 1, Metric::MetadataErrorCount),
        (combined(), 1, Metric::OfflineLogDirectoryCount),
        (zookeeper(), 2, Metric::UncleanLeaderElections),
        (zookeeper(), 2, Metric::ZooKeeperDisconnects),
    ] {
        assert_eq!(missed(scene, id, metric), named(metric), "{metric} of {id}");
    }
    // Brokers' numbers are on no controller's page and the other way round; logs are recovered at times.
    for (scene, id, metric) in [
        (kraft(), 101, Metric::FetcherFailedPartitions),
        (kraft(), 101, Metric::UnderReplicatedPartitions),
        (kraft(), 1, Metric::OfflinePartitionsCount),
        (kraft(), 1, Metric::RemainingLogsToRecover),
        (kraft(), 1, Metric::ZooKeeperDisconnects),
        (zookeeper(), 1, Metric::MetadataLagMs),
    ] {
        assert_eq!(missed(scene, id, metric), None, "{metric} of {id}");
    }
}
