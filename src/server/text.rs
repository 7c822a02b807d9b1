//! The verdict as plain text, in the manner of etcd's health checks.

use std::fmt::Write as _;

use super::verdict::Verdict;
use crate::checks::reason::Severity;
use crate::gate::parts::{CheckView, Outcome, ReasonView};
use crate::gate::state::State;

/// How many reasons a check's line has; the JSON has all of them.
const PER_CHECK: usize = 3;

/// First line `OPEN`, `CLOSED code,code` or `UNKNOWN code`; then one line per check, and one per
/// reason that no check gave.
pub(super) fn verdict(verdict: &Verdict, checks: &[CheckView]) -> String {
    let against = |reason: &&ReasonView| reason.severity != Severity::Warn;
    let mut codes: Vec<&str> = Vec::new();
    for reason in verdict.reasons.iter().filter(against) {
        let code = reason.reason.code();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    let mut text = match verdict.state {
        State::Open => String::from("OPEN\n"),
        State::Closed => format!("CLOSED {}\n", codes.join(",")),
        State::Unknown => format!("UNKNOWN {}\n", codes.join(",")),
    };
    for check in checks {
        line(&mut text, verdict, check);
    }
    let of_a_check = |reason: &ReasonView| {
        let mut given = checks.iter().flat_map(|check| &check.reasons);
        given.any(|known| *known == reason.reason)
    };
    for reason in verdict.reasons.iter().filter(|reason| !of_a_check(reason)) {
        let (code, why) = (reason.reason.code(), why(reason));
        let (mark, word) = match reason.severity {
            Severity::Block | Severity::Unknown => ("[-]", "failed"),
            Severity::Warn => ("[!]", "warning"),
        };
        push(&mut text, format_args!("{mark}{code} {word}: {why}"));
    }
    text
}

fn line(text: &mut String, verdict: &Verdict, check: &CheckView) {
    match check.outcome {
        Outcome::Proved => push(text, format_args!("[+]{} ok", check.id)),
        Outcome::NotApplicable(reason) => {
            push(
                text,
                format_args!("[+]{} ok: not applicable: {reason}", check.id),
            );
        }
        Outcome::Found => {
            let reasons = verdict.reasons.iter();
            let mut found: Vec<String> = reasons
                .filter(|reason| check.reasons.contains(&reason.reason))
                .map(|reason| format!("{}: {}", reason.reason.code(), why(reason)))
                .collect();
            if found.len() > PER_CHECK {
                let more = found.len() - PER_CHECK;
                found.truncate(PER_CHECK);
                found.push(format!("and {more} more"));
            }
            push(
                text,
                format_args!("[-]{} failed: {}", check.id, found.join("; ")),
            );
        }
    }
}

fn why(reason: &ReasonView) -> String {
    let mut why = format!("{}: {}", reason.subject, reason.observed);
    if !reason.required.is_empty() {
        let _ = write!(why, " (required: {})", reason.required);
    }
    // A scraped text may carry anything; one reason stays one line.
    why.replace(|c: char| c.is_control(), " ")
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}
