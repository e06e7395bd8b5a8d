//! Attaching: from rows of the catalogue to programs on kernel functions.
//!
//! **Invariant:** a hook that cannot be attached never takes another along; each ends as a
//! [`Hooked`] with what was taken or as a [`Skipped`] with the reason.

pub mod kprobe;
pub mod object;
pub mod sys;

use std::{
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use skbtrace_common::hooks::{Binding, HOOKS, Hook, Kind, Site};

use self::{
    kprobe::{AttachError, Kprobes, Probe},
    object::Loaded,
};

/// Threads that detach. Each spends its time waiting for the kernel.
const WORKERS: usize = 8;

/// A hook to attach: a row of the catalogue and the places to try, best first.
#[derive(Debug)]
pub struct Wanted {
    /// The row.
    pub row: usize,
    /// Its sites, with positions as this kernel has them.
    pub sites: Vec<Site>,
}

/// A hook that is listened on.
#[derive(Debug)]
pub struct Hooked {
    /// The row.
    pub row: usize,
    /// The site that was taken.
    pub site: Site,
    /// The programs on it: of a pair, the return's first.
    pub probes: Vec<Probe>,
}

/// A hook that is not.
#[derive(Debug)]
pub struct Skipped {
    /// The row.
    pub row: usize,
    /// Why.
    pub reason: String,
}

/// What came of attaching.
#[derive(Debug, Default)]
pub struct Attached {
    /// In the order of the catalogue.
    pub hooks: Vec<Hooked>,
    /// In the order of the catalogue.
    pub skipped: Vec<Skipped>,
}

/// Attaches hooks, one after the other: the kernel attaches one kprobe at a time, and threads that
/// wait for their turn spin (measured on 5.10 and 6.12: twice the CPU time, no sooner ready).
/// Stops early when `stop` is set; what is attached by then is returned.
pub fn attach(loaded: &Loaded, kprobes: Kprobes, wanted: &[Wanted], stop: &AtomicBool) -> Attached {
    let mut attached = Attached::default();
    for wanted in wanted {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match attach_hook(loaded, kprobes, wanted) {
            Ok(hooked) => attached.hooks.push(hooked),
            Err(reason) => attached.skipped.push(Skipped {
                row: wanted.row,
                reason,
            }),
        }
    }
    attached
}

/// Detaches hooks, several at a time: each waits for the kernel to be sure that nothing runs in it
/// any more, and these waits overlap in part (measured on 6.12: half the time of one by one).
pub fn detach(hooks: Vec<Hooked>) {
    let probes = Mutex::new(
        hooks
            .into_iter()
            .flat_map(|hook| hook.probes)
            .collect::<Vec<_>>(),
    );
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let probe = probes.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    if probe.is_none() {
                        break;
                    }
                }
            });
        }
    });
}

fn attach_hook(loaded: &Loaded, kprobes: Kprobes, wanted: &Wanted) -> Result<Hooked, String> {
    let hook = &HOOKS[wanted.row];
    let mut reason = if wanted.sites.is_empty() {
        String::from("how it takes its packet is not known (no BTF of its module)")
    } else {
        String::from("no such function")
    };
    for site in &wanted.sites {
        match attach_site(loaded, kprobes, wanted.row, hook, site) {
            Ok(probes) => {
                return Ok(Hooked {
                    row: wanted.row,
                    site: *site,
                    probes,
                });
            }
            Err(Refusal::Here(AttachError::Absent)) => {}
            Err(Refusal::Here(error)) => reason = format!("{}: {error}", site.symbol),
            Err(Refusal::Program(error)) => return Err(error),
        }
    }
    if let Some(module) = hook.module
        && reason == "no such function"
    {
        reason = format!("no such function (module {module} not loaded?)");
    }
    Err(reason)
}

enum Refusal {
    /// Another site may do.
    Here(AttachError),
    /// No site will.
    Program(String),
}

fn attach_site(
    loaded: &Loaded,
    kprobes: Kprobes,
    row: usize,
    hook: &Hook,
    site: &Site,
) -> Result<Vec<Probe>, Refusal> {
    let (entry, exit) = match hook.kind {
        Kind::Clone => ("clone_enter", Some("clone_exit")),
        Kind::Verdict(_) => ("table_enter", Some("table_exit")),
        _ => ("hop", None),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the catalogue has fewer rows"
    )]
    let binding = Binding::new(row as u16, hook, site);
    let attach = |program: &'static str, at_return: bool| -> Result<Probe, Refusal> {
        let event: OwnedFd = kprobes
            .open(site.symbol, at_return)
            .map_err(Refusal::Here)?;
        let program = loaded
            .load(program, binding)
            .map_err(|error| Refusal::Program(error.to_string()))?;
        Probe::attach(program, event).map_err(Refusal::Here)
    };
    let mut probes = Vec::new();
    // The return first: of two kprobes on one function the newer runs first, and the entry must
    // see the stack before the return hook puts its own address there.
    if let Some(exit) = exit {
        probes.push(attach(exit, true)?);
    }
    probes.push(attach(entry, false)?);
    Ok(probes)
}
