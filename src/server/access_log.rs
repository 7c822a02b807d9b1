//! One line for each request, under `upgrade_gate::access`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use tokio::time::Instant;
use tracing::Level;

use super::access::principal::Principal;
use super::admit::Caller;
use super::app::App;

/// How many refused changes are told in one span, and how long that is: who may do nothing here is
/// to fill no disk either.
const MOST: u32 = 60;
const SPAN: Duration = Duration::from_mins(1);

/// Bytes of a path that are told.
const LONGEST_PATH: usize = 200;

/// The refused changes that were told lately.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Option<Told>>);

#[derive(Clone, Copy, Debug)]
struct Told {
    since: Instant,
    times: u32,
}

/// Whether a refused change is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    Yes,
    /// And no other before the span is over.
    Last,
    No,
}

impl Refusals {
    fn one_more(&self) -> Tell {
        let now = Instant::now();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Told {
            since: now,
            times: 0,
        };
        let before = told.filter(|told| now - told.since < SPAN).unwrap_or(fresh);
        let times = before.times.saturating_add(1);
        *told = Some(Told { times, ..before });
        match times.cmp(&MOST) {
            std::cmp::Ordering::Less => Tell::Yes,
            std::cmp::Ordering::Equal => Tell::Last,
            std::cmp::Ordering::Greater => Tell::No,
        }
    }
}

/// As much of a path as any route has: callers make them as long as they like.
fn cut(path: &str) -> &str {
    &path[..path.floor_char_boundary(LONGEST_PATH)]
}

impl App {
    /// One line per request: at level `info` for what changed something, or was to and was refused
    /// because of who asked, else `debug`. Never a header, and no query: what somebody put there by
    /// mistake may be secret.
    pub(super) fn log(
        &self,
        caller: &Caller,
        parts: &Parts,
        principal: Option<&Principal>,
        status: StatusCode,
        started: Instant,
    ) {
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: "upgrade_gate::access",
                    $level,
                    method = %parts.method,
                    path = cut(parts.uri.path()),
                    status = status.as_u16(),
                    micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
                    peer = %caller.peer.to_canonical(),
                    principal = principal.map(tracing::field::display),
                    "request"
                )
            };
        }
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        let changes = !reads && !parts.uri.path().ends_with("/check");
        let refused = status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN;
        if changes && status.is_success() {
            line!(Level::INFO);
        } else if changes && refused {
            match self.refusals.one_more() {
                Tell::Yes => line!(Level::INFO),
                Tell::Last => {
                    line!(Level::INFO);
                    tracing::warn!(
                        "more changes are refused than are told: for the rest of this minute they are \
                         at level debug, and counted in upgrade_gate_http_refused_total"
                    );
                }
                Tell::No => line!(Level::DEBUG),
            }
        } else {
            line!(Level::DEBUG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_as_far_as_any_route_goes() {
        assert_eq!(cut("/api/v1/gates"), "/api/v1/gates");
        let long = format!("/{}", "ä".repeat(10_000));
        assert_eq!(
            cut(&long).len(),
            LONGEST_PATH - 1,
            "no letter is cut in two"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_refused_all_the_time_fills_no_disk() {
        let refusals = Refusals::default();
        let told = || (0..1000).map(|_| refusals.one_more()).collect::<Vec<_>>();
        let count = |told: &[Tell], what| told.iter().filter(|it| **it == what).count();
        for _ in 0..2 {
            let told = told();
            assert_eq!((count(&told, Tell::Yes), count(&told, Tell::Last)), (59, 1));
            tokio::time::advance(Duration::from_secs(59)).await;
            assert_eq!(refusals.one_more(), Tell::No);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
