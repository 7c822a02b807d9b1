//! Sessions that end, in front of a broker that hangs up when they have; what a hang-up says; log dirs
//! that are read too early.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    ApiKey, DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsResponse,
    SaslAuthenticateResponse, SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::shared::{Settings, Shared};
use super::wants::Wants;
use super::{discover, node};
use crate::clock::SystemClock;
use crate::evidence::facts::{Facts, Identity};
use crate::evidence::ids::{NodeId, Role, Uuid};
use crate::evidence::partitions::{Builder, Partition, PartitionTable};
use crate::evidence::policy::Mode;
use crate::evidence::report::{FactKind, FailureClass, Report, Sign, SourceFailure};
use crate::jmx::client::Access;
use crate::jmx::recognise::Recogniser;
use crate::jmx::scrape::{HttpFetch, Scraper};
use crate::jmx::template::parse_url;
use crate::kafka::sasl::{ClientCredentials, Extensions, TokenSource};
use crate::kafka::tests::{Ask, Reply, all_apis, broker, broker_with, versions};
use crate::kafka::{Address, AddressMap, ConnectionSettings, Credentials, Login, TcpDial};

const SESSION: Duration = Duration::from_millis(1500);

/// When each connection logged in, and whether more may.
#[derive(Default)]
struct Sessions {
    begun: BTreeMap<usize, Instant>,
    refuses: bool,
    killed: usize,
}

/// A broker that is node 1.
fn answer(ask: &Ask, sessions: &Mutex<Sessions>) -> Reply {
    let mut sessions = sessions.lock().unwrap();
    if ask.is(ApiKey::SaslHandshake) {
        return ask.answer(&SaslHandshakeResponse::default());
    }
    if ask.is(ApiKey::SaslAuthenticate) {
        if sessions.refuses {
            return ask.answer(&SaslAuthenticateResponse::default().with_error_code(58));
        }
        sessions.begun.insert(ask.connection, Instant::now());
        let lasts = i64::try_from(SESSION.as_millis()).unwrap();
        return ask.answer(&SaslAuthenticateResponse::default().with_session_lifetime_ms(lasts));
    }
    // Only ApiVersions is answered before a login, and nothing once the session is over.
    let versions_asked = ask.is(ApiKey::ApiVersions);
    let good = match sessions.begun.get(&ask.connection) {
        Some(begun) => begun.elapsed() <= SESSION,
        None => versions_asked,
    };
    if !good {
        sessions.killed += 1;
        return Reply::Close;
    }
    if versions_asked {
        return ask.answer(&versions(all_apis()));
    }
    own_configs(ask)
}

/// It is whoever it is asked to be.
pub(super) fn own_configs(ask: &Ask) -> Reply {
    let request: DescribeConfigsRequest = ask.request();
    let own = DescribeConfigsResult::default()
        .with_resource_type(4)
        .with_resource_name(StrBytes::clone(&request.resources[0].resource_name));
    ask.answer(&DescribeConfigsResponse::default().with_results(vec![own]))
}

/// Keeps the liveness connection of such a broker for a while; what was reported.
async fn watch(sessions: &Arc<Mutex<Sessions>>, turn: Duration, more: Duration) -> Vec<Report> {
    let plain = |password_file| Credentials::Plain {
        username: String::from("gate"),
        password_file,
    };
    watch_as(plain, sessions, turn, more).await
}

/// The same, logging in like this with a secret in a file.
async fn watch_as(
    credentials: impl FnOnce(PathBuf) -> Credentials,
    sessions: &Arc<Mutex<Sessions>>,
    turn: Duration,
    more: Duration,
) -> Vec<Report> {
    let seen = Arc::clone(sessions);
    let address = broker(move |ask| answer(ask, &seen)).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    fs::write(&secret, "secret").unwrap();
    let login = Login::new(credentials(secret));
    let shared = Arc::new(shared(&address, Some(login.unwrap())));
    let running = tokio::spawn(node::liveness(Arc::clone(&shared), NodeId(1)));
    let mut reports = Vec::new();
    let start = Instant::now();
    while start.elapsed() < turn + more {
        sessions.lock().unwrap().refuses = start.elapsed() >= turn;
        sleep(Duration::from_millis(20)).await;
        reports.extend(shared.board.take().reports);
    }
    running.abort();
    reports
}

pub(super) fn shared(address: &Address, login: Option<Login>) -> Shared {
    let settings = Settings {
        gate: String::from("default"),
        mode: Mode::Kafka,
        bootstrap: vec![address.clone()],
        address_map: AddressMap::default(),
        connection: ConnectionSettings {
            login: login.map(Arc::new),
            ..ConnectionSettings::default()
        },
        nodes: BTreeMap::from([(NodeId(1), Role::CONTROLLER)]),
        controllers: BTreeMap::from([(NodeId(1), address.clone())]),
        via_brokers: false,
        cluster_id: None,
        exporters: BTreeMap::new(),
        exporter_template: None,
        groups: BTreeSet::new(),
    };
    let fetch = HttpFetch::new(Access::default()).unwrap();
    Shared::new(
        settings,
        Arc::new(Board::default()),
        Arc::new(SystemClock),
        Arc::new(TcpDial),
        Scraper::new(Arc::new(fetch), Arc::new(Recogniser::default()), 1 << 20),
        Arc::new(Wants::default()),
    )
}

#[tokio::test]
async fn a_session_that_ends_is_replaced_and_nobody_hears_of_it() {
    let sessions = Arc::new(Mutex::new(Sessions::default()));
    let reports = watch(&sessions, Duration::from_secs(5), Duration::ZERO).await;
    let sessions = sessions.lock().unwrap();
    assert!(sessions.begun.len() >= 4, "{:?}", sessions.begun);
    assert_eq!(sessions.killed, 0);
    assert!(reports.len() >= 9, "{reports:?}");
    for report in &reports {
        assert_eq!((report.kind, report.epoch), (FactKind::Link, 1));
        let Ok(Facts::Link(facts)) = &report.facts else {
            unreachable!("{report:?}")
        };
        assert_eq!(facts.identity, Identity::Proved);
    }
}

#[tokio::test]
async fn a_login_that_no_longer_works_is_no_dead_node() {
    let sessions = Arc::new(Mutex::new(Sessions::default()));
    let half = Duration::from_millis(800);
    let reports = watch(&sessions, half, Duration::from_millis(1500)).await;
    let failures: Vec<_> = reports
        .iter()
        .filter_map(|r| r.facts.as_ref().err())
        .collect();
    assert!(!failures.is_empty());
    for failure in failures {
        assert_eq!(failure.class, FailureClass::Authentication, "{failure}");
    }
}

/// A token endpoint that gives one token, and from then on takes connections and says nothing.
async fn silent_after_one() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if kept.is_empty() {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let body = r#"{"access_token":"one","expires_in":1}"#;
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                );
                stream.write_all((head + body).as_bytes()).await.unwrap();
            }
            kept.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_is_no_frozen_node() {
    let url = silent_after_one().await;
    let bearer = |secret_file| Credentials::Token {
        source: TokenSource::Endpoint(ClientCredentials {
            url,
            id: String::from("gate"),
            secret_file,
            scope: None,
            ca: None,
        }),
        extensions: Extensions::default(),
    };
    let sessions = Arc::new(Mutex::new(Sessions::default()));
    let more = Duration::from_millis(500);
    let reports = watch_as(bearer, &sessions, SESSION, more).await;
    let failures: Vec<_> = reports
        .iter()
        .filter_map(|r| r.facts.as_ref().err())
        .collect();
    assert!(!failures.is_empty(), "the session is over by now");
    for failure in failures {
        assert_eq!(failure.class, FailureClass::Authentication, "{failure}");
        assert_eq!(failure.class.sign(), Sign::Nothing);
    }
    assert_eq!(sessions.lock().unwrap().killed, 0);
}

/// Keeps the liveness connection until so many failures are reported; `heard` is told of each answer.
async fn failures(shared: Shared, wanted: usize, heard: impl Fn()) -> Vec<SourceFailure> {
    let shared = Arc::new(shared);
    let running = tokio::spawn(node::liveness(Arc::clone(&shared), NodeId(1)));
    let mut failures = Vec::new();
    while failures.len() < wanted {
        sleep(Duration::from_millis(5)).await;
        for report in shared.board.take().reports {
            match report.facts {
                Ok(_) => heard(),
                Err(failure) => failures.push(failure),
            }
        }
    }
    running.abort();
    failures
}

/// For nodes that answer nothing.
fn never() {
    unreachable!("it has answered");
}

/// It negotiates versions with everybody, and hangs up on whoever then asks without a login.
#[tokio::test]
async fn a_listener_that_wants_a_login_is_no_dead_node() {
    let address = broker_with(|_| Reply::Close).await;
    for failure in failures(shared(&address, None), 3, never).await {
        assert_eq!(failure.class, FailureClass::Authentication, "{failure}");
        assert_eq!(failure.class.sign(), Sign::Nothing);
        assert!(failure.detail.contains("wants SASL"), "{failure}");
    }
}

/// The same from a node that has answered before is its end: it dies on every connection that comes.
#[tokio::test]
async fn a_node_that_was_heard_and_hangs_up_has_ended() {
    let dying = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&dying);
    let address = broker(move |ask| {
        let versions_asked = ask.is(ApiKey::ApiVersions);
        let first = ask.connection == 0;
        if seen.load(Ordering::Relaxed) && (first || !versions_asked) {
            return Reply::Close;
        }
        if versions_asked {
            return ask.answer(&versions(all_apis()));
        }
        own_configs(ask)
    })
    .await;
    let dies = || dying.store(true, Ordering::Relaxed);
    for failure in failures(shared(&address, None), 3, dies).await {
        assert_eq!(failure.class, FailureClass::Closed, "{failure}");
    }
}

/// So is it from a node that has just let us in, or that hangs up before it says anything.
#[tokio::test]
async fn who_hangs_up_after_a_login_or_at_once_has_ended() {
    let address = broker_with(|ask| {
        if ask.is(ApiKey::SaslHandshake) {
            return ask.answer(&SaslHandshakeResponse::default());
        }
        if ask.is(ApiKey::SaslAuthenticate) {
            return ask.answer(&SaslAuthenticateResponse::default());
        }
        Reply::Close
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    fs::write(&password_file, "secret").unwrap();
    let login = Login::new(Credentials::Plain {
        username: String::from("gate"),
        password_file,
    });
    let after_login = failures(shared(&address, Some(login.unwrap())), 2, never).await;
    let silent = broker(|_| Reply::Close).await;
    let at_once = failures(shared(&silent, None), 2, never).await;
    for failure in after_login.iter().chain(&at_once) {
        assert_eq!(failure.class, FailureClass::Closed, "{failure}");
    }
}

/// The first thing that whoever forgot `security.protocol` sees.
#[tokio::test]
async fn a_bootstrap_address_that_wants_a_login_is_told_as_one() {
    let address = broker_with(|_| Reply::Close).await;
    let shared = Arc::new(shared(&address, None));
    let running = tokio::spawn(discover::run(Arc::clone(&shared)));
    let failure = loop {
        sleep(Duration::from_millis(5)).await;
        let mut reports = shared.board.take().reports.into_iter();
        if let Some(failure) = reports.find_map(|report| report.facts.err()) {
            break failure;
        }
    };
    running.abort();
    assert_eq!(failure.class, FailureClass::Authentication, "{failure}");
    assert!(failure.detail.contains("wants SASL"), "{failure}");
}

/// One topic with one partition.
pub(super) fn orders() -> PartitionTable {
    let mut builder = Builder::default();
    builder.topic(Uuid::new(1), "orders", false, 0);
    builder.partition(Partition {
        index: 0,
        leader: None,
        leader_epoch: None,
        error: 0,
        replicas: &[NodeId(1)],
        isr: &[],
        offline: &[],
    });
    builder.finish()
}

/// A broker that has not dropped a deleted topic yet when it is first asked what it hosts.
fn drops_late(ask: &Ask, asked: &AtomicUsize) -> Reply {
    if ask.is(ApiKey::ApiVersions) {
        return ask.answer(&versions(all_apis()));
    }
    if !ask.is(ApiKey::DescribeLogDirs) {
        return own_configs(ask);
    }
    let hosted: &[&'static str] = match asked.fetch_add(1, Ordering::SeqCst) {
        0 => &["__cluster_metadata", "deleted", "orders"],
        _ => &["__cluster_metadata", "orders"],
    };
    let topic = |name: &&'static str| {
        let partition = DescribeLogDirsPartition::default().with_partition_index(0);
        DescribeLogDirsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_partitions(vec![partition])
    };
    let dir = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_static_str("/data"))
        .with_topics(hosted.iter().map(topic).collect());
    ask.answer(&DescribeLogDirsResponse::default().with_results(vec![dir]))
}

/// As `docs/degraded.md` has it with "exporters of brokers only": a controller without one is no source
/// that is down.
#[tokio::test]
async fn an_exporter_that_nobody_names_is_not_told_of() {
    for (mode, wanted) in [(Mode::KafkaJmx, vec![1]), (Mode::Jmx, vec![1, 101])] {
        let mut shared = shared(&Address::new("127.0.0.1", 1), None);
        shared.settings.mode = mode;
        shared.settings.nodes =
            BTreeMap::from([(NodeId(1), Role::BROKER), (NodeId(101), Role::CONTROLLER)]);
        shared.settings.controllers = BTreeMap::new();
        let url = parse_url("http://127.0.0.1:1/metrics").unwrap();
        shared.settings.exporters = BTreeMap::from([(NodeId(1), url)]);
        shared.roster.send_replace(shared.settings.roster());
        let (shared, stop) = (Arc::new(shared), CancellationToken::new());
        let running = tokio::spawn(super::run(Arc::clone(&shared), stop.clone()));
        let mut pages = BTreeSet::new();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1500) {
            sleep(Duration::from_millis(20)).await;
            let reports = shared.board.take().reports;
            let told = reports.iter().filter(|report| report.kind == FactKind::Jmx);
            pages.extend(told.filter_map(|report| report.source.node()));
        }
        stop.cancel();
        running.await.unwrap();
        let wanted: BTreeSet<_> = wanted.into_iter().map(NodeId).collect();
        assert_eq!(pages, wanted, "{mode:?}");
    }
}

#[tokio::test]
async fn log_dirs_that_host_what_nobody_lists_are_read_again_soon() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let address = broker(move |ask| drops_late(ask, &count)).await;
    let shared = Arc::new(shared(&address, None));
    shared
        .learn(|roster| {
            roster.configured(NodeId(1), Role::BROKER, None);
            Ok(())
        })
        .unwrap();
    shared.set_table(NodeId(1), Some(Arc::new(orders())));
    let running = tokio::spawn(node::bulk(Arc::clone(&shared), NodeId(1)));
    let start = Instant::now();
    // Half of the interval at which log dirs are asked for.
    while asked.load(Ordering::SeqCst) < 2 && start.elapsed() < Duration::from_secs(15) {
        sleep(Duration::from_millis(20)).await;
    }
    // What it says now is in order, and stands.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    running.abort();
}
