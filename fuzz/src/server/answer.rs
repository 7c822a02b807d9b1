//! The first request and the first answer of a connection, as far as a test has to understand them.

use http::{Method, Uri};
use upgrade_gate::server::route::{Route, route};

/// The first request line, where there is one in the usual form.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
}

impl Asked {
    /// Empty lines before it are skipped, as a server should (RFC 9112, 2.2).
    pub(super) fn of(sent: &[u8]) -> Option<Self> {
        let line = sent.trim_ascii_start().split(|byte| *byte == b'\r').next();
        let line = std::str::from_utf8(line?).ok()?;
        let mut words = line.split(' ');
        Some(Self {
            method: words.next()?.parse().ok()?,
            uri: words.next()?.parse().ok()?,
        })
    }

    /// What it asks for.
    pub(super) fn route(&self) -> Option<Route> {
        route(&self.method, self.uri.path(), self.uri.query()).ok()
    }

    pub(super) fn reads(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

/// The first answer that is one.
pub(super) struct First<'a> {
    pub(super) status: u16,
    head: &'a str,
    rest: &'a [u8],
}

impl<'a> First<'a> {
    pub(super) fn of(answer: &'a [u8]) -> Option<Self> {
        if answer.is_empty() {
            return None;
        }
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, rest) = answer.split_at(end.expect("a whole header") + 4);
        let head = std::str::from_utf8(head).expect("a header of text");
        let status = head
            .strip_prefix("HTTP/1.")
            .expect("HTTP/1")
            .get(2..5)
            .expect("a status");
        match status.parse().expect("a number") {
            100 => Self::of(rest),
            status => Some(Self { status, head, rest }),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    /// The body, where it is JSON; it has to be whole, and of the length announced.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        let kind = self.header("content-type")?;
        if !kind.contains("json") {
            return None;
        }
        let length = self.header("content-length").expect("a length");
        let length: usize = length.parse().expect("a number");
        let body = self.rest.get(..length).expect("a whole body");
        Some(serde_json::from_slice(body).expect("JSON"))
    }
}
