//! Builds the kernel side and embeds it, and finds out which commit this is.

use std::{env, process::Command};

use anyhow::{Context as _, anyhow};
use aya_build::{Package, Toolchain, build_ebpf};

/// Names the toolchain that builds the kernel side, when the choice below is not wanted.
const TOOLCHAIN: &str = "SKBTRACE_EBPF_TOOLCHAIN";
/// A toolchain linked to the distribution's compiler, whose packages include the library sources
/// (`cargo xtask setup` makes it).
const DISTRIBUTION: &str = "debian";

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    println!("cargo:rerun-if-changed=../.git/HEAD");
    println!("cargo:rerun-if-changed=../.git/refs/heads");
    if let Some(commit) = output("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=SKBTRACE_COMMIT={commit}");
    }

    let toolchain = env::var(TOOLCHAIN).ok().unwrap_or_else(choose);
    if !toolchain.starts_with("nightly") {
        // The kernel side needs -Z build-std and inline assembly for BPF, which a release
        // compiler offers only so.
        // SAFETY: a build script has one thread.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    }
    let root = env::var("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")? + "/../skbtrace-ebpf";
    println!("cargo:rerun-if-changed=../skbtrace-common/src");
    build_ebpf(
        [Package {
            name: "skbtrace-ebpf",
            root_dir: &root,
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
    .map_err(|error| {
        anyhow!(
            "{error:#}\nthe kernel side needs a toolchain with the component rust-src, and \
             bpf-linker: run `cargo xtask setup`"
        )
    })
}

/// Nightly when it has the library sources, as rustup users have it; otherwise the
/// distribution's.
fn choose() -> String {
    let nightly = "nightly";
    let sysroot = output("rustup", &["run", nightly, "rustc", "--print", "sysroot"]);
    let has_sources =
        sysroot.is_some_and(|root| std::fs::exists(root + "/lib/rustlib/src").unwrap_or(false));
    if has_sources { nightly } else { DISTRIBUTION }.to_owned()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
