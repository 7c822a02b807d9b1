//! HTTP: the verdict for pipelines, the document for tools, the page for people.
//!
//! Everything is served from memory: the published views, read through their expiry at the moment
//! of the answer. Only questions that a view cannot answer (several nodes, newer evidence) go to
//! the engine, and the history comes from the store. The server is our own accept loop around
//! hyper's HTTP/1.1, because caps, timeouts and a bounded end are what keeps it answering
//! (DESIGN.md 5, reference `rust-style-and-crates.md` 4.2).
//!
//! - [`access`], `admit`, `asker`, `peers`: who asks, what they may do, and how much of it; `access_log`;
//! - [`endpoint`], [`route`] and [`query`]: what is asked, purely;
//! - [`body`], [`problem`]: what is answered; [`openapi`], [`parameter`]: all of it for programs;
//! - `check`, `plan`, `lease`, `change`: verdict by status, what each node may do, leases; `turns`:
//!   one at a time;
//! - `page`, `text`: the verdict for people, as plain text;
//! - [`readiness`]: whether there is anything to ask yet.

mod accept;
pub mod access;
mod access_log;
mod admit;
mod app;
mod asker;
pub mod body;
mod came;
mod change;
mod check;
mod claim;
pub mod endpoint;
mod lease;
pub mod lease_query;
mod listen;
pub mod openapi;
mod page;
pub mod parameter;
mod peers;
mod plan;
pub mod problem;
pub mod query;
pub mod readiness;
mod reply;
pub mod route;
mod signed;
mod spare;
mod stall;
mod text;
mod turns;
mod verdict;
mod waiting;

use std::time::Duration;

pub use app::{AppState, History, HistoryFuture, NoHistory, Reload, ReloadFuture};
pub use listen::{ListenError, Server, serve_stream};

/// How much of the server one caller, or all of them, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; more are told 503.
    pub connections: usize,
    /// Connections of one address open at once; more are told 503.
    pub connections_per_peer: usize,
    /// Requests and new connections of one address in a second, more are told 503; `None`: as
    /// many as it likes.
    pub requests_per_second: Option<u32>,
    /// Requests that wait for a gate to open at once; more are answered at once.
    pub waiters: usize,
    /// Of one address; more are answered at once.
    pub waiters_per_peer: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a request's header may take, how long a connection may be idle, and how long a
    /// body may take.
    pub header_read: Duration,
    /// How large a request's header may be, in bytes; hyper wants at least 8192.
    pub header_bytes: usize,
    /// How large a request's ignored body may be, in bytes.
    pub body_bytes: usize,
    /// How long a request may take in all: more than the longest wait and one grant.
    pub request: Duration,
    /// How long the engine may take for one question.
    pub decide: Duration,
    /// How long it may take for one lease or change: new evidence, and then the store.
    pub grant: Duration,
    /// How long a caller may leave an answer unread.
    pub write_stall: Duration,
    /// How long requests under way may take at the end of the process.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_peer: 512,
            requests_per_second: None,
            waiters: 128,
            waiters_per_peer: 128,
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            request: Duration::from_secs(70),
            decide: Duration::from_secs(5),
            grant: Duration::from_secs(12),
            write_stall: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// How a verdict is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// For programs.
    Json,
    /// For people at a shell.
    Text,
}
