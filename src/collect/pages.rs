//! One node's exporter: asked at a pace that follows how long it takes, one request at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::schedule::{Cost, deadline, interval, row};
use super::shared::Shared;
use crate::evidence::aggregate::Mode;
use crate::evidence::facts::Facts;
use crate::evidence::ids::NodeId;
use crate::evidence::jmx::JmxFacts;
use crate::evidence::report::{FactKind, FailureClass, SourceFailure, SourceId};
use crate::jmx::found::Found;
use crate::jmx::scrape::Target;
use crate::time::Mono;

/// Between two scrapes that somebody asked to be sooner.
const SOONEST: Duration = Duration::from_millis(500);

/// For how long the page of a new process is looked at more often: its series come one after the
/// other (reference `kafka-lab.md` 4), and the gate stays shut until they are all there.
const YOUNG: Duration = Duration::from_secs(20);

/// How often, at most, a page is looked at that failed or is that young.
const YOUNG_PAGE: Duration = Duration::from_secs(1);

/// While a node's exporter is not known yet.
const NO_TARGET: Duration = Duration::from_millis(200);

/// Scrapes a node's exporter again and again.
pub async fn run(shared: Arc<Shared>, node: NodeId) {
    let source = SourceId::Jmx(node);
    let mut cost = Cost::default();
    let mut wanted = shared.pages_wanted.subscribe();
    let mut everything = shared.wants.everything();
    let mut epoch = 0;
    let mut process = None;
    let mut told = None;
    let mut changed = shared.now();
    loop {
        let Some(target) = target(&shared, node) else {
            tokio::time::sleep(NO_TARGET).await;
            continue;
        };
        epoch += 1;
        let asked = shared.now();
        let page = match &target {
            Ok(target) => {
                let within = deadline(FactKind::Jmx, cost.largest());
                shared.scraper.scrape(target, within).await
            }
            Err(failure) => Err(failure.clone()),
        };
        let took = shared.now().since(asked);
        if page.is_ok() {
            cost.note(took, took);
        }
        let every = interval(FactKind::Jmx, cost.smallest());
        match &page {
            Err(_) => changed = shared.now(),
            Ok(page) => {
                let started = page.start_time.value().copied();
                if std::mem::replace(&mut process, started) != started {
                    changed = shared.now();
                }
            }
        }
        if let Ok(page) = &page {
            tell_names(&shared, node, page, changed, &mut told);
        }
        let failed = page.is_err();
        let facts = page.map(|page| Facts::Jmx(Arc::new(page)));
        shared.report(source.clone(), FactKind::Jmx, epoch, asked, every, facts);
        // A failed exporter costs the node nothing; one that answers, a twentieth of its time.
        let pause = if failed {
            YOUNG_PAGE.max(took)
        } else if shared.now().since(changed) < YOUNG {
            let stretch = row(FactKind::Jmx).stretch;
            YOUNG_PAGE.max(cost.smallest().saturating_mul(stretch))
        } else {
            every
        };
        wait([&mut wanted, &mut everything], pause.saturating_sub(took)).await;
    }
}

/// Says which wanted names a page has and which it lacks, at the start and whenever that changes.
/// A young process's page is still filling: it is told once everything required is there, or
/// once the process is no longer young.
fn tell_names(
    shared: &Shared,
    node: NodeId,
    page: &JmxFacts,
    changed: Mono,
    told: &mut Option<Found>,
) {
    let roster = shared.roster.borrow();
    let role = roster.nodes.get(&node).map(|entry| entry.role);
    let kraft = roster.nodes.values().any(|entry| entry.role.controller);
    drop(roster);
    let mode = if kraft { Mode::Kraft } else { Mode::ZooKeeper };
    let found = Found::compare(page, role.unwrap_or_default(), mode);
    let young = shared.now().since(changed) < YOUNG;
    if told.as_ref() == Some(&found) || (young && !found.complete()) {
        return;
    }
    if found.complete() {
        info!(gate = %shared.settings.gate, %node, "{found}");
    } else {
        warn!(
            gate = %shared.settings.gate,
            %node,
            "{found}; the gate stays shut without the required names: let the exporter's rules \
             pass them"
        );
    }
    *told = Some(found);
}

/// Waits for the next scrape; one that is wanted sooner, even since the last one began, is made
/// soon. Both askers and every connection want pages, so a page read a moment before its numbers
/// change is soon read again.
async fn wait([wanted, everything]: [&mut watch::Receiver<u64>; 2], pause: Duration) {
    tokio::time::sleep(pause.min(SOONEST)).await;
    tokio::select! {
        () = tokio::time::sleep(pause.saturating_sub(SOONEST)) => {}
        Ok(()) = wanted.changed() => {}
        Ok(()) = everything.changed() => {}
    }
}

/// The node's exporter: named by the configuration, else made from the template and the address
/// the node advertises. `None` while that address is not known.
fn target(shared: &Shared, node: NodeId) -> Option<Result<Target, SourceFailure>> {
    if let Some(url) = shared.settings.exporters.get(&node) {
        return Some(Ok(Target {
            node,
            url: url.clone(),
        }));
    }
    let Some(template) = &shared.settings.exporter_template else {
        let why = format!(
            "no exporter is configured for node {node}: name it under `jmx.targets`, or give a \
             template"
        );
        return Some(Err(SourceFailure::new(FailureClass::Resolve, why)));
    };
    let roster = shared.roster.borrow();
    let address = roster.nodes.get(&node)?.address()?.clone();
    drop(roster);
    let target = template.target(node, &address.host, address.port);
    Some(target.map_err(|error| SourceFailure::new(FailureClass::Resolve, error.to_string())))
}
