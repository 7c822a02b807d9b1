//! The command line.

mod record;

use clap::{Parser, Subcommand};

use lab::Release;
use lab::artifacts::Cache;

/// Real Kafka clusters on loopback: start, stop, kill, freeze, cut, load.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch Kafka releases and the JMX exporter into the cache
    Fetch {
        /// Such as 3.9.2; none: every release the lab knows
        releases: Vec<Release>,
    },
    /// Record pages of the real JMX exporter as raw material for fixtures
    Record(record::Args),
}

impl Cli {
    /// Does what was asked for.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Fetch { releases } => fetch(releases).await,
            Command::Record(args) => record::run(args).await,
        }
    }
}

async fn fetch(releases: Vec<Release>) -> anyhow::Result<()> {
    let wanted = if releases.is_empty() { Release::KNOWN.to_vec() } else { releases };
    let fetched = tokio::task::spawn_blocking(move || {
        let cache = Cache::open()?;
        cache.jmx_agent()?;
        for release in wanted {
            cache.kafka(release)?;
            println!("Kafka {release}: in {}", cache.root().display());
        }
        anyhow::Ok(())
    });
    fetched.await?
}
