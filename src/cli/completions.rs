//! `completions`: what a shell needs to complete our command line.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::out::{Exit, data};

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// Standard output that cannot be written to.
    pub fn run(&self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "upgrade-gate", &mut script);
        data(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Open)
    }
}
