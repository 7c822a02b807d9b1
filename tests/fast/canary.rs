//! Secrets go to whom they are for and nowhere else: marked ones in every secret file, and all output
//! of the real program searched for them, while everybody who is given one sends it back.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use lab::certs::{Authority, Dates};
use serde_json::Value;

use crate::reread;
use crate::secured::{EVERYBODY, World};
use crate::started::Started;

/// Stands in every secret.
const MARK: &str = "canary";

/// Answers every connection in a thread of its own; its port.
fn listen(answer: fn(TcpStream) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    port
}

/// A Kafka listener that takes every mechanism and sends back what it is shown as the reason for its
/// refusal.
fn kafka(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut frame)?;
        let (key, correlation) = (frame[1], &frame[4..8]);
        let mut answer = correlation.to_vec();
        if key == 17 {
            answer.extend([0, 0, 0, 0, 0, 0]);
        } else {
            let shown: String = String::from_utf8_lossy(&frame)
                .chars()
                .filter(char::is_ascii_graphic)
                .collect();
            let shown = &shown[..shown.len().min(120)];
            // Flexible header; error 58; a compact string; no bytes; no session; no tags.
            answer.extend([0, 0, 58, u8::try_from(shown.len() + 1).unwrap()]);
            answer.extend(shown.as_bytes());
            answer.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

/// An HTTP server that lets nobody in and sends back what it was sent.
fn http(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = vec![0; 4096];
    let count = stream.read(&mut request)?;
    let shown: String = String::from_utf8_lossy(&request[..count])
        .lines()
        .filter(|line| line.to_lowercase().starts_with("authorization"))
        .collect();
    let body = format!(r#"{{"error":"invalid_client","error_description":"{shown}"}}"#);
    write!(
        stream,
        "HTTP/1.1 401 No\r\nConnection: close\r\nX-Echo: {shown}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The files, and the configuration that names them: every way to log in to a cluster, and our own
/// side with TLS, tokens and users.
fn config(world: &World) -> String {
    let folder = world.folder.path();
    let secret = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("{MARK}-{name}")).unwrap();
        path.display().to_string()
    };
    let ca = Authority::new("CA").unwrap();
    let own = ca.issue("gate", &["gate"], Dates::Good).unwrap();
    let (certificate, key) = own.write(folder, "own").unwrap();
    fs::write(folder.join("kafka-ca.pem"), ca.pem()).unwrap();
    let (kafka, http) = (listen(kafka), listen(http));
    let mut text = reread::config(world) + "log.filter: trace\ngates:\n";
    let mut gate = |name: &str, settings: &str| {
        write!(
            text,
            "  {name}:\n    mode: kafka\n    kafka:\n      bootstrap: 127.0.0.1:{kafka}\n{settings}"
        )
        .unwrap();
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let settings = format!(
            "      security.protocol: SASL_PLAINTEXT\n      sasl:\n        mechanism: {mechanism}\n        \
             username: gate\n        password_file: {}\n",
            secret(mechanism)
        );
        gate(mechanism, &settings);
    }
    let bearer = "      security.protocol: SASL_PLAINTEXT\n      sasl.mechanism: OAUTHBEARER\n";
    let token = secret("token");
    gate(
        "token",
        &format!("{bearer}      sasl.oauthbearer.token_file: {token}\n"),
    );
    let client = secret("client");
    gate(
        "oidc",
        &format!(
            "{bearer}      sasl.oauthbearer:\n        token.endpoint.url: http://127.0.0.1:{http}/\n        \
             client: {{id: gate, secret_file: {client}}}\n"
        ),
    );
    gate(
        "mtls",
        &format!(
            "      security.protocol: SSL\n      ssl:\n        ca.location: {}\n        \
             certificate.location: {}\n        key.location: {}\n",
            folder.join("kafka-ca.pem").display(),
            certificate.display(),
            key.display()
        ),
    );
    let (password, header) = (secret("password"), secret("header"));
    write!(
        text,
        "  jmx:\n    mode: jmx\n    nodes: {{1: broker}}\n    jmx:\n      targets: {{1: \"127.0.0.1:{http}\"}}\n      \
         basic_auth: {{username: gate, password_file: {password}}}\n      \
         headers: {{X-Token: {{file: {header}}}}}\n"
    )
    .unwrap();
    text
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command.args(args).env_clear().stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Everything that a command says, and how it ends.
fn said(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let texts = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    (output.status.code(), texts.concat())
}

fn run(args: &[&str]) -> (Option<i32>, String) {
    said(program(args).spawn().unwrap())
}

/// Everything that one request is told.
async fn told(request: reqwest::RequestBuilder) -> String {
    let got = request.send().await.unwrap();
    let head = format!("{} {:?}\n", got.status(), got.headers());
    head + &got.text().await.unwrap() + "\n"
}

const GATES: [&str; 7] = [
    "PLAIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    "token",
    "oidc",
    "mtls",
    "jmx",
];

/// What everybody is told who asks this gate for everything.
async fn answers(world: &World, address: SocketAddr) -> String {
    let callers = world.callers();
    let base = format!("https://{address}");
    let (token, user) = (EVERYBODY[3], EVERYBODY[5]);
    let mut output = String::new();
    for path in ["/", "/metrics", "/api/v1/openapi.json", "/api/v1/gates"] {
        output += &told(callers.request(token, "GET", &format!("{base}{path}"))).await;
    }
    for gate in GATES {
        for what in ["", "/check", "/plan", "/leases", "/history"] {
            let url = format!("{base}/api/v1/gates/{gate}{what}");
            let got = told(callers.request(user, "GET", &url)).await;
            assert!(got.starts_with("200") || what == "/check", "{url}: {got}");
            output += &got;
        }
    }
    // What is wrong, and in the wrong place.
    for means in EVERYBODY.into_iter().filter(|means| means.right.is_none()) {
        let url = format!("{base}/api/v1/gates");
        let got = told(callers.request(means, "GET", &url)).await;
        assert!(got.starts_with("401"), "{got}");
        output += &got;
    }
    for (method, path) in [
        ("GET", "/metrics?token=canary-query"),
        ("GET", "/api/v1/gates?token=canary-query"),
        ("GET", "/api/v1/gates/PLAIN/check?token=canary-query"),
        (
            "POST",
            "/api/v1/gates/PLAIN/enter?access_token=canary-query",
        ),
        ("GET", "/nowhere?password=canary-query"),
    ] {
        let request = callers.request(token, method, &format!("{base}{path}"));
        let request = request.header("cookie", "session=canary-cookie");
        let got = told(request.header("x-upgrade-gate", "1")).await;
        assert!(got.starts_with('4'), "{path}: {got}");
        output += &got;
    }
    // Something is changed: the log says by whom.
    let hold = format!("{base}/api/v1/gates/PLAIN/hold?author=test&reason=test");
    // And whom it was not for.
    let (wrong, bob) = (EVERYBODY[4], EVERYBODY[6]);
    for (means, status) in [(token, "200"), (wrong, "401"), (bob, "403")] {
        let held = callers.request(means, "PUT", &hold);
        let held = told(held.header("x-upgrade-gate", "1")).await;
        assert!(held.starts_with(status), "{held}");
        output += &held;
    }
    output
}

/// A configuration with a secret in it is refused without it.
async fn refused_reload(world: &World, good: &str, file: &str, address: SocketAddr) -> String {
    let inline = "  inline:\n    mode: kafka\n    kafka:\n      bootstrap: 127.0.0.1:1\n      \
                  security.protocol: SASL_PLAINTEXT\n      sasl.mechanism: PLAIN\n      \
                  sasl.username: gate\n      sasl.password: canary-inline\n      \
                  sasl.oauthbearer.client.secret: canary-inline\n";
    let ours = good.replacen("auth:\n", "auth:\n  password: canary-inline\n", 1);
    fs::write(file, ours + inline).unwrap();
    let url = format!("https://{address}/-/reload");
    let request = world.callers().request(EVERYBODY[3], "POST", &url);
    let mut output = told(request.header("x-upgrade-gate", "1")).await;
    assert!(
        output.starts_with("503") && output.contains("sasl.password"),
        "{output}"
    );
    for command in ["check", "show"] {
        let (code, text) = run(&["config", command, file]);
        assert_eq!(code, Some(2), "{text}");
        output += &text;
    }
    output
}

/// What the command line prints of this gate.
fn commands(world: &World, address: SocketAddr) -> String {
    let url = format!("https://{address}");
    let path = |name: &str| world.path(name).display().to_string();
    let (ca, token, password) = (path("ca.pem"), path("token-admin"), path("password-ann"));
    let by_token = ["--url", &url, "--ca-file", &ca, "--token-file", &token];
    let by_user = ["--username", "ann", "--password-file", &password];
    let by_user = ["--url", &url, "--ca-file", &ca].into_iter().chain(by_user);
    let by_user: Vec<&str> = by_user.collect();
    let mut output = String::new();
    for command in [
        vec!["plan"],
        vec!["plan", "--json"],
        vec!["check", "--json"],
        vec!["history"],
        vec!["history", "--json"],
        vec!["lease", "list"],
        vec!["lease", "list", "--json"],
    ] {
        for shown in [by_token.as_slice(), by_user.as_slice()] {
            let (code, text) = run(&[command.as_slice(), shown, &["--gate", "PLAIN"]].concat());
            assert!(
                matches!(code, Some(0 | 1 | 3)),
                "{command:?}: {code:?} {text}"
            );
            output += &text;
        }
    }
    // Beside each other: nobody is told "go" here, and each is made to wait for that.
    let lease = ["--node", "1", "--owner", "test"];
    let mut asking = Vec::new();
    for (command, more, rest) in [
        (vec!["enter"], &lease[..], vec![]),
        (vec!["leave"], &lease[..], vec![]),
        (vec!["exec", "--wait", "1s"], &lease[..], vec!["--", "true"]),
        (
            vec!["lease", "renew", "1", "--token", "1"],
            &lease[..0],
            vec![],
        ),
        (vec!["hold", "test"], &lease[..0], vec![]),
    ] {
        for shown in [by_token.as_slice(), by_user.as_slice()] {
            let at = [shown, &["--gate", "PLAIN"]].concat();
            let args = [command.as_slice(), &at, more, &rest].concat();
            asking.push((command[0], program(&args).spawn().unwrap()));
        }
    }
    for (command, child) in asking {
        let (code, text) = said(child);
        let fits = match command {
            "hold" => code == Some(0),
            _ => !matches!(code, None | Some(0)),
        };
        assert!(
            fits && !text.contains("Usage:"),
            "{command}: {code:?} {text}"
        );
        output += &text;
    }
    output
}

/// Each request is one line with these fields, and no other: nothing of the query, no header.
fn access_log(log: &[Value]) {
    let ours = log
        .iter()
        .filter(|line| line["target"] == "upgrade_gate::access");
    let lines: Vec<_> = ours.map(|line| line.as_object().unwrap()).collect();
    assert!(lines.len() > 50, "{}", lines.len());
    let fields = "timestamp level target message method path status micros peer";
    let fields: BTreeSet<&str> = fields.split(' ').collect();
    for line in &lines {
        let mut has: BTreeSet<&str> = line.keys().map(String::as_str).collect();
        has.remove("principal");
        assert_eq!(has, fields, "{line:?}");
        assert_eq!(line["message"], "request");
        let path = line["path"].as_str().unwrap();
        assert!(path.starts_with('/') && !path.contains('?'), "{path}");
        assert!(
            line["micros"].is_u64() && line["peer"] == "127.0.0.1",
            "{line:?}"
        );
    }
    for (method, path, status, principal, level) in [
        ("GET", "/metrics", 200, Some("token admin"), "DEBUG"),
        (
            "GET",
            "/api/v1/gates/PLAIN/plan",
            200,
            Some("user ann"),
            "DEBUG",
        ),
        ("GET", "/api/v1/gates", 401, None, "DEBUG"),
        (
            "GET",
            "/api/v1/gates/PLAIN/check",
            400,
            Some("token admin"),
            "DEBUG",
        ),
        (
            "PUT",
            "/api/v1/gates/PLAIN/hold",
            200,
            Some("token admin"),
            "INFO",
        ),
        (
            "PUT",
            "/api/v1/gates/PLAIN/hold",
            403,
            Some("user bob"),
            "INFO",
        ),
        ("PUT", "/api/v1/gates/PLAIN/hold", 401, None, "INFO"),
        ("POST", "/-/reload", 503, Some("token admin"), "DEBUG"),
    ] {
        let is_it = |line: &&serde_json::Map<String, Value>| {
            let principal = principal.map(Value::from);
            line["method"] == method
                && line["path"] == path
                && line["status"] == status
                && line.get("principal") == principal.as_ref()
                && line["level"] == level
        };
        assert!(lines.iter().any(is_it), "{method} {path}: {lines:#?}");
    }
}

/// Fails with the line of the output that has one of these.
fn search(output: &str, secrets: &[String]) {
    for secret in secrets {
        if let Some(at) = output.find(secret) {
            let from = output[..at].rfind('\n').map_or(0, |line| line + 1);
            let to = output[at..].find('\n').map_or(output.len(), |end| at + end);
            panic!("a secret is shown ({secret}): {}", &output[from..to]);
        }
    }
}

/// What must be nowhere: the mark, keys, hashes, and names and passwords as Basic has them.
fn secrets(world: &World) -> Vec<String> {
    let mut secrets = vec![String::from("canary-")];
    for key in ["own.key", "server.key"] {
        let text = fs::read_to_string(world.path(key)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('-'));
        secrets.extend(lines.map(str::to_owned));
    }
    let web = fs::read_to_string(world.path("web.yml")).unwrap();
    let hashes = web.split_whitespace().filter(|word| word.starts_with("$2"));
    secrets.extend(hashes.map(str::to_owned));
    // "gate:canary", "ann:canary", "bob:canary" and "eve:canary".
    secrets.extend(
        [
            "Z2F0ZTpjYW5hcn",
            "YW5uOmNhbmFye",
            "Ym9iOmNhbmFye",
            "ZXZlOmNhbmFye",
        ]
        .map(str::to_owned),
    );
    secrets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_output_has_a_secret() {
    let world = World::new();
    let good = config(&world);
    let file = world.path("gate.yaml");
    fs::write(&file, &good).unwrap();
    let file = file.to_str().unwrap();
    let secrets = secrets(&world);
    assert_eq!(secrets.iter().filter(|it| it.starts_with("$2")).count(), 2);

    let gate = Started::serve(&[file]);
    // They look for two seconds at each gate.
    let look = ["doctor", file, "--timeout", "2s"];
    let doctors = [vec![], vec!["--json"]].map(|more| {
        let args = [look.as_slice(), more.as_slice()].concat();
        program(&args).spawn().unwrap()
    });
    let mut output = String::new();
    for args in [["config", "show", file], ["config", "check", file]] {
        let (code, text) = run(&args);
        assert_eq!(code, Some(0), "{text}");
        output += &text;
    }
    output += &run(&["config", "schema"]).1;
    let address = gate.address();
    // Every gate has been refused, and said so.
    for words in [
        "SASL PLAIN at",
        "SASL SCRAM-SHA-256 at",
        "SASL SCRAM-SHA-512 at",
        "SASL OAUTHBEARER at",
        "no token from",
        "TLS with",
    ] {
        gate.line(|line| line.to_string().contains(words));
    }
    output += &answers(&world, address).await;
    assert!(output.contains("HTTP status 401"), "the exporter's refusal");
    output += &commands(&world, address);
    output += &refused_reload(&world, &good, file, address).await;
    gate.signal("HUP");
    // Too short to be a token.
    fs::write(world.path("token-read"), "canary-2").unwrap();
    for doctor in doctors {
        let (code, text) = said(doctor);
        assert_eq!(code, Some(1), "{text}");
        // Some of them have heard why at least.
        let refused = ["SASL", "TLS with", "no token from"];
        assert!(refused.iter().any(|why| text.contains(why)), "{text}");
        output += &text;
    }
    gate.line(|line| line["what"] == "tokens" && line["level"] == "ERROR");
    let refused = |log: &[Value]| {
        let why = log.iter().filter_map(|line| line["why"].as_str());
        why.filter(|why| why.contains("sasl.password")).count()
    };
    let log = gate.end();
    assert_eq!(refused(&log), 2, "by HTTP and by SIGHUP");
    access_log(&log);
    for line in &log {
        output.push_str(&line.to_string());
        output.push('\n');
    }
    search(&output, &secrets);
}
