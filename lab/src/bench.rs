//! `lab bench NAME`: one of `benches/`, measured in release and written to docs/proof with what
//! it was measured on. The measuring itself is in `benches/`.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::prove::report::{self, Header};

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which benchmark
    what: What,
    /// How many rounds, each of ours and the peer in turn; the benchmark's own number by default
    #[arg(long)]
    rounds: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The scanner on a recorded page of 1 MB, beside prometheus-parse
    Jmx,
    /// Metadata of 50,000 partitions, beside the kafka-protocol crate's decoder
    Metadata,
    /// What `check` costs, beside a bare hyper server
    Check,
    /// The what-if of 30 brokers over 50,000 and 200,000 partitions, beside one question per node
    #[value(name = "what-if")]
    Stops,
    /// All of them
    All,
}

impl What {
    /// The benchmarks, and the packages whose versions matter to each.
    const fn measured(self) -> &'static [(&'static str, &'static [&'static str])] {
        const JMX: (&str, &[&str]) = ("jmx", &["prometheus-parse", "memchr"]);
        const METADATA: (&str, &[&str]) = ("metadata", &["kafka-protocol"]);
        const CHECK: (&str, &[&str]) = ("check", &["hyper", "tokio"]);
        const WHAT_IF: (&str, &[&str]) = ("what_if", &["kafka-protocol"]);
        match self {
            Self::Jmx => &[JMX],
            Self::Metadata => &[METADATA],
            Self::Check => &[CHECK],
            Self::Stops => &[WHAT_IF],
            Self::All => &[JMX, METADATA, CHECK, WHAT_IF],
        }
    }
}

#[derive(Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    /// What `rustc -V` says.
    rustc: String,
    /// Packages measured and measured against.
    versions: BTreeMap<&'static str, String>,
    /// What the benchmark reports.
    #[serde(flatten)]
    measured: Map<String, Value>,
}

/// Measures and writes the files. Run in the project's folder.
///
/// # Errors
/// When a benchmark cannot be built or run, or its file cannot be written.
pub fn run(args: &Args) -> Result<()> {
    for (name, packages) in args.what.measured() {
        let name_of_proof = format!("bench-{}", name.replace('_', "-"));
        let header = Header::new(&name_of_proof, Vec::new());
        let proof = Proof {
            versions: versions(packages)?,
            rustc: rustc()?,
            measured: measure(name, args.rounds)?,
            header: header.ended(),
        };
        println!("{}", serde_json::to_string_pretty(&proof)?);
        let path = report::write(&name_of_proof, &proof)?;
        println!("{name}: written to {}", path.display());
    }
    Ok(())
}

fn measure(name: &str, rounds: Option<u32>) -> Result<Map<String, Value>> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "bench",
        "--workspace",
        "--locked",
        "--quiet",
        "--bench",
        name,
    ]);
    if let Some(rounds) = rounds {
        cargo.args(["--", "--rounds", &rounds.to_string()]);
    }
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.context("run cargo (install the Rust toolchain)")?;
    ensure!(
        output.status.success(),
        "run the benchmark {name}: {}",
        output.status
    );
    match serde_json::from_slice(&output.stdout) {
        Ok(Value::Object(measured)) => Ok(measured),
        Ok(_) | Err(_) => bail!("read the benchmark's report: it is no JSON object"),
    }
}

fn rustc() -> Result<String> {
    let said = Command::new("rustc").arg("-V").output();
    let said = said.context("run rustc (install the Rust toolchain)")?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// The locked versions of these packages.
fn versions(packages: &[&'static str]) -> Result<BTreeMap<&'static str, String>> {
    let lock = std::fs::read_to_string("Cargo.lock");
    let lock = lock.context("read Cargo.lock (run this in the project's folder)")?;
    let version = |package: &&'static str| {
        let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        let (version, _) = rest.split_once('"')?;
        Some((*package, version.to_owned()))
    };
    let found = packages
        .iter()
        .map(|package| version(package).with_context(|| format!("find {package} in Cargo.lock")));
    found.collect()
}
