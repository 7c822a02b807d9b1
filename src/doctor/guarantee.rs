//! What the gate's word is worth here: what "open" means in the chosen mode, how soon it is taken
//! back, and what it cannot promise.

use std::time::Duration;

use serde::Serialize;

use super::Patient;
use super::gather::Gathered;
use super::rights::{RightRow, Standing};
use super::store;
use super::window::{Window, every, millis};
use crate::checks::reason::Reason;
use crate::collect::schedule::row;
use crate::evidence::facts::Facts;
use crate::evidence::policy::{Mode, max_age};
use crate::evidence::report::FactKind;
use crate::evidence::snapshot::Reports;
use crate::evidence::voters::SLACK;
use crate::gate::parts::ViewParts;

/// What the gate's word is worth.
#[derive(Debug, Serialize)]
pub struct Guarantee {
    /// `all-healthy`: whatever is broken anywhere closes the gate.
    pub name: &'static str,
    /// `kafka+jmx`, `kafka` or `jmx`.
    pub mode: &'static str,
    /// What "open" says.
    pub open_means: &'static str,
    /// How soon the gate is shut after something happens.
    pub noticed: Vec<Noticed>,
    /// What it cannot promise.
    pub limits: Vec<Limit>,
}

/// How soon something is noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Noticed {
    /// What happens.
    pub what: &'static str,
    /// After how long at most, in milliseconds, at the pace of now; 0: at once.
    pub within_ms: u64,
    /// By what.
    pub by: &'static str,
}

/// Something that is not promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Its name: of `docs/degraded.md`, or a reason's code.
    pub id: &'static str,
    /// What it is.
    pub what: String,
}

/// Limits that are there in any mode, or by a setting; the others are blind spots and reasons.
pub const LIMITS: [(&str, &str); 7] = [
    (
        "after_the_answer",
        "an answer is about the moment of its question: ask anew, or take a lease, before each node",
    ),
    (
        "who_does_not_ask",
        "nobody is kept from stopping a node without asking",
    ),
    (
        "no_leases",
        "sums over pages do not show that one node is back: leases are worth little in this mode",
    ),
    (
        "consumers",
        "whether consumers keep up: no group is named under policy.groups",
    ),
    (
        "restart_of_the_gate",
        "after a restart the gate has forgotten leases, holds and nodes seen before: no data_dir",
    ),
    (
        "assumed_settings",
        "the window is long enough only where these have Kafka's defaults, because they are not read",
    ),
    ("missing_right", "not seen for want of a right"),
];

impl Guarantee {
    pub(super) fn of(
        patient: &Patient,
        gathered: &Gathered,
        parts: &ViewParts,
        window: &Window,
        rights: &[RightRow],
    ) -> Self {
        let policy = &patient.settings.policy;
        Self {
            name: "all-healthy",
            mode: policy.mode.as_str(),
            open_means: open_means(policy.mode),
            noticed: noticed(policy.mode, policy.via_brokers, &gathered.reports),
            limits: limits(patient, gathered, parts, window, rights),
        }
    }
}

const fn open_means(mode: Mode) -> &'static str {
    match mode {
        Mode::KafkaJmx => {
            "every node is up and every ISR full, by the protocol and by every page, unbroken for \
             the window"
        }
        Mode::Kafka => {
            "every node is up and every ISR full, by the protocol alone, unbroken for the window"
        }
        Mode::Jmx => {
            "every page is there and its counts are in order, summed up, unbroken for the window"
        }
    }
}

/// The longest way to a node and back now: what is told comes later by it.
fn way(reports: &Reports) -> Duration {
    let links = reports.values().filter_map(|report| match &report.facts {
        Ok(Facts::Link(link)) => Some(link.round_trip),
        Ok(_) | Err(_) => None,
    });
    links.max().unwrap_or_default()
}

/// How long this is from the question that would show it to the answer, or to the word that there
/// is none.
fn asked_anew(reports: &Reports, kind: FactKind, silent: bool) -> u64 {
    let row = row(kind);
    let interval = every(reports, kind).unwrap_or(row.interval);
    let patience = match (silent, kind) {
        (true, _) => row.deadline,
        // A page's way is in what it takes.
        (false, FactKind::Jmx) => Duration::ZERO,
        (false, _) => way(reports),
    };
    millis(interval.saturating_add(patience))
}

fn noticed(mode: Mode, via_brokers: bool, reports: &Reports) -> Vec<Noticed> {
    let one = |what, within_ms, by| Noticed {
        what,
        within_ms,
        by,
    };
    let answered = |kind| asked_anew(reports, kind, false);
    let silence = |kind| asked_anew(reports, kind, true);
    let mut all = Vec::new();
    if mode.kafka() {
        all.extend([
            one("a node's process ends", 0, "its connection, which closes"),
            one(
                "a node freezes, or its machine or network goes",
                silence(FactKind::Link),
                "the question that it does not answer",
            ),
            one(
                "Kafka takes a replica out of an ISR, or a partition loses its leader",
                answered(FactKind::Partitions),
                "the metadata of two brokers",
            ),
            one(
                "a reassignment begins",
                answered(FactKind::Moves),
                "the list of reassignments",
            ),
            one(
                "min.insync.replicas of a topic changes",
                answered(FactKind::TopicConfigs),
                "the configuration of topics",
            ),
        ]);
    }
    if mode.kafka() && every(reports, FactKind::Quorum).is_some() {
        all.push(one(
            "a broker or a controller is cut off from the quorum",
            millis(SLACK).saturating_add(answered(FactKind::Quorum)),
            "the quorum leader's word of it",
        ));
    }
    if via_brokers {
        // The leader's word of a voter may be 1.5 s old in all, and is asked for every half second
        // (docs/degraded.md; checks::controller).
        all.push(one(
            "a dedicated controller goes",
            1_500_u64.saturating_add(answered(FactKind::Quorum)),
            "the quorum leader's word of it",
        ));
    }
    if mode.jmx() {
        all.push(one(
            "a broker's state, its log recovery, its log dirs or its fetchers go wrong",
            answered(FactKind::Jmx),
            "its page",
        ));
    }
    if !mode.kafka() {
        all.extend([
            one(
                "a node's process ends",
                answered(FactKind::Jmx),
                "its page, which is not there",
            ),
            one(
                "a node freezes, or its machine or network goes",
                silence(FactKind::Jmx),
                "its page, which does not come",
            ),
            one(
                "a replica is missing, or a partition has no leader",
                answered(FactKind::Jmx),
                "counts on the pages, which Kafka itself brings up to date",
            ),
        ]);
    }
    all.push(one(
        "nothing is heard of a source any more",
        oldest(mode, reports),
        "the age of what it said last",
    ));
    all
}

/// The longest that the word of a source which everything rests on counts.
fn oldest(mode: Mode, reports: &Reports) -> u64 {
    let kinds: &[FactKind] = match mode {
        Mode::Kafka => &[FactKind::Link, FactKind::Partitions],
        Mode::KafkaJmx => &[FactKind::Link, FactKind::Partitions, FactKind::Jmx],
        Mode::Jmx => &[FactKind::Jmx],
    };
    let age = |kind: &FactKind| {
        let interval = every(reports, *kind).unwrap_or_else(|| row(*kind).interval);
        max_age(*kind, interval)
    };
    millis(kinds.iter().map(age).max().unwrap_or_default())
}

fn limit(id: &'static str, more: &str) -> Limit {
    let text = LIMITS.iter().find(|(known, _)| *known == id);
    let what = text.map_or("", |(_, what)| *what);
    let what = match more {
        "" => what.to_owned(),
        more => format!("{what}: {more}"),
    };
    Limit { id, what }
}

fn limits(
    patient: &Patient,
    gathered: &Gathered,
    parts: &ViewParts,
    window: &Window,
    rights: &[RightRow],
) -> Vec<Limit> {
    let policy = &patient.settings.policy;
    let mut all: Vec<_> = parts
        .blind_spots
        .iter()
        .map(|spot| Limit {
            id: spot.id,
            what: format!(
                "{} (instead: {}; can be added: {})",
                spot.unseen, spot.instead, spot.optional
            ),
        })
        .collect();
    let structural = parts.reasons.iter().filter(|it| is_structural(it.reason));
    all.extend(structural.map(|it| Limit {
        id: it.reason.code(),
        what: format!(
            "{} {}: {}",
            it.reason.row().meaning,
            it.subject,
            it.observed
        ),
    }));
    let missing = rights
        .iter()
        .filter(|row| row.standing == Standing::Missing);
    all.extend(missing.map(|row| limit("missing_right", row.lost)));
    let assumed = window.settings.iter().filter(|row| !row.read);
    let assumed: Vec<_> = assumed
        .map(|row| format!("{} of node {}", row.setting, row.node))
        .collect();
    if !assumed.is_empty() && policy.window.is_none() {
        all.push(limit("assumed_settings", &assumed.join(", ")));
    }
    let of_settings = [
        ("no_leases", !policy.mode.kafka()),
        ("consumers", policy.groups.is_empty()),
        (
            "restart_of_the_gate",
            gathered.kept.store.standing == store::Standing::None,
        ),
        ("after_the_answer", true),
        ("who_does_not_ask", true),
    ];
    let there = of_settings.into_iter().filter(|(_, is_one)| *is_one);
    all.extend(there.map(|(id, _)| limit(id, "")));
    all
}

/// Whether it is a risk that exists with every node up.
const fn is_structural(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SingleReplica
            | Reason::NoSpareReplica
            | Reason::LastCopyByDesign
            | Reason::InternalTopicAtRisk
            | Reason::SingleVoter
            | Reason::TwoVoters
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::scene::Scene;

    fn within(scene: &Scene, what: &str) -> u64 {
        let rows = noticed(Mode::Kafka, false, &scene.reports);
        let mut rows = rows.into_iter().filter(|row| row.what.contains(what));
        let row = rows.next().expect("a row");
        assert_eq!(rows.next(), None, "{what}");
        row.within_ms
    }

    /// A large cluster's tables are asked for more rarely, and from far away all is told later.
    #[test]
    fn what_is_asked_for_rarely_or_from_far_away_is_said_to_be_noticed_late() {
        let mut scene = Scene::healthy_kraft();
        assert_eq!(within(&scene, "out of an ISR"), 501);
        assert_eq!(within(&scene, "cut off from the quorum"), 1_751);
        scene.link(3, |link| link.round_trip = Duration::from_millis(80));
        let tables = scene.reports.values_mut();
        for table in tables.filter(|report| report.kind == FactKind::Partitions) {
            table.every = Duration::from_secs(10);
        }
        assert_eq!(within(&scene, "out of an ISR"), 10_080);
        assert_eq!(within(&scene, "cut off from the quorum"), 1_830);
        assert_eq!(within(&scene, "freezes"), 1_500);
    }
}
