//! OAUTHBEARER with tokens of a real OpenID Connect server, which brokers check by its keys.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::place::Place;
use super::ways::Heard;
use super::{LIMIT, Row, STAY, Told, is_named, row_of};
use crate::cluster::Cluster;
use crate::keycloak::{CLIENT, Keycloak, STRANGER};
use crate::prove::gate::{Answer, Gate, Poller};
use crate::prove::watch::{PATIENCE, seconds, watch};

/// The door where signed tokens are wanted.
pub(super) const DOOR: &str = "OIDC";
/// How long the gate is watched while its tokens end: a few times over.
const SPAN: Duration = Duration::from_secs(65);

struct Cell {
    case: &'static str,
    client: &'static str,
    secret: &'static str,
    ca: &'static str,
    words: &'static str,
}

/// What can be wrong at the server, and with what it gives.
const WRONG: [Cell; 3] = [
    Cell {
        case: "oidc_wrong_secret",
        client: CLIENT,
        secret: "password-wrong",
        ca: "ca.pem",
        words: "unauthorized_client",
    },
    Cell {
        case: "oidc_unknown_ca",
        client: CLIENT,
        secret: "password",
        ca: "other-ca.pem",
        words: "not from a trusted CA",
    },
    Cell {
        case: "oidc_token_for_another",
        client: STRANGER,
        secret: "password",
        ca: "ca.pem",
        words: "invalid_token",
    },
];

/// Lets the gate in and watches it through the end of its tokens, then goes through the faults.
pub(super) async fn run(
    place: &Place,
    cluster: &Cluster,
    server: &Keycloak,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let right = Cell {
        case: "oidc_right",
        client: CLIENT,
        secret: "password",
        ca: "ca.pem",
        words: "",
    };
    let told = |case| Told {
        release: cluster.spec().release,
        way: "OAUTHBEARER (OIDC)",
        protocol: "SASL_SSL",
        case,
    };
    let gate = start(place, cluster, server, &right).await?;
    let seen = watch(&gate, PATIENCE, Duration::ZERO, Answer::is_open).await;
    rows.push(row_of(told(right.case), "open", seen, 0));
    rows.push(renewed(&gate, told("oidc_tokens_renewed")).await);
    drop(gate);
    for cell in &WRONG {
        let gate = start(place, cluster, server, cell).await?;
        // A token that the server does not give is missing in the login.
        let heard = Heard::of("sasl", cell.words);
        let seen = watch(&gate, LIMIT, STAY, |answer| is_named(answer, heard)).await;
        let expected = heard.never_open();
        let opens = seen.opens();
        rows.push(row_of(told(cell.case), &expected, seen, opens));
    }
    Ok(())
}

/// Tokens end every 20 s, and with them every session: nothing of it is seen.
async fn renewed(gate: &Gate, told: Told) -> Row {
    let begun = Instant::now();
    let poller = Poller::start(gate.port(), Duration::from_millis(20));
    sleep(SPAN).await;
    let looks = poller.take();
    let answers = looks.iter().filter_map(|look| look.answer.as_ref());
    let opens = answers.filter(|answer| answer.is_open()).count();
    let replaced = gate
        .log_tail(usize::MAX)
        .matches("a new connection follows")
        .count();
    let ok = opens == looks.len() && replaced >= 6;
    let row = Row {
        release: told.release.to_string(),
        way: told.way,
        protocol: told.protocol,
        case: told.case,
        expected: String::from("open in every answer of 65 s, one each 20 ms"),
        state: String::from(if ok { "open" } else { "not always open" }),
        codes: Vec::new(),
        step: None,
        said: format!(
            "{opens} of {} answers open, {replaced} connections replaced",
            looks.len()
        ),
        seconds: Some(seconds(begun.elapsed())),
        wrong_opens: 0,
        ok,
    };
    row.print();
    row
}

async fn start(place: &Place, cluster: &Cluster, server: &Keycloak, cell: &Cell) -> Result<Gate> {
    let kafka: Value = json!({
        "bootstrap": cluster.behind(DOOR),
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": place.at("ca.pem"),
        "sasl.mechanism": "OAUTHBEARER",
        "https.ca.location": place.at(cell.ca),
        "sasl.oauthbearer": {
            "token.endpoint.url": server.token_endpoint(),
            "client.id": cell.client,
            "client.secret_file": place.at(cell.secret),
        },
    });
    let config = place.write(cell.case, kafka)?;
    Gate::start(&[config]).await
}
