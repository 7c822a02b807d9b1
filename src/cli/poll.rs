//! Asking again and again until it is open, refused, or too late.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::answer::{Raw, Verdict};
use super::out::note;
use super::print::{self, Summary};
use crate::gate::state::State;

/// How long the gate may keep one request. Reasons that change meanwhile are seen at its end.
const LONG_POLL: u64 = 10;
/// How much longer than that an answer may take: new evidence, and then the store.
const GRACE: Duration = Duration::from_secs(15);
/// The shortest time between two questions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// The longest time between two questions to a gate that cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The shortest time between two lines that differ in the numbers of a progress only.
const NUMBERS_APART: Duration = Duration::from_secs(30);

/// Asks until `ask` brings what is final, or until the time is over; at least once. One line per
/// change on standard error, unless it shall be quiet. `ask` is given whole seconds that the gate
/// may keep the request, and how long its answer may take.
pub async fn poll(
    timeout: Duration,
    quiet: bool,
    mut ask: impl AsyncFnMut(u64, Duration) -> (Verdict, Option<Raw>),
) -> (Verdict, Option<Raw>) {
    let started = Instant::now();
    let deadline = started.checked_add(timeout);
    let left = || deadline.map_or(Duration::MAX, |deadline| deadline - Instant::now());
    let mut pause = SHORTEST_PAUSE;
    let mut told = Told::default();
    loop {
        let begun = Instant::now();
        let keep = LONG_POLL.min(left().as_secs());
        let within = Duration::from_secs(keep).saturating_add(GRACE);
        let within = within.min(left().max(Duration::from_secs(1)));
        let (verdict, raw) = ask(keep, within).await;
        if is_final(&verdict) {
            return (verdict, raw);
        }
        let summary = print::summary(&verdict);
        if !quiet && told.is_news(&summary, Instant::now()) {
            note(&format!("{:>6}s {summary}", started.elapsed().as_secs()));
        }
        pause = next_pause(&verdict, pause);
        let rest = pause.saturating_sub(begun.elapsed());
        if rest >= left() {
            sleep(left()).await;
            return (verdict, raw);
        }
        sleep(rest).await;
    }
}

/// What was told last, and when.
#[derive(Debug, Default)]
struct Told(Option<(Summary, Instant)>);

impl Told {
    /// Whether this has to be told: what says something else at once, what only counts on (a window
    /// that passes) now and then. It is taken for told then.
    fn is_news(&mut self, summary: &Summary, now: Instant) -> bool {
        let news = self.0.as_ref().is_none_or(|(last, at)| {
            let counts_on = summary != last && now.duration_since(*at) >= NUMBERS_APART;
            counts_on || !summary.is_like(last)
        });
        if news {
            self.0 = Some((summary.clone(), now));
        }
        news
    }
}

/// Whether asking again could not change anything for the better.
pub const fn is_final(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Says(State::Open, _) | Verdict::Refused(..) => true,
        Verdict::Says(State::Closed | State::Unknown, _)
        | Verdict::Contradicts(_)
        | Verdict::Unreachable(_) => false,
    }
}

/// How long after the last question the next one may come. A gate that keeps requests sets the
/// pace itself; one that answers at once (too many wait) or not at all is asked less and less.
fn next_pause(verdict: &Verdict, last: Duration) -> Duration {
    match verdict {
        Verdict::Says(..) => Duration::from_secs(1),
        Verdict::Contradicts(_) | Verdict::Unreachable(_) | Verdict::Refused(..) => {
            last.saturating_mul(2).min(LONGEST_PAUSE)
        }
    }
}
