//! `cargo xtask bench`: the cost figures, counted in instructions and written to docs/benchmarks.md.
//!
//! Seconds under emulation mean nothing, but counted instructions repeat within one per cent whatever
//! else the machine does; that is why the page can be made anywhere.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::BenchArgs;
use crate::guest::{Guest, Sink};
use crate::kernels;
use crate::vm::Stream;
use crate::{compile, paths, setup};

const TIMEOUT: Duration = Duration::from_secs(60 * 60);
const BEGIN: &str = "BENCH-TABLE-BEGIN";
const END: &str = "BENCH-TABLE-END";

pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    let extras = if args.no_build {
        compile::built()?
    } else {
        setup::ensure()?;
        compile::build()?
    };
    let kernel = kernels::resolve(&args.kernel)?;
    let mut command = vec!["skbtrace-tests".to_owned(), "bench".to_owned()];
    command.extend_from_slice(&args.options);
    let guest = Guest {
        kernel: &kernel,
        cpus: 1,
        memory_mib: 1024,
        icount: true,
        disk: args.disk.clone(),
        terminal: None,
        extras: &extras,
        command: &command,
        timeout: Some(TIMEOUT),
    };
    let mut sink = Kept::default();
    let code = guest.run(&mut sink)?;
    if code != 0 {
        eprintln!("the benchmark ended with exit code {code}; docs/benchmarks.md stays as it is");
        return Ok(ExitCode::from(code));
    }
    let text = String::from_utf8_lossy(&sink.text);
    let table = table(&text)
        .with_context(|| format!("the benchmark printed no table between {BEGIN} and {END}"))?;
    let other_kernel = args.kernel.kernel.is_some() || args.kernel.kernel_image.is_some();
    if other_kernel || !args.options.is_empty() {
        eprintln!("docs/benchmarks.md stays as it is: it holds all rows, on the usual kernel");
        return Ok(ExitCode::SUCCESS);
    }
    let file = paths::workspace().join("docs/benchmarks.md");
    paths::created(paths::workspace().join("docs"))?;
    fs::write(&file, page(table, &kernel.release))
        .with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("written: {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// What stands between the two lines.
fn table(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (table, _) = rest.split_once(END)?;
    Some(table.trim())
}

fn page(table: &str, release: &str) -> String {
    format!(
        "# Benchmarks\n\n\
         Made by `cargo xtask bench` on kernel {release}; do not edit by hand. One guest instruction\n\
         takes one guest nanosecond (QEMU's `-icount shift=0`), so the figures are instructions, whatever the \
         machine.\n\n\
         {table}\n"
    )
}

/// Shows the output and keeps it.
#[derive(Default)]
struct Kept {
    stream: Stream,
    text: Vec<u8>,
}

impl Sink for Kept {
    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.text.extend_from_slice(bytes);
        self.stream.output(bytes)
    }

    fn has_verdict(&self) -> bool {
        self.stream.has_verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_between_its_lines() {
        let text = "warming up\nBENCH-TABLE-BEGIN\n| a |\n| 1 |\nBENCH-TABLE-END\ndone\n";
        assert_eq!(table(text), Some("| a |\n| 1 |"));
        assert_eq!(table("BENCH-TABLE-BEGIN\n| a |"), None);
        assert!(page("| a |", "6.12.1").contains("`cargo xtask bench` on kernel 6.12.1"));
    }
}
