//! Responses: the headers that all of them carry, and the few kinds there are.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::problem::Problem;
use super::verdict::Verdict;
use crate::clock::rfc3339;
use crate::gate::state::State;

/// A response with its whole body in memory.
pub(super) type Reply = Response<Full<Bytes>>;

/// The verdict, for callers that look at headers only (HEAD).
pub(super) const STATE: HeaderName = HeaderName::from_static("upgrade-gate-state");
/// What it says where there is none.
pub(super) const UNKNOWN: HeaderValue = HeaderValue::from_static(State::Unknown.as_str());
/// When it was judged.
pub(super) const EVALUATED_AT: HeaderName = HeaderName::from_static("upgrade-gate-evaluated-at");

/// After how many seconds to come back where the server itself has no answer.
const BUSY_RETRY: HeaderValue = HeaderValue::from_static("5");

/// A body and the headers that belong to it.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Content {
    pub(super) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut headers = HeaderMap::with_capacity(10);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        // Said here and not left to hyper, so that HEAD has it too.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self { headers, body }
    }

    pub(super) fn json(body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(json) => Self::new("application/json", json),
            // Our bodies are structs of strings and numbers, which always can be written.
            Err(_) => Self::new("application/json", r#"{"open":false,"state":"unknown"}"#),
        }
    }

    pub(super) fn text(body: impl Into<Bytes>) -> Self {
        Self::new("text/plain; charset=utf-8", body)
    }

    pub(super) fn html(body: String) -> Self {
        let mut content = Self::new("text/html; charset=utf-8", body);
        let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
        content
            .headers
            .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        content
    }

    /// The same, with the headers of a verdict.
    pub(super) fn with_verdict(mut self, verdict: &Verdict) -> Self {
        let headers = &mut self.headers;
        headers.insert(STATE, HeaderValue::from_static(verdict.state.as_str()));
        if let Ok(at) = HeaderValue::from_str(&rfc3339(verdict.evaluated.wall)) {
            headers.insert(EVALUATED_AT, at);
        }
        if let Some(seconds) = verdict.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        self
    }

    pub(super) fn reply(self, status: StatusCode) -> Reply {
        let mut reply = Response::new(Full::new(self.body));
        *reply.status_mut() = status;
        *reply.headers_mut() = self.headers;
        reply
    }
}

/// A problem; where nobody was let in or the server failed, with the word that nothing is known.
pub(super) fn problem(problem: &Problem) -> Reply {
    let mut content = Content::json(&problem.body());
    let headers = &mut content.headers;
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    let allow = problem.allow.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(allow)) = allow {
        headers.insert(ALLOW, allow);
    }
    for challenge in &problem.challenges {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    let status = problem.status;
    // Whoever was not let in has heard nothing about the cluster.
    let refused = status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN;
    if status.is_server_error() || refused {
        headers.insert(STATE, UNKNOWN);
    }
    if status.is_server_error() {
        headers.insert(RETRY_AFTER, BUSY_RETRY);
    }
    content.reply(problem.status)
}
