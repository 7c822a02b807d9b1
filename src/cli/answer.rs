//! What an answer of a gate means. Open needs five things that say so; one that does not makes
//! it unknown.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::out::Exit;
use crate::evidence::ids::NodeId;
use crate::gate::lease::Action;
use crate::gate::state::{GateName, State};
use crate::server::problem::{NO_SUCH_LEASE, NOT_FOUND};

/// An HTTP answer, before anybody believes it.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// The status.
    pub status: u16,
    /// `Upgrade-Gate-State`; only our gate sends it.
    pub state: Option<String>,
    /// Whether a cache says that it kept this answer (`Age` above 0).
    pub cached: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The gate.
    pub gate: GateName,
    /// The nodes that would stop; empty: any node.
    pub nodes: BTreeSet<NodeId>,
    /// The machines whose nodes would stop as well.
    pub hosts: BTreeSet<String>,
    /// What for.
    pub action: Action,
}

/// What a gate's answer says, as far as the command line needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Body {
    /// Whether the step may be taken.
    pub open: bool,
    /// The verdict.
    pub state: State,
    /// Which gate answers.
    pub gate: String,
    /// The nodes the answer is about.
    #[serde(default)]
    pub nodes: Vec<i32>,
    /// The machines the answer is about.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// What the nodes are stopped for, where the answer tells.
    #[serde(default)]
    pub action: Option<String>,
    /// The lease, where one is given or is over.
    #[serde(default)]
    pub lease: Option<u64>,
    /// Its nodes; a repair may take over more than it asks about.
    #[serde(default)]
    pub lease_nodes: Option<Vec<i32>>,
    /// Its fencing token.
    #[serde(default)]
    pub token: Option<u64>,
    /// How often "go" has been said for it, where the gate tells.
    #[serde(default)]
    pub told: Option<u32>,
    /// Until when it is given.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// How it ended.
    #[serde(default)]
    pub how: Option<String>,
    /// What the proof of return waits for, in words.
    #[serde(default)]
    pub progress: Option<String>,
    /// How long nodes of this cluster usually take from grant to proof.
    #[serde(default)]
    pub usually_seconds: Option<f64>,
    /// Why.
    #[serde(default)]
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// From the closed list.
    pub code: String,
    /// `block`, `unknown` or `warn`.
    pub severity: String,
    /// About what.
    pub subject: String,
    /// What was seen.
    pub observed: String,
    /// What would be right.
    pub required: String,
    /// Since when.
    pub since: String,
    /// The step at which a source failed; empty where none did.
    pub step: String,
    /// What to do.
    pub hint: String,
}

/// What it comes to.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// A consistent answer, and it says this.
    Says(State, Box<Body>),
    /// An answer that contradicts itself or the question. Never open.
    Contradicts(String),
    /// No answer of this gate; why.
    Unreachable(String),
    /// The gate does not let us ask this; asking again does not help.
    Refused(Refusal, String),
}

/// Why a gate does not let us ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the question cannot be taken as it is, or its nodes are none of this gate's.
    Question,
    /// 401, 403: who asks is not known, or has not the right.
    NotAuthorised,
    /// The gate's own 404: there is no such gate.
    NotThere,
    /// 409: what is asked for cannot be; a lease that is over. And the gate's own 404: one that is no
    /// more.
    Conflict,
}

impl Refusal {
    fn of(raw: &Raw) -> Option<Self> {
        match raw.status {
            400 => Some(Self::Question),
            401 | 403 => Some(Self::NotAuthorised),
            404 => {
                let problem = Problem::of(&raw.body);
                match problem.title.as_str() {
                    NO_SUCH_LEASE if problem.is_ours() => Some(Self::Conflict),
                    NOT_FOUND if problem.is_ours() => Some(Self::NotThere),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Question => Exit::Usage,
            Self::NotAuthorised | Self::NotThere => Exit::Unreachable,
            Self::Conflict => Exit::Closed,
        }
    }
}

impl Verdict {
    /// The exit code.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Says(State::Open, _) => Exit::Open,
            Self::Says(State::Closed, _) => Exit::Closed,
            Self::Says(State::Unknown, _) | Self::Contradicts(_) => Exit::Unknown,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::Refused(refusal, _) => refusal.exit(),
        }
    }
}

/// Reads an answer of `check`.
pub fn read(asked: &Asked, raw: &Raw) -> Verdict {
    let told = || format!("HTTP {}: {}", raw.status, detail(&raw.body));
    if let Some(refusal) = Refusal::of(raw) {
        return Verdict::Refused(refusal, told());
    }
    if raw.status == 404 {
        // A proxy's: it has no way to the gate just now.
        return Verdict::Unreachable(told());
    }
    let Some(header) = raw.state.as_deref() else {
        let status = raw.status;
        if status == 409 {
            return Verdict::Refused(Refusal::Conflict, told());
        }
        let what = format!("HTTP {status} without Upgrade-Gate-State: this is not a gate's answer");
        return if status == 200 {
            Verdict::Contradicts(what)
        } else {
            Verdict::Unreachable(what)
        };
    };
    match consistent(asked, raw, header) {
        Ok(body) => Verdict::Says(body.state, Box::new(body)),
        Err(what) => Verdict::Contradicts(what),
    }
}

/// The body, when status, header, body and question fit together.
fn consistent(asked: &Asked, raw: &Raw, header: &str) -> Result<Body, String> {
    let body: Body = serde_json::from_slice(&raw.body).map_err(|error| {
        if raw.status >= 500 && header == State::Unknown.as_str() {
            // The gate's server itself: too busy, or stopping.
            return format!("HTTP {}: {}", raw.status, detail(&raw.body));
        }
        format!(
            "HTTP {} with a body that is no verdict: {error}",
            raw.status
        )
    })?;
    let says = body.state;
    let differs =
        |what: &str, other: &str| Err(format!("the body says {says}, but {what} {other}"));
    if header != says.as_str() {
        return differs("the header says", &format!("{header:?}"));
    }
    if body.open != (says == State::Open) {
        return differs("its own field open is", &body.open.to_string());
    }
    if (raw.status == 200) != (says == State::Open) {
        return differs("the status is", &raw.status.to_string());
    }
    if body.gate != asked.gate.as_str() {
        return Err(format!(
            "gate {:?} answers, {} was asked",
            body.gate, asked.gate
        ));
    }
    let nodes: BTreeSet<NodeId> = body.nodes.iter().copied().map(NodeId).collect();
    let fits = if asked.hosts.is_empty() {
        nodes == asked.nodes
    } else {
        // Which nodes are on a machine is the gate's to say.
        body.hosts == asked.hosts && !nodes.is_empty() && nodes.is_superset(&asked.nodes)
    };
    if !fits {
        return Err(format!(
            "the answer is about nodes {:?}, not those asked",
            body.nodes
        ));
    }
    if let Some(action) = &body.action
        && action != asked.action.as_str()
    {
        return Err(format!(
            "the answer is about a {action}, not the {} that was asked about",
            asked.action.as_str()
        ));
    }
    let against = body.reasons.iter().find(|reason| reason.severity != "warn");
    if let (State::Open, Some(reason)) = (says, against) {
        return differs("there is the reason", &reason.code);
    }
    if raw.cached {
        return Err(String::from(
            "a cache kept this answer: what it says is over",
        ));
    }
    Ok(body)
}

/// What a problem document says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    open: Option<bool>,
    title: String,
    detail: String,
}

impl Problem {
    /// One that says nothing where the body is none.
    fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Only a gate's says that it is not open.
    fn is_ours(&self) -> bool {
        self.open == Some(false)
    }
}

/// The same, for people.
fn detail(body: &[u8]) -> String {
    let problem = Problem::of(body);
    match (problem.title.as_str(), problem.detail.as_str()) {
        ("", "") => String::from("no explanation; is this the gate's URL?"),
        (title, "") => String::from(title),
        (_, detail) => String::from(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(nodes: &[i32]) -> Asked {
        Asked {
            gate: GateName::default(),
            nodes: nodes.iter().copied().map(NodeId).collect(),
            hosts: BTreeSet::new(),
            action: Action::Restart,
        }
    }

    fn raw(status: u16, header: Option<&str>, body: &str) -> Raw {
        Raw {
            status,
            state: header.map(String::from),
            cached: false,
            body: body.as_bytes().to_vec(),
        }
    }

    fn body(open: bool, state: &str, gate: &str, rest: &str) -> String {
        format!("{{\"open\":{open},\"state\":\"{state}\",\"gate\":\"{gate}\"{rest}}}")
    }

    const BLOCK: &str = ",\"reasons\":[{\"code\":\"offline\",\"severity\":\"block\"}]";
    const WARN: &str = ",\"reasons\":[{\"code\":\"single_replica\",\"severity\":\"warn\"}]";

    #[test]
    fn a_consistent_answer_is_believed() {
        for (status, state, rest, exit) in [
            (200, "open", "", Exit::Open),
            (200, "open", WARN, Exit::Open),
            (503, "closed", BLOCK, Exit::Closed),
            (423, "closed", BLOCK, Exit::Closed),
            (503, "unknown", "", Exit::Unknown),
        ] {
            let body = body(state == "open", state, "default", rest);
            let verdict = read(&asked(&[]), &raw(status, Some(state), &body));
            assert_eq!(verdict.exit(), exit, "{verdict:?}");
        }
        let about = body(true, "open", "default", ",\"nodes\":[101,1]");
        let verdict = read(&asked(&[1, 101]), &raw(200, Some("open"), &about));
        assert_eq!(verdict.exit(), Exit::Open);
    }

    /// Every combination of the five signs: only one opens.
    #[test]
    fn open_needs_every_sign() {
        let mut opened = 0;
        for status in [200, 201, 204, 206, 302, 304, 409, 503] {
            for header in [
                None,
                Some("open"),
                Some("OPEN"),
                Some("closed"),
                Some("unknown"),
            ] {
                for open in [true, false] {
                    for state in ["open", "closed", "unknown"] {
                        for gate in ["default", "other"] {
                            let body = body(open, state, gate, "");
                            let verdict = read(&asked(&[]), &raw(status, header, &body));
                            opened += usize::from(verdict.exit() == Exit::Open);
                        }
                    }
                }
            }
        }
        assert_eq!(opened, 1);
    }

    #[test]
    fn what_contradicts_is_unknown() {
        let good = body(true, "open", "default", "");
        let cut = good.get(..good.len() - 1).unwrap();
        let twice = body(true, "open", "default", ",\"open\":false");
        let with = |rest| body(true, "open", "default", rest);
        for bad in [
            "",
            "{}",
            "<html>",
            "[]",
            "null",
            cut,
            &twice,
            &with(BLOCK),
            &with(",\"nodes\":[1]"),
        ] {
            let verdict = read(&asked(&[]), &raw(200, Some("open"), bad));
            assert_eq!(verdict.exit(), Exit::Unknown, "{bad}");
        }
        let ignored_nodes = read(&asked(&[1]), &raw(200, Some("open"), &good));
        assert_eq!(ignored_nodes.exit(), Exit::Unknown);
        let mut kept = raw(200, Some("open"), &good);
        kept.cached = true;
        assert_eq!(read(&asked(&[]), &kept).exit(), Exit::Unknown);
    }

    #[test]
    fn the_nodes_of_a_machine_are_the_gates_to_say() {
        let asked = Asked {
            hosts: BTreeSet::from([String::from("rack1-a")]),
            ..asked(&[7])
        };
        for (rest, exit) in [
            (r#","nodes":[1,7,101],"hosts":["rack1-a"]"#, Exit::Open),
            (r#","nodes":[1,101],"hosts":["rack1-a"]"#, Exit::Unknown),
            (r#","nodes":[7],"hosts":["rack1-b"]"#, Exit::Unknown),
            (r#","nodes":[7]"#, Exit::Unknown),
        ] {
            let body = body(true, "open", "default", rest);
            let verdict = read(&asked, &raw(200, Some("open"), &body));
            assert_eq!(verdict.exit(), exit, "{rest}");
        }
    }

    #[test]
    fn a_lease_that_is_over_is_final() {
        let problem = "{\"open\":false,\"detail\":\"broken by ann\"}";
        let verdict = read(&asked(&[]), &raw(409, None, problem));
        assert!(
            matches!(&verdict, Verdict::Refused(Refusal::Conflict, why) if why.ends_with("broken by ann"))
        );
    }

    /// Said by a proxy while the gate is being restarted it says nothing of a gate, or of a lease.
    #[test]
    fn a_404_is_believed_where_the_gate_itself_says_it() {
        let not_found = "{\"open\":false,\"title\":\"not found\",\"detail\":\"d\"}";
        let no_lease = "{\"open\":false,\"title\":\"no such lease\",\"detail\":\"d\"}";
        for (body, refusal) in [
            (not_found, Some(Refusal::NotThere)),
            (no_lease, Some(Refusal::Conflict)),
            ("<html>404 page not found</html>", None),
            ("404 page not found\n", None),
            ("{\"message\":\"no route matched\"}", None),
            ("{\"title\":\"not found\",\"status\":404}", None),
            ("{\"title\":\"no such lease\",\"open\":true}", None),
            ("", None),
        ] {
            let verdict = read(&asked(&[]), &raw(404, None, body));
            match refusal {
                Some(refusal) => {
                    assert!(
                        matches!(verdict, Verdict::Refused(said, _) if said == refusal),
                        "{body}"
                    );
                }
                None => assert!(matches!(verdict, Verdict::Unreachable(_)), "{body}"),
            }
        }
    }

    #[test]
    fn a_server_that_is_too_busy_is_quoted() {
        let problem = raw(
            503,
            Some("unknown"),
            "{\"open\":false,\"detail\":\"ask again\"}",
        );
        let verdict = read(&asked(&[]), &problem);
        assert_eq!(verdict.exit(), Exit::Unknown);
        assert!(matches!(verdict, Verdict::Contradicts(why) if why == "HTTP 503: ask again"));
    }

    #[test]
    fn what_is_no_gate_is_unreachable() {
        for status in [301, 302, 408, 500, 502, 503, 504] {
            let verdict = read(&asked(&[]), &raw(status, None, "<html>"));
            assert_eq!(verdict.exit(), Exit::Unreachable, "{status}");
        }
        for (status, exit) in [
            (400, Exit::Usage),
            (401, Exit::Unreachable),
            (403, Exit::Unreachable),
            (404, Exit::Unreachable),
        ] {
            let good = body(true, "open", "default", "");
            let verdict = read(&asked(&[]), &raw(status, Some("open"), &good));
            assert_eq!(verdict.exit(), exit, "{status}");
        }
        let landing_page = read(&asked(&[]), &raw(200, None, "<html>"));
        assert_eq!(landing_page.exit(), Exit::Unknown);
    }
}
