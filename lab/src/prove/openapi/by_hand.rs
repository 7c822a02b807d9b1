//! Requests whose success needs the gate in a certain state: a program that makes requests up does not
//! come to it by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::time::sleep;
use upgrade_gate::model::NodeId;
use upgrade_gate::server::endpoint::Endpoint;

use super::Told;
use crate::prove::attacks::Stand;

/// The broker that is taken out of the cluster, and retired.
pub(super) const RETIRED: NodeId = 4;
const GATE: &str = "/api/v1/gates/default";
/// How long the gate may take until it says 200.
const PATIENCE: Duration = Duration::from_secs(90);
const PACE: Duration = Duration::from_millis(100);

struct Hand<'a> {
    stand: &'a Stand,
    client: Client,
    token: &'a str,
    told: Told,
}

/// Asks everything once so that it succeeds, and for a reload that does not.
pub(super) async fn ask(stand: &Stand, token: &str) -> Result<Told> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().no_proxy().timeout(PATIENCE);
    let mut hand = Hand {
        stand,
        client: builder.build()?,
        token,
        told: Told::default(),
    };
    hand.retire().await?;
    hand.reads().await?;
    hand.leases().await?;
    hand.holds().await?;
    hand.reloads().await?;
    Ok(hand.told)
}

impl Hand<'_> {
    /// The status, and the body where it is JSON.
    async fn call(&mut self, method: &Method, target: &str) -> Result<(u16, Value)> {
        let url = format!("http://127.0.0.1:{}{target}", self.stand.gate.port());
        let request = self.client.request(method.clone(), &url);
        let request = request
            .bearer_auth(self.token)
            .header("x-upgrade-gate", "1");
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let state = answer.headers().get("upgrade-gate-state");
        let own = state.is_some_and(|state| state != "open");
        self.told.take(method.as_str(), &url, status, own);
        let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        Ok((status, body))
    }

    /// Asks until it succeeds.
    async fn until_done(&mut self, method: &Method, target: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let (status, body) = self.call(method, target).await?;
            if status == 200 {
                return Ok(body);
            }
            let patient = began.elapsed() < PATIENCE;
            ensure!(
                patient,
                "{method} {target} is answered with {status}: {body}"
            );
            sleep(PACE).await;
        }
    }

    /// A broker leaves the cluster for good, as people take one out.
    async fn retire(&mut self) -> Result<()> {
        let began = Instant::now();
        let plan = format!("{GATE}/plan");
        // The gate knows it by its replicas, which move away then.
        for without in [false, true] {
            loop {
                let body = self.until_done(&Method::GET, &plan).await?;
                let nodes = body["nodes"].as_array().into_iter().flatten();
                let mut held = nodes.filter(|node| node["node"] == RETIRED);
                let held = held.find_map(|node| node["replicas"].as_u64());
                if held.is_some_and(|held| (held == 0) == without) {
                    break;
                }
                ensure!(
                    began.elapsed() < PATIENCE,
                    "broker {RETIRED} is not known, or keeps its replicas"
                );
                sleep(PACE).await;
            }
            if !without {
                self.stand.served.operate(|it| it.drain(RETIRED))?;
            }
        }
        self.stand.served.operate(|it| it.kill(RETIRED))?;
        self.stand.served.operate(|it| it.unregister(RETIRED))?;
        let target = format!("{GATE}/nodes/{RETIRED}?by=ann");
        self.until_done(&Method::DELETE, &target).await?;
        Ok(())
    }

    /// Everything that changes nothing; `check` as soon as the gate is open.
    async fn reads(&mut self) -> Result<()> {
        for endpoint in Endpoint::ALL.iter().filter(|it| !it.changes()) {
            let row = endpoint.row();
            for method in row.methods {
                let method = Method::from_bytes(method.as_bytes())?;
                let target = row.path.replace("{gate}", "default");
                self.until_done(&method, &target).await?;
            }
        }
        Ok(())
    }

    async fn leases(&mut self) -> Result<()> {
        let post = Method::POST;
        let enter = format!("{GATE}/enter?node=2&owner=by-hand&ttl=10m");
        let body = self.until_done(&post, &enter).await?;
        let (lease, token) = (number(&body, "lease")?, number(&body, "token")?);
        let renew = format!("{GATE}/leases/{lease}/renew?token={token}");
        self.until_done(&post, &renew).await?;
        let leave = format!("{GATE}/leave?node=2&owner=by-hand");
        self.until_done(&post, &leave).await?;
        let body = self.until_done(&post, &enter).await?;
        let lease = number(&body, "lease")?;
        let broken = format!("{GATE}/leases/{lease}?by=ann&reason=proof");
        self.until_done(&Method::DELETE, &broken).await?;
        Ok(())
    }

    async fn holds(&mut self) -> Result<()> {
        let hold = format!("{GATE}/hold?author=ann&reason=proof");
        self.until_done(&Method::PUT, &hold).await?;
        let lift = format!("{GATE}/hold?by=ann");
        self.until_done(&Method::DELETE, &lift).await?;
        Ok(())
    }

    /// A reload, one of a file that is broken for a moment, and one more.
    async fn reloads(&mut self) -> Result<()> {
        let file = self.stand.config();
        let good = std::fs::read(&file).context("read the gate's configuration")?;
        let reload = "/-/reload";
        self.until_done(&Method::POST, reload).await?;
        std::fs::write(&file, "{\"gates\": ").context("break the gate's configuration")?;
        let (status, body) = self.call(&Method::POST, reload).await?;
        std::fs::write(&file, good).context("mend the gate's configuration")?;
        ensure!(
            status == 503,
            "a broken file is answered with {status}: {body}"
        );
        self.until_done(&Method::PUT, reload).await?;
        Ok(())
    }
}

fn number(body: &Value, field: &str) -> Result<u64> {
    let number = body[field].as_u64();
    number.with_context(|| format!("no {field} in {body}"))
}
