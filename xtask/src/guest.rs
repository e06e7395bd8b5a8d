//! One command run in a guest, from boot to exit code.
//!
//! Emulation of some QEMU versions very rarely breaks a guest, so a boot that ended or hung before
//! the command said anything is repeated. **A run that has given a verdict is never repeated**:
//! a failure that goes away on the second try is still a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cable;
use crate::console::{Console, Progress};
use crate::initramfs::{self, Extra};
use crate::kernels::Kernel;
use crate::paths;
use crate::process;
use crate::qemu::{Machine, Output, Running};

/// How often a boot without a verdict is tried at most.
const ATTEMPTS: u32 = 3;

/// How long a guest may take until the command starts. It takes a few seconds on an idle machine.
const BOOT_TIME: Duration = Duration::from_secs(120);

/// What a second machine runs.
const SECOND: [&str; 2] = ["skbtrace-tests", "second"];

/// How much of the console is shown if things go wrong.
const LAST_LINES: usize = 50;

/// What to boot and what to run.
pub struct Guest<'a> {
    pub kernel: &'a Kernel,
    pub cpus: u32,
    pub memory_mib: u32,
    pub icount: bool,
    pub disk: Option<PathBuf>,
    /// Give the command the terminal (rows, columns).
    pub terminal: Option<(u16, u16)>,
    pub extras: &'a [Extra],
    pub command: &'a [String],
    /// A second machine is at the other end of a cable, which does what the command asks of it and
    /// ends with this one.
    pub second: bool,
    /// For the command, without the boot.
    pub timeout: Option<Duration>,
}

/// Gets the command's output as it comes.
pub trait Sink {
    /// Takes output; an error ends the guest.
    fn output(&mut self, bytes: &[u8]) -> Result<()>;
    /// True once the output says something that must not be discarded by another try.
    fn has_verdict(&self) -> bool;
    /// Gets everything that comes out of the guest, kernel messages included.
    fn log(&mut self, _bytes: &[u8]) {}
    /// A new boot begins after one that gave no verdict.
    fn again(&mut self) {}
}

/// All that a guest prints, of its last boot.
#[derive(Default)]
pub struct Printed(pub Vec<u8>);

impl Sink for Printed {
    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn has_verdict(&self) -> bool {
        // Whatever it was can be done again.
        false
    }

    fn again(&mut self) {
        self.0.clear();
    }
}

impl<'a> Guest<'a> {
    /// A guest for what needs no more than two processors and a network of its own.
    pub fn usual(
        kernel: &'a Kernel,
        extras: &'a [Extra],
        command: &'a [String],
        timeout: Duration,
    ) -> Self {
        Self {
            kernel,
            cpus: 2,
            memory_mib: 1024,
            icount: false,
            disk: None,
            terminal: None,
            extras,
            command,
            second: false,
            timeout: Some(timeout),
        }
    }

    /// Runs the command and returns its exit code.
    pub fn run(&self, sink: &mut dyn Sink) -> Result<u8> {
        let base = initramfs::base(self.kernel)?;
        for attempt in 1.. {
            let error = match self.attempt(&base, sink)? {
                Ok(code) => return Ok(code),
                Err(error) => error,
            };
            if attempt == ATTEMPTS || sink.has_verdict() {
                bail!("kernel {}: {error}", self.kernel.release);
            }
            eprintln!(
                "kernel {}: {error}\nkernel {0}: no verdict, booting again",
                self.kernel.release
            );
            sink.again();
        }
        unreachable!("the loop ends by returning")
    }

    /// One boot, of both if there are two. The outer error is final, the inner one says why there is
    /// no verdict.
    fn attempt(&self, base: &Path, sink: &mut dyn Sink) -> Result<Result<u8, String>> {
        let command = script(self.command);
        if !self.second {
            return self.watch(&self.boot(base, command, None)?, sink);
        }
        let [end, other] = cable::lay()?;
        let second = self.boot(base, script(&SECOND), Some(other))?;
        let first = self.boot(base, command, Some(end))?;
        let verdict = self.watch(&first, sink);
        sink.log(b"\nthe second machine:\n");
        sink.log(&second.running.rest());
        verdict
    }

    fn boot(&self, base: &Path, command: String, cable: Option<cable::End>) -> Result<Booted> {
        let mark = mark();
        let initrd = Scratch::new(&mark)?;
        let own = [
            Extra::new(
                "xtask/settings",
                0o644,
                self.settings(&mark, cable.is_some()),
            ),
            Extra::new("xtask/command", 0o755, command),
        ];
        initramfs::with_extras(base, own.iter().chain(self.extras), &initrd.0)?;

        let machine = Machine {
            kernel: self.kernel.image.clone(),
            initrd: initrd.0.clone(),
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            icount: self.icount,
            disk: self.disk.clone(),
            cable,
            interactive: self.terminal.is_some(),
        };
        Ok(Booted {
            running: machine.start()?,
            mark,
            _initrd: initrd,
        })
    }

    /// Passes on what a machine says until its command has ended.
    fn watch(&self, booted: &Booted, sink: &mut dyn Sink) -> Result<Result<u8, String>> {
        let mut console = Console::new(&booted.mark);
        let mut log = Vec::new();
        let mut deadline = Some(Instant::now() + BOOT_TIME);
        loop {
            let bytes = match booted.running.read(deadline) {
                Output::Command(bytes) => bytes,
                Output::Kernel(bytes) => {
                    sink.log(&bytes);
                    log.extend_from_slice(&bytes);
                    continue;
                }
                Output::Closed => {
                    return Ok(Err(without_verdict("the guest ended", &console, &log)));
                }
                Output::TimedOut if console.progress() == Progress::Booting => {
                    return Ok(Err(without_verdict("the guest hung", &console, &log)));
                }
                Output::TimedOut => {
                    let what = format!(
                        "no end after {} s",
                        self.timeout.unwrap_or_default().as_secs()
                    );
                    bail!(
                        "kernel {}: {}",
                        self.kernel.release,
                        without_verdict(&what, &console, &log)
                    );
                }
            };
            sink.log(&bytes);
            log.extend_from_slice(&bytes);
            let before = console.progress();
            let output = console.feed(&bytes);
            if before == Progress::Booting && console.progress() != Progress::Booting {
                deadline = self.timeout.map(|timeout| Instant::now() + timeout);
            }
            if !output.is_empty() {
                sink.output(&output)?;
            }
            if let Progress::Ended(code) = console.progress() {
                return Ok(Ok(code));
            }
        }
    }

    /// Variables for PID 1.
    fn settings(&self, mark: &str, has_cable: bool) -> String {
        let (rows, columns) = self.terminal.unwrap_or((50, 200));
        let flag = |on: bool| if on { "1" } else { "" };
        format!(
            "MARK={mark}\nINTERACTIVE={}\nDISK={}\nCABLE={}\nROWS={rows}\nCOLS={columns}\nTERM={}\n",
            flag(self.terminal.is_some()),
            flag(self.disk.is_some()),
            flag(has_cable),
            terminal_type()
        )
    }
}

fn without_verdict(what: &str, console: &Console, log: &[u8]) -> String {
    let when = if console.progress() == Progress::Booting {
        "before its command started"
    } else {
        "while its command ran"
    };
    let log = String::from_utf8_lossy(log).replace('\r', "");
    format!(
        "{what} {when}; the last lines of its log:\n{}",
        process::tail(&log, LAST_LINES)
    )
}

/// Our terminal's type, if it is a plain word.
fn terminal_type() -> String {
    let known = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    std::env::var("TERM")
        .ok()
        .filter(known)
        .unwrap_or_else(|| "linux".to_owned())
}

/// A mark that no other boot has.
fn mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "@@xtask-{}-{}@@",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The command as a shell script.
fn script(command: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = command
        .iter()
        .map(|arg| format!("'{}'", arg.as_ref().replace('\'', r"'\''")))
        .collect();
    format!("#!/bin/sh\nexec {}\n", quoted.join(" "))
}

/// A machine that was started; dropping it ends it.
struct Booted {
    running: Running,
    /// What the beginning and the end of its command's output are marked with.
    mark: String,
    _initrd: Scratch,
}

/// The initrd of one boot, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(mark: &str) -> Result<Self> {
        let dir = paths::scratch()?;
        sweep(&dir);
        Ok(Self(dir.join(mark.trim_matches('@'))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // At worst the next boot sweeps it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes what interrupted runs have left: files named after a process that is no more.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("xtask-")
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_guest_unchanged() {
        let command = [
            "sh".to_owned(),
            "-c".to_owned(),
            "echo 'a b' $HOME".to_owned(),
        ];
        assert_eq!(
            script(&command),
            "#!/bin/sh\nexec 'sh' '-c' 'echo '\\''a b'\\'' $HOME'\n"
        );
    }
}
