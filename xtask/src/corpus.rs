//! `cargo xtask corpus`: records the corpus (tests/data/recordings) on every kernel, and has the
//! snapshots of its replays made again.
//!
//! Files leave a guest over its console, in lines `corpus FILE HEX`, ended by `corpus FILE .`; a
//! kernel's files are replaced once the guest has ended well.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cli::{CorpusArgs, KernelArgs};
use crate::guest::{Guest, Printed};
use crate::initramfs::Extra;
use crate::{cable, compile, kernels, paths, process};

const TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// What a line with a part of a file begins with.
const MARK: &str = "corpus ";
/// What ends a file.
const END: &str = ".";

pub fn run(args: &CorpusArgs) -> Result<ExitCode> {
    let extras = if args.no_build {
        compile::built()?
    } else {
        compile::build()?
    };
    let all = args.kernel.is_empty();
    let names = if all {
        kernels::TABLE
            .iter()
            .map(|row| row.name.to_owned())
            .collect()
    } else {
        args.kernel.clone()
    };
    for name in &names {
        let files = record(name, args.filter.as_deref(), &extras)?;
        keep(name, &files, args.filter.is_none())?;
    }
    ensure!(
        snapshots(all && args.filter.is_none())?,
        "the replays differ, see above"
    );
    Ok(ExitCode::SUCCESS)
}

/// The files that a kernel's guest makes.
fn record(name: &str, filter: Option<&str>, extras: &[Extra]) -> Result<BTreeMap<String, Vec<u8>>> {
    let kernel = kernels::resolve(&KernelArgs {
        kernel: Some(name.to_owned()),
        ..KernelArgs::default()
    })?;
    let mut command = vec!["skbtrace-tests".to_owned(), "corpus".to_owned()];
    if let Some(filter) = filter {
        command.extend(["--filter".to_owned(), filter.to_owned()]);
    }
    let guest = Guest {
        second: cable::obstacle().is_none(),
        ..Guest::usual(&kernel, extras, &command, TIMEOUT)
    };
    let mut sink = Printed::default();
    let code = guest.run(&mut sink)?;
    let files = Files::read(&String::from_utf8_lossy(&sink.0))
        .with_context(|| format!("kernel {}", kernel.release))?;
    for line in &files.other {
        println!("[{name}] {line}");
    }
    ensure!(code == 0, "kernel {}: exit code {code}", kernel.release);
    println!("[{name}] {} files", files.whole.len());
    Ok(files.whole)
}

/// The directory of the recordings.
pub fn directory() -> PathBuf {
    paths::workspace().join("tests/data/recordings")
}

/// Writes a kernel's files; in place of all that it had, if these are all.
fn keep(name: &str, files: &BTreeMap<String, Vec<u8>>, all: bool) -> Result<()> {
    let directory = directory().join(name);
    if all {
        remove(&directory)?;
    }
    let directory = paths::created(directory)?;
    for (file, bytes) in files {
        let file = directory.join(file);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}

/// Runs the tests over the corpus, which write what is printed now; in place of all snapshots, if
/// everything is new.
fn snapshots(all: bool) -> Result<bool> {
    if all {
        for snapshots in ["corpus", "models"] {
            let directory = paths::workspace().join("skbtrace-cli/tests/snapshots");
            remove(&directory.join(snapshots))?;
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut test = Command::new(cargo);
    test.args(["test", "-p", "skbtrace-cli"])
        .args(["--test", "corpus", "--test", "models"])
        .env("INSTA_UPDATE", "always")
        .current_dir(paths::workspace());
    process::shown(&mut test)
}

/// Files as they come over a console.
#[derive(Debug, Default)]
struct Files {
    whole: BTreeMap<String, Vec<u8>>,
    other: Vec<String>,
}

impl Files {
    fn read(text: &str) -> Result<Self> {
        let mut files = Self::default();
        let mut parts: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for line in text.lines() {
            let Some((file, part)) = line
                .strip_prefix(MARK)
                .and_then(|rest| rest.split_once(' '))
            else {
                files.other.push(line.to_owned());
                continue;
            };
            ensure!(
                !file.contains('/') && !file.starts_with('.'),
                "{file} is no name of a file"
            );
            let bytes = parts.entry(file).or_default();
            if part == END {
                files.whole.insert(file.to_owned(), std::mem::take(bytes));
                parts.remove(file);
            } else {
                bytes.extend(bytes_of(part).with_context(|| format!("{file}: a damaged line"))?);
            }
        }
        if let Some(file) = parts.keys().next() {
            bail!("{file} is not whole");
        }
        Ok(files)
    }
}

/// The bytes that hexadecimal digits stand for.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks();
    let byte = |&[high, low]: &[u32; 2]| u8::try_from(high << 4 | low).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_lines() {
        let text = "SKIP x: no\ncorpus a.skb 00ff\ncorpus a.skb 1a\ncorpus a.skb .\n";
        let files = Files::read(text).unwrap();
        assert_eq!(files.whole["a.skb"], [0, 0xff, 0x1a]);
        assert_eq!(files.other, ["SKIP x: no"]);
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_no_file() {
        for text in [
            "corpus a.skb 00",
            "corpus a.skb 0\ncorpus a.skb .",
            "corpus a.skb 0g\ncorpus a.skb .",
            "corpus ../a.skb 00\ncorpus ../a.skb .",
        ] {
            assert!(Files::read(text).is_err(), "{text}");
        }
    }
}
