//! A gate over real TLS, with users, tokens and client certificates; and everybody who asks it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, RequestBuilder, Response};
use upgrade_gate::gate::view::View;
use upgrade_gate::metrics::counters::Refused;
use upgrade_gate::rights::{AuthSettings, Right, TokenSettings};
use upgrade_gate::server::Limits;
use upgrade_gate::server::access::Access;

use crate::served::{Served, open, serve_with};

/// A folder with everything a secured gate and its callers have.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

/// By what a caller says who it is, and the right that this gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    pub(crate) name: &'static str,
    pub(crate) right: Option<Right>,
}

/// Everybody who may come. `right`: `None` for those whom nobody believes.
pub(crate) const EVERYBODY: [Means; 11] = {
    const fn means(name: &'static str, right: Option<Right>) -> Means {
        Means { name, right }
    }
    [
        means("nothing", None),
        means("token read", Some(Right::Read)),
        means("token lease", Some(Right::Lease)),
        means("token admin", Some(Right::Admin)),
        means("token wrong", None),
        means("user ann", Some(Right::Admin)),
        means("user bob", Some(Right::Read)),
        means("user ann wrong", None),
        means("user eve", None),
        means("certificate jenkins.example.org", Some(Right::Lease)),
        // Verified, but named nowhere, while there are users and tokens.
        means("certificate stranger.example.org", None),
    ]
};

/// Names, texts and rights of the tokens.
pub(crate) const TOKENS: [(&str, &str, Right); 3] = [
    ("read", "canary-token-read-0001", Right::Read),
    ("lease", "canary-token-lease-0001", Right::Lease),
    ("admin", "canary-token-admin-0001", Right::Admin),
];

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let ca = authority();
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder, ca };
        world.write("ca.pem", &world.ca.pem());
        world.certificate("server", &["localhost", "127.0.0.1"]);
        world.certificate("jenkins", &["jenkins.example.org"]);
        world.certificate("stranger", &["stranger.example.org"]);
        for (name, token, _) in TOKENS {
            world.write(&format!("token-{name}"), token);
        }
        world.write("password-ann", "canary-password-ann");
        world.users(&[
            ("ann", "canary-password-ann"),
            ("bob", "canary-password-bob"),
        ]);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A certificate and its key, in two files.
    pub(crate) fn certificate(&self, name: &str, sans: &[&str]) {
        let sans: Vec<String> = sans.iter().map(|san| String::from(*san)).collect();
        self.issue(name, &CertificateParams::new(sans).unwrap());
    }

    /// Any certificate.
    pub(crate) fn issue(&self, name: &str, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// The web config file, with these users.
    pub(crate) fn users(&self, users: &[(&str, &str)]) {
        let line = |(name, password): &(&str, &str)| {
            format!("  {name}: {}\n", bcrypt::hash(password, 4).unwrap())
        };
        let users: String = users.iter().map(line).collect();
        self.write(
            "web.yml",
            &format!(
                "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  \
                 client_ca_file: ca.pem\n  client_auth_type: VerifyClientCertIfGiven\n\
                 http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=60\n\
                 basic_auth_users:\n{users}"
            ),
        );
    }

    pub(crate) fn settings(&self) -> AuthSettings {
        let token = |(name, _, rights): (&str, &str, Right)| {
            let file = self.path(&format!("token-{name}"));
            (String::from(name), TokenSettings { file, rights })
        };
        AuthSettings {
            web_config: Some(self.path("web.yml")),
            tokens: TOKENS.into_iter().map(token).collect(),
            users: BTreeMap::from([(String::from("ann"), Right::Admin)]),
            certificates: BTreeMap::from([(String::from("jenkins.example.org"), Right::Lease)]),
        }
    }

    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::new(Access::load(&self.settings()).unwrap())
    }

    fn client(&self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = Certificate::from_pem(&fs::read(self.path("ca.pem")).unwrap()).unwrap();
        let builder = Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .timeout(Duration::from_secs(20));
        change(builder).build().unwrap()
    }

    /// A client that shows this certificate.
    pub(crate) fn showing(&self, name: &str) -> Client {
        let mut both = fs::read(self.path(&format!("{name}.pem"))).unwrap();
        both.extend(fs::read(self.path(&format!("{name}.key"))).unwrap());
        let identity = Identity::from_pem(&both).unwrap();
        self.client(|builder| builder.identity(identity))
    }

    /// A client for each certificate there is.
    pub(crate) fn callers(&self) -> Callers {
        Callers {
            plain: self.client(|builder| builder),
            jenkins: self.showing("jenkins"),
            stranger: self.showing("stranger"),
        }
    }
}

/// Clients, by the certificate that they show.
pub(crate) struct Callers {
    pub(crate) plain: Client,
    jenkins: Client,
    stranger: Client,
}

impl Callers {
    /// A request of one of everybody.
    pub(crate) fn request(&self, means: Means, method: &str, url: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let client = match means.name {
            "certificate jenkins.example.org" => &self.jenkins,
            "certificate stranger.example.org" => &self.stranger,
            _ => &self.plain,
        };
        let request = client.request(method, url);
        match means.name.split_once(' ') {
            Some(("token", name)) => {
                let known = TOKENS.iter().find(|(known, ..)| *known == name);
                request.bearer_auth(known.map_or("canary-token-wrong-0001", |(_, token, _)| token))
            }
            Some(("user", "ann wrong")) => request.basic_auth("ann", Some("canary-wrong")),
            Some(("user", name)) => {
                request.basic_auth(name, Some(format!("canary-password-{name}")))
            }
            Some(_) | None => request,
        }
    }
}

/// A secured gate that is open.
pub(crate) async fn secured(world: &World) -> (Served, Arc<Access>) {
    let limits = Limits {
        decide: Duration::from_millis(50),
        grant: Duration::from_millis(50),
        drain: Duration::from_millis(500),
        handshake: Duration::from_millis(500),
        ..Limits::default()
    };
    secured_with(world, open(), limits).await
}

/// A secured gate that says this.
pub(crate) async fn secured_with(
    world: &World,
    view: View,
    limits: Limits,
) -> (Served, Arc<Access>) {
    let access = world.access();
    let given = Arc::clone(&access);
    let served = serve_with(view, limits, |state| {
        state.access = given;
        state.reload = Some(Arc::new(|| {
            Box::pin(async { Ok(String::from("reloaded")) })
        }));
    })
    .await;
    (served, access)
}

fn url(served: &Served, path: &str) -> String {
    format!("https://{}{path}", served.address)
}

fn header<'a>(got: &'a Response, name: &str) -> Option<&'a str> {
    got.headers().get(name).map(|value| value.to_str().unwrap())
}

const CHECK: &str = "/api/v1/gates/default/check";

#[tokio::test]
async fn a_verdict_goes_to_whoever_may_read() {
    let world = World::new();
    let (served, _) = secured(&world).await;
    let callers = world.callers();
    for means in EVERYBODY {
        let got = callers.request(means, "GET", &url(&served, CHECK));
        let got = got.send().await.unwrap();
        let may = means.right.is_some();
        assert_eq!(
            got.status().as_u16(),
            if may { 200 } else { 401 },
            "{means:?}"
        );
        let state = if may { "open" } else { "unknown" };
        assert_eq!(header(&got, "upgrade-gate-state"), Some(state));
        assert_eq!(
            header(&got, "strict-transport-security"),
            Some("max-age=60")
        );
        if !may {
            let shown: Vec<_> = got.headers().get_all("www-authenticate").iter().collect();
            assert_eq!(shown.len(), 2, "{shown:?}");
            let body: serde_json::Value = serde_json::from_str(&got.text().await.unwrap()).unwrap();
            assert_eq!(body["open"], false);
        }
    }
    // Whoever shows something wrong is not taken for whom the certificate names.
    let wrong = callers
        .jenkins
        .get(url(&served, CHECK))
        .bearer_auth("canary-wrong-token");
    assert_eq!(wrong.send().await.unwrap().status().as_u16(), 401);
    let probe = callers.plain.get(url(&served, "/-/healthy")).send().await;
    assert_eq!(probe.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn changed_files_are_used_and_broken_ones_are_not() {
    let world = World::new();
    let (served, access) = secured(&world).await;
    let callers = world.callers();
    let status = async |client: &Client, token: &str| {
        let sent = client.get(url(&served, CHECK)).bearer_auth(token).send();
        sent.await.map(|got| got.status().as_u16()).ok()
    };
    let (old, new) = (TOKENS[0].1, "canary-token-changed-01");
    assert_eq!(status(&callers.plain, old).await, Some(200));
    world.write("token-read", new);
    access.refresh();
    assert!(access.files_usable());
    assert_eq!(status(&callers.plain, old).await, Some(401));
    assert_eq!(status(&callers.plain, new).await, Some(200));

    // Users: one is gone, another's password has changed.
    let login = async |name: &str, password: &str| {
        // A new connection each time.
        let sent = world.callers().plain.get(url(&served, CHECK));
        let sent = sent.basic_auth(name, Some(password)).send().await;
        sent.unwrap().status().as_u16()
    };
    assert_eq!(login("bob", "canary-password-bob").await, 200);
    world.users(&[("ann", "canary-changed")]);
    access.refresh();
    assert_eq!(login("bob", "canary-password-bob").await, 401);
    assert_eq!(login("ann", "canary-password-ann").await, 401);
    assert_eq!(login("ann", "canary-changed").await, 200);

    // A half written certificate and an empty token leave what was there before.
    world.write("server.pem", "-----BEGIN CERTIFICATE-----\nYQ==");
    world.write("token-read", "");
    access.refresh();
    assert!(!access.files_usable());
    assert_eq!(status(&world.callers().plain, new).await, Some(200));

    // A new certificate from another CA: connections made with the old one end with their request.
    let other = World::new();
    for file in ["server.pem", "server.key", "ca.pem"] {
        fs::copy(other.path(file), world.path(file)).unwrap();
    }
    world.write("token-read", new);
    access.refresh();
    assert!(access.files_usable());
    assert_eq!(status(&callers.plain, new).await, None);
    assert_eq!(status(&other.callers().plain, new).await, Some(200));
    let shown = other
        .callers()
        .jenkins
        .get(url(&served, CHECK))
        .send()
        .await;
    assert_eq!(shown.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_caller_that_does_not_shake_hands_is_given_up() {
    let world = World::new();
    let (served, _) = secured(&world).await;
    let mut stream = tokio::net::TcpStream::connect(served.address)
        .await
        .unwrap();
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    let _ = tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("closed");
    assert!(rest.is_empty());
    let plain = crate::served::raw(served.address, "GET / HTTP/1.1\r\nHost: g\r\n\r\n").await;
    assert!(!plain.starts_with(b"HTTP"), "{plain:?}");
    let counters = &served.state.metrics.counters().http;
    assert_eq!(counters.refusals(Refused::HandshakeTime), 1);
    assert_eq!(counters.refusals(Refused::Handshake), 1);
}

/// The program, asking this gate.
async fn program(url: &str, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_upgrade-gate"));
    let (own, rest) = args.split_at(
        args.iter()
            .position(|arg| *arg == "--")
            .unwrap_or(args.len()),
    );
    let command = command
        .args(own)
        .args(["--url", url])
        .args(rest)
        .env_clear();
    command.output().await.unwrap()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn the_command_line_shows_who_it_is() {
    let world = World::new();
    let (served, _) = secured(&world).await;
    let at = url(&served, "");
    let file = |name: &str| world.path(name);
    let (ca, token, password) = (file("ca.pem"), file("token-read"), file("password-ann"));
    let (cert, key, lease) = (
        file("jenkins.pem"),
        file("jenkins.key"),
        file("token-lease"),
    );
    let (ca, token, password) = (shown(&ca), shown(&token), shown(&password));
    for (args, code) in [
        (vec!["check", "--ca-file", ca, "--token-file", token], 0),
        (
            vec![
                "check",
                "--ca-file",
                ca,
                "--username",
                "ann",
                "--password-file",
                password,
            ],
            0,
        ),
        (
            vec![
                "check",
                "--ca-file",
                ca,
                "--cert-file",
                shown(&cert),
                "--key-file",
                shown(&key),
            ],
            0,
        ),
        (vec!["check", "--ca-file", ca], 4),
        (vec!["check", "--ca-file", ca, "--token-file", password], 4),
        (vec!["check", "--token-file", token], 4),
        (
            vec!["check", "--ca-file", ca, "--token-file", "/nonexistent"],
            2,
        ),
        (vec!["check", "--ca-file", token, "--token-file", token], 2),
        (vec!["check", "--ca-file", ca, "--username", "ann"], 2),
        (
            vec![
                "hold",
                "--ca-file",
                ca,
                "--token-file",
                shown(&lease),
                "because",
            ],
            4,
        ),
        (
            vec!["exec", "--ca-file", ca, "--node", "1", "--", "true"],
            121,
        ),
        (
            vec![
                "exec",
                "--ca-file",
                ca,
                "--token-file",
                token,
                "--node",
                "1",
                "--",
                "true",
            ],
            121,
        ),
    ] {
        let done = program(&at, &args).await;
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{args:?}: {err}");
        let out = String::from_utf8_lossy(&done.stdout);
        assert!(
            !err.contains("canary") && !out.contains("canary"),
            "{out}{err}"
        );
        if args[0] == "hold" {
            assert!(err.contains("needs the right admin"), "{err}");
        }
    }
}
