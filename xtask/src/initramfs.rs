//! The guest's root file system: one cached archive per kernel, and a small one per boot.
//!
//! Modules and tools change rarely and are tens of megabytes, the binaries under test change with
//! every build. The kernel unpacks concatenated archives, so the second kind is simply appended.
//! The archive is not compressed: under emulation, unpacking costs more than loading.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cpio::Archive;
use crate::kernels::Kernel;
use crate::userland::{self, Userland};
use crate::{modules, paths, process};

/// PID 1.
const INIT: &str = include_str!("init.sh");

/// What goes into the base archive, to tell a stale one; this file's text stands for its layout.
const LAYOUT: &[&str] = &[
    include_str!("initramfs.rs"),
    include_str!("userland.rs"),
    include_str!("modules.rs"),
    INIT,
];

/// How long an archive that is not the current one may stay.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// A file for the second archive.
pub struct Extra {
    /// Path in the guest.
    pub path: String,
    pub mode: u32,
    pub data: Vec<u8>,
}

impl Extra {
    pub fn new(path: &str, mode: u32, data: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.to_owned(),
            mode,
            data: data.into(),
        }
    }
}

/// The cached base archive of `kernel`, made if missing or stale.
pub fn base(kernel: &Kernel) -> Result<PathBuf> {
    let dir = paths::created(paths::cache()?.join("initramfs"))?;
    let lock_file = dir.join("lock");
    let lock = File::create(&lock_file)
        .with_context(|| format!("cannot create {}", lock_file.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", lock_file.display()))?;

    let file = dir.join(format!("{}_{:016x}.cpio", kernel.release, key(kernel)));
    if file.is_file() {
        return Ok(file);
    }
    eprintln!("kernel {}: making its initramfs", kernel.release);
    forget_older(&dir, &kernel.release);
    let stage = dir.join(format!("{}.stage", kernel.release));
    let made = file.with_extension("part");
    let written = build(kernel, &stage, &made);
    let _ = fs::remove_dir_all(&stage);
    written.with_context(|| format!("cannot make the initramfs of {}", kernel.release))?;
    fs::rename(&made, &file).with_context(|| format!("cannot rename {}", made.display()))?;
    Ok(file)
}

/// Writes `base` followed by an archive of `extras` to `file`.
pub fn with_extras<'a>(
    base: &Path,
    extras: impl Iterator<Item = &'a Extra>,
    file: &Path,
) -> Result<()> {
    let write = move || -> io::Result<()> {
        fs::copy(base, file)?;
        let mut archive = Archive::new(BufWriter::new(
            fs::OpenOptions::new().append(true).open(file)?,
        ));
        for extra in extras {
            archive.file(&userland::merged(&extra.path), extra.mode, &extra.data)?;
        }
        archive.finish()?.flush()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

/// A number that changes with any input of the base archive.
fn key(kernel: &Kernel) -> u64 {
    let mut hasher = DefaultHasher::new();
    LAYOUT.hash(&mut hasher);
    kernel.modules.hash(&mut hasher);
    let index = kernel.modules.iter().map(|dir| dir.join("modules.dep"));
    for file in userland::inputs().into_iter().chain(index) {
        if let Ok(meta) = fs::metadata(&file) {
            (file, meta.len(), meta.mtime()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Removes archives of other keys, unless they are young: another checkout may be using them.
fn forget_older(dir: &Path, release: &str) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let made = entry.metadata().and_then(|meta| meta.modified()).ok();
        let age = made
            .and_then(|made| made.elapsed().ok())
            .unwrap_or_default();
        if age > KEPT
            && entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{release}_"))
        {
            // It would only waste space.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn build(kernel: &Kernel, stage: &Path, file: &Path) -> Result<()> {
    let out = File::create(file).with_context(|| format!("cannot create {}", file.display()))?;
    let mut archive = Archive::new(BufWriter::new(out));
    skeleton(&mut archive).context("cannot write the archive")?;
    put_userland(&mut archive, &userland::collect()?)?;
    if let Some(modules) = &kernel.modules {
        let root = stage_modules(modules, &kernel.release, stage)?;
        put_tree(
            &mut archive,
            &root,
            &format!("usr/lib/modules/{}", kernel.release),
        )?;
    }
    archive
        .finish()
        .and_then(|mut out| out.flush())
        .context("cannot write the archive")
}

fn skeleton(archive: &mut Archive<impl Write>) -> io::Result<()> {
    for top in ["bin", "sbin", "lib", "lib64"] {
        archive.dir(&format!("usr/{top}"))?;
        archive.symlink(top, &format!("usr/{top}"))?;
    }
    for dir in [
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "root",
        "mnt",
        "xtask",
        "var/lib",
        "var/log",
        "etc/iproute2",
    ] {
        archive.dir(dir)?;
    }
    archive.symlink("var/run", "/run")?;
    archive.symlink("var/lock", "/run/lock")?;
    // The kernel opens it as PID 1's standard streams before anything is mounted.
    archive.char_device("dev/console", 5, 1)?;
    archive.char_device("dev/null", 1, 3)?;
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    archive.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    archive.file(
        "etc/hosts",
        0o644,
        b"127.0.0.1 localhost skbtrace\n::1 localhost\n",
    )?;
    archive.file(
        "etc/nsswitch.conf",
        0o644,
        b"passwd: files\ngroup: files\nhosts: files\n",
    )
}

fn put_userland(archive: &mut Archive<impl Write>, land: &Userland) -> Result<()> {
    for (path, file) in &land.files {
        let data = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive
            .file(path, 0o755, &data)
            .context("cannot write the archive")?;
    }
    for (path, target) in &land.links {
        archive
            .symlink(path, target)
            .context("cannot write the archive")?;
    }
    Ok(())
}

/// Copies the selected modules to `stage`, uncompressed, with indexes of their own; returns the
/// staged lib/modules/RELEASE.
fn stage_modules(modules: &Path, release: &str, stage: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(stage);
    let root = paths::created(stage.join("lib/modules").join(release))?;
    let copy = |relative: &Path| -> Result<PathBuf> {
        let (from, to) = (modules.join(relative), root.join(relative));
        paths::created(to.parent().unwrap_or(&root).to_path_buf())?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(to)
    };
    let mut copied = Vec::new();
    for module in modules::select(modules)? {
        copied.push(copy(&module)?);
    }
    for list in [
        "modules.order",
        "modules.builtin",
        "modules.builtin.modinfo",
    ] {
        if modules.join(list).is_file() {
            copy(Path::new(list))?;
        }
    }
    // Busybox and older kernels take plain modules only.
    for (suffix, tool) in [("xz", "xz"), ("zst", "zstd"), ("gz", "gzip")] {
        let packed: Vec<&PathBuf> = copied
            .iter()
            .filter(|file| file.extension().is_some_and(|ext| ext == suffix))
            .collect();
        for some in packed.chunks(100) {
            let mut command = Command::new(tool);
            command.arg("-dq").args(some);
            if tool == "zstd" {
                command.arg("--rm");
            }
            process::output(&mut command).context("cannot unpack the modules")?;
        }
    }
    process::output(Command::new("depmod").arg("-b").arg(stage).arg(release))
        .context("cannot index the modules")?;
    Ok(root)
}

/// Adds the files below `dir` as `path/…`.
fn put_tree(archive: &mut Archive<impl Write>, dir: &Path, path: &str) -> Result<()> {
    for entry in fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .flatten()
    {
        let (from, to) = (
            entry.path(),
            format!("{path}/{}", entry.file_name().to_string_lossy()),
        );
        if from.is_dir() {
            put_tree(archive, &from, &to)?;
        } else {
            let data =
                fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            archive
                .file(&to, 0o644, &data)
                .context("cannot write the archive")?;
        }
    }
    Ok(())
}
