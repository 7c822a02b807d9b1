//! Who asks: each caller's requests, byte by byte, and how it decides.

use super::{Outcome, Trouble};
use crate::served::Got;

/// A caller with its settings.
pub(super) struct Caller {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    /// Its header lines, in its order; `{host}` is filled in.
    pub(super) headers: &'static str,
    pub(super) goes_on: fn(&Outcome) -> bool,
    /// Where it goes on although nothing said open.
    pub(super) misled_by: &'static [Trouble],
    /// Whether its own timeout ends a request that is never answered.
    pub(super) gives_up: bool,
}

/// Status alone misleads where the URL is wrong and something answers 200 to a GET.
const BY_URL: &[Trouble] = &[
    Trouble::TypoPage,
    Trouble::TypoDocument,
    Trouble::TypoPlan,
    Trouble::TypoHistory,
    Trouble::Stranger,
];

const CURL: &str = "Host: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n";
const ANSIBLE: &str = "Accept-Encoding: identity\r\nHost: {host}\r\n\
    User-Agent: ansible-httpget\r\nConnection: close\r\n";
const APACHE: &str = "Host: {host}\r\nConnection: Keep-Alive\r\n\
    User-Agent: Apache-HttpClient/4.5.14 (Java/17.0.9)\r\nAccept-Encoding: gzip,deflate\r\n";
const CURL_CHANGE: &str =
    "Host: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nX-Upgrade-Gate: 1\r\n";
const ANSIBLE_CHANGE: &str = "Accept-Encoding: identity\r\nHost: {host}\r\n\
    User-Agent: ansible-httpget\r\nX-upgrade-gate: 1\r\nConnection: close\r\n";
const APACHE_CHANGE: &str = "X-Upgrade-Gate: 1\r\nContent-Length: 0\r\nHost: {host}\r\n\
    Connection: Keep-Alive\r\nUser-Agent: Apache-HttpClient/4.5.14 (Java/17.0.9)\r\n\
    Accept-Encoding: gzip,deflate\r\n";

/// Everybody as they come out of the box.
pub(super) const DEFAULTS: [Caller; 5] = [
    Caller {
        name: "curl without --fail: any whole response is exit 0. Never safe",
        method: "GET",
        headers: CURL,
        goes_on: |outcome| outcome.whole().is_some(),
        misled_by: &[
            Trouble::Closed,
            Trouble::Unknown,
            Trouble::JustStarted,
            Trouble::EngineHung,
            Trouble::NoConnectionFree,
            Trouble::TypoPage,
            Trouble::TypoDocument,
            Trouble::TypoPlan,
            Trouble::TypoHistory,
            Trouble::TypoNowhere,
            Trouble::TypoGate,
            Trouble::TypoParameter,
            Trouble::Stranger,
        ],
        gives_up: false,
    },
    Caller {
        name: "curl --fail-with-body: safe by itself, given the right URL",
        method: "GET",
        headers: CURL,
        goes_on: curl_fail,
        misled_by: BY_URL,
        gives_up: false,
    },
    Caller {
        name: "Ansible uri, status_code [200]: safe by itself, given the right URL",
        method: "GET",
        headers: ANSIBLE,
        goes_on: |outcome| outcome.whole().is_some_and(|got| got.status == 200),
        misled_by: BY_URL,
        gives_up: true,
    },
    Caller {
        name: "Jenkins httpRequest, 100:399: safe by itself, given the right URL",
        method: "GET",
        headers: APACHE,
        goes_on: |outcome| matches!(jenkins(outcome), Some((100..=399, _))),
        misled_by: BY_URL,
        gives_up: false,
    },
    Caller {
        name: "Rundeck HTTP step, < 400: safe by itself, given the right URL",
        method: "GET",
        headers: APACHE,
        goes_on: |outcome| rundeck(outcome).is_some_and(|status| status < 400),
        misled_by: BY_URL,
        gives_up: true,
    },
];

/// Everybody with the settings of our recipes. POST, because then no mistyped URL of ours answers
/// 2xx. And the body, because a stranger's 200 has no `"open":true`.
pub(super) const RECIPES: [Caller; 6] = [
    Caller {
        name: "curl -X POST --fail-with-body --max-time -o verdict.json, then grep '\"open\":true'",
        method: "POST",
        headers: CURL_CHANGE,
        goes_on: |outcome| curl_fail(outcome) && says_open(outcome),
        misled_by: &[],
        gives_up: true,
    },
    Caller {
        name: "Ansible uri, method POST, failed_when: r.status != 200 or not r.json.open | default(false)",
        method: "POST",
        headers: ANSIBLE_CHANGE,
        goes_on: |outcome| {
            let json = |got: &Got| serde_json::from_slice::<serde_json::Value>(&got.body).ok();
            let open = |got: &Got| json(got).is_some_and(|json| json["open"] == true);
            let got = outcome.whole();
            got.is_some_and(|got| got.status == 200 && open(got))
        },
        misled_by: &[],
        gives_up: true,
    },
    Caller {
        name: "Jenkins httpRequest, POST, validResponseCodes 200, validResponseContent \"open\":true",
        method: "POST",
        headers: APACHE_CHANGE,
        goes_on: |outcome| {
            jenkins(outcome).is_some_and(|(status, body)| status == 200 && contains_open(body))
        },
        misled_by: &[],
        gives_up: true,
    },
    Caller {
        name: "Jenkins waitUntil over httpRequest, POST, validResponseCodes 100:599, then readJSON",
        method: "POST",
        headers: APACHE_CHANGE,
        goes_on: |outcome| {
            let open = |body| {
                let json = serde_json::from_slice::<serde_json::Value>(body);
                json.is_ok_and(|json| json["open"] == true)
            };
            jenkins(outcome).is_some_and(|(status, body)| status == 200 && open(body))
        },
        misled_by: &[],
        gives_up: true,
    },
    Caller {
        name: "Rundeck script step with our curl line",
        method: "POST",
        headers: CURL_CHANGE,
        goes_on: |outcome| curl_fail(outcome) && says_open(outcome),
        misled_by: &[],
        gives_up: true,
    },
    Caller {
        // It cannot look at the body, so the recipe says: only where nobody else can answer.
        name: "Rundeck HTTP step, POST, response code 200",
        method: "POST",
        headers: APACHE_CHANGE,
        goes_on: |outcome| rundeck(outcome) == Some(200),
        misled_by: &[Trouble::Stranger],
        gives_up: true,
    },
];

/// Exit 0: a whole response below 400. A short body is exit 18, refused 7, its timeout 28.
fn curl_fail(outcome: &Outcome) -> bool {
    outcome.whole().is_some_and(|got| got.status < 400)
}

fn says_open(outcome: &Outcome) -> bool {
    outcome.whole().is_some_and(|got| contains_open(&got.body))
}

fn contains_open(body: &[u8]) -> bool {
    body.windows(11).any(|window| window == br#""open":true"#)
}

/// The status and body that the plugin compares; `None`: it throws. It gives refused connections
/// and timeouts the status 408, and reads the whole body.
fn jenkins(outcome: &Outcome) -> Option<(u16, &[u8])> {
    match outcome {
        Outcome::Whole(got) => Some((got.status, &got.body)),
        Outcome::Cut(_) | Outcome::Nothing => None,
        Outcome::Refused | Outcome::TimedOut => Some((408, &[])),
    }
}

/// The status that the step compares; it does not read the body of a success.
fn rundeck(outcome: &Outcome) -> Option<u16> {
    match outcome {
        Outcome::Whole(got) | Outcome::Cut(got) => Some(got.status),
        Outcome::Nothing | Outcome::Refused | Outcome::TimedOut => None,
    }
}
