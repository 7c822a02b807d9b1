//! `dashboards/`: valid, complete, and made of series that exist.
//!
//! There is no Grafana to be had as a package, so the dashboard is checked by its rules (reference
//! `exporters-alerts-and-callers.md` 2.2) and its queries by promtool, not by drawing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use upgrade_gate::clock::{Clock, SystemClock};
use upgrade_gate::metrics::counters::Counters;
use upgrade_gate::metrics::{BuildInfo, Format, Metrics};

use crate::alerts::{content, rules};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("dashboards/upgrade-gate.json")).unwrap()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Panels that show something: all but the rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = list(dashboard, "panels").iter();
    panels.filter(|panel| panel["type"] != "row")
}

/// Every query: of panels and of annotations.
fn queries(dashboard: &Value) -> Vec<&str> {
    let of_panels = panels(dashboard).flat_map(|panel| list(panel, "targets"));
    let of_annotations = list(&dashboard["annotations"], "list").iter();
    of_panels
        .chain(of_annotations)
        .map(|query| text(query, "expr"))
        .filter(|expr| !expr.is_empty())
        .collect()
}

/// Every family on the page of a process without gates: families are named there even when they
/// have no series.
fn exported() -> BTreeSet<String> {
    let counters = Arc::new(Counters::default());
    counters.reload.succeeded(SystemClock.now().wall);
    let build = BuildInfo {
        version: "0",
        revision: "0",
    };
    let gates = Arc::new(ArcSwap::from_pointee(BTreeMap::new()));
    let metrics = Metrics::new(gates, Arc::new(SystemClock), counters, build);
    let page = metrics.render(Format::Text).unwrap();
    let families = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    // Left out where the machine sets no limit.
    let may_lack = [String::from("process_max_fds")];
    families
        .map(|(name, _)| name.to_owned())
        .chain(may_lack)
        .collect()
}

/// Words of a text that can be names of our metrics.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c: char| !of_a_name(c))
        .filter(|word| word.starts_with("upgrade_gate_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn dashboard_and_alerts_use_only_series_that_exist() {
    let exported = exported();
    assert!(exported.contains("upgrade_gate_open"), "{exported:?}");
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list");
    let definitions = variables
        .iter()
        .map(|variable| text(variable, "definition"));
    let rules = rules();
    let texts = queries(&dashboard).into_iter().chain(definitions);
    let mut used = 0;
    for name in texts.chain([rules.as_str()]).flat_map(metric_names) {
        assert!(exported.contains(name), "{name} is not exported");
        used += 1;
    }
    assert!(used > 40, "{used}");
}

#[test]
fn docs_name_every_metric_and_no_other() {
    let docs = read("docs/metrics.md");
    let exported = exported();
    let documented: BTreeSet<String> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, exported);
}

#[test]
fn promtool_understands_every_query() {
    let dashboard = dashboard();
    let rules: Vec<Value> = queries(&dashboard)
        .into_iter()
        .enumerate()
        .map(|(index, expr)| {
            let expr = expr
                .replace("$__rate_interval", "5m")
                .replace("$__range", "3h")
                .replace("$job", ".+")
                .replace("$instance", ".+")
                .replace("$gate", ".+");
            assert!(!expr.contains('$'), "{expr}");
            json!({"record": format!("dashboard_{index}"), "expr": expr})
        })
        .collect();
    assert!(rules.len() > 30, "{}", rules.len());
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    content(
        &["check", "rules", "--lint=all", "--lint-fatal", "/dev/stdin"],
        &file,
    );
}

#[test]
fn every_query_is_held_to_the_chosen_job_and_instance() {
    for expr in queries(&dashboard()) {
        let names = expr
            .match_indices("upgrade_gate_")
            .chain(expr.match_indices("process_"));
        for (at, _) in names {
            let rest = &expr[at..];
            let selector = rest
                .split_once('{')
                .map(|(_, rest)| rest)
                .unwrap_or_default();
            let selector = selector.split('}').next().unwrap_or_default();
            assert!(selector.contains(r#"job=~"$job""#), "{expr}");
            assert!(selector.contains(r#"instance=~"$instance""#), "{expr}");
        }
        // A counter means something only as a rate.
        if expr.contains("_total{") {
            let rated = expr.contains("rate(") || expr.contains("increase(");
            assert!(rated && expr.contains("[$__rate_interval]"), "{expr}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        let id = panel["id"].as_u64().unwrap();
        assert!(id > 0 && ids.insert(id), "id {id} is there twice");
        assert!(!text(panel, "title").is_empty(), "panel {id}");
    }
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        assert!(titles.insert(title), "{title} is there twice");
        assert!(text(panel, "description").ends_with('.'), "{title}");
        assert!(
            !text(&panel["fieldConfig"]["defaults"], "unit").is_empty(),
            "{title}"
        );
        let targets = list(panel, "targets");
        assert!(!targets.is_empty(), "{title}");
        for of in targets.iter().chain([panel]) {
            assert_eq!(text(&of["datasource"], "uid"), "${datasource}", "{title}");
        }
        // States are said in words, never by colour alone.
        if panel["type"] == "state-timeline" || title == "Verdict" {
            let mappings = list(&panel["fieldConfig"]["defaults"], "mappings");
            let values = mappings[0]["options"].as_object().unwrap();
            assert!(values.len() >= 2, "{title}");
            assert!(
                values.values().all(|value| !text(value, "text").is_empty()),
                "{title}"
            );
            assert_eq!(mappings[1]["options"]["match"], "null+nan", "{title}");
        }
    }
}

#[test]
fn panels_fill_the_grid_without_covering_each_other() {
    let dashboard = dashboard();
    let place = |panel: &Value| {
        let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        (of("x"), of("y"), of("w"), of("h"))
    };
    let places: Vec<_> = list(&dashboard, "panels").iter().map(place).collect();
    for (index, (x, y, w, h)) in places.iter().enumerate() {
        assert!(*w > 0 && *h > 0 && x + w <= 24, "panel {index}");
        for (other, (ox, oy, ow, oh)) in places.iter().enumerate().skip(index + 1) {
            let beside = x + w <= *ox || ox + ow <= *x || y + h <= *oy || oy + oh <= *y;
            assert!(beside, "panels {index} and {other} cover each other");
        }
    }
}

#[test]
fn it_can_be_provisioned_anywhere() {
    let dashboard = dashboard();
    assert_eq!(text(&dashboard, "uid"), "upgrade-gate");
    assert_eq!(dashboard["schemaVersion"], 39);
    assert!(
        dashboard.get("id").is_none(),
        "an id belongs to one Grafana"
    );
    assert_eq!(dashboard["editable"], false);
    let variables: Vec<&str> = list(&dashboard["templating"], "list")
        .iter()
        .map(|variable| text(variable, "name"))
        .collect();
    assert_eq!(variables, ["datasource", "job", "instance", "gate"]);
}
