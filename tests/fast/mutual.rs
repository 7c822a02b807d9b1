//! Client certificates, over real handshakes: who gets in, by which name.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, SanType, date_time_ymd};
use upgrade_gate::metrics::counters::Refused;
use upgrade_gate::rights::AuthSettings;
use upgrade_gate::server::Limits;
use upgrade_gate::server::access::Access;

use crate::secured::World;
use crate::served::{Served, open, serve_with};

const REQUIRED: &str = "RequireAndVerifyClientCert";
const IF_GIVEN: &str = "VerifyClientCertIfGiven";

/// The certificates that callers show, beside `jenkins` (a DNS name) and none at all.
const URI: &str = "spiffe://example.org/jenkins";
const WHO: [&str; 8] = [
    "none", "jenkins", "any", "uri", "v4", "v6", "expired", "foreign",
];

/// A world with a certificate for each of them.
fn world() -> World {
    let world = World::new();
    world.certificate("any", &["*.example.org"]);
    world.certificate("v4", &["10.0.0.7"]);
    world.certificate("v6", &["fd00::7"]);
    let mut uri = CertificateParams::default();
    uri.subject_alt_names = vec![SanType::URI(URI.try_into().unwrap())];
    world.issue("uri", &uri);
    let mut expired = CertificateParams::new([String::from("jenkins.example.org")]).unwrap();
    expired.not_before = date_time_ymd(2019, 1, 1);
    expired.not_after = date_time_ymd(2020, 1, 1);
    world.issue("expired", &expired);
    // The right name, from somebody else's CA.
    let other = World::new();
    for end in ["pem", "key"] {
        let from = other.path(&format!("jenkins.{end}"));
        fs::copy(from, world.path(&format!("foreign.{end}"))).unwrap();
    }
    world
}

async fn serve(world: &World, asks: &str, sans: &[&str]) -> Served {
    let file = world.path("mutual.yml");
    let text = format!(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  \
         client_ca_file: ca.pem\n  client_auth_type: {asks}\n  client_allowed_sans: {sans:?}\n"
    );
    fs::write(&file, text).unwrap();
    let settings = AuthSettings {
        web_config: Some(file),
        ..AuthSettings::default()
    };
    let access = Arc::new(Access::load(&settings).unwrap());
    let limits = Limits {
        drain: Duration::from_millis(500),
        ..Limits::default()
    };
    serve_with(open(), limits, |state| state.access = access).await
}

/// The status that this caller is told; `None`: there was no handshake.
async fn told(world: &World, served: &Served, who: &str) -> Option<u16> {
    let client = match who {
        "none" => world.callers().plain,
        name => world.showing(name),
    };
    let url = format!("https://{}/api/v1/gates/default/check", served.address);
    let got = client.get(url).send().await.ok()?;
    Some(got.status().as_u16())
}

#[tokio::test]
async fn only_listed_names_get_in() {
    let world = world();
    let all = ["jenkins", "any", "uri", "v4", "v6"];
    let cases: [(&str, &[&str], &[&str]); 8] = [
        (REQUIRED, &[], &all),
        // A name of the list is that name: a certificate for *.example.org has another one.
        (REQUIRED, &["jenkins.example.org"], &["jenkins"]),
        (REQUIRED, &[URI], &["uri"]),
        (REQUIRED, &["10.0.0.7"], &["v4"]),
        (REQUIRED, &["fd00::7"], &["v6"]),
        (REQUIRED, &["fd00:0:0::7", "*.example.org"], &["v6", "any"]),
        (
            REQUIRED,
            &["other.example.org", "10.0.0.8", "spiffe://example.org/j"],
            &[],
        ),
        (IF_GIVEN, &["jenkins.example.org"], &["jenkins"]),
    ];
    for (asks, sans, get_in) in cases {
        let served = serve(&world, asks, sans).await;
        let mut refused = 0;
        for who in WHO {
            let wanted = match who {
                who if get_in.contains(&who) => Some(200),
                // Whoever shows nothing gets a connection, and no answer.
                "none" if asks == IF_GIVEN => Some(401),
                _ => None,
            };
            refused += u64::from(wanted.is_none());
            let told = told(&world, &served, who).await;
            assert_eq!(told, wanted, "{asks} {sans:?}: {who}");
        }
        let http = &served.state.metrics.counters().http;
        assert_eq!(
            http.refusals(Refused::Handshake),
            refused,
            "{asks} {sans:?}"
        );
    }
}
