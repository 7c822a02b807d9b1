//! The targets of discovered nodes from one pattern, such as `{host}:{port+200}`.

use reqwest::Url;
use thiserror::Error;

use super::scrape::Target;
use crate::evidence::ids::NodeId;

/// A pattern that makes a node's exporter address from its id and its Kafka listener.
///
/// `{host}`, `{port}` and `{id}` stand for the node's; `{port+200}` and `{id-1}` add and
/// subtract. Without a scheme it is `http`, without a path `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    Port(i64),
    Id(i64),
}

/// Why a template, or an address made with it, is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// A brace has no partner.
    #[error("a brace without its partner in `{0}`")]
    Brace(String),
    /// Not one of the placeholders.
    #[error(
        "unknown placeholder `{{{0}}}`: use {{host}}, {{port}}, {{port+N}}, {{port-N}} or {{id}}"
    )]
    Placeholder(String),
    /// The result is not an address.
    #[error("`{url}` is not an http or https URL without user and password: {why}")]
    Url {
        /// What came out.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The node's address has characters that no host name has.
    #[error("node {node} advertises the host `{host}`, which is not a host name")]
    Host {
        /// Which node.
        node: NodeId,
        /// Its host.
        host: String,
    },
    /// Adding went out of range.
    #[error("{{{what}}} is {value} for node {node}, which is out of range")]
    Range {
        /// Which node.
        node: NodeId,
        /// `port` or `id`.
        what: &'static str,
        /// The sum.
        value: i64,
    },
}

impl Template {
    /// Parses a template and tries it on an example node.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let with_scheme = if text.contains("://") {
            String::from(text)
        } else {
            format!("http://{text}")
        };
        let mut pieces = Vec::new();
        let mut rest = with_scheme.as_str();
        let brace = || TemplateError::Brace(String::from(text));
        while let Some((before, after)) = rest.split_once('{') {
            let (placeholder, after) = after.split_once('}').ok_or_else(brace)?;
            pieces.push(Piece::Text(String::from(before)));
            pieces.push(Piece::parse(placeholder)?);
            rest = after;
        }
        pieces.push(Piece::Text(String::from(rest)));
        let stray = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains('}'));
        if pieces.iter().any(stray) {
            return Err(brace());
        }
        let template = Self {
            text: String::from(text),
            pieces,
        };
        // A port in the middle of the range, so that no sane sum fails here.
        template.target(NodeId(1), "localhost", 9092)?;
        Ok(template)
    }

    /// The exporter of a node that listens on `host:port` for Kafka.
    pub fn target(&self, node: NodeId, host: &str, port: u16) -> Result<Target, TemplateError> {
        let mut url = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => url.push_str(text),
                Piece::Host => url.push_str(&host_of(node, host)?),
                Piece::Port(plus) => {
                    let value = i64::from(port).saturating_add(*plus);
                    url.push_str(&in_range(node, "port", value, 1..=65_535)?);
                }
                Piece::Id(plus) => {
                    let value = i64::from(node.0).saturating_add(*plus);
                    url.push_str(&in_range(node, "id", value, 0..=i64::from(i32::MAX))?);
                }
            }
        }
        let parsed = parse_url(&url)?;
        Ok(Target { node, url: parsed })
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Piece {
    fn parse(placeholder: &str) -> Result<Self, TemplateError> {
        let unknown = || TemplateError::Placeholder(String::from(placeholder));
        let plus = |text: &str| match text {
            "" => Some(0),
            signed if signed.starts_with(['+', '-']) => signed.parse().ok(),
            _ => None,
        };
        if placeholder == "host" {
            Ok(Self::Host)
        } else if let Some(text) = placeholder.strip_prefix("port") {
            plus(text).map(Self::Port).ok_or_else(unknown)
        } else if let Some(text) = placeholder.strip_prefix("id") {
            plus(text).map(Self::Id).ok_or_else(unknown)
        } else {
            Err(unknown())
        }
    }
}

/// An exporter's address, written out: a URL, or `host:port` with `http` and `/metrics` implied.
pub fn parse_url(text: &str) -> Result<Url, TemplateError> {
    let with_scheme = if text.contains("://") {
        String::from(text)
    } else {
        format!("http://{text}")
    };
    let bad = |why: &str| TemplateError::Url {
        url: redacted(&with_scheme),
        why: String::from(why),
    };
    let mut url = Url::parse(&with_scheme).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("the scheme is another one"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            "user and password are configured in files, not in addresses",
        ));
    }
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    Ok(url)
}

/// The URL without what stands before an `@`: it may be a password.
fn redacted(url: &str) -> String {
    match url.split_once("://").zip(url.rsplit_once('@')) {
        Some(((scheme, _), (_, host))) => format!("{scheme}://***@{host}"),
        None => String::from(url),
    }
}

/// The host as URLs write it. Hosts come from the network: they must not become paths or users.
fn host_of(node: NodeId, host: &str) -> Result<String, TemplateError> {
    let v6 = host.contains(':');
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (v6 && c == ':');
    if host.is_empty() || !host.chars().all(fits) {
        let host = String::from(host);
        return Err(TemplateError::Host { node, host });
    }
    Ok(if v6 {
        format!("[{host}]")
    } else {
        String::from(host)
    })
}

fn in_range(
    node: NodeId,
    what: &'static str,
    value: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<String, TemplateError> {
    if range.contains(&value) {
        Ok(value.to_string())
    } else {
        Err(TemplateError::Range { node, what, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str, host: &str, port: u16) -> Result<String, TemplateError> {
        let target = Template::parse(template)?.target(NodeId(3), host, port)?;
        Ok(String::from(target.url.as_str()))
    }

    #[test]
    fn placeholders_are_filled_in() {
        for (template, host, port, url) in [
            ("{host}:{port+200}", "k3", 9092, "http://k3:9292/metrics"),
            (
                "https://{host}:7071/jmx",
                "10.0.0.3",
                9092,
                "https://10.0.0.3:7071/jmx",
            ),
            ("{host}:{port-92}", "::1", 9092, "http://[::1]:9000/metrics"),
            (
                "http://localhost:{id+21200}/",
                "x",
                1,
                "http://localhost:21203/metrics",
            ),
            (
                "http://proxy/{id}/metrics?x={host}",
                "k3",
                1,
                "http://proxy/3/metrics?x=k3",
            ),
        ] {
            assert_eq!(
                expand(template, host, port).as_deref(),
                Ok(url),
                "{template}"
            );
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_reason() {
        for (template, words) in [
            ("{hots}:1", "unknown placeholder `{hots}`"),
            ("{port 1}", "unknown placeholder"),
            ("{host:1", "brace"),
            ("host}:1", "brace"),
            ("ftp://{host}", "not an http"),
            ("http://me:secret@{host}", "user and password"),
            ("{host}:{port+60000}", "out of range"),
        ] {
            let error = expand(template, "k3", 9092)
                .expect_err(template)
                .to_string();
            assert!(error.contains(words), "{template}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_host_from_the_network_stays_a_host() {
        for host in ["", "k3/x", "me@k3", "k3?x", "k 3", "k3#", "{id}"] {
            let error = expand("{host}:1", host, 9092).expect_err(host);
            assert!(matches!(error, TemplateError::Host { .. }), "{host}");
        }
    }
}
