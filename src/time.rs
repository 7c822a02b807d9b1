//! The two clocks of the gate as plain values.
//!
//! [`Mono`] is for ages, windows and deadlines; [`Timestamp`] is for people. Reading a clock is
//! [`crate::clock`]'s job; nothing here does.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on `CLOCK_BOOTTIME`, in nanoseconds since boot.
///
/// Boot time goes on counting while the machine sleeps, so evidence cannot stay young through a
/// suspend. Made only by [`crate::clock`] and by the model.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mono(u64);

impl Mono {
    /// A moment, from nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `span` later, or the last moment there is.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The moment `span` earlier, or boot.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

/// Wall time in nanoseconds since 1970-01-01T00:00:00Z. For display, and for lease deadlines
/// across restarts; never for ages.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A wall time, from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch with a fraction, as Prometheus wants them.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a display value; microseconds survive"
    )]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The wall time `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)),
        )
    }

    /// The wall time `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)),
        )
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For ages, windows, deadlines.
    pub mono: Mono,
    /// For people, and to notice that somebody set the clock.
    pub wall: Timestamp,
}

impl Now {
    /// The wall time of an earlier moment on the boot clock, as seen from now.
    pub fn wall_of(self, moment: Mono) -> Timestamp {
        self.wall.minus(self.mono.since(moment))
    }
}

/// Prints a duration the way people say it: `250ms`, `12s`, `3m20s`, `2h05m`.
pub struct Human(pub Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{millis}ms"),
            1..=9 => write!(f, "{:.1}s", self.0.as_secs_f64()),
            10..=119 => write!(f, "{seconds}s"),
            120..=7199 => write!(f, "{}m{:02}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_never_go_negative_or_wrap() {
        let (a, b) = (Mono::from_nanos(5), Mono::from_nanos(9));
        assert_eq!(b.since(a), Duration::from_nanos(4));
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(
            Mono::from_nanos(u64::MAX).plus(Duration::MAX).as_nanos(),
            u64::MAX
        );
        assert_eq!(a.minus(Duration::MAX).as_nanos(), 0);
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let say = |d| Human(d).to_string();
        assert_eq!(say(Duration::from_millis(250)), "250ms");
        assert_eq!(say(Duration::from_millis(1500)), "1.5s");
        assert_eq!(say(Duration::from_secs(75)), "75s");
        assert_eq!(say(Duration::from_secs(200)), "3m20s");
        assert_eq!(say(Duration::from_secs(7500)), "2h05m");
    }
}
