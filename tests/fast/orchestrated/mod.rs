//! The real program in front of the simulated cluster: leases over HTTP and through the command
//! line, from "go" to the proof of return; long polls, a reload, and a store that fails.

mod exec;
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
    /// The same of what has to end well.
    async fn done(&self, args: &[&str]) -> Output {
        let output = self.run(args).await;
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        output
    }

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
