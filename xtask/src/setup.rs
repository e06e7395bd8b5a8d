//! `cargo xtask setup`: says what building and testing need, and installs what is missing.
//!
//! There are two ways to an eBPF toolchain: a rustup nightly that has the library sources (the usual
//! one), or Debian's own newest Rust with its sources, for where that nightly cannot be had.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{bird, paths, process};

/// A Debian package, and the program that shows it is there on any other system.
struct Package {
    name: &'static str,
    program: &'static str,
}

const fn package(name: &'static str, program: &'static str) -> Package {
    Package { name, program }
}

/// For booting kernels and for the guest's user land.
const GUEST: &[Package] = &[
    package("qemu-system-x86", "qemu-system-x86_64"),
    package("busybox-static", "busybox"),
    package("iproute2", "ip"),
    package("iptables", "xtables-nft-multi"),
    package("nftables", "nft"),
    package("ebtables", "ebtables-legacy"),
    package("arptables", "arptables-legacy"),
    package("iputils-ping", "ping"),
    package("conntrack", "conntrack"),
    package("ipvsadm", "ipvsadm"),
    package("wireguard-tools", "wg"),
    package("ethtool", "ethtool"),
    package("kmod", "depmod"),
    package("xz-utils", "xz"),
    package("zstd", "zstd"),
];

/// For tests that ask another program what it makes of a file.
const READERS: &[Package] = &[package("tshark", "tshark")];

/// For the eBPF side without a suitable nightly.
const DEBIAN_RUST: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "llvm-22-dev",
    "libpolly-22-dev",
];

/// rustup's name for Debian's Rust; the build of the eBPF side asks for it by this name.
const DEBIAN_TOOLCHAIN: &str = "debian";

const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// Exit code on a system where only its user can install what is missing.
const UNKNOWN_SYSTEM: u8 = 2;

/// What is said about things that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Say {
    Everything,
    /// Only what is missing: `setup` as a step of another command.
    Missing,
}

impl Say {
    fn there(self, what: &str) {
        if self == Self::Everything {
            println!("{what}: already there");
        }
    }
}

pub fn run() -> Result<ExitCode> {
    set_up(Say::Everything)
}

/// `setup` as a step of another command.
pub fn ensure() -> Result<()> {
    let code = set_up(Say::Missing)?;
    ensure!(
        code == ExitCode::SUCCESS,
        "something that is needed is missing (see above)"
    );
    Ok(())
}

fn set_up(say: Say) -> Result<ExitCode> {
    let nightly = nightly_has_sources();
    if paths::program("dpkg-query").is_none() || !Path::new("/etc/debian_version").exists() {
        return Ok(elsewhere(nightly, say));
    }
    let mut wanted: Vec<&str> = GUEST
        .iter()
        .chain(READERS)
        .map(|package| package.name)
        .collect();
    if nightly {
        say.there("nightly toolchain with rust-src");
    } else {
        if say == Say::Everything {
            println!("nightly toolchain with rust-src: not there, so Debian's Rust is used");
        }
        wanted.extend(DEBIAN_RUST);
    }
    packages(&wanted, say)?;
    bird(say)?;
    if !nightly {
        link_toolchain(say)?;
    }
    linker(nightly, say)?;
    Ok(ExitCode::SUCCESS)
}

pub fn is_root() -> bool {
    let id = process::output(Command::new("id").arg("-u"));
    id.is_ok_and(|id| id.trim() == "0")
}

/// Installs those of `wanted` that dpkg does not have.
fn packages(wanted: &[&str], say: Say) -> Result<()> {
    let listed = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\\n"])
        .args(wanted)
        .stderr(Stdio::null())
        .output()
        .context("cannot start dpkg-query")?;
    let missing = missing(wanted, &String::from_utf8_lossy(&listed.stdout));
    for name in wanted.iter().filter(|name| !missing.contains(name)) {
        say.there(name);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install {}", missing.join(" "));
    ensure!(
        is_root(),
        "not there: {}; installing needs root: sudo {line}",
        missing.join(", ")
    );
    for name in &missing {
        println!("{name}: installing");
    }
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing);
        process::output(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_err() {
        // The package lists may be old or missing.
        process::output(Command::new("apt-get").args(["update", "-q"]))
            .context("cannot refresh the package lists")?;
        install().with_context(|| format!("cannot install packages; try by hand: {line}"))?;
    }
    Ok(())
}

/// BIRD, without which only its own trials are skipped.
fn bird(say: Say) -> Result<()> {
    if bird::is_there() {
        say.there("bird");
        return Ok(());
    }
    println!("bird: unpacking, and not installing, it");
    match bird::unpack() {
        Ok(libraries) => {
            let libraries: Vec<&str> = libraries.iter().map(String::as_str).collect();
            packages(&libraries, say)
        }
        Err(error) => {
            println!("bird: SKIP: {error:#}");
            Ok(())
        }
    }
}

/// Those of `wanted` that dpkg-query's `NAME STATUS` lines don't call installed.
fn missing<'a>(wanted: &[&'a str], listed: &str) -> Vec<&'a str> {
    let installed = |name: &str| {
        listed
            .lines()
            .any(|line| line.split_once(' ') == Some((name, "installed")))
    };
    wanted
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect()
}

fn nightly_has_sources() -> bool {
    let Ok(root) = process::output(
        Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]),
    ) else {
        return false;
    };
    Path::new(root.trim())
        .join("lib/rustlib/src/rust/library/core")
        .is_dir()
}

fn link_toolchain(say: Say) -> Result<()> {
    let list = process::output(Command::new("rustup").args(["toolchain", "list"]))
        .context("rustup is needed, see rustup's site")?;
    if list
        .lines()
        .any(|line| line.split_whitespace().next() == Some(DEBIAN_TOOLCHAIN))
    {
        say.there(&format!("toolchain {DEBIAN_TOOLCHAIN}"));
        return Ok(());
    }
    println!("toolchain {DEBIAN_TOOLCHAIN}: installing");
    process::output(Command::new("rustup").args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"]))?;
    Ok(())
}

fn linker(nightly: bool, say: Say) -> Result<()> {
    if paths::program(LINKER).is_some() {
        say.there(LINKER);
        return Ok(());
    }
    println!("{LINKER}: installing {LINKER_VERSION}, this takes a minute");
    let mut command = Command::new("cargo");
    command.args([
        "install",
        LINKER,
        "--version",
        LINKER_VERSION,
        "--locked",
        "--quiet",
    ]);
    if !nightly {
        command
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", LLVM);
    }
    if !process::shown(&mut command)? {
        bail!(
            "cannot install {LINKER}; try by hand: {}",
            process::describe(&command)
        );
    }
    Ok(())
}

/// Says what another system lacks and how to get it.
fn elsewhere(nightly: bool, say: Say) -> ExitCode {
    let mut lacking = Vec::new();
    if !nightly {
        lacking.push("nightly toolchain with rust-src: rustup toolchain install nightly --component rust-src".to_owned());
    }
    if paths::program(LINKER).is_none() {
        lacking.push(format!("{LINKER}: cargo install {LINKER}"));
    }
    let tools = GUEST
        .iter()
        .chain(READERS)
        .filter(|package| paths::program(package.program).is_none());
    lacking.extend(tools.map(|tool| {
        format!(
            "{}: install what holds it here (Debian: {})",
            tool.program, tool.name
        )
    }));
    if lacking.is_empty() {
        say.there(
            "everything (but no kernels to download: give --kernel-image FILE --modules DIR)",
        );
        return ExitCode::SUCCESS;
    }
    println!("this is no Debian system, so nothing was installed. Missing:");
    lacking.iter().for_each(|line| println!("  {line}"));
    ExitCode::from(UNKNOWN_SYSTEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_missing_unless_it_is_installed() {
        let listed = "kmod installed\nzstd config-files\nxz-utils installed\n";
        assert_eq!(
            missing(&["kmod", "zstd", "xz-utils", "cpio"], listed),
            ["zstd", "cpio"]
        );
        assert_eq!(missing(&["kmod"], "kmod-dev installed\n"), ["kmod"]);
    }
}
