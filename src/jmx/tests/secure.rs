//! TLS and logins to exporters: each failure by its own name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lab::certs::{Authority, Dates};
use reqwest::Url;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::evidence::ids::NodeId;
use crate::evidence::jmx::JmxFacts;
use crate::evidence::report::{FailureClass, SourceFailure};
use crate::files::{pem, pipe, release};
use crate::jmx::client::{Access, HeaderText};
use crate::jmx::recognise::Recogniser;
use crate::jmx::scrape::{HttpFetch, Scraper, Target};
use crate::tls::{ClientFiles, IdentityFiles, Trust};

const SECRET: &str = "canary-hunter2";

/// Whose certificates an exporter lets in.
enum Clients {
    /// It asks for none.
    Anybody,
    /// Those of this CA.
    Of(Box<Authority>),
}

/// An exporter over TLS that lets in whoever sends this header, and keeps what it was sent.
struct Exporter {
    folder: TempDir,
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Exporter {
    async fn start(names: &[&str], dates: Dates, wanted: &'static str) -> Self {
        Self::start_for(Clients::Anybody, names, dates, wanted).await
    }

    async fn start_for(
        clients: Clients,
        names: &[&str],
        dates: Dates,
        wanted: &'static str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new("lab CA").unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        fs::write(folder.path().join("password"), SECRET).unwrap();
        let issued = ca.issue("exporter", names, dates).unwrap();
        let (certificate, key) = issued.write(folder.path(), "exporter").unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Of(ca) => builder.with_client_cert_verifier(verifier(&ca, provider)),
        };
        let config = builder
            .with_single_cert(
                pem::certificates(&certificate).unwrap(),
                pem::private_key(&key).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}/metrics",
            listener.local_addr().unwrap().port()
        );
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepted = acceptor.accept(stream).into_fallible().await;
                let mut stream = match accepted {
                    Ok(stream) => stream,
                    Err((_, mut stream)) => {
                        // A request that was sent already, closed over, would be a reset, and the
                        // alert that says why would be lost.
                        tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
                        continue;
                    }
                };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else {
                        break;
                    };
                    request.push(byte);
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let status = if request.contains(wanted) {
                    "200 OK"
                } else {
                    "401 No"
                };
                seen.lock().unwrap().push(request);
                let page = "kafka_server_replicamanager_underreplicatedpartitions 3.0\n";
                let length = page.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                );
                let _ = stream.write_all((head + page).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { folder, url, heard }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn access(&self) -> Access {
        Access {
            tls: ClientFiles {
                ca: Some(self.path("ca.pem")),
                ..ClientFiles::default()
            },
            ..Access::default()
        }
    }

    async fn scrape(&self, access: Access) -> Result<JmxFacts, SourceFailure> {
        assert!(!format!("{access:?}").contains(SECRET));
        let scraper = scraper(access);
        self.scrape_by(&scraper).await
    }

    async fn scrape_by(&self, scraper: &Scraper) -> Result<JmxFacts, SourceFailure> {
        let target = Target {
            node: NodeId(1),
            url: Url::parse(&self.url).unwrap(),
        };
        let scraped = scraper.scrape(&target, Duration::from_secs(10)).await;
        if let Err(failure) = &scraped {
            assert!(!failure.detail.contains(SECRET), "{failure}");
        }
        scraped
    }

    async fn refused(&self, access: Access, class: FailureClass, word: &str) {
        let failure = self.scrape(access).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.detail.contains(word), "no '{word}' in: {failure}");
        assert!(failure.detail.contains(&self.url), "{failure}");
    }
}

/// Wants a certificate of this CA.
fn verifier(ca: &Authority, provider: Arc<CryptoProvider>) -> Arc<dyn ClientCertVerifier> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.pem");
    fs::write(&path, ca.pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pem::certificates(&path).unwrap());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap()
}

fn scraper(access: Access) -> Scraper {
    let fetch = HttpFetch::new(access).unwrap();
    assert!(!format!("{fetch:?}").contains(SECRET));
    Scraper::new(Arc::new(fetch), Arc::new(Recogniser::default()), 1 << 20)
}

fn basic(path: &Path) -> (String, PathBuf) {
    (String::from("gate"), path.to_owned())
}

#[tokio::test]
async fn certificates_are_judged_as_those_of_kafka_are() {
    let exporter = Exporter::start(&["localhost"], Dates::Good, "GET").await;
    exporter.scrape(exporter.access()).await.unwrap();
    let tls = FailureClass::Tls;
    let other = Exporter::start(&["localhost"], Dates::Good, "GET").await;
    exporter
        .refused(other.access(), tls, "jmx.tls.ca_file")
        .await;
    let expired = Exporter::start(&["localhost"], Dates::Expired, "GET").await;
    expired
        .refused(expired.access(), tls, "expired at 2020")
        .await;
    let elsewhere = Exporter::start(&["elsewhere"], Dates::Good, "GET").await;
    elsewhere
        .refused(elsewhere.access(), tls, "only for elsewhere (see")
        .await;
    let with = |trust| {
        let mut access = elsewhere.access();
        access.tls.trust = trust;
        access
    };
    let named = with(Trust::Name(String::from("elsewhere")));
    elsewhere.scrape(named).await.unwrap();
    let mut nothing = with(Trust::Anybody);
    nothing.tls.ca = None;
    elsewhere.scrape(nothing.clone()).await.unwrap();
    expired.scrape(nothing).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_no_expired_certificate_and_a_new_one_is_used_at_once() {
    // gate:canary-hunter2
    let exporter =
        Exporter::start(&["localhost"], Dates::Good, "Z2F0ZTpjYW5hcnktaHVudGVyMg==").await;
    let status = FailureClass::HttpStatus(401);
    exporter
        .refused(exporter.access(), status, "set jmx.basic_auth")
        .await;
    let mut access = exporter.access();
    let path = exporter.path("password");
    access.basic_auth = Some(basic(&path));
    fs::write(&path, "old").unwrap();
    let scraper = scraper(access);
    let failure = exporter.scrape_by(&scraper).await.unwrap_err();
    assert_eq!(failure.class, status);
    assert!(failure.detail.contains("refuses our user"), "{failure}");
    fs::write(&path, SECRET).unwrap();
    exporter.scrape_by(&scraper).await.unwrap();
}

/// On a mount that hangs: the page is asked for with what was read before.
#[tokio::test]
async fn a_password_that_hangs_is_the_one_before() {
    // gate:canary-hunter2
    let exporter =
        Exporter::start(&["localhost"], Dates::Good, "Z2F0ZTpjYW5hcnktaHVudGVyMg==").await;
    let mut access = exporter.access();
    let path = exporter.path("password");
    access.basic_auth = Some(basic(&path));
    fs::write(&path, SECRET).unwrap();
    let scraper = scraper(access);
    fs::remove_file(&path).unwrap();
    pipe(&path);
    exporter.scrape_by(&scraper).await.unwrap();
    release(&path, SECRET).await;
}

#[tokio::test]
async fn headers_are_sent_by_value_and_by_file() {
    let exporter = Exporter::start(&["localhost"], Dates::Good, "x-token: canary").await;
    let mut access = exporter.access();
    access.headers = BTreeMap::from([
        (
            String::from("x-scope"),
            HeaderText::Is(String::from("eu-1")),
        ),
        (
            String::from("x-token"),
            HeaderText::File(exporter.path("password")),
        ),
    ]);
    exporter.scrape(access).await.unwrap();
    let heard = exporter.heard.lock().unwrap();
    assert!(heard[0].contains("x-scope: eu-1\r\n"), "{heard:?}");
    let mut broken = exporter.access();
    broken.headers = BTreeMap::from([(
        String::from("x-token"),
        HeaderText::File(exporter.path("none")),
    )]);
    assert!(HttpFetch::new(broken).is_err());
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_each_way_of_not_having_one_is_told() {
    let clients = Authority::new("CA of the clients").unwrap();
    let others = Authority::new("another CA").unwrap();
    let issued = [
        ("right", clients.issue("gate", &["gate"], Dates::Good)),
        ("expired", clients.issue("gate", &["gate"], Dates::Expired)),
        ("unknown", others.issue("gate", &["gate"], Dates::Good)),
    ];
    let wants = Clients::Of(Box::new(clients));
    let exporter = Exporter::start_for(wants, &["localhost"], Dates::Good, "GET").await;
    let showing = |name: &str| {
        let mut access = exporter.access();
        access.tls.identity = Some(IdentityFiles {
            certificate: exporter.path(&format!("{name}.pem")),
            key: exporter.path(&format!("{name}.key")),
        });
        access
    };
    for (name, issued) in issued {
        issued.unwrap().write(exporter.folder.path(), name).unwrap();
    }
    exporter.scrape(showing("right")).await.unwrap();
    let heard = exporter.heard.lock().unwrap().len();
    assert_eq!(heard, 1);
    let tls = FailureClass::Tls;
    let missing = "want of a client certificate: set jmx.tls.cert_file";
    exporter.refused(exporter.access(), tls, missing).await;
    exporter
        .refused(
            showing("unknown"),
            tls,
            "does not trust the CA of our certificate",
        )
        .await;
    exporter
        .refused(showing("expired"), tls, "our certificate has expired")
        .await;
    let heard = exporter.heard.lock().unwrap().len();
    assert_eq!(heard, 1, "nobody else was let in");
}
