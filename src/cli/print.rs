//! A verdict for people and for programs.

use serde_json::{Value, json};

use super::answer::{Asked, Body, Raw, Reason, Verdict};
use super::ask::AskArgs;
use super::out::{data, note, plain};
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
        Verdict::Says(_, body) => reasons(&body.reasons),
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

/// The verdict and its reasons in one line, for `wait`.
pub fn summary(verdict: &Verdict) -> String {
    let text = match verdict {
        Verdict::Says(state, body) => match codes(body).as_slice() {
            [] => state.to_string(),
            codes => format!("{state}: {}", codes.join(", ")),
        },
        Verdict::Contradicts(why) => format!("unknown: {why}"),
        Verdict::Unreachable(why) => format!("gate not reached: {why}"),
        Verdict::Refused(_, why) => format!("refused: {why}"),
    };
    plain(&text)
}

/// What speaks against going on: code and subject, each once, in order.
fn codes(body: &Body) -> Vec<String> {
    let mut codes = Vec::new();
    for reason in body
        .reasons
        .iter()
        .filter(|reason| reason.severity != "warn")
    {
        let code = match reason.subject.as_str() {
            "" | "cluster" => reason.code.clone(),
            subject => format!("{} ({subject})", reason.code),
        };
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}
