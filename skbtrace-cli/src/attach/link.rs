//! Links: programs that are attached, until they are dropped.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
    thread,
};

use super::sys;
use crate::process;

/// Threads that detach. Each spends its time waiting for the kernel.
const WORKERS: usize = 8;

/// A program attached to one function or to several. Dropping it detaches, which waits for the
/// kernel.
#[derive(Debug)]
pub struct Link {
    /// `None` for a kprobe on a kernel that has no links for them (before 5.15).
    link: Option<OwnedFd>,
    program: OwnedFd,
    /// A kprobe's event; closed last, after the link that refers to it.
    _event: Option<OwnedFd>,
}

impl Link {
    /// Of a program on a kprobe.
    pub fn kprobe(link: Option<OwnedFd>, program: OwnedFd, event: OwnedFd) -> Self {
        Self {
            link,
            program,
            _event: Some(event),
        }
    }

    /// Of a program attached in any other way.
    pub fn new(link: OwnedFd, program: OwnedFd) -> Self {
        Self {
            link: Some(link),
            program,
            _event: None,
        }
    }

    /// Hits that the kernel skipped because another program was running on the CPU; `None` where
    /// it does not tell.
    pub fn missed(&self) -> Option<u64> {
        let by_kprobe = sys::missed_hits(self.link.as_ref()?.as_fd())?;
        let (_, by_program) = sys::program_info(self.program.as_fd()).ok()?;
        Some(by_kprobe + by_program)
    }

    /// The program.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

/// Detaches, several at a time: each waits for the kernel to be sure that nothing runs in it any
/// more, and these waits overlap in part (measured with kprobes on 6.12: half the time of one by
/// one).
pub fn detach(links: Vec<Link>) {
    let workers = links.len().min(WORKERS);
    let links = Mutex::new(links);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let link = links.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    if link.is_none() {
                        break;
                    }
                }
            });
        }
    });
}

/// Detaches in the background, so that the prompt is back at once: a kernel may take a tenth of a
/// second for each function (fentry on 6.1 and 6.12).
pub fn detach_in_background(links: Vec<Link>) {
    if !links.is_empty() {
        process::in_background(|| detach(links));
    }
}
