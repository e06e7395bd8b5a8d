//! Shell completions and the manual page, written from the same definition that parses arguments,
//! so that they cannot disagree with it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context as _;
use clap_complete::Shell;

use crate::args;

/// Prints the completion script for `shell`.
///
/// # Errors
/// When writing fails.
pub fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    // The generator panics when it cannot write, and `| head` is reason enough; memory never fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "skbtrace", &mut script);
    print(&script)
}

/// Prints the manual page (roff, for man(1)).
///
/// # Errors
/// When writing fails.
pub fn man() -> anyhow::Result<ExitCode> {
    let mut page = Vec::new();
    clap_mangen::Man::new(args::command()).render(&mut page)?;
    print(&page)
}

/// A reader that has seen enough is no failure.
fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}
