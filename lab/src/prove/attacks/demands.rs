//! What a row of the proof has to show, by its name: an attack that did not come about, or of which
//! nothing was noticed, shows nothing.

use serde_json::Value;

/// What an answer of `check` may take at most, milliseconds.
pub const WORST_CHECK_MS: f64 = 50.0;
/// What the gate may take of memory, bytes.
const MOST_MEMORY: f64 = 512e6;

/// By an attack's name: how many connections it has to have made, and what the gate has to have
/// refused for it.
pub type Came = (&'static str, f64, Option<&'static str>);

/// Every attack of callers.
pub const CAME_ABOUT: [Came; 7] = [
    ("slow headers", 300.0, Some("header_time")),
    ("slow bodies", 300.0, Some("body_time")),
    (
        "10,000 idle connections",
        10_000.0,
        Some("connections_per_peer"),
    ),
    ("huge headers", 1_000.0, Some("header_size")),
    ("malformed HTTP", 1_000.0, None),
    ("a flood of requests", 1.0, Some("requests_per_second")),
    ("stalled TLS handshakes", 1_000.0, Some("handshake_time")),
];

pub(super) const NO_DESCRIPTORS: &str = "no file descriptors left";
pub(super) const CROWD: &str = "an answer that names 100000 brokers";
/// How many descriptors a crowd of brokers may cost at most.
pub(super) const DESCRIPTORS_OF_A_CROWD: f64 = 20.0;
/// How many nodes there are, crowd or not.
pub(super) const NODES: f64 = 6.0;

/// By what nodes say: the reason that keeps the gate shut, and under what the answers that were not taken
/// are counted.
pub(super) const SHUT_BY: [(&str, &str, Option<&str>); 10] = [
    ("a gzip bomb as a page", "source_failed", Some("page_bytes")),
    ("an endless page", "source_failed", Some("page_bytes")),
    ("a dripping page", "source_failed", Some("jmx late")),
    ("a redirect to another host", "source_failed", None),
    ("a frame of 2 GB", "source_failed", Some("frame_bytes")),
    (
        "a short frame with a huge count",
        "source_failed",
        Some("kafka malformed"),
    ),
    (
        "an answer to another question",
        "source_failed",
        Some("kafka malformed"),
    ),
    (
        "a broker that never answers",
        "node_frozen",
        Some("kafka late"),
    ),
    (CROWD, "source_failed", Some("nodes")),
    (
        "the wall clock steps while an exporter hangs",
        "evidence_missing",
        None,
    ),
];

/// Whether somebody who comes anew may have to wait meanwhile: where the gate has no descriptor for
/// them, and where its process was stopped.
pub fn keeps_new_callers_waiting(name: &str) -> bool {
    name == NO_DESCRIPTORS || name.starts_with("SIGSTOP")
}

/// What a row does not show that it has to; nothing, where it is as it should be.
pub fn lacks(row: &Value) -> Vec<String> {
    let name = row["name"].as_str().unwrap_or_default();
    let number = |path: &str| row.pointer(path).and_then(Value::as_f64);
    let within = |path: &str, most: f64| number(path).is_some_and(|it| it <= most);
    let at_least = |path: &str, least: f64| number(path).is_some_and(|it| it >= least);
    let counted = |of: &str, by: &str| at_least(&format!("/{of}/{by}"), 1.0);
    let mut demands = vec![
        ("the gate did not say what it should", row["ok"] == true),
        ("too much memory", within("/peak_memory", MOST_MEMORY)),
        (
            "an answer took too long",
            within("/worst_check_ms", WORST_CHECK_MS),
        ),
        (
            "an answer over a new connection took too long",
            keeps_new_callers_waiting(name) || within("/worst_new_connection_ms", WORST_CHECK_MS),
        ),
        (
            "nobody came anew",
            row["said_anew"]
                .as_object()
                .is_some_and(|it| !it.is_empty()),
        ),
    ];
    if let Some((_, connections, by)) = CAME_ABOUT.iter().find(|(of, ..)| *of == name) {
        let made = at_least("/measured/connections_made", *connections);
        demands.push(("too few connections", made));
        let refused = by.is_none_or(|by| counted("refused", by));
        demands.push(("nothing was refused for it", refused));
    }
    if let Some((_, code, not_taken)) = SHUT_BY.iter().find(|(of, ..)| *of == name) {
        let mut codes = row["codes"].as_array().into_iter().flatten();
        let is_said = codes.any(|it| it == code);
        demands.push(("another reason kept it shut", is_said));
        let is_counted = not_taken.is_none_or(|why| counted("not_taken", why));
        demands.push(("what was not taken is not counted", is_counted));
    }
    if name == CROWD {
        let before = number("/measured/descriptors_before").unwrap_or_default();
        let few = within("/measured/descriptors", before + DESCRIPTORS_OF_A_CROWD);
        demands.push(("too many descriptors", few && before > 0.0));
        let known = number("/measured/nodes_known") == Some(NODES);
        demands.push(("other nodes than there are", known));
    }
    if name == NO_DESCRIPTORS {
        let limit = number("/measured/descriptors_limit").unwrap_or(f64::INFINITY);
        // Who comes anew is given one and closed at once: one or two may be free.
        let taken = at_least("/measured/descriptors", limit - 2.0);
        demands.push(("descriptors were left", taken));
        demands.push(("nobody was turned away", counted("refused", "accept")));
    }
    let missing = demands.into_iter().filter(|(_, is_met)| !is_met);
    missing
        .map(|(what, _)| format!("{name}: {what}: {row}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good(name: &str) -> Value {
        json!({
            "name": name,
            "ok": true,
            "peak_memory": 1e8,
            "worst_check_ms": 5.0,
            "worst_new_connection_ms": 5.0,
            "said_anew": {"open": 9},
            "codes": [],
            "refused": {},
            "not_taken": {},
            "measured": {},
        })
    }

    /// Changes a good row, which then lacks so much.
    fn lacking(name: &str, change: impl FnOnce(&mut Value)) -> usize {
        let mut row = good(name);
        change(&mut row);
        lacks(&row).len()
    }

    #[test]
    fn every_row_says_what_it_should_in_time() {
        assert_eq!(lacking("any", |_| ()), 0);
        for (field, value) in [
            ("ok", json!(false)),
            ("peak_memory", json!(1e9)),
            ("worst_check_ms", json!(50.1)),
            ("worst_new_connection_ms", json!(50.1)),
            ("worst_new_connection_ms", Value::Null),
            ("said_anew", json!({})),
        ] {
            assert_eq!(lacking("any", |row| row[field] = value), 1, "{field}");
        }
        let late = |row: &mut Value| row["worst_new_connection_ms"] = json!(5_000.0);
        assert_eq!(lacking("SIGSTOP for 60 s, while a broker dies", late), 0);
    }

    #[test]
    fn an_attack_that_did_not_come_about_shows_nothing() {
        let made = |connections: f64, by: &'static str| {
            move |row: &mut Value| {
                row["measured"]["connections_made"] = json!(connections);
                row["refused"][by] = json!(1);
            }
        };
        assert_eq!(lacking("slow headers", made(300.0, "header_time")), 0);
        assert_eq!(lacking("slow headers", made(299.0, "header_time")), 1);
        assert_eq!(lacking("slow headers", made(300.0, "body_time")), 1);
        assert_eq!(lacking("slow headers", |_| ()), 2);
    }

    #[test]
    fn what_shuts_the_gate_is_said_and_counted() {
        let shut = |code: &'static str, why: &'static str| {
            move |row: &mut Value| {
                row["codes"] = json!(["evidence_stale", code]);
                row["not_taken"][why] = json!(3);
            }
        };
        let name = "a frame of 2 GB";
        assert_eq!(lacking(name, shut("source_failed", "frame_bytes")), 0);
        assert_eq!(lacking(name, shut("node_frozen", "frame_bytes")), 1);
        assert_eq!(lacking(name, shut("source_failed", "page_bytes")), 1);
        assert_eq!(lacking(name, |_| ()), 2);
    }

    #[test]
    fn descriptors_are_taken_and_not_wasted() {
        let crowd = |descriptors: f64| {
            move |row: &mut Value| {
                row["codes"] = json!(["source_failed"]);
                row["not_taken"] = json!({"nodes": 2});
                row["measured"] = json!({
                    "descriptors": descriptors, "descriptors_before": 30.0, "nodes_known": 6.0,
                });
            }
        };
        assert_eq!(lacking(CROWD, crowd(50.0)), 0);
        assert_eq!(lacking(CROWD, crowd(51.0)), 1);
        let none_left = |descriptors: f64, refused: &'static str| {
            move |row: &mut Value| {
                row["refused"][refused] = json!(1);
                row["measured"] = json!({
                    "descriptors": descriptors, "descriptors_limit": 40.0,
                });
            }
        };
        assert_eq!(lacking(NO_DESCRIPTORS, none_left(38.0, "accept")), 0);
        assert_eq!(lacking(NO_DESCRIPTORS, none_left(37.0, "accept")), 1);
        assert_eq!(lacking(NO_DESCRIPTORS, none_left(38.0, "rate")), 1);
        assert_eq!(lacking(NO_DESCRIPTORS, |_| ()), 2);
    }
}
