//! A cluster with every kind of door, certificates and secrets for it, and the gate's way in.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::oidc;
use super::ways::{Case, Way};
use crate::certs::{self, Authority, Dates, Issued};
use crate::cluster::Cluster;
use crate::doors::Door;
use crate::keycloak::{AUDIENCE, Keycloak};
use crate::principals::GROUP;
use crate::prove::watch::WINDOW;
use crate::release::Release;
use crate::spec::Spec;

const USER: &str = "gate";
const PASSWORD: &str = "lab-only-secret";
/// The principals of password and token, and of the certificate.
pub(super) const PRINCIPALS: [&str; 2] = ["User:gate", "User:CN=gate"];
/// Certificates and secrets of one cluster.
pub(super) struct Place {
    folder: tempfile::TempDir,
    shown: Shown,
}

/// What the brokers' listeners show.
struct Shown {
    good: Issued,
    expired: Issued,
    elsewhere: Issued,
}

impl Place {
    pub(super) fn make() -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for certificates")?;
        let here = folder.path();
        let ca = Authority::new("lab CA")?;
        let other = Authority::new("another CA")?;
        certs::write(&here.join("ca.pem"), ca.pem())?;
        certs::write(&here.join("other-ca.pem"), other.pem())?;
        let shown = |names: &[&str], dates| ca.issue("broker", names, dates);
        let doors = Shown {
            good: shown(&["127.0.0.1", "localhost"], Dates::Good)?,
            expired: shown(&["127.0.0.1", "localhost"], Dates::Expired)?,
            elsewhere: shown(&["kafka.example.org", "localhost"], Dates::Good)?,
        };
        ca.issue(USER, &[USER], Dates::Good)?
            .write(here, "client")?;
        ca.issue(USER, &[USER], Dates::Expired)?
            .write(here, "client-expired")?;
        other
            .issue(USER, &[USER], Dates::Good)?
            .write(here, "client-other")?;
        ca.issue("login", &["127.0.0.1", "localhost"], Dates::Good)?
            .write(here, "login")?;
        certs::write(&here.join("password"), PASSWORD)?;
        certs::write(&here.join("password-wrong"), "not-the-secret")?;
        certs::write(&here.join("token"), &token(86_400)?)?;
        certs::write(&here.join("token-expired"), &token(-3600)?)?;
        certs::write(&here.join("token-wrong"), "not.a.token")?;
        Ok(Self {
            folder,
            shown: doors,
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An OpenID Connect server that shows a certificate of the brokers' CA.
    pub(super) async fn login_server(&self) -> Result<Keycloak> {
        Keycloak::start(self.path(), "login").await
    }

    /// A file of it.
    pub(super) fn at(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    /// One cluster with every door on every broker; one for tokens of this server, if there is one.
    pub(super) async fn start(
        &self,
        release: Release,
        server: Option<&Keycloak>,
    ) -> Result<Cluster> {
        let spec = if release.has_kraft() {
            Spec::combined(release)
        } else {
            Spec::zookeeper(release)
        };
        let ca = self.path().join("ca.pem");
        let Shown {
            good,
            expired,
            elsewhere,
        } = &self.shown;
        let sasl = |name: &str, shown: &Issued| {
            Door::new(name, "SASL_SSL")
                .tls(shown, &ca)
                .sasl(USER, PASSWORD)
        };
        let spec = spec
            // Every listener has threads and buffers of its own.
            .heap_mb(512)
            .acl()
            .door(
                Door::new("MTLS", "SSL")
                    .tls(good, &ca)
                    .line("ssl.client.auth", "required"),
            )
            .door(sasl("SECURE", good))
            .door(Door::new("INTHECLEAR", "SASL_PLAINTEXT").sasl(USER, PASSWORD))
            .door(sasl("EXPIRED", expired))
            .door(sasl("ELSEWHERE", elsewhere))
            .door(sasl("SHORT", good).line("connections.max.reauth.ms", "10000"));
        let spec = match server {
            None => spec,
            Some(server) => spec.door(
                Door::new(oidc::DOOR, "SASL_SSL")
                    .tls(good, &ca)
                    .oidc(&server.keys(), AUDIENCE)
                    .line("connections.max.reauth.ms", "600000"),
            ),
        };
        let cluster = Cluster::start(spec).await.context("start the cluster")?;
        cluster.create_scram_user(USER, PASSWORD).await?;
        cluster.create_topic("orders", 6, 3, &[]).await?;
        grant(&cluster).await?;
        Ok(cluster)
    }

    /// The gate's configuration for a way in through a door, with a fault or without.
    pub(super) fn config(
        &self,
        cluster: &Cluster,
        name: &str,
        door: &str,
        way: Way,
        case: Option<Case>,
    ) -> Result<String> {
        let ca = match case {
            Some(Case::UnknownCa) => "other-ca.pem",
            _ => "ca.pem",
        };
        let mut kafka = json!({"bootstrap": cluster.behind(door)});
        let protocol = match (way, door) {
            (Way::Certificate, _) => "SSL",
            (_, "INTHECLEAR") => "SASL_PLAINTEXT",
            _ => "SASL_SSL",
        };
        kafka["security.protocol"] = json!(protocol);
        if protocol != "SASL_PLAINTEXT" {
            kafka["ssl.ca.location"] = json!(self.at(ca));
        }
        let secret = |kind: &str| {
            self.at(&match case {
                Some(Case::WrongSecret) => format!("{kind}-wrong"),
                Some(Case::ExpiredToken) => format!("{kind}-expired"),
                _ => kind.to_owned(),
            })
        };
        match way {
            Way::Certificate => {
                let own = match case {
                    Some(Case::WrongSecret) => "client-other",
                    Some(Case::ExpiredToken) => "client-expired",
                    _ => "client",
                };
                kafka["ssl.certificate.location"] = json!(self.at(&format!("{own}.pem")));
                kafka["ssl.key.location"] = json!(self.at(&format!("{own}.key")));
            }
            Way::Plain | Way::Scram256 | Way::Scram512 => {
                kafka["sasl.mechanism"] = json!(way.name());
                kafka["sasl.username"] = json!(USER);
                kafka["sasl.password_file"] = json!(secret("password"));
            }
            Way::Bearer => {
                kafka["sasl.mechanism"] = json!(way.name());
                kafka["sasl.oauthbearer.token_file"] = json!(secret("token"));
                // Brokers look at their form, and refuse a login where it is wrong.
                kafka["sasl.oauthbearer.extensions"] = json!("traceId=lab-1,note=two words");
            }
        }
        self.write(name, kafka)
    }

    /// Writes a gate's file around its way to Kafka.
    pub(super) fn write(&self, name: &str, kafka: Value) -> Result<String> {
        let config = json!({
            "log": {"filter": "info,upgrade_gate::collect=debug"},
            "gates": {"default": {
                "mode": "kafka",
                "kafka": kafka,
                // There is no such group; whether the gate may ask for it shows all the same.
                "policy": {"window": WINDOW, "groups": [GROUP]},
            }},
        });
        let path = self.path().join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec_pretty(&config)?)
            .context("write a gate's file")?;
        Ok(path.display().to_string())
    }
}

/// A token as Kafka's validator of unsigned tokens takes it, good for so many seconds.
fn token(seconds: i64) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let now = i64::try_from(now)?;
    let begun = now.min(now + seconds) - 60;
    let claims = json!({"sub": USER, "iat": begun, "exp": now + seconds});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    Ok(format!(
        "{}.{}.",
        part(&json!({"alg": "none"})),
        part(&claims)
    ))
}

/// The least rights for both principals.
pub(super) async fn grant(cluster: &Cluster) -> Result<()> {
    grant_to(cluster, &PRINCIPALS).await
}

/// The least rights for these.
pub(super) async fn grant_to(cluster: &Cluster, principals: &[&str]) -> Result<()> {
    for principal in principals {
        cluster.grant_least(principal).await?;
    }
    Ok(())
}
