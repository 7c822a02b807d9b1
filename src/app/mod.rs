//! Puts the parts together: settings in, a running gate out. The only place that knows them all.
//!
//! [`Running`] is one gate; [`serve`] is the whole process; [`one_shot`] is a gate without one.

mod kept;
pub mod one_shot;
mod patient;
mod reads;
pub mod serve;
mod signals;
pub mod watchdog;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::patient::Patient;
use crate::checks::reason::Reason;
use crate::clock::Clock;
use crate::collect::board::Board;
use crate::collect::shared::{self, Shared};
use crate::collect::wants::Wants;
use crate::config::leaf::HostPort;
use crate::config::settings::{Controllers, GateSettings, KafkaSettings, Limits, Settings};
use crate::engine::handle::GateHandle;
use crate::engine::{Engine, Pulse};
use crate::evidence::policy::Policy;
use crate::files::Aside;
use crate::gate::state::GateName;
use crate::gate::view::View;
use crate::jmx::client::Access;
use crate::jmx::recognise::{ConfiguredSeries, Recogniser};
use crate::jmx::scrape::{HttpFetch, Scraper};
use crate::jmx::template::{Template, parse_url};
use crate::kafka::{Address, AddressMap, ConnectionSettings, Dial, Login, TcpDial, TlsDial};
use crate::metrics::counters::Counters;
use crate::server;
use crate::store::Writer;
use crate::tls::ClientTls;
use crate::view::Published;

/// How long a gate's certificates and secrets may take to be read when its collectors are made.
pub(crate) const FILES: Duration = Duration::from_secs(10);

/// One running gate.
#[derive(Debug)]
pub struct Running {
    /// How to ask it.
    pub handle: GateHandle,
    /// What it collects; a change needs other tasks.
    pub settings: GateSettings,
    /// Where a new policy goes.
    pub policy: watch::Sender<Arc<Policy>>,
    /// Signs of life.
    pub pulse: Arc<Pulse>,
    /// Ends its tasks.
    pub stop: CancellationToken,
    /// Its tasks.
    pub tasks: TaskTracker,
}

/// A gate whose files have been read, and of which nothing runs yet: it has not looked into the store.
#[derive(Debug)]
struct Prepared {
    name: GateName,
    settings: GateSettings,
    shared: Shared,
}

/// What all gates of a process share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes streams to Kafka.
    pub dial: Arc<dyn Dial>,
    /// The store's thread.
    pub store: Writer,
    /// What the program bounds.
    pub limits: Limits,
    /// What is counted as it happens.
    pub counters: Arc<Counters>,
}

impl Running {
    /// Starts one gate: its collectors and its engine.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub async fn start(name: &GateName, settings: GateSettings, common: &Common) -> Result<Self> {
        let prepared = Prepared::read(&Aside::default(), name, settings, common).await?;
        Ok(prepared.launch(common))
    }

    /// The same; while its files cannot be used the gate is unknown, says why, and tries again.
    pub fn start_anyway(name: &GateName, settings: GateSettings, common: &Common) -> Self {
        let (board, wants) = (Arc::default(), Arc::default());
        let patient = Patient {
            name: name.clone(),
            settings: settings.clone(),
            common: common.clone(),
            board: Arc::clone(&board),
            wants: Arc::clone(&wants),
        };
        Self::launch(name, settings, common, (board, wants), |stop| {
            patient.run(stop)
        })
    }

    /// Starts the engine over this board, and what fills it.
    fn launch<F>(
        name: &GateName,
        settings: GateSettings,
        common: &Common,
        (board, wants): (Arc<Board>, Arc<Wants>),
        collects: impl FnOnce(CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let now = common.clock.now();
        let first = View::nothing(
            name.clone(),
            now,
            Reason::WarmingUp,
            "the gate has just started",
        );
        let published = Arc::new(Published::new(first));
        let (handle, asks) = GateHandle::new(name.clone(), Arc::clone(&published));
        let policy = watch::Sender::new(Arc::new(settings.policy.clone()));
        let pulse = Arc::new(Pulse::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());

        let engine = Engine {
            gate: name.clone(),
            policy: policy.subscribe(),
            board,
            published,
            store: common.store.clone(),
            clock: Arc::clone(&common.clock),
            wants,
            pulse: Arc::clone(&pulse),
            counters: Arc::clone(&common.counters),
        };
        tasks.spawn(engine.run(asks, stop.clone()));
        tasks.spawn(collects(stop.clone()));
        tasks.close();
        Self {
            handle,
            settings,
            policy,
            pulse,
            stop,
            tasks,
        }
    }

    /// Whether these settings collect the same things in the same way: then only the policy may
    /// differ, and the tasks that run can go on.
    pub fn same_sources(&self, other: &GateSettings) -> bool {
        let (mine, theirs) = (&self.settings.policy, &other.policy);
        self.settings.kafka == other.kafka
            && self.settings.jmx == other.jmx
            && mine.mode == theirs.mode
            && mine.via_brokers == theirs.via_brokers
            && mine.cluster_id == theirs.cluster_id
            && mine.expected == theirs.expected
            && mine.groups == theirs.groups
    }

    /// Ends its tasks and waits for them.
    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Prepared {
    async fn read(
        aside: &Aside,
        name: &GateName,
        settings: GateSettings,
        common: &Common,
    ) -> Result<Self> {
        let (board, wants) = (Arc::default(), Arc::default());
        let shared = common
            .collectors(aside, name, &settings, (&board, &wants))
            .await
            .with_context(|| format!("failed to start gate {name}"))?;
        Ok(Self {
            name: name.clone(),
            settings,
            shared,
        })
    }

    /// Starts its engine and its collectors.
    fn launch(self, common: &Common) -> Running {
        let Self {
            name,
            settings,
            shared,
        } = self;
        let goes_into = (Arc::clone(&shared.board), Arc::clone(&shared.wants));
        Running::launch(&name, settings, common, goes_into, |stop| {
            crate::collect::run(Arc::new(shared), stop)
        })
    }
}

impl Common {
    /// What the collectors of a gate of this process share. Its files are read aside.
    async fn collectors(
        &self,
        aside: &Aside,
        name: &GateName,
        settings: &GateSettings,
        (board, wants): (&Arc<Board>, &Arc<Wants>),
    ) -> Result<Shared> {
        let (common, name, settings) = (self.clone(), name.clone(), settings.clone());
        let (board, wants) = (Arc::clone(board), Arc::clone(wants));
        let make = move || {
            let Self {
                limits,
                clock,
                dial,
                ..
            } = common;
            collectors(&name, &settings, limits, &clock, &dial, board, wants)
        };
        let made = aside.read(FILES, make).await;
        made.context("failed to read its certificates and secrets")?
    }
}

/// Everything that is wrong with the files that these settings name: users and tokens of our own
/// side, certificates and secrets of every gate. Reads them.
pub fn bad_files(settings: &Settings) -> Vec<String> {
    let own = server::access::Access::load(&settings.auth).err();
    let dial: Arc<dyn Dial> = Arc::new(TcpDial);
    let gates = settings.gates.iter().filter_map(|(name, gate)| {
        let bad = collected(name, gate, settings.limits, &dial).err()?;
        Some(format!("gate {name}: {bad:#}"))
    });
    own.map(|bad| bad.to_string())
        .into_iter()
        .chain(gates)
        .collect()
}

/// What the collectors of a gate share, before any of them runs.
///
/// # Errors
/// Addresses or templates that make no sense, and a client that cannot be made.
pub fn collectors(
    name: &GateName,
    settings: &GateSettings,
    limits: Limits,
    clock: &Arc<dyn Clock>,
    dial: &Arc<dyn Dial>,
    board: Arc<Board>,
    wants: Arc<Wants>,
) -> Result<Shared> {
    let collected = collected(name, settings, limits, dial)?;
    Ok(Shared::new(
        collected.settings,
        board,
        Arc::clone(clock),
        collected.dial,
        collected.scraper,
        wants,
    ))
}

struct Collected {
    settings: shared::Settings,
    dial: Arc<dyn Dial>,
    scraper: Scraper,
}

/// What a gate's settings mean for its collectors.
fn collected(
    name: &GateName,
    gate: &GateSettings,
    limits: Limits,
    dial: &Arc<dyn Dial>,
) -> Result<Collected> {
    let kafka = gate.kafka.as_ref();
    let jmx = gate.jmx.as_ref();
    let controllers = match kafka.map(|kafka| &kafka.controllers) {
        Some(Controllers::At(addresses)) => addresses
            .iter()
            .map(|(node, at)| (*node, address(at)))
            .collect(),
        Some(Controllers::Discover | Controllers::ViaBrokers) | None => BTreeMap::new(),
    };
    let exporters = jmx.map_or_else(
        || Ok::<_, anyhow::Error>(BTreeMap::new()),
        |jmx| {
            jmx.targets
                .iter()
                .map(|(node, url)| Ok((*node, parse_url(url)?)))
                .collect()
        },
    )?;
    let template = jmx
        .and_then(|jmx| jmx.template.as_deref())
        .map(Template::parse)
        .transpose()?;
    let configured = jmx.map(|jmx| {
        jmx.metrics.iter().map(|(metric, series)| {
            let series = ConfiguredSeries {
                name: series.name.clone(),
                labels: series.labels.clone(),
            };
            (*metric, series)
        })
    });
    let recogniser = Recogniser::new(configured.into_iter().flatten().collect());
    let access = jmx.map_or_else(Access::default, |jmx| Access {
        tls: jmx.tls.clone(),
        basic_auth: jmx.basic_auth.clone(),
        headers: jmx.headers.clone(),
    });
    let fetch = HttpFetch::new(access).context("failed to make the client for JMX exporters")?;
    let (dial, login) = secured(kafka, dial)?;
    let settings = shared::Settings {
        gate: name.to_string(),
        mode: gate.policy.mode,
        bootstrap: kafka
            .map(|kafka| kafka.bootstrap.iter().map(address).collect())
            .unwrap_or_default(),
        address_map: address_map(gate)?,
        connection: ConnectionSettings {
            client_id: kafka.map_or_else(String::new, |kafka| kafka.client_id.clone()),
            largest_frame: limits.kafka_answer,
            login,
            ..ConnectionSettings::default()
        },
        nodes: gate.policy.expected.clone(),
        controllers,
        via_brokers: gate.policy.via_brokers,
        cluster_id: gate.policy.cluster_id.clone(),
        exporters,
        exporter_template: template,
        groups: gate.policy.groups.iter().cloned().collect(),
    };
    let scraper = Scraper::new(Arc::new(fetch), Arc::new(recogniser), limits.jmx_page);
    Ok(Collected {
        settings,
        dial,
        scraper,
    })
}

/// How Kafka is dialled, and logged in to.
type Way = (Arc<dyn Dial>, Option<Arc<Login>>);

/// What a gate's security settings mean.
fn secured(kafka: Option<&KafkaSettings>, dial: &Arc<dyn Dial>) -> Result<Way> {
    let below = Arc::clone(dial);
    let Some(kafka) = kafka else {
        return Ok((below, None));
    };
    let dial: Arc<dyn Dial> = match &kafka.tls {
        Some(files) => {
            let tls = ClientTls::new(files.clone()).context("failed to make TLS to Kafka")?;
            Arc::new(TlsDial::new(below, Arc::new(tls)))
        }
        None => below,
    };
    let Some(credentials) = &kafka.login else {
        return Ok((dial, None));
    };
    let login = Login::new(credentials.clone()).context("failed to read the login to Kafka")?;
    // After it: a gate that waits for its files tries again and again.
    if kafka.tls.is_none() && credentials.is_readable() {
        warn!(
            mechanism = %credentials.mechanism(),
            "the secret crosses the network readable: prefer SASL_SSL or SCRAM"
        );
    }
    Ok((dial, Some(Arc::new(login))))
}

fn address(at: &HostPort) -> Address {
    Address::new(at.host.clone(), at.port)
}

fn address_map(gate: &GateSettings) -> Result<AddressMap> {
    let Some(kafka) = &gate.kafka else {
        return Ok(AddressMap::default());
    };
    let map = &kafka.address_map;
    let nodes = map
        .nodes
        .iter()
        .map(|(node, at)| (node.to_string(), address(at).to_string()));
    let addresses = map
        .addresses
        .iter()
        .map(|(from, to)| (address(from).to_string(), address(to).to_string()));
    let entries: Vec<_> = nodes.chain(addresses).collect();
    let pairs = entries
        .iter()
        .map(|(from, to)| (from.as_str(), to.as_str()));
    AddressMap::parse(pairs).context("failed to read the address map")
}
