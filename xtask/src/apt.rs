//! A private apt root: packages of any Debian suite, without touching the machine's own apt state.
//!
//! apt does the work (and checks the archive's signatures) with its lists, caches and sources moved
//! into the cache directory, so no root is needed and nothing gets installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::paths;
use crate::process;
use crate::sources::Mirror;

pub struct PrivateRoot {
    dir: PathBuf,
}

impl PrivateRoot {
    /// A root below `dir` for `suites` (those ending in `-security` come from that archive).
    pub fn create(dir: PathBuf, suites: &[&str]) -> Result<Self> {
        let mirror = Mirror::of_this_machine()?;
        for sub in ["lists/partial", "cache/archives/partial", "download"] {
            paths::created(dir.join(sub))?;
        }
        let list = dir.join("sources.list");
        fs::write(&list, source_lines(&mirror, suites))
            .with_context(|| format!("cannot write {}", list.display()))?;
        Ok(Self { dir })
    }

    /// Fetches the package index of the suites.
    pub fn update(&self) -> Result<()> {
        process::output(self.apt("apt-get").args(["update", "--error-on=any"])).context(
            "cannot fetch the package index (check that `apt-get update` works on this machine)",
        )?;
        Ok(())
    }

    /// All package names that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let listed = process::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// Downloads one package and returns the file, which lives as long as the root.
    pub fn download(&self, package: &str) -> Result<PathBuf> {
        let dir = self.dir.join("download");
        process::output(
            self.apt("apt-get")
                .args(["download", package])
                .current_dir(&dir),
        )
        .with_context(|| format!("cannot download the package {package}"))?;
        let start = format!("{package}_");
        let entries =
            fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        let file = entries
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&start));
        let file = file.with_context(|| {
            format!(
                "apt-get download {package} left no file in {}",
                dir.display()
            )
        })?;
        Ok(file.path())
    }

    /// Downloads a package with all that it needs, nothing of which counts as installed.
    pub fn download_with_dependencies(&self, package: &str) -> Result<Vec<PathBuf>> {
        let archives = self.dir.join("cache/archives");
        process::output(
            self.apt("apt-get")
                .args(["install", "--yes", "--no-install-recommends"])
                .args(["--download-only", package]),
        )
        .with_context(|| format!("cannot download the package {package} and what it needs"))?;
        let entries = fs::read_dir(&archives)
            .with_context(|| format!("cannot list {}", archives.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        Ok(files
            .filter(|file| file.extension().is_some_and(|ext| ext == "deb"))
            .collect())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |what: &str, sub: &str| format!("{what}={}", self.dir.join(sub).display());
        for option in [
            place("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            place("Dir::State::Lists", "lists"),
            "Dir::State::status=/dev/null".to_owned(),
            place("Dir::Cache", "cache"),
            // The cache directory may lie where apt's own user cannot go.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.args(["-q"]).env("LC_ALL", "C");
        command
    }
}

impl Drop for PrivateRoot {
    fn drop(&mut self) {
        // An index is stale by the time it is needed again; a leftover only wastes space.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Extracts the package `file` into `dir`.
pub fn extract(file: &Path, dir: &Path) -> Result<()> {
    process::output(Command::new("dpkg").arg("-x").arg(file).arg(dir)).with_context(|| {
        format!(
            "cannot extract {} (delete it and try again)",
            file.display()
        )
    })?;
    Ok(())
}

fn source_lines(mirror: &Mirror, suites: &[&str]) -> String {
    let mut lines = String::new();
    for suite in suites {
        let uri = match (suite.ends_with("-security"), &mirror.security) {
            (false, _) => &mirror.main,
            (true, Some(uri)) => uri,
            (true, None) => continue,
        };
        lines.push_str(&format!(
            "deb [arch=amd64 signed-by={}] {uri} {suite} main\n",
            mirror.keyring
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_suites_come_from_their_archive_or_not_at_all() {
        let mut mirror = Mirror {
            main: "MAIN".to_owned(),
            security: Some("SECURITY".to_owned()),
            keyring: "/k.gpg".to_owned(),
        };
        assert_eq!(
            source_lines(&mirror, &["trixie", "trixie-security"]),
            "deb [arch=amd64 signed-by=/k.gpg] MAIN trixie main\n\
             deb [arch=amd64 signed-by=/k.gpg] SECURITY trixie-security main\n"
        );
        mirror.security = None;
        assert_eq!(
            source_lines(&mirror, &["trixie", "trixie-security"])
                .lines()
                .count(),
            1
        );
    }
}
