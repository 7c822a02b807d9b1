//! Sends what curl, Ansible, Jenkins and Rundeck send, and decides as they do (reference
//! `exporters-alerts-and-callers.md` 4.1), in everything that can happen between them and a gate.
//!
//! With the settings of our recipes none of them goes on unless the gate is open: neither after
//! `check`, nor after `enter`, nor after `leave`. What each one does with its default settings is
//! written down beside it, and checked as well.

mod ansible;
mod rundeck;
mod table;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lab::prove::jenkins::{Pipeline, Then};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use upgrade_gate::checks::finding::Subject;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::gate::lease::{End, Ended, LeaseId, Stage, Token};
use upgrade_gate::gate::question::{Answered, Command, Refusal, Reply};
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::Decision;
use upgrade_gate::server::Limits;

use self::table::{Caller, DEFAULTS, RECIPES};
use crate::leases::{lease, owner};
use crate::served::{
    Got, START, Served, VALID, closed, just_started, open, reason, serve, serve_with, unknown,
};

/// How a request ended.
#[derive(Clone, Debug)]
enum Outcome {
    /// A whole response.
    Whole(Got),
    /// A response whose body is shorter than announced.
    Cut(Got),
    /// The connection ended before a whole header came.
    Nothing,
    /// Nobody listens.
    Refused,
    /// The caller's own timeout ended it.
    TimedOut,
}

impl Outcome {
    /// What arrived until the connection ended.
    fn of(bytes: &[u8]) -> Self {
        let Some(got) = Got::parse(bytes) else {
            return Self::Nothing;
        };
        let announced = got.header("content-length").map(|it| it.parse().unwrap());
        if got.body.len() < announced.unwrap_or(0) {
            Self::Cut(got)
        } else {
            Self::Whole(got)
        }
    }

    fn whole(&self) -> Option<&Got> {
        match self {
            Self::Whole(got) => Some(got),
            Self::Cut(_) | Self::Nothing | Self::Refused | Self::TimedOut => None,
        }
    }
}

/// Something that can be between a caller and an open gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Closed,
    Unknown,
    JustStarted,
    EngineHung,
    NoConnectionFree,
    NeverAnswers,
    Down,
    EndsAtOnce,
    /// A closed gate's answer, ended after any number of its bytes.
    CutAnswer,
    /// The base URL without the path: the page for people.
    TypoPage,
    /// The path without `/check`: the document, which is 200 whatever it says.
    TypoDocument,
    /// `/plan` instead of `/check`.
    TypoPlan,
    /// `/history` instead of `/check`.
    TypoHistory,
    /// A path that there is not.
    TypoNowhere,
    TypoGate,
    TypoParameter,
    /// Somebody else answers: a proxy's login page, with 200 to anything.
    Stranger,
    /// The header that `enter` and `leave` need is missing, or the caller is on another machine.
    NotAllowed,
    /// Nobody entered, or the lease is somebody else's by now.
    NotEntered,
}

/// What can happen to anybody who asks; the rest only to `enter` and `leave`.
const TROUBLES: [Trouble; 17] = [
    Trouble::Closed,
    Trouble::Unknown,
    Trouble::JustStarted,
    Trouble::EngineHung,
    Trouble::NoConnectionFree,
    Trouble::NeverAnswers,
    Trouble::Down,
    Trouble::EndsAtOnce,
    Trouble::CutAnswer,
    Trouble::TypoPage,
    Trouble::TypoDocument,
    Trouble::TypoPlan,
    Trouble::TypoHistory,
    Trouble::TypoNowhere,
    Trouble::TypoGate,
    Trouble::TypoParameter,
    Trouble::Stranger,
];

const OF_LEASES: [Trouble; 2] = [Trouble::NotAllowed, Trouble::NotEntered];

/// What is asked, below the gate.
const CHECK: &str = "check";
const ENTER: &str = "enter?node=2&owner=roll-4711";
const LEAVE: &str = "leave?node=2&owner=roll-4711";

fn path(what: &str) -> String {
    format!("/api/v1/gates/default/{what}")
}

/// An engine that gives leases and takes them back while the view is open. `entered`: whether the
/// owner has a lease to give back.
fn engine(mut served: Served, entered: bool) -> (SocketAddr, Arc<upgrade_gate::view::Published>) {
    let (address, published) = (served.address, Arc::clone(&served.published));
    tokio::spawn(async move {
        while let Some(ask) = served.asks.recv().await {
            let state = served.published.load().at(START.mono).state();
            let reply = match (ask.command, state) {
                (Command::Leave { owner, .. }, _) if !entered => {
                    Reply::Refused(Refusal::NotEntered { owner })
                }
                (Command::Leave { .. }, State::Open) => proven_back(),
                (Command::Enter(_), State::Open) => go(),
                (_, state) => says(state),
            };
            let _ = ask.reply.send(reply);
        }
    });
    (address, published)
}

fn proven_back() -> Reply {
    Reply::Over(Box::new(Ended {
        id: LeaseId(3),
        token: Token(7),
        owner: Some(owner("roll-4711")),
        nodes: BTreeSet::from([NodeId(2)]),
        how: End::ProvenBack,
        at: START.wall,
    }))
}

fn go() -> Reply {
    Reply::Go {
        lease: Box::new(lease(Stage::Held)),
        told: Some(1),
        evaluated: START,
    }
}

fn says(state: State) -> Reply {
    Reply::Verdict(Answered::Decided {
        decision: Decision {
            state,
            reasons: vec![reason(Reason::SlotTaken, Subject::Cluster)],
        },
        evaluated: START,
    })
}

impl Caller {
    fn request(&self, address: SocketAddr, target: &str) -> String {
        let headers = self.headers.replace("{host}", &address.to_string());
        format!("{} {target} HTTP/1.1\r\n{headers}\r\n", self.method)
    }

    /// One request as this caller makes it. Its patience is cut from 30 s to what a test can wait.
    async fn ask(&self, address: SocketAddr, target: &str) -> Outcome {
        self.send(address, &self.request(address, target)).await
    }

    async fn send(&self, address: SocketAddr, request: &str) -> Outcome {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            return Outcome::Refused;
        };
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        let read = async {
            // Most callers keep the connection: the response ends where its length says.
            while !matches!(Outcome::of(&bytes), Outcome::Whole(_)) {
                match stream.read(&mut part).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => bytes.extend_from_slice(&part[..length]),
                }
            }
        };
        match timeout(Duration::from_millis(300), read).await {
            Ok(()) => Outcome::of(&bytes),
            Err(_) => Outcome::TimedOut,
        }
    }

    async fn faces(&self, trouble: Trouble, what: &str) -> Vec<Outcome> {
        let ask = |served: Served, target: String| async move {
            let (address, _kept) = engine(served, true);
            vec![self.ask(address, &target).await]
        };
        let right = path(what);
        match trouble {
            Trouble::Closed => ask(serve(closed()).await, right).await,
            Trouble::Unknown => ask(serve(unknown()).await, right).await,
            Trouble::JustStarted => ask(serve(just_started()).await, right).await,
            Trouble::EngineHung => {
                let served = serve(open()).await;
                // The answer of the open gate is in the cache by now; then nothing more comes.
                assert_eq!(served.get(&path(CHECK)).await.status, 200);
                served.clock.advance(VALID + Duration::from_nanos(1));
                vec![self.ask(served.address, &right).await]
            }
            Trouble::NoConnectionFree => {
                let limits = Limits {
                    connections: 0,
                    ..Limits::default()
                };
                ask(serve_with(open(), limits, |_| ()).await, right).await
            }
            Trouble::NeverAnswers => {
                let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
                vec![self.ask(silent.local_addr().unwrap(), &right).await]
            }
            Trouble::Down => {
                let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = gone.local_addr().unwrap();
                drop(gone);
                vec![self.ask(address, &right).await]
            }
            Trouble::EndsAtOnce => vec![self.ask(answering(b"").await, &right).await],
            Trouble::CutAnswer => {
                let (address, _kept) = engine(serve(closed()).await, true);
                let request = self.request(address, &right);
                let request = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
                let answer = crate::served::raw(address, &request).await;
                assert!(matches!(Outcome::of(&answer), Outcome::Whole(_)));
                (0..answer.len())
                    .map(|end| Outcome::of(&answer[..end]))
                    .collect()
            }
            // The gate is closed behind every typo: whoever goes on does so wrongly.
            Trouble::TypoPage => ask(serve(closed()).await, String::from("/")).await,
            Trouble::TypoDocument => {
                let document = String::from("/api/v1/gates/default");
                ask(serve(closed()).await, document).await
            }
            Trouble::TypoPlan => ask(serve(closed()).await, path("plan")).await,
            Trouble::TypoHistory => ask(serve(closed()).await, path("history")).await,
            Trouble::TypoNowhere => {
                let nowhere = right.replacen("gates", "gate", 1);
                ask(serve(closed()).await, nowhere).await
            }
            Trouble::TypoGate => {
                let other = right.replacen("default", "prod", 1);
                ask(serve(closed()).await, other).await
            }
            Trouble::TypoParameter => {
                let mark = if right.contains('?') { '&' } else { '?' };
                ask(serve(closed()).await, format!("{right}{mark}broker=1")).await
            }
            Trouble::Stranger => {
                let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 18\r\n\
                    Connection: close\r\n\r\n<h1>Log in</h1>   ";
                vec![self.ask(answering(page).await, &right).await]
            }
            Trouble::NotAllowed => {
                let (address, _kept) = engine(serve(open()).await, true);
                let request = self.request(address, &right);
                let lines = request.split_inclusive("\r\n");
                let without: String = lines
                    .filter(|line| !line.to_ascii_lowercase().starts_with("x-upgrade-gate"))
                    .collect();
                assert_ne!(without, request);
                vec![self.send(address, &without).await]
            }
            Trouble::NotEntered => {
                let (address, _kept) = engine(serve(open()).await, false);
                vec![self.ask(address, &path(LEAVE)).await]
            }
        }
    }
}

/// A server that says this to anybody, and closes.
async fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    address
}

async fn misled(caller: &Caller, what: &str) -> Vec<Trouble> {
    let mut misled = Vec::new();
    let of_leases: &[Trouble] = if what == CHECK { &[] } else { &OF_LEASES };
    for trouble in TROUBLES.iter().chain(of_leases).copied() {
        let outcomes = caller.faces(trouble, what).await;
        assert!(!outcomes.is_empty());
        if trouble == Trouble::NeverAnswers {
            assert!(matches!(outcomes[0], Outcome::TimedOut));
            if !caller.gives_up {
                // Without a timeout of its own it hangs: it does not go on either.
                continue;
            }
        }
        if outcomes.iter().any(|outcome| (caller.goes_on)(outcome)) {
            misled.push(trouble);
        }
    }
    misled
}

#[tokio::test]
async fn with_our_settings_nobody_goes_on_unless_the_gate_is_open() {
    for caller in &RECIPES {
        for what in [CHECK, ENTER, LEAVE] {
            let misled = misled(caller, what).await;
            assert_eq!(misled, caller.misled_by, "{}: {what}", caller.name);
        }
        let gives_up = caller.gives_up;
        assert!(gives_up, "{}: a recipe has a timeout", caller.name);
    }
    // The one exception there may be is written down above.
    let exceptions = RECIPES.iter().filter(|caller| !caller.misled_by.is_empty());
    assert_eq!(exceptions.count(), 1);
}

#[tokio::test]
async fn what_default_settings_do_is_known() {
    for caller in &DEFAULTS {
        let misled = misled(caller, CHECK).await;
        assert_eq!(misled, caller.misled_by, "{}", caller.name);
    }
}

#[tokio::test]
async fn everybody_goes_on_when_the_gate_is_open() {
    let targets = |caller: &Caller| {
        if caller
            .headers
            .to_ascii_lowercase()
            .contains("x-upgrade-gate")
        {
            &[CHECK, ENTER, LEAVE][..]
        } else {
            &[CHECK]
        }
    };
    for caller in DEFAULTS.iter().chain(&RECIPES) {
        for what in targets(caller) {
            let (address, _kept) = engine(serve(open()).await, true);
            let outcome = caller.ask(address, &path(what)).await;
            assert!((caller.goes_on)(&outcome), "{}: {outcome:?}", caller.name);
        }
    }
}

/// curl's `--retry`, Ansible's `until` and Jenkins' `waitUntil` ask again until the answer fits. A
/// whole step of a rolling restart: `enter` until go, the restart, `leave` until back.
#[tokio::test]
async fn whoever_polls_goes_on_at_the_first_open_answer() {
    for caller in &RECIPES {
        let (address, published) = engine(serve(closed()).await, true);
        for what in [CHECK, ENTER, LEAVE] {
            for view in [closed(), unknown(), closed()] {
                published.publish(Arc::new(view));
                let outcome = caller.ask(address, &path(what)).await;
                assert!(!(caller.goes_on)(&outcome), "{}: {what}", caller.name);
                // What curl retries by itself, with the pause it obeys (reference 0.4).
                let got = outcome.whole().unwrap();
                let pause: u64 = got.header("retry-after").unwrap().parse().unwrap();
                assert!(got.status == 503 && pause <= 15);
            }
            published.publish(Arc::new(open()));
            let outcome = caller.ask(address, &path(what)).await;
            assert!((caller.goes_on)(&outcome), "{}: {what}", caller.name);
        }
    }
}

/// The proof `callers` replays the pipeline of the Jenkins recipe as its page has it; here it meets
/// the gate's own answers.
#[tokio::test]
async fn the_jenkins_recipe_goes_on_at_open_only_and_ends_at_what_no_waiting_cures() {
    let page = std::fs::read_to_string("docs/recipes/jenkins.md").unwrap();
    let pipeline = Pipeline::read(&page).unwrap();
    let headers = pipeline.headers("t0ken-of-the-test");
    let ask = async |served: Served, entered, headers: &[(String, String)], what: &str| {
        let (address, _kept) = engine(served, entered);
        let target = pipeline.target(what, "2", "roll-4711");
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines = lines.collect::<Vec<_>>().concat();
        let request = format!(
            "{} /api/v1/gates/default{target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Connection: close\r\n\r\n",
            pipeline.method
        );
        let answer = crate::served::raw(address, &request).await;
        let got = Got::parse(&answer).unwrap();
        pipeline.then(got.status, &got.body)
    };
    let (before, after) = &pipeline.around;
    for what in [before, after] {
        assert_eq!(
            ask(serve(open()).await, true, &headers, what).await,
            Then::GoesOn
        );
        assert_eq!(
            ask(serve(closed()).await, true, &headers, what).await,
            Then::Again
        );
        assert_eq!(
            ask(serve(unknown()).await, true, &headers, what).await,
            Then::Again
        );
        // Without the header it is 403.
        assert_eq!(ask(serve(open()).await, true, &[], what).await, Then::Ends);
    }
    let not_entered = ask(serve(open()).await, false, &headers, after).await;
    assert_eq!(not_entered, Then::Ends);
}
