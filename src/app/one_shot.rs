//! A gate without a service: collects and judges in this process until it opens or the time is
//! over. It takes a whole window, like every gate that has just started.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Common, Running};
use crate::clock::{Clock, SystemClock};
use crate::config::settings::Settings;
use crate::engine::handle::{AskError, Room};
use crate::evidence::ids::NodeId;
use crate::gate::question::{Answered, Question};
use crate::gate::state::{GateName, State};
use crate::gate::view::Decision;
use crate::kafka::TcpDial;
use crate::metrics::counters::Counters;
use crate::store::{MemoryStore, Writer};
use crate::time::Now;

/// Between two looks at the verdict.
const LOOK: Duration = Duration::from_millis(500);

/// How long one question to the engine may take.
const QUESTION: Duration = Duration::from_secs(10);

/// What a one-shot check ended with.
#[derive(Clone, Debug)]
pub struct OneShot {
    /// The gate's name.
    pub gate: GateName,
    /// The last verdict.
    pub decision: Decision,
    /// When it was made.
    pub evaluated: Now,
    /// What the gate does not see as it is set up, by name.
    pub blind_spots: Vec<&'static str>,
}

/// Judges until the verdict is open or `patience` is over. `progress` is told every verdict that
/// differs from the one before.
pub async fn one_shot(
    settings: &Settings,
    nodes: BTreeSet<NodeId>,
    patience: Duration,
    mut progress: impl FnMut(&OneShot),
) -> Result<OneShot> {
    let (name, gate) = settings
        .gates
        .iter()
        .next()
        .context("no gate is configured")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let common = Common {
        clock: Arc::clone(&clock),
        dial: Arc::new(TcpDial),
        store: Writer::spawn(Box::new(MemoryStore::default()))?,
        limits: settings.limits,
        counters: Arc::new(Counters::default()),
    };
    let running = Running::start(name, gate.clone(), &common).await?;
    let deadline = clock.now().mono.plus(patience);
    let mut told = None;
    loop {
        let question = Question {
            nodes: nodes.clone(),
            newer_than: None,
        };
        let late = clock.now().mono >= deadline;
        let answered = running.handle.decide(question, QUESTION, Room::default());
        match answered.await {
            Ok(Answered::Decided {
                decision,
                evaluated,
            }) => {
                let state = decision.state;
                let key = (
                    state,
                    decision
                        .reasons
                        .iter()
                        .map(|r| r.reason)
                        .collect::<Vec<_>>(),
                );
                let view = running.handle.published().load();
                let now = OneShot {
                    gate: name.clone(),
                    decision,
                    evaluated,
                    blind_spots: view.at(clock.now().mono).last_known().blind_spot_ids(),
                };
                if told.as_ref() != Some(&key) {
                    progress(&now);
                    told = Some(key);
                }
                if state == State::Open || late {
                    running.end().await;
                    return Ok(now);
                }
            }
            // A node may become known a moment later, with the first answers.
            Ok(Answered::NoSuchNodes(strangers)) if late => {
                let names: Vec<_> = strangers.iter().map(ToString::to_string).collect();
                bail!(
                    "failed to judge: the cluster has no node {}",
                    names.join(", ")
                );
            }
            Err(error) if late => return Err(error.into()),
            Ok(Answered::NoSuchNodes(_))
            | Err(AskError::Busy | AskError::BusyForPeer | AskError::Gone | AskError::Late(_)) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}
