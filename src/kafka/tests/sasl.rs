//! Logging in, against a fake listener that can be wrong in every way.

mod endpoint;

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use ring::{digest, hmac, pbkdf2};
use tempfile::TempDir;

use super::*;
use crate::evidence::report::Sign;
use crate::files::{pipe, release};
use crate::kafka::sasl::{ClientCredentials, Extensions, Hash, TokenSource};

const SECRET: &str = "canary-hunter2";

/// Credentials whose secret is in a file; the folder goes with them.
struct Given {
    folder: TempDir,
    credentials: Credentials,
}

fn given(make: impl FnOnce(std::path::PathBuf) -> Credentials) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    Given {
        credentials: make(path),
        folder,
    }
}

fn plain() -> Given {
    given(|password_file| Credentials::Plain {
        username: String::from("gate"),
        password_file,
    })
}

fn scram(hash: Hash) -> Given {
    given(|password_file| Credentials::Scram {
        hash,
        username: String::from("gate"),
        password_file,
    })
}

fn bearer() -> Given {
    bearer_with("")
}

/// With these extensions.
fn bearer_with(extensions: &str) -> Given {
    given(|path| Credentials::Token {
        source: TokenSource::File(path),
        extensions: match extensions {
            "" => Extensions::default(),
            some => some.parse().unwrap(),
        },
    })
}

impl Given {
    async fn open(&self, address: &Address) -> Result<Connection, SourceFailure> {
        let login = Login::new(self.credentials.clone()).unwrap();
        assert!(!format!("{login:?}").contains(SECRET));
        let settings = ConnectionSettings {
            login: Some(Arc::new(login)),
            ..ConnectionSettings::default()
        };
        let opened = Connection::open(&TcpDial, address, &settings).await;
        if let Err(failure) = &opened {
            assert!(!failure.detail.contains(SECRET), "{failure}");
            assert!(failure.detail.contains(&address.to_string()), "{failure}");
        }
        opened
    }

    async fn refused(&self, address: &Address, words: &[&str]) -> FailureClass {
        let failure = self.open(address).await.unwrap_err();
        for word in words {
            assert!(failure.detail.contains(word), "no '{word}' in: {failure}");
        }
        failure.class
    }
}

/// A listener with these mechanisms, that answers SaslAuthenticate as told.
async fn listener(
    mechanisms: &'static [&'static str],
    authenticate: impl Fn(&[u8]) -> SaslAuthenticateResponse + Send + Sync + 'static,
) -> Address {
    let logged_in = Mutex::new(false);
    broker_with(move |ask| {
        if ask.is(ApiKey::SaslHandshake) {
            let request: SaslHandshakeRequest = ask.request();
            let known = mechanisms.contains(&request.mechanism.as_str());
            let names = mechanisms.iter().map(|name| text(name)).collect();
            return ask.answer(
                &SaslHandshakeResponse::default()
                    .with_error_code(if known { 0 } else { 33 })
                    .with_mechanisms(names),
            );
        }
        if ask.is(ApiKey::SaslAuthenticate) {
            let request: SaslAuthenticateRequest = ask.request();
            let response = authenticate(&request.auth_bytes);
            *logged_in.lock().unwrap() = response.error_code == 0;
            return ask.answer(&response);
        }
        Reply::Close
    })
    .await
}

fn done(bytes: impl Into<Bytes>) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default().with_auth_bytes(bytes.into())
}

fn refusal(message: &str) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default()
        .with_error_code(58)
        .with_error_message(Some(text(message)))
}

fn check_plain(message: &[u8]) -> SaslAuthenticateResponse {
    if message == format!("\0gate\0{SECRET}").as_bytes() {
        done("").with_session_lifetime_ms(10_000)
    } else {
        refusal("Authentication failed: Invalid username or password")
    }
}

#[tokio::test]
async fn plain_logs_in_and_the_sessions_end_is_kept() {
    let address = listener(&["PLAIN"], check_plain).await;
    let connection = plain().open(&address).await.unwrap();
    let lifetime = connection.lifetime().unwrap();
    let left = lifetime.over.duration_since(lifetime.renew);
    assert!((1400..2300).contains(&left.as_millis()), "{left:?}");
    connection.api_versions(SOON).await.unwrap();
}

#[tokio::test]
async fn a_changed_password_is_read_with_the_next_connection() {
    let address = listener(&["PLAIN"], check_plain).await;
    let given = plain();
    let path = given.folder.path().join("secret");
    fs::write(&path, "old-canary").unwrap();
    let words = [
        "SASL PLAIN",
        "user 'gate'",
        "SASL_AUTHENTICATION_FAILED",
        "secret",
    ];
    let class = given.refused(&address, &words).await;
    assert_eq!(class, FailureClass::Authentication);
    fs::write(&path, SECRET).unwrap();
    given.open(&address).await.unwrap();
    fs::remove_file(&path).unwrap();
    let login = Login::new(given.credentials.clone());
    assert!(login.unwrap_err().to_string().contains("No such file"));
}

#[tokio::test]
async fn a_listener_that_echoes_the_password_does_not_bring_it_into_the_log() {
    let address = listener(&["PLAIN"], |_| refusal(&format!("bad password {SECRET}"))).await;
    plain().refused(&address, &["bad password ***"]).await;
}

#[tokio::test]
async fn the_mechanisms_that_there_are_are_named() {
    let address = listener(&["SCRAM-SHA-512", "OAUTHBEARER"], |_| done("")).await;
    let words = [
        "has only SCRAM-SHA-512, OAUTHBEARER",
        "kafka.sasl.mechanism",
    ];
    let class = plain().refused(&address, &words).await;
    assert_eq!(class, FailureClass::Authentication);
}

#[tokio::test]
async fn a_listener_without_sasl_and_one_with_tls_are_told_apart() {
    let without =
        broker_with(|ask| ask.answer(&SaslHandshakeResponse::default().with_error_code(34))).await;
    let class = plain().refused(&without, &["has no SASL"]).await;
    assert_eq!(class, FailureClass::Authentication);
    let tls = broker(|_| Reply::Send(vec![0x15, 3, 3, 0, 2, 2, 80])).await;
    let class = plain()
        .refused(&tls, &["answers with TLS", "SASL_SSL"])
        .await;
    assert_eq!(class, FailureClass::Tls);
    let closing = broker(|_| Reply::Close).await;
    let class = plain().refused(&closing, &["closed", "wants TLS"]).await;
    assert_eq!(class, FailureClass::Closed);
    for (bytes, class) in [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            FailureClass::TooLarge(Cap::LoginBytes),
        ),
        (vec![0, 0, 0, 2, 0, 0], FailureClass::Malformed),
        (
            vec![0, 0, 0, 8, 0, 0, 0, 99, 0, 0, 0, 0],
            FailureClass::Malformed,
        ),
        (
            vec![0x7f, 0xff, 0xff, 0xff],
            FailureClass::TooLarge(Cap::LoginBytes),
        ),
        (vec![0xff, 0xff, 0xff, 0xff], FailureClass::Malformed),
    ] {
        let address = broker(move |_| Reply::Send(bytes.clone())).await;
        assert_eq!(plain().refused(&address, &["SASL PLAIN"]).await, class);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    let address = broker(|_| Reply::Nothing).await;
    let class = plain().refused(&address, &["no answer in time"]).await;
    assert_eq!(class, FailureClass::Timeout);
}

#[tokio::test]
async fn a_listener_that_wants_a_login_and_gets_none_is_hinted_at() {
    let address = broker_with(|_| Reply::Close).await;
    let connection = open(&address).await.unwrap();
    let failure = connection.metadata(SOON).await.unwrap_err();
    assert!(failure.detail.contains("wants SASL"), "{failure}");
}

/// How a fake server of SCRAM goes wrong.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    Password,
    Signature,
    Nonce,
    Iterations,
    TooMany,
}

/// The server's side of SCRAM, written apart from ours.
fn scram_server(sha512: bool, wrong: Wrong) -> impl Fn(&[u8]) -> SaslAuthenticateResponse {
    let heard: Mutex<Vec<String>> = Mutex::default();
    move |message: &[u8]| {
        let message = String::from_utf8(message.to_vec()).unwrap();
        let mut heard = heard.lock().unwrap();
        if let Some(bare) = message.strip_prefix("n,,") {
            let (_, nonce) = bare.split_once(",r=").unwrap();
            let nonce = if wrong == Wrong::Nonce {
                "other"
            } else {
                nonce
            };
            let count = match wrong {
                Wrong::Iterations => 1,
                Wrong::TooMany => 100_001,
                Wrong::Nothing | Wrong::Password | Wrong::Signature | Wrong::Nonce => 4096,
            };
            let salt = STANDARD.encode("salt");
            let challenge = format!("r={nonce}more,s={salt},i={count}");
            *heard = vec![bare.to_owned(), challenge.clone()];
            return done(challenge);
        }
        let (hashing, mac, derive) = if sha512 {
            let derive = pbkdf2::PBKDF2_HMAC_SHA512;
            (&digest::SHA512, hmac::HMAC_SHA512, derive)
        } else {
            let derive = pbkdf2::PBKDF2_HMAC_SHA256;
            (&digest::SHA256, hmac::HMAC_SHA256, derive)
        };
        let password = if wrong == Wrong::Password {
            "x"
        } else {
            SECRET
        };
        let mut salted = vec![0; hashing.output_len()];
        let count = std::num::NonZeroU32::new(4096).unwrap();
        pbkdf2::derive(derive, count, b"salt", password.as_bytes(), &mut salted);
        let key = hmac::Key::new(mac, &salted);
        let (without, proof) = message.split_once(",p=").unwrap();
        let signed = format!("{},{},{without}", heard[0], heard[1]);
        let stored = digest::digest(hashing, hmac::sign(&key, b"Client Key").as_ref());
        let signature = hmac::sign(&hmac::Key::new(mac, stored.as_ref()), signed.as_bytes());
        let proof = STANDARD.decode(proof).unwrap();
        let client: Vec<u8> = proof
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        if digest::digest(hashing, &client).as_ref() != stored.as_ref() {
            return refusal(
                "Authentication failed during authentication due to invalid credentials",
            );
        }
        let word: &[u8] = if wrong == Wrong::Signature {
            b"x"
        } else {
            b"Server Key"
        };
        let server = hmac::Key::new(mac, hmac::sign(&key, word).as_ref());
        let signature = hmac::sign(&server, signed.as_bytes());
        done(format!("v={}", STANDARD.encode(signature.as_ref())))
    }
}

#[tokio::test]
async fn scram_logs_in_and_believes_only_a_server_that_knows_the_password() {
    const BOTH: &[&str] = &["SCRAM-SHA-256", "SCRAM-SHA-512"];
    for (sha512, hash) in [(false, Hash::Sha256), (true, Hash::Sha512)] {
        for (wrong, word) in [
            (Wrong::Password, "invalid credentials"),
            (Wrong::Signature, "does not know the password itself"),
            (Wrong::Nonce, "does not go on from ours"),
            (Wrong::Iterations, "1 iterations"),
        ] {
            let address = listener(BOTH, scram_server(sha512, wrong)).await;
            let class = scram(hash).refused(&address, &[word]).await;
            assert_eq!(class, FailureClass::Authentication);
        }
        let address = listener(BOTH, scram_server(sha512, Wrong::TooMany)).await;
        let class = scram(hash).refused(&address, &["100001 iterations"]).await;
        assert_eq!(class, FailureClass::TooLarge(Cap::LoginIterations));
        let address = listener(BOTH, scram_server(sha512, Wrong::Nothing)).await;
        let connection = scram(hash).open(&address).await.unwrap();
        assert_eq!(connection.lifetime(), None);
    }
}

#[tokio::test]
async fn a_refused_token_comes_as_success_first() {
    let said: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let heard = Arc::clone(&said);
    let address = listener(&["OAUTHBEARER"], move |message| {
        heard.lock().unwrap().push(message.to_vec());
        match message {
            b"\x01" => refusal("token has expired"),
            _ => done(r#"{"status":"invalid_token"}"#),
        }
    })
    .await;
    let words = ["invalid_token", "token has expired", "secret"];
    let class = bearer().refused(&address, &words).await;
    assert_eq!(class, FailureClass::Authentication);
    let first = format!("n,,\x01auth=Bearer {SECRET}\x01\x01").into_bytes();
    assert_eq!(*said.lock().unwrap(), [first, vec![1]]);
    let good = listener(&["OAUTHBEARER"], |_| {
        done("").with_session_lifetime_ms(5000)
    })
    .await;
    assert!(bearer().open(&good).await.unwrap().lifetime().is_some());
}

#[tokio::test]
async fn extensions_go_with_the_token() {
    let address = listener(&["OAUTHBEARER"], |message| {
        let wanted = format!("n,,\x01auth=Bearer {SECRET}\x01traceId=7\x01lkc=a b\x01\x01");
        if message == wanted.as_bytes() {
            done("")
        } else {
            refusal("no")
        }
    })
    .await;
    bearer_with("traceId=7,lkc=a b")
        .open(&address)
        .await
        .unwrap();
    bearer()
        .refused(&address, &["refused with the token"])
        .await;
}

/// A secret on a mount that hangs is told as such, and the thread that answers goes on.
#[tokio::test]
async fn a_password_that_is_not_read_in_time_is_no_word_about_the_node() {
    let given = plain();
    let path = given.folder.path().join("secret");
    let login = Login::new(given.credentials.clone()).unwrap();
    fs::remove_file(&path).unwrap();
    pipe(&path);
    let settings = ConnectionSettings {
        connect_deadline: Duration::from_millis(50),
        login: Some(Arc::new(login)),
        ..ConnectionSettings::default()
    };
    let nobody = Address::new("127.0.0.1", 1);
    let opened = Connection::open(&TcpDial, &nobody, &settings).await;
    let failure = opened.unwrap_err();
    assert_eq!(failure.class, FailureClass::Authentication, "{failure}");
    assert!(
        failure.detail.contains("secret: not read within 50ms"),
        "{failure}"
    );
    release(&path, SECRET).await;
}
