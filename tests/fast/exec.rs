//! `exec` in front of a gate that fails before or after the start: the gate is the test, so that a
//! lease's time can be short.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// As a gate of before has it, which does not tell how often it said so.
const GO: &str = "{\"open\":true,\"state\":\"open\",\"gate\":\"default\",\"reasons\":[],\
    \"nodes\":[2],\"hosts\":[],\"lease\":3,\"token\":7,\"expires_at\":\"T\"}";
const RENEWED: &str = "{\"gate\":\"default\",\"changed\":\"renewed\",\"lease\":3,\"token\":7,\
    \"expires_at\":\"T\"}";
const CLOSED: &str = "{\"open\":false,\"state\":\"closed\",\"gate\":\"default\",\
    \"reasons\":[{\"code\":\"node_unreachable\",\"severity\":\"block\",\"subject\":\"node 3\"}],\
    \"nodes\":[2],\"hosts\":[]}";
const PROBLEM: &str = "{\"open\":false,\"title\":\"not found\",\"detail\":\"by the test\"}";
const NO_LEASE: &str = "{\"open\":false,\"title\":\"no such lease\",\"detail\":\"by the test\"}";
const OF_A_PROXY: &str = "<html>404 page not found</html>";

/// What the gate does.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Says "go", renews once, and then answers everything but `enter` with this status.
    Says(&'static str),
    /// The same, and is gone since its last "go": nobody listens any more.
    Gone,
    /// Says "go", and answers renewals with this from the first one on.
    RenewsBy(&'static str, &'static str),
    /// Says "go" and renews, and takes nodes back; only the first renewal after the start is answered
    /// by somebody else.
    IsAwayOnce,
    /// Says "go", by this number each time, and renews by nothing that could be believed.
    SaysAgain(Option<usize>),
    /// Says "go" and renews, and answers `leave` by this status, state and body.
    TakesBack(&'static str, &'static str, &'static str),
    /// Says "go" and renews; the "go" just before the start takes some seconds.
    IsSlowOnce,
    /// Says "go" and renews, and shows its lease: whether its node has gone, and whether its page is read.
    Shows { gone: bool, page: bool },
    /// Says "not now", as a gate does.
    SaysClosed,
    /// Answers everything with this status.
    Refuses(&'static str),
}

/// The gate, and the requests it has seen.
struct Gate {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    /// How often it was asked for this, such as `/leave?`.
    fn asked_for(&self, what: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|line| line.contains(what)).count()
    }
}

/// "Go", said so often by now.
fn go(told: Option<usize>) -> String {
    let number = told.map(|told| format!("\"told\":{told},"));
    GO.replace(
        "\"expires_at\"",
        &(number.unwrap_or_default() + "\"expires_at\""),
    )
}

/// The gate's document, with the lease of [`GO`].
fn document(gone: bool, page: bool) -> String {
    let gone = if gone { "2" } else { "" };
    format!(
        "{{\"open\":false,\"state\":\"closed\",\"gate\":\"default\",\"expired\":false,\"sources\":[\
         {{\"source\":\"jmx:2\",\"up\":{page}}}],\"leases\":[{{\"lease\":3,\"token\":7,\"nodes\":[2],\
         \"gone\":[{gone}],\"expires_at\":\"T\"}}]}}"
    )
}

fn gate(then: Then) -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    thread::spawn(move || {
        // It is asked twice: the second time just before the start.
        let (mut gos, mut renewals) = (0, 0);
        while let Ok((mut stream, _)) = listener.accept() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let rest = lines.map_while(Result::ok).find(String::is_empty);
            assert!(rest.is_some(), "a whole header");
            let (enters, renews) = (first.contains("/enter?"), first.contains("/renew?"));
            let is_document = first.starts_with("GET /api/v1/gates/default ");
            log.lock().unwrap().push(first);
            gos += usize::from(enters);
            renewals += usize::from(renews);
            if gos == 2 && enters && matches!(then, Then::IsSlowOnce) {
                thread::sleep(Duration::from_secs(4));
            }
            let numbered;
            let (status, headers, body) = match then {
                Then::Says(_)
                | Then::Gone
                | Then::RenewsBy(..)
                | Then::IsAwayOnce
                | Then::TakesBack(..)
                | Then::IsSlowOnce
                | Then::Shows { .. }
                    if enters =>
                {
                    numbered = go(Some(gos));
                    ("200 OK", "Upgrade-Gate-State: open\r\n", numbered.as_str())
                }
                Then::SaysAgain(told) if enters => {
                    numbered = go(told);
                    ("200 OK", "Upgrade-Gate-State: open\r\n", numbered.as_str())
                }
                Then::SaysAgain(_) => ("502 Bad Gateway", "", OF_A_PROXY),
                Then::IsAwayOnce if renews && renewals == 2 => ("404 Not Found", "", OF_A_PROXY),
                Then::IsAwayOnce | Then::IsSlowOnce | Then::Shows { .. } | Then::TakesBack(..)
                    if renews =>
                {
                    ("200 OK", "", RENEWED)
                }
                Then::TakesBack(status, state, body) => (status, state, body),
                Then::Shows { gone, page } if is_document => {
                    numbered = document(gone, page);
                    (
                        "200 OK",
                        "Upgrade-Gate-State: closed\r\n",
                        numbered.as_str(),
                    )
                }
                Then::IsAwayOnce | Then::IsSlowOnce => {
                    ("200 OK", "Upgrade-Gate-State: open\r\n", GO)
                }
                Then::Shows { .. } | Then::SaysClosed => (
                    "503 Service Unavailable",
                    "Upgrade-Gate-State: closed\r\n",
                    CLOSED,
                ),
                Then::RenewsBy(status, body) => (status, "", body),
                Then::Says(_) | Then::Gone if renews && renewals == 1 => ("200 OK", "", RENEWED),
                Then::Refuses(status) | Then::Says(status) => (status, "", PROBLEM),
                Then::Gone => return,
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n\
                 {body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            if gos == 2 && matches!(then, Then::Gone) {
                return;
            }
        }
    });
    Gate { url, seen }
}

/// What `exec` with this `--ttl` and this `--wait` ends with: the code, and what went to standard
/// output and to standard error.
fn exec(gate: &Gate, [ttl, wait]: [&str; 2], script: &str) -> (i32, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"))
        .args(["exec", "--url", &gate.url, "--node", "2", "--owner", "me"])
        .args(["--ttl", ttl, "--wait", wait, "--wait-back", "1s"])
        .args(["--", "sh", "-c", script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

#[test]
fn what_goes_wrong_after_the_start_has_its_code() {
    let runs = [
        // The command is let end, whatever the gate says; then its return cannot be asked for.
        (
            Then::Says("401 Unauthorized"),
            "10m",
            "echo started",
            121,
            "by the test",
        ),
        (
            Then::Says("403 Forbidden"),
            "10m",
            "echo started",
            121,
            "by the test",
        ),
        // A reload has taken the machine out, or the gate itself.
        (
            Then::Says("400 Bad Request"),
            "10m",
            "echo started",
            124,
            "not proven back: refused: HTTP 400: by the test",
        ),
        (
            Then::Says("404 Not Found"),
            "10m",
            "echo started",
            122,
            "HTTP 404: by the test",
        ),
        (Then::Gone, "10m", "echo started", 122, "not proven back"),
        // A renewal is refused: expired, or taken over.
        (
            Then::Says("409 Conflict"),
            "3s",
            "echo started; sleep 3",
            125,
            "is lost (HTTP 409: by the test)",
        ),
        // Nobody refuses it, but nobody hears it either, for longer than the lease lasts.
        (
            Then::Gone,
            "3s",
            "echo started; sleep 5",
            125,
            "lease 3 is over",
        ),
    ];
    let runs = runs.map(|(then, ttl, script, code, says)| {
        thread::spawn(move || {
            let (ended, out, err) = exec(&gate(then), [ttl, "60s"], script);
            assert_eq!(out, "started\n", "{then:?}: {err}");
            assert_eq!(ended, code, "{then:?}: {err}");
            assert!(err.contains(says), "{then:?}: {err}");
        })
    });
    for run in runs {
        run.join().unwrap();
    }
}

/// A restart that came to nothing, or to another node, is no failure of the gate's, and no proof.
#[test]
fn a_node_that_never_went_is_told() {
    const NEVER: &str = "{\"open\":true,\"state\":\"open\",\"gate\":\"default\",\"reasons\":[],\
        \"nodes\":[2],\"hosts\":[],\"lease\":3,\"token\":7,\"how\":\"never_gone\"}";
    let gate = gate(Then::TakesBack(
        "200 OK",
        "Upgrade-Gate-State: open\r\n",
        NEVER,
    ));
    let (ended, out, err) = exec(&gate, ["10m", "60s"], "echo started");
    assert_eq!((ended, out.as_str()), (0, "started\n"), "{err}");
    assert!(
        err.contains("upgrade-gate: node 2 never went: ") && err.contains("nothing was proven"),
        "{err}"
    );
}

#[test]
fn a_return_that_is_not_proven_in_time_is_told_with_its_reasons() {
    const WAITS: &str = "{\"open\":false,\"state\":\"closed\",\"gate\":\"default\",\
        \"reasons\":[{\"code\":\"no_progress\",\"severity\":\"warn\",\"subject\":\"node 2\",\
        \"observed\":\"down: 2, for 12m00s\",\"hint\":\"Look at its log.\"}],\
        \"nodes\":[2],\"hosts\":[],\"lease\":3,\"token\":7,\"progress\":\"down: 2\"}";
    let gate = gate(Then::TakesBack(
        "503 Service Unavailable",
        "Upgrade-Gate-State: closed\r\n",
        WAITS,
    ));
    let (ended, out, err) = exec(&gate, ["10m", "60s"], "echo started");
    assert_eq!((ended, out.as_str()), (124, "started\n"), "{err}");
    for says in [
        "s closed; warns: no_progress (node 2); return: down: 2\n",
        "upgrade-gate: not proven back: closed; warns: no_progress (node 2); return: down: 2\n",
        "warn     no_progress node 2: down: 2, for 12m00s\n         Look at its log.\n",
    ] {
        assert!(err.contains(says), "{err}");
    }
}

/// "Go" may have been said for a lease that was given long ago.
#[test]
fn the_lease_is_renewed_before_the_start() {
    let gate = gate(Then::Says("401 Unauthorized"));
    let (_, out, err) = exec(&gate, ["10m", "60s"], "echo started");
    assert_eq!(out, "started\n", "{err}");
    let seen = gate.seen.lock().unwrap().clone();
    let of = |line: &String| line.split(['?', ' ']).nth(1).unwrap().to_owned();
    let paths: Vec<_> = seen.iter().map(of).collect();
    let gate = "/api/v1/gates/default";
    let before = ["enter", "leases/3/renew", "enter", "leave"];
    assert_eq!(paths, before.map(|what| format!("{gate}/{what}")));
    assert!(seen[1].contains("token=7&ttl=600s"), "{seen:?}");
}

/// A script that was begun over a connection goes on where the connection is lost: its node may be stopped
/// minutes after the command has failed.
#[test]
fn a_lease_whose_command_has_failed_stands_until_its_nodes_are_shown_to_have_gone() {
    let shows = |gone, page| Then::Shows { gone, page };
    let runs = [
        (shows(false, true), "exit 7", 7, 0),
        (shows(false, true), "kill -TERM $$", 143, 0),
        // Without start times a blip of the network looks the same.
        (shows(true, false), "exit 255", 255, 0),
        (shows(true, true), "exit 7", 7, 1),
        // The gate shows nothing.
        (Then::IsAwayOnce, "exit 7", 7, 0),
    ];
    let runs = runs.map(|(then, script, code, left)| {
        thread::spawn(move || {
            let gate = gate(then);
            let (ended, _, err) = exec(&gate, ["10m", "60s"], script);
            assert_eq!(ended, code, "{then:?}: {err}");
            assert_eq!(gate.asked_for("/leave?"), left, "{then:?}: {err}");
            if left == 0 {
                assert!(err.contains("lease 3 is NOT given back"), "{then:?}: {err}");
                let by_hand = format!(
                    "upgrade-gate leave --url {}/ --gate default --node 2 --owner me",
                    gate.url
                );
                assert!(err.contains(&by_hand), "{then:?}: {err}");
            }
            if matches!(then, Then::Shows { gone: false, .. }) {
                assert!(err.contains("until T"), "{then:?}: {err}");
            }
        })
    });
    for run in runs {
        run.join().unwrap();
    }
}

/// A node that is repaired was out before: that it has gone shows nothing of what the command did.
#[test]
fn a_repair_that_has_failed_keeps_its_lease() {
    let gate = gate(Then::Shows {
        gone: true,
        page: true,
    });
    let ended = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"))
        .args(["exec", "--url", &gate.url, "--node", "2", "--owner", "me"])
        .args(["--action", "repair", "--", "sh", "-c", "exit 7"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(7));
    assert_eq!(gate.asked_for("/leave?"), 0);
}

/// This machine may have slept while the answer was on its way: what it says may be over.
#[test]
fn a_go_that_was_long_on_its_way_is_asked_for_once_more() {
    let gate = gate(Then::IsSlowOnce);
    let (ended, out, err) = exec(&gate, ["10m", "60s"], "echo started");
    assert_eq!((ended, out.as_str()), (0, "started\n"), "{err}");
    assert_eq!(gate.asked_for("/enter?"), 3, "{err}");
    assert!(!err.contains("another request"), "{err}");
}

#[test]
fn nothing_is_started_on_a_lease_that_is_not_renewed() {
    let other = "{\"gate\":\"default\",\"changed\":\"renewed\",\"lease\":4}";
    let runs = [
        // Expired, broken or taken over between "go" and the start: waited for until the deadline.
        (
            Then::RenewsBy("409 Conflict", PROBLEM),
            120,
            "lease 3 is lost before the start: HTTP 409: by the test",
            0,
        ),
        (
            Then::RenewsBy("404 Not Found", NO_LEASE),
            120,
            "lease 3 is lost before the start: HTTP 404",
            0,
        ),
        // A proxy that has no way to the gate just now.
        (
            Then::RenewsBy("404 Not Found", OF_A_PROXY),
            122,
            "gate not reached: HTTP 404",
            1,
        ),
        // What is no answer of this gate renews nothing.
        (Then::RenewsBy("200 OK", "<html>"), 120, "HTTP 200", 1),
        (Then::RenewsBy("200 OK", PROBLEM), 120, "HTTP 200", 1),
        (Then::RenewsBy("200 OK", other), 120, "HTTP 200", 1),
        (
            Then::RenewsBy("502 Bad Gateway", "<html>"),
            122,
            "gate not reached: HTTP 502",
            1,
        ),
        (
            Then::RenewsBy("403 Forbidden", PROBLEM),
            121,
            "HTTP 403: by the test",
            1,
        ),
        // A run before was given it, or may have been.
        (
            Then::SaysAgain(Some(2)),
            122,
            "another request of me as well",
            0,
        ),
        (
            Then::SaysAgain(None),
            122,
            "another request of me as well",
            0,
        ),
    ];
    let runs = runs.map(|(then, code, says, left)| {
        thread::spawn(move || {
            let gate = gate(then);
            let (ended, out, err) = exec(&gate, ["10m", "1s"], "echo started");
            assert_eq!((ended, out.as_str()), (code, ""), "{then:?}: {err}");
            assert!(err.contains(says), "{then:?}: {err}");
            // What was given to it, and stands for all it knows, is not wanted any more.
            assert_eq!(gate.asked_for("/leave?"), left, "{then:?}: {err}");
            assert_eq!(gate.asked_for("unused=7."), left, "{then:?}: {err}");
        })
    });
    for run in runs {
        run.join().unwrap();
    }
}

/// A run before may have been killed, and its command live on: under the same owner its lease is all
/// that keeps others from going.
#[test]
fn who_was_never_told_go_gives_nothing_back() {
    let gate = gate(Then::SaysClosed);
    let (ended, out, err) = exec(&gate, ["10m", "2s"], "echo started");
    assert_eq!((ended, out.as_str()), (120, ""), "{err}");
    assert!(err.contains("node_unreachable"), "{err}");
    assert!(gate.asked_for("/enter?") > 0);
    assert_eq!(gate.asked_for("/leave?"), 0, "{err}");
}

#[test]
fn who_is_interrupted_before_go_gives_nothing_back() {
    let gate = gate(Then::SaysClosed);
    let mut child = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"))
        .args(["exec", "--url", &gate.url, "--node", "2", "--owner", "me"])
        .args(["--quiet", "--", "true"])
        .env_clear()
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while gate.asked_for("/enter?") == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    // Its answer is there by then; the next question comes a second after the first.
    thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(gate.asked_for("/leave?"), 0);
}

/// Renewing goes on, and the lease with it.
#[test]
fn a_404_of_a_proxy_ends_no_lease() {
    let gate = gate(Then::IsAwayOnce);
    let (ended, out, err) = exec(&gate, ["9s", "60s"], "echo started; sleep 6; exit 7");
    assert_eq!((ended, out.as_str()), (7, "started\n"), "{err}");
    assert!(err.contains("lease 3 not renewed yet"), "{err}");
    assert!(!err.contains("lost"), "{err}");
    assert!(gate.asked_for("/renew?") > 2, "{err}");
}

#[test]
fn what_is_asked_wrongly_is_not_called_unauthorised() {
    for (status, code) in [
        ("404 Not Found", 122),
        ("400 Bad Request", 2),
        ("401 Unauthorized", 121),
        ("403 Forbidden", 121),
        ("409 Conflict", 120),
    ] {
        let gate = gate(Then::Refuses(status));
        let (ended, out, err) = exec(&gate, ["10m", "60s"], "echo started");
        assert_eq!((ended, out.as_str()), (code, ""), "{status}: {err}");
        assert!(err.contains("by the test"), "{status}: {err}");
        assert_eq!(gate.asked_for("/leave?"), 0, "{status}");
    }
}
