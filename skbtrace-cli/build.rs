//! Builds the kernel side and embeds it, and finds out which commit this is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::{env, process::Command};

use anyhow::{Context as _, anyhow};
use aya_build::{Package, Toolchain, build_ebpf};

/// Names the toolchain that builds the kernel side, when the choice below is not wanted.
const TOOLCHAIN: &str = "SKBTRACE_EBPF_TOOLCHAIN";
/// A toolchain linked to the distribution's compiler, whose packages include the library sources
/// (`cargo xtask setup` makes it).
const DISTRIBUTION: &str = "debian";

/// Where all builds of this tree keep what the compiler made of the kernel side (set in
/// .cargo/config.toml): it is the same for tests, guests and fuzzing, and takes a minute.
const SHARED: &str = "SKBTRACE_EBPF_TARGET_DIR";

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    println!("cargo:rerun-if-env-changed={SHARED}");
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
    if let Some(shared) = env::var_os(SHARED) {
        let out = env::var_os("OUT_DIR").context("OUT_DIR")?;
        share(Path::new(&out), Path::new(&shared))?;
    }
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

/// Leads aya-build, whose target directory is `OUT_DIR/aya-build/target/PACKAGE`, to the shared one.
fn share(out: &Path, shared: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(shared).with_context(|| format!("cannot make {}", shared.display()))?;
    let own = out.join("aya-build/target");
    if own.exists() {
        return Ok(());
    }
    fs::create_dir_all(out.join("aya-build"))?;
    symlink(shared, &own).with_context(|| format!("cannot link {}", own.display()))
}

/// Nightly when it has the library sources, as rustup users have it; otherwise the
/// distribution's.
fn choose() -> String {
    let nightly = "nightly";
    let sysroot = output("rustup", &["run", nightly, "rustc", "--print", "sysroot"]);
    let has_sources =
        sysroot.is_some_and(|root| fs::exists(root + "/lib/rustlib/src").unwrap_or(false));
    if has_sources { nightly } else { DISTRIBUTION }.to_owned()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
