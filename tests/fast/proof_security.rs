//! The proof `security`: every way in on every release, every fault by its name, and no gap.

use std::collections::BTreeSet;

use crate::proofs::proof;

/// Rows by release, way and case.
type Rows = BTreeSet<(String, String, String)>;

fn has(seen: &Rows, release: &str, way: &str, case: &str) {
    let row = (release.to_owned(), way.to_owned(), case.to_owned());
    assert!(seen.contains(&row), "no row {row:?}");
}

#[test]
fn every_way_in_is_proven_on_every_release() {
    let Some(proof) = proof("security") else {
        return;
    };
    let rows = proof["rows"].as_array().expect("rows");
    let mut seen = BTreeSet::new();
    for row in rows {
        assert_eq!(row["ok"], true, "{row:#}");
        assert_eq!(row["wrong_opens"], 0, "{row:#}");
        let text = |name: &str| row[name].as_str().expect(name).to_owned();
        // A refused login is not a node's end: `closed` would say what nobody knows.
        let case = text("case");
        if !case.starts_with("doctor_") {
            assert_eq!(row["state"], state_of(&case), "{row:#}");
        }
        // The reason is there in the words that it is expected in.
        let expected = text("expected");
        let words = expected.split_once("says \"").map(|(_, words)| words);
        if let Some(words) = words {
            let words = words.trim_end_matches('"');
            assert!(text("said").contains(words), "{row:#}");
        }
        assert_eq!(
            row["step"].as_str(),
            step_of(&text("way"), &case),
            "{row:#}"
        );
        seen.insert((text("release"), text("way"), case));
    }
    for release in ["2.8.2", "3.9.2", "4.3.1"] {
        for way in [
            "mTLS",
            "PLAIN",
            "SCRAM-SHA-256",
            "SCRAM-SHA-512",
            "OAUTHBEARER",
        ] {
            let token = ["mTLS", "OAUTHBEARER"].contains(&way);
            let all = [
                "right",
                "wrong_secret",
                "expired_certificate",
                "unknown_ca",
                "wrong_host_name",
                "rights_removed",
                "rights_given_back",
            ];
            let cases = all.iter().copied().chain(token.then_some("expired_token"));
            for case in cases {
                has(&seen, release, way, case);
            }
        }
    }
    rows_apart(&seen);
    oidc_rows(&seen);
    rows_of_rights(&seen);
    let sessions = &proof["sessions"];
    assert_eq!(sessions["ok"], true, "{sessions:#}");
    assert_eq!(sessions["unknown"], 0, "{sessions:#}");
    assert_eq!(sessions["closed"], 0, "{sessions:#}");
    let number = |name: &str| sessions[name].as_f64().expect(name);
    assert!(number("watched") >= 300.0 && number("polls") >= 10_000.0);
    assert!(number("replaced") >= 180.0, "{sessions:#}");
}

/// What the gate says of a case. Without the right to a group only its lag is not known.
fn state_of(case: &str) -> &'static str {
    let is_right = case == "right" || case.ends_with("_right") || case.ends_with("_given_back");
    let is_open = is_right || ["group_right_removed", "oidc_tokens_renewed"].contains(&case);
    if is_open { "open" } else { "unknown" }
}

/// The step that a fault is named by; none where nothing has failed.
fn step_of(way: &str, case: &str) -> Option<&'static str> {
    let secrets = [
        "wrong_secret",
        "expired_token",
        "wrong_secret_nodes_named",
        "controllers_wrong_secret",
    ];
    // A certificate of ours is refused in the handshake.
    let is_login = way == "OAUTHBEARER (OIDC)" || (way != "mTLS" && secrets.contains(&case));
    match case {
        _ if case.starts_with("doctor_") || state_of(case) == "open" => None,
        "rights_removed" => Some("authorization"),
        "exporters_wrong_password" => Some("http_login"),
        _ if is_login => Some("sasl"),
        _ => Some("tls"),
    }
}

/// Tokens of a real OpenID Connect server.
fn oidc_rows(seen: &Rows) {
    for release in ["3.9.2", "4.3.1"] {
        for case in [
            "right",
            "tokens_renewed",
            "wrong_secret",
            "unknown_ca",
            "token_for_another",
        ] {
            has(seen, release, "OAUTHBEARER (OIDC)", &format!("oidc_{case}"));
        }
    }
}

/// Controllers and exporters behind doors of their own.
fn rows_apart(seen: &Rows) {
    for release in ["3.9.2", "4.3.1"] {
        for way in ["mTLS", "PLAIN", "SCRAM-SHA-512"] {
            for case in ["right", "wrong_secret", "unknown_ca"] {
                has(seen, release, way, &format!("controllers_{case}"));
            }
        }
        for case in [
            "right",
            "wrong_password",
            "expired_certificate",
            "unknown_ca",
        ] {
            has(seen, release, "basic auth", &format!("exporters_{case}"));
        }
    }
}

/// `doctor` without each right; a login that is refused while the nodes are named.
fn rows_of_rights(seen: &Rows) {
    for release in ["2.8.2", "3.9.2", "4.3.1"] {
        for case in [
            "without_cluster_describe",
            "without_cluster_configs",
            "without_topic_describe",
            "without_topic_configs",
            "without_group_describe",
            "with_all_rights",
        ] {
            has(seen, release, "SCRAM-SHA-512", &format!("doctor_{case}"));
        }
        for case in [
            "group_right_removed",
            "group_right_given_back",
            "wrong_secret_nodes_named",
        ] {
            has(seen, release, "SCRAM-SHA-512", case);
        }
    }
}
