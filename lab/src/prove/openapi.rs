//! The proof `openapi`: schemathesis makes requests out of the gate's own OpenAPI document, valid
//! ones and others, and holds the answers against it; once as somebody who may do everything, once
//! as somebody who may only read. Needs python3 and PyPI, no Kafka.

mod by_hand;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::process::Command;

use super::attacks::Stand;
use super::report::{Header, write};

/// The release of schemathesis that is run.
const RELEASE: &str = "4.32.5";

/// A gate that is closed or unknown says 503, and a name of a node or machine that there is not is a
/// 400 although it looks like one: neither is a failure here. What is 500 and above is looked at below.
const NOT_CHECKED: &str = "not_a_server_error,positive_data_acceptance";

/// Its environment, made on first use.
const VENV: &str = "target/schemathesis";

const TOKEN: &str = "0123456789abcdef-of-the-proof";
const READER: &str = "0123456789abcdef-of-the-reader";

/// What is proven.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Requests that are made up for each operation, at most, beside the document's examples and
    /// the corner cases
    #[arg(long, default_value_t = 100)]
    pub examples: u32,
}

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    schemathesis: &'static str,
    requests: usize,
    /// By operation, then by status.
    operations: Operations,
    /// The same of requests that were made by hand, so that each succeeds.
    by_hand: Operations,
    /// The same as somebody who may only read.
    to_a_reader: Reader,
    /// Answers of 500 and above that are not the gate's own 503, in all.
    server_errors: usize,
    /// Whether every check of schemathesis passed but those named in `not_checked`.
    passed: bool,
    not_checked: &'static str,
}

#[derive(Debug, Serialize)]
struct Reader {
    requests: usize,
    operations: Operations,
    /// The same; not demanded, because most is 403 to a reader.
    passed: bool,
}

#[derive(Deserialize)]
struct Har {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Asked,
    response: Answer,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    url: String,
}

#[derive(Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    value: String,
}

/// Makes the proof.
///
/// # Errors
/// When schemathesis cannot be had, or a check of it fails.
pub async fn run(args: &Args) -> Result<()> {
    let header = Header::new("openapi", Vec::new());
    let program = installed().await?;
    let folder = tempfile::tempdir()?;
    let [token, reader] = ["token", "reader"].map(|name| folder.path().join(name));
    std::fs::write(&token, TOKEN)?;
    std::fs::write(&reader, READER)?;
    let stand = Stand::of(4, |config| {
        config["auth"] = json!({"tokens": {
            "proof": {"file": token, "rights": "admin"},
            "reader": {"file": reader, "rights": "read"},
        }});
        config["reload_enabled"] = json!(true);
        // So that `wait` does not keep the requests.
        config["limits"] = json!({"waiters": 0, "requests_per_second": 0});
        // Nobody retires a node that the configuration names.
        if let Some(targets) = config["gates"]["default"]["jmx"]["targets"].as_object_mut() {
            targets.remove(&by_hand::RETIRED.to_string());
        }
    })
    .await?;
    let hand = by_hand::ask(&stand, TOKEN).await?;
    let port = stand.gate.port();
    let (told, passed) = examined(&program, port, TOKEN, args).await?;
    let (to_reader, reader_passed) = examined(&program, port, READER, args).await?;
    let errors = [&hand, &told, &to_reader].map(|told| told.server_errors);
    let proof = Proof {
        header: header.ended(),
        schemathesis: RELEASE,
        requests: told.requests(),
        by_hand: hand.operations,
        to_a_reader: Reader {
            requests: to_reader.requests(),
            operations: to_reader.operations,
            passed: reader_passed,
        },
        operations: told.operations,
        server_errors: errors.into_iter().sum(),
        passed,
        not_checked: NOT_CHECKED,
    };
    let path = write("openapi", &proof)?;
    tracing::info!(path = %path.display(), requests = proof.requests, "written");
    ensure!(
        proof.server_errors == 0,
        "{} answers were server errors",
        proof.server_errors
    );
    ensure!(proof.passed, "schemathesis found something: see above");
    Ok(())
}

/// What schemathesis was told with this token, and whether its checks passed.
async fn examined(program: &Path, port: u16, token: &str, args: &Args) -> Result<(Told, bool)> {
    let folder = tempfile::tempdir()?;
    let url = format!("http://127.0.0.1:{port}/api/v1/openapi.json");
    let status = Command::new(program)
        .args(["run", &url, "--checks", "all"])
        .args(["--exclude-checks", NOT_CHECKED])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "1"])
        .args(["--max-examples", &args.examples.to_string()])
        .args(["--continue-on-failure", "--suppress-health-check", "all"])
        .args(["--request-timeout", "30", "--no-color", "--workers", "2"])
        .args(["--report", "har", "--report-dir"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .status()
        .await
        .context("run schemathesis")?;
    Ok((told(folder.path())?, status.success()))
}

/// Schemathesis in an environment of its own.
async fn installed() -> Result<PathBuf> {
    let venv = Path::new(VENV);
    let program = venv.join("bin/st");
    let run = async |program: &Path, args: &[&str]| -> Result<()> {
        let done = Command::new(program).args(args).status().await;
        let done = done.with_context(|| format!("run {}", program.display()))?;
        ensure!(
            done.success(),
            "{} {} failed",
            program.display(),
            args.join(" ")
        );
        Ok(())
    };
    if !program.exists() {
        run(Path::new("python3"), &["-m", "venv", VENV]).await?;
        let package = format!("schemathesis=={RELEASE}");
        run(&venv.join("bin/pip"), &["install", "--quiet", &package]).await?;
    }
    Ok(program)
}

type Operations = BTreeMap<String, BTreeMap<u16, usize>>;

/// What was asked and answered.
#[derive(Debug, Default)]
struct Told {
    operations: Operations,
    server_errors: usize,
}

impl Told {
    /// One answer more; `own`: the gate says so itself.
    fn take(&mut self, method: &str, url: &str, status: u16, own: bool) {
        if status >= 500 && (status != 503 || !own) {
            tracing::warn!(status, method, url);
            self.server_errors += 1;
        }
        let name = format!("{method} {}", place(url));
        let statuses = self.operations.entry(name).or_default();
        *statuses.entry(status).or_default() += 1;
    }

    fn requests(&self) -> usize {
        self.operations.values().flat_map(BTreeMap::values).sum()
    }
}

/// The same, from the report.
fn told(folder: &Path) -> Result<Told> {
    let mut files = std::fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|file| file.path());
    let report = files.find(|path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"har"))
    });
    let report = report.context("find the report of schemathesis")?;
    let har: Har = serde_json::from_slice(&std::fs::read(&report)?).context("read the report")?;
    let mut told = Told::default();
    for Entry { request, response } in har.log.entries {
        let own = response.headers.iter().any(|field| {
            field.name.eq_ignore_ascii_case("upgrade-gate-state") && field.value != "open"
        });
        told.take(&request.method, &request.url, response.status, own);
    }
    Ok(told)
}

/// The path with names that were made up left out.
fn place(url: &str) -> String {
    let path = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split_once('/'));
    let path = path
        .map_or("", |(_, path)| path)
        .split(['?', '#'])
        .next()
        .unwrap_or_default();
    let known = [
        "api", "v1", "gates", "check", "plan", "leases", "renew", "enter", "leave", "hold",
    ];
    let more = [
        "nodes",
        "history",
        "metrics",
        "-",
        "healthy",
        "ready",
        "reload",
        "openapi.json",
    ];
    let parts = path.split('/').map(|part| {
        let is_known = part.is_empty() || known.contains(&part) || more.contains(&part);
        if is_known { part } else { "*" }
    });
    format!("/{}", parts.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gates_own_503_is_no_server_error() {
        let mut told = Told::default();
        for (status, own) in [(200, false), (503, true), (503, false), (500, true)] {
            told.take("POST", "http://127.0.0.1:1/-/reload", status, own);
        }
        assert_eq!((told.server_errors, told.requests()), (2, 4));
        let statuses = BTreeMap::from([(200, 1), (500, 1), (503, 2)]);
        assert_eq!(told.operations["POST /-/reload"], statuses);
    }

    #[test]
    fn made_up_names_are_left_out() {
        assert_eq!(place("http://127.0.0.1:1/"), "/");
        assert_eq!(
            place("http://127.0.0.1:1/api/v1/gates/xyz/leases/7?by=ann"),
            "/api/v1/gates/*/leases/*"
        );
    }
}
