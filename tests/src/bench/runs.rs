//! Figures of whole runs: starting, a burst at full speed, idling, stopping, memory.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cases::{Hooks, MATCHING, Transport, words};
use super::load::Load;
use super::subject::{Ended, Subject, Usage, settle};
use super::usage::{self, Memory};

/// Packets of the burst.
pub const BURST: u32 = 2000;
/// How long skbtrace is watched doing nothing.
pub const IDLE: Duration = Duration::from_secs(10);

/// A run in which nothing matches, and nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    /// From starting the program to its being ready.
    pub start: Usage,
    /// From SIGTERM to the end.
    pub stop: Usage,
    /// Hooks attached.
    pub attached: u64,
    /// Memory when ready.
    pub memory: Memory,
    /// CPU time used in [`IDLE`].
    pub idle_cpu: Duration,
    /// Times it woke up in [`IDLE`].
    pub wakeups: u64,
}

impl Quiet {
    /// Measures it.
    pub fn measure(hooks: Hooks, filter: &[String]) -> Result<Self> {
        let mut options = hooks.options();
        options.extend(filter.iter().cloned());
        settle()?;
        let subject = Subject::start(&options)?;
        subject.wait_idle()?;
        let memory = Memory::of(subject.pid())?;
        let (cpu, sleeps) = (subject.cpu()?, usage::sleeps(subject.pid())?);
        // Not a wait for anything: what is measured is that nothing happens.
        thread::sleep(IDLE);
        let idle_cpu = subject.cpu()?.saturating_sub(cpu);
        let wakeups = usage::sleeps(subject.pid())?.saturating_sub(sleeps);
        let start = subject.start;
        let Ended { outcome, stop, .. } = subject.end()?;
        let attached = outcome.explain(outcome.attached.context("nothing said of attaching"))?;
        Ok(Self {
            start,
            stop,
            attached: attached.0,
            memory,
            idle_cpu,
            wakeups,
        })
    }
}

/// [`BURST`] packets at full speed, all of them matching.
#[derive(Clone, Copy, Debug)]
pub struct BurstCase {
    hooks: Hooks,
    transport: Transport,
    /// `--buffer`, where it is not the default.
    buffer: Option<&'static str>,
    /// skbtrace gets no CPU until the burst is over.
    stopped: bool,
}

impl BurstCase {
    const fn new(transport: Transport) -> Self {
        Self {
            hooks: Hooks::Article,
            transport,
            buffer: None,
            stopped: false,
        }
    }

    /// All of them.
    pub const fn all() -> [Self; 6] {
        use Transport::{Perf, Ringbuf};

        [
            Self::new(Ringbuf),
            Self::new(Perf),
            Self {
                stopped: true,
                ..Self::new(Ringbuf)
            },
            Self {
                stopped: true,
                ..Self::new(Perf)
            },
            // Some more events than the buffer holds, and far more: what cannot be kept has to
            // be counted.
            Self {
                hooks: Hooks::Sets,
                ..Self::new(Ringbuf)
            },
            Self {
                buffer: Some("1M"),
                stopped: true,
                ..Self::new(Ringbuf)
            },
        ]
    }

    /// In words.
    pub fn title(&self) -> String {
        let mut title = format!("burst, {}, {}", self.hooks.name(), self.transport.name());
        if let Some(size) = self.buffer {
            title.push_str(&format!(", `--buffer {size}`"));
        }
        if self.stopped {
            title.push_str(", skbtrace stopped meanwhile");
        }
        title
    }

    /// Whether the target of losing nothing is about it.
    pub fn principal(&self) -> bool {
        self.buffer.is_none() && self.hooks == Hooks::Article
    }

    /// Measures it.
    pub fn measure(&self, load: &Load) -> Result<Burst> {
        let mut options = self.hooks.options();
        options.extend(self.transport.options());
        options.extend(words(MATCHING));
        options.push("-v".to_owned());
        if let Some(size) = self.buffer {
            options.extend(words(&["--buffer", size]));
        }
        let subject = Subject::start(&options)?;
        settle()?;
        if self.stopped {
            subject.while_stopped(|| load.send(BURST))?;
        } else {
            load.send(BURST)?;
            subject.wait_idle()?;
        }
        let memory = Memory::of(subject.pid())?;
        let Ended { outcome, lines, .. } = subject.end()?;
        let counts = outcome.produced.zip(outcome.printed).zip(outcome.lost);
        let ((produced, printed), lost) =
            outcome.explain(counts.context("skbtrace gave no account"))?;
        Ok(Burst {
            produced,
            printed,
            lines,
            lost,
            memory,
        })
    }
}

/// What came of a burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Events that the kernel side had for user space.
    pub produced: u64,
    /// Events printed, as skbtrace says.
    pub printed: u64,
    /// Lines in its output.
    pub lines: usize,
    /// Events lost, as skbtrace says.
    pub lost: u64,
    /// Memory after it.
    pub memory: Memory,
}

impl Burst {
    /// Events of which nothing is said.
    pub fn in_silence(&self) -> i64 {
        let told = self.printed.saturating_add(self.lost);
        self.produced.cast_signed().wrapping_sub(told.cast_signed())
    }
}
