//! The second orchestrator, which asks at random.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::http;
use crate::prove::watch::PATIENCE;
use crate::spec::NodeId;

/// The orchestrator that asks at random.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Second {
    pub(super) asked: u64,
    /// Of these, while the first one's node was not back by Kafka's own word.
    pub(super) asked_while_a_node_was_out: u64,
    /// And after that, until the first one's `exec` had ended: in the gate's window.
    pub(super) asked_in_the_window: u64,
    pub(super) told_go: u64,
    /// Told go while a node of the first one was not back by Kafka's own word.
    pub(super) beside_a_node_that_is_out: u64,
    /// Told go before the first one's lease was over, by the order of the gate's history.
    pub(super) beside_the_first: u64,
    /// The leases that it was told go for.
    #[serde(skip)]
    pub(super) leases: Vec<u64>,
}

/// How far the first one is with its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has none, or waits for go.
    Free,
    /// From go until Kafka has it back.
    Out,
    /// From there until `exec` has ended.
    Window,
}

pub(super) type Shared = Arc<Mutex<Phase>>;

fn phase(shared: &Shared) -> Phase {
    *shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first one at its beginning.
pub(super) fn free() -> Shared {
    Arc::new(Mutex::new(Phase::Free))
}

pub(super) fn enters(shared: &Shared, phase: Phase) {
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = phase;
}

/// Somebody who asks for a random broker again and again, and gives it back untouched.
pub(super) struct Other {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Second>,
}

impl Other {
    pub(super) fn start(port: u16, nodes: Vec<NodeId>, first: Shared) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let turn = AtomicU64::new(u64::from(std::process::id()));
        let task = tokio::spawn(async move {
            let mut second = Second::default();
            while !ends.load(Ordering::SeqCst) {
                let mut random = crate::simulate::ops::Random(turn.fetch_add(1, Ordering::Relaxed));
                // Several times in each window, which is some ten seconds long.
                sleep(Duration::from_millis(random.between(200, 1_500))).await;
                let node = random.pick(&nodes);
                let before = phase(&first);
                second.asked += 1;
                second.asked_while_a_node_was_out += u64::from(before == Phase::Out);
                second.asked_in_the_window += u64::from(before == Phase::Window);
                let Some(lease) = told_go(port, node, "second").await else {
                    continue;
                };
                second.told_go += 1;
                second.leases.push(lease);
                let out = before == Phase::Out && phase(&first) == Phase::Out;
                second.beside_a_node_that_is_out += u64::from(out);
                if leave_until_over(port, node, "second").await.is_err() {
                    return second;
                }
            }
            second
        });
        Self { stop, task }
    }

    pub(super) async fn stop(self) -> Second {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap_or_default()
    }
}

/// The lease that somebody is given who asks once.
pub(super) async fn told_go(port: u16, node: NodeId, owner: &str) -> Option<u64> {
    let path = format!("/api/v1/gates/default/enter?node={node}&owner={owner}&ttl=30s");
    let answer = http::post_for(port, &path, Duration::from_secs(15)).await;
    let (status, body) = answer.ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    (status == 200).then(|| body["lease"].as_u64())?
}

pub(super) async fn leave_until_over(port: u16, node: NodeId, owner: &str) -> Result<()> {
    let path = format!("/api/v1/gates/default/leave?node={node}&owner={owner}");
    let begun = Instant::now();
    while http::post(port, &path, Duration::from_secs(15)).await? != 200 {
        ensure!(
            begun.elapsed() < PATIENCE,
            "see {owner} be rid of node {node}"
        );
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
