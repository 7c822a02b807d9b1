//! The command line from the outside: help, exit codes, what goes to which stream.

mod changes;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::config::golden;

/// The program, without anything of this process's environment.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command
        .args(args)
        .env_clear()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    command
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn run(args: &[&str]) -> Ended {
    ended(program(args).output().unwrap())
}

fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server that gives these answers, the last one for ever. It ends with the process.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answers: Vec<String>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answers)
    }

    fn on(listener: TcpListener, answers: Vec<String>) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            let mut answers = answers.into_iter().peekable();
            let mut answer = String::new();
            while let Ok((stream, _)) = listener.accept() {
                answer = answers.next().unwrap_or(answer);
                serve(stream, &answer, &log);
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &str, log: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        request.extend_from_slice(&byte);
    }
    let line = String::from_utf8_lossy(&request)
        .lines()
        .next()
        .map(String::from);
    log.lock().unwrap().extend(line);
    let _ = stream.write_all(answer.as_bytes());
}

fn http(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn says(status: u16, state: &str, rest: &str) -> String {
    let open = state == "open";
    let body = format!("{{\"open\":{open},\"state\":\"{state}\",\"gate\":\"default\"{rest}}}");
    http(status, &format!("Upgrade-Gate-State: {state}\r\n"), &body)
}

const REASON: &str = ",\"reasons\":[{\"code\":\"node_unreachable\",\"severity\":\"block\",\
    \"subject\":\"node 2\",\"observed\":\"connection \\u001b[31mrefused\",\"required\":\"an answer\",\"step\":\"connect\",\
    \"since\":\"2026-11-21T06:00:00Z\",\"hint\":\"Start it.\"}]";

#[test]
fn help_is_kept() {
    for command in [
        "",
        "check",
        "wait",
        "plan",
        "enter",
        "leave",
        "exec",
        "lease",
        "lease list",
        "lease renew",
        "lease break",
        "hold",
        "unhold",
        "node",
        "node retire",
        "history",
        "serve",
        "demo",
        "doctor",
        "completions",
        "config",
        "config check",
        "config show",
        "config schema",
    ] {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let ended = run(&args);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let name = format!("tests/fast/golden/help-{}.txt", command.replace(' ', "-"));
        golden(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(name.replace("-.", ".")),
            &ended.out,
        );
    }
}

#[test]
fn check_ends_with_the_verdict() {
    for (answer, code, word) in [
        (says(200, "open", ""), 0, "open\n"),
        (says(503, "closed", REASON), 1, "closed\n"),
        (says(503, "unknown", ""), 3, "unknown\n"),
        (says(200, "closed", ""), 3, "unknown\n"),
        (http(200, "", "<html>all is well</html>"), 3, "unknown\n"),
        (
            http(404, "", "{\"detail\":\"no such gate\"}"),
            4,
            "unknown\n",
        ),
        (http(401, "", ""), 4, "unknown\n"),
        (http(400, "", "{\"detail\":\"bad node\"}"), 2, "unknown\n"),
        (http(502, "", "<html>"), 4, "unknown\n"),
        (String::from("nonsense\r\n\r\n"), 4, "unknown\n"),
        (
            says(200, "open", "").replace("Content-Length: ", "Content-Length: 9"),
            4,
            "unknown\n",
        ),
    ] {
        let server = Server::start(vec![answer.clone()]);
        let ended = run(&["check", "--url", &server.url]);
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (code, word),
            "{answer}\n{}",
            ended.err
        );
        assert_eq!(server.seen(), ["GET /api/v1/gates/default/check HTTP/1.1"]);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let open = Server::start(vec![says(200, "open", "")]);
    let location = format!("Location: {}/\r\n", open.url);
    let server = Server::start(vec![http(302, &location, "")]);
    assert_eq!(run(&["check", "--url", &server.url]).code, 4);
    assert!(open.seen().is_empty());
}

#[test]
fn reasons_go_to_standard_error_without_escapes() {
    let server = Server::start(vec![says(503, "closed", REASON)]);
    let ended = run(&["check", "--url", &server.url]);
    assert_eq!(
        ended.err,
        "block    node_unreachable node 2: connection \u{fffd}[31mrefused; wanted: an answer; \
         step connect; since 2026-11-21T06:00:00Z\n         Start it.\n"
    );
    let quiet = run(&["check", "--url", &server.url, "--quiet"]);
    assert_eq!(
        (quiet.code, quiet.out.as_str(), quiet.err.as_str()),
        (1, "", "")
    );
    let json = run(&["check", "--url", &server.url, "--json"]);
    let body: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (json.code, &body["state"]),
        (1, &serde_json::json!("closed"))
    );
    assert_eq!(body["reasons"][0]["hint"], "Start it.");
}

#[test]
fn nodes_are_asked_for_and_must_be_answered_for() {
    let server = Server::start(vec![
        says(200, "open", ",\"nodes\":[1,101]"),
        says(200, "open", ""),
    ]);
    let ask = ["check", "--url", &server.url, "--node", "101,1"];
    assert_eq!(run(&ask).code, 0);
    assert_eq!(run(&ask).code, 3);
    let line = "GET /api/v1/gates/default/check?node=1%2C101 HTTP/1.1";
    assert_eq!(server.seen(), [line, line]);
}

#[test]
fn what_is_not_reached_is_said_in_json_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Nobody accepts: connected, and then silence.
    let late = run(&["check", "--url", &url, "--timeout", "200ms"]);
    assert_eq!(late.code, 4);
    drop(listener);
    let refused = run(&["check", "--url", &url, "--json"]);
    let body: serde_json::Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(
        (refused.code, &body["open"]),
        (4, &serde_json::json!(false))
    );
    assert_eq!(body["client_error"]["code"], "unreachable");
}

#[test]
fn wrong_usage_is_two() {
    for args in [
        &["check", "--gate", "a/b"][..],
        &["check", "--node", "one"],
        &["check", "--node", "1,"],
        &["check", "--url", "gate:10190"],
        &["check", "--url", "http://u:p@gate"],
        &["wait", "--timeout", "30"],
        &["check", "--json", "--quiet"],
        &["exec", "--node", "1"],
        &["enter", "--owner", ""],
        &["lease"],
        &["nonsense"],
        &[],
    ] {
        let ended = run(args);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{args:?}");
    }
}

#[test]
fn secrets_to_another_machine_without_tls_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "canary-hunter2-hunter2").unwrap();
    let file = file.to_str().unwrap();
    let token = &["--token-file", file][..];
    let login = &["--username", "ann", "--password-file", file][..];
    // Nobody listens on port 1 of this machine, under whatever name.
    for (url, args, warned) in [
        (
            "http://0.0.0.0:1",
            token,
            Some("warning: the token crosses"),
        ),
        (
            "http://0.0.0.0:1",
            login,
            Some("warning: the password crosses"),
        ),
        ("http://0.0.0.0:1", &[], None),
        ("http://127.0.0.1:1", token, None),
        ("https://0.0.0.0:1", token, None),
    ] {
        let ended = run(&[&["check", "--url", url], args].concat());
        assert_eq!(ended.code, 4, "{}", ended.err);
        assert!(!ended.err.contains("canary"), "{}", ended.err);
        match warned {
            Some(words) => assert!(ended.err.contains(words), "{url}: {}", ended.err),
            None => assert!(!ended.err.contains("warning"), "{url}: {}", ended.err),
        }
    }
}

#[test]
fn wait_tells_each_change_once_and_survives_a_gate_that_is_down() {
    let down = http(503, "", "proxy");
    let closed = says(503, "closed", REASON);
    let answers = vec![down, closed.clone(), closed, says(200, "open", "")];
    let server = Server::start(answers);
    let ended = run(&["wait", "--url", &server.url, "--timeout", "60s"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "open\n"),
        "{}",
        ended.err
    );
    let lines: Vec<_> = ended.err.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("gate not reached: HTTP 503"), "{lines:?}");
    assert!(
        lines[1].ends_with("closed: node_unreachable (node 2)"),
        "{lines:?}"
    );
    assert!(
        server
            .seen()
            .iter()
            .all(|line| line.contains("check?wait=10s"))
    );
}

#[test]
fn wait_ends_at_its_deadline_as_last_seen() {
    for (answer, code) in [
        (says(503, "closed", ""), 1),
        (says(503, "unknown", ""), 3),
        (http(503, "", ""), 4),
        (http(403, "", ""), 4),
    ] {
        let server = Server::start(vec![answer]);
        let ended = run(&["wait", "--url", &server.url, "--timeout", "300ms", "-q"]);
        assert_eq!((ended.code, ended.err.as_str()), (code, ""));
    }
}

#[test]
fn plan_prints_a_table() {
    let rest = format!(
        ",\"order_because\":\"controllers first\",\"nodes\":[\
         {{\"node\":101,\"may_stop\":\"open\",\"role\":\"controller\",\"release\":\"3.9\"}},\
         {{\"node\":1,\"may_stop\":\"closed\",\"role\":\"broker\",\"release\":\"3.9\"{REASON}}}]"
    );
    let server = Server::start(vec![says(200, "closed", &rest), says(200, "open", "")]);
    let ended = run(&["plan", "--url", &server.url]);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_eq!(
        ended.out,
        "closed\n   101 controller 3.9      open\n     1 broker     3.9      closed   node_unreachable\n"
    );
    // Open, but without a list of nodes: that is no plan.
    assert_eq!(run(&["plan", "--url", &server.url]).code, 3);
}

#[test]
fn enter_and_leave_end_as_check_does_and_need_a_lease() {
    let granted = ",\"nodes\":[2],\"lease\":3,\"token\":7,\"expires_at\":\"T\",\
        \"usually_seconds\":40.4";
    let conflict = http(409, "", "{\"detail\":\"broken by ann\"}");
    for (answer, code, out) in [
        (
            says(200, "open", granted),
            0,
            "open lease=3 token=7 until=T usually=40s\n",
        ),
        // A repair that takes over a lease on more nodes.
        (
            says(
                200,
                "open",
                ",\"nodes\":[2],\"lease\":3,\"lease_nodes\":[2,102],\"token\":7",
            ),
            0,
            "open lease=3 nodes=2,102 token=7\n",
        ),
        // An answer about other nodes than those asked about is none.
        (
            says(200, "open", ",\"nodes\":[2,102],\"lease\":3,\"token\":7"),
            3,
            "unknown\n",
        ),
        // Open, and no lease: whatever answers, it is not a gate that gave one.
        (says(200, "open", ",\"nodes\":[2]"), 3, "unknown\n"),
        (
            says(200, "open", ",\"nodes\":[3],\"lease\":3,\"token\":7"),
            3,
            "unknown\n",
        ),
        (says(503, "closed", ",\"nodes\":[2]"), 1, "closed\n"),
        (says(503, "unknown", ",\"nodes\":[2]"), 3, "unknown\n"),
        (conflict, 1, "unknown\n"),
        (http(403, "", "{}"), 4, "unknown\n"),
        (http(400, "", "{}"), 2, "unknown\n"),
        (http(502, "", ""), 4, "unknown\n"),
    ] {
        for command in ["enter", "leave"] {
            let server = Server::start(vec![answer.clone()]);
            let args = [
                command,
                "--url",
                &server.url,
                "--node",
                "2",
                "--owner",
                "a b",
            ];
            let ended = run(&args);
            assert_eq!((ended.code, ended.out.as_str()), (code, out), "{answer}");
            let seen = server.seen();
            let line = format!("POST /api/v1/gates/default/{command}?node=2&owner=a+b");
            assert!(seen.len() == 1 && seen[0].starts_with(&line), "{seen:?}");
        }
    }
}

#[test]
fn enter_waits_until_it_is_go() {
    let go = ",\"nodes\":[2],\"lease\":3,\"token\":7";
    let closed = says(503, "closed", ",\"nodes\":[2]");
    let away = http(404, "", "<html>404 page not found</html>");
    let server = Server::start(vec![
        http(503, "", "proxy"),
        away,
        closed,
        says(200, "open", go),
    ]);
    let args = [
        "enter",
        "--url",
        &server.url,
        "--node",
        "2",
        "--wait",
        "60s",
    ];
    let ended = run(&args);
    assert_eq!((ended.code, server.seen().len()), (0, 4), "{}", ended.err);
    assert!(server.seen().iter().all(|line| line.contains("wait=10s")));
    let late = Server::start(vec![says(503, "closed", ",\"nodes\":[2]")]);
    let args = [
        "enter", "--url", &late.url, "--node", "2", "--wait", "300ms", "-q",
    ];
    assert_eq!(run(&args).code, 1);
}

#[test]
fn leave_tells_what_the_return_waits_for() {
    let waits = |more: &str, progress: &str| {
        let taken = "{\"code\":\"slot_taken\",\"severity\":\"block\",\"subject\":\"node 2\"}";
        let rest = format!(
            ",\"nodes\":[2],\"lease\":3,\"token\":7,\"progress\":\"{progress}\",\
             \"usually_seconds\":44.6,\"reasons\":[{taken}{more}]"
        );
        says(503, "closed", &rest)
    };
    let stalled =
        ",{\"code\":\"registration_stalled\",\"severity\":\"warn\",\"subject\":\"node 2\"}";
    let back = ",\"nodes\":[2],\"lease\":3,\"token\":7,\"how\":\"proven_back\"";
    let server = Server::start(vec![
        waits(stalled, "node 2 runs and is not registered yet"),
        waits("", "5 of its replicas are out of sync"),
        waits("", "3 of its replicas are out of sync"),
        says(200, "open", back),
    ]);
    let args = [
        "leave",
        "--url",
        &server.url,
        "--node",
        "2",
        "--wait",
        "60s",
    ];
    let ended = run(&args);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out, "open lease=3 token=7 how=proven_back\n");
    let lines: Vec<_> = ended.err.lines().collect();
    // Numbers alone are no news so soon.
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first = "s closed: slot_taken (node 2); warns: registration_stalled (node 2); return: node 2 \
        runs and is not registered yet; the whole usually takes 45 s";
    assert!(lines[0].ends_with(first), "{lines:?}");
    let second = "s closed: slot_taken (node 2); return: 5 of its replicas are out of sync; the whole \
        usually takes 45 s";
    assert!(lines[1].ends_with(second), "{lines:?}");
}

#[test]
fn leave_tells_that_a_node_never_went() {
    let never = ",\"nodes\":[2],\"lease\":3,\"token\":7,\"how\":\"never_gone\"";
    let server = Server::start(vec![says(200, "open", never)]);
    let args = ["leave", "--url", &server.url, "--node", "2"];
    let ended = run(&args);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "open lease=3 token=7 how=never_gone\n")
    );
    assert!(
        ended.err.starts_with("node 2 never went: "),
        "{}",
        ended.err
    );
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
}

#[test]
fn config_commands_end_with_zero_or_two() {
    let good = run(&["config", "check", "config/example.yaml"]);
    assert_eq!(
        (good.code, good.out.as_str()),
        (0, "good: 1 gate (default)\n")
    );
    let bad = run(&["config", "check", "tests/fast/bad-config/no-unit.yaml"]);
    assert_eq!((bad.code, bad.out.as_str()), (2, ""));
    assert!(
        bad.err
            .starts_with("error: 1 problem in the configuration\n"),
        "{}",
        bad.err
    );
    let missing = run(&["config", "check", "nowhere.yaml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("No such file") && missing.err.contains("[nowhere.yaml]"));
    let shown = run(&["config", "show", "config/example.yaml"]);
    assert_eq!(shown.code, 0);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fast/golden");
    golden(&folder.join("config-show.txt"), &shown.out);
    let schema: serde_json::Value = serde_json::from_str(&run(&["config", "schema"]).out).unwrap();
    assert!(schema["properties"]["gates"].is_object());
}

#[test]
fn the_file_and_values_can_come_from_the_environment() {
    let mut command = program(&["config", "show"]);
    command.env("UPGRADE_GATE_CONFIG", "config/example.yaml");
    command.env("UPGRADE_GATE_LIMITS__DRAIN", "3s");
    let ended = ended(command.output().unwrap());
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended
            .out
            .contains("drain: 3s  # UPGRADE_GATE_LIMITS__DRAIN"),
        "{}",
        ended.out
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = program(&["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    thread::sleep(Duration::from_millis(10));
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn every_command_has_its_golden_help() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fast/golden");
    let help = run(&["--help"]).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        assert!(folder.join(format!("help-{name}.txt")).exists(), "{name}");
    }
}
