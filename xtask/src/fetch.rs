//! Kernels of the table, fetched from the distribution's archive and kept extracted in the cache.
//!
//! A kernel that is there is used without asking the archive again, so that a run needs no network
//! and a series of runs sees the same kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::{self, PrivateRoot};
use crate::kernels::{FLAVOUR, Kernel, Row, find_row, names_of_table, newest};
use crate::paths;
use crate::process;

/// The newest kernel that `wanted` means: from the cache, or downloaded.
pub fn of_table(wanted: &str, refresh: bool) -> Result<Kernel> {
    let (row, start) = find_row(wanted)?;
    let cache = paths::cache()?;
    // Two runs at once must not extract into the same place.
    let lock_file = cache.join("lock");
    let lock = File::create(&lock_file)
        .with_context(|| format!("cannot create {}", lock_file.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", lock_file.display()))?;

    if !refresh && let Some(release) = newest(cached_releases(&cache)?, &start) {
        return of_cache(&cache, &release);
    }
    eprintln!(
        "kernel {wanted}: looking for the newest build in {}",
        row.suites.join(", ")
    );
    let root = PrivateRoot::create(cache.join("apt").join(row.name), row.suites)?;
    root.update()?;
    let image_package = row.packages[0];
    let names = root.names(&format!("{image_package}{}", row.series))?;
    let mut releases: Vec<String> = names
        .iter()
        .filter_map(|name| name.strip_prefix(image_package))
        .map(str::to_owned)
        .collect();
    let mut failure = None;
    // An index may be ahead of its mirror: then the build before it does as well.
    while let Some(release) = newest(releases.clone(), &start) {
        if cache.join(&release).is_dir() {
            return of_cache(&cache, &release);
        }
        match install(&cache, &root, row, &release) {
            Ok(()) => return of_cache(&cache, &release),
            Err(error) => {
                eprintln!("kernel {release}: {error:#}; trying the one before it");
                failure.get_or_insert(error);
            }
        }
        releases.retain(|other| *other != release);
    }
    match failure {
        Some(error) => Err(error.context(format!("no build of kernel {wanted} could be had"))),
        None => bail!(
            "no package {image_package}{start}*{FLAVOUR} in {}: give another --kernel ({}), \
             or your own by --kernel-image FILE --modules DIR",
            row.suites.join(", "),
            names_of_table()
        ),
    }
}

fn cached_releases(cache: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))?;
    Ok(entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

/// Downloads and extracts `release`; the finished tree appears in the cache in one step.
fn install(cache: &Path, root: &PrivateRoot, row: &Row, release: &str) -> Result<()> {
    let files = row
        .packages
        .iter()
        .map(|package| root.download(&format!("{package}{release}")))
        .collect::<Result<Vec<_>>>()?;
    let tree = cache.join(format!("{release}.part"));
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    paths::created(tree.clone())?;
    for file in &files {
        apt::extract(file, &tree)?;
    }
    // depmod and we look into lib/modules; packages with merged /usr have no such path.
    if !tree.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", tree.join("lib"))
            .context("cannot link lib to usr/lib")?;
    }
    process::output(Command::new("depmod").arg("-b").arg(&tree).arg(release))
        .with_context(|| format!("cannot index the modules of {release}"))?;
    image_in(&tree, release)?;
    fs::rename(&tree, cache.join(release))
        .with_context(|| format!("cannot rename {}", tree.display()))?;
    eprintln!("kernel {release}: downloaded");
    Ok(())
}

fn of_cache(cache: &Path, release: &str) -> Result<Kernel> {
    let tree = cache.join(release);
    Ok(Kernel {
        image: image_in(&tree, release)?,
        modules: Some(tree.join("lib/modules").join(release)),
        release: release.to_owned(),
    })
}

fn image_in(tree: &Path, release: &str) -> Result<PathBuf> {
    [
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("lib/modules/{release}/vmlinuz"),
    ]
    .iter()
    .map(|path| tree.join(path))
    .find(|path| path.is_file())
    .with_context(|| {
        format!(
            "the packages of {release} hold no vmlinuz (look into {})",
            tree.display()
        )
    })
}
