//! The program: reads the command line, runs the command, ends with its code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use upgrade_gate::cli::{Cli, Exit, out};

/// How long threads that read files may go on once everything else has ended: one that waits for a
/// mount which hangs would keep the process for ever.
const LAST_READS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(cli.run());
            runtime.shutdown_timeout(LAST_READS);
            exit
        }
        Err(error) => {
            out::note(&format!("error: failed to start the runtime: {error}"));
            Exit::Unknown
        }
    };
    exit.into()
}
