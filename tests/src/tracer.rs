//! skbtrace as a child process, and what it left behind when it ended.
//!
//! A trial starts a [`Tracer`], which returns once the ready file says that every hook listens;
//! makes its traffic; and stops it with SIGTERM, upon which skbtrace prints all that its buffers
//! still hold. The [`Outcome`] is then complete. Only this file and [`crate::row`] know what
//! skbtrace's output looks like.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::row::Row;
use crate::wait::{self, LONG, SOON};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A directory of our own that is removed with this value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates an empty directory.
    pub fn create() -> Result<Self> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("skbtrace-tests-{}-{serial}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!(
                "skbtrace-tests: cannot remove {}: {error}",
                self.0.display()
            );
        }
    }
}

/// A command line for skbtrace: `$SKBTRACE`, else the one beside this program, else the path's.
pub fn skbtrace() -> Command {
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("skbtrace"))
        .filter(|path| path.exists());
    let program = std::env::var_os("SKBTRACE")
        .map(PathBuf::from)
        .or(beside)
        .unwrap_or_else(|| PathBuf::from("skbtrace"));
    Command::new(program)
}

/// Lines of a stream, read as they come.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn read<R: Read + Send + 'static>(stream: Option<R>) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = stream.map(|stream| {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    lines
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            })
        });
        Self { lines, reader }
    }

    fn now(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for the stream's end.
    fn all(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.now()
    }
}

/// A running skbtrace.
pub struct Tracer {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    scratch: Scratch,
}

impl Tracer {
    /// Starts `skbtrace ARGS` with its output captured and waits until it listens.
    pub fn start(args: &[&str]) -> Result<Self> {
        Self::start_within(LONG, args)
    }

    /// The same for one that listens on so much that it may take longer.
    pub fn start_within(limit: Duration, args: &[&str]) -> Result<Self> {
        let mut tracer = Self::spawn(args, Stdio::piped(), Stdio::piped())?;
        tracer.wait_ready_within(limit)?;
        Ok(tracer)
    }

    /// Starts `skbtrace ARGS` with the given output streams; does not wait.
    pub fn spawn(args: &[&str], stdout: Stdio, stderr: Stdio) -> Result<Self> {
        let scratch = Scratch::create()?;
        let mut command = skbtrace();
        command
            .args(args)
            .arg("--ready-file")
            .arg(scratch.path().join("ready"));
        Self::launch(command, scratch, stdout, stderr)
    }

    fn launch(
        mut command: Command,
        scratch: Scratch,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<Self> {
        // Or else a killed run would leave it tracing for ever.
        let end_with_parent = || Ok(set_pdeathsig(Signal::SIGTERM)?);
        // SAFETY: between fork and exec the closure makes one prctl system call and nothing else.
        unsafe { command.pre_exec(end_with_parent) };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = Lines::read(child.stdout.take());
        let stderr = Lines::read(child.stderr.take());
        Ok(Self {
            child,
            stdout,
            stderr,
            scratch,
        })
    }

    /// Waits until every hook listens.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.wait_ready_within(LONG)
    }

    fn wait_ready_within(&mut self, limit: Duration) -> Result<()> {
        let ready = self.scratch.path().join("ready");
        let child = &mut self.child;
        wait::until("skbtrace to be ready", limit, || {
            if ready.exists() {
                return Ok(Some(()));
            }
            match child.try_wait()? {
                Some(status) => bail!("skbtrace ended before it was ready ({status})"),
                None => Ok(None),
            }
        })
        .map_err(|error| self.with_words(&error))
    }

    /// What it said on standard error so far.
    pub fn said(&self) -> String {
        self.stderr.now().join("\n")
    }

    /// Adds what skbtrace said so far to an error.
    fn with_words(&self, error: &Error) -> Error {
        let said = self.stderr.now();
        if said.is_empty() {
            anyhow!("{error:#}")
        } else {
            anyhow!("{error:#}; skbtrace's stderr:\n{}", said.join("\n"))
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal}"))
    }

    /// The most memory it had so far, bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.context("no VmHWM")?.parse::<u64>()? << 10)
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(self) -> Result<Outcome> {
        self.signal(Signal::SIGTERM)?;
        self.finish()
    }

    /// The same where what it printed is not the table.
    pub fn stop_unparsed(self) -> Result<Outcome> {
        self.signal(Signal::SIGTERM)?;
        let mut outcome = self.finish_unparsed(LONG)?;
        outcome.hear();
        Ok(outcome)
    }

    /// Waits for it to end by itself.
    pub fn finish(self) -> Result<Outcome> {
        let mut outcome = self.finish_unparsed(LONG)?;
        outcome.parse()?;
        outcome.hear();
        Ok(outcome)
    }

    fn finish_unparsed(mut self, limit: Duration) -> Result<Outcome> {
        let start = Instant::now();
        let status = self
            .wait_end_within(limit)
            .map_err(|error| self.with_words(&error))?;
        let took = start.elapsed();
        Ok(Outcome {
            code: status.code(),
            took,
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
            ..Outcome::default()
        })
    }

    /// Waits for it to end and yields the status alone.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        self.wait_end_within(LONG)
    }

    fn wait_end_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait::regardless("skbtrace to end", limit, || Ok(child.try_wait()?))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing to do about a failure: either it is gone or it cannot be killed.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs `skbtrace` as prepared, without tracing, to its end.
pub fn run_to_end(command: Command) -> Result<Outcome> {
    let scratch = Scratch::create()?;
    Tracer::launch(command, scratch, Stdio::piped(), Stdio::piped())?.finish_unparsed(SOON)
}

/// What a run of skbtrace left.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// From the last signal, or from the wait for the end, to the end.
    pub took: Duration,
    /// Events on the standard output.
    pub rows: Vec<Row>,
    /// All of the standard output.
    pub stdout: Vec<String>,
    /// All of the standard error.
    pub stderr: Vec<String>,
    /// Summary: events printed.
    pub printed: Option<u64>,
    /// Summary: events lost.
    pub lost: Option<u64>,
    /// With `-v`: events the kernel side wanted to hand over.
    pub produced: Option<u64>,
    /// With `-v`: hook hits before any filter.
    pub hits: Option<u64>,
    /// Hooks attached and hooks wanted.
    pub attached: Option<(u64, u64)>,
    /// With `-v`: hooks that were not attached, and why.
    pub skipped: Vec<(String, String)>,
    /// The rows as trees, and the findings; where that was asked for.
    pub trees: String,
}

impl Outcome {
    /// Of a run on another machine, whose output is not read yet.
    pub fn of(code: i32, stdout: &str, stderr: &str) -> Self {
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        let mut outcome = Self {
            code: Some(code),
            stdout: lines(stdout),
            stderr: lines(stderr),
            ..Self::default()
        };
        outcome.hear();
        outcome
    }

    /// Reads its rows.
    pub fn parse(&mut self) -> Result<()> {
        for line in &self.stdout {
            let row = Row::parse(line).map_err(|error| {
                anyhow!("{error:#}\nskbtrace's output:\n{}", self.stdout.join("\n"))
            })?;
            self.rows.extend(row);
        }
        Ok(())
    }

    /// Reads what it said.
    fn hear(&mut self) {
        for line in std::mem::take(&mut self.stderr) {
            if let Some(said) = line.strip_prefix("skbtrace: ") {
                self.note(said);
            }
            self.stderr.push(line);
        }
    }

    /// Reads one message of skbtrace:
    /// `attached 41 of 45 hooks …`, `skipped NAME: REASON`,
    /// `40 events printed, 0 lost (cpu0: …)`, `1234 hook hits, 40 events produced`.
    fn note(&mut self, said: &str) {
        if let Some((name, reason)) = said
            .strip_prefix("skipped ")
            .and_then(|rest| rest.split_once(": "))
        {
            self.skipped.push((name.to_owned(), reason.to_owned()));
            return;
        }
        let words: Vec<&str> = said
            .split([' ', ',', '(', ')'])
            .filter(|word| !word.is_empty())
            .collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match words.as_slice() {
            ["attached", _, "of", _, ..] => self.attached = number(1).zip(number(3)),
            [_, "event" | "events", "printed" | "recorded", _, "lost", ..] => {
                self.printed = number(0);
                self.lost = number(3);
            }
            [
                _,
                "hook",
                "hit" | "hits",
                _,
                "event" | "events",
                "produced",
                ..,
            ] => {
                self.hits = number(0);
                self.produced = number(3);
            }
            _ => {}
        }
    }

    /// The rest of what it said, for the end of an error message.
    pub fn transcript(&self) -> String {
        let mut text = format!("skbtrace exited with {:?}; its output:\n", self.code);
        for line in &self.stdout {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str("and on standard error:\n");
        for line in &self.stderr {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// Adds the transcript to a failure.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| anyhow!("{error:#}\n{}", self.transcript()))
    }

    /// The same without the events, of which there may be too many for an error message.
    pub fn in_short(&self) -> Self {
        Self {
            code: self.code,
            stderr: self.stderr.clone(),
            ..Self::default()
        }
    }

    /// The standard error as one text.
    pub fn said(&self) -> String {
        self.stderr.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let mut outcome = Outcome::default();
        for said in [
            "attached 41 of 45 hooks (use -v to see the others)",
            "skipped ebt_do_table: module ebtables: not loaded",
            "ready",
            "40 events printed, 15 lost (cpu0: 12, cpu1: 3)",
            "1234 hook hits, 55 events produced",
        ] {
            outcome.note(said);
        }
        assert_eq!(outcome.attached, Some((41, 45)));
        assert_eq!(
            outcome.skipped,
            [(
                "ebt_do_table".to_owned(),
                "module ebtables: not loaded".to_owned()
            )]
        );
        assert_eq!((outcome.printed, outcome.lost), (Some(40), Some(15)));
        assert_eq!((outcome.hits, outcome.produced), (Some(1234), Some(55)));
    }
}
