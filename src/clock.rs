//! The one place that reads clocks, and the one that writes times for people.

mod step;

use std::fmt::Debug;

use jiff::fmt::temporal::DateTimePrinter;
use rustix::time::{ClockId, clock_gettime};

use crate::time::{Mono, Now, Timestamp};

/// Where a component that does I/O gets the time from. The simulation has its own.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Both clocks, read together.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let boot = clock_gettime(ClockId::Boottime);
        let wall = clock_gettime(ClockId::Realtime);
        let nanos = boot
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(boot.tv_nsec);
        let wall = wall
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(wall.tv_nsec)
            .saturating_add(step::nanos());
        Now {
            mono: Mono::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            wall: Timestamp::from_nanos(wall),
        }
    }
}

/// A wall time in RFC 3339 with milliseconds, in UTC.
pub fn rfc3339(at: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    match jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())) {
        Ok(timestamp) => PRINTER.timestamp_to_string(&timestamp),
        Err(_) => String::from("1970-01-01T00:00:00.000Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_moves_and_the_wall_clock_is_this_century() {
        let a = SystemClock.now();
        let b = SystemClock.now();
        assert!(b.mono >= a.mono);
        assert!(rfc3339(a.wall).starts_with("20"));
    }

    #[test]
    fn times_are_printed_in_utc_with_milliseconds() {
        let at = Timestamp::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20.123Z");
    }
}
