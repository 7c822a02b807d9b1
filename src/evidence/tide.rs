//! How high something stood that only rises, and when: the offset up to which the metadata log is
//! committed, as several sources tell it one after the other.
//!
//! It begins anew where nobody has told of it for long: a quorum was made anew, or what stood so high was a
//! page of another cluster.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;

/// Heights that are kept: those of some minutes, as an idle log rises twice a second.
const MOST: usize = 512;

/// For so long everybody has to tell of less: a leader that is cut off and does not know it hears of that
/// within seconds, and somebody else tells of more meanwhile.
const ANEW: Duration = Duration::from_secs(30);

/// Something that only rises. Of what is told within this many milliseconds only the last is kept, so
/// that neither many tellers nor a log that rises fast push out what was told seconds ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tide<const APART: u64> {
    /// In order, each higher than the one before it.
    marks: VecDeque<Mark>,
    /// Since when everybody tells of less.
    below: Option<Mono>,
}

/// A height, and a moment by which it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When it was told.
    pub at: Mono,
    /// The height.
    pub height: i64,
}

impl<const APART: u64> Tide<APART> {
    /// By then it had come this far. What is no news is left out: a source that is behind, or the same
    /// again.
    pub fn rise(&mut self, at: Mono, height: i64) {
        if self.last().is_some_and(|last| height < last.height) {
            let since = *self.below.get_or_insert(at);
            if at.since(since) < ANEW {
                return;
            }
            self.marks.clear();
        }
        self.below = None;
        let last = self.last();
        if last.is_some_and(|last| height == last.height) {
            return;
        }
        // Heard of later, though it was told earlier: the later moment is true as well.
        let at = last.map_or(at, |last| at.max(last.at));
        let before = self.marks.len().checked_sub(2);
        let before = before.and_then(|before| self.marks.get(before));
        if before.is_some_and(|before| at.since(before.at) < Duration::from_millis(APART)) {
            self.marks.pop_back();
        } else if self.marks.len() >= MOST {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { at, height });
    }

    /// The newest height, and the moment by which it was reached.
    pub fn last(&self) -> Option<Mark> {
        self.marks.back().copied()
    }

    /// How far it had come by that moment, as far as it is known.
    pub fn by(&self, moment: Mono) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.at <= moment);
        self.marks.get(after.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_nanos(millis * 1_000_000)
    }

    fn height(tide: &Tide<100>, millis: u64) -> Option<i64> {
        tide.by(at(millis)).map(|mark| mark.height)
    }

    #[test]
    fn it_never_falls_and_is_known_from_the_first_word_on() {
        let mut tide = Tide::<100>::default();
        assert_eq!(tide.by(at(9_000)), None);
        tide.rise(at(1_000), 50);
        // A leader that was cut off, and the same again.
        tide.rise(at(1_500), 40);
        tide.rise(at(1_600), 50);
        tide.rise(at(2_000), 60);
        let seen = [999, 1_000, 1_999, 2_000, 60_000].map(|millis| height(&tide, millis));
        assert_eq!(seen, [None, Some(50), Some(50), Some(60), Some(60)]);
        assert_eq!(tide.by(at(1_999)).map(|mark| mark.at), Some(at(1_000)));
        // Told before the last word, heard of after it.
        tide.rise(at(1_800), 70);
        let seen = [1_999, 2_000].map(|millis| height(&tide, millis));
        assert_eq!(seen, [Some(50), Some(70)]);
    }

    #[test]
    fn where_nobody_tells_of_it_for_long_it_begins_anew() {
        let mut tide = Tide::<100>::default();
        tide.rise(at(1_000), 9_000_000);
        tide.rise(at(2_000), 100);
        tide.rise(at(31_999), 120);
        assert_eq!(height(&tide, 60_000), Some(9_000_000));
        // Somebody does, or tells of the same: a leader that is cut off does not make it fall.
        tide.rise(at(31_999), 9_000_000);
        tide.rise(at(32_000), 120);
        tide.rise(at(61_999), 120);
        assert_eq!(height(&tide, 70_000), Some(9_000_000));
        tide.rise(at(62_000), 180);
        assert_eq!(tide.last().map(|mark| mark.height), Some(180));
        assert_eq!(
            height(&tide, 61_999),
            None,
            "what was before is no part of it"
        );
        tide.rise(at(62_500), 181);
        assert_eq!(height(&tide, 62_500), Some(181));
    }

    #[test]
    fn a_log_that_rises_fast_leaves_what_was_seconds_ago() {
        let mut tide = Tide::<100>::default();
        // A thousand records a second, told every millisecond, for a minute.
        for millis in 0..60_000_u64 {
            tide.rise(at(millis), i64::try_from(millis).unwrap());
        }
        assert!(tide.marks.len() <= MOST);
        for back in [1_250, 5_000, 20_000] {
            let known = height(&tide, 60_000 - back).unwrap();
            let late = 60_000 - i64::try_from(back).unwrap() - known;
            assert!((0..=100).contains(&late), "{back} ms ago: {late} ms late");
        }
        assert_eq!(
            height(&tide, 5_000),
            None,
            "forgotten, which proves nothing"
        );
    }
}
