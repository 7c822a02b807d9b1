//! What to ask whom, how often, with which deadline; the answers go to the [`board`].
//!
//! Per gate: one task finds the cluster ([`discover`]); per node one task keeps the liveness
//! connection and one the bulk connection ([`node`], `renewal`), one asks for topics' configurations in
//! ZooKeeper mode ([`zookeeper`]), and one scrapes its exporter ([`pages`]);
//! two tasks ask a broker each for what every broker knows ([`asker`]); one runs rounds over all
//! replicas and over the named groups ([`rounds`]). [`schedule`] has the table of facts.

pub mod asker;
pub mod board;
pub mod discover;
pub mod due;
pub mod node;
pub mod pages;
mod renewal;
pub mod roster;
pub mod rounds;
pub mod schedule;
pub mod shared;
pub mod wants;
pub mod zookeeper;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::evidence::ids::NodeId;
use shared::Shared;

/// Collects for one gate until `stop`; returns when every task has ended.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let spawn = |future: Task| {
        let stop = stop.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(future).await;
        });
    };
    if shared.settings.mode.kafka() {
        spawn(Box::pin(discover::run(Arc::clone(&shared))));
        for slot in 0..asker::ASKERS {
            spawn(Box::pin(asker::run(Arc::clone(&shared), slot)));
        }
        spawn(Box::pin(rounds::log_ends(Arc::clone(&shared))));
        spawn(Box::pin(rounds::groups(Arc::clone(&shared))));
    }
    let mut roster = shared.roster.subscribe();
    let mut known: BTreeSet<NodeId> = BTreeSet::new();
    loop {
        let nodes: Vec<_> = roster.borrow_and_update().nodes.keys().copied().collect();
        for node in nodes {
            if !known.insert(node) {
                continue;
            }
            if shared.settings.mode.kafka() {
                spawn(Box::pin(node::liveness(Arc::clone(&shared), node)));
                spawn(Box::pin(node::bulk(Arc::clone(&shared), node)));
                spawn(Box::pin(zookeeper::run(Arc::clone(&shared), node)));
            }
            if shared.settings.asks_page_of(node) {
                spawn(Box::pin(pages::run(Arc::clone(&shared), node)));
            }
        }
        let changed = stop.run_until_cancelled(roster.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            break;
        }
    }
    tasks.close();
    tasks.wait().await;
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[cfg(test)]
mod tests;
