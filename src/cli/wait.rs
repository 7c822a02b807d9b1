//! `wait`: ask until the gate opens or the time is over.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::answer::{Raw, Verdict};
use super::ask::{AskArgs, NodeArgs, ask, duration};
use super::out::{Exit, note};
use super::print;
use crate::gate::state::State;

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// About which nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// How long to wait in all; a gate that cannot be reached is waited for as well
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub timeout: Duration,
}

/// How long the gate may keep one request. Reasons that change meanwhile are seen at its end.
const LONG_POLL: u64 = 10;
/// How much longer than that an answer may take.
const GRACE: Duration = Duration::from_secs(10);
/// The shortest time between two questions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// The longest time between two questions to a gate that cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl WaitArgs {
    /// Asks until it is open, refused, or too late; one line per change on standard error.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let client = self.ask.client()?;
        let asked = self.ask.asked(&self.nodes);
        let started = Instant::now();
        let deadline = started.checked_add(self.timeout);
        let left = || deadline.map_or(Duration::MAX, |deadline| deadline - Instant::now());
        let mut pause = SHORTEST_PAUSE;
        let mut told = String::new();
        loop {
            let begun = Instant::now();
            let poll = LONG_POLL.min(left().as_secs());
            let within = Duration::from_secs(poll).saturating_add(GRACE);
            let within = within.min(left().max(Duration::from_secs(1)));
            let (verdict, raw) = ask(&client, &asked, poll, within).await;
            if is_final(&verdict) {
                return self.end(&asked, &verdict, raw.as_ref());
            }
            let summary = print::summary(&verdict);
            if summary != told && !self.ask.quiet {
                note(&format!("{:>6}s {summary}", started.elapsed().as_secs()));
                told = summary;
            }
            pause = next_pause(&verdict, pause);
            let rest = pause.saturating_sub(begun.elapsed());
            if rest >= left() {
                sleep(left()).await;
                return self.end(&asked, &verdict, raw.as_ref());
            }
            sleep(rest).await;
        }
    }

    fn end(
        &self,
        asked: &super::answer::Asked,
        verdict: &Verdict,
        raw: Option<&Raw>,
    ) -> anyhow::Result<Exit> {
        print::verdict(&self.ask, asked, verdict, raw)?;
        Ok(verdict.exit())
    }
}

/// Whether asking again could not change anything for the better.
const fn is_final(verdict: &Verdict) -> bool {
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
