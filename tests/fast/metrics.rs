//! `/metrics`: the exact page, what promtool says of it, and what is not on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use upgrade_gate::checks::reason::Reason;
use upgrade_gate::gate::state::{GateName, State};
use upgrade_gate::gate::view::View;
use upgrade_gate::metrics::Format;

use crate::leases::taken;
use crate::promtool::check_metrics;
use crate::served::{START, Served, VALID, closed, open, parts, serve, unknown};

/// The value of one series, by its whole name with labels.
fn value<'a>(page: &'a str, series: &str) -> Option<&'a str> {
    let mut found = page
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = found.next();
    assert!(found.next().is_none(), "{series} is there twice");
    value
}

/// Everything but what the process itself uses, and the zeros of the closed list of reasons.
fn without_what_varies(page: &str) -> String {
    let varies = |line: &&str| {
        !line.contains("process_")
            && !line.starts_with("upgrade_gate_http_connections ")
            && !((line.starts_with("upgrade_gate_reason{")
                || line.starts_with("upgrade_gate_warning{"))
                && line.ends_with(" 0"))
    };
    page.lines()
        .filter(varies)
        .fold(String::new(), |page, line| page + line + "\n")
}

async fn page(served: &Served) -> String {
    let got = served.get("/metrics").await;
    assert_eq!(got.status, 200);
    assert_eq!(
        got.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    got.text().to_owned()
}

#[tokio::test]
async fn the_page_of_a_closed_gate() {
    let served = serve(closed()).await;
    served.state.metrics.counters().reload.succeeded(START.wall);
    served
        .state
        .metrics
        .counters()
        .evaluated(&GateName::default(), Duration::from_micros(1500));
    served.get("/api/v1/gates/default/check").await;
    insta::assert_snapshot!(without_what_varies(&page(&served).await));
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    for view in [open(), closed(), unknown()] {
        let served = serve(view).await;
        served.state.metrics.counters().reload.succeeded(START.wall);
        check_metrics(&page(&served).await);
        served.clock.advance(2 * VALID);
        check_metrics(&page(&served).await);
    }
}

#[tokio::test]
async fn no_number_is_made_up() {
    let served = serve(closed()).await;
    let page = page(&served).await;
    assert!(!page.contains("NaN") && !page.contains("Inf"));
    for absent in [
        "upgrade_gate_reassigning_partitions",
        "upgrade_gate_jmx_offline_partitions",
        "upgrade_gate_window_healthy_seconds",
        "upgrade_gate_config_last_reload_success_timestamp_seconds",
    ] {
        let sample = |line: &str| line.starts_with(absent);
        assert!(!page.lines().any(sample), "{absent}");
    }
    assert_eq!(
        value(&page, r#"upgrade_gate_offline_partitions{gate="default"}"#),
        Some("0")
    );
}

#[tokio::test]
async fn leases_and_holds_are_counted_and_outlive_the_judgement() {
    let quiet = serve(open()).await;
    let before = page(&quiet).await;
    let stage = |stage: &str| format!(r#"upgrade_gate_leases{{gate="default",stage="{stage}"}}"#);
    let expires = r#"upgrade_gate_lease_expires_timestamp_seconds{gate="default",node="2"}"#;
    let hold = r#"upgrade_gate_hold{gate="default"}"#;
    let held = r#"upgrade_gate_node_hold{gate="default",node="2"}"#;
    let served = serve(View::new(taken())).await;
    check_metrics(&page(&served).await);
    served.clock.advance(2 * VALID);
    let after = page(&served).await;
    for word in ["held", "leaving", "expired", "unannounced"] {
        assert_eq!(value(&before, &stage(word)), Some("0"));
        assert_eq!(value(&after, &stage(word)), Some("1"));
    }
    assert_eq!(
        (value(&before, hold), value(&after, hold)),
        (Some("0"), Some("1"))
    );
    assert_eq!(
        (value(&before, held), value(&after, held)),
        (Some("0"), Some("1"))
    );
    assert_eq!(value(&before, expires), None);
    assert_eq!(value(&after, expires), Some("1795001800.0"));
}

#[tokio::test]
async fn an_expired_view_reads_as_unknown_with_no_facts() {
    let served = serve(open()).await;
    let before = page(&served).await;
    assert_eq!(
        value(&before, r#"upgrade_gate_open{gate="default"}"#),
        Some("1")
    );
    served.clock.advance(VALID + Duration::from_nanos(1));
    let after = page(&served).await;
    for (series, expected) in [
        (r#"upgrade_gate_open{gate="default"}"#, Some("0")),
        (
            r#"upgrade_gate_state{gate="default",state="unknown"}"#,
            Some("1"),
        ),
        (
            r#"upgrade_gate_reason{gate="default",reason="view_expired"}"#,
            Some("1"),
        ),
        (
            r#"upgrade_gate_blocking_reasons{gate="default"}"#,
            Some("1"),
        ),
        (
            r#"upgrade_gate_node_may_stop{gate="default",node="1"}"#,
            Some("0"),
        ),
        (r#"upgrade_gate_partitions{gate="default"}"#, None),
        (
            r#"upgrade_gate_source_up{gate="default",source="kafka:1"}"#,
            None,
        ),
        (r#"upgrade_gate_node_down{gate="default",node="1"}"#, None),
    ] {
        assert_eq!(value(&after, series), expected, "{series}");
    }
}

#[tokio::test]
async fn the_series_of_reasons_never_come_and_go() {
    let series = |page: &str| -> BTreeSet<String> {
        let lines = page
            .lines()
            .filter(|line| line.starts_with("upgrade_gate_reason{"));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let served = serve(closed()).await;
    let first = page(&served).await;
    served.published.publish(Arc::new(unknown()));
    let second = page(&served).await;
    assert_eq!(series(&first).len(), Reason::ALL.len());
    assert_eq!(series(&first), series(&second));
    assert_ne!(first, second);
}

#[tokio::test]
async fn every_answer_of_check_is_counted() {
    let served = serve(open()).await;
    let check = "/api/v1/gates/default/check";
    served.get(check).await;
    served.send("HEAD", check, "", "").await;
    served.get(&format!("{check}?node=1")).await;
    served.published.publish(Arc::new(closed()));
    served.get(check).await;
    served.get(&format!("{check}?node=9")).await;
    let page = page(&served).await;
    let counted = State::ALL.map(|state| {
        let series = format!(r#"upgrade_gate_decisions_total{{gate="default",state="{state}"}}"#);
        value(&page, &series).unwrap().to_owned()
    });
    assert_eq!(counted, ["3", "1", "0"]);
}

#[tokio::test]
async fn open_metrics_when_asked_for() {
    let served = serve(closed()).await;
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let got = served.send("GET", "/metrics", accept, "").await;
    assert_eq!(
        got.header("content-type"),
        Some(Format::OpenMetrics.content_type())
    );
    assert!(got.text().ends_with("# EOF\n"));
    assert!(
        got.text()
            .contains("# TYPE upgrade_gate_decisions counter\n")
    );
    assert!(!got.text().contains("# TYPE upgrade_gate_decisions_total"));
}

/// Names, uniqueness, help and base units, read back by another program's parser.
#[tokio::test]
async fn another_parser_reads_the_same_page() {
    let served = serve(View::new(parts(vec![]))).await;
    let page = page(&served).await;
    let lines = page.lines().map(|line| Ok(line.to_owned()));
    let read = prometheus_parse::Scrape::parse(lines).unwrap();
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(read.samples.len(), samples);
    let lag = read
        .samples
        .iter()
        .find(|s| s.metric == "upgrade_gate_group_lag")
        .unwrap();
    assert_eq!(lag.labels.get("gate"), Some("default"));
    let families = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names: Vec<&str> = families.map(|(name, _)| name).collect();
    let distinct: BTreeSet<&&str> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    for name in names {
        assert!(
            name.starts_with("upgrade_gate_") || name.starts_with("process_"),
            "{name}"
        );
        assert!(
            !name.contains("cluster") && !name.ends_with("_count"),
            "{name}"
        );
    }
}
