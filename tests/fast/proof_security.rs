//! The proof `security`: every way in on every release, every fault by its name, and no gap.

use std::collections::BTreeSet;

use crate::proofs::proof;

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
        seen.insert((text("release"), text("way"), text("case")));
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
                let row = (release.to_owned(), way.to_owned(), case.to_owned());
                assert!(seen.contains(&row), "no row {row:?}");
            }
        }
    }
    later_rows(&seen);
    oidc_rows(&seen);
    let sessions = &proof["sessions"];
    assert_eq!(sessions["ok"], true, "{sessions:#}");
    assert_eq!(sessions["unknown"], 0, "{sessions:#}");
    assert_eq!(sessions["closed"], 0, "{sessions:#}");
    let number = |name: &str| sessions[name].as_f64().expect(name);
    assert!(number("watched") >= 300.0 && number("polls") >= 5_000.0);
    assert!(number("replaced") >= 180.0, "{sessions:#}");
}

/// Tokens of a real OpenID Connect server; these rows came last.
fn oidc_rows(seen: &BTreeSet<(String, String, String)>) {
    if !seen.iter().any(|(_, _, case)| case.starts_with("oidc_")) {
        println!("docs/proof/security.json is older than its newest rows: `lab prove security`");
        return;
    }
    for release in ["3.9.2", "4.3.1"] {
        for case in [
            "right",
            "tokens_renewed",
            "wrong_secret",
            "unknown_ca",
            "token_for_another",
        ] {
            let way = String::from("OAUTHBEARER (OIDC)");
            let row = (release.to_owned(), way, format!("oidc_{case}"));
            assert!(seen.contains(&row), "no row {row:?}");
        }
    }
}

/// Rows that came later: as soon as there is one of them, all have to be there.
fn later_rows(seen: &BTreeSet<(String, String, String)>) {
    let later = |(_, _, case): &(String, String, String)| {
        ["controllers_", "exporters_", "doctor_"]
            .iter()
            .any(|of| case.starts_with(of))
    };
    if !seen.iter().any(later) {
        println!("docs/proof/security.json is older than its newest rows: `lab prove security`");
        return;
    }
    for release in ["3.9.2", "4.3.1"] {
        for way in ["mTLS", "PLAIN", "SCRAM-SHA-512"] {
            for case in ["right", "wrong_secret", "unknown_ca"] {
                let case = format!("controllers_{case}");
                let row = (release.to_owned(), way.to_owned(), case);
                assert!(seen.contains(&row), "no row {row:?}");
            }
        }
        for case in [
            "right",
            "wrong_password",
            "expired_certificate",
            "unknown_ca",
        ] {
            let case = format!("exporters_{case}");
            let row = (release.to_owned(), "basic auth".to_owned(), case);
            assert!(seen.contains(&row), "no row {row:?}");
        }
    }
    for release in ["2.8.2", "3.9.2", "4.3.1"] {
        let is_doctor = |(of, _, case): &&(String, String, String)| {
            of == release && case.starts_with("doctor_")
        };
        assert_eq!(
            seen.iter().filter(is_doctor).count(),
            5,
            "doctor on {release}"
        );
    }
}
