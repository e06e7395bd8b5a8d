//! A disk with the other tracers to compare with, made from the distribution's packages.
//!
//! They are not installed here: apt downloads them and all they need into a private root, and a
//! file system is made of what is in the packages. A tracer that cannot be had is a note on the
//! disk, which the benchmark shows in its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::{self, PrivateRoot};
use crate::{paths, process};

/// The packages.
const PEERS: &[&str] = &["pwru", "bpftrace"];
/// The distribution's release that has them all.
const SUITES: &[&str] = &["trixie"];
/// Where the benchmark looks for the reasons of those that are not there.
const NOTES: &str = "skipped";
/// Directories that the guest mounts its own on.
const EMPTY: &[&str] = &["proc", "sys", "dev", "tmp", "run", "etc", NOTES];
/// Of merged /usr; the packages hold only the right side.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];
/// What only takes room.
const UNUSED: &[&str] = &["usr/share/doc", "usr/share/man", "usr/share/locale"];
/// Room on the disk besides its files, in MiB; the image file has holes in its place.
const SPARE_MIB: u64 = 100;

/// The disk, made unless it is there.
pub fn disk(refresh: bool) -> Result<PathBuf> {
    let dir = paths::created(paths::cache()?.join("peers"))?;
    let image = dir.join("peers.img");
    if image.is_file() && !refresh {
        return Ok(image);
    }
    eprintln!("peers: downloading {}", PEERS.join(", "));
    let tree = dir.join("tree");
    let made = build(&dir, &tree).and_then(|()| {
        let part = dir.join("peers.part");
        image_of(&tree, &part)?;
        fs::rename(&part, &image).with_context(|| format!("cannot rename {}", part.display()))
    });
    let _ = fs::remove_dir_all(&tree);
    made.context("cannot make the disk with the peers")?;
    Ok(image)
}

fn build(dir: &Path, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    for merged in MERGED {
        paths::created(tree.join("usr").join(merged))?;
        std::os::unix::fs::symlink(format!("usr/{merged}"), tree.join(merged))
            .with_context(|| format!("cannot link {merged}"))?;
    }
    for empty in EMPTY {
        paths::created(tree.join(empty))?;
    }
    let root = PrivateRoot::create(dir.join("apt"), SUITES)?;
    let index = root.update();
    for peer in PEERS {
        let got = match &index {
            Ok(()) => root.download_with_dependencies(peer),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        match got {
            Ok(files) => {
                for file in files {
                    apt::extract(&file, tree)?;
                }
            }
            Err(error) => {
                let reason = format!("{error:#}");
                let first = reason.lines().next().unwrap_or_default();
                eprintln!("peers: {peer}: SKIP: {reason}");
                fs::write(tree.join(NOTES).join(peer), first)
                    .with_context(|| format!("cannot note why {peer} is missing"))?;
            }
        }
    }
    for unused in UNUSED {
        let _ = fs::remove_dir_all(tree.join(unused));
    }
    Ok(())
}

/// Makes a file system of a tree; needs no root and no mount.
fn image_of(tree: &Path, image: &Path) -> Result<()> {
    let used = process::output(
        Command::new("du")
            .args(["-sm", "--apparent-size"])
            .arg(tree),
    )?;
    let used: u64 = used
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .context("du told no size")?;
    let size = format!("{}M", used + used / 4 + SPARE_MIB);
    let _ = fs::remove_file(image);
    let program =
        paths::program("mke2fs").context("no mke2fs on this machine: install e2fsprogs")?;
    process::output(
        Command::new(program)
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
            .arg(tree)
            .arg(image)
            .arg(size),
    )?;
    Ok(())
}
