//! `exec` in front of a gate that fails after "go": the gate is the test, so that a lease's time can be
//! short.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread;

const GO: &str = "{\"open\":true,\"state\":\"open\",\"gate\":\"default\",\"reasons\":[],\
    \"nodes\":[2],\"hosts\":[],\"lease\":3,\"token\":7,\"expires_at\":\"T\"}";

/// What the gate does with a request that is not `enter`.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Answers it with this status.
    Says(&'static str),
    /// Is gone since its last "go": nobody listens any more.
    Gone,
}

/// A gate that says "go", and from then on does something else.
fn gate(then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        // It is asked twice: the second time just before the start.
        let mut gos = 0;
        while let Ok((mut stream, _)) = listener.accept() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let rest = lines.map_while(Result::ok).find(String::is_empty);
            assert!(rest.is_some(), "a whole header");
            let (status, headers, body) = if first.contains("/enter?") {
                gos += 1;
                ("200 OK", "Upgrade-Gate-State: open\r\n", GO)
            } else {
                let Then::Says(status) = then else { return };
                (status, "", "{\"detail\":\"by the test\"}")
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
    url
}

fn exec(then: Then, ttl: &str, script: &str) -> (i32, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"))
        .args(["exec", "--url", &gate(then), "--node", "2", "--owner", "me"])
        .args(["--ttl", ttl, "--wait-back", "1s", "--", "sh", "-c", script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"started\n", "{then:?}: {err}");
    (output.status.code().unwrap(), err)
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
        (Then::Gone, "10m", "echo started", 122, "not proven back"),
        // A renewal is refused: expired, or taken over.
        (
            Then::Says("409 Conflict"),
            "1s",
            "echo started; sleep 2",
            125,
            "is lost (HTTP 409)",
        ),
        // Nobody refuses it, but nobody hears it either, for longer than the lease lasts.
        (
            Then::Gone,
            "1s",
            "echo started; sleep 2",
            125,
            "lease 3 is over",
        ),
    ];
    let runs = runs.map(|(then, ttl, script, code, says)| {
        thread::spawn(move || {
            let (ended, err) = exec(then, ttl, script);
            assert_eq!(ended, code, "{then:?}: {err}");
            assert!(err.contains(says), "{then:?}: {err}");
        })
    });
    for run in runs {
        run.join().unwrap();
    }
}
