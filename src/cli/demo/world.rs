//! What the demo shows: a served cluster, a gate and its server, in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::client::{GateClient, parse_url};
use super::Pace;
use crate::app::serve::{build_info, history};
use crate::app::{Common, Running};
use crate::clock::{Clock, SystemClock};
use crate::config::leaf::HostPort;
use crate::config::settings::{
    AddressMapSettings, Controllers, GateSettings, JmxSettings, KafkaSettings, Limits,
};
use crate::evidence::ids::NodeId;
use crate::evidence::policy::Policy;
use crate::gate::state::GateName;
use crate::kafka::TcpDial;
use crate::metrics::counters::Counters;
use crate::metrics::{Gates, Metrics};
use crate::model::serve::Served;
use crate::model::{Cluster, Spec};
use crate::server::readiness::Readiness;
use crate::server::{self, AppState, Server};
use crate::store::{MemoryStore, Writer};
use crate::tls::ClientFiles;

/// Everything that runs.
pub(super) struct World {
    /// The cluster.
    pub(super) served: Served,
    /// Where the gate is asked, without a slash at the end.
    pub(super) url: String,
    gate: Running,
    serving: JoinHandle<()>,
    stop: CancellationToken,
}

impl World {
    /// Starts the cluster, then the gate, then its server.
    pub(super) async fn start(spec: Spec, pace: Pace, listen: SocketAddr) -> Result<Self> {
        let cluster = Cluster::new(spec).context("failed to simulate a cluster")?;
        let served = Served::start(cluster)
            .await
            .context("failed to serve the simulated cluster")?;
        let name = GateName::default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let common = Common {
            clock: Arc::clone(&clock),
            dial: Arc::new(TcpDial),
            store: Writer::spawn(Box::new(MemoryStore::default()))
                .context("failed to start the store")?,
            limits: LIMITS,
            counters: Arc::new(Counters::default()),
        };
        let gate = Running::start(&name, settings(&served, pace), &common).await?;
        let handles = BTreeMap::from([(name, gate.handle.clone())]);
        let gates: Gates = Arc::new(ArcSwap::from_pointee(handles));
        let state = AppState {
            metrics: Arc::new(Metrics::new(
                Arc::clone(&gates),
                Arc::clone(&clock),
                common.counters,
                build_info(),
            )),
            gates,
            clock,
            readiness: Arc::new(Readiness::default()),
            reload: None,
            history: history(common.store),
            access: Arc::default(),
        };
        let http = Server::bind(&[listen], state, server::Limits::default()).await?;
        let address = http.local_addrs().first().copied().unwrap_or(listen);
        let stop = CancellationToken::new();
        Ok(Self {
            served,
            url: format!("http://{address}"),
            gate,
            serving: tokio::spawn(http.serve(stop.clone())),
            stop,
        })
    }

    /// A client of the gate.
    pub(super) fn client(&self) -> Result<GateClient> {
        let url = parse_url(&self.url).map_err(anyhow::Error::msg)?;
        GateClient::new(url)
    }

    /// Ends all of it.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.serving.abort();
        self.gate.end().await;
        self.served.shutdown().await;
    }
}

const LIMITS: Limits = Limits {
    connections: 512,
    connections_per_peer: 512,
    requests_per_second: None,
    waiters_per_peer: 64,
    waiters: 128,
    drain: std::time::Duration::from_secs(10),
    jmx_page: 16 << 20,
    kafka_answer: 16 << 20,
};

/// A gate that finds everything from the brokers, but for the exporters: their ports here follow
/// no rule.
fn settings(served: &Served, pace: Pace) -> GateSettings {
    let bootstrap = served.brokers().values().map(|address| HostPort {
        host: address.ip().to_string(),
        port: address.port(),
    });
    let targets = served.jmx().into_iter();
    GateSettings {
        kafka: Some(KafkaSettings {
            bootstrap: bootstrap.collect(),
            client_id: String::from("upgrade-gate"),
            address_map: AddressMapSettings::default(),
            controllers: Controllers::Discover,
            tls: None,
            login: None,
        }),
        jmx: Some(JmxSettings {
            targets: targets.map(|(node, url)| (NodeId(node), url)).collect(),
            template: None,
            tls: ClientFiles::default(),
            basic_auth: None,
            headers: BTreeMap::new(),
            metrics: BTreeMap::new(),
        }),
        hosts: BTreeMap::new(),
        policy: Policy {
            window: Some(pace.window),
            leadership_quiet: pace.quiet,
            ..Policy::default()
        },
    }
}
