//! The page for people: at three in the morning it says at one glance what blocks, since when,
//! what to do, and whether the next node may go. State is said in words, never by colour alone;
//! there is no script.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use super::body::{
    BlindSpotBody, GateBody, HoldBody, LeaseBody, NodeBody, PlanBody, ReasonBody, SlotsBody,
};
use crate::checks::reason::{Clears, Severity};
use crate::clock::rfc3339;
use crate::gate::state::State;
use crate::gate::view::View;
use crate::time::{Human, Now};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:64rem;padding:1rem}\
.verdict{font-size:1.6rem;font-weight:700;padding:.6rem .9rem;border:.35rem solid;border-radius:.4rem}\
.open{border-color:#1a7f37}.closed{border-color:#cf222e}.unknown{border-color:#9a6700}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #8886}\
article{border-left:.35rem solid #8888;padding:.1rem .9rem;margin:.8rem 0}\
article.block{border-color:#cf222e}article.unknown{border-color:#9a6700}\
.small{font-size:.9rem;opacity:.85}code{overflow-wrap:anywhere}";

/// The page over all gates, as of `now`.
pub(super) fn page(views: &[Arc<View>], now: Now) -> String {
    let mut page = String::with_capacity(8 * 1024);
    // Writing into a String cannot fail.
    let _ = write_page(&mut page, views, now);
    page
}

fn write_page(page: &mut String, views: &[Arc<View>], now: Now) -> fmt::Result {
    let title: Vec<String> = views
        .iter()
        .map(|view| {
            let state = word(view.at(now.mono).state());
            format!("{state} {}", view.gate())
        })
        .collect();
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"5\">\
         <title>{} - upgrade-gate</title><style>{STYLE}</style></head>\n<body>\n",
        Escaped(title.join(", "))
    )?;
    if views.is_empty() {
        page.push_str("<p class=\"verdict unknown\">No gate is configured.</p>\n");
    }
    for view in views {
        gate(page, view, now)?;
    }
    write!(
        page,
        "<p class=\"small\">As of {} (UTC). This page loads itself anew every 5 seconds; if that \
         time stands still, it is old. <a href=\"/metrics\">metrics</a> \
         <a href=\"/api/v1/gates\">all gates as JSON</a></p>\n</body></html>\n",
        rfc3339(now.wall)
    )
}

fn gate(page: &mut String, view: &View, now: Now) -> fmt::Result {
    let answer = view.at(now.mono);
    let gate = GateBody::new(answer, now);
    // The page names nodes, not machines.
    let plan = PlanBody::new(answer, BTreeMap::new(), now);
    let name = Escaped(&gate.head.gate);
    write!(
        page,
        "<main>\n<h1>Gate {name}</h1>\n<p class=\"verdict {}\">{}: {}</p>\n\
         <p>{} since {} ({}). Judged {} ago{}.</p>\n",
        gate.head.state,
        word(gate.head.state),
        advice(gate.head.state),
        word(gate.head.state),
        gate.since,
        human(gate.since_seconds),
        human(gate.head.age_seconds),
        window(&gate),
    )?;
    let (against, warnings): (Vec<_>, Vec<_>) = gate
        .head
        .reasons
        .iter()
        .partition(|reason| reason.severity != Severity::Warn);
    if !against.is_empty() {
        page.push_str("<h2>Why</h2>\n");
        against.into_iter().try_for_each(|it| reason(page, it))?;
    }
    slots(page, &gate.slots)?;
    nodes(page, &plan)?;
    if !warnings.is_empty() {
        page.push_str("<h2>Warnings (they do not close the gate)</h2>\n");
        warnings.into_iter().try_for_each(|it| reason(page, it))?;
    }
    sources(page, &gate)?;
    blind_spots(page, &gate.blind_spots)?;
    write!(
        page,
        "<p class=\"small\">As JSON: <a href=\"/api/v1/gates/{name}\">everything</a> \
         <a href=\"/api/v1/gates/{name}/check\">check</a> \
         <a href=\"/api/v1/gates/{name}/plan\">plan</a> \
         <a href=\"/api/v1/gates/{name}/leases\">leases</a></p>\n</main>\n"
    )
}

fn blind_spots(page: &mut String, spots: &[BlindSpotBody]) -> fmt::Result {
    if spots.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Not seen, as this gate is set up</h2>\n<ul>\n");
    for spot in spots {
        writeln!(
            page,
            "<li><code>{}</code> {}. Instead: {}. Can be added: {}.</li>",
            spot.id,
            Escaped(spot.unseen),
            Escaped(spot.instead),
            Escaped(spot.optional)
        )?;
    }
    page.push_str("</ul>\n");
    Ok(())
}

const fn word(state: State) -> &'static str {
    match state {
        State::Open => "OPEN",
        State::Closed => "CLOSED",
        State::Unknown => "UNKNOWN",
    }
}

const fn advice(state: State) -> &'static str {
    match state {
        State::Open => "the next node may go, one at a time",
        State::Closed => "do not stop any node that is up",
        State::Unknown => "too little is known; do not stop any node that is up",
    }
}

fn window(gate: &GateBody) -> String {
    let left = gate.window.as_ref().and_then(|window| window.left_seconds);
    match left {
        Some(left) if left > 0.0 => {
            format!("; opens in {} if everything stays healthy", human(left))
        }
        Some(_) | None => String::new(),
    }
}

fn reason(page: &mut String, reason: &ReasonBody) -> fmt::Result {
    let severity = match reason.severity {
        Severity::Block => "Blocks",
        Severity::Unknown => "Not known",
        Severity::Warn => "Warns",
    };
    write!(
        page,
        "<article class=\"{}\"><p><strong>{severity}: {}: {}</strong> <code>{}</code></p>\n\
         <p>Seen: {}",
        reason.severity.as_str(),
        Escaped(&reason.subject),
        Escaped(reason.message),
        reason.code,
        Escaped(&reason.observed),
    )?;
    if !reason.required.is_empty() {
        write!(page, ". Right would be: {}", Escaped(&reason.required))?;
    }
    if !reason.examples.is_empty() {
        let more = reason.count.saturating_sub(reason.examples.len());
        write!(page, " ({}", Escaped(reason.examples.join(", ")))?;
        if more > 0 {
            write!(page, " and {more} more")?;
        }
        page.push(')');
    }
    let wait = match reason.clears {
        Clears::ByItself => "Goes away when the cause does.",
        Clears::NeedsPerson => "Needs a person.",
    };
    write!(
        page,
        ".</p>\n<p><strong>What to do:</strong> {} {wait}</p>\n\
         <p class=\"small\">Since {} ({})",
        Escaped(reason.hint),
        reason.since,
        human(reason.since_seconds)
    )?;
    if let (Some(source), Some(age)) = (&reason.source, reason.source_age_seconds) {
        write!(page, ", from {}, asked {} ago", Escaped(source), human(age))?;
    }
    page.push_str("</p></article>\n");
    Ok(())
}

fn slots(page: &mut String, slots: &SlotsBody) -> fmt::Result {
    if !slots.leases.is_empty() {
        page.push_str(
            "<h2>Leases</h2>\n<table><thead><tr><th>Lease</th><th>Nodes</th><th>Owner</th>\
             <th>Stage</th><th>Until</th><th>Return</th></tr></thead>\n<tbody>\n",
        );
        slots.leases.iter().try_for_each(|it| lease(page, it))?;
        page.push_str("</tbody></table>\n");
    }
    let of_gate = slots.hold.iter().map(|it| (String::from("the gate"), it));
    let of_nodes = slots.node_holds.iter();
    let of_nodes = of_nodes.map(|(node, it)| (format!("node {node}"), it));
    for (what, it) in of_gate.chain(of_nodes) {
        hold(page, &what, it)?;
    }
    Ok(())
}

fn lease(page: &mut String, lease: &LeaseBody) -> fmt::Result {
    let nodes: Vec<String> = lease.nodes.iter().map(ToString::to_string).collect();
    let progress = lease.progress.as_deref().unwrap_or("not known");
    writeln!(
        page,
        "<tr><td>{}, token {}</td><td>{}</td><td>{}</td><td>{}, {} since {}</td><td>{}</td>\
         <td>{}{}</td></tr>",
        lease.lease,
        lease.token,
        nodes.join(", "),
        Escaped(
            lease
                .owner
                .as_deref()
                .unwrap_or("nobody: it went unannounced")
        ),
        lease.action.as_str(),
        lease.stage,
        lease.stage_since,
        lease.expires_at,
        Escaped(progress),
        lease.usually_seconds.map_or_else(String::new, |seconds| {
            format!("; the whole usually takes {}", human(seconds))
        }),
    )
}

fn hold(page: &mut String, what: &str, hold: &HoldBody) -> fmt::Result {
    let until = hold.until.as_deref().unwrap_or("somebody lifts it");
    writeln!(
        page,
        "<p><strong>Held: {what}</strong> by {} since {} until {until}: {}</p>",
        Escaped(&hold.author),
        hold.since,
        Escaped(&hold.reason)
    )
}

fn nodes(page: &mut String, plan: &PlanBody) -> fmt::Result {
    if plan.nodes.is_empty() {
        page.push_str("<p>No node of the cluster is known yet.</p>\n");
        return Ok(());
    }
    write!(
        page,
        "<h2>Nodes</h2>\n<p class=\"small\">In the suggested order: {}.</p>\n<table>\
         <thead><tr><th>Node</th><th>May it stop now?</th><th>Role</th><th>Release</th>\
         <th>Leads</th><th>Replicas</th></tr></thead>\n<tbody>\n",
        plan.order_because
    )?;
    for node in &plan.nodes {
        writeln!(
            page,
            "<tr><td>{}{}</td><td><strong>{}</strong>{}</td><td>{}{}</td><td>{}</td>\
             <td>{}</td><td>{}</td></tr>",
            node.node,
            node.address
                .as_deref()
                .map_or_else(String::new, |at| format!(" <code>{}</code>", Escaped(at))),
            match node.may_stop {
                State::Open => "yes",
                State::Closed => "no",
                State::Unknown => "not known, so no",
            },
            why_not(node),
            node.role,
            if node.active_controller == Some(true) {
                ", active controller"
            } else {
                ""
            },
            Escaped(&node.release),
            number(node.leads),
            number(node.replicas),
        )?;
    }
    page.push_str("</tbody></table>\n");
    Ok(())
}

fn why_not(node: &NodeBody) -> String {
    let mut text = String::new();
    if node.down == Some(true) {
        text.push_str("; it is down");
    }
    for reason in &node.reasons {
        let _ = write!(text, "; {}", Escaped(reason.message));
    }
    text
}

fn number(number: Option<usize>) -> String {
    number.map_or_else(|| String::from("not known"), |number| number.to_string())
}

fn sources(page: &mut String, gate: &GateBody) -> fmt::Result {
    let troubled = gate.sources.iter().filter(|s| !s.trouble.is_empty());
    let troubled: Vec<_> = troubled.collect();
    if troubled.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Sources in trouble</h2>\n<ul>\n");
    for source in troubled {
        for (fact, what) in &source.trouble {
            let name = Escaped(&source.source);
            writeln!(
                page,
                "<li><code>{name}</code> {fact}: {}</li>",
                Escaped(what)
            )?;
        }
    }
    page.push_str("</ul>\n");
    Ok(())
}

fn human(seconds: f64) -> Human {
    Human(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO))
}

/// Text from outside, safe between tags and in attributes.
struct Escaped<T>(T);

impl<T: AsRef<str>> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.as_ref().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let hostile = "<script>alert('&\"')</script>";
        assert_eq!(
            Escaped(hostile).to_string(),
            "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;"
        );
    }
}
