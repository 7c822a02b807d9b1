//! Close at once, open slowly: the unbroken healthy window.
//!
//! The window is a chain of healthy evaluations, each made while the one before it was still
//! true. A transport blip of less than `Policy::longest_blip` on processes and ISRs that did not change pauses
//! the chain; anything else starts it again (DESIGN 4.4). It is never persisted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::checks::reason::Reason;
use crate::evidence::ids::NodeId;
use crate::time::Mono;

/// What one evaluation tells the window.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Now.
    pub at: Mono,
    /// Whether every check (the what-ifs aside) is proven or not applicable.
    pub healthy: bool,
    /// When it is not healthy: whether only the way to some nodes is disturbed, and which nodes.
    pub blip: Option<BTreeSet<NodeId>>,
    /// The longest such disturbance that only pauses the window.
    pub longest_blip: Duration,
    /// When leadership last changed. It does not break the chain, which is counted from there.
    pub moved: Option<Mono>,
    /// When the oldest of the answers that come again and again was asked for.
    pub asked: Option<Mono>,
    /// Start times of all nodes, as far as known, and when the page that says so was asked for.
    pub starts: BTreeMap<NodeId, (f64, Mono)>,
    /// A number that changes with every ISR, leader or replica list.
    pub signature: u64,
}

/// The chain of healthy evaluations.
#[derive(Clone, Debug, Default)]
pub struct Window {
    chain: Chain,
    /// Until when the evaluation before was true; a later one does not continue its chain.
    valid_until: Mono,
}

#[derive(Clone, Debug, Default)]
enum Chain {
    #[default]
    Broken,
    Healthy {
        /// The first healthy evaluation, or the last change of leadership.
        began: Mono,
        /// The same, moved on by what pauses took.
        since: Mono,
        last: Beat,
    },
    Paused {
        began: Mono,
        since: Mono,
        /// When the interruption began.
        at: Mono,
        /// The nodes that could not be reached in it.
        nodes: BTreeSet<NodeId>,
        /// The last healthy evaluation before it.
        last: Beat,
    },
}

impl Window {
    /// Starts from zero: after a restart, a changed policy, a clock jump.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes in one evaluation that is true until `valid_until`.
    pub fn beat(&mut self, beat: Beat, valid_until: Mono) {
        let unbroken = beat.at <= self.valid_until;
        let chain = std::mem::take(&mut self.chain);
        self.chain = if unbroken {
            chain.next(beat)
        } else {
            Chain::Broken.next(beat)
        };
        self.valid_until = valid_until;
    }

    /// For how long the chain has held, pauses not counted; `None` while it is broken or paused.
    pub fn healthy_for(&self, now: Mono) -> Option<Duration> {
        match &self.chain {
            Chain::Broken | Chain::Paused { .. } => None,
            Chain::Healthy { since, .. } => Some(now.since(*since)),
        }
    }

    /// Whether every answer that comes again and again was asked for since the chain began: what
    /// an exporter said before that is not yet shown to hold after it.
    pub fn is_heard_anew(&self) -> bool {
        match &self.chain {
            Chain::Broken | Chain::Paused { .. } => false,
            Chain::Healthy { began, last, .. } => last.asked.is_none_or(|asked| asked >= *began),
        }
    }
}

impl Chain {
    /// A chain that begins, or begins again, with this beat.
    const fn anew(beat: Beat) -> Self {
        Self::Healthy {
            began: beat.at,
            since: beat.at,
            last: beat,
        }
    }

    /// The chain goes on, from the last change of leadership where that is newer.
    fn on(began: Mono, since: Mono, beat: Beat) -> Self {
        let moved = beat.moved.unwrap_or_default();
        Self::Healthy {
            began: began.max(moved),
            since: since.max(moved),
            last: beat,
        }
    }

    fn next(self, beat: Beat) -> Self {
        match (self, beat.healthy) {
            (Self::Broken, true) => Self::anew(beat),
            (Self::Broken, false) => Self::Broken,
            // A process may be another one without a connection having been seen to end.
            (Self::Healthy { last, .. }, true)
                if another_life(beat.starts.keys(), &last, &beat) =>
            {
                Self::anew(beat)
            }
            (Self::Healthy { began, since, .. }, true) => Self::on(began, since, beat),
            (Self::Healthy { began, since, last }, false) => match beat.blip {
                Some(nodes) => Self::Paused {
                    began,
                    since,
                    at: beat.at,
                    nodes,
                    last,
                },
                None => Self::Broken,
            },
            (
                Self::Paused {
                    began,
                    since,
                    at,
                    mut nodes,
                    last,
                },
                false,
            ) => match beat.blip {
                Some(more)
                    if beat.at.since(at) < beat.longest_blip
                        && beat.signature == last.signature =>
                {
                    nodes.extend(more);
                    Self::Paused {
                        began,
                        since,
                        at,
                        nodes,
                        last,
                    }
                }
                Some(_) | None => Self::Broken,
            },
            (
                Self::Paused {
                    began,
                    since,
                    at,
                    nodes,
                    last,
                },
                true,
            ) => {
                let pause = beat.at.since(at);
                let restarted = another_life(nodes.iter(), &last, &beat);
                if pause >= beat.longest_blip || restarted || beat.signature != last.signature {
                    Self::anew(beat)
                } else if same_lives(&nodes, &last, &beat, at) {
                    Self::on(began, since.plus(pause), beat)
                } else {
                    // The page that shows the same start time may still come: wait for it.
                    Self::Paused {
                        began,
                        since,
                        at,
                        nodes,
                        last,
                    }
                }
            }
        }
    }
}

/// Whether one of these nodes has shown that it is another process than before: then there is
/// nothing to wait for, the window starts again.
fn another_life<'a>(
    mut nodes: impl Iterator<Item = &'a NodeId>,
    before: &Beat,
    after: &Beat,
) -> bool {
    nodes.any(
        |node| match (before.starts.get(node), after.starts.get(node)) {
            (Some((old, _)), Some((new, _))) => (old - new).abs() >= 2.0,
            (None, _) | (_, None) => false,
        },
    )
}

/// Whether every disturbed node has shown, by a page asked for after the disturbance began, that
/// it is the same process as before.
fn same_lives(nodes: &BTreeSet<NodeId>, before: &Beat, after: &Beat, at: Mono) -> bool {
    nodes.iter().all(
        |node| match (before.starts.get(node), after.starts.get(node)) {
            (Some((old, _)), Some((new, asked))) => (old - new).abs() < 2.0 && *asked >= at,
            (None, _) | (_, None) => false,
        },
    )
}

/// Whether a finding with this reason may be no more than a disturbed way to a node.
pub const fn is_transport(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SourceFailed
            | Reason::EvidenceStale
            | Reason::NodeUnreachable
            | Reason::NodeFrozen
            | Reason::GateThrottled
    )
}

/// Whether a finding with this reason follows from a node counting as down: it is subtracted
/// from every ISR at once, before Kafka does so. What Kafka itself did shows in the signature.
pub const fn follows_from_down(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UnderReplicated | Reason::OfflinePartitions | Reason::UnderMinIsr
    )
}

/// How long the window has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Required {
    /// The length.
    pub length: Duration,
    /// Where it comes from, for people.
    pub basis: String,
}

/// The settings of the brokers that the window is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Largest `replica.lag.time.max.ms` read; Kafka's default where none was.
    pub lag_max: Duration,
    /// Largest session timeout read; Kafka's default where none was.
    pub session: Duration,
    /// Interval at which metadata is asked for now.
    pub interval: Duration,
    /// Whether every in-sync replica's progress is proven in each evaluation.
    pub progress_proven: bool,
    /// The shortest window, whatever is proven.
    pub shortest: Duration,
    /// When the active controller last changed.
    pub controller_changed: Option<Mono>,
}

/// The window that is needed now. `configured` wins over everything derived.
pub fn required(configured: Option<Duration>, basis: &Basis, now: Mono) -> Required {
    if let Some(length) = configured {
        return Required {
            length,
            basis: String::from("set by policy `window`"),
        };
    }
    // A stalled follower stays in the ISR for up to 1.5 x replica.lag.time.max.ms (reference
    // `how-others-gate-restarts.md` 4.2), unless it has shown that it follows.
    let (mut length, mut words) = if basis.progress_proven {
        (
            basis.shortest,
            String::from("shortest, every replica's progress is proven"),
        )
    } else {
        let lag = basis.lag_max.saturating_mul(3) / 2;
        (
            lag.saturating_add(basis.interval).max(basis.shortest),
            format!(
                "1.5 x replica.lag.time.max.ms ({} s)",
                basis.lag_max.as_secs()
            ),
        )
    };
    let election = basis.session.saturating_mul(2);
    let changed = basis
        .controller_changed
        .is_some_and(|at| now.since(at) < election);
    if changed && election > length {
        length = election;
        words = String::from("2 x session timeout after a change of the active controller");
    }
    Required {
        length,
        basis: words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::policy::LONGEST_BLIP;

    const SHORTEST: Duration = Duration::from_secs(7);
    const S: u64 = 1_000_000_000;

    fn beat(second: u64, healthy: bool) -> Beat {
        let at = Mono::from_nanos(second * S);
        let starts = BTreeMap::from([(NodeId(1), (100.0, at))]);
        Beat {
            at,
            healthy,
            blip: None,
            longest_blip: LONGEST_BLIP,
            moved: None,
            asked: Some(at),
            starts,
            signature: 7,
        }
    }

    fn blip(second: u64) -> Beat {
        Beat {
            blip: Some(BTreeSet::from([NodeId(1)])),
            ..beat(second, false)
        }
    }

    fn run(beats: Vec<Beat>) -> Option<u64> {
        let mut window = Window::default();
        let mut end = Mono::default();
        for beat in beats {
            end = beat.at;
            let valid_until = beat.at.plus(Duration::from_secs(2));
            window.beat(beat, valid_until);
        }
        window.healthy_for(end).map(|span| span.as_secs())
    }

    #[test]
    fn it_grows_while_healthy_and_starts_again_after_anything_bad() {
        assert_eq!(run((0..=9).map(|s| beat(s, true)).collect()), Some(9));
        let mut beats: Vec<_> = (0..=9).map(|s| beat(s, true)).collect();
        beats[4].healthy = false;
        assert_eq!(run(beats), Some(4));
        assert_eq!(run(vec![beat(0, true), beat(1, false)]), None);
    }

    #[test]
    fn a_change_of_leadership_does_not_break_it_but_it_is_counted_from_there() {
        let moved = |second| Beat {
            moved: Some(Mono::from_nanos(5 * S)),
            ..beat(second, true)
        };
        let mut beats: Vec<_> = (0..5).map(|s| beat(s, true)).collect();
        beats.extend((5..=9).map(moved));
        assert_eq!(run(beats), Some(4));
        assert_eq!(run((7..=9).map(moved).collect()), Some(2));
    }

    #[test]
    fn it_knows_whether_everything_was_asked_for_since_it_began() {
        let mut window = Window::default();
        assert!(!window.is_heard_anew());
        for (second, asked, anew) in [(3, 1, false), (4, 2, false), (5, 3, true)] {
            let asked = Some(Mono::from_nanos(asked * S));
            let beat = Beat {
                asked,
                ..beat(second, true)
            };
            let valid_until = beat.at.plus(Duration::from_secs(2));
            window.beat(beat, valid_until);
            assert_eq!(window.is_heard_anew(), anew, "second {second}");
        }
    }

    #[test]
    fn another_process_starts_it_again_though_nothing_was_disturbed() {
        let restarted = |second| {
            let mut beat = beat(second, true);
            beat.starts.insert(NodeId(1), (200.0, beat.at));
            beat
        };
        let mut beats: Vec<_> = (0..5).map(|s| beat(s, true)).collect();
        beats.extend((5..=7).map(restarted));
        assert_eq!(run(beats), Some(2));
    }

    #[test]
    fn a_gap_longer_than_the_evaluation_before_was_true_starts_it_again() {
        assert_eq!(run(vec![beat(0, true), beat(2, true)]), Some(2));
        assert_eq!(
            run(vec![
                beat(0, true),
                beat(1, true),
                beat(4, true),
                beat(5, true)
            ]),
            Some(1)
        );
    }

    #[test]
    fn a_blip_pauses() {
        let beats = vec![
            beat(0, true),
            beat(1, true),
            blip(2),
            blip(3),
            beat(4, true),
        ];
        assert_eq!(run(beats), Some(2));
    }

    #[test]
    fn a_blip_that_hides_a_restart_or_an_isr_change_or_lasts_starts_it_again() {
        let mut restarted = beat(4, true);
        restarted.starts.insert(NodeId(1), (200.0, restarted.at));
        let start = vec![beat(0, true), beat(1, true), blip(2), blip(3)];
        let with = |beat: Beat| [start.clone(), vec![beat]].concat();
        assert_eq!(run(with(restarted)), Some(0));
        assert_eq!(
            run(with(Beat {
                signature: 8,
                ..beat(4, true)
            })),
            Some(0)
        );
        let mut old_page = beat(4, true);
        old_page
            .starts
            .insert(NodeId(1), (100.0, Mono::from_nanos(S)));
        assert_eq!(run(with(old_page)), None);
        let long: Vec<_> = (3..9)
            .map(blip)
            .chain([beat(9, true), beat(10, true)])
            .collect();
        assert_eq!(run([start, long].concat()), Some(1));
    }

    #[test]
    fn the_length_follows_the_brokers_settings() {
        let basis = Basis {
            lag_max: Duration::from_secs(30),
            session: Duration::from_secs(9),
            interval: Duration::from_millis(500),
            progress_proven: false,
            shortest: SHORTEST,
            controller_changed: None,
        };
        let now = Mono::from_nanos(100 * S);
        let length = |configured, basis: Basis| required(configured, &basis, now).length;
        assert_eq!(length(None, basis), Duration::from_millis(45_500));
        assert_eq!(
            length(
                None,
                Basis {
                    progress_proven: true,
                    ..basis
                }
            ),
            SHORTEST
        );
        let changed = Basis {
            progress_proven: true,
            controller_changed: Some(Mono::from_nanos(95 * S)),
            ..basis
        };
        assert_eq!(length(None, changed), Duration::from_secs(18));
        assert_eq!(
            length(Some(Duration::from_secs(1)), basis),
            Duration::from_secs(1)
        );
    }
}
