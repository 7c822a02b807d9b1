//! Whoever a request is answered for. Who waits is asked again and again who they are: what they may
//! can be taken from them meanwhile.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::access::principal::Principal;
use super::access::{Access, Denied, Who};
use super::admit::Caller;
use super::app::App;
use super::endpoint::Endpoint;
use super::problem::Problem;
use crate::metrics::counters::Refused;

/// Whoever a request is answered for. Cannot be printed: its headers have secrets.
pub(super) struct Asker<'a> {
    pub(super) caller: &'a Caller,
    pub(super) parts: &'a Parts,
    pub(super) endpoint: Endpoint,
    /// Who they were when the request came.
    pub(super) principal: Option<Arc<Principal>>,
}

impl Asker<'_> {
    /// Their address.
    pub(super) const fn peer(&self) -> IpAddr {
        self.caller.peer
    }

    /// The headers of the request.
    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Cancelled when their connection is to end after this request.
    pub(super) const fn replaced(&self) -> &CancellationToken {
        &self.caller.replaced
    }
}

impl App {
    /// Whether they may ask this.
    pub(super) fn may(&self, asker: &Asker<'_>) -> Result<(), Problem> {
        let who = asker.principal.as_deref();
        let may = Access::may(asker.endpoint, who, asker.peer(), asker.parts);
        may.inspect_err(|_| self.counters().http.refused(Refused::NotAllowed))
    }

    /// Whether they still are who they were, and still may.
    pub(super) async fn still_may(&self, asker: &Asker<'_>) -> Result<(), Problem> {
        let certified = asker.caller.certified.as_ref();
        let who = self.access.who(asker.headers(), certified);
        let who = self.authenticated(who, asker.peer()).await?;
        if is_another(asker.principal.as_deref(), who.as_deref()) {
            // What they show is somebody else's by now, in whose name nothing was asked.
            self.counters().http.refused(Refused::NotAuthenticated);
            return Err(self.access.denied(Denied::Wrong));
        }
        let now = Asker {
            principal: who,
            ..*asker
        };
        self.may(&now)
    }

    /// Who it is, after the password is checked where there is one.
    pub(super) async fn authenticated(
        &self,
        who: Result<Who, Denied>,
        peer: IpAddr,
    ) -> Result<Option<Arc<Principal>>, Problem> {
        let known = match who {
            Ok(Who::Anybody) => return Ok(None),
            Ok(Who::Is(principal)) => Ok(principal),
            Ok(Who::Claims(login)) => match self.peers.claim(peer) {
                Some(_share) => self.access.check(login).await,
                None => Err(Denied::BusyForPeer),
            },
            Err(denied) => Err(denied),
        };
        known.map(Some).map_err(|denied| {
            self.counters().http.refused(match denied {
                Denied::Nothing | Denied::Wrong => Refused::NotAuthenticated,
                Denied::Busy => Refused::Passwords,
                Denied::BusyForPeer => Refused::PasswordsOfPeer,
            });
            self.access.denied(denied)
        })
    }
}

fn is_another(before: Option<&Principal>, now: Option<&Principal>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.means != now.means || before.name != now.name,
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    }
}
