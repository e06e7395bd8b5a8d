//! Signals that end a run.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end the run.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    flag: Arc<AtomicBool>,
}

impl Stop {
    /// Listens for them from now on.
    ///
    /// # Errors
    /// The system has no room for another listener.
    pub fn new() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let listen = |kind: SignalKind| {
            signal_hook::flag::register(kind.as_raw_value(), Arc::clone(&flag))
                .and_then(|_| signal(kind))
                .context("cannot listen for signals")
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            flag: Arc::clone(&flag),
        })
    }

    /// Waits for one.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Set from the moment one arrives, for places that cannot wait for it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }
}
