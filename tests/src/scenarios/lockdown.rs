//! A kernel in lockdown. Nothing leads out of it but a boot, so this comes last, and only in a
//! guest.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::mount::{MsFlags, mount};

use super::{skip, trial};
use crate::tracer::{run_to_end, skbtrace};

/// What `cargo xtask vm` runs in a guest; elsewhere there is no such file.
const GUEST: &str = "/xtask/command";
const SECURITYFS: &str = "/sys/kernel/security";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

pub fn trials() -> Vec<Trial> {
    vec![trial("lockdown", lockdown)]
}

/// Tracing is refused with the reason and the way out.
fn lockdown() -> Result<()> {
    if !Path::new(GUEST).exists() {
        return skip("it would lock this machine until its next boot");
    }
    if !Path::new(LOCKDOWN).exists() {
        let none = None::<&str>;
        mount(none, SECURITYFS, Some("securityfs"), MsFlags::empty(), none)
            .context("cannot mount securityfs")?;
    }
    if !Path::new(LOCKDOWN).exists() {
        return skip("this kernel has no lockdown");
    }
    fs::write(LOCKDOWN, "confidentiality").context(LOCKDOWN)?;
    let mut command = skbtrace();
    command.args(["--route", "--duration", "1"]);
    let outcome = run_to_end(command)?;
    outcome.explain((|| {
        ensure!(outcome.code == Some(2), "exit code {:?}", outcome.code);
        for word in ["lockdown", "confidentiality", "boot"] {
            ensure!(
                outcome.said().contains(word),
                "the message does not say {word}"
            );
        }
        Ok(())
    })())
}
