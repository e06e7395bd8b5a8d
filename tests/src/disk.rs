//! A disk that is soon full.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount, umount};

use crate::tracer::Scratch;

/// A tmpfs of its own, which is removed with this value.
pub struct Disk(Scratch);

impl Disk {
    /// One of this size, as mount takes it: `64k`.
    pub fn create(size: &str) -> Result<Self> {
        let scratch = Scratch::create()?;
        let options = format!("size={size}");
        let kind = Some("tmpfs");
        mount(
            kind,
            scratch.path(),
            kind,
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .context("cannot mount a tmpfs")?;
        Ok(Self(scratch))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount(self.path()) {
            eprintln!(
                "skbtrace-tests: cannot unmount {}: {error}",
                self.path().display()
            );
        }
    }
}
