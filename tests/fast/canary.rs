//! Secrets go to whom they are for and nowhere else: marked ones in every secret file, and all output
//! of the real program searched for them, while everybody who is given one sends it back.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lab::certs::{Authority, Dates};

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

/// The files, and the configuration that names them.
fn config(folder: &Path) -> String {
    let secret = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("{MARK}-{name}")).unwrap();
        path.display().to_string()
    };
    let ca = Authority::new("CA").unwrap();
    let own = ca.issue("gate", &["gate"], Dates::Good).unwrap();
    let (certificate, key) = own.write(folder, "own").unwrap();
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    let (kafka, http) = (listen(kafka), listen(http));
    let mut text = String::from("listen: 127.0.0.1:0\nlog.filter: trace\ngates:\n");
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
            folder.join("ca.pem").display(),
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

struct Gate(Child);

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn no_output_has_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.yaml");
    fs::write(&file, config(folder.path())).unwrap();
    let file = file.to_str().unwrap();
    let mut output = String::new();
    for args in [["config", "show", file], ["config", "check", file]] {
        let shown = program(&args).output().unwrap();
        assert!(shown.status.success(), "{shown:?}");
        output += &String::from_utf8_lossy(&shown.stdout);
        output += &String::from_utf8_lossy(&shown.stderr);
    }
    let mut gate = Gate(
        program(&["serve", file])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let log = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&log);
    let lines = BufReader::new(gate.0.stderr.take().unwrap()).lines();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut log = kept.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    // Every gate has been refused, and said so.
    let wanted = [
        "SASL PLAIN at",
        "SASL SCRAM-SHA-256 at",
        "SASL SCRAM-SHA-512 at",
        "SASL OAUTHBEARER at",
        "no token from",
        "TLS with",
    ];
    for look in 0.. {
        let log = log.lock().unwrap().clone();
        let missing: Vec<_> = wanted
            .iter()
            .filter(|words| !log.contains(**words))
            .collect();
        if missing.is_empty() {
            break;
        }
        assert!(look < 400, "{missing:?}: {log}");
        thread::sleep(Duration::from_millis(50));
    }
    let text = log.lock().unwrap().clone();
    let address = text
        .lines()
        .find(|line| line.contains("listening"))
        .and_then(|line| line.split("address=").nth(1))
        .unwrap()
        .trim()
        .to_owned();
    output += &get(&address, "/metrics");
    output += &get(&address, "/");
    output += &get(&address, "/api/v1/gates");
    let jmx = get(&address, "/api/v1/gates/jmx/check");
    assert!(jmx.contains("HTTP status 401"), "{jmx}");
    output += &jmx;
    for name in ["PLAIN", "SCRAM-SHA-256", "token", "oidc", "mtls"] {
        output += &get(&address, &format!("/api/v1/gates/{name}"));
        output += &get(&address, &format!("/api/v1/gates/{name}/check"));
    }
    output += &log.lock().unwrap();

    let mut secrets = vec![String::from("canary-")];
    let key = fs::read_to_string(folder.path().join("own.key")).unwrap();
    secrets.extend(
        key.lines()
            .filter(|line| !line.starts_with('-'))
            .map(str::to_owned),
    );
    // "gate:canary-password" and "gate:canary-client" as Basic has them.
    secrets.extend(["Z2F0ZTpjYW5hcnk"].map(str::to_owned));
    for secret in secrets {
        if let Some(at) = output.find(&secret) {
            let from = output[..at].rfind('\n').map_or(0, |line| line + 1);
            let to = output[at..].find('\n').map_or(output.len(), |end| at + end);
            panic!("a secret is shown: {}", &output[from..to]);
        }
    }
}
