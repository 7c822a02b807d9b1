//! How one value is read from text. Messages say what is wanted and never repeat the text: it may
//! come from the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::evidence::ids::{ClusterId, GroupId, NodeId, Role};
use crate::evidence::policy::{Mode, Weight};
use crate::kafka::Extensions;

/// A value that has one text form.
pub trait Leaf: Sized {
    /// Reads the text; the error says what is wanted instead.
    fn parse(text: &str) -> Result<Self, String>;
}

/// A host (name, IPv4, or IPv6 without brackets) and a TCP port, never 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// An address to listen on; `:10190` is every IPv4 address of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// A series on a JMX page: `name` or `name{label="value",...}`; other labels may be there too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its name as the page has it.
    pub name: String,
    /// Labels it must have, with their values.
    pub labels: BTreeMap<String, String>,
}

/// A JMX exporter's address with its path, `http` or `https`, without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JmxUrl(pub String);

/// An address to which secrets are sent: `https`, or `http` on this machine, without user and
/// password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedUrl(pub String);

/// An address with the placeholders `{host}`, `{port}`, `{port+N}`, `{port-N}`, `{id}`, `{id+N}`
/// and `{id-N}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JmxTemplate(pub String);

impl Leaf for String {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.contains(|c: char| c.is_control() || c == '\u{fffd}') {
            return Err(Self::from("wants text that is not empty, on one line"));
        }
        Ok(Self::from(text))
    }
}

impl Leaf for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        String::parse(text).map(Self::from)
    }
}

impl Leaf for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(String::from("wants true or false")),
        }
    }
}

impl Leaf for u64 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| String::from("wants a whole number"))
    }
}

impl Leaf for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "wants a duration with its unit, such as 500ms, 10s, 5m, 1h or 1m30s";
        let nanos = sum_of_parts(text, |unit| match unit {
            "ms" => Some(1_000_000),
            "s" => Some(1_000_000_000),
            "m" => Some(60_000_000_000),
            "h" => Some(3_600_000_000_000),
            "d" => Some(86_400_000_000_000),
            _ => None,
        });
        nanos
            .map(Self::from_nanos)
            .ok_or_else(|| String::from(WANTED))
    }
}

impl Leaf for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "wants a size with its unit, such as 512KiB, 64MiB or 1GiB";
        let bytes = sum_of_parts(text, |unit| match unit {
            "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        });
        bytes.map(Self).ok_or_else(|| String::from(WANTED))
    }
}

/// `1m30s`: whole numbers, each with its unit, added up.
fn sum_of_parts(text: &str, scale: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum: Option<u64> = None;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let part = digits.parse::<u64>().ok()?.checked_mul(scale(unit)?)?;
        sum = Some(sum.unwrap_or(0).checked_add(part)?);
        rest = after;
    }
    sum
}

impl Leaf for HostPort {
    fn parse(text: &str) -> Result<Self, String> {
        let bad =
            || String::from("wants host:port (IPv6 addresses in brackets, such as [::1]:9092)");
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        let port = port.parse().ok().filter(|port| *port != 0);
        match port {
            Some(port) if !host.is_empty() && host.chars().all(fits) => Ok(Self {
                host: String::from(host),
                port,
            }),
            Some(_) | None => Err(bad()),
        }
    }
}

impl Leaf for Listen {
    fn parse(text: &str) -> Result<Self, String> {
        let bad =
            || String::from("wants an IP address and port, such as 127.0.0.1:10190 or :10190");
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().map_err(|_| bad())?;
            return Ok(Self(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                port,
            )));
        }
        text.parse().map(Self).map_err(|_| bad())
    }
}

impl Leaf for Mode {
    fn parse(text: &str) -> Result<Self, String> {
        let modes = [Self::KafkaJmx, Self::Kafka, Self::Jmx];
        one_of(text, modes.map(|mode| (mode.as_str(), mode)))
    }
}

impl Leaf for Weight {
    fn parse(text: &str) -> Result<Self, String> {
        one_of(text, [("block", Self::Block), ("warn", Self::Warn)])
    }
}

impl Leaf for Role {
    fn parse(text: &str) -> Result<Self, String> {
        let roles = [Self::BROKER, Self::CONTROLLER, Self::COMBINED];
        one_of(text, roles.map(|role| (role.as_str(), role)))
    }
}

/// The value whose word it is.
pub(super) fn one_of<T, const N: usize>(text: &str, words: [(&str, T); N]) -> Result<T, String> {
    let wanted = words.each_ref().map(|(word, _)| *word).join(", ");
    words
        .into_iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| value)
        .ok_or_else(|| format!("wants one of {wanted}"))
}

impl Leaf for NodeId {
    fn parse(text: &str) -> Result<Self, String> {
        // One spelling per node, or `1` and `01` would be two entries for it.
        let canonical = |id: &i32| *id >= 0 && id.to_string() == text;
        let id = text.parse().ok().filter(canonical);
        id.map(Self)
            .ok_or_else(|| String::from("wants a node id: a whole number, without leading zeros"))
    }
}

impl Leaf for ClusterId {
    fn parse(text: &str) -> Result<Self, String> {
        String::parse(text).map(Self)
    }
}

impl Leaf for GroupId {
    fn parse(text: &str) -> Result<Self, String> {
        String::parse(text).map(Self)
    }
}

impl Leaf for JmxUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("wants host:port or an http or https URL: {why}");
        let url = with_scheme(text);
        let parsed = reqwest::Url::parse(&url).map_err(|error| bad(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad("the scheme is another one"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(bad("it must not carry a user or a password"));
        }
        Ok(Self(url))
    }
}

impl Leaf for TrustedUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("wants a URL with https: {why}");
        let parsed = reqwest::Url::parse(text.trim()).map_err(|error| bad(&error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(bad("it must not carry a user or a password"));
        }
        match parsed.scheme() {
            "https" => {}
            "http" if !crate::tls::is_readable_on_the_way(&parsed) => {}
            _ => {
                return Err(bad(
                    "secrets are sent there, so http is for this machine only",
                ));
            }
        }
        Ok(Self(parsed.into()))
    }
}

impl Leaf for Extensions {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|bad: crate::kafka::BadExtensions| bad.to_string())
    }
}

impl Leaf for JmxTemplate {
    fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "wants an address whose placeholders are {host}, {port}, {port+N}, \
                              {port-N} or {id}, such as {host}:{port+200}";
        let bad = || String::from(WANTED);
        let mut example = String::new();
        let mut rest = text.trim();
        while let Some((before, after)) = rest.split_once('{') {
            let (placeholder, after) = after.split_once('}').ok_or_else(bad)?;
            example.push_str(before);
            example.push_str(example_of(placeholder).ok_or_else(bad)?);
            rest = after;
        }
        example.push_str(rest);
        if example.contains(['{', '}']) {
            return Err(bad());
        }
        if !text.contains('{') {
            return Err(String::from(
                "has no placeholder, so all nodes would share one page: use jmx.targets",
            ));
        }
        JmxUrl::parse(&example)?;
        Ok(Self(with_scheme(text)))
    }
}

fn with_scheme(text: &str) -> String {
    let text = text.trim();
    if text.contains("://") {
        String::from(text)
    } else {
        format!("http://{text}")
    }
}

/// What a placeholder might become; `None` where there is no such placeholder.
fn example_of(placeholder: &str) -> Option<&'static str> {
    let sum = |text: &str| match text.strip_prefix(['+', '-']) {
        Some(digits) => !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()),
        None => text.is_empty(),
    };
    if placeholder == "host" {
        Some("localhost")
    } else if placeholder.strip_prefix("port").is_some_and(sum) {
        Some("9092")
    } else if placeholder.strip_prefix("id").is_some_and(sum) {
        Some("1")
    } else {
        None
    }
}

impl Leaf for Series {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = || String::from("wants a series, such as name or name{label=\"value\"}");
        let text = text.trim();
        let (name, labels) = match text.split_once('{') {
            None => (text, ""),
            Some((name, rest)) => (name, rest.strip_suffix('}').ok_or_else(bad)?),
        };
        let word = |text: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
            !text.is_empty()
                && text.chars().all(fits)
                && !text.starts_with(|c: char| c.is_ascii_digit())
        };
        if !word(name) {
            return Err(bad());
        }
        let mut series = Self {
            name: String::from(name),
            labels: BTreeMap::new(),
        };
        for pair in labels.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (label, value) = pair.split_once('=').ok_or_else(bad)?;
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .ok_or_else(bad)?;
            if !word(label) || value.contains(['"', '\\']) {
                return Err(bad());
            }
            series
                .labels
                .insert(String::from(label), String::from(value));
        }
        Ok(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units_and_do_not_wrap() {
        let parse = |text| Duration::parse(text).ok();
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        for bad in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.5s",
            "10sec",
            "99999999999d",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(Bytes::parse("64MiB"), Ok(Bytes(64 << 20)));
        assert!(Bytes::parse("64MB").is_err() && Bytes::parse("64").is_err());
    }

    #[test]
    fn addresses_are_strict_and_round_trip() {
        for good in ["localhost:9092", "10.0.0.1:1", "[::1]:9092"] {
            assert_eq!(HostPort::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "", "host", "host:", ":9", "::1:9", "h:0", "h:99999", "[::1:9", "a b:1", "a@b:1",
        ] {
            assert!(HostPort::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Listen::parse(":10190").unwrap().0.to_string(),
            "0.0.0.0:10190"
        );
        assert!(Listen::parse("localhost:1").is_err());
    }

    #[test]
    fn templates_know_their_placeholders() {
        for good in [
            "{host}:{port+200}",
            "https://{host}:7071/m",
            "http://h{id}:{port-1}",
        ] {
            assert!(JmxTemplate::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "{hots}:1",
            "{host",
            "host}:1",
            "{port+x}",
            "{port+}",
            "ftp://{host}",
            "a b",
        ] {
            assert!(JmxTemplate::parse(bad).is_err(), "{bad}");
        }
        assert!(JmxUrl::parse("http://u:p@h:1").is_err());
    }

    #[test]
    fn secrets_go_over_tls_or_nowhere() {
        for good in [
            "https://login/t",
            "http://127.0.0.1:1/t",
            "http://[::1]:1/t",
        ] {
            assert!(TrustedUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "login/t",
            "http://login/t",
            "https://u:p@login/t",
            "ftp://login/t",
            "",
        ] {
            assert!(TrustedUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn series_are_read_with_labels() {
        let series = Series::parse("kafka_x{a=\"1\", b=\"two\"}").unwrap();
        assert_eq!(series.name, "kafka_x");
        assert_eq!(series.labels.len(), 2);
        for bad in ["", "1x", "x{", "x{a}", "x{a=1}", "x y"] {
            assert!(Series::parse(bad).is_err(), "{bad}");
        }
    }
}
