//! OAUTHBEARER: a token endpoint's answer, and a file with a token.
//!
//! The first byte chooses: a file, or an answer's status; the rest is the file or the answer's body.
//! In an answer, byte 1 stands for the client's secret, 2 for the same as a form has it, and 3 for
//! what the client has sent in its header: an endpoint may repeat any of them by mistake.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use upgrade_gate::evidence::report::{FailureClass, LONGEST_DETAIL};
use upgrade_gate::files::Secret;
use upgrade_gate::kafka::sasl::ClientCredentials;

const URL: &str = "https://login.example/token";
const SECRET: &str = "q7Zx9 kW3+%";
/// The same in a form.
const IN_A_FORM: &str = "q7Zx9+kW3%2B%25";

const STATUSES: [u16; 6] = [200, 201, 302, 400, 401, 503];

/// Reads one token.
///
/// # Panics
/// When something does not hold.
pub fn run(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    match choice % 8 {
        0 => file(rest),
        // Most answers are read in full.
        status => answer(STATUSES[usize::from(status.saturating_sub(2))], rest),
    }
}

/// One line is a secret, and nothing else is. What is wrong is said without what stands there.
fn file(content: &[u8]) {
    let read = || Secret::parse(content.to_vec());
    let parsed = super::bounded(256, 2, content.len(), read);
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let one = !line.is_empty() && !line.iter().any(ends);
    match (std::str::from_utf8(line), parsed) {
        (Ok(line), Ok(secret)) => assert!(one && secret.reveal() == line, "{content:?}"),
        (Ok(_), Err(why)) => assert!(!one, "{why}: {content:?}"),
        (Err(_), parsed) => assert!(parsed.is_err(), "{content:?}"),
    }
}

/// A token is taken from a 200 alone, as it stands there; and no failure tells a secret.
fn answer(status: u16, body: &[u8]) {
    let client = ClientCredentials {
        url: String::from(URL),
        id: String::from("gate"),
        secret_file: PathBuf::from("/run/secrets/gate"),
        scope: None,
        ca: None,
    };
    let header = STANDARD.encode(format!("gate:{IN_A_FORM}"));
    let body = filled(body, &header);
    let secret = Secret::new(String::from(SECRET));
    let read = || client.token(status, &body, &secret);
    match super::bounded(16 << 10, 64, body.len(), read) {
        Ok(token) => {
            assert_eq!(status, 200);
            let text = token.token.reveal();
            // Members that nobody asks for may hold half a surrogate pair: only a reader of the whole
            // minds.
            let answer: Option<Value> = serde_json::from_slice(&body).ok();
            let found = answer.as_ref().map(|answer| answer.get("access_token"));
            let found = found.map(|token| token.and_then(Value::as_str));
            assert!(found.is_none_or(|found| found == Some(text)), "{text:?}");
            assert!(
                !text.is_empty() && !text.contains(char::is_control),
                "{text:?}"
            );
            if let Some(answer) = answer {
                kept(token.keep, answer.get("expires_in"));
            }
        }
        Err(failure) => {
            let detail = &failure.detail;
            assert_eq!(failure.class, FailureClass::Authentication);
            assert!(detail.contains(URL), "{detail}");
            assert!(detail.chars().count() <= LONGEST_DETAIL + 4, "{detail}");
            for told in [SECRET, IN_A_FORM, &header] {
                assert!(!detail.contains(told), "{told} in: {detail}");
            }
        }
    }
}

/// Never longer than half of what the endpoint says, and 12 hours at most.
fn kept(keep: Duration, expires_in: Option<&Value>) {
    assert!(keep <= Duration::from_secs(12 * 3600), "{keep:?}");
    if let Some(seconds) = expires_in.and_then(Value::as_u64) {
        let most = u128::from(seconds) * 1000;
        assert!(keep.as_millis() * 2 <= most, "{keep:?} of {seconds} s");
    }
}

/// The bytes that stand for something, as that.
fn filled(body: &[u8], header: &str) -> Vec<u8> {
    let mut whole = Vec::with_capacity(body.len());
    for byte in body {
        match byte {
            1 => whole.extend_from_slice(SECRET.as_bytes()),
            2 => whole.extend_from_slice(IN_A_FORM.as_bytes()),
            3 => whole.extend_from_slice(header.as_bytes()),
            byte => whole.push(*byte),
        }
    }
    whole
}

/// What endpoints answer, and what is none of it.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let answers = [
        (
            "good",
            r#"{"access_token":"eyJhbGci.e30.c2ln","expires_in":300,"token_type":"Bearer"}"#,
        ),
        ("in-words", r#"{"expires_in":"3600","access_token":"t"}"#),
        ("unsaid", r#"{"access_token":"t"}"#),
        ("never", r#"{"access_token":"t","expires_in":-1}"#),
        ("odd", r#"{"access_token":"t","expires_in":1}"#),
        (
            "for-ever",
            r#"{"access_token":"t","expires_in":18446744073709551615}"#,
        ),
        (
            "deep",
            r#"{"access_token":"t","expires_in":[[[[{"a":[0,0]}]]]]}"#,
        ),
        ("twice", r#"{"access_token":"t","access_token":"u"}"#),
        ("list", r#"["t",300]"#),
        ("empty", r#"{"access_token":""}"#),
        ("control", r#"{"access_token":"a\u0001b"}"#),
        ("escaped", r#"{"access_token":"a\u0062\ud83d\ude00"}"#),
        ("number", r#"{"access_token":7}"#),
        (
            "refused",
            r#"{"error":"invalid_client","error_description":"no such client"}"#,
        ),
        (
            "repeats",
            "{\"error\":\"not \x01\",\"error_description\":\"\x02 in \x03\"}",
        ),
        ("joined", "{\"error\":\"\x01\x01\"}"),
        ("page", "<html>502</html>"),
    ];
    let files = [
        ("line", "eyJhbGci.e30.c2ln\n"),
        ("dos", "eyJhbGci.e30.c2ln\r\n"),
        ("bare", "t"),
        ("two", "a\nb\n"),
        ("empty", "\n"),
        ("ends", "a\n\n"),
    ];
    let of_answers = answers.iter().flat_map(|(name, body)| {
        [1_u8, 6].map(|choice| {
            (
                format!("answer-{name}-{choice}"),
                [&[choice], body.as_bytes()].concat(),
            )
        })
    });
    let of_files = files
        .iter()
        .map(|(name, content)| (format!("file-{name}"), [&[0], content.as_bytes()].concat()));
    of_answers.chain(of_files).collect()
}
