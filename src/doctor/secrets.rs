//! Secrets that whoever reads the network can read.

use reqwest::Url;

use super::Patient;
use super::report::Problem;
use crate::config::settings::{GateSettings, JmxSettings};
use crate::jmx::client::shows_a_secret;
use crate::tls::is_readable_on_the_way;

/// What crosses the network readable, each with what to do.
pub(super) fn readable(patient: &Patient) -> impl Iterator<Item = Problem> {
    let GateSettings { kafka, jmx, .. } = &patient.settings;
    let login = kafka.as_ref().filter(|kafka| kafka.tls.is_none());
    let login = login.and_then(|kafka| kafka.login.as_ref());
    let to_kafka = login
        .filter(|login| login.is_readable())
        .map(|login| Problem {
            code: "doctor",
            what: format!(
                "the secret of {} crosses the network to Kafka readable",
                login.mechanism()
            ),
            step: None,
            hint: String::from("set kafka.security.protocol to SASL_SSL, or use SCRAM"),
        });
    let to_exporters = jmx.as_ref().and_then(exporter).map(|url| Problem {
        code: "doctor",
        what: format!(
            "the password or header for exporters crosses the network readable, to {url}"
        ),
        step: None,
        hint: String::from(
            "give the exporters TLS, and write https in jmx.targets or jmx.template",
        ),
    });
    to_kafka.into_iter().chain(to_exporters)
}

/// An exporter to which a secret goes readable.
fn exporter(jmx: &JmxSettings) -> Option<&str> {
    if !shows_a_secret(jmx.basic_auth.is_some(), &jmx.headers) {
        return None;
    }
    let is_readable = |url: &&String| {
        // A placeholder stands for a host that is not known yet.
        let url = url.replace("{host}", "host").replace(['{', '}'], "");
        let port_is_open = url
            .rsplit_once(':')
            .map_or(url.as_str(), |(begin, _)| begin);
        Url::parse(port_is_open).is_ok_and(|url| is_readable_on_the_way(&url))
    };
    let urls = jmx.targets.values().chain(&jmx.template);
    urls.filter(is_readable).map(String::as_str).next()
}
