//! What a running process has used: CPU time to the nanosecond, and memory by kind.
//!
//! `/proc/PID/stat` counts clock ticks of 10 ms, and `schedstat` leaves out threads that have
//! ended, among them the one that attached. The process's CPU clock has neither fault, and under
//! instruction counting it yields instructions.

use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;

/// Id of the process that the calling thread started last.
pub fn youngest_child() -> Result<i32> {
    let path = "/proc/thread-self/children";
    let children = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let ids = children.split_whitespace().map(str::parse::<i32>);
    let youngest = ids.collect::<Result<Vec<_>, _>>()?.into_iter().max();
    youngest.context("no child process")
}

/// CPU time of a process so far, ended threads included.
pub fn cpu_time(pid: i32) -> Result<Duration> {
    let mut clock = 0;
    // SAFETY: a pointer to a whole clockid_t.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    ensure!(error == 0, "process {pid} has no CPU clock");
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: room for a whole timespec.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        bail!("cannot read the CPU clock of process {pid}");
    }
    // SAFETY: clock_gettime succeeded and has written it.
    let time = unsafe { time.assume_init() };
    Ok(Duration::new(
        time.tv_sec.try_into()?,
        time.tv_nsec.try_into()?,
    ))
}

/// CPU time of all children that have been waited for, to the microsecond.
pub fn cpu_time_of_ended_children() -> Result<Duration> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: room for a whole rusage.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } != 0 {
        bail!("getrusage failed");
    }
    // SAFETY: getrusage succeeded and has written it.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| -> Result<Duration> {
        let micros = u32::try_from(time.tv_usec)?;
        Ok(Duration::new(time.tv_sec.try_into()?, micros * 1000))
    };
    Ok(time(usage.ru_utime)? + time(usage.ru_stime)?)
}

/// Whether a process is stopped by a signal.
pub fn is_stopped(pid: i32) -> Result<bool> {
    Ok(status(pid, "State")?.starts_with('T'))
}

/// How often a process has slept so far.
pub fn sleeps(pid: i32) -> Result<u64> {
    Ok(status(pid, "voluntary_ctxt_switches")?.parse()?)
}

fn status(pid: i32, field: &str) -> Result<String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value
        .map(|value| value.trim().to_owned())
        .with_context(|| format!("{path} has no {field}"))
}

/// Resident memory in kB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Heap, stacks, written data.
    pub anonymous: u64,
    /// Pages of the program file; the page cache holds them anyway.
    pub file: u64,
    /// Mappings of the event buffer. The kernel maps a ring buffer's data twice in a row, so that
    /// a record at its end can be read in one piece, and counts every page twice here.
    pub buffer: u64,
}

impl Memory {
    /// Of a process, now.
    pub fn of(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(Self::sum(&text))
    }

    /// Of the process itself, in MB; the event buffer has its own figure.
    pub fn own_mb(self) -> f64 {
        megabytes(self.anonymous + self.file)
    }

    fn sum(smaps: &str) -> Self {
        let mut sum = Self::default();
        let (mut is_buffer, mut resident) = (false, 0);
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            let Some(field) = first.strip_suffix(':') else {
                // A mapping's first line: addresses, access, offset, device, inode, name.
                is_buffer = words.any(|word| word.starts_with("anon_inode:"));
                continue;
            };
            let value = words.next().and_then(|value| value.parse().ok());
            match (field, value) {
                ("Rss", Some(value)) => resident = value,
                ("Anonymous", Some(_)) if is_buffer => sum.buffer += resident,
                ("Anonymous", Some(value)) => {
                    sum.anonymous += value;
                    sum.file += resident.saturating_sub(value);
                }
                _ => {}
            }
        }
        sum
    }
}

/// Of kB, as the figures are given.
pub fn megabytes(kilobytes: u64) -> f64 {
    f64::from(u32::try_from(kilobytes).unwrap_or(u32::MAX)) * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_by_kind() {
        let smaps = "\
00400000-00452000 r-xp 00000000 08:02 173521 /bin/skbtrace
Size:                328 kB
Rss:                 300 kB
Anonymous:             0 kB
VmFlags: rd ex mr
01f75000-01f96000 rw-p 00000000 00:00 0 [heap]
Rss:                 132 kB
Anonymous:           128 kB
7f0000000000-7f0002000000 r--s 00001000 00:0e 11 anon_inode:bpf-map
Rss:               32768 kB
Anonymous:             0 kB
";
        let expected = Memory {
            anonymous: 128,
            file: 304,
            buffer: 32768,
        };
        assert_eq!(Memory::sum(smaps), expected);
    }
}
