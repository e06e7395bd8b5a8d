//! Figures of whole runs: starting, a burst at full speed, idling, stopping, memory.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cases::{Hooks, Transport};
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
    /// Measures it; with `stopped`, skbtrace gets no CPU until the burst is over.
    pub fn measure(
        load: &Load,
        transport: Transport,
        filter: &[String],
        stopped: bool,
    ) -> Result<Self> {
        let mut options = Hooks::Article.options();
        options.extend(transport.options());
        options.extend(filter.iter().cloned());
        options.push("-v".to_owned());
        let subject = Subject::start(&options)?;
        settle()?;
        if stopped {
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
        Ok(Self {
            produced,
            printed,
            lines,
            lost,
            memory,
        })
    }

    /// The part of the events that was lost without a word, in per cent.
    pub fn unaccounted(&self) -> u64 {
        self.produced.saturating_sub(self.printed)
    }
}
