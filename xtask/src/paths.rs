//! Where things lie: derived from this crate's place in the workspace, never from the machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The target triple of the static binaries. Naming it keeps `-Ctarget-feature=+crt-static` away
/// from build scripts and proc macros, which must stay dynamic.
pub const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The workspace's root.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// The directory of the static release binaries.
pub fn binaries() -> PathBuf {
    target().join(TRIPLE).join("release")
}

/// Kernels and initramfs archives, kept between runs; `SKBTRACE_CACHE` moves it.
pub fn cache() -> Result<PathBuf> {
    let dir = match env::var_os("SKBTRACE_CACHE") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target/kernels"),
    };
    created(dir)
}

/// Serial logs of the guests of `test`.
pub fn vm_logs() -> Result<PathBuf> {
    created(workspace().join("target/vm-logs"))
}

/// What lives only as long as one guest.
pub fn scratch() -> Result<PathBuf> {
    created(workspace().join("target/vm-run"))
}

/// `dir`, made if it isn't there.
pub fn created(dir: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// The first `name` on PATH or in the administrator's directories, which a user's PATH often lacks.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
