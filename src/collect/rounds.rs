//! Rounds over all brokers: how far every replica is, and where the named groups are.

use std::sync::Arc;
use std::time::Duration;

use super::schedule::{Cost, interval, row};
use super::shared::Shared;
use crate::evidence::facts::Facts;
use crate::evidence::ids::NodeId;
use crate::evidence::report::{FactKind, SourceId};
use crate::kafka::{RoundTimes, group_round, log_end_round};

/// While there is nothing to go round over.
const NOTHING: Duration = Duration::from_millis(100);

/// Runs a round over all replicas again and again.
pub async fn log_ends(shared: Arc<Shared>) {
    let times = RoundTimes {
        question: row(FactKind::LogEnds).deadline,
        ..RoundTimes::default()
    };
    let mut cost = Cost::default();
    loop {
        let (Some(table), connections) = (shared.table(), shared.connections()) else {
            tokio::time::sleep(NOTHING).await;
            continue;
        };
        let asked = shared.now();
        let round = log_end_round(&table, &connections, times).await;
        let took = shared.now().since(asked);
        cost.note(
            round.first_pass.took(),
            round.first_pass.cost(|node| shared.trip(node)),
        );
        // A round that waited for slow replicas is long without being costly, and what it says counts
        // no longer for that (found by the simulation: 1.4 s made answers of 5 s ago count).
        let every = interval(FactKind::LogEnds, cost.smallest());
        for (node, result) in round.nodes {
            let facts = result.map(|facts| Facts::LogEnds(Arc::new(facts)));
            shared.report(
                SourceId::Kafka(node),
                FactKind::LogEnds,
                0,
                asked,
                every,
                facts,
            );
        }
        let left = every.saturating_sub(took).max(NOTHING);
        // A broker that came back is not left waiting for the next round: until its replicas are
        // told of, the gate stays shut.
        tokio::select! {
            () = shared.pause(left) => {}
            () = shared.joined.notified() => {}
        }
    }
}

/// Reads the named groups' offsets again and again.
pub async fn groups(shared: Arc<Shared>) {
    if shared.settings.groups.is_empty() {
        return;
    }
    let mut reporter: Option<NodeId> = None;
    loop {
        let (Some(table), connections) = (shared.table(), shared.connections()) else {
            tokio::time::sleep(NOTHING).await;
            continue;
        };
        let asked = shared.now();
        let within = row(FactKind::Groups).deadline;
        let result = group_round(&shared.settings.groups, &table, &connections, within).await;
        let every = interval(FactKind::Groups, shared.now().since(asked));
        // The whole round is reported under the first broker that took part in it.
        if let Some(node) = connections.keys().next().copied() {
            if let Some(before) = reporter.replace(node)
                && before != node
            {
                shared
                    .board
                    .forget((SourceId::Kafka(before), FactKind::Groups));
            }
            let facts = result.map(|table| Facts::Groups(Arc::new(table)));
            shared.report(
                SourceId::Kafka(node),
                FactKind::Groups,
                0,
                asked,
                every,
                facts,
            );
        }
        tokio::time::sleep(every).await;
    }
}
