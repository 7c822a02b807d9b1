//! `history`: what a gate decided, and when.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::{self, Raw, Verdict};
use super::ask::{AskArgs, NodeArgs, duration};
use super::out::{Exit, data, note, plain};

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// How many entries, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
    /// Only entries with a smaller number
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// What the history says, as far as it is printed.
#[derive(Debug, Deserialize)]
struct History {
    gate: String,
    entries: Vec<Entry>,
    next_before: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    number: u64,
    at: String,
    kind: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl HistoryArgs {
    /// Asks and prints; 0 when there was an answer.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let client = self.ask.client()?;
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.before.map(|before| ("before", before.to_string())));
        let raw = client
            .get(self.ask.whom.gate.as_str(), "history", &query, self.timeout)
            .await;
        let read = raw
            .map_err(Verdict::Unreachable)
            .and_then(|raw| self.read(&raw).map(|history| (raw, history)));
        match read {
            Ok((raw, _)) if self.ask.json => {
                data(&format!("{}\n", String::from_utf8_lossy(&raw.body)))?;
                Ok(Exit::Open)
            }
            Ok((_, history)) => {
                if !self.ask.quiet {
                    history.print()?;
                }
                Ok(Exit::Open)
            }
            Err(verdict) => {
                if let Some(why) = why(&verdict).filter(|_| !self.ask.quiet) {
                    note(&format!("{}: {}", self.ask.whom.url, plain(why)));
                }
                Ok(verdict.exit())
            }
        }
    }

    /// The history, when the answer is one.
    fn read(&self, raw: &Raw) -> Result<History, Verdict> {
        if raw.status != 200 {
            // The same words as for a verdict that is none.
            return Err(answer::read(&self.ask.asked(&NodeArgs::default()), raw));
        }
        let history: History = serde_json::from_slice(&raw.body).map_err(|error| {
            Verdict::Contradicts(format!("HTTP 200 with a body that is no history: {error}"))
        })?;
        if history.gate != self.ask.whom.gate.as_str() {
            let what = format!(
                "gate {:?} answers, {} was asked",
                history.gate, self.ask.whom.gate
            );
            return Err(Verdict::Contradicts(what));
        }
        Ok(history)
    }
}

/// Why there is no history. A verdict is none either.
fn why(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Says(..) => None,
        Verdict::Contradicts(why) | Verdict::Unreachable(why) | Verdict::Refused(_, why) => {
            Some(why)
        }
    }
}

impl History {
    fn print(&self) -> anyhow::Result<()> {
        let lines: String = self.entries.iter().map(Entry::line).collect();
        data(&lines)?;
        if let Some(before) = self.next_before {
            note(&format!("older entries: --before {before}"));
        }
        Ok(())
    }
}

impl Entry {
    fn line(&self) -> String {
        let mut line = format!("{} #{:<6} {:<12}", self.at, self.number, self.kind);
        for (name, value) in &self.rest {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            line.extend([" ", name.as_str(), "=", value.as_str()]);
        }
        format!("{}\n", plain(line.trim_end()))
    }
}
