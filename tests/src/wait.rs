//! Waiting for a condition with a deadline, and giving up early on Ctrl-C.
//!
//! Nothing in this crate sleeps in the hope that something has happened meanwhile: it polls the
//! condition itself and names it when the deadline passes. A wait ends soon after SIGINT or
//! SIGTERM with an error, so that the namespaces are removed on the ordinary way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// For a step that needs no more than a system call or two; generous because the guests are
/// emulated.
pub const SOON: Duration = Duration::from_secs(20);
/// For attaching to the kernel and for detaching from it.
pub const LONG: Duration = Duration::from_secs(45);
/// How often a condition is looked at.
pub const STEP: Duration = Duration::from_millis(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on SIGINT and SIGTERM only end the waits.
pub fn catch_signals() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(on_signal),
        SaFlags::empty(),
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }
            .with_context(|| format!("cannot install a handler for {signal}"))?;
    }
    Ok(())
}

/// Whether SIGINT or SIGTERM came.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails once SIGINT or SIGTERM came.
pub fn check_interrupted() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

/// Polls `condition` until it yields a value; `what` ends the sentence "waited 5s for".
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    regardless(what, limit, || {
        let value = condition()?;
        if value.is_none() {
            check_interrupted()?;
        }
        Ok(value)
    })
}

/// Like [`until`], but goes on after SIGINT and SIGTERM: for what ends by itself.
pub fn regardless<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("waited {limit:?} for {what}");
        }
        thread::sleep(STEP);
    }
}
