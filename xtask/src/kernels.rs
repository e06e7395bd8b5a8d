//! The table of kernels the project is tested on, and where a booted kernel's files come from.
//!
//! **A new kernel to test is one row.** Rows name a series, never a build: old builds leave the
//! archive, so the newest that exists on the day is taken, and kept until `--refresh`.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cli::KernelArgs;
use crate::fetch;

/// One series of kernels.
pub struct Row {
    /// What `--kernel` calls it.
    pub name: &'static str,
    /// How the releases of the series begin.
    pub series: &'static str,
    pub suites: &'static [&'static str],
    /// Name prefixes of the packages; the release completes each. The first has the image.
    pub packages: &'static [&'static str],
}

pub const TABLE: &[Row] = &[
    Row {
        name: "5.10",
        series: "5.10.0-",
        suites: &["bullseye", "bullseye-security"],
        packages: &["linux-image-"],
    },
    Row {
        name: "6.1",
        series: "6.1.0-",
        suites: &["bookworm", "bookworm-security"],
        packages: &["linux-image-"],
    },
    Row {
        name: "6.12",
        series: "6.12.",
        suites: &["trixie", "trixie-security"],
        packages: &["linux-image-"],
    },
    // Debian split the image package: binary has vmlinuz, base the list of what is built in.
    Row {
        name: "7.x",
        series: "7.",
        suites: &["sid"],
        packages: &["linux-binary-", "linux-modules-", "linux-base-"],
    },
];

/// The kernel of `demo` and `bench`, and of `vm` unless told otherwise.
pub const DEFAULT: &str = "6.12";

/// The flavour: small, made for virtual machines, and what cloud nodes run.
pub const FLAVOUR: &str = "-cloud-amd64";

/// A kernel ready to boot.
#[derive(Clone)]
pub struct Kernel {
    /// Its `uname -r` as far as known (a kernel of one's own without modules: the file name).
    pub release: String,
    pub image: PathBuf,
    /// `…/lib/modules/RELEASE`; absent for a kernel of one's own with everything built in.
    pub modules: Option<PathBuf>,
}

/// Finds the kernel that the command line asks for, downloading it if need be.
pub fn resolve(args: &KernelArgs) -> Result<Kernel> {
    match &args.kernel_image {
        Some(image) => own(image, args.modules.as_deref()),
        None => fetch::of_table(args.kernel.as_deref().unwrap_or(DEFAULT), args.refresh),
    }
}

/// The row meant by `wanted`, and how an acceptable release begins.
pub fn find_row(wanted: &str) -> Result<(&'static Row, String)> {
    let series = wanted.strip_suffix(".x").unwrap_or(wanted);
    for row in TABLE {
        if wanted == row.name || series == row.name.trim_end_matches(".x") {
            return Ok((row, row.series.to_owned()));
        }
    }
    for row in TABLE {
        if series.starts_with(row.series) {
            // "7.2" must not find 7.20.
            let start = if series.ends_with(FLAVOUR) {
                series.to_owned()
            } else {
                format!("{series}.")
            };
            return Ok((row, start));
        }
    }
    bail!(
        "no kernel `{wanted}` in the table; it has {} (another one: --kernel-image FILE --modules DIR)",
        names_of_table()
    )
}

pub fn names_of_table() -> String {
    TABLE
        .iter()
        .map(|row| row.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The newest of `releases` that begins with `start`. Unsigned and debug variants end differently.
pub fn newest(mut releases: Vec<String>, start: &str) -> Option<String> {
    releases.retain(|release| release.starts_with(start) && release.ends_with(FLAVOUR));
    releases.sort_by(|a, b| compare(a.trim_end_matches(FLAVOUR), b.trim_end_matches(FLAVOUR)));
    releases.pop()
}

/// Orders versions with their numbers compared as numbers.
fn compare(a: &str, b: &str) -> Ordering {
    fn parts(version: &str) -> Vec<(u64, &str)> {
        version
            .split_inclusive(|c: char| !c.is_ascii_digit())
            .map(|part| {
                let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
                (digits.parse().unwrap_or(0), &part[digits.len()..])
            })
            .collect()
    }
    parts(a).cmp(&parts(b))
}

/// A kernel given by path.
fn own(image: &Path, modules: Option<&Path>) -> Result<Kernel> {
    ensure!(
        image.is_file(),
        "--kernel-image: {} is no file",
        image.display()
    );
    let image =
        fs::canonicalize(image).with_context(|| format!("cannot resolve {}", image.display()))?;
    let modules = modules.map(modules_dir).transpose()?;
    let named = modules
        .as_deref()
        .unwrap_or(&image)
        .file_name()
        .unwrap_or_default();
    Ok(Kernel {
        release: named.to_string_lossy().into_owned(),
        image,
        modules,
    })
}

/// `dir` itself if it is a version's directory, else the only one in its lib/modules.
fn modules_dir(dir: &Path) -> Result<PathBuf> {
    let dir = fs::canonicalize(dir)
        .with_context(|| format!("--modules: cannot find {}", dir.display()))?;
    if dir.join("modules.dep").is_file() {
        return Ok(dir);
    }
    let entries = fs::read_dir(dir.join("lib/modules"))
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join("modules.dep").is_file())
        .collect();
    match (versions.pop(), versions.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => bail!(
            "--modules: {} holds several versions; name one: {0}/lib/modules/VERSION",
            dir.display()
        ),
        (None, _) => bail!(
            "--modules: no modules.dep in {0} or {0}/lib/modules/VERSION (run `depmod -b {0} VERSION` first)",
            dir.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(releases: &[&str], start: &str) -> Option<String> {
        newest(
            releases.iter().map(|&release| release.to_owned()).collect(),
            start,
        )
    }

    #[test]
    fn numbers_count_as_numbers_and_variants_are_left_out() {
        let found = pick(
            &[
                "6.12.9+deb13-cloud-amd64",
                "6.12.115+deb13-cloud-amd64",
                "6.12.117+deb13-cloud-amd64-unsigned",
                "6.12.116+deb13-amd64",
            ],
            "6.12.",
        );
        assert_eq!(found.as_deref(), Some("6.12.115+deb13-cloud-amd64"));
    }

    #[test]
    fn a_rebuild_is_newer_than_what_it_rebuilds() {
        let found = pick(
            &["6.12.90+deb13.1-cloud-amd64", "6.12.90+deb13-cloud-amd64"],
            "6.12.",
        );
        assert_eq!(found.as_deref(), Some("6.12.90+deb13.1-cloud-amd64"));
    }

    #[test]
    fn another_series_or_nothing_is_none() {
        assert_eq!(
            pick(&["6.1-cloud-amd64", "6.12-cloud-amd64"], "6.1.0-"),
            None
        );
        assert_eq!(pick(&[], "7."), None);
    }

    #[test]
    fn kernels_are_found_by_series_version_and_release() {
        let start = |wanted| find_row(wanted).map(|(row, start)| (row.name, start)).ok();
        assert_eq!(start("6.1"), Some(("6.1", "6.1.0-".to_owned())));
        assert_eq!(start("7"), Some(("7.x", "7.".to_owned())));
        assert_eq!(start("7.x"), Some(("7.x", "7.".to_owned())));
        assert_eq!(start("7.2"), Some(("7.x", "7.2.".to_owned())));
        let release = "6.12.90+deb13-cloud-amd64";
        assert_eq!(start(release), Some(("6.12", release.to_owned())));
        assert_eq!(start("4.19"), None);
    }
}
