//! `lab record WHAT`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Subcommand;

use lab::traces::{self, Trace};
use lab::{Release, record};

/// What is recorded.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Pages of the real JMX exporter, the raw material of the parser's fixtures
    Pages(Pages),
    /// How a broker's end and return look from outside, to hold the simulated cluster to
    Traces(Traces),
}

/// Which pages, and where to.
#[derive(Debug, clap::Args)]
pub struct Pages {
    /// Folder for FAMILY/RELEASE/ROLE-PHASE-N.prom
    #[arg(long)]
    out: PathBuf,
    /// Only clusters whose description contains this, for example "lower" or "4.3.1"
    #[arg(long)]
    only: Option<String>,
}

/// Which traces, and where to.
#[derive(Debug, clap::Args)]
pub struct Traces {
    /// Folder for kill.json, stop.json, stop-idle.json and return.json
    #[arg(long)]
    out: PathBuf,
    /// Only these; repeatable
    #[arg(long, value_enum)]
    only: Vec<Trace>,
    /// How often each is recorded
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value = "3.9.2")]
    release: Release,
}

impl What {
    /// Records it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Pages(args) => pages(args).await,
            Self::Traces(args) => {
                let wanted = if args.only.is_empty() {
                    &Trace::ALL
                } else {
                    args.only.as_slice()
                };
                traces::record(&args.out, wanted, args.rounds, args.release).await
            }
        }
    }
}

/// Runs one cluster after the other.
async fn pages(args: Pages) -> anyhow::Result<()> {
    for spec in record::everything() {
        let name = format!("{} {} {:?}", spec.rules.name(), spec.release, spec.layout);
        if args
            .only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            continue;
        }
        let begun = Instant::now();
        let pages = record::record(spec, &args.out).await?;
        println!(
            "{name}: {pages} pages in {:.0} s",
            begun.elapsed().as_secs_f32()
        );
    }
    Ok(())
}
