//! Everything that is not an answer of the gate: RFC 9457 problems.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

/// The title where there is no such path or gate.
pub const NOT_FOUND: &str = "not found";

/// The title where there is no such lease (any more). One of its own: whoever renews a lease has to
/// tell its end from a gate, or a gate's address, that is not there for a while.
pub const NO_SUCH_LEASE: &str = "no such lease";

/// A request that cannot be answered as asked, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// What is wrong, in a word or two; the same for every problem of this kind.
    pub title: &'static str,
    /// What exactly, and what to do.
    pub detail: String,
    /// For 405: the methods there are.
    pub allow: Option<String>,
    /// For 401: how somebody can say who they are.
    pub challenges: Vec<&'static str>,
}

/// The body of a problem. It says `open: false` first, so that a caller that reads only that is
/// not misled.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ProblemBody<'a> {
    open: bool,
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// 400: a parameter cannot be taken as it is.
    pub fn bad_parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad parameter", detail)
    }

    /// 404: no such path, or no such gate. Never said of a gate that is closed.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND, detail)
    }

    /// 404: the path is right, and there is no lease of that number.
    pub fn no_such_lease(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, NO_SUCH_LEASE, detail)
    }

    /// 405, with the methods there are.
    pub fn method(allow: String) -> Self {
        let detail = format!("this path answers {allow}");
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", detail)
        }
    }

    /// 401: nobody knows who asks. Never an answer of the gate.
    pub fn unauthorized(detail: impl Into<String>, challenges: Vec<&'static str>) -> Self {
        Self {
            challenges,
            ..Self::new(StatusCode::UNAUTHORIZED, "not authenticated", detail)
        }
    }

    /// 403: who asks may not. Never an answer of the gate.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not allowed", detail)
    }

    /// 503: the server itself has no answer now.
    pub fn unavailable(title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, title, detail)
    }

    /// Any other.
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            allow: None,
            challenges: Vec::new(),
        }
    }

    /// The body.
    pub fn body(&self) -> ProblemBody<'_> {
        ProblemBody {
            open: false,
            r#type: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
        }
    }
}
