//! `cargo xtask fuzz`: looks for bytes that skbtrace does not survive.
//!
//! The targets are in fuzz/, laid out for cargo-fuzz, which is not needed: libFuzzer is built into
//! each of them, and asks of the compiler only to count the branches taken, which a stable one does.
//! They begin with the recordings of the corpus; what they learn is kept for the next run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cli::FuzzArgs;
use crate::{corpus, paths, process};

/// All of fuzz/fuzz_targets.
const TARGETS: &[&str] = &["replay", "decode", "btf"];

/// Has every branch and comparison counted; as cargo-fuzz does without a sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    -Ccodegen-units=1 --cfg fuzzing";

/// A run longer than this is a hang, seconds.
const HANG: u32 = 10;
/// A run may take no more memory, MiB.
const MEMORY: u32 = 1024;
/// Longest input, bytes.
const LONGEST: u32 = 1 << 16;
/// How much of a failed run's words is shown.
const LAST_LINES: usize = 30;

pub fn run(args: &FuzzArgs) -> Result<ExitCode> {
    // libFuzzer is C++.
    if paths::program("c++").is_none() {
        println!("SKIP: fuzzing needs a C++ compiler; to have one: apt-get install g++");
        return Ok(ExitCode::SUCCESS);
    }
    for target in &args.targets {
        ensure!(
            TARGETS.contains(&target.as_str()),
            "there is no target {target}; there are: {}",
            TARGETS.join(", ")
        );
    }
    let wanted =
        |target: &&str| args.targets.is_empty() || args.targets.iter().any(|t| t == target);
    let home = paths::created(paths::target().join("fuzz"))?;
    let binaries = build(&home)?;
    let seeds = home.join("seeds");
    process::output(
        Command::new(binaries.join("seeds"))
            .arg(corpus::directory())
            .arg(&seeds),
    )?;
    let targets = TARGETS.iter().copied().filter(wanted);
    let all_well = thread::scope(|scope| -> Result<bool> {
        let fuzz = |target| {
            let (home, binaries, seeds) = (&home, &binaries, &seeds);
            scope.spawn(move || fuzz(target, args.seconds, home, binaries, seeds))
        };
        let runs: Vec<_> = targets.map(fuzz).collect();
        let mut all_well = true;
        for run in runs {
            all_well &= run.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(all_well)
    })?;
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the targets; where they are.
fn build(home: &Path) -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--release", "--locked", "--target", paths::TRIPLE])
        .arg("--target-dir")
        .arg(home)
        .arg("--manifest-path")
        .arg(paths::workspace().join("fuzz/Cargo.toml"))
        .env("RUSTFLAGS", FLAGS)
        .current_dir(paths::workspace());
    ensure!(process::shown(&mut command)?, "the targets do not build");
    Ok(home.join(paths::TRIPLE).join("release"))
}

/// Fuzzes one target; false if it found something.
fn fuzz(target: &str, seconds: u64, home: &Path, binaries: &Path, seeds: &Path) -> Result<bool> {
    let found = paths::created(home.join("artifacts").join(target))?;
    let learnt = paths::created(home.join("corpus").join(target))?;
    let binary = binaries.join(target);
    let log = home.join(format!("{target}.log"));
    let words =
        fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let limits = [
        format!("-timeout={HANG}"),
        format!("-rss_limit_mb={MEMORY}"),
        format!("-max_len={LONGEST}"),
        format!("-artifact_prefix={}/", found.display()),
    ];
    let status = Command::new(&binary)
        .args([&learnt, &seeds.join(target)])
        .args(&limits)
        // What skbtrace itself says is not wanted a million times.
        .args(["-print_final_stats=1", "-close_fd_mask=3"])
        .arg(format!("-max_total_time={seconds}"))
        .stderr(words)
        .status()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.success() {
        let runs = said.lines().rev().find(|line| line.starts_with("Done "));
        println!("{target}: {}", runs.unwrap_or("no account"));
        return Ok(true);
    }
    println!("{target}: {}", process::tail(&said, LAST_LINES));
    let artifact = said
        .lines()
        .filter_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path.to_owned())
        .next_back();
    let Some(artifact) = artifact else {
        bail!("{target} failed ({status}) without an input that does it");
    };
    // Once more, with what it says.
    println!("again: {} {artifact}", binary.display());
    let _ = Command::new(&binary).args(&limits).arg(&artifact).status();
    Ok(false)
}
