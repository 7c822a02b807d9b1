//! `exec` from "go" to the proof of return.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::{sleep, timeout};

use super::{World, code, json, repair, service, text};

/// A command that says "started" and waits for the end of its input; what it writes has to be kept.
async fn started(world: &World, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = world.command(args);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = timeout(Duration::from_secs(60), lines.next_line()).await;
    assert_eq!(started.unwrap().unwrap().as_deref(), Some("started"));
    (child, lines)
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
    let ended = world.done(&args).await;
    assert_eq!(
        text(&ended.stdout),
        "1 1\n",
        "nothing but the command writes there"
    );
    assert!(
        text(&ended.stderr).contains("upgrade-gate: node 2 never went: "),
        "{}",
        text(&ended.stderr)
    );

    // Its own code is passed through. Nothing has gone, so that its stop may be still to come: the lease
    // stands until somebody says that it is not.
    let script = "exit 7";
    let failing = [
        "exec", "--node", "2", "--owner", "ci", "--wait", "60s", "--", "sh", "-c", script,
    ];
    let failed = world.run(&failing).await;
    assert_eq!(code(&failed), 7);
    let told = text(&failed.stderr);
    assert!(told.contains("is NOT given back"), "{told}");
    let other = ["enter", "--node", "3", "--owner", "you"];
    assert_eq!(code(&world.run(&other).await), 1);
    given_back_by_hand(&world, "2", "ci").await;
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
    until_gone(&world, 2).await;
    drop(child.stdin.take());
    // `read` fails at the end of its input: the code is the command's. Its nodes went, so that the slot is
    // free once they are proven back.
    let status = timeout(Duration::from_secs(60), child.wait())
        .await
        .unwrap();
    assert_eq!(status.unwrap().code(), Some(1));
    let open = world.run(&["wait", "--timeout", "90s"]).await;
    assert_eq!(code(&open), 0, "{}", text(&open.stderr));
    world.cluster.shutdown().await;
}

/// Waits until the gate shows that so many nodes of the one lease have gone.
async fn until_gone(world: &World, nodes: usize) {
    let gone = async {
        loop {
            let list = json(&world.done(&["lease", "list", "--json"]).await);
            let gone = list["leases"][0]["gone"].as_array();
            if gone.is_some_and(|gone| gone.len() == nodes) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(60), gone).await.unwrap();
}

/// Somebody has seen to it that nothing goes on there any more.
async fn given_back_by_hand(world: &World, node: &str, owner: &str) {
    let leave = ["leave", "--node", node, "--owner", owner, "--wait", "60s"];
    world.done(&leave).await;
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
        "exec", "--node", "2", "--owner", "ci", "--wait", "60s", "--", "sh", "-c", script,
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
    given_back_by_hand(&world, "2", "ci").await;

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
    let (mut child, _lines) = started(&world, &args).await;
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
    world.done(&repair).await;
    world
        .cluster
        .operate(|cluster| cluster.start(2, None))
        .unwrap();
    let back = ["leave", "--node", "2", "--owner", "ann", "--wait", "90s"];
    world.done(&back).await;
    repair::one_node_of_a_machine_that_is_taken(&world).await;
    taken_over_while_the_command_runs(&world).await;
    world.cluster.shutdown().await;
}

/// Somebody mends the node while its owner's command still runs.
async fn taken_over_while_the_command_runs(world: &World) {
    let args = ["exec", "--node", "3", "--wait", "60s", "--", "sh", "-c"];
    let script = "echo started; read line || true";
    let (mut child, _lines) = started(world, &[&args[..], &[script]].concat()).await;
    world.cluster.operate(|cluster| cluster.kill(3)).unwrap();
    let repair = [
        "enter", "--node", "3", "--owner", "ann", "--action", "repair", "--wait", "30s",
    ];
    world.done(&repair).await;
    drop(child.stdin.take());
    let ended = timeout(Duration::from_secs(60), child.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(125), "{told}");
    assert!(told.contains("taken over by ann"), "{told}");
}
