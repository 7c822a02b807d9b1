//! `check`: ask once.

use std::time::Duration;

use clap::Args;

use super::ask::{AskArgs, NodeArgs, ask, duration};
use super::out::Exit;
use super::print;

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// About which nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

impl CheckArgs {
    /// Asks, prints, and says how it ended.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let client = self.ask.client()?;
        let asked = self.ask.asked(&self.nodes);
        let (verdict, raw) = ask(&client, &asked, 0, self.timeout).await;
        print::verdict(&self.ask, &asked, &verdict, raw.as_ref())?;
        Ok(verdict.exit())
    }
}
