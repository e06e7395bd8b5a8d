//! Where BTF is read from: the running kernel's section or a file in its place, and the sections of
//! the modules that are loaded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{btf::Btf, layout::LayoutError};

/// The kernel's own BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Where the kernel and each module with BTF have a file of that name.
const DIRECTORY: &str = "/sys/kernel/btf";
/// What the kernel itself is called there.
pub const KERNEL: &str = "vmlinux";

/// The kernel's section, and those that continue it.
pub struct Sections {
    /// The kernel's.
    pub kernel: Btf<'static>,
    /// The file it was read from.
    pub path: PathBuf,
    /// Modules' sections continue the running kernel's and no other.
    is_running: bool,
}

impl Sections {
    /// Reads the running kernel's section, or a file in its place, for what is wanted of it.
    pub fn read(file: Option<&Path>, wanted: &[&str]) -> Result<Self, LayoutError> {
        let path = file.unwrap_or(Path::new(VMLINUX));
        let bytes = fs::read(path).map_err(|reason| match file {
            None => LayoutError::NoBtf(reason),
            Some(path) => LayoutError::Unreadable {
                path: path.to_owned(),
                reason,
            },
        })?;
        let is_running = file.is_none() || fs::read(VMLINUX).is_ok_and(|own| own == bytes);
        let kernel = Btf::parse(bytes, None, wanted).map_err(|reason| LayoutError::Damaged {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self {
            kernel,
            path: path.to_owned(),
            is_running,
        })
    }

    /// The loaded modules that have a section which continues the kernel's.
    pub fn modules(&self) -> Vec<String> {
        if self.is_running {
            loaded()
        } else {
            Vec::new()
        }
    }

    /// A module's section; `None` when the module is not loaded, or its section cannot be read.
    pub fn module(&self, name: &str, wanted: &[&str]) -> Option<Btf<'_>> {
        if !self.is_running {
            return None;
        }
        let bytes = fs::read(Path::new(DIRECTORY).join(name)).ok()?;
        Btf::parse(bytes, Some(&self.kernel), wanted).ok()
    }
}

/// The loaded modules of the running kernel that have BTF.
pub fn loaded() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != KERNEL)
        .collect()
}
