//! A verdict for people and for programs.

use std::fmt;

use serde_json::{Value, json};

use super::answer::{Asked, Body, Raw, Reason, Verdict};
use super::ask::AskArgs;
use super::out::{data, note, plain};
use crate::checks::reason::Reason as Code;
use crate::gate::lease::End;
use crate::gate::state::State;

/// Prints the verdict to standard output and the reasons to standard error.
pub fn verdict(
    args: &AskArgs,
    asked: &Asked,
    verdict: &Verdict,
    raw: Option<&Raw>,
) -> anyhow::Result<()> {
    if args.quiet {
        return Ok(());
    }
    if args.json {
        return data(&format!("{}\n", as_json(asked, verdict, raw)));
    }
    data(&format!("{}{}\n", word(verdict), lease(verdict)))?;
    match verdict {
        Verdict::Says(_, body) => {
            reasons(&body.reasons);
            if let Some(what) = never_gone(body) {
                note(&plain(&what));
            }
        }
        Verdict::Contradicts(why) | Verdict::Unreachable(why) | Verdict::Refused(_, why) => {
            note(&format!("{}: {}", args.whom.url, plain(why)));
        }
    }
    Ok(())
}

/// What an open answer of `enter` or `leave` says of its lease.
fn lease(verdict: &Verdict) -> String {
    let Verdict::Says(State::Open, body) = verdict else {
        return String::new();
    };
    let mut text = String::new();
    let whole = |number: u64| number.to_string();
    let more = body.lease_nodes.as_deref();
    let more = more.filter(|nodes| nodes.len() > body.nodes.len());
    for (name, value) in [
        ("lease", body.lease.map(whole)),
        ("nodes", more.map(ids)),
        ("token", body.token.map(whole)),
        ("until", body.expires_at.clone()),
        ("how", body.how.clone()),
        ("usually", body.usually_seconds.map(|n| format!("{n:.0}s"))),
    ] {
        if let Some(value) = value {
            text.extend([" ", name, "=", value.as_str()]);
        }
    }
    plain(&text)
}

fn ids(nodes: &[i32]) -> String {
    let ids: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    ids.join(",")
}

/// `open`, `closed`, or `unknown`: what is not known to be open is not.
pub const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Says(state, _) => state.as_str(),
        Verdict::Contradicts(_) | Verdict::Unreachable(_) | Verdict::Refused(..) => {
            State::Unknown.as_str()
        }
    }
}

/// The gate's own answer when it is one, or one of the same shape that says why there is none.
fn as_json(asked: &Asked, verdict: &Verdict, raw: Option<&Raw>) -> Value {
    let (code, why) = match verdict {
        Verdict::Says(..) => {
            let body = raw.and_then(|raw| serde_json::from_slice(&raw.body).ok());
            return body.unwrap_or_else(|| no_answer(asked, "contradiction", "no body"));
        }
        Verdict::Contradicts(why) => ("contradiction", why),
        Verdict::Unreachable(why) => ("unreachable", why),
        Verdict::Refused(_, why) => ("refused", why),
    };
    no_answer(asked, code, why)
}

fn no_answer(asked: &Asked, code: &str, why: &str) -> Value {
    let nodes: Vec<i32> = asked.nodes.iter().map(|node| node.0).collect();
    json!({
        "open": false,
        "state": "unknown",
        "gate": asked.gate.as_str(),
        "advice": true,
        "reasons": [],
        "nodes": nodes,
        "client_error": {"code": code, "detail": why},
    })
}

/// Prints reasons, the worst first as the gate sends them.
pub fn reasons(reasons: &[Reason]) {
    for reason in reasons {
        note(&line(reason));
        if !reason.hint.is_empty() {
            note(&format!("         {}", plain(&reason.hint)));
        }
    }
}

fn line(reason: &Reason) -> String {
    let mut line = format!("{:<8} {} {}", reason.severity, reason.code, reason.subject);
    for (before, text) in [
        (": ", &reason.observed),
        ("; wanted: ", &reason.required),
        ("; step ", &reason.step),
        ("; since ", &reason.since),
    ] {
        if !text.is_empty() {
            line.push_str(before);
            line.push_str(text);
        }
    }
    plain(&line)
}

/// The verdict and its reasons in one line, for whoever waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The verdict, and what speaks for it.
    why: String,
    /// What a return waits for, and how long one usually takes.
    progress: String,
}

impl Summary {
    /// Whether it differs from the other in the numbers of the progress at most.
    pub fn is_like(&self, other: &Self) -> bool {
        let words = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
        self.why == other.why && words(&self.progress) == words(&other.progress)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.why, self.progress)
    }
}

/// What is said of it while somebody waits.
pub fn summary(verdict: &Verdict) -> Summary {
    let (why, progress) = match verdict {
        Verdict::Says(state, body) => (spoken(*state, body), progress(body)),
        Verdict::Contradicts(why) => (format!("unknown: {why}"), String::new()),
        Verdict::Unreachable(why) => (format!("gate not reached: {why}"), String::new()),
        Verdict::Refused(_, why) => (format!("refused: {why}"), String::new()),
    };
    Summary {
        why: plain(&why),
        progress: plain(&progress),
    }
}

/// The verdict with what speaks against going on, and the warnings that say why it lasts.
fn spoken(state: State, body: &Body) -> String {
    let mut text = state.to_string();
    for (before, codes) in [
        (": ", codes(body, |reason| reason.severity != "warn")),
        ("; warns: ", codes(body, says_why_it_lasts)),
    ] {
        if !codes.is_empty() {
            text.extend([before, codes.as_str()]);
        }
    }
    text
}

/// The other warnings are shown with the last answer only: they are there with every node up as well.
fn says_why_it_lasts(reason: &Reason) -> bool {
    let codes = [
        Code::RegistrationStalled,
        Code::NoProgress,
        Code::StoreUnavailable,
    ];
    reason.severity == "warn" && codes.iter().any(|code| code.code() == reason.code)
}

/// What the caller's own return waits for; else what is told of the slot that is in its way.
fn progress(body: &Body) -> String {
    let own = body.progress.as_deref().filter(|own| !own.is_empty());
    let own = own.map(|own| format!("return: {own}"));
    let slot = || {
        let mut taken = body.reasons.iter();
        let taken = taken.find(|reason| reason.code == Code::SlotTaken.code())?;
        Some(taken.observed.clone())
    };
    let waits = own.or_else(slot).filter(|text| !text.is_empty());
    let usually = body.usually_seconds;
    let usually = usually.map(|seconds| format!("the whole usually takes {seconds:.0} s"));
    let parts = [waits, usually].into_iter().flatten();
    parts.map(|part| String::from("; ") + &part).collect()
}

/// Those reasons: code and subject, each once, in order.
fn codes(body: &Body, wanted: impl Fn(&Reason) -> bool) -> String {
    let mut codes = Vec::new();
    for reason in body.reasons.iter().filter(|reason| wanted(reason)) {
        let code = match reason.subject.as_str() {
            "" | "cluster" => reason.code.clone(),
            subject => format!("{} ({subject})", reason.code),
        };
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes.join(", ")
}

/// What has to be said of nodes that were given back and never went: whatever was done, it was not
/// seen at them.
pub fn never_gone(body: &Body) -> Option<String> {
    if body.how.as_deref() != Some(End::NeverGone.as_str()) {
        return None;
    }
    let who = match body.lease_nodes.as_deref().unwrap_or(&body.nodes) {
        [node] => format!("node {node}"),
        nodes => format!("nodes {}", ids(nodes)),
    };
    Some(format!(
        "{who} never went: no stop was seen since \"go\", so nothing was proven of a restart; look \
         whether anything was restarted, and whether it was another node"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(rest: &str) -> Summary {
        let text = format!(
            "{{\"open\":false,\"state\":\"closed\",\"gate\":\"default\",\"nodes\":[2]{rest}}}"
        );
        let body: Body = serde_json::from_str(&text).unwrap();
        summary(&Verdict::Says(State::Closed, Box::new(body)))
    }

    fn reason(code: &str, severity: &str, subject: &str, observed: &str) -> String {
        format!(
            "{{\"code\":\"{code}\",\"severity\":\"{severity}\",\"subject\":\"{subject}\",\
             \"observed\":\"{observed}\"}}"
        )
    }

    #[test]
    fn a_return_says_what_it_waits_for() {
        let taken = reason("slot_taken", "block", "node 2", "taken by ann");
        let stalled = reason("no_progress", "warn", "node 2", "down: 2, for 12 min");
        let risk = reason("single_replica", "warn", "t-0", "one replica");
        let reasons = format!("\"reasons\":[{taken},{stalled},{risk}]");
        let own = format!(",\"progress\":\"down: 2\",\"usually_seconds\":44.6,{reasons}");
        assert_eq!(
            says(&own).to_string(),
            "closed: slot_taken (node 2); warns: no_progress (node 2); return: down: 2; the whole \
             usually takes 45 s"
        );
        // Whoever waits for somebody else's return, and a return that was not measured yet.
        for rest in [
            format!(",{reasons}"),
            format!(",\"progress\":\"\",{reasons}"),
        ] {
            assert_eq!(
                says(&rest).to_string(),
                "closed: slot_taken (node 2); warns: no_progress (node 2); taken by ann"
            );
        }
        assert_eq!(says("").to_string(), "closed");
    }

    #[test]
    fn only_numbers_of_the_progress_are_like() {
        let waits = |progress: &str| says(&format!(",\"progress\":\"{progress}\""));
        let some = waits("12 of its replicas are out of sync");
        assert!(some.is_like(&waits("3 of its replicas are out of sync")));
        assert!(!some.is_like(&waits("settling, 12 s left")));
        let missing = |node: i32| {
            let subject = format!("node {node}");
            let reason = reason("node_missing", "block", &subject, "");
            says(&format!(",\"reasons\":[{reason}]"))
        };
        assert!(!missing(1).is_like(&missing(2)));
    }
}
