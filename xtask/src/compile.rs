//! `cargo xtask build`: the static release binaries that run in a guest, or anywhere else.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::initramfs::Extra;
use crate::paths;
use crate::process;
use crate::vm;

/// Packages to build and the binary that each gives.
const BINARIES: &[(&str, &str)] = &[
    ("skbtrace-cli", "skbtrace"),
    ("skbtrace-tests", "skbtrace-tests"),
];

/// Builds the binaries and returns them as files for a guest.
pub fn build() -> Result<Vec<Extra>> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--release", "--target", paths::TRIPLE])
        .current_dir(paths::workspace());
    for (package, binary) in BINARIES {
        command.args(["-p", package, "--bin", binary]);
    }
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    command.env(
        "RUSTFLAGS",
        format!("{flags} -Ctarget-feature=+crt-static").trim(),
    );
    ensure!(
        process::shown(&mut command)?,
        "the build failed; if it is the eBPF side that lacks something, run `cargo xtask setup`"
    );
    built()
}

/// The binaries of an earlier build, all of which have to be there.
pub fn built() -> Result<Vec<Extra>> {
    for (_, binary) in BINARIES {
        let file = path(binary);
        ensure!(
            file.is_file(),
            "{} is not there: run `cargo xtask build`",
            file.display()
        );
    }
    built_extras()
}

/// The binaries that an earlier build left, if any.
pub fn built_extras() -> Result<Vec<Extra>> {
    let there = BINARIES.iter().filter(|(_, binary)| path(binary).is_file());
    there
        .map(|(_, binary)| vm::read_extra(&path(binary), format!("/bin/{binary}")))
        .collect()
}

/// Where a binary is.
pub fn path(binary: &str) -> PathBuf {
    paths::binaries().join(binary)
}
