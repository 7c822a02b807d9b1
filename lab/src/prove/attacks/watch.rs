//! What a caller of `check` sees while something goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, Client};
use serde::Serialize;
use serde_json::Value;

/// How often the verdict is asked for.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// How often somebody connects anew to ask for it, as curl and pipelines do.
const PACE_ANEW: Duration = Duration::from_millis(40);

/// How long what was refused may take to be counted.
const COUNTED: Duration = Duration::from_secs(15);

/// Asks one gate over one connection, and over a new one each time.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    client: Client,
    anew: Client,
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
    /// Answers over a new connection each, by what they said.
    pub(super) said_anew: BTreeMap<String, usize>,
    /// What 99 of 100 of them took at most, with the connection, milliseconds.
    pub(super) usual_new_connection_ms: f64,
    /// The longest time that one of them took.
    pub(super) worst_new_connection_ms: f64,
    /// Every answer of the gate, in order.
    #[serde(skip)]
    pub(super) looks: Looks,
    /// The same over new connections.
    #[serde(skip)]
    pub(super) looks_anew: Looks,
}

impl Seen {
    /// How many answers said this, over whatever connection.
    pub(super) fn said(&self, state: &str) -> usize {
        let said = [&self.said, &self.said_anew];
        let counts = said.into_iter().filter_map(|said| said.get(state));
        counts.sum()
    }

    /// Every answer of the gate, over whatever connection.
    pub(super) fn all_looks(&self) -> impl Iterator<Item = &Look> {
        self.looks.iter().chain(self.looks_anew.iter())
    }
}

/// What one of the two askers has seen.
#[derive(Default)]
struct Asked {
    said: BTreeMap<String, usize>,
    codes: Vec<String>,
    worst_ms: f64,
    looks: Looks,
}

/// Answers; too many to be written out.
#[derive(Default)]
pub(super) struct Looks(Vec<Look>);

impl Looks {
    /// What this share of them took at most, milliseconds, in their order.
    pub(super) fn took_ms(&self, share: f64) -> f64 {
        let looks = self.0.iter();
        let took = looks.map(|look| (look.seen - look.asked).as_secs_f64() * 1000.0);
        let mut took: Vec<f64> = took.collect();
        took.sort_by(f64::total_cmp);
        let all = u32::try_from(took.len()).map_or(f64::INFINITY, f64::from);
        let within = (0_u32..).zip(&took);
        let within = within.take_while(|(rank, _)| f64::from(*rank) < all * share);
        within.last().map_or(f64::INFINITY, |(_, took)| *took)
    }
}

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
        let (scheme, certificates) = match ca {
            Some(ca) => ("https", vec![Certificate::from_pem(ca)?]),
            None => ("http", Vec::new()),
        };
        let client = || {
            let builder = Client::builder().no_proxy().timeout(Duration::from_secs(5));
            builder.tls_certs_only(certificates.clone())
        };
        Ok(Self {
            client: client().build()?,
            anew: client().pool_max_idle_per_host(0).build()?,
            base: format!("{scheme}://127.0.0.1:{port}"),
        })
    }

    /// One answer of `check`: its state by header and body, and why.
    pub(super) async fn check(&self) -> Result<(String, Vec<String>)> {
        self.check_over(&self.client).await
    }

    async fn check_over(&self, client: &Client) -> Result<(String, Vec<String>)> {
        let url = format!("{}/api/v1/gates/default/check", self.base);
        let answer = client.get(url).send().await?;
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

    /// Asks until `attack` ends or `until` does; what is under way by then is heard to its end.
    pub(super) async fn watch(
        &self,
        until: impl Future<Output = ()>,
        attack: impl Future<Output = Result<()>>,
    ) -> Result<Seen> {
        let over = AtomicBool::new(false);
        let asking = async {
            tokio::join!(
                self.ask(&self.client, PACE, &over),
                self.ask(&self.anew, PACE_ANEW, &over)
            )
        };
        let ending = async {
            until.await;
            over.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
        };
        let (asked, anew) = tokio::select! {
            asked = asking => asked,
            () = ending => bail!("the end of a row was not noticed"),
            ended = attack => {
                ended.context("the attack failed")?;
                bail!("the attack ended by itself");
            }
        };
        let tenths = |ms: f64| (ms * 10.0).round() / 10.0;
        Ok(Seen {
            said: asked.said,
            codes: asked.codes,
            worst_check_ms: tenths(asked.worst_ms),
            said_anew: anew.said,
            usual_new_connection_ms: tenths(anew.looks.took_ms(0.99)),
            worst_new_connection_ms: tenths(anew.worst_ms),
            looks: asked.looks,
            looks_anew: anew.looks,
        })
    }

    async fn ask(&self, client: &Client, pace: Duration, over: &AtomicBool) -> Asked {
        let mut all = Asked::default();
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let answer = self.check_over(client).await;
            let took = asked.elapsed();
            all.worst_ms = all.worst_ms.max(took.as_secs_f64() * 1000.0);
            let state = match answer {
                Ok((state, codes)) => {
                    all.looks.0.push(Look {
                        asked,
                        seen: asked + took,
                        is_open: state == "open",
                    });
                    if state != "open" {
                        all.codes = codes;
                    }
                    state
                }
                Err(_) => String::from("none"),
            };
            *all.said.entry(state).or_default() += 1;
            tokio::time::sleep(pace.saturating_sub(took)).await;
        }
        all
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

    /// What it has counted since then. Waits a while for this, where something is to be counted: what was
    /// sent to it may still lie in its sockets.
    pub(super) async fn counted_since(&self, before: &Counted, by: Option<&str>) -> Counted {
        let began = Instant::now();
        loop {
            let counted = self.counted().await.unwrap_or_default().since(before);
            let is_there = by.is_none_or(|by| counted.refused.contains_key(by));
            if is_there || began.elapsed() > COUNTED {
                return counted;
            }
            tokio::time::sleep(PACE).await;
        }
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
