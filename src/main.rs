//! The program: reads the command line, runs the command, ends with its code.

use std::process::ExitCode;

use clap::Parser;

use upgrade_gate::cli::{Cli, Exit, out};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => {
            out::note(&format!("error: failed to start the runtime: {error}"));
            Exit::Unknown
        }
    };
    exit.into()
}
