//! `cargo xtask demo`: one scenario, shown on a real kernel or on this machine's.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::cli::DemoArgs;
use crate::guest::Guest;
use crate::test::TWO_MACHINES;
use crate::vm::Stream;
use crate::{cable, compile, kernels, process, setup};

const TIMEOUT: Duration = Duration::from_secs(300);

pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    let extras = if args.no_build {
        compile::built()?
    } else {
        setup::ensure()?;
        compile::build()?
    };
    let mut command = vec![
        "skbtrace-tests".to_owned(),
        "demo".to_owned(),
        "--scenario".to_owned(),
        args.scenario.clone(),
    ];
    if !args.options.is_empty() {
        command.push("--".to_owned());
        command.extend_from_slice(&args.options);
    }
    if args.native {
        return native(&command);
    }
    let second = args.scenario == TWO_MACHINES;
    if let Some(obstacle) = second.then(cable::obstacle).flatten() {
        bail!(obstacle);
    }
    let kernel = kernels::resolve(&args.kernel)?;
    eprintln!("scenario {} on kernel {}", args.scenario, kernel.release);
    let guest = Guest {
        second,
        ..Guest::usual(&kernel, &extras, &command, TIMEOUT)
    };
    Ok(ExitCode::from(guest.run(&mut Stream::default())?))
}

/// The same program on this machine's kernel.
fn native(command: &[String]) -> Result<ExitCode> {
    let program = compile::path(&command[0]);
    ensure!(
        program.is_file(),
        "{} is not there: leave out --no-build",
        program.display()
    );
    ensure!(
        setup::is_root(),
        "--native needs root: it makes network namespaces and loads eBPF programs; try sudo"
    );
    let done = process::shown(
        Command::new(&program)
            .args(&command[1..])
            // The scenario starts `skbtrace` by name.
            .env("PATH", paths_with(&program)),
    )?;
    Ok(if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// PATH with the directory of `program` first.
fn paths_with(program: &std::path::Path) -> std::ffi::OsString {
    let mut path = program.parent().unwrap_or(program).as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}
