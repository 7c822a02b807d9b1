//! Dedicated controllers behind doors of their own, and exporters behind https with a login. What
//! is wrong here is wrong there alone: the brokers let the same gate in.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::place::grant_to;
use super::ways::{Heard, Way};
use super::{Asked, LIMIT, Row, STAY, Told, is_open, row_of, watch_all};
use crate::certs::{self, Authority, Dates, Issued};
use crate::cluster::Cluster;
use crate::doors::Door;
use crate::prove::gate::{Answer, Gate};
use crate::prove::watch::{PATIENCE, WINDOW};
use crate::release::Release;
use crate::spec::{Rules, Spec};

const USER: &str = "gate";
/// A user whom brokers know, and controllers do not.
const HALF: &str = "half";
const PASSWORD: &str = "lab-only-secret";
const PRINCIPALS: [&str; 3] = ["User:gate", "User:half", "User:CN=gate"];
/// The broker whose exporter shows an expired certificate.
const STALE: i32 = 3;
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

/// What is wrong, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// Of the controllers: they do not know the user, or trust another CA than that of our
    /// certificate.
    Login,
    /// Of the controllers, or the exporters: we do not trust their CA.
    Ca,
    /// They have another password.
    Password,
    /// Of one exporter: its certificate.
    Dates,
}

struct Cell {
    way: Way,
    case: &'static str,
    fault: Fault,
    heard: Heard,
}

const fn cell(way: Way, case: &'static str, fault: Fault, heard: Heard) -> Cell {
    Cell {
        way,
        case,
        fault,
        heard,
    }
}

const NOTHING: Heard = Heard::words("");
const UNKNOWN_CA: Heard = Heard::of("tls", "not from a trusted CA");
const REFUSED: Heard = Heard::of("sasl", "SASL_AUTHENTICATION_FAILED");

/// Three ways in, each of them right, with a secret that is wrong at the controllers, and with a CA of
/// theirs that we do not trust.
fn at_controllers() -> Vec<Cell> {
    let ways = [Way::Certificate, Way::Plain, Way::Scram512];
    let of_way = |way| {
        let (fault, heard) = match way {
            Way::Certificate => (Fault::Login, Heard::of("tls", "refuses our certificate")),
            // The quorum keeps one record of a user for brokers and controllers alike.
            Way::Scram512 => (Fault::Password, REFUSED),
            Way::Plain | Way::Scram256 | Way::Bearer => (Fault::Login, REFUSED),
        };
        [
            cell(way, "controllers_right", Fault::Nothing, NOTHING),
            cell(way, "controllers_wrong_secret", fault, heard),
            cell(way, "controllers_unknown_ca", Fault::Ca, UNKNOWN_CA),
        ]
    };
    ways.into_iter().flat_map(of_way).collect()
}

fn at_exporters() -> Vec<Cell> {
    let faults = [
        ("exporters_right", Fault::Nothing, NOTHING),
        (
            "exporters_wrong_password",
            Fault::Password,
            Heard::of("http_login", "HTTP status 401"),
        ),
        (
            "exporters_expired_certificate",
            Fault::Dates,
            Heard::of("tls", "its certificate has expired"),
        ),
        ("exporters_unknown_ca", Fault::Ca, UNKNOWN_CA),
    ];
    let cell = |(case, fault, heard)| cell(Way::Plain, case, fault, heard);
    faults.map(cell).into()
}

/// Starts the cluster and goes through every cell.
pub(super) async fn run(release: Release, rows: &mut Vec<Row>) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder for certificates")?;
    let cluster = start(release, folder.path()).await?;
    println!("{release}, apart: {}", cluster.dir().display());
    let place = Apart {
        cluster: &cluster,
        folder: folder.path(),
    };
    for whose in [Whose::Controllers, Whose::Exporters] {
        let is_right = |cell: &Cell| cell.fault == Fault::Nothing;
        let (right, wrong): (Vec<_>, Vec<_>) = whose.cells().into_iter().partition(is_right);
        place.watch(whose, &right, rows).await?;
        // Few at a time: every refused handshake costs the nodes, and there are six on two cores.
        for some in wrong.chunks(2) {
            place.watch(whose, some, rows).await?;
        }
    }
    Ok(())
}

/// Whose listeners a cell is about.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Controllers,
    Exporters,
}

impl Whose {
    fn cells(self) -> Vec<Cell> {
        match self {
            Self::Controllers => at_controllers(),
            Self::Exporters => at_exporters(),
        }
    }

    fn told(self, release: Release, way: Way, case: &'static str) -> Told {
        let (way, protocol) = match (self, way) {
            (Self::Controllers, Way::Certificate) => (way.name(), "SSL"),
            (Self::Controllers, _) => (way.name(), "SASL_SSL"),
            (Self::Exporters, _) => ("basic auth", "HTTPS"),
        };
        Told {
            release,
            way,
            protocol,
            case,
        }
    }
}

/// The controllers' door is what is spoken of, and nobody is called dead for it.
fn of_controllers(answer: &Answer, heard: Heard) -> bool {
    let of_controller = |node: i32| node > 100;
    let mut reasons = answer.reasons.iter();
    let named = reasons.any(|reason| reason.node.is_some_and(of_controller) && heard.is_in(reason));
    answer.state == "unknown" && named
}

fn of_exporters(answer: &Answer, heard: Heard) -> bool {
    answer.state == "unknown" && answer.reasons.iter().any(|reason| heard.is_in(reason))
}

struct Apart<'a> {
    cluster: &'a Cluster,
    folder: &'a Path,
}

impl Apart<'_> {
    /// Starts a gate for each cell, all of them right or none, and makes rows of what they say.
    async fn watch(&self, whose: Whose, cells: &[Cell], rows: &mut Vec<Row>) -> Result<()> {
        let right = cells.iter().all(|cell| cell.fault == Fault::Nothing);
        let mut gates = Vec::new();
        for cell in cells {
            let config = match whose {
                Whose::Controllers => self.at_controllers(cell),
                Whose::Exporters => self.at_exporters(cell),
            };
            let name = format!("{}-{}.json", cell.case, cell.way.name());
            let path = self.folder.join(name);
            std::fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
            gates.push(Asked {
                way: cell.way,
                door: "",
                case: cell.case,
                heard: cell.heard,
                gate: Gate::start(&[path.display().to_string()]).await?,
            });
        }
        let seen = match (right, whose) {
            (true, _) => watch_all(gates, PATIENCE, STAY, is_open).await?,
            (false, Whose::Controllers) => watch_all(gates, LIMIT, STAY, of_controllers).await?,
            (false, Whose::Exporters) => watch_all(gates, LIMIT, STAY, of_exporters).await?,
        };
        for (asked, seen) in seen {
            let (expected, wrong) = if right {
                (String::from("open"), 0)
            } else {
                (asked.heard.never_open(), seen.opens())
            };
            let release = self.cluster.spec().release;
            let told = whose.told(release, asked.way, asked.case);
            rows.push(row_of(told, &expected, seen, wrong));
        }
        Ok(())
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn kafka(&self, cell: &Cell, fault: Fault) -> Value {
        let (door, inner, protocol) = match cell.way {
            Way::Certificate => ("MTLS", "QMTLS", "SSL"),
            _ => ("SECURE", "QSECURE", "SASL_SSL"),
        };
        let controllers = self.cluster.controllers_behind(inner).into_iter();
        let controllers: serde_json::Map<String, Value> = controllers
            .map(|(id, address)| (id.to_string(), json!(address)))
            .collect();
        let ca = if fault == Fault::Ca {
            "brokers.pem"
        } else {
            "both.pem"
        };
        let mut kafka = json!({
            "bootstrap": self.cluster.behind(door),
            "controllers": controllers,
            "security.protocol": protocol,
            "ssl.ca.location": self.at(ca),
        });
        if cell.way == Way::Certificate {
            let own = if fault == Fault::Login { "half" } else { USER };
            kafka["ssl.certificate.location"] = json!(self.at(&format!("{own}.pem")));
            kafka["ssl.key.location"] = json!(self.at(&format!("{own}.key")));
            return kafka;
        }
        let user = if fault == Fault::Login { HALF } else { USER };
        let secret = if fault == Fault::Password {
            "password-wrong"
        } else {
            "password"
        };
        kafka["sasl.mechanism"] = json!(cell.way.name());
        kafka["sasl.username"] = json!(user);
        kafka["sasl.password_file"] = json!(self.at(secret));
        kafka
    }

    fn at_controllers(&self, cell: &Cell) -> Value {
        json!({"gates": {"default": {
            "mode": "kafka",
            "kafka": self.kafka(cell, cell.fault),
            "policy": {"window": WINDOW},
        }}})
    }

    fn at_exporters(&self, cell: &Cell) -> Value {
        let nodes = self.cluster.nodes().iter();
        let wanted = nodes.filter(|node| node.id() != STALE || cell.fault == Fault::Dates);
        let targets: serde_json::Map<String, Value> = wanted
            .map(|node| {
                (
                    node.id().to_string(),
                    json!(node.jmx_url().replace("http:", "https:")),
                )
            })
            .collect();
        let ca = if cell.fault == Fault::Ca {
            "inner.pem"
        } else {
            "brokers.pem"
        };
        let secret = match cell.fault {
            Fault::Password => "password-wrong",
            _ => "password",
        };
        json!({"gates": {"default": {
            "kafka": self.kafka(cell, Fault::Nothing),
            "jmx": {
                "targets": targets,
                "tls": {"ca_file": self.at(ca)},
                "basic_auth": {"username": USER, "password_file": self.at(secret)},
            },
            "policy": {"window": WINDOW},
        }}})
    }
}

/// Three controllers and three brokers. The brokers trust the clients of both CAs, the controllers
/// those of their own only.
async fn start(release: Release, folder: &Path) -> Result<Cluster> {
    let brokers = Authority::new("lab CA of the brokers")?;
    let inner = Authority::new("lab CA of the controllers")?;
    let both = format!("{}{}", brokers.pem(), inner.pem());
    for (name, text) in [
        ("brokers.pem", brokers.pem()),
        ("inner.pem", inner.pem()),
        ("both.pem", &both),
        ("password", PASSWORD),
        ("password-wrong", "not-the-secret"),
    ] {
        certs::write(&folder.join(name), text)?;
    }
    let here = ["127.0.0.1", "localhost"];
    inner
        .issue(USER, &[USER], Dates::Good)?
        .write(folder, USER)?;
    brokers
        .issue(USER, &[USER], Dates::Good)?
        .write(folder, HALF)?;
    let page = |dates, name| {
        brokers
            .issue("exporter", &here, dates)?
            .write_store(folder, name)
    };
    let (good, stale) = (page(Dates::Good, "page")?, page(Dates::Expired, "stale")?);
    let shown = brokers.issue("broker", &here, Dates::Good)?;
    let within = inner.issue("controller", &here, Dates::Good)?;
    let [trusts_both, trusts_inner] = ["both.pem", "inner.pem"].map(|name| folder.join(name));
    let certified = |name: &str, shown: &Issued, ca: &Path| {
        let door = Door::new(name, "SSL").tls(shown, ca);
        door.line("ssl.client.auth", "required")
    };
    let sasl = |name: &str, shown: &Issued, ca: &Path| {
        let door = Door::new(name, "SASL_SSL").tls(shown, ca);
        door.sasl(USER, PASSWORD)
    };
    let users = format!("{PLAIN} user_{USER}=\"{PASSWORD}\" user_{HALF}=\"{PASSWORD}\";");
    let spec = Spec::kraft(release)
        .heap_mb(384)
        // A page of 1 MB over TLS costs a busy machine much and shows nothing more.
        .rules(Rules::Small)
        .acl()
        .door(certified("MTLS", &shown, &trusts_both))
        .door(sasl("SECURE", &shown, &trusts_both).line("plain.sasl.jaas.config", users))
        .controller_door(certified("QMTLS", &within, &trusts_inner))
        .controller_door(sasl("QSECURE", &within, &trusts_inner))
        .secure_exporters(&good, USER, PASSWORD)
        .secure_exporter(STALE, &stale, USER, PASSWORD);
    let cluster = Cluster::start(spec).await.context("start the cluster")?;
    cluster.create_scram_user(USER, PASSWORD).await?;
    cluster.create_topic("orders", 6, 3, &[]).await?;
    grant_to(&cluster, &PRINCIPALS).await?;
    Ok(cluster)
}
