//! What `enter`, `leave` and the changes can be asked, read as strictly as `check`.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};

use super::problem::Problem;
use super::query::{Targets, action, bad, closed_status, hosts, nodes, pairs, unknown, wait};
use crate::evidence::ids::NodeId;
use crate::gate::lease::{
    Action, LONGEST_TTL, LeaseId, Owner, SHORTEST_TTL, Token, USUAL_TTL, is_printable,
};
use crate::gate::question::{Change, Unused};

/// Whose nodes, and how to answer: what `enter` and `leave` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The nodes; never empty.
    pub targets: Targets,
    /// Who asks.
    pub owner: Owner,
    /// The status of an answer that is no 200.
    pub closed_status: StatusCode,
    /// How long to wait for a 200.
    pub wait: Duration,
}

/// The parameters of `enter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnterQuery {
    /// Whose nodes, and how to answer.
    pub claim: Claim,
    /// For how long.
    pub ttl: Duration,
    /// What for.
    pub action: Action,
}

impl EnterQuery {
    /// Reads the part of a URL after `?`.
    pub fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut given = Given::read(query)?;
        let ttl = given.take("ttl", ttl)?.unwrap_or(USUAL_TTL);
        let action = given.take("action", action)?.unwrap_or_default();
        Ok(Self {
            claim: given
                .claim("enter takes node, host, owner, ttl, action, wait and closed_status")?,
            ttl,
            action,
        })
    }
}

/// The parameters of `leave`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveQuery {
    /// Whose nodes, and how to answer.
    pub claim: Claim,
    /// Nothing was done with this "go".
    pub unused: Option<Unused>,
}

impl LeaveQuery {
    /// Reads the part of a URL after `?`.
    pub fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut given = Given::read(query)?;
        let unused = given.take("unused", unused)?;
        Ok(Self {
            claim: given.claim("leave takes node, host, owner, unused, wait and closed_status")?,
            unused,
        })
    }
}

/// A path below a gate that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// `leases/{id}/renew`.
    Renew(&'a str),
    /// `leases/{id}`.
    Lease(&'a str),
    /// `hold`.
    Hold,
    /// `nodes/{id}`.
    Node(&'a str),
}

impl<'a> Place<'a> {
    /// The place of this path below `/api/v1/gates/{gate}/`.
    pub fn find(path: &'a str) -> Option<Self> {
        if path == "hold" {
            return Some(Self::Hold);
        }
        if let Some(node) = path.strip_prefix("nodes/") {
            return (!node.contains('/')).then_some(Self::Node(node));
        }
        let lease = path.strip_prefix("leases/")?;
        match lease.split_once('/') {
            None => Some(Self::Lease(lease)),
            Some((lease, "renew")) => Some(Self::Renew(lease)),
            Some(_) => None,
        }
    }

    /// The change that is asked for here.
    pub fn change(self, method: &Method, query: Option<&str>) -> Result<Change, Problem> {
        let mut given = Given::read(query)?;
        let change = match self {
            Self::Renew(lease) => {
                let change = Change::Renew {
                    lease: lease_id(lease)?,
                    token: Token(given.need("token", number)?),
                    ttl: given.take("ttl", ttl)?.unwrap_or(USUAL_TTL),
                    by: None,
                };
                given.end("renew takes token and ttl")?;
                change
            }
            Self::Lease(lease) => {
                let change = Change::Break {
                    lease: lease_id(lease)?,
                    by: given.need("by", owner)?,
                    reason: given.need("reason", reason)?,
                };
                given.end("breaking a lease takes by and reason")?;
                change
            }
            Self::Hold if *method == Method::PUT => {
                let change = Change::Hold {
                    node: given.take("node", node)?,
                    author: given.need("author", owner)?,
                    reason: given.need("reason", reason)?,
                    ttl: given.take("ttl", hold_ttl)?,
                };
                given.end("a hold takes author, reason, ttl and node")?;
                change
            }
            Self::Hold => {
                let change = Change::Lift {
                    node: given.take("node", node)?,
                    by: given.need("by", owner)?,
                };
                given.end("lifting a hold takes by and node")?;
                change
            }
            Self::Node(id) => {
                let change = Change::Retire {
                    node: node("node", id)?,
                    by: given.need("by", owner)?,
                };
                given.end("retiring a node takes by")?;
                change
            }
        };
        Ok(change)
    }
}

/// The parameters that are still to be read.
struct Given(Vec<(String, String)>);

impl Given {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        pairs(query).map(Self)
    }

    fn take<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str, &str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let at = self.0.iter().position(|(known, _)| known == name);
        at.map(|at| {
            let (_, value) = self.0.remove(at);
            read(name, &value)
        })
        .transpose()
    }

    fn need<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str, &str) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.take(name, read)?
            .ok_or_else(|| Problem::bad_parameter(format!("parameter {name:?} is missing")))
    }

    fn claim(mut self, takes: &str) -> Result<Claim, Problem> {
        let nodes = self.take("node", |_, value| nodes(value))?;
        let hosts = self.take("host", |_, value| hosts(value))?;
        let owner = self.take("owner", owner)?;
        let closed_status = self.take("closed_status", |_, value| closed_status(value))?;
        let wait = self.take("wait", |_, value| wait(value))?;
        self.end(takes)?;
        let targets = Targets {
            nodes: nodes.unwrap_or_default(),
            hosts: hosts.unwrap_or_default(),
        };
        if targets.is_empty() {
            return Err(Problem::bad_parameter(
                "parameter \"node\" is missing: say which nodes, as in node=1 or node=1,101",
            ));
        }
        let owner = owner.ok_or_else(|| {
            Problem::bad_parameter(
                "parameter \"owner\" is missing: say who asks, the same in enter and leave",
            )
        })?;
        Ok(Claim {
            targets,
            owner,
            closed_status: closed_status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            wait: wait.unwrap_or_default(),
        })
    }

    fn end(self, takes: &str) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(unknown(name, takes)),
        }
    }
}

fn owner(name: &str, value: &str) -> Result<Owner, Problem> {
    Owner::try_from(value.to_owned()).map_err(|error| bad(name, value, &error.to_string()))
}

fn reason(name: &str, value: &str) -> Result<String, Problem> {
    if is_printable(value) {
        Ok(value.to_owned())
    } else {
        Err(bad(
            name,
            value,
            "say why, in 1 to 200 printable characters",
        ))
    }
}

fn number(name: &str, value: &str) -> Result<u64, Problem> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let parsed = value.parse().ok().filter(|_| digits);
    parsed.ok_or_else(|| bad(name, value, "give a whole number"))
}

/// `TOKEN.TOLD`.
fn unused(name: &str, value: &str) -> Result<Unused, Problem> {
    let wanted = "give token and told of the last go, as in unused=7.2";
    let (token, told) = value
        .split_once('.')
        .ok_or_else(|| bad(name, value, wanted))?;
    let told = u32::try_from(number(name, told)?).map_err(|_| bad(name, value, wanted))?;
    Ok(Unused {
        token: Token(number(name, token)?),
        told,
    })
}

/// A lease that cannot be is one that is not there.
fn lease_id(text: &str) -> Result<LeaseId, Problem> {
    number("lease", text)
        .map(LeaseId)
        .map_err(|_| Problem::no_such_lease(format!("{text:?} is no lease; they have numbers")))
}

fn node(_: &str, value: &str) -> Result<NodeId, Problem> {
    let several = |ids: &BTreeSet<NodeId>| ids.len() > 1;
    let ids = nodes(value)?;
    ids.first()
        .copied()
        .filter(|_| !several(&ids))
        .ok_or_else(|| Problem::bad_parameter("give one node here, as in node=1"))
}

fn ttl(name: &str, value: &str) -> Result<Duration, Problem> {
    span(value)
        .filter(|ttl| (SHORTEST_TTL..=LONGEST_TTL).contains(ttl))
        .ok_or_else(|| bad(name, value, "give 10s to 24h, as in ttl=30m"))
}

/// A hold may last longer than a lease.
fn hold_ttl(name: &str, value: &str) -> Result<Duration, Problem> {
    const LONGEST: Duration = Duration::from_secs(366 * 86_400);
    span(value)
        .filter(|ttl| !ttl.is_zero() && *ttl <= LONGEST)
        .ok_or_else(|| bad(name, value, "give 1s to 366d, as in ttl=2h"))
}

/// Whole seconds, minutes, hours or days; without a unit, seconds.
fn span(value: &str) -> Option<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let with_unit = units
        .iter()
        .find_map(|(unit, seconds)| Some((value.strip_suffix(unit)?, *seconds)));
    let (digits, seconds) = with_unit.unwrap_or((value, 1));
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(query: &str) -> Result<EnterQuery, String> {
        EnterQuery::parse(Some(query)).map_err(|problem| problem.detail)
    }

    #[test]
    fn enter_reads_everything_and_needs_node_and_owner() {
        let read = enter(
            "node=1,101&owner=jenkins%2Froll+%2347&ttl=90m&action=repair&wait=20&closed_status=423",
        )
        .unwrap();
        assert_eq!(read.claim.owner.as_str(), "jenkins/roll #47");
        assert_eq!(
            read.claim.targets.nodes,
            BTreeSet::from([NodeId(1), NodeId(101)])
        );
        assert_eq!((read.ttl.as_secs(), read.action), (5400, Action::Repair));
        assert_eq!(read.claim.closed_status.as_u16(), 423);
        let plain = enter("host=rack1-a&owner=me").unwrap();
        assert_eq!((plain.ttl, plain.action), (USUAL_TTL, Action::Restart));
        assert!(plain.claim.targets.hosts.contains("rack1-a"));
        for (bad, named) in [
            ("owner=me", "node"),
            ("node=1", "owner"),
            ("node=1&owner=", "owner"),
            ("node=1&owner=me&fresh=1", "fresh"),
            ("node=1&owner=me&ttl=9s", "ttl"),
            ("node=1&owner=me&ttl=25h", "ttl"),
            ("node=1&owner=me&ttl=99999999999999999999d", "ttl"),
            ("node=1&owner=me&action=finalize", "action"),
            ("node=1&owner=me&wait=56", "wait"),
        ] {
            assert!(enter(bad).unwrap_err().contains(named), "{bad}");
        }
        let leave = |more: &str| LeaveQuery::parse(Some(&format!("node=1&owner=me{more}")));
        assert!(leave("&ttl=30m").unwrap_err().detail.contains("\"ttl\""));
        assert_eq!(leave("").unwrap().unused, None);
        let (token, told) = (Token(7), 2);
        assert_eq!(
            leave("&unused=7.2").unwrap().unused,
            Some(Unused { token, told })
        );
        for bad in ["", "7", "7.", ".2", "7.2.1", "-7.2", "7.+2", "7.4294967296"] {
            let problem = leave(&format!("&unused={bad}")).unwrap_err();
            assert!(
                problem.detail.contains("unused"),
                "{bad}: {}",
                problem.detail
            );
        }
    }

    #[test]
    fn changes_name_who_and_why() {
        let change = |method: Method, path: &str, query: &str| {
            Place::find(path).unwrap().change(&method, Some(query))
        };
        assert_eq!(
            change(Method::POST, "leases/3/renew", "token=7&ttl=1h"),
            Ok(Change::Renew {
                lease: LeaseId(3),
                token: Token(7),
                ttl: Duration::from_secs(3600),
                by: None,
            })
        );
        let hold = change(Method::PUT, "hold", "author=ann&reason=disks&node=2").unwrap();
        assert!(matches!(
            hold,
            Change::Hold {
                node: Some(NodeId(2)),
                ttl: None,
                ..
            }
        ));
        let lift = change(Method::DELETE, "hold", "by=ann").unwrap();
        assert!(matches!(lift, Change::Lift { node: None, .. }));
        assert!(change(Method::DELETE, "nodes/3", "by=ann").is_ok());
        for (method, path, query, status) in [
            (Method::DELETE, "leases/3", "by=ann", 400),
            (Method::DELETE, "leases/3", "reason=x", 400),
            (Method::DELETE, "leases/x", "by=ann&reason=x", 404),
            (Method::POST, "leases/3/renew", "ttl=1h", 400),
            (Method::PUT, "hold", "author=ann", 400),
            (Method::PUT, "hold", "author=ann&reason=x&node=1,2", 400),
            (Method::DELETE, "hold", "by=ann&reason=x", 400),
            (Method::DELETE, "nodes/x", "by=ann", 400),
        ] {
            let refused = change(method, path, query).unwrap_err();
            assert_eq!(refused.status.as_u16(), status, "{path}?{query}");
        }
        for nowhere in [
            "leases",
            "leases/1/renew/",
            "leases/1/x",
            "nodes/1/x",
            "holds",
            "",
        ] {
            assert!(Place::find(nowhere).is_none(), "{nowhere}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in ".{0,60}", path in "[a-z0-9/]{0,20}") {
            let _ = EnterQuery::parse(Some(&query));
            let _ = LeaveQuery::parse(Some(&query));
            if let Some(place) = Place::find(&path) {
                let _ = place.change(&Method::PUT, Some(&query));
            }
        }
    }
}
