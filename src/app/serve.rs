//! The whole process: gates, server, signals, reload, and an end that comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::kept::{kept, warn_of_forgotten};
use super::reads::Reads;
use super::signals::{self, Signals};
use super::watchdog::{self, Pulses};
use super::{Common, FILES, Prepared, Running};
use crate::checks::reason::Reason;
use crate::clock::{Clock, SystemClock};
use crate::config::effective::Effective;
use crate::config::settings::{GateSettings, Settings};
use crate::config::{Loaded, Sources};
use crate::gate::state::GateName;
use crate::gate::view::View;
use crate::kafka::TcpDial;
use crate::metrics::counters::Counters;
use crate::metrics::{BuildInfo, Gates, Metrics};
use crate::server::access::Access;
use crate::server::readiness::Readiness;
use crate::server::{AppState, History, Limits, NoHistory, Reload, Server};
use crate::store::sqlite::Retention;
use crate::store::{MemoryStore, ReadError, SqliteStore, Store, Writer};
use crate::telemetry::LogHandle;

/// How long the gates' tasks may take to end once nobody asks any more.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The gates of this process and what they share.
#[derive(Debug)]
struct App {
    common: Common,
    log: LogHandle,
    gates: Gates,
    /// As it was at the start: what needs a restart is in force as it stands there.
    started: Effective,
    /// One reload at a time, from reading the file on: else an older file could win.
    reloading: Mutex<Reads>,
    running: Mutex<RunningGates>,
}

type RunningGates = BTreeMap<GateName, Running>;

/// Serves until SIGTERM or SIGINT; a second one ends the process at once. `loaded` is the
/// configuration, `sources` where to read it again from.
pub async fn serve(loaded: Loaded, sources: Sources) -> Result<()> {
    let settings = loaded.settings.clone();
    let log = crate::telemetry::start(&settings.log)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let counters = Arc::new(Counters::default());
    let access = Arc::new(Access::load(&settings.auth)?);
    let common = Common {
        clock: Arc::clone(&clock),
        dial: Arc::new(TcpDial),
        store: store(&settings, &clock)?,
        limits: settings.limits,
        counters: Arc::clone(&counters),
    };
    let gates: Gates = Arc::new(ArcSwap::from_pointee(BTreeMap::new()));
    let metrics = Metrics::new(
        Arc::clone(&gates),
        Arc::clone(&clock),
        Arc::clone(&counters),
        build_info(),
    );
    let readiness = Arc::new(Readiness::default());
    let app = Arc::new(App::start(common, log, gates, loaded));
    counters.reload.succeeded(clock.now().wall);

    let reload = reloader(Arc::clone(&app), sources);
    let state = AppState {
        gates: Arc::clone(&app.gates),
        clock,
        metrics: Arc::new(metrics),
        readiness: Arc::clone(&readiness),
        reload: settings.reload_enabled.then(|| Arc::clone(&reload)),
        history: history(app.common.store.clone()),
        access: Arc::clone(&access),
    };
    // Before anybody can know that it runs: a signal must never find nobody who listens.
    let signals = Signals::listen()?;
    let server = Server::bind(&settings.listen, state, server_limits(&settings)).await?;
    for address in server.local_addrs() {
        // Tests and people who asked for port 0 read the address from this line.
        info!(%address, "listening");
    }
    say_who_may(&settings, &access);

    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    watchdog::ready();
    let alive = Arc::clone(&app);
    tokio::spawn(watchdog::feed(
        async move || alive.pulses().await,
        stop.clone(),
    ));
    signals.wait(&reload).await;
    info!("ending: no new connections, waiters answered");
    watchdog::stopping();
    readiness.drain();
    stop.cancel();
    signals::abort_on_second()?;
    let _ = serving.await;
    // Collectors run until the last answer is out, so that it is not an expired one.
    if timeout(LAST_WORDS, app.end()).await.is_err() {
        warn!("some tasks did not end in time and were dropped");
    }
    info!("ended");
    Ok(())
}

/// Says loudly what is open to whom.
fn say_who_may(settings: &Settings, access: &Access) {
    let is_here = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    let listen = settings.listen.iter().copied();
    let (here, beyond): (Vec<SocketAddr>, Vec<SocketAddr>) = listen.partition(is_here);
    if beyond.is_empty() && !access.is_on() {
        // What a proxy on this machine lets through comes from this machine.
        warn!(
            addresses = here.len(),
            "NO AUTHENTICATION: whoever is on this machine may take leases and change everything, \
             and so may everybody whom a proxy on it lets through; set web_config or auth"
        );
    }
    for address in beyond {
        if !access.is_on() {
            warn!(
                %address,
                "NO AUTHENTICATION: whoever reaches this address may read the verdict, and whoever \
                 is on this machine, or comes through a proxy on it, may take leases and change \
                 everything; set web_config or auth"
            );
        } else if !access.has_tls() {
            warn!(
                %address,
                "NO TLS: tokens and passwords cross the network readable; set web_config"
            );
        }
    }
}

/// The store that the settings name, on its thread.
fn store(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Writer> {
    let keep = Retention {
        age: settings.history.retention,
        entries: settings.history.max_entries,
    };
    let store: Box<dyn Store> = if let Some(folder) = &settings.data_dir {
        let mut store = SqliteStore::open(folder, keep, Arc::clone(clock))?;
        warn_of_forgotten(&mut store, &settings.gates);
        Box::new(store)
    } else {
        warn!(
            "no data folder: leases, holds and the nodes seen before do NOT survive a restart \
             of this process; set data_dir"
        );
        Box::new(MemoryStore::default())
    };
    Writer::spawn(store).context("failed to start the store")
}

/// Which program this is.
pub const fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: match option_env!("UPGRADE_GATE_REVISION") {
            Some(revision) => revision,
            None => "unknown",
        },
    }
}

fn server_limits(settings: &Settings) -> Limits {
    Limits {
        connections: settings.limits.connections,
        connections_per_peer: settings.limits.connections_per_peer,
        requests_per_second: settings.limits.requests_per_second,
        waiters: settings.limits.waiters,
        waiters_per_peer: settings.limits.waiters_per_peer,
        drain: settings.limits.drain,
        ..Limits::default()
    }
}

/// How the server reads the history: from the store's thread.
pub fn history(store: Writer) -> History {
    Arc::new(move |gate, before, limit| {
        let store = store.clone();
        Box::pin(async move {
            let read = store.history(gate, before, limit).await;
            read.map_err(|why| match why {
                ReadError::Busy => NoHistory::Busy,
                ReadError::Failed(why) => NoHistory::Failed(why),
            })
        })
    })
}

fn reloader(app: Arc<App>, sources: Sources) -> Reload {
    Arc::new(move || {
        let (app, sources) = (Arc::clone(&app), sources.clone());
        Box::pin(async move { app.reload(sources).await })
    })
}

impl App {
    /// Every gate starts, also one whose files cannot be used yet: it is unknown, and the others do
    /// not notice.
    fn start(common: Common, log: LogHandle, gates: Gates, loaded: Loaded) -> Self {
        let start = |(name, settings): (&GateName, &GateSettings)| {
            let gate = Running::start_anyway(name, settings.clone(), &common);
            (name.clone(), gate)
        };
        let running = loaded.settings.gates.iter().map(start).collect();
        let app = Self {
            common,
            log,
            gates,
            started: loaded.effective,
            reloading: Mutex::default(),
            running: Mutex::new(running),
        };
        app.published()
    }

    fn published(mut self) -> Self {
        publish(&self.gates, self.running.get_mut());
        self
    }

    /// Loads the configuration again. A broken one changes nothing.
    async fn reload(&self, sources: Sources) -> Result<String, String> {
        // Whoever feeds the watchdog needs the lock of the gates: it is not held while files are read.
        let mut reads = self.reloading.lock().await;
        let loaded = match reads
            .configuration
            .read(FILES, move || sources.load())
            .await
        {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(problems)) => return Err(self.refuse(&problems.to_string())),
            Err(late) => return Err(self.refuse(&format!("the configuration: {late}"))),
        };
        let restart = self.started.needs_restart(&loaded.effective);
        let done = self
            .apply(&mut reads, &loaded)
            .await
            .map_err(|error| self.refuse(&format!("{error:#}")))?;
        if let Err(error) = self.log.set(&loaded.settings.log.filter) {
            warn!(%error, "the log filter stays as it was");
        }
        self.common
            .counters
            .reload
            .succeeded(self.common.clock.now().wall);
        let mut said = format!("reloaded: {done}");
        if !restart.is_empty() {
            said = format!("{said}; needs restart: {}", restart.join(", "));
        }
        info!("{said}");
        Ok(said)
    }

    fn refuse(&self, why: &str) -> String {
        self.common.counters.reload.failed();
        error!(
            why,
            "the configuration was not reloaded; the one before goes on"
        );
        why.to_owned()
    }

    /// A changed policy goes to the gate that runs; changed sources need other tasks. Files are read
    /// first, then those gates end that are not wanted any more: when either cannot be, nothing has
    /// changed. Nothing is read after that.
    async fn apply(&self, reads: &mut Reads, loaded: &Loaded) -> Result<String> {
        let wanted = &loaded.settings.gates;
        let running = self.running.lock().await;
        let removed = running.keys().filter(|name| !wanted.contains_key(*name));
        let removed: Vec<GateName> = removed.cloned().collect();
        drop(running);
        for name in &removed {
            self.keeps_nothing(name).await?;
        }
        let others = self.prepare_others(reads, wanted).await?;
        let mut running = self.running.lock().await;
        if let Err(error) = self.remove(&mut running, &removed).await {
            publish(&self.gates, &running);
            return Err(error);
        }
        let mut policies = 0;
        for (name, settings) in wanted {
            if let Some(gate) = running.get_mut(name)
                && !others.contains_key(name)
            {
                // A window starts anew with the policy: only where that has changed.
                if gate.settings.policy != settings.policy {
                    gate.policy.send_replace(Arc::new(settings.policy.clone()));
                    policies += 1;
                }
                gate.settings = settings.clone();
            }
        }
        publish(&self.gates, &running);
        drop(running);
        let (started, mut ended) = (others.len(), removed.len());
        for gate in others.into_values() {
            ended += usize::from(self.replace(gate).await);
        }
        Ok(format!(
            "{started} gates started, {ended} ended, {policies} policies changed"
        ))
    }

    /// Ends the gate that has this name, and starts this one; whether there was one before. Of two
    /// engines at one time neither would know what the other one gives: the new one looks into the
    /// store when the one before has written its last.
    async fn replace(&self, gate: Prepared) -> bool {
        let name = gate.name.clone();
        // Whoever feeds the watchdog needs the lock: it is not held while tasks end.
        let before = self.running.lock().await.remove(&name);
        let replaces = before.is_some();
        if let Some(before) = before {
            self.end_one(before).await;
        }
        let mut running = self.running.lock().await;
        running.insert(name, gate.launch(&self.common));
        publish(&self.gates, &running);
        replaces
    }

    /// Ends one gate's tasks. What it said last is true for nobody after that, also not for those
    /// who still wait for it: another engine may know better.
    async fn end_one(&self, gate: Running) {
        let name = gate.handle.name().clone();
        let published = Arc::clone(gate.handle.published());
        if timeout(LAST_WORDS, gate.end()).await.is_err() {
            warn!(gate = %name, "some tasks of this gate did not end in time");
        }
        let now = self.common.clock.now();
        let why = "the configuration was loaded anew: what ran for this gate before has ended";
        published.publish(Arc::new(View::nothing(name, now, Reason::WarmingUp, why)));
    }

    /// Ends these gates, unless somebody was given a lease, or held one, in this very moment: then all of
    /// them go on, with their windows begun anew, whatever has become of their files.
    async fn remove(&self, running: &mut RunningGates, removed: &[GateName]) -> Result<()> {
        let mut ended = Vec::new();
        for name in removed {
            if let Some(gate) = running.remove(name) {
                ended.push((name, gate.settings.clone()));
                self.end_one(gate).await;
            }
        }
        for name in removed {
            // What its engine has written is in the store by now: requests are served in order.
            let Err(error) = self.keeps_nothing(name).await else {
                continue;
            };
            for (name, settings) in ended {
                let again = Running::start_anyway(name, settings, &self.common);
                running.insert(name.clone(), again);
            }
            return Err(error);
        }
        Ok(())
    }

    /// A gate that is removed or renamed forgets whom it has told to stop which nodes, and who holds it;
    /// and a gate of another name would let the next ones go beside them.
    async fn keeps_nothing(&self, name: &GateName) -> Result<()> {
        let read = self.common.store.load(name.clone());
        let read = timeout(LAST_WORDS, read).await;
        let read = read.unwrap_or_else(|_| Err(String::from("the store does not answer")));
        let (_, doc) = read.map_err(|why| {
            anyhow!(
                "failed to remove gate {name}: nobody knows whether it holds leases, or is held: {why}"
            )
        })?;
        let kept = kept(&doc);
        ensure!(
            kept.is_empty(),
            "failed to remove gate {name}: {}; have leases given back, or break them, lift holds, and \
             reload again",
            kept.join("; ")
        );
        Ok(())
    }

    /// Reads the files of every gate that does not run with these settings. Nothing is started: that
    /// takes as long as the slowest file, and the gates that run go on giving leases meanwhile.
    async fn prepare_others(
        &self,
        reads: &mut Reads,
        wanted: &BTreeMap<GateName, GateSettings>,
    ) -> Result<BTreeMap<GateName, Prepared>> {
        let mut others = BTreeMap::new();
        for (name, settings) in wanted {
            let running = self.running.lock().await;
            let before = running.get(name);
            let is_same = before.is_some_and(|gate| gate.same_sources(settings));
            drop(running);
            if !is_same {
                let aside = reads.of(name, settings);
                let gate = Prepared::read(&aside, name, settings.clone(), &self.common);
                others.insert(name.clone(), gate.await?);
            }
        }
        Ok(others)
    }

    /// Every gate's signs of life.
    async fn pulses(&self) -> Pulses {
        let running = self.running.lock().await;
        let gates = running.iter();
        gates
            .map(|(name, gate)| (name.clone(), Arc::clone(&gate.pulse)))
            .collect()
    }

    async fn end(&self) {
        let gates = std::mem::take(&mut *self.running.lock().await);
        for (name, gate) in gates {
            let failures = gate.pulse.failures.load(Ordering::Relaxed);
            gate.end().await;
            info!(gate = %name, failures, "the gate's tasks have ended");
        }
    }
}

fn publish(gates: &Gates, running: &RunningGates) {
    let handles = running.iter().map(|(name, gate)| {
        let hosts = gate.settings.hosts.clone();
        (name.clone(), gate.handle.clone().with_hosts(hosts))
    });
    gates.store(Arc::new(handles.collect()));
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
