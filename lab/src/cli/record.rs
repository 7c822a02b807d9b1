//! `lab record`.

use std::path::PathBuf;
use std::time::Instant;

use lab::record;

/// Which pages, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for FAMILY/RELEASE/ROLE-PHASE-N.prom
    #[arg(long)]
    out: PathBuf,
    /// Only clusters whose description contains this, for example "lower" or "4.3.1"
    #[arg(long)]
    only: Option<String>,
}

/// Runs one cluster after the other.
pub async fn run(args: Args) -> anyhow::Result<()> {
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
