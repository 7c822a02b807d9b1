//! `lab fuzz`: the targets of `fuzz/` at length, counted in docs/proof/fuzz.json. Needs a nightly
//! toolchain and cargo-fuzz. What each target does and demands is in `fuzz/src/`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::prove::report::{self, Header};

/// What is fuzzed, and for how long.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which targets; none: all of them, one after the other
    targets: Vec<Target>,
    /// How many inputs each target gets in all; what the file counts already is not done again
    #[arg(long, default_value_t = 10_000_000)]
    runs: u64,
    /// Count from zero
    #[arg(long)]
    anew: bool,
}

/// Inputs between two writes of the file: a run that is interrupted goes on from there.
const ROUND: u64 = 500_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// A JMX exporter's page
    Jmx,
    /// Every decoder of Kafka's answers
    Kafka,
    /// One connection to the HTTP server
    Server,
    /// Configuration file and environment
    Config,
    /// What a server says to log in by SCRAM
    Scram,
    /// A token endpoint's answer and a token file
    Token,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Jmx => "jmx",
            Self::Kafka => "kafka",
            Self::Server => "server",
            Self::Config => "config",
            Self::Scram => "scram",
            Self::Token => "token",
        }
    }

    /// How it is built beside what is usual.
    const fn build(self) -> &'static [&'static str] {
        match self {
            Self::Jmx | Self::Kafka => &[],
            // Half of the time went into tracing comparisons, as of unknown names with known ones to
            // suggest one; corpora and dictionary have the names.
            Self::Server | Self::Config | Self::Scram | Self::Token => &["--no-trace-compares"],
        }
    }

    /// Bytes of an input at most: small ones are tried faster and are enough to reach all code. What
    /// grows with a cluster, pages and answers, has room for many entries, long names and big counts.
    const fn longest(self) -> u32 {
        match self {
            Self::Jmx | Self::Kafka => 4096,
            Self::Server | Self::Config => 512,
            Self::Scram | Self::Token => 256,
        }
    }
}

/// `docs/proof/fuzz.json`.
#[derive(Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    targets: BTreeMap<String, Record>,
}

/// The part of the file that other targets' runs leave as it is.
#[derive(Deserialize)]
struct Before {
    targets: BTreeMap<String, Record>,
}

/// What one target's run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The commit of the tree of the first inputs counted here.
    first_commit: String,
    /// The commit of the tree of the last ones.
    commit: String,
    /// When it ended, UTC.
    finished: String,
    /// Inputs tried.
    runs: u64,
    /// How long that took.
    seconds: u64,
    /// Bytes of an input at most, in the round with the shortest.
    longest_input: u32,
    /// Inputs kept because they reach code that no other does.
    corpus: u64,
    /// Edges of our program and its packages that were reached.
    edges: u64,
    /// The most memory the process held, megabytes.
    peak_megabytes: u64,
    /// Inputs that broke something, after which nothing more was tried.
    findings: u64,
}

/// Fuzzes and writes the file every now and then. Run in the project's folder.
///
/// # Errors
/// When cargo-fuzz cannot be run, or a target found something: its input is in `fuzz/artifacts`.
pub fn run(args: &Args) -> Result<()> {
    let targets = if args.targets.is_empty() {
        Target::value_variants()
    } else {
        &args.targets
    };
    let header = Header::new("fuzz", Vec::new());
    for target in targets {
        let name = target.name();
        // After a finding everything is another program: it is counted from zero.
        let known = before().remove(name).filter(|known| known.findings == 0);
        let mut record = known.filter(|_| !args.anew).unwrap_or_default();
        while record.runs < args.runs {
            record.add(
                fuzz(*target, ROUND.min(args.runs - record.runs))?,
                &header.commit,
            );
            // Another target may have been counted meanwhile.
            let mut targets = before();
            targets.insert(name.to_owned(), record.clone());
            let header = header.clone().ended();
            report::write("fuzz", &Proof { header, targets })?;
            ensure!(
                record.findings == 0,
                "get through without a finding: see fuzz/artifacts/{name}, and run `cargo +nightly fuzz run -s none {name} FILE`"
            );
        }
        println!(
            "{name}: {} inputs in {} s, nothing found",
            record.runs, record.seconds
        );
    }
    Ok(())
}

fn before() -> BTreeMap<String, Record> {
    let text = std::fs::read("docs/proof/fuzz.json").unwrap_or_default();
    serde_json::from_slice(&text).map_or_else(|_| BTreeMap::new(), |before: Before| before.targets)
}

/// One round.
fn fuzz(target: Target, runs: u64) -> Result<Record> {
    let dictionary = std::path::absolute("fuzz/dictionaries")
        .context("find fuzz/dictionaries")?
        .join(target.name());
    let dictionary = dictionary.exists().then_some(dictionary);
    // Without a sanitizer: the code has no `unsafe`, and memory is bounded by the targets.
    let mut cargo = Command::new("cargo");
    cargo
        .args(["+nightly", "fuzz", "run", "--sanitizer", "none"])
        .args(target.build())
        .args([target.name(), "--"])
        .arg(format!("-runs={runs}"))
        .arg(format!("-max_len={}", target.longest()))
        .args(["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .args(dictionary.map(|path| format!("-dict={}", path.display())))
        // Configurations are read from files: keep them in memory.
        .env("TMPDIR", "/dev/shm")
        .stderr(Stdio::piped());
    let mut child = cargo
        .spawn()
        .context("run cargo (install Rust's nightly and cargo-fuzz)")?;
    let mut record = Record {
        longest_input: target.longest(),
        ..Record::default()
    };
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.context("read what the fuzzer says")?;
            eprintln!("{line}");
            record.hear(&line);
        }
    }
    let status = child.wait().context("wait for the fuzzer")?;
    if record.findings == 0 && (!status.success() || record.runs < runs) {
        bail!(
            "fuzz {}: {status} after {} inputs",
            target.name(),
            record.runs
        );
    }
    record.finished = jiff::Timestamp::now().to_string();
    Ok(record)
}

impl Record {
    /// Counts one more round. What it reached includes what the rounds before reached, because
    /// their inputs are tried first.
    fn add(&mut self, round: Self, commit: &str) {
        let first = std::mem::take(&mut self.first_commit);
        let longest_input = if self.runs == 0 {
            round.longest_input
        } else {
            self.longest_input.min(round.longest_input)
        };
        *self = Self {
            longest_input,
            first_commit: if first.is_empty() {
                commit.to_owned()
            } else {
                first
            },
            commit: commit.to_owned(),
            runs: self.runs + round.runs,
            seconds: self.seconds + round.seconds,
            peak_megabytes: self.peak_megabytes.max(round.peak_megabytes),
            ..round
        };
    }

    /// Takes what libFuzzer says in one line of its log.
    fn hear(&mut self, line: &str) {
        let number = |name: &str| -> Option<u64> {
            let (_, rest) = line.split_once(name)?;
            rest.split_whitespace()
                .next()?
                .split('/')
                .next()?
                .parse()
                .ok()
        };
        let slots = [
            ("stat::number_of_executed_units:", &mut self.runs),
            (" runs in ", &mut self.seconds),
            (" corp: ", &mut self.corpus),
            (" cov: ", &mut self.edges),
            ("stat::peak_rss_mb:", &mut self.peak_megabytes),
        ];
        for (name, slot) in slots {
            *slot = number(name).unwrap_or(*slot);
        }
        if line.contains("SUMMARY: libFuzzer:") {
            self.findings += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_log_is_understood() {
        let mut record = Record::default();
        for line in [
            "#2097152\tpulse  cov: 7100 ft: 30011 corp: 1203/180Kb lim: 512 exec/s: 41120 rss: 97Mb",
            "#2200000\tDONE   cov: 7103 ft: 30020 corp: 1204/181Kb lim: 512 exec/s: 41509 rss: 97Mb",
            "Done 2200000 runs in 53 second(s)",
            "stat::number_of_executed_units: 2200000",
            "stat::peak_rss_mb:              98",
        ] {
            record.hear(line);
        }
        let read = (record.runs, record.seconds, record.corpus, record.edges);
        assert_eq!(read, (2_200_000, 53, 1204, 7103));
        assert_eq!((record.peak_megabytes, record.findings), (98, 0));
        record.longest_input = 512;
        let round = Record {
            longest_input: 4096,
            ..record.clone()
        };
        record.add(round.clone(), "c0ffee");
        assert_eq!(
            (record.runs, record.corpus, &*record.commit),
            (4_400_000, 1204, "c0ffee")
        );
        // What was tried with short inputs was not tried with long ones.
        assert_eq!(record.longest_input, 512);
        let mut anew = Record::default();
        anew.add(round, "c0ffee");
        assert_eq!(anew.longest_input, 4096);
        record.hear("SUMMARY: libFuzzer: deadly signal");
        assert_eq!(record.findings, 1);
    }
}
