//! Hooks by themselves: tracepoints, and kprobes with their returns.

use std::{ffi::CString, os::fd::AsFd as _, path::Path};

use skbtrace_common::hooks::{Hook, Site};

use super::{
    Backend, Wanted, binding,
    kprobe::{self, AttachError, Kprobes},
    link::Link,
    object::Loaded,
    program,
    sys::{self, Ends, ProgramKind},
};

/// Tries a hook's sites; the reason when none would do, if there is one besides absence.
pub fn attach(
    loaded: &Loaded,
    kprobes: Option<&Kprobes>,
    wanted: &Wanted,
    hook: &Hook,
) -> Result<(Site, Backend, Vec<Link>), Option<String>> {
    if wanted.sites.is_empty() {
        let unknown = "how it takes its packet is not known (no BTF of its module)";
        return Err(is_loaded(hook).then(|| unknown.to_owned()));
    }
    let mut reason = None;
    for site in &wanted.sites {
        let result = match (site.tracepoint, kprobes) {
            (true, _) => attach_tracepoint(loaded, wanted, hook, site)
                .map(|link| (Backend::Tracepoint, vec![link])),
            (false, Some(kprobes)) => attach_kprobes(loaded, kprobes, wanted, hook, site),
            (false, None) => continue,
        };
        match result {
            Ok((by, links)) => return Ok((*site, by, links)),
            Err(Refusal::Here(AttachError::Absent)) => {}
            Err(Refusal::Here(error)) => reason = Some(format!("{}: {error}", site.symbol)),
            Err(Refusal::Program(error)) => return Err(Some(error)),
        }
    }
    Err(reason)
}

/// Whether a hook's module is there; the kernel itself is.
fn is_loaded(hook: &Hook) -> bool {
    let modules = Path::new("/sys/module");
    let module = hook.module.map(|module| modules.join(module));
    module.is_none_or(|module| module.exists())
}

enum Refusal {
    /// Another site may do.
    Here(AttachError),
    /// No site will.
    Program(String),
}

fn attach_tracepoint(
    loaded: &Loaded,
    wanted: &Wanted,
    hook: &Hook,
    site: &Site,
) -> Result<Link, Refusal> {
    let (program, _) = program(hook.kind);
    let binding = binding(wanted, site).with_arguments();
    let program = loaded
        .load(program, ProgramKind::TRACEPOINT, binding)
        .map_err(|error| Refusal::Program(error.to_string()))?;
    let name = CString::new(site.symbol).map_err(|_| Refusal::Here(AttachError::Absent))?;
    let link = sys::attach_tracepoint(program.as_fd(), &name).map_err(|error| {
        Refusal::Here(match error.raw_os_error() {
            Some(libc::ENOENT) => AttachError::Absent,
            _ => AttachError::Other(error),
        })
    })?;
    Ok(Link::new(link, program))
}

fn attach_kprobes(
    loaded: &Loaded,
    kprobes: &Kprobes,
    wanted: &Wanted,
    hook: &Hook,
    site: &Site,
) -> Result<(Backend, Vec<Link>), Refusal> {
    let (program, ends) = program(hook.kind);
    let attach = |at_return: bool| -> Result<Link, Refusal> {
        let binding = binding(wanted, site);
        let binding = if at_return {
            binding.at_return()
        } else {
            binding
        };
        let event = kprobes
            .open(site.symbol, at_return)
            .map_err(Refusal::Here)?;
        let program = loaded
            .load(program, ProgramKind::KPROBE, binding)
            .map_err(|error| Refusal::Program(error.to_string()))?;
        kprobe::attach(program, event).map_err(Refusal::Here)
    };
    let mut links = Vec::new();
    // The return first: of two kprobes on one function the newer runs first, and the entry must
    // see the stack before the return hook puts its own address there.
    if ends != Ends::Entry {
        links.push(attach(true)?);
    }
    if ends != Ends::Return {
        links.push(attach(false)?);
    }
    let by = match ends {
        Ends::Entry => Backend::Kprobe,
        Ends::Return | Ends::Both => Backend::KprobePair,
    };
    Ok((by, links))
}
