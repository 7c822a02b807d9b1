//! One connection to the HTTP server: request line, headers, query and body to answers, with an
//! engine behind it that answers what it is asked.
//!
//! The first byte chooses what the gate says (two bits), how its engine answers (five bits) and
//! whether the caller hangs up at once; the rest is what a caller sends.

mod answer;
mod engine;
mod seeds;
mod world;

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use upgrade_gate::gate::question::Command;
use upgrade_gate::gate::state::GateName;
use upgrade_gate::server::endpoint::Endpoint;
use upgrade_gate::server::query::CLOSED_STATUSES;
use upgrade_gate::server::route::Route;
use upgrade_gate::server::{Limits, serve_stream};

pub use self::engine::Manner;
pub use self::seeds::{asks, dictionary, seeds};

use self::answer::{Asked, First};
use self::engine::{LEASE, Said, TOKEN};
use self::world::{World, worlds};

/// What a server may say to anything. Never 1xx but 100, 204, 3xx, 408 or a 5xx of its own making.
const STATUSES: [u16; 14] = [
    200, 400, 403, 404, 405, 409, 412, 413, 414, 423, 425, 429, 431, 503,
];

thread_local! {
    static SERVED: OnceCell<Served> = const { OnceCell::new() };
}

struct Served {
    runtime: Runtime,
    worlds: Vec<World>,
}

/// How far the first request of an input came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// What it asks for.
    pub endpoint: Option<Endpoint>,
    /// Its method.
    pub method: Method,
    /// The status of its answer.
    pub status: u16,
    /// How the engine answers.
    pub manner: Manner,
    /// Whether the engine was asked anything.
    pub asked: bool,
}

/// Sends one connection's bytes.
///
/// # Panics
/// When something does not hold.
pub fn run(input: &[u8]) {
    let _ = reached(input);
}

/// The same, and says how far it came; `None` where the server closed without a word, or the
/// request line is none.
///
/// # Panics
/// When something does not hold.
pub fn reached(input: &[u8]) -> Option<Reached> {
    let (choice, sent) = input.split_first()?;
    SERVED.with(|served| {
        let served = served.get_or_init(Served::new);
        let world = &served.worlds[usize::from(choice & 3)];
        let manner = Manner::of(choice >> 2 & 31);
        let hangs_up = choice & 0x80 != 0;
        let exchange = || {
            served
                .runtime
                .block_on(exchange(world, manner, sent, hangs_up))
        };
        // The OpenAPI document is made for each request: 2 MB while it is.
        let (answer, said) = super::bounded(4 << 20, 64, sent.len(), exchange);
        judge(world, sent, &answer, &said, manner)
    })
}

impl Served {
    fn new() -> Self {
        // With its clock paused: whatever waits for a time is there at once.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        Self {
            runtime: runtime.expect("a runtime"),
            worlds: worlds(),
        }
    }
}

/// Everything the server writes until it closes, and what its engine said meanwhile. It closes by
/// itself what is idle; a caller who hangs up at once gets no answer that takes time.
async fn exchange(
    world: &World,
    manner: Manner,
    sent: &[u8],
    hangs_up: bool,
) -> (Vec<u8>, Vec<Said>) {
    let mut inbox = world.inbox.lock().await;
    // Of a caller before who hung up.
    while inbox.try_recv().is_ok() {}
    let (mut ours, theirs) = duplex(64 << 10);
    let caller = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let stop = CancellationToken::new();
    let serving = serve_stream(theirs, caller, world.app.clone(), Limits::default(), stop);
    let asking = async {
        let mut answer = Vec::new();
        let _ = ours.write_all(sent).await;
        if !hangs_up {
            let _ = timeout(Duration::from_secs(300), ours.read_to_end(&mut answer)).await;
        }
        let _ = ours.shutdown().await;
        let _ = ours.read_to_end(&mut answer).await;
        answer
    };
    let mut said = Vec::new();
    let answer = tokio::select! {
        biased;
        never = engine::serve(&mut inbox, manner, &mut said) => match never {},
        ((), answer) = async { tokio::join!(serving, asking) } => answer,
    };
    (answer, said)
}

/// What a caller may be told.
fn judge(
    world: &World,
    sent: &[u8],
    answer: &[u8],
    said: &[Said],
    manner: Manner,
) -> Option<Reached> {
    let text = String::from_utf8_lossy(answer);
    let granted = said.iter().any(Said::is_yes);
    let may_open = world.opens || granted;
    never_open(&text, world.opens, may_open);
    let marked = || {
        sent.to_ascii_lowercase()
            .windows(14)
            .any(|it| it == b"x-upgrade-gate")
    };
    assert!(
        !said.iter().any(Said::changes) || marked(),
        "asked to change something without the header: {said:?}"
    );
    // The server closed without a word, as it does where nothing whole came.
    let first = First::of(answer)?;
    let asked = Asked::of(sent);
    let route = asked.as_ref().and_then(Asked::route);
    let endpoint = route.as_ref().map(Route::endpoint);
    let status = first.status;
    assert!(STATUSES.contains(&status), "status {status}:\n{text}");
    let asked = asked?;
    match &route {
        None => assert!(status >= 400, "{status} to no question:\n{text}"),
        Some(Route::Check(gate, _)) if *gate == GateName::default() => {
            let refused = [400, 413, 431].contains(&status);
            let closed = refused || CLOSED_STATUSES.contains(&status);
            assert!(may_open || closed, "{status} closed:\n{text}");
        }
        Some(Route::Check(..)) => assert!(status >= 400, "{status} of another gate:\n{text}"),
        Some(Route::Reload) => {}
        Some(_) if asked.reads() => {}
        Some(_) => assert!(granted || status >= 400, "{status} for nothing:\n{text}"),
    }
    if status == 200
        && let Some(route) = &route
    {
        was_asked(route, said);
    }
    if asked.method != Method::HEAD {
        let body = first.json();
        is_true(body.as_ref(), endpoint, status, may_open);
    }
    Some(Reached {
        endpoint,
        method: asked.method,
        status,
        manner,
        asked: !said.is_empty(),
    })
}

fn never_open(text: &str, published: bool, may_open: bool) {
    let words = [
        "\"open\":true",
        "\"state\":\"open\"",
        "state: open",
        "\nOPEN\n",
    ];
    if let Some(open) = words.iter().find(|open| text.contains(**open)) {
        assert!(may_open, "{open} from a gate that is not:\n{text}");
    }
    let metric = "upgrade_gate_open{gate=\"default\"} 1";
    assert!(published || !text.contains(metric), "{text}");
}

/// A 200 is the answer to the question in the URL, and not to another one.
fn was_asked(route: &Route, said: &[Said]) {
    let first = said.first().map(|said| &said.command);
    let fits = match (route, first) {
        (Route::Enter(_, query), Some(Command::Enter(entry))) => {
            let (claim, named) = (&query.claim, &query.claim.targets.nodes);
            entry.owner == claim.owner
                && entry.ttl == query.ttl
                && entry.action == query.action
                && entry.nodes.is_superset(named)
                && !entry.nodes.is_empty()
        }
        (
            Route::Leave(_, query),
            Some(Command::Leave {
                owner,
                nodes,
                unused,
            }),
        ) => {
            let claim = &query.claim;
            *owner == claim.owner
                && *unused == query.unused
                && nodes.is_superset(&claim.targets.nodes)
                && !nodes.is_empty()
        }
        (Route::Change(_, change), Some(Command::Change(asked))) => change == asked,
        (Route::Enter(..) | Route::Leave(..) | Route::Change(..), _) => false,
        _ => true,
    };
    assert!(fits, "{route:?} was answered by {said:?}");
}

/// A body that says `open` says it truly, and a lease is given only with its token.
fn is_true(
    body: Option<&serde_json::Value>,
    endpoint: Option<Endpoint>,
    status: u16,
    may_open: bool,
) {
    let Some(body) = body else { return };
    let open = body
        .get("open")
        .map(|open| open.as_bool().expect("true or false"));
    assert!(may_open && status == 200 || open != Some(true), "{body:#}");
    if endpoint == Some(Endpoint::Enter) && open.is_some() {
        let lease = (body["lease"].as_u64(), body["token"].as_u64());
        let given = (Some(LEASE.0), Some(TOKEN.0));
        assert_eq!(lease == given, status == 200, "{body:#}");
        assert!(status == 200 || lease == (None, None), "{body:#}");
    }
    if endpoint == Some(Endpoint::Leave) && open.is_some() {
        let how = body["how"].as_str();
        let back = how == Some("proven_back") || how == Some("never_gone");
        assert_eq!(back, status == 200, "{body:#}");
    }
}
