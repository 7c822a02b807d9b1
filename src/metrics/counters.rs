//! What is counted as it happens; everything else is read from the views at the scrape.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::untaken::Untaken;
use crate::gate::state::{GateName, State};
use crate::time::Timestamp;

/// The counters of the whole process. Shared by the server, the engines and the reloader.
#[derive(Debug, Default)]
pub struct Counters {
    decisions: Mutex<BTreeMap<GateName, Decisions>>,
    evaluations: Mutex<BTreeMap<GateName, Duration>>,
    /// Answers of nodes that were not taken.
    pub untaken: Untaken,
    /// The server's connections and waiters.
    pub http: HttpCounters,
    /// The newest attempt to load the configuration.
    pub reload: ReloadStatus,
}

/// How many answers of each state were handed to callers of `check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    open: u64,
    closed: u64,
    unknown: u64,
}

impl Decisions {
    /// The number of answers of this state.
    pub const fn of(self, state: State) -> u64 {
        match state {
            State::Open => self.open,
            State::Closed => self.closed,
            State::Unknown => self.unknown,
        }
    }

    const fn add(&mut self, state: State) {
        let counter = match state {
            State::Open => &mut self.open,
            State::Closed => &mut self.closed,
            State::Unknown => &mut self.unknown,
        };
        *counter = counter.wrapping_add(1);
    }
}

impl Counters {
    /// One more answer of `check` left the gate.
    pub fn decided(&self, gate: &GateName, state: State) {
        let mut all = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(decisions) = all.get_mut(gate) {
            decisions.add(state);
        } else {
            all.entry(gate.clone()).or_default().add(state);
        }
    }

    /// The answers of one gate so far.
    pub fn decisions(&self, gate: &GateName) -> Decisions {
        let all = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.get(gate).copied().unwrap_or_default()
    }

    /// How long the newest judgement of a gate took; the engine says it.
    pub fn evaluated(&self, gate: &GateName, took: Duration) {
        let mut all = self
            .evaluations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(gate.clone(), took);
    }

    /// How long the newest judgement of a gate took, once there was one.
    pub fn evaluation(&self, gate: &GateName) -> Option<Duration> {
        let all = self
            .evaluations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.get(gate).copied()
    }
}

/// The server's connections and waiters, with their caps.
#[derive(Debug, Default)]
pub struct HttpCounters {
    /// Open connections.
    pub connections: AtomicU64,
    /// How many may be open at once.
    pub connections_limit: AtomicU64,
    /// Connections that were told 503 because the cap was reached.
    pub connections_refused: AtomicU64,
    /// Requests that wait for a gate to open.
    pub waiters: AtomicU64,
    /// How many may wait at once.
    pub waiters_limit: AtomicU64,
    /// Requests that wanted to wait and were answered at once because the cap was reached.
    pub waiters_refused: AtomicU64,
    /// What callers were refused, by what for.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    files_unusable: AtomicBool,
}

/// What a caller was refused, or ended for: a limit of the server, or what it may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No file descriptor was left for a connection.
    Accept,
    /// All places for connections were taken.
    Connections,
    /// One address had all its places.
    ConnectionsOfPeer,
    /// One address had all its places for long polls: it was answered at once.
    WaitersOfPeer,
    /// One owner had another request, for other nodes, under way.
    RequestsOfOwner,
    /// One address sent too much in a second.
    Rate,
    /// A TLS handshake failed.
    Handshake,
    /// A TLS handshake took too long.
    HandshakeTime,
    /// A request's header was too large.
    HeaderSize,
    /// A request's header did not come in time.
    HeaderTime,
    /// A request's body was too large.
    BodySize,
    /// A request's body did not come in time.
    BodyTime,
    /// A request was not answered in time.
    RequestTime,
    /// An answer was not read in time.
    WriteTime,
    /// Too many questions waited for a gate's engine.
    EngineQueue,
    /// Too many questions of one address waited for engines.
    EngineQueueOfPeer,
    /// Too many readers waited for the history.
    HistoryReaders,
    /// Too many passwords waited to be checked.
    Passwords,
    /// Too many passwords of one address waited to be checked.
    PasswordsOfPeer,
    /// Nobody knew who asked.
    NotAuthenticated,
    /// Who asked had no right to.
    NotAllowed,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Accept,
        Self::Connections,
        Self::ConnectionsOfPeer,
        Self::WaitersOfPeer,
        Self::RequestsOfOwner,
        Self::Rate,
        Self::Handshake,
        Self::HandshakeTime,
        Self::HeaderSize,
        Self::HeaderTime,
        Self::BodySize,
        Self::BodyTime,
        Self::RequestTime,
        Self::WriteTime,
        Self::EngineQueue,
        Self::EngineQueueOfPeer,
        Self::HistoryReaders,
        Self::Passwords,
        Self::PasswordsOfPeer,
        Self::NotAuthenticated,
        Self::NotAllowed,
    ];

    /// Its label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Connections => "connections",
            Self::ConnectionsOfPeer => "connections_per_peer",
            Self::WaitersOfPeer => "waiters_per_peer",
            Self::RequestsOfOwner => "requests_per_owner",
            Self::Rate => "requests_per_second",
            Self::Handshake => "handshake",
            Self::HandshakeTime => "handshake_time",
            Self::HeaderSize => "header_size",
            Self::HeaderTime => "header_time",
            Self::BodySize => "body_size",
            Self::BodyTime => "body_time",
            Self::RequestTime => "request_time",
            Self::WriteTime => "write_time",
            Self::EngineQueue => "engine_queue",
            Self::EngineQueueOfPeer => "engine_queue_per_peer",
            Self::HistoryReaders => "history_readers",
            Self::Passwords => "passwords",
            Self::PasswordsOfPeer => "passwords_per_peer",
            Self::NotAuthenticated => "not_authenticated",
            Self::NotAllowed => "not_allowed",
        }
    }
}

impl HttpCounters {
    /// Whether certificates, users and tokens could be used when they were read last.
    pub fn files_are_usable(&self, usable: bool) {
        self.files_unusable.store(!usable, Ordering::Relaxed);
    }

    /// The same; also true where there are no such files.
    pub fn files_usable(&self) -> bool {
        !self.files_unusable.load(Ordering::Relaxed)
    }

    /// One more was refused for this.
    pub fn refused(&self, why: Refused) {
        if why == Refused::Connections {
            self.connections_refused.fetch_add(1, Ordering::Relaxed);
        }
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(why.as_str()).or_default();
        *count = count.wrapping_add(1);
    }

    /// How many were refused for this.
    pub fn refusals(&self, why: Refused) -> u64 {
        let all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(why.as_str()).copied().unwrap_or_default()
    }
}

/// Counts one thing for as long as it lives.
#[derive(Debug)]
pub struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    /// One more, until this is dropped.
    pub fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The newest attempt to load the configuration: written by whoever loads it, at the start, on
/// SIGHUP and on `POST /-/reload`.
#[derive(Debug, Default)]
pub struct ReloadStatus {
    successful: AtomicBool,
    success: AtomicI64,
}

impl ReloadStatus {
    /// The configuration was loaded, at this wall time.
    pub fn succeeded(&self, at: Timestamp) {
        self.success.store(at.as_nanos(), Ordering::Relaxed);
        self.successful.store(true, Ordering::Relaxed);
    }

    /// The configuration could not be loaded; the one before goes on.
    pub fn failed(&self) {
        self.successful.store(false, Ordering::Relaxed);
    }

    /// Whether the newest attempt succeeded.
    pub fn last_successful(&self) -> bool {
        self.successful.load(Ordering::Relaxed)
    }

    /// When an attempt last succeeded, if any did.
    pub fn last_success(&self) -> Option<Timestamp> {
        match self.success.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Timestamp::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_counted_per_gate_and_state() {
        let counters = Counters::default();
        let gate = GateName::default();
        counters.decided(&gate, State::Closed);
        counters.decided(&gate, State::Closed);
        counters.decided(&gate, State::Open);
        let decisions = counters.decisions(&gate);
        assert_eq!(
            State::ALL.map(|state| decisions.of(state)),
            [1, 2, 0],
            "open, closed, unknown"
        );
    }

    #[test]
    fn a_held_count_ends_with_its_holder() {
        let counter = AtomicU64::new(0);
        let held = Held::new(&counter);
        assert_eq!(counter.load(Ordering::Relaxed), 1);
        drop(held);
        assert_eq!(counter.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_failed_reload_keeps_the_time_of_the_last_success() {
        let status = ReloadStatus::default();
        assert_eq!(status.last_success(), None);
        status.succeeded(Timestamp::from_nanos(7));
        status.failed();
        assert!(!status.last_successful());
        assert_eq!(status.last_success(), Some(Timestamp::from_nanos(7)));
    }
}
