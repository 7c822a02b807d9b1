//! `config check`, `config show`, `config schema`.

use clap::{Args, Subcommand};

use super::FileArg;
use super::out::{Exit, data, note};
use crate::config::{Loaded, Sources, schema};

/// The command's arguments.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Which of the three.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell everything that is wrong with the file, the environment, and the files that they name
    Check(FileArg),
    /// Show every value in force and where it comes from; secrets are masked
    Show(FileArg),
    /// Print the JSON schema of the file
    Schema,
}

impl ConfigArgs {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            ConfigCommand::Check(file) => {
                let loaded = load(&file)?;
                let bad = crate::app::bad_files(&loaded.settings);
                for problem in &bad {
                    note(&format!("error: {problem}"));
                }
                if !bad.is_empty() {
                    return Ok(Exit::Usage);
                }
                let gates: Vec<_> = loaded
                    .settings
                    .gates
                    .keys()
                    .map(ToString::to_string)
                    .collect();
                let noun = if gates.len() == 1 { "gate" } else { "gates" };
                data(&format!(
                    "good: {} {noun} ({})\n",
                    gates.len(),
                    gates.join(", ")
                ))?;
            }
            ConfigCommand::Show(file) => data(&load(&file)?.effective.to_yaml())?,
            ConfigCommand::Schema => data(&format!("{:#}\n", schema::schema()))?,
        }
        Ok(Exit::Open)
    }
}

fn load(file: &FileArg) -> anyhow::Result<Loaded> {
    Ok(Sources::of_process(file.file.as_deref()).load()?)
}
