//! The time column: `[HH:MM:SS.micros]`, or `[seconds.micros]` since boot.
//!
//! Events carry the kernel's monotonic time; here it becomes text, from the event alone and never
//! from the current time. What the events of one second share is made once.

use super::{cell::Cell, digits};
use crate::decode::Names;

const SECOND: u64 = 1_000_000_000;
/// How long a local time's distance from UTC is believed, seconds. Changes fall on quarters of
/// an hour (Lord Howe Island: half past).
pub const QUARTER: i64 = 900;
/// Width of the column.
const WIDTH: usize = 17;

/// How times are written.
#[derive(Clone, Copy, Debug)]
pub enum TimeFormat {
    /// Seconds of `CLOCK_MONOTONIC`: since boot, suspension left out.
    SinceBoot,
    /// Time of day.
    WallClock {
        /// What to add to `CLOCK_MONOTONIC` for Unix time, nanoseconds.
        unix_offset_ns: i64,
    },
}

/// Writes the time column.
#[derive(Debug)]
pub struct Clock {
    format: TimeFormat,
    /// Monotonic time at which the second began that the cells are of; wrapping, as the wall
    /// clock's second may have begun before boot.
    start: u64,
    /// How long the cells hold, nanoseconds: a second, but nothing before the first event.
    length: u64,
    /// Up to and with the dot.
    before: Cell<16>,
    /// From the bracket on.
    after: Cell<16>,
    /// The quarter of an hour, and the distance from UTC in it.
    zone: Option<(i64, i32)>,
}

impl Clock {
    /// A clock.
    pub fn new(format: TimeFormat) -> Self {
        Self {
            format,
            start: 0,
            length: 0,
            before: Cell::EMPTY,
            after: Cell::EMPTY,
            zone: None,
        }
    }

    /// Appends the column for `time_ns` of `CLOCK_MONOTONIC`.
    #[inline(always)]
    pub fn push(&mut self, time_ns: u64, names: &dyn Names, out: &mut Vec<u8>) {
        let mut within = time_ns.wrapping_sub(self.start);
        if within >= self.length {
            within = self.turn(time_ns, names);
        }
        self.before.push_to(out);
        out.extend_from_slice(&digits::six(within as u32 / 1000));
        self.after.push_to(out);
    }

    /// Goes to the second of `time_ns`; returns the nanoseconds passed of it.
    #[cold]
    fn turn(&mut self, time_ns: u64, names: &dyn Names) -> u64 {
        let mut text = vec![b'['];
        let within = match self.format {
            TimeFormat::SinceBoot => {
                digits::decimal(time_ns / SECOND, &mut text);
                time_ns % SECOND
            }
            TimeFormat::WallClock { unix_offset_ns } => {
                let unix_ns = i128::from(time_ns) + i128::from(unix_offset_ns);
                let second = i128::from(SECOND);
                // The sum of 64-bit nanoseconds is a number of seconds far below 64 bits.
                let unix = unix_ns.div_euclid(second) as i64;
                self.time_of_day(unix, names, &mut text);
                unix_ns.rem_euclid(second) as u64
            }
        };
        text.push(b'.');
        self.before.set(&text);
        let mut after = b"]".to_vec();
        after.resize((WIDTH + 1).saturating_sub(text.len() + 6).max(2), b' ');
        self.after.set(&after);
        self.start = time_ns.wrapping_sub(within);
        self.length = SECOND;
        within
    }

    fn time_of_day(&mut self, unix: i64, names: &dyn Names, text: &mut Vec<u8>) {
        let quarter = unix.div_euclid(QUARTER);
        let offset = match self.zone {
            Some((known, offset)) if known == quarter => offset,
            _ => names.utc_offset(quarter * QUARTER),
        };
        self.zone = Some((quarter, offset));
        let second = (unix + i64::from(offset)).rem_euclid(24 * 3600) as u32;
        text.extend_from_slice(&digits::two(second / 3600));
        text.push(b':');
        text.extend_from_slice(&digits::two(second / 60 % 60));
        text.push(b':');
        text.extend_from_slice(&digits::two(second % 60));
    }
}

/// Seconds that this process's local time is ahead of UTC at Unix time `unix`; 0 when the C
/// library cannot tell.
#[must_use]
pub fn local_utc_offset(unix: i64) -> i32 {
    let unix: libc::time_t = unix;
    let mut local = libc::tm {
        tm_sec: 0,
        tm_min: 0,
        tm_hour: 0,
        tm_mday: 0,
        tm_mon: 0,
        tm_year: 0,
        tm_wday: 0,
        tm_yday: 0,
        tm_isdst: 0,
        tm_gmtoff: 0,
        tm_zone: std::ptr::null(),
    };
    // SAFETY: both references are valid for the call, which keeps neither; the zone's name that
    // `tm_zone` then points to is not looked at. A failed call leaves the zeros.
    unsafe { libc::localtime_r(&raw const unix, &raw mut local) };
    i32::try_from(local.tm_gmtoff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::Machine;

    /// A clock and a place on earth.
    type Here = (Clock, Machine);

    fn text((clock, machine): &mut Here, time_ns: u64) -> String {
        let mut out = Vec::new();
        clock.push(time_ns, machine, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn wall(unix_offset_ns: i64, utc_offset: fn(i64) -> i32) -> Here {
        let clock = Clock::new(TimeFormat::WallClock { unix_offset_ns });
        let mut machine = Machine::new();
        machine.utc_offset = utc_offset;
        (clock, machine)
    }

    #[test]
    fn since_boot() {
        let mut clock = (Clock::new(TimeFormat::SinceBoot), Machine::new());
        assert_eq!(text(&mut clock, 0), "[0.000000]        ");
        assert_eq!(text(&mut clock, 12_345_678_901_234), "[12345.678901]    ");
        assert_eq!(text(&mut clock, u64::MAX), "[18446744073.709551] ");
        assert_eq!(text(&mut clock, 999_999_999), "[0.999999]        ");
    }

    #[test]
    fn time_of_day() {
        // 2021-03-04 01:09:17.132480 UTC, of which an hour and a bit since boot.
        let unix_ns: i64 = 1_614_820_157_132_480_000;
        let mut clock = wall(unix_ns - 4_000_000_500_000, |_| 3600);
        assert_eq!(text(&mut clock, 4_000_000_500_000), "[02:09:17.132480] ");
        assert_eq!(text(&mut clock, 4_000_867_519_999), "[02:09:17.999499] ");
        assert_eq!(text(&mut clock, 4_000_868_020_000), "[02:09:18.000000] ");
        // Events of several processors come slightly out of order.
        assert_eq!(text(&mut clock, 4_000_867_519_999), "[02:09:17.999499] ");
    }

    #[test]
    fn before_1970_and_at_the_ends() {
        let mut clock = wall(-1, |_| 0);
        assert_eq!(text(&mut clock, 0), "[23:59:59.999999] ");
        let mut clock = wall(i64::MIN, |_| i32::MIN);
        assert_eq!(text(&mut clock, 0).len(), 18);
        let mut clock = wall(i64::MAX, |_| i32::MAX);
        assert_eq!(text(&mut clock, u64::MAX).len(), 18);
    }

    #[test]
    fn summer_time_begins() {
        // Lord Howe Island, 2024-10-05 15:30 UTC: from 10:30 ahead to 11:00.
        fn offset(unix: i64) -> i32 {
            if unix < 1_728_142_200 { 37_800 } else { 39_600 }
        }
        let mut clock = wall(1_728_142_199_000_000_000, offset);
        assert_eq!(text(&mut clock, 0), "[01:59:59.000000] ");
        assert_eq!(text(&mut clock, SECOND), "[02:30:00.000000] ");
    }

    #[test]
    fn the_c_library_knows_a_zone() {
        assert!(local_utc_offset(0).abs() <= 24 * 3600);
        assert_eq!(local_utc_offset(i64::MAX), 0);
    }
}
