//! TLS below the protocol: who is trusted, who is not, and what is said then.

use std::fs;
use std::path::Path;

use lab::certs::{Authority, Dates};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::files::pem;
use crate::tls::{ClientFiles, ClientTls, IdentityFiles, Trust};

/// A CA, and a folder for what is made of it.
struct Place {
    folder: TempDir,
    ca: Authority,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new("lab CA").unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        Self { folder, ca }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn issue(&self, name: &str, names: &[&str], dates: Dates) -> IdentityFiles {
        let issued = self.ca.issue(name, names, dates).unwrap();
        let (certificate, key) = issued.write(self.path(), name).unwrap();
        IdentityFiles { certificate, key }
    }

    fn files(&self) -> ClientFiles {
        ClientFiles {
            ca: Some(self.path().join("ca.pem")),
            ..ClientFiles::default()
        }
    }

    /// A listener with this certificate; with `clients`, it wants one from each client.
    async fn listener(&self, shown: &IdentityFiles, clients: bool) -> Address {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in pem::certificates(&self.path().join("ca.pem")).unwrap() {
                roots.add(certificate).unwrap();
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = pem::certificates(&shown.certificate).unwrap();
        let key = pem::private_key(&shown.key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer_versions(stream).await;
                    }
                });
            }
        });
        Address::new("localhost", port)
    }
}

/// Answers ApiVersions for ever.
async fn answer_versions(mut stream: impl Stream) {
    while let Ok(length) = stream.read_u32().await {
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let mut body = Bytes::from(frame);
        let header = decode_request_header_from_buffer(&mut body).unwrap();
        let ask = Ask {
            header,
            body,
            connection: 0,
        };
        if let Reply::Send(bytes) = ask.answer(&versions(all_apis())) {
            stream.write_all(&bytes).await.unwrap();
            stream.flush().await.unwrap();
        }
    }
}

fn dial(files: ClientFiles) -> TlsDial {
    TlsDial::new(Arc::new(TcpDial), Arc::new(ClientTls::new(files).unwrap()))
}

async fn through(files: ClientFiles, address: &Address) -> Result<Connection, SourceFailure> {
    Connection::open(&dial(files), address, &ConnectionSettings::default()).await
}

async fn refused(files: ClientFiles, address: &Address, words: &[&str]) {
    let failure = through(files, address).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Tls, "{failure}");
    for word in words.iter().copied().chain([&*address.to_string()]) {
        assert!(failure.detail.contains(word), "no '{word}' in: {failure}");
    }
}

#[tokio::test]
async fn a_certificate_of_the_private_ca_is_trusted() {
    let place = Place::new();
    let shown = place.issue("node", &["localhost"], Dates::Good);
    let address = place.listener(&shown, false).await;
    let connection = through(place.files(), &address).await.unwrap();
    connection.api_versions(SOON).await.unwrap();
}

#[tokio::test]
async fn each_bad_certificate_is_called_by_its_fault() {
    let place = Place::new();
    for (dates, word) in [
        (Dates::Expired, "expired at 2020-01-01"),
        (Dates::Future, "not valid before 2090-01-01"),
    ] {
        let shown = place.issue("node", &["localhost"], dates);
        let address = place.listener(&shown, false).await;
        refused(place.files(), &address, &[word]).await;
    }
    let shown = place.issue("node", &["kafka-1.example.org"], Dates::Good);
    let address = place.listener(&shown, false).await;
    let words = ["not for localhost", "kafka-1.example.org", "identification"];
    refused(place.files(), &address, &words).await;
    let other = Place::new();
    let words = ["trusted CA", "kafka.ssl.ca.location"];
    refused(other.files(), &address, &words).await;
}

#[tokio::test]
async fn without_a_name_check_the_chain_and_the_dates_still_count() {
    let place = Place::new();
    let files = || ClientFiles {
        trust: Trust::AnyName,
        ..place.files()
    };
    let shown = place.issue("node", &["elsewhere"], Dates::Good);
    let address = place.listener(&shown, false).await;
    through(files(), &address).await.unwrap();
    let other = Place::new();
    let foreign = ClientFiles {
        trust: Trust::AnyName,
        ..other.files()
    };
    refused(foreign, &address, &["trusted CA"]).await;
    let shown = place.issue("node", &["elsewhere"], Dates::Expired);
    let address = place.listener(&shown, false).await;
    refused(files(), &address, &["expired"]).await;
}

#[tokio::test]
async fn a_listener_that_wants_a_certificate_gets_one_or_is_understood() {
    let place = Place::new();
    let shown = place.issue("node", &["localhost"], Dates::Good);
    let address = place.listener(&shown, true).await;
    let words = [
        "want of a client certificate",
        "kafka.ssl.certificate.location",
    ];
    refused(place.files(), &address, &words).await;
    let with = |identity| ClientFiles {
        identity: Some(identity),
        ..place.files()
    };
    let own = place.issue("gate", &["gate"], Dates::Good);
    through(with(own), &address).await.unwrap();
    let old = place.issue("old", &["gate"], Dates::Expired);
    refused(with(old), &address, &["our certificate has expired"]).await;
    let stranger = Place::new().issue_into(&place, "stranger");
    refused(with(stranger), &address, &["our certificate"]).await;
}

impl Place {
    /// A certificate of this CA, in another place's folder.
    fn issue_into(&self, place: &Self, name: &str) -> IdentityFiles {
        let issued = self.ca.issue(name, &["gate"], Dates::Good).unwrap();
        let (certificate, key) = issued.write(place.path(), name).unwrap();
        IdentityFiles { certificate, key }
    }
}

#[tokio::test]
async fn tls_and_plaintext_are_not_mistaken_for_each_other() {
    let place = Place::new();
    // Kafka reads a handshake as a length of 369 MB and hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = Address::new("localhost", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read_u32().await;
        }
    });
    refused(place.files(), &plain, &["plaintext listener"]).await;
    let shown = place.issue("node", &["localhost"], Dates::Good);
    let address = place.listener(&shown, false).await;
    let failure = open(&address).await.unwrap_err();
    assert!(
        failure.detail.contains("answers with TLS") || failure.detail.contains("wants TLS"),
        "{failure}"
    );
}

#[tokio::test]
async fn renewed_certificates_are_used_for_the_next_connection() {
    let place = Place::new();
    let shown = place.issue("node", &["localhost"], Dates::Good);
    let address = place.listener(&shown, true).await;
    let identity = place.issue("gate", &["gate"], Dates::Expired);
    let dial = dial(ClientFiles {
        identity: Some(identity),
        ..place.files()
    });
    let open = || async {
        let settings = ConnectionSettings::default();
        Connection::open(&dial, &address, &settings).await
    };
    open().await.unwrap_err();
    place.issue("gate", &["gate"], Dates::Good);
    open().await.unwrap();
    fs::write(place.path().join("gate.key"), "half a ke").unwrap();
    open().await.unwrap();
}

#[test]
fn files_that_do_not_go_together_are_refused() {
    let place = Place::new();
    let one = place.issue("one", &["one"], Dates::Good);
    let two = place.issue("two", &["two"], Dates::Good);
    let mixed = IdentityFiles {
        certificate: one.certificate,
        key: two.key,
    };
    let files = ClientFiles {
        identity: Some(mixed),
        ..place.files()
    };
    let bad = ClientTls::new(files).unwrap_err();
    assert!(bad.to_string().contains("does not go with"), "{bad}");
    let named = ClientFiles {
        trust: Trust::Name(String::from("not a name")),
        ..place.files()
    };
    assert!(ClientTls::new(named).is_err());
}
