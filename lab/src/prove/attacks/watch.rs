//! What a caller of `check` sees while something goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::{Certificate, Client};
use serde::Serialize;
use serde_json::Value;

/// How often the verdict is asked for.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// Asks one gate over one connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    client: Client,
    base: String,
}

/// What was seen.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seen {
    /// Answers, by what they said; `none`: no answer of a gate.
    pub(super) said: BTreeMap<String, usize>,
    /// Codes of what kept it shut, in the last answer that was not open.
    pub(super) codes: Vec<String>,
    /// The longest time an answer took, milliseconds.
    pub(super) worst_check_ms: f64,
    /// Every answer of the gate, in order.
    #[serde(skip)]
    pub(super) looks: Looks,
}

/// Answers; too many to be written out.
#[derive(Default)]
pub(super) struct Looks(Vec<Look>);

impl Deref for Looks {
    type Target = [Look];

    fn deref(&self) -> &[Look] {
        &self.0
    }
}

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers", self.0.len())
    }
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) asked: Instant,
    pub(super) seen: Instant,
    pub(super) is_open: bool,
}

impl Caller {
    /// Over plain HTTP, or over TLS where there is a CA.
    pub(super) fn new(port: u16, ca: Option<&[u8]>) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().no_proxy().timeout(Duration::from_secs(5));
        let (scheme, certificates) = match ca {
            Some(ca) => ("https", vec![Certificate::from_pem(ca)?]),
            None => ("http", Vec::new()),
        };
        let client = builder.tls_certs_only(certificates).build()?;
        Ok(Self {
            client,
            base: format!("{scheme}://127.0.0.1:{port}"),
        })
    }

    /// One answer of `check`: its state by header and body, and why.
    pub(super) async fn check(&self) -> Result<(String, Vec<String>)> {
        let url = format!("{}/api/v1/gates/default/check", self.base);
        let answer = self.client.get(url).send().await?;
        let header = answer.headers().get("upgrade-gate-state").cloned();
        let open = answer.status().as_u16() == 200;
        let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let state = header.context("no state")?.to_str()?.to_owned();
        anyhow::ensure!(
            open == (state == "open") && body["open"] == open,
            "{state} {body}"
        );
        let reasons = body["reasons"].as_array().into_iter().flatten();
        let codes = reasons
            .filter(|reason| reason["severity"] != "warn")
            .filter_map(|reason| reason["code"].as_str().map(str::to_owned));
        Ok((state, codes.collect()))
    }

    /// Asks until `attack` or the time ends.
    pub(super) async fn watch(
        &self,
        span: Duration,
        attack: impl Future<Output = Result<()>>,
    ) -> Result<Seen> {
        let mut seen = Seen::default();
        let asking = async {
            let started = Instant::now();
            while started.elapsed() < span {
                let asked = Instant::now();
                let answer = self.check().await;
                let took = asked.elapsed();
                seen.worst_check_ms = seen.worst_check_ms.max(took.as_secs_f64() * 1000.0);
                let state = match answer {
                    Ok((state, codes)) => {
                        seen.looks.0.push(Look {
                            asked,
                            seen: asked + took,
                            is_open: state == "open",
                        });
                        if state != "open" {
                            seen.codes = codes;
                        }
                        state
                    }
                    Err(_) => String::from("none"),
                };
                *seen.said.entry(state).or_default() += 1;
                tokio::time::sleep(PACE.saturating_sub(took)).await;
            }
        };
        tokio::select! {
            () = asking => {}
            ended = attack => ended.context("the attack ended by itself")?,
        }
        seen.worst_check_ms = (seen.worst_check_ms * 10.0).round() / 10.0;
        Ok(seen)
    }

    async fn metrics(&self) -> Result<String> {
        let url = format!("{}/metrics", self.base);
        Ok(self.client.get(url).send().await?.text().await?)
    }

    /// What the gate has counted so far.
    pub(super) async fn counted(&self) -> Result<Counted> {
        let page = self.metrics().await?;
        let series = |begin: &str| -> BTreeMap<String, u64> {
            let lines = page.lines().filter_map(|line| line.strip_prefix(begin));
            let counts = lines.filter_map(|rest| {
                let (labels, count) = rest.split_once("} ")?;
                let labels = labels.replace("\",because=\"", " ").replace('"', "");
                Some((labels, count.parse().ok().filter(|count| *count > 0)?))
            });
            counts.collect()
        };
        let mut not_taken = series("upgrade_gate_answers_not_taken_total{gate=\"default\",from=\"");
        not_taken.extend(series(
            "upgrade_gate_answers_over_limit_total{gate=\"default\",limit=\"",
        ));
        Ok(Counted {
            refused: series("upgrade_gate_http_refused_total{by=\""),
            not_taken,
        })
    }
}

/// What a gate counts of attacks, where it is not 0.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counted {
    /// What it refused callers, by what for.
    pub(super) refused: BTreeMap<String, u64>,
    /// Answers of nodes that it did not take: by where from and why, and the larger ones by their
    /// limit.
    pub(super) not_taken: BTreeMap<String, u64>,
}

impl Counted {
    /// What of it came since then.
    pub(super) fn since(self, before: &Self) -> Self {
        Self {
            refused: more(self.refused, &before.refused),
            not_taken: more(self.not_taken, &before.not_taken),
        }
    }
}

fn more(now: BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let since = |(by, count): (String, u64)| {
        let before = before.get(&by).copied().unwrap_or_default();
        Some((by, count.checked_sub(before).filter(|more| *more > 0)?))
    };
    now.into_iter().filter_map(since).collect()
}
