//! Requests of somebody who has proven who they are: the name goes into what is kept.

use super::access::principal::Principal;
use super::problem::Problem;
use super::route::Route;
use crate::gate::lease::Owner;
use crate::gate::question::Change;

impl Route {
    /// The same request, with every owner and author followed by who really asks, as in
    /// `roll-47 (token jenkins)`. So the history names them, and one principal's leases can be
    /// neither given back nor renewed by another.
    ///
    /// # Errors
    /// 400 for a name that is too long with it.
    pub(super) fn signed(mut self, principal: &Principal) -> Result<Self, Problem> {
        let name = match &mut self {
            Self::Enter(_, query) => Some(&mut query.claim.owner),
            Self::Leave(_, query) => Some(&mut query.claim.owner),
            Self::Change(_, change) => match change {
                Change::Break { by, .. } | Change::Lift { by, .. } | Change::Retire { by, .. } => {
                    Some(by)
                }
                Change::Hold { author, .. } => Some(author),
                Change::Renew { by, .. } => {
                    *by = Some(named(principal)?);
                    None
                }
            },
            Self::Page
            | Self::Metrics
            | Self::Healthy
            | Self::Ready
            | Self::Reload
            | Self::OpenApi
            | Self::Gates
            | Self::Document(_)
            | Self::Check(..)
            | Self::Plan(_)
            | Self::Leases(_)
            | Self::History(..) => None,
        };
        if let Some(name) = name {
            *name = name.signed(principal).map_err(|_| {
                Problem::bad_parameter(format!(
                    "{:?} is too long: with ({principal}), which the gate adds, a name has 200 \
                     characters at most",
                    name.as_str()
                ))
            })?;
        }
        Ok(self)
    }
}

/// Who asks, where the request says no name of its own.
fn named(principal: &Principal) -> Result<Owner, Problem> {
    Owner::try_from(principal.to_string()).map_err(|bad| Problem::bad_parameter(bad.to_string()))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::rights::Right;
    use crate::server::access::principal::Means;
    use crate::server::route::route;

    fn signed(method: &Method, path: &str, query: &str) -> Result<String, u16> {
        let principal = Principal {
            means: Means::Token,
            name: String::from("jenkins"),
            right: Right::Admin,
        };
        let path = format!("/api/v1/gates/default/{path}");
        let route = route(method, &path, Some(query)).unwrap();
        let signed = route.signed(&principal);
        signed
            .map(|route| format!("{route:?}"))
            .map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn every_name_that_is_kept_says_who_asked() {
        for (method, path, query) in [
            (Method::POST, "enter", "node=1&owner=ann"),
            (Method::POST, "leave", "node=1&owner=ann"),
            (Method::DELETE, "leases/3", "by=ann&reason=x"),
            (Method::PUT, "hold", "author=ann&reason=x"),
            (Method::DELETE, "hold", "by=ann"),
            (Method::DELETE, "nodes/3", "by=ann"),
        ] {
            let text = signed(&method, path, query).unwrap();
            assert!(text.contains("\"ann (token jenkins)\""), "{text}");
        }
        let text = signed(&Method::POST, "leases/3/renew", "token=7").unwrap();
        assert!(
            text.contains("by: Some(Owner(\"token jenkins\"))"),
            "{text}"
        );
        let long = format!("node=1&owner={}", "x".repeat(190));
        assert_eq!(signed(&Method::POST, "enter", &long), Err(400));
    }
}
