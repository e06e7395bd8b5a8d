//! Where the trace is written: standard output or a file.
//!
//! **Invariant:** a reader that has stopped reading (a pager waiting for a key) never keeps the
//! run from ending: writing to it gives up when the run is told to stop.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};

/// An open output. Whole lines are written at once and never kept back, so that a pipe's reader
/// sees each as it comes.
pub struct Output {
    to: To,
    /// Whose value the file is.
    option: &'static str,
    /// Set when the run is to end.
    stopping: Arc<AtomicBool>,
}

enum To {
    Stdout,
    /// A file, with its name.
    File(File, String),
}

/// As much as a pipe that is ready takes without blocking (`PIPE_BUF`).
const CHUNK: usize = 4096;
/// How often a blocked write looks whether it is to give up, milliseconds.
const LOOK: libc::c_int = 100;
/// How many looks in a row, without the reader taking anything, it waits when the run is to end.
const PATIENCE: u32 = 10;

impl Output {
    /// What `--output` names, likewise.
    pub fn open(path: Option<&Path>, stopping: Arc<AtomicBool>) -> Result<Self> {
        Self::of_option("--output", path, stopping)
    }

    /// Standard output, or a file that is created, as an option names it. What the file held is kept
    /// until [`Output::begin`], so that a run that cannot start destroys nothing.
    pub fn of_option(
        option: &'static str,
        path: Option<&Path>,
        stopping: Arc<AtomicBool>,
    ) -> Result<Self> {
        let to = match path {
            None => To::Stdout,
            Some(path) => {
                let name = path.display().to_string();
                let file = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)
                    .with_context(|| {
                        format!("{option} {name}: give a file in a directory that can be written")
                    })?;
                To::File(file, name)
            }
        };
        Ok(Self {
            to,
            option,
            stopping,
        })
    }

    /// Empties a file: the trace begins.
    pub fn begin(&self) -> Result<()> {
        match &self.to {
            // A pipe or a device has nothing to empty.
            To::File(file, name) if file.metadata().is_ok_and(|data| data.is_file()) => file
                .set_len(0)
                .with_context(|| format!("{} {name}", self.option)),
            _ => Ok(()),
        }
    }

    /// Whether a person is looking at it.
    pub fn is_terminal(&self) -> bool {
        match &self.to {
            To::Stdout => io::stdout().is_terminal(),
            To::File(file, _) => file.is_terminal(),
        }
    }

    /// Writes all of a text. Gives up with `Interrupted` when nobody reads it and the run is to
    /// end.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match &mut self.to {
            To::File(file, _) => file.write_all(text),
            To::Stdout => {
                let mut stdout = io::stdout().lock();
                for chunk in text.chunks(CHUNK) {
                    wait_writable(stdout.as_raw_fd(), &self.stopping)?;
                    stdout.write_all(chunk)?;
                    stdout.flush()?;
                }
                Ok(())
            }
        }
    }

    /// Writes all of what makes sense as a whole, behind the `length` bytes that a file has so far,
    /// or takes back what was written of it. Gives up likewise.
    pub fn append(&mut self, whole: &[u8], length: u64) -> io::Result<()> {
        match &mut self.to {
            To::File(file, _) => file.write_all(whole).inspect_err(|_| {
                // A pipe cannot.
                let _ = file.set_len(length);
            }),
            To::Stdout => self.write(whole),
        }
    }

    /// What to say when writing failed.
    pub fn failure(&self) -> String {
        match &self.to {
            To::Stdout => "cannot write to standard output".to_owned(),
            To::File(_, name) => {
                format!(
                    "cannot write to {name}: make room, or choose another {}",
                    self.option
                )
            }
        }
    }
}

/// Waits until a descriptor takes more, or the run is to end.
fn wait_writable(descriptor: libc::c_int, stopping: &AtomicBool) -> io::Result<()> {
    let mut poll = libc::pollfd {
        fd: descriptor,
        events: libc::POLLOUT,
        revents: 0,
    };
    let mut looks = 0;
    while looks < PATIENCE {
        // SAFETY: one whole pollfd.
        let ready = unsafe { libc::poll(&raw mut poll, 1, LOOK) };
        // Anything but a time-out, errors included, is for the write to find out.
        if ready > 0 {
            return Ok(());
        }
        if stopping.load(Ordering::Relaxed) {
            looks += 1;
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}
