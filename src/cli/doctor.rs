//! `doctor`: looks at a cluster as a gate would, and says what is missing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::ask::duration;
use super::out::{Exit, data, note, plain};
use super::serve::ServeArgs;
use crate::doctor::Patient;
use crate::doctor::gather::gather;
use crate::doctor::report::Report;

/// The command's arguments.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Configuration file: YAML, JSON or TOML
    #[command(flatten)]
    pub serve: ServeArgs,
    /// How long to look at most; every source is heard once within some seconds
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub timeout: Duration,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

impl DoctorArgs {
    /// Looks at every gate of the configuration, or at the one that is named.
    ///
    /// # Errors
    /// A bad configuration; a report that cannot be written.
    pub async fn run(self) -> Result<Exit> {
        let loaded = self.serve.load()?;
        let settings = loaded.settings;
        let data_dir: Option<PathBuf> = settings.data_dir.clone();
        let mut gates = settings.gates;
        if let Some(wanted) = &self.serve.gate_name {
            let names: Vec<_> = gates.keys().map(ToString::to_string).collect();
            gates.retain(|gate, _| gate.as_str() == wanted);
            if gates.is_empty() {
                let names = names.join(", ");
                note(&format!(
                    "error: no gate is called {wanted}; there are: {names}"
                ));
                return Ok(Exit::Usage);
            }
        }
        let mut reports = Vec::new();
        for (gate, of_gate) in gates {
            if !self.json {
                note(&format!("looking at the cluster of gate {gate} ..."));
            }
            let patient = Patient {
                gate,
                settings: of_gate,
                limits: settings.limits,
                data_dir: data_dir.clone(),
                patience: self.timeout,
            };
            reports.push(Report::new(&patient, &gather(&patient).await));
        }
        if self.json {
            let text =
                serde_json::to_string_pretty(&reports).context("failed to write the report")?;
            data(&format!("{text}\n"))?;
        } else {
            for report in &reports {
                let lines = report.to_string();
                let lines: Vec<_> = lines.lines().map(plain).collect();
                data(&format!("{}\n", lines.join("\n")))?;
            }
        }
        Ok(if reports.iter().all(|report| report.ok) {
            Exit::Open
        } else {
            Exit::Closed
        })
    }
}
