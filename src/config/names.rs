//! Names: what those that users choose have to be, and which ones of other programs are refused on
//! purpose.

use super::keys::Pattern;
use super::leaf::{HostPort, Leaf};
use crate::evidence::ids::NodeId;
use crate::rights::is_principal;

/// What is said of a name that other programs know and this one refuses on purpose.
pub(super) fn refused(section: &Pattern, name: &str) -> Option<&'static str> {
    let below = |end: &[&str]| section.ends_with(end);
    match name {
        "password" if below(&["kafka", "sasl"]) => {
            Some("secrets come by file: put it into a file, and name that as password_file")
        }
        "secret" if below(&["oauthbearer", "client"]) => {
            Some("secrets come by file: put it into a file, and name that as secret_file")
        }
        "password" | "pem" if below(&["ssl", "key"]) => Some(
            "the key comes by file and not encrypted: name it as location, readable for this \
             program alone",
        ),
        "keystore" | "truststore" if below(&["kafka", "ssl"]) => {
            Some("Java's key stores are not read: export PEM files for ssl.*.location")
        }
        "kerberos" if below(&["kafka", "sasl"]) => Some("GSSAPI (Kerberos) is not supported"),
        "credentials" | "credentials_file" if below(&["jmx", "authorization"]) => {
            Some("name the header Authorization under jmx.headers, with a file")
        }
        "password" if below(&["jmx", "basic_auth"]) => {
            Some("secrets come by file: put it into a file, and name that as password_file")
        }
        _ => None,
    }
}

/// Whether the names under this pattern are chosen by the user, and what they have to be.
pub(super) fn check_name(placeholder: &str, name: &str) -> Option<Result<(), String>> {
    match placeholder {
        "<gate>" => Some(
            crate::gate::state::GateName::try_from(String::from(name))
                .map(drop)
                .map_err(|_| {
                    String::from("is no gate name: use 1 to 63 letters, digits, '.', '_' or '-'")
                }),
        ),
        "<node>" => Some(NodeId::parse(name).map(drop)),
        "<host>" => Some(if is_host(name) {
            Ok(())
        } else {
            Err(String::from(
                "is no host name: use 1 to 253 letters, digits, '.', '_' or '-'",
            ))
        }),
        "<address>" => Some(NodeId::parse(name).map(drop).or_else(|_| {
            HostPort::parse(name)
                .map(drop)
                .map_err(|_| String::from("wants a node id or an advertised host:port"))
        })),
        "<header>" => Some(
            http::HeaderName::from_bytes(name.as_bytes())
                .map(drop)
                .map_err(|_| String::from("is no name of an HTTP header")),
        ),
        "<token>" => Some(if is_host(name) && is_principal(name) {
            Ok(())
        } else {
            Err(String::from(
                "is no name of a token: use 1 to 100 letters, digits, '.', '_' or '-'",
            ))
        }),
        "<user>" | "<san>" => Some(if is_principal(name) {
            Ok(())
        } else {
            Err(String::from(
                "is no name: use 1 to 100 letters, digits and signs, no '(' and ')'",
            ))
        }),
        "<metric>" => Some(
            super::settings::metric_named(name)
                .map(drop)
                .ok_or_else(|| String::from("is no metric that the gate reads")),
        ),
        _ => None,
    }
}

/// Whether a name can stand in a URL as it is.
fn is_host(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=253).contains(&name.len()) && name.bytes().all(allowed)
}
