//! `cargo xtask bench`: the cost figures, counted in instructions and written to docs/benchmarks.md.
//!
//! Seconds under emulation mean nothing, but counted instructions repeat within one per cent whatever
//! else the machine does; that is why the page can be made anywhere. It is one table: with several
//! kernels, each guest prints its rows, and the first one's explanations stand below them.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::{BenchArgs, BenchKernels, KernelArgs};
use crate::guest::{Guest, Sink};
use crate::initramfs::Extra;
use crate::kernels::{self, Kernel};
use crate::vm::Stream;
use crate::{compile, paths, peers, setup};

const TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Kernels on which only rejecting is measured: programs read kernel memory in another way there.
const OLDER: &[&str] = &["6.1", "5.10"];

pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    let extras = if args.no_build {
        compile::built()?
    } else {
        setup::ensure()?;
        compile::build()?
    };
    let mut parts = Vec::new();
    let mut failed = None;
    for (which, rejected) in wanted(args) {
        let kernel = kernels::resolve(&which)?;
        let (code, text) = measure(args, &kernel, &extras, rejected)?;
        if code != 0 {
            eprintln!(
                "kernel {}: the benchmark ended with exit code {code}",
                kernel.release
            );
            failed = failed.or(Some(code));
        }
        parts.push(text);
    }
    if let Some(code) = failed {
        eprintln!("docs/benchmarks.md stays as it is");
        return Ok(ExitCode::from(code));
    }
    let page = page(&parts)?;
    let other_kernel = args.kernel.kernel.is_some() || args.kernel.kernel_image.is_some();
    if other_kernel || !args.options.is_empty() {
        eprintln!("docs/benchmarks.md stays as it is: it holds all rows, on the usual kernel");
        return Ok(ExitCode::SUCCESS);
    }
    let dir = paths::created(paths::workspace().join("docs"))?;
    let file = dir.join("benchmarks.md");
    fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("written: {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// The kernels, and whether only rejecting is measured on them.
fn wanted(args: &BenchArgs) -> Vec<(KernelArgs, bool)> {
    let mut wanted = vec![(args.kernel.clone(), false)];
    if args.kernels == BenchKernels::All {
        wanted.extend(OLDER.iter().map(|name| {
            let older = KernelArgs {
                kernel: Some((*name).to_owned()),
                refresh: args.kernel.refresh,
                ..KernelArgs::default()
            };
            (older, true)
        }));
    }
    wanted
}

/// Runs the benchmark in one guest; its exit code and what it printed.
fn measure(
    args: &BenchArgs,
    kernel: &Kernel,
    extras: &[Extra],
    rejected: bool,
) -> Result<(u8, String)> {
    let mut command = vec!["skbtrace-tests".to_owned(), "bench".to_owned()];
    let with_peers = args.peers && !rejected;
    for (flag, on) in [("--rejected", rejected), ("--peers", with_peers)] {
        if on {
            command.push(flag.to_owned());
        }
    }
    command.extend_from_slice(&args.options);
    let disk = with_peers
        .then(|| peers::disk(args.kernel.refresh))
        .transpose()?;
    let guest = Guest {
        kernel,
        cpus: 1,
        memory_mib: 1024,
        icount: true,
        disk,
        terminal: None,
        extras,
        command: &command,
        second: false,
        timeout: Some(TIMEOUT),
    };
    let mut sink = Kept::default();
    let code = guest.run(&mut sink)?;
    Ok((code, String::from_utf8_lossy(&sink.text).into_owned()))
}

/// What stands between the marks of a part of the page.
fn part<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let between = || {
        let (_, rest) = text.split_once(&format!("BENCH-{name}-BEGIN"))?;
        let (part, _) = rest.split_once(&format!("BENCH-{name}-END"))?;
        Some(part.trim_matches('\n'))
    };
    between().with_context(|| format!("the benchmark printed nothing between its marks of {name}"))
}

/// One page of what the guests printed.
fn page(texts: &[String]) -> Result<String> {
    let all = |name| -> Result<String> {
        let parts = texts.iter().map(|text| part(text, name));
        Ok(parts.collect::<Result<Vec<_>>>()?.join("\n"))
    };
    let first = texts.first().context("no kernel was measured")?;
    Ok(format!(
        "# Benchmarks\n\n\
         Made by `cargo xtask bench`; do not edit by hand. One guest instruction takes one guest nanosecond\n\
         (QEMU's `-icount shift=0`), so the figures are instructions, whatever the machine.\n\n\
         | kernel | figure | target | measured | | pwru | bpftrace | remarks |\n\
         |---|---|--:|--:|---|--:|--:|---|\n\
         {}\n\n\
         {}\n\n\
         ## All batches\n\n\
         Instructions for a packet.\n\n\
         ```text\n{}\n```\n",
        all("ROWS")?,
        part(first, "NOTES")?,
        all("RAW")?
    ))
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

    fn printed(kernel: &str) -> String {
        format!(
            "warming up\nBENCH-ROWS-BEGIN\n| {kernel} | a hit |\nBENCH-ROWS-END\n\
             BENCH-NOTES-BEGIN\nnotes of {kernel}\nBENCH-NOTES-END\n\
             BENCH-RAW-BEGIN\n{kernel}: 1 2 3\nBENCH-RAW-END\ndone\n"
        )
    }

    #[test]
    fn rows_of_all_kernels_are_one_table() {
        let page = page(&[printed("6.12"), printed("6.1")]).unwrap();
        assert!(page.contains("|---|\n| 6.12 | a hit |\n| 6.1 | a hit |\n\nnotes of 6.12\n"));
        assert!(page.contains("```text\n6.12: 1 2 3\n6.1: 1 2 3\n```\n"));
        assert!(!page.contains("notes of 6.1\n"));
        assert!(page.contains("|\n| 6.12"));
    }

    #[test]
    fn a_run_that_broke_off_makes_no_page() {
        assert!(page(&["BENCH-ROWS-BEGIN\n| a |".to_owned()]).is_err());
        assert!(page(&[]).is_err());
    }

    #[test]
    fn older_kernels_only_reject() {
        let args = |kernels| BenchArgs {
            kernel: KernelArgs::default(),
            kernels,
            peers: true,
            no_build: false,
            options: Vec::new(),
        };
        let names = |kernels| -> Vec<(Option<String>, bool)> {
            let all = wanted(&args(kernels)).into_iter();
            all.map(|(kernel, rejected)| (kernel.kernel, rejected))
                .collect()
        };
        assert_eq!(names(BenchKernels::One), [(None, false)]);
        let older = |name: &str| (Some(name.to_owned()), true);
        assert_eq!(
            names(BenchKernels::All),
            [(None, false), older("6.1"), older("5.10")]
        );
    }
}
