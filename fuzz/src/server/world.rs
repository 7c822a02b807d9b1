//! What the gates of connections say, and everything else that a server reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::clock::Clock;
use upgrade_gate::engine::handle::{Ask, GateHandle};
use upgrade_gate::evidence::ids::{NodeId, Release, Role, Version};
use upgrade_gate::gate::event::{Event, What};
use upgrade_gate::gate::lease::{Action, Hold};
use upgrade_gate::gate::parts::{LeaseView, NodeView, ReasonView, ViewParts};
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::View;
use upgrade_gate::server::{AppState, History, Reload};
use upgrade_gate::time::{Mono, Now, Timestamp};

use super::super::served;
use super::engine::{LEASE, TOKEN, lease, somebody};

pub(super) const NOW: Now = Now {
    mono: Mono::from_nanos(1_000_000_000_000),
    wall: Timestamp::from_nanos(1_795_000_000_000_000_000),
};

/// A gate, and what asks it.
pub(super) struct World {
    /// Whether the published view is open.
    pub(super) opens: bool,
    pub(super) app: AppState,
    /// Questions to the engine.
    pub(super) inbox: Mutex<Receiver<Ask>>,
}

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Now {
        NOW
    }
}

/// Closed, not yet known, known too long ago, and open.
pub(super) fn worlds() -> Vec<World> {
    let closed = vec![served::under_replicated(NOW, Subject::Cluster)];
    let expired = ViewParts {
        valid_until: NOW.mono.minus(Duration::from_secs(1)),
        ..occupied(Vec::new())
    };
    let reloads = |outcome: Result<String, String>| -> Option<Reload> {
        Some(Arc::new(move || {
            let outcome = outcome.clone();
            Box::pin(async move { outcome })
        }))
    };
    let loaded = || reloads(Ok(String::from("reloaded")));
    vec![
        World::new(View::new(occupied(closed)), loaded()),
        World::new(served::just_started(NOW), None),
        World::new(View::new(expired), reloads(Err(String::from("bad key")))),
        World::new(View::new(judged(Vec::new())), loaded()),
    ]
}

impl World {
    fn new(view: View, reload: Option<Reload>) -> Self {
        let opens = view.at(NOW.mono).state() == State::Open;
        let name = view.gate().clone();
        let (app, published, _) = served::app(view, Arc::new(StandingClock));
        let (handle, inbox) = GateHandle::new(name.clone(), published);
        let rack = BTreeSet::from([NodeId(1), NodeId(2)]);
        let handle = handle.with_hosts(BTreeMap::from([(String::from("rack1-a"), rack)]));
        app.gates.store(Arc::new(BTreeMap::from([(name, handle)])));
        let app = AppState {
            reload,
            history: history(),
            ..app
        };
        Self {
            opens,
            app,
            inbox: Mutex::new(inbox),
        }
    }
}

/// A view of two nodes that was judged.
fn judged(reasons: Vec<ReasonView>) -> ViewParts {
    let view = served::view(NOW, reasons);
    let parts = view.at(NOW.mono).last_known().clone();
    let may_stop = parts.state;
    ViewParts {
        generation: 7,
        nodes: [1, 2].map(|id| node(id, may_stop)).into(),
        ..parts
    }
}

/// The same with a lease, and holds.
fn occupied(reasons: Vec<ReasonView>) -> ViewParts {
    let hold = Hold {
        author: somebody(),
        reason: String::from("disks"),
        since: NOW.wall,
        until: Some(NOW.wall.plus(Duration::from_secs(7200))),
    };
    ViewParts {
        leases: vec![LeaseView {
            lease: lease(BTreeSet::from([NodeId(1)])),
            progress: String::from("node 1 is not back in 3 ISRs"),
            unchanged_for: Duration::from_secs(4),
            usually: Some(Duration::from_secs(40)),
        }],
        hold: Some(hold.clone()),
        node_holds: BTreeMap::from([(NodeId(2), hold)]),
        ..judged(reasons)
    }
}

fn node(id: i32, may_stop: State) -> NodeView {
    NodeView {
        node: NodeId(id),
        role: Role::BROKER,
        release: Release::Is(Version { major: 4, minor: 1 }),
        address: Some(format!("10.0.0.{id}:9092")),
        active_controller: false,
        down: false,
        may_stop,
        reasons: Vec::new(),
        leads: 3,
        replicas: 7,
        leads_without: BTreeMap::new(),
    }
}

/// One entry of each kind, whatever is asked for.
fn history() -> History {
    let nodes = BTreeSet::from([NodeId(1)]);
    let lease = LEASE;
    let (by, reason) = (somebody(), String::from("disks"));
    let all = [
        What::Verdict {
            state: State::Closed,
            reasons: vec![String::from("under_replicated")],
        },
        What::Granted {
            lease,
            token: TOKEN,
            owner: somebody(),
            nodes: nodes.clone(),
            action: Action::Repair,
            taken_from: Some(somebody()),
        },
        What::Renewed {
            lease,
            expires_at: NOW.wall,
        },
        What::Leaving { lease },
        What::Expired { lease },
        What::Unannounced {
            lease,
            nodes: nodes.clone(),
        },
        What::ProvenBack {
            lease,
            nodes,
            gone: true,
            seconds: 40,
        },
        What::Withdrawn {
            lease,
            reasons: Vec::new(),
        },
        What::Broken {
            lease,
            by: by.clone(),
            reason: reason.clone(),
        },
        What::HoldSet {
            node: None,
            author: by.clone(),
            reason,
            until: None,
        },
        What::HoldLifted {
            node: Some(NodeId(1)),
            by: by.clone(),
        },
        What::Retired {
            node: NodeId(9),
            by,
            role: None,
        },
    ];
    let entries: Vec<Event> = (0..)
        .zip(all)
        .map(|(back, what)| Event {
            number: 100 - back,
            at: NOW.wall,
            what,
        })
        .collect();
    let entries = Arc::new(entries);
    Arc::new(move |_, before, most| {
        let entries = Arc::clone(&entries);
        Box::pin(async move {
            let below = |entry: &&Event| before.is_none_or(|before| entry.number < before);
            let some = entries.iter().filter(below).take(most);
            Ok(some.cloned().collect())
        })
    })
}
