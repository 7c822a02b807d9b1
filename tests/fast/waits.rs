//! Long polls: `check?wait=`, and how many of them are let in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use upgrade_gate::metrics::counters::Refused;
use upgrade_gate::server::Limits;

use crate::served::{closed, open, serve, serve_with, unknown};

const CHECK: &str = "/api/v1/gates/default/check";

#[tokio::test]
async fn a_waiting_request_wakes_when_the_gate_opens() {
    let served = serve(closed()).await;
    let started = Instant::now();
    let later = async {
        sleep(Duration::from_millis(100)).await;
        served.published.publish(Arc::new(unknown()));
        sleep(Duration::from_millis(100)).await;
        served.published.publish(Arc::new(open()));
    };
    let (got, ()) = tokio::join!(served.get("/api/v1/gates/default/check?wait=50s"), later);
    assert_eq!(got.status, 200);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_wait_that_ends_gets_the_usual_answer() {
    let served = serve(closed()).await;
    let started = Instant::now();
    let got = served
        .get("/api/v1/gates/default/check?wait=1&closed_status=423")
        .await;
    assert_eq!(
        (got.status, got.header("upgrade-gate-state")),
        (423, Some("closed"))
    );
    assert!(started.elapsed() >= Duration::from_secs(1));
    served.published.publish(Arc::new(open()));
    // An open gate lets nobody wait, and a problem does not either.
    for (query, status) in [("wait=50", 200), ("wait=50&node=9", 400)] {
        let target = format!("{CHECK}?{query}");
        let got = timeout(Duration::from_secs(5), served.get(&target)).await;
        assert_eq!(got.unwrap().status, status);
    }
}

#[tokio::test]
async fn waiters_are_capped_and_counted() {
    let all = Limits {
        waiters: 1,
        ..Limits::default()
    };
    assert_eq!(one_of_two_waits(all).await, (1, 0));
}

#[tokio::test]
async fn one_address_leaves_places_to_wait_for_others() {
    let of_peer = Limits {
        waiters_per_peer: 1,
        ..Limits::default()
    };
    assert_eq!(one_of_two_waits(of_peer).await, (0, 1));
}

/// Two long polls of one address where there is room for one: how often there was none for anybody,
/// and how often none for this address.
async fn one_of_two_waits(limits: Limits) -> (u64, u64) {
    let served = serve_with(closed(), limits, |_| ()).await;
    let http = &served.state.metrics.counters().http;
    let second = async {
        while http.waiters.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let started = Instant::now();
        let got = served.get("/api/v1/gates/default/check?wait=50").await;
        assert_eq!(got.status, 503);
        assert!(started.elapsed() < Duration::from_secs(5));
        served.published.publish(Arc::new(open()));
    };
    let (first, ()) = tokio::join!(served.get("/api/v1/gates/default/check?wait=50"), second);
    assert_eq!(first.status, 200);
    assert_eq!(http.waiters.load(Ordering::Relaxed), 0);
    let nobody = http.waiters_refused.load(Ordering::Relaxed);
    (nobody, http.refusals(Refused::WaitersOfPeer))
}
