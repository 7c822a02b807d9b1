//! The way of a request to its answer: is there room, who asks, what, and may they.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Shape;
use super::access::principal::Principal;
use super::access::{Denied, Who};
use super::app::{App, shape};
use super::asker::Asker;
use super::problem::Problem;
use super::reply::{Reply, problem};
use super::route::{Route, route};
use crate::metrics::counters::Refused;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Its address.
    pub(super) peer: IpAddr,
    /// Who its certificate names.
    pub(super) certified: Option<Arc<Principal>>,
    /// Cancelled when the connection is to end after the request under way: TLS is another by now.
    pub(super) replaced: CancellationToken,
}

impl Caller {
    /// Somebody at this address, of whom nothing else is known.
    pub(super) fn at(peer: IpAddr) -> Self {
        Self {
            peer,
            certified: None,
            replaced: CancellationToken::new(),
        }
    }
}

/// A request without its body.
struct Asked {
    route: Result<Route, Problem>,
    who: Result<Who, Denied>,
}

impl App {
    /// Answers one request, whatever it is, within the time there is for one.
    pub(super) async fn answer(&self, caller: &Caller, request: Request<Incoming>) -> Reply {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let mut principal = None;
        let mut reply = if self.peers.may_ask(caller.peer) {
            let asked = self.asked(caller, &parts);
            // The one question asked all the time needs no timer and no body: it is answered here.
            match self.at_once(&asked, &parts.headers, &body) {
                Some(reply) => {
                    principal = asked.who.ok().and_then(Who::known);
                    reply
                }
                // On the heap, because hyper moves this future about for every request.
                None => Box::pin(self.in_time(caller, asked, &parts, body, &mut principal)).await,
            }
        } else {
            self.counters().http.refused(Refused::Rate);
            problem(&Problem::unavailable(
                "too many requests",
                "this address sends more requests in a second than one may; ask less often",
            ))
        };
        self.access.dress(reply.headers_mut());
        self.log(
            caller,
            &parts,
            principal.as_deref(),
            reply.status(),
            started,
        );
        reply
    }

    fn asked(&self, caller: &Caller, parts: &Parts) -> Asked {
        let route = route(&parts.method, parts.uri.path(), parts.uri.query());
        let open = route
            .as_ref()
            .is_ok_and(|route| route.endpoint().row().right.is_none());
        let who = if open {
            Ok(Who::Anybody)
        } else {
            self.access.who(&parts.headers, caller.certified.as_ref())
        };
        Asked { route, who }
    }

    /// The published verdict as JSON, for somebody who may read it.
    fn at_once(&self, asked: &Asked, headers: &HeaderMap, body: &Incoming) -> Option<Reply> {
        let Ok(Route::Check(name, query)) = &asked.route else {
            return None;
        };
        match asked.who {
            // Everybody who is known may read.
            Ok(Who::Anybody | Who::Is(_)) => {}
            Ok(Who::Claims(_)) | Err(_) => return None,
        }
        let plain = query.is_plain() && body.is_end_stream() && shape(headers) == Shape::Json;
        let gates = self.state.gates.load();
        let gate = gates.get(name).filter(|_| plain)?;
        Some(self.plain_check(gate, query.closed_status))
    }

    async fn in_time(
        &self,
        caller: &Caller,
        asked: Asked,
        parts: &Parts,
        body: Incoming,
        principal: &mut Option<Arc<Principal>>,
    ) -> Reply {
        let answer = async {
            *principal = self.authenticated(asked.who, caller.peer).await?;
            self.swallow(body).await?;
            let mut route = asked.route?;
            let asker = Asker {
                caller,
                parts,
                endpoint: route.endpoint(),
                principal: principal.clone(),
            };
            self.may(&asker)?;
            if let Some(principal) = principal.as_deref() {
                route = route.signed(principal)?;
            }
            self.dispatch(route, &asker).await
        };
        let answer = timeout(self.limits.request, answer).await;
        answer
            .unwrap_or_else(|_| {
                self.counters().http.refused(Refused::RequestTime);
                Err(too_late(self.limits.request))
            })
            .unwrap_or_else(|refused| problem(&refused))
    }

    /// Reads a body that nobody looks at, so that the connection stays usable.
    async fn swallow(&self, body: Incoming) -> Result<(), Problem> {
        if body.is_end_stream() {
            return Ok(());
        }
        let most = self.limits.body_bytes;
        let read = timeout(self.limits.header_read, Limited::new(body, most).collect());
        match read.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failed)) if failed.is::<LengthLimitError>() => {
                self.counters().http.refused(Refused::BodySize);
                Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body too large",
                    format!("bodies are ignored here, and read up to {most} bytes; send none"),
                ))
            }
            Ok(Err(failed)) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "bad body",
                format!("the request's body cannot be read: {failed}"),
            )),
            Err(_) => {
                self.counters().http.refused(Refused::BodyTime);
                Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "slow body",
                    "the request's body did not come; bodies are ignored here, send none",
                ))
            }
        }
    }
}

impl Who {
    fn known(self) -> Option<Arc<Principal>> {
        match self {
            Self::Is(principal) => Some(principal),
            Self::Anybody | Self::Claims(_) => None,
        }
    }
}

fn too_late(after: std::time::Duration) -> Problem {
    Problem::unavailable(
        "no answer in time",
        format!("this request was not answered within {after:?}; ask again"),
    )
}
