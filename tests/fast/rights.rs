//! Every endpoint, asked by everybody: who may is what the table says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use upgrade_gate::engine::handle::Ask;
use upgrade_gate::gate::question::{Change, Command};
use upgrade_gate::rights::Right;
use upgrade_gate::server::endpoint::Endpoint;
use upgrade_gate::server::route::route;
use upgrade_gate::server::{AppState, Limits, serve_stream};

use crate::reread::NO_CLUSTER;
use crate::secured::{EVERYBODY, TOKENS, World, secured};
use crate::served::{Got, open, state};
use crate::started::Started;

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
    let (mut named, mut renewers) = (0, BTreeSet::new());
    while let Ok(ask) = served.asks.try_recv() {
        if let Command::Change(Change::Renew { by, .. }) = &ask.command {
            renewers.insert(by.as_ref().map(ToString::to_string));
        }
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
    let known = [
        "certificate jenkins.example.org",
        "token admin",
        "token lease",
        "user ann",
    ];
    assert!(renewers.iter().flatten().eq(known), "{renewers:?}");
    assert_eq!(renewers.len(), known.len(), "{renewers:?}");
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

/// Whoever adds an endpoint that asks nobody who they are says so here as well.
#[test]
fn only_probes_are_open_to_everybody() {
    let open: Vec<_> = Endpoint::ALL
        .iter()
        .filter(|endpoint| endpoint.row().right.is_none())
        .collect();
    assert_eq!(open, [&Endpoint::Healthy, &Endpoint::Ready]);
}

/// A server without listeners, for callers at any address.
fn anywhere() -> (AppState, mpsc::Receiver<Ask>) {
    let (mut state, _, _, asks) = state(open());
    state.reload = Some(Arc::new(|| {
        Box::pin(async { Ok(String::from("reloaded")) })
    }));
    (state, asks)
}

/// One request of somebody at this address.
async fn from(peer: &str, state: &AppState, head: &str) -> Got {
    let soon = Duration::from_millis(10);
    let limits = Limits {
        decide: soon,
        grant: soon,
        ..Limits::default()
    };
    let (mut ours, theirs) = duplex(1 << 20);
    let request = format!("{head}Connection: close\r\n\r\n");
    let asking = async {
        ours.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (peer, none) = (peer.parse().unwrap(), CancellationToken::new());
    let serving = serve_stream(theirs, peer, state.clone(), limits, none);
    let ((), answer) = tokio::join!(serving, asking);
    Got::parse(&answer).unwrap()
}

/// The request line of this endpoint, and the header without which nothing changes.
fn line(endpoint: Endpoint, method: &str) -> String {
    let (path, query) = sample(endpoint);
    let target = format!("{path}?{query}");
    let target = target.trim_end_matches('?');
    format!("{method} {target} HTTP/1.1\r\nX-Upgrade-Gate: 1\r\n")
}

#[tokio::test]
async fn without_authentication_only_this_machine_changes_anything() {
    let (app, mut asks) = anywhere();
    let peers = [
        ("10.0.0.1", false),
        ("::ffff:10.0.0.1", false),
        ("fd00::1", false),
        ("127.0.0.1", true),
        ("::ffff:127.0.0.2", true),
        ("::1", true),
    ];
    for (peer, here) in peers {
        for endpoint in Endpoint::ALL {
            for method in endpoint.row().methods {
                let head = format!("{}Host: 127.0.0.1:10190\r\n", line(*endpoint, method));
                let got = from(peer, &app, &head).await;
                let what = format!("{endpoint:?} {method} from {peer}: {}", got.status);
                let may = here || !endpoint.changes();
                assert_eq!(got.status != 403, may, "{what}");
                if !may {
                    assert!(got.text().contains("only this machine"), "{what}");
                }
            }
        }
        // Nothing of it has reached the engine, or all of it has.
        let reached = std::iter::from_fn(|| asks.try_recv().ok()).count();
        let changes = Endpoint::ALL.iter().filter(|endpoint| endpoint.changes());
        let engines = changes.filter(|endpoint| **endpoint != Endpoint::Reload);
        assert_eq!(reached, if here { engines.count() } else { 0 }, "{peer}");
    }
}

/// A web site whose name was made to point here sends its own name (DNS rebinding).
#[tokio::test]
async fn without_authentication_changes_are_not_sent_to_a_name() {
    let (app, _asks) = anywhere();
    let hosts = [
        ("Host: 127.0.0.1:10190\r\n", true),
        ("Host: localhost\r\n", true),
        ("Host: [::1]:10190\r\n", true),
        ("Host: site.example.org:10190\r\n", false),
        ("Host: 127.0.0.1\r\nHost: site.example.org\r\n", false),
        ("Host: localhost.example.org\r\n", false),
        ("", false),
    ];
    for (host, may_change) in hosts {
        for endpoint in Endpoint::ALL {
            let head = line(*endpoint, endpoint.row().methods[0]);
            let got = from("127.0.0.1", &app, &format!("{head}{host}")).await;
            let may = may_change || !endpoint.changes();
            assert_eq!(
                got.status != 403,
                may,
                "{endpoint:?} {host}: {}",
                got.status
            );
            if !may {
                assert!(got.text().contains("not to a name"), "{}", got.text());
            }
        }
    }
}

/// Who has proven who they are comes from anywhere, to any name.
#[tokio::test]
async fn with_authentication_the_right_decides() {
    let world = World::new();
    let (mut app, _asks) = anywhere();
    app.access = world.access();
    let token = TOKENS[2].1;
    for endpoint in Endpoint::ALL {
        let head = line(*endpoint, endpoint.row().methods[0]);
        let shown = format!("Host: gate.example.org\r\nAuthorization: Bearer {token}\r\n");
        let got = from("10.0.0.1", &app, &format!("{head}{shown}")).await;
        let told = got.status;
        assert!(told != 401 && told != 403, "{endpoint:?}: {told}");
    }
}

/// What the real program says at its start of who may ask it what.
#[test]
fn who_may_ask_is_said_loudly_at_the_start() {
    let world = World::new();
    let token = world.path("token-read");
    let token = format!(
        "auth: {{tokens: {{ci: {{file: {}, rights: read}}}}}}\n",
        token.display()
    );
    let web = format!("web_config: {}\n", world.path("web.yml").display());
    let cases = [
        ("127.0.0.1:0", "", Some("a proxy on it lets through")),
        ("0.0.0.0:0", "", Some("whoever reaches this address")),
        (
            "[127.0.0.1:0, 0.0.0.0:0]",
            "",
            Some("whoever reaches this address"),
        ),
        ("127.0.0.1:0", token.as_str(), None),
        ("0.0.0.0:0", token.as_str(), Some("NO TLS")),
        ("0.0.0.0:0", web.as_str(), None),
    ];
    for (number, (listen, more, says)) in cases.into_iter().enumerate() {
        let file = world.path(&format!("{number}.yaml"));
        fs::write(&file, format!("listen: {listen}\n{more}{NO_CLUSTER}")).unwrap();
        let gate = Started::serve(&[file.to_str().unwrap()]);
        gate.address();
        let log = gate.end();
        let loud = log.iter().filter_map(|line| {
            let said = line["message"].as_str()?;
            (said.contains("NO AUTH") || said.contains("NO TLS")).then_some((line, said))
        });
        let loud: Vec<_> = loud.collect();
        assert_eq!(
            loud.len(),
            usize::from(says.is_some()),
            "{listen} {more}: {loud:?}"
        );
        for (line, said) in loud {
            assert_eq!(line["level"], "WARN");
            assert!(said.contains(says.unwrap()), "{listen} {more}: {said}");
            assert_eq!(said.contains("AUTHENTICATION"), more.is_empty(), "{said}");
        }
    }
}
