//! BIRD, the routing daemon, out of its Debian package and not installed.
//!
//! An installed one would be a BGP speaker that this machine starts at every boot, for which a test
//! suite has no business. So only what it needs, libraries, is installed; the programs are taken out
//! of the package, and run in a guest alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{apt, paths, process};

const PACKAGE: &str = "bird2";
/// The daemon, and its client without line editing.
pub const PROGRAMS: &[&str] = &["bird", "birdcl"];

/// Where `program` of [`PROGRAMS`] is: on this machine, or unpacked.
pub fn program(program: &str) -> Option<PathBuf> {
    let unpacked = || {
        let file = directory().ok()?.join("usr/sbin").join(program);
        file.is_file().then_some(file)
    };
    paths::program(program).or_else(unpacked)
}

/// Whether a guest can have it.
pub fn is_there() -> bool {
    PROGRAMS.iter().all(|name| program(name).is_some())
}

/// Unpacks it; yields the names of the libraries' packages.
pub fn unpack() -> Result<Vec<String>> {
    let directory = paths::created(directory()?)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", PACKAGE]);
    process::output(download.current_dir(&directory))?;
    let package = package_in(&directory)?;
    apt::extract(&package, &directory)?;
    let mut depends = Command::new("dpkg-deb");
    depends.arg("--field").arg(&package).arg("Depends");
    Ok(libraries(&process::output(&mut depends)?))
}

fn directory() -> Result<PathBuf> {
    Ok(paths::cache()?.join("bird"))
}

fn package_in(directory: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files
        .find(|file| file.extension().is_some_and(|kind| kind == "deb"))
        .with_context(|| format!("apt-get left no package in {}", directory.display()))
}

/// Those of a package's dependencies that are libraries.
fn libraries(depends: &str) -> Vec<String> {
    let names = depends
        .split(',')
        .filter_map(|one| one.split_whitespace().next());
    names
        .filter(|name| name.starts_with("lib"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_are_installed() {
        let depends = "adduser, libc6 (>= 2.34), libssh-gcrypt-4 (>= 0.8.0), ucf\n";
        assert_eq!(libraries(depends), ["libc6", "libssh-gcrypt-4"]);
    }
}
