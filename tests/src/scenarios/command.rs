//! The command beyond tracing: what it refuses, and what it reports about this kernel.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::{skip, trial};
use crate::tracer::{Outcome, Scratch, run_to_end, skbtrace};

const NOBODY: u32 = 65534;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("btf_missing", btf_missing),
        trial("btf_truncated", btf_truncated),
        trial("btf_random", btf_random),
        trial("not_root", not_root),
        trial("check", check),
        trial("hooks", hooks),
    ]
}

fn btf_missing() -> Result<()> {
    let scratch = Scratch::create()?;
    refused(&scratch.path().join("no-such-file"))
}

fn btf_truncated() -> Result<()> {
    let scratch = Scratch::create()?;
    let whole = match fs::read("/sys/kernel/btf/vmlinux") {
        Ok(whole) => whole,
        Err(error) => return skip(format!("this kernel has no BTF: {error}")),
    };
    let file = scratch.path().join("truncated");
    for length in [0, 3, 20, 1000, whole.len() / 2] {
        let part = whole.get(..length).context("BTF is longer")?;
        fs::write(&file, part)?;
        refused(&file).with_context(|| format!("the first {length} bytes"))?;
    }
    Ok(())
}

fn btf_random() -> Result<()> {
    let scratch = Scratch::create()?;
    let file = scratch.path().join("random");
    // Any fixed noise does; a failure can then be repeated.
    let mut state = 0x5eed_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes: Vec<u8> = (0..65536).map(|_| noise()).collect();
    fs::write(&file, &bytes)?;
    refused(&file).context("noise")?;
    // The magic number, version and header length of BTF in front of the noise.
    bytes[..8].copy_from_slice(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
    fs::write(&file, &bytes)?;
    refused(&file).context("a BTF header and noise")
}

/// `--btf FILE` ends with exit code 2 and a message that names the file.
fn refused(file: &Path) -> Result<()> {
    let mut command = skbtrace();
    command
        .args(["--route", "--duration", "1", "--btf"])
        .arg(file);
    let outcome = run_to_end(command)?;
    outcome.explain((|| {
        ensure!(outcome.code == Some(2), "exit code {:?}", outcome.code);
        let name = file.to_string_lossy();
        ensure!(
            outcome.said().contains(&*name),
            "the message does not name {name}"
        );
        Ok(())
    })())
}

fn not_root() -> Result<()> {
    let mut command = skbtrace();
    command.args(["--route", "--duration", "1"]);
    command.uid(NOBODY).gid(NOBODY);
    let outcome = run_to_end(command)?;
    outcome.explain((|| {
        ensure!(outcome.code == Some(2), "exit code {:?}", outcome.code);
        ensure!(
            outcome.said().contains("root"),
            "the message does not say root"
        );
        Ok(())
    })())
}

fn succeeds(subcommand: &str) -> Result<Outcome> {
    let mut command = skbtrace();
    command.arg(subcommand);
    let outcome = run_to_end(command)?;
    outcome.explain(
        (outcome.code == Some(0))
            .then_some(())
            .with_context(|| format!("exit code {:?}", outcome.code)),
    )?;
    Ok(outcome)
}

fn check() -> Result<()> {
    let outcome = succeeds("check")?;
    ensure!(!outcome.stdout.is_empty(), "it reports nothing");
    Ok(())
}

fn hooks() -> Result<()> {
    let outcome = succeeds("hooks")?;
    outcome.explain((|| {
        for name in ["ip_rcv", "__dev_queue_xmit", "br_handle_frame"] {
            let named = outcome
                .stdout
                .iter()
                .any(|line| line.split_whitespace().any(|word| word == name));
            ensure!(named, "{name} is not named");
        }
        Ok(())
    })())
}
