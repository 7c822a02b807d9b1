//! `check`: ask a gate once, or judge once without one.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::answer::{Asked, Raw, Verdict};
use super::ask::{ActionArg, AskArgs, NodeArgs, ask, duration};
use super::out::{Exit, note, plain};
use super::print;
use super::serve::{GateArgs, flag};
use crate::app::one_shot::{OneShot, Remembered, one_shot};
use crate::clock::{Clock, SystemClock};
use crate::config::Sources;
use crate::config::problem::ConfigError;
use crate::config::settings::Settings;
use crate::gate::lease::Action;
use crate::server::body::CheckBody;

/// How long a gate's answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How much longer than its window judging without a gate may take.
const BESIDE_WINDOW: Duration = Duration::from_mins(1);
/// The window of stock settings: 1.5 x `replica.lag.time.max.ms` and one metadata interval.
const STOCK_WINDOW: Duration = Duration::from_secs(46);

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// About which nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// What for.
    #[command(flatten)]
    pub what: ActionArg,
    /// How long the answer may take; by default 10s, without a gate the window and a minute
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// What to judge without a gate.
    #[command(
        flatten,
        next_help_heading = "Without a gate: judge here, in this process"
    )]
    pub gate: GateArgs,
    /// Folder of a gate's durable state: its leases and holds count; nothing in it is changed
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Without a gate: judge here, in this process"
    )]
    pub data_dir: Option<String>,
}

impl CheckArgs {
    /// Asks, prints, and says how it ended.
    ///
    /// # Errors
    /// A bad configuration, or a judgement that could not be made.
    pub async fn run(self) -> Result<Exit> {
        let asked = Asked {
            action: self.what.action,
            ..self.ask.asked(&self.nodes)
        };
        if self.gate.is_given() && !asked.hosts.is_empty() {
            note("error: --host is what a gate's configuration names; here give --node");
            return Ok(Exit::Usage);
        }
        if self.gate.is_given() && asked.action == Action::Repair {
            note(
                "error: --action repair is answered by a gate that runs, by what it has seen until now",
            );
            return Ok(Exit::Usage);
        }
        if self.data_dir.is_some() && !self.gate.is_given() {
            note("error: --data-dir is for a judgement without a gate: give --bootstrap as well");
            return Ok(Exit::Usage);
        }
        let (verdict, raw) = if self.gate.is_given() {
            let (verdict, raw) = self.judge(&asked).await?;
            (verdict, Some(raw))
        } else {
            let client = self.ask.client()?;
            ask(&client, &asked, 0, self.timeout.unwrap_or(ANSWER)).await
        };
        print::verdict(&self.ask, &asked, &verdict, raw.as_ref())?;
        Ok(verdict.exit())
    }

    /// Judges in this process until it opens or the time is over.
    async fn judge(&self, asked: &Asked) -> Result<(Verdict, Raw)> {
        let settings = self.settings()?;
        let gate = settings.gates.get(&self.ask.whom.gate);
        let window = gate.and_then(|gate| gate.policy.window);
        let window = window.unwrap_or(STOCK_WINDOW);
        let patience = window.saturating_add(BESIDE_WINDOW);
        let patience = self.timeout.unwrap_or(patience);
        let began = SystemClock.now().mono;
        let progress = |seen: &OneShot| {
            let Ok((verdict, _)) = spoken(asked, seen) else {
                return;
            };
            let elapsed = SystemClock.now().mono.since(began).as_secs();
            if !self.ask.quiet && !self.ask.json {
                note(&format!("{elapsed:>6}s {}", print::summary(&verdict)));
            }
        };
        let remembered = Remembered::look(&settings)?;
        if let Remembered::Nothing(why) = &remembered
            && !self.ask.quiet
        {
            note(&plain(&format!(
                "warning: leases and holds are not known here, and count for nothing: {why}"
            )));
        }
        let nodes = asked.nodes.clone();
        let seen = one_shot(&settings, &remembered, nodes, patience, progress).await?;
        spoken(asked, &seen)
    }

    /// The settings of the one gate that the flags are about.
    fn settings(&self) -> Result<Settings, ConfigError> {
        let mut flags = self.gate.flags(self.ask.whom.gate.as_str());
        flags.extend(flag("--data-dir", &["data_dir"], self.data_dir.as_ref()));
        let sources = Sources {
            flags,
            ..Sources::of_process(None)
        };
        let mut settings = sources.load()?.settings;
        settings.gates.retain(|name, _| *name == self.ask.whom.gate);
        Ok(settings)
    }
}

/// A judgement in the words of a gate's answer.
fn spoken(asked: &Asked, seen: &OneShot) -> Result<(Verdict, Raw)> {
    let now = SystemClock.now();
    let body = CheckBody::of_decision(
        &seen.gate,
        &asked.nodes,
        seen.decision.clone(),
        seen.evaluated,
        &seen.blind_spots,
        now,
    );
    let body = serde_json::to_vec(&body).context("failed to write the verdict")?;
    let read = serde_json::from_slice(&body).context("failed to read the verdict back")?;
    let verdict = Verdict::Says(seen.decision.state, Box::new(read));
    let raw = Raw {
        body,
        ..Raw::default()
    };
    Ok((verdict, raw))
}
