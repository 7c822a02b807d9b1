//! Long polls over TLS, of somebody whose right is taken away meanwhile, and over a connection whose
//! certificate is another meanwhile.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use upgrade_gate::gate::state::State;
use upgrade_gate::server::Limits;

use crate::leases::{asked, go, verdict};
use crate::secured::{EVERYBODY, Means, World, secured_with};
use crate::served::{Served, closed, open};

const READ: Means = EVERYBODY[1];
const LEASE: Means = EVERYBODY[2];
const ANN: Means = EVERYBODY[5];

/// Not as long as the one before: a file's length tells that it has changed, however quick this is.
const NEW: &str = "canary-token-changed-000001";

const ENTER: &str = "enter?node=2&owner=me&wait=50";
const LEAVE: &str = "leave?node=2&owner=me&wait=50";

/// A connection that is cut off instead of answered is cut off at once.
fn limits() -> Limits {
    Limits {
        drain: Duration::from_millis(1),
        ..Limits::default()
    }
}

/// A caller that does not wait for its answer: the status and the state that it is told.
fn send(
    world: &World,
    served: &Served,
    means: Means,
    method: &str,
    target: &str,
) -> JoinHandle<(u16, String)> {
    let url = format!("https://{}/api/v1/gates/default/{target}", served.address);
    let request = world.callers().request(means, method, &url);
    let request = request.header("x-upgrade-gate", "1");
    tokio::spawn(async move {
        let got = request.send().await.expect("an answer");
        let state = got.headers().get("upgrade-gate-state");
        let state = state.map_or("", |state| state.to_str().unwrap());
        (got.status().as_u16(), state.to_owned())
    })
}

fn told(status: u16, state: &str) -> (u16, String) {
    (status, state.to_owned())
}

async fn so_many_wait(served: &Served, number: u64) {
    let http = &served.state.metrics.counters().http;
    let all = async {
        while http.waiters.load(Ordering::Relaxed) < number {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), all)
        .await
        .expect("they wait");
}

#[tokio::test]
async fn a_right_that_is_taken_away_during_a_wait_gives_nothing_any_more() {
    for (means, target) in [(LEASE, ENTER), (LEASE, LEAVE), (ANN, ENTER)] {
        let world = World::new();
        let (mut served, access) = secured_with(&world, closed(), limits()).await;
        let waits = send(&world, &served, means, "POST", target);
        let ask = asked(&mut served).await;
        ask.reply.send(verdict(State::Closed)).unwrap();
        world.write("token-lease", NEW);
        world.users(&[("ann", "canary-changed")]);
        access.refresh();
        served.published.publish(Arc::new(open()));
        assert_eq!(waits.await.unwrap(), told(401, "unknown"), "{target}");
        assert!(served.asks.try_recv().is_err(), "{target}");
    }
}

#[tokio::test]
async fn a_verdict_is_not_for_whoever_may_not_read_any_more() {
    let world = World::new();
    let (served, access) = secured_with(&world, closed(), limits()).await;
    let waits = send(&world, &served, READ, "GET", "check?wait=50");
    so_many_wait(&served, 1).await;
    world.write("token-read", NEW);
    access.refresh();
    served.published.publish(Arc::new(open()));
    assert_eq!(waits.await.unwrap(), told(401, "unknown"));
}

/// What they show is somebody else's now, in whose name nothing was asked.
#[tokio::test]
async fn nobody_is_given_what_somebody_else_has_asked_for() {
    let world = World::new();
    let (mut served, access) = secured_with(&world, closed(), limits()).await;
    let waits = send(&world, &served, LEASE, "POST", ENTER);
    let ask = asked(&mut served).await;
    ask.reply.send(verdict(State::Closed)).unwrap();
    let token = fs::read_to_string(world.path("token-lease")).unwrap();
    world.write("token-admin", &format!("{token}\n"));
    world.write("token-lease", NEW);
    access.refresh();
    assert!(access.files_usable());
    served.published.publish(Arc::new(open()));
    assert_eq!(waits.await.unwrap(), told(401, "unknown"));
    assert!(served.asks.try_recv().is_err());
}

#[tokio::test]
async fn whoever_may_goes_on_waiting_while_users_and_tokens_of_others_change() {
    let world = World::new();
    let (mut served, access) = secured_with(&world, closed(), limits()).await;
    let waits = send(&world, &served, LEASE, "POST", ENTER);
    let ask = asked(&mut served).await;
    ask.reply.send(verdict(State::Closed)).unwrap();
    world.write("token-read", NEW);
    world.users(&[("ann", "canary-changed")]);
    access.refresh();
    served.published.publish(Arc::new(open()));
    let ask = asked(&mut served).await;
    ask.reply.send(go()).unwrap();
    assert_eq!(waits.await.unwrap(), told(200, "open"));
}

/// Another certificate, of another CA.
fn renew(world: &World) {
    let other = World::new();
    for file in ["server.pem", "server.key", "ca.pem"] {
        fs::copy(other.path(file), world.path(file)).unwrap();
    }
}

#[tokio::test]
async fn whoever_waits_is_answered_when_the_certificate_is_another() {
    let world = World::new();
    let (mut served, access) = secured_with(&world, closed(), limits()).await;
    let enters = send(&world, &served, LEASE, "POST", ENTER);
    let ask = asked(&mut served).await;
    ask.reply.send(verdict(State::Closed)).unwrap();
    let checks = send(&world, &served, READ, "GET", "check?wait=50");
    so_many_wait(&served, 2).await;
    renew(&world);
    access.refresh();
    assert_eq!(enters.await.unwrap(), told(503, "closed"));
    assert_eq!(checks.await.unwrap(), told(503, "closed"));
}

#[tokio::test]
async fn what_the_engine_is_deciding_is_answered_when_the_certificate_is_another() {
    let world = World::new();
    let (mut served, access) = secured_with(&world, closed(), limits()).await;
    let enters = send(&world, &served, LEASE, "POST", ENTER);
    let ask = asked(&mut served).await;
    renew(&world);
    access.refresh();
    // Longer than at the end of the process.
    sleep(Duration::from_millis(100)).await;
    ask.reply.send(go()).unwrap();
    assert_eq!(enters.await.unwrap(), told(200, "open"));
}
