//! Which path means what: one pure function.

use http::Method;

use super::endpoint::Endpoint;
use super::lease_query::{EnterQuery, LeaveQuery, Place};
use super::problem::Problem;
use super::query::{self, CheckQuery, HistoryQuery};
use crate::gate::question::Change;
use crate::gate::state::GateName;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The page for people, at exactly `/`.
    Page,
    /// `/metrics`.
    Metrics,
    /// `/-/healthy`: this process answers.
    Healthy,
    /// `/-/ready`: every gate has judged, and the process is not ending.
    Ready,
    /// `/-/reload`: load the configuration anew.
    Reload,
    /// The description of the API.
    OpenApi,
    /// The list of gates.
    Gates,
    /// A gate's whole document: 200 whatever it says.
    Document(GateName),
    /// A gate's verdict by status.
    Check(GateName, CheckQuery),
    /// What each node may do, and in which order.
    Plan(GateName),
    /// Slots that are taken, and holds.
    Leases(GateName),
    /// "May I stop these nodes? Then I take them."
    Enter(GateName, EnterQuery),
    /// "I have finished with them. Are they back?"
    Leave(GateName, LeaveQuery),
    /// Somebody changes something.
    Change(GateName, Change),
    /// What was decided, and when.
    History(GateName, HistoryQuery),
}

/// A path, before its method and parameters are looked at.
enum Path<'a> {
    Page,
    Metrics,
    Healthy,
    Ready,
    Reload,
    OpenApi,
    Gates,
    Document(&'a str),
    Check(&'a str),
    Plan(&'a str),
    Leases(&'a str),
    Enter(&'a str),
    Leave(&'a str),
    Change(&'a str, Place<'a>),
    History(&'a str),
}

/// What a request asks for.
///
/// Paths are exact: nothing is decoded, cleaned up or redirected, and only `/` itself is the page,
/// because a mistyped URL that answers 200 would read as "open" to callers that look at the status
/// only (reference `exporters-alerts-and-callers.md` 0.3).
///
/// # Errors
/// 404 for a path or gate name that cannot be, 405 with `Allow`, 400 for parameters.
pub fn route(method: &Method, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let path = find(path).ok_or_else(|| {
        Problem::not_found("no such path; the API is /api/v1/gates, the page for people is /")
    })?;
    let here = path.endpoints();
    if !here
        .iter()
        .any(|endpoint| endpoint.answers(method.as_str()))
    {
        let methods: Vec<&str> = here
            .iter()
            .flat_map(|it| it.row().methods)
            .copied()
            .collect();
        return Err(Problem::method(methods.join(", ")));
    }
    let none = || query::none(query);
    Ok(match path {
        Path::Page => none().map(|()| Route::Page)?,
        Path::Metrics => none().map(|()| Route::Metrics)?,
        Path::Healthy => none().map(|()| Route::Healthy)?,
        Path::Ready => none().map(|()| Route::Ready)?,
        Path::Reload => none().map(|()| Route::Reload)?,
        Path::OpenApi => none().map(|()| Route::OpenApi)?,
        Path::Gates => none().map(|()| Route::Gates)?,
        Path::Document(gate) => none().and_then(|()| name(gate).map(Route::Document))?,
        Path::Plan(gate) => none().and_then(|()| name(gate).map(Route::Plan))?,
        Path::Leases(gate) => none().and_then(|()| name(gate).map(Route::Leases))?,
        Path::Check(gate) => Route::Check(name(gate)?, CheckQuery::parse(query)?),
        Path::Enter(gate) => Route::Enter(name(gate)?, EnterQuery::parse(query)?),
        Path::Leave(gate) => Route::Leave(name(gate)?, LeaveQuery::parse(query)?),
        Path::History(gate) => Route::History(name(gate)?, HistoryQuery::parse(query)?),
        Path::Change(gate, place) => Route::Change(name(gate)?, place.change(method, query)?),
    })
}

fn find(path: &str) -> Option<Path<'_>> {
    Some(match path {
        "/" => Path::Page,
        "/metrics" => Path::Metrics,
        "/-/healthy" => Path::Healthy,
        "/-/ready" => Path::Ready,
        "/-/reload" => Path::Reload,
        "/api/v1/openapi.json" => Path::OpenApi,
        "/api/v1/gates" => Path::Gates,
        _ => {
            let below = path.strip_prefix("/api/v1/gates/")?;
            match below.split_once('/') {
                None => Path::Document(below),
                Some((gate, "check")) => Path::Check(gate),
                Some((gate, "plan")) => Path::Plan(gate),
                Some((gate, "leases")) => Path::Leases(gate),
                Some((gate, "enter")) => Path::Enter(gate),
                Some((gate, "leave")) => Path::Leave(gate),
                Some((gate, "history")) => Path::History(gate),
                Some((gate, rest)) => Path::Change(gate, Place::find(rest)?),
            }
        }
    })
}

impl Path<'_> {
    /// The endpoints at this path, by method.
    const fn endpoints(&self) -> &'static [Endpoint] {
        match self {
            Self::Page => &[Endpoint::Page],
            Self::Metrics => &[Endpoint::Metrics],
            Self::Healthy => &[Endpoint::Healthy],
            Self::Ready => &[Endpoint::Ready],
            Self::Reload => &[Endpoint::Reload],
            Self::OpenApi => &[Endpoint::OpenApi],
            Self::Gates => &[Endpoint::Gates],
            Self::Document(_) => &[Endpoint::Document],
            Self::Check(_) => &[Endpoint::Check],
            Self::Plan(_) => &[Endpoint::Plan],
            Self::Leases(_) => &[Endpoint::Leases],
            Self::Enter(_) => &[Endpoint::Enter],
            Self::Leave(_) => &[Endpoint::Leave],
            Self::Change(_, Place::Renew(_)) => &[Endpoint::Renew],
            Self::Change(_, Place::Lease(_)) => &[Endpoint::Break],
            Self::Change(_, Place::Hold) => &[Endpoint::Hold, Endpoint::Lift],
            Self::Change(_, Place::Node(_)) => &[Endpoint::Retire],
            Self::History(_) => &[Endpoint::History],
        }
    }
}

impl Route {
    /// Its row in the table of endpoints. A route without one does not compile.
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::Page => Endpoint::Page,
            Self::Metrics => Endpoint::Metrics,
            Self::Healthy => Endpoint::Healthy,
            Self::Ready => Endpoint::Ready,
            Self::Reload => Endpoint::Reload,
            Self::OpenApi => Endpoint::OpenApi,
            Self::Gates => Endpoint::Gates,
            Self::Document(_) => Endpoint::Document,
            Self::Check(..) => Endpoint::Check,
            Self::Plan(_) => Endpoint::Plan,
            Self::Leases(_) => Endpoint::Leases,
            Self::Enter(..) => Endpoint::Enter,
            Self::Leave(..) => Endpoint::Leave,
            Self::Change(_, Change::Renew { .. }) => Endpoint::Renew,
            Self::Change(_, Change::Break { .. }) => Endpoint::Break,
            Self::Change(_, Change::Hold { .. }) => Endpoint::Hold,
            Self::Change(_, Change::Lift { .. }) => Endpoint::Lift,
            Self::Change(_, Change::Retire { .. }) => Endpoint::Retire,
            Self::History(..) => Endpoint::History,
        }
    }
}

fn name(gate: &str) -> Result<GateName, Problem> {
    GateName::try_from(gate.to_owned()).map_err(|bad| Problem::not_found(bad.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Result<Route, u16> {
        route(&Method::GET, path, None).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn paths_are_exact() {
        let gate = GateName::default;
        assert_eq!(get("/"), Ok(Route::Page));
        assert_eq!(get("/api/v1/gates"), Ok(Route::Gates));
        assert_eq!(get("/api/v1/gates/default"), Ok(Route::Document(gate())));
        assert_eq!(get("/api/v1/gates/default/plan"), Ok(Route::Plan(gate())));
        let query = HistoryQuery::parse(None).unwrap();
        assert_eq!(
            get("/api/v1/gates/default/history"),
            Ok(Route::History(gate(), query))
        );
        assert_eq!(
            get("/api/v1/gates/default/check"),
            Ok(Route::Check(gate(), CheckQuery::default()))
        );
        for typo in [
            "",
            "//",
            "/index.html",
            "/api",
            "/api/v1/gates/",
            "/api/v1/gates/default/",
            "/api/v1/gates/default/check/",
            "/api/v1/gates/default/chek",
            "/api/v1/gates//check",
            "/api/v1/gates/../check",
            "/api/v1/gates/a%2fb",
            "/API/v1/gates",
            "/check",
        ] {
            assert_eq!(get(typo), Err(404), "{typo}");
        }
    }

    #[test]
    fn other_methods_are_told_which_there_are() {
        let refused = |method, path| route(&method, path, None).unwrap_err();
        let problem = refused(Method::DELETE, "/api/v1/gates/default/check");
        assert_eq!(problem.status.as_u16(), 405);
        assert_eq!(problem.allow.as_deref(), Some("GET, HEAD, POST"));
        let problem = refused(Method::GET, "/-/reload");
        assert_eq!(problem.allow.as_deref(), Some("POST, PUT"));
        assert_eq!(refused(Method::POST, "/").status.as_u16(), 405);
    }

    #[test]
    fn nothing_is_taken_or_changed_by_reading() {
        for (path, allow) in [
            ("enter", "POST"),
            ("leave", "POST"),
            ("leases/1/renew", "POST"),
            ("leases/1", "DELETE"),
            ("hold", "PUT, DELETE"),
            ("nodes/1", "DELETE"),
        ] {
            let path = format!("/api/v1/gates/default/{path}");
            for method in [Method::GET, Method::HEAD] {
                let problem = route(&method, &path, None).unwrap_err();
                assert_eq!(problem.status.as_u16(), 405);
                assert_eq!(problem.allow.as_deref(), Some(allow));
            }
        }
        assert!(get("/api/v1/gates/default/leases").is_ok());
    }

    #[test]
    fn only_check_answers_a_post_among_the_verdict_paths() {
        for path in [
            "/",
            "/metrics",
            "/api/v1/gates",
            "/api/v1/gates/default",
            "/api/v1/gates/default/plan",
            "/api/v1/gates/default/leases",
        ] {
            assert!(route(&Method::POST, path, None).is_err(), "{path}");
        }
    }

    #[test]
    fn paths_without_parameters_refuse_them() {
        let problem = route(&Method::GET, "/api/v1/gates", Some("node=1")).unwrap_err();
        assert_eq!(problem.status.as_u16(), 400);
        assert!(problem.detail.contains("\"node\""));
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_check_makes_a_verdict(path in "[/a-z0-9.%-]{0,40}", query in ".{0,20}") {
            if let Ok(Route::Check(gate, _)) = route(&Method::GET, &path, Some(&query)) {
                proptest::prop_assert_eq!(path, format!("/api/v1/gates/{gate}/check"));
            }
        }
    }
}
