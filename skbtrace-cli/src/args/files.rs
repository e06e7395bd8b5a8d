//! The options of what is kept of a run: recordings and captures.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::value;

/// What is kept of a run.
#[derive(Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "Recording",
    group = ArgGroup::new("kept").args(["write", "pcapng"]).multiple(true)
)]
pub struct RecordingArgs {
    /// Record to FILE, for `skbtrace replay`, and print nothing
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Write packets to FILE (- is standard output), for
    /// Wireshark and tshark, and print nothing
    #[arg(long, value_name = "FILE")]
    pub pcapng: Option<PathBuf>,
    /// Of each packet keep N bytes, 16 to 2048 (by default
    /// 128 for --pcapng; a replay has what was kept)
    #[arg(long, value_name = "N", value_parser = value::snaplen, requires = "kept")]
    pub snaplen: Option<u32>,
    /// Print as well
    #[arg(long, requires = "kept")]
    pub print: bool,
    /// Go on in FILE.1, FILE.2, … each time SIZE is reached
    #[arg(long, value_name = "SIZE", value_parser = value::file_size, requires = "write")]
    pub rotate: Option<u64>,
    /// Of these, keep the last N
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..),
        requires = "rotate"
    )]
    pub keep: Option<u32>,
}

impl RecordingArgs {
    /// Whether events are printed: when nothing else is done with them, and on request.
    #[must_use]
    pub fn prints(&self) -> bool {
        self.print || (self.write.is_none() && self.pcapng.is_none())
    }
}
