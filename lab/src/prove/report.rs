//! What every proof's file holds beside its own results.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// How and when a proof was made.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// The proof's name: `lab prove NAME` makes it again.
    pub name: String,
    /// The command that made it.
    pub command: String,
    /// The commit of the tree it ran from; `-dirty` when there was more.
    pub commit: String,
    /// When it ended, UTC.
    pub finished: String,
    /// Kafka's release, or releases; none where no Kafka took part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kafka: Vec<String>,
    /// What `java -version` says first, where Kafka took part.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub java: String,
    /// Cores of the machine, and its load average at the end.
    pub machine: String,
}

impl Header {
    /// A header as of now, when the proof begins: the commit is the one that runs.
    pub fn new(name: &str, kafka: Vec<String>) -> Self {
        let command: Vec<String> = std::env::args().skip(1).collect();
        Self {
            name: name.to_owned(),
            command: format!("lab {}", command.join(" ")),
            commit: commit(),
            finished: jiff::Timestamp::now().to_string(),
            java: if kafka.is_empty() {
                String::new()
            } else {
                java()
            },
            kafka,
            machine: machine(),
        }
    }
}

impl Header {
    /// The same header at the proof's end.
    #[must_use]
    pub fn ended(mut self) -> Self {
        self.finished = jiff::Timestamp::now().to_string();
        self.machine = machine();
        self
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!("{cores} cores, load {load}")
}

fn said(command: &mut Command) -> String {
    let output = command.output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    output.map_or_else(
        |_| String::new(),
        |output| {
            let out = text(&output.stdout);
            if out.is_empty() {
                text(&output.stderr)
            } else {
                out
            }
        },
    )
}

/// Where a change makes another program.
const CODE: [&str; 7] = [
    "src",
    "lab",
    "benches",
    "fuzz/src",
    "fuzz/fuzz_targets",
    "Cargo.toml",
    "Cargo.lock",
];

fn commit() -> String {
    let hash = said(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    // The proof's own output does not make the tree another one.
    let changed = said(
        Command::new("git")
            .args(["status", "--porcelain", "--"])
            .args(CODE),
    );
    if changed.is_empty() {
        hash
    } else {
        format!("{hash}-dirty")
    }
}

fn java() -> String {
    let said = said(Command::new("java").arg("-version"));
    said.lines().next().unwrap_or_default().to_owned()
}

/// Milliseconds, sorted into what a reader wants to know.
#[derive(Clone, Debug, Serialize)]
pub struct Distribution {
    pub count: usize,
    pub min: f64,
    pub median: f64,
    pub p90: f64,
    pub max: f64,
    pub all: Vec<f64>,
}

impl Distribution {
    /// Of these spans, in milliseconds; `None` of nothing.
    pub fn of(spans: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut all: Vec<f64> = spans
            .into_iter()
            .map(|span| (span.as_secs_f64() * 10_000.0).round() / 10.0)
            .collect();
        all.sort_by(f64::total_cmp);
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index into a short list"
            )]
            let index = ((all.len().saturating_sub(1)) as f64 * share).round() as usize;
            all.get(index).copied()
        };
        Some(Self {
            count: all.len(),
            min: *all.first()?,
            median: at(0.5)?,
            p90: at(0.9)?,
            max: *all.last()?,
            all,
        })
    }
}

/// Writes `docs/proof/NAME.json` in the working directory's tree.
pub fn write<T: Serialize>(name: &str, proof: &T) -> Result<PathBuf> {
    let folder = Path::new("docs/proof");
    std::fs::create_dir_all(folder)
        .context("make docs/proof (run this in the project's folder)")?;
    let path = folder.join(format!("{name}.json"));
    let mut text = serde_json::to_string_pretty(proof)?;
    text.push('\n');
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_sorted_and_in_milliseconds() {
        let spans = [3, 1, 2].map(Duration::from_secs);
        let of = Distribution::of(spans).unwrap();
        assert_eq!((of.min, of.median, of.max), (1000.0, 2000.0, 3000.0));
        assert!(Distribution::of([]).is_none());
    }
}
