//! The time of an event, twice: as RFC 3339 has it, `"2021-03-04T02:09:17.132480000Z"`, and since
//! boot.
//!
//! The first is always UTC and always nine digits, so that texts sort as times do. What the events
//! of one second share is made once.

use super::super::digits;

const SECOND: u64 = 1_000_000_000;
const DAY: i64 = 24 * 3600;

/// Between the two times.
const BETWEEN: &[u8] = b"Z\",\"time_ns\":";
/// Digits of nanoseconds.
const NINE: usize = 9;

/// Writes times.
#[derive(Debug)]
pub struct Clock {
    /// What to add to `CLOCK_MONOTONIC` for Unix time, nanoseconds.
    unix_offset_ns: i64,
    /// Monotonic time at which the second began that the text is of; wrapping.
    start: u64,
    /// Seconds since boot that the text is of.
    boot: u64,
    /// Both times, as the last event had them, nanoseconds and all; only these are written anew.
    text: Vec<u8>,
    /// Where in the text the nanoseconds of the first one stand. Those of the second are its end.
    nanoseconds: usize,
}

impl Clock {
    pub fn new(unix_offset_ns: i64) -> Self {
        let mut clock = Self {
            unix_offset_ns,
            start: 0,
            boot: 0,
            text: Vec::new(),
            nanoseconds: 0,
        };
        clock.turn(0);
        clock
    }

    /// Appends the string for `time_ns` of `CLOCK_MONOTONIC`, and as the next key that itself.
    #[inline]
    pub fn push(&mut self, time_ns: u64, out: &mut Vec<u8>) {
        let mut within = time_ns.wrapping_sub(self.start);
        if within >= SECOND || time_ns / SECOND != self.boot {
            within = self.turn(time_ns);
        }
        if let Some((nanoseconds, _)) = self
            .text
            .get_mut(self.nanoseconds..)
            .and_then(<[u8]>::split_first_chunk_mut)
        {
            *nanoseconds = digits::nine(within as u32);
        }
        if self.boot == 0 {
            // A number has no zeros in front.
            out.extend_from_slice(&self.text);
            return digits::decimal(time_ns, out);
        }
        if let Some(nanoseconds) = self.text.last_chunk_mut::<NINE>() {
            *nanoseconds = digits::nine((time_ns % SECOND) as u32);
        }
        out.extend_from_slice(&self.text);
    }

    /// Goes to the seconds of `time_ns`; returns the nanoseconds passed of the first.
    #[cold]
    fn turn(&mut self, time_ns: u64) -> u64 {
        let unix_ns = i128::from(time_ns) + i128::from(self.unix_offset_ns);
        let second = i128::from(SECOND);
        let within = unix_ns.rem_euclid(second) as u64;
        // The sum of 64-bit nanoseconds is a number of seconds far below 64 bits.
        let unix = unix_ns.div_euclid(second) as i64;
        let (year, month, day) = date(unix.div_euclid(DAY));
        let second = unix.rem_euclid(DAY) as u32;
        let mut text = vec![b'"'];
        let parts = [
            (b'-', month),
            (b'-', day),
            (b'T', second / 3600),
            (b':', second / 60 % 60),
            (b':', second % 60),
        ];
        text.extend_from_slice(&digits::two(year / 100));
        text.extend_from_slice(&digits::two(year));
        for (sign, part) in parts {
            text.push(sign);
            text.extend_from_slice(&digits::two(part));
        }
        text.push(b'.');
        self.nanoseconds = text.len();
        text.extend_from_slice(&[0; NINE]);
        text.extend_from_slice(BETWEEN);
        self.boot = time_ns / SECOND;
        if self.boot != 0 {
            digits::decimal(self.boot, &mut text);
            text.extend_from_slice(&[0; NINE]);
        }
        self.text = text;
        self.start = time_ns.wrapping_sub(within);
        within
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
fn date(days: i64) -> (u32, u32, u32) {
    /// Days of 400 years, after which the calendar repeats.
    const CYCLE: i64 = 146_097;
    // Years that begin in March have their leap day at the end. 719468 days before 1970-03-01 less
    // the 59 days of January and February is 0000-03-01.
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, and again.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let number = |value: i64| u32::try_from(value).unwrap_or(0);
    (
        number(cycle * 400 + year + next),
        number(month),
        number(day),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(clock: &mut Clock, time_ns: u64) -> String {
        let mut out = Vec::new();
        clock.push(time_ns, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        let (text, since_boot) = text.split_once(",\"time_ns\":").expect("both");
        assert_eq!(since_boot, time_ns.to_string());
        text.to_owned()
    }

    #[test]
    fn times() {
        let unix_ns: i64 = 1_614_823_757_132_480_001;
        let mut clock = Clock::new(unix_ns - 10_000_000_000);
        for (time_ns, expected) in [
            (10_000_000_000, "\"2021-03-04T02:09:17.132480001Z\""),
            (10_867_519_998, "\"2021-03-04T02:09:17.999999999Z\""),
            (10_867_519_999, "\"2021-03-04T02:09:18.000000000Z\""),
            // Events of several processors come slightly out of order.
            (10_867_519_998, "\"2021-03-04T02:09:17.999999999Z\""),
        ] {
            assert_eq!(text(&mut clock, time_ns), expected);
        }
    }

    #[test]
    fn at_the_ends() {
        assert_eq!(
            text(&mut Clock::new(-1), 0),
            "\"1969-12-31T23:59:59.999999999Z\""
        );
        let first = text(&mut Clock::new(i64::MIN), 0);
        assert_eq!(first, "\"1677-09-21T00:12:43.145224192Z\"");
        let last = text(&mut Clock::new(i64::MAX), 1 << 63);
        assert_eq!(last, "\"2554-07-21T23:34:33.709551615Z\"");
    }

    #[test]
    fn leap_days() {
        for (days, expected) in [
            (-141_428, (1582, 10, 14)),
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "day {days}");
        }
    }

    proptest! {
        #[test]
        fn any_time(time_ns: u64, small in 0..3_000_000_000_u64, offset: i64) {
            let mut clock = Clock::new(offset);
            for time_ns in [time_ns, small, small + SECOND, small] {
                text(&mut clock, time_ns);
            }
        }

        /// Each day is the day after the one before.
        #[test]
        fn days_follow_each_other(day in -100_000..400_000_i64) {
            let (year, month, before) = date(day);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let next = match (month, before == length) {
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
                (_, false) => (year, month, before + 1),
            };
            prop_assert_eq!(date(day + 1), next);
        }
    }
}
