//! What can be asked, read strictly: a parameter that is not understood is a 400, because
//! a caller who mistypes `node` must not get the answer to another question.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use super::problem::Problem;
use crate::evidence::ids::NodeId;
use crate::gate::lease::Action;

/// The longest a request may wait for a gate to open: below the usual 60 s of proxies.
pub const LONGEST_WAIT: Duration = Duration::from_secs(55);

/// The statuses a closed gate may have. None of them reads as "go on" to any known caller, and
/// none is a status that callers give to their own network troubles (reference
/// `exporters-alerts-and-callers.md` 0.2, 0.3).
pub const CLOSED_STATUSES: [u16; 6] = [409, 412, 423, 425, 429, 503];

/// The nodes that a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// By id.
    pub nodes: BTreeSet<NodeId>,
    /// By machine, as the configuration names them under `hosts`.
    pub hosts: BTreeSet<String>,
}

impl Targets {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.hosts.is_empty()
    }
}

/// How many entries of the history one answer may hold.
pub const MOST_ENTRIES: usize = 500;

/// How many it holds when nobody says.
const USUAL_ENTRIES: usize = 50;

/// The parameters of `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckQuery {
    /// "These nodes stop now"; empty: any node.
    pub targets: Targets,
    /// The status of an answer that is not open.
    pub closed_status: StatusCode,
    /// How long to wait for the gate to open.
    pub wait: Duration,
    /// Whether only evidence newer than this request counts.
    pub fresh: bool,
    /// What the nodes would be stopped for. A repair is of named nodes, and always judged by evidence newer than
    /// the request.
    pub action: Action,
}

impl Default for CheckQuery {
    fn default() -> Self {
        Self {
            targets: Targets::default(),
            closed_status: StatusCode::SERVICE_UNAVAILABLE,
            wait: Duration::ZERO,
            fresh: false,
            action: Action::Restart,
        }
    }
}

impl CheckQuery {
    /// Reads the part of a URL after `?`.
    pub fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for (name, value) in pairs(query)? {
            match name.as_str() {
                "node" => parsed.targets.nodes = nodes(&value)?,
                "host" => parsed.targets.hosts = hosts(&value)?,
                "closed_status" => parsed.closed_status = closed_status(&value)?,
                "wait" => parsed.wait = wait(&value)?,
                "fresh" => parsed.fresh = yes_or_no("fresh", &value)?,
                "action" => parsed.action = action("action", &value)?,
                _ => {
                    return Err(unknown(
                        &name,
                        "check takes node, host, closed_status, wait, fresh and action",
                    ));
                }
            }
        }
        if parsed.action == Action::Repair && parsed.targets.is_empty() {
            return Err(Problem::bad_parameter(
                "action=repair is about nodes: name them, as in node=1",
            ));
        }
        Ok(parsed)
    }

    /// Whether the published view answers this at once, for any node.
    pub fn is_plain(&self) -> bool {
        self.targets.is_empty() && self.wait.is_zero() && !self.fresh
    }
}

/// The parameters of `history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only entries with a smaller number.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: usize,
}

impl HistoryQuery {
    /// Reads the part of a URL after `?`.
    pub fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let (mut before, mut limit) = (None, USUAL_ENTRIES);
        for (name, value) in pairs(query)? {
            let bad =
                |wants: &str| Problem::bad_parameter(format!("{name}={value:?}: give {wants}"));
            match name.as_str() {
                "before" => {
                    let number = whole(&value).ok_or_else(|| bad("the number of an entry"))?;
                    before = Some(number);
                }
                "limit" => {
                    limit = whole(&value)
                        .filter(|limit| (1..=MOST_ENTRIES).contains(limit))
                        .ok_or_else(|| bad(&format!("a number from 1 to {MOST_ENTRIES}")))?;
                }
                _ => return Err(unknown(&name, "history takes before and limit")),
            }
        }
        Ok(Self { before, limit })
    }
}

/// A number of digits only.
fn whole<T: FromStr>(value: &str) -> Option<T> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    value.parse().ok().filter(|_| digits)
}

/// Refuses every parameter, for paths that take none.
pub fn none(query: Option<&str>) -> Result<(), Problem> {
    match pairs(query)?.first() {
        None => Ok(()),
        Some((name, _)) => Err(unknown(name, "this path takes no parameters")),
    }
}

pub(super) fn unknown(name: &str, takes: &str) -> Problem {
    Problem::bad_parameter(format!("there is no parameter {name:?} here; {takes}"))
}

/// The parameters, decoded, each once.
pub(super) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(pairs);
    };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if pairs.iter().any(|(known, _)| *known == name) {
            let detail = format!("parameter {name:?} is given more than once; give it once");
            return Err(Problem::bad_parameter(detail));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Undoes percent-encoding, and `+` for a space as forms and most libraries write it.
fn decode(text: &str) -> Result<String, Problem> {
    let bad = || {
        Problem::bad_parameter(format!(
            "{text:?} is not percent-encoded UTF-8; encode it anew"
        ))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || {
                let digit = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(digit).ok()
            };
            let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(if byte == b'+' { b' ' } else { byte });
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

pub(super) fn nodes(value: &str) -> Result<BTreeSet<NodeId>, Problem> {
    value
        .split(',')
        .map(|id| match id.parse() {
            Ok(id @ 0..) if !value.starts_with('+') => Ok(NodeId(id)),
            Ok(_) | Err(_) => Err(Problem::bad_parameter(format!(
                "node={value:?} is no list of node ids; give one or several, as in node=1,101"
            ))),
        })
        .collect()
}

/// Names of machines. Whether there are such is looked up later.
pub(super) fn hosts(value: &str) -> Result<BTreeSet<String>, Problem> {
    let names: BTreeSet<String> = value.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(Problem::bad_parameter(format!(
            "host={value:?} is no list of hosts; give one or several, as in host=rack1-a"
        )));
    }
    Ok(names)
}

pub(super) fn closed_status(value: &str) -> Result<StatusCode, Problem> {
    value
        .parse()
        .ok()
        .filter(|status| CLOSED_STATUSES.contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| {
            Problem::bad_parameter(format!(
                "closed_status={value:?}: a closed gate can answer {CLOSED_STATUSES:?}"
            ))
        })
}

pub(super) fn wait(value: &str) -> Result<Duration, Problem> {
    whole(value.strip_suffix('s').unwrap_or(value))
        .map(Duration::from_secs)
        .filter(|wait| *wait <= LONGEST_WAIT)
        .ok_or_else(|| {
            Problem::bad_parameter(format!(
                "wait={value:?}: give whole seconds from 0 to {}, as in wait=20 or wait=20s",
                LONGEST_WAIT.as_secs()
            ))
        })
}

fn yes_or_no(name: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Problem::bad_parameter(format!(
            "{name}={value:?}: give 1 or 0"
        ))),
    }
}

pub(super) fn action(name: &str, value: &str) -> Result<Action, Problem> {
    [Action::Restart, Action::Repair]
        .into_iter()
        .find(|action| action.as_str() == value)
        .ok_or_else(|| bad(name, value, "give restart or repair"))
}

pub(super) fn bad(name: &str, value: &str, wanted: &str) -> Problem {
    Problem::bad_parameter(format!("{name}={value:?}: {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<CheckQuery, String> {
        CheckQuery::parse(Some(query)).map_err(|problem| problem.detail)
    }

    #[test]
    fn every_parameter_is_read() {
        let read = parse("node=1%2C101&wait=20s&fresh=1&closed_status=423").unwrap();
        assert_eq!(read.targets.nodes, BTreeSet::from([NodeId(1), NodeId(101)]));
        assert_eq!(read.wait, Duration::from_secs(20));
        assert!(read.fresh);
        assert_eq!(read.closed_status.as_u16(), 423);
        assert_eq!(read.action, Action::Restart);
        let repair = parse("host=rack1-a&action=repair").unwrap();
        assert_eq!(repair.action, Action::Repair);
        assert!(!repair.is_plain());
        assert_eq!(CheckQuery::parse(None), Ok(CheckQuery::default()));
        assert!(parse("").unwrap().is_plain());
    }

    #[test]
    fn a_mistyped_parameter_is_named() {
        assert!(parse("broker=1").unwrap_err().contains("\"broker\""));
        assert!(parse("node=1&node=2").unwrap_err().contains("\"node\""));
        let any = parse("action=repair").unwrap_err();
        assert!(any.contains("name them"), "{any}");
        for action in ["", "Repair", "finalize", "restart,repair"] {
            assert!(
                parse(&format!("node=1&action={action}")).is_err(),
                "{action}"
            );
        }
        for none_of_them in ["node=", "node=1,", "node=-1", "node=%2B1", "node=a", "node"] {
            assert!(parse(none_of_them).is_err(), "{none_of_them}");
        }
    }

    #[test]
    fn only_statuses_that_stop_every_caller_are_offered() {
        for status in (100..600).filter(|status| !CLOSED_STATUSES.contains(status)) {
            assert!(parse(&format!("closed_status={status}")).is_err());
        }
        assert!(
            CLOSED_STATUSES
                .iter()
                .all(|s| *s != 404 && *s != 408 && *s >= 400)
        );
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(parse("wait=55").map(|q| q.wait), Ok(LONGEST_WAIT));
        for bad in [
            "56",
            "-1",
            "+5",
            "1.5",
            "",
            "s",
            "20ms",
            "99999999999999999999",
        ] {
            assert!(parse(&format!("wait={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_history_is_asked_for_in_pages() {
        let parse = |query| HistoryQuery::parse(Some(query)).ok();
        let page = |before, limit| Some(HistoryQuery { before, limit });
        assert_eq!(parse(""), page(None, 50));
        assert_eq!(parse("before=7&limit=500"), page(Some(7), MOST_ENTRIES));
        for bad in [
            "limit=0",
            "limit=501",
            "limit=",
            "limit=%2B5",
            "before=-1",
            "before=x",
            "node=1",
            "limit=5&limit=5",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        assert!(parse("fr%65sh=1").unwrap().fresh);
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert!(parse(&format!("{bad}=1")).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in ".{0,60}") {
            let _ = CheckQuery::parse(Some(&query));
            let _ = HistoryQuery::parse(Some(&query));
            let _ = none(Some(&query));
        }
    }
}
