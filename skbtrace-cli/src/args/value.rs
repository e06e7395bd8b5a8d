//! Parsers of values that are not part of the filter.

use std::{num::NonZeroU32, time::Duration};

use regex::Regex;
use skbtrace_common::record::MAX_SNAPLEN;

use crate::filter::{ValueError, value::decimal};

/// Largest buffer; more is likely a slip, and would be locked memory.
const MAX_BUFFER: u64 = 1 << 30;
/// Smallest file that recording goes on after: what each begins with takes a few KiB.
const MIN_FILE: u64 = 1 << 16;

/// A value of `--count`.
pub fn count(text: &str) -> Result<u64, ValueError> {
    decimal(text)
        .filter(|&count| count > 0)
        .ok_or(ValueError::Number {
            what: "a number of events",
            min: 1,
            max: u64::MAX,
        })
}

/// A value of `--duration`: seconds, maybe with a fraction.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    // Parsing as f64 alone would also take "inf", "nan", "1e3" and signs.
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse()
        .ok()
        .filter(|_| plain)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or(ValueError::Duration)
}

/// A value of `--buffer`.
pub fn size(text: &str) -> Result<usize, ValueError> {
    bytes(text)
        .filter(|size| (1..=MAX_BUFFER).contains(size))
        .and_then(|size| usize::try_from(size).ok())
        .ok_or(ValueError::Size)
}

/// A value of `--rotate`.
pub fn file_size(text: &str) -> Result<u64, ValueError> {
    bytes(text)
        .filter(|size| *size >= MIN_FILE)
        .ok_or(ValueError::FileSize)
}

/// A number of bytes, maybe with a suffix.
fn bytes(text: &str) -> Option<u64> {
    let units = [
        (['K', 'k'], 1 << 10),
        (['M', 'm'], 1 << 20),
        (['G', 'g'], 1 << 30),
    ];
    let (digits, unit) = units
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    decimal(digits).and_then(|size| size.checked_mul(unit))
}

/// A value of `--snaplen`: as much as the kernel side makes room for behind each record.
pub fn snaplen(text: &str) -> Result<u32, ValueError> {
    const MIN: u32 = 16;
    const MAX: u32 = MAX_SNAPLEN as u32;
    decimal(text)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|bytes| (MIN..=MAX).contains(bytes))
        .ok_or(ValueError::Number {
            what: "a number of bytes",
            min: u64::from(MIN),
            max: u64::from(MAX),
        })
}

/// A value of `--follow-max`: rounded up to a power of two. The kernel has room for 4 MiB in one
/// place (`KMALLOC_MAX_SIZE`), of which a packet takes 24 bytes.
pub fn packets(text: &str) -> Result<NonZeroU32, ValueError> {
    const MAX: u32 = 1 << 17;
    decimal(text)
        .and_then(|packets| u32::try_from(packets).ok())
        .filter(|packets| (1..=MAX).contains(packets))
        .and_then(|packets| NonZeroU32::new(packets.next_power_of_two().max(16)))
        .ok_or(ValueError::Number {
            what: "a number of packets",
            min: 1,
            max: u64::from(MAX),
        })
}

/// A value of `--func`.
pub fn regex(text: &str) -> Result<Regex, ValueError> {
    Regex::new(text).map_err(|error| {
        // The message draws an arrow under the pattern, on several lines; its last line says what.
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default();
        ValueError::Regex(last.trim_start_matches("error: ").to_owned())
    })
}
