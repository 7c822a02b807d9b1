//! SCRAM: what a server says first and last to a client that wants to know whether it is the
//! cluster.
//!
//! The first byte chooses the hash; then come the server's first and last message, with a zero byte
//! between them. In both, byte 1 stands for the client's nonce, 2 for the signature of a server that
//! knows the password, and 3 for the password, which a server may repeat by mistake.

use std::cell::OnceCell;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, decode_request_header_from_buffer,
};
use ring::{hmac, pbkdf2};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Runtime;
use upgrade_gate::evidence::report::{Cap, FailureClass, LONGEST_DETAIL, SourceFailure};
use upgrade_gate::files::Secret;
use upgrade_gate::kafka::sasl::Hash;
use upgrade_gate::kafka::sasl::scram::{Broken, FEWEST_ITERATIONS, First, Last, MOST_ITERATIONS};
use upgrade_gate::kafka::{
    Address, BoxFuture, BoxedStream, Connection, ConnectionSettings, Credentials, Dial, Login,
};

const USER: &str = "gate";
const PASSWORD: &str = "q7Zx9kW3";
/// What a server that has this user says first.
const GOOD: &[u8] = b"r=\x01x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
/// One of so many inputs goes through a whole login, which takes longer.
const WHOLE: usize = 64;

thread_local! {
    static SPOKEN: [OnceCell<Spoken>; 2] = const { [OnceCell::new(), OnceCell::new()] };
    static LISTENED: OnceCell<Listened> = const { OnceCell::new() };
}

/// Reads one server's messages.
///
/// # Panics
/// When something does not hold.
pub fn run(input: &[u8]) {
    let Some((choice, said)) = input.split_first() else {
        return;
    };
    let mut parts = said.splitn(2, |byte| *byte == 0);
    let (first, last) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let hash = if choice & 1 == 0 {
        Hash::Sha256
    } else {
        Hash::Sha512
    };
    let cheap = SPOKEN.with(|spoken| {
        let spoken = spoken[usize::from(choice & 1)].get_or_init(|| Spoken::new(hash));
        spoken.proven(&filled(last, &spoken.nonce, &spoken.signature));
        spoken.challenged(&filled(first, &spoken.nonce, &spoken.signature))
    });
    let sum: usize = input.iter().copied().map(usize::from).sum();
    if sum.is_multiple_of(WHOLE) && cheap != Challenged::Costs {
        LISTENED.with(|listened| {
            let listened = listened.get_or_init(Listened::new);
            listened.login(hash, first, last, cheap);
        });
    }
}

/// The bytes that stand for something, as that.
fn filled(part: &[u8], nonce: &str, signature: &str) -> Vec<u8> {
    let mut whole = Vec::with_capacity(part.len());
    for byte in part {
        match byte {
            1 => whole.extend_from_slice(nonce.as_bytes()),
            2 => whole.extend_from_slice(signature.as_bytes()),
            3 => whole.extend_from_slice(PASSWORD.as_bytes()),
            byte => whole.push(*byte),
        }
    }
    whole
}

/// A client that has sent its first message, and one that has sent its last.
struct Spoken {
    nonce: String,
    signature: String,
    first: First,
    last: Last,
}

/// What became of a server's first message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Challenged {
    /// Not taken.
    Refused,
    /// Taken, at the least work there is.
    Taken,
    /// Taken, and more work than there is time for here.
    Costs,
}

impl Spoken {
    fn new(hash: Hash) -> Self {
        let first = First::new(hash, USER).expect("random numbers");
        let nonce = nonce_of(first.message().as_bytes());
        let server = filled(GOOD, &nonce, "");
        let password = Secret::new(String::from(PASSWORD));
        let last = first.answer(&server, &password).expect("it is good");
        let signature = signature(hash, &first.message(), &server, &last.message);
        Self {
            nonce,
            signature,
            first,
            last,
        }
    }

    /// What is taken goes on from our nonce, with work within its bounds, and means what it says.
    fn challenged(&self, server: &[u8]) -> Challenged {
        let challenge = super::bounded(2 << 10, 8, server.len(), || self.first.challenge(server));
        let taken = match challenge {
            Ok(taken) => taken,
            Err(broken) => {
                explained(&broken, server);
                return Challenged::Refused;
            }
        };
        let work = taken.iterations.get();
        assert!(
            (FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&work),
            "{work}"
        );
        let more = taken.nonce.strip_prefix(&self.nonce);
        assert!(more.is_some_and(|more| !more.is_empty()), "{taken:?}");
        let salt = STANDARD.encode(&taken.salt);
        let anew = format!("r={},s={salt},i={work}", taken.nonce);
        let again = self
            .first
            .challenge(anew.as_bytes())
            .expect("what was taken");
        assert_eq!(
            (again.nonce, &again.salt, again.iterations),
            (taken.nonce, &taken.salt, taken.iterations)
        );
        if work == FEWEST_ITERATIONS {
            Challenged::Taken
        } else {
            Challenged::Costs
        }
    }

    /// Nobody is believed who does not show the signature.
    fn proven(&self, server: &[u8]) {
        let checked = super::bounded(2 << 10, 8, server.len(), || self.last.check(server));
        let right = format!("v={}", self.signature);
        match checked {
            Ok(()) => assert!(server.starts_with(right.as_bytes()), "{server:?}"),
            Err(broken) => {
                assert_ne!(server, right.as_bytes(), "{broken}");
                explained(&broken, server);
            }
        }
    }
}

/// What is said of a broken message does not repeat it; a server's own word is passed on as it is.
fn explained(broken: &Broken, server: &[u8]) {
    match broken {
        Broken::Refused(word) => {
            assert_eq!(server.strip_prefix(b"e="), Some(word.as_bytes()));
        }
        Broken::Message(_)
        | Broken::Nonce
        | Broken::Iterations(_)
        | Broken::Signature
        | Broken::Random => assert!(broken.to_string().len() < 200, "{broken}"),
    }
}

/// The nonce in a client's first message.
fn nonce_of(message: &[u8]) -> String {
    let message = std::str::from_utf8(message).expect("text");
    let (_, nonce) = message.split_once(",r=").expect("a nonce");
    String::from(nonce)
}

/// How a server that knows the password signs (RFC 5802, section 3).
fn signature(hash: Hash, first: &str, server: &[u8], last: &str) -> String {
    let (derive, sign, length) = match hash {
        Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, 32),
        Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, 64),
    };
    let server = std::str::from_utf8(server).expect("text");
    let (_, salt) = server.split_once(",s=").expect("a salt");
    let (salt, _) = salt.split_once(',').expect("iterations");
    let salt = STANDARD.decode(salt).expect("base64");
    let work = std::num::NonZeroU32::new(FEWEST_ITERATIONS).expect("some");
    let mut salted = vec![0; length];
    pbkdf2::derive(derive, work, &salt, PASSWORD.as_bytes(), &mut salted);
    let key = hmac::sign(&hmac::Key::new(sign, &salted), b"Server Key");
    let bare = first.strip_prefix("n,,").expect("no channel binding");
    let (without_proof, _) = last.split_once(",p=").expect("a proof");
    let signed = format!("{bare},{server},{without_proof}");
    let key = hmac::Key::new(sign, key.as_ref());
    STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
}

/// Whole logins, with a file for the password.
struct Listened {
    runtime: Runtime,
    folder: TempDir,
}

impl Listened {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("password"), PASSWORD).expect("a file");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        Self {
            runtime: runtime.expect("a runtime"),
            folder,
        }
    }

    /// The listener hangs up after its last word, so that there is always a failure to look at.
    fn login(&self, hash: Hash, first: &[u8], last: &[u8], challenged: Challenged) {
        let login = Login::new(Credentials::Scram {
            hash,
            username: String::from(USER),
            password_file: self.folder.path().join("password"),
        });
        let settings = ConnectionSettings {
            login: Some(Arc::new(login.expect("a password"))),
            ..ConnectionSettings::default()
        };
        let (ours, theirs) = duplex(4 << 10);
        let dial = Dialled(Mutex::new(Some(ours)));
        let address = Address::new("kafka.example", 9092);
        let opened = self.runtime.block_on(async {
            let opening = Connection::open(&dial, &address, &settings);
            let listening = listen(theirs, first, last);
            tokio::join!(opening, listening).0
        });
        let failure = opened.expect_err("nobody is there any more");
        let detail = &failure.detail;
        assert!(!detail.contains(PASSWORD), "{detail}");
        assert!(detail.chars().count() <= LONGEST_DETAIL + 4, "{detail}");
        assert!(detail.contains("kafka.example:9092"), "{detail}");
        if challenged == Challenged::Refused {
            let work = FailureClass::TooLarge(Cap::LoginIterations);
            let refused = [FailureClass::Authentication, work];
            assert!(refused.contains(&failure.class), "{detail}");
        }
    }
}

/// Hands out one stream.
#[derive(Debug)]
struct Dialled(Mutex<Option<DuplexStream>>);

impl Dial for Dialled {
    fn dial<'a>(
        &'a self,
        _: &'a Address,
        _: Duration,
    ) -> BoxFuture<'a, Result<BoxedStream, SourceFailure>> {
        let stream = self.0.lock().expect("no panic before").take();
        Box::pin(async move { Ok(Box::new(stream.expect("one dial")) as BoxedStream) })
    }
}

/// A listener that says these two messages, whatever the client proves.
async fn listen(mut stream: DuplexStream, first: &[u8], last: &[u8]) -> Option<()> {
    let mut nonce = None;
    loop {
        let length = stream.read_u32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).ok()?];
        stream.read_exact(&mut frame).await.ok()?;
        let mut frame = Bytes::from(frame);
        let header = decode_request_header_from_buffer(&mut frame).ok()?;
        let (version, id) = (header.request_api_version, header.correlation_id);
        if header.request_api_key == ApiKey::SaslHandshake as i16 {
            send(&mut stream, &SaslHandshakeResponse::default(), version, id).await?;
            continue;
        }
        if header.request_api_key != ApiKey::SaslAuthenticate as i16 {
            return None;
        }
        let request = SaslAuthenticateRequest::decode(&mut frame, version).ok()?;
        let asked = nonce.is_some();
        let nonce = nonce.get_or_insert_with(|| nonce_of(&request.auth_bytes));
        let said = filled(if asked { last } else { first }, nonce, "");
        let answer = SaslAuthenticateResponse::default().with_auth_bytes(said.into());
        send(&mut stream, &answer, version, id).await?;
    }
}

async fn send<R: Encodable + HeaderVersion>(
    stream: &mut DuplexStream,
    response: &R,
    version: i16,
    id: i32,
) -> Option<()> {
    let mut frame = BytesMut::zeroed(4);
    let header = ResponseHeader::default().with_correlation_id(id);
    header.encode(&mut frame, R::header_version(version)).ok()?;
    response.encode(&mut frame, version).ok()?;
    let length = u32::try_from(frame.len() - 4).ok()?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame).await.ok()
}

/// Messages that come through, and those that each rule refuses.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let good = std::str::from_utf8(GOOD).expect("text");
    let firsts = [
        ("good", String::from(good)),
        ("longer", format!("{good},m=x")),
        ("plus", good.replace("4096", "+4096")),
        ("most", good.replace("4096", "100000")),
        ("few", good.replace("4096", "4095")),
        ("many", good.replace("4096", "100001")),
        ("more", good.replace("4096", "4294971392")),
        ("endless", good.replace("4096", "99999999999999999999")),
        ("ours-alone", good.replace('x', "")),
        ("foreign", good.replace('\x01', "fyko+d2lbbFgONRv9qkxdawL")),
        ("no-salt", good.replace("s=W22Z", "s=!")),
        ("empty-salt", String::from("r=\x01x,s=,i=4096")),
        ("refused", String::from("e=unknown-user")),
        ("repeats", String::from("e=not \x03 but another, \x03")),
        ("no-text", String::from("r=\x01\u{fffd},s=eA==")),
    ];
    let lasts = [
        ("good", "v=\x02"),
        ("longer", "v=\x02,x=y"),
        ("wrong", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
        ("empty", "v="),
        ("refused", "e=invalid-proof"),
        ("repeats", "e=\x03"),
        ("silent", ""),
    ];
    let input = |hash: u8, first: &str, last: &str| {
        [&[hash], first.as_bytes(), &[0], last.as_bytes()].concat()
    };
    let of_first = firsts.iter().flat_map(|(name, first)| {
        [0, 1].map(|hash| (format!("first-{name}-{hash}"), input(hash, first, "v=\x02")))
    });
    let of_last = lasts.iter().flat_map(|(name, last)| {
        [0, 1].map(|hash| (format!("last-{name}-{hash}"), input(hash, good, last)))
    });
    of_first.chain(of_last).collect()
}
