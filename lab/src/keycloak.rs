//! A real OpenID Connect server, Keycloak: it knows the gate as a client, and signs tokens that brokers
//! check by its keys.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::artifacts::{Cache, tail};
use crate::http;
use crate::process::{Process, mortal};

/// Its realm here.
const REALM: &str = "lab";
/// The audience that brokers want.
pub const AUDIENCE: &str = "kafka";
/// The client that may use Kafka.
pub const CLIENT: &str = "gate";
/// A client whose tokens are for another audience.
pub const STRANGER: &str = "elsewhere";
/// The secret of both.
pub const SECRET: &str = "lab-only-secret";
/// How long a token is good.
pub const TOKEN_LASTS: Duration = Duration::from_secs(20);
/// How long a start may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running server. It ends with this value, and forgets everything.
#[derive(Debug)]
pub struct Keycloak {
    _process: Process,
    plain: u16,
    secure: u16,
}

impl Keycloak {
    /// Starts one that shows the certificate `NAME.pem` with `NAME.key` of a folder, and writes its log
    /// there.
    ///
    /// # Errors
    /// When it cannot be fetched, or does not start.
    pub async fn start(folder: &Path, name: &str) -> Result<Self> {
        let cache = Cache::open()?;
        let home = cache.keycloak(&realm().to_string())?;
        let (plain, secure) = (free_port()?, free_port()?);
        let log = folder.join("keycloak.log");
        let out = File::create(&log).context("write Keycloak's log")?;
        let at = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
        let mut command = mortal("bash");
        command
            .arg(home.join("bin/kc.sh"))
            .args(["start", "--optimized", "--import-realm", "--cache=local"])
            .args(["--http-enabled=true", "--http-host=127.0.0.1"])
            .arg("--hostname-strict=false")
            .arg(format!("--http-port={plain}"))
            .arg(format!("--https-port={secure}"))
            .arg(format!("--https-certificate-file={}", at("pem")))
            .arg(format!("--https-certificate-key-file={}", at("key")))
            .env("JAVA_OPTS_KC_HEAP", "-Xms128m -Xmx512m")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let process = Process::spawn(command).context("start Keycloak")?;
        let path = format!("/realms/{REALM}");
        let begun = Instant::now();
        while http::get(plain, &path, "*/*", Duration::from_secs(5))
            .await
            .is_err()
        {
            let ended = process.exit()?;
            let text = fs::read_to_string(&log).unwrap_or_default();
            ensure!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "start Keycloak; its last lines:\n{}",
                tail(&text, 12)
            );
            sleep(Duration::from_millis(500)).await;
        }
        Ok(Self {
            _process: process,
            plain,
            secure,
        })
    }

    /// Where tokens are had, by https.
    pub fn token_endpoint(&self) -> String {
        let path = format!("realms/{REALM}/protocol/openid-connect/token");
        format!("https://127.0.0.1:{}/{path}", self.secure)
    }

    /// Where brokers read its keys. In the clear: their trust in CAs is not what is tried.
    pub fn keys(&self) -> String {
        let path = format!("realms/{REALM}/protocol/openid-connect/certs");
        format!("http://127.0.0.1:{}/{path}", self.plain)
    }
}

/// A port that nobody uses now.
fn free_port() -> Result<u16> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(free.local_addr()?.port())
}

/// Two clients, of which one is for Kafka.
fn realm() -> Value {
    let client = |id: &str, mappers: Value| {
        json!({
            "clientId": id,
            "secret": SECRET,
            "serviceAccountsEnabled": true,
            "standardFlowEnabled": false,
            "publicClient": false,
            "protocolMappers": mappers,
        })
    };
    let audience = json!([{
        "name": "audience",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {"included.custom.audience": AUDIENCE, "access.token.claim": "true"},
    }]);
    json!({
        "realm": REALM,
        "enabled": true,
        "sslRequired": "none",
        "accessTokenLifespan": TOKEN_LASTS.as_secs(),
        "clients": [client(CLIENT, audience), client(STRANGER, json!([]))],
    })
}
