//! Every endpoint, asked by everybody: who may is what the table says.

use std::collections::BTreeMap;

use http::Method;
use upgrade_gate::gate::question::Command;
use upgrade_gate::rights::Right;
use upgrade_gate::server::endpoint::Endpoint;
use upgrade_gate::server::route::route;

use crate::secured::{EVERYBODY, World, secured};

/// A request of this endpoint that means something: its path, filled in, and what its query needs.
fn sample(endpoint: Endpoint) -> (String, String) {
    let path = ["gate", "lease", "node"].iter().zip(["default", "3", "2"]);
    let path = path.fold(endpoint.row().path.to_owned(), |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), value)
    });
    let needed = endpoint.parameters().iter().filter(|(_, needed)| *needed);
    let mut query: Vec<String> = needed
        .map(|(parameter, _)| format!("{}={}", parameter.name(), parameter.example()))
        .collect();
    if matches!(endpoint, Endpoint::Enter | Endpoint::Leave) {
        query.push(String::from("node=1"));
    }
    (path, query.join("&"))
}

fn asked(endpoint: Endpoint, method: &str, more: &str) -> Result<Endpoint, (u16, String)> {
    let (path, query) = sample(endpoint);
    let query = [query.as_str(), more].join("&");
    let query = query.trim_matches('&');
    let query = (!query.is_empty()).then_some(query);
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    match route(&method, &path, query) {
        Ok(route) => Ok(route.endpoint()),
        Err(problem) => Err((problem.status.as_u16(), problem.detail)),
    }
}

#[test]
fn the_table_is_what_is_routed() {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE",
    ];
    for endpoint in Endpoint::ALL {
        for method in methods {
            let same_path = |other: &&Endpoint| other.row().path == endpoint.row().path;
            let at_path: Vec<_> = Endpoint::ALL.iter().filter(same_path).collect();
            let answers = at_path.iter().find(|other| other.answers(method));
            match asked(*endpoint, method, "") {
                Ok(routed) => assert_eq!(Some(routed), answers.map(|it| **it)),
                Err((405, _)) => assert!(answers.is_none(), "{endpoint:?} {method}"),
                // Another endpoint at the same path, which needs other parameters.
                Err((400, why)) => {
                    assert!(!endpoint.answers(method) && answers.is_some(), "{why}");
                }
                Err(other) => panic!("{endpoint:?} {method}: {other:?}"),
            }
        }
        // Whatever reads is safe to be followed, and whatever changes is not.
        assert_eq!(endpoint.changes(), !endpoint.answers("GET"), "{endpoint:?}");
    }
}

#[test]
fn every_parameter_is_taken_and_no_other() {
    for endpoint in Endpoint::ALL {
        let method = endpoint.row().methods[0];
        for (parameter, needed) in endpoint.parameters() {
            let more = format!("{}={}", parameter.name(), parameter.example());
            // Those that are needed are there already, and so is the node of enter and leave.
            let twice = *needed || (endpoint.changes() && parameter.name() == "node");
            match asked(*endpoint, method, &more) {
                Ok(_) => {}
                Err((400, why)) if twice => assert!(!why.contains("no parameter"), "{why}"),
                Err(why) => panic!("{endpoint:?} {more}: {why:?}"),
            }
        }
        let (status, why) = asked(*endpoint, method, "colour=red").unwrap_err();
        assert_eq!(status, 400);
        for (parameter, _) in endpoint.parameters() {
            assert!(why.contains(parameter.name()), "{endpoint:?}: {why}");
        }
    }
}

#[tokio::test]
async fn everybody_may_what_the_table_says_and_nothing_else() {
    let world = World::new();
    let (mut served, _) = secured(&world).await;
    let callers = world.callers();
    let mut seen: BTreeMap<(bool, u16), usize> = BTreeMap::new();
    for endpoint in Endpoint::ALL {
        let (path, query) = sample(*endpoint);
        let url = format!("https://{}{path}?{query}", served.address);
        for method in endpoint.row().methods {
            for means in EVERYBODY {
                let request = callers.request(means, method, url.trim_end_matches('?'));
                let got = request.header("x-upgrade-gate", "1").send().await.unwrap();
                let status = got.status().as_u16();
                let header = |name: &str| got.headers().get(name).map(|it| it.to_str().unwrap());
                let what = format!("{endpoint:?} {method} by {}: {status}", means.name);
                let needed = endpoint.row().right;
                let may = needed.is_none() || means.right >= needed;
                *seen.entry((may, status)).or_default() += 1;
                if may {
                    assert!(status != 401 && status != 403, "{what}");
                    continue;
                }
                assert_eq!(
                    status,
                    if means.right.is_none() { 401 } else { 403 },
                    "{what}"
                );
                assert_eq!(header("upgrade-gate-state"), Some("unknown"), "{what}");
                assert_eq!(
                    header("www-authenticate").is_some(),
                    status == 401,
                    "{what}"
                );
                if status == 403 && *method != "HEAD" {
                    let needed = needed.map_or("", Right::as_str);
                    let says = got.text().await.unwrap();
                    assert!(
                        says.contains(&format!("needs the right {needed}")),
                        "{says}"
                    );
                }
            }
        }
    }
    for wanted in [(true, 200), (true, 503), (false, 401), (false, 403)] {
        assert!(
            seen.get(&wanted).is_some_and(|times| *times >= 20),
            "{seen:?}"
        );
    }
    // What reached the engine names who really asked.
    let mut named = 0;
    while let Ok(ask) = served.asks.try_recv() {
        if let Command::Enter(entry) = ask.command {
            let owner = entry.owner.to_string();
            assert!(
                [
                    "(token lease)",
                    "(token admin)",
                    "(user ann)",
                    "(certificate jenkins.example.org)"
                ]
                .iter()
                .any(|who| owner.ends_with(who)),
                "{owner}"
            );
            named += 1;
        }
    }
    assert!(named >= 4, "{named}");
}

#[tokio::test]
async fn changes_need_the_header_whoever_asks() {
    let world = World::new();
    let (served, _) = secured(&world).await;
    let callers = world.callers();
    let admin = EVERYBODY[3];
    for endpoint in Endpoint::ALL.iter().filter(|endpoint| endpoint.changes()) {
        let (path, query) = sample(*endpoint);
        let url = format!("https://{}{path}?{query}", served.address);
        let request = callers.request(admin, endpoint.row().methods[0], url.trim_end_matches('?'));
        let got = request.send().await.unwrap();
        assert_eq!(got.status().as_u16(), 403, "{endpoint:?}");
        assert!(got.text().await.unwrap().contains("X-Upgrade-Gate: 1"));
    }
}
