//! `cargo xtask vm`: a command, or a shell, on a real kernel.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cli::VmArgs;
use crate::compile;
use crate::guest::{Guest, Sink};
use crate::initramfs::Extra;
use crate::kernels;

/// For a command; the interactive shell has all the time in the world.
const TIMEOUT: Duration = Duration::from_secs(600);

pub fn run(args: &VmArgs) -> Result<ExitCode> {
    let mut extras = if args.no_build {
        compile::built_extras()?
    } else {
        compile::build()?
    };
    for extra in &args.extra {
        extras.push(extra_file(extra)?);
    }
    if let Some(disk) = &args.disk {
        ensure!(disk.is_file(), "--disk: {} is no file", disk.display());
    }
    // Not every machine has a bash to lend.
    let shell = [
        "sh",
        "-c",
        "[ -x /bin/bash ] && exec bash -l; exec busybox sh -l",
    ]
    .map(String::from);
    let command = if args.command.is_empty() {
        &shell[..]
    } else {
        &args.command
    };
    let kernel = kernels::resolve(&args.kernel)?;
    let terminal = Terminal::take();
    ensure!(
        terminal.is_some() || !args.command.is_empty(),
        "the interactive shell needs a terminal; give a command: cargo xtask vm -- CMD"
    );
    let limit = args.timeout.map(Duration::from_secs);
    let guest = Guest {
        kernel: &kernel,
        cpus: args.smp,
        memory_mib: args.memory,
        icount: args.icount,
        disk: args.disk.clone(),
        terminal: terminal.as_ref().map(|terminal| terminal.size),
        extras: &extras,
        command,
        second: false,
        timeout: if args.command.is_empty() {
            limit
        } else {
            Some(limit.unwrap_or(TIMEOUT))
        },
    };
    Ok(ExitCode::from(guest.run(&mut Stream::default())?))
}

/// Shows the output as it is; any output counts as a verdict, for it cannot be taken back.
#[derive(Default)]
pub struct Stream {
    any: bool,
}

impl Sink for Stream {
    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        self.any = true;
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .context("cannot write the guest's output")
    }

    fn has_verdict(&self) -> bool {
        self.any
    }
}

/// `FILE[:DEST]` as a file for the guest.
fn extra_file(spec: &str) -> Result<Extra> {
    let (file, path) = match spec.rsplit_once(':') {
        Some((file, path)) if path.starts_with('/') => (file, path.to_owned()),
        _ => {
            let name = Path::new(spec)
                .file_name()
                .with_context(|| format!("--extra: {spec} is no file"))?;
            (spec, format!("/bin/{}", name.to_string_lossy()))
        }
    };
    read_extra(&PathBuf::from(file), path)
}

/// The host's `file` as `path` in the guest.
pub fn read_extra(file: &Path, path: String) -> Result<Extra> {
    let data = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Extra {
        path,
        mode: 0o755,
        data,
    })
}

/// Our terminal, lent to the guest. QEMU sets its raw mode; it is restored here, for QEMU gets killed.
struct Terminal {
    saved: String,
    /// rows, columns
    size: (u16, u16),
}

impl Terminal {
    /// None unless both ends are a terminal.
    fn take() -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let saved = stty(&["-g"])?;
        let size = stty(&["size"])?;
        let (rows, columns) = size.split_once(' ')?;
        let size = (rows.parse().ok()?, columns.parse().ok()?);
        // Some terminals don't know their size.
        let size = if size.0 == 0 || size.1 == 0 {
            (24, 80)
        } else {
            size
        };
        Some(Self { saved, size })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        stty(&[&self.saved]);
    }
}

fn stty(args: &[&str]) -> Option<String> {
    let done = Command::new("stty")
        .args(args)
        .stdin(Stdio::inherit())
        .output()
        .ok()?;
    done.status
        .success()
        .then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_files_go_to_bin_unless_told_otherwise() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(extra_file(manifest).unwrap().path, "/bin/Cargo.toml");
        assert_eq!(
            extra_file(&format!("{manifest}:/root/x")).unwrap().path,
            "/root/x"
        );
        assert!(extra_file("/no/such/file").is_err());
    }
}
