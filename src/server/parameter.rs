//! The parameters of each endpoint, for the OpenAPI document. A test holds it against what the
//! readers of queries take.

use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::query::{CLOSED_STATUSES, LONGEST_WAIT, MOST_ENTRIES};
use crate::gate::lease::Action;

/// A parameter of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `node`, several.
    Nodes,
    /// `node`, one.
    Node,
    /// `host`.
    Hosts,
    /// `closed_status`.
    ClosedStatus,
    /// `wait`.
    Wait,
    /// `fresh`.
    Fresh,
    /// `owner`.
    Owner,
    /// `ttl` of a lease.
    Ttl,
    /// `ttl` of a hold.
    HoldTtl,
    /// `action`.
    Action,
    /// `token`.
    Token,
    /// `unused`.
    Unused,
    /// `by`.
    By,
    /// `author`.
    Author,
    /// `reason`.
    Reason,
    /// `before`.
    Before,
    /// `limit`.
    Limit,
}

impl Parameter {
    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nodes | Self::Node => "node",
            Self::Hosts => "host",
            Self::ClosedStatus => "closed_status",
            Self::Wait => "wait",
            Self::Fresh => "fresh",
            Self::Owner => "owner",
            Self::Ttl | Self::HoldTtl => "ttl",
            Self::Action => "action",
            Self::Token => "token",
            Self::Unused => "unused",
            Self::By => "by",
            Self::Author => "author",
            Self::Reason => "reason",
            Self::Before => "before",
            Self::Limit => "limit",
        }
    }

    /// A value that is taken.
    pub const fn example(self) -> &'static str {
        match self {
            Self::Nodes | Self::Node | Self::Fresh => "1",
            Self::Hosts => "rack1-a",
            Self::ClosedStatus => "423",
            Self::Wait => "20",
            Self::Owner => "roll-47",
            Self::Ttl => "30m",
            Self::HoldTtl => "2h",
            Self::Action => "restart",
            Self::Token | Self::Before => "7",
            Self::Unused => "7.1",
            Self::By | Self::Author => "ann",
            Self::Reason => "disks",
            Self::Limit => "50",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Nodes => "These nodes stop now, all of them together.",
            Self::Node => "One node only.",
            Self::Hosts => "All nodes of these machines, as the configuration names them.",
            Self::ClosedStatus => "The status of an answer that is not open.",
            Self::Wait => "How long the gate may keep the request.",
            Self::Fresh => "Only evidence newer than this request counts.",
            Self::Owner => "Who asks: the same in enter and leave.",
            Self::Ttl | Self::HoldTtl => "For how long.",
            Self::Action => "What the nodes are stopped for.",
            Self::Token => "The lease's fencing token.",
            Self::Unused => {
                "token.told of the last go, with which nothing was done: given back only where none was said since."
            }
            Self::By => "Who does it.",
            Self::Author => "Who holds.",
            Self::Reason => "Why.",
            Self::Before => "Only entries with a smaller number.",
            Self::Limit => "How many entries at most.",
        }
    }

    fn schema(self) -> Value {
        let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
        match self {
            Self::Nodes => text("^[0-9]{1,9}(,[0-9]{1,9})*$"),
            Self::Node => json!({"type": "integer", "minimum": 0, "maximum": i32::MAX}),
            Self::Unused => text("^[0-9]{1,18}[.][0-9]{1,9}$"),
            Self::Hosts => text("^[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*$"),
            Self::ClosedStatus => json!({"type": "integer", "enum": CLOSED_STATUSES}),
            Self::Wait => json!({
                "type": "integer", "minimum": 0, "maximum": LONGEST_WAIT.as_secs()
            }),
            Self::Fresh => json!({"type": "string", "enum": ["0", "1", "true", "false"]}),
            // More is taken, up to 200 characters with the principal that is added.
            Self::Owner | Self::By | Self::Author => text("^[!-~]([ -~]{0,78}[!-~])?$"),
            Self::Reason => text("^[!-~]([ -~]{0,198}[!-~])?$"),
            Self::Ttl => text("^([1-9][0-9]{1,3}s|[1-9][0-9]{0,2}m|([1-9]|1[0-9]|2[0-4])h)$"),
            Self::HoldTtl => text("^([1-9][0-9]{0,2}[smh]|[1-9][0-9]?d)$"),
            Self::Action => {
                json!({"enum": [Action::Restart.as_str(), Action::Repair.as_str()]})
            }
            Self::Token | Self::Before => {
                json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})
            }
            Self::Limit => json!({"type": "integer", "minimum": 1, "maximum": MOST_ENTRIES}),
        }
    }

    fn document(self, needed: bool) -> Value {
        let (schema, example) = (self.schema(), self.example());
        let number = example
            .parse::<u64>()
            .ok()
            .filter(|_| schema["type"] == "integer");
        let example = number.map_or_else(|| json!(example), Value::from);
        json!({
            "name": self.name(),
            "in": "query",
            "required": needed,
            "description": self.meaning(),
            "schema": schema,
            "example": example,
        })
    }
}

impl Endpoint {
    /// What its query takes, and whether it is needed.
    pub const fn parameters(self) -> &'static [(Parameter, bool)] {
        use Parameter as P;
        match self {
            Self::Page
            | Self::Metrics
            | Self::Healthy
            | Self::Ready
            | Self::Reload
            | Self::OpenApi
            | Self::Gates
            | Self::Document
            | Self::Plan
            | Self::Leases => &[],
            Self::Check => &[
                (P::Nodes, false),
                (P::Hosts, false),
                (P::ClosedStatus, false),
                (P::Wait, false),
                (P::Fresh, false),
                (P::Action, false),
            ],
            Self::Enter => &[
                (P::Nodes, false),
                (P::Hosts, false),
                (P::Owner, true),
                (P::Ttl, false),
                (P::Action, false),
                (P::Wait, false),
                (P::ClosedStatus, false),
            ],
            Self::Leave => &[
                (P::Nodes, false),
                (P::Hosts, false),
                (P::Owner, true),
                (P::Unused, false),
                (P::Wait, false),
                (P::ClosedStatus, false),
            ],
            Self::Renew => &[(P::Token, true), (P::Ttl, false)],
            Self::Break => &[(P::By, true), (P::Reason, true)],
            Self::Hold => &[
                (P::Author, true),
                (P::Reason, true),
                (P::HoldTtl, false),
                (P::Node, false),
            ],
            Self::Lift => &[(P::By, true), (P::Node, false)],
            Self::Retire => &[(P::By, true)],
            Self::History => &[(P::Before, false), (P::Limit, false)],
        }
    }

    /// All parameters as the OpenAPI document has them: those of the path, of the query, and the
    /// header that changes need.
    pub(super) fn document_parameters(self) -> Vec<Value> {
        let in_path = |name: &str| {
            let schema = match name {
                "gate" => {
                    json!({"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}$"})
                }
                _ => json!({"type": "integer", "minimum": 0, "maximum": i32::MAX}),
            };
            let example = if name == "gate" {
                json!("default")
            } else {
                json!(1)
            };
            json!({
                "name": name, "in": "path", "required": true, "schema": schema, "example": example,
            })
        };
        let path = self.row().path.split('/');
        let names = path.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut all: Vec<Value> = names.map(in_path).collect();
        let query = self.parameters().iter();
        all.extend(query.map(|(parameter, needed)| parameter.document(*needed)));
        if self.changes() {
            all.push(json!({
                "name": "X-Upgrade-Gate", "in": "header", "required": true,
                "description": "A page of another origin cannot make a browser send it.",
                "schema": {"const": "1"}, "example": "1",
            }));
        }
        all
    }
}
