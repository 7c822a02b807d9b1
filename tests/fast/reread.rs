//! Certificates, tokens and secrets of the real program: read again without a restart and without a
//! word to it, missing at its start, and looked into by `config check`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::secured::{TOKENS, World};
use crate::served::{Got, raw};
use crate::started::Started;

/// The configuration of a gate with this world's web config file and tokens, and no cluster.
pub(crate) fn config(world: &World) -> String {
    let mut text = format!(
        "listen: 127.0.0.1:0\nreload_enabled: true\nweb_config: {}\nauth:\n  tokens:\n",
        world.path("web.yml").display()
    );
    for (name, _, right) in TOKENS {
        let file = world.path(&format!("token-{name}"));
        let file = file.display();
        writeln!(text, "    {name}: {{file: {file}, rights: {right}}}").unwrap();
    }
    text + "  users: {ann: admin}\n"
}

pub(crate) const NO_CLUSTER: &str =
    "gates:\n  default:\n    mode: kafka\n    kafka: {bootstrap: \"127.0.0.1:1\"}\n";

/// Asks until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn changed_files_are_used_without_a_restart_and_broken_ones_are_told() {
    let (world, other) = (World::new(), World::new());
    let file = world.path("gate.yaml");
    fs::write(&file, config(&world) + NO_CLUSTER).unwrap();
    let gate = Started::serve(&[file.to_str().unwrap()]);
    let base = format!("https://{}", gate.address());
    // A new client, and so a new handshake, each time.
    let asked = async |trusts: &World, token: &str, path: &str| {
        let client = trusts.callers().plain;
        let sent = client.get(format!("{base}{path}")).bearer_auth(token);
        let got = sent.send().await.ok()?;
        Some((got.status().as_u16(), got.text().await.unwrap()))
    };
    let status = async |trusts: &World, token: &str| {
        let got = asked(trusts, token, "/api/v1/gates").await;
        got.map(|(status, _)| status)
    };
    let (old, new) = (TOKENS[0].1, "canary-token-changed-01");
    assert_eq!(status(&world, old).await, Some(200));
    assert_eq!(status(&other, old).await, None, "of another CA");

    for file in ["server.pem", "server.key"] {
        fs::copy(other.path(file), world.path(file)).unwrap();
    }
    fs::write(world.path("token-read"), new).unwrap();
    until("the new certificate and token are in use", async || {
        status(&other, new).await == Some(200)
    })
    .await;
    assert_eq!(status(&world, new).await, None);
    assert_eq!(status(&other, old).await, Some(401));

    let usable = async |value: &str| {
        let (_, page) = asked(&other, new, "/metrics").await.unwrap();
        page.contains(&format!("\nupgrade_gate_web_files_usable {value}\n"))
    };
    assert!(usable("1").await);
    fs::write(world.path("server.pem"), "half of it").unwrap();
    until("the broken file shows", async || usable("0").await).await;
    assert_eq!(status(&other, new).await, Some(200), "as before");
    let told = gate.line(|line| line["what"] == "certificates" && line["level"] == "ERROR");
    assert!(told["why"].as_str().unwrap().contains("server.pem"));
}

/// A token on a mount that hangs: who asks is answered, what is not looked at is told, and neither the
/// changes that come meanwhile nor the end wait for more than the mount.
#[tokio::test]
async fn a_token_that_hangs_is_told_and_holds_up_neither_callers_nor_the_end() {
    let world = World::new();
    let file = world.path("gate.yaml");
    fs::write(&file, config(&world) + NO_CLUSTER).unwrap();
    let gate = Started::serve(&[file.to_str().unwrap()]);
    let base = format!("https://{}", gate.address());
    let client = world.callers().plain;
    let asked = async |token: &str, path: &str| {
        let sent = client.get(format!("{base}{path}")).bearer_auth(token);
        let got = sent.send().await.unwrap();
        (got.status().as_u16(), got.text().await.unwrap())
    };
    let usable = async |token: &str, value: &str| {
        let (_, page) = asked(token, "/metrics").await;
        page.contains(&format!("\nupgrade_gate_web_files_usable {value}\n"))
    };
    let [(_, read, _), _, (_, admin, _)] = TOKENS;
    let hang = |name: &str| {
        // At once: a file that is gone for a moment would revoke its token.
        let (pipe, path) = (world.path("pipe"), world.path(name));
        make_pipe(&pipe);
        fs::rename(pipe, &path).unwrap();
        path
    };
    let hung = hang("token-read");
    until("what hangs shows", async || usable(admin, "0").await).await;
    let is_told = |line: &serde_json::Value| {
        let why = line["why"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && why.contains("not read within")
    };
    gate.line(is_told);
    assert_eq!(asked(read, "/api/v1/gates").await.0, 200, "as before");

    let mut writes = fs::File::options().write(true).open(&hung).unwrap();
    fs::remove_file(&hung).unwrap();
    world.write("token-read", "canary-token-changed-01");
    // As long as the file hangs no other one is looked at either.
    let new = "canary-token-changed-02";
    world.write("token-admin", new);
    assert_eq!(asked(admin, "/api/v1/gates").await.0, 200, "as before");
    writes.write_all(read.as_bytes()).unwrap();
    drop(writes);
    until("the newest tokens are in use", async || {
        asked(new, "/api/v1/gates").await.0 == 200
    })
    .await;
    until("nothing hangs", async || usable(new, "1").await).await;
    assert_eq!(asked(admin, "/api/v1/gates").await.0, 401);

    hang("token-lease");
    until("what hangs shows", async || usable(new, "0").await).await;
    let log = gate.end();
    assert_eq!(
        log.iter().filter(|line| is_told(line)).count(),
        2,
        "{log:#?}"
    );
}

/// The web config file is taken only with certificates that can be used: then nothing is broken.
#[test]
fn another_web_config_file_mends_a_broken_certificate() {
    let world = World::new();
    let access = world.access();
    fs::write(world.path("server.pem"), "half of it").unwrap();
    access.refresh();
    assert!(!access.files_usable());
    let web = fs::read_to_string(world.path("web.yml")).unwrap();
    fs::write(world.path("web.yml"), web.replace("server.", "jenkins.")).unwrap();
    access.refresh();
    assert!(access.files_usable());
}

/// A gate that logs in with the password in this file.
fn waits(name: &str, password: &Path) -> String {
    format!(
        "  {name}:\n    mode: kafka\n    kafka:\n      bootstrap: 127.0.0.1:1\n      \
         security.protocol: SASL_PLAINTEXT\n      sasl:\n        mechanism: PLAIN\n        \
         username: gate\n        password_file: {}\n",
        password.display()
    )
}

/// Makes a pipe, which hangs as a dead mount does: whoever opens it waits for the other end.
fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// Passwords on a mount that hangs, as many as there are threads: the other gate goes on, and so does
/// the end. A pipe that nobody writes to is as silent.
#[tokio::test]
async fn files_that_hang_hold_up_neither_another_gate_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (file, password) = (
        folder.path().join("gate.yaml"),
        folder.path().join("password"),
    );
    make_pipe(&password);
    let mut text = format!("listen: 127.0.0.1:0\n{NO_CLUSTER}");
    let threads = std::thread::available_parallelism().map_or(8, usize::from);
    for number in 0..=threads {
        text += &waits(&format!("waits-{number}"), &password);
    }
    fs::write(&file, text).unwrap();
    let gate = Started::serve(&[file.to_str().unwrap()]);
    let address = gate.address();
    until("the other gate has asked", async || {
        let request =
            "GET /api/v1/gates/default/check HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n";
        let got = Got::parse(&raw(address, request).await).unwrap();
        got.text().contains("connection refused")
    })
    .await;
    gate.end();
}

/// A reload that waits for a password: another SIGHUP makes another reload after it, and SIGTERM is not
/// waited with.
#[test]
fn signals_are_heard_while_a_reload_waits_for_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |gates: &str| {
        let text = format!("listen: 127.0.0.1:0\n{NO_CLUSTER}{gates}");
        fs::write(path("gate.yaml"), text).unwrap();
    };
    write("");
    let gate = Started::serve(&[path("gate.yaml").to_str().unwrap()]);
    gate.address();
    let hangs = |password: &Path| {
        make_pipe(password);
        write(&waits("waits", password));
        gate.signal("HUP");
        // It opens once somebody reads.
        let writes = fs::File::options().write(true).open(password).unwrap();
        fs::remove_file(password).unwrap();
        fs::write(password, "secret").unwrap();
        writes
    };
    let mut writes = hangs(&path("first"));
    write("");
    gate.signal("HUP");
    writes.write_all(b"secret").unwrap();
    drop(writes);
    let reloaded = |what: &str| {
        let said = format!("reloaded: {what}, 0 policies changed");
        gate.line(|line| line["message"] == said.as_str());
    };
    reloaded("1 gates started, 0 ended");
    reloaded("0 gates started, 1 ended");

    let _never_written = hangs(&path("second"));
    let log = gate.end();
    let given_up = "the configuration was not reloaded; the one before goes on";
    let waited = log.iter().any(|line| line["message"] == given_up);
    assert!(!waited, "{log:#?}");
}

/// One gate's missing password ends neither the process nor the other gate.
#[tokio::test]
async fn a_gate_whose_files_are_missing_waits_for_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (file, password) = (
        folder.path().join("gate.yaml"),
        folder.path().join("password"),
    );
    let head = format!("listen: 127.0.0.1:0\nreload_enabled: true\n{NO_CLUSTER}");
    fs::write(&file, head.clone() + &waits("waits", &password)).unwrap();
    let file = file.to_str().unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"))
        .args(["config", "check", file])
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(2), "{said}");
    let named = password.to_str().unwrap();
    assert!(
        said.contains("gate waits") && said.contains(named),
        "{said}"
    );

    let gate = Started::serve(&[file]);
    let address = gate.address();
    let verdict = async |name: &str| {
        let request = format!(
            "GET /api/v1/gates/{name}/check HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
        );
        let got = Got::parse(&raw(address, &request).await).unwrap();
        assert_eq!(got.header("upgrade-gate-state"), Some("unknown"));
        got.text().to_owned()
    };
    let says = async |name: &str, words: &str| {
        until(words, async || verdict(name).await.contains(words)).await;
    };
    says("waits", named).await;
    says("default", "connection refused").await;
    fs::write(&password, "secret").unwrap();
    says("waits", "connection refused").await;
    assert!(!verdict("waits").await.contains(named));

    // Once it runs, a configuration with a gate that cannot start is refused.
    let missing = folder.path().join("nowhere");
    let more = waits("waits", &password) + &waits("more", &missing);
    fs::write(file, head + &more).unwrap();
    gate.signal("HUP");
    let refused = gate.line(|line| {
        let why = line["why"].as_str();
        line["level"] == "ERROR" && why.is_some_and(|why| why.contains("nowhere"))
    });
    assert!(refused["why"].as_str().unwrap().contains("gate more"));
}

/// What `serve` would end with is told before: tokens and the web config file.
#[test]
fn config_check_looks_into_the_files_of_our_own_side() {
    let world = World::new();
    let file = world.path("gate.yaml");
    fs::write(&file, config(&world) + NO_CLUSTER).unwrap();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
        let checked = command.args(["config", "check"]).arg(&file).env_clear();
        let checked = checked.output().unwrap();
        let said = String::from_utf8(checked.stderr).unwrap();
        (checked.status.code(), said)
    };
    assert_eq!(check(), (Some(0), String::new()));
    for (name, text, says) in [
        (
            "token-read",
            "canary",
            "token-read: has a token of less than 16",
        ),
        (
            "web.yml",
            "basic_auth_users: {ann: canary}",
            "web.yml: basic_auth_users",
        ),
        ("server.key", "canary", "server.key"),
    ] {
        let before = fs::read(world.path(name)).unwrap();
        fs::write(world.path(name), text).unwrap();
        let (code, said) = check();
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(says) && !said.contains("canary"), "{said}");
        fs::write(world.path(name), before).unwrap();
    }
}
