//! One connection to the HTTP server: request line, headers, query and body to answers.
//!
//! The first byte chooses what the gate says, the rest is what a caller sends.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::clock::Clock;
use upgrade_gate::engine::handle::Ask;
use upgrade_gate::gate::parts::ViewParts;
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::View;
use upgrade_gate::server::query::CLOSED_STATUSES;
use upgrade_gate::server::{AppState, Limits, serve_stream};
use upgrade_gate::time::{Mono, Now, Timestamp};

use super::served;

const NOW: Now = Now {
    mono: Mono::from_nanos(1_000_000_000_000),
    wall: Timestamp::from_nanos(1_795_000_000_000_000_000),
};

/// The only path that answers by status.
const CHECK: &str = "/api/v1/gates/default/check";

/// What a server may say to anything. Never 1xx but 100, 204, 3xx, 408 or a 5xx of its own making.
const STATUSES: [u16; 13] = [
    200, 400, 403, 404, 405, 409, 412, 413, 414, 423, 425, 429, 431,
];

thread_local! {
    static SERVED: OnceCell<Served> = const { OnceCell::new() };
}

/// Sends one connection's bytes.
///
/// # Panics
/// When something does not hold.
pub fn run(input: &[u8]) {
    let Some((choice, sent)) = input.split_first() else {
        return;
    };
    SERVED.with(|served| {
        let served = served.get_or_init(Served::new);
        let worlds = &served.worlds;
        let world = &worlds[usize::from(*choice) % worlds.len()];
        let exchange = || served.runtime.block_on(exchange(world.app.clone(), sent));
        let answer = super::bounded(512 << 10, 64, sent.len(), exchange);
        judge(world, sent, &answer);
    });
}

struct Served {
    runtime: Runtime,
    worlds: Vec<World>,
}

struct World {
    opens: bool,
    app: AppState,
    /// Nobody reads it: questions to the engine are not answered here.
    _inbox: Receiver<Ask>,
}

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Now {
        NOW
    }
}

impl Served {
    fn new() -> Self {
        // With its clock paused: whatever waits for a time is there at once.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        let closed = served::under_replicated(NOW, Subject::Cluster);
        let open = || served::view(NOW, Vec::new());
        let expired = ViewParts {
            valid_until: NOW.mono.minus(Duration::from_secs(1)),
            ..open().at(NOW.mono).last_known().clone()
        };
        Self {
            runtime: runtime.expect("a runtime"),
            worlds: vec![
                World::new(served::view(NOW, vec![closed])),
                World::new(served::just_started(NOW)),
                World::new(View::new(expired)),
                World::new(open()),
            ],
        }
    }
}

impl World {
    fn new(view: View) -> Self {
        let opens = view.at(NOW.mono).state() == State::Open;
        let (app, _, inbox) = served::app(view, Arc::new(StandingClock));
        Self {
            opens,
            app,
            _inbox: inbox,
        }
    }
}

/// Everything the server writes until it closes.
async fn exchange(app: AppState, sent: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = duplex(64 << 10);
    let caller = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let stop = CancellationToken::new();
    let serving = serve_stream(theirs, caller, app, Limits::default(), stop);
    let asking = async {
        let mut answer = Vec::new();
        let _ = ours.write_all(sent).await;
        let _ = ours.shutdown().await;
        let _ = ours.read_to_end(&mut answer).await;
        answer
    };
    tokio::join!(serving, asking).1
}

/// What a caller may be told.
fn judge(world: &World, sent: &[u8], answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    if !world.opens {
        for open in [
            "\"open\":true",
            "\"state\":\"open\"",
            "state: open",
            "\nOPEN\n",
        ] {
            assert!(
                !text.contains(open),
                "{open} from a gate that is not:\n{text}"
            );
        }
        assert!(
            !text.contains("upgrade_gate_open{gate=\"default\"} 1"),
            "{text}"
        );
    }
    let Some(first) = First::of(answer) else {
        return; // The server closed without a word, as it does where nothing whole came.
    };
    let status = first.status;
    assert!(
        STATUSES.contains(&status) || status == 503,
        "status {status}:\n{text}"
    );
    let (method, path) = asked(sent);
    if path == CHECK {
        if !world.opens {
            let refused = [400, 405, 413, 414, 431].contains(&status);
            assert!(
                refused || CLOSED_STATUSES.contains(&status),
                "{status} closed:\n{text}"
            );
        }
    } else if method == "POST" {
        assert!(
            status >= 400,
            "{status} to a POST that is no check:\n{text}"
        );
    }
    if method != "HEAD" && first.says("content-type", "json") {
        first.is_whole_json(world.opens && status == 200);
    }
}

/// Method and path of the first request line, where there is one in the usual form. Empty lines
/// before it are skipped, as a server should (RFC 9112, 2.2).
fn asked(sent: &[u8]) -> (&str, &str) {
    let line = sent
        .trim_ascii_start()
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let mut words = line.split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let path = target.split('?').next().unwrap_or_default();
    (method, path)
}

/// The first answer that is one.
struct First<'a> {
    status: u16,
    head: &'a str,
    rest: &'a [u8],
}

impl<'a> First<'a> {
    fn of(answer: &'a [u8]) -> Option<Self> {
        if answer.is_empty() {
            return None;
        }
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, rest) = answer.split_at(end.expect("a whole header") + 4);
        let head = std::str::from_utf8(head).expect("a header of text");
        let status = head
            .strip_prefix("HTTP/1.")
            .expect("HTTP/1")
            .get(2..5)
            .expect("a status");
        match status.parse().expect("a number") {
            100 => Self::of(rest),
            status => Some(Self { status, head, rest }),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    fn says(&self, name: &str, word: &str) -> bool {
        self.header(name).is_some_and(|value| value.contains(word))
    }

    /// The body is JSON of the length announced; what says `open` in it says it truly.
    fn is_whole_json(&self, may_open: bool) {
        let length = self.header("content-length").expect("a length");
        let length: usize = length.parse().expect("a number");
        let body = self.rest.get(..length).expect("a whole body");
        let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let open = body
            .get("open")
            .map(|open| open.as_bool().expect("true or false"));
        assert!(may_open || open != Some(true), "{body:#}");
    }
}
