//! `alerts/`: promtool's word on rules and their unit tests, and that every alert leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use upgrade_gate::checks::reason::Reason;

use crate::promtool::promtool;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/upgrade-gate.yaml");
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/upgrade-gate_test.yaml");

/// The text of the rules file.
pub(crate) fn rules() -> String {
    fs::read_to_string(RULES).unwrap()
}

fn yaml(text: &str) -> Value {
    yaml_serde::from_str(text).unwrap()
}

fn alerts(rules: &Value) -> Vec<&Value> {
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .map(|group| group["rules"].as_array().unwrap());
    rules.flatten().collect()
}

/// Fails with promtool's own words unless it is content.
pub(crate) fn content(arguments: &[&str], input: &str) {
    let output = promtool(arguments, input);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[test]
fn promtool_finds_no_fault_with_the_rules() {
    content(&["check", "rules", "--lint=all", "--lint-fatal", RULES], "");
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    content(&["test", "rules", TESTS], "");
}

#[test]
fn every_alert_is_unit_tested_both_ways() {
    let rules = yaml(&rules());
    let tests = yaml(&fs::read_to_string(TESTS).unwrap());
    let cases: Vec<&Value> = tests["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    for alert in alerts(&rules) {
        let name = &alert["alert"];
        let of_it = |fires: bool| {
            cases.iter().any(|case| {
                let expected = case["exp_alerts"].as_array().unwrap();
                case["alertname"] == *name && expected.is_empty() != fires
            })
        };
        assert!(of_it(true), "{name} is never shown to fire");
        assert!(of_it(false), "{name} is never shown to be quiet");
    }
}

#[test]
fn every_alert_says_what_it_is_and_where_to_read_on() {
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
    let runbook = fs::read_to_string(runbook).unwrap();
    let sections: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let rules = yaml(&rules());
    let mut names = BTreeSet::new();
    for alert in alerts(&rules) {
        let name = alert["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("UpgradeGate") && name.len() <= 40,
            "{name}"
        );
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        let text = |key: &str| alert["annotations"][key].as_str().unwrap();
        assert!(
            !text("summary").contains("{{") && text("summary").ends_with('.'),
            "{name}"
        );
        assert!(text("description").contains("{{"), "{name}");
        let expected = format!("docs/runbook.md#{}", name.to_ascii_lowercase());
        assert_eq!(text("runbook_url"), expected);
        assert!(
            sections.contains(name),
            "{name} has no section in docs/runbook.md"
        );
    }
    let described: BTreeSet<&str> = sections
        .into_iter()
        .filter(|section| section.starts_with("UpgradeGate"))
        .collect();
    assert_eq!(
        described, names,
        "docs/runbook.md has a section without an alert"
    );
}

#[test]
fn the_unit_tests_use_reasons_that_exist() {
    let tests = fs::read_to_string(TESTS).unwrap();
    let codes: Vec<&str> = tests
        .split("reason=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(!codes.is_empty());
    for code in codes {
        assert!(Reason::from_code(code).is_some(), "{code}");
    }
}
