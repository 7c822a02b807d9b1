//! What changes something by hand: holds, and leases that are renewed.

use super::{Server, ended, http, program, run, says};

#[test]
fn changes_are_believed_only_from_this_gate() {
    let held = "{\"gate\":\"default\",\"changed\":\"held\"}";
    for (answer, code) in [
        (http(200, "", held), 0),
        (http(200, "", &held.replace("default", "other")), 3),
        (http(200, "", "<html>"), 3),
        (says(200, "open", ""), 3),
        (http(409, "", "{\"detail\":\"no\"}"), 1),
        (http(403, "", "{}"), 4),
        (http(404, "", "{}"), 4),
        (http(404, "", "{\"open\":false,\"title\":\"not found\"}"), 4),
        (
            http(404, "", "{\"open\":false,\"title\":\"no such lease\"}"),
            1,
        ),
        (
            http(
                503,
                "Upgrade-Gate-State: unknown\r\n",
                "{\"detail\":\"disk full\"}",
            ),
            3,
        ),
    ] {
        let server = Server::start(vec![answer.clone()]);
        let ended = run(&[
            "hold",
            "--url",
            &server.url,
            "disks",
            "--node",
            "2",
            "--author",
            "a",
        ]);
        assert_eq!(ended.code, code, "{answer}\n{}", ended.err);
        let line = "PUT /api/v1/gates/default/hold?author=a&reason=disks&node=2 HTTP/1.1";
        assert_eq!(server.seen(), [line]);
    }
}

#[test]
fn a_hold_is_told_with_its_node_and_its_end() {
    let hold = ",\"hold\":{\"author\":\"a\",\"reason\":\"disks\",\"since\":\"S\",\"until\"";
    for (rest, line) in [
        (
            format!(",\"node\":2{hold}:\"T\"}}"),
            "held node=2 until=T\n",
        ),
        (format!("{hold}:null}}"), "held\n"),
    ] {
        let body = format!("{{\"gate\":\"default\",\"changed\":\"held\"{rest}}}");
        let server = Server::start(vec![http(200, "", &body)]);
        let ended = run(&["hold", "--url", &server.url, "disks", "--node", "2"]);
        assert_eq!((ended.code, ended.out.as_str()), (0, line), "{}", ended.err);
    }
}

/// Whoever exports the bearer token under the name of the fencing token must not find it in a log.
#[test]
fn what_is_no_fencing_token_is_not_shown() {
    let canary = "canary-hunter2-hunter2";
    let renew = ["lease", "renew", "3", "--url", "http://127.0.0.1:1"];
    let mut exported = program(&renew);
    exported.env("UPGRADE_GATE_TOKEN", canary);
    let mut given = program(&renew);
    given.args(["--token", canary]);
    for mut command in [exported, given] {
        let ended = ended(command.output().unwrap());
        assert_eq!((ended.code, ended.out.as_str()), (2, ""));
        assert!(!ended.err.contains("canary"), "{}", ended.err);
        assert!(ended.err.contains("no fencing token"), "{}", ended.err);
    }
    let mut good = program(&renew);
    good.env("UPGRADE_GATE_TOKEN", "7");
    assert_eq!(ended(good.output().unwrap()).code, 4, "nobody is there");
}
