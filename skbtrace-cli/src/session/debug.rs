//! The kernel side's own debug lines, shown with -vv.

use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

use super::attaching::any_program;
use crate::{attach::link::Link, tell};

/// Writes log lines to standard error.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tell!("skbtrace: kernel side: {}", record.args());
    }

    fn flush(&self) {}
}

/// The log, when it is wanted.
pub struct DebugLog(Option<EbpfLogger<Stderr>>);

impl DebugLog {
    /// Opens the log of the programs behind `links`, with -vv.
    pub fn new(verbose: u8, links: &[Link]) -> anyhow::Result<Self> {
        let program = if verbose > 1 {
            any_program(links)
        } else {
            None
        };
        Ok(Self(match program {
            Some(id) => Some(EbpfLogger::init_from_id_with_logger(id, Stderr)?),
            None => None,
        }))
    }

    /// Shows what has come.
    pub fn flush(&mut self) {
        if let Some(log) = &mut self.0 {
            log.flush();
        }
    }
}
