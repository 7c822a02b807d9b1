//! Requests that come through to their handlers, made of the table of endpoints: with every method,
//! with the parameters that are needed and with all there are, and to an engine in every manner. And
//! the fuzzer's dictionary, made of the same table.

use std::collections::BTreeSet;

use upgrade_gate::server::endpoint::Endpoint;
use upgrade_gate::server::query::CLOSED_STATUSES;

use super::engine::{LEASE, Manner};

/// The gate is closed.
const CLOSED: usize = 0;
/// How many kinds of gates there are; the last one is open.
const WORLDS: usize = 4;

/// Each with a name of its own.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for endpoint in Endpoint::ALL.iter().copied() {
        let name = endpoint.name();
        for method in endpoint.row().methods {
            let needed = request(endpoint, method, &needed(endpoint), "");
            seeds.push((
                format!("{name}-{method}"),
                input(WORLDS - 1, Manner::Yes, &needed),
            ));
        }
        let method = endpoint.row().methods[0];
        let everything = everything(endpoint);
        let all = request(endpoint, method, &everything, "");
        seeds.push((format!("{name}-all"), input(CLOSED, Manner::Yes, &all)));
        for world in 0..WORLDS {
            let text = "Accept: text/plain\r\n";
            let text = request(endpoint, method, &needed(endpoint), text);
            seeds.push((
                format!("{name}-text-{world}"),
                input(world, Manner::Yes, &text),
            ));
        }
        if asks(endpoint) {
            for manner in Manner::ALL.iter().copied() {
                let asked = request(endpoint, method, &everything, "");
                seeds.push((format!("{name}-{manner:?}"), input(CLOSED, manner, &asked)));
            }
        }
    }
    seeds
}

/// Pieces of requests, in libFuzzer's form.
pub fn dictionary() -> String {
    let mut words: BTreeSet<String> = [
        "HEAD",
        "OPTIONS",
        "HTTP/1.0",
        "HTTP/1.1\r\n",
        "http://g",
        "X-Upgrade-Gate: 1\r\n",
        "Accept: text/plain\r\n",
        "Accept: application/openmetrics-text\r\n",
        "Connection: close\r\n",
        "Content-Length: 1\r\n",
        "Expect: 100-continue\r\n",
        "Transfer-Encoding: chunked\r\n",
        "1\r\nx\r\n0\r\n\r\n",
        "&node=1,2",
        "fresh=0",
        "repair",
    ]
    .map(String::from)
    .into();
    words.extend(CLOSED_STATUSES.map(|status| format!("closed_status={status}")));
    for endpoint in Endpoint::ALL.iter().copied() {
        words.extend(
            endpoint
                .row()
                .methods
                .iter()
                .map(|method| format!("{method} ")),
        );
        words.insert(path(endpoint));
        let parameters = endpoint.parameters().iter();
        words.extend(parameters.map(|(it, _)| format!("{}={}", it.name(), it.example())));
    }
    let escaped = |word: &String| word.replace('\r', "\\x0d").replace('\n', "\\x0a");
    let lines = words.iter().map(|word| format!("\"{}\"\n", escaped(word)));
    lines.collect()
}

/// Whether it puts a question to the engine.
pub fn asks(endpoint: Endpoint) -> bool {
    endpoint.changes() && endpoint != Endpoint::Reload || endpoint == Endpoint::Check
}

fn request(endpoint: Endpoint, method: &str, query: &str, header: &str) -> String {
    let path = path(endpoint);
    let mark = if query.is_empty() { "" } else { "?" };
    format!(
        "{method} {path}{mark}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Upgrade-Gate: 1\r\n{header}\r\n"
    )
}

/// With names in it that there are.
fn path(endpoint: Endpoint) -> String {
    let path = endpoint.row().path.replace("{gate}", "default");
    path.replace("{lease}", &LEASE.to_string())
        .replace("{node}", "1")
}

/// Parameters without which there is no answer; for leases one of nodes and hosts.
fn needed(endpoint: Endpoint) -> String {
    let of_nodes = endpoint == Endpoint::Enter || endpoint == Endpoint::Leave;
    let parameters = endpoint.parameters().iter();
    let needed = parameters.filter(|(it, needed)| *needed || of_nodes && it.name() == "node");
    let pairs: Vec<String> = needed
        .map(|(it, _)| format!("{}={}", it.name(), it.example()))
        .collect();
    pairs.join("&")
}

/// Every parameter that there is.
fn everything(endpoint: Endpoint) -> String {
    let all = endpoint.parameters().iter();
    let pairs: Vec<String> = all
        .map(|(it, _)| format!("{}={}", it.name(), it.example()))
        .collect();
    pairs.join("&")
}

/// The first byte chooses.
fn input(world: usize, manner: Manner, request: &str) -> Vec<u8> {
    let manner = Manner::ALL.iter().position(|known| *known == manner);
    let choice = world | manner.expect("one of them") << 2;
    let choice = u8::try_from(choice).expect("a byte");
    [&[choice], request.as_bytes()].concat()
}
