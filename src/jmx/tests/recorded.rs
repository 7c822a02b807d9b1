//! Pages of real nodes. What is on each is in `expected.tsv`, read there by exact names.

use std::collections::BTreeMap;
use std::fs;

use super::{facts, folder, pages, role};
use crate::evidence::jmx::{JmxFacts, Metric};
use crate::evidence::known::Known;
use crate::evidence::report::FailureClass;
use crate::jmx::found::Found;

type Values = BTreeMap<Metric, f64>;

fn expected() -> BTreeMap<String, Values> {
    let text = fs::read_to_string(folder("recorded").join("expected.tsv")).expect("table");
    let mut expected: BTreeMap<String, Values> = BTreeMap::new();
    for row in text.lines() {
        let columns: Vec<_> = row.split('\t').collect();
        let [page, metric, value] = columns.as_slice() else {
            panic!("{row}")
        };
        let values = expected.entry(String::from(*page)).or_default();
        if *metric != "-" {
            let metric = Metric::named(metric).expect("metric");
            values.insert(metric, value.parse().expect("value"));
        }
    }
    expected
}

#[test]
fn every_page_is_recognised_with_its_values_and_no_others() {
    let expected = expected();
    let pages = pages("recorded");
    assert!(pages.len() >= 100, "{}", pages.len());
    assert_eq!(pages.len(), expected.len());
    for (name, page) in pages {
        let wanted = &expected[&name];
        match facts(&page) {
            Ok(facts) => assert_eq!(facts.values, *wanted, "{name}"),
            Err(error) => {
                assert_eq!(error.class(), FailureClass::NotKafkaMetrics, "{name}");
                assert!(
                    wanted.is_empty() && name.contains("-starting-"),
                    "{name}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_running_page_has_everything_required_of_its_role() {
    let mut seen = 0;
    for (name, page) in pages("recorded") {
        if !name.contains("-running-") && !name.contains("-degraded-") {
            continue;
        }
        seen += 1;
        let facts = facts(&page).expect(&name);
        let (role, mode) = role(&name);
        let mut found = Found::compare(&facts, role, mode);
        assert!(found.complete() && found.start_time, "{name}: {found}");
        // Pages were cut to what was read, and these were not yet.
        let later = [
            Metric::ZooKeeperConnects,
            Metric::ZooKeeperDisconnects,
            Metric::ZooKeeperAuthFailures,
        ];
        found.missing_optional.retain(|it| !later.contains(it));
        assert_eq!(found.missing_optional, [], "{name}: {found}");
        let state = facts.raft_state.value();
        if name.starts_with("flat-") {
            let fits = match (role.broker, name.contains("-active-")) {
                (true, _) => "observer",
                (false, true) => "leader",
                (false, false) => "follower",
            };
            assert_eq!(state.map(String::as_str), Some(fits), "{name}");
        } else {
            assert!(facts.node.value().is_some(), "{name}");
        }
        let beats = name.contains("-4.") && name.contains("-active-");
        assert_eq!(!facts.heartbeat_age_ms.is_empty(), beats, "{name}");
    }
    assert!(seen >= 30, "{seen}");
}

#[test]
fn a_stopping_page_lacks_what_would_speak_for_health() {
    for (name, page) in pages("recorded") {
        if name.contains("-stopping-") {
            let facts = facts(&page).expect(&name);
            let (role, mode) = role(&name);
            assert!(
                !Found::compare(&facts, role, mode).complete(),
                "{name}: {facts:?}"
            );
        }
    }
}

/// app-info comes seconds after the process; were it the start time as soon as it is there, every
/// start would look like two.
#[test]
fn the_start_time_stays_the_same_all_through_a_start() {
    let mut starts: BTreeMap<String, Vec<(String, JmxFacts)>> = BTreeMap::new();
    for (name, page) in pages("recorded") {
        if let (Some((node, _)), Ok(facts)) = (name.split_once("-starting-"), facts(&page)) {
            starts
                .entry(String::from(node))
                .or_default()
                .push((name, facts));
        }
    }
    assert!(starts.len() >= 10);
    for (node, pages) in starts {
        let times: Vec<_> = pages
            .iter()
            .map(|(_, facts)| facts.start_time.clone())
            .collect();
        assert!(matches!(times.first(), Some(Known::Is(_))), "{node}");
        assert!(
            times.windows(2).all(|pair| pair[0] == pair[1]),
            "{node}: {times:?}"
        );
    }
}

#[test]
fn the_page_kept_whole_says_the_same_as_its_cut() {
    let full = fs::read(folder("full.prom")).expect("page");
    assert!(full.len() > 900_000);
    let full = facts(&full).expect("facts");
    let cuts = pages("recorded");
    let same = |name: &str, page: &[u8]| {
        name.contains("broker-running") && facts(page).is_ok_and(|f| f.values == full.values)
    };
    assert!(cuts.iter().any(|(name, page)| same(name, page)));
    assert!(full.kafka_samples > 5_000);
}
