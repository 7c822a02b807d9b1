//! The real program in front of the simulated cluster: leases over HTTP and through the command
//! line, from "go" to the proof of return; long polls, a reload, and a store that fails.

mod repair;
mod service;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::Resource;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use upgrade_gate::model::serve::Served;
use upgrade_gate::model::{Cluster, Release, Spec, TopicSpec};
use upgrade_gate::store::sqlite::DATABASE;

use crate::served::{Got, raw};

/// A gate of the real program, and the cluster in front of which it stands.
struct World {
    cluster: Served,
    url: String,
    gate: Child,
    folder: TempDir,
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("USER", "tester")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A cluster whose nodes come and go in a second, so that a test need not wait.
fn spec() -> Spec {
    let mut spec = Spec::kraft(3, 3, Release::V3_9);
    spec = spec.topics(vec![TopicSpec::new("orders", 6, 3).rate(5)]);
    spec.start_wall_ms = jiff::Timestamp::now().as_millisecond();
    spec.settings.session_timeout /= 3;
    spec.settings.heartbeat_interval /= 3;
    spec
}

fn config(cluster: &Served, data: &Path) -> String {
    let mut text = format!(
        "listen: 127.0.0.1:0\nreload_enabled: true\ndata_dir: {}\ngates:\n  default:\n    kafka:\n      bootstrap: {}\n    jmx:\n      \
         targets:\n",
        data.display(),
        cluster.bootstrap()
    );
    for (node, url) in cluster.jmx() {
        writeln!(text, "        {node}: {url}").unwrap();
    }
    text.push_str("    hosts: {rack1-a: [1, 101]}\n");
    text.push_str("    policy: {window: 1s, leadership_quiet: 1s}\n");
    text
}

impl World {
    async fn start() -> Self {
        let cluster = Served::start(Cluster::new(spec()).unwrap()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gate.yaml");
        std::fs::write(&file, config(&cluster, &folder.path().join("data"))).unwrap();
        // A write beyond a file size limit then fails, and does not end the process.
        let mut gate = Command::new("sh");
        gate.args([
            "-c",
            "trap '' XFSZ; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_upgrade-gate"),
        ]);
        let gate = gate
            .arg("serve")
            .arg(&file)
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        let gate = gate
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut gate = gate.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(gate.stderr.take().unwrap()).lines();
        let address = loop {
            let line = timeout(Duration::from_secs(60), lines.next_line()).await;
            let line = line.unwrap().unwrap().expect("the gate listens");
            if line.contains("listening")
                && let Some((_, address)) = line.split_once("address=")
            {
                break address.trim().to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let world = Self {
            cluster,
            url: format!("http://{address}"),
            gate,
            folder,
        };
        let open = world.run(&["wait", "--timeout", "60s"]).await;
        assert_eq!(code(&open), 0, "{}", text(&open.stderr));
        world
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.env("UPGRADE_GATE_URL", &self.url);
        command
    }

    async fn run(&self, args: &[&str]) -> Output {
        let child = self.command(args).spawn().unwrap();
        let ended = timeout(Duration::from_secs(120), child.wait_with_output());
        ended.await.expect("it ends in time").unwrap()
    }

    /// One request, as a program without our command line makes it.
    async fn send(&self, method: &str, target: &str) -> Got {
        let address = self.url.strip_prefix("http://").unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nX-Upgrade-Gate: 1\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = raw(address.parse().unwrap(), &request).await;
        Got::parse(&answer).unwrap_or_else(|| panic!("no answer to {target}"))
    }

    /// How often the gate has judged.
    async fn judged(&self) -> u64 {
        let document = self.send("GET", "/api/v1/gates/default").await.json();
        document["generation"].as_u64().unwrap()
    }

    /// How large a file of the gate may become; `None`: as it was.
    fn limit_files(&self, bytes: Option<u64>) {
        let pid = i32::try_from(self.gate.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid);
        let mut limit = rustix::process::getrlimit(Resource::Fsize);
        limit.current = bytes.or(limit.current);
        rustix::process::prlimit(pid, Resource::Fsize, limit).unwrap();
    }

    /// The database and its log, byte by byte.
    fn database(&self) -> [Vec<u8>; 2] {
        [DATABASE, "upgrade-gate.db-wal"].map(|name| {
            std::fs::read(self.folder.path().join("data").join(name)).unwrap_or_default()
        })
    }

    /// Stops a node and starts it again, as a restart does.
    async fn restart(&self, node: i32) {
        self.cluster.operate(|cluster| cluster.stop(node)).unwrap();
        let began = Instant::now();
        while self
            .cluster
            .operate(|cluster| cluster.process_start(node).is_some())
        {
            assert!(began.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(20)).await;
        }
        let started = self.cluster.operate(|cluster| cluster.start(node, None));
        started.unwrap();
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_never_hold_two_nodes_and_the_next_goes_once_the_last_is_back() {
    let world = World::start().await;
    let enter = |node: &'static str, owner: &'static str| {
        let world = &world;
        async move {
            let args = ["enter", "--node", node, "--owner", owner, "--json"];
            world.run(&args).await
        }
    };
    let (mine, yours) = tokio::join!(enter("2", "me"), enter("3", "you"));
    let mut codes = [code(&mine), code(&yours)];
    codes.sort_unstable();
    assert_eq!(
        codes[0],
        0,
        "{} {}",
        text(&mine.stdout),
        text(&yours.stdout)
    );
    assert!([1, 3].contains(&codes[1]), "{codes:?}");
    let (holder, node, granted) = if code(&mine) == 0 {
        ("me", 2, json(&mine))
    } else {
        ("you", 3, json(&yours))
    };
    let other = if holder == "me" {
        ("3", "you")
    } else {
        ("2", "me")
    };
    let id = granted["lease"].as_u64().unwrap().to_string();
    let token = granted["token"].as_u64().unwrap().to_string();

    // Asked again by its owner: the same lease. By the other: no, and it says who.
    let node_text = node.to_string();
    let again = ["enter", "--node", &node_text, "--owner", holder, "--json"];
    let again = json(&world.run(&again).await);
    assert_eq!(
        (&again["lease"], &again["token"]),
        (&granted["lease"], &granted["token"])
    );
    let refused = enter(other.0, other.1).await;
    assert_eq!(code(&refused), 1, "{}", text(&refused.stdout));
    assert!(text(&refused.stdout).contains(&format!("taken by {holder}")));
    let check = world.run(&["check"]).await;
    assert_eq!(code(&check), 1, "a lease closes the gate for everybody");

    let renewed = world
        .run(&["lease", "renew", &id, "--token", &token, "--ttl", "1h"])
        .await;
    assert_eq!(code(&renewed), 0, "{}", text(&renewed.stderr));
    let wrong = world.run(&["lease", "renew", &id, "--token", "999"]).await;
    assert_eq!(code(&wrong), 1, "{}", text(&wrong.stderr));
    let list = text(&world.run(&["lease", "list"]).await.stdout);
    assert!(
        list.contains(&format!(
            "lease {id} token {token} nodes {node} restart held"
        )),
        "{list}"
    );

    world.restart(node).await;
    let leave = ["leave", "--node", &node_text, "--owner", holder];
    let early = world.run(&leave).await;
    assert_ne!(code(&early), 0, "the node has only just been started");
    let back = [&leave[..], &["--wait", "90s"]].concat();
    let back = world.run(&back).await;
    assert_eq!(code(&back), 0, "{}", text(&back.stderr));
    assert!(
        text(&back.stdout).contains("how=proven_back"),
        "{}",
        text(&back.stdout)
    );
    // Asked again, the same answer; and the other may go now, with a larger token.
    assert_eq!(code(&world.run(&leave).await), 0);
    let args = [
        "enter", "--node", other.0, "--owner", other.1, "--json", "--wait", "60s",
    ];
    let next = world.run(&args).await;
    assert_eq!(code(&next), 0, "{}", text(&next.stderr));
    assert!(json(&next)["token"].as_u64() > granted["token"].as_u64());

    // Broken by somebody: its owner is told by whom.
    let id = json(&next)["lease"].to_string();
    let broken = world
        .run(&["lease", "break", &id, "wrong cluster", "--by", "ann"])
        .await;
    assert_eq!(code(&broken), 0, "{}", text(&broken.stderr));
    let told = world
        .run(&["leave", "--node", other.0, "--owner", other.1])
        .await;
    assert_eq!(code(&told), 1);
    assert!(text(&told.stderr).contains("broken by ann: wrong cluster"));
    world.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_runs_its_command_under_a_lease_and_waits_for_the_proof() {
    let world = World::start().await;
    // The command restarts nothing: proven never to have gone.
    let args = [
        "exec",
        "--node",
        "2",
        "--owner",
        "me",
        "--wait",
        "60s",
        "--wait-back",
        "60s",
        "--",
        "sh",
        "-c",
        "echo $UPGRADE_GATE_LEASE $UPGRADE_GATE_TOKEN",
    ];
    let ended = world.run(&args).await;
    assert_eq!(code(&ended), 0, "{}", text(&ended.stderr));
    assert_eq!(
        text(&ended.stdout),
        "1 1\n",
        "nothing but the command writes there"
    );
    assert!(
        text(&ended.stderr).contains("upgrade-gate: back"),
        "{}",
        text(&ended.stderr)
    );

    // Its own code is passed through, and a restart is waited for.
    let failing = [
        "exec", "--node", "2", "--wait", "60s", "--", "sh", "-c", "exit 7",
    ];
    assert_eq!(code(&world.run(&failing).await), 7);
    let missing = [
        "exec",
        "--node",
        "2",
        "--wait",
        "60s",
        "--",
        "/no/such/program",
    ];
    assert_eq!(code(&world.run(&missing).await), 123);
    let args = [
        "exec",
        "--host",
        "rack1-a",
        "--wait",
        "60s",
        "--wait-back",
        "90s",
        "--",
        "sh",
        "-c",
        "read line",
    ];
    let mut command = world.command(&args);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let go = async {
        while let Some(line) = notes.next_line().await.unwrap() {
            if line.contains("go: lease") {
                return;
            }
        }
        panic!("it never started");
    };
    timeout(Duration::from_secs(60), go).await.unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = notes.next_line().await {} });
    world.restart(1).await;
    world.restart(101).await;
    drop(child.stdin.take());
    // `read` fails at the end of its input: the code is the command's, and the slot stays taken.
    let status = timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap();
    assert_eq!(status.unwrap().code(), Some(1));
    let open = world.run(&["wait", "--timeout", "90s"]).await;
    assert_eq!(code(&open), 0, "{}", text(&open.stderr));
    world.cluster.shutdown().await;
}

async fn a_node_that_is_held(world: &World) {
    let hold = ["hold", "disks", "--node", "3"];
    assert_eq!(code(&world.run(&hold).await), 0);
    let check = async |node| code(&world.run(&["check", "--node", node]).await);
    assert_eq!((check("2").await, check("3").await), (0, 1));
    let exec = [
        "exec", "--node", "3", "--wait", "1s", "--", "echo", "started",
    ];
    let held = world.run(&exec).await;
    assert_eq!((code(&held), text(&held.stdout).as_str()), (120, ""));
    assert_eq!(code(&world.run(&["unhold", "--node", "3"]).await), 0);
    assert_eq!(check("3").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_starts_nothing_while_the_gate_is_held_and_passes_signals_on() {
    let world = World::start().await;
    let hold = world
        .run(&["hold", "disks are being replaced", "--for", "1h"])
        .await;
    assert_eq!(code(&hold), 0, "{}", text(&hold.stderr));
    let args = [
        "exec", "--node", "2", "--wait", "2s", "--", "echo", "started",
    ];
    let held = world.run(&args).await;
    assert_eq!((code(&held), text(&held.stdout).as_str()), (120, ""));
    assert!(
        text(&held.stderr).contains("hold"),
        "{}",
        text(&held.stderr)
    );
    service::long_polls_cost_the_engine_next_to_nothing(&world).await;
    assert_eq!(code(&world.run(&["unhold"]).await), 0);
    a_node_that_is_held(&world).await;
    assert_eq!(
        code(&world.run(&["unhold"]).await),
        1,
        "nothing is held any more"
    );
    assert_eq!(
        code(&world.run(&["node", "retire", "2"]).await),
        1,
        "it is registered"
    );

    let args = [
        "exec", "--node", "9", "--wait", "20s", "--", "echo", "started",
    ];
    assert_eq!(code(&world.run(&args).await), 2, "there is no such node");
    let nowhere = [
        "exec",
        "--node",
        "2",
        "--wait",
        "1s",
        "--url",
        "http://127.0.0.1:1",
        "--",
        "true",
    ];
    assert_eq!(code(&world.run(&nowhere).await), 122);

    let script = "trap 'echo told; exit 9' TERM; echo started; while :; do sleep 0.1; done";
    let args = [
        "exec", "--node", "2", "--wait", "60s", "--", "sh", "-c", script,
    ];
    let mut child = world.command(&args).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = timeout(Duration::from_secs(60), out.next_line())
        .await
        .unwrap();
    assert_eq!(started.unwrap().as_deref(), Some("started"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
    assert_eq!(out.next_line().await.unwrap().as_deref(), Some("told"));
    let status = timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap();
    assert_eq!(status.unwrap().code(), Some(9));

    // A lease that is broken while the command runs: the command ends, and exec says 125.
    let args = [
        "exec",
        "--node",
        "3",
        "--ttl",
        "10s",
        "--wait",
        "60s",
        "--",
        "sh",
        "-c",
        "echo $UPGRADE_GATE_LEASE; sleep 6",
    ];
    let mut child = world.command(&args).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let id = timeout(Duration::from_secs(60), out.next_line())
        .await
        .unwrap();
    let id = id.unwrap().unwrap();
    assert_eq!(
        code(
            &world
                .run(&["lease", "break", &id, "stop", "--by", "ann"])
                .await
        ),
        0
    );
    let status = timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap();
    assert_eq!(status.unwrap().code(), Some(125));
    world.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_says_so_when_its_node_does_not_come_back_and_the_node_can_be_repaired() {
    let world = World::start().await;
    let args = [
        "exec",
        "--node",
        "2",
        "--owner",
        "me",
        "--wait",
        "60s",
        "--wait-back",
        "1s",
        "--",
        "sh",
        "-c",
        "echo started; read line || true",
    ];
    let mut command = world.command(&args);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = timeout(Duration::from_secs(60), lines.next_line()).await;
    assert_eq!(started.unwrap().unwrap().as_deref(), Some("started"));
    world.cluster.operate(|cluster| cluster.kill(2)).unwrap();
    drop(child.stdin.take());
    let status = timeout(Duration::from_secs(60), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(124));
    // The slot stays taken; whoever mends the node may have it.
    let other = ["enter", "--node", "3", "--owner", "you"];
    assert_eq!(code(&world.run(&other).await), 1);
    let repair = [
        "enter", "--node", "2", "--owner", "ann", "--action", "repair", "--wait", "30s",
    ];
    let repair = world.run(&repair).await;
    assert_eq!(code(&repair), 0, "{}", text(&repair.stderr));
    world
        .cluster
        .operate(|cluster| cluster.start(2, None))
        .unwrap();
    let back = ["leave", "--node", "2", "--owner", "ann", "--wait", "90s"];
    let back = world.run(&back).await;
    assert_eq!(code(&back), 0, "{}", text(&back.stderr));
    repair::one_node_of_a_machine_that_is_taken(&world).await;
    taken_over_while_the_command_runs(&world).await;
    world.cluster.shutdown().await;
}

/// Somebody mends the node while its owner's command still runs.
async fn taken_over_while_the_command_runs(world: &World) {
    let args = ["exec", "--node", "3", "--wait", "60s", "--", "sh", "-c"];
    let script = "echo started; read line || true";
    let mut command = world.command(&[&args[..], &[script]].concat());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = timeout(Duration::from_secs(60), lines.next_line()).await;
    assert_eq!(started.unwrap().unwrap().as_deref(), Some("started"));
    world.cluster.operate(|cluster| cluster.kill(3)).unwrap();
    let repair = [
        "enter", "--node", "3", "--owner", "ann", "--action", "repair", "--wait", "30s",
    ];
    let repair = world.run(&repair).await;
    assert_eq!(code(&repair), 0, "{}", text(&repair.stderr));
    drop(child.stdin.take());
    let ended = timeout(Duration::from_secs(60), child.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(125), "{told}");
    assert!(told.contains("taken over by ann"), "{told}");
}
