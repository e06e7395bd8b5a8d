//! skbtrace under measurement: started, stopped and looked at from outside.
//!
//! Its output goes to a file on a tmpfs, which is what printing costs at the least, and which no
//! other program has to read meanwhile, unless the options say where.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{loaded, usage};
use crate::tracer::{Outcome, Scratch, Tracer};
use crate::wait::{self, LONG};

/// How long after attaching or detaching figures are steady. The kernel tidies up behind its
/// callers' backs (RCU callbacks, freeing of trampolines and programs) and says nowhere when it is
/// done, so there is no condition to wait for; meanwhile a packet costs up to 3000 instructions
/// more.
const SETTLE: Duration = Duration::from_millis(1500);
/// A process that used no CPU this long has nothing left to do: its rounds take 10 ms.
const QUIET: Duration = Duration::from_millis(100);

/// Waits until attaching or detaching no longer shows.
pub fn settle() -> Result<()> {
    thread::sleep(SETTLE);
    wait::check_interrupted()
}

/// A running skbtrace.
pub struct Subject {
    tracer: Tracer,
    pid: i32,
    scratch: Scratch,
    /// How it came up.
    pub start: Usage,
}

/// What a step took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of the process.
    pub cpu: Duration,
    /// Time that passed.
    pub elapsed: Duration,
}

/// What is left of one that ended.
pub struct Ended {
    /// What it said.
    pub outcome: Outcome,
    /// From SIGINT to the end of the command, which is when the prompt is back.
    pub stop: Usage,
    /// From SIGINT until nothing is attached any more.
    pub detached: Duration,
    /// Lines in its output file, the header not counted.
    pub lines: usize,
}

impl Subject {
    /// Starts skbtrace and waits until it listens.
    pub fn start(options: &[String]) -> Result<Self> {
        let scratch = Scratch::create()?;
        let output = file(&scratch).display().to_string();
        let mut args: Vec<&str> = options.iter().map(String::as_str).collect();
        if !args.contains(&"-o") {
            args.extend(["-o", &output]);
        }
        let begin = Instant::now();
        let mut tracer = Tracer::spawn(&args, Stdio::null(), Stdio::piped())?;
        let pid = usage::youngest_child()?;
        tracer
            .wait_ready()
            .with_context(|| format!("skbtrace {}", args.join(" ")))?;
        let start = Usage {
            cpu: usage::cpu_time(pid)?,
            elapsed: begin.elapsed(),
        };
        Ok(Self {
            tracer,
            pid,
            scratch,
            start,
        })
    }

    /// Its process id.
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// CPU time so far.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu_time(self.pid)
    }

    /// Waits until it has nothing left to do.
    pub fn wait_idle(&self) -> Result<()> {
        let mut before = self.cpu()?;
        wait::until("skbtrace to have nothing left to do", LONG, || {
            thread::sleep(QUIET);
            let now = self.cpu()?;
            let idle = now == before;
            before = now;
            Ok(idle.then_some(()))
        })
    }

    /// Runs `work` while the process does not run, and only its hooks do.
    pub fn while_stopped<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = while_stopped(self.pid, work)?;
        self.wait_idle()?;
        Ok(result)
    }

    /// Sends SIGINT, and waits for the end and for all hooks to be gone.
    pub fn end(self) -> Result<Ended> {
        let used = self.cpu()?;
        let children = usage::cpu_time_of_ended_children()?;
        let begin = Instant::now();
        self.tracer.signal(Signal::SIGINT)?;
        let outcome = self.tracer.finish()?;
        let elapsed = outcome.took;
        loaded::wait_for_none()?;
        let detached = begin.elapsed();
        let cpu = usage::cpu_time_of_ended_children()?
            .saturating_sub(children)
            .saturating_sub(used);
        let output = file(&self.scratch);
        let text = match fs::read(&output) {
            // It went elsewhere.
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            result => result.with_context(|| format!("cannot read {}", output.display()))?,
        };
        let lines = text.iter().filter(|&&byte| byte == b'\n').count();
        Ok(Ended {
            outcome,
            stop: Usage { cpu, elapsed },
            detached,
            lines: lines.saturating_sub(1),
        })
    }
}

/// Runs `work` while a process does not run.
pub fn while_stopped<T>(pid: i32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let send = |signal: Signal| {
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal} to {pid}"))
    };
    send(Signal::SIGSTOP)?;
    let result = wait::until("a process to be stopped", LONG, || {
        Ok(usage::is_stopped(pid)?.then_some(()))
    })
    .and_then(|()| work());
    send(Signal::SIGCONT)?;
    result
}

fn file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("trace")
}
