//! The proof `security`: the gate logs in to real brokers in every way they know, and says of every
//! way of not getting in what it is. Then a session that ends every ten seconds, and no gap.

mod apart;
mod doctors;
mod oidc;
mod place;
mod ways;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use place::{PRINCIPALS, Place, grant};
use ways::{Case, Heard, Way};

use super::gate::{Answer, Gate, Poller};
use super::report::{Header, write};
use super::watch::{PATIENCE, WINDOW, Watched, seconds, watch};
use crate::cluster::Cluster;
use crate::principals::{GROUP, LEAST};
use crate::release::Release;

/// How long the gate is watched after it said what is wanted: it must not open.
const STAY: Duration = Duration::from_secs(3);
/// How long it may take to say it.
const LIMIT: Duration = Duration::from_secs(30);
/// How long rights are gone: every fact is asked for meanwhile, and refused.
const WITHOUT_RIGHTS: Duration = Duration::from_secs(65);
/// Rights that are given back are seen so soon, and the window is over.
const BACK: Duration = Duration::from_secs(25);

/// What to prove.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kafka releases; ZooKeeper below 3.3
    #[arg(long, value_delimiter = ',', default_values_t = [Release::V2_8_2, Release::V3_9_2, Release::V4_3_1])]
    releases: Vec<Release>,
    /// How long sessions that end every ten seconds are watched
    #[arg(long, default_value_t = 300)]
    session_seconds: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    release: String,
    way: &'static str,
    protocol: &'static str,
    case: &'static str,
    expected: String,
    state: String,
    codes: Vec<String>,
    /// The step that was named of what is wrong.
    step: Option<String>,
    said: String,
    seconds: Option<f64>,
    wrong_opens: usize,
    ok: bool,
}

impl Row {
    fn print(&self) {
        println!(
            "{} {} {} {}: {} {} {:?} {}",
            self.release,
            self.way,
            self.protocol,
            self.case,
            self.ok,
            self.state,
            self.seconds,
            self.said
        );
    }
}

#[derive(Debug, Serialize)]
struct Sessions {
    release: String,
    /// How long a session lasts, seconds.
    lasts: u64,
    /// How long the gate was watched, seconds.
    watched: f64,
    poll_ms: u64,
    /// Connections that were replaced before their session ended.
    replaced: usize,
    polls: usize,
    open: usize,
    closed: usize,
    unknown: usize,
    unanswered: usize,
    ok: bool,
}

#[derive(Debug, Serialize)]
struct Proof {
    #[serde(flatten)]
    header: Header,
    window: &'static str,
    rows: Vec<Row>,
    sessions: Sessions,
}

/// Goes through every release and way, and writes the proof.
///
/// # Errors
/// When a cluster cannot be started, or a row is not as expected.
pub async fn run(args: &Args) -> Result<()> {
    let names = args.releases.iter().map(ToString::to_string).collect();
    let header = Header::new("security", names);
    let mut rows = Vec::new();
    let mut sessions = None;
    let last = args.releases.last().copied().context("name a release")?;
    for release in &args.releases {
        let place = Place::make()?;
        let server = match release.has_kraft() {
            true => Some(place.login_server().await?),
            // Kafka checks signatures from 3.1 on.
            false => None,
        };
        let cluster = place.start(*release, server.as_ref()).await?;
        println!("{release}: {}", cluster.dir().display());
        right(&place, &cluster, &mut rows).await?;
        group(&place, &cluster, &mut rows).await?;
        doctors::run(&place, &cluster, &mut rows).await?;
        wrong(&place, &cluster, &mut rows).await?;
        if let Some(server) = &server {
            oidc::run(&place, &cluster, server, &mut rows).await?;
        }
        if *release == last {
            let span = Duration::from_secs(args.session_seconds);
            sessions = Some(watch_sessions(&place, &cluster, span).await?);
        }
        drop(cluster);
        if release.has_kraft() {
            apart::run(*release, &mut rows).await?;
        }
    }
    let proof = Proof {
        header: header.ended(),
        window: WINDOW,
        rows,
        sessions: sessions.context("watch sessions")?,
    };
    let path = write("security", &proof)?;
    println!("wrote {}", path.display());
    let bad: Vec<_> = proof.rows.iter().filter(|row| !row.ok).collect();
    ensure!(bad.is_empty(), "see every row as expected: {bad:#?}");
    ensure!(proof.sessions.ok, "see no gap: {:#?}", proof.sessions);
    Ok(())
}

/// A gate in front of a door, and what has to be heard of it.
struct Asked {
    way: Way,
    door: &'static str,
    case: &'static str,
    heard: Heard,
    gate: Gate,
}

/// Watches all of them at once; in the order given.
async fn watch_all(
    all: Vec<Asked>,
    limit: Duration,
    stay: Duration,
    wanted: fn(&Answer, Heard) -> bool,
) -> Result<Vec<(Asked, Watched)>> {
    let mut tasks = Vec::new();
    for asked in all {
        tasks.push(tokio::spawn(async move {
            let heard = asked.heard;
            let seen = watch(&asked.gate, limit, stay, move |answer| {
                wanted(answer, heard)
            })
            .await;
            (asked, seen)
        }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await?);
    }
    Ok(seen)
}

fn is_open(answer: &Answer, _: Heard) -> bool {
    answer.is_open()
}

fn is_named(answer: &Answer, heard: Heard) -> bool {
    !answer.is_open() && answer.reasons.iter().any(|reason| heard.is_in(reason))
}

/// Every way in, with the least rights: opens. Then the rights are taken away and given back.
async fn right(place: &Place, cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    let mut gates = Vec::new();
    for way in Way::ALL {
        let doors: &[&'static str] = match way {
            Way::Certificate => &["MTLS"],
            _ => &["SECURE", "INTHECLEAR"],
        };
        for door in doors {
            let name = format!("right-{}-{door}", way.name());
            let config = place.config(cluster, &name, door, way, None)?;
            gates.push(Asked {
                way,
                door,
                case: "right",
                heard: Heard::of("authorization", "grant the gate"),
                gate: Gate::start(&[config]).await?,
            });
        }
    }
    let now = Duration::ZERO;
    let mut gates = keep(
        cluster,
        rows,
        "right",
        "open",
        watch_all(gates, PATIENCE, now, is_open).await?,
    );
    for principal in PRINCIPALS {
        cluster.revoke_all(principal).await?;
    }
    let seen = watch_all(gates, LIMIT, WITHOUT_RIGHTS, is_named).await?;
    let expected = "not open again; step authorization; says \"grant the gate\"";
    gates = keep(cluster, rows, "rights_removed", expected, seen);
    grant(cluster).await?;
    let seen = watch_all(gates, BACK, now, is_open).await?;
    let expected = "open within 25 s, after more than a minute without rights";
    keep(cluster, rows, "rights_given_back", expected, seen);
    Ok(())
}

/// A group that is watched without the right to is named, and shuts nothing.
async fn group(place: &Place, cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    let (way, door) = (Way::Scram512, "SECURE");
    let gate = Gate::start(&[place.config(cluster, "group", door, way, None)?]).await?;
    gate.wait_open(PATIENCE).await?;
    let mut gates = vec![Asked {
        way,
        door,
        case: "group",
        heard: Heard::words("no right to see it"),
        gate,
    }];
    let of_group = LEAST.into_iter().find(|(_, name, _)| *name == GROUP);
    cluster
        .revoke("User:gate", of_group.context("a right on a group")?)
        .await?;
    let seen = watch_all(gates, LIMIT, STAY, names_the_group).await?;
    let expected = "open; warns that it may not see the group";
    gates = keep(cluster, rows, "group_right_removed", expected, seen);
    grant(cluster).await?;
    for asked in &mut gates {
        asked.heard = Heard::words("no committed offset");
    }
    let seen = watch_all(gates, LIMIT, STAY, names_the_group).await?;
    let expected = "open; warns that the group has no offsets";
    keep(cluster, rows, "group_right_given_back", expected, seen);
    Ok(())
}

fn names_the_group(answer: &Answer, heard: Heard) -> bool {
    let mut reasons = answer.reasons.iter();
    answer.is_open() && reasons.any(|reason| reason.code == "group_unknown" && heard.is_in(reason))
}

/// Makes rows of what was seen, and hands the gates back.
fn keep(
    cluster: &Cluster,
    rows: &mut Vec<Row>,
    case: &'static str,
    expected: &str,
    seen: Vec<(Asked, Watched)>,
) -> Vec<Asked> {
    let mut gates = Vec::new();
    for (asked, seen) in seen {
        let wrong = if expected.starts_with("open") {
            0
        } else {
            seen.reopened()
        };
        rows.push(row(
            cluster, asked.way, asked.door, case, expected, seen, wrong,
        ));
        gates.push(asked);
    }
    gates
}

/// Every fault of every way: never open, and called by its name.
async fn wrong(place: &Place, cluster: &Cluster, rows: &mut Vec<Row>) -> Result<()> {
    for way in Way::ALL {
        let mut gates = Vec::new();
        for case in Case::ALL {
            let Some(words) = case.words(way) else {
                continue;
            };
            let door = match (case, way) {
                (Case::ExpiredCertificate, _) => "EXPIRED",
                (Case::WrongHost, _) => "ELSEWHERE",
                (_, Way::Certificate) => "MTLS",
                _ => "SECURE",
            };
            let name = format!("{}-{}", case.name(), way.name());
            let config = place.config(cluster, &name, door, way, Some(case))?;
            gates.push(Asked {
                way,
                door,
                case: case.name(),
                heard: Heard::of(case.step(way), words),
                gate: Gate::start(&[config]).await?,
            });
        }
        if way == Way::Scram512 {
            gates.push(nodes_named(place, cluster, way).await?);
        }
        for (asked, seen) in watch_all(gates, LIMIT, STAY, is_named).await? {
            let opens = seen.opens();
            let expected = asked.heard.never_open();
            let (door, case) = (asked.door, asked.case);
            rows.push(row(cluster, way, door, case, &expected, seen, opens));
        }
    }
    Ok(())
}

/// The nodes are configured, and found through addresses that refuse the login.
async fn nodes_named(place: &Place, cluster: &Cluster, way: Way) -> Result<Asked> {
    const CASE: &str = "wrong_secret_nodes_named";
    let words = Case::WrongSecret.words(way).context("words for it")?;
    let file = place.config(cluster, CASE, "SECURE", way, Some(Case::WrongSecret))?;
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let roles = if cluster.spec().release.has_kraft() {
        "combined"
    } else {
        "broker"
    };
    let nodes = [1, 2, 3].map(|id: i32| (id.to_string(), serde_json::json!(roles)));
    config["gates"]["default"]["nodes"] = serde_json::Value::Object(nodes.into_iter().collect());
    std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    Ok(Asked {
        way,
        door: "SECURE",
        case: CASE,
        heard: Heard::of(Case::WrongSecret.step(way), words),
        gate: Gate::start(&[file]).await?,
    })
}

/// Without the names of this run's folders, which are of no use to a reader.
fn without_folders(words: &str) -> String {
    let folder = std::env::temp_dir();
    let begin = format!("{}/", folder.display());
    let mut parts = words.split(&begin);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, file) = part.split_once('/').unwrap_or(("", part));
        out.push_str("FOLDER/");
        out.push_str(file);
    }
    out
}

/// Everything that is said of what keeps the gate shut; what has these words comes first.
fn said(answer: &Answer, words: &str) -> String {
    let all = answer.reasons.iter().map(|reason| reason.observed.as_str());
    let (first, rest): (Vec<_>, Vec<_>) = all.partition(|observed| observed.contains(words));
    [first, rest].concat().join("; ")
}

/// The step of what has these words.
fn step(answer: &Answer, words: &str) -> Option<String> {
    let mut reasons = answer.reasons.iter();
    reasons.find_map(|it| it.step.clone().filter(|_| it.observed.contains(words)))
}

fn row(
    cluster: &Cluster,
    way: Way,
    door: &str,
    case: &'static str,
    expected: &str,
    seen: Watched,
    wrong_opens: usize,
) -> Row {
    let told = Told {
        release: cluster.spec().release,
        way: way.name(),
        protocol: match (way, door) {
            (Way::Certificate, _) => "SSL",
            (_, "INTHECLEAR") => "SASL_PLAINTEXT",
            _ => "SASL_SSL",
        },
        case,
    };
    row_of(told, expected, seen, wrong_opens)
}

/// What a row is about.
#[derive(Clone, Copy)]
struct Told {
    release: Release,
    way: &'static str,
    protocol: &'static str,
    case: &'static str,
}

fn row_of(told: Told, expected: &str, seen: Watched, wrong_opens: usize) -> Row {
    let at = seen.found.as_ref().map(|(at, _)| seconds(*at));
    let answer = seen.found.map(|(_, answer)| answer).or(seen.last);
    let wanted = expected.split('"').nth(1).unwrap_or_default();
    let words = answer.as_ref().map(|answer| said(answer, wanted));
    let words = words.unwrap_or_default();
    let row = Row {
        release: told.release.to_string(),
        way: told.way,
        protocol: told.protocol,
        case: told.case,
        expected: expected.to_owned(),
        state: answer.as_ref().map(|a| a.state.clone()).unwrap_or_default(),
        codes: answer.as_ref().map(Answer::codes).unwrap_or_default(),
        step: answer.as_ref().and_then(|answer| step(answer, wanted)),
        said: without_folders(&words).chars().take(400).collect(),
        seconds: at,
        wrong_opens,
        ok: at.is_some() && wrong_opens == 0,
    };
    row.print();
    row
}

/// Sessions of ten seconds under polling: nothing of it is seen.
async fn watch_sessions(place: &Place, cluster: &Cluster, span: Duration) -> Result<Sessions> {
    const PACE: Duration = Duration::from_millis(20);
    let config = place.config(cluster, "sessions", "SHORT", Way::Scram512, None)?;
    let gate = Gate::start(&[config]).await?;
    gate.wait_open(PATIENCE).await?;
    let begun = Instant::now();
    let poller = Poller::start(gate.port(), PACE);
    tokio::time::sleep(span).await;
    let looks = poller.take();
    let watched = begun.elapsed();
    let count = |state: &str| {
        let said = looks.iter().filter_map(|look| look.answer.as_ref());
        said.filter(|answer| answer.state == state).count()
    };
    let log = gate.log_tail(usize::MAX);
    let (open, closed, unknown) = (count("open"), count("closed"), count("unknown"));
    let replaced = log.matches("a new connection follows").count();
    // Two connections to each broker, each replaced after at most 8.5 s.
    let least = usize::try_from(span.as_secs() / 10 * 2 * 3).unwrap_or(usize::MAX);
    let sessions = Sessions {
        release: cluster.spec().release.to_string(),
        lasts: 10,
        watched: seconds(watched),
        poll_ms: 20,
        replaced,
        polls: looks.len(),
        open,
        closed,
        unknown,
        unanswered: looks.len() - open - closed - unknown,
        ok: open == looks.len() && replaced >= least,
    };
    println!("{sessions:?}");
    Ok(sessions)
}
