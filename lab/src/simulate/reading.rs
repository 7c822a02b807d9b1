//! What a reader takes from a view.

use upgrade_gate::checks::reason::Severity;
use upgrade_gate::gate::state::State;
use upgrade_gate::gate::view::Answer;

use super::oracle::Said;

/// The verdict, and those on single nodes.
pub(super) fn says(answer: &Answer<'_>) -> Said {
    let nodes = answer.parts().map(|parts| &parts.nodes[..]);
    let may = |state| state == State::Open;
    Said {
        open: may(answer.state()),
        nodes: nodes
            .unwrap_or_default()
            .iter()
            .filter(|node| may(node.may_stop))
            .map(|node| node.node.0)
            .collect(),
    }
}

/// Why it is not open, the first reason first.
pub(super) fn why(answer: &Answer<'_>) -> Vec<String> {
    let reasons = answer.reasons();
    reasons
        .iter()
        .filter(|r| r.severity != Severity::Warn)
        .map(|r| format!("{} {:?}: {}", r.reason.code(), r.subject, r.observed))
        .collect()
}

/// The code of the first reason.
pub(super) fn first_reason(answer: &Answer<'_>) -> &'static str {
    let reasons = answer.reasons();
    let first = reasons.iter().find(|r| r.severity != Severity::Warn);
    first.map_or("", |first| first.reason.code())
}
